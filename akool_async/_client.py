"""The vendor's verbs, for one account: what a caller awaits.

Joins the rooms: a verb becomes a call, its envelope becomes a value. Order of steps over many jobs is
not decided here.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async._clock import RealClock
from akool_async._core import wire
from akool_async._core.artifacts import urls_of
from akool_async._core.callback import Callback
from akool_async._core.clock import Clock
from akool_async._core.credentials import HOST_VARIABLE, Credentials, choose
from akool_async._core.errors import (
    AkoolError,
    DownloadFailed,
    InvalidRequest,
    ProtocolError,
    SubmissionInDoubt,
    WaitTimeout,
)
from akool_async._core.fingerprint import key_of
from akool_async._core.host import PRODUCTION, origin_of
from akool_async._core.learned import LearnedSchedule
from akool_async._core.models import Job, Language, Snapshot, Submission, Voice, VoicePage
from akool_async._core.names import USUAL, is_safe
from akool_async._core.observation import Observation, Verdict
from akool_async._core.outcomes import Completed, Saved
from akool_async._core.provenance import provenance
from akool_async._core.requests import Request
from akool_async._core.schedule import PollSchedule, RetryPolicy
from akool_async._core.text import clean
from akool_async._download import AWAY, Delivery, Downloads, Parcel
from akool_async._download import Limits as FileLimits
from akool_async._transport import Api, Call, Limits
from akool_async._transport.routes import TransportName, built, injected
from akool_async._waiting import Listener, Waiting, Watch

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("akool_async")

_JOB_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")
_PAGE: Final = 100
_MOST_PAGES: Final = 10_000


@attrs.frozen(kw_only=True)
class _Open:
    """What there is while a client is open."""

    api: Api
    waiting: Waiting
    downloads: Downloads
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
        InvalidRequest: credentials are missing or doubled, or a value is out of its range.
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
            raise InvalidRequest(f"transport must be 'auto' or 'plain', not {transport!r}.")
        self._credentials: Credentials = choose(
            api_key=api_key, client_id=client_id, client_secret=client_secret, environment=os.environ
        )
        self._origin = origin_of(host or os.environ.get(HOST_VARIABLE) or PRODUCTION)
        self._http_client = http_client
        self._transport: TransportName = transport
        self._limits = Limits(connect=connect_timeout, call=timeout, create=create_timeout)
        self._retry = retry or RetryPolicy()
        self._schedule = schedule or LearnedSchedule()
        self._clock = clock or RealClock()
        self._file_limits: FileLimits | None = None
        self._file_transport: httpx.AsyncBaseTransport | None = None
        self._state: _Open | None = None

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
            built(self._origin, self._transport) if self._http_client is None else injected(self._http_client)
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(routes)
            tasks = anyio.create_task_group()
            api = Api(
                origin=self._origin,
                credentials=self._credentials,
                routes=routes,
                clock=self._clock,
                tasks=tasks,
                retry=self._retry,
                limits=self._limits,
                user_agent=_user_agent(),
            )
            waiting = Waiting(
                self._poll,
                clock=self._clock,
                tasks=tasks,
                pollers=routes.most,
                vendor_now=api.server_time.now,
            )
            await tasks.__aenter__()
            self._state = _Open(
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
            state.tasks.cancel_scope.cancel()
            await state.tasks.__aexit__(None, None, None)

    def _downloads(self) -> Downloads:
        return Downloads(
            origin=self._origin,
            clock=self._clock,
            retry=self._retry,
            user_agent=_user_agent(),
            limits=self._file_limits,
            transport=self._file_transport,
        )

    @property
    def _opened(self) -> _Open:
        if self._state is None:
            raise RuntimeError(
                "The client is not open. Use it inside: async with AkoolClient() as client: ..."
            )
        return self._state

    # What the account and the vendor have.

    async def languages(self) -> tuple[Language, ...]:
        """Give the languages that videos can be translated into.

        Raises:
            AkoolError: the call failed after its repeats.
        """
        return wire.read_languages(await self._opened.api.make(Call(path=wire.LANGUAGES_PATH)))

    async def voices(self, language_code: str | None = None) -> AsyncIterator[Voice]:
        """Give all voices, page after page, each once.

        Args:
            language_code: only the voices for this language; None gives all.

        Raises:
            AkoolError: a call failed after its repeats.
        """
        seen: set[str] = set()
        entries = 0
        for page in range(1, _MOST_PAGES):
            found = await self._voice_page(language_code or "", page)
            entries += found.entries
            fresh = [voice for voice in found.voices if voice.voice_id not in seen]
            seen.update(voice.voice_id for voice in fresh)
            for voice in fresh:
                yield voice
            if not found.entries or (found.voices and not fresh):
                return
            if entries >= found.count if found.count is not None else found.entries < _PAGE:
                return

    async def _voice_page(self, language_code: str, page: int) -> VoicePage:
        query: Mapping[str, str | int] = {"language_code": language_code, "page": page, "size": _PAGE}
        return wire.read_voices(await self._opened.api.make(Call(path=wire.VOICES_PATH, query=query)))

    async def credit(self) -> float:
        """Give the account's balance, in credits.

        Raises:
            AkoolError: the call failed after its repeats.
        """
        return wire.read_credit(await self._opened.api.make(Call(path=wire.CREDIT_PATH)))

    # Jobs.

    async def submit(self, request: Request) -> Submission:
        """Send one paid POST: one job for each target of the request.

        It is sent once. It is sent again only if it provably never left, or if it was answered with a
        refusal that asks for it (too often, token expired). A caller that is cancelled meanwhile leaves
        it under way: what came of it is then logged, with the job ids.

        Returns:
            The jobs that were made, and the languages that were refused or not mentioned.

        Raises:
            SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
            AkoolError: it was refused as a whole or never sent: nothing was charged.
        """
        return await self._submit(request, patient=True)

    async def _submit(self, request: Request, *, patient: bool) -> Submission:
        call = Call(
            method="POST",
            path=wire.create_path(request),
            payload=wire.create_payload(request),
            paid=True,
            patient=patient,
            orphaned=_log_orphan(request),
        )
        try:
            return _read_paid(await self._opened.api.make(call), request)
        except SubmissionInDoubt as doubt:
            doubt.targets = request.targets
            return await self._confirmed(doubt, request)

    async def _confirmed(self, doubt: SubmissionInDoubt, request: Request) -> Submission:
        """Resolve the doubt if one id could be read for one target and the vendor knows it."""
        if len(doubt.job_ids) != 1 or len(request.targets) != 1:
            raise doubt
        try:
            snapshot = await self.status(doubt.job_ids[0])
        except AkoolError as error:
            raise doubt from error
        job = Job(
            id=snapshot.job_id,
            target=request.targets[0],
            status=snapshot.status,
            created_at=snapshot.created_at,
            video_id=snapshot.video_id,
            raw=snapshot.raw,
        )
        return Submission(accepted=(job,))

    async def status(self, job_id: str) -> Snapshot:
        """Ask once where a job is.

        Raises:
            JobGone: the vendor does not know it.
            AkoolError: the call failed after its repeats.
        """
        if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
            raise InvalidRequest(f"{job_id!r:.60} is not a job id.")
        return await self._poll(job_id)

    async def _poll(self, job_id: str) -> Snapshot:
        call = Call(path=wire.STATUS_PATH, query={"video_model_id": job_id})
        return wire.read_snapshot(await self._opened.api.make(call), job_id)

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
        seen = await self._ended(job_id, give_up_after=give_up_after, schedule=schedule, age=None)
        return _result(seen)

    async def _ended(
        self, job_id: str, *, give_up_after: float | None, schedule: PollSchedule | None, age: float | None
    ) -> Observation:
        if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
            raise InvalidRequest(f"{job_id!r:.60} is not a job id.")
        if give_up_after is not None and not give_up_after > 0:
            raise InvalidRequest(
                f"give_up_after must be a positive number of seconds, not {give_up_after!r}."
            )
        ended = anyio.Event()

        def changed(watch: Watch) -> None:
            if watch.ended:
                ended.set()

        waiting = self._opened.waiting
        watch = waiting.add(job_id, schedule or self._schedule, changed, age=age)
        try:
            with anyio.move_on_after(give_up_after):
                await ended.wait()
        finally:
            waiting.leave(watch, changed)
        if watch.error is not None:
            raise watch.error
        if not watch.observation.ended:
            raise WaitTimeout(f"Job {job_id} was not done within {give_up_after:g} s.", job_id=job_id)
        return watch.observation

    async def watch(self, job_id: str, *, schedule: PollSchedule | None = None) -> AsyncIterator[Snapshot]:
        """Give a job's snapshots as they change, the last one when it has ended.

        A failed job is given as a snapshot with status FAILED.

        Raises:
            JobFailed: the job vanished, or ended without a URL.
            AkoolError: asking became impossible, as with bad credentials.
        """
        if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
            raise InvalidRequest(f"{job_id!r:.60} is not a job id.")
        news = anyio.Event()

        def changed(_: Watch) -> None:
            news.set()

        waiting = self._opened.waiting
        watch = waiting.add(job_id, schedule or self._schedule, changed)
        given: Snapshot | None = None
        try:
            while True:
                await news.wait()
                news = anyio.Event()
                seen, ended = watch.observation.snapshot, watch.ended
                if seen is not None and seen != given:
                    given = seen
                    yield seen
                if ended:
                    break
        finally:
            waiting.leave(watch, changed)
        if watch.error is not None:
            raise watch.error
        if watch.observation.verdict in (Verdict.GONE, Verdict.NO_RESULT):
            raise watch.observation.failure()

    async def translate(self, request: Request, *, give_up_after: float | None = None) -> Completed:
        """Submit one request for one language, or a lip-sync, and wait for its result.

        Args:
            request: with exactly one target.
            give_up_after: seconds to wait once it is submitted; None waits as long as it takes.

        Raises:
            InvalidRequest: it has several targets: submit it, or hand it to a batch. Nothing was sent.
            SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
            JobFailed: the job ended without a result.
            WaitTimeout: it was not done in time; it goes on and is billed.
            AkoolError: it was refused or never sent: nothing was charged.
        """
        if len(request.targets) != 1:
            raise InvalidRequest(
                f"translate takes one target, not {len(request.targets)}.",
                advice="Hand it to client.submit, which gives one job for each.",
            )
        submitted_at = self._clock.now()
        job = _only_job(await self.submit(request), request)
        try:
            seen = await self._ended(job.id, give_up_after=give_up_after, schedule=None, age=0.0)
        except anyio.get_cancelled_exc_class():
            logger.warning("No longer waiting for job %s, which goes on at the vendor and is billed.", job.id)
            raise
        return self._completed(request, job, _result(seen), submitted_at)

    def _completed(self, request: Request, job: Job, snapshot: Snapshot, submitted_at: datetime) -> Completed:
        return Completed(
            key=key_of(request, job.target),
            request=request,
            target=job.target,
            job=job,
            snapshot=snapshot,
            submitted_at=submitted_at,
            ended_at=self._clock.now(),
            credits=job.credits_locked if snapshot.credits_used is None else snapshot.credits_used,
        )

    # For the batch, which keeps its own order of steps.

    async def _ready(self) -> None:
        """Wait until a paid POST may go out; see `Api.ready`."""
        await self._opened.api.ready()

    def _server_now(self) -> datetime:
        """The moment at the vendor, by whose clock results die."""
        return self._opened.api.server_time.now()

    async def _submit_now(self, request: Request) -> Submission:
        """Submit without waiting or trying again; what `submit` would wait for is raised at once."""
        return await self._submit(request, patient=False)

    def _follow(
        self, job_id: str, listener: Listener, *, schedule: PollSchedule | None, age: float | None
    ) -> Callable[[], None]:
        """Tell `listener` of every poll of a job; give what ends that."""
        waiting = self._opened.waiting
        watch = waiting.add(job_id, schedule or self._schedule, listener, age=age)
        return lambda: waiting.leave(watch, listener)

    def _replan(self) -> None:
        """Plan polls anew, because a schedule has changed its mind."""
        self._opened.waiting.replan()

    def hint(self, job_id: str) -> bool:
        """Ask about a job soon, because something may have happened to it.

        Hints cause one poll a second at most. They are not believed: the poll decides.

        Returns:
            Whether anybody waits for this job.
        """
        return self._opened.waiting.hint(job_id)

    def called_back(self, callback: Callback) -> None:
        """Take in a webhook, as `receiver.attach(client)` wants it: ask about the job unless it goes on."""
        if self._state is not None and callback.wakes:
            self.hint(callback.job_id)

    # Files.

    async def download(
        self,
        done: Completed | Snapshot,
        *,
        into: str | os.PathLike[str],
        name: str | None = None,
        overwrite: bool = False,
        captionless: bool = False,
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
            captionless: bring home the video without burnt-in captions too, where the vendor made one.

        Raises:
            InvalidRequest: there is no result yet, or a file is there already.
            DiskFailed: the folder can't be written: full, read-only or not a folder.
            DownloadFailed: a file did not come whole; nothing stands under its name.
        """
        stem = Path(into) / _stem(done, name)
        return await self._bring_home(done, stem, overwrite=overwrite, captionless=captionless)

    async def _bring_home(
        self,
        done: Completed | Snapshot,
        stem: Path,
        *,
        overwrite: bool = False,
        captionless: bool = False,
        known: bool = False,
    ) -> Saved:
        """Download; a URL that does not open is asked for once more."""
        snapshot = done if isinstance(done, Snapshot) else done.snapshot
        if not snapshot.url:
            raise InvalidRequest(
                f"Job {snapshot.job_id} has no result to download (status {snapshot.status.name})."
            )
        parcel = Parcel(
            owner=snapshot.job_id,
            urls=urls_of(snapshot, captionless=captionless),
            stem=stem,
            about=provenance(done, saved_at=self._clock.now(), program=_user_agent()),
            overwrite=overwrite,
            known=known,
        )
        downloads = self._opened.downloads
        try:
            return await Delivery(downloads, parcel).run()
        except DownloadFailed as error:
            if error.http_status not in AWAY:
                raise
        fresh = await self.status(snapshot.job_id)
        urls = urls_of(fresh, captionless=captionless) or parcel.urls
        return await Delivery(downloads, attrs.evolve(parcel, urls=urls, fresh=True)).run()


def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version  # late: it takes as long as all of attrs

    try:
        return f"akool-async/{version('akool-async')}"
    except PackageNotFoundError:
        return "akool-async"


def _read_paid(envelope: wire.Envelope, request: Request) -> Submission:
    """Read the answer of a paid POST; one that can't be understood is a doubt."""
    try:
        return wire.read_submission(envelope, request)
    except ProtocolError as error:
        raise SubmissionInDoubt(
            f"A paid call was answered in a way that is not understood. {error.what}",
            job_ids=error.job_ids,
            targets=request.targets,
        ) from error


def _only_job(submission: Submission, request: Request) -> Job:
    if submission.accepted:
        return submission.accepted[0]
    if submission.refused:
        raise submission.refused[0].error
    raise SubmissionInDoubt(
        "The answer to a paid call does not say what became of it.",
        job_ids=submission.job_ids,
        targets=request.targets,
    )


def _log_orphan(request: Request) -> Callable[[Any], None]:
    """Give what is called if nobody waits for the answer of a paid POST any more."""

    def log(result: wire.Envelope | Exception) -> None:
        try:
            if isinstance(result, Exception):
                raise result
            ids = ", ".join(_read_paid(result, request).job_ids) or "none"
        except AkoolError as error:
            logger.warning("The paid call of a cancelled caller ended: %s", error)
        else:
            logger.warning("The paid call of a cancelled caller made these jobs, which are billed: %s.", ids)

    return log


def _result(seen: Observation) -> Snapshot:
    if seen.verdict is Verdict.COMPLETED and seen.snapshot is not None:
        return seen.snapshot
    raise seen.failure()


def _stem(done: Completed | Snapshot, name: str | None) -> str:
    if name is not None:
        if not is_safe(name):
            raise InvalidRequest(f"name must be a plain file name, not {clean(repr(name))}.")
        return name
    return done.job_id if isinstance(done, Snapshot) else USUAL.name(done.request, done.target)
