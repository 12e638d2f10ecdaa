"""One run of a catalog: the batch, what is told of it meanwhile, and how it ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Final

import anyio
import attrs
from anyio.to_thread import run_sync

from akool_async._batch import Batch, StopCause, open_batch
from akool_async._client import AkoolClient
from akool_async._journal import open_journal
from akool_async._model.errors import AkoolError, InvalidRequestError
from akool_async._model.outcomes import Outcome
from akool_async._model.requests import Request
from akool_async.cli import exit_codes as exits
from akool_async.cli.catalog import Catalog, CatalogError
from akool_async.cli.console import can_ask, confirmed, print_error, print_info, stderr
from akool_async.cli.events import Events
from akool_async.cli.options import ConnectionOptions, OutputOptions, RunLimits
from akool_async.cli.plan import Plan, PlannedAction, RetryRules, make_plan
from akool_async.cli.progress import ProgressSnapshot, RunProgress
from akool_async.cli.report import (
    OutcomeCounts,
    RunSummary,
    cost,
    counted,
    labels_of,
    plan_lines,
    report_issues,
)
from akool_async.webhook.inbox import Inbox, open_inbox

UNBOUNDED: Final = 10_000
"""Jobs at the vendor at once where only few are submitted: none has to wait for what is there already."""

EVENTS: Final = 5.0
"""Seconds between two events about how far all is."""


@attrs.frozen(kw_only=True)
class RunOptions:
    """What a run may do.

    Attributes:
        home: where results and the journal are.
        rules: what may be paid again.
        in_flight: jobs at the vendor at once.
        terms: what it may cost, how long it may take, how it is told.
        webhook_url: where the vendor calls back, if that reaches who writes the inbox.
        rescue: whether it brings home also what is at the vendor and was not asked for.
    """

    output: OutputOptions
    rules: RetryRules
    in_flight: int
    limits: RunLimits
    webhook_url: str | None = None
    recover_pending: bool = True


class CatalogRun:
    """One run.

    Args:
        survey: what is to be done.
        order: how.
        progress: tells people.
        events: tells programs.
    """

    def __init__(self, survey: Plan, order: RunOptions, progress: RunProgress, events: Events) -> None:
        """Send nothing yet."""
        self._survey = survey
        self._order = order
        self._progress = progress
        self._events = events
        self._score = OutcomeCounts(expected=len(survey.entries))
        self._batch: Batch | None = None
        self._failure: AkoolError | None = None
        self._gave_up = False
        self._interrupted = False
        self._stop_told = False
        self._last: ProgressSnapshot | None = None

    async def run(self, client: AkoolClient) -> None:
        """Bring everything home, as far as that is allowed and goes.

        Raises:
            InvalidRequestError: the folder can't be made.
            JournalError: the journal can't be opened.
        """
        order = self._order
        await _make_folders(order.output)
        inbox = _inbox(order.output)
        async with client, open_journal(order.output.path) as journal, inbox or nullcontext():
            url = None if inbox is None else order.webhook_url
            self._batch = open_batch(
                client,
                [_called_back(request, url) for request in _in_order(self._survey)],
                max_in_flight=order.in_flight,
                journal=journal,
                download_to=order.output.out,
                file_names={line.key: line.item.names for line in self._survey.entries},
                without_captions=order.limits.without_captions,
                recover_pending=order.recover_pending,
                on_in_doubt=order.rules.on_in_doubt,
                retry_failed=order.rules.retry_failed,
                max_credits=order.limits.max_credits,
                callbacks=inbox,
                webhook_url=url,
            )
            async with self._batch as batch, anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, batch, tasks.cancel_scope)
                tasks.start_soon(self._tell_programs, batch)
                async with self._progress.watching(self._look):
                    await self._take_all(batch)
                tasks.cancel_scope.cancel()

    async def _take_all(self, batch: Batch) -> None:
        with anyio.move_on_after(self._order.limits.deadline) as patience:
            try:
                async for outcome in batch:
                    self._score.add(outcome)
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
        await run_sync(print_info, line)
        await run_sync(self._events.stopping, batch.stopped)

    async def _tell_programs(self, batch: Batch) -> None:
        while True:
            await self._tell_stop(batch)
            moment = self._look()
            await run_sync(self._events.progress, self._score.copy(), moment.seen, moment.in_progress)
            await anyio.sleep(EVENTS)

    def _look(self) -> ProgressSnapshot:
        assert self._batch is not None  # noqa: S101 - it is open
        return ProgressSnapshot(
            score=self._score,
            seen=self._batch.statistics(),
            in_progress=self._batch.in_progress(),
            stopping=self._batch.stopped,
            now=datetime.now(UTC),
            total=self._in_all(self._batch),
        )

    def _in_all(self, batch: Batch) -> float | None:
        """Judge what all will have cost, by the jobs that this run made so far."""
        seen, before = batch.statistics(), self._survey.used + self._survey.locked
        spent = seen.credits_used + seen.credits_locked
        waited = self._survey.counts[PlannedAction.WAIT]
        made = sum(bool(one.job_id) for one in batch.in_progress()) + self._score.made - waited
        if made <= 0 or batch.stopped:
            return None
        return spent + (spent - before) / made * max(self._survey.estimate.jobs - made, 0)

    def ending(self) -> RunSummary:
        """Give how it ended, also where it was left by force."""
        batch, last = self._batch, self._last
        return RunSummary(
            counts=self._score,
            output=self._order.output,
            cause=None if batch is None else batch.stop_cause,
            why="" if batch is None else batch.stopped,
            failure=self._failure,
            timed_out=self._gave_up,
            in_progress=0 if last is None else len(last.in_progress),
            credits_used=0.0 if last is None else last.seen.credits_used - self._survey.used,
            seconds=0.0 if last is None else last.seen.seconds,
        )


async def _make_folders(home: OutputOptions) -> None:
    for folder in (home.out, home.path.parent):
        try:
            await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequestError(f"The folder {folder} can't be made: {error.strerror}.") from error


def _inbox(home: OutputOptions) -> Inbox | None:
    """Give what `webhook serve` writes, if it is there."""
    return open_inbox(home.inbox_path) if home.inbox_path.exists() else None


def _called_back(request: Request, url: str | None) -> Request:
    """Leave it to the batch to name a URL that all have, with a token for each POST."""
    return attrs.evolve(request, webhook_url=None) if url and request.webhook_url == url else request


def _in_order(survey: Plan) -> Iterable[Request]:
    """Give the requests, first those with jobs at the vendor: their results may die soon."""
    waited = {id(line.item) for line in survey.entries if line.action is PlannedAction.WAIT}
    return [item.request for item in sorted(survey.catalog.items, key=lambda item: id(item) not in waited)]


# From what is wanted to an exit code: laid beside the journal, asked about, run, told how it ended.
#
# What every command does that may pay for jobs or waits for them.


def execute(catalog: Catalog, order: RunOptions, connection: ConnectionOptions) -> int:
    """Bring home what a catalog asks for; give the exit code.

    Args:
        catalog: what is wanted.
        order: what may be done for it.
        connection: how the vendor is reached.

    Raises:
        AkoolError: it could not even begin.
    """
    terms = order.limits
    events = Events(wanted=terms.as_json)
    key = connection.with_key()
    try:
        seen = anyio.run(partial(make_plan, catalog, order.output.path, order.rules, key.client()))
    except CatalogError as wrong:
        return report_issues(wrong)
    if seen.in_doubt is not None:
        raise seen.in_doubt
    if seen.new_items and seen.unreachable is not None and not seen.counts[PlannedAction.WAIT]:
        raise seen.unreachable  # a wrong host looks like an outage, and no job's result dies meanwhile
    for line in plan_lines(seen):
        print_info(line)
    events.planned(seen)
    refusal = _allowed(seen, yes=terms.yes)
    if refusal is not None:
        return refusal
    drawn = stderr.is_terminal and not stderr.is_dumb_terminal and not (terms.as_json and sys.stdout.isatty())
    progress = RunProgress(labels_of(seen.entries), drawn=drawn, max_credits=terms.max_credits)
    return _go(CatalogRun(seen, order, progress, events), key, events)


def _allowed(seen: Plan, *, yes: bool) -> int | None:
    """Ask whether to spend; None when it may go on, else the exit code."""
    if yes or not seen.estimate.jobs:
        return None
    jobs = counted(seen.estimate.jobs, "new job")
    if not can_ask():
        print_error(f"This would submit {jobs}. Add --yes to allow that where nobody can be asked.")
        return exits.USAGE
    known = seen.estimate.jobs > seen.estimate.unknown
    price = f"{cost(seen.estimate).partition(' credits')[0]} credits" if known else "an unknown price"
    try:
        if confirmed(f"Submit {jobs} for {price}?"):
            return None
    except KeyboardInterrupt:  # a no, too
        stderr.line()
    print_info("Nothing was submitted and nothing was spent.")
    return exits.INTERRUPTED


def _go(running: CatalogRun, connection: ConnectionOptions, events: Events) -> int:
    """Run, and tell how it ended."""
    anyio.run(running.run, connection.client())
    ending = running.ending()
    for line in ending.lines():
        print_info(line)
    events.over(ending)
    return ending.code
