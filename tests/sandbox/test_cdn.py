"""The results' origin: whole files and parts of them, links that open or don't, spoiled transfers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest

from akool_async.sandbox import Fault
from tests.client.moments import jump, until

from .conftest import Visitor, plain_client, visiting


def boxes(data: bytes) -> Iterator[bytes]:
    """Go through the kinds of the MP4 boxes that fill the data exactly."""
    while data:
        size, kind = struct.unpack(">I4s", data[:8])
        assert 8 <= size <= len(data)
        yield kind
        data = data[size:]


async def files(visitor: Visitor) -> dict[str, str]:
    job = await visitor.finished()
    return {"video": job["video"], **job["audio_splits"]}


async def fetch(url: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with plain_client() as http:
        return await http.request(
            method, url, headers={name.replace("_", "-"): one for name, one in headers.items()}
        )


async def test_all_four_artifacts_are_there() -> None:
    async with visiting() as visitor:
        answers = {name: await fetch(url) for name, url in (await files(visitor)).items()}

    assert {answer.status_code for answer in answers.values()} == {200}
    for name in ("video", "no_caption_video_url"):
        assert answers[name].headers["content-type"] == "video/mp4"
        assert next(boxes(answers[name].content)) == b"ftyp"
    for name in ("original_srt_url", "translated_srt_url"):
        assert answers[name].text.startswith("1\n00:00:00,000 --> ")
    assert len({answer.content for answer in answers.values()}) == 4


async def test_a_whole_file_has_length_and_strong_etag() -> None:
    async with visiting(result_bytes=10_000) as visitor:
        url = (await files(visitor))["video"]
        answer, again, head = await fetch(url), await fetch(url), await fetch(url, "HEAD")

    assert (answer.status_code, len(answer.content)) == (200, 10_000)
    assert answer.headers["content-length"] == head.headers["content-length"] == "10000"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == again.headers["etag"] == head.headers["etag"]
    assert answer.headers["etag"][0] == answer.headers["etag"][-1] == '"'
    assert "content-encoding" not in answer.headers
    assert (head.status_code, head.content) == (200, b"")
    assert again.content == answer.content


async def test_a_file_larger_than_a_chunk_comes_whole() -> None:
    async with visiting(result_bytes=1_000_000) as visitor:
        answer = await fetch((await files(visitor))["video"])

    assert len(answer.content) == 1_000_000
    assert list(boxes(answer.content)) == [b"ftyp", b"moov", b"mdat"]


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [("bytes=100-199", 100, 200), ("bytes=4000-", 4000, 4096), ("bytes=-6", 4090, 4096)],
)
async def test_a_part_of_a_file(wanted: str, first: int, end: int) -> None:
    async with visiting() as visitor:
        url = (await files(visitor))["video"]
        whole, part = await fetch(url), await fetch(url, range=wanted)

    assert part.status_code == 206
    assert part.content == whole.content[first:end]
    assert part.headers["content-range"] == f"bytes {first}-{end - 1}/4096"
    assert part.headers["content-length"] == str(end - first)
    assert part.headers["etag"] == whole.headers["etag"]


async def test_a_part_behind_the_end() -> None:
    async with visiting() as visitor:
        answer = await fetch((await files(visitor))["video"], range="bytes=4096-")

    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */4096"


async def test_if_range_with_another_etag_gives_the_whole_file() -> None:
    async with visiting() as visitor:
        url = (await files(visitor))["video"]
        etag = (await fetch(url, "HEAD")).headers["etag"]
        same, other = [await fetch(url, range="bytes=10-", if_range=one) for one in (etag, '"other"')]

    assert (same.status_code, len(same.content)) == (206, 4086)
    assert (other.status_code, len(other.content)) == (200, 4096)


async def test_only_the_right_link_opens() -> None:
    async with visiting() as visitor:
        all_files = await files(visitor)
        url, token = all_files["video"].split("?token=")
        other = all_files["no_caption_video_url"].split("?token=")[1]
        tried = [url, f"{url}?token=", f"{url}?token=é", f"{url}?token={token[:-1]}x", f"{url}?token={other}"]

        assert [(await fetch(one)).status_code for one in tried] == [403] * 5
        assert (await fetch(f"{visitor.server.cdn_url}/results/nothing/video.mp4")).status_code == 404
        assert (await fetch(f"{visitor.server.cdn_url}/")).status_code == 404
        assert (await fetch(all_files["video"], "POST")).status_code == 405


async def test_links_need_no_credentials_and_none_is_missed() -> None:
    async with visiting() as visitor:
        await fetch((await files(visitor))["video"])

        assert visitor.sandbox.audit.leaks == ()


@pytest.mark.parametrize("days", [7.0, 0.5])
async def test_files_are_gone_after_their_time(days: float) -> None:
    async with visiting(result_days=days, sigma=0, median_seconds=60) as visitor:
        job_id = (await visitor.create())["data"]["_id"]
        visitor.clock.advance(60)
        url = (await visitor.status(job_id))["data"]["video"]
        visitor.clock.advance(days * 86_400 - 1)
        before = (await fetch(url)).status_code
        visitor.clock.advance(1)
        after = (await fetch(url)).status_code

    assert (before, after) == (200, 404)


async def test_every_answer_is_written_down() -> None:
    async with visiting() as visitor:
        url = (await files(visitor))["video"]
        await fetch(url, range="bytes=96-", if_range='"x"')
        await fetch(url, range="bytes=96-")
        await fetch(url, "HEAD")
        await fetch(url + "x")
        served = visitor.sandbox.audit.served

    assert [(one.method, one.status, one.sent) for one in served[:3]] == [
        ("GET", 200, 4096),
        ("GET", 206, 4000),
        ("HEAD", 200, 0),
    ]
    assert (served[0].range, served[0].if_range, served[0].artifact) == ("bytes=96-", '"x"', "video")
    assert served[3].status == 403
    assert all(one.job_id == visitor.sandbox.audit.jobs[0].id for one in served)


async def spoiled(fault: Fault, **headers: str) -> tuple[httpx.Response, bytes, Exception | None]:
    """Return the head, what came of the body and how it ended."""
    async with visiting(faults=[fault]) as visitor, plain_client() as http:
        url = (await files(visitor))["video"]
        async with http.stream("GET", url, headers=headers) as answer:
            body, error = b"", None
            try:
                async for piece in answer.aiter_raw():
                    body += piece
            except httpx.HTTPError as broken:
                error = broken
            return answer, body, error


async def test_a_truncated_file_in_valid_http() -> None:
    answer, body, error = await spoiled(Fault(on="cdn", kind="truncated"))

    assert (answer.status_code, answer.headers["content-length"], len(body), error) == (
        200,
        "2048",
        2048,
        None,
    )


async def test_a_truncated_part_of_a_file() -> None:
    answer, body, _ = await spoiled(Fault(on="cdn", kind="truncated", keep=0.25), range="bytes=96-")

    assert (answer.status_code, len(body)) == (206, 1000)
    assert answer.headers["content-range"] == "bytes 96-4095/4096"


@pytest.mark.parametrize(
    ("kind", "announced", "sent", "error"),
    [
        ("short", "4096", 2048, httpx.RemoteProtocolError),
        ("reset_mid", "4096", 2048, httpx.ReadError),
        ("wrong_length", "4196", 4096, httpx.RemoteProtocolError),
    ],
)
async def test_a_transfer_that_ends_too_early(
    kind: str, announced: str, sent: int, error: type[Exception]
) -> None:
    answer, body, ended = await spoiled(Fault(on="cdn", kind=kind))

    assert (answer.status_code, answer.headers["content-length"], len(body)) == (200, announced, sent)
    assert isinstance(ended, error)


async def test_no_length() -> None:
    answer, body, error = await spoiled(Fault(on="cdn", kind="no_length"))

    assert "content-length" not in answer.headers
    assert answer.headers["transfer-encoding"] == "chunked"
    assert (len(body), error) == (4096, None)


async def test_a_drip_comes_whole_in_the_end() -> None:
    answer, body, error = await spoiled(Fault(on="cdn", kind="drip", seconds=0.0005, size=256))

    assert (answer.headers["content-length"], len(body), error) == ("4096", 4096, None)


async def test_a_page_instead_of_a_file() -> None:
    answer, body, _ = await spoiled(Fault(on="cdn", kind="html"))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("kind", "error"), [("reset_before", httpx.ReadError), ("garbage", httpx.RemoteProtocolError)]
)
async def test_no_answer_at_all(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await spoiled(Fault(on="cdn", kind=kind))


@pytest.mark.parametrize(
    ("fields", "status", "size"),
    [
        ({"kind": "http", "status": 503}, 503, None),
        ({"kind": "empty"}, 200, 0),
        ({"kind": "redirect"}, 302, 0),
    ],
)
async def test_another_answer(fields: dict[str, Any], status: int, size: int | None) -> None:
    answer, body, _ = await spoiled(Fault(on="cdn", **fields))

    assert answer.status_code == status
    assert size is None or len(body) == size


async def test_a_replaced_file_has_another_etag_and_other_bytes() -> None:
    async with visiting(faults=[Fault(on="cdn", kind="changed_etag", nth=2)]) as visitor:
        url = (await files(visitor))["video"]
        first = await fetch(url)
        resumed = await fetch(url, range="bytes=10-", if_range=first.headers["etag"])
        later = await fetch(url)

    assert (resumed.status_code, resumed.content) == (200, later.content)
    assert first.headers["etag"] != later.headers["etag"]
    assert first.content != later.content
    assert list(boxes(later.content))[-1] == b"free"


async def test_a_fault_can_be_meant_for_one_job() -> None:
    async with visiting(faults=[Fault(on="cdn", kind="html", job=2)]) as visitor:
        first, second = [(await files(visitor))["video"] for _ in range(2)]

        assert (await fetch(first)).headers["content-type"] == "video/mp4"
        assert (await fetch(second)).headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        ({"headers": {"x-api-key": "sandbox-test-key"}}, "header x-api-key", "key"),
        ({"headers": {"x-api-key": "other"}}, "header x-api-key", "authorization"),
        ({"headers": {"x-note": "see sandbox-test-key"}}, "header x-note", "key"),
        ({"headers": {"authorization": "Bearer x"}}, "header authorization", "authorization"),
        ({"params": {"k": "sandbox-test-key"}}, "query", "key"),
        ({"content": b"sandbox-test-key"}, "body", "key"),
    ],
)
async def test_a_credential_on_the_cdn_is_noticed_and_not_written_down(
    options: dict[str, Any], where: str, what: str
) -> None:
    async with visiting() as visitor, plain_client(visitor.server.cdn_url) as http:
        await http.request("POST" if "content" in options else "GET", "/results/x/video.mp4", **options)
        leaks = visitor.sandbox.audit.leaks
        exported = visitor.sandbox.audit.export()

    assert [(leak.where, leak.what) for leak in leaks] == [(where, what)]
    assert "sandbox-test-key" not in exported


async def test_a_token_on_the_cdn_is_noticed() -> None:
    async with visiting() as visitor:
        pair = {"clientId": "sandbox-client-id", "clientSecret": "sandbox-test-key"}
        token = (await visitor.post("/api/open/v3/getToken", pair))["token"]
        await fetch(f"{visitor.server.cdn_url}/elsewhere?t={token}")

        assert [(leak.where, leak.what) for leak in visitor.sandbox.audit.leaks] == [("query", "token")]


async def test_a_transfer_that_stalls_stays_open(anyio_backend: str) -> None:
    async with visiting(faults=[Fault(on="cdn", kind="stall", keep=0.5)]) as visitor:
        url = (await files(visitor))["video"]
        got = b""
        async with (
            plain_client() as http,
            http.stream("GET", url) as answer,
            anyio.create_task_group() as tasks,
        ):

            async def be_late() -> None:
                await until(lambda: len(got) == 2048)
                jump(60)

            tasks.start_soon(be_late)
            with pytest.raises(httpx.ReadTimeout):
                async for chunk in answer.aiter_raw():
                    got += chunk

    assert len(got) == 2048


@pytest.mark.parametrize(
    ("do", "status", "span"),
    [
        ("no_ranges", 200, None),
        ("wrong_range", 206, "bytes 101-4095/4096"),
        ("weak_etag", 206, "bytes 100-4095/4096"),
    ],
)
async def test_parts_that_are_not_what_was_asked_for(do: str, status: int, span: str | None) -> None:
    async with visiting(faults=[Fault(on="cdn", kind=do, nth=2)]) as visitor:
        url = (await files(visitor))["video"]
        whole, answer = await fetch(url), await fetch(url, range="bytes=100-")

    first = 0 if span is None else int(span[6:9])
    assert (answer.status_code, answer.headers.get("content-range")) == (status, span)
    assert answer.content == whole.content[first:]
    assert answer.headers["etag"].startswith("W/") == (do == "weak_etag")


async def test_a_file_that_comes_compressed_unasked() -> None:
    async with visiting(faults=[Fault(on="cdn", kind="compressed", nth=2)]) as visitor:
        url = (await files(visitor))["video"]
        whole, answer = await fetch(url), await fetch(url)

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == whole.content
