"""What a batch tells of the entries that it has at work."""

from __future__ import annotations

from pathlib import Path

import anyio

from akool_async import (
    Batch,
    EntryProgress,
    Event,
    NotSubmitted,
    Observer,
    Stage,
    Status,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Fault
from tests.client.conftest import Open, video
from tests.client.moments import still_clock, until


async def processed(batch: Batch) -> EntryProgress:
    """Wait until the only entry at work is processed."""
    with anyio.fail_after(55):
        while [one.stage for one in batch.in_progress()] != [Stage.PROCESSING]:
            await anyio.sleep(0.005)
    return batch.in_progress()[0]


async def test_every_entry_is_shown_from_its_turn_to_its_end(house: Open) -> None:
    seen: dict[str, list[EntryProgress]] = {}
    clock = still_clock()

    def look() -> None:
        for one in batch.in_progress():
            seen.setdefault(f"{one.key} {one.target}", []).append(one)

    def at(stage: Stage) -> set[str]:
        return {one.job_id for one in batch.in_progress() if one.stage is stage}

    class Looking(Observer):
        def on_event(self, event: Event) -> None:
            look()

    async with house(clock=clock, max_jobs=2, progress="linear") as home:
        client = await home.client(observers=[Looking()])
        requests = [video(number, targets="ja,fr", key=f"video-{number}") for number in range(2)]

        async def let_time_pass() -> None:
            await until(lambda: len(at(Stage.QUEUEING)) == len(at(Stage.PROCESSING)) == 2)
            while True:
                processed = {job.id for job in home.sandbox.audit.jobs if job.status == Status.PROCESSING}
                await until(lambda processed=processed: at(Stage.PROCESSING) == processed)
                look()
                clock.advance(10.0)
                await anyio.sleep(0.002)  # for the batch, when nothing is left to wait for

        async with open_batch(client, requests, max_in_flight=4) as batch, anyio.create_task_group() as tasks:
            tasks.start_soon(let_time_pass)
            outcomes = [outcome async for outcome in batch]
            tasks.cancel_scope.cancel()

            assert batch.in_progress() == ()

    assert len(outcomes) == 4
    assert set(seen) == {f"{outcome.key} {outcome.target}" for outcome in outcomes}
    for shown in seen.values():
        stages = [one.stage for one in shown]
        told = [one.progress for one in shown if one.progress is not None]
        assert stages == sorted(stages, key=list(Stage).index)
        assert Stage.SUBMITTING in stages
        assert Stage.PROCESSING in stages
        assert told == sorted(told)
        assert shown[-1].job_id in {job.id for job in home.sandbox.audit.jobs}
    waited = [shown for shown in seen.values() if Stage.QUEUEING in {one.stage for one in shown}]
    assert len(waited) >= 2  # the account works at two at once


async def test_what_is_refused_or_in_doubt_is_not_at_work_any_more(house: Open) -> None:
    faults = [
        Fault(on="create", kind="refuse_language", language="fr", code=1003, limit=1),
        Fault(on="create", kind="omit_language", language="hi", limit=1),
    ]
    async with house(time_scale=1e-6, faults=faults) as home:
        client = await home.client()
        async with open_batch(client, [video(targets="ja,fr,hi")], max_in_flight=3) as batch:
            ended = {(await anext(batch)).target, (await anext(batch)).target}

            assert ended == {"fr", "hi"}
            assert [one.target for one in batch.in_progress()] == ["ja"]


async def test_a_resumed_job_is_as_old_as_it_is(house: Open, tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite3"
    async with house(time_scale=1e-6) as home:
        client = await home.client()
        async with (
            open_journal(path) as journal,
            open_batch(client, [video(key="a")], journal=journal) as batch,
        ):
            first = await processed(batch)
        async with (
            open_journal(path) as journal,
            open_batch(client, [video(key="a")], journal=journal) as batch,
        ):
            again = await processed(batch)

    assert first.job_id == again.job_id
    assert again.seconds >= 0.0
    assert not again.stalled


async def test_an_entry_that_the_budget_does_not_allow_is_not_at_work(house: Open) -> None:
    async with house(credits_per_10s=10.0, time_scale=1e-6) as home:
        client = await home.client()
        requests = [video(number) for number in range(3)]
        async with open_batch(client, requests, max_credits=20) as batch:
            ended = [await anext(batch), await anext(batch)]

            assert {type(outcome).__name__ for outcome in ended} == {"NotSubmitted"}
            assert len(batch.in_progress()) == 1


async def test_a_row_that_stands_twice_does_not_hide_the_one_at_work(house: Open) -> None:
    async with house(time_scale=1e-6) as home:
        client = await home.client()
        async with open_batch(client, [video(key="a"), video(key="a")]) as batch:
            assert isinstance(await anext(batch), NotSubmitted)
            assert (await processed(batch)).key == "a"
