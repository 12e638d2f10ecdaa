"""Taking back what was entered and not sent: a row that names a payment, or may, stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from akool_async._journal import Journal
from akool_async._model.states import State
from tests.journal.conftest import step, video

JOB = "66160f989dfc997ac2890001"


async def test_what_was_never_sent_is_forgotten(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        await journal.record(
            step(State.PLANNED, request=video()), step(State.PLANNED, key="other", request=video(key="other"))
        )

        assert await journal.withdraw("talk", "ja") is True
        assert journal.get("talk", "ja") is None
        assert journal.get("other", "ja") is not None
        assert await journal.withdraw("talk", "ja") is False


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [step(State.IN_DOUBT)],
        [step(State.SUBMITTED, job_id=JOB)],
        [step(State.SUBMITTED, job_id=JOB), step(State.FAILED, credits_used=1.0)],
        [step(State.IN_DOUBT), "intend", step(State.PLANNED)],
    ],
    ids=["under way", "in doubt", "submitted", "failed", "in doubt before"],
)
async def test_what_may_be_paid_stays(opened: Callable[[], Journal], steps: list[object]) -> None:
    async with opened() as journal:
        await journal.intend(video())
        for one in steps:
            await (journal.intend(video()) if one == "intend" else journal.record(one))  # type: ignore[arg-type]
        before = journal.get("talk", "ja")

        assert await journal.withdraw("talk", "ja") is False
        assert before is not None
        assert journal.get("talk", "ja") == before
