"""Download the files of one result under one name, with a manifest that records where they come from."""

from __future__ import annotations

import errno
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import anyio
import attrs
import httpx

from akool_async._background import runs_on_trio
from akool_async._clock import Clock
from akool_async._download import files
from akool_async._download.fetch import Fetch, FetchedFile, FileSpec, run_blocking
from akool_async._download.manifest import (
    FileState,
    SavedFile,
    SavedResult,
    digest_file,
    make_manifest,
    read_manifest,
)
from akool_async._download.network import DownloadLimits, FileHostSession, FileTransport, PublicAddressBackend
from akool_async._download.verify import Digest, Kind
from akool_async._environment import tls_context
from akool_async._model.errors import (
    AkoolError,
    DownloadError,
    InvalidRequestError,
    JobNotFoundError,
    StorageError,
)
from akool_async._model.outcomes import (
    ENDINGS,
    MANIFEST,
    SUBTITLE_ENDINGS,
    Artifact,
    Completed,
    Saved,
    result_urls,
)
from akool_async._model.redact import detach, drop_frames
from akool_async._model.responses import Snapshot, Status
from akool_async._retry import RetryPolicy

logger = logging.getLogger("akool_async")
GONE_STATUSES: Final = (400, 401, 403, 404, 410)
"""How a file host answers when a file does not exist, or not under this URL any more; signatures expire."""

FreshUrls = Callable[[], Awaitable[Mapping[Artifact, str]]]


class FileDownloader:
    """Downloads files from hosts that are not the API's; `origin` is the API's.

    `retry` counts attempts that brought no bytes. A `transport` sends all requests and is not closed.
    """

    def __init__(
        self,
        *,
        origin: str,
        clock: Clock,
        retry: RetryPolicy,
        user_agent: str,
        limits: DownloadLimits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._backend = PublicAddressBackend(urlsplit(origin).hostname or "")
        self.clock = clock
        self._retry = retry
        self._limits = limits or DownloadLimits()
        self.user_agent = user_agent
        self._transport = transport
        self._tls_context = cache(tls_context)  # loading the certificates takes long

    def session(self) -> FileHostSession:
        """Return connections for the files of one result, which are to be closed."""
        return FileHostSession(
            self._backend,
            self._direct_transport,
            self._tls_context,
            self._limits,
            user_agent=self.user_agent,
            transport=self._transport,
        )

    def _direct_transport(self, context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
        """Return aiohttp's connections under asyncio, else those of httpx; both check addresses."""
        if runs_on_trio():
            return FileTransport(self._backend, context)
        from akool_async._download.aiohttp_transport import AiohttpFileTransport  # aiohttp loads slowly

        return AiohttpFileTransport(self._backend, context)

    async def fetch(self, spec: FileSpec, session: FileHostSession) -> FetchedFile:
        """Download one file; see `Fetch.run`."""
        return await Fetch(spec, session, self.clock, self._retry, self._limits).run()


@attrs.frozen(kw_only=True)
class DownloadRequest:
    """Which result is to be saved, and under which name.

    Attributes:
        done: the completed job; a bare snapshot makes a manifest that says less.
        stem: folder and name, without ending.
        without_captions: whether the video without burnt-in captions is wanted too.
        overwrite: whether existing files are replaced; else whole files of this job are kept.
        urls: where the files are, the video first; default is where `done` says.

    Raises:
        InvalidRequestError: the job has no result.
    """

    done: Completed | Snapshot = attrs.field(repr=False)
    stem: Path
    without_captions: bool = False
    overwrite: bool = False
    urls: Mapping[Artifact, str] = attrs.field(repr=False)

    @urls.default
    def _result_urls(self) -> Mapping[Artifact, str]:
        return result_urls(self.snapshot, without_captions=self.without_captions)

    def __attrs_post_init__(self) -> None:
        """Refuse a job that has no result."""
        snapshot = self.snapshot
        if not snapshot.url:
            failed = snapshot.status is Status.FAILED
            raise InvalidRequestError(
                f"Job {snapshot.job_id} has no result to download (status {snapshot.status.name}).",
                impact="It has ended without one." if failed else "It continues at the vendor and is billed.",
                advice="" if failed else f"Wait for it with client.wait({snapshot.job_id!r}).",
            )

    @property
    def snapshot(self) -> Snapshot:
        """The answer that said that the job is completed."""
        return self.done if isinstance(self.done, Snapshot) else self.done.snapshot

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.snapshot.job_id

    def paths(self, artifact: Artifact) -> list[Path]:
        """Return the paths that a file may have, the usual one first."""
        ending = ENDINGS[artifact]
        usual = self.stem.with_name(self.stem.name + ending)
        return [usual.with_suffix(one) for one in SUBTITLE_ENDINGS] if ending.endswith(".srt") else [usual]

    @property
    def manifest_path(self) -> Path:
        """The path of the manifest."""
        return self.stem.with_name(self.stem.name + MANIFEST)


Download: TypeAlias = Callable[[DownloadRequest], Awaitable[Saved]]
"""Saves a result on this machine."""


def _taken(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


class ResultDownload:
    """The download of one result.

    Args:
        fresh_urls: asks the vendor for URLs that have not expired; called once at most.
    """

    def __init__(self, downloader: FileDownloader, request: DownloadRequest, fresh_urls: FreshUrls) -> None:
        self._downloader = downloader
        self._request = request
        self._ask_fresh_urls = fresh_urls
        self._fresh_urls: Mapping[Artifact, str] | None = None
        self._files: dict[Artifact, SavedFile] = {}
        self._unverified: dict[Artifact, SavedFile] = {}
        self._has_manifest = False

    async def run(self) -> Saved:
        """Download the files that are not saved yet.

        The video decides: whatever is wrong with another file, the result is saved without it. A caller that
        is cancelled leaves complete files under their names, and parts that can be resumed.

        Raises:
            FileAlreadyExistsError: another file has one of the names; nothing was downloaded.
            StorageError: the folder can't be written.
            DownloadError: the video could not be downloaded completely; it was not saved under its name.
        """
        request = self._request
        before = await run_blocking(request.stem, self._find_saved)
        if before is not None:
            return before
        async with aclosing(self._downloader.session()) as session:
            for artifact in request.urls:
                if artifact not in self._files:
                    self._files[artifact] = await self._save(artifact, session)
        with anyio.CancelScope(shield=True):
            saved = await run_blocking(request.manifest_path, self._write_manifest)
        return saved  # noqa: RET504 - to mypy, a scope may end before a return inside it

    def _find_saved(self) -> Saved | None:
        """Make the folder, and find the files that were saved before; return them if these are all.

        Raises:
            FileExistsError: a file with one of the names is not this job's.
        """
        request = self._request
        files.make_folder(request.stem.parent)
        manifest = read_manifest(request.manifest_path)
        ours = manifest is not None and manifest.job_id == request.job_id
        self._has_manifest = ours
        if request.overwrite:
            return None
        listed = {file.path: file for file in manifest.files if file.path} if manifest and ours else {}
        for artifact in request.urls:
            paths = request.paths(artifact)
            for path in paths:
                if not os.path.lexists(path):
                    continue
                # A name alone proves nothing: only a file with the recorded size and hash is this job's.
                saved = listed.get(path)
                if saved is None:
                    about = files.read_metadata(paths[0])
                    if about.owner == request.job_id and about.sha256:
                        saved = SavedFile(
                            artifact=artifact,
                            path=path,
                            digest=Digest(about.length or 0, about.sha256),
                            state=FileState.UNVERIFIED if about.unverified else FileState.INTACT,
                            reason=about.unverified,
                        )
                if saved is None or digest_file(path) != saved.digest:
                    raise _taken(path)
                # One that could not be verified may be whole at the vendor by now.
                (self._files if saved.state is FileState.INTACT else self._unverified)[artifact] = saved
        if not os.path.lexists(request.manifest_path):
            return None
        if not ours:
            raise _taken(request.manifest_path)
        return self._saved() if len(self._files) == len(request.urls) else None

    async def _save(self, artifact: Artifact, session: FileHostSession) -> SavedFile:
        """Download one file, from a fresh URL if the first one has expired.

        Raises:
            AkoolError: the video, or any file in this folder, can't be saved.
        """
        before = self._unverified.get(artifact)
        try:
            try:
                fetched = await self._fetch(artifact, self._request.urls[artifact], session)
            # A signature may expire before the result does: the job is asked for a new URL, once.
            except DownloadError as error:
                fetched = await self._fetch(artifact, await self._fresh_url(artifact, error), session)
        except (StorageError, files.FileAlreadyExistsError, files.FileBusyError):
            raise
        except AkoolError as error:
            if before is not None:
                return before
            if artifact is Artifact.VIDEO:
                raise
            logger.warning(
                "Job %s is saved without its %s. %s", self._request.job_id, artifact, error.message
            )
            return SavedFile(artifact=artifact, path=None, state=FileState.MISSING, reason=error.message)
        state = FileState.INTACT
        if fetched.unverified:
            state = FileState.UNVERIFIED
            logger.warning(
                "The %s of job %s could not be verified; look at %s before it expires at the vendor: %s.",
                artifact,
                self._request.job_id,
                fetched.path,
                fetched.unverified,
            )
        return SavedFile(
            artifact=artifact,
            path=fetched.path,
            digest=fetched.digest,
            state=state,
            reason=fetched.unverified,
        )

    async def _fresh_url(self, artifact: Artifact, error: DownloadError) -> str:
        """Return another URL where `error` says that the first one has expired; else raise it."""
        if error.http_status not in GONE_STATUSES:
            raise error
        if self._fresh_urls is None:
            self._fresh_urls = {}  # not asked for again, whatever becomes of this call
            try:
                self._fresh_urls = await self._ask_fresh_urls()
            except AkoolError as failed:
                # A job that the vendor no longer knows has no fresher URLs. That the vendor can't be asked
                # leaves the video for the next run; another file is left out.
                if artifact is Artifact.VIDEO and not isinstance(failed, JobNotFoundError):
                    raise
                raise error from failed
        if not self._fresh_urls.get(artifact):
            raise error
        return self._fresh_urls[artifact]

    async def _fetch(self, artifact: Artifact, url: str, session: FileHostSession) -> FetchedFile:
        request = self._request
        video = artifact in (Artifact.VIDEO, Artifact.WITHOUT_CAPTIONS)
        spec = FileSpec(
            url=url,
            target=request.paths(artifact)[0],
            kind=Kind.VIDEO if video else Kind.SUBTITLES,
            owner=request.job_id,
            replace=request.overwrite or artifact in self._unverified,
        )
        del url  # it may be signed, and a traceback with local variables would show it
        try:
            return await self._downloader.fetch(spec, session)
        except DownloadError as error:
            raise detach(error) from None  # so would the requests of its causes
        except Exception:  # a fault of this program or machine: a report of it needs its frames
            raise
        except BaseException as error:  # noqa: BLE001 - and so would those below a caller's time-out
            raise drop_frames(error)  # noqa: B904 - the same error

    def _saved(self) -> Saved:
        request = self._request
        result = SavedResult(
            manifest=request.manifest_path, job_id=request.job_id, files=tuple(self._files.values())
        )
        assert result.saved is not None  # noqa: S101 - without the video an error was raised
        return result.saved

    def _write_manifest(self) -> Saved:
        """Write the manifest, then delete the parts that are left, and their metadata, which it replaces."""
        request, downloader = self._request, self._downloader
        manifest = make_manifest(
            request.done,
            list(self._files.values()),
            saved_at=downloader.clock.now(),
            program=downloader.user_agent,
        )
        # A manifest of this very job is brought up to date; any other file of this name is never replaced.
        replace = request.overwrite or self._has_manifest
        files.write_json(request.manifest_path, manifest, replace=replace)
        for artifact in request.urls:
            path = request.paths(artifact)[0]
            files.part_path(path).unlink(missing_ok=True)
            files.metadata_path(path).unlink(missing_ok=True)
        return self._saved()
