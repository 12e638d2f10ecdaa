"""Journals in a file and in memory, on both event loops, with a clock that stands still unless moved."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from akool_async._journal import EntryUpdate, Journal, open_journal
from akool_async._model.requests import TranslationRequest
from akool_async._model.states import State

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class StillClock:
    """A wall clock that moves when it is told to."""

    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        return self.moment

    def move(self, **step: float) -> None:
        self.moment += timedelta(**step)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, path: Path) -> str:
    return str(path) if request.param == "file" else ":memory:"


@pytest.fixture
def opened(place: str, clock: StillClock) -> Callable[[], Journal]:
    """Give a function that opens a journal, in a file or in memory."""
    return lambda: open_journal(place, now=clock.now)


@pytest.fixture
def chance() -> random.Random:
    """Random numbers; the seed is printed, and taken from JOURNAL_SEED if that is set."""
    seed = int(os.environ.get("JOURNAL_SEED") or random.SystemRandom().randrange(10**9))
    print(f"JOURNAL_SEED={seed}")
    return random.Random(seed)


def video(key: str | None = "talk", targets: Any = "ja", **options: Any) -> TranslationRequest:
    return TranslationRequest(url="https://example.com/talk.mp4", targets=targets, key=key, **options)


def step(state: State, key: str = "talk", target: str = "ja", **told: Any) -> EntryUpdate:
    if state is State.SUBMITTED:
        told.setdefault("job_id", f"job-{key}-{target}")
    return EntryUpdate(key=key, target=target, state=state, **told)


WAY_TO: dict[State, tuple[State, ...]] = {
    State.PLANNED: (),
    State.SUBMITTING: (State.SUBMITTING,),
    State.SUBMITTED: (State.SUBMITTING, State.SUBMITTED),
    State.COMPLETED: (State.SUBMITTING, State.SUBMITTED, State.COMPLETED),
    State.FAILED: (State.SUBMITTING, State.FAILED),
    State.DELIVERED: (State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DELIVERED),
    State.IN_DOUBT: (State.SUBMITTING, State.IN_DOUBT),
    State.EXPIRED: (State.SUBMITTING, State.SUBMITTED, State.EXPIRED),
}


async def bring_to(journal: Journal, state: State, key: str = "talk", target: str = "ja") -> None:
    """Enter an entry and walk it to a state."""
    await journal.record(EntryUpdate(key=key, target=target, state=State.PLANNED, request=video(key, target)))
    for after in WAY_TO[state]:
        if after is State.SUBMITTING:
            await journal.intend(video(key, target))
        else:
            await journal.record(step(after, key, target))
