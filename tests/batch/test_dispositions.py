"""What each error of a paid POST, or of the call for its token, means for an entry and for its batch."""

from __future__ import annotations

import pytest

from akool_async import Disposition, Job
from akool_async._batch.entry import BatchEntry
from akool_async._batch.limits import Permit, WeightedSemaphore
from akool_async._batch.post import Post
from akool_async._model import errors
from akool_async._model.errors import AkoolError, SubmissionInDoubt
from akool_async._model.requests import TranslationRequest
from akool_async._model.states import State

AGAIN, ABORTED, REFUSED = Disposition.RETRY, Disposition.STOP, Disposition.REJECTED
TABLE = [
    (SubmissionInDoubt("lost"), Disposition.IN_DOUBT),
    (SubmissionInDoubt("a page", wrong_host=True), Disposition.IN_DOUBT_STOP),
    (errors.RateLimitError("often", code=1005), AGAIN),
    (errors.RateLimitError("often", http_status=429), AGAIN),
    (errors.ConnectError("refused"), AGAIN),
    (errors.ConnectionLostError("reset"), AGAIN),
    (errors.ProtocolError("torn"), AGAIN),
    (errors.ServerError("503", http_status=503), AGAIN),
    (errors.VendorError("without a code"), AGAIN),
    (errors.VendorError("a code", code=4711), REFUSED),
    (errors.VendorError("a code", code=1015), REFUSED),
    (errors.BadRequestError("wrong", code=1003), REFUSED),
    (errors.InvalidMediaError("no audio", code=1203), REFUSED),
    (errors.DuplicateJobError("twice", code=1202), REFUSED),
    (errors.JobNotFoundError("no such voice", code=1008), REFUSED),
    (errors.OutOfCredits("none left", code=1006), Disposition.OUT_OF_CREDITS),
    (errors.AuthenticationError("who?", code=1101), ABORTED),
    (errors.PermissionDeniedError("not you", code=1200), ABORTED),
    (errors.CertificateError("expired"), ABORTED),
    (errors.UnexpectedRedirectError("elsewhere"), ABORTED),
    (errors.WrongHostError("not this API"), ABORTED),
    (errors.ClientClosedError("closed"), ABORTED),
]


@pytest.mark.parametrize(("error", "meaning"), TABLE, ids=lambda value: str(value)[:40])
def test_every_error_has_one_meaning(error: AkoolError, meaning: Disposition) -> None:
    assert error.disposition == meaning


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (errors.BadRequestError("wrong", code=1003), ABORTED),
        (errors.JobNotFoundError("no such account", code=1008), ABORTED),
        (errors.VendorError("busy", code=1015), AGAIN),
        (errors.AuthenticationError("who?", code=1101), ABORTED),
        (errors.OutOfCredits("none left", code=1006), Disposition.OUT_OF_CREDITS),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_token_that_is_refused_refuses_no_entry(error: AkoolError, meaning: Disposition) -> None:
    error.during_auth = True

    assert error.disposition == meaning


def test_what_is_in_doubt_is_never_planned_again() -> None:
    assert {one: one.state for one in Disposition} == {
        Disposition.RETRY: State.PLANNED,
        Disposition.REJECTED: State.FAILED,
        Disposition.IN_DOUBT: State.IN_DOUBT,
        Disposition.IN_DOUBT_STOP: State.IN_DOUBT,
        Disposition.OUT_OF_CREDITS: State.PLANNED,
        Disposition.STOP: State.PLANNED,
    }


def post(targets: str = "ja,fr", retries: int = 0) -> Post:
    request = TranslationRequest(url="https://example.com/1.mp4", targets=targets, key="one")
    entries = [BatchEntry(request=request, target=target) for target in request.targets]
    for entry in entries:
        entry.retries_left = retries
    return Post(request, entries, Permit(WeightedSemaphore(1)))


@pytest.mark.parametrize("code", [1015, 1201, 1205, 1211])
def test_a_busy_vendor_is_asked_again_as_often_as_allowed(code: int) -> None:
    asked = post("ja", retries=2)
    for _ in range(3):
        asked.fail(asked.entries, errors.VendorError("busy", code=code))

    assert [failure.disposition for failure in asked.failures] == [AGAIN, AGAIN, REFUSED]
    assert [failure.entry for failure in asked.failures] == asked.entries * 3
    assert asked.entries[0].retries_left == 0


@pytest.mark.parametrize(
    "error",
    [
        errors.VendorError("news", code=4711),
        errors.BadRequestError("wrong", code=1003),
        SubmissionInDoubt("lost"),
    ],
)
def test_retries_are_kept_for_a_busy_vendor(error: AkoolError) -> None:
    asked = post("ja", retries=2)
    asked.fail(asked.entries, error)

    assert asked.failures[0].disposition is not AGAIN
    assert asked.entries[0].retries_left == 2


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (errors.BadRequestError("wrong", code=1003), True),
        (errors.AuthenticationError("who?", code=1101), True),
        (errors.RateLimitError("often", code=1005), True),
        (SubmissionInDoubt("lost"), False),
        (errors.ConnectError("refused"), False),
    ],
    ids=str,
)
def test_a_refusal_is_an_answer(error: AkoolError, *, answered: bool) -> None:
    asked = post("ja")
    assert not asked.answered
    asked.fail(asked.entries, error)

    assert asked.answered is answered
    assert asked.rate_limited is isinstance(error, errors.RateLimitError)


def test_a_job_is_an_answer() -> None:
    asked = post("ja")
    asked.submitted.append((asked.entries[0], Job(id="job-ja", target="ja")))

    assert asked.answered


def test_ids_of_a_doubt_belong_to_their_language() -> None:
    asked = post("ja,fr")
    asked.own_ids, asked.other_ids = {"ja": "job-1"}, ("job-2",)
    japanese, french = asked.entries

    assert asked.doubt_ids(japanese) == ("job-1", "job-2")
    assert asked.doubt_ids(french) == ("job-2",)
    assert (asked.candidates(japanese), asked.candidates(french)) == (("job-1",), ())


def test_the_only_entry_may_have_any_id() -> None:
    asked = post("ja")
    asked.other_ids = ("job-2",)

    assert asked.candidates(asked.entries[0]) == ("job-2",)


def test_a_post_names_only_the_languages_that_are_sent() -> None:
    asked = post("ja,fr")
    asked.select(asked.entries[1:])

    assert asked.request.targets == ("fr",)
    assert [entry.request for entry in asked.entries] == [asked.request]
    asked.select([])
    assert (asked.entries, asked.request.targets) == ([], ("fr",))
