"""What a journal says, in one value: counts, credits, what is in doubt, what dies soon, how to go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from akool_async._core.errors import JournalLocked
from akool_async._core.lifecycle import State
from akool_async._journal import Entry, Journal
from akool_async.cli.home import Home

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
class Standing:
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

    home: Home
    now: datetime
    held: JournalLocked | None
    counts: Mapping[State, int]
    locked: float
    used: float
    doubts: tuple[Entry, ...]
    expiring: tuple[Entry, ...]
    dying: int
    needs_catalog: int

    @property
    def at_work(self) -> int:
        """Entries that `resume` goes on with."""
        counts = self.counts
        planned = counts[State.PLANNED] - self.needs_catalog
        return counts[State.SUBMITTED] + counts[State.COMPLETED] + planned

    @property
    def steps(self) -> tuple[tuple[str, str], ...]:
        """How to go on: why, and the command; none while a run is at it."""
        counts, home = self.counts, self.home
        if self.held is not None:
            return ()
        doubts = len(self.doubts) + counts[State.SUBMITTING]
        steps = (
            (self.dying, "that will die within 2 days, to be brought home first", home.command("harvest")),
            (doubts, "whose answer is unknown, paid or not", home.command("resolve")),
            (self.at_work, "not home yet", home.command("resume")),
            (self.lost, "without a result; sending again costs credits", home.command("retry", "--failed")),
            (self.needs_catalog, "not sent, whose signed URL only the catalog has", "run the catalog again"),
        )
        return tuple((f"{counted(count)} {why}", command) for count, why, command in steps if count)

    @property
    def lost(self) -> int:
        """Entries that ended without a result."""
        return self.counts[State.FAILED] + self.counts[State.EXPIRED]


def counted(number: int) -> str:
    """Give so many entries in words."""
    return "1 entry" if number == 1 else f"{number} entries"


async def read_standing(journal: Journal, home: Home) -> Standing:
    """Read it all; a run may be writing meanwhile."""
    locked, used = journal.credits()
    planned = [entry async for entry in journal.entries(states={State.PLANNED}) if entry.stripped]
    return Standing(
        home=home,
        now=datetime.now(UTC),
        held=journal.held,
        counts=journal.counts(),
        locked=locked,
        used=used,
        doubts=tuple([entry async for entry in journal.entries(states={State.IN_DOUBT})]),
        expiring=tuple([entry async for entry in _first(journal.expiring(_EVER), _MOST)]),
        dying=journal.count_expiring(SOON),
        needs_catalog=len(planned),
    )


async def _first(entries: AsyncIterator[Entry], most: int) -> AsyncIterator[Entry]:
    number = 0
    while number < most and (entry := await anext(entries, None)) is not None:
        yield entry
        number += 1
