"""What the file beside a result says of where it comes from; nothing in it signs or opens anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from akool_async._core.fingerprint import fingerprint, plain_url
from akool_async._core.models import Snapshot
from akool_async._core.outcomes import Completed
from akool_async._core.requests import LipSyncRequest, Request

FORMAT: Final = 1
"""Raised when the meaning of a name in the file changes."""

_URLS: Final = ("url", "video_url", "audio_url", "caption_url")


def provenance(done: Completed | Snapshot, *, saved_at: datetime, program: str) -> dict[str, Any]:
    """Give what is known of a result.

    Args:
        done: the completed job; of a bare snapshot less is known.
        saved_at: when it was brought home, aware.
        program: who brought it home, with its version.
    """
    snapshot = done if isinstance(done, Snapshot) else done.snapshot
    told: dict[str, Any] = {
        "format": FORMAT,
        "program": program,
        "job_id": snapshot.job_id,
        "created_at": _moment(snapshot.created_at),
        "saved_at": _moment(saved_at),
        "credits": snapshot.credits_used,
    }
    if isinstance(done, Completed):
        told |= {
            "key": done.key,
            "target": done.target,
            "fingerprint": fingerprint(done.request, done.target),
            "request": _options(done.request),
            "credits": done.credits,
            "submitted_at": _moment(done.submitted_at),
            "ended_at": _moment(done.ended_at),
        }
    return told


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def _options(request: Request) -> dict[str, Any]:
    """Give what was asked for; where to call back is nobody's affair."""
    told = attrs.asdict(request, filter=attrs.filters.exclude("key", "webhook_url"))
    for name in _URLS:
        if told.get(name):
            told[name] = plain_url(told[name])
    kind = "lipsync" if isinstance(request, LipSyncRequest) else "translation"
    return {"kind": kind, **{name: _plain(value) for name, value in told.items() if value not in (None, "")}}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
