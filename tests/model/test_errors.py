"""One tree of errors: each says what happened, what it means for money and what to do, wherever it goes."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
from datetime import UTC, datetime

import pytest

from akool_async._model import errors
from akool_async._model.errors import (
    AkoolError,
    CallerError,
    ConfigurationError,
    InvalidRequestError,
    ProtocolError,
    SubmissionInDoubt,
    UnsealError,
    WaitTimeout,
)
from akool_async._model.responses import JobFailed, Snapshot, Status

ALL = [
    *(kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)),
    JobFailed,
]
FACTS = {"impact": "Money.", "advice": "Advice.", "code": 1234, "vendor_message": "words", "http_status": 418}
SNAPSHOT = Snapshot(
    job_id="7a10c0ffee",
    status=Status.FAILED,
    created_at=datetime(2026, 1, 2, tzinfo=UTC),
    raw={"video_status": 4, "new": [1]},
)

TREE = {
    "AkoolError": "Exception",
    "CallerError": "AkoolError",
    "InvalidRequestError": "CallerError",
    "ConfigurationError": "InvalidRequestError",
    "BadRequestError": "CallerError",
    "InvalidMediaError": "BadRequestError",
    "DuplicateJobError": "BadRequestError",
    "JobNotFoundError": "CallerError",
    "AccountError": "AkoolError",
    "AuthenticationError": "AccountError",
    "OutOfCredits": "AccountError",
    "PermissionDeniedError": "AccountError",
    "VendorError": "AkoolError",
    "ServerError": "VendorError",
    "RateLimitError": "VendorError",
    "ProtocolError": "VendorError",
    "NetworkError": "AkoolError",
    "ConnectError": "NetworkError",
    "CertificateError": "NetworkError",
    "ConnectionLostError": "NetworkError",
    "UnexpectedRedirectError": "NetworkError",
    "WrongHostError": "NetworkError",
    "SubmissionInDoubt": "AkoolError",
    "JobFailed": "AkoolError",
    "WaitTimeout": "AkoolError",
    "DownloadError": "AkoolError",
    "UnsealError": "AkoolError",
}


def test_the_errors_are_one_tree() -> None:
    assert TREE.items() <= {kind.__name__: kind.__bases__[0].__name__ for kind in ALL}.items()
    assert all(issubclass(kind, AkoolError) for kind in ALL)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_can_be_made_of_a_message_alone(kind: type[AkoolError]) -> None:
    error = kind("It broke.")

    assert error.message == "It broke."
    assert (error.code, error.vendor_message, error.http_status) == (None, "", None)
    assert error.args == ("It broke.",)
    assert str(error).startswith("It broke.")
    assert repr(error) == f"{kind.__name__}('It broke.')"


@pytest.mark.parametrize("kind", ALL)
def test_the_text_has_three_parts_of_whole_sentences(kind: type[AkoolError]) -> None:
    error = kind("It broke.", **FACTS)

    assert (error.code, error.vendor_message, error.http_status) == (1234, "words", 418)
    assert str(error) == "It broke. Money. Advice."
    assert str(kind("It broke.", impact="", advice="")) == "It broke."
    assert str(kind("It broke.", impact="", advice="Advice.")) == "It broke. Advice."
    for text in (kind.impact, kind.advice):
        assert text == "" or (text[0].isupper() and text.endswith("."))
        assert text.isprintable()


def test_a_part_of_one_error_is_not_said_by_the_next() -> None:
    before = [(kind.impact, kind.advice) for kind in ALL]
    for kind in ALL:
        kind("It broke.", **FACTS)

    assert [(kind.impact, kind.advice) for kind in ALL] == before


def ripe(kind: type[AkoolError]) -> AkoolError:
    """An error with everything that it can carry."""
    more: dict[type[AkoolError], dict[str, object]] = {
        ProtocolError: {"job_ids": ("a", "b")},
        SubmissionInDoubt: {
            "job_ids": ("a", "b"),
            "job_ids_by_target": {"ja": "a"},
            "targets": ("ja", "fr"),
            "wrong_host": True,
        },
        JobFailed: {"job_id": "7a10c0ffee", "snapshot": SNAPSHOT, "error_code": 501999},
        WaitTimeout: {"job_id": "7a10c0ffee"},
        UnsealError: {"reason": "stale"},
    }
    return kind("It broke.", **FACTS, **more.get(kind, {}))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_pickling_and_copying_with_all_that_it_carries(kind: type[AkoolError]) -> None:
    error = ripe(kind)
    error.add_note("in the second shard")
    pickled = [
        pickle.loads(pickle.dumps(error, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ]

    for again in (*pickled, copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)


def test_an_error_carries_the_whole_answer_to_another_process() -> None:
    again = pickle.loads(pickle.dumps(ripe(JobFailed)))

    assert again.snapshot == SNAPSHOT
    assert again.snapshot.raw == SNAPSHOT.raw
    assert (again.job_id, again.error_code) == ("7a10c0ffee", 501999)


def test_a_refused_value_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nothing was spent"):
        raise InvalidRequestError("targets is empty.")


def test_a_configuration_error_is_caught_by_those_who_catch_refused_values() -> None:
    with pytest.raises(InvalidRequestError, match="nothing was spent") as caught:
        raise ConfigurationError("No credentials.")

    assert isinstance(caught.value, CallerError)
    assert isinstance(caught.value, ValueError)


def test_a_wait_timeout_names_the_job_and_says_that_it_is_billed() -> None:
    with pytest.raises(TimeoutError) as caught:
        raise WaitTimeout("Job 7a10c0ffee was not done within 5 s.", job_id="7a10c0ffee")

    assert caught.value.job_id == "7a10c0ffee"
    assert str(caught.value) == (
        "Job 7a10c0ffee was not done within 5 s. The job continues at the vendor and is billed. "
        "Wait for it again with client.wait('7a10c0ffee')."
    )


def test_a_wait_timeout_keeps_the_advice_that_it_is_given() -> None:
    assert WaitTimeout("Late.", job_id="7a10c0ffee", advice="Wait on.").advice == "Wait on."
    assert WaitTimeout("Late.").advice == ""


def test_a_doubt_says_that_it_may_have_cost_money_and_is_not_to_be_repeated() -> None:
    text = str(SubmissionInDoubt("The answer was lost."))

    assert "may have been made" in text
    assert "Do not send it again" in text


def test_no_type_of_an_http_library_is_part_of_an_error() -> None:
    tree = ast.parse(inspect.getsource(errors))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }

    own = {"akool_async._model.dispositions"}
    assert imported == own | {"__future__", "collections.abc", "typing"}
