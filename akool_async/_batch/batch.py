"""The hall: requests come in lazily, outcomes go out as they end; who may do what when is decided here.

Order of steps for one entry: admitted (resume rules), submitted, followed, finished, handed out.
"""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Final, Literal, Self

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async._batch.arrivals import Arrivals
from akool_async._batch.at_work import AtWork, Board
from akool_async._batch.budget import Budget
from akool_async._batch.callbacks import Callbacks, Webhook
from akool_async._batch.early import Early
from akool_async._batch.finishing import Finisher
from akool_async._batch.flight import Flight, told_again
from akool_async._batch.naming import Home, Naming
from akool_async._batch.nets import Nets
from akool_async._batch.outbox import Outbox
from akool_async._batch.slots import Slots
from akool_async._batch.source import Requests, Source, cut
from akool_async._batch.statistics import Statistics
from akool_async._batch.stopping import StopCause
from akool_async._batch.submitting import Submitter
from akool_async._client import AkoolClient
from akool_async._core.errors import AkoolError, InvalidRequest
from akool_async._core.fingerprint import fingerprint, work_of
from akool_async._core.lifecycle import RESUME, OnResume, State
from akool_async._core.models import Job, Snapshot
from akool_async._core.outcomes import Outcome
from akool_async._core.requests import Request, only
from akool_async._core.schedule import PollSchedule
from akool_async._core.seen import Seen
from akool_async._journal import Entry, Journal, Passing
from akool_async._waiting import Watch

logger = logging.getLogger("akool_async")

_EVER: Final = timedelta(days=36_500)

OnInDoubt = Literal["hold", "resubmit"]


class Batch:
    """Many requests on their way; made by `open_batch`, which describes it."""

    def __init__(
        self,
        client: AkoolClient,
        requests: Requests,
        *,
        max_in_flight: int,
        backlog: int,
        journal: Journal | None,
        home: Home,
        on_in_doubt: OnInDoubt,
        retry_failed: bool,
        schedule: PollSchedule | None,
        max_credits: float | None,
        posts: int,
        downloads: int,
        drain_on: Iterable[signal.Signals],
        webhook: Webhook,
    ) -> None:
        self._client = client
        self._clock = client._clock
        self._source = Source(requests)
        self._own_journal = journal is None
        self._journal = Passing(now=self._clock.now) if journal is None else journal
        self._on_in_doubt = on_in_doubt
        self._retry_failed = retry_failed
        self._in_flight = Slots(max_in_flight)
        self._backlog = Slots(backlog)
        self._posts = Slots(posts)
        self._seen = Seen()
        self._works = Seen()
        self._early = Early()
        self._bring_home = home.folder is not None
        self._board = Board()
        self._budget = Budget(max_credits, lambda: sum(self._journal.credits()))
        self._nets = Nets(client, schedule, hears=webhook.source is not None)
        self._callbacks = Callbacks(client, self._journal, webhook, self._nets, self)
        naming = Naming(home, self._journal)
        self._submitter = Submitter(client, self._journal, self._budget, self._callbacks, naming, self)
        self._finisher = Finisher(client, self._journal, home, naming, self)
        self._downloads = downloads
        self._drain_on = tuple(drain_on)
        self._outbox = Outbox()
        self._arrivals = Arrivals()
        self._flying: dict[str, Callable[[], None]] = {}
        self._counts: Counter[str] = Counter()
        self._pending = 0
        self._draining = False
        self._exhausted = False
        self._pulling: anyio.CancelScope | None = None
        self._stopped = ""
        self._stop_cause: StopCause | None = None
        self._failure: BaseException | None = None
        self._tasks: TaskGroup | None = None
        self._began = 0.0

    async def __aenter__(self) -> Self:
        """Begin to submit."""
        if self._tasks is not None:
            raise RuntimeError("This batch was opened already; make another one.")
        async with AsyncExitStack() as stack:
            if self._own_journal:
                await stack.enter_async_context(self._journal)
            self._began = self._clock.monotonic()
            self._tasks = anyio.create_task_group()
            await self._tasks.__aenter__()
            self._stack = stack.pop_all()
        if self._drain_on:
            self._tasks.start_soon(self._listen)
        for _ in range(self._downloads):
            self._tasks.start_soon(self._finish_ended)
        self._tasks.start_soon(self._feed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: a POST under way is finished and recorded, jobs at the vendor go on without us."""
        assert self._tasks is not None  # noqa: S101 - it was entered
        async with self._stack:
            try:
                self._tasks.cancel_scope.cancel()
                await self._tasks.__aexit__(None, None, None)
            finally:
                for leave in self._flying.values():  # those of a POST that was just finished, too
                    leave()
                self._outbox.close()
                self._say_what_is_left()

    def _say_what_is_left(self) -> None:
        if not self._flying:
            return
        count = len(self._flying)
        if self._own_journal:
            ids = ", ".join(self._flying)
            logger.warning("%d jobs go on at the vendor and are billed: %s.", count, ids)
        else:
            logger.info("%d jobs go on at the vendor; run the same again to bring them home.", count)

    def __aiter__(self) -> Self:
        """Iterate over outcomes, in the order in which they end."""
        return self

    async def __anext__(self) -> Outcome:
        """Give the next outcome.

        Raises:
            AkoolError: after the last outcome, if something stopped the batch: the account, the journal.
            Exception: after the last outcome, what the source of requests raised.
        """
        outcome = await self._outbox.take()
        if outcome is not None:
            self._backlog.give(1)
            return outcome
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        raise StopAsyncIteration

    def drain(
        self, reason: str = "The batch was told to stop.", *, cause: StopCause = StopCause.TOLD
    ) -> None:
        """Submit nothing more and bring home what is in flight; what is left comes out as not submitted."""
        self._stop(reason, cause)
        self._draining = True
        if self._pulling is not None:
            self._pulling.cancel()

    def stop(
        self,
        reason: str,
        failure: BaseException | None = None,
        *,
        cause: StopCause = StopCause.FAILURE,
    ) -> None:
        """Submit nothing more; the rest of the source comes out as not submitted."""
        self._stop(reason, cause)
        self._failure = self._failure or failure

    def _stop(self, reason: str, cause: StopCause) -> None:
        self._stopped = self._stopped or reason
        self._stop_cause = self._stop_cause or cause

    @property
    def stopped(self) -> str:
        """Why nothing more is submitted; "" while it is."""
        return self._stopped

    @property
    def stop_cause(self) -> StopCause | None:
        """What made it stop to submit; None while it submits."""
        return self._stop_cause

    async def _listen(self) -> None:
        with anyio.open_signal_receiver(*self._drain_on) as signals:
            async for number in signals:
                if self._stopped:
                    break
                logger.warning("Stopping: jobs at work are brought home. Once more to leave at once.")
                self.drain(f"Interrupted by {number.name}.", cause=StopCause.SIGNAL)
        signal.raise_signal(number)

    # From the source to the vendor.

    async def _feed(self) -> None:
        """Pull requests one at a time, as long as there is room, and send each on its way."""
        if self._budget.most is not None:
            await self._learn_costs()
        self._stack.callback(await self._callbacks.open(self._group))
        if self._bring_home:
            await self._take_up()
        while not self._draining:
            request = await self._pull()
            if request is None:
                break
            most = 1 if self._callbacks.names(request) else self._in_flight.total
            for targets in cut(request.targets, most):
                await self._admit(only(request, targets))
        self._exhausted = True
        self._end_if_done()

    async def _take_up(self) -> None:
        """Follow what an earlier run left at the vendor, the soonest to die first."""
        left = (
            self._journal.expiring(_EVER, self._clock.now()),
            self._journal.entries(states=(State.SUBMITTED, State.COMPLETED)),  # of unknown age, too
        )
        for entries in left:
            async for entry in entries:
                if entry.job_id not in self._early:
                    await self._in_flight.take(1)
                    self._early.take_up(entry.job_id)
                    self.follow(*self._known(Flight(request=entry.own_request, target=entry.target), entry))

    async def _learn_costs(self) -> None:
        async for entry in self._journal.entries():
            cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
            self._budget.learn(cost=cost, in_doubt=entry.state is State.IN_DOUBT)

    async def _pull(self) -> Request | None:
        await self._backlog.take(1)  # room for one has to be there before one is pulled
        self._backlog.give(1)
        try:
            with anyio.CancelScope() as self._pulling:  # draining does not wait for the source
                return await self._source.pull()
        except Exception as error:  # noqa: BLE001 - the caller's own; it is raised when all is home
            self.stop(f"The source of requests failed: {type(error).__name__}.", error)
        finally:
            self._pulling = None
        return None

    async def _admit(self, request: Request) -> None:
        await self._backlog.take(len(request.targets))
        self._pending += len(request.targets)
        self._counts["pulled"] += len(request.targets)
        fresh = []
        for target in request.targets:
            flight = Flight(request=request, target=target)
            if await self._is_fresh(flight):
                fresh.append(target)
        if fresh:
            await self._send_off(only(request, tuple(fresh)))

    async def _send_off(self, request: Request) -> None:
        jobs = len(request.targets)
        if not self._stopped:
            await self._in_flight.take(jobs)
            await self._posts.take(1)
            self._group.start_soon(self._submit, request)
            return
        for target in request.targets:
            self.end(Flight(request=request, target=target).not_submitted(self._stopped, self._clock.now()))

    async def _submit(self, request: Request) -> None:
        self._board.submitting(request, self._clock.monotonic())
        try:
            await self._submitter.submit(request)
        finally:
            self._board.submitted(request)
            self._posts.give(1)

    def lost(self, entries: int, error: AkoolError) -> None:
        """Go on without entries whose outcome can't be told, and raise `error` when all else is home."""
        self.stop(error.what, error)
        self._pending -= entries
        self._end_if_done()

    @property
    def _group(self) -> TaskGroup:
        assert self._tasks is not None  # noqa: S101 - it was entered
        return self._tasks

    # What an earlier run knows.

    async def _is_fresh(self, flight: Flight) -> bool:
        """Whether an entry is to be submitted; if not, send it on its way by what the journal says."""
        now = self._clock.now()
        if not self._seen.add(flight.key, flight.target):
            self.end(flight.not_submitted("It stands in this batch twice; each would be paid.", now))
            return False
        doubled = not self._works.add(work_of(flight.request, flight.target), flight.target)
        entry = self._journal.get(flight.key, flight.target)
        if entry is not None and not await self._may_be_sent(flight, entry):
            return False
        if doubled:
            reason = "The same work stands in this batch under another key; each would be paid."
            self.end(flight.not_submitted(reason, now))
        return not doubled

    async def _may_be_sent(self, flight: Flight, entry: Entry) -> bool:
        """Whether the journal lets an entry be submitted; if not, send it on its way."""
        if (
            entry.fingerprint != fingerprint(flight.request, flight.target)
            and entry.state is not State.PLANNED
        ):
            reason = "Its key names other work in the journal; use another key."
            self.end(flight.not_submitted(reason, self._clock.now()))
            return False
        if entry.job_id in self._early:
            outcome = self._early.ask(entry.job_id, flight.request)
            if outcome is not None:
                self.end(outcome)
            return False
        return await self._resume(flight, entry)

    async def _resume(self, flight: Flight, entry: Entry) -> bool:
        match RESUME[entry.state]:
            case OnResume.SUBMIT:
                return True
            case OnResume.POLL | OnResume.FETCH:
                await self._in_flight.take(1)
                self.follow(*self._known(flight, entry))
                return False
            case OnResume.HOLD if self._callbacks.expected(entry):
                await self._in_flight.take(1)
                self._callbacks.hold_again(flight, entry, again=self._again(flight))
                return False
            case OnResume.HOLD if self._on_in_doubt == "resubmit":
                self._counts["repaid"] += 1
                return True
            case OnResume.TELL if self._retry_failed and entry.state in (State.FAILED, State.EXPIRED):
                return True
        self.end(told_again(entry, flight.request))
        return False

    def _again(self, flight: Flight) -> Callable[[], None] | None:
        """Give what pays for an entry in doubt once more, where that is wanted."""
        if self._on_in_doubt != "resubmit":
            return None

        def again() -> None:
            self._counts["repaid"] += 1
            self._group.start_soon(self._send_off, only(flight.request, (flight.target,)))

        return again

    def _known(self, flight: Flight, entry: Entry) -> tuple[Flight, float | None]:
        """Give the flight of a job that an earlier run submitted, and the job's age in seconds."""
        job = Job(
            id=entry.job_id,
            target=entry.target,
            created_at=entry.created_at,
            credits_locked=entry.credits_locked,
        )
        known = attrs.evolve(flight, job=job, submitted_at=entry.submitted_at, token=entry.token)
        since = entry.created_at or entry.submitted_at
        if since is None:
            return known, None
        return known, max((self._clock.now() - since).total_seconds(), 1.0)  # 0 would say: made just now

    # From the vendor to the caller.

    def follow(self, flight: Flight, age: float | None) -> None:
        """Wait for a job that holds a place in flight, made `age` seconds ago; None asks at once."""
        assert flight.job is not None  # noqa: S101 - it was submitted
        job_id = flight.job.id
        self._board.waits(flight.key, flight.target, job_id, self._clock.monotonic() - (age or 0.0))

        def changed(watch: Watch) -> None:
            self._board.polled(flight.key, flight.target, watch.observation)
            if watch.ended:
                self._nets.ended(job_id)
                self._in_flight.give(1)
                self._arrivals.put(flight, watch)

        schedule = self._nets.schedule(flight)
        self._flying[job_id] = self._client._follow(job_id, changed, schedule=schedule, age=age)

    def resolved(self, flight: Flight | None, seen: Snapshot) -> None:
        """Follow the job of an entry that was in doubt, if this run awaits it: then it holds a place."""
        self._counts["cleared_up"] += 1
        if flight is not None:
            self._budget.clear_up(seen.job_id)
            job = Job(id=seen.job_id, target=flight.target, status=seen.status, created_at=seen.created_at)
            self.follow(attrs.evolve(flight, job=job), None)

    async def _finish_ended(self) -> None:
        while True:
            flight, watch = await self._arrivals.take()
            try:
                await self._finisher.finish(flight, watch)
            except AkoolError as error:
                self._board.ended(flight.key, flight.target)
                self.lost(0 if watch.job_id in self._early else 1, error)

    def give_place(self, places: int) -> None:
        """Free places in flight of entries that were not submitted after all."""
        self._in_flight.give(places)

    def end(self, outcome: Outcome) -> None:
        """Hand out how an entry ended, once it was asked for."""
        if outcome.job is not None:
            self._budget.ended(outcome.job.id)
            self._flying.pop(outcome.job.id, None)
            self._board.ended(outcome.key, outcome.target)
        asked = self._early.end(outcome)
        if asked is None:
            return
        self._counts[type(asked).__name__] += 1
        self._counts["resumed"] += asked.resumed
        self._pending -= 1
        self._outbox.put(asked)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._exhausted and not self._pending:
            self._outbox.close()

    def at_work(self) -> tuple[AtWork, ...]:
        """Give the entries that are at work and how far each is, in the order in which their turn came."""
        return self._board.read(self._clock.monotonic())

    def statistics(self) -> Statistics:
        """Give numbers about the batch, as it is now."""
        counts = self._counts
        ended = sum(counts[name] for name in _COUNTED)
        seconds = max(self._clock.monotonic() - self._began, 1e-9)
        here = ended - counts["resumed"]
        rate = here / seconds
        locked, used = self._journal.credits()
        return Statistics(
            pulled=counts["pulled"],
            waiting=max(self._backlog.taken - self._in_flight.taken, 0),
            in_flight=self._in_flight.taken,
            **{field: counts[name] for name, field in _COUNTED.items()},
            cleared_up=counts["cleared_up"],
            resumed=counts["resumed"],
            repaid=counts["repaid"],
            credits_locked=locked,
            credits_used=used,
            seconds=seconds,
            rate=rate,
            seconds_left=self._pending / rate if here else None,
            basis=f"{here} entries that ended in {seconds:.0f} s of this run"
            if here
            else "nothing has ended yet",
        )


_COUNTED = {
    "Completed": "completed",
    "Failed": "failed",
    "Rejected": "rejected",
    "InDoubt": "in_doubt",
    "Expired": "expired",
    "NotSubmitted": "not_submitted",
}


def check_count(name: str, value: int, least: int) -> int:
    """Give `value` if it is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidRequest(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return value
