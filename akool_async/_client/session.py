"""What a batch or a worker may use of a client: one step of the vendor's API at a time.

The verbs of `AkoolClient` are made of the same steps. A step neither waits nor repeats more than it says,
so that its user decides the order of steps over many jobs.
"""

from __future__ import annotations

import contextlib
from contextlib import AsyncExitStack
from datetime import datetime

import attrs
from anyio.abc import TaskGroup

from akool_async import _wire as wire
from akool_async._client.submission import submit_request
from akool_async._client.waiting import validate_job_id
from akool_async._clock import Clock
from akool_async._download import GONE_STATUSES, DownloadRequest, FileDownloader, ResultDownload
from akool_async._http import ApiCall, ApiSession
from akool_async._model.errors import ClientClosedError, DownloadError, JobNotFoundError
from akool_async._model.outcomes import Saved, result_urls
from akool_async._model.requests import Request
from akool_async._model.responses import Callback, Snapshot, Submission
from akool_async._polling.scheduler import Listener, PolledJob, PollScheduler
from akool_async._polling.schedules import PollSchedule
from akool_async._retry import RetryPolicy


@attrs.frozen(kw_only=True)
class Connections:
    """What exists while a client is open."""

    api: ApiSession
    scheduler: PollScheduler
    downloads: FileDownloader
    tasks: TaskGroup
    stack: AsyncExitStack


class ClientSession:
    """The steps of one client; made by it, given out by `AkoolClient.session`.

    Args:
        clock: time and randomness.
        retry: when failed calls are repeated.
        schedule: when jobs are polled, unless another schedule is given.

    Attributes:
        connections: None while the client is closed.
    """

    def __init__(self, *, clock: Clock, retry: RetryPolicy, schedule: PollSchedule) -> None:
        self.clock = clock
        self.retry = retry
        self.schedule = schedule
        self.connections: Connections | None = None

    @property
    def opened(self) -> Connections:
        """The connections of an open client.

        Raises:
            ClientClosedError: the client is closed.
        """
        if self.connections is None:
            raise ClientClosedError("The client is not open.")
        return self.connections

    def server_now(self) -> datetime:
        """Return the time at the vendor, by whose clock results expire; ours while the client is closed."""
        return self.clock.now() if self.connections is None else self.connections.api.server_time.now()

    # Submissions.

    async def wait_ready(self) -> None:
        """Wait until a paid POST may go out: the vendor accepts calls, and there is a token.

        Raises:
            AkoolError: no token could be had.
        """
        await self.opened.api.wait_ready()

    async def submit_once(self, request: Request) -> Submission:
        """Send one paid POST without waiting or retrying; `submit` describes the rest.

        Raises:
            SubmissionInDoubt: it was sent, or may have been, and its answer is unknown.
            AkoolError: it was refused as a whole or never sent.
        """
        return await submit_request(self.opened.api, request, self._confirm, may_wait=False)

    async def submit(self, request: Request) -> Submission:
        """Send one paid POST; wait and repeat it where it surely made no job."""
        return await submit_request(self.opened.api, request, self._confirm, may_wait=True)

    async def _confirm(self, job_id: str) -> Snapshot:
        """Ask for a job that was just made, if at all: the vendor may not know it yet."""
        began, attempts = self.clock.monotonic(), 0
        while True:
            attempts += 1
            try:
                return await self.status(job_id)
            except JobNotFoundError:
                wait = self.retry.delay(attempts, self.clock.monotonic() - began)
                if wait is None:
                    raise
            await self.clock.sleep(wait)

    # Jobs.

    async def status(self, job_id: str) -> Snapshot:
        """Ask once where a job is; `AkoolClient.status` describes it."""
        validate_job_id(job_id)
        call = ApiCall(path=wire.STATUS_PATH, query={"video_model_id": job_id})
        return await self.opened.api.call(call, lambda envelope: wire.read_snapshot(envelope, job_id))

    def watch(
        self, job_id: str, listener: Listener, *, schedule: PollSchedule | None, age: float | None
    ) -> PolledJob:
        """Call `listener` after every poll of a job; raw answers are kept only of the last one.

        Args:
            job_id: the job.
            listener: called the last time when the job is terminal.
            schedule: when the job is polled; None for the client's schedule.
            age: seconds since the job was made; 0 if just now, None if unknown, which polls at once.

        Raises:
            ClientClosedError: the client is closed.
        """
        scheduler = self.opened.scheduler
        return scheduler.watch(job_id, schedule or self.schedule, listener, age=age, raw_wanted=False)

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

        Raises:
            InvalidRequestError: a file of that name exists.
            StorageError: the folder can't be written.
            DownloadError: a file is incomplete; nothing of it has its final name.
        """
        try:
            return await ResultDownload(self.opened.downloads, request).run()
        except DownloadError as error:
            if error.http_status not in GONE_STATUSES:
                raise
        urls = dict(request.urls)
        # A job that the vendor no longer knows has no fresher URLs; what is saved already still counts.
        with contextlib.suppress(JobNotFoundError):
            fresh = await self.status(request.job_id)
            urls |= result_urls(fresh, without_captions=request.without_captions)
        return await ResultDownload(
            self.opened.downloads, attrs.evolve(request, urls=urls, urls_fresh=True)
        ).run()
