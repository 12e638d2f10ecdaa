"""What a paid POST is answered with: no id is lost, and nothing is called refused that may be at work."""

from __future__ import annotations

import pickle
from itertools import permutations
from typing import Any

import attrs
import pytest

from akool_async._model.errors import (
    AkoolError,
    AuthenticationError,
    BadRequestError,
    DuplicateJobError,
    InvalidMediaError,
    OutOfCredits,
    PermissionDeniedError,
    ProtocolError,
    ServerError,
    VendorError,
)
from akool_async._model.requests import Request, TranslationRequest
from akool_async._model.responses import Status, Submission
from akool_async._wire import read_submission
from tests.wire.examples import (
    FR,
    HI,
    JA,
    LIP_SYNC,
    OTHER,
    REQUEST,
    THREE,
    accepted,
    answer,
    envelope,
    made,
    made_long_ago,
    refused,
    submitted,
)

TWO = TranslationRequest(url="https://media.test/talk.mp4", targets=("hi", "fr"))


def read(data: Any, request: Request = REQUEST, **top: Any) -> Submission:
    return read_submission(envelope(data, **top), request)


def placed(submission: Submission) -> dict[str, str]:
    return {job.target: job.id for job in submission.accepted}


def codes(submission: Submission) -> dict[str, int | None]:
    return {refusal.target: refusal.error.code for refusal in submission.refused}


# Accepted.


def test_one_language_without_all_results_is_one_job() -> None:
    data = made(JA, "ja")

    (job,) = read(data).accepted

    assert (job.id, job.target, job.source_language, job.status) == (JA, "ja", "en", Status.QUEUEING)
    assert (job.video_id, job.task_id) == ("video-ja", "task-ja")
    assert (job.seconds_locked, job.credits_locked) == (12.25, 3.0)
    assert job.raw == data


def test_a_job_of_an_older_server_is_read() -> None:
    data = made_long_ago(HI)

    (job,) = read(data, LIP_SYNC).accepted

    assert (job.id, job.target, job.video_id, job.credits_locked) == (HI, "", "video-legacy", 10.0)
    assert job.raw == data


@pytest.mark.parametrize("order", list(permutations([(HI, "hi"), (FR, "fr"), (JA, "ja")])))
def test_jobs_are_matched_by_language_and_never_by_position(order: tuple[tuple[str, str], ...]) -> None:
    submission = submitted(*(accepted(job_id, language) for job_id, language in order))

    assert placed(submission) == {"hi": HI, "fr": FR, "ja": JA}
    assert [job.target for job in submission.accepted] == ["hi", "fr", "ja"]
    assert (submission.refused, submission.missing, submission.extra) == ((), (), ())


def test_the_job_in_data_is_not_counted_twice() -> None:
    submission = submitted(accepted(HI, "hi"), accepted(FR, "fr"), accepted(JA, "ja"))

    assert submission.job_ids == (HI, FR, JA)


@pytest.mark.parametrize("written", ["zh_cn", "ZH-CN", "zh-cn", " zh-CN ", "zh-CN\n"])
def test_a_language_may_be_written_in_another_way(written: str) -> None:
    request = TranslationRequest(url="https://media.test/talk.mp4", targets=("fr", "zh-CN"))

    submission = submitted(accepted(HI, written), accepted(FR, "fr"), request=request)

    assert placed(submission) == {"zh-CN": HI, "fr": FR}


@pytest.mark.parametrize("written", ["Japanese", "ja-JP", "日本語", "", None, 7, ["ja"]])
def test_the_only_job_of_the_only_language_is_its_own_whatever_it_is_called(written: Any) -> None:
    assert placed(read(made(JA, written))) == {"ja": JA}


def test_a_language_may_stand_beside_the_job() -> None:
    bare = {"_id": HI, "video_status": 1}
    submission = submitted(answer(bare, language="hi"), accepted(FR, "fr"), data=made(FR, "fr"), request=TWO)

    assert placed(submission) == {"hi": HI, "fr": FR}


@pytest.mark.parametrize(
    "item",
    [
        made(HI, "hi"),
        {"code": 1000, **made(HI, "hi")},
        {**made(HI, "hi"), "data": None},
        answer([made(HI, "hi")]),
    ],
)
def test_a_result_may_come_without_its_envelope_or_in_a_list(item: dict[str, Any]) -> None:
    submission = submitted(item, accepted(FR, "fr"), request=TWO)

    assert placed(submission) == {"hi": HI, "fr": FR}


def test_data_may_be_the_list_of_all_jobs() -> None:
    assert placed(read([made(FR, "fr"), made(HI, "hi")], TWO)) == {"hi": HI, "fr": FR}


def test_an_id_may_be_a_number() -> None:
    (job,) = read(made(JA, "ja", _id=1234567890)).accepted

    assert job.id == "1234567890"
    assert job.raw["_id"] == 1234567890


@pytest.mark.parametrize("code", [1015, "1003", 1005, 1101, 9999])
def test_an_answer_that_names_a_job_is_no_refusal_whatever_its_code(code: object) -> None:
    assert placed(read(made(JA, "ja"), code=code)) == {"ja": JA}
    assert placed(submitted(accepted(HI, "hi"), refused(1003, "fr"), request=TWO, code=code)) == {"hi": HI}


# Refused.


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (1003, BadRequestError),
        ("1203", InvalidMediaError),
        (1202, DuplicateJobError),
        (1104, OutOfCredits),
        (1200, PermissionDeniedError),
        (1101, AuthenticationError),
        (1205, ServerError),
        (424242, VendorError),
    ],
)
def test_an_answer_that_refuses_everything_is_raised(code: Any, error: type[AkoolError]) -> None:
    with pytest.raises(error) as caught:
        read(None, code=code, msg="no, thanks")

    assert type(caught.value) is error
    assert caught.value.code == int(code)
    assert caught.value.vendor_message == "no, thanks"


def test_refusals_of_each_language_do_not_hide_that_everything_was_refused() -> None:
    with pytest.raises(OutOfCredits):
        submitted(refused(1104, "hi"), refused(1104), request=TWO, code=1104)


def test_a_refusal_of_one_language_refuses_no_other_that_the_answer_leaves_out() -> None:
    """The one that is left out may have been made: its doubt must not be taken for a refusal."""
    named = submitted(refused(1104, "hi"), request=TWO, code=1104)
    nameless = submitted(refused(1104), request=TWO, code=1104)

    assert (codes(named), named.missing) == ({"hi": 1104}, ("fr",))
    assert (codes(nameless), nameless.missing) == ({}, ("hi", "fr"))


def test_a_refused_language_does_not_lose_the_others() -> None:
    submission = submitted(accepted(HI, "hi"), refused(1203, "fr"), accepted(JA, "ja"))

    assert placed(submission) == {"hi": HI, "ja": JA}
    assert codes(submission) == {"fr": 1203}
    assert isinstance(submission.refused[0].error, InvalidMediaError)
    assert submission.missing == ()


def test_a_refusal_may_name_its_language_beside_the_data() -> None:
    submission = submitted(accepted(HI, "hi"), {"code": 1003, "msg": "no", "language": "FR"}, request=TWO)

    assert codes(submission) == {"fr": 1003}


def test_refusals_keep_the_order_of_the_request() -> None:
    submission = submitted(refused(1003, "ja"), accepted(FR, "fr"), refused(1202, "hi"))

    assert codes(submission) == {"hi": 1202, "ja": 1003}
    assert [refusal.target for refusal in submission.refused] == ["hi", "ja"]


def test_a_refusal_without_a_name_belongs_to_the_only_language_that_is_left() -> None:
    submission = submitted(refused(1203), accepted(HI, "hi"), accepted(JA, "ja"))

    assert codes(submission) == {"fr": 1203}


def test_several_refusals_without_names_belong_to_all_that_are_left() -> None:
    submission = submitted(refused(1203), accepted(HI, "hi"), refused(1203))

    assert codes(submission) == {"fr": 1203, "ja": 1203}
    assert isinstance(submission.refused[0].error, InvalidMediaError)


def test_refusals_without_names_that_differ_do_not_claim_which_is_which() -> None:
    submission = submitted(refused(1203), accepted(HI, "hi"), refused(1104))
    error = submission.refused[0].error

    assert codes(submission) == {"fr": 1203, "ja": 1203}
    assert type(error) is VendorError
    assert "1203, 1104" in str(error)
    assert "without saying which" in str(error)


def test_a_refusal_without_a_name_is_nobodys_when_several_languages_are_left() -> None:
    submission = submitted(refused(1203), accepted(HI, "hi"))

    assert submission.refused == ()
    assert submission.missing == ("fr", "ja")


def test_a_refusal_without_a_name_is_nobodys_while_a_job_could_be_of_that_language() -> None:
    submission = submitted(refused(1203), accepted(HI, "hi"), accepted(JA, "French"), request=TWO)

    assert submission.refused == ()
    assert submission.missing == ("fr",)
    assert [job.id for job in submission.extra] == [JA]


def test_a_refusal_of_a_stranger_is_nobodys_when_there_are_several_languages() -> None:
    submission = submitted(refused(1203, "klingon"), accepted(HI, "hi"), request=TWO)

    assert submission.missing == ("fr",)


@pytest.mark.parametrize("written", ["Japanese", "ja-JP", None])
@pytest.mark.parametrize("request_", [REQUEST, LIP_SYNC])
def test_the_only_language_is_refused_whatever_it_is_called(written: str | None, request_: Request) -> None:
    submission = submitted(refused(1203, written), request=request_)

    assert codes(submission) == {request_.targets[0]: 1203}
    assert submission.missing == ()


def test_a_language_that_was_accepted_is_not_refused_as_well() -> None:
    submission = submitted(accepted(HI, "hi"), refused(1202, "hi"), accepted(FR, "fr"), request=TWO)

    assert placed(submission) == {"hi": HI, "fr": FR}
    assert submission.refused == ()


def test_a_part_with_a_code_of_failure_and_a_job_is_a_job() -> None:
    submission = submitted(answer(made(HI, "hi"), 1015), answer([made(FR, "fr")], 1015), request=TWO)

    assert placed(submission) == {"hi": HI, "fr": FR}


def test_a_job_in_a_list_beside_a_code_of_failure_refuses_no_other_language() -> None:
    submission = submitted(answer([made(HI, "hi")], 1015), request=TWO, data=None)

    assert placed(submission) == {"hi": HI}
    assert codes(submission) == {}
    assert submission.missing == ("fr",)


# Missing.


@pytest.mark.parametrize(
    "unclear", [None, {}, [], "no", 7, answer(), answer({"language": "fr"}), {"msg": "hm"}]
)
def test_a_language_that_is_not_clearly_refused_is_missing(unclear: object) -> None:
    submission = submitted(unclear, accepted(HI, "hi"), request=TWO)

    assert placed(submission) == {"hi": HI}
    assert submission.missing == ("fr",)
    assert submission.refused == ()


def test_a_language_that_is_not_mentioned_is_missing() -> None:
    submission = read(made(JA, "ja"), THREE)

    assert placed(submission) == {"ja": JA}
    assert submission.missing == ("hi", "fr")


def test_success_for_a_part_without_a_job_is_a_doubt_although_the_whole_is_refused() -> None:
    submission = submitted(answer(None, 1000), refused(1003, "fr"), request=TWO, code=1003)

    assert submission.missing == ("hi",)
    assert codes(submission) == {"fr": 1003}


@pytest.mark.parametrize("data", [None, {}, [], "", "queued", 1, {"video_status": 1}, [None], {"_id": "a/b"}])
def test_success_without_a_job_is_a_protocol_error(data: object) -> None:
    for all_results in (None, [], "none", 0):
        with pytest.raises(ProtocolError, match="names no job") as caught:
            read(data, all_results=all_results)

        assert caught.value.job_ids == ()


# Extra, and ids in unknown places.


def test_a_job_of_another_language_is_kept_as_extra() -> None:
    submission = submitted(accepted(HI, "hi"), accepted(FR, "fr"), accepted(OTHER, "de"), request=TWO)

    assert placed(submission) == {"hi": HI, "fr": FR}
    assert [(job.id, job.target) for job in submission.extra] == [(OTHER, "de")]
    assert submission.job_ids == (HI, FR, OTHER)


def test_a_second_job_of_one_language_is_kept_as_extra() -> None:
    submission = submitted(accepted(HI, "hi"), accepted(FR, "hi"), request=TWO)

    assert placed(submission) == {"hi": HI}
    assert [job.id for job in submission.extra] == [FR]
    assert submission.missing == ("fr",)


def test_two_jobs_of_odd_names_for_one_language_are_both_kept_in_doubt() -> None:
    submission = read([made(HI, "Japanese"), made(FR, "Nihongo")])

    assert submission.accepted == ()
    assert submission.missing == ("ja",)
    assert submission.job_ids == (HI, FR)


def test_two_jobs_of_odd_names_and_a_refusal_leave_the_language_in_doubt() -> None:
    submission = submitted(refused(1003), data=[made(HI, "Japanese"), made(FR, "Nihongo")], request=REQUEST)

    assert submission.missing == ("ja",)
    assert submission.job_ids == (HI, FR)


def test_a_second_job_of_a_lip_sync_is_kept_as_extra() -> None:
    submission = read([made_long_ago(HI), made_long_ago(FR)], LIP_SYNC)

    assert placed(submission) == {"": HI}
    assert [job.id for job in submission.extra] == [FR]


def test_the_odd_language_of_an_extra_job_is_printable() -> None:
    submission = submitted(accepted(HI, "hi"), accepted(OTHER, "\x1b[2Jd\u202ee\n"), request=TWO)

    assert submission.extra[0].target == "[2Jde"


@pytest.mark.parametrize(
    "hidden",
    [
        {"data": {"job": {"_id": OTHER}}},
        {"data": {"_id": "a/b", "list": [{"_id": OTHER}]}},
        {"data": None, "_id": OTHER},
        {"data": None, "job": {"_id": OTHER}},
        {"all_results": {"ja": answer(made(OTHER, "ja"))}},
        {"all_results": [answer({"job": {"_id": OTHER}}, 1003)]},
        {"all_results": [[answer({"_id": OTHER})]]},
    ],
)
def test_an_id_in_an_unknown_place_is_neither_lost_nor_taken_for_a_refusal(hidden: dict[str, Any]) -> None:
    for code in (1000, 1003, 1104, 9999):
        with pytest.raises(ProtocolError) as caught:
            read(**{"data": None, **hidden}, code=code)

        assert caught.value.job_ids == (OTHER,)


@pytest.mark.parametrize("odd", ["a/b", {"low": 1, "high": 2}, [1, 2], True])
@pytest.mark.parametrize("code", [1003, 1015, 9999])
def test_a_refusal_that_holds_an_id_of_an_unknown_form_is_none(code: int, odd: object) -> None:
    with pytest.raises(ProtocolError, match="holds an id") as caught:
        read({"_id": odd}, code=code)

    assert caught.value.job_ids == ()


def test_a_language_whose_refusal_holds_an_id_of_an_unknown_form_is_missing() -> None:
    odd = answer({"_id": {"low": 1, "high": 2}, "language": "fr"}, 1003)

    submission = submitted(accepted(HI, "hi"), odd, request=TWO)

    assert placed(submission) == {"hi": HI}
    assert (submission.refused, submission.missing) == ((), ("fr",))


@pytest.mark.parametrize("code", [1000, 1015])
def test_an_id_in_an_unknown_place_is_extra_while_a_language_is_missing(code: int) -> None:
    part = answer({"job": {"_id": OTHER}, "language": "fr"}, code)

    submission = submitted(accepted(HI, "hi"), part, request=TWO)

    assert placed(submission) == {"hi": HI}
    assert codes(submission) == {}
    assert submission.missing == ("fr",)
    assert [job.id for job in submission.extra] == [OTHER]


def test_ids_inside_a_job_are_not_taken_for_jobs() -> None:
    submission = read(made(JA, "ja", team={"_id": OTHER}))

    assert submission.job_ids == (JA,)


def test_ids_of_other_things_are_not_taken_for_jobs_when_nothing_is_missing() -> None:
    submission = read(made(JA, "ja"), account={"_id": OTHER})

    assert submission.job_ids == (JA,)


# As values.


def test_a_submission_can_be_shown_and_pickled() -> None:
    submission = submitted(accepted(HI, "hi"), refused(1203, "fr"), accepted(OTHER, "de"))

    again = pickle.loads(pickle.dumps(submission))

    assert (again.accepted, again.missing, again.extra) == (
        submission.accepted,
        submission.missing,
        submission.extra,
    )
    assert str(again.refused[0].error) == str(submission.refused[0].error)
    assert "md5_of_tests" not in repr(submission)


def test_a_job_does_not_change() -> None:
    (job,) = read(made(JA, "ja")).accepted

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        job.id = HI  # type: ignore[misc]
