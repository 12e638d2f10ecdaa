"""What a run of a catalog would do, entry by entry, and what it would cost: by the journal and the server."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, overload

import anyio
import attrs

from akool_async._batch import OnInDoubt
from akool_async._batch.preflight import Preflight, RequestCheck
from akool_async._batch.resume import why_replaced
from akool_async._client import AkoolClient
from akool_async._journal import Entry, open_journal
from akool_async._model.errors import (
    AkoolError,
    CertificateError,
    ConfigurationError,
    ConnectError,
    JournalLockedError,
    JournalOlderError,
    ProtocolError,
    UnexpectedRedirectError,
    WrongHostError,
)
from akool_async._model.fingerprint import KeyedVideos, is_other_work
from akool_async._model.outcomes import is_unverified
from akool_async._model.requests import private_inputs
from akool_async._model.states import WITHOUT_RESULT, State
from akool_async.cli.catalog import Catalog, CatalogError, CatalogItem, Issue
from akool_async.cli.options import JOURNAL, OutputOptions
from akool_async.cli.other_journals import find_paid_elsewhere
from akool_async.cli.other_work import PAID, other_video, other_work, what_differs
from akool_async.cli.paid_work import PaidWork, find_repeated_files
from akool_async.cli.planned_names import PlannedNames
from akool_async.cli.prices import UNKNOWN, Estimate, JobPrice, Prices
from akool_async.cli.saved_files import are_gone
from akool_async.cli.server_check import ServerCheck, check


class PlannedAction(enum.StrEnum):
    """What a run would do with an entry."""

    SUBMIT = "new"
    REFUSED = "refused"
    RESUBMIT = "again"
    WAIT = "at the vendor"
    SAVED = "saved"
    UNVERIFIED = "unverified"
    RESTORE = "files gone"
    FOUND = "found"
    IN_DOUBT = "in doubt"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def is_paid(self) -> bool:
        """Whether a job would be made for it."""
        return self in (PlannedAction.SUBMIT, PlannedAction.RESUBMIT)


_ACTIONS: Final[Mapping[State, PlannedAction]] = {
    State.PLANNED: PlannedAction.SUBMIT,
    # Its POST may have been sent by a run that was killed: it is paid for again only if the caller says so.
    State.SUBMITTING: PlannedAction.IN_DOUBT,
    State.SUBMITTED: PlannedAction.WAIT,
    State.COMPLETED: PlannedAction.WAIT,
    State.DELIVERED: PlannedAction.SAVED,
    State.IN_DOUBT: PlannedAction.IN_DOUBT,
    State.FAILED: PlannedAction.FAILED,
    State.EXPIRED: PlannedAction.EXPIRED,
}


@attrs.frozen(kw_only=True)
class RetryRules:
    """What may be paid for again, besides what was never sent."""

    on_in_doubt: OnInDoubt = "hold"
    retry_failed: bool = False
    pay_again: bool = False

    def action(self, entry: Entry | None) -> PlannedAction:
        """Return what a run would do with an entry, by its state in the journal."""
        action = PlannedAction.SUBMIT if entry is None else _ACTIONS[entry.state]
        if (action is PlannedAction.IN_DOUBT and self.on_in_doubt == "resubmit") or (
            action in (PlannedAction.FAILED, PlannedAction.EXPIRED) and self.retry_failed
        ):
            return PlannedAction.RESUBMIT
        return action


@attrs.frozen(kw_only=True, weakref_slot=False)
class PlanEntry:
    """One entry of the catalog: one (key, language).

    Attributes:
        target: its language; "" for a lip-sync.
        entry: the journal's entry, if there is one.
        price: what a new job would probably cost.
        check: what a look into its files says, if there was one.
        name: what its files will be called, or are; "" where its row or the journal says it.
    """

    item: CatalogItem
    target: str
    action: PlannedAction
    entry: Entry | None = None
    price: JobPrice = UNKNOWN
    check: RequestCheck | None = None
    name: str = ""

    @property
    def cost(self) -> float | None:
        """What a new job would probably cost; None if no job would be made or the cost is unknown."""
        return self.price.credits if self.action.is_paid else None

    @property
    def key(self) -> str:
        """The entry's key in the journal."""
        return self.item.key_for(self.target)


class PlanEntries(Sequence[PlanEntry]):
    """The entries of a plan, each made when it is asked for: a long catalog has very many."""

    def __init__(self, items: Sequence[CatalogItem]) -> None:
        self._items = items
        self._actions: list[PlannedAction] = []
        self._prices: list[JobPrice] = []
        self._found: dict[int, Entry] = {}
        self._names: dict[int, str] = {}

    def add(self, action: PlannedAction, found: Entry | None, price: JobPrice, name: str) -> None:
        """Add what would be done with the next entry."""
        if found is not None:
            self._found[len(self._actions)] = found
        if name:
            self._names[len(self._actions)] = name
        self._actions.append(action)
        self._prices.append(price)

    def __iter__(self) -> Iterator[PlanEntry]:
        names = ((item, target) for item in self._items for target in item.request.targets)
        for number, (item, target) in enumerate(names):
            action, price = self._actions[number], self._prices[number]
            found, name = self._found.get(number), self._names.get(number, "")
            yield PlanEntry(item=item, target=target, action=action, entry=found, price=price, name=name)

    def __len__(self) -> int:
        return len(self._actions)

    @overload
    def __getitem__(self, index: int) -> PlanEntry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PlanEntry]: ...
    def __getitem__(self, index: int | slice) -> PlanEntry | Sequence[PlanEntry]:
        return tuple(self)[index]


@attrs.frozen(kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        estimate: what new jobs would cost.
        locked: credits that all entries of the journal have locked.
        unpriced: jobs of the journal of which it is not known what they cost.
        used: credits that were deducted for them.
        older: that the journal is missing or older than it was, and may not be used.
        checked: what the server says; None if it was not asked.
        prices: what earlier jobs cost.
        preflight: what has looked into the videos; None if nothing has.
        max_credits: what all jobs of the journal may cost together.
        trial_credits: what the trial of this run did cost.
        before_trial: the plan before the trial of this run, whose cost belongs to the run; None without one.
        trial_of: the whole plan, if this one is its trial alone.
    """

    catalog: Catalog
    entries: Sequence[PlanEntry] = attrs.field(repr=False)
    estimate: Estimate
    locked: float = 0.0
    unpriced: int = 0
    used: float = 0.0
    lock_holder: JournalLockedError | None = None
    older: JournalOlderError | None = None
    notes: tuple[str, ...] = ()
    checked: ServerCheck | None = None
    prices: Prices = attrs.field(factory=Prices, repr=False)
    preflight: Preflight | None = attrs.field(default=None, repr=False)
    max_credits: float | None = None
    trial_credits: float = 0.0
    before_trial: Plan | None = attrs.field(default=None, repr=False)
    trial_of: Plan | None = attrs.field(default=None, repr=False)

    @property
    def counts(self) -> Counter[PlannedAction]:
        """Number of entries by what would be done with them."""
        return Counter(entry.action for entry in self.entries)

    def with_entries(self, entries: Sequence[PlanEntry]) -> Plan:
        """Return this plan with other entries, and what these would cost."""
        paid = (entry.price for entry in entries if entry.action.is_paid)
        return attrs.evolve(self, entries=entries, estimate=self.prices.estimate(paid))

    def doubt_rule(self) -> Callable[[Entry], OnInDoubt]:
        """Return what pays again only for the doubts that this plan shows.

        Another run may have sent an entry again since then, and that answer may be lost, too.
        """
        shown = {
            (found.key, found.target, found.submitted_at, found.token)
            for one in self.entries
            if one.action is PlannedAction.RESUBMIT and (found := one.entry) is not None
        }

        def rule(entry: Entry) -> OnInDoubt:
            post = (entry.key, entry.target, entry.submitted_at, entry.token)
            return "resubmit" if post in shown else "hold"

        return rule

    @property
    def unreachable(self) -> AkoolError | None:
        """Why no connection to the server could be made, if so."""
        failures = () if self.checked is None else self.checked.failures
        return next((one for one in failures if isinstance(one, ConnectError | CertificateError)), None)

    @property
    def wrong_host(self) -> AkoolError | None:
        """Why what answers is not this API, if so: a paid POST to it would only end in doubt."""
        for failure in () if self.checked is None else self.checked.failures:
            # An answer that is none at all, such as a web page, has a status and no code.
            is_page = isinstance(failure, ProtocolError) and failure.http_status and failure.code is None
            if is_page or isinstance(failure, WrongHostError | UnexpectedRedirectError):
                return failure
        return None

    @property
    def new_items(self) -> tuple[CatalogItem, ...]:
        """Rows of which at least one language would be submitted."""
        return tuple({id(entry.item): entry.item for entry in self.entries if entry.action.is_paid}.values())


_MANY: Final = 5
"""New jobs from which on it is said that no journal is there."""


async def make_plan(
    catalog: Catalog, output: OutputOptions, rules: RetryRules, client: AkoolClient | None, prices: Prices
) -> Plan:
    """Return what a run of a catalog would do.

    Args:
        catalog: what is asked for.
        output: where the journal is, which is only read and may be missing, and the results are.
        rules: what may be paid for again.
        client: asks the server about languages, voices and the balance; None does not ask it.
        prices: learns what the journal's jobs cost.

    Raises:
        CatalogError: its keys name other work in the journal, or the server does not know its languages.
        AccountError: the credentials or the account are refused.
    """
    journal = output.path
    exists = await anyio.Path(journal).exists()
    async with open_journal(journal if exists else ":memory:", read_only=exists) as opened:
        paid_work = PaidWork()
        names = PlannedNames(output.out, catalog.items, pay_again=rules.pay_again)
        videos = KeyedVideos(item.request.key for item in catalog.items)
        # All of the journal, not only this catalog: the same work may be paid under another key in it.
        async for entry in opened.entries():
            prices.add(entry)
            paid_work.add(entry)
            names.record(entry)
            if entry.state in PAID:
                videos.add(entry.key, entry.request)
        entries = PlanEntries(catalog.items)
        issues: list[Issue] = []
        for row, item in enumerate(catalog.items):
            differing: dict[str, list[str]] = {}  # languages, by what differs in them
            other_videos: list[str] = []
            for target in item.request.targets:
                found = opened.get(item.key_for(target), target) if exists else None
                action = rules.action(found)
                if action is PlannedAction.SAVED and found is not None:
                    action = _action_for_saved(found, output)
                name = ""
                if action.is_paid:  # only a job that would be made needs a name here
                    try:
                        name, is_saved = names.settle(item, target, row, found)
                        action = PlannedAction.FOUND if is_saved else action
                    except ConfigurationError as error:
                        issues.append(Issue(item.where("key"), f"{error.message} {error.advice}"))
                entries.add(action, found, prices.price(item.request) if action.is_paid else UNKNOWN, name)
                if found is None:
                    # What the journal has is resumed as it was entered, by whichever rules.
                    if action is PlannedAction.SUBMIT and videos.names_other(item.request):
                        other_videos.append(target)
                elif found.state is State.PLANNED:
                    continue  # nothing was sent for it
                # The run would take the result that the journal has for this row's, and never make it.
                elif is_other_work(found.fingerprint, item.request, target):
                    differing.setdefault(what_differs(found, item, target), []).append(target)
                elif found.state not in WITHOUT_RESULT and (reason := why_replaced(found, item.request)):
                    issues.append(Issue(item.where("key"), reason))
            issues += (other_work(item, targets, difference) for difference, targets in differing.items())
            if other_videos:
                issues.append(await other_video(item, other_videos, opened))
        paid = ((one.item, one.target, one.entry) for one in entries if one.action.is_paid)
        renamed = list(paid_work.find_renamed(paid, opened))
        if any(private_inputs(item.request) for item in catalog.items):
            renamed += find_repeated_files((one.item, one.target) for one in entries if one.action.is_paid)
        issues += (one for one in renamed if isinstance(one, Issue))
        if issues:
            raise CatalogError(issues)
        locked, used = opened.credits()
        older = output.older
        estimate = prices.estimate(entry.price for entry in entries if entry.action.is_paid)
        # Results may have been moved, or this be another current directory; the first few need no warning.
        begins_anew = not exists and older is None and estimate.jobs >= _MANY
        begins = f"No journal at {journal} yet: a new one begins, and knows of nothing that was paid before."
        elsewhere = "" if older else await _paid_elsewhere(entries, output, catalog.path)
        plan = Plan(
            catalog=catalog,
            entries=entries,
            estimate=estimate,
            prices=prices,
            locked=locked,
            unpriced=opened.count_unpriced(),
            used=used,
            lock_holder=opened.find_lock_holder(),
            older=older,
            notes=(
                *([begins] if begins_anew or (elsewhere and not exists) else []),
                *([elsewhere] if elsewhere else []),
                *catalog.notes,
                *(one for one in renamed if isinstance(one, str)),
                *names.notes(),
            ),
        )
    if client is None:
        return plan
    async with client:
        checked = await check(client, plan.new_items)
    # Before a run can begin: the vendor would refuse these one by one, after others are paid.
    if checked.issues:
        raise CatalogError(checked.issues)
    return attrs.evolve(plan, checked=checked)


async def _paid_elsewhere(entries: Iterable[PlanEntry], output: OutputOptions, catalog: Path) -> str:
    """Return that another journal knows what this one has no job of; "" if none does."""
    exists = output.path.exists()
    unknown = (
        one for one in entries if one.action is PlannedAction.FOUND or (one.action.is_paid and not exists)
    )
    wanted = [(one.item.request, one.target) for one in islice(unknown, _MANY)]
    place = await find_paid_elsewhere(output, catalog, wanted) if wanted else None
    if place is None:
        return ""
    use = f"--out {place.parent}" if place.name == JOURNAL else f"--journal {place}"
    without = " and without --journal" if output.journal is not None and place.name == JOURNAL else ""
    said = f"The journal {place} has some of this as paid, or maybe paid"
    return f"{said}: with {use}{without} that is not paid again."


def _action_for_saved(found: Entry, output: OutputOptions) -> PlannedAction:
    """Return what a run would do with an entry that is saved by the journal; the folder has the last word."""
    if not found.files:  # it ended in a run without a folder for results
        return PlannedAction.WAIT
    if are_gone(found.files, output.out, found.name):
        return PlannedAction.RESTORE
    return PlannedAction.UNVERIFIED if is_unverified(found.reason) else PlannedAction.SAVED
