"""What a queue or a workflow engine needs of the client: errors at once, ages, values as JSON, tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

import akool_async
from akool_async import (
    AkoolClient,
    AkoolError,
    BadRequestError,
    Completed,
    ConfigurationError,
    Disposition,
    Expired,
    Failed,
    FixedSchedule,
    InDoubt,
    InvalidRequestError,
    Job,
    JobFailed,
    LipSyncRequest,
    NotSubmitted,
    PollState,
    RateLimitError,
    Rejected,
    Saved,
    Snapshot,
    Status,
    Submission,
    SubmissionInDoubt,
    TranslationRequest,
    confirm,
    from_wire,
    new_token,
    to_wire,
    with_token,
)
from akool_async._model.locations import BucketPath
from akool_async._model.responses import AudioSplits, Callback
from akool_async.sandbox import Fault
from tests.batch.seam import START, Seam
from tests.client.conftest import House

Open = Callable[..., AbstractAsyncContextManager[House]]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
REQUEST = TranslationRequest(
    url="https://a.example/c.mp4?sig=1",
    targets="ja,fr",
    voices_map={"ja": "x"},
    caption_type="target",
    fixed_words={"a": "b"},
    no_translate_words=["q"],
    webhook_url="https://hooks.example/t",
    key="k",
)
SNAPSHOT = Snapshot(
    job_id="abc",
    status=Status.COMPLETED,
    url="https://x.example/y?z=1",
    created_at=NOW,
    progress=100,
    audio_splits=AudioSplits(original_srt_url="https://o.example/1"),
    raw={"anything": object()},
)
NAMES: dict[str, Any] = {"key": "k", "request": REQUEST, "target": "ja"}
RUNNING = Snapshot(job_id="abc", status=Status.PROCESSING, progress=3)
VALUES = [
    REQUEST,
    LipSyncRequest(video_url="https://a.example/b", audio_url="https://a.example/c"),
    SNAPSHOT,
    Job(id="abc", target="ja", created_at=NOW),
    Submission(accepted=(Job(id="abc", target="ja"),), missing=("fr",)),
    Completed(
        **NAMES, job=Job(id="abc"), snapshot=SNAPSHOT, saved=Saved(video=Path("a.mp4"), missing={"x": "y"})
    ),
    Failed(**NAMES, reason="no", ended_at=NOW, snapshot=SNAPSHOT),
    Rejected(**NAMES, code=1203),
    InDoubt(**NAMES, doubt_ids=("a", "b"), submitted_at=NOW),
    Expired(**NAMES),
    NotSubmitted(**NAMES),
    PollState.begin("abc", 1.0).after_snapshot(RUNNING, 5.0),
]


def video() -> TranslationRequest:
    return TranslationRequest(url="https://media.example/1.mp4", targets="ja")


def through_json(value: Any) -> Any:
    return from_wire(json.loads(json.dumps(to_wire(value))))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_survive_json(value: Any) -> None:
    assert through_json(value) == value


def test_the_place_of_a_result_in_a_bucket_survives_json() -> None:
    saved = through_json(Saved(video=BucketPath("s3://bucket/talk.ja.mp4"), missing={}))

    assert str(saved.video) == "s3://bucket/talk.ja.mp4"
    with pytest.raises(TypeError, match="an object in a bucket"):
        saved.video.open()


def test_a_poll_state_is_polled_on_after_json() -> None:
    state = through_json(PollState.begin("abc", 1.0).after_snapshot(RUNNING, 5.0))

    assert state.after_snapshot(SNAPSHOT, 9.0).is_terminal


@pytest.mark.parametrize(
    "error",
    [
        SubmissionInDoubt(
            "m", job_ids=("a",), job_ids_by_target={"ja": "a"}, targets=("ja",), wrong_host=True
        ),
        JobFailed("failed", job_id="abc", snapshot=SNAPSHOT, error_code=7),
        BadRequestError("no", code=1003, vendor_message="words", http_status=400),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_json(error: AkoolError) -> None:
    again = through_json(error)

    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (str(again), again.disposition) == (str(error), error.disposition)


def test_every_public_error_survives_json() -> None:
    public = [getattr(akool_async, name) for name in akool_async.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, AkoolError)]
    for kind in kinds:
        error = kind("what happened", advice="do this")
        error.during_auth = True
        again = through_json(error)

        assert type(again) is kind
        assert again.disposition is error.disposition
        assert vars(again) == vars(error)
    assert len(kinds) > 30


def test_a_refusal_within_a_submission_survives_json() -> None:
    submission = Submission(
        refused=(akool_async.Refusal(target="ja", error=BadRequestError("no", code=1003)),)
    )
    for refusal in (*through_json(submission).refused, through_json(submission.refused[0])):
        assert (refusal.target, refusal.error.code) == ("ja", 1003)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"kind": "Path"},
        {"kind": "Popen", "args": "true"},
        {"kind": "TranslationRequest", "url": "ftp://x", "targets": ["ja"]},
        {"kind": "TranslationRequest"},
        {"kind": "Snapshot", "job_id": "a", "created_at": "yesterday"},
        {"kind": "PollState", "job_id": "a", "created": 0.0, "history": "zz"},
        {"kind": "AkoolError"},
        {"kind": "AkoolError", "message": "m"},
        None,
        "x",
    ],
    ids=str,
)
def test_what_is_no_value_is_refused(stored: Any) -> None:
    with pytest.raises(InvalidRequestError):
        from_wire(stored)


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no JSON form"):
        to_wire(object())  # type: ignore[arg-type]


async def test_an_impatient_call_is_told_at_once_how_long_to_wait(house: Open) -> None:
    async with house() as home:
        home.sandbox.faults.add(Fault(on="create", kind="http", status=429, retry_after=7, limit=1))
        client = await home.client()
        with pytest.raises(RateLimitError) as raised:
            await client.submit(video(), patient=False)

        assert raised.value.retry_after >= 7
        assert raised.value.disposition is Disposition.RETRY
        assert len(home.sandbox.audit.jobs) == 0


async def test_an_impatient_doubt_names_its_ids_unconfirmed(house: Open) -> None:
    async with house() as home:
        home.sandbox.faults.add(Fault(on="create", kind="cut_after_id", limit=1))
        client = await home.client()
        with pytest.raises(SubmissionInDoubt) as raised:
            await client.submit(video(), patient=False)

        assert raised.value.job_ids == tuple(job.id for job in home.sandbox.audit.jobs)
        assert home.sandbox.audit.polled == {}


async def test_a_job_of_known_age_is_not_polled_at_once(house: Open) -> None:
    async with house() as home:
        client = await home.client(schedule=FixedSchedule(interval=0.01))
        made = (await client.submit(video())).accepted[0]
        done = await client.wait(made.id, created_at=made.created_at, give_up_after=30)

        assert done.job_id == made.id
        for wrong in (datetime(2026, 1, 1), "2026-01-01"):
            with pytest.raises(InvalidRequestError, match="aware"):
                await client.wait(made.id, created_at=wrong)  # type: ignore[arg-type]


async def test_a_callback_is_confirmed_by_the_api(house: Open) -> None:
    async with house() as home:
        client = await home.client()
        made = (await client.submit(video())).accepted[0]
        assert made.created_at is not None
        callback, forged = Callback(job_id=made.id), Callback(job_id="f" * 24)

        found = await confirm(client, callback, sent_at=made.created_at)
        assert found is not None
        assert found.job_id == made.id
        assert await confirm(client, callback, sent_at=made.created_at + timedelta(hours=1)) is None
        assert await confirm(client, forged) is None


@pytest.mark.parametrize(
    ("made", "server_ahead", "is_confirmed"),
    [
        (timedelta(minutes=-5), timedelta(), False),
        (timedelta(minutes=-5), timedelta(minutes=-5), True),
        (timedelta(hours=1), timedelta(), True),
        (timedelta(days=2), timedelta(), False),
        (None, timedelta(), False),
    ],
)
async def test_a_job_of_another_time_is_not_confirmed(
    made: timedelta | None, server_ahead: timedelta, *, is_confirmed: bool
) -> None:
    snapshot = Snapshot(job_id="job-ja", created_at=None if made is None else START + made)
    client = cast(AkoolClient, Seam(known={"job-ja": snapshot}, server_ahead=server_ahead))
    callback = Callback(job_id="job-ja")

    assert (await confirm(client, callback, sent_at=START) is snapshot) is is_confirmed
    assert await confirm(client, callback) is snapshot


def test_tokens_are_the_last_part_of_the_path() -> None:
    token = new_token()

    assert with_token("https://hooks.example/akool/?a=1", token) == f"https://hooks.example/akool/{token}?a=1"
    assert len({new_token() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "url",
    [
        *(
            "hooks.example",
            "ftp://hooks.example",
            "https://",
            "https://[::1/a",
            "https://hooks.example:99999/a",
        ),
        *(
            "https://hooks.example/my hook",
            "https://hooks.example/\u202e",
            f"https://hooks.example/{8165 * 'a'}",
        ),
    ],
    ids=lambda url: url[:28],
)
def test_a_webhook_url_that_no_post_can_carry_is_refused_before_there_is_one(url: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook_url must be an http or https URL"):
        with_token(url, new_token())
    assert with_token(f"https://hooks.example/{8000 * 'a'}", new_token())
