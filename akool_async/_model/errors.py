"""Every exception of the package, in one tree sorted by whose fault it is.

Each says what happened, what it means for money or files, and what to do. No type of an HTTP library is part
of one, and no secret: texts from the vendor are sanitized before they are put into an error (see `redact`).
`JobFailed` is defined in `responses`, next to the snapshot that it carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, TypedDict, Unpack

from akool_async._model.dispositions import Disposition


class ErrorDetails(TypedDict, total=False):
    """What any error accepts besides its message."""

    impact: str | None
    advice: str | None
    code: int | None
    vendor_message: str
    http_status: int | None


class AkoolError(Exception):
    """Base of all errors of this package. What an error means for money is in its `impact`.

    Attributes:
        message: what happened.
        impact: what it means for credits or files.
        advice: what to do now.
        code: the vendor's business code, if it sent one.
        vendor_message: the vendor's own words without control characters, or "".
        http_status: the HTTP status of the answer, if there was one.
        during_auth: whether a token could not be obtained or was refused: the call itself did nothing.
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

    @property
    def disposition(self) -> Disposition:
        """What it means as the error of a paid POST, or of fetching its token: what to do next."""
        found = next(disposition for kind, disposition in DISPOSITIONS if isinstance(self, kind))
        if isinstance(self, SubmissionInDoubt) and self.wrong_host:
            return Disposition.IN_DOUBT_STOP
        if found is not Disposition.REJECTED:
            return found
        if isinstance(self, VendorError) and (self.code is None or self.during_auth):
            return Disposition.RETRY  # the vendor failed without saying that it refuses this request
        # A refused token refuses no request: the paid call was not sent.
        return Disposition.STOP if self.during_auth else found


class CallerError(AkoolError):
    """The call can't be carried out as it was made. Base of the errors that only the caller can correct."""


class InvalidRequestError(CallerError, ValueError):
    """A value was refused locally, before anything was sent: nothing was spent."""

    impact = "Nothing was sent and nothing was spent."


class ConfigurationError(InvalidRequestError):
    """Credentials, the environment, the host or an argument is missing or invalid: nothing was charged.

    It is about how the program is set up, not about one video, so the same call fails for every request.
    `except InvalidRequestError` catches it too.
    """


class InputError(InvalidRequestError):
    """A file or an object in a bucket could not be given to the vendor, which fetches public URLs alone."""

    advice = (
        "Set a bucket as `share`, on the command line --share s3://bucket/prefix: files are uploaded there "
        "until their jobs end. An object that is in a bucket already needs none."
    )


class BadRequestError(CallerError):
    """The vendor refused a parameter, or an operation on this content: no job, no charge."""

    impact = "No job was made and nothing was charged."
    advice = "Correct the request and send it again."


class InvalidMediaError(BadRequestError):
    """The vendor refused the video: no audio, too long, too large, unreadable, wrong encoding. No charge."""

    advice = "Convert or shorten the video, or ask for another plan, then send it again."


class DuplicateJobError(BadRequestError):
    """The vendor has a job of this video, language and lip-sync option already: no second job, no charge."""

    advice = "Wait for the first job, or use its id."


class JobNotFoundError(CallerError):
    """The vendor knows no job or resource with this id; a job of another account is billed there."""

    advice = "Check the id and that the credentials belong to the account that made the job."


class AccountError(AkoolError):
    """The account can't do this, and no other request will succeed until its owner has corrected it."""


class AuthenticationError(AccountError):
    """The vendor refused the API key, the client id and secret, or the token: this call was not charged."""

    impact = "Nothing was charged for this call."
    advice = "Check the API key or the client id and secret, and that they belong to this host."


class OutOfCredits(AccountError):
    """The account does not have enough credits, or is overdue: no job was made; earlier jobs are billed."""

    impact = "No job was made and nothing was charged; jobs in progress continue."
    advice = "Top up the account, then run the same again."


class PermissionDeniedError(AccountError):
    """The account is blocked, missing, not verified, not subscribed or lacks a permission. No charge."""

    impact = "No job was made and nothing was charged."
    advice = "Look at the account on the vendor's site."


class VendorError(AkoolError):
    """The vendor answered with an error of its own, or with an undocumented code."""

    advice = "Try again later; if it persists, contact the vendor and quote the code."


class ServerError(VendorError):
    """The vendor's service failed: HTTP 5xx, or a code that means so. A paid POST raises it when refused."""


class RateLimitError(VendorError):
    """The vendor rate limited the call until its time ran out: every attempt was refused, no charge.

    Attributes:
        retry_after: seconds to wait before the next call, 0 or more: what the vendor asked for, or what the
            client's retry policy waits.
    """

    impact = "The call was refused each time, so nothing was charged."
    advice = "Send fewer calls at once, or allow more time."
    retry_after: float = 0.0


class ProtocolError(VendorError):
    """The vendor's answer could not be understood, even after repeating the call.

    Reading calls cost nothing. After a paid POST, jobs named in `job_ids` may exist and be billed.

    Attributes:
        job_ids: well-formed job ids that could still be read in the answer.
    """

    advice = "If it persists, report it with the text above: the vendor may have changed its API."

    def __init__(
        self, message: str, *, job_ids: tuple[str, ...] = (), **details: Unpack[ErrorDetails]
    ) -> None:
        super().__init__(message, **details)
        self.job_ids = job_ids


class NetworkError(AkoolError):
    """The exchange with the host failed. Base of the network's errors; `impact` says if it was sent."""


class ConnectError(NetworkError):
    """No connection could be made: nothing was sent and nothing was charged."""

    impact = "Nothing was sent and nothing was charged."
    advice = "Check the host name and the network, then try again."


class CertificateError(NetworkError):
    """The host's TLS certificate was not accepted: nothing was sent and nothing was charged."""

    impact = "Nothing was sent and nothing was charged."
    advice = "Check the host name, the clock and the trusted certificates of this machine."


class ConnectionLostError(NetworkError):
    """The connection broke or was silent for too long after sending a call that costs nothing.

    A paid POST raises `SubmissionInDoubt` instead.
    """

    advice = "The call can be repeated without cost."


class UnexpectedRedirectError(NetworkError):
    """The API host answered with a redirect. It was not followed: no credentials were sent, no charge."""

    impact = "Nothing was charged."
    advice = "Check the host name: it has to be the API's own address."


class WrongHostError(NetworkError):
    """The server does not know this API: HTTP 404 or the like, without an answer of the API. No charge.

    A paid POST raises `SubmissionInDoubt` instead, with `wrong_host` set.
    """

    impact = "Nothing was charged for this call."
    advice = "Check the host that was named, or AKOOL_API_HOST."


class SubmissionInDoubt(AkoolError):
    """A paid POST was sent, or may have been, and its answer is unknown: a job may exist and be billed.

    The POST is never sent again unless the caller asks for it.

    Attributes:
        job_ids: every job id that could still be read in the answer, each once. Record them first, then
            confirm them with `client.status`.
        job_ids_by_target: the ids among them of which the answer tells the language ("" for a lip-sync).
        targets: the languages of the request that are in doubt.
        wrong_host: whether the server did not understand the call at all (HTTP 404 and the like, without an
            answer of this API): the next POST would most likely end the same way.
    """

    impact = "A job may have been made and its credits locked."
    advice = "Do not send it again before you have looked at the account's usage."

    def __init__(
        self,
        message: str,
        *,
        job_ids: tuple[str, ...] = (),
        job_ids_by_target: Mapping[str, str] | None = None,
        targets: tuple[str, ...] = (),
        wrong_host: bool = False,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.job_ids = job_ids
        self.job_ids_by_target: dict[str, str] = dict(job_ids_by_target or {})
        self.targets = targets
        self.wrong_host = wrong_host


class WaitTimeout(AkoolError, TimeoutError):
    """The job did not finish within `give_up_after`. It continues at the vendor and is billed.

    Attributes:
        job_id: the job.
    """

    impact = "The job continues at the vendor and is billed."

    def __init__(self, message: str, *, job_id: str = "", **details: Unpack[ErrorDetails]) -> None:
        if job_id:
            details.setdefault("advice", f"Wait for it again with client.wait({job_id!r}).")
        super().__init__(message, **details)
        self.job_id = job_id


class ClientClosedError(AkoolError, RuntimeError):
    """The client was used outside its `async with`, or closed during the call. Existing jobs are billed."""

    impact = "Jobs at the vendor continue and are billed."
    advice = "Use it inside: async with AkoolClient() as client: ..."


class BatchClosedError(AkoolError, RuntimeError):
    """The batch is not open, or was closed before it could do what was asked of it."""

    impact = "Jobs at the vendor continue and are billed; the journal knows them."
    advice = "Open a batch on the same journal: it resumes what is left."


class DownloadError(AkoolError):
    """A result could not be downloaded. The job is completed and paid, and nothing more is charged.

    `http_status` is the status of the file host's answer, if there was one.
    """

    impact = "The job is done and paid; its result stays at the vendor for 7 days after it was made."
    advice = "Download it again before it expires."


class StorageError(DownloadError):
    """A result could not be written: the disk is full, read-only or missing. The job is paid."""

    advice = "Make room or correct the permissions, then run the same again: the download is resumed."


class JournalError(AkoolError):
    """The journal could not do what was asked. Base of its errors; `impact` says what was recorded."""


class JournalLockedError(JournalError):
    """Another run is writing this journal: nothing was opened, nothing was sent, nothing was charged.

    Attributes:
        pid: the process that holds the lock, if it could be read.
        host: the machine that the process runs on, or "".
        since: when it began, in ISO 8601, or "".
    """

    impact = "Two runs on one journal could pay twice, so nothing was opened and nothing was sent."
    advice = "Wait until the other run has ended. Another journal would not know what is paid, and pay again."

    def __init__(
        self,
        message: str,
        *,
        pid: int | None = None,
        host: str = "",
        since: str = "",
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.pid = pid
        self.host = host
        self.since = since


class JournalCorruptedError(JournalError):
    """The file is not a journal, or is damaged. It may name paid jobs, so it was left unchanged."""

    impact = "It was left as it is, and nothing was sent: it may name jobs that are paid."
    advice = "Put a backup in its place. Another journal would pay again for what this one names."


class JournalVersionError(JournalError):
    """The journal was written by a newer version of this package. Nothing was changed, sent or charged."""

    impact = "It was left as it is, and nothing was sent."
    advice = "Install the version that wrote it, or a newer one."


class JournalWriteError(JournalError):
    """The journal can't be written: read-only, full or missing. Unrecorded work could be paid twice."""

    impact = "This was not recorded: submit nothing more, because unrecorded work could be paid twice."
    advice = "Make room or correct the permissions, then run the same again."


class JournalReplacedError(JournalWriteError):
    """The journal was deleted, moved or replaced while it was open: a new run would not find its jobs."""

    impact = "Nothing more is recorded there, so nothing more is submitted."
    advice = "Put the journal back in its place before the next run, which would else pay again."


class JournalOlderError(JournalError):
    """The journal is missing, a backup, or older than when last written. Nothing was opened or sent."""

    impact = "Nothing was opened and nothing was sent: what it does not know would be paid again."
    advice = (
        "Put the newest journal back. If there is none, continue with accept_older=True "
        "(`--accept-older-journal`) and look at the account's usage on the vendor's site."
    )


class IllegalTransitionError(JournalError):
    """The entry's state does not allow this step. Nothing was recorded; other entries are unchanged."""

    impact = "Nothing was recorded."
    advice = "Read the entry again and decide anew; do not send what was not recorded."


class JournalClosedError(JournalError):
    """The journal was used outside its `async with`, or to write though opened to read: nothing recorded."""

    impact = "Nothing was recorded."
    advice = "Use it inside: async with open_journal(path) as journal: ..."


class InboxError(AkoolError):
    """The file into which receivers write callbacks can't be used. Jobs are polled; nothing is paid twice."""

    impact = "Callbacks are not recorded meanwhile; what is in doubt stays so, and nothing is paid twice."
    advice = "Make room, correct the permissions, or name another file."


UnsealReason: TypeAlias = Literal["malformed", "signature", "stale", "unreadable"]
_EXPLAINED: dict[UnsealReason, str] = {
    "malformed": "the body is not a webhook envelope",
    "signature": "the signature does not belong to this client id",
    "stale": "the timestamp lies outside the freshness window",
    "unreadable": "the sealed content could not be opened",
}


class UnsealError(AkoolError):
    """A webhook body was refused. No job was changed and nothing was charged; polling continues.

    Attributes:
        reason: `malformed` (not an envelope), `signature` (wrong signature), `stale` (outside the window) or
            `unreadable`. The last one covers decryption, padding and content alike, so that a sender
            who sees the refusal learns nothing about the plaintext.
    """

    impact = "No job was changed; polling continues."

    def __init__(
        self, message: str = "", *, reason: UnsealReason = "malformed", **details: Unpack[ErrorDetails]
    ) -> None:
        super().__init__(message or f"Webhook refused: {_EXPLAINED[reason]}.", **details)
        self.reason: UnsealReason = reason


DISPOSITIONS: Final[tuple[tuple[type[AkoolError], Disposition], ...]] = (
    (SubmissionInDoubt, Disposition.IN_DOUBT),  # sent, or maybe sent: never again by itself
    (RateLimitError, Disposition.RETRY),
    (ConnectError, Disposition.RETRY),
    (ConnectionLostError, Disposition.RETRY),  # of the call for a token: a POST that was sent is in doubt
    (ProtocolError, Disposition.RETRY),  # likewise
    (OutOfCredits, Disposition.OUT_OF_CREDITS),
    (AccountError, Disposition.STOP),
    (CallerError, Disposition.REJECTED),
    (VendorError, Disposition.REJECTED),
    (AkoolError, Disposition.STOP),
)
"""What each error of a paid POST means; the first class that fits counts."""
