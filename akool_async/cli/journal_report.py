"""What a journal holds: counts, credits, doubts, what expires soon, and what to do next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from akool_async._journal import Entry, Journal
from akool_async._model.errors import JournalLockedError
from akool_async._model.redact import sanitize
from akool_async._model.requests import TranslationRequest, video_url
from akool_async._model.responses import RESULT_LIFETIME, Snapshot
from akool_async._model.states import State
from akool_async.cli.catalog import Catalog, CatalogItem, SourceLocation, names_for
from akool_async.cli.console import ago, counted, duration, format_value, print_info
from akool_async.cli.options import OutputOptions
from akool_async.cli.plan import PaidWork
from akool_async.cli.report import request_label

WORDS: Final[Mapping[State, str]] = {
    State.DELIVERED: "saved",
    State.COMPLETED: "done, not saved yet",
    State.SUBMITTED: "at the vendor",
    State.SUBMITTING: "being sent, or perhaps sent by a run that was interrupted",
    State.PLANNED: "not sent",
    State.IN_DOUBT: "in doubt: sent, or maybe sent, the answer is unknown",
    State.FAILED: "failed or refused",
    State.EXPIRED: "expired: done, but the vendor does not have the result any more",
}
"""The states in words, in the order in which they are shown."""

SOON: Final = timedelta(days=2)
"""Results that expire within this time are pointed out."""
_MAX_EXPIRING: Final = 10
_EVER: Final = timedelta(days=36_500)
_CREATED_BEFORE: Final = timedelta(minutes=2)
_CREATED_AFTER: Final = timedelta(minutes=15)
"""When a job is made, measured from the moment of sending; clocks may differ."""


@attrs.frozen(kw_only=True)
class JournalStatus:
    """A journal at one moment.

    Attributes:
        locked: credits that are locked.
        used: credits that were deducted.
        expiring: up to 10 entries whose result is at the vendor, by expiry.
        expiring_soon: number of entries whose result expires within 2 days.
        needs_catalog: entries not sent whose URL lost its signature.
    """

    output: OutputOptions
    now: datetime
    lock_holder: JournalLockedError | None
    counts: Mapping[State, int]
    locked: float
    used: float
    doubts: tuple[Entry, ...]
    expiring: tuple[Entry, ...]
    expiring_soon: int
    needs_catalog: int

    @property
    def next_steps(self) -> tuple[tuple[str, str], ...]:
        """What to do next, each with its reason and the command; nothing while a run is writing."""
        if self.lock_holder is not None:
            return ()
        counts, command = self.counts, self.output.command
        unfinished = counts[State.SUBMITTED] + counts[State.COMPLETED] + counts[State.PLANNED]
        steps = (
            (self.expiring_soon, "that will expire within 2 days, to be saved first", command("collect")),
            (
                len(self.doubts) + counts[State.SUBMITTING],
                "whose answer is unknown, paid or not",
                command("resolve"),
            ),
            (unfinished - self.needs_catalog, "not saved yet", command("resume")),
            (
                counts[State.FAILED] + counts[State.EXPIRED],
                "without a result; sending again costs credits",
                command("retry", "--failed"),
            ),
            (self.needs_catalog, "not sent, whose signed URL only the catalog has", "run the catalog again"),
        )
        return tuple((f"{counted(count, 'entry')} {why}", step) for count, why, step in steps if count)


async def read_status(journal: Journal, output: OutputOptions) -> JournalStatus:
    """Read what a journal holds; a run may be writing it meanwhile."""
    locked, used = journal.credits()
    expiring: list[Entry] = []
    async for entry in journal.expiring(_EVER):
        expiring.append(entry)
        if len(expiring) == _MAX_EXPIRING:
            break
    return JournalStatus(
        output=output,
        now=datetime.now(UTC),
        lock_holder=journal.lock_holder,
        counts=journal.counts(),
        locked=locked,
        used=used,
        doubts=tuple([entry async for entry in journal.entries(states={State.IN_DOUBT})]),
        expiring=tuple(expiring),
        expiring_soon=journal.count_expiring(SOON),
        needs_catalog=len(
            [1 async for entry in journal.entries(states={State.PLANNED}) if entry.url_redacted]
        ),
    )


def entry_label(entry: Entry) -> str:
    """Return what people call an entry, and its language."""
    return format_value(f"{request_label(entry.request)} {entry.target}".strip())


def describe_doubt(entry: Entry, now: datetime) -> Iterator[str]:
    """Return what is known of a doubt, what it means for money, and how to find out more, line by line."""
    request = entry.request
    yield entry_label(entry)
    if not request.key:
        yield f"  key: {entry.key}"
    if isinstance(request, TranslationRequest):
        yield f"  asked for: {format_value(request.url)} in {entry.target}"
    else:
        yield f"  asked for: {format_value(request.video_url)} to follow {format_value(request.audio_url)}"
    yield f"  sent: {ago(entry.submitted_at, now)}"
    yield f"  known: {format_value(entry.reason) or 'nothing about its answer'}"
    ids = ", ".join(map(format_value, entry.doubt_ids)) or "none"
    yield f"  job ids that could be read in the answer: {ids}"
    expiry = ""
    if entry.submitted_at is not None:
        expiry = f"; its result expires on {entry.submitted_at + RESULT_LIFETIME:%Y-%m-%d}"
    yield (
        "  money: if the job was made, its credits are locked and saving its result costs nothing more"
        f"{expiry}. If it was not made, nothing was charged. Sending it again without knowing may pay twice."
    )
    yield "  how to find out: look at the account's usage at that time on the vendor's site."


def resolve_commands(entry: Entry, output: OutputOptions) -> Iterator[str]:
    """Return the two commands that resolve a doubt."""
    words = ["resolve", entry.key, *(["--target", entry.target] if entry.target else [])]
    yield f"    {output.command(*words, '--job-id', 'ID')}"
    yield f"    {output.command(*words, '--not-made')}"


def doubt_json(entry: Entry) -> dict[str, Any]:
    """Return a doubt for programs."""
    return {
        "key": entry.key,
        "target": entry.target,
        "url": video_url(entry.request),
        "submitted_at": entry.submitted_at,
        "reason": entry.reason,
        "doubt_ids": list(entry.doubt_ids),
    }


def describe_job(snapshot: Snapshot, entry: Entry) -> str:
    """Return what the vendor knows of a job that may belong to a doubt, as a sentence."""
    made, distance = "at an unknown time", ""
    if snapshot.created_at is not None:
        made = f"{snapshot.created_at:%Y-%m-%d %H:%M} UTC"
        if entry.submitted_at is not None:
            apart = snapshot.created_at - entry.submitted_at
            order = "before" if apart < timedelta() else "after"
            distance = f", {duration(abs(apart))} {order} the call was sent"
    return f"Job {snapshot.job_id} is {snapshot.status.name.lower()}, made {made}{distance}."


def plausible(snapshot: Snapshot, entry: Entry) -> bool:
    """Return whether a job was made about when the doubt's POST was sent, as far as known."""
    if snapshot.created_at is None or entry.submitted_at is None:
        return True
    return -_CREATED_BEFORE <= snapshot.created_at - entry.submitted_at <= _CREATED_AFTER


async def read_entries(output: OutputOptions, states: Collection[State]) -> tuple[list[Entry], PaidWork]:
    """Return the entries in these states, in the order in which they were entered, and what is paid for.

    Raises:
        JournalError: there is no journal, it can't be read, or a run is writing it.
    """
    async with output.reading() as journal:
        # The run that is writing may be submitting these entries at this moment.
        if journal.lock_holder is not None:
            raise journal.lock_holder
        paid_work, found = PaidWork(), []
        async for entry in journal.entries():
            paid_work.add(entry)
            if entry.state in states:
                found.append(entry)
        return found, paid_work


def resubmittable(entries: Iterable[Entry], paid_work: PaidWork) -> list[Entry]:
    """Return the entries that can be sent from the journal alone, and print why the others can't.

    Their URL lost its signature, or their work is paid for under another key.
    """
    found = list(entries)
    complete = [entry for entry in found if not entry.url_redacted]
    if len(complete) < len(found):
        print_info(
            f"{counted(len(found) - len(complete), 'entry')} can't be sent from here: the URLs were signed, "
            "and the journal keeps no signatures. Run the catalog again for them."
        )
    resubmitted = []
    for entry in complete:
        # The batch knows work by its key: under a second key it would be submitted and paid again.
        key = paid_work.paid_under_key(entry)
        if not key:
            resubmitted.append(entry)
            continue
        print_info(
            f"{entry_label(entry)} is left out: the same work is in the journal as {sanitize(key)!r}, and "
            "would be paid again."
        )
    return resubmitted


def catalog_from(output: OutputOptions, entries: Iterable[Entry], what: str) -> Catalog:
    """Return a catalog that asks for the work of a journal's entries; in words that is `what`."""
    place = SourceLocation(str(output.path))
    items = tuple(
        CatalogItem(request=entry.request_for_target, names=names_for(entry.request.key), place=place)
        for entry in entries
    )
    return Catalog(path=output.path, title=f"{output.path}, {what}", rows=len(items), items=items)
