"""kill -9 in the middle of an upload, and at each step on the way into a bucket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from tests.client.conftest import KEY, Open
from tests.storage.conftest import TestBucket

pytestmark = pytest.mark.thorough

SIZE = 9_000_000
"""Two parts of an upload."""


def start(step: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "tests.storage.killed", step, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill_there(step: str, arguments: Sequence[str]) -> str:
    """Start a run, kill it when it says that it has come to a step, and return what it said."""
    run = start(step, arguments)
    assert run.stdout is not None
    said = run.stdout.readline()
    run.kill()
    run.communicate()
    return said.strip()


def finish(arguments: Sequence[str]) -> list[str]:
    said, _ = start("nowhere", arguments).communicate(timeout=500)
    return json.loads(said.splitlines()[-1])


@pytest.mark.parametrize(
    ("step", "visible", "posts"),
    [
        ("upload", [], 0),
        ("part", [], 1),
        pytest.param("copy", ["out/talk.ja.mp4.part"], 1),
        pytest.param("copied", ["out/talk.ja.mp4", "out/talk.ja.mp4.part"], 1),
        pytest.param(
            "manifest",
            ["out/talk.ja.mp4", "out/talk.ja.original.srt", "out/talk.ja.srt"],
            1,
        ),
    ],
)
@pytest.mark.timeout(600)
async def test_a_killed_run_leaves_no_half_and_the_next_pays_nothing_again(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, step: str, visible: list[str], posts: int
) -> None:
    talk = tmp_path / "talk.mp4"
    talk.write_bytes(os.urandom(SIZE))
    async with fast_house(result_bytes=SIZE) as home:
        arguments = [home.server.base_url, KEY, str(talk), bucket.url, str(tmp_path / "j.sqlite3")]
        with anyio.fail_after(500):
            said = await run_sync(kill_there, step, arguments)
            # A part has a name of its own in each run.
            names = [re.sub(r"\.[\w-]{8}\.part$", ".part", name) for name in bucket.names]
            seen = [name for name in names if name.startswith("out/")]
            halves = {name: len(bucket.content(name)) for name in bucket.names if ".mp4" in name}
            before = len(home.sandbox.audit.creates)
            ended = await run_sync(finish, arguments)

        assert (said, ended) == ("here", ["Completed", ""])
        assert len(home.sandbox.audit.creates) == 1
    assert (seen, before) == (visible, posts)
    assert set(halves.values()) <= {SIZE}, halves
    assert [name for name in bucket.names if not name.startswith("out/talk.ja.")] == []
    assert sorted(name.removeprefix("out/talk.ja") for name in bucket.names if ".part" not in name) == [
        ".json",
        ".mp4",
        ".original.srt",
        ".srt",
    ]
    assert len(bucket.content("out/talk.ja.mp4")) == SIZE
