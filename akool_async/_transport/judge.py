"""What an answer means: an envelope that says success, or the way in which the call failed."""

from __future__ import annotations

from collections.abc import Iterable

from akool_async._core.errors import (
    AkoolError,
    BadCredentials,
    CertificateRejected,
    ConnectFailed,
    ConnectionLost,
    Facts,
    ProtocolError,
    ServerTrouble,
    Throttled,
    UnexpectedRedirect,
)
from akool_async._core.failures import Failure, error_of, failure_of_code, failure_of_status
from akool_async._core.text import clean
from akool_async._core.wire import Envelope, ids_in, leaves_out, read_envelope
from akool_async._transport.exchange import Answer, ExchangeFailed


class CallFailed(Exception):
    """One try of a call failed.

    Attributes:
        failure: how.
        error: what the caller is told if nothing more is tried.
        job_ids: ids that could be read all the same.
        retry_after: seconds that the server asked for.
    """

    def __init__(self, failure: Failure, error: AkoolError, *, job_ids: tuple[str, ...] = ()) -> None:
        super().__init__(str(error))
        self.failure = failure
        self.error = error
        self.job_ids = job_ids
        self.retry_after: float | None = None


def judge(answer: Answer, *, secrets: Iterable[str], languages: int) -> Envelope:
    """Give the envelope of an answer that says success.

    A paid answer that names a job, or leaves languages out, is given back whatever its code: it is not
    a refusal of all.

    Args:
        answer: what came.
        secrets: what must not be shown.
        languages: of a paid call: how many jobs it asks for; 0 for a call that makes none.

    Raises:
        CallFailed: anything else.
    """
    failure = failure_of_status(answer.http_status)
    if failure is not None:
        error = _error_of_status(failure, answer, secrets)
        raise CallFailed(failure, error, job_ids=ids_in(answer.body))
    try:
        envelope = read_envelope(answer.body)
    except ProtocolError as error:
        error.http_status = answer.http_status
        raise CallFailed(Failure.UNREADABLE, error, job_ids=ids_in(answer.body)) from error
    if envelope.ok:
        return envelope
    ids = ids_in(answer.body)
    if languages and (ids or leaves_out(envelope, languages)):
        return envelope
    failure = failure_of_code(envelope.code)
    message = clean(envelope.message, secrets=secrets)
    told = error_of(envelope.code, message, http_status=answer.http_status)
    raise CallFailed(failure, told, job_ids=ids)


def _error_of_status(failure: Failure, answer: Answer, secrets: Iterable[str]) -> AkoolError:
    status = answer.http_status
    try:
        envelope = read_envelope(answer.body)
    except ProtocolError:
        code, message = None, ""
    else:
        code, message = envelope.code, clean(envelope.message, secrets=secrets)
    said = f' It says: "{message}".' if message else ""
    facts: Facts = {"code": code, "http_status": status, "vendor_message": message}
    if failure is Failure.THROTTLED:
        return Throttled(f"The vendor answered HTTP {status}: calls come too often.{said}", **facts)
    if failure is Failure.UNAUTHORIZED:
        return BadCredentials(
            f"The vendor answered HTTP {status}: it does not take these credentials.{said}", **facts
        )
    if failure is Failure.REDIRECT:
        return UnexpectedRedirect(f"The API host answered with a redirect (HTTP {status}).", **facts)
    return ServerTrouble(f"The vendor's service failed (HTTP {status}).{said}", **facts)


def failed_exchange(failed: ExchangeFailed) -> CallFailed:
    """Give the failed call for an exchange that brought no whole answer."""
    ids = ids_in(failed.partial)
    if failed.failure is Failure.UNREADABLE:
        error: AkoolError = ProtocolError(f"The vendor sent {failed.reason}.", job_ids=ids)
    elif failed.failure is Failure.CERTIFICATE:
        error = CertificateRejected("The API host's certificate was not accepted.")
    elif failed.failure is Failure.UNREACHABLE:
        error = ConnectFailed(f"The API host could not be reached: {failed.reason}.")
    else:
        error = ConnectionLost(f"The exchange with the API host failed: {failed.reason}.")
    return CallFailed(failed.failure, error, job_ids=ids)
