"""One row of the journal, as a value and as the file holds it. Signatures in URLs are never written.

Reading fails with `DecodeError` alone, whatever the file contains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from os import PathLike
from typing import Any, Final, TypedDict
from urllib.parse import urlsplit, urlunsplit

import attrs

from akool_async._model.errors import AkoolError, InvalidRequestError
from akool_async._model.fingerprint import entry_key
from akool_async._model.redact import KNOWN_SECRETS, hide_known_secrets, redacted_url, safe_repr, strip_query
from akool_async._model.requests import (
    EMPTY,
    URL_FIELDS,
    LipSyncRequest,
    Request,
    TranslationRequest,
    with_targets,
)
from akool_async._model.responses import (
    NO_AUDIO_SPLITS,
    AudioSplits,
    Job,
    Snapshot,
    Status,
    in_utc,
    result_expiry,
)
from akool_async._model.states import ENDED, State


@attrs.frozen(kw_only=True)
class Entry:
    """What the journal knows about one (key, language).

    Attributes:
        key: the caller's name of the entry, or its fingerprint.
        target: the language; "" for lip-sync.
        fingerprint: hash of the normalised request, which tells whether the key still names the same work.
        state: where it is, for us.
        request: what was asked for; its URLs lack what signs them.
        url_redacted: whether a URL lost its query or its user when it was stored, so that the caller
            has to pass the request again to have it sent.
        token: the unguessable part of its webhook URL, or "".
        job_id: the vendor's id of its job, or "".
        paid_submissions: POSTs that were sent, or may have been, and were not proved to have made no job.
        credits_locked: credits that were locked for the job.
        credits_used: credits that were deducted for the job.
        credits_before: what earlier jobs of this entry cost; for one that expired while its price was not
            known, what the dearest of the latest jobs cost.
        doubts_before: POSTs before the last one that may have been charged, at a price that is not known:
            doubts that were paid for once more.
        reason: in words, why it is in its state; "" when there is nothing to say.
        code: the vendor's number for the failure or refusal.
        created_at: the server's time of the job's creation, or else of the answer that named it, aware.
        submitted_at: when the last intent was committed, aware.
        ended_at: when the outcome was known, aware.
        expires_at: when the result expires, aware.
        name: the name of its files, without ending; "" while it has none.
        files: paths of the saved files, the video first.
        snapshot: the last answer that was recorded, its URLs without their queries, without `raw`.
        doubt_ids: job ids read in answers to its POSTs that could not be assigned to this entry for certain.
        candidate_ids: those that may be its job: of the answer to its last POST, if they were asked for.
        traceparent: the trace in which its last POST was sent, as W3C Trace Context, or "".
        updated_at: when the row was last written, aware.
    """

    key: str
    target: str
    fingerprint: str
    state: State
    request: Request
    url_redacted: bool = False
    token: str = attrs.field(default="", repr=False)
    job_id: str = ""
    paid_submissions: int = 0
    credits_locked: float | None = None
    credits_used: float | None = None
    credits_before: float = 0.0
    doubts_before: int = 0
    reason: str = ""
    code: int | None = None
    created_at: datetime | None = None
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    name: str = ""
    files: tuple[str, ...] = ()
    snapshot: Snapshot | None = None
    doubt_ids: tuple[str, ...] = ()
    candidate_ids: tuple[str, ...] = ()
    traceparent: str = ""
    updated_at: datetime

    @property
    def surely_failed(self) -> bool:
        """Whether the vendor refused it or called its job failed: no result is there, or can come."""
        if self.state is not State.FAILED:
            return False
        return not self.job_id or (self.snapshot is not None and self.snapshot.status is Status.FAILED)

    @property
    def cost(self) -> float | None:
        """Credits that its last job cost, or has locked; None if that is not known."""
        return self.credits_used or self.credits_locked

    @property
    def last_unpriced(self) -> bool:
        """Whether its last POST made a job, or may have made one, whose cost is not known."""
        if self.state in (State.SUBMITTING, State.IN_DOUBT):
            return True
        return bool(self.job_id) and not self.cost and self.state is not State.FAILED

    @property
    def job(self) -> Job | None:
        """Its job at the vendor, as far as it is known; None before there is one."""
        if not self.job_id:
            return None
        return Job(
            id=self.job_id,
            target=self.target,
            created_at=self.created_at,
            credits_locked=self.credits_locked,
        )

    @property
    def known_snapshot(self) -> Snapshot:
        """The last answer about its job; without one, what else is known of the job."""
        return self.snapshot or Snapshot(job_id=self.job_id, created_at=self.created_at)

    @property
    def earlier_ids(self) -> tuple[str, ...]:
        """Those of `doubt_ids` that are no candidates: answers to earlier POSTs named them."""
        return tuple(job_id for job_id in self.doubt_ids if job_id not in self.candidate_ids)

    @property
    def request_for_target(self) -> Request:
        """The request for this entry's language alone: what a batch needs to resume the entry."""
        request = with_targets(self.request, (self.target,))
        return request if entry_key(request, self.target) == self.key else attrs.evolve(request, key=self.key)


class UpdateFields(TypedDict, total=False):
    """What an `EntryUpdate` may change, besides the state; described there."""

    job_id: str | None
    credits_locked: float | None
    reason: str | None
    code: int | None
    created_at: datetime | None
    submitted_at: datetime | None
    ended_at: datetime | None
    files: Iterable[str | PathLike[str]] | None
    snapshot: Snapshot | None
    doubt_ids: tuple[str, ...] | None
    candidate_ids: tuple[str, ...] | None
    token: str | None


def _as_texts(values: str | PathLike[str] | Iterable[str | PathLike[str]] | None) -> tuple[str, ...] | None:
    if values is None:
        return None
    return tuple(map(str, (values,) if isinstance(values, str | PathLike) else values))


@attrs.frozen(kw_only=True)
class EntryUpdate:
    """One step of one entry; None leaves a field as it is.

    Args:
        key: the entry's name.
        target: its language; "" for lip-sync.
        state: where it is now. Only `BatchJournal.intend` sets SUBMITTING; SUBMITTED needs a job's id. A step
            back to PLANNED says that the last POST surely made no job, and no longer counts it.
        request: enters an entry that is not there yet, as PLANNED.
        job_id: the vendor's id; an entry that has one is never given another.
        credits_locked: credits that are locked for the job.
        credits_used: credits that were deducted; default is what `snapshot` says.
        reason: in words, why. A step to another state without a reason clears the old one, and the code.
        code: the vendor's number for a failure or refusal.
        created_at: the server's time of creation, aware; default is what `snapshot` says.
        submitted_at: when the POST went out, aware; `BatchJournal.intend` sets it.
        ended_at: when the outcome was known, aware.
        expires_at: when the result expires, aware; default is 7 days after `created_at`.
        files: paths of the saved files.
        snapshot: the answer that said so. Its URLs are kept without their queries, `raw` is not kept.
        doubt_ids: job ids in an answer that could not be assigned for certain, added to earlier ones.
        candidate_ids: those of `doubt_ids` that may be this entry's job; a batch asks the API for them.
        token: with a step to IN_DOUBT, that of the earlier POST which the doubt is about again, or "": the
            last one surely made no job, and is no longer counted.
        extra_jobs: jobs of its POST that nobody asked for; what they cost is added to `credits_before`.

    Raises:
        InvalidRequestError: a moment is not aware.
    """

    key: str
    target: str = ""
    state: State = attrs.field(converter=State)
    request: Request | None = None
    job_id: str | None = None
    credits_locked: float | None = None
    credits_used: float | None = None
    reason: str | None = None
    code: int | None = None
    created_at: datetime | None = None
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    files: tuple[str, ...] | None = attrs.field(default=None, converter=_as_texts)
    snapshot: Snapshot | None = None
    doubt_ids: tuple[str, ...] | None = attrs.field(default=None, converter=_as_texts)
    candidate_ids: tuple[str, ...] | None = attrs.field(default=None, converter=_as_texts)
    token: str | None = attrs.field(default=None, repr=False)
    extra_jobs: tuple[Job, ...] = ()

    def __attrs_post_init__(self) -> None:
        """Refuse a moment that is not aware."""
        moments = {
            "created_at": self.created_at,
            "submitted_at": self.submitted_at,
            "ended_at": self.ended_at,
            "expires_at": self.expires_at,
        }
        for name, moment in moments.items():
            if moment is not None and (not isinstance(moment, datetime) or moment.utcoffset() is None):
                said = f"{name} must be an aware datetime, not {safe_repr(moment)}."
                raise InvalidRequestError(said, impact="This was not recorded.")

    @property
    def created(self) -> datetime | None:
        """The server's time of creation, as given or as the snapshot says."""
        if self.created_at is None and self.snapshot is not None:
            return self.snapshot.created_at
        return self.created_at

    @property
    def expires(self) -> datetime | None:
        """When the result expires, as given or counted from the creation."""
        made = self.created
        return self.expires_at if self.expires_at is not None or made is None else result_expiry(made)

    @property
    def used(self) -> float | None:
        """Credits that were deducted, as given or as the snapshot says."""
        if self.credits_used is None and self.snapshot is not None:
            return self.snapshot.credits_used
        return self.credits_used


# To what the file holds, and back.

KINDS: Final[Mapping[str, type[TranslationRequest | LipSyncRequest]]] = {
    "translation": TranslationRequest,
    "lipsync": LipSyncRequest,
}

COLUMN_OF: Final = {"url_redacted": "stripped", "paid_submissions": "paid"}
"""Fields of an entry that have another name in the file and in an export: the format is older."""

FIELDS: Final = tuple(attrs.fields_dict(Entry))
COLUMNS: Final = tuple(COLUMN_OF.get(field, field) for field in FIELDS)

_URL_IN_TEXT: Final = re.compile(r"https?://[^\s'\"<>]+", re.IGNORECASE)
_LARGEST: Final = 2**63

_DEFAULTS: Final[Mapping[type, Mapping[str, Any]]] = {
    kind: {field.name: field.default for field in attrs.fields(kind)} for kind in KINDS.values()
}
"""The fields of each kind of request; one that has its default, or nothing in it, is not stored."""

_READ_FIELDS: Final = {kind: attrgetter(*defaults) for kind, defaults in _DEFAULTS.items()}

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class DecodeError(ValueError):
    """A stored value is not what the journal writes."""


def dump_datetime(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC, always with microseconds, so that texts sort as moments do."""
    # Texts are compared as texts by the index of expiries, so all of them are in one zone and of one length.
    if moment is not None and moment.tzinfo is not UTC:
        moment = in_utc(moment)
    return None if moment is None else moment.isoformat("T", "microseconds")


def load_datetime(text: str | None) -> datetime | None:
    """Return the aware moment that was written."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def dump_text(text: str) -> str:
    """Return text that can be encoded, with every URL in it cut before its query."""
    # A reason may quote what the vendor said, and that a signed URL: the journal is copied and shared.
    shown = _URL_IN_TEXT.sub(lambda found: strip_query(found[0]), text)
    return shown.encode("utf-8", "replace").decode()


def dump_int(number: int | None) -> int | None:
    """Return a number that SQLite can hold; no real code is larger."""
    # sqlite3 raises OverflowError for a larger one, and the row that names the paid job would not be written.
    return number if number is not None and -_LARGEST <= number < _LARGEST else None


def dump_float(number: float | None) -> float | None:
    """Return a number of which many can be added up; no real amount is larger."""
    return number if number is not None and abs(number) < _LARGEST else None


def dump_texts(texts: tuple[str, ...]) -> str:
    """Return a list as JSON, in ASCII: paths may hold what can't be encoded."""
    return _encode(texts) if texts else "[]"


def load_texts(text: str) -> tuple[str, ...]:
    """Return the list that was written."""
    try:
        # Most rows hold none: this saves a call of the parser for each row that is read.
        return () if text == "[]" else tuple(map(str, json.loads(text)))
    except (ValueError, TypeError, RecursionError) as error:
        raise DecodeError("a list can't be read") from error


def encode_request(request: Request) -> tuple[str, bool]:
    """Return the request as JSON, and whether a URL in it lost its query or its user.

    The query of the video is kept where it is public; that of a webhook is always a secret of the caller's.
    """
    kind, lost = type(request), False
    stored: dict[str, Any] = {"kind": "translation" if kind is TranslationRequest else "lipsync"}
    for (name, default), value in zip(_DEFAULTS[kind].items(), _READ_FIELDS[kind](request), strict=True):
        if name in URL_FIELDS and value is not None:
            kept = redacted_url(value, public=request.url_is_public and name != "webhook_url")
            lost = lost or kept != value.partition("#")[0]
            stored[name] = kept
        elif value != EMPTY and value != default:
            stored[name] = value
    return _encode(stored), lost


def dump_request(request: Request) -> str:
    """Return the request as JSON, without the queries of its URLs unless they are public."""
    return encode_request(request)[0]


def load_request(text: str) -> Request:
    """Return the request that was written."""
    try:
        stored = json.loads(text)
        # Through the constructor: what was edited by hand is checked like a caller's own request.
        return KINDS[stored.pop("kind")](**stored)
    except (AkoolError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DecodeError("the request can't be read") from error


def _bare_url(url: str) -> str:
    """Return `url` without user, query and fragment, or "" when it is not a URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return hide_known_secrets(bare) if any(one.search(bare) for one in list(KNOWN_SECRETS.values())) else bare


def dump_snapshot(snapshot: Snapshot) -> str:
    """Return the snapshot as JSON, its URLs without their queries, without the raw answer."""
    # Without their queries: a signed URL opens the video for everyone who reads the journal.
    splits = {name: _bare_url(url) for name, url in attrs.asdict(snapshot.audio_splits).items() if url}
    stored = {
        "job_id": snapshot.job_id,
        "status": int(snapshot.status),
        "raw_status": dump_text(snapshot.raw_status),
        "url": _bare_url(snapshot.url),
        "progress": snapshot.progress,
        "created_at": dump_datetime(snapshot.created_at),
        "video_id": snapshot.video_id,
        "credits_used": dump_float(snapshot.credits_used),
        "error_code": snapshot.error_code,
        "error_reason": dump_text(snapshot.error_reason),
        "audio_splits": splits or None,
    }
    return json.dumps(
        {name: value for name, value in stored.items() if name == "job_id" or value not in (None, "")}
    )


def load_snapshot(text: str) -> Snapshot:
    """Return the snapshot that was written."""
    try:
        stored = json.loads(text)
        stored["status"] = Status(stored["status"])
        stored["created_at"] = load_datetime(stored.get("created_at"))
        splits = stored.get("audio_splits")
        stored["audio_splits"] = NO_AUDIO_SPLITS if splits is None else AudioSplits(**splits)
        return Snapshot(**stored)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DecodeError("the snapshot can't be read") from error


def load_entry(row: tuple[Any, ...], request: Request | None = None) -> Entry:
    """Return the entry of a row with the columns `COLUMNS`; one that has ended with `request`, if given."""
    values = dict(zip(FIELDS, row, strict=True))
    for name in ("created_at", "submitted_at", "ended_at", "expires_at", "updated_at"):
        values[name] = load_datetime(values[name])
    state = values["state"] = State(values["state"])
    # Half of what decoding costs, and the caller of one that has ended has its request.
    known = request is not None and state in ENDED
    values["request"] = request if known else load_request(values["request"])
    values["url_redacted"] = bool(values["url_redacted"])
    values["files"] = load_texts(values["files"])
    values["doubt_ids"] = load_texts(values["doubt_ids"])
    values["candidate_ids"] = load_texts(values["candidate_ids"])
    if values["snapshot"] is not None:
        values["snapshot"] = load_snapshot(values["snapshot"])
    return Entry(**values)


def entry_to_json(entry: Entry) -> str:
    """Return the entry as JSON in ASCII, without its token and without queries of webhook and result URLs."""
    stored: dict[str, Any] = {}
    for field in attrs.fields(Entry):
        value = getattr(entry, field.name)
        # Who has the token of an entry in doubt can name its job, so it leaves the file in no export.
        if field.name != "token":
            stored[COLUMN_OF.get(field.name, field.name)] = (
                dump_datetime(value) if isinstance(value, datetime) else value
            )
    stored["request"] = json.loads(dump_request(entry.request))
    webhook = stored["request"].get("webhook_url")
    if webhook is not None:
        stored["request"]["webhook_url"] = strip_query(webhook)
    if entry.snapshot is not None:
        stored["snapshot"] = json.loads(dump_snapshot(entry.snapshot))
    return json.dumps(stored)
