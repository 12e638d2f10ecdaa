"""What a batch or a worker may use of a client: one step of the vendor's API at a time.

The verbs of `AkoolClient` are made of the same steps. A step neither waits nor repeats more than it says,
so that its user decides the order of steps over many jobs.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import anyio
import attrs
import httpx
from anyio.lowlevel import current_token

from akool_async import _wire as wire
from akool_async._background import BackgroundTasks
from akool_async._client.connections import Connections
from akool_async._clock import Clock
from akool_async._download import DownloadRequest, FileDownloader, ResultDownload
from akool_async._http import ApiCall, ApiSession, CallInDoubt, Timeouts
from akool_async._http.clients import HttpClients, user_agent
from akool_async._model.codes import Failure
from akool_async._model.credentials import Credentials
from akool_async._model.errors import (
    AkoolError,
    ClientClosedError,
    InvalidRequestError,
    JobNotFoundError,
    ProtocolError,
    SubmissionInDoubt,
)
from akool_async._model.outcomes import Artifact, Saved, result_urls
from akool_async._model.redact import detach, safe_repr, sanitize, strip_query
from akool_async._model.requests import Request, video_url
from akool_async._model.responses import Callback, Job, Snapshot, Submission
from akool_async._observer import Observers
from akool_async._polling.poll_state import PollSchedule
from akool_async._polling.scheduler import GuardedSchedule, Listener, PolledJob, PollScheduler
from akool_async._retry import RetryPolicy

logger = logging.getLogger("akool_async")
_MOST_CONFIRMED: Final = 64
"""Ids of one answer that are polled; an honest vendor names one for each language."""


class ClientSession:
    """The steps of one client; made by it, given out as `AkoolClient.session`.

    Attributes:
        file_transport: sends all requests to file hosts, if set before the client is opened.
        connections: None while the client is closed.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        retry: RetryPolicy,
        schedule: PollSchedule,
        observers: Observers,
        create_timeout: float,
    ) -> None:
        self.clock = clock
        self.retry = retry
        self.schedule: GuardedSchedule = GuardedSchedule.guard(schedule)
        self.observers = observers
        self.create_timeout = create_timeout
        self.file_transport: httpx.AsyncBaseTransport | None = None
        self.connections: Connections | None = None
        self._download_locks: WeakValueDictionary[tuple[Path, str], anyio.Lock] = WeakValueDictionary()

    @property
    def opened(self) -> Connections:
        """The connections of an open client.

        Raises:
            ClientClosedError: the client is closed, or open in another event loop.
        """
        if self.connections is None:
            raise ClientClosedError("The client is not open.")
        # The connections' sockets belong to the other loop: using them here hangs, sometimes only later.
        try:
            elsewhere = self.connections.loop != current_token()
        except anyio.NoEventLoopError:  # a thread without one
            elsewhere = True
        if elsewhere:
            raise ClientClosedError(
                "The client was opened in another event loop, and its connections belong to that one.",
                advice="Open it in the function that asyncio.run or anyio.run is given, and use it there.",
            )
        return self.connections

    async def open(
        self, clients: HttpClients, *, origin: str, credentials: Credentials, timeouts: Timeouts
    ) -> None:
        """Make the connections; they are closed by their own `close`."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(clients.aclose)
            # Entered last, below: an error raised here would otherwise come out as an exception group.
            background = BackgroundTasks()
            api = ApiSession(
                origin=origin,
                credentials=credentials,
                clients=clients,
                clock=self.clock,
                tasks=background.tasks,
                retry=self.retry,
                timeouts=timeouts,
                observers=self.observers,
            )
            scheduler = PollScheduler(
                self.status,
                clock=self.clock,
                tasks=background.tasks,
                pollers=clients.max_concurrency,
                vendor_now=api.server_time.now,
                observers=self.observers,
            )
            downloads = FileDownloader(
                origin=origin,
                clock=self.clock,
                retry=self.retry,
                user_agent=user_agent(),
                transport=self.file_transport,
            )
            await background.__aenter__()
            self.connections = Connections(
                loop=current_token(),
                task_id=anyio.get_current_task().id,
                api=api,
                scheduler=scheduler,
                downloads=downloads,
                background=background,
                stack=stack.pop_all(),
            )

    @property
    def knows_server_time(self) -> bool:
        """Whether an answer gave the time of the vendor; before, `server_now` is that of this machine."""
        return self.connections is not None and self.connections.api.server_time.is_known

    def server_now(self) -> datetime:
        """Return the time at the vendor, by whose clock results expire; ours while the client is closed."""
        return self.clock.now() if self.connections is None else self.connections.api.server_time.now()

    # Submissions.

    async def wait_ready(self) -> None:
        """Wait until a paid POST may go out: the vendor accepts calls, and there is a token."""
        await self.opened.api.wait_ready()

    async def submit_once(
        self, request: Request, *, before_send: Callable[[], Awaitable[None]] | None = None
    ) -> Submission:
        """Send one paid POST without waiting, retrying or polling its jobs.

        Once its connection is made, and before its first byte, `before_send` is awaited: what that raises is
        raised here, and nothing was sent. A transport of the caller's own that is not httpx's never calls it.

        The raised doubt holds every id that can be read in the answer, by language where that is known. None
        of them is confirmed: record them first, then call `confirm_submission(doubt)`. If nothing was
        recorded and the process is killed meanwhile, paid jobs are lost.

        Raises:
            SubmissionInDoubt: it was sent, or may have been, and its answer is unknown.
            AkoolError: it was refused as a whole or never sent.
        """
        return await submit_request(self.opened.api, request, patient=False, before_send=before_send)

    async def confirm_submission(self, doubt: SubmissionInDoubt) -> Submission:
        """Poll the jobs that a doubt names; return what it turned out to be.

        Languages whose job the vendor knows are `accepted`, the others `missing`, that is still in doubt.
        Every other id is in `extra`, also one that could not be confirmed. Does not raise for the API.
        """
        answers = await self.confirm(doubt.job_ids)
        jobs = {job_id: Job(id=job_id) for job_id in doubt.job_ids}
        for job_id, answer in answers.items():
            if isinstance(answer, Snapshot):
                jobs[job_id] = wire.read_job(answer)
        # A language is accepted only if the API knows its job. What the torn answer claims is not enough: the
        # entry would wait for a job that may not exist.
        accepted = {}
        for target, job_id in doubt.job_ids_by_target.items():
            jobs[job_id] = attrs.evolve(jobs[job_id], target=target)
            if isinstance(answers.get(job_id), Snapshot):
                accepted[target] = jobs.pop(job_id)
        return Submission(
            accepted=tuple(accepted[target] for target in doubt.targets if target in accepted),
            missing=tuple(target for target in doubt.targets if target not in accepted),
            extra=tuple(jobs.values()),
        )

    async def confirm(self, job_ids: Iterable[str]) -> dict[str, Snapshot | AkoolError]:
        """Poll jobs that may exist, all at once; the vendor may not know a new one at first.

        Returns:
            By id the snapshot of a job that exists, a `JobNotFoundError` where the vendor knows no such job
            after several polls, or the error that kept it from being asked: that one proves nothing. Ids
            beyond the first 64 are left out.
        """
        answers: dict[str, Snapshot | AkoolError] = {}

        async def ask(job_id: str) -> None:
            began = self.clock.monotonic()
            for attempt in itertools.count(1):
                try:
                    answers[job_id] = await self.status(job_id)
                except AkoolError as error:
                    answers[job_id] = error
                wait = self.retry.delay(attempt, self.clock.monotonic() - began)
                # Only "not found" is asked again: right after the POST the vendor may not know its own job
                # yet. Any other error was repeated by the client already.
                if wait is None or not isinstance(answers[job_id], JobNotFoundError):
                    break
                await self.clock.sleep(wait)

        async with anyio.create_task_group() as tasks:
            for job_id in itertools.islice(dict.fromkeys(job_ids), _MOST_CONFIRMED):
                tasks.start_soon(ask, job_id)
        return answers

    # Jobs.

    async def status(self, job: Job | str) -> Snapshot:
        """Ask once where a job is; `AkoolClient.status` describes it."""
        # Ids come from answers, callbacks and users. One with "&" or "?" in it would change the query.
        job_id = read_job_id(job)
        call = ApiCall(path=wire.STATUS_PATH, query={"video_model_id": job_id})
        return await self.opened.api.call(call, partial(wire.read_snapshot, job_id=job_id))

    def watch(
        self, job_id: str, listener: Listener, *, schedule: PollSchedule, age: float | None
    ) -> PolledJob:
        """Call `listener` after every poll of a job; see `PollScheduler.watch`.

        Raises:
            ClientClosedError: the client is closed.
        """
        # Without raw answers: they are large, and there may be very many jobs.
        job = self.opened.scheduler.watch(job_id, schedule, listener, age=age, raw_wanted=False)
        job.end_reported = True  # by the batch, which knows its entry
        return job

    def unwatch(self, job: PolledJob, listener: Listener) -> None:
        """Stop calling `listener`; does nothing once the client is closed."""
        if self.connections is not None:
            self.connections.scheduler.unwatch(job, listener)

    def reschedule(self) -> None:
        """Plan all polls anew because a schedule has changed; does nothing once the client is closed."""
        if self.connections is not None:
            self.connections.scheduler.reschedule()

    def on_callback(self, callback: Callback) -> None:
        """Poll the job of a webhook soon, unless the webhook says that the job is still in progress."""
        if self.connections is not None and callback.should_poll:
            self.connections.scheduler.hint(callback.job_id)

    # Files.

    async def download(self, request: DownloadRequest) -> Saved:
        """Save a result; ask for fresh URLs once if the file host no longer knows one.

        Of several tasks that save one job under one name, one downloads; the others wait for what it saves.

        Raises:
            InvalidRequestError: a file of that name exists.
            StorageError: the folder can't be written.
            DownloadError: the video is incomplete; nothing of it has its final name.
        """

        # Asked for at most once, and only if the file host refuses: a URL lives shorter than the result.
        async def fresh_urls() -> Mapping[Artifact, str]:
            fresh = await self.status(request.job_id)
            return result_urls(fresh, without_captions=request.without_captions)

        result = ResultDownload(self.opened.downloads, request, fresh_urls)
        # Not one task for all: if the first is cancelled or fails, the next one resumes its part.
        key = request.stem.absolute(), request.job_id
        async with self._download_locks.setdefault(key, anyio.Lock()):
            return await result.run()


def read_job_id(job: Job | str) -> str:
    """Return the id of a job, or that id itself; refuse what can't be one."""
    job_id = job.id if isinstance(job, Job) else job
    if not isinstance(job_id, str):
        raise InvalidRequestError(f"{type(job).__name__} is not a job, and not the id of one.")
    if not wire.JOB_ID.fullmatch(job_id):
        raise InvalidRequestError(f"{safe_repr(job_id)} is not a job id.")
    return job_id


# The paid POST: a request in, the jobs that it made out, or a doubt.


async def submit_request(
    api: ApiSession,
    request: Request,
    *,
    patient: bool,
    before_send: Callable[[], Awaitable[None]] | None = None,
    on_abandoned: Callable[[Submission | AkoolError], None] | None = None,
) -> Submission:
    """Send one paid POST; with `patient` it waits and tries again where that is safe.

    If the caller is cancelled meanwhile, the answer is logged, then `on_abandoned` is called with it.

    Raises:
        SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
        AkoolError: it was refused as a whole or never sent.
    """

    def abandoned(result: wire.Envelope | Exception) -> None:
        answer = _log_abandoned(result, request)
        if on_abandoned is not None:
            on_abandoned(answer)

    call = ApiCall(
        method="POST",
        path=wire.create_path(request),
        payload=wire.create_payload(request),
        job_count=len(request.targets),
        patient=patient,
        on_abandoned=abandoned,
        before_send=before_send,
    )
    result: wire.Envelope | Exception
    try:
        result = await api.send_paid(call)
    except CallInDoubt as failed:
        result = failed
    return _read(result, request)


def describe(request: Request) -> str:
    """Return what a paid POST is for, as the log shows it: its key, or the video's URL, and the languages."""
    languages = ", ".join(filter(None, request.targets))
    name = sanitize(request.key or strip_query(video_url(request)))
    return f"{name} ({languages})" if languages else name


def _log_abandoned(result: wire.Envelope | Exception, request: Request) -> Submission | AkoolError:
    """Log the end of a POST whose caller was cancelled, or its ids would be lost; return its answer."""
    try:
        answer = _read(result, request)
    except AkoolError as error:
        logger.warning(
            "The paid call for %s, whose caller was cancelled, ended: %s", describe(request), error
        )
        return error
    jobs = ", ".join(
        f"{job.id} ({job.target})" if job.target else job.id for job in (*answer.accepted, *answer.extra)
    )
    refused = "".join(f" Refused: {refusal.target}: {refusal.error}" for refusal in answer.refused)
    missing = (
        f" In doubt, not mentioned in the answer: {', '.join(answer.missing)}." if answer.missing else ""
    )
    logger.warning(
        "The paid call for %s, whose caller was cancelled, made these jobs, which are billed: %s.%s%s",
        describe(request),
        jobs or "none",
        refused,
        missing,
    )
    return answer


def _read(result: wire.Envelope | Exception, request: Request) -> Submission:
    """Return the jobs of a paid POST; an answer that can't be used is a doubt, with every id in it."""
    cause: AkoolError
    answer: bytes | Mapping[str, Any]
    if isinstance(result, CallInDoubt):
        words, cause, answer = "was sent and its answer is not known", result.error, result.body
    elif isinstance(result, Exception):
        raise result
    else:
        try:
            return wire.read_submission(result, request)
        except ProtocolError as error:
            words, cause, answer = "was answered in a way that is not understood", error, result.raw
    # Every id counts, in whatever place: one that is not reported here is a paid job that nobody looks for.
    jobs = wire.find_jobs(answer, request)
    del answer  # it may repeat the key, and a traceback with local variables would show it
    wrong_host = isinstance(result, CallInDoubt) and result.failure is Failure.NOT_UNDERSTOOD
    doubt = SubmissionInDoubt(
        f"A paid call {words}. {cause.message}",
        advice=f"{cause.advice} {SubmissionInDoubt.advice}" if wrong_host else None,
        job_ids=tuple(job.id for job in jobs),
        # Reversed, so that the first of several jobs of a language counts, as in a whole answer.
        job_ids_by_target={job.target: job.id for job in reversed(jobs) if job.target in request.targets},
        targets=request.targets,
        wrong_host=wrong_host,
        code=cause.code,
        http_status=cause.http_status,
        vendor_message=cause.vendor_message,
    )
    if jobs:
        logger.warning(
            "The unusable answer to the paid call for %s names these jobs: %s.",
            describe(request),
            ", ".join(doubt.job_ids),
        )
    raise doubt from detach(cause)
