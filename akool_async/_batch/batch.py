"""A batch as its caller sees it: opened and closed, iterated over, drained, looked at."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
from anyio.lowlevel import EventLoopToken, checkpoint, current_token

from akool_async._background import BackgroundTasks, LongLived
from akool_async._batch.callback_polling import CallbackPolling
from akool_async._batch.callbacks import WebhookConfig, WebhookCoordinator
from akool_async._batch.entry import BatchEntry, EntryProgress
from akool_async._batch.feeder import Feeder, Requests, Source
from akool_async._batch.life import EntryLife
from akool_async._batch.preflight import Preflight, preflight_for
from akool_async._batch.resume import OnInDoubt, Resumer
from akool_async._batch.saving import OutputConfig, ResultSaver
from akool_async._batch.state import BatchState, StopCause
from akool_async._batch.statistics import Statistics, collect_statistics
from akool_async._batch.tickets import SubmittedRequests, Ticket
from akool_async._client import AkoolClient
from akool_async._download import SavedResult
from akool_async._journal import Entry, Journal
from akool_async._model.errors import CallerError, ConfigurationError
from akool_async._model.filenames import DEFAULT_TEMPLATE, parse_templates
from akool_async._model.media import Limits
from akool_async._model.outcomes import InDoubt, Outcome
from akool_async._model.requests import Request
from akool_async._model.responses import CallbackSource
from akool_async._polling.poll_state import PollSchedule
from akool_async._signals import received_signals
from akool_async._storage import NO_INPUTS, SharedInputs, Storage, result_folder

logger = logging.getLogger("akool_async")


class Batch(LongLived):
    """Many requests on their way; made by `open_batch`, which describes it."""

    def __init__(
        self,
        client: AkoolClient,
        requests: Requests | None,
        *,
        threaded: bool,
        max_in_flight: int,
        backlog: int,
        journal: Journal | None,
        output: OutputConfig,
        recover_pending: bool,
        on_in_doubt: OnInDoubt,
        retry_failed: bool,
        retry_transient: int,
        schedule: PollSchedule | None,
        max_credits: float | None,
        max_doubts: int,
        max_submits: int,
        max_downloads: int,
        drain_signals: Iterable[signal.Signals],
        webhook: WebhookConfig,
        preflight: Preflight | None,
        inputs: SharedInputs,
    ) -> None:
        session = client.session
        # Without a journal of the caller's the same accounting runs in memory: one set of rules about money.
        kept = Journal(":memory:", now=session.clock.now, forget_ended=True) if journal is None else journal
        self._own_journal = kept if journal is None else None
        polling = None if webhook.source is None else CallbackPolling(session, schedule)
        self._state = state = BatchState(
            session,
            kept,
            polling,
            inputs,
            schedule=schedule,
            max_in_flight=max_in_flight,
            backlog=backlog,
            max_credits=max_credits,
            max_doubts=max_doubts,
        )
        self._callbacks = WebhookCoordinator(state, webhook, polling)
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
        self._submitted = SubmittedRequests(state, saves=saves) if requests is None else None
        state.listener = self._submitted
        source = Source(self._submitted or requests or (), threaded=threaded)
        self._feeder = Feeder(state, source, self._life, self._callbacks)
        self._rescues = recover_pending and saves
        self._downloads = max_downloads
        self._drain_on = tuple(drain_signals)
        self._interrupted = False
        self._left_by: signal.Signals | None = None
        self._background: BackgroundTasks | None = None
        self._task_id = 0
        self._loop: EventLoopToken | None = None
        self._stack = AsyncExitStack()
        self._began = 0.0

    async def __aenter__(self) -> Self:
        """Begin to submit."""
        if self._background is not None:
            raise RuntimeError("This batch was opened already; make another one.")
        if self._drain_on and threading.current_thread() is not threading.main_thread():
            raise ConfigurationError("drain_signals works in the main thread only, which gets the signals.")
        async with AsyncExitStack() as stack:
            # First, so that a signal tears nothing of what is closed before.
            await stack.enter_async_context(received_signals(self._drain_on, self._on_signal))
            if self._own_journal is not None:
                await stack.enter_async_context(self._own_journal)
            # Two batches on one journal would both find an entry unsent, and both pay for it.
            await stack.enter_async_context(self._state.journal.exclusive())
            if self._state.preflight is not None:
                await stack.enter_async_context(self._state.preflight)
            self._began = self._state.clock.monotonic()
            self._task_id, self._loop = anyio.get_current_task().id, current_token()
            background = BackgroundTasks()
            tasks = await background.__aenter__()
            self._background = background
            self._stack = stack.pop_all()
        for _ in range(self._downloads):
            tasks.start_soon(self._life.finish_all)
        if self._state.inputs.shares:
            tasks.start_soon(self._state.inputs.delete_until_cancelled)
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
        async with self._stack:
            try:
                # Shielded steps finish: a POST under way, and the commit of its ids.
                await self._entered.__aexit__(None, None, None)
            finally:
                self._state.stop_tracking()  # the jobs of a POST that was just finished, too
                if self._state.inputs.shares:
                    await self._state.inputs.close()
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
        self._stack.callback(self._callbacks.listen(self._entered.tasks))
        # Before anything is pulled: an entry in doubt would otherwise be judged without its callbacks.
        await self._callbacks.load_doubts()
        if self._rescues:
            with self._state.tolerate_journal_errors():
                await self._resumer.recover_pending()
        await self._feeder.run(self._entered.tasks)

    def _start_submit(self, entries: list[BatchEntry]) -> None:
        self._entered.tasks.start_soon(self._life.submit, entries)

    def _start_restore(self, batch_entry: BatchEntry, entry: Entry, damage: SavedResult) -> None:
        async def restore() -> None:
            with self._state.tolerate_journal_errors(batch_entry):
                self._state.emit(batch_entry, await self._saver.restore(batch_entry, entry, damage))

        self._entered.tasks.start_soon(restore)

    def _say_what_is_left(self) -> None:
        left = self._state.unfinished_jobs
        if self._own_journal is None:
            if left:
                logger.info("%d jobs continue at the vendor; run this again to save them.", len(left))
            return
        # What is paid, or may be, is named where no journal will tell it again.
        for outcome in self._state.outcomes.untaken:
            if outcome.job is not None:
                logger.warning("Job %s has ended and is billed; its outcome was not taken.", outcome.job.id)
            elif isinstance(outcome, InDoubt):
                logger.warning("Entry %s is in doubt; its outcome was not taken.", outcome.key)
        for key in self._callbacks.waiting_keys:
            logger.warning("Entry %s is in doubt; no callback has cleared it up yet.", key)
        if left:
            logger.warning("%d jobs continue at the vendor and are billed: %s.", len(left), ", ".join(left))

    def __aiter__(self) -> Self:
        """Iterate over outcomes, in the order in which they end."""
        return self

    async def __anext__(self) -> Outcome:
        """Return the next outcome.

        Raises:
            AkoolError: after the last outcome, if something stopped the batch: the account, the journal.
            Exception: after the last outcome, what the source of requests raised.
        """
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
        is not public: if this run is killed before it was sent, it has to be submitted again.

        Raises:
            InvalidRequestError: its key names other work in the journal, or its work is there under another
                key or with another query; nothing was entered.
            BatchClosedError: the batch was drained or closed; nothing was entered.
            JournalError: it could not be written, so the request was not taken.
            RuntimeError: the batch was opened with `requests`.
        """
        return await self._queue.submit(request)

    async def outcome(self, key: str, target: str = "") -> Outcome:
        """Wait for the outcome of an entry, also of one that an earlier run was given.

        Args:
            key: the caller's name of the entry, or its fingerprint (`entry_key`).
            target: its language; "" for a lip-sync.

        Raises:
            InvalidRequestError: the journal has no such entry.
            BatchClosedError: the batch was closed first.
            RuntimeError: the batch was opened with `requests`.
        """
        return await self._queue.outcome(key, target)

    async def cancel(self, key: str, target: str = "") -> bool:
        """Take back an entry that was submitted to this batch, or to an earlier run, and was not sent yet.

        Its outcome is `NotSubmitted`, and the journal no longer knows it, so it may be submitted again.

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
        return await self._queue.cancel(key, target)

    @property
    def _queue(self) -> SubmittedRequests:
        if self._submitted is None:
            raise RuntimeError("This batch was opened with requests; leave them out to submit one by one.")
        if self._loop not in (None, current_token()):
            raise CallerError(
                "The batch was opened in another event loop, and works in that one.",
                impact="Nothing was entered or changed.",
                advice="Call it there, as with anyio.from_thread.run or asyncio.run_coroutine_threadsafe.",
            )
        return self._submitted

    def drain(
        self, reason: str = "The batch was asked to stop.", *, cause: StopCause = StopCause.REQUESTED
    ) -> None:
        """Submit nothing more and finish what is in flight; what is left comes out as not submitted.

        Args:
            reason: what the outcomes of the rest say.
            cause: the same as a value, for `stop_cause`.
        """
        self._state.stop(reason, cause=cause)
        self._feeder.drain()

    def resume_submitting(self) -> None:
        """Submit again what is pulled from now on, after a stop for credits, credentials or doubts.

        For a service whose source does not end, after the account was topped up or
        `AkoolClient.replace_credentials` was called. Entries that came out as not submitted may be given
        again. Where requests come from `submit`, jobs whose polls were refused are polled again, too.

        Raises:
            RuntimeError: something else stopped the batch.
        """
        self._state.resume_submitting()

    @property
    def stopped(self) -> str:
        """Why nothing more is submitted; "" while it is."""
        return self._state.stopped

    @property
    def stop_cause(self) -> StopCause | None:
        """What made it stop to submit; None while it submits."""
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

    def in_progress(self) -> tuple[EntryProgress, ...]:
        """Return the entries in progress and how far each is, in the order in which they began."""
        return self._state.board.snapshot(self._state.clock.monotonic())

    def statistics(self) -> Statistics:
        """Return numbers about the batch, as it is now."""
        return collect_statistics(self._state, self._state.clock.monotonic() - self._began)


def open_batch(
    client: AkoolClient,
    requests: Requests | None = None,
    *,
    threaded: bool = False,
    max_in_flight: int = 8,
    backlog: int | None = None,
    journal: Journal | None = None,
    download_to: str | os.PathLike[str] | None = None,
    file_names: str | Mapping[str, str] = DEFAULT_TEMPLATE.text,
    without_captions: bool = False,
    verify_saved: bool = False,
    pay_again: bool = False,
    recover_pending: bool = True,
    on_in_doubt: OnInDoubt = "hold",
    retry_failed: bool = False,
    retry_transient: int = 0,
    schedule: PollSchedule | None = None,
    max_credits: float | None = None,
    max_doubts: int = 3,
    max_submits: int = 8,
    max_downloads: int = 4,
    drain_signals: Iterable[signal.Signals] = (),
    webhook_url: str | None = None,
    callbacks: CallbackSource | None = None,
    webhook_grace: float = 120.0,
    preflight: Limits | Preflight | None = None,
    storage: Storage | None = None,
) -> Batch:
    """Return a batch, to be used in `async with` and iterated over with `async for`, once.

    Outcomes come in the order in which they end, one for each (request, language). The block may be left
    early: a POST under way is finished and recorded, jobs at the vendor continue and are billed, and the
    same code run again with the same journal saves their results.

    With `download_to`, what the journal has at the vendor is recovered before anything is submitted, because
    its results expire after 7 days: they are saved even if `requests` names them late or never. Their
    outcomes are emitted when `requests` names them. A batch that is left before its end does not close an
    async generator that it took requests from; close it yourself (`contextlib.aclosing`).

    Args:
        client: an open client.
        requests: an iterable or async iterable, finite or endless; pulled lazily. None for a service that
            calls `Batch.submit`: then the journal is the queue, the batch begins with what earlier runs left
            in it, and it ends when it is drained or left. An iteration sees the last 1,000 outcomes that it
            has not taken; `Batch.outcome` and tickets know all.
        threaded: pull `requests`, an iterable that is not async, in one worker thread, always the same: for a
            source that blocks, such as a database's cursor. What it blocks on ends with it alone: a batch
            that is left does not wait for it, but the program does before it exits.
        max_in_flight: jobs at the vendor at once. A request for more languages is split into several POSTs.
        backlog: entries pulled whose outcome is not taken yet, at least `max_in_flight`; default is twice
            that. A slow consumer stops new submissions when it is reached.
        journal: an open journal, used by one batch at a time; without one nothing can be resumed.
        download_to: a folder, or a bucket as "s3://b/prefix"; None leaves results at the vendor for 7 days.
        file_names: what the files are called, without extension, made of {stem} (the video's name),
            {language}, {key} and {fingerprint}, with folders as in "{language}/{key}"; or such a template
            for each key (as returned by `entry_key`). Each entry has its name before it is paid for. Where
            names of two entries collide on any system, or another file has the name, the later one gets a
            part of its fingerprint.
        without_captions: also save the video without burnt-in captions, where the vendor made one.
        verify_saved: compare the SHA-256 of files that earlier runs saved. By default their existence and
            size are compared. What is not as it was saved is downloaded again, without paying, while the
            vendor has it; a changed file is kept, and the result saved under another name.
        pay_again: submit entries that the journal does not know even where `download_to` holds a result of
            them: a manifest with the same key and language, under the name that this entry would get.
        recover_pending: recover what the journal has at the vendor; False leaves alone what `requests` does
            not name.
        on_in_doubt: "hold" keeps entries in doubt as they are; "resubmit" pays for them again, knowingly.
        retry_failed: submit again what failed, was rejected or expired in an earlier run.
        retry_transient: times that this run submits an entry again after a failure that may pass: status 4
            without a reason in the video or the request, and codes 1015, 1201, 1205 and 1211. Each is paid
            like any other submission, within `max_credits`; 0 or more.
        schedule: when jobs are polled; default is the client's.
        max_credits: credits that the journal's entries may cost together. Locks count in full; a doubt, and a
            job of unknown cost, counts as much as the dearest known job. Each job is made by itself, after
            the price of the one before is known; with `preflight` what it may cost at most has to fit, too.
            The bound is exceeded by one job at most.
        max_doubts: paid POSTs in a row that get no clear answer, 1 or more. Then nothing more is submitted
            until a callback or the API resolves one of them; without that the batch stops. This keeps an
            outage from making a doubt of each entry.
        max_submits: paid POSTs under way at once.
        max_downloads: results downloaded at once.
        drain_signals: signals that stop submissions and save what is in flight; the second one leaves, and
            further ones change nothing until the batch is closed: a POST under way is finished and recorded.
        webhook_url: where the vendor sends callbacks, such as "https://me.example/akool". Each POST gets
            an unguessable token as the last part of its path, so that a callback names the job of a POST
            whose answer was lost; so each POST is for one language. Requests with a URL of their own
            keep it, and get no token.
        callbacks: where callbacks come from: a `WebhookReceiver`, or an inbox that one writes. They make
            the batch poll sooner, and resolve doubts.
        webhook_grace: seconds for which an entry in doubt is held because its callback may still arrive,
            before its outcome is `InDoubt`; 0 or more.
        preflight: look into each new video before it is paid for; what the vendor would refuse by these
            limits is `NotSubmitted` and costs nothing. Needs `akool-async[media]`; None looks into nothing.
        storage: which buckets may be used, for inputs that are files or objects.

    Raises:
        ConfigurationError: a value is out of its range, PyAV is missing, or, on entering, `drain_signals` are
            wanted outside the main thread; nothing was sent.
        JournalLockedError: on entering, another batch is using the journal; nothing was sent.
        JournalError: on entering, the journal can't be written; nothing was sent.
    """
    # All values are judged here, before anything is opened: a wrong one costs nothing.
    _count("max_in_flight", max_in_flight, 1)
    # Submitted requests are durable once `submit` returns; in memory they would be lost with the process.
    if requests is None and journal is None:
        raise ConfigurationError("A batch without requests takes them into a journal: journal=...")
    if on_in_doubt not in ("hold", "resubmit"):
        raise ConfigurationError(f"on_in_doubt must be 'hold' or 'resubmit', not {on_in_doubt!r}.")
    if max_credits is not None and not max_credits > 0:
        raise ConfigurationError(f"max_credits must be a positive number, not {max_credits!r}.")
    inputs = NO_INPUTS if storage is None else SharedInputs(storage)
    if preflight is not None:
        preflight = preflight_for(preflight, client.host, None if journal is None else journal.path, inputs)
    return Batch(
        client,
        requests,
        threaded=threaded,
        max_in_flight=max_in_flight,
        backlog=_count("backlog", 2 * max_in_flight if backlog is None else backlog, max_in_flight),
        journal=journal,
        output=OutputConfig(
            folder=None if download_to is None else result_folder(download_to, storage),
            templates=parse_templates(file_names),
            without_captions=without_captions,
            verify_saved=verify_saved,
            pay_again=pay_again,
        ),
        recover_pending=recover_pending,
        on_in_doubt=on_in_doubt,
        retry_failed=retry_failed,
        retry_transient=_count("retry_transient", retry_transient, 0),
        schedule=schedule,
        max_credits=max_credits,
        max_doubts=_count("max_doubts", max_doubts, 1),
        max_submits=_count("max_submits", max_submits, 1),
        max_downloads=_count("max_downloads", max_downloads, 1),
        drain_signals=drain_signals,
        webhook=WebhookConfig(url=webhook_url, source=callbacks, grace=webhook_grace),
        preflight=preflight,
        inputs=inputs,
    )


def _count(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return value
