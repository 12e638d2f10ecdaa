"""Entries that a caller takes back, while the journal has not said yet whether that may be."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import attrs
import pytest
from anyio.abc import TaskGroup

from akool_async import (
    Batch,
    Completed,
    Failed,
    InDoubt,
    InvalidRequestError,
    Journal,
    JournalWriteError,
    NotSubmitted,
    Outcome,
    State,
    StopCause,
    Ticket,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal import EntryUpdate
from akool_async._journal.operations import WithdrawPlanned
from akool_async._journal.store import Store
from akool_async.sandbox import Fault
from tests.client.conftest import House, Open, video
from tests.client.moments import held_back, until

TURNS = 200
"""Turns of the loop in which a batch would drop what it takes for taken back."""


@attrs.define
class Decision:
    """What the journal says of a withdrawal, held back in its thread."""

    asked: threading.Event = attrs.field(factory=threading.Event)
    told: threading.Event = attrs.field(factory=threading.Event)


@contextmanager
def held_decision(*, committed: bool = False) -> Iterator[Decision]:
    """Hold back each commit of a withdrawal, or with `committed` what is told of it."""
    decision, commit = Decision(), Store.commit

    def hold(store: Store, operations: Any) -> None:
        withdraws = any(isinstance(each.operation, WithdrawPlanned) for each in operations)
        if committed:
            commit(store, operations)
        if withdraws:
            decision.asked.set()
            decision.told.wait(30)
        if not committed:
            commit(store, operations)

    with mock.patch.object(Store, "commit", hold):
        try:
            yield decision
        finally:
            decision.told.set()


class Caller:
    """Cancels an entry, submits it and waits for its outcome, each in a task."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.cancelled: bool | JournalWriteError | None = None
        self.refused = ""
        self.outcome: Outcome | None = None

    async def cancel(self) -> None:
        try:
            self.cancelled = await self.batch.cancel("k", "ja")
        except JournalWriteError as error:
            self.cancelled = error

    async def submit(self, number: int = 1) -> None:
        try:
            self.outcome = await (await self.batch.submit(video(number, key="k"))).outcome()
        except InvalidRequestError as error:
            self.refused = str(error)

    async def wait(self) -> None:
        self.outcome = await self.batch.outcome("k", "ja")


async def turns() -> None:
    for _ in range(TURNS):
        await anyio.lowlevel.checkpoint()


async def begin_to_take_back(batch: Batch, tasks: TaskGroup, decision: Decision) -> Caller:
    """Submit an entry, wait for it, and cancel it; return while the journal decides."""
    caller = Caller(batch)
    await batch.submit(video(1, key="k"))
    tasks.start_soon(caller.wait)
    tasks.start_soon(caller.cancel)
    await until(decision.asked.is_set)
    await turns()
    return caller


@attrs.frozen
class Stays:
    """An entry that an earlier run has left, and that can't be taken back.

    Attributes:
        state: what the journal says of it.
        ends: its outcome in this run.
        posts: paid calls of both runs.
        submitted: whether it is submitted again before its caller tries to take it back.
        fault: what the vendor did in the earlier run.
        options: of this run's batch.
    """

    state: State
    ends: type[Outcome]
    posts: int
    submitted: bool = False
    fault: str = ""
    options: dict[str, Any] = attrs.field(factory=dict)


FAILS, DOUBTED = "create:job_fails:nth=1", "create:reset_after:nth=1"
STAYS = {
    "at the vendor": Stays(State.SUBMITTED, Completed, 1),
    "at the vendor, submitted": Stays(State.SUBMITTED, Completed, 1, submitted=True),
    "in doubt": Stays(State.IN_DOUBT, InDoubt, 1, fault=DOUBTED),
    "paid again": Stays(State.IN_DOUBT, Completed, 2, fault=DOUBTED, options={"on_in_doubt": "resubmit"}),
    "failed": Stays(State.FAILED, Failed, 1, submitted=True, fault=FAILS),
    "retried": Stays(State.FAILED, Completed, 2, submitted=True, fault=FAILS, options={"retry_failed": True}),
}


@pytest.mark.parametrize("left", STAYS)
async def test_what_can_not_be_taken_back_goes_on_as_if_nobody_had_tried(
    house: Open, tmp_path: Path, left: str
) -> None:
    stays = STAYS[left]
    faults = [Fault.parse(stays.fault)] if stays.fault else []
    scale = 1.0 if stays.state is State.SUBMITTED else 2000.0
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        house(faults=faults, time_scale=scale) as home,
    ):
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                await batch.submit(video(1, key="k"))
                await until(lambda: journal.counts()[stays.state])
            home.sandbox.engine.clock.scale = 2000.0
            with held_decision() as decision:
                async with (
                    open_batch(client, journal=journal, **stays.options) as batch,
                    anyio.create_task_group() as tasks,
                ):
                    caller = Caller(batch)
                    if stays.submitted:
                        await batch.submit(video(1, key="k"))
                        tasks.start_soon(caller.wait)
                    tasks.start_soon(caller.cancel)
                    await until(decision.asked.is_set)
                    await turns()
                    decision.told.set()
                    await until(lambda: caller.cancelled is not None)
                    if not stays.submitted:
                        tasks.start_soon(caller.wait)
                    await until(lambda: caller.outcome is not None)

        assert len(home.sandbox.audit.creates) == stays.posts
    assert caller.cancelled is False
    assert isinstance(caller.outcome, stays.ends)


async def test_what_the_journal_could_not_take_back_is_sent(
    house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_step: WithdrawPlanned, _table: object) -> None:
        raise JournalWriteError("The journal can't be written.")

    monkeypatch.setattr(WithdrawPlanned, "__call__", fail)
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        with anyio.fail_after(55), held_decision() as decision:
            async with open_batch(client, journal=journal) as batch, anyio.create_task_group() as tasks:
                caller = await begin_to_take_back(batch, tasks, decision)
                assert not home.sandbox.audit.creates  # it may yet be taken back
                decision.told.set()
                await until(lambda: caller.outcome is not None)

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(caller.cancelled, JournalWriteError)
    assert isinstance(caller.outcome, Completed)


async def test_what_is_taken_back_is_not_sent_while_the_journal_decides(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        with anyio.fail_after(55), held_decision() as decision:
            async with open_batch(client, journal=journal) as batch, anyio.create_task_group() as tasks:
                caller = await begin_to_take_back(batch, tasks, decision)
                decision.told.set()
                await until(lambda: caller.outcome is not None)
                assert isinstance(await (await batch.submit(video(2))).outcome(), Completed)

        assert [job.url for job in home.sandbox.audit.jobs] == [video(2).url]
    assert caller.cancelled is True
    assert isinstance(caller.outcome, NotSubmitted)


@pytest.mark.parametrize("committed", [False, True])
async def test_what_is_submitted_again_meanwhile_is_sent_once(
    house: Open, tmp_path: Path, committed: bool
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        with anyio.fail_after(55), held_decision(committed=committed) as decision:
            async with open_batch(client, journal=journal) as batch, anyio.create_task_group() as tasks:
                caller = Caller(batch)
                await batch.submit(video(1, key="k"))
                tasks.start_soon(caller.cancel)
                await until(decision.asked.is_set)
                tasks.start_soon(caller.submit)
                await turns()
                decision.told.set()
                await until(lambda: caller.outcome is not None)
                assert isinstance(await (await batch.submit(video(2))).outcome(), Completed)
                entry = journal.get("k", "ja")

        assert sorted(job.url for job in home.sandbox.audit.jobs) == [video(1).url, video(2).url]
    assert caller.cancelled is True
    assert isinstance(caller.outcome, Completed)
    assert entry is not None
    assert entry.state is State.DELIVERED


@pytest.mark.parametrize("committed", [False, True])
async def test_a_key_that_is_being_freed_names_no_other_work_yet(
    house: Open, tmp_path: Path, committed: bool
) -> None:
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        house(time_scale=1.0) as home,
    ):
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=1) as batch:
                first = await batch.submit(video(0))
                await until(lambda: journal.counts()[State.SUBMITTED])
                await batch.submit(video(1, key="k"))  # it waits for the slot
                await until(lambda: batch.statistics().pulled == 2)
                caller = Caller(batch)
                with held_decision(committed=committed) as decision:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(caller.cancel)
                        await until(decision.asked.is_set)
                        tasks.start_soon(caller.submit, 2)
                        await turns()
                        decision.told.set()
                home.sandbox.engine.clock.scale = 2000.0
                await first.outcome()
                await (await batch.submit(video(3))).outcome()

        assert [job.url for job in home.sandbox.audit.jobs] == [video(0).url, video(3).url]
    assert caller.cancelled is True
    assert "taken back" in caller.refused


@attrs.frozen
class Queue:
    """A batch whose only slot is taken, so that what is submitted waits for it."""

    house: House
    journal: Journal
    batch: Batch

    async def submit(self, signature: str, *, key: str = "k", number: int = 1) -> Ticket:
        """Submit an order with a URL that is signed, and a webhook that is named after its signature."""
        url = f"https://example.com/{number}.mp4?X-Amz-Signature={signature}"
        hook = f"https://hooks.example/{signature}"
        return await self.batch.submit(TranslationRequest(url=url, targets="ja", key=key, webhook_url=hook))

    async def pulled(self) -> None:
        """Wait until the batch holds two orders: one at the vendor, one that waits for its slot."""
        await until(lambda: self.batch.statistics().pulled == 2)

    def free(self) -> None:
        """Let the jobs end."""
        self.house.sandbox.engine.clock.scale = 2000.0

    @property
    def sent(self) -> list[tuple[str, str | None]]:
        """The URL and the webhook of each paid call, but for the first one's."""
        posts = [create.payload for create in self.house.sandbox.audit.creates]
        return [(str(post["url"]), post.get("webhookUrl")) for post in posts[1:]]


@asynccontextmanager
async def queue(house: Open, folder: Path, **options: Any) -> AsyncIterator[Queue]:
    async with open_journal(folder / "j.sqlite3") as journal, house(time_scale=1.0) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=1, **options) as batch:
                await batch.submit(video(0))
                await until(lambda: journal.counts()[State.SUBMITTED])
                yield Queue(home, journal, batch)


def sent_as(signature: str, number: int = 1) -> tuple[str, str]:
    return (
        f"https://example.com/{number}.mp4?X-Amz-Signature={signature}",
        f"https://hooks.example/{signature}",
    )


@pytest.mark.parametrize("orders", ["old new newest", "old - new", "first - second - third"])
async def test_what_waits_is_sent_as_it_was_submitted_last(house: Open, tmp_path: Path, orders: str) -> None:
    """What was taken back in between ("-") is not sent in place of it."""
    async with queue(house, tmp_path) as waiting:
        for order in orders.split():
            if order == "-":
                assert await waiting.batch.cancel("k", "ja")
            else:
                ticket = await waiting.submit(order)
                await waiting.pulled()
        waiting.free()
        outcome = await ticket.outcome()
        entry = waiting.journal.get("k", "ja")

    assert isinstance(outcome, Completed)
    assert waiting.sent == [sent_as(order)]
    assert entry is not None
    assert entry.request.webhook_url == f"https://hooks.example/{order}"


async def test_what_was_taken_back_is_not_in_flight_while_its_task_waits_for_its_turn(
    house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client, counted = await home.client(), []
        with anyio.fail_after(55), held_back(home.sandbox, "create") as answer:
            async with open_batch(client, journal=journal, max_submits=1) as batch:
                first = await batch.submit(video(1))
                ticket = await batch.submit(video(2, key="k"))
                await until(lambda: batch.statistics().in_flight == 2)
                assert await batch.cancel("k", "ja")
                counted.append(batch.statistics().in_flight)
                assert isinstance(await ticket.outcome(), NotSubmitted)
                answer()
                assert isinstance(await first.outcome(), Completed)
                await until(lambda: batch.statistics().in_flight == 0)

        assert [job.url for job in home.sandbox.audit.jobs] == [video(1).url]
    assert counted == [1]


async def test_what_was_taken_back_while_it_waited_for_a_slot_does_not_keep_it(
    house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house(time_scale=1.0) as home:
        client, arrived = await home.client(), threading.Event()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=2, max_submits=1) as batch:
                await batch.submit(video(0))
                await until(lambda: journal.counts()[State.SUBMITTED])
                with held_back(home.sandbox, "create", arrived) as answer:
                    await batch.submit(video(1))
                    await until(arrived.is_set)
                    await batch.submit(video(2, key="k"))
                    await until(lambda: batch.statistics().pulled == 3)
                    assert await batch.cancel("k", "ja")
                    home.sandbox.engine.clock.scale = 2000.0  # the first job ends, and frees its slot
                    await until(lambda: batch.statistics().completed == 1)
                    await turns()
                    counted = batch.statistics().in_flight
                    answer()

    assert counted == 1


@pytest.mark.parametrize("pulled", [False, True])
async def test_what_is_to_be_paid_again_is_sent_as_it_was_submitted_last(
    house: Open, tmp_path: Path, *, pulled: bool
) -> None:
    async with queue(house, tmp_path, retry_failed=True) as waiting:
        for key in ("k", "l"):
            failed = TranslationRequest(url=sent_as("first", ord(key))[0], targets="ja", key=key)
            await waiting.journal.intend(failed)
            await waiting.journal.record(EntryUpdate(key=key, target="ja", state=State.FAILED))
        await waiting.submit("held", key="l", number=ord("l"))  # the next one that waits for the slot
        await waiting.pulled()
        name = "l" if pulled else "k"
        await waiting.submit("old", key=name, number=ord(name))
        ticket = await waiting.submit("new", key=name, number=ord(name))
        waiting.free()
        outcome = await ticket.outcome()

    assert isinstance(outcome, Completed)
    assert sent_as("new", ord(name)) in waiting.sent
    assert sent_as("old", ord(name)) not in waiting.sent


async def test_what_is_taken_back_twice_and_not_submitted_since_is_not_sent(
    house: Open, tmp_path: Path
) -> None:
    async with queue(house, tmp_path) as waiting:
        await waiting.submit("first")
        await waiting.pulled()
        assert await waiting.batch.cancel("k", "ja")
        ticket = await waiting.submit("second")
        assert await waiting.batch.cancel("k", "ja")
        waiting.free()
        outcome = await ticket.outcome()
        await (await waiting.submit("other", key="l", number=2)).outcome()

    assert isinstance(outcome, NotSubmitted)
    assert waiting.sent == [sent_as("other", 2)]


async def test_what_is_submitted_since_outlasts_a_stop_of_the_batch(house: Open, tmp_path: Path) -> None:
    async with queue(house, tmp_path) as waiting:
        await waiting.submit("old")
        await waiting.pulled()
        assert await waiting.batch.cancel("k", "ja")
        ticket = await waiting.submit("new")
        waiting.house.sandbox.faults.add(Fault(on="status", kind="code", code=1101, limit=1))
        waiting.free()
        await until(lambda: waiting.batch.statistics().not_submitted and waiting.batch.stop_cause)
        assert waiting.batch.stop_cause is StopCause.CREDENTIALS
        waiting.batch.resume_submitting()
        outcome = await ticket.outcome()

    assert isinstance(outcome, Completed)
    assert waiting.sent == [sent_as("new")]


@pytest.mark.parametrize("query", ["", "?part=2"], ids=["same", "with a query"])
async def test_work_that_was_taken_back_is_sent_under_another_name(
    house: Open, tmp_path: Path, query: str
) -> None:
    key, other = (None, None) if query else ("k", "l")
    async with queue(house, tmp_path) as waiting:
        ticket = await waiting.batch.submit(video(1, key=key))
        await waiting.pulled()
        assert await waiting.batch.cancel(*ticket.names[0])
        again = video(1, key=other, url=f"{video(1).url}{query}")
        ticket = await waiting.batch.submit(again)
        waiting.free()
        outcome = await ticket.outcome()
        with pytest.raises(InvalidRequestError):
            await waiting.batch.submit(video(1, key="m", url=again.url))

    assert isinstance(outcome, Completed), outcome.reason
    assert waiting.sent == [(again.url, None)]


async def test_a_doubt_without_a_job_that_is_taken_back_is_sent_when_it_is_submitted_again(
    house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house(faults=[Fault.parse(DOUBTED)]) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                assert isinstance(await (await batch.submit(video(1, key="k"))).outcome(), InDoubt)
                await journal.resolve("k", "ja", not_made=True)
                assert await batch.cancel("k", "ja")
                outcome = await (await batch.submit(video(1, key="k"))).outcome()

    assert isinstance(outcome, Completed), outcome.reason
