"""One run of a catalog: the batch, what is shown of it meanwhile, and how it ended."""

from __future__ import annotations

import math
import signal
import sys
from contextlib import nullcontext, suppress
from functools import partial
from typing import Final

import anyio
import attrs
from anyio.to_thread import run_sync

from akool_async._batch import Batch, StopCause, open_batch
from akool_async._client import AkoolClient
from akool_async._journal import Journal
from akool_async._model.errors import AkoolError, ConfigurationError, JournalReplacedError
from akool_async._model.locations import BucketPath
from akool_async._model.outcomes import NotSubmitted, Outcome
from akool_async._model.requests import with_targets
from akool_async._signals import ending_signals, received_signals
from akool_async._storage import Storage
from akool_async.cli.catalog import Catalog
from akool_async.cli.console import confirm, counted, is_terminal, print_info, stderr
from akool_async.cli.events import Events
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.on_saved import CommandResult, SavedCommand, SavedCommands
from akool_async.cli.options import INBOX, ConnectionOptions, OutputOptions, RunLimits
from akool_async.cli.other_journals import journal_beside
from akool_async.cli.pages import write_report
from akool_async.cli.plan import Plan, PlannedAction, RetryRules
from akool_async.cli.preflight import NO_VIDEOS, VideoOptions, make_checked_plan
from akool_async.cli.progress import ProgressSnapshot, RunProgress, what_continues
from akool_async.cli.report import cost, plan_lines, request_label
from akool_async.cli.run_history import record_run
from akool_async.cli.run_summary import OutcomeCounts, RunSummary
from akool_async.webhook.inbox import open_inbox

UNBOUNDED: Final = 10_000
"""Jobs at the vendor at once where few are submitted: none has to wait for those that are there already."""

EVENT_INTERVAL: Final = 5.0
"""Seconds between two `progress` events."""

REPORT_INTERVAL: Final = 10.0
"""Seconds between two reports of a run, at least."""

_REPORT_SHARE: Final = 20
"""So many times as long as a report took to write is waited before the next."""


@attrs.frozen(kw_only=True)
class RunOptions:
    """What a run may do.

    Attributes:
        webhook_url: where the vendor sends callbacks, which `webhook serve` writes to the inbox; each POST
            adds a token.
        recover_pending: whether jobs of the journal that were not asked for are waited for and saved too.
    """

    output: OutputOptions
    rules: RetryRules
    in_flight: int
    limits: RunLimits
    webhook_url: str | None = None
    recover_pending: bool = True
    storage: Storage | None = None
    videos: VideoOptions = NO_VIDEOS


def execute(catalog: Catalog, options: RunOptions, connection: ConnectionOptions) -> int:
    """Save what a catalog asks for, and return the exit code.

    Plan, show the plan, ask whether to spend, run, and report how it ended: what every command does that may
    pay for jobs or waits for them.

    Raises:
        CatalogError: the server or the journal refuses something in it.
        AkoolError: the run could not begin.
    """
    limits = options.limits
    stderr.stamped &= limits.timestamps
    events = Events(enabled=limits.as_json)
    command = limits.saved_command
    connection = connection.with_key()
    plan = _plan(catalog, options, connection)
    # Before the question: what an older journal does not know would be paid again.
    for refusal in (plan.lock_holder, plan.older):
        if refusal is not None:
            raise refusal
    if plan.new_items and plan.wrong_host is not None:
        raise plan.wrong_host
    if plan.new_items and plan.unreachable is not None and not plan.counts[PlannedAction.WAIT]:
        # A mistyped host looks like an outage, which a run would wait out. With jobs at the vendor it has to
        # wait all the same: their results expire.
        raise plan.unreachable
    for line in plan_lines(plan):
        print_info(line)
    events.planned(plan)
    if 0 < limits.trial < plan.estimate.jobs:
        alone = attrs.evolve(options, recover_pending=False)
        tried = _run(_trial_of(plan, limits.trial), alone, connection, events, command)
        if tried is None or tried.code is not ExitCode.OK:
            print_info("The rest is not submitted, because the trial is not saved.")
            return _finish(tried, options, events)
        before = plan
        plan = _plan(catalog, options, connection)  # which knows what the trial cost
        for line in plan_lines(plan):
            print_info(line)
        events.planned(plan)
        plan = attrs.evolve(plan, before_trial=before, trial_credits=tried.counts.credits_used)
    return _finish(_run(plan, options, connection, events, command), options, events)


def _trial_of(plan: Plan, jobs: int) -> Plan:
    """Return a plan of the cheapest new jobs alone; what may be refused, or has no price, comes last."""
    paid = [entry for entry in plan.entries if entry.action.is_paid]
    paid.sort(
        key=lambda entry: (
            entry.check is not None and bool(entry.check.warnings),
            math.inf if entry.cost is None else entry.cost,
        )
    )
    entries = tuple(
        attrs.evolve(
            entry,
            item=attrs.evolve(entry.item, request=with_targets(entry.item.request, (entry.target,))),
        )
        for entry in paid[:jobs]
    )
    items = tuple(entry.item for entry in entries)
    catalog = attrs.evolve(plan.catalog, items=items, rows=len(items), duplicates=())
    return attrs.evolve(plan.with_entries(entries), catalog=catalog, trial_of=plan)


def _plan(catalog: Catalog, options: RunOptions, connection: ConnectionOptions) -> Plan:
    limits = options.limits
    arguments = (options.output, options.rules, connection.client(), options.videos, limits.max_credits)
    return anyio.run(partial(make_checked_plan, catalog, *arguments, storage=options.storage))


def _run(
    plan: Plan,
    options: RunOptions,
    connection: ConnectionOptions,
    events: Events,
    command: SavedCommand | None,
) -> RunSummary | None:
    """Ask whether to spend what a plan costs, run it and say how it ended; None if nothing may be spent."""
    limits = options.limits
    if plan.estimate.jobs and not _may_spend(plan, yes=limits.yes):
        more = "" if plan.before_trial is None else " more"
        print_info(f"Nothing{more} was submitted and nothing{more} was spent.")
        events.declined()
        return None
    drawn = is_terminal(stderr) and not stderr.is_dumb_terminal
    drawn &= not (limits.as_json and sys.stdout.isatty())
    labels = {entry.key: request_label(entry.item.request) for entry in plan.entries}
    progress = RunProgress(labels, drawn=drawn, max_credits=limits.max_credits)
    commands = None
    if command is not None:

        def report(result: CommandResult) -> None:
            if result.reason:
                name = f"{result.key} {result.target}"
                print_info(f"--on-saved failed for {name}: {result.reason}. The result is saved.")
            events.command_ended(result)

        commands = SavedCommands(command, options.output.path, secrets=connection.secrets(), on_end=report)
    running = CatalogRun(plan, options, progress, events, commands)
    anyio.run(running.run, connection.client())
    summary = running.summary()
    for line in summary.lines():
        print_info(line)
    return summary


def _finish(summary: RunSummary | None, options: RunOptions, events: Events) -> ExitCode:
    """Write the report and the last event; return the exit code."""
    if summary is None:
        return ExitCode.INTERRUPTED
    if (
        options.limits.report is not False
        and options.output.path.exists()
        # What was refused as a whole has nothing to show, and may be beside the report of another journal.
        and (summary.counts.found < summary.counts.expected or journal_beside(options.output) is None)
        and (index := write_report(options.output))
    ):
        print_info(f"To look at the results: {index}")
    events.over(summary)
    return summary.code


def _may_spend(plan: Plan, *, yes: bool) -> bool:
    known = plan.estimate.jobs > plan.estimate.unknown
    price = f"{cost(plan.estimate).partition(' credits')[0]} credits" if known else "an unknown price"
    try:
        return confirm(f"Submit {counted(plan.estimate.jobs, 'new job')} for {price}?", yes=yes)
    except KeyboardInterrupt:  # it answers the question with no
        stderr.line()
        return False


class CatalogRun:
    """One run; it is shown to people by `progress`, to programs by `events`."""

    def __init__(
        self,
        plan: Plan,
        options: RunOptions,
        progress: RunProgress,
        events: Events,
        commands: SavedCommands | None,
    ) -> None:
        self._commands = commands
        self._plan = plan
        self._options = options
        self._progress = progress
        self._events = events
        self._counts = OutcomeCounts(
            expected=len(plan.entries),
            credits_used=plan.trial_credits,
            to_correct={(one.key, one.target) for one in plan.entries if one.action is PlannedAction.REFUSED},
        )
        self._unpaid = {(one.key, one.target) for one in plan.entries if not one.action.is_paid}
        self._replaced = 0
        self._batch: Batch | None = None
        self._signalled = anyio.Event()
        self._failure: AkoolError | None = None
        self._timed_out = False
        self._interrupted = False
        self._stop_reported = False
        self._last: ProgressSnapshot | None = None

    async def run(self, client: AkoolClient) -> None:
        """Save everything, as far as the options allow it.

        Raises:
            ConfigurationError: a folder can't be made.
            JournalError: the journal can't be opened.
        """
        options, plan = self._options, self._plan
        output, url = options.output, options.webhook_url
        place = options.limits.inbox or output.local / INBOX
        for folder in (output.out, output.path.parent, *([place.parent] if url else [])):
            if isinstance(folder, BucketPath):
                continue
            try:
                await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigurationError(f"The folder {folder} can't be made: {error.strerror}.") from error
        # Made here if `webhook serve` has not yet: it may start later, and by then the tokens have to be out.
        known = place.exists()
        inbox = open_inbox(place) if url or known else None
        if url and not known:
            print_info(
                f"No receiver has written callbacks to {place} yet. If none runs, start it: "
                f"{output.command('webhook serve')}"
            )
        # Jobs at the vendor come first, because their results expire. The URL that all requests share is left
        # to the batch: it adds a token for each POST, by which a callback resolves a doubt.
        waiting = {id(entry.item) for entry in plan.entries if entry.action is PlannedAction.WAIT}
        items = sorted(plan.catalog.items, key=lambda item: id(item) not in waiting)
        requests = [
            attrs.evolve(item.request, webhook_url=None)
            if url and item.request.webhook_url == url
            else item.request
            for item in items
        ]
        async with client, output.writing() as journal, inbox or nullcontext():
            # Also of a trial all of it: what is left, if that fails, is not submitted yet.
            await run_sync(record_run, plan.trial_of or plan, output.path)
            self._batch = open_batch(
                client,
                requests,
                max_in_flight=options.in_flight,
                journal=journal,
                download_to=output.out,
                file_names={(entry.key, entry.target): entry.item.names for entry in plan.entries},
                without_captions=options.limits.without_captions,
                recover_pending=options.recover_pending,
                pay_again=options.rules.pay_again,
                on_in_doubt=plan.doubt_rule(),
                retry_failed=options.rules.retry_failed,
                retry_transient=options.limits.retry_transient,
                max_credits=options.limits.max_credits,
                callbacks=inbox,
                webhook_url=url,
                storage=options.storage,
                preflight=plan.preflight,
            )
            scope = anyio.CancelScope()
            async with (
                received_signals(ending_signals(), partial(self._on_signal, scope)),
                self._batch as batch,
            ):
                with scope:
                    await self._show(batch)
            await self._read_rest(batch, journal)

    async def _show(self, batch: Batch) -> None:
        """Take the outcomes and show them, until the last one or the deadline."""

        async def report_signal() -> None:
            await self._signalled.wait()
            await self._report_stop(batch)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(report_signal)
            tasks.start_soon(self._report_progress, batch)
            if self._options.limits.report:
                tasks.start_soon(self._write_reports)
            commands = nullcontext() if self._commands is None else self._commands.running()
            async with self._progress.watching(self._look), commands:
                await self._read_outcomes(batch)
            tasks.cancel_scope.cancel()

    async def _read_outcomes(self, batch: Batch) -> None:
        with anyio.move_on_after(self._options.limits.deadline) as scope:
            try:
                async for outcome in batch:
                    await self._count(outcome, batch)
                    if self._commands is not None:
                        self._commands.add(outcome)
            except AkoolError as error:
                self._failure = error
            finally:
                self._last = self._look()
        self._timed_out = scope.cancelled_caught
        await self._report_stop(batch)

    async def _read_rest(self, batch: Batch, journal: Journal) -> None:
        """Count what was left, once that is settled: a POST under way was finished, the rest was not sent."""
        with suppress(AkoolError):  # said already, or the journal's, which says what it can
            async for outcome in batch:
                await self._count(outcome, batch)
        self._last = self._look()
        # The next run will find another journal than this one, if any.
        replaced = isinstance(self._failure, JournalReplacedError)
        for planned in self._plan.entries:
            late = self._counts.add_planned(planned, journal, replaced=replaced)
            if late is not None:
                await run_sync(self._events.entry_ended, late)
        with suppress(AkoolError):
            self._counts.add_other_jobs(self._plan.entries, journal)
        self._count_replaced(batch)

    def _count_replaced(self, batch: Batch) -> None:
        """Count what failed jobs cost that others replaced: an outcome is of the last job alone."""
        new = batch.replaced[self._replaced :]
        self._replaced += len(new)
        for failed in new:
            name = failed.key, failed.target
            if name in self._unpaid:
                self._unpaid.remove(name)  # an earlier run's, but the job that replaces it is this run's
            elif failed.snapshot is not None:
                self._counts.credits_used += failed.snapshot.credits_used or 0.0

    async def _count(self, outcome: Outcome, batch: Batch) -> None:
        self._count_replaced(batch)
        paid_here = (outcome.key, outcome.target) not in self._unpaid
        self._counts.add(outcome, batch.statistics().seconds, paid_here=paid_here)
        # In a thread: a reader that does not read blocks the report, and no poll or download. Shielded: a run
        # that gives up now has counted this outcome, and would not come to it again.
        with anyio.CancelScope(shield=True):
            await run_sync(self._report_outcome, outcome)

    def _report_outcome(self, outcome: Outcome) -> None:
        # What was not sent because the run stopped is one line at the end, not one for each entry.
        if not (isinstance(outcome, NotSubmitted) and outcome.stopped):
            self._progress.entry_ended(outcome)
        self._events.entry_ended(outcome)

    def _on_signal(self, scope: anyio.CancelScope, number: signal.Signals) -> None:
        """Drain at the first signal and exit at the second; a POST that is being sent is finished anyway."""
        if self._interrupted:
            scope.cancel()
        elif self._batch is not None:
            self._interrupted = True
            self._batch.drain(f"Interrupted by {number.name}.", cause=StopCause.SIGNAL)
            self._signalled.set()

    async def _report_stop(self, batch: Batch) -> None:
        if batch.stopped and not self._stop_reported:
            self._stop_reported = True
            again = " A second Ctrl-C or signal exits now; jobs continue." if self._interrupted else ""
            line = f"Stopping: {batch.stopped} {what_continues(batch.stop_cause)}{again}"
            with anyio.CancelScope(shield=True):  # it is said once
                await run_sync(print_info, line)
                await run_sync(self._events.stopping, batch.stopped)

    async def _report_progress(self, batch: Batch) -> None:
        while True:
            await self._report_stop(batch)
            moment = self._look()
            counts = moment.counts.copy()
            await run_sync(self._events.progress, counts, moment.statistics, moment.in_progress)
            await anyio.sleep(EVENT_INTERVAL)

    async def _write_reports(self) -> None:
        written: tuple[int, int] | None = None
        while True:
            seen = self._look()
            state = (self._counts.finished, len(seen.in_progress))
            took = 0.0
            if state != written:
                begun = anyio.current_time()
                if await run_sync(write_report, self._options.output) is None:
                    return
                written, took = state, anyio.current_time() - begun
            await anyio.sleep(max(REPORT_INTERVAL, _REPORT_SHARE * took))

    def _look(self) -> ProgressSnapshot:
        batch = self._batch
        assert batch is not None  # noqa: S101 - it is open
        seen = ProgressSnapshot.of_batch(batch, self._counts)
        spent = seen.statistics.credits_used + seen.statistics.credits_locked
        resumed = self._plan.counts[PlannedAction.WAIT]
        made = sum(bool(entry.job_id) for entry in seen.in_progress) + self._counts.made - resumed
        made -= max(seen.statistics.unpriced - self._plan.unpriced, 0)  # which tell nothing about the others
        if made > 0 and not batch.stopped:  # the jobs still to come will cost what this run's jobs did
            each = (spent - self._plan.used - self._plan.locked) / made
            return attrs.evolve(seen, total=spent + each * max(self._plan.estimate.jobs - made, 0))
        return seen

    def summary(self) -> RunSummary:
        """Return how the run ended, also after the second Ctrl-C."""
        batch, last = self._batch, self._last
        first = self._plan.before_trial or self._plan
        return RunSummary(
            counts=self._counts,
            output=self._options.output,
            cause=None if batch is None else batch.stop_cause,
            why="" if batch is None else batch.stopped,
            failure=self._failure,
            timed_out=self._timed_out,
            catalog="" if self._plan.catalog.title else str(self._plan.catalog.path),
            commands_failed=0 if self._commands is None else self._commands.failed,
            unpriced=0 if last is None else max(last.statistics.unpriced - first.unpriced, 0),
            seconds=0.0 if last is None else last.statistics.seconds,
        )
