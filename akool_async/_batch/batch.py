"""A batch as its caller sees it: opened and closed, iterated over, drained, looked at."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Self

import anyio
from anyio.lowlevel import EventLoopToken, checkpoint, current_token

from akool_async._background import BackgroundTasks, LongLived
from akool_async._batch.callback_polling import CallbackPolling
from akool_async._batch.callbacks import WebhookConfig, WebhookCoordinator
from akool_async._batch.entry import BatchEntry, EntryProgress, outcome_from_journal
from akool_async._batch.feeder import Feeder, Requests, Source, is_left
from akool_async._batch.life import EntryLife
from akool_async._batch.limits import StopCause
from akool_async._batch.preflight import Preflight
from akool_async._batch.resume import DoubtRule, Resumer
from akool_async._batch.saving import OutputConfig, ResultSaver
from akool_async._batch.state import BatchState
from akool_async._batch.statistics import Statistics, collect_statistics
from akool_async._batch.tickets import SubmittedRequests, Ticket
from akool_async._client import AkoolClient
from akool_async._download import SavedResult
from akool_async._journal import BatchJournal, Entry
from akool_async._model.errors import (
    BatchClosedError,
    CallerError,
    ConfigurationError,
    JournalClosedError,
    JournalReplacedError,
)
from akool_async._model.outcomes import Failed, InDoubt, Outcome
from akool_async._model.requests import Request
from akool_async._polling.poll_state import PollSchedule
from akool_async._polling.scheduler import GuardedSchedule
from akool_async._signals import received_signals
from akool_async._storage import SharedInputs

logger = logging.getLogger("akool_async")


class Batch(LongLived):
    """A running batch of requests; made by `open_batch`, which describes it."""

    def __init__(
        self,
        client: AkoolClient,
        requests: Requests | None,
        *,
        threaded: bool,
        max_in_flight: int,
        backlog: int,
        journal: BatchJournal | None,
        output: OutputConfig,
        recover_pending: bool,
        resume_planned: bool,
        on_in_doubt: DoubtRule,
        retry_failed: bool,
        retry_transient: int,
        schedule: PollSchedule | None,
        max_credits: float | None,
        max_doubts: int,
        max_submits: int,
        max_downloads: int,
        drain_signals: tuple[signal.Signals, ...],
        webhook: WebhookConfig,
        preflight: Preflight | None,
        inputs: SharedInputs,
    ) -> None:
        session = client.session
        # One guard for all jobs, as the client has for its own: a schedule that fails warns once.
        guarded = session.schedule if schedule is None else GuardedSchedule.guard(schedule)
        # Without a journal of the caller's the same accounting runs in memory: one set of rules about money.
        kept = journal or BatchJournal(":memory:", now=session.clock.now, forget_ended=True)
        self._own_journal = kept if journal is None else None
        polling = None if webhook.source is None else CallbackPolling(session, guarded)
        self._state = state = BatchState(
            session,
            kept,
            polling,
            inputs,
            schedule=guarded,
            max_in_flight=max_in_flight,
            backlog=backlog,
            max_credits=max_credits,
            max_doubts=max_doubts,
        )
        self._callbacks, self._source = WebhookCoordinator(state, webhook, polling), webhook.source
        self._saver = ResultSaver(state, output)
        self._resumer = Resumer(
            state,
            self._callbacks,
            on_in_doubt=on_in_doubt,
            retry_failed=retry_failed,
            saver=self._saver,
            start_submit=self._start_submit,
            start_restore=self._start_restore,
        )
        self._life = EntryLife(
            state,
            self._resumer,
            self._callbacks,
            self._saver,
            max_submits=max_submits,
            retry_transient=retry_transient,
            start_submit=self._start_submit,
        )
        state.preflight = preflight
        saves = output.folder is not None
        self._submitted: SubmittedRequests | None = None
        if requests is None:
            check = self._start_saved_check if saves else None
            self._submitted = SubmittedRequests(state, start_saved_check=check, resume_planned=resume_planned)
        state.listener = self._submitted
        source = Source(self._submitted or requests or (), threaded=threaded)
        self._feeder = Feeder(state, source, self._life, self._callbacks)
        self._rescues = recover_pending and saves
        self._downloads = max_downloads
        self._drain_on = drain_signals
        self._interrupted = False
        self._left_by: signal.Signals | None = None
        self._background: BackgroundTasks | None = None
        self._task_id = 0
        self._loop: EventLoopToken | None = None
        self._stack = AsyncExitStack()
        self._began: float | None = None
        self._used_before = 0.0

    def __repr__(self) -> str:
        jobs = len(self._state.unfinished_jobs)
        return f"<Batch of {self._state.journal!r}, jobs in flight: {jobs}>"

    async def __aenter__(self) -> Self:
        """Begin to submit."""
        if self._background is not None:
            raise RuntimeError("This batch was opened already; make another one.")
        async with AsyncExitStack() as stack:
            if self._drain_on:
                if threading.current_thread() is not threading.main_thread():
                    raise ConfigurationError(
                        "drain_signals can be used in the main thread only: Python delivers signals there."
                    )
                # First, so that a signal tears nothing of what is closed before.
                await stack.enter_async_context(received_signals(self._drain_on, self._on_signal))
            if not getattr(self._source, "is_open", True):  # its callbacks would not be heard
                said = f"callbacks must be open before the batch, unlike {self._source!r}."
                raise ConfigurationError(said, advice="Enter it before the batch, with async with.")
            if self._own_journal is not None:
                await stack.enter_async_context(self._own_journal)
            # Two batches on one journal would both find an entry unsent, and both pay for it.
            heard = None if self._submitted is None else self._submitted.doubt_resolved
            await stack.enter_async_context(self._state.journal.exclusive(heard))
            if self._state.preflight is not None:
                await stack.enter_async_context(self._state.preflight)
            self._began = self._state.clock.monotonic()
            self._used_before = self._state.journal.credits()[1]
            self._task_id, self._loop = anyio.get_current_task().id, current_token()
            background = BackgroundTasks()
            tasks = await background.__aenter__()
            self._background = background
            self._stack = stack.pop_all()
        for _ in range(self._downloads):
            tasks.start_soon(self._life.finish_all)
        if self._state.inputs.shares:
            tasks.start_soon(self._state.inputs.delete_until_cancelled, self._state.journal.find_unfinished)
        tasks.start_soon(self._work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: a POST under way is finished and recorded, jobs at the vendor continue without us."""
        if anyio.get_current_task().id != self._task_id:
            raise CallerError(
                "A batch can't be closed in another task than the one that opened it.",
                impact="It is still open and continues to submit.",
                advice="Use async with in one task, or await batch.aopen() and await batch.aclose().",
            )
        posts = self._callbacks.posts_under_way
        if posts:  # or it would seem to hang, and be killed, which costs what it waits for
            logger.warning(
                "Paid calls under way: %d. They are waited for, %g s at most, so that no job is lost. Only "
                "SIGKILL ends them; it would leave them in doubt, perhaps paid.",
                posts,
                self._state.session.create_timeout,
            )
        async with self._stack:
            try:
                # Shielded steps finish: a POST under way, and the commit of its ids.
                await self._entered.__aexit__(None, None, None)
            finally:
                self._state.stop_tracking()  # the jobs of a POST that was just finished, too
                if self._state.inputs.shares:
                    await self._state.inputs.close(self._state.journal.find_unfinished)
                self._say_what_is_left()
        if self._left_by is not None:
            # The handlers of before are back: Ctrl-C raises KeyboardInterrupt, or cancels the main task.
            signal.raise_signal(self._left_by)
            if kind is not None and issubclass(kind, anyio.get_cancelled_exc_class()):
                await checkpoint()
                raise SystemExit(128 + self._left_by)  # a handler of the caller's that does not leave

    @property
    def _entered(self) -> BackgroundTasks:
        assert self._background is not None  # noqa: S101 - it was entered
        return self._background

    async def _work(self) -> None:
        """Resume what is there, then pull what is new."""
        try:
            await self._callbacks.listen(self._entered.tasks)
            # Before anything is pulled: an entry in doubt would otherwise be judged without its callbacks.
            await self._callbacks.load_doubts()
            if self._rescues:
                with self._state.stop_on_journal_error():
                    await self._resumer.recover_pending()
            await self._feeder.run(self._entered.tasks)
        except anyio.get_cancelled_exc_class() as error:
            if is_left():
                raise
            # A time-out that a source leaves open while it yields ends this task wherever that waits: nobody
            # else would say so, and the iteration would never end.
            self._feeder.give_up(error)

    def _start_submit(self, entries: list[BatchEntry]) -> None:
        self._entered.tasks.start_soon(self._life.submit, entries)

    def _start_restore(self, batch_entry: BatchEntry, entry: Entry, damage: SavedResult) -> None:
        async def restore() -> None:
            with self._state.stop_on_journal_error(batch_entry):
                self._state.emit(batch_entry, await self._saver.restore(batch_entry, entry, damage))

        self._entered.tasks.start_soon(restore)

    def _start_saved_check(self, entry: Entry, request: Request) -> None:
        async def check() -> None:
            with self._state.stop_on_journal_error():
                found, damage = await self._saver.find_damage(entry)
                if damage is None:
                    self._queue.record_outcome(outcome_from_journal(found, request))
                else:
                    batch_entry = BatchEntry(request=request, target=entry.target)
                    self._queue.record_outcome(await self._saver.restore(batch_entry, found, damage))

        self._entered.tasks.start_soon(check)

    def _say_what_is_left(self) -> None:
        left = self._state.unfinished_jobs
        if self._own_journal is None:
            if left:
                logger.info("%d jobs continue at the vendor; run this again to save them.", len(left))
            return
        # What is paid, or may be, is named where no journal will tell it again.
        for outcome in self._state.outcomes.untaken:
            if outcome.job_id:
                logger.warning("Job %s has ended and is billed; its outcome was not taken.", outcome.job_id)
            elif isinstance(outcome, InDoubt):
                logger.warning("Entry %s is in doubt; its outcome was not taken.", outcome.key)
        for key in self._callbacks.waiting_keys:
            logger.warning("Entry %s is in doubt; no callback has resolved it yet.", key)
        if left:
            logger.warning("%d jobs continue at the vendor and are billed: %s.", len(left), ", ".join(left))

    def __aiter__(self) -> Self:
        """Iterate over outcomes, in the order in which they end."""
        return self

    async def __anext__(self) -> Outcome:
        """Return the next outcome.

        Raises:
            BatchClosedError: the batch was not opened.
            AkoolError: after the last outcome, if something stopped the batch: the account, the journal.
            BaseException: after the last outcome, what the source of requests raised; also `CancelledError`,
                where something that it waited for was cancelled.
        """
        self._check_open()
        outcome = await self._state.outcomes.get()
        if outcome is not None:
            if self._submitted is None:
                # Only what was taken makes room: a consumer that stops taking stops new payments, too.
                self._state.backlog.release(1)
            return outcome
        failure, self._state.failure = self._state.failure, None
        if failure is not None:
            raise failure
        raise StopAsyncIteration

    async def submit(self, request: Request) -> Ticket:
        """Enter a request in the journal, for a batch that was opened without `requests`.

        When it returns, its entries are durable: this run works on them, and if it is killed first, the next
        run on the same journal does. Nothing was paid yet. What the journal knows already is not entered
        twice, and not paid twice; what has ended without a saved result is looked at again, by the same rules
        as in a batch with requests (`retry_failed`, `on_in_doubt`). The journal keeps no query of a URL that
        is not public: if this run is killed before it was sent, it has to be submitted again. A request that
        waits and is submitted again with a new signature is sent with that one.

        If the caller is cancelled meanwhile, as by a time-out, the request is not entered, or is taken back
        before anything is sent for it; only if the journal can't be written any more, or this process is
        killed just then, may it stay, and it is worked on like any other.

        Raises:
            InvalidRequestError: its key names other work in the journal, or its work is there under another
                key or with another query; nothing was entered.
            BatchClosedError: the batch was not opened, or was drained or closed; nothing was entered.
            JournalError: it could not be written, so the request was not taken.
            RuntimeError: the batch was opened with `requests`.
        """
        with self._stopped_by_a_lost_journal():
            return Ticket(await self._queue.submit(request), self.outcome)

    async def outcome(self, key: str, target: str = "") -> Outcome:
        """Wait for the outcome of an entry, also of one that an earlier run was given.

        If an earlier run saved the result, its files are looked for first, and what is missing is downloaded
        again as long as the vendor has it. A run does that once for each entry, and with each `submit`.

        Args:
            key: the caller's name of the entry, or its fingerprint (`entry_key`).
            target: its language; "" for a lip-sync.

        Raises:
            InvalidRequestError: the journal has no such entry.
            BatchClosedError: the batch was not opened, or was closed first.
            RuntimeError: the batch was opened with `requests`.
        """
        try:
            return await self._queue.outcome(key, target)
        except JournalClosedError as error:
            closed = BatchClosedError("The batch and its journal were closed.")
            raise (closed if self._state.outcomes.closed else error) from None

    async def cancel(self, key: str, target: str = "") -> bool:
        """Take back an entry that was submitted to this batch, or to an earlier run, and was not sent yet.

        Its outcome is `NotSubmitted`, and the journal no longer knows it, so it may be submitted again. A
        caller that is cancelled meanwhile does not change that: the outcome tells whether it was taken back.

        Args:
            key: the caller's name of the entry, or its fingerprint (`entry_key`).
            target: its language; "" for a lip-sync.

        Returns:
            True if it was taken back. False if its POST was or may have been sent, now or in an earlier run:
            a job can't be cancelled at the vendor, and is billed.

        Raises:
            InvalidRequestError: the journal has no such entry.
            JournalError: it could not be written, so nothing was taken back.
            RuntimeError: the batch was opened with `requests`.
        """
        with self._stopped_by_a_lost_journal():
            return await self._queue.cancel(key, target)

    @property
    def _queue(self) -> SubmittedRequests:
        if self._submitted is None:
            raise RuntimeError("This batch was opened with requests; leave them out to submit one by one.")
        self._check_open()
        return self._submitted

    def _check_open(self) -> None:
        """Refuse to wait where nothing would ever wake: before it is opened, or in another event loop."""
        if self._loop is None:
            advice = "Use it inside: async with open_batch(...) as batch: ..."
            raise BatchClosedError("The batch is not open.", impact="Nothing was sent.", advice=advice)
        if self._loop != current_token():
            said = "The batch was opened in another event loop, and works in that one."
            advice = "Call it there, as with anyio.from_thread.run or asyncio.run_coroutine_threadsafe."
            raise CallerError(said, impact="Nothing was entered or changed.", advice=advice)

    @contextmanager
    def _stopped_by_a_lost_journal(self) -> Iterator[None]:
        try:
            yield
        except JournalReplacedError as error:
            self._state.abandon(error)
            raise

    def drain(
        self, reason: str = "The batch was asked to stop.", *, cause: StopCause = StopCause.REQUESTED
    ) -> None:
        """Submit nothing more and finish what is in flight; what is left comes out as not submitted.

        Args:
            reason: what the outcomes of the rest say.
            cause: the machine-readable reason, for `stop_cause`.
        """
        self._state.stop(reason, cause=cause)
        self._feeder.drain()

    def resume_submitting(self) -> None:
        """Submit again what is pulled from now on, after a stop for credits, credentials, doubts or storage.

        For a service whose source does not end, after the account was topped up, room was made or
        `AkoolClient.replace_credentials` was called. Results are downloaded again, too; those of jobs that
        have ended meanwhile are left for the next run. Entries that came out as not submitted may be given
        again. Where requests come from `submit`, jobs whose polls were refused are polled again, too.

        Raises:
            RuntimeError: something else stopped the batch.
        """
        self._state.resume_submitting()
        self._saver.disk_error = None

    @property
    def stopped(self) -> str:
        """Why nothing more is submitted, in words for people; "" while it is. Programs use `stop_cause`."""
        return self._state.stopped

    @property
    def stop_cause(self) -> StopCause | None:
        """What made it stop submitting; None while it submits."""
        return self._state.stop_cause

    def _on_signal(self, number: signal.Signals) -> None:
        if not self._interrupted:
            self._interrupted = True
            logger.warning("Stopping: jobs in progress are finished. A second signal exits now.")
            self.drain(f"Interrupted by {number.name}.", cause=StopCause.SIGNAL)
        elif self._left_by is None:
            # Even now a POST under way is finished and its ids are committed, whatever comes after.
            self._left_by = number
            if self._background is not None:
                self._background.leave()

    @property
    def replaced(self) -> tuple[Failed, ...]:
        """How jobs ended that were submitted again (`retry_transient`); each may have been charged, too.

        The outcome of such an entry tells of its last job alone.
        """
        return tuple(self._state.replaced)

    def in_progress(self) -> tuple[EntryProgress, ...]:
        """Return the entries in progress and how far each is, in the order in which they began."""
        return self._state.board.snapshot(self._state.clock.monotonic())

    def statistics(self) -> Statistics:
        """Return numbers about the batch, as it is now."""
        return collect_statistics(self._state, began=self._began, used_before=self._used_before)
