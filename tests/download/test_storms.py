"""Hundreds of downloads over lines that break at random: each ends with the same bytes, or without its name.

AKOOL_TEST_DOWNLOADS sets how many there are.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from itertools import chain
from pathlib import Path

import anyio
import pytest

from akool_async import DownloadError
from akool_async._download.verify import Kind
from tests.download.conftest import SRT, downloads, fetch, film, names
from tests.download.host import Asked, Reply, hosting, part
from tests.download.proxy import KINDS, proxying

pytestmark = pytest.mark.timeout(900)

DOWNLOADS = int(os.environ.get("AKOOL_TEST_DOWNLOADS", "24"))
AT_ONCE = 8


async def test_what_comes_home_through_a_storm_is_equal_byte_by_byte(tmp_path: Path) -> None:
    base = random.randrange(2**32)
    print(f"seed {base}")
    seen: Counter[str] = Counter()
    # Some are the same each time: with them a download is resumed, whatever the others meet.
    known = range(-9 if DOWNLOADS > 9 else 0, 0)
    seeds = chain(known, range(base, base + DOWNLOADS - len(known)))

    async def work() -> None:
        for seed in seeds:
            folder = tmp_path / str(seed)
            folder.mkdir()
            try:
                seen.update(await _storm(seed, folder))
            except BaseException:
                print(f"broken by seed {seed}")
                raise

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(work)

    print(dict(seen))
    assert seen["whole"] == DOWNLOADS
    assert seen["resumed"]
    assert min(seen[kind] for kind in KINDS) > 0


async def _storm(seed: int, folder: Path) -> Counter[str]:
    """Bring one file home through one seeded proxy, in as many runs as that takes."""
    chance = random.Random(seed)
    subtitles = chance.random() < 0.2
    content = (
        SRT * chance.randint(1, 40) if subtitles else film(chance.choice([0, 10, 5_000, 300_000, 900_000]))
    )
    etag = chance.choice(['"one"', '"one"', '"one"', 'W/"one"', ""])
    chunked = chance.random() < 0.2

    def answer(asked: Asked) -> Reply:
        reply = part(content, asked, etag) if etag == '"one"' else Reply(headers={"etag": etag}, body=content)
        chunks = chunked and reply.status == 200
        return Reply(status=reply.status, headers=reply.headers, body=reply.body, chunked=chunks)

    name = "a.srt" if subtitles else "a.mp4"
    target = folder / name
    downloader = downloads(slow_window=0.1, min_bytes=1, connect=2.0)
    counts: Counter[str] = Counter()
    async with hosting(answer) as host, proxying(host.url, seed, len(content) + 600) as proxy:
        while "whole" not in counts:
            kind = Kind.SUBTITLES if subtitles else Kind.VIDEO
            patience = chance.choice([None, None, 0.02, 0.1])
            with anyio.move_on_after(patience):
                try:
                    await fetch(downloader, f"{proxy.url}/a.mp4?token={seed}", target, kind=kind)
                    counts["whole"] += 1
                except DownloadError:
                    counts["given up"] += 1
            _check(folder, name, content, whole=target.exists())
            assert "whole" in counts or not target.exists() or patience
            if target.exists() and "whole" not in counts:  # cancelled just when it was done
                counts["whole"] += 1
        counts["resumed"] += any(asked.first for asked in host.asked)
    return counts + proxy.seen


def _check(folder: Path, name: str, content: bytes, *, whole: bool) -> None:
    allowed = {name, f"{name}.part", f"{name}.part.about"}
    assert set(names(folder)) <= allowed
    if whole:
        assert (folder / name).read_bytes() == content
        assert not (folder / f"{name}.part").exists()
    elif (folder / f"{name}.part").exists():
        assert content.startswith((folder / f"{name}.part").read_bytes())
