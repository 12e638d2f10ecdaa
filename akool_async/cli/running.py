"""One run of a catalog: the batch, what is told of it meanwhile, and how it ended."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Final

import anyio
import attrs
from anyio.to_thread import run_sync

from akool_async._batch import Batch, StopCause, open_batch
from akool_async._client import AkoolClient
from akool_async._core.errors import AkoolError, InvalidRequest
from akool_async._core.outcomes import Outcome
from akool_async._core.requests import Request
from akool_async._inbox import Inbox, open_inbox
from akool_async._journal import open_journal
from akool_async.cli.ending import Ending, Score
from akool_async.cli.events import Events
from akool_async.cli.home import Home
from akool_async.cli.picture import Moment
from akool_async.cli.progress import Progress
from akool_async.cli.survey import Due, Rules, Survey
from akool_async.cli.talk import say
from akool_async.cli.terms import Terms

ROOM: Final = 10_000
"""Jobs at the vendor at once where only few are submitted: none has to wait for what is there already."""

EVENTS: Final = 5.0
"""Seconds between two events about how far all is."""


@attrs.frozen(kw_only=True)
class Order:
    """What a run may do.

    Attributes:
        home: where results and the journal are.
        rules: what may be paid again.
        in_flight: jobs at the vendor at once.
        terms: what it may cost, how long it may take, how it is told.
        webhook_url: where the vendor calls back, if that reaches who writes the inbox.
        rescue: whether it brings home also what is at the vendor and was not asked for.
    """

    home: Home
    rules: Rules
    in_flight: int
    terms: Terms
    webhook_url: str | None = None
    rescue: bool = True


class Running:
    """One run.

    Args:
        survey: what is to be done.
        order: how.
        progress: tells people.
        events: tells programs.
    """

    def __init__(self, survey: Survey, order: Order, progress: Progress, events: Events) -> None:
        """Send nothing yet."""
        self._survey = survey
        self._order = order
        self._progress = progress
        self._events = events
        self._score = Score(expected=len(survey.lines))
        self._batch: Batch | None = None
        self._failure: AkoolError | None = None
        self._gave_up = False
        self._interrupted = False
        self._stop_told = False
        self._last: Moment | None = None

    async def run(self, client: AkoolClient) -> None:
        """Bring everything home, as far as that is allowed and goes.

        Raises:
            InvalidRequest: the folder can't be made.
            JournalError: the journal can't be opened.
        """
        order = self._order
        await _make_folders(order.home)
        inbox = _inbox(order.home)
        async with client, open_journal(order.home.path) as journal, inbox or nullcontext():
            url = None if inbox is None else order.webhook_url
            self._batch = open_batch(
                client,
                [_called_back(request, url) for request in _in_order(self._survey)],
                max_in_flight=order.in_flight,
                journal=journal,
                download_to=order.home.out,
                names={line.key: line.item.names for line in self._survey.lines},
                captionless=order.terms.captionless,
                rescue=order.rescue,
                on_in_doubt=order.rules.on_in_doubt,
                retry_failed=order.rules.retry_failed,
                max_credits=order.terms.max_credits,
                webhook=inbox,
                webhook_url=url,
            )
            async with self._batch as batch, anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, batch, tasks.cancel_scope)
                tasks.start_soon(self._tell_programs, batch)
                async with self._progress.watching(self._look):
                    await self._take_all(batch)
                tasks.cancel_scope.cancel()

    async def _take_all(self, batch: Batch) -> None:
        with anyio.move_on_after(self._order.terms.patience) as patience:
            try:
                async for outcome in batch:
                    self._score.take(outcome)
                    await run_sync(self._tell, outcome, batch.stopped)
            except AkoolError as error:
                self._failure = error
            finally:
                self._last = self._look()
        self._gave_up = patience.cancelled_caught
        await self._tell_stop(batch)

    def _tell(self, outcome: Outcome, stopped: str) -> None:
        """Tell people and programs, in a thread: one who does not listen holds up the telling alone."""
        if not (stopped and outcome.reason == stopped):
            self._progress.ended(outcome)
        self._events.ended(outcome)

    async def _listen(self, batch: Batch, leave: anyio.CancelScope) -> None:
        """Stop in order at the first signal, and leave at the second: a POST under way is still finished."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                if self._interrupted:
                    break
                self._interrupted = True
                batch.drain(f"Interrupted by {number.name}.", cause=StopCause.SIGNAL)
                await self._tell_stop(batch)
        leave.cancel()

    async def _tell_stop(self, batch: Batch) -> None:
        """Tell once that nothing more is submitted."""
        if not batch.stopped or self._stop_told:
            return
        self._stop_told = True
        again = " Once more to leave it at the vendor." if self._interrupted else ""
        line = f"Stopping: {batch.stopped} What is at work is brought home.{again}"
        await run_sync(say, line)
        await run_sync(self._events.stopping, batch.stopped)

    async def _tell_programs(self, batch: Batch) -> None:
        while True:
            await self._tell_stop(batch)
            moment = self._look()
            await run_sync(self._events.progress, self._score.copy(), moment.seen, moment.at_work)
            await anyio.sleep(EVENTS)

    def _look(self) -> Moment:
        assert self._batch is not None  # noqa: S101 - it is open
        return Moment(
            score=self._score,
            seen=self._batch.statistics(),
            at_work=self._batch.at_work(),
            stopping=self._batch.stopped,
            now=datetime.now(UTC),
            in_all=self._in_all(self._batch),
        )

    def _in_all(self, batch: Batch) -> float | None:
        """Judge what all will have cost, by the jobs that this run made so far."""
        seen, before = batch.statistics(), self._survey.used + self._survey.locked
        spent = seen.credits_used + seen.credits_locked
        waited = self._survey.counts[Due.WAIT]
        made = sum(bool(one.job_id) for one in batch.at_work()) + self._score.made - waited
        if made <= 0 or batch.stopped:
            return None
        return spent + (spent - before) / made * max(self._survey.estimate.jobs - made, 0)

    def ending(self) -> Ending:
        """Give how it ended, also where it was left by force."""
        batch, last = self._batch, self._last
        return Ending(
            score=self._score,
            home=self._order.home,
            cause=None if batch is None else batch.stop_cause,
            why="" if batch is None else batch.stopped,
            failure=self._failure,
            gave_up=self._gave_up,
            at_work=0 if last is None else len(last.at_work),
            credits_used=0.0 if last is None else last.seen.credits_used - self._survey.used,
            seconds=0.0 if last is None else last.seen.seconds,
        )


async def _make_folders(home: Home) -> None:
    for folder in (home.out, home.path.parent):
        try:
            await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"The folder {folder} can't be made: {error.strerror}.") from error


def _inbox(home: Home) -> Inbox | None:
    """Give what `webhook serve` writes, if it is there."""
    return open_inbox(home.inbox_path) if home.inbox_path.exists() else None


def _called_back(request: Request, url: str | None) -> Request:
    """Leave it to the batch to name a URL that all have, with a token for each POST."""
    return attrs.evolve(request, webhook_url=None) if url and request.webhook_url == url else request


def _in_order(survey: Survey) -> Iterable[Request]:
    """Give the requests, first those with jobs at the vendor: their results may die soon."""
    waited = {id(line.item) for line in survey.lines if line.due is Due.WAIT}
    return [item.request for item in sorted(survey.catalog.items, key=lambda item: id(item) not in waited)]
