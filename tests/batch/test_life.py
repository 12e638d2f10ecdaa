"""The life of an entry, step by step, with a vendor that does what each test tells it to."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from akool_async import (
    AkoolError,
    Completed,
    Failed,
    InDoubt,
    Job,
    NotSubmitted,
    Outcome,
    Rejected,
    RetryPolicy,
    Saved,
    Snapshot,
    Status,
    Submission,
    SubmissionInDoubt,
    open_journal,
)
from akool_async._batch.limits import StopCause
from akool_async._journal import Entry
from akool_async._model import errors
from akool_async._model.requests import Request
from akool_async._model.responses import Refusal
from akool_async._model.states import State
from akool_async._polling.poll_state import PollVerdict
from akool_async._retry import AimdRateLimiter
from tests.batch.seam import JOB_TAKES, POST_TAKES, START, Seam, ended, made, opened, run, video

ANSWERED = START + timedelta(seconds=POST_TAKES)
ENDED = ANSWERED + timedelta(seconds=JOB_TAKES)
NAME: dict[str, Any] = {"key": "v1", "target": "ja"}
JOB = Job(id="job-ja", target="ja", created_at=START, credits_locked=4.0)
FAILURE = ended("job-ja", PollVerdict.FAILED, error_code=4711, error_reason="a bad day", credits_used=1.0)
GONE = ended("job-ja", PollVerdict.NOT_FOUND)
BUSY = errors.ServerError("Busy.", code=1015)
REFUSED = errors.BadRequestError("Wrong.", code=1003)
NO_CREDITS = errors.OutOfCredits("No credits.", code=1104)


def facts(outcome: Outcome, **changed: Any) -> dict[str, Any]:
    """Return what an outcome has to say, of which every field counts."""
    expected = {
        "key": "v1",
        "target": "ja",
        "job": JOB,
        "reason": "",
        "submitted_at": START,
        "ended_at": ENDED,
        "credits": 4.0,
        "resumed": False,
    } | changed
    got = attrs.asdict(outcome, recurse=False)
    assert {name: got[name] for name in expected} == expected
    return got


# A job that is made and ends.


async def test_a_job_that_is_completed() -> None:
    seam = Seam([made("ja")], {"job-ja": ended("job-ja", credits_used=3.0)})
    async with opened(seam, video()) as (batch, journal):
        (outcome,) = [outcome async for outcome in batch]
        entry = journal.get("v1", "ja")

    assert isinstance(outcome, Completed)
    facts(outcome, credits=3.0, saved=None, snapshot=seam.ends["job-ja"].snapshot)  # type: ignore[union-attr]
    assert entry is not None
    assert (entry.state, entry.job_id, entry.submitted_at) == (State.DELIVERED, "job-ja", START)
    assert (entry.ended_at, entry.created_at) == (ENDED, START)
    assert (entry.credits_locked, entry.credits_used, entry.traceparent) == (4.0, 3.0, "00-trace")
    assert entry.snapshot is not None
    assert (entry.snapshot.job_id, entry.snapshot.status) == ("job-ja", Status.COMPLETED)
    events = seam.recorder
    assert events.named("submitted") == [NAME | {"job_id": "job-ja", "credits_locked": 4.0}]
    assert events.named("terminal") == [
        NAME | {"job_id": "job-ja", "completed": True, "reason": "", "credits_used": 3.0}
    ]
    assert seam.ages == [0.0]


async def test_a_job_that_is_completed_and_saved(tmp_path: Path) -> None:
    saved = Saved(video=tmp_path / "1.ja.mp4")
    seam = Seam([made("ja")], {"job-ja": ended("job-ja", credits_used=3.0)}, downloads={"job-ja": saved})
    held: list[Entry | None] = []
    async with opened(seam, video(), download_to=tmp_path) as (batch, journal):
        seam.on_post = lambda: held.append(journal.get("v1", "ja"))
        (outcome,) = [outcome async for outcome in batch]
        entry = journal.get("v1", "ja")

    facts(outcome, credits=3.0, saved=saved)
    assert held[0] is not None  # when it is paid for, its name is settled
    assert (held[0].state, held[0].name) == (State.SUBMITTING, "1.ja")
    assert entry is not None
    assert (entry.state, entry.files, entry.ended_at) == (State.DELIVERED, (str(saved.video),), ENDED)
    assert entry.name == "1.ja"
    assert [event.name for event in seam.recorder.events if event.name in ("terminal", "saved")] == [
        "terminal",
        "saved",
    ]
    assert seam.recorder.named("saved") == [NAME | {"job_id": "job-ja", "video": str(saved.video)}]


async def test_a_result_that_can_not_be_saved_is_left_for_the_next_run(tmp_path: Path) -> None:
    seam = Seam([made("ja")], downloads={"job-ja": errors.DownloadError("No luck.")})
    async with opened(seam, video(), download_to=tmp_path) as (batch, journal):
        (outcome,) = [outcome async for outcome in batch]
        entry = journal.get("v1", "ja")

    assert isinstance(outcome, Completed)
    assert (
        facts(outcome, reason=str(errors.DownloadError("No luck.")), saved=None)["snapshot"].job_id
        == "job-ja"
    )
    assert entry is not None
    assert (entry.state, entry.ended_at) == (State.COMPLETED, ENDED)


async def test_a_job_that_fails() -> None:
    seam = Seam([made("ja")], {"job-ja": FAILURE})
    async with opened(seam, video()) as (batch, journal):
        (outcome,) = [outcome async for outcome in batch]
        entry = journal.get("v1", "ja")

    reason = 'Job job-ja failed (error 4711). The vendor says: "a bad day"'
    assert isinstance(outcome, Failed)
    facts(outcome, reason=reason, snapshot=FAILURE.snapshot)
    assert entry is not None
    assert (entry.state, entry.reason, entry.code) == (State.FAILED, reason, 4711)
    assert (entry.ended_at, entry.credits_used) == (ENDED, 1.0)
    assert seam.recorder.named("terminal") == [
        NAME | {"job_id": "job-ja", "completed": False, "reason": reason, "credits_used": None}
    ]


async def test_polling_that_became_impossible_ends_the_batch_and_keeps_the_job() -> None:
    error = errors.AuthenticationError("Who?", code=1101)
    seam = Seam([made("ja")], {"job-ja": error})
    with pytest.raises(errors.AuthenticationError, match="Who"):
        async with opened(seam, video()) as (batch, journal):
            try:
                _ = [outcome async for outcome in batch]
            finally:
                entry = journal.get("v1", "ja")

    assert entry is not None
    assert (entry.state, entry.job_id) == (State.SUBMITTED, "job-ja")


# Jobs that are made again.


async def test_a_failed_job_is_made_again_for_its_language_alone() -> None:
    again = Submission(accepted=(attrs.evolve(JOB, id="job-ja~2"),))
    seam = Seam([made("ja", "fr"), again], {"job-ja": FAILURE})
    outcomes = await run(seam, video(targets="ja,fr"), retry_transient=1)

    assert [post.targets for post in seam.posts] == [("ja", "fr"), ("ja",)]
    assert {outcome.target: type(outcome) for outcome in outcomes} == {"ja": Failed, "fr": Completed}


async def test_an_answer_with_the_job_that_failed_before_is_a_doubt() -> None:
    async with open_journal(":memory:", now=lambda: START) as journal:
        seam = Seam([made("ja"), made("ja")], {"job-ja": FAILURE})
        (outcome,) = await run(seam, video(), retry_transient=2, journal=journal)
        assert isinstance(outcome, InDoubt)
        assert outcome.doubt_ids == ("job-ja",)
        assert "which it had before it was paid again" in outcome.reason
        assert len(seam.posts) == 2
        # It is known to be no job of the second POST, so that it does not keep it from being paid again.
        (outcome,) = await run(Seam([made("ja-2")]), video(), on_in_doubt="hold", journal=journal)
        assert isinstance(outcome, InDoubt)
        again = Submission(accepted=(attrs.evolve(JOB, id="job-3"),))
        (outcome,) = await run(Seam([again]), video(), on_in_doubt="resubmit", journal=journal)

    assert isinstance(outcome, Completed)
    assert outcome.job is not None
    assert outcome.job.id == "job-3"


@pytest.mark.parametrize(
    ("end", "posts"),
    [
        (FAILURE, 3),
        (ended("job-ja", PollVerdict.FAILED), 3),
        (ended("job-ja", PollVerdict.FAILED, error_code=1015), 3),
        (ended("job-ja", PollVerdict.FAILED, error_code=1003), 1),
        (ended("job-ja", PollVerdict.FAILED, error_code=1203), 1),
        (ended("job-ja", PollVerdict.FAILED, error_code=1202), 1),
        (GONE, 1),
        (ended("job-ja", PollVerdict.NO_RESULT), 1),
    ],
)
async def test_only_a_failure_that_may_pass_is_paid_for_again(end: Any, posts: int) -> None:
    seam = Seam([made("ja")], {"job-ja": end})
    (outcome,) = await run(seam, video(), retry_transient=2)

    assert len(seam.posts) == posts
    assert isinstance(outcome, Failed)


async def test_a_failed_job_that_is_not_made_again_keeps_its_failure() -> None:
    seam = Seam([made("ja"), NO_CREDITS], {"job-ja": FAILURE})
    (outcome,) = await run(seam, video(), retry_transient=1)

    assert isinstance(outcome, Failed)
    facts(
        outcome,
        snapshot=FAILURE.snapshot,
        reason='Job job-ja failed (error 4711). The vendor says: "a bad day"',
    )


async def test_a_batch_that_has_stopped_makes_no_failed_job_again() -> None:
    seam = Seam([made("ja")], {"job-ja": FAILURE})
    async with opened(seam, video(), retry_transient=1) as (batch, _):
        seam.on_watch = batch.drain
        outcomes = [outcome async for outcome in batch]

    assert [type(outcome) for outcome in outcomes] == [Failed]
    assert len(seam.posts) == 1


async def test_what_the_vendor_had_no_capacity_for_is_sent_again() -> None:
    seam = Seam([BUSY, BUSY, made("ja")])
    (outcome,) = await run(seam, video(), retry_transient=2)

    assert isinstance(outcome, Completed)
    assert len(seam.posts) == 3


# POSTs that were not sent, refused or lost.


async def test_what_was_not_sent_is_sent_again_with_growing_waits() -> None:
    seam = Seam([errors.ConnectError("Refused."), errors.ConnectError("Refused."), made("ja")])
    (outcome,) = await run(seam, video())

    assert isinstance(outcome, Completed)
    assert seam.times == [0.0, 10.0 + POST_TAKES, 30.0 + 2 * POST_TAKES]


async def test_what_can_not_be_sent_for_too_long_is_not_submitted() -> None:
    seam = Seam([errors.ConnectError("Refused.")])
    (outcome,) = await run(seam, video())

    assert isinstance(outcome, NotSubmitted)
    assert outcome.reason == "The vendor could not be reached for too long."
    assert (outcome.job, outcome.submitted_at, outcome.credits) == (None, None, 0.0)
    assert 60.0 < seam.times[-1] <= 100.0


async def test_an_outage_uses_up_time_and_no_attempts() -> None:
    often = RetryPolicy(
        attempts=2, initial_delay=1.0, max_delay=1.0, throttle_deadline=100.0, jitter=lambda seconds: seconds
    )
    seam = Seam([errors.ConnectError("Refused.")], retry=often)
    (outcome,) = await run(seam, video())

    assert isinstance(outcome, NotSubmitted)
    assert len(seam.posts) > 20


async def test_after_a_rate_limit_only_the_pace_waits() -> None:
    seam = Seam([errors.RateLimitError("Often.", code=1005), made("ja")])
    (outcome,) = await run(seam, video())

    assert isinstance(outcome, Completed)
    assert len(seam.times) == 2
    assert seam.times[1] < 10.0


async def test_the_pace_is_told_when_a_rate_limited_post_was_sent_and_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By these the refusals of one burst count as one."""
    told: list[dict[str, float]] = []
    monkeypatch.setattr(AimdRateLimiter, "rate_limited", lambda _, **moments: told.append(moments))
    seam = Seam([errors.ConnectError("Refused."), errors.RateLimitError("Often.", code=1005), made("ja")])
    await run(seam, video())

    assert told == [{"sent": 10.0 + POST_TAKES, "now": 10.0 + 2 * POST_TAKES}]


async def test_a_refusal() -> None:
    seam = Seam([REFUSED])
    async with opened(seam, video()) as (batch, journal):
        (outcome,) = [outcome async for outcome in batch]
        entry = journal.get("v1", "ja")

    assert isinstance(outcome, Rejected)
    facts(outcome, job=None, reason=str(REFUSED), code=1003, ended_at=ANSWERED, credits=0.0)
    assert entry is not None
    assert (entry.state, entry.reason, entry.code) == (State.FAILED, str(REFUSED), 1003)
    assert entry.ended_at == ANSWERED
    assert seam.recorder.named("post_ended")[0]["error"] == str(REFUSED)


@pytest.mark.parametrize(
    ("error", "raised", "cause"),
    [
        (NO_CREDITS, False, StopCause.CREDITS),
        (errors.PermissionDeniedError("Closed.", code=1200), True, StopCause.CREDENTIALS),
        (errors.AuthenticationError("Who?", code=1101), True, StopCause.CREDENTIALS),
    ],
)
async def test_a_refusal_of_the_account_stops_the_batch(
    error: AkoolError, raised: bool, cause: StopCause
) -> None:
    seam = Seam([error])
    outcomes: list[Outcome] = []
    with pytest.raises(type(error)) if raised else nullcontext():
        async with opened(seam, video(1), video(2), max_in_flight=1) as (batch, _):
            async for outcome in batch:
                outcomes.append(outcome)

    assert [type(outcome) for outcome in outcomes] == [NotSubmitted, NotSubmitted]
    assert [outcome.reason for outcome in outcomes] == [str(error), str(error)]
    assert outcomes[0].submitted_at is None
    assert len(seam.posts) == 1
    assert seam.recorder.named("stopped") == [{"cause": cause.value, "reason": str(error)}]


async def test_a_token_that_can_not_be_had_sends_nothing() -> None:
    error = errors.AuthenticationError("Who?", code=1101)
    seam = Seam([made("ja")], unready=[error])
    outcomes: list[Outcome] = []
    with pytest.raises(errors.AuthenticationError):
        async with opened(seam, video()) as (batch, _):
            async for outcome in batch:
                outcomes.append(outcome)

    assert [type(outcome) for outcome in outcomes] == [NotSubmitted]
    assert outcomes[0].reason == str(error)
    assert seam.posts == []


async def test_a_lost_answer() -> None:
    lost = SubmissionInDoubt("Lost.", targets=("ja",))
    seam = Seam([lost])
    async with opened(seam, video()) as (batch, journal):
        (outcome,) = [outcome async for outcome in batch]
        entry = journal.get("v1", "ja")

    assert isinstance(outcome, InDoubt)
    facts(outcome, job=None, reason=str(lost), ended_at=ANSWERED, credits=None, doubt_ids=())
    assert entry is not None
    assert (entry.state, entry.reason, entry.doubt_ids) == (State.IN_DOUBT, str(lost), ())
    assert seam.recorder.named("in_doubt") == [NAME | {"job_id": "", "reason": str(lost), "doubt_ids": ()}]


async def test_a_lost_answer_with_ids_that_the_vendor_does_not_know() -> None:
    torn = SubmissionInDoubt(
        "Torn.", targets=("ja", "fr"), job_ids=("a", "b", "c"), job_ids_by_target={"ja": "a"}
    )
    seam = Seam([torn])
    async with opened(seam, video(targets="ja,fr")) as (batch, journal):
        outcomes = {outcome.target: outcome async for outcome in batch}
        entries = {target: journal.get("v1", target) for target in ("ja", "fr")}

    assert {target: type(outcome) for target, outcome in outcomes.items()} == {"ja": InDoubt, "fr": InDoubt}
    assert {outcome.reason for outcome in outcomes.values()} == {str(torn)}
    assert entries["ja"].doubt_ids == ("a", "b", "c")  # type: ignore[union-attr]
    assert entries["fr"].doubt_ids == ("b", "c")  # type: ignore[union-attr]
    assert outcomes["ja"].doubt_ids == ("a", "b", "c")  # type: ignore[union-attr]
    assert outcomes["fr"].doubt_ids == ("b", "c")  # type: ignore[union-attr]
    assert {event["target"]: event["doubt_ids"] for event in seam.recorder.named("in_doubt")} == {
        "ja": ("a", "b", "c"),
        "fr": ("b", "c"),
    }


async def test_a_lost_answer_whose_job_the_vendor_knows_is_followed() -> None:
    torn = SubmissionInDoubt(
        "Torn.", targets=("ja",), job_ids=("job-ja",), job_ids_by_target={"ja": "job-ja"}
    )
    known = Snapshot(job_id="job-ja", status=Status.PROCESSING, created_at=START)
    seam = Seam([torn], known={"job-ja": known})
    (outcome,) = await run(seam, video())

    assert isinstance(outcome, Completed)
    assert outcome.job is not None
    assert (outcome.job.id, outcome.reason) == ("job-ja", "")
    assert len(seam.posts) == 1


async def test_an_answer_that_is_different_for_each_language() -> None:
    extra = Job(id="job-xx", target="xx")
    answer = made("ja", refused=(Refusal(target="fr", error=REFUSED),), missing=("de",), extra=(extra,))
    seam = Seam([answer])
    async with opened(seam, video(targets="ja,fr,de")) as (batch, journal):
        outcomes = {outcome.target: outcome async for outcome in batch}
        entries = {target: journal.get("v1", target) for target in ("ja", "fr", "de")}

    assert {target: type(outcome) for target, outcome in outcomes.items()} == {
        "ja": Completed,
        "fr": Rejected,
        "de": InDoubt,
    }
    assert outcomes["fr"].reason == str(REFUSED)
    assert "does not mention 'de'" in outcomes["de"].reason
    assert entries["de"].doubt_ids == ("job-xx",)  # type: ignore[union-attr]


@attrs.define(eq=False)
class Slow(Seam):
    """POSTs take a while; of the first one of a video, "fr" is refused for now."""

    under_way_now: int = 0
    most: int = 0

    async def submit_once(self, request: Request) -> Submission:
        self.posts.append(request)
        number, (target, *more) = len(self.posts), request.targets
        self.under_way_now += 1
        self.most = max(self.most, self.under_way_now)
        await self.clock.sleep(POST_TAKES)
        self.under_way_now -= 1
        job = Job(id=f"job-{number}", target=target, created_at=START, credits_locked=4.0)
        busy = errors.RateLimitError("Often.", code=1005)
        return Submission(accepted=(job,), refused=tuple(Refusal(target=one, error=busy) for one in more))


async def test_what_is_sent_again_after_half_an_answer_counts_as_under_way_too() -> None:
    seam = Slow()
    outcomes = await run(seam, *(video(number, "ja,fr") for number in range(6)), max_submits=2)

    assert len(seam.posts) == 12
    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert seam.most == 2


async def test_a_job_that_was_not_asked_for_is_named_by_some_entry() -> None:
    seam = Seam([made("ja", extra=(Job(id="job-xx", target="xx"),))])
    async with opened(seam, video()) as (batch, journal):
        _ = [outcome async for outcome in batch]
        entry = journal.get("v1", "ja")

    assert entry is not None
    assert (entry.job_id, entry.doubt_ids) == ("job-ja", ("job-xx",))


async def test_the_price_of_a_job_bounds_the_next() -> None:
    seam = Seam([made("ja", cost=4.0)])
    outcomes = await run(seam, *map(video, range(1, 5)), max_credits=9.0)

    assert [type(outcome) for outcome in outcomes].count(Completed) == 2
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, NotSubmitted)} == {
        "max_credits (9) would be exceeded: 8 credits are spent or locked, and 4, the price of the dearest "
        "job so far, have to be left for the next one."
    }
    assert len(seam.posts) == 2


async def test_a_price_that_is_known_lets_the_next_job_out_at_once() -> None:
    seam = Seam([made("ja", cost=4.0)], endless=True)
    async with opened(seam, video(1), video(2), max_credits=9.0):
        with anyio.fail_after(55):
            while len(seam.posts) < 2:
                await anyio.sleep(0)

    assert len(seam.posts) == 2


async def test_a_job_of_unknown_price_is_the_last_one() -> None:
    seam = Seam([made("ja", cost=None)])
    outcomes = await run(seam, video(1), video(2), max_credits=9.0)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Completed", "NotSubmitted"]
    assert len(seam.posts) == 1


async def test_the_token_of_a_post_is_kept_with_its_entry() -> None:
    seam = Seam([SubmissionInDoubt("Lost.", targets=("ja",))])
    async with opened(seam, video(), webhook_url="https://me.example/akool") as (batch, journal):
        _ = [outcome async for outcome in batch]
        token = str(seam.posts[0].webhook_url).rpartition("/")[2]
        found = journal.find_token(token)

    assert found is not None
    assert (found.key, found.state) == ("v1", State.IN_DOUBT)
