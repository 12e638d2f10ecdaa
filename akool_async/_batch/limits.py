"""What holds back a paid POST: slots, the credits that may be spent, a vendor that gives no clear answers."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import anyio
import attrs

from akool_async._journal import Entry
from akool_async._model.tariff import budget_refusal, credits_text


class StopCause(enum.StrEnum):
    """What made a batch stop submitting; the first one counts."""

    REQUESTED = "requested"
    """The caller: `batch.drain()`."""
    SIGNAL = "signal"
    """One of the signals in `drain_signals`."""
    BUDGET = "budget"
    """`max_credits` would be exceeded: a higher bound lets the next run submit more."""
    COST_UNKNOWN = "cost_unknown"
    """`max_credits` is set, and of no job that was or may have been made is the cost known."""
    CREDITS = "credits"
    """The account has no more credits."""
    DOUBTS = "doubts"
    """Too many paid POSTs in a row got no clear answer."""
    STORAGE = "storage"
    """A result could not be written: the disk is full, say, or the bucket takes nothing."""
    CREDENTIALS = "credentials"
    """The vendor refused the key or the account; it is raised after the last outcome."""
    FAILURE = "failure"
    """The host, the journal or the source of requests; it is raised after the last outcome."""


RESUMABLE: Final = frozenset(StopCause) - {StopCause.REQUESTED, StopCause.SIGNAL, StopCause.FAILURE}
"""Causes after which the caller may let the batch submit again."""

_COST_UNKNOWN: Final = (
    "A job was made, or may have been made, whose cost is not known, so nothing more is submitted within "
    "max_credits ({most})."
)


class Changes:
    """Wakes all that wait for a change when there is one."""

    def __init__(self) -> None:
        self._next: anyio.Event | None = None

    async def wait(self) -> None:
        """Wait for the next change."""
        self._next = self._next or anyio.Event()
        await self._next.wait()

    def notify(self) -> None:
        """Say that there was a change."""
        waited, self._next = self._next, None
        if waited is not None:
            waited.set()


class CreditBudget:
    """Credits that a journal's entries may cost together.

    The vendor names the price of a job only once the job is made, and sometimes not even then. So with a
    bound one job is made after the other, and a job whose cost is not known counts as much as the dearest
    known one, or as its estimate if that is more. While no cost is known at all, the next job waits until
    that of the last one is. What is spent exceeds the bound by the jobs of one POST at most, however wrong
    estimates are, where the vendor names each price with the job. Jobs whose price it names later may each
    cost more than they counted until then.

    A failed job counts nothing: the vendor should return what it locked, and its answers don't say whether it
    did.

    A doubt that is paid for once more stays counted, whatever becomes of the next job: both may be charged.

    Args:
        most: credits; None for no bound.
        spent: returns the credits that are used by or locked for the journal's entries.
    """

    def __init__(self, most: float | None, spent: Callable[[], float]) -> None:
        self.most = most
        self._spent = spent
        self._dearest: float | None = None
        self._unknown: dict[tuple[str, str], int] = {}
        self._last_unknown: set[tuple[str, str]] = set()
        """Entries whose last POST has no known cost yet."""
        self._estimates: dict[tuple[str, str], float] = {}
        self._followed: set[tuple[str, str]] = set()
        self._posting = False
        self._changed = Changes()

    @property
    def cost_unknown(self) -> bool:
        """Whether jobs were or may have been made, and the cost of none of them is known."""
        return self._dearest is None and bool(self._unknown)

    async def reserve(self, name: tuple[str, str], estimate: float | None = None) -> str:
        """Wait until the next job may be made; return why none may be, or "".

        "" has to be followed by one `release`.

        Args:
            name: the entry whose job it is.
            estimate: credits that it may cost at most, as far as is known; None takes the dearest job's.
        """
        if self.most is None:
            return ""
        # One at a time: several POSTs under way would each be of unknown price. While no price is known at
        # all, the next job waits until the last one has ended, because only its end may tell one.
        while self._posting or (self._dearest is None and self._followed):
            await self._changed.wait()
        if self.cost_unknown:
            return _COST_UNKNOWN.format(most=credits_text(self.most))
        # What is not known counts as the dearest known job: 0 would let doubts spend without end.
        spent, dearest = self._spent(), self._dearest or 0.0
        # An estimate may only raise what a job of unknown cost counts as: it is no price.
        for other, jobs in self._unknown.items():
            spent += jobs * max(dearest, self._estimates.get(other, 0.0))
        each = dearest if estimate is None else estimate
        if spent >= self.most or spent + each > self.most:
            return budget_refusal(self.most, spent, each, estimated=estimate is not None)
        if estimate is not None:
            self._estimates[name] = max(estimate, self._estimates.get(name, 0.0))
        self._posting = True
        return ""

    def release(self) -> None:
        """The POST that credits were reserved for has ended, and its result is counted."""
        self._posting = False
        self._changed.notify()

    def count_job(self, name: tuple[str, str], cost: float | None) -> None:
        """An entry has a job; None for a cost that the vendor did not say."""
        # 0 is not believed: no job is free, so its cost is not known.
        if cost is not None and cost > 0:
            self._dearest = max(cost, self._dearest or 0.0)
            self._last_unknown.discard(name)  # what is counted is about a POST before this one
        else:
            self.count_unknown(name)

    def count_unknown(self, name: tuple[str, str]) -> None:
        """A POST of an entry may have made a job, or has made one of unknown cost."""
        self._unknown[name] = self._unknown.get(name, 0) + 1
        self._last_unknown.add(name)

    def count_extra(self, name: tuple[str, str], cost: float | None) -> None:
        """A POST of an entry made a job that nobody asked for, whose cost nothing else will tell."""
        if cost is not None and cost > 0:
            self._dearest = max(cost, self._dearest or 0.0)
        else:
            self._unknown[name] = self._unknown.get(name, 0) + 1

    def learn(self, entry: Entry) -> None:
        """Count what the journal has of an entry."""
        name = (entry.key, entry.target)
        self.settle(name, entry.cost)
        if entry.doubts_before:
            self._unknown[name] = self._unknown.get(name, 0) + entry.doubts_before
        if entry.last_unpriced:
            self.count_unknown(name)

    def follow(self, name: tuple[str, str]) -> None:
        """The cost of an entry may become known in this run: its job is polled, or its doubt is held."""
        if name in self._last_unknown:
            self._followed.add(name)

    def settle(self, name: tuple[str, str], cost: float | None, *, charged: bool = True) -> None:
        """An entry will tell no more about its cost; to say so again changes nothing.

        Args:
            name: the entry's.
            cost: what its last job cost, None if that is unknown.
            charged: False where the last POST surely made no job, or its job failed.
        """
        known = cost is not None and cost > 0
        if cost is not None and known:
            self._dearest = max(cost, self._dearest or 0.0)
        if name in self._last_unknown:
            # An unknown cost stays in the sum at the dearest price until it is known, or known to be nothing.
            if known or not charged:
                self._last_unknown.remove(name)
                self._unknown[name] -= 1
                if not self._unknown[name]:
                    del self._unknown[name]
            self._followed.discard(name)
            self._changed.notify()
        if name not in self._unknown:
            self._estimates.pop(name, None)


class DoubtBreaker:
    """Bounds what an outage of the vendor's gateway costs: a few doubts, not one for each entry.

    A POST goes out alone until the vendor has answered one, and again after each doubt. After `limit` doubts
    in a row none goes out until one of them is resolved, which takes an answer of the API; then a single one
    goes out as a probe.

    Args:
        limit: doubts in a row.
        give_up: called when the limit is reached and no doubt can be resolved in this run any more.
    """

    def __init__(self, limit: int, give_up: Callable[[], None]) -> None:
        self.limit = limit
        self._give_up = give_up
        self._answered = False
        self._disabled = False
        self._in_a_row = 0
        self._under_way = 0
        self._resolvable: set[tuple[str, str]] = set()
        self._changed = Changes()

    def begin_after(self, doubts: int) -> None:
        """Begin with the doubts of earlier runs, one less than the limit: a single probe goes out."""
        self._in_a_row = min(doubts, self.limit - 1)

    async def acquire(self) -> None:
        """Wait until a POST may go out; `release` has to follow."""
        # Alone until an answer came: a host that is wrong or down then costs one doubt, not one for each
        # POST that may be under way.
        while not self._disabled and (
            self._in_a_row >= self.limit or (self._under_way and (self._in_a_row or not self._answered))
        ):
            await self._changed.wait()
        self._under_way += 1

    def release(self) -> None:
        """A POST has ended, and its result is counted."""
        self._under_way -= 1
        self._changed.notify()

    def count_answer(self) -> None:
        """The vendor said what became of a POST."""
        self._answered, self._in_a_row = True, 0

    def count_doubt(self, resolvable: Iterable[tuple[str, str]]) -> None:
        """It is not known what became of a POST; this run may still find out about the entries named."""
        # Counted by POST, not by entry: one lost answer for five languages is one sign of an outage.
        self._in_a_row += 1
        self._resolvable.update(resolvable)
        self._check()

    def settle(self, name: tuple[str, str], *, resolved: bool) -> None:
        """A doubt was resolved by an answer of the API, or will not be resolved in this run."""
        if name not in self._resolvable:
            return
        self._resolvable.remove(name)
        if resolved and self._in_a_row >= self.limit:
            self._in_a_row = self.limit - 1  # one probe: if it is in doubt, none follows it
        self._check()

    def reset(self) -> None:
        """Let POSTs out again, one at a time at first."""
        self._answered, self._in_a_row, self._disabled = False, 0, False
        self._changed.notify()

    def disable(self) -> None:
        """Let all that wait through, because nothing is submitted any more."""
        self._disabled = True
        self._changed.notify()

    def _check(self) -> None:
        if self._in_a_row >= self.limit and not self._resolvable:
            self._give_up()
        self._changed.notify()


# How many at once, first come first served.


@attrs.define(eq=False)
class _Waiter:
    wanted: int
    given: anyio.Event = attrs.field(factory=anyio.Event)


class Permit:
    """One unit of a semaphore, such as the right to send a POST; to release it twice is harmless."""

    def __init__(self, slots: WeightedSemaphore) -> None:
        self._slots = slots
        self._released = False

    async def renew(self) -> None:
        """Take a unit again if it was released: an accepted answer may refuse some languages for now."""
        if self._released:
            await self._slots.acquire(1)
            self._released = False

    def release(self) -> None:
        """Release the unit, unless that was done."""
        if not self._released:
            self._released = True
            self._slots.release(1)


class WeightedSemaphore:
    """A fair semaphore of which several units can be acquired at once."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken = 0
        self._waiters: deque[_Waiter] = deque()

    @property
    def taken(self) -> int:
        """How many are taken, those above the total included."""
        return self._taken

    @property
    def is_free(self) -> bool:
        """Whether one could be taken without waiting."""
        return not self._waiters and self._taken < self.total

    async def acquire(self, wanted: int) -> None:
        """Take `wanted` at once, at most all; the longest waiting is served first."""
        if not self._waiters and self._taken + wanted <= self.total:
            self._taken += wanted
            return
        waiter = _Waiter(wanted)
        self._waiters.append(waiter)
        try:
            await waiter.given.wait()
        except BaseException:  # a cancelled waiter, too, makes room for the one behind it
            if waiter.given.is_set():
                self.release(waiter.wanted)
            else:
                self._waiters.remove(waiter)
                self._serve()
            raise

    def acquire_over_limit(self) -> None:
        """Take one without waiting, even above the total: others wait until that many are free again."""
        self._taken += 1

    async def acquire_one(self) -> Permit:
        """Take one."""
        await self.acquire(1)
        return Permit(self)

    def release(self, freed: int) -> None:
        """Make room for the next ones."""
        self._taken -= freed
        self._serve()

    def _serve(self) -> None:
        while self._waiters and self._taken + self._waiters[0].wanted <= self.total:
            waiter = self._waiters.popleft()
            self._taken += waiter.wanted
            waiter.given.set()


class Withdrawals:
    """Entries that their caller withdraws.

    The journal decides whether an entry may go or has to stay. Until then nothing is sent for it.

    Attributes:
        done: those that were withdrawn.
        undecided: those that the journal has not decided about, by the event that is set when it has.
    """

    def __init__(self) -> None:
        self.done: set[tuple[str, str]] = set()
        self.undecided: dict[anyio.Event, tuple[str, str]] = {}

    def begin(self, name: tuple[str, str]) -> Callable[[], None]:
        """Hold an entry back; return what ends that, and may be called twice."""
        decided = anyio.Event()
        self.undecided[decided] = name

        def end() -> None:
            self.undecided.pop(decided, None)
            decided.set()

        return end

    async def wait_decided(self, names: Iterable[tuple[str, str]]) -> None:
        """Wait until none of these entries is being withdrawn; nothing is awaited after the last look."""
        if not self.undecided:
            return
        wanted = frozenset(names)
        while waited := [decided for decided, name in self.undecided.items() if name in wanted]:
            await waited[0].wait()
