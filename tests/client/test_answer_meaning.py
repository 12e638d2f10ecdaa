"""What an answer, or none, means: a refusal, a doubt, or a failure that may pass, row by row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from akool_async._environment import EnvironmentProxy
from akool_async._http.exchange import CallFailed, ExchangeFailed, RawResponse, map_failure, parse_response
from akool_async._model import errors
from akool_async._model.codes import Failure
from akool_async._model.errors import AkoolError, ProtocolError

ID = "66160f989dfc997ac2890001"
ANSWER = json.dumps({"code": 1000, "msg": "OK", "data": {"_id": ID, "video_status": 1}}).encode()
HOST = "https://api.example"
REFUSAL = {"code": 1003, "msg": "wrong"}
WITH_ID = {**REFUSAL, "data": {"_id": ID}}
OMITS = {"code": 1003, "all_results": [{"code": 1003, "language": "ja"}]}


@pytest.mark.parametrize(
    ("status", "body", "languages"),
    [
        (200, {"code": 1000}, 0),
        (299, {"code": 1000}, 1),
        (200, WITH_ID, 1),
        (404, {**WITH_ID, "code": 1008}, 1),
        (200, {**WITH_ID, "code": 1015}, 2),
        (200, OMITS, 2),
        (200, {**OMITS, "code": 1101}, 2),
    ],
)
def test_what_may_name_jobs_is_read(status: int, body: dict[str, Any], languages: int) -> None:
    envelope = parse_response(
        RawResponse(http_status=status, body=json.dumps(body).encode()), host=HOST, languages=languages
    )

    assert envelope.raw == body


@pytest.mark.parametrize(
    ("status", "body", "languages", "failure", "error"),
    [
        (300, {"code": 1000}, 1, Failure.REDIRECT, errors.UnexpectedRedirectError),
        (429, WITH_ID, 1, Failure.RATE_LIMITED, errors.RateLimitError),
        (401, {"code": 1000}, 1, Failure.UNAUTHORIZED, errors.AuthenticationError),
        (503, {"code": 1000}, 1, Failure.SERVER_ERROR, errors.ServerError),
        (404, {"detail": ID}, 1, Failure.NOT_UNDERSTOOD, errors.WrongHostError),
        (200, {"data": {"_id": ID}}, 1, Failure.UNREADABLE, ProtocolError),
        (200, REFUSAL, 1, Failure.REFUSED, errors.BadRequestError),
        (200, WITH_ID, 0, Failure.REFUSED, errors.BadRequestError),
        (200, {"code": 1008}, 0, Failure.REFUSED, errors.JobNotFoundError),
        (200, {"code": 1008}, 1, Failure.REFUSED, errors.BadRequestError),
        (200, {"code": 1015}, 1, Failure.BUSY, errors.ServerError),
        (200, {**WITH_ID, "code": 1005}, 1, Failure.RATE_LIMITED, errors.RateLimitError),
        (200, {**WITH_ID, "code": 1101}, 1, Failure.UNAUTHORIZED, errors.AuthenticationError),
        (200, OMITS, 1, Failure.REFUSED, errors.BadRequestError),
        (200, OMITS, 0, Failure.REFUSED, errors.BadRequestError),
        (200, {**OMITS, "code": 1005, "data": {"_id": ID}}, 2, Failure.RATE_LIMITED, errors.RateLimitError),
    ],
)
def test_what_is_no_success_says_how_it_failed(
    status: int, body: dict[str, Any], languages: int, failure: Failure, error: type[AkoolError]
) -> None:
    content = json.dumps(body).encode()
    with pytest.raises(CallFailed) as caught:
        parse_response(RawResponse(http_status=status, body=content), host=HOST, languages=languages)

    assert caught.value.failure is failure
    assert type(caught.value.error) is error
    assert caught.value.error.http_status == status
    assert caught.value.body == content
    assert caught.value.retry_after is None
    assert str(caught.value) == str(caught.value.error)


@pytest.mark.parametrize("status", [429, 401, 302, 503])
def test_a_status_that_decides_keeps_what_the_body_says(status: int) -> None:
    body = json.dumps({"code": 1003, "msg": "the vendor's words"}).encode()
    with pytest.raises(CallFailed) as caught:
        parse_response(RawResponse(http_status=status, body=body), host=HOST, languages=1)

    error = caught.value.error
    assert (error.code, error.http_status, error.vendor_message) == (1003, status, "the vendor's words")
    assert HOST in error.message
    assert f"HTTP {status}" in error.message
    assert ("the vendor's words" in error.message) is (status != 302)


def test_a_status_without_words_of_the_vendor_quotes_none() -> None:
    with pytest.raises(CallFailed) as caught:
        parse_response(RawResponse(http_status=503, body=b""), host=HOST, languages=1)

    assert caught.value.error.message == f"The service at {HOST} failed (HTTP 503)."


def test_a_refusal_keeps_the_vendors_words() -> None:
    with pytest.raises(CallFailed) as caught:
        parse_response(
            RawResponse(http_status=200, body=json.dumps(REFUSAL).encode()), host=HOST, languages=1
        )

    error = caught.value.error
    assert (error.code, error.vendor_message) == (1003, "wrong")


def test_an_unreadable_answer_keeps_its_ids() -> None:
    with pytest.raises(CallFailed) as caught:
        parse_response(RawResponse(http_status=200, body=ANSWER[:75]), host=HOST, languages=1)

    error = caught.value.error
    assert isinstance(error, ProtocolError)
    assert error.job_ids == (ID,)
    assert caught.value.__cause__ is error


def test_the_wrong_host_is_named() -> None:
    with pytest.raises(CallFailed) as caught:
        parse_response(RawResponse(http_status=404, body=b"<html>"), host=HOST, languages=1)

    assert caught.value.error.message.startswith(
        f"The server at {HOST} did not understand the call (HTTP 404"
    )


PROXY = EnvironmentProxy("http://user:canary@proxy.example:3128", "HTTPS_PROXY")


@pytest.mark.parametrize(
    ("failure", "proxy", "error", "words"),
    [
        (Failure.UNREADABLE, PROXY, ProtocolError, "The vendor sent why."),
        (Failure.CERTIFICATE, PROXY, errors.CertificateError, f"{HOST} was not accepted: why."),
        (Failure.UNREACHABLE, None, errors.ConnectError, f"{HOST} could not be reached: why."),
        (
            Failure.UNREACHABLE,
            PROXY,
            errors.ConnectError,
            "by the proxy http://proxy.example:3128 (HTTPS_PROXY): why.",
        ),
        (Failure.CONNECTION_LOST, PROXY, errors.ConnectionLostError, f"{HOST} failed: why."),
    ],
)
def test_an_exchange_without_an_answer_becomes_an_error(
    failure: Failure, proxy: EnvironmentProxy | None, error: type[AkoolError], words: str
) -> None:
    failed = map_failure(ExchangeFailed(failure, "why", ANSWER[:75]), HOST, proxy)

    assert (failed.failure, type(failed.error), failed.body) == (failure, error, ANSWER[:75])
    assert words in failed.error.message
    assert ("HTTPS_PROXY" in failed.error.advice) is (failure is Failure.UNREACHABLE and proxy is PROXY)
    if isinstance(failed.error, ProtocolError):
        assert failed.error.job_ids == (ID,)
