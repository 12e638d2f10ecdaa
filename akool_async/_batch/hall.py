"""The hall: what all who work on a batch share: places, what is at work, what was handed out, why it stopped.

Knows when all is done. Who does what in which order stands in the files of those who work here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from akool_async._batch.arrivals import Arrivals
from akool_async._batch.at_work import Board
from akool_async._batch.budget import Budget
from akool_async._batch.early import Early
from akool_async._batch.flight import Flight, told_again
from akool_async._batch.following import Following
from akool_async._batch.nets import Nets
from akool_async._batch.outbox import Outbox
from akool_async._batch.slots import Slots
from akool_async._batch.stopping import StopCause
from akool_async._client import AkoolClient
from akool_async._core.errors import AkoolError, ClientClosed, JournalError
from akool_async._core.fingerprint import key_of
from akool_async._core.models import Job, Snapshot
from akool_async._core.outcomes import Outcome
from akool_async._core.requests import Request
from akool_async._journal import Entry, Journal
from akool_async._waiting import Watch

logger = logging.getLogger("akool_async")


class Hall:
    """One batch's.

    Args:
        client: asks and submits.
        journal: what was done, so far and before.
        nets: when jobs are asked about.
        max_in_flight: jobs at the vendor at once.
        backlog: entries pulled whose outcome is not taken yet.
        max_credits: credits that the journal's entries may cost together; None for no bound.
    """

    def __init__(
        self,
        client: AkoolClient,
        journal: Journal,
        nets: Nets,
        *,
        max_in_flight: int,
        backlog: int,
        max_credits: float | None,
    ) -> None:
        self.client = client
        self.clock = client._clock
        self.journal = journal
        self.in_flight = Slots(max_in_flight)
        self.backlog = Slots(backlog)
        self.budget = Budget(max_credits, lambda: sum(journal.credits()))
        self.early = Early()
        self.arrivals = Arrivals()
        self.outbox = Outbox()
        self.counts: Counter[str] = Counter()
        self.pending = 0
        self.stopped = ""
        self.stop_cause: StopCause | None = None
        self.failure: BaseException | None = None
        self._nets = nets
        self._flying: dict[tuple[str, str], Following] = {}
        self._arrived = self._ended  # one for all jobs
        self.board = Board(self._flying)
        self._all_admitted = False
        self._doubted: dict[tuple[str, str], Entry] = {}
        self._repaid: set[tuple[str, str]] = set()

    # What comes in.

    def admitted(self, entries: int) -> None:
        """Entries were pulled; each is to be ended once."""
        self.pending += entries
        self.counts["pulled"] += entries

    def all_admitted(self) -> None:
        """Nothing more will be pulled."""
        self._all_admitted = True
        self._close_if_done()

    def stop(
        self,
        reason: str,
        failure: BaseException | None = None,
        *,
        cause: StopCause = StopCause.FAILURE,
    ) -> None:
        """Submit nothing more; the rest of the source comes out as not submitted.

        Args:
            reason: what its outcomes say; the first one counts, like the cause.
            failure: what is raised after the last outcome.
            cause: the same as a value.
        """
        self.stopped = self.stopped or reason
        self.stop_cause = self.stop_cause or cause
        self.failure = self.failure or failure

    # Doubts that are paid for once more.

    def repays(self, entry: Entry) -> None:
        """An entry in doubt is to be submitted once more; if that makes no job, it is in doubt as before."""
        self._doubted[entry.key, entry.target] = entry

    def sends(self, request: Request) -> None:
        """A POST is about to be sent; each entry of it that was in doubt counts as paid again, once."""
        for target in request.targets:
            name = (key_of(request, target), target)
            if name in self._doubted and name not in self._repaid:
                self._repaid.add(name)
                self.counts["repaid"] += 1

    def doubted(self, flight: Flight) -> Entry | None:
        """Give what the journal said of an entry that was in doubt; None where it was not."""
        return self._doubted.get((flight.key, flight.target))

    def unsent(self, flight: Flight, reason: str) -> Outcome:
        """Give the outcome of an entry for which this run sent nothing."""
        entry = self.doubted(flight)
        if entry is not None:
            return told_again(entry, flight.request)
        return flight.not_submitted(reason, self.clock.now())

    # What is at the vendor.

    def follow(self, flight: Flight, age: float | None) -> None:
        """Wait for a job that holds a place in flight, made `age` seconds ago; None asks at once."""
        following = self._flying[flight.key, flight.target] = Following(flight, self._arrived)
        self.board.waits(flight)
        schedule = self._nets.schedule(flight)
        try:
            following.watch = self.client._follow(flight.job_id, following, schedule=schedule, age=age)
        except ClientClosed as error:
            self.in_flight.give(1)
            self.lose(flight, error)

    def _ended(self, flight: Flight, watch: Watch) -> None:
        """Take in that a job in flight has ended."""
        self._nets.ended(flight.job_id)
        self.in_flight.give(1)
        self.arrivals.put(flight, watch)

    def resolved(self, flight: Flight | None, seen: Snapshot) -> None:
        """Follow the job of an entry that was in doubt, if this run awaits it: then it holds a place."""
        self.counts["cleared_up"] += 1
        if flight is not None:
            self.budget.clear_up(seen.job_id)
            job = Job(id=seen.job_id, target=flight.target, status=seen.status, created_at=seen.created_at)
            self.follow(attrs.evolve(flight, job=job), None)

    def leave(self) -> None:
        """Wait for nothing any more: what is at the vendor goes on without us."""
        for following in self._flying.values():
            if following.watch is not None:
                self.client._leave(following.watch, following)
        self.outbox.close()

    @property
    def left(self) -> tuple[str, ...]:
        """The jobs at the vendor that nobody has been told the end of."""
        return tuple(dict.fromkeys(following.flight.job_id for following in self._flying.values()))

    # What goes out.

    def end(self, outcome: Outcome) -> None:
        """Hand out how an entry ended, once it was asked for."""
        if outcome.job is not None:
            self.budget.ended(outcome.job.id)
            self._flying.pop((outcome.key, outcome.target), None)
        asked = self.early.end(outcome)
        if asked is None:
            return
        self.counts[type(asked).__name__] += 1
        self.counts["resumed"] += asked.resumed
        self.pending -= 1
        self.outbox.put(asked)
        self._close_if_done()

    def end_unsent(self, outcome: Outcome) -> None:
        """Hand out how an entry ended that holds a place in flight, but has no job there."""
        self.in_flight.give(1)
        self.end(outcome)

    def lose(self, flight: Flight, error: AkoolError) -> None:
        """Go on without a job whose end can't be told; as far as is known it is still at the vendor."""
        name = (flight.key, flight.target)
        self._flying[name].watch = None
        self.lost(int(self.early.lose(name, error)), error)

    @contextmanager
    def reading(self, entries: int = 0) -> Iterator[None]:
        """Go on where the journal can't be read, without entries that were pulled, and submit nothing new."""
        try:
            yield
        except JournalError as error:
            self.lost(entries, error)

    def lost(self, entries: int, error: AkoolError) -> None:
        """Go on without entries whose outcome can't be told, and raise `error` when all else is home."""
        self.stop(error.what, error)
        self.pending -= entries
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._all_admitted and not self.pending:
            self.outbox.close()
