"""What a journal says, in one value: counts, credits, what is in doubt, what dies soon, how to go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
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
from akool_async.cli.console import ago, duration, format_value, print_info
from akool_async.cli.options import OutputOptions
from akool_async.cli.plan import PaidWork
from akool_async.cli.report import label_of

WORDS: Final[Mapping[State, str]] = {
    State.DELIVERED: "home",
    State.COMPLETED: "done, not home yet",
    State.SUBMITTED: "at the vendor",
    State.SUBMITTING: "being sent, or left so by a run that died",
    State.PLANNED: "not sent",
    State.IN_DOUBT: "in doubt: sent, or maybe sent, the answer is unknown",
    State.FAILED: "failed or refused",
    State.EXPIRED: "expired: done, but the result died at the vendor",
}
"""The states in words, in the order in which they are shown."""

SOON: Final = timedelta(days=2)
"""A result that dies in this time is worth a word."""

_MOST: Final = 10
_EVER: Final = timedelta(days=36_500)


@attrs.frozen(kw_only=True)
class JournalStatus:
    """A journal at one moment.

    Attributes:
        home: which journal.
        now: the moment.
        held: who writes it, if anybody does.
        counts: entries in each state.
        locked: credits that are locked.
        used: credits that were deducted.
        doubts: entries in doubt.
        expiring: up to 10 entries whose result is at the vendor, soonest to die first.
        dying: entries whose result dies within 2 days.
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
    def in_progress(self) -> int:
        """Entries that `resume` goes on with."""
        counts = self.counts
        planned = counts[State.PLANNED] - self.needs_catalog
        return counts[State.SUBMITTED] + counts[State.COMPLETED] + planned

    @property
    def next_steps(self) -> tuple[tuple[str, str], ...]:
        """How to go on: why, and the command; none while a run is at it."""
        counts, home = self.counts, self.output
        if self.lock_holder is not None:
            return ()
        doubts = len(self.doubts) + counts[State.SUBMITTING]
        steps = (
            (
                self.expiring_soon,
                "that will die within 2 days, to be brought home first",
                home.command("harvest"),
            ),
            (doubts, "whose answer is unknown, paid or not", home.command("resolve")),
            (self.in_progress, "not home yet", home.command("resume")),
            (
                self.without_result,
                "without a result; sending again costs credits",
                home.command("retry", "--failed"),
            ),
            (self.needs_catalog, "not sent, whose signed URL only the catalog has", "run the catalog again"),
        )
        return tuple((f"{counted(count)} {why}", command) for count, why, command in steps if count)

    @property
    def without_result(self) -> int:
        """Entries that ended without a result."""
        return self.counts[State.FAILED] + self.counts[State.EXPIRED]


def counted(number: int) -> str:
    """Give so many entries in words."""
    return "1 entry" if number == 1 else f"{number} entries"


async def read_status(journal: Journal, home: OutputOptions) -> JournalStatus:
    """Read it all; a run may be writing meanwhile."""
    locked, used = journal.credits()
    planned = [entry async for entry in journal.entries(states={State.PLANNED}) if entry.url_redacted]
    return JournalStatus(
        output=home,
        now=datetime.now(UTC),
        lock_holder=journal.lock_holder,
        counts=journal.counts(),
        locked=locked,
        used=used,
        doubts=tuple([entry async for entry in journal.entries(states={State.IN_DOUBT})]),
        expiring=tuple([entry async for entry in _first(journal.expiring(_EVER), _MOST)]),
        expiring_soon=journal.count_expiring(SOON),
        needs_catalog=len(planned),
    )


async def _first(entries: AsyncIterator[Entry], most: int) -> AsyncIterator[Entry]:
    number = 0
    while number < most and (entry := await anext(entries, None)) is not None:
        yield entry
        number += 1


# What is told of a paid POST whose answer is unknown: what was sent, what it means, how to find out.


_BEFORE: Final = timedelta(minutes=2)
_AFTER: Final = timedelta(minutes=15)
"""Around the moment of sending a job is made, clocks that differ included."""


def entry_label(entry: Entry) -> str:
    """Give what people call an entry, and its language."""
    return format_value(f"{label_of(entry.request)} {entry.target}".strip())


def describe_doubt(entry: Entry, now: datetime) -> Iterator[str]:
    """Give what is known of a doubt, line by line."""
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
    yield (
        "  money: if the job was made, its credits are locked and bringing it home costs nothing more"
        f"{_until(entry)}. If it was not made, nothing was charged. Sending it again blindly may pay twice."
    )
    yield "  how to find out: look at the account's usage on the vendor's site at that time."


def _until(entry: Entry) -> str:
    if entry.submitted_at is None:
        return ""
    return f"; its result dies on {entry.submitted_at + RESULT_LIFETIME:%Y-%m-%d}"


def resolve_commands(entry: Entry, home: OutputOptions) -> Iterator[str]:
    """Give the two commands that clear up a doubt."""
    words = ["resolve", entry.key, *(["--target", entry.target] if entry.target else [])]
    yield f"    {home.command(*words, '--job-id', 'ID')}"
    yield f"    {home.command(*words, '--not-made')}"


def doubt_json(entry: Entry) -> dict[str, Any]:
    """Give a doubt for programs."""
    return {
        "key": entry.key,
        "target": entry.target,
        "url": video_url(entry.request),
        "submitted_at": entry.submitted_at,
        "reason": entry.reason,
        "doubt_ids": list(entry.doubt_ids),
    }


def describe_job(snapshot: Snapshot, entry: Entry) -> str:
    """Say what the vendor knows of a job that may belong to a doubt."""
    made = "at an unknown time"
    if snapshot.created_at is not None:
        made = f"{snapshot.created_at:%Y-%m-%d %H:%M} UTC{_distance(snapshot.created_at, entry)}"
    return f"Job {snapshot.job_id} is {snapshot.status.name.lower()}, made {made}."


def _distance(created: datetime, entry: Entry) -> str:
    if entry.submitted_at is None:
        return ""
    apart = created - entry.submitted_at
    return f", {duration(abs(apart))} {'before' if apart < timedelta() else 'after'} the call was sent"


def plausible(snapshot: Snapshot, entry: Entry) -> bool:
    """Whether a job was made about when the doubt's POST was sent, as far as known."""
    if snapshot.created_at is None or entry.submitted_at is None:
        return True
    return -_BEFORE <= snapshot.created_at - entry.submitted_at <= _AFTER


# A catalog out of the journal's own entries: what is gone on with where no file of videos is at hand.


async def read_entries(home: OutputOptions, states: Collection[State]) -> tuple[list[Entry], PaidWork]:
    """Give the entries in these states, in the order in which they were entered, and what is paid for.

    Raises:
        JournalError: there is no journal, it can't be read, or a run is writing it.
    """
    async with home.reading() as journal:
        if journal.lock_holder is not None:
            raise journal.lock_holder
        works, found = PaidWork(), []
        async for entry in journal.entries():
            works.learn(entry)
            if entry.state in states:
                found.append(entry)
        return found, works


def resubmittable(entries: Iterable[Entry], works: PaidWork) -> list[Entry]:
    """Give those that can be sent from the journal alone, and tell of the others.

    Those have a URL that lost its signature, or their work is paid for under another key.
    """
    found = list(entries)
    whole = [entry for entry in found if not entry.url_redacted]
    if len(whole) < len(found):
        print_info(
            f"{counted(len(found) - len(whole))} can't be sent from here: their URLs were signed, and the "
            "journal keeps no signatures. Run the catalog again for them."
        )
    return [entry for entry in whole if not _has_duplicate(entry, works)]


def _has_duplicate(entry: Entry, works: PaidWork) -> bool:
    key = works.paid_under_key(entry)
    if key:
        print_info(
            f"{entry_label(entry)} is left out: the same work stands in the journal as {sanitize(key)!r}, "
            "and would be paid again."
        )
    return bool(key)


def catalog_from(home: OutputOptions, entries: Iterable[Entry], what: str) -> Catalog:
    """Give a catalog that asks for the entries' own work.

    Args:
        home: where the journal is.
        entries: what is asked for.
        what: that in words.
    """
    place = SourceLocation(str(home.path))
    items = tuple(
        CatalogItem(request=entry.request_for_target, names=names_for(entry.request.key), place=place)
        for entry in entries
    )
    return Catalog(path=home.path, title=f"{home.path}, {what}", rows=len(items), items=items)
