"""What an earlier run knows of an entry, and what is gone on with before the source comes to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from akool_async._batch.callbacks import Callbacks
from akool_async._batch.flight import Flight, told_again
from akool_async._batch.hall import Hall
from akool_async._core.errors import AkoolError, JournalError
from akool_async._core.fingerprint import fingerprint, work_of
from akool_async._core.lifecycle import RESUME, OnResume, State
from akool_async._core.requests import Request, only
from akool_async._core.seen import Seen
from akool_async._journal import Entry

OnInDoubt: TypeAlias = Literal["hold", "resubmit"]

_EVER: Final = timedelta(days=36_500)


class Resumer:
    """Tells what is new, and sends the rest on its way by what the journal says.

    Args:
        hall: the batch's.
        callbacks: know which doubts may still be cleared up.
        on_in_doubt: what is done with those that are not.
        retry_failed: whether what failed, was refused or expired is submitted again.
        send_off: submits a request, in a task of its own.
    """

    def __init__(
        self,
        hall: Hall,
        callbacks: Callbacks,
        *,
        on_in_doubt: OnInDoubt,
        retry_failed: bool,
        send_off: Callable[[Request], None],
    ) -> None:
        self._hall = hall
        self._clock = hall.clock
        self._journal = hall.journal
        self._callbacks = callbacks
        self._on_in_doubt = on_in_doubt
        self._retry_failed = retry_failed
        self._send_off = send_off
        self._seen = Seen()
        self._works = Seen()

    async def take_up(self) -> None:
        """Follow what an earlier run left at the vendor, the soonest to die first."""
        left = (
            self._journal.expiring(_EVER, self._clock.now()),
            self._journal.entries(states=(State.SUBMITTED, State.COMPLETED)),  # of unknown age, too
        )
        for entries in left:
            async for entry in entries:
                if (entry.key, entry.target) not in self._hall.early:
                    self._hall.early.take_up(entry.key, entry.target)
                    await self._follow(Flight(request=entry.own_request, target=entry.target), entry)

    async def is_fresh(self, flight: Flight) -> bool:
        """Whether an entry is to be submitted; if not, it is on its way."""
        if not self._seen.add(flight.key, flight.target):
            self._refuse(flight, "It stands in this batch twice; each would be paid.")
            return False
        doubled = not self._works.add(work_of(flight.request, flight.target), flight.target)
        entry = self._journal.get(flight.key, flight.target)
        if entry is not None and not await self._may_be_sent(flight, entry):
            return False
        if doubled:
            self._refuse(flight, "The same work stands in this batch under another key; each would be paid.")
        return not doubled

    def _refuse(self, flight: Flight, reason: str) -> None:
        self._hall.end(flight.not_submitted(reason, self._clock.now()))

    async def _may_be_sent(self, flight: Flight, entry: Entry) -> bool:
        mark = fingerprint(flight.request, flight.target)
        if entry.fingerprint != mark and entry.state is not State.PLANNED:
            self._refuse(flight, "Its key names other work in the journal; use another key.")
            return False
        if (entry.key, entry.target) in self._hall.early:
            self._ask(flight)
            return False
        return await self._resume(flight, entry)

    def _ask(self, flight: Flight) -> None:
        ended = self._hall.early.ask(flight.key, flight.target, flight.request)
        if isinstance(ended, AkoolError):
            self._hall.lost(1, ended)
        elif ended is not None:
            self._hall.end(ended)

    async def _resume(self, flight: Flight, entry: Entry) -> bool:
        match RESUME[entry.state]:
            case OnResume.SUBMIT:
                return True
            case OnResume.POLL | OnResume.FETCH:
                await self._follow(flight, entry)
                return False
            case OnResume.HOLD if self._callbacks.expected(entry):
                return await self._hold(flight, entry)
            case OnResume.HOLD if self._on_in_doubt == "resubmit":
                self._hall.repays(entry)
                return True
            case OnResume.TELL if self._retry_failed and entry.state in (State.FAILED, State.EXPIRED):
                return True
        self._hall.end(told_again(entry, flight.request))
        return False

    async def _hold(self, flight: Flight, entry: Entry) -> bool:
        """Keep back the outcome of an entry in doubt; whether it is to be submitted after all."""
        await self._hall.in_flight.take(1)
        try:
            now = self._journal.get(flight.key, flight.target)
        except JournalError:
            self._hall.in_flight.give(1)
            raise
        if now is None or now.state is State.IN_DOUBT:
            self._callbacks.hold_again(flight, entry, again=self._again(flight, entry))
            return False
        self._hall.in_flight.give(1)  # a callback cleared it up meanwhile
        return await self._resume(flight, now)

    def _again(self, flight: Flight, entry: Entry) -> Callable[[], None] | None:
        """Give what pays for an entry in doubt once more, where that is wanted."""
        if self._on_in_doubt != "resubmit":
            return None

        def again() -> None:
            self._hall.repays(entry)
            self._send_off(only(flight.request, (flight.target,)))

        return again

    async def _follow(self, flight: Flight, entry: Entry) -> None:
        """Wait for a job that an earlier run submitted."""
        await self._hall.in_flight.take(1)
        self._hall.follow(flight.going_on(entry), self._age(entry))

    def _age(self, entry: Entry) -> float | None:
        """Give the seconds since a job was made, as far as known."""
        since = entry.created_at or entry.submitted_at
        if since is None:
            return None
        return max((self._clock.now() - since).total_seconds(), 1.0)  # 0 would say: made just now
