"""Conversion of values to what the file stores and back. Signatures in URLs are never written.

Reading fails with `DecodeError` alone, whatever the file contains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import attrs

from akool_async._journal.entry import Entry
from akool_async._model.errors import AkoolError
from akool_async._model.redact import redacted_url, strip_query
from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import AudioSplits, Snapshot, Status

KINDS: Final[Mapping[str, type[TranslationRequest | LipSyncRequest]]] = {
    "translation": TranslationRequest,
    "lipsync": LipSyncRequest,
}

COLUMN_OF: Final = {"url_redacted": "stripped", "paid_submissions": "paid"}
"""Fields of an entry that have another name in the file and in an export: the format is older."""

_URLS: Final = frozenset({"url", "video_url", "audio_url", "caption_url", "webhook_url"})
_URL_IN_TEXT: Final = re.compile(r"https?://[^\s'\"<>]+", re.IGNORECASE)
_LARGEST: Final = 2**63


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class DecodeError(ValueError):
    """A stored value is not what the journal writes."""


def dump_datetime(moment: datetime | None) -> str | None:
    """Return ISO 8601 in UTC, always with microseconds, so that texts sort as moments do."""
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def load_datetime(text: str | None) -> datetime | None:
    """Return the aware moment that was written."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def dump_text(text: str) -> str:
    """Return text that can be encoded, with every URL in it cut before its query."""
    shown = _URL_IN_TEXT.sub(lambda found: strip_query(found[0]), text)
    return shown.encode("utf-8", "replace").decode()


def dump_int(number: int | None) -> int | None:
    """Return a number that SQLite can hold; no real code is larger."""
    return number if number is not None and -_LARGEST <= number < _LARGEST else None


def dump_float(number: float | None) -> float | None:
    """Return a number of which many can be added up; no real amount is larger."""
    return number if number is not None and abs(number) < _LARGEST else None


def dump_texts(texts: tuple[str, ...]) -> str:
    """Return a list as JSON, in ASCII: paths may hold what can't be encoded."""
    return _encode(texts) if texts else "[]"


def load_texts(text: str) -> tuple[str, ...]:
    """Return the list that was written.

    Raises:
        DecodeError: the text is not what the journal writes.
    """
    try:
        return () if text == "[]" else tuple(map(str, json.loads(text)))
    except (ValueError, TypeError, RecursionError) as error:
        raise DecodeError("a list can't be read") from error


def loses_query(request: Request) -> bool:
    """Whether a URL of the request loses its query or its user when it is written."""
    urls = ((name, getattr(request, name, None)) for name in _URLS)
    return any(
        url and redacted_url(url, public=_is_public(request, name)) != url.partition("#")[0]
        for name, url in urls
    )


def _is_public(request: Request, name: str) -> bool:
    """Whether the query of this URL may be kept; that of a webhook is always a secret of the caller's."""
    return request.url_is_public and name != "webhook_url"


def _changed_fields(request: Request) -> dict[str, Any]:
    """Return the fields that differ from their default."""
    stored: dict[str, Any] = {}
    for field in attrs.fields(type(request)):
        value = getattr(request, field.name)
        if field.name in _URLS and value is not None:
            stored[field.name] = redacted_url(value, public=_is_public(request, field.name))
        elif value != field.default and not (isinstance(value, Mapping) and not value):
            stored[field.name] = dict(value) if isinstance(value, Mapping) else value
    return stored


def dump_request(request: Request) -> str:
    """Return the request as JSON, without the queries of its URLs unless they are public."""
    kind = "translation" if isinstance(request, TranslationRequest) else "lipsync"
    return _encode({"kind": kind, **_changed_fields(request)})


def load_request(text: str) -> Request:
    """Return the request that was written.

    Raises:
        DecodeError: the text is not what the journal writes.
    """
    try:
        stored = json.loads(text)
        return KINDS[stored.pop("kind")](**stored)
    except (AkoolError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DecodeError("the request can't be read") from error


def _bare_url(url: str) -> str:
    """Return `url` without user, query and fragment, or "" when it is not a URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def dump_snapshot(snapshot: Snapshot) -> str:
    """Return the snapshot as JSON, its URLs without their queries, without the raw answer."""
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
    """Return the snapshot that was written.

    Raises:
        DecodeError: the text is not what the journal writes.
    """
    try:
        stored = json.loads(text)
        stored["status"] = Status(stored["status"])
        stored["created_at"] = load_datetime(stored.get("created_at"))
        stored["audio_splits"] = AudioSplits(**stored.get("audio_splits", {}))
        return Snapshot(**stored)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DecodeError("the snapshot can't be read") from error


def entry_to_json(entry: Entry) -> str:
    """Return the entry as JSON in ASCII, without its token and without queries of webhook and result URLs."""
    stored: dict[str, Any] = {}
    for field in attrs.fields(Entry):
        value = getattr(entry, field.name)
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
