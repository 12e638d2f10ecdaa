"""`inspect` as its caller meets it: files and URLs in, facts out, and nothing reached that is not public."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import akool_async
from akool_async import MediaError, MediaProblem, inspect
from akool_async._media import Reach, find_obstacle
from tests.media.test_inspection import FACTS, FILM, Host, host, whole, with_ranges

__all__ = ["host"]
HERE = ("127.0.0.1/v.mp4", "[::1]/v.mp4", "localhost/v.mp4")


async def problem_of(source: str | Path, **options: Any) -> MediaError:
    with pytest.raises(MediaError) as caught:
        await inspect(source, **options)
    assert "secret" not in str(caught.value)
    return caught.value


async def test_a_path_and_a_file_url_are_read_from_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a talk.mp4"
    path.write_bytes(FILM)

    assert await inspect(path) == await inspect(str(path)) == await inspect(path.as_uri()) == FACTS
    assert "inspect" in dir(akool_async)


async def test_a_path_that_leads_to_no_file_is_a_media_error(tmp_path: Path) -> None:
    assert "No such file" in str(await problem_of(tmp_path / "none.mp4"))
    assert (await problem_of(tmp_path)).problem is MediaProblem.NOT_VIDEO


async def test_a_pipe_of_a_videos_name_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "talk.mp4")

    assert "a folder or a device" in str(await problem_of(tmp_path / "talk.mp4"))


async def test_a_url_is_inspected_over_http(host: Host) -> None:
    host.answer = with_ranges(len(FILM), lambda start, end: FILM[start:end], host)

    assert await inspect(host.url, allow_private=True) == FACTS


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/v.mp4",
        "http://10.1.2.3/v.mp4",
        "http://192.168.0.9:8080/v.mp4",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/v.mp4",
        "http://[fd00::1]/v.mp4",
        "http://0x7f.1/v.mp4",
        "http://2130706433/v.mp4",
        "http://localhost/v.mp4",
        "http://nas/v.mp4",
        "http://nas.local/v.mp4",
        "http://media.lan./v.mp4",
        "http://build.corp/v.mp4",
        "https://videos.example/v.mp4",
        "https://a.test/v.mp4",
    ],
)
async def test_what_the_vendor_can_not_reach_is_told_without_a_request(url: str) -> None:
    obstacle = find_obstacle(url)

    assert obstacle is not None
    assert obstacle.problem is MediaProblem.NOT_PUBLIC
    assert (await problem_of(url)).problem is MediaProblem.NOT_PUBLIC
    assert find_obstacle(url, Reach.ANYWHERE) is None
    assert (find_obstacle(url, Reach.THIS_MACHINE) is None) is (url[7:] in HERE)


@pytest.mark.parametrize(
    "url",
    ["https://1.2.3.4/v.mp4", "https://cdn.vendor.io/v.mp4", "https://exämple.de/v", "https://example.com/v"],
)
async def test_public_hosts_are_no_obstacle(url: str) -> None:
    assert find_obstacle(url) is None


async def test_a_public_name_that_leads_to_a_private_address_is_not_connected_to(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_names_with(monkeypatch, "127.0.0.1")
    url = host.url.replace("127.0.0.1", "videos.akool-test.com")

    error = await problem_of(url)

    assert error.problem is MediaProblem.NOT_PUBLIC
    assert "videos.akool-test.com" in error.message
    assert host.asked == []


async def test_a_redirect_into_the_network_is_not_followed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first hop is allowed by its name; its redirect names an address of this machine.
    host.answer = whole(b"", 302, location=host.url.replace("127.0.0.1", "127.0.0.2"))
    monkeypatch.setattr("akool_async._download.network.is_public", lambda address: True)
    answer_names_with(monkeypatch, "127.0.0.1")

    error = await problem_of(host.url.replace("127.0.0.1", "videos.akool-test.com"))

    assert error.problem is MediaProblem.NOT_PUBLIC
    assert len(host.asked) == 1


BAD_HOSTS = (
    "xn--",
    "xn--a.de",
    "xn--0.de",
    "xn--zzzzzzzzzzzzz99999.de",
    "a" * 64 + ".de",
    "a..de",
    "[::1",
    "-",
)


@pytest.mark.parametrize("bad", BAD_HOSTS)
@pytest.mark.parametrize("how", ["named", "redirected", "redirected later"])
async def test_a_host_that_no_name_can_be_is_a_media_error(host: Host, bad: str, how: str) -> None:
    url, redirect = f"https://{bad}/v.mp4?sig=secret", whole(b"", 302, location=f"https://{bad}/v")
    film = FILM[: FILM.index(b"mdat") - 4] + (2**28).to_bytes(4, "big") + b"mdat"
    ranges = with_ranges(2**29, lambda start, end: film[start:end].ljust(end - start, b"\0"), host)
    first = how == "redirected later"
    host.answer = lambda request: (ranges if first and len(host.asked) == 1 else redirect)(request)

    error = await problem_of(url if how == "named" else host.url, allow_private=True)

    assert error.problem is MediaProblem.UNREACHABLE or error.problem is MediaProblem.UNRESOLVED
    assert len(host.asked) == {"named": 0, "redirected": 1, "redirected later": 2}[how]


async def test_a_host_without_an_address_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    error = await problem_of("https://videos.akool-test.com/v.mp4?sig=secret")

    assert error.problem is MediaProblem.UNRESOLVED
    assert "videos.akool-test.com" in error.message


async def test_a_share_page_is_told_without_a_request() -> None:
    error = await problem_of("https://www.dropbox.com/s/abc/talk.mp4?dl=0")

    assert error.problem is MediaProblem.PAGE
    assert "dl=1" in error.advice


async def test_an_object_in_a_bucket_is_told_apart() -> None:
    assert "presigned" in (await problem_of("s3://bucket/talk.mp4")).message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!doctype html><title>Sign in</title>", "a web page"),
        (b"PK\x03\x04\x14\0word/", "a ZIP archive or an Office document"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"%PDF-1.7", "a PDF document"),
    ],
)
async def test_what_is_served_instead_of_a_video_is_named(host: Host, body: bytes, words: str) -> None:
    host.answer = whole(body)

    assert words in (await problem_of(host.url, allow_private=True)).message


def answer_names_with(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let every name lead to one address."""
    ask: Callable[..., Any] = socket.getaddrinfo

    def resolve(name: Any, port: Any, *more: Any, **options: Any) -> Any:
        return ask(address, port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
