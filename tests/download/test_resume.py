"""A download that breaks goes on where it broke, if the file is still the same; it is whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
from itertools import groupby
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint

from akool_async import DownloadError, FileBusyError
from akool_async._download.verify import Kind
from tests.client.moments import jump, until
from tests.download.conftest import SRT, downloads, fetch, film, names
from tests.download.host import Asked, Reply, hosting, part


@pytest.mark.parametrize("how", ["cut", "reset", "stalled"])
async def test_goes_on_where_the_line_broke(tmp_path: Path, how: str) -> None:
    content = film()

    def answer(asked: Asked) -> Reply:
        if asked.first >= 15_000:
            return part(content, asked)
        return part(content, asked, keep=6000, reset=how == "reset", hang=how == "stalled")

    async with hosting(answer) as host:
        window = 0.2 if how == "stalled" else 5.0
        found = await fetch(downloads(slow_window=window), f"{host.url}/a.mp4?token=x", tmp_path / "a.mp4")

    # On a machine that stands still a line may stall before it brought a byte; the same is asked again.
    ranges = [span for span, _ in groupby(asked.headers.get("range") for asked in host.asked)]
    assert ranges[0] is None
    assert all(one and one.startswith("bytes=") for one in ranges[1:])
    assert all(asked.headers.get("if-range") == '"one"' for asked in host.asked if asked.first)
    assert (tmp_path / "a.mp4").read_bytes() == content
    assert found.digest.sha256 == hashlib.sha256(content).hexdigest()
    assert all(asked.headers["accept-encoding"] == "identity" for asked in host.asked)
    if how == "cut":
        assert len(host.asked) == 4
        assert ranges == [None, "bytes=6000-", "bytes=12000-", "bytes=18000-"]


async def test_another_process_goes_on_too(tmp_path: Path) -> None:
    content, part_file = film(), tmp_path / "a.mp4.part"
    whole = False

    def answer(asked: Asked) -> Reply:
        return part(content, asked) if whole else Reply(status=403)

    async with hosting(lambda asked: part(content, asked, keep=9000, hang=True)) as host:
        async with anyio.create_task_group() as tasks:
            first = downloads(slow_window=1.0)  # what arrived is written when a connection is given up
            tasks.start_soon(fetch, first, f"{host.url}/a.mp4?token=1", tmp_path / "a.mp4")
            await until(lambda: part_file.exists() and part_file.stat().st_size >= 9000)
            tasks.cancel_scope.cancel()
        size = part_file.stat().st_size
        assert names(tmp_path) == ["a.mp4.part", "a.mp4.part.about"]
        assert "token" not in (tmp_path / "a.mp4.part.about").read_text()
        host.asked.clear()
        host.answer = answer

        with pytest.raises(DownloadError):
            await fetch(downloads(), f"{host.url}/a.mp4?token=2", tmp_path / "a.mp4")
        assert part_file.stat().st_size == size
        whole = True
        await fetch(downloads(), f"{host.url}/a.mp4?token=3", tmp_path / "a.mp4")

    assert [asked.headers.get("range") for asked in host.asked] == [f"bytes={size}-"] * 2
    assert (tmp_path / "a.mp4").read_bytes() == content


async def test_what_is_not_surely_on_disk_is_not_gone_on_with(tmp_path: Path) -> None:
    content = film()
    (tmp_path / "a.mp4.part").write_bytes(content[:5000] + b"\0" * 4000)
    about = '{"owner": "job-1", "source": "%s", "etag": "\\"one\\"", "length": %d, "synced": 5000}'
    async with hosting(lambda asked: part(content, asked)) as host:
        (tmp_path / "a.mp4.part.about").write_text(about % (f"{host.url}/a.mp4", len(content)))
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert [asked.headers.get("range") for asked in host.asked] == ["bytes=5000-"]
    assert (tmp_path / "a.mp4").read_bytes() == content


@pytest.mark.parametrize("told", ["owner", "source", "etag", "torn", "none"])
async def test_a_part_of_something_else_is_thrown_away(tmp_path: Path, told: str) -> None:
    content = film()
    async with hosting(lambda asked: part(content, asked)) as host:
        about = {"owner": "job-1", "source": f"{host.url}/a.mp4", "etag": '"one"', "synced": 5000}
        about[told] = {"etag": 'W/"one"'}.get(told, "another")
        (tmp_path / "a.mp4.part").write_bytes(b"x" * 5000)
        text = "{" if told == "torn" else str(about).replace("'", '"').replace('""one""', '"\\"one\\""')
        if told != "none":
            (tmp_path / "a.mp4.part.about").write_text(text)
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert [asked.headers.get("range") for asked in host.asked] == [None]
    assert (tmp_path / "a.mp4").read_bytes() == content


async def test_begins_anew_when_the_file_changed(tmp_path: Path) -> None:
    old, new = film(), film(30_000)

    def answer(asked: Asked) -> Reply:
        if len(host.asked) == 1:
            return part(old, asked, keep=7000)
        return part(new, asked, etag='"two"')

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == new


SIZE = len(film())
LAST = SIZE - 1
TAG = {"etag": '"one"'}

LIES = {
    "other first byte": {"content-range": f"bytes 6999-{LAST}/{SIZE}", **TAG},
    "other length": {"content-range": f"bytes 7000-{LAST}/{SIZE + 1}", **TAG},
    "other tag": {"content-range": f"bytes 7000-{LAST}/{SIZE}", "etag": '"two"'},
    "weak tag": {"content-range": f"bytes 7000-{LAST}/{SIZE}", "etag": 'W/"one"'},
    "no tag": {"content-range": f"bytes 7000-{LAST}/{SIZE}"},
    "no range": TAG,
    "end behind the length": {"content-range": f"bytes 7000-{SIZE}/{SIZE}", **TAG},
    "nonsense": {"content-range": f"bytes */{SIZE}", **TAG},
    "no number": {"content-range": f"bytes 7000-{'9' * 5000}/*", **TAG},
    "several": {"content-type": "multipart/byteranges; boundary=x", **TAG},
    "shorter than said": {
        "content-range": f"bytes 7000-{LAST}/{SIZE}",
        "content-length": str(SIZE - 7001),
        **TAG,
    },
    "compressed": {"content-range": f"bytes 7000-{LAST}/{SIZE}", "content-encoding": "gzip", **TAG},
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_part_that_does_not_fit_is_never_added(tmp_path: Path, lie: str) -> None:
    content = film()
    other = content[:7000] + bytes(byte ^ 1 for byte in content[7000:-13]) + content[-13:]  # whole, too

    def answer(asked: Asked) -> Reply:
        if len(host.asked) == 1:
            return part(content, asked, keep=7000)
        if len(host.asked) == 2:
            return Reply(status=206, headers=LIES[lie], body=other[7000:])
        return part(content, asked)

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert host.asked[1].first == 7000
    assert (tmp_path / "a.mp4").read_bytes() == content


async def test_a_host_that_sends_smaller_parts_than_asked_for_is_taken_at_its_word(tmp_path: Path) -> None:
    content = film()

    def answer(asked: Asked) -> Reply:
        if not asked.first:
            return part(content, asked, keep=1000)
        first, end = asked.first, min(asked.first + 5000, len(content))
        span = f"bytes {first}-{end - 1}/{len(content)}"
        return Reply(status=206, headers={"etag": '"one"', "content-range": span}, body=content[first:end])

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == content


@pytest.mark.parametrize("etag", ["", 'W/"one"'])
async def test_without_a_strong_tag_it_begins_anew_a_few_times(tmp_path: Path, etag: str) -> None:
    content = film()

    def answer(asked: Asked) -> Reply:
        keep = 9000 if len(host.asked) < 3 else None
        return Reply(headers={"etag": etag}, body=content, keep=keep)

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert [asked.headers.get("range") for asked in host.asked] == [None] * 3
    assert (tmp_path / "a.mp4").read_bytes() == content


async def test_a_cut_that_looks_like_an_end_is_found_by_asking_for_more(tmp_path: Path) -> None:
    content = film()

    def answer(asked: Asked) -> Reply:
        whole = part(content, asked)
        return whole if asked.first else Reply(headers={"etag": '"one"'}, body=content[:12_000])

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert [asked.first for asked in host.asked] == [0, 12_000]
    assert (tmp_path / "a.mp4").read_bytes() == content


async def test_a_page_does_not_cost_what_is_here(tmp_path: Path) -> None:
    content = film()

    def answer(asked: Asked) -> Reply:
        if len(host.asked) == 1:
            return part(content, asked, keep=7000)
        if len(host.asked) == 2:
            return Reply(headers={"content-type": "text/html"}, body=b"<html>Be right back</html>")
        return part(content, asked)

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert [asked.first for asked in host.asked] == [0, 7000, 7000]
    assert (tmp_path / "a.mp4").read_bytes() == content


async def test_a_wrong_type_does_not_keep_a_whole_file_away(tmp_path: Path) -> None:
    async with hosting(lambda _: Reply(headers={"content-type": "text/html"}, body=SRT)) as host:
        await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert (tmp_path / "a.srt").read_bytes() == SRT


# Bounds.


async def test_a_head_that_drips_is_not_waited_for(tmp_path: Path) -> None:
    async def drip(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError):
                await stream.send(b"HTTP/1.1 200 OK\r\n")
                while True:
                    await stream.send(b"more: to come\r\n")
                    for _ in range(50):  # in which the client reads it
                        await checkpoint()
                    jump(25.0)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/a.mp4"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, drip)
            with pytest.raises(DownloadError, match="ReadTimeout"):
                await fetch(downloads(connect=100.0, slow_window=30.0), url, tmp_path / "a.mp4")
            tasks.cancel_scope.cancel()

    assert names(tmp_path) == []


async def test_a_slow_line_is_dropped_and_taken_up_again(tmp_path: Path) -> None:
    content = film()
    async with hosting(lambda asked: part(content, asked, keep=5000, hang=True)) as host:
        await fetch(downloads(slow_window=0.1, min_bytes=5001), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    firsts = [first for first, _ in groupby(asked.first for asked in host.asked)]  # also if it stood still
    assert firsts == [0, 5000, 10_000, 15_000, 20_000]
    assert (tmp_path / "a.mp4").read_bytes() == content


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_file_larger_than_any_result_is_not_taken_in(tmp_path: Path, chunked: bool) -> None:
    async with hosting(lambda _: Reply(body=film(), chunked=chunked)) as host:
        with pytest.raises(DownloadError, match="larger than 10,000 bytes"):
            await fetch(downloads(max_video_bytes=10_000), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert len(host.asked) == 1
    assert names(tmp_path) == []


async def test_a_host_that_never_gets_further_is_given_up(tmp_path: Path) -> None:
    content = film()
    async with hosting(lambda asked: part(content, asked, keep=None if asked.first else 100)) as host:
        host.answer = lambda asked: Reply(status=503) if asked.first else part(content, asked, keep=100)
        with pytest.raises(DownloadError, match="HTTP 503"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert len(host.asked) == 5


async def test_what_stands_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("mine")
    async with hosting(lambda asked: part(film(), asked)) as host:
        with pytest.raises(ValueError, match="already exists"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")
        assert (tmp_path / "a.mp4").read_text() == "mine"
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4", replace=True)

    assert (tmp_path / "a.mp4").read_bytes() == film()


async def test_two_at_once_do_not_write_one_part(tmp_path: Path) -> None:
    content = film()
    async with (
        hosting(lambda asked: part(content, asked, keep=5000, hang=True)) as host,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(fetch, downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")
        await until(lambda: host.asked)
        with pytest.raises(FileBusyError, match=r"being downloaded already.* Do the same again"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")
        tasks.cancel_scope.cancel()


async def test_a_probe_that_breaks_does_not_make_a_cut_file_whole(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.first and len(host.asked) == 2:  # a part that contradicts itself
            span = f"bytes {asked.first}-{len(SRT) - 1}/{len(SRT)}"
            return Reply(status=206, headers={"etag": '"one"', "content-range": span}, body=b"x")
        return part(SRT, asked) if asked.first else Reply(headers={"etag": '"one"'}, body=SRT[:-3])

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert (tmp_path / "a.srt").read_bytes() == SRT
