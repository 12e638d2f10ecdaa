"""The values that the vendor's answers become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from akool_async._model.responses import (
    Job,
    Language,
    Snapshot,
    Status,
    Submission,
    Voice,
    VoicePage,
    result_expiry,
    surely_expired,
)

MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("hours", [-14, 14])
@pytest.mark.parametrize("end", [datetime.min, datetime.max, datetime.max - timedelta(days=7)])
def test_no_moment_is_too_absurd_to_count_from(end: datetime, hours: int) -> None:
    expires = result_expiry(end.replace(tzinfo=timezone(timedelta(hours=hours))))

    assert expires is None or expires.tzinfo is UTC


@pytest.mark.parametrize("status", Status)
def test_only_completed_and_failed_are_terminal(status: Status) -> None:
    assert status.terminal is (status in (Status.COMPLETED, Status.FAILED))


def test_the_numbers_of_statuses_are_the_vendors() -> None:
    assert {status.name: int(status) for status in Status} == {
        "UNKNOWN": 0,
        "QUEUEING": 1,
        "PROCESSING": 2,
        "COMPLETED": 3,
        "FAILED": 4,
    }


def test_a_result_expires_seven_days_after_the_job_was_made() -> None:
    assert Snapshot(job_id="j", created_at=MADE).expires_at == MADE + timedelta(days=7)


def test_without_a_time_of_creation_expiry_is_not_known() -> None:
    assert Snapshot(job_id="j").expires_at is None


def test_a_creation_at_the_end_of_time_does_not_break_the_calendar() -> None:
    last = datetime.max.replace(tzinfo=UTC)

    assert Snapshot(job_id="j", created_at=last).expires_at is None
    assert Snapshot(job_id="j", created_at=last - timedelta(days=7)).expires_at == last


def test_a_submission_names_all_jobs_that_may_be_billed() -> None:
    submission = Submission(accepted=(Job(id="a"), Job(id="b")), extra=(Job(id="c"),))

    assert submission.job_ids == ("a", "b", "c")


RAW = {"new": "field", "list": [1]}


@pytest.mark.parametrize(
    "make",
    [
        lambda raw: Job(id="j", raw=raw),
        lambda raw: Snapshot(job_id="j", raw=raw),
        lambda raw: Language(code="ja", raw=raw),
        lambda raw: Voice(voice_id="v", raw=raw),
    ],
)
def test_the_raw_answer_is_reachable_and_not_a_part_of_the_value(make: Any) -> None:
    value = make(RAW)

    assert value.raw == RAW
    assert value == make({})
    assert hash(value) == hash(make({}))
    assert "new" not in repr(value)


@pytest.mark.parametrize(
    "value",
    [Job(id="j"), Snapshot(job_id="j"), Language(code="ja"), Voice(voice_id="v"), VoicePage(), Submission()],
)
def test_no_value_changes(value: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(type(value))[0].name, "other")


def test_no_repr_shows_a_signed_query() -> None:
    signed = "https://files.test/a?sig=canary"
    voice = Voice(voice_id="v", preview_url=signed, thumbnail_url=signed, flag_url=signed)

    for value in (voice, Language(code="ja", icon_url=signed), Snapshot(job_id="j", url=signed)):
        assert "canary" not in repr(value)
        assert "https://files.test/a?…" in repr(value)


@pytest.mark.parametrize(
    ("days", "vendor_days", "expired"),
    [(9, 9, True), (7.5, 9, False), (9, 6.9, False), (6.9, 9, False), (400, 6.9, False), (-400, 9, False)],
)
def test_a_result_has_surely_expired_by_both_clocks_alone(
    days: float, vendor_days: float, expired: bool
) -> None:
    now, vendor_now = (MADE + timedelta(days=passed) for passed in (days, vendor_days))

    assert surely_expired(result_expiry(MADE), MADE, now=now, vendor_now=vendor_now) is expired
    assert not surely_expired(None, MADE, now=now, vendor_now=vendor_now)
    assert surely_expired(result_expiry(MADE), None, now=now, vendor_now=vendor_now) is (vendor_days >= 7)
