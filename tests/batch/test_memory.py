"""A batch holds what is at work and nothing of what has ended, however long the catalog is."""

from __future__ import annotations

import random
from collections.abc import Sized
from pathlib import Path

import anyio
import pytest

from akool_async import Completed, Snapshot, open_batch, open_journal
from akool_async._model.fingerprint import CompactSet, _holds
from akool_async._model.states import State
from akool_async.sandbox import Fault
from tests.client.conftest import Open, video
from tests.client.moments import still_clock, until


async def test_a_batch_without_a_journal_holds_only_what_is_at_work(fast_house: Open) -> None:
    slots, held, ended = 4, [0], 0
    async with fast_house(max_jobs=20, failure_rate=0.2, seed=2) as home:
        home.sandbox.faults.add(Fault(on="create", kind="code", code=1202, nth=3))
        client = await home.client()
        requests = (video(number, key=f"video-{number}") for number in range(30))
        async with open_batch(client, requests, max_in_flight=slots) as batch:
            async for outcome in batch:
                ended += isinstance(outcome, Completed)
                held.append(len(list(batch._state.journal._rows("SELECT id FROM entry"))))
            left = [
                list(batch._state.journal._rows("SELECT id FROM entry")),
                batch._state.unfinished_jobs,
                batch._state.board._turns,
                client.session.opened.scheduler._jobs,
            ]

    assert ended > 15
    assert max(held) <= 2 * slots
    assert [len(each) for each in left] == [0, 0, 0, 0]


def test_every_name_is_seen_once() -> None:
    seen = CompactSet()
    names = [(f"video-{number}", target) for number in range(20_000) for target in ("ja", "fr")]
    random.shuffle(names)

    assert all(seen.add(*name) for name in names)
    assert not any(seen.add(*name) for name in names)
    assert len(seen) == len(names)


def test_names_are_told_apart_where_key_and_target_meet() -> None:
    seen = CompactSet()

    assert seen.add("video-1", "1ja")
    assert seen.add("video-11", "ja")


def test_a_mark_is_found_only_where_marks_begin() -> None:
    first, second = b"aabba", b"abbaa"

    assert _holds(first + second, first)
    assert _holds(first + second, second)
    assert not _holds(first + second, b"bbaab")
    assert _holds(b"xaaaa" + b"aaaaa", b"aaaaa")
    assert not _holds(b"", first)


def test_memory_of_what_was_seen_is_a_few_bytes_a_name() -> None:
    seen = CompactSet()
    for number in range(5000):
        seen.add(f"video-{number}", "ja")

    assert sum(map(len, seen._groups)) == 5 * 5000


async def test_a_job_in_flight_holds_no_raw_answer_and_its_end_does(fast_house: Open) -> None:
    clock = still_clock()
    async with fast_house(clock=clock, progress="linear") as home:
        client = await home.client()
        async with open_batch(client, [video()], max_in_flight=1) as batch:

            def held() -> list[Snapshot]:
                watches = [each.watch for each in batch._state._tracked.values() if each.watch]
                return [watch.state.snapshot for watch in watches if watch.state.snapshot is not None]

            await until(held)
            (waiting,) = held()
            clock.advance(3600.0)
            (outcome,) = [outcome async for outcome in batch]

    assert not waiting.status.terminal
    assert not waiting.raw
    assert outcome.snapshot.raw["video_status"] == 3
    assert outcome.snapshot.created_at is not None


async def test_who_watches_a_job_of_a_batch_sees_its_raw_answers(fast_house: Open) -> None:
    clock = still_clock()
    async with fast_house(clock=clock, progress="linear") as home:
        client = await home.client()
        async with open_batch(client, [video()], max_in_flight=1) as batch:
            await until(lambda: any(one.job_id for one in batch.in_progress()))
            (one,) = batch.in_progress()
            seen = []
            async for snapshot in client.watch(one.job_id):
                seen.append(snapshot)
                clock.advance(20.0)

    assert seen[-1].raw["_id"] == one.job_id
    assert all(snapshot.raw for snapshot in seen[1:])


@pytest.mark.thorough
async def test_planned_orders_are_held_by_the_journal_alone(fast_house: Open, tmp_path: Path) -> None:
    orders, numbers = 600, iter(range(600))
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(clock=still_clock()) as home:
        client = await home.client()
        async with open_batch(client, journal=journal, max_in_flight=1) as batch:

            async def plan() -> None:
                for number in numbers:
                    await batch.submit(video(number))

            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(plan)
            parts = {**vars(batch._submitted), **vars(batch._state)}
            held = {name: len(part) for name, part in parts.items() if isinstance(part, Sized)}
            assert journal.counts()[State.PLANNED] >= orders - 3

    assert held.pop("_works") == orders  # a few bytes for each, so that none is paid under another key
    assert sum(held.values()) < 60
