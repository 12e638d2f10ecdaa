"""What a file host sends decides: only whole videos get their name, others say that they are not verified."""

from __future__ import annotations

import gzip
import io
import random
import re
import time
from pathlib import Path

import attrs
import pytest

from akool_async import DownloadError
from akool_async._download.verify import FileVerdict, Kind, verify
from tests.download.conftest import SRT, box, downloads, fetch, film, names
from tests.download.host import Asked, Reply, hosting, part

TAG = {"etag": '"one"'}
FTYP = box(b"ftyp", b"isom\0\0\2\0isom")
DENIED = "Access denied. Try again later.\n" * 20
PAGE = "<!DOCTYPE html><html>sorry</html>"

REFUSED = {
    "a page": Reply(headers={"content-type": "text/html; charset=utf-8"}, body=b"<html>Be right back</html>"),
    "a page that says it is a video": Reply(body=PAGE.encode()),
    "an error in XML": Reply(body=b"\n<?xml version='1.0'?><Error/>"),
    "an error in JSON": Reply(body=b'{"code": 1}'),
    "a text": Reply(headers={"content-type": "text/plain"}, body=DENIED.encode()),
    "a text that says it is a video": Reply(headers=TAG, body=DENIED.encode()),
    "a text that looks like a box": Reply(body=b"Are free videos gone? " * 99),
    "a text that looks like the last box": Reply(body=b"See moov and mdat. " * 99),
    "a page in UTF-16": Reply(body=PAGE.encode("utf-16")),
    "a page in UTF-16 without a mark": Reply(body=PAGE.encode("utf-16-be")),
    "a text in UTF-32": Reply(body=DENIED.encode("utf-32")),
    "a text in EBCDIC": Reply(body=DENIED.encode("cp500")),
    "a text in Shift JIS": Reply(body=("利用できません。" * 99).encode("shift_jis")),
    "a compressed page": Reply(headers={"content-encoding": "gzip"}, body=gzip.compress(PAGE.encode())),
    "a picture": Reply(body=b"\x89PNG\r\n\x1a\n" + bytes(500)),
    "nothing": Reply(body=b""),
    "noise": Reply(body=random.Random(1).randbytes(9000)),
    "half a video without a length": Reply(body=film()[:9000], chunked=True),
    "nothing after the index": Reply(body=FTYP + box(b"moov", b"index"), chunked=True),
    "something without a length": Reply(body=b"RIFF of what nobody knows", chunked=True),
    "HTTP 503": Reply(status=503, body=film()),
}


@pytest.mark.parametrize("how", REFUSED)
async def test_what_is_no_video_gets_no_name(tmp_path: Path, how: str) -> None:
    async with hosting(lambda _: REFUSED[how]) as host:
        with pytest.raises(DownloadError, match=r"a\.mp4 could not be downloaded"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert names(tmp_path) == []
    assert 4 <= len(host.asked) <= 9


OPEN_END = film()[:-13] + box(b"moov", b"") + b"\0\0\0\0mdatabc"
FRAGMENTS = film()[:-13] + box(b"moof", b"") + box(b"mdat", b"xyz")

WHOLE = {
    "without a length": Reply(body=film(), chunked=True),
    "closed at the end": Reply(headers={"content-length": ""}, body=film()),
    "the last box goes on to the end": Reply(body=OPEN_END),
    "a box with a wide length": Reply(
        body=box(b"ftyp", b"isom") + b"\0\0\0\1moov\0\0\0\0\0\0\0\x13abc" + box(b"mdat", b"x")
    ),
    "in fragments": Reply(body=FRAGMENTS),
    "Matroska": Reply(body=b"\x1a\x45\xdf\xa3 webm"),
    "AVI": Reply(body=b"RIFF\0\0\0\0AVI LIST"),
    "MPEG-TS": Reply(body=(b"G\x40\0\x10" + b"\xff" * 184) * 5),
    "aws-chunked": Reply(headers={"content-encoding": "aws-chunked"}, body=film()),
    "binary": Reply(headers={"content-encoding": "binary"}, body=film()),
    "none": Reply(headers={"content-encoding": "none"}, body=film()),
    "utf-8": Reply(headers={"content-encoding": "UTF-8"}, body=film()),
    "said to be compressed": Reply(headers={"content-encoding": "gzip"}, body=film()),
    "said to be a page": Reply(headers={"content-type": "text/html"}, body=film()),
    "unasked 206": Reply(
        status=206, headers={"content-range": f"bytes 0-{len(film()) - 1}/{len(film())}"}, body=film()
    ),
    "unasked 206 with a tag": Reply(
        status=206, headers={"content-range": f"bytes 0-{len(film()) - 1}/{len(film())}", **TAG}, body=film()
    ),
    "a few zeros at the end": Reply(headers=TAG, body=film() + bytes(4)),
    "many zeros at the end": Reply(body=film() + bytes(128)),
    "a tag at the end": Reply(headers=TAG, body=film() + b"TAG".ljust(128, b"\0")),
    "a tag with a title at the end": Reply(body=film() + b"TAGsome title".ljust(128, b"\0")),
    "a line feed at the end": Reply(body=film() + b"\n"),
}


@pytest.mark.parametrize("how", WHOLE)
async def test_whole_videos_of_all_sorts_are_believed_at_once(tmp_path: Path, how: str) -> None:
    async with hosting(lambda _: WHOLE[how]) as host:
        found = await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == WHOLE[how].body
    assert found.unverified == ""
    assert len(host.asked) == 1


PACKED = gzip.compress(film())
GZIP = {"content-encoding": "gzip"}
UNPACKED = {
    "with a length": Reply(headers=GZIP, body=PACKED),
    "with a tag": Reply(headers={**GZIP, **TAG}, body=PACKED),
    "without a length": Reply(headers=GZIP, body=PACKED, chunked=True),
    "closed at the end": Reply(headers={**GZIP, "content-length": ""}, body=PACKED),
    "packed without a word": Reply(body=PACKED),
    "in two members": Reply(headers=GZIP, body=gzip.compress(film()[:9000]) + gzip.compress(film()[9000:])),
    "in several blocks": Reply(headers=GZIP, body=gzip.compress(film(3_000_000), 0)),
}


@pytest.mark.parametrize("how", UNPACKED)
async def test_a_video_that_its_host_compressed_is_unpacked(tmp_path: Path, how: str) -> None:
    async with hosting(lambda _: UNPACKED[how]) as host:
        found = await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == gzip.decompress(UNPACKED[how].body)
    assert found.unverified == ""
    assert found.digest.size == (tmp_path / "a.mp4").stat().st_size
    assert names(tmp_path) == ["a.mp4", "a.mp4.part.about"]
    assert len(host.asked) == 1


async def test_compressed_bytes_are_continued_by_such_bytes(tmp_path: Path) -> None:
    packed = gzip.compress(film(9000), 0)

    def answer(asked: Asked) -> Reply:
        reply = part(packed, asked, keep=None if asked.first else 5000)
        return attrs.evolve(reply, headers={**reply.headers, **GZIP})

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert [asked.first for asked in host.asked] == [0, 5000]
    assert (tmp_path / "a.mp4").read_bytes() == film(9000)


UNPACKABLE = {
    "its end is missing": (Reply(headers=GZIP, body=PACKED[:-9], chunked=True), "a gzip-compressed file"),
    "its checksum is wrong": (Reply(headers=GZIP, body=PACKED[:-8] + bytes(4) + PACKED[-4:]), "gzip"),
    "its size is wrong": (Reply(headers=GZIP, body=PACKED[:-4] + b"\1\0\0\0"), "gzip"),
    "something follows": (Reply(headers=GZIP, body=PACKED + b"more"), "gzip"),
    "its first bytes alone": (Reply(headers=GZIP, body=PACKED[:3]), "gzip"),
    "a page": (
        Reply(headers=GZIP, body=gzip.compress(PAGE.encode())),
        "a page, which is not the video$",
    ),
    "brotli": (
        Reply(headers={"content-encoding": "br"}, body=random.Random(2).randbytes(9000)),
        r"it says that this is compressed \(br\), though asked not to",
    ),
}


@pytest.mark.parametrize("how", UNPACKABLE)
async def test_what_can_not_be_unpacked_gets_no_name(tmp_path: Path, how: str) -> None:
    reply, words = UNPACKABLE[how]
    async with hosting(lambda _: reply) as host:
        with pytest.raises(DownloadError) as raised:
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert re.search(words, raised.value.message.rstrip("."))
    assert names(tmp_path) == []


@pytest.mark.parametrize("told", [b"", b"\1\0\0\0"], ids=["as it is", "as small"])
async def test_a_bomb_is_not_unpacked(tmp_path: Path, told: bytes) -> None:
    packed = gzip.compress(bytes(65 * 2**20), 1)
    reply = Reply(headers=GZIP, body=packed[: len(packed) - len(told)] + told)
    async with hosting(lambda _: reply) as host:
        with pytest.raises(DownloadError, match="a gzip-compressed file"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert names(tmp_path) == []


async def test_no_more_is_unpacked_than_a_video_may_have(tmp_path: Path) -> None:
    async with hosting(lambda _: Reply(headers=GZIP, body=PACKED)) as host:
        with pytest.raises(DownloadError, match="a gzip-compressed file"):
            await fetch(downloads(max_video_bytes=15_000), f"{host.url}/a.mp4", tmp_path / "a.mp4")


async def test_an_unasked_beginning_is_continued(tmp_path: Path) -> None:
    content = film()

    def answer(asked: Asked) -> Reply:
        if asked.first:
            return part(content, asked)
        headers = {"content-range": f"bytes 0-4999/{len(content)}", **TAG}
        return Reply(status=206, headers=headers, body=content[:5000])

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert [asked.first for asked in host.asked] == [0, 5000]
    assert (tmp_path / "a.mp4").read_bytes() == content


@pytest.mark.parametrize("length", [b"9000", None], ids=["announced", "not announced"])
async def test_several_ranges_in_one_answer_are_refused(tmp_path: Path, length: bytes | None) -> None:
    content = film()
    lie = {
        "content-type": "multipart/byteranges; boundary=x",
        "content-range": f"bytes 0-{len(content) - 1}/{len(content)}",
        **TAG,
    }
    async with hosting(
        lambda _: Reply(status=206, headers=lie, body=content, chunked=length is None)
    ) as host:
        with pytest.raises(DownloadError, match="several ranges"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert names(tmp_path) == []


# The last resort: every announced byte arrived, and still a check refuses.

DAMAGED = {
    "half a video": film()[:9000],
    "a video without its index": film()[:-13],
    "an end that is cut": film()[:-3],
    "the next fragment cut in its header": FRAGMENTS + b"\0\0\0\x08moof\0\0",
    "boxes of no length": FTYP + b"\0\0\0\5abcd" * 9,
}


@pytest.mark.parametrize("etag", ["", '"one"'])
@pytest.mark.parametrize("how", DAMAGED)
async def test_what_arrived_as_announced_is_saved_and_says_that_it_is_not_verified(
    tmp_path: Path, how: str, etag: str
) -> None:
    async with hosting(lambda asked: part(DAMAGED[how], asked, etag=etag)) as host:
        found = await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == DAMAGED[how]
    assert f"all {len(DAMAGED[how]):,} bytes" in found.unverified
    assert [asked.first for asked in host.asked if not asked.first] == [0] * 3


async def test_what_is_different_each_time_is_tried_as_often_as_the_policy_says(tmp_path: Path) -> None:
    async with hosting(lambda _: Reply(body=film()[: 9000 + len(host.asked)])) as host:
        found = await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert found.unverified
    assert 4 <= len(host.asked) <= 6


async def test_a_whole_file_that_comes_the_second_time_is_verified(tmp_path: Path) -> None:
    async with hosting(lambda _: Reply(body=film()[:9000] if len(host.asked) == 1 else film())) as host:
        found = await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert found.unverified == ""
    assert (tmp_path / "a.mp4").read_bytes() == film()


# No length and no tag, and a connection that is closed half-way.


CUT = {
    "an open box": (OPEN_END, len(OPEN_END) - 2),
    "fragments": (FRAGMENTS + box(b"moof", b"") + box(b"mdat", b"more"), len(FRAGMENTS)),
    "Matroska": (b"\x1a\x45\xdf\xa3" + bytes(3000), 2000),
}


@pytest.mark.parametrize("how", CUT)
@pytest.mark.parametrize("etag", ["", '"one"'])
@pytest.mark.parametrize("ranges", [True, False])
async def test_a_video_whose_end_nobody_tells_is_not_believed_after_one_try(
    tmp_path: Path, how: str, etag: str, ranges: bool
) -> None:
    content, keep = CUT[how]

    def answer(asked: Asked) -> Reply:
        cut = content[:keep] if len(host.asked) == 1 else content
        reply = part(content, asked, etag=etag) if ranges else Reply(headers={"etag": etag}, body=cut)
        if asked.first and ranges:
            return reply
        return Reply(headers={"etag": etag, "content-length": ""}, body=cut)

    async with hosting(answer) as host:
        found = await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == content
    assert found.unverified == ""
    assert len(host.asked) >= 2


async def test_a_file_that_is_cut_elsewhere_each_time_is_refused(tmp_path: Path) -> None:
    def answer(_: Asked) -> Reply:
        return Reply(headers={"content-length": ""}, body=OPEN_END + b"x" * len(host.asked))

    async with hosting(answer) as host:
        with pytest.raises(DownloadError, match="does not say where"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert names(tmp_path) == []
    assert len(host.asked) <= 6


# Time and memory.


class CountingReader(io.BufferedReader):
    """A file that counts how often and how much of it is read."""

    calls = 0
    bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.calls += 1
        self.bytes += len(content)
        return content


TINY = {
    "empty boxes": (Kind.VIDEO, box(b"free", b"") * 2**17, 1_100),
    "small boxes": (Kind.VIDEO, box(b"free", b"x") * 2**19, 250_100),
    "lines": (Kind.SUBTITLES, SRT + b"x\n" * 2**19, 4),
    "one line": (Kind.SUBTITLES, SRT + b"0" * 2**20, 4),
    "a line of blanks": (Kind.SUBTITLES, b" " * 2**20, 4),
}


@pytest.mark.parametrize("how", TINY)
def test_millions_of_tiny_pieces_cost_little_time_and_memory(how: str) -> None:
    kind, content, calls = TINY[how]
    file = CountingReader(io.BytesIO(content))  # type: ignore[arg-type]
    began = time.process_time()
    verdict = verify(file, kind, measured=True)

    assert time.process_time() - began < 10
    assert file.calls <= calls
    assert file.bytes < 5 * 2**20
    assert kind is Kind.SUBTITLES or verdict is FileVerdict.INVALID


async def test_empty_boxes_are_refused_also_as_the_last_resort(tmp_path: Path) -> None:
    body = FTYP + box(b"free", b"") * 10_000
    async with hosting(lambda asked: part(body, asked)) as host:
        with pytest.raises(DownloadError, match="could not be downloaded"):
            await fetch(downloads(), f"{host.url}/a", tmp_path / "a.mp4")

    assert names(tmp_path) == []


async def test_subtitles_of_an_absurd_size_are_refused_before_they_are_fetched(tmp_path: Path) -> None:
    headers = {"content-length": str(60 * 2**20)}
    async with hosting(lambda _: Reply(headers=headers, body=SRT)) as host:
        with pytest.raises(DownloadError, match="larger than"):
            await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert len(host.asked) == 1


# Subtitles.


@pytest.mark.parametrize(
    "body",
    [SRT, b"\xef\xbb\xbf" + SRT, SRT.replace(b"\n", b"\r\n"), SRT.decode().encode("utf-16"), SRT + b"\n\n"],
)
async def test_subtitles_are_taken(tmp_path: Path, body: bytes) -> None:
    async with hosting(lambda _: Reply(body=body)) as host:
        await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert (tmp_path / "a.srt").read_bytes() == body


@pytest.mark.parametrize("body", [b"", b"\n", b"no times here\n", film(), b"<html>", SRT[:20], SRT[:60]])
async def test_what_is_no_subtitle_file_gets_no_name(tmp_path: Path, body: bytes) -> None:
    async with hosting(lambda _: Reply(body=body)) as host:
        with pytest.raises(DownloadError):
            await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert names(tmp_path) == []


@pytest.mark.parametrize("end", [SRT, SRT[:-1], SRT[:-4], "1\n0:00:01.0 --> 0:00:02.5\nあ".encode()[:-1]])
async def test_the_end_of_subtitles_is_known_by_asking_for_one_byte_more(tmp_path: Path, end: bytes) -> None:
    async with hosting(lambda asked: part(end, asked)) as host:
        await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert [asked.first for asked in host.asked] == [0, len(end)]
    assert (tmp_path / "a.srt").read_bytes() == end


TWO_CUES = b"1\n00:00:00,000 --> 00:00:02,000\nA\n\n2\n00:00:02,000 --> 00:00:04,000\nB\n"


@pytest.mark.parametrize("keep", range(TWO_CUES.index(b"2\n00") + 1, TWO_CUES.index(b"4,000") + 2))
def test_subtitles_cut_within_the_head_of_a_cue_are_damaged(keep: int) -> None:
    for end in (b"\n", b"\r\n"):
        content = TWO_CUES[:keep].replace(b"\n", end)
        assert verify(io.BytesIO(content), Kind.SUBTITLES, measured=True) is FileVerdict.DAMAGED, content[
            -30:
        ]


@pytest.mark.parametrize("text", [b"B", b"42", b"12:30", b"00:00:02,000", b"1\n2", b"-", b"1.\n\nNo."])
def test_a_text_that_looks_like_the_head_of_a_cue_is_none(text: bytes) -> None:
    content = TWO_CUES[:-2] + text
    assert verify(io.BytesIO(content), Kind.SUBTITLES, measured=False) is FileVerdict.UNKNOWN_END


@pytest.mark.parametrize("keep", [len(SRT) - 3, 38, 39])
async def test_subtitles_cut_after_any_line_are_found_by_that(tmp_path: Path, keep: int) -> None:
    def answer(asked: Asked) -> Reply:
        return part(SRT, asked) if asked.first else Reply(headers={"etag": '"one"'}, body=SRT[:keep])

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert (tmp_path / "a.srt").read_bytes() == SRT


async def test_a_host_that_knows_no_ranges_is_believed_the_second_time(tmp_path: Path) -> None:
    async with hosting(lambda _: Reply(headers={"etag": '"one"'}, body=SRT[:-1])) as host:
        await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert len(host.asked) == 2
    assert (tmp_path / "a.srt").read_bytes() == SRT[:-1]


async def test_a_host_whose_tag_is_never_the_same_is_believed_the_second_time(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return part(SRT, asked, etag=f'"{len(host.asked) % 2}"')

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/a.srt", tmp_path / "a.srt", kind=Kind.SUBTITLES)

    assert len(host.asked) == 2
    assert (tmp_path / "a.srt").read_bytes() == SRT
