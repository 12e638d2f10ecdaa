"""How entries end, as values."""

from __future__ import annotations

import pickle
import typing
from pathlib import Path
from typing import Any

import attrs
import pytest

from akool_async._model.outcomes import (
    Completed,
    Expired,
    Failed,
    InDoubt,
    NotSubmitted,
    Outcome,
    Rejected,
    Saved,
)
from akool_async._model.responses import Job, Snapshot
from tests.wire.examples import REQUEST

SEEN = Snapshot(job_id="j", url="https://files.test/a.mp4?sig=canary")
KINDS = {
    Completed: {"snapshot": SEEN},
    Failed: {"snapshot": SEEN},
    Rejected: {"code": 1203},
    InDoubt: {},
    Expired: {},
    NotSubmitted: {},
}


def ended(kind: Any) -> Any:
    return kind(key="mine", request=REQUEST, target="ja", job=Job(id="j"), reason="so", **KINDS[kind])


def test_there_are_six_ways_to_end() -> None:
    assert set(typing.get_args(Outcome)) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_outcome_says_whose_it_is_and_can_be_pickled(kind: Any) -> None:
    outcome = ended(kind)

    assert (outcome.key, outcome.target, outcome.reason) == ("mine", "ja", "so")
    assert (outcome.request, outcome.job) == (REQUEST, Job(id="j"))
    assert (outcome.job_id, attrs.evolve(outcome, job=None).job_id) == ("j", "")
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert "canary" not in repr(outcome)


@pytest.mark.parametrize("kind", KINDS)
def test_an_outcome_does_not_change(kind: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ended(kind).reason = "other"


def test_an_outcome_can_be_told_by_its_class() -> None:
    match ended(Completed):
        case Completed(key=key, job=Job(id=job_id), snapshot=seen):
            found = (key, job_id, seen)
        case _:
            found = None

    assert found == ("mine", "j", SEEN)


def test_only_a_completed_one_needs_a_snapshot() -> None:
    with pytest.raises(TypeError):
        Completed(key="mine", request=REQUEST, target="ja")  # type: ignore[call-arg]


def test_saved_files_are_listed_with_the_video_first() -> None:
    video, english, japanese = Path("a.mp4"), Path("en.srt"), Path("ja.srt")

    assert Saved(video=video).files == (video,)
    assert Saved(video=video, translated_srt=japanese).files == (video, japanese)
    assert Saved(video=video, translated_srt=japanese, original_srt=english).files == (
        video,
        english,
        japanese,
    )
