"""What earlier runs were to submit, and the balance when they began: a small file beside the journal.

The journal has no entry for a row of a catalog before its turn comes, none for one that was refused before it
was sent, and does not know the account's balance. It numbers entries as they are sent, so what was corrected
or added later comes last. With these, `status` counts what was not submitted, `list` says why, in the order
of the catalog, and `resolve` compares what was spent with what is recorded. Nothing depends on the file:
without it, that much less can be said.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import attrs

from akool_async._journal import Journal
from akool_async._journal.names import beside
from akool_async.cli.console import print_info
from akool_async.cli.next_commands import Order
from akool_async.cli.plan import Plan, PlannedAction
from akool_async.cli.report import request_label

_MARK: Final = "akool-async runs"
_MAX_RUNS: Final = 100
_MAX_ORDERED: Final = 1_000_000
"""Entries whose place in a catalog is kept; catalogs that were not run for longest are forgotten first."""


@attrs.frozen(kw_only=True)
class RunStart:
    """The moment at which a run began.

    Attributes:
        balance: the account's credits.
        recorded: credits that the journal had as used or locked.
    """

    at: datetime
    balance: float
    recorded: float


@attrs.frozen
class UnsentEntry:
    """What a run of a catalog had to submit for the first time.

    Attributes:
        catalog: the catalog's file.
        key: its key in the journal, if it had an entry there.
        target: its language; "" for a lip-sync.
        label: what people call its video.
        reason: why it can't be sent before its row is corrected; "" if nothing is wrong with it.
    """

    catalog: str
    key: str
    target: str
    label: str
    reason: str

    @property
    def advice(self) -> str:
        """What to do about it."""
        return f"Correct this row in {self.catalog}, then run the catalog again." if self.reason else ""


@attrs.frozen
class RunHistory:
    """The earlier runs of a journal.

    Attributes:
        starts: those whose balance is known, in their order.
        pending: by catalog, what its last run was to submit for the first time.
        orders: by catalog, the command of its last run.
        names: by catalog, the keys of its rows in their order, each with its languages after it; the catalog
            that was run last comes last.
    """

    starts: tuple[RunStart, ...] = ()
    pending: Mapping[str, tuple[UnsentEntry, ...]] = attrs.field(factory=dict)
    orders: Mapping[str, Order] = attrs.field(factory=dict)
    names: Mapping[str, Sequence[Sequence[str]]] = attrs.field(factory=dict, repr=False)

    def places(self) -> dict[tuple[str, str], int]:
        """Return the place of each entry that a catalog has, by key and language."""
        found: dict[tuple[str, str], None] = {}
        for key, *targets in chain(*self.names.values()):
            for target in targets:
                found.pop((key, target), None)  # of several catalogs that have it, the last one counts
                found[key, target] = None
        return {name: place for place, name in enumerate(found)}

    def unsent(self, journal: Journal) -> Iterator[UnsentEntry]:
        """Yield what the journal has no entry for since; each once, by its newest catalog."""
        seen: set[tuple[str, str]] = set()
        # From the newest on: a row that two catalogs name is counted once, for the command that is run now.
        for catalog in reversed([*self.pending]):
            for entry in self.pending[catalog]:
                name = entry.key, entry.target
                if name not in seen and journal.get(*name) is None:
                    yield entry
                seen.add(name)


def history_path(journal: Path) -> Path:
    """Return the file beside a journal."""
    return beside(journal, ".runs")


def read_history(journal: Path) -> RunHistory:
    """Read the file; empty if it is missing or not ours."""
    data = _read(history_path(journal)) or {}
    try:
        starts = tuple(
            RunStart(at=datetime.fromisoformat(at), balance=float(balance), recorded=float(recorded))
            for at, balance, recorded in data.get("starts", ())
        )
        pending = {
            str(catalog): tuple(
                UnsentEntry(str(catalog), str(key), str(target), str(label), str(reason))
                for key, target, label, reason in entries
            )
            for catalog, entries in data.get("pending", {}).items()
        }
        orders = {
            str(catalog): Order(str(folder), str(place), tuple(map(str, words)))
            for catalog, (folder, place, words) in data.get("orders", {}).items()
        }
        names = {
            str(catalog): [[*map(str, row)] for row in rows if row]
            for catalog, rows in data.get("names", {}).items()
        }
    except (ValueError, TypeError, AttributeError):
        return RunHistory()
    return RunHistory(starts, pending, orders, names)


def record_run(plan: Plan, journal: Path) -> None:
    """Add a run that is about to begin. What goes wrong is printed: the run does not need it."""
    path, history = history_path(journal), read_history(journal)
    starts, pending, orders = [*history.starts], dict(history.pending), dict(history.orders)
    names = dict(history.names)
    if plan.checked is not None and plan.checked.balance is not None:
        recorded = plan.used + plan.locked
        starts.append(RunStart(at=datetime.now(UTC), balance=plan.checked.balance, recorded=recorded))
    if not plan.catalog.title:  # a file; the others have their entries in the journal
        catalog, order = str(plan.catalog.path.absolute()), Order.running(journal)
        pending.pop(catalog, None)  # the newest is the last
        pending[catalog] = tuple(
            UnsentEntry(
                catalog,
                entry.key,
                entry.target,
                request_label(entry.item.request),
                "" if entry.check is None else entry.check.reason,
            )
            for entry in plan.entries
            if entry.action in (PlannedAction.SUBMIT, PlannedAction.REFUSED)
        )
        if order is not None:
            orders[catalog] = order
        every = ((one.key if one.entry is None else one.entry.key, one.target) for one in plan.entries)
        names.pop(catalog, None)
        names[catalog] = [
            [key, *(target for _, target in row)] for key, row in groupby(every, key=itemgetter(0))
        ]
        while len(names) > 1 and sum(map(len, chain(*names.values()))) > 2 * _MAX_ORDERED:
            del names[next(iter(names))]
    data = {
        "made_by": _MARK,
        "starts": [(one.at.isoformat(), one.balance, one.recorded) for one in starts[-_MAX_RUNS:]],
        "pending": {
            catalog: [attrs.astuple(entry)[1:] for entry in entries]
            for catalog, entries in pending.items()
            if entries
        },
        "names": names,
        "orders": {name: attrs.astuple(one) for name, one in orders.items() if pending.get(name)},
    }
    try:
        # Another file of this name, perhaps a journal, is not overwritten.
        if os.path.lexists(path) and _read(path) is None:
            print_info(f"{path} is not a list of earlier runs and was left alone.")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            json.dump(data, file)
        # Complete or not at all: a torn file would be taken for another program's, and left alone for ever.
        Path(file.name).replace(path)
    except OSError as error:
        print_info(f"What this run is to submit can't be noted in {path}: {error.strerror}.")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("made_by") == _MARK else None
