"""Every exception of the package, in one tree sorted by whose fault it is.

Each message says what happened, what it means for money or files, and what to do. No type of an
HTTP library stands in here, and nothing secret may be put into an error: texts from the vendor come
in already cleaned (see `text`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

if TYPE_CHECKING:
    from akool_async._model.responses import Snapshot


class ErrorDetails(TypedDict, total=False):
    """What any error can be given besides its first sentence."""

    impact: str | None
    advice: str | None
    code: int | None
    vendor_message: str
    http_status: int | None


class AkoolError(Exception):
    """Something went wrong between the caller, the vendor and the network.

    Attributes:
        what: what happened.
        money: what it means for credits or files.
        advice: what to do now.
        code: the vendor's business code, if it sent one.
        vendor_message: the vendor's own words, cleaned of control characters, or "".
        http_status: the HTTP status of the answer, if there was one.
        for_token: whether it is about a token: the call that needed one was not sent, or was refused.
    """

    impact: str = ""
    advice: str = ""
    during_auth: bool = False

    def __init__(
        self,
        message: str,
        *,
        impact: str | None = None,
        advice: str | None = None,
        code: int | None = None,
        vendor_message: str = "",
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.impact = self.impact if impact is None else impact
        self.advice = self.advice if advice is None else advice
        self.code = code
        self.vendor_message = vendor_message
        self.http_status = http_status

    def __str__(self) -> str:
        """Join the three parts into one line."""
        return " ".join(part for part in (self.message, self.impact, self.advice) if part)


class CallerError(AkoolError):
    """What was asked for can't be done as it was asked."""


class InvalidRequestError(CallerError, ValueError):
    """A value was refused here, before anything was sent."""

    impact = "Nothing was sent and nothing was spent."


class BadRequestError(CallerError):
    """The vendor refused a parameter, or an operation on this content."""

    impact = "No job was made and nothing was charged."
    advice = "Correct the request and send it again."


class InvalidMediaError(BadRequestError):
    """The vendor refused the video itself: no audio, too long, too large, unreadable, wrong encoding."""

    advice = "Convert or shorten the video, or ask for another plan, then send it again."


class DuplicateJobError(BadRequestError):
    """The vendor has this video, language and lip-sync option at work already."""

    advice = "Wait for the first job, or use its id."


class JobNotFoundError(CallerError):
    """The vendor knows no job or resource of this id."""

    advice = "Check the id and that the credentials belong to the account that made the job."


class AccountError(AkoolError):
    """The account can't do this: somebody has to look at it before more is sent."""


class AuthenticationError(AccountError):
    """The key, the client pair or the token was refused."""

    impact = "Nothing was charged for this call."
    advice = "Check the API key or the client id and secret, and that they belong to this host."


class OutOfCredits(AccountError):
    """The account has not enough credits, or is overdue."""

    impact = "No job was made and nothing was charged; jobs at work go on."
    advice = "Top up the account, then run the same again."


class PermissionDeniedError(AccountError):
    """The account is blocked, missing, not verified, not subscribed or lacks a permission."""

    impact = "No job was made and nothing was charged."
    advice = "Look at the account on the vendor's site."


class VendorError(AkoolError):
    """The vendor answered with an error of its own, or with a code that is not documented."""

    advice = "Try again later; if it stays, ask the vendor with the code."


class ServerError(VendorError):
    """The vendor's service failed: HTTP 5xx, or a code that means so."""


class RateLimitError(VendorError):
    """The vendor kept saying "too often" until the time for this call ran out."""

    impact = "The call was refused each time, so nothing was charged."
    advice = "Send less at once, or allow more time."


class ProtocolError(VendorError):
    """An answer could not be understood, also not after repeating the call.

    Attributes:
        job_ids: well-formed job ids that could still be read in it.
    """

    advice = "If it stays, report it with the text above: the vendor may have changed its API."

    def __init__(self, what: str, *, job_ids: tuple[str, ...] = (), **facts: Unpack[ErrorDetails]) -> None:
        super().__init__(what, **facts)
        self.job_ids = job_ids


class NetworkError(AkoolError):
    """The exchange with the host did not succeed."""


class ConnectError(NetworkError):
    """No connection could be made, so nothing was sent."""

    impact = "Nothing was sent and nothing was charged."
    advice = "Check the host name and the network, then try again."


class CertificateError(NetworkError):
    """The host's TLS certificate was not accepted, so nothing was sent."""

    impact = "Nothing was sent and nothing was charged."
    advice = "Check the host name, the clock and the trusted certificates of this machine."


class ConnectionLostError(NetworkError):
    """The connection broke, or stayed silent for too long, after the call was sent."""

    advice = "Nothing is lost by asking again."


class UnexpectedRedirectError(NetworkError):
    """The API host answered with a redirect; it was not followed, so no credential went elsewhere."""

    impact = "Nothing was charged."
    advice = "Check the host name: it has to be the API's own address."


class SubmissionInDoubt(AkoolError):
    """A paid POST was sent, or may have been, and its answer is not known.

    It is never sent again by itself: the job may exist and may be billed.

    Attributes:
        job_ids: well-formed job ids that could still be read in the answer; confirm them with
            `client.status`.
        targets: the languages of the request that are in doubt.
    """

    impact = "A job may have been made and its credits locked."
    advice = "Do not send it again before you have looked at the account's usage."

    def __init__(
        self,
        what: str,
        *,
        job_ids: tuple[str, ...] = (),
        targets: tuple[str, ...] = (),
        **facts: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(what, **facts)
        self.job_ids = job_ids
        self.targets = targets


class JobFailed(AkoolError):
    """A job ended without a result.

    Attributes:
        job_id: the job.
        snapshot: the last answer about it, if there was one.
        error_code: the vendor's number for the failure, if it gave one.
    """

    def __init__(
        self,
        what: str,
        *,
        job_id: str = "",
        snapshot: Snapshot | None = None,
        error_code: int | None = None,
        **facts: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(what, **facts)
        self.job_id = job_id
        self.snapshot = snapshot
        self.error_code = error_code


class WaitTimeout(AkoolError, TimeoutError):
    """The caller's patience ended before the job did.

    Attributes:
        job_id: the job, which goes on at the vendor.
    """

    impact = "The job goes on at the vendor and is billed."

    def __init__(self, what: str, *, job_id: str = "", **facts: Unpack[ErrorDetails]) -> None:
        if job_id:
            facts.setdefault("advice", f"Wait for it again with client.wait({job_id!r}).")
        super().__init__(what, **facts)
        self.job_id = job_id


class ClientClosedError(AkoolError, RuntimeError):
    """The client is used outside its `async with`, or was closed while it was being used."""

    impact = "Jobs at the vendor go on and are billed."
    advice = "Use it inside: async with AkoolClient() as client: ..."


class DownloadError(AkoolError):
    """A result could not be brought home; the job itself is done.

    Attributes:
        http_status: the status of the file host's answer, if there was one.
    """

    impact = "The job is done and paid; its result stays at the vendor for 7 days after it was made."
    advice = "Download it again before it expires."


class StorageError(DownloadError):
    """A result could not be written here: the disk is full, read-only or not there."""

    advice = "Make room or correct the permissions, then run the same again: it goes on where it was."


class JournalError(AkoolError):
    """The journal could not do what was asked of it."""


class JournalLockedError(JournalError):
    """Another run is writing this journal.

    Attributes:
        pid: the process that holds it, if it could be read.
        host: the machine that the process runs on, or "".
        since: when it began, in ISO 8601, or "".
    """

    impact = "Two runs on one journal could pay twice, so nothing was opened and nothing was sent."
    advice = "Wait until the other run has ended, or give this one a journal of its own."

    def __init__(
        self,
        what: str,
        *,
        pid: int | None = None,
        host: str = "",
        since: str = "",
        **facts: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(what, **facts)
        self.pid = pid
        self.host = host
        self.since = since


class JournalCorruptedError(JournalError):
    """The file is no journal, or is damaged."""

    impact = "It was left as it is, and nothing was sent: it may name jobs that are paid."
    advice = "Put a copy in its place, or name another file; delete it only if it names no paid job."


class JournalVersionError(JournalError):
    """The journal was written by a newer version of this package."""

    impact = "It was left as it is, and nothing was sent."
    advice = "Install the version that wrote it, or a newer one."


class JournalWriteError(JournalError):
    """The journal's file or folder can't be written: read-only, full, or not there."""

    impact = "This was not recorded: submit nothing more, for what is not recorded could be paid twice."
    advice = "Make room or correct the permissions, then run the same again."


class IllegalTransitionError(JournalError):
    """A step that the entry's state does not allow; other entries are not touched by it."""

    impact = "Nothing of it was recorded."
    advice = "Read the entry again and decide anew; do not send what was not recorded."


class InboxError(AkoolError):
    """The file that receivers write callbacks into can't be used."""

    impact = "Callbacks are not recorded meanwhile; doubts stay doubts, and nothing is paid twice."
    advice = "Make room, correct the permissions, or name another file."


class JournalClosedError(JournalError):
    """The journal is used outside its `async with`, or for writing when it was opened for reading."""

    impact = "Nothing of it was recorded."
    advice = "Use it inside: async with open_journal(path) as journal: ..."


# What stands behind an error: libraries wrap what really happened, often several times.


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and those that led to it, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


# Why a webhook body was refused: one of four reasons, and nothing about what was in it.


UnsealReason: TypeAlias = Literal["malformed", "signature", "stale", "unreadable"]
_EXPLAINED: dict[UnsealReason, str] = {
    "malformed": "the body is not a webhook envelope",
    "signature": "the signature does not belong to this client id",
    "stale": "the timestamp lies outside the freshness window",
    "unreadable": "the sealed content could not be opened",
}


class UnsealError(AkoolError):
    """A webhook body was refused; nothing in it may be acted on.

    Attributes:
        reason: `malformed` (not an envelope), `signature` (wrong signature), `stale` (outside the window) or
            `unreadable`. The last one covers decryption, padding and content alike, so that whoever
            sees the refusal learns nothing about the plaintext.
    """

    impact = "No job was changed, polling goes on."

    def __init__(self, reason: UnsealReason) -> None:
        super().__init__(f"Webhook refused: {_EXPLAINED[reason]}.")
        self.args: tuple[Any, ...] = (reason,)
        self.reason: UnsealReason = reason
