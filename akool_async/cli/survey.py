"""What a run of a catalog would do, entry by entry: the catalog beside what the journal says."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import anyio
import attrs

from akool_async._batch import OnInDoubt
from akool_async._core.errors import AkoolError, CertificateRejected, ConnectFailed, JournalLocked
from akool_async._core.fingerprint import fingerprint, work_of
from akool_async._core.lifecycle import State
from akool_async._journal import Entry, open_journal
from akool_async.cli.catalog import Catalog, Item, Mistake
from akool_async.cli.check import Checked
from akool_async.cli.estimate import Estimate, Prices


class Due(enum.StrEnum):
    """What a run would do with an entry."""

    SUBMIT = "new"
    AGAIN = "again"
    WAIT = "at the vendor"
    HOME = "home"
    DOUBT = "in doubt"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def paid(self) -> bool:
        """Whether a job would be made for it."""
        return self in (Due.SUBMIT, Due.AGAIN)


_DUE: Final[Mapping[State, Due]] = {
    State.PLANNED: Due.SUBMIT,
    State.SUBMITTING: Due.DOUBT,
    State.SUBMITTED: Due.WAIT,
    State.COMPLETED: Due.WAIT,
    State.DELIVERED: Due.HOME,
    State.IN_DOUBT: Due.DOUBT,
    State.FAILED: Due.FAILED,
    State.EXPIRED: Due.EXPIRED,
}


@attrs.frozen(kw_only=True)
class Rules:
    """What the caller allows.

    Attributes:
        on_in_doubt: "hold" keeps doubts as they are; "resubmit" pays for them again.
        retry_failed: whether what failed, was refused or expired is paid for again.
    """

    on_in_doubt: OnInDoubt = "hold"
    retry_failed: bool = False

    def due(self, entry: Entry | None) -> Due:
        """Give what is to be done with an entry that stands so in the journal."""
        due = Due.SUBMIT if entry is None else _DUE[entry.state]
        if (due is Due.DOUBT and self.on_in_doubt == "resubmit") or (
            due in (Due.FAILED, Due.EXPIRED) and self.retry_failed
        ):
            return Due.AGAIN
        return due


@attrs.frozen(kw_only=True)
class Line:
    """One entry of the catalog: one (key, language).

    Attributes:
        item: its row.
        target: its language.
        due: what would be done with it.
        entry: what the journal has of it.
        cost: what its job will probably cost; None where nothing is known or none would be made.
    """

    item: Item
    target: str
    due: Due
    entry: Entry | None = None
    cost: float | None = None

    @property
    def key(self) -> str:
        """The entry's name in the journal."""
        return self.item.key_for(self.target)


@attrs.frozen(kw_only=True)
class Survey:
    """What a run would do.

    Attributes:
        catalog: what was asked for.
        lines: its entries, in its order.
        estimate: what new jobs would cost.
        locked: credits locked for entries of the journal, others of it included.
        used: credits deducted for them.
        held: who is writing the journal, if anybody is.
        mistakes: what has to be corrected first.
        notes: what is worth a word.
        checked: what the server says; None where it was not asked.
    """

    catalog: Catalog
    lines: tuple[Line, ...] = attrs.field(repr=False)
    estimate: Estimate
    locked: float = 0.0
    used: float = 0.0
    held: JournalLocked | None = None
    mistakes: tuple[Mistake, ...] = ()
    notes: tuple[str, ...] = ()
    checked: Checked | None = None

    @property
    def counts(self) -> Counter[Due]:
        """Entries for each thing that would be done."""
        return Counter(line.due for line in self.lines)

    @property
    def unreachable(self) -> AkoolError | None:
        """Why no connection to the server could be made; None where that is not known."""
        failure = None if self.checked is None else self.checked.failure
        return failure if isinstance(failure, ConnectFailed | CertificateRejected) else None

    @property
    def new_items(self) -> tuple[Item, ...]:
        """Rows of which at least one language would be submitted."""
        return tuple({id(line.item): line.item for line in self.lines if line.due.paid}.values())


async def survey(catalog: Catalog, journal: Path, rules: Rules) -> Survey:
    """Lay the catalog beside the journal, which is only read; there may be none yet."""
    there = await anyio.Path(journal).exists()
    async with open_journal(journal if there else ":memory:", read_only=there) as found:
        prices, works = Prices(), Works()
        async for entry in found.entries():
            prices.learn(entry)
            works.learn(entry)
        known = [
            (item, target, found.get(item.key_for(target), target)) for item, target in _entries(catalog)
        ]
        lines = tuple(_line(item, target, entry, rules, prices) for item, target, entry in known)
        renamed = list(works.renamed(lines))
        locked, used = found.credits()
        return Survey(
            catalog=catalog,
            lines=lines,
            estimate=prices.estimate(line.item.request for line in lines if line.due.paid),
            locked=locked,
            used=used,
            held=found.held,
            mistakes=(*_other_work(known), *(one for one in renamed if isinstance(one, Mistake))),
            notes=tuple(one for one in renamed if isinstance(one, str)),
        )


def _entries(catalog: Catalog) -> Iterator[tuple[Item, str]]:
    for item in catalog.items:
        for target in item.request.targets:
            yield item, target


def _line(item: Item, target: str, entry: Entry | None, rules: Rules, prices: Prices) -> Line:
    due = rules.due(entry)
    cost = prices.of(item.request) if due.paid else None
    return Line(item=item, target=target, due=due, entry=entry, cost=cost)


def _other_work(known: list[tuple[Item, str, Entry | None]]) -> Iterator[Mistake]:
    for item, target, entry in known:
        if entry is None or entry.state is State.PLANNED:
            continue
        if entry.fingerprint != fingerprint(item.request, target):
            text = (
                f"In the journal this key names other work into {target!r}: another video or other options. "
                "Use another key, or another --out."
            )
            yield Mistake(item.where("key"), text)


_PAID: Final = frozenset(
    {State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DELIVERED, State.IN_DOUBT}
)


class Works:
    """What a journal has paid for, whatever its key is."""

    def __init__(self) -> None:
        """Know of nothing yet."""
        self._paid: dict[str, tuple[str, str]] = {}

    def learn(self, entry: Entry) -> None:
        """Take in an entry."""
        if entry.state in _PAID:
            self._paid.setdefault(entry.fingerprint, (entry.key, work_of(entry.request, entry.target)))

    def stands_as(self, entry: Entry) -> str:
        """Give the other key under which an entry's work is paid for, or ""."""
        key, work = self._paid.get(entry.fingerprint, ("", ""))
        return key if key != entry.key and work == work_of(entry.request, entry.target) else ""

    def renamed(self, lines: Iterable[Line]) -> Iterator[Mistake | str]:
        """Find what would be paid again because its key is another one now.

        Where only what signs the URL differs, it may be another video: that is worth a word, no more.
        """
        for line in lines:
            request = line.item.request
            key, work = self._paid.get(fingerprint(request, line.target), ("", ""))
            if not line.due.paid or not key or key == line.key:
                continue
            told = f"into {line.target!r} stands in the journal as {key!r}, and would be paid again"
            if work == work_of(request, line.target):
                text = f"The same work {told}. Use that key, or another --out."
                yield Mistake(line.item.where("key"), text)
            else:
                yield f"{line.item.place}: Perhaps the same work {told}: only what signs its URL differs."
