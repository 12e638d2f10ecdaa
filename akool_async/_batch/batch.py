"""A batch as its caller sees it: opened and closed, iterated over, drained, looked at.

Order of steps for one entry: pulled (feeding), admitted (resuming), submitted (submitting), followed (hall),
finished (finishing), handed out (hall).
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from akool_async._batch.at_work import AtWork
from akool_async._batch.callbacks import Callbacks, Webhook
from akool_async._batch.feeding import Feeder
from akool_async._batch.finishing import Finisher
from akool_async._batch.hall import Hall
from akool_async._batch.naming import Home, Naming
from akool_async._batch.nets import Nets
from akool_async._batch.resuming import OnInDoubt, Resumer
from akool_async._batch.source import Requests, Source
from akool_async._batch.statistics import Statistics, read
from akool_async._batch.stopping import StopCause
from akool_async._batch.submitting import Submitter
from akool_async._client import AkoolClient
from akool_async._core.outcomes import InDoubt, Outcome
from akool_async._core.requests import Request
from akool_async._core.schedule import PollSchedule
from akool_async._journal import Journal, Passing

logger = logging.getLogger("akool_async")


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
        rescue: bool,
        on_in_doubt: OnInDoubt,
        retry_failed: bool,
        schedule: PollSchedule | None,
        max_credits: float | None,
        posts: int,
        downloads: int,
        drain_on: Iterable[signal.Signals],
        webhook: Webhook,
    ) -> None:
        kept = Passing(now=client._clock.now) if journal is None else journal
        self._own_journal = kept if journal is None else None
        nets = Nets(client, schedule, hears=webhook.source is not None)
        self._hall = hall = Hall(
            client,
            kept,
            nets,
            max_in_flight=max_in_flight,
            backlog=backlog,
            max_credits=max_credits,
        )
        self._callbacks = Callbacks(hall, webhook, nets)
        self._resumer = Resumer(
            hall,
            self._callbacks,
            on_in_doubt=on_in_doubt,
            retry_failed=retry_failed,
            send_off=self._send_off,
        )
        naming = Naming(home, hall.journal)
        submitter = Submitter(hall, self._callbacks, naming)
        self._finisher = Finisher(hall, home, naming)
        self._feeder = Feeder(hall, Source(requests), self._resumer, submitter, self._callbacks, posts)
        self._rescues = rescue and home.folder is not None
        self._downloads = downloads
        self._drain_on = tuple(drain_on)
        self._interrupted = False
        self._left_by: signal.Signals | None = None
        self._tasks: TaskGroup | None = None
        self._stack = AsyncExitStack()
        self._began = 0.0

    async def __aenter__(self) -> Self:
        """Begin to submit."""
        if self._tasks is not None:
            raise RuntimeError("This batch was opened already; make another one.")
        async with AsyncExitStack() as stack:
            if self._own_journal is not None:
                await stack.enter_async_context(self._own_journal)
            await stack.enter_async_context(self._hall.journal.lent())
            self._began = self._hall.clock.monotonic()
            self._tasks = anyio.create_task_group()
            await self._tasks.__aenter__()
            self._stack = stack.pop_all()
        if self._drain_on:
            self._tasks.start_soon(self._listen)
        for _ in range(self._downloads):
            self._tasks.start_soon(self._finisher.run)
        self._tasks.start_soon(self._work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: a POST under way is finished and recorded, jobs at the vendor go on without us."""
        tasks = self._group
        async with self._stack:
            try:
                tasks.cancel_scope.cancel()
                await tasks.__aexit__(None, None, None)
            finally:
                self._hall.leave()  # the jobs of a POST that was just finished, too
                self._say_what_is_left()
        if self._left_by is not None:
            signal.raise_signal(self._left_by)  # nobody listens now: Ctrl-C is a KeyboardInterrupt from here
            if kind is not None and issubclass(kind, anyio.get_cancelled_exc_class()):
                raise SystemExit(128 + self._left_by)  # a handler of the caller's that does not leave

    @property
    def _group(self) -> TaskGroup:
        assert self._tasks is not None  # noqa: S101 - it was entered
        return self._tasks

    async def _work(self) -> None:
        """Go on with what is there, then take what is new."""
        self._stack.callback(self._callbacks.listen(self._group))
        await self._callbacks.take_in()
        if self._rescues:
            with self._hall.reading():
                await self._resumer.take_up()
        await self._feeder.feed(self._group)

    def _send_off(self, request: Request) -> None:
        self._group.start_soon(self._feeder.send_off, request, self._group)

    def _say_what_is_left(self) -> None:
        if self._own_journal is not None:
            self._say_what_was_not_taken()
        left = self._hall.left
        if left and self._own_journal is not None:
            logger.warning("%d jobs go on at the vendor and are billed: %s.", len(left), ", ".join(left))
        elif left:
            logger.info("%d jobs go on at the vendor; run the same again to bring them home.", len(left))

    def _say_what_was_not_taken(self) -> None:
        """Name what is paid, or may be, where no journal will tell it again."""
        for outcome in self._hall.outbox.left:
            if outcome.job is not None:
                logger.warning("Job %s has ended and is billed; its outcome was not taken.", outcome.job.id)
            elif isinstance(outcome, InDoubt):
                logger.warning("Entry %s is in doubt; its outcome was not taken.", outcome.key)
        for key in self._callbacks.held:
            logger.warning("Entry %s is in doubt; no callback has cleared it up yet.", key)

    def __aiter__(self) -> Self:
        """Iterate over outcomes, in the order in which they end."""
        return self

    async def __anext__(self) -> Outcome:
        """Give the next outcome.

        Raises:
            AkoolError: after the last outcome, if something stopped the batch: the account, the journal.
            Exception: after the last outcome, what the source of requests raised.
        """
        outcome = await self._hall.outbox.take()
        if outcome is not None:
            self._hall.backlog.give(1)
            return outcome
        failure, self._hall.failure = self._hall.failure, None
        if failure is not None:
            raise failure
        raise StopAsyncIteration

    def drain(
        self, reason: str = "The batch was told to stop.", *, cause: StopCause = StopCause.TOLD
    ) -> None:
        """Submit nothing more and bring home what is in flight; what is left comes out as not submitted.

        Args:
            reason: what the outcomes of the rest say.
            cause: the same as a value, for `stop_cause`.
        """
        self._hall.stop(reason, cause=cause)
        self._feeder.drain()

    @property
    def stopped(self) -> str:
        """Why nothing more is submitted; "" while it is."""
        return self._hall.stopped

    @property
    def stop_cause(self) -> StopCause | None:
        """What made it stop to submit; None while it submits."""
        return self._hall.stop_cause

    async def _listen(self) -> None:
        with anyio.open_signal_receiver(*self._drain_on) as signals:
            async for number in signals:
                if self._interrupted:
                    self._left_by = number
                    break
                self._interrupted = True
                logger.warning("Stopping: jobs at work are brought home. Once more to leave at once.")
                self.drain(f"Interrupted by {number.name}.", cause=StopCause.SIGNAL)
        self._group.cancel_scope.cancel()

    def at_work(self) -> tuple[AtWork, ...]:
        """Give the entries that are at work and how far each is, in the order in which their turn came."""
        return self._hall.board.read(self._hall.clock.monotonic())

    def statistics(self) -> Statistics:
        """Give numbers about the batch, as it is now."""
        return read(self._hall, self._hall.clock.monotonic() - self._began)
