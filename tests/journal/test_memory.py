"""The journal in memory runs inline: no thread, no file, and fast enough for a simulation."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from akool_async._journal import open_journal
from akool_async._model.states import State
from tests.journal.conftest import bring_to, step

pytestmark = pytest.mark.anyio


async def test_it_uses_no_thread_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.chdir(tmp_path)
    async with open_journal(Path(":memory:")) as journal:
        await bring_to(journal, State.DELIVERED)
        assert [entry.state async for entry in journal.entries()] == [State.DELIVERED]

    assert list(tmp_path.iterdir()) == []


async def test_it_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_journal(":memory:") as first, open_journal(":memory:") as second:
        await bring_to(first, State.PLANNED)
        assert second.get("talk", "ja") is None
    async with open_journal(":memory:") as journal:
        assert journal.get("talk", "ja") is None


async def test_it_is_fast_enough_for_a_simulation() -> None:
    """A bound that only a wait or a thread would break: 2 ms of CPU for a record that takes about 0.1."""
    async with open_journal(":memory:") as journal:
        await bring_to(journal, State.SUBMITTED)
        begin = time.process_time()
        for _ in range(500):
            await journal.record(step(State.SUBMITTED, credits_locked=1.0))

        assert time.process_time() - begin < 1.0
