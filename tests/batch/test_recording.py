"""What the journal is told of a POST's result, and what happens while it can't be written."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from akool_async import AkoolError, InDoubt, Job, JournalError, SubmissionInDoubt, TranslationRequest
from akool_async._batch.callbacks import WebhookCoordinator
from akool_async._batch.entry import BatchEntry, ProgressBoard
from akool_async._batch.limits import Permit, WeightedSemaphore
from akool_async._batch.post import RECORD_WITHIN, AnswerRecorder, Post, still_in_doubt
from akool_async._batch.state import BatchState
from akool_async._journal import Entry, EntryUpdate
from akool_async._model import errors
from akool_async._model.states import State
from akool_async._observer import Observers
from akool_async._retry import AimdRateLimiter
from akool_async.testing import VirtualClock

THEN, NOW = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
REFUSED = errors.BadRequestError("Wrong.", code=1003)
NO_CREDITS = errors.OutOfCredits("No credits.", code=1104)
LOST = SubmissionInDoubt("Lost again.")
DOUBT = cast(
    Entry,
    SimpleNamespace(reason="Lost.", code=4711, submitted_at=THEN, token="before", candidate_ids=("a", "b")),
)
JOB = Job(id="job-ja", target="ja", credits_locked=4.0, created_at=THEN)


def post(targets: str = "ja") -> Post:
    request = TranslationRequest(url="https://example.com/1.mp4", targets=targets, key="one")
    entries = [BatchEntry(request=request, target=target) for target in request.targets]
    return Post(request, entries, Permit(WeightedSemaphore(1)))


def change(state: State, target: str = "ja", **values: Any) -> EntryUpdate:
    return EntryUpdate(key="one", target=target, state=state, **values)


def changes(sent: Post, **doubts: Entry) -> list[EntryUpdate]:
    return sent.changes(lambda entry: doubts.get(entry.target), NOW)


# What is recorded.


def test_a_job_is_recorded_with_its_price_and_its_age() -> None:
    sent = post()
    sent.submitted.append((sent.entries[0].submitted(JOB, NOW, "token"), JOB))

    assert changes(sent) == [change(State.SUBMITTED, job_id="job-ja", credits_locked=4.0, created_at=THEN)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (REFUSED, change(State.FAILED, reason=str(REFUSED), code=1003, ended_at=NOW)),
        (NO_CREDITS, change(State.PLANNED, reason=str(NO_CREDITS), code=1104)),
        (LOST, change(State.IN_DOUBT, reason=str(LOST), doubt_ids=(), candidate_ids=())),
    ],
    ids=str,
)
def test_a_failure_is_recorded(error: AkoolError, expected: EntryUpdate) -> None:
    sent = post()
    sent.fail(sent.entries, error)

    assert changes(sent) == [expected]


@pytest.mark.parametrize(
    ("error", "reason", "code"), [(REFUSED, still_in_doubt(REFUSED), 1003), (NO_CREDITS, "Lost.", 4711)]
)
def test_a_doubt_that_another_post_did_not_end_stays_as_it_was(
    error: AkoolError, reason: str, code: int
) -> None:
    sent = post()
    sent.fail(sent.entries, error)

    assert changes(sent, ja=DOUBT) == [
        change(
            State.IN_DOUBT,
            reason=reason,
            code=code,
            submitted_at=THEN,
            token="before",
            candidate_ids=("a", "b"),
        )
    ]


def test_only_ids_in_the_last_answer_are_candidates() -> None:
    sent = post()
    sent.other_ids = ("b", "c")
    sent.fail(sent.entries, LOST)

    assert changes(sent, ja=DOUBT)[0].candidate_ids == ("b", "c")


def test_ids_that_nobody_asked_for_are_named_by_the_first_entry() -> None:
    refused, made = post("ja,fr"), post("ja,fr")
    for sent in (refused, made):
        sent.other_ids = ("x",)
    refused.fail(refused.entries, REFUSED)
    made.fail(made.entries[:1], REFUSED)
    job = Job(id="job-fr", target="fr")
    made.submitted.append((made.entries[1].submitted(job, NOW, ""), job))

    assert [one.doubt_ids for one in changes(refused)] == [("x",), None]
    asked_before = changes(refused, ja=DOUBT)[0]
    assert (asked_before.doubt_ids, asked_before.candidate_ids) == (("x",), ("a", "b"))
    assert [(one.target, one.doubt_ids) for one in changes(made)] == [("fr", ("x",)), ("ja", None)]


# What can't be recorded at once.


class Recorder(AnswerRecorder):
    """Notes what would be acted on."""

    batch: Harness

    def follow(self, post: Post) -> None:
        self.batch.followed.append(post)

    def end_failed(self, post: Post) -> None:
        self.batch.ended.append(post)


class Harness:
    """A batch's state whose journal fails with `failures` in turn, then writes."""

    def __init__(self, *failures: JournalError, clock: Any = None) -> None:
        self.clock = clock or VirtualClock(start=NOW)
        self.journal = self
        self.failures = list(failures)
        self.written: list[EntryUpdate] = []
        self.emitted: list[InDoubt] = []
        self.stops: list[str] = []
        self.followed: list[Post] = []
        self.ended: list[Post] = []
        self.sent = post()
        self.sent.submitted.append((self.sent.entries[0].submitted(JOB, NOW, ""), JOB))
        self.observers = Observers()
        self.board = ProgressBoard({})
        self.recorder = Recorder(cast(BatchState, self), cast(WebhookCoordinator, None), AimdRateLimiter())
        self.recorder.batch = self

    def previous_doubt(self, _: BatchEntry) -> None:
        return None

    async def record(self, *changes: EntryUpdate) -> None:
        await anyio.lowlevel.checkpoint()  # fails in a scope that was cancelled
        if self.failures:
            raise self.failures.pop(0)
        self.written += changes

    def stop(self, reason: str, _: Exception) -> None:
        self.stops.append(reason)

    def emit(self, _: BatchEntry, outcome: InDoubt) -> None:
        self.emitted.append(outcome)

    async def run(self, error: JournalError) -> None:
        await self.recorder.record(self.sent, error)


def held(number: int) -> JournalError:
    return errors.JournalWriteError(f"Held {number}.")


async def test_what_is_written_soon_is_followed() -> None:
    batch = Harness(held(2), held(3))
    await batch.run(held(1))

    assert batch.written == changes(batch.sent)
    assert (batch.followed, batch.emitted, batch.stops, batch.ended) == ([batch.sent], [], [], [])


async def test_what_is_not_written_soon_ends_once_in_doubt_and_is_written_all_the_same() -> None:
    batch = Harness(*map(held, range(2, 30)))
    await batch.run(held(1))

    assert batch.clock.monotonic() > RECORD_WITHIN
    assert batch.written == changes(batch.sent)
    assert (batch.followed, batch.ended) == ([], [batch.sent])
    assert len(batch.emitted) == len(batch.stops) == 1
    assert batch.emitted[0].doubt_ids == ("job-ja",)
    assert batch.emitted[0].reason.startswith("Job job-ja is paid, but could not be recorded. Held ")


async def test_each_job_that_can_not_be_recorded_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    batch = Harness(held(2))
    batch.sent = post("ja,fr,de")
    french = Job(id="job-fr", target="fr")
    for entry, job in zip(batch.sent.entries[:2], (JOB, french), strict=True):
        batch.sent.submitted.append((entry.submitted(job, NOW, ""), job))
    batch.sent.other_ids = ("job-of-what",)
    await batch.run(held(1))

    assert caplog.messages == [
        "The answer to the paid call for one (ja), one (fr), one (de) could not be recorded, which is tried "
        "again; the jobs in it are: job-ja (ja), job-fr (fr), job-of-what. Held 1.",
        "The answer to the paid call for one (ja), one (fr), one (de) is recorded now.",
    ]


async def test_a_journal_that_is_lost_is_not_waited_for() -> None:
    batch = Harness()
    await batch.run(errors.JournalReplacedError("Gone."))

    assert batch.emitted[0].ended_at == NOW
    assert batch.emitted[0].reason.endswith("Gone.")
    assert batch.stops == ["Gone."]


class Stopped(VirtualClock):
    """A clock whose waits end with their cancellation only."""

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep_forever()


@pytest.mark.parametrize("works", [True, False])
async def test_a_batch_that_is_left_tries_once_more(works: bool) -> None:
    batch = Harness(*([] if works else [held(2)]), clock=Stopped(start=NOW))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(batch.run, held(1))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    if works:
        assert batch.written == changes(batch.sent)
        assert (batch.followed, batch.emitted) == ([batch.sent], [])
    else:
        assert batch.stops == ["Held 2."]
        assert [outcome.reason for outcome in batch.emitted] == [
            "Job job-ja is paid, but could not be recorded. Held 2."
        ]
        assert batch.ended == [batch.sent]
