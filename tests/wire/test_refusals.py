"""Whose refusal it is, and what it says: for the whole request, or for one of its languages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from akool_async._model.errors import AkoolError
from akool_async._model.requests import TranslationRequest
from akool_async._model.responses import Submission
from akool_async._wire import read_envelope, read_submission

REQUEST = TranslationRequest(url="https://example.com/1.mp4", targets="ja,fr")
JOB = {"code": 1000, "data": {"_id": "66160f989dfc997ac2890001", "language": "ja"}}


def read(whole: dict[str, Any]) -> Submission:
    return read_submission(read_envelope(json.dumps(whole).encode()), REQUEST)


def answer(refusal: dict[str, Any]) -> dict[str, Any]:
    return {"code": 1000, "data": JOB["data"], "all_results": [JOB, refusal]}


@pytest.mark.parametrize(
    "refusal",
    [
        {"code": 1203, "msg": "no audio", "language": "fr"},
        {"code": 1203, "msg": "no audio", "data": {"language": "fr"}},
        {"code": 1203, "msg": "no audio", "data": {}},
    ],
)
def test_the_refusal_of_one_language_is_kept_with_the_vendors_words(refusal: dict[str, Any]) -> None:
    submission = read(answer(refusal))
    (refused,) = submission.refused

    assert [job.target for job in submission.accepted] == ["ja"]
    assert (refused.target, refused.error.code, refused.error.vendor_message) == ("fr", 1203, "no audio")
    assert submission.missing == ()


def test_two_refusals_are_told_apart_by_the_language_beside_them() -> None:
    parts = [{"code": 1203, "language": "fr"}, {"code": 1202, "language": "ja"}]
    submission = read({"code": 1000, "data": None, "all_results": parts})

    assert {refused.target: refused.error.code for refused in submission.refused} == {"ja": 1202, "fr": 1203}


def test_what_does_not_exist_on_create_is_the_video_or_a_voice() -> None:
    missing = {"code": 1008, "msg": "not exist"}
    (refused,) = read(answer(missing | {"language": "fr"})).refused
    with pytest.raises(AkoolError) as raised:
        read(missing)

    for error in (refused.error, raised.value):
        assert "video" in error.advice
        assert "voice" in error.advice
