"""A batch that is used in a way that can't work says so at once, and before anything is paid."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    AkoolError,
    Batch,
    BatchClosedError,
    CallerError,
    Completed,
    ConfigurationError,
    FixedSchedule,
    InvalidRequestError,
    JournalReplacedError,
    NotSubmitted,
    Observer,
    StopCause,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Fault, Sandbox
from akool_async.testing import VirtualClock
from akool_async.webhook import WebhookReceiver, open_inbox
from tests.client.conftest import video

WRONG = "Nothing was sent and nothing was spent"


def _sandbox(**options: Any) -> tuple[Sandbox, VirtualClock]:
    clock = VirtualClock()
    return Sandbox(media=False, clock=clock.sandbox_time, **options), clock


@pytest.mark.parametrize(
    "use",
    [
        lambda batch: batch.submit(video()),
        lambda batch: batch.outcome("talk", "ja"),
        lambda batch: batch.cancel("talk", "ja"),
        anext,
    ],
    ids=["submit", "outcome", "cancel", "iterate"],
)
async def test_a_batch_that_was_not_opened_says_so(use: Callable[[Batch], Awaitable[Any]]) -> None:
    sandbox, clock = _sandbox()
    async with sandbox.client(clock=clock) as client, open_journal(":memory:") as journal:
        batch = open_batch(client, journal=journal)
        with pytest.raises(BatchClosedError, match="The batch is not open"):
            await use(batch)
        assert [entry async for entry in journal.entries()] == []
        assert batch.statistics().seconds == 0


async def test_a_batch_of_requests_that_was_not_opened_says_so() -> None:
    sandbox, clock = _sandbox()
    async with sandbox.client(clock=clock) as client:
        with pytest.raises(BatchClosedError, match="async with open_batch"):
            await anext(open_batch(client, [video()]))


async def test_another_event_loop_is_refused_and_not_left_waiting() -> None:
    sandbox, clock = _sandbox()
    async with (
        sandbox.client(clock=clock) as client,
        open_journal(":memory:") as journal,
        open_batch(client, journal=journal) as batch,
    ):
        ticket = await batch.submit(video())
        refused: list[str] = []

        def elsewhere() -> None:
            for wait in (ticket.outcome, ticket.outcomes, lambda: anext(batch)):
                with pytest.raises(CallerError, match="another event loop"):
                    anyio.run(wait)
                refused.append("refused")

        thread = threading.Thread(target=elsewhere, daemon=True)
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        assert refused == ["refused"] * 3
        assert isinstance(await ticket.outcome(), Completed)


async def test_a_ticket_says_that_batch_and_journal_are_closed(tmp_path: Path) -> None:
    sandbox, clock = _sandbox()
    async with sandbox.client(clock=clock) as client:
        async with open_journal(tmp_path / "jobs.sqlite3") as journal:
            async with open_batch(client, journal=journal) as batch:
                ticket = await batch.submit(video())
                await ticket.outcome()
            assert isinstance(await ticket.outcome(), Completed)  # the journal still knows it
        with pytest.raises(BatchClosedError):
            await ticket.outcome()


@pytest.mark.parametrize(
    "use", [lambda batch: batch.submit(video(2)), lambda batch: batch.cancel("first", "ja")]
)
async def test_a_journal_that_is_moved_under_a_service_stops_it(
    tmp_path: Path, use: Callable[[Batch], Awaitable[Any]]
) -> None:
    sandbox, clock = _sandbox(credits=0)
    async with (
        sandbox.client(clock=clock) as client,
        open_journal(tmp_path / "jobs.sqlite3") as journal,
        open_batch(client, journal=journal) as batch,
    ):
        await batch.submit(video(key="first"))
        (tmp_path / "jobs.sqlite3").rename(tmp_path / "moved")
        with pytest.raises(JournalReplacedError):
            await use(batch)
        assert batch.stop_cause is StopCause.FAILURE
        (tmp_path / "moved").rename(tmp_path / "jobs.sqlite3")
        with pytest.raises(BatchClosedError):
            await batch.submit(video(3))
        with pytest.raises(JournalReplacedError):
            async for _ in batch:
                pass


async def test_credits_are_counted_for_the_run_and_for_the_journal() -> None:
    sandbox, clock = _sandbox()
    async with sandbox.client(clock=clock) as client, open_journal(":memory:") as journal:
        used = []
        for last in (2, 3):
            async with open_batch(client, map(video, range(last)), journal=journal) as batch:
                done = [outcome async for outcome in batch]
            seen = batch.statistics()
            here = sum(outcome.credits or 0 for outcome in done if not outcome.resumed)
            assert seen.credits_used_in_run == here > 0
            used.append(seen.credits_used)
        assert used == [2 * used[1] / 3, used[1]]


@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "with a journal"])
async def test_a_key_that_names_two_videos_is_reported_as_that(kept: bool) -> None:
    sandbox, clock = _sandbox()
    first, other = video(1, key="talk"), video(2, key="talk")
    async with sandbox.client(clock=clock) as client, open_journal(":memory:") as journal:
        kwargs = {"journal": journal} if kept else {}
        async with open_batch(client, [first, other, first], **kwargs) as batch:
            outcomes = [outcome async for outcome in batch]

    assert len(sandbox.audit.jobs) == 1
    unsent = {
        outcome.request.url: outcome.reason for outcome in outcomes if isinstance(outcome, NotSubmitted)
    }
    assert "names other work in this run, so this was not translated" in unsent[other.url]
    assert "has it twice" in unsent[first.url]


async def test_a_key_that_is_pulled_again_after_its_job_has_ended_is_reported_too() -> None:
    sandbox, clock = _sandbox()
    outcomes = []

    async def videos() -> Any:
        yield video(1, key="talk")
        while len(outcomes) < 1:
            await clock.sleep(1)
        yield video(2, key="talk")

    async with sandbox.client(clock=clock) as client, open_batch(client, videos()) as batch:
        async for outcome in batch:
            outcomes.append(outcome)

    assert "names other work" in outcomes[1].reason


@pytest.mark.parametrize("kind", ["receiver", "inbox", "text"])
async def test_callbacks_that_nobody_hears_are_refused_before_anything_is_paid(
    tmp_path: Path, kind: str
) -> None:
    sandbox, clock = _sandbox()
    secret = "canary-4f9c1b7e2a-24byte"
    source: Any = {
        "receiver": WebhookReceiver(client_id="id", client_secret=secret),
        "inbox": open_inbox(tmp_path / "inbox.sqlite3"),
        "text": str(tmp_path / "inbox.sqlite3"),
    }[kind]
    async with sandbox.client(clock=clock) as client:
        with pytest.raises(ConfigurationError, match="callbacks must be"):
            async with open_batch(client, [video()], callbacks=source) as batch:
                await anext(batch)
    assert not sandbox.audit.jobs
    if kind != "text":
        async with (
            sandbox.client(clock=clock) as client,
            source,
            open_batch(client, [video()], callbacks=source) as batch,
        ):
            assert isinstance(await anext(batch), Completed)


class _Naive(VirtualClock):
    def now(self) -> datetime:
        return datetime.now()


class _Asleep:
    now, monotonic, random = (lambda _: datetime.now(UTC)), (lambda _: 0.0), (lambda _: 0.0)


class _Silent:
    pass


class _Async(Observer):
    async def on_event(self, event: Any) -> None: ...  # type: ignore[override]


@pytest.mark.parametrize(
    "options",
    [
        {"clock": 5},
        {"clock": 0},
        {"clock": VirtualClock},
        {"clock": _Naive()},
        {"clock": _Asleep()},
        {"observers": [print]},
        {"observers": [_Silent()]},
        {"observers": [Observer]},
        {"observers": [_Async()]},
        {"schedule": FixedSchedule},
        {"schedule": 0},
    ],
    ids="number zero class naive no-sleep function silent class async class zero".split(),
)
def test_a_client_refuses_what_it_could_not_use(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=name):
        AkoolClient(api_key="canary-4f9c1b7e2a", **options)


@pytest.mark.parametrize("fails", [False, True])
async def test_no_error_about_a_paid_job_says_that_nothing_was_spent(tmp_path: Path, fails: bool) -> None:
    sandbox, clock = _sandbox(faults=[Fault(on="create", kind="job_fails")] if fails else [])
    said: list[str] = []

    async def refused(call: Awaitable[Any]) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            await call
        said.append(str(caught.value))

    async with sandbox.client(clock=clock) as client, open_journal(":memory:") as journal:
        (job,) = (await client.submit(video())).accepted
        if fails:
            with pytest.raises(AkoolError):
                await client.wait(job.id)
        await refused(client.download(job.id, into=tmp_path))
        await refused(client.download(job.id, into=tmp_path, name="../x"))
        await refused(client.wait(job.id, created_at=datetime(2026, 1, 1)))
        async with open_batch(client, journal=journal) as batch:
            ticket = await batch.submit(video(2, targets="ja,fr"))
            await ticket.outcomes()
            await refused(ticket.outcome())
            await refused(batch.outcome("unknown"))
        async with open_batch(client, [video(3), "talk.mp4"]) as unusable:  # type: ignore[list-item]
            await anext(unusable)
            await refused(anext(unusable))
    assert len(said) == 6
    assert [each for each in said if WRONG in each] == []
    assert ("continues at the vendor" in said[0]) is not fails
