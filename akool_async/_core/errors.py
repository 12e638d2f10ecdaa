"""Every exception of the package, in one tree sorted by whose fault it is.

Each message says what happened, what it means for money or files, and what to do. No type of an
HTTP library stands in here, and nothing secret may be put into an error: texts from the vendor come
in already cleaned (see `text`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

if TYPE_CHECKING:
    from akool_async._core.models import Snapshot


class Facts(TypedDict, total=False):
    """What any error can be given besides its first sentence."""

    money: str | None
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

    money: str = ""
    advice: str = ""
    for_token: bool = False

    def __init__(
        self,
        what: str,
        *,
        money: str | None = None,
        advice: str | None = None,
        code: int | None = None,
        vendor_message: str = "",
        http_status: int | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.money = self.money if money is None else money
        self.advice = self.advice if advice is None else advice
        self.code = code
        self.vendor_message = vendor_message
        self.http_status = http_status

    def __str__(self) -> str:
        """Join the three parts into one line."""
        return " ".join(part for part in (self.what, self.money, self.advice) if part)


class CallerError(AkoolError):
    """What was asked for can't be done as it was asked."""


class InvalidRequest(CallerError, ValueError):
    """A value was refused here, before anything was sent."""

    money = "Nothing was sent and nothing was spent."


class RequestRefused(CallerError):
    """The vendor refused a parameter, or an operation on this content."""

    money = "No job was made and nothing was charged."
    advice = "Correct the request and send it again."


class MediaRefused(RequestRefused):
    """The vendor refused the video itself: no audio, too long, too large, unreadable, wrong encoding."""

    advice = "Convert or shorten the video, or ask for another plan, then send it again."


class DuplicateRefused(RequestRefused):
    """The vendor has this video, language and lip-sync option at work already."""

    advice = "Wait for the first job, or use its id."


class JobGone(CallerError):
    """The vendor knows no job or resource of this id."""

    advice = "Check the id and that the credentials belong to the account that made the job."


class AccountError(AkoolError):
    """The account can't do this: somebody has to look at it before more is sent."""


class BadCredentials(AccountError):
    """The key, the client pair or the token was refused."""

    money = "Nothing was charged for this call."
    advice = "Check the API key or the client id and secret, and that they belong to this host."


class OutOfCredits(AccountError):
    """The account has not enough credits, or is overdue."""

    money = "No job was made and nothing was charged; jobs at work go on."
    advice = "Top up the account, then run the same again."


class AccountClosed(AccountError):
    """The account is blocked, missing, not verified, not subscribed or lacks a permission."""

    money = "No job was made and nothing was charged."
    advice = "Look at the account on the vendor's site."


class VendorError(AkoolError):
    """The vendor answered with an error of its own, or with a code that is not documented."""

    advice = "Try again later; if it stays, ask the vendor with the code."


class ServerTrouble(VendorError):
    """The vendor's service failed: HTTP 5xx, or a code that means so."""


class Throttled(VendorError):
    """The vendor kept saying "too often" until the time for this call ran out."""

    money = "The call was refused each time, so nothing was charged."
    advice = "Send less at once, or allow more time."


class ProtocolError(VendorError):
    """An answer could not be understood, also not after repeating the call.

    Attributes:
        job_ids: well-formed job ids that could still be read in it.
    """

    advice = "If it stays, report it with the text above: the vendor may have changed its API."

    def __init__(self, what: str, *, job_ids: tuple[str, ...] = (), **facts: Unpack[Facts]) -> None:
        super().__init__(what, **facts)
        self.job_ids = job_ids


class NetworkError(AkoolError):
    """The exchange with the host did not succeed."""


class ConnectFailed(NetworkError):
    """No connection could be made, so nothing was sent."""

    money = "Nothing was sent and nothing was charged."
    advice = "Check the host name and the network, then try again."


class CertificateRejected(NetworkError):
    """The host's TLS certificate was not accepted, so nothing was sent."""

    money = "Nothing was sent and nothing was charged."
    advice = "Check the host name, the clock and the trusted certificates of this machine."


class ConnectionLost(NetworkError):
    """The connection broke, or stayed silent for too long, after the call was sent."""

    advice = "Nothing is lost by asking again."


class UnexpectedRedirect(NetworkError):
    """The API host answered with a redirect; it was not followed, so no credential went elsewhere."""

    money = "Nothing was charged."
    advice = "Check the host name: it has to be the API's own address."


class SubmissionInDoubt(AkoolError):
    """A paid POST was sent, or may have been, and its answer is not known.

    It is never sent again by itself: the job may exist and may be billed.

    Attributes:
        job_ids: well-formed job ids that could still be read in the answer; confirm them with
            `client.status`.
        targets: the languages of the request that are in doubt.
    """

    money = "A job may have been made and its credits locked."
    advice = "Do not send it again before you have looked at the account's usage."

    def __init__(
        self,
        what: str,
        *,
        job_ids: tuple[str, ...] = (),
        targets: tuple[str, ...] = (),
        **facts: Unpack[Facts],
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
        **facts: Unpack[Facts],
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

    money = "The job goes on at the vendor and is billed."

    def __init__(self, what: str, *, job_id: str = "", **facts: Unpack[Facts]) -> None:
        if job_id:
            facts.setdefault("advice", f"Wait for it again with client.wait({job_id!r}).")
        super().__init__(what, **facts)
        self.job_id = job_id


class ClientClosed(AkoolError, RuntimeError):
    """The client is used outside its `async with`, or was closed while it was being used."""

    money = "Jobs at the vendor go on and are billed."
    advice = "Use it inside: async with AkoolClient() as client: ..."


class DownloadFailed(AkoolError):
    """A result could not be brought home; the job itself is done.

    Attributes:
        http_status: the status of the file host's answer, if there was one.
    """

    money = "The job is done and paid; its result stays at the vendor for 7 days after it was made."
    advice = "Download it again before it expires."


class DiskFailed(DownloadFailed):
    """A result could not be written here: the disk is full, read-only or not there."""

    advice = "Make room or correct the permissions, then run the same again: it goes on where it was."


class JournalError(AkoolError):
    """The journal could not do what was asked of it."""


class JournalLocked(JournalError):
    """Another run is writing this journal.

    Attributes:
        pid: the process that holds it, if it could be read.
        host: the machine that the process runs on, or "".
        since: when it began, in ISO 8601, or "".
    """

    money = "Two runs on one journal could pay twice, so nothing was opened and nothing was sent."
    advice = "Wait until the other run has ended, or give this one a journal of its own."

    def __init__(
        self, what: str, *, pid: int | None = None, host: str = "", since: str = "", **facts: Unpack[Facts]
    ) -> None:
        super().__init__(what, **facts)
        self.pid = pid
        self.host = host
        self.since = since


class JournalBroken(JournalError):
    """The file is no journal, or is damaged."""

    money = "It was left as it is, and nothing was sent: it may name jobs that are paid."
    advice = "Put a copy in its place, or name another file; delete it only if it names no paid job."


class JournalTooNew(JournalError):
    """The journal was written by a newer version of this package."""

    money = "It was left as it is, and nothing was sent."
    advice = "Install the version that wrote it, or a newer one."


class JournalUnwritable(JournalError):
    """The journal's file or folder can't be written: read-only, full, or not there."""

    money = "This was not recorded: submit nothing more, for what is not recorded could be paid twice."
    advice = "Make room or correct the permissions, then run the same again."


class JournalRefused(JournalError):
    """A step that the entry's state does not allow; other entries are not touched by it."""

    money = "Nothing of it was recorded."
    advice = "Read the entry again and decide anew; do not send what was not recorded."


class InboxUnusable(AkoolError):
    """The file that receivers write callbacks into can't be used."""

    money = "Callbacks are not recorded meanwhile; doubts stay doubts, and nothing is paid twice."
    advice = "Make room, correct the permissions, or name another file."


class JournalClosed(JournalError):
    """The journal is used outside its `async with`, or for writing when it was opened for reading."""

    money = "Nothing of it was recorded."
    advice = "Use it inside: async with open_journal(path) as journal: ..."
