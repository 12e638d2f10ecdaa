"""Many callers at once: order is kept, a failure is one caller's own, a cancelled caller tears nothing."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from akool_async._journal import Journal, open_journal
from akool_async._journal.store import GroupCommitWriter
from akool_async._model.errors import IllegalTransitionError, JournalClosedError, JournalWriteError
from akool_async._model.states import State
from tests.journal.conftest import step, video

Opened = Callable[[], Journal]
TASKS, RECORDS = 50, 50


async def test_fifty_tasks_record_fifty_times_each_in_order(opened: Opened) -> None:
    keys = [f"talk-{number}" for number in range(TASKS)]

    async def work(journal: Journal, key: str) -> None:
        for number in range(RECORDS):
            await journal.record(step(State.IN_DOUBT, key, code=number, reason=f"{key} {number}"))
            entry = journal.get(key, "ja")
            assert entry is not None
            assert (entry.code, entry.reason) == (number, f"{key} {number}")

    async with opened() as journal:
        await journal.intend(*map(video, keys))
        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(work, journal, key)

        assert {entry.code async for entry in journal.entries()} == {RECORDS - 1}
        assert journal.counts()[State.IN_DOUBT] == TASKS


async def test_changes_of_one_entry_are_written_in_the_order_in_which_they_were_handed_in(path: Path) -> None:
    async with open_journal(path) as journal:
        await journal.intend(video())
        async with anyio.create_task_group() as tasks:
            for state in (State.SUBMITTED, State.COMPLETED, State.DELIVERED):
                tasks.start_soon(journal.record, step(state))
                await anyio.lowlevel.checkpoint()  # trio starts tasks in any order

        assert journal.counts()[State.DELIVERED] == 1


async def test_a_refused_change_fails_only_its_own_caller(opened: Opened) -> None:
    ended: dict[str, str] = {}

    async def work(journal: Journal, key: str) -> None:
        try:
            if int(key) % 3 == 1:
                await journal.record(step(State.FAILED, key), step(State.DELIVERED, key))
            else:
                await journal.record(step(State.DELIVERED if int(key) % 3 else State.SUBMITTED, key))
            ended[key] = "done"
        except IllegalTransitionError:
            ended[key] = "refused"

    keys = [str(number) for number in range(60)]
    async with opened() as journal:
        await journal.intend(*map(video, keys))
        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(work, journal, key)

        assert ended == {key: "refused" if int(key) % 3 else "done" for key in keys}
        counts = journal.counts()
        assert (counts[State.SUBMITTED], counts[State.SUBMITTING], counts[State.FAILED]) == (20, 40, 0)


async def test_only_one_of_two_intents_at_once_wins(opened: Opened) -> None:
    won: list[int] = []

    async def work(journal: Journal, number: int) -> None:
        try:
            await journal.intend(video("talk", ("ja", "fr")))
            won.append(number)
        except IllegalTransitionError:
            pass

    async with opened() as journal:
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(work, journal, number)

        assert len(won) == 1
        entry = journal.get("talk", "fr")
        assert entry is not None
        assert entry.paid_submissions == 1


async def test_the_group_is_what_came_in_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty callers at once cost two or three commits, not fifty."""
    sizes: list[int] = []
    async with open_journal(path) as journal:
        store = journal._opened.store
        commit = store.commit
        monkeypatch.setattr(store, "commit", lambda tickets: (sizes.append(len(tickets)), commit(tickets)))
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(journal.intend, video(f"talk-{number}"))

    assert sum(sizes) == 50
    assert len(sizes) <= 3


# Cancellation.


async def test_a_cancelled_record_is_written_all_the_same(opened: Opened) -> None:
    async with opened() as journal:
        await journal.intend(video())
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.record(step(State.SUBMITTED))

        await journal.record()
        assert scope.cancelled_caught
        entry = journal.get("talk", "ja")
        assert entry is not None
        assert entry.state is State.SUBMITTED


async def test_a_cancelled_intent_is_not_made(opened: Opened) -> None:
    async with opened() as journal:
        await journal.record(step(State.PLANNED, "planned", request=video("planned")))
        before = journal.get("planned", "ja")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.intend(video("new"), video("planned"))

        await journal.record()
        assert scope.cancelled_caught
        assert journal.get("new", "ja") is None
        assert journal.get("planned", "ja") == before


async def test_an_intent_that_is_cancelled_while_it_is_written_is_taken_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(path) as journal:
        await journal.record(step(State.PLANNED, "planned", request=video("planned")))
        before, counted = journal.get("planned", "ja"), journal.counts()
        store, token, scope = journal._opened.store, anyio.lowlevel.current_token(), anyio.CancelScope()
        commit, written = store.commit, []

        def commit_and_cancel(tickets: object) -> None:
            commit(tickets)  # type: ignore[arg-type]
            if not written:
                written.append(journal.counts())
                anyio.from_thread.run_sync(scope.cancel, token=token)

        monkeypatch.setattr(store, "commit", commit_and_cancel)
        with scope:
            await journal.intend(video("new", ("ja", "fr")), video("planned"))
        assert scope.cancelled_caught
        assert written

        await journal.record()
        assert journal.get("new", "ja") is None
        assert journal.get("new", "fr") is None
        assert journal.get("planned", "ja") == before
        assert journal.counts() == counted


async def test_a_refused_intent_that_is_cancelled_takes_nothing_of_another_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first was refused over its second entry; the first entry is another caller's by now."""
    async with open_journal(path) as journal:
        await journal.intend(video("taken"))
        store, token, scope = journal._opened.store, anyio.lowlevel.current_token(), anyio.CancelScope()
        commit, once = store.commit, []

        def commit_and_cancel(tickets: object) -> None:
            commit(tickets)  # type: ignore[arg-type]
            if not once:
                once.append(True)
                anyio.from_thread.run_sync(scope.cancel, token=token)

        async def refused() -> None:
            with scope:
                await journal.intend(video("talk"), video("taken"))

        async with anyio.create_task_group() as tasks:
            monkeypatch.setattr(store, "commit", commit_and_cancel)
            tasks.start_soon(refused)
            while not once:
                await anyio.sleep(0.001)
            await journal.intend(video("talk"))
        await journal.record()

        entry = journal.get("talk", "ja")
        assert entry is not None
        assert (entry.state, entry.paid_submissions) == (State.SUBMITTING, 1)


async def test_cancellation_at_random_moments_tears_nothing(opened: Opened, chance: random.Random) -> None:
    """Every intent is whole or gone; every record that returned is there; counts agree."""
    returned: dict[str, State] = {}
    given_up: set[str] = set()

    async def work(journal: Journal, key: str, patience: float) -> None:
        with anyio.move_on_after(patience) as scope:
            await journal.intend(video(key, ("ja", "fr", "de")))
            returned[key] = State.SUBMITTING
            await journal.record(*(step(State.SUBMITTED, key, target) for target in ("ja", "fr", "de")))
            returned[key] = State.SUBMITTED
            await journal.record(*(step(State.COMPLETED, key, target) for target in ("ja", "fr", "de")))
            returned[key] = State.COMPLETED
        if scope.cancelled_caught:
            given_up.add(key)

    keys = [f"talk-{number}" for number in range(150)]
    order = [State.SUBMITTING, State.SUBMITTED, State.COMPLETED]
    async with opened() as journal:
        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(work, journal, key, chance.uniform(0, 0.06))
                await anyio.lowlevel.checkpoint()
        await journal.record()
        found = {
            key: {entry and entry.state for entry in (journal.get(key, t) for t in ("ja", "fr", "de"))}
            for key in keys
        }

        for key, states in found.items():
            (state,) = states
            least = returned.get(key)
            assert least is None or (state is not None and order.index(state) >= order.index(least))
            assert state is not State.SUBMITTING or key in returned or key not in given_up
        seen = [entry.state async for entry in journal.entries()]
        assert {state: number for state, number in journal.counts().items() if number} == {
            state: seen.count(state) for state in set(seen)
        }
    print(f"{len(given_up)} of {len(keys)} given up")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_natively_cancelled_tasks_tear_nothing(path: Path, chance: random.Random) -> None:
    """Tasks that asyncio itself cancels, which no shield of anyio keeps off."""
    import asyncio

    returned: set[str] = set()

    async def work(journal: Journal, key: str) -> None:
        await journal.intend(video(key, ("ja", "fr")))
        returned.add(key)
        await anyio.sleep_forever()

    async with open_journal(path) as journal:
        keys = [f"talk-{number}" for number in range(120)]
        tasks = {key: asyncio.ensure_future(work(journal, key)) for key in keys}
        for key in chance.sample(keys, 100):
            await anyio.sleep(chance.choice([0, 0, 0, 0.0005]))
            tasks[key].cancel()
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        await journal.record()

        for key in keys:
            there = [journal.get(key, target) is not None for target in ("ja", "fr")]
            assert there == [key in returned] * 2
    async with open_journal(path) as journal:
        assert journal.recovered_count == 2 * len(returned)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_natively_cancelled_opening_leaves_no_lock_behind(path: Path) -> None:
    import asyncio

    for turns in range(6):

        async def hold() -> None:
            async with open_journal(path):
                await anyio.sleep_forever()

        task = asyncio.ensure_future(hold())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async with open_journal(path) as journal:
        assert journal.recovered_count == 0


async def test_closing_writes_what_was_handed_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One commit is under way when the journal is closed, and the rest is waiting for the next."""
    keys = [str(number) for number in range(30)]
    started, closing = [], threading.Event()
    async with anyio.create_task_group() as tasks, open_journal(path) as journal:
        await journal.intend(*map(video, keys))
        writer, store = journal._opened.writer, journal._opened.store
        assert isinstance(writer, GroupCommitWriter)
        commit, close = store.commit, writer.close

        def commit_while_closing(tickets: object) -> None:
            started.append(True)
            assert closing.wait(50)
            commit(tickets)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "commit", commit_while_closing)
        monkeypatch.setattr(writer, "close", lambda: (close(), closing.set()))
        tasks.start_soon(journal.record, step(State.SUBMITTED, keys[0]))
        while not started:
            await anyio.sleep(0.001)
        for key in keys[1:]:
            tasks.start_soon(journal.record, step(State.SUBMITTED, key))
        while len(writer._group.operations) < len(keys) - 1:
            await anyio.lowlevel.checkpoint()
    async with open_journal(path) as journal:
        assert len(started) == 2
        assert journal.counts()[State.SUBMITTED] == 30


async def test_a_journal_in_a_cancelled_scope_still_takes_what_is_shielded(path: Path) -> None:
    """The ids of a POST that finishes while everything around it is cancelled."""
    with anyio.CancelScope() as scope:
        async with open_journal(path) as journal:
            await journal.intend(video())
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
                await journal.record(step(State.SUBMITTED))
    assert not journal._state
    async with open_journal(path) as journal:
        assert journal.recovered_count == 0
        assert journal.counts()[State.SUBMITTED] == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("in_commit", [True, False])
async def test_a_writer_that_the_end_of_the_loop_cancels_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, in_commit: bool
) -> None:
    """As `asyncio.run` does with what is left; callers are told, the file is closed and the lock is free."""
    import asyncio

    told: list[str] = []
    go_on = threading.Event()

    async def late(journal: Journal) -> None:
        try:
            await journal.record(step(State.SUBMITTED))
        except JournalWriteError as error:
            told.append(str(error))

    async def run() -> None:
        async with open_journal(path) as journal:
            await journal.intend(video())
            store = journal._opened.store
            commit = store.commit
            monkeypatch.setattr(store, "commit", lambda tickets: (go_on.wait(50), commit(tickets)))
            writer = next(task for task in asyncio.all_tasks() if task.get_name() == "journal writer")
            waiting = asyncio.ensure_future(late(journal))
            for _ in range(10 if in_commit else 1):
                await asyncio.sleep(0)
            writer.cancel()
            threading.Timer(0.01, go_on.set).start()
            await asyncio.wait([waiting])
            with pytest.raises(JournalClosedError):
                await journal.record()

    with suppress(asyncio.CancelledError):
        await asyncio.ensure_future(run())
    assert len(told) == 1
    assert "torn down" in told[0]
    async with open_journal(path) as journal:
        assert journal.counts()[State.SUBMITTED] + journal.counts()[State.IN_DOUBT] == 1


async def test_nothing_is_taken_after_closing(path: Path) -> None:
    async with open_journal(path) as journal:
        writer = journal._opened.writer
        assert writer is not None
    with pytest.raises(JournalClosedError):
        await writer.write(lambda table: None)  # type: ignore[arg-type]
