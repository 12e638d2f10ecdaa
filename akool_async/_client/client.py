"""The vendor's verbs, for one account: what a caller awaits.

A verb becomes a call, the answer becomes a value. The order of steps over many jobs is decided elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Final, NoReturn, Self

import httpx

from akool_async import _clock
from akool_async import _wire as wire
from akool_async._background import LongLived, opening
from akool_async._client import single_jobs
from akool_async._client.session import ClientSession, read_job_id
from akool_async._client.waiting import job_age, wait_completed, watch_snapshots
from akool_async._clock import Clock
from akool_async._download import DownloadRequest, local_path
from akool_async._environment import find_origin
from akool_async._http import ApiCall, ApiSession, Timeouts
from akool_async._http.clients import TransportName, create_clients, from_user_client
from akool_async._model.credentials import resolve_credentials
from akool_async._model.errors import ConfigurationError, InvalidRequestError
from akool_async._model.filenames import DEFAULT_TEMPLATE, is_safe_path
from akool_async._model.outcomes import Completed, Saved
from akool_async._model.redact import Secret, detach, hide, sanitize
from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import Callback, Job, Language, Snapshot, Submission, Voice
from akool_async._model.validators import file_path, instance_of, one_of, positive, text
from akool_async._observer import Observer, Observers
from akool_async._polling.adaptive import LearnedSchedule
from akool_async._polling.poll_state import PollSchedule
from akool_async._retry import RetryPolicy

_PAGE: Final = 100
_MOST_PAGES: Final = 10_000


class AkoolClient(LongLived):
    """A client of the Akool video translation API, for one account.

    It is opened with `async with`, or with `aopen` where another task closes it (`aclose`); any task of the
    same event loop may call its methods meanwhile. Without arguments the credentials come from
    AKOOL_API_KEY, or from AKOOL_CLIENT_ID and AKOOL_CLIENT_SECRET, and the host from AKOOL_API_HOST.

    Args:
        api_key: the recommended credentials. A text, or a `Secret`, which no traceback shows on its way here.
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
        schedule: when waiting jobs are polled; default is a `LearnedSchedule` of its own.
        clock: time and chance; for tests. Its `now` is called here once.
        observers: see what happens here and in batches of this client, for traces and metrics.

    Attributes:
        session: the single steps, for this package's batch and workers; they may change without notice.

    Raises:
        ConfigurationError: credentials are missing or doubled, or a value is out of its range.
    """

    def __init__(
        self,
        *,
        api_key: str | Secret | None = None,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        host: str | None = None,
        http_client: httpx.AsyncClient | None = None,
        transport: TransportName = "auto",
        timeout: float = 30.0,
        connect_timeout: float = 10.0,
        create_timeout: float = 180.0,
        retry: RetryPolicy | None = None,
        schedule: PollSchedule | None = None,
        clock: Clock | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        # First what can't fail: a traceback with local variables shows the repr of this client and no key.
        api_key, client_secret = hide(api_key), hide(client_secret)
        self._origin = ""
        text.or_none.check("host", host)
        instance_of("a RetryPolicy", RetryPolicy).or_none.check("retry", retry)
        instance_of("an iterable of observers", Iterable).check("observers", observers)
        self.session: ClientSession = ClientSession(
            clock=_clock.default_clock() if clock is None else _clock.check_clock(clock),
            retry=retry or RetryPolicy(),
            schedule=LearnedSchedule() if schedule is None else schedule,
            observers=Observers(observers),
            create_timeout=create_timeout,
        )
        one_of("auto", "plain").check("transport", transport)
        instance_of("an httpx.AsyncClient", httpx.AsyncClient).or_none.check("http_client", http_client)
        self._credentials = resolve_credentials(
            api_key=api_key, client_id=client_id, client_secret=client_secret, environment=_environment
        )
        self._origin = find_origin(host)
        self._http_client = http_client
        self._transport: TransportName = transport
        self._timeouts = Timeouts(
            connect_timeout=connect_timeout, timeout=timeout, create_timeout=create_timeout
        )

    def __repr__(self) -> str:
        """Show the host and whether the client is open; no credentials."""
        return f"<AkoolClient {self._origin} {'closed' if self.session.connections is None else 'open'}>"

    def __getstate__(self) -> NoReturn:
        """Refuse: a pickle would carry the key to wherever it is sent."""
        raise TypeError("A client can't be pickled, because the pickle would contain its key.")

    @property
    def host(self) -> str:
        """The origin that all calls go to."""
        return self._origin

    async def __aenter__(self) -> Self:
        """Open the client."""
        session = self.session
        with opening("client", self, is_open=session.connections is not None):
            # Not in the constructor: the environment is read now, and its mistakes are errors of opening.
            given = self._http_client
            try:
                if given is None:
                    clients = create_clients(self._origin, self._transport)
                else:
                    clients = from_user_client(given, self._origin)
            except ConfigurationError as error:
                raise detach(error) from None  # local variables on its way may hold a proxy's password
            await session.open(
                clients, origin=self._origin, credentials=self._credentials, timeouts=self._timeouts
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client: finish a paid POST under way, give up everything else.

        An exception of the block is raised as it is, not inside a group.
        """
        try:
            closing = self.session.opened
        finally:
            self.session.connections = None
        await closing.close()

    def replace_credentials(
        self,
        *,
        api_key: str | Secret | None = None,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
    ) -> None:
        """Use other credentials for all calls that begin from now on, as when a key is rotated.

        A call under way ends with those that it began with. Without arguments the credentials are read from
        the environment again. The account has to be the same: jobs are known to the one that made them.

        Args:
            api_key: see `AkoolClient`.
            client_id: see `AkoolClient`.
            client_secret: see `AkoolClient`.

        Raises:
            ConfigurationError: they are missing or doubled; those of before stay in use.
        """
        api_key, client_secret = hide(api_key), hide(client_secret)
        self._credentials = resolve_credentials(
            api_key=api_key, client_id=client_id, client_secret=client_secret, environment=_environment
        )
        if self.session.connections is not None:
            self.session.opened.api.set_credentials(self._credentials)

    # What the account and the vendor have.

    async def languages(self) -> tuple[Language, ...]:
        """Return the languages that videos can be translated into.

        Raises:
            AkoolError: the call failed after its repeats.
        """
        return await self.session.opened.api.call(ApiCall(path=wire.LANGUAGES_PATH), wire.read_languages)

    def voices(self, language_code: str | None = None) -> AsyncIterator[Voice]:
        """Return all voices, page after page, each once.

        Args:
            language_code: only the voices for this language; None gives all.

        Raises:
            AkoolError: while iterating, a call failed after its repeats.
        """
        return _iter_voices(self.session.opened.api, language_code or "")

    async def credit(self) -> float:
        """Return the account's balance, in credits.

        Raises:
            AkoolError: the call failed after its repeats.
        """
        return await self.session.opened.api.call(ApiCall(path=wire.CREDIT_PATH), wire.read_credit)

    # Jobs.

    async def submit(self, request: Request, *, patient: bool = True) -> Submission:
        """Send one paid POST: one job for each target of the request.

        It is sent once. It is sent again only if it provably never left, or if it was answered with a
        refusal that asks for it (too often, token expired). A caller that is cancelled meanwhile leaves
        it under way: its result is then logged and reported to observers, with the job ids. No journal has
        it: in a service that may be restarted, use a batch.

        Args:
            request: a `TranslationRequest` or a `LipSyncRequest`.
            patient: whether a call that the vendor rate limits, or that can't connect, is repeated here. If
                not, its error is raised at once, for a queue that waits by itself: `error.disposition` says
                what it means, `RateLimitError.retry_after` how long to wait. Ids that a
                `SubmissionInDoubt` names are not confirmed then: record them before you ask for them.

        Returns:
            The jobs that were made, and the languages that were refused or not mentioned.

        Raises:
            SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
            AkoolError: it was refused as a whole or never sent: nothing was charged.
        """
        _request.check("request", request)
        return await single_jobs.submit(self.session, request, patient=patient)

    async def status(self, job: Job | str) -> Snapshot:
        """Ask once where a job, or the one of an id, is.

        Raises:
            JobNotFoundError: the vendor does not know it.
            AkoolError: the call failed after its repeats.
        """
        return await self.session.status(job)

    async def wait(
        self,
        job: Job | str,
        *,
        created_at: datetime | None = None,
        give_up_after: float | None = None,
        schedule: PollSchedule | None = None,
    ) -> Snapshot:
        """Wait until a job is completed, and return its snapshot with the URLs of its files.

        Several may wait for one job; they share its polls. A caller that is cancelled leaves the job
        as it is: it continues at the vendor.

        Args:
            job: the job, or its id.
            created_at: when the job was made, aware, if that is known. Then no poll is wasted on a new job,
                and the first polls of many old ones, as after a restart, are spread out. None polls at once.
            give_up_after: seconds; None waits as long as it takes.
            schedule: when to ask, instead of the client's schedule.

        Raises:
            JobFailed: the job ended without a result.
            WaitTimeout: it was not done in time; it continues and is billed.
            AkoolError: asking became impossible, as with bad credentials.
        """
        session = self.session
        return await wait_completed(
            session.opened.scheduler,
            session.clock,
            job,
            schedule or session.schedule,
            observers=session.observers,
            give_up_after=give_up_after,
            age=job_age(created_at, session.server_now()),
        )

    def watch(
        self,
        job: Job | str,
        *,
        created_at: datetime | None = None,
        give_up_after: float | None = None,
        schedule: PollSchedule | None = None,
    ) -> AsyncIterator[Snapshot]:
        """Return a job's snapshots as they change, the last one when it has ended.

        A failed job is given as a snapshot with status FAILED. The loop may be left at any time; the job
        continues at the vendor.

        Args:
            job: the job, or its id.
            created_at: see `wait`.
            give_up_after: seconds from the first iteration, those of the loop's body included; None watches
                as long as it takes.
            schedule: when to ask, instead of the client's schedule.

        Raises:
            JobFailed: while iterating, the job vanished, or ended without a URL.
            WaitTimeout: while iterating, it was not done in time; it continues and is billed.
            AkoolError: while iterating, asking became impossible, as with bad credentials.
        """
        positive.or_none.check("give_up_after", give_up_after)
        session = self.session
        return watch_snapshots(
            session.opened.scheduler,
            session.clock,
            job,
            schedule or session.schedule,
            observers=session.observers,
            give_up_after=give_up_after,
            age=job_age(created_at, session.server_now()),
        )

    async def translate(
        self, request: Request, *, give_up_after: float | None = None, schedule: PollSchedule | None = None
    ) -> Completed:
        """Submit one request for one language, or a lip-sync, and wait for its result.

        Args:
            request: with exactly one target.
            give_up_after: seconds to wait once it is submitted; None waits as long as it takes.
            schedule: when to ask, instead of the client's schedule.

        Raises:
            InvalidRequestError: it has several targets: submit it, or hand it to a batch. Or `give_up_after`
                is no number of seconds. Nothing was sent.
            SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
            JobFailed: the job ended without a result.
            WaitTimeout: it was not done in time; it continues and is billed.
            AkoolError: it was refused or never sent: nothing was charged.
        """
        _request.check("request", request)
        if len(request.targets) != 1:
            raise InvalidRequestError(
                f"translate takes one target, not {len(request.targets)}.",
                advice="Hand it to client.submit, which gives one job for each.",
            )
        return await single_jobs.translate(
            self.session, request, give_up_after=give_up_after, schedule=schedule
        )

    # Hints.

    def poll_soon(self, job: Job | str) -> bool:
        """Poll a job soon, once a second at most; return False if no caller waits for it."""
        return self.session.opened.scheduler.hint(read_job_id(job))

    def on_callback(self, callback: Callback) -> None:
        """Record a callback, for `receiver.subscribe(client)`: poll the job unless it is in progress."""
        instance_of("a Callback", Callback).check("callback", callback)
        self.session.on_callback(callback)

    # Files.

    async def download(
        self,
        done: Completed | Snapshot | Job | str,
        *,
        into: str | os.PathLike[str],
        name: str | None = None,
        overwrite: bool = False,
        without_captions: bool = False,
    ) -> Saved:
        """Save a result and its subtitles, with a manifest (JSON) that says where they come from.

        A download that breaks resumes where it broke, also in the next call and the next process, and one
        that is complete is not repeated: whole files whose manifest names the same job are kept. A file
        gets its name when it is complete. A caller that is cancelled leaves complete files, and parts
        (".part") that can be resumed. Tasks that save one job under one name at once share the download.
        The video decides: other files that can't be had are in the result's `missing`, and `unverified`
        names those of which every byte arrived but a check refuses.

        Args:
            done: a completed job: as an outcome, or a snapshot; a `Job` or an id is asked for first.
            into: the folder; it is made if it is missing.
            name: of the files, without ending; "ja/talk" puts them into a folder. Default: the video and
                the language of a `Completed`, the id of a `Snapshot`'s job.
            overwrite: whether files of the same names are replaced.
            without_captions: save the video without burnt-in captions too, where the vendor made one.

        Raises:
            InvalidRequestError: there is no result yet; as `FileAlreadyExistsError`, a file of something else
                is there already.
            FileBusyError: another client or process, or the download of another job, is writing these files;
                once it has finished, a second call returns those of this job.
            StorageError: the folder can't be written: full, read-only or not a folder.
            DownloadError: a file could not be downloaded completely; it was not saved under its name.
        """
        _done.check("done", done)
        file_path.check("into", into)
        text.or_none.check("name", name)
        if isinstance(done, str | Job):
            done = await self.session.status(done)
        if name is None:
            name = (
                done.job_id
                if isinstance(done, Snapshot)
                else DEFAULT_TEMPLATE.name(done.request, done.target)
            )
        elif not is_safe_path(name):
            raise InvalidRequestError(
                f"name must be a plain file name, perhaps after folders, not {sanitize(repr(name))}.",
                impact="Nothing was downloaded.",
            )
        stem = local_path(into) / name
        return await single_jobs.download(
            self.session,
            DownloadRequest(done=done, stem=stem, without_captions=without_captions, overwrite=overwrite),
        )


_done: Final = instance_of("a Completed, a Snapshot, a Job or its id", Completed, Snapshot, Job, str)
_request: Final = instance_of("a TranslationRequest or a LipSyncRequest", TranslationRequest, LipSyncRequest)


async def _iter_voices(api: ApiSession, language_code: str) -> AsyncIterator[Voice]:
    """Return all voices, page after page, each once."""
    seen: set[str] = set()
    entries = 0
    for page in range(1, _MOST_PAGES):
        query: Mapping[str, str | int] = {"language_code": language_code, "page": page, "size": _PAGE}
        found = await api.call(ApiCall(path=wire.VOICES_PATH, query=query), wire.read_voices)
        entries += found.entries
        fresh = [voice for voice in found.voices if voice.voice_id not in seen]
        seen.update(voice.voice_id for voice in fresh)
        for voice in fresh:
            yield voice
        # A page that repeats earlier voices would repeat them for ever: the vendor ignored `page`.
        if not found.entries or (found.voices and not fresh):
            return
        if entries >= found.count if found.count is not None else found.entries < _PAGE:
            return


def _environment(name: str) -> str | None:
    # Not `os.environ.get` itself: a traceback with local variables would show the whole environment.
    return os.environ.get(name)
