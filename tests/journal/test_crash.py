"""Writers that are killed at any moment: what was confirmed is there, and nothing is torn.

AKOOL_TEST_KILLS sets how many are killed, 10 at least.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from akool_async._journal import open_journal
from akool_async._model.states import State
from tests.journal.zygote import STEPS, TARGETS

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]

KILLS = max(10, int(os.environ.get("AKOOL_TEST_KILLS", "10")))
KEYS_FIRST = (0, 120, 0, 1, 3, 10, 40)
"""How many keys a writer has confirmed when it is killed, by turns."""


@attrs.define
class Zygote:
    """The process that forks writers; see `zygote.py`."""

    process: subprocess.Popen[str]

    def kill_one(self, path: Path, turn: int, backend: str, chance: random.Random) -> dict[str, int]:
        """Start a writer, kill it somewhere; give the last step that it confirmed of each key."""
        assert self.process.stdin is not None
        print(path, turn, backend, file=self.process.stdin, flush=True)
        heard: dict[str, int] = {}
        pid, wanted = 0, KEYS_FIRST[turn % len(KEYS_FIRST)]
        while not pid or len(heard) < wanted:
            pid = self._hear(heard) or pid
        time.sleep(chance.choice([0, chance.uniform(0, 0.03), chance.uniform(0, 0.003)]))
        os.kill(pid, signal.SIGKILL)
        while self._hear(heard) is not None:
            pass
        return heard

    def _hear(self, heard: dict[str, int]) -> int | None:
        """Take in a line; give the pid if it is one, 0 if it is a step, None at the end."""
        assert self.process.stdout is not None
        word, _, number = self.process.stdout.readline().strip().partition(" ")
        if word in ("dead", ""):
            assert word, "the zygote died"
            return None
        if word == "pid":
            return int(number)
        assert int(number) == heard.get(word, -1) + 1
        heard[word] = int(number)
        return 0


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.journal.zygote"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        yield Zygote(process)
        assert process.stdin is not None
        process.stdin.close()


async def standing(path: Path) -> dict[str, list[tuple[State, str, int]]]:
    """Open the journal as the next run does; give every key's entries."""
    found: dict[str, list[tuple[State, str, int]]] = {}
    async with open_journal(path) as journal:
        async for entry in journal.entries():
            found.setdefault(entry.key, []).append((entry.state, entry.job_id, entry.paid_submissions))
        assert journal.counts()[State.SUBMITTING] == 0
    return found


def check(found: dict[str, list[tuple[State, str, int]]], heard: dict[str, int]) -> None:
    """Compare what stands there with what was confirmed."""
    after_crash = (State.IN_DOUBT, *STEPS[1:])
    for key, last in heard.items():
        assert key in found, f"{key} was confirmed and is lost"
        state = found[key][0][0]
        assert after_crash.index(state) >= last, f"{key} was {STEPS[last]} and is {state}"
    for key, entries in found.items():
        assert len(entries) == len(TARGETS), f"{key} is torn: {entries}"
        assert len({(state, paid) for state, _, paid in entries}) == 1, f"{key} is torn: {entries}"
        ids = [job_id for _, job_id, _ in entries]
        wanted = ["" if entries[0][0] is State.IN_DOUBT else f"job-{key}-{target}" for target in TARGETS]
        assert ids == wanted


async def test_nothing_confirmed_is_lost_and_nothing_is_torn(
    path: Path, zygote: Zygote, chance: random.Random, anyio_backend_name: str
) -> None:
    heard: dict[str, int] = {}
    confirmed = 0
    for turn in range(KILLS):
        heard |= zygote.kill_one(path, turn, anyio_backend_name, chance)
        if turn % 5 == 4 or turn == KILLS - 1:  # between, the next writer itself is the one that recovers
            check(await standing(path), heard)
            confirmed = sum(last + 1 for last in heard.values())
    assert confirmed > KILLS
    print(f"{KILLS} kills, {confirmed} confirmed steps of {len(heard)} keys")

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_a_kill_while_a_journal_is_made_leaves_none_or_a_whole_one(
    path: Path, zygote: Zygote, chance: random.Random, anyio_backend_name: str
) -> None:
    for turn in range(15):
        fresh = path.with_name(f"{turn}.sqlite3")
        assert zygote.process.stdin is not None
        assert zygote.process.stdout is not None
        print(fresh, turn, anyio_backend_name, file=zygote.process.stdin, flush=True)
        while not (line := zygote.process.stdout.readline()).startswith("pid "):
            assert line  # the writer may speak before the one that forked it
        pid = int(line.split()[1])
        time.sleep(chance.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        while zygote.process.stdout.readline() != "dead\n":
            pass
        check(await standing(fresh), {})
        assert not list(path.parent.glob(".*"))
