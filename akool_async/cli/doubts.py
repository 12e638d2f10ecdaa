"""What is told of a paid POST whose answer is unknown: what was sent, what it means, how to find out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from akool_async._core.models import RESULT_LIFETIME, Snapshot
from akool_async._core.requests import TranslationRequest, video_of
from akool_async._journal import Entry
from akool_async.cli.home import Home
from akool_async.cli.labels import label_of
from akool_async.cli.listing import told
from akool_async.cli.moments import ago, span

_BEFORE: Final = timedelta(minutes=2)
_AFTER: Final = timedelta(minutes=15)
"""Around the moment of sending a job is made, clocks that differ included."""


def name_of(entry: Entry) -> str:
    """Give what people call an entry, and its language."""
    return told(f"{label_of(entry.request)} {entry.target}".strip())


def explained(entry: Entry, now: datetime) -> Iterator[str]:
    """Give what is known of a doubt, line by line."""
    request = entry.request
    yield name_of(entry)
    if not request.key:
        yield f"  key: {entry.key}"
    if isinstance(request, TranslationRequest):
        yield f"  asked for: {told(request.url)} in {entry.target}"
    else:
        yield f"  asked for: {told(request.video_url)} to follow {told(request.audio_url)}"
    yield f"  sent: {ago(entry.submitted_at, now)}"
    yield f"  known: {told(entry.reason) or 'nothing about its answer'}"
    ids = ", ".join(map(told, entry.doubt_ids)) or "none"
    yield f"  job ids that could be read in the answer: {ids}"
    yield (
        "  money: if the job was made, its credits are locked and bringing it home costs nothing more"
        f"{_until(entry)}. If it was not made, nothing was charged. Sending it again blindly may pay twice."
    )
    yield "  how to find out: look at the account's usage on the vendor's site at that time."


def _until(entry: Entry) -> str:
    if entry.submitted_at is None:
        return ""
    return f"; its result dies on {entry.submitted_at + RESULT_LIFETIME:%Y-%m-%d}"


def commands_of(entry: Entry, home: Home) -> Iterator[str]:
    """Give the two commands that clear up a doubt."""
    words = ["resolve", entry.key, *(["--target", entry.target] if entry.target else [])]
    yield f"    {home.command(*words, '--job-id', 'ID')}"
    yield f"    {home.command(*words, '--not-made')}"


def facts_of(entry: Entry) -> dict[str, Any]:
    """Give a doubt for programs."""
    return {
        "key": entry.key,
        "target": entry.target,
        "url": video_of(entry.request),
        "submitted_at": entry.submitted_at,
        "reason": entry.reason,
        "doubt_ids": list(entry.doubt_ids),
    }


def described(snapshot: Snapshot, entry: Entry) -> str:
    """Say what the vendor knows of a job that may belong to a doubt."""
    made = "at an unknown time"
    if snapshot.created_at is not None:
        made = f"{snapshot.created_at:%Y-%m-%d %H:%M} UTC{_distance(snapshot.created_at, entry)}"
    return f"Job {snapshot.job_id} is {snapshot.status.name.lower()}, made {made}."


def _distance(created: datetime, entry: Entry) -> str:
    if entry.submitted_at is None:
        return ""
    apart = created - entry.submitted_at
    return f", {span(abs(apart))} {'before' if apart < timedelta() else 'after'} the call was sent"


def fits(snapshot: Snapshot, entry: Entry) -> bool:
    """Whether a job was made about when the doubt's POST was sent, as far as known."""
    if snapshot.created_at is None or entry.submitted_at is None:
        return True
    return -_BEFORE <= snapshot.created_at - entry.submitted_at <= _AFTER
