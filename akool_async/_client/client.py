"""The vendor's verbs, for one account: what a caller awaits.

Joins the rooms: a verb becomes a call, its envelope becomes a value. Order of steps over many jobs is
not decided here.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async import _wire as wire
from akool_async._client import submission as paying
from akool_async._client import waiting as following
from akool_async._clock import Clock, SystemClock
from akool_async._download import GONE_STATUSES, DownloadPlan, FileDownloader, ResultDownload
from akool_async._download import DownloadLimits as FileLimits
from akool_async._download.downloader import make_manifest
from akool_async._http import ApiCall, ApiSession, Timeouts
from akool_async._http.clients import TransportName, create_clients, from_user_client
from akool_async._model.credentials import (
    HOST_VARIABLE,
    PRODUCTION,
    Credentials,
    parse_origin,
    resolve_credentials,
)
from akool_async._model.errors import (
    AccountError,
    CallerError,
    ClientClosedError,
    DownloadError,
    InvalidRequestError,
    JobNotFoundError,
)
from akool_async._model.filenames import DEFAULT_TEMPLATE, is_safe_filename
from akool_async._model.fingerprint import entry_key
from akool_async._model.outcomes import Completed, Saved, result_urls
from akool_async._model.redact import sanitize
from akool_async._model.requests import Request
from akool_async._model.responses import Callback, Job, Language, Snapshot, Submission, Voice, VoicePage
from akool_async._polling.adaptive import LearnedSchedule
from akool_async._polling.scheduler import Listener, PolledJob, PollScheduler
from akool_async._polling.schedules import PollSchedule
from akool_async._retry import RetryPolicy

if TYPE_CHECKING:
    import httpx


# What the account and the vendor have: languages, voices, credits.


_PAGE: Final = 100
_MOST_PAGES: Final = 10_000


async def languages(api: ApiSession) -> tuple[Language, ...]:
    """Give the languages that videos can be translated into."""
    return await api.call(ApiCall(path=wire.LANGUAGES_PATH), wire.read_languages)


async def credit(api: ApiSession) -> float:
    """Give the account's balance, in credits."""
    return await api.call(ApiCall(path=wire.CREDIT_PATH), wire.read_credit)


async def voices(api: ApiSession, language_code: str) -> AsyncIterator[Voice]:
    """Give all voices, page after page, each once; "" gives those of all languages."""
    seen: set[str] = set()
    entries = 0
    for page in range(1, _MOST_PAGES):
        found = await _voice_page(api, language_code, page)
        entries += found.entries
        fresh = [voice for voice in found.voices if voice.voice_id not in seen]
        seen.update(voice.voice_id for voice in fresh)
        for voice in fresh:
            yield voice
        if not found.entries or (found.voices and not fresh):
            return
        if entries >= found.count if found.count is not None else found.entries < _PAGE:
            return


async def _voice_page(api: ApiSession, language_code: str, page: int) -> VoicePage:
    query: Mapping[str, str | int] = {"language_code": language_code, "page": page, "size": _PAGE}
    return await api.call(ApiCall(path=wire.VOICES_PATH, query=query), wire.read_voices)


# What the program calls itself towards servers.


def user_agent() -> str:
    """Give the name with the version, where it is installed."""
    from importlib.metadata import PackageNotFoundError, version  # late: it takes as long as all of attrs

    try:
        return f"akool-async/{version('akool-async')}"
    except PackageNotFoundError:
        return "akool-async"


# Bringing one result home: what is fetched, under which name, and a URL that does not open any more.


@attrs.frozen(kw_only=True)
class DownloadRequest:
    """What is to be brought home.

    Attributes:
        done: a completed job.
        stem: folder and name, without ending.
        without_captions: whether the video without burnt-in captions is wanted too.
        overwrite: whether files that stand there are replaced.
        skip_existing: whether a result that is home already is taken as it is.
    """

    done: Completed | Snapshot
    stem: Path
    without_captions: bool = False
    overwrite: bool = False
    skip_existing: bool = False

    @property
    def snapshot(self) -> Snapshot:
        """The answer that said that the job is completed."""
        return self.done if isinstance(self.done, Snapshot) else self.done.snapshot

    def plan(self, now: datetime) -> DownloadPlan:
        """Give what the room of the file hosts needs to know.

        Raises:
            InvalidRequestError: there is no result.
        """
        snapshot = self.snapshot
        if not snapshot.url:
            raise InvalidRequestError(
                f"Job {snapshot.job_id} has no result to download (status {snapshot.status.name})."
            )
        return DownloadPlan(
            job_id=snapshot.job_id,
            urls=result_urls(snapshot, without_captions=self.without_captions),
            stem=self.stem,
            manifest=make_manifest(self.done, saved_at=now, program=user_agent()),
            overwrite=self.overwrite,
            skip_existing=self.skip_existing,
        )


async def download_result(
    wish: DownloadRequest,
    downloads: FileDownloader,
    status: Callable[[str], Awaitable[Snapshot]],
    now: datetime,
) -> Saved:
    """Download; a URL that does not open is asked for once more.

    Raises:
        InvalidRequestError: there is no result, or a file is there already.
        DownloadError: a file did not come whole.
    """
    parcel = wish.plan(now)
    try:
        return await ResultDownload(downloads, parcel).run()
    except DownloadError as error:
        if error.http_status not in GONE_STATUSES:
            raise
    urls = dict(parcel.urls)
    with contextlib.suppress(
        JobNotFoundError
    ):  # there are no fresher ones then; what is home counts all the same
        urls |= result_urls(await status(parcel.job_id), without_captions=wish.without_captions)
    return await ResultDownload(downloads, attrs.evolve(parcel, urls=urls, urls_fresh=True)).run()


def default_stem(done: Completed | Snapshot, name: str | None) -> str:
    """Give the name of the files: the caller's, or one made of what is known.

    Raises:
        InvalidRequestError: the caller's is no plain file name.
    """
    if name is not None:
        if not is_safe_filename(name):
            raise InvalidRequestError(f"name must be a plain file name, not {sanitize(repr(name))}.")
        return name
    return done.job_id if isinstance(done, Snapshot) else DEFAULT_TEMPLATE.name(done.request, done.target)


logger = logging.getLogger("akool_async")


@attrs.frozen(kw_only=True)
class _Resources:
    """What there is while a client is open."""

    api: ApiSession
    waiting: PollScheduler
    downloads: FileDownloader
    tasks: TaskGroup
    stack: AsyncExitStack


class AkoolClient:
    """A client of the Akool video translation API, for one account.

    It is opened with `async with`, in the task that closes it; its methods may be called from any
    task meanwhile. Without arguments the credentials come from AKOOL_API_KEY, or from
    AKOOL_CLIENT_ID and AKOOL_CLIENT_SECRET, and the host from AKOOL_API_HOST.

    Args:
        api_key: the recommended credentials.
        client_id: the legacy credentials, together with `client_secret`.
        client_secret: see `client_id`.
        host: an origin such as "https://openapi.akool.com"; plain http is for this machine only.
        http_client: a ready `httpx.AsyncClient` that everything to the API host is sent by; it stays
            open. Its transport must not repeat requests by itself. What it can't prove to be unsent
            counts as sent.
        transport: "auto" sends what may be repeated by aiohttp's connections where that is possible
            (asyncio, no proxy); "plain" sends everything by httpx alone.
        timeout: seconds for one exchange that may be repeated; the repeats are the policy's.
        connect_timeout: seconds for making a connection.
        create_timeout: seconds for the paid POST; giving up on it makes a doubt, so be generous.
        retry: when failed calls are repeated.
        schedule: when waiting jobs are asked about; default is a `LearnedSchedule` of its own.
        clock: time and chance; for tests.

    Raises:
        InvalidRequestError: credentials are missing or doubled, or a value is out of its range.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        host: str | None = None,
        http_client: httpx.AsyncClient | None = None,
        transport: TransportName = "auto",
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
        create_timeout: float = 180.0,
        retry: RetryPolicy | None = None,
        schedule: PollSchedule | None = None,
        clock: Clock | None = None,
    ) -> None:
        if transport not in ("auto", "plain"):
            raise InvalidRequestError(f"transport must be 'auto' or 'plain', not {transport!r}.")
        self._credentials: Credentials = resolve_credentials(
            api_key=api_key, client_id=client_id, client_secret=client_secret, environment=os.environ
        )
        self._origin = parse_origin(host or os.environ.get(HOST_VARIABLE) or PRODUCTION)
        self._http_client = http_client
        self._transport: TransportName = transport
        self._limits = Timeouts(connect=connect_timeout, call=timeout, create=create_timeout)
        self._retry = retry or RetryPolicy()
        self._schedule = schedule or LearnedSchedule()
        self._clock = clock or SystemClock()
        self._file_limits: FileLimits | None = None
        self._file_transport: httpx.AsyncBaseTransport | None = None
        self._state: _Resources | None = None

    def __repr__(self) -> str:
        """Show the host and whether the client is open; no credentials."""
        return f"<AkoolClient {self._origin} {'closed' if self._state is None else 'open'}>"

    @property
    def host(self) -> str:
        """The origin that all calls go to."""
        return self._origin

    async def __aenter__(self) -> Self:
        """Open the client."""
        if self._state is not None:
            raise RuntimeError("This client is open already.")
        routes = (
            create_clients(self._origin, self._transport)
            if self._http_client is None
            else from_user_client(self._http_client)
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(routes)
            tasks = anyio.create_task_group()
            api = ApiSession(
                origin=self._origin,
                credentials=self._credentials,
                routes=routes,
                clock=self._clock,
                tasks=tasks,
                retry=self._retry,
                limits=self._limits,
                user_agent=user_agent(),
            )
            waiting = PollScheduler(
                self._poll,
                clock=self._clock,
                tasks=tasks,
                pollers=routes.max_concurrency,
                vendor_now=api.server_time.now,
            )
            await tasks.__aenter__()
            self._state = _Resources(
                api=api, waiting=waiting, downloads=self._downloads(), tasks=tasks, stack=stack.pop_all()
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client: a paid POST under way is finished first, all else is given up.

        What was raised in the block goes on as it is, not inside a group.
        """
        state, self._state = self._opened, None
        async with state.stack:
            state.waiting.close()
            state.api.close()
            state.tasks.cancel_scope.cancel()
            await state.tasks.__aexit__(None, None, None)

    def _downloads(self) -> FileDownloader:
        return FileDownloader(
            origin=self._origin,
            clock=self._clock,
            retry=self._retry,
            user_agent=user_agent(),
            limits=self._file_limits,
            transport=self._file_transport,
        )

    @property
    def _opened(self) -> _Resources:
        if self._state is None:
            raise ClientClosedError("The client is not open.")
        return self._state

    # What the account and the vendor have.

    async def languages(self) -> tuple[Language, ...]:
        """Give the languages that videos can be translated into.

        Raises:
            AkoolError: the call failed after its repeats.
        """
        return await languages(self._opened.api)

    def voices(self, language_code: str | None = None) -> AsyncIterator[Voice]:
        """Give all voices, page after page, each once.

        Args:
            language_code: only the voices for this language; None gives all.

        Raises:
            AkoolError: while iterating, a call failed after its repeats.
        """
        return voices(self._opened.api, language_code or "")

    async def credit(self) -> float:
        """Give the account's balance, in credits.

        Raises:
            AkoolError: the call failed after its repeats.
        """
        return await credit(self._opened.api)

    # Jobs.

    async def submit(self, request: Request) -> Submission:
        """Send one paid POST: one job for each target of the request.

        It is sent once. It is sent again only if it provably never left, or if it was answered with a
        refusal that asks for it (too often, token expired). A caller that is cancelled meanwhile leaves
        it under way: what came of it is then logged, with the job ids.

        Args:
            request: a `TranslationRequest` or a `LipSyncRequest`.

        Returns:
            The jobs that were made, and the languages that were refused or not mentioned.

        Raises:
            SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
            AkoolError: it was refused as a whole or never sent: nothing was charged.
        """
        return await paying.submit(self._opened.api, request, self._status_of_young, may_wait=True)

    async def status(self, job_id: str) -> Snapshot:
        """Ask once where a job is.

        Raises:
            JobNotFoundError: the vendor does not know it.
            AkoolError: the call failed after its repeats.
        """
        following.validate_job_id(job_id)
        return await self._poll(job_id)

    async def _status_of_young(self, job_id: str) -> Snapshot:
        """Ask where a job is that was made just now, if at all: it may only not be known yet."""
        began, tries = self._clock.monotonic(), 0
        while True:
            tries += 1
            try:
                return await self.status(job_id)
            except JobNotFoundError:
                wait = self._retry.delay(tries, self._clock.monotonic() - began)
                if wait is None:
                    raise
            await self._clock.sleep(wait)

    async def _poll(self, job_id: str) -> Snapshot:
        call = ApiCall(path=wire.STATUS_PATH, query={"video_model_id": job_id})
        return await self._opened.api.call(call, lambda envelope: wire.read_snapshot(envelope, job_id))

    async def wait(
        self, job_id: str, *, give_up_after: float | None = None, schedule: PollSchedule | None = None
    ) -> Snapshot:
        """Wait until a job is completed.

        Several may wait for one job; they share its polls. A caller that is cancelled leaves the job
        as it is: it goes on at the vendor.

        Args:
            job_id: the job.
            give_up_after: seconds; None waits as long as it takes.
            schedule: when to ask, instead of the client's schedule.

        Returns:
            The snapshot of the completed job, with its URLs.

        Raises:
            JobFailed: the job ended without a result.
            WaitTimeout: it was not done in time; it goes on and is billed.
            AkoolError: asking became impossible, as with bad credentials.
        """
        waiting, rule = self._opened.waiting, schedule or self._schedule
        seen = await following.wait_terminal(waiting, job_id, rule, give_up_after=give_up_after, age=None)
        return following.completed_snapshot(seen)

    def watch(self, job_id: str, *, schedule: PollSchedule | None = None) -> AsyncIterator[Snapshot]:
        """Give a job's snapshots as they change, the last one when it has ended.

        A failed job is given as a snapshot with status FAILED. The loop may be left at any time; the job
        goes on at the vendor.

        Args:
            job_id: the job.
            schedule: when to ask, instead of the client's schedule.

        Raises:
            JobFailed: while iterating, the job vanished, or ended without a URL.
            AkoolError: while iterating, asking became impossible, as with bad credentials.
        """
        return following.watch(self._opened.waiting, job_id, schedule or self._schedule)

    async def translate(self, request: Request, *, give_up_after: float | None = None) -> Completed:
        """Submit one request for one language, or a lip-sync, and wait for its result.

        Args:
            request: with exactly one target.
            give_up_after: seconds to wait once it is submitted; None waits as long as it takes.

        Raises:
            InvalidRequestError: it has several targets: submit it, or hand it to a batch. Or `give_up_after`
                is no number of seconds. Nothing was sent.
            SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
            JobFailed: the job ended without a result.
            WaitTimeout: it was not done in time; it goes on and is billed.
            AkoolError: it was refused or never sent: nothing was charged.
        """
        if len(request.targets) != 1:
            raise InvalidRequestError(
                f"translate takes one target, not {len(request.targets)}.",
                advice="Hand it to client.submit, which gives one job for each.",
            )
        following.validate_timeout(give_up_after)
        submitted_at, waiting = self._clock.now(), self._opened.waiting
        job = paying.single_job(await self.submit(request), request)
        try:
            seen = await following.wait_terminal(
                waiting, job.id, self._schedule, give_up_after=give_up_after, age=0.0
            )
        except (anyio.get_cancelled_exc_class(), AccountError, CallerError):  # which name no job
            logger.warning("No longer waiting for job %s, which goes on at the vendor and is billed.", job.id)
            raise
        return self._completed(request, job, following.completed_snapshot(seen), submitted_at)

    def _completed(self, request: Request, job: Job, snapshot: Snapshot, submitted_at: datetime) -> Completed:
        return Completed(
            key=entry_key(request, job.target),
            request=request,
            target=job.target,
            job=job,
            snapshot=snapshot,
            submitted_at=submitted_at,
            ended_at=self._clock.now(),
            credits=job.credits_locked if snapshot.credits_used is None else snapshot.credits_used,
        )

    # Hints.

    def poll_soon(self, job_id: str) -> bool:
        """Ask about a job soon, because something may have happened to it.

        Hints cause one poll a second at most. They are not believed: the poll decides.

        Returns:
            Whether anybody waits for this job.
        """
        return self._opened.waiting.hint(job_id)

    def on_callback(self, callback: Callback) -> None:
        """Take in a webhook, as `receiver.attach(client)` wants it: ask about the job unless it goes on."""
        if self._state is not None and callback.should_poll:
            self.poll_soon(callback.job_id)

    # Files.

    async def download(
        self,
        done: Completed | Snapshot,
        *,
        into: str | os.PathLike[str],
        name: str | None = None,
        overwrite: bool = False,
        without_captions: bool = False,
    ) -> Saved:
        """Bring a result and its subtitles home, with a side file (JSON) that says where they come from.

        What breaks is gone on with where it broke, also by the next call and the next process. A file
        gets its name when all of it is there. A caller that is cancelled leaves whole files, and parts
        (".part") that are gone on with.

        Args:
            done: a completed job.
            into: the folder; it is made if it is missing.
            name: of the files, without ending. Default: the video and the language of a `Completed`,
                the id of a `Snapshot`'s job.
            overwrite: whether files of the same names are replaced.
            without_captions: bring home the video without burnt-in captions too, where the vendor made one.

        Raises:
            InvalidRequestError: there is no result yet, or a file is there already.
            StorageError: the folder can't be written: full, read-only or not a folder.
            DownloadError: a file did not come whole; nothing stands under its name.
        """
        stem = Path(into) / default_stem(done, name)
        return await self._bring_home(
            DownloadRequest(done=done, stem=stem, without_captions=without_captions, overwrite=overwrite)
        )

    async def _bring_home(self, wish: DownloadRequest) -> Saved:
        return await download_result(wish, self._opened.downloads, self.status, self._clock.now())

    # For the batch, which keeps its own order of steps.

    async def _ready(self) -> None:
        """Wait until a paid POST may go out; see `Api.ready`."""
        await self._opened.api.wait_ready()

    def _server_now(self) -> datetime:
        """The moment at the vendor, by whose clock results die; ours where the client is closed."""
        return self._clock.now() if self._state is None else self._state.api.server_time.now()

    async def _submit_now(self, request: Request) -> Submission:
        """Submit without waiting or trying again; what `submit` would wait for is raised at once."""
        return await paying.submit(self._opened.api, request, self._status_of_young, may_wait=False)

    def _follow(
        self, job_id: str, listener: Listener, *, schedule: PollSchedule | None, age: float | None
    ) -> PolledJob:
        """Tell `listener` of every poll of a job, without raw answers while it goes on."""
        waiting = self._opened.waiting
        return waiting.watch(job_id, schedule or self._schedule, listener, age=age, raw_wanted=False)

    def _leave(self, watch: PolledJob, listener: Listener) -> None:
        """Tell it no more; a client that is closed tells nobody anything."""
        if self._state is not None:
            self._state.waiting.unwatch(watch, listener)

    def _replan(self) -> None:
        """Plan polls anew, because a schedule has changed its mind; a client that is closed polls nothing."""
        if self._state is not None:
            self._state.waiting.reschedule()
