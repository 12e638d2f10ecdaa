"""Download the files of one result under one name, with a manifest that records where they come from."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import attrs
import httpx

from akool_async._clock import Clock
from akool_async._download import files
from akool_async._download.fetch import Fetch, FileSpec
from akool_async._download.network import DownloadLimits, FileHostSession, PublicAddressBackend
from akool_async._download.ranges import InvalidContentError
from akool_async._download.verify import Digest, Kind, digest
from akool_async._model.errors import DownloadError, InvalidRequestError
from akool_async._model.fingerprint import canonical_url, fingerprint
from akool_async._model.outcomes import ENDINGS, MANIFEST, Artifact, Completed, Saved, result_urls
from akool_async._model.requests import LipSyncRequest, Request
from akool_async._model.responses import Snapshot
from akool_async._retry import RetryPolicy

logger = logging.getLogger("akool_async")
GONE_STATUSES: Final = (403, 404, 410)
"""How a file host answers when a file does not exist, or not under this URL any more."""

MANIFEST_FORMAT: Final = 1
"""Raised when the meaning of a name in the manifest changes."""

_URLS: Final = ("url", "video_url", "audio_url", "caption_url")


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
        self._clock = clock
        self._retry = retry
        self._limits = limits or DownloadLimits()
        self._user_agent = user_agent
        self._transport = transport
        self._tls_context = cache(httpx.create_ssl_context)  # loading the certificates takes long

    def session(self) -> FileHostSession:
        """Return connections for the files of one result, to be used in `async with`."""
        return FileHostSession(
            self._backend,
            self._tls_context,
            self._limits,
            user_agent=self._user_agent,
            transport=self._transport,
        )

    async def fetch(self, spec: FileSpec, session: FileHostSession) -> Digest:
        """Download one file; see `Fetch.run`."""
        return await Fetch(spec, session, self._clock, self._retry, self._limits).run()


@attrs.frozen(kw_only=True)
class DownloadRequest:
    """Which result is to be saved, and under which name.

    Attributes:
        done: the completed job; a bare snapshot makes a manifest that says less.
        stem: folder and name, without ending.
        without_captions: whether the video without burnt-in captions is wanted too.
        overwrite: whether existing files are replaced.
        skip_existing: whether saved files of this job are kept; otherwise their name counts as taken.
        urls: where the files are, the video first; default is where `done` says.
        urls_fresh: whether the URLs were just requested: then a missing subtitle file is left out.

    Raises:
        InvalidRequestError: the job has no result.
    """

    done: Completed | Snapshot = attrs.field(repr=False)
    stem: Path
    without_captions: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    urls: Mapping[Artifact, str] = attrs.field(repr=False)
    urls_fresh: bool = False

    @urls.default
    def _result_urls(self) -> Mapping[Artifact, str]:
        return result_urls(self.snapshot, without_captions=self.without_captions)

    def __attrs_post_init__(self) -> None:
        """Refuse a job that has no result."""
        snapshot = self.snapshot
        if not snapshot.url:
            raise InvalidRequestError(
                f"Job {snapshot.job_id} has no result to download (status {snapshot.status.name})."
            )

    @property
    def snapshot(self) -> Snapshot:
        """The answer that said that the job is completed."""
        return self.done if isinstance(self.done, Snapshot) else self.done.snapshot

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.snapshot.job_id

    def path(self, ending: str) -> Path:
        """Return the path of one file."""
        return self.stem.with_name(self.stem.name + ending)

    @property
    def targets(self) -> dict[Artifact, Path]:
        """The paths of its files."""
        return {artifact: self.path(ENDINGS[artifact]) for artifact in self.urls}

    @property
    def manifest_path(self) -> Path:
        """The path of the manifest."""
        return self.path(MANIFEST)


class ResultDownload:
    """The download of one result."""

    def __init__(self, downloader: FileDownloader, request: DownloadRequest) -> None:
        self._downloader = downloader
        self._request = request
        self._manifest = make_manifest(
            request.done, saved_at=downloader._clock.now(), program=downloader._user_agent
        )
        self._saved: dict[Artifact, Digest] = {}
        self._missing: dict[str, str] = {}

    async def run(self) -> Saved:
        """Download the files that are not saved yet.

        A caller that is cancelled leaves complete files under their names, and parts that can be resumed.

        Raises:
            FileAlreadyExistsError: another file has one of the names; nothing was downloaded.
            StorageError: the folder can't be written.
            DownloadError: a file could not be downloaded completely; it was not saved under its name.
        """
        request = self._request
        await files.run_blocking(request.stem, partial(files.make_folder, request.stem.parent))
        if not await files.run_blocking(request.stem, self._find_saved):
            async with self._downloader.session() as session:
                for artifact in request.urls:
                    if artifact not in self._saved:
                        await self._fetch(artifact, session)
            with anyio.CancelScope(shield=True):
                await files.run_blocking(request.manifest_path, self._write_manifest)
        paths = {str(artifact): request.targets[artifact] for artifact in self._saved}
        return Saved(**paths, manifest=request.manifest_path, missing=self._missing)

    def _find_saved(self) -> bool:
        """Find the files that were saved before; return whether these are all.

        Raises:
            FileExistsError: a file with one of the names is not this job's.
        """
        request = self._request
        if request.overwrite:
            return False
        listed = _files_in_manifest(request.manifest_path, request.job_id)
        for artifact, target in request.targets.items():
            if not os.path.lexists(target):
                continue
            # A name alone proves nothing: only a file with the recorded size and hash is this job's result.
            known = listed.get(target.name) or files.digest_if_owned(target, request.job_id)
            if known is None or target.is_symlink() or not target.is_file() or digest(target) != known:
                raise FileExistsError(str(target))
            self._saved[artifact] = known
        if not os.path.lexists(request.manifest_path):
            return False
        if not request.skip_existing or not listed:
            raise FileExistsError(str(request.manifest_path))
        return len(self._saved) == len(request.urls)

    async def _fetch(self, artifact: Artifact, session: FileHostSession) -> None:
        request = self._request
        video = artifact in (Artifact.VIDEO, Artifact.WITHOUT_CAPTIONS)
        spec = FileSpec(
            url=request.urls[artifact],
            target=request.targets[artifact],
            kind=Kind.VIDEO if video else Kind.SUBTITLES,
            owner=request.job_id,
            replace=request.overwrite,
        )
        try:
            self._saved[artifact] = await self._downloader.fetch(spec, session)
        except DownloadError as error:
            # The video is what was paid for: a subtitle file that is broken or gone must not keep it from
            # being delivered. With old URLs the caller first asks the vendor for fresh ones.
            gone = request.urls_fresh and error.http_status in GONE_STATUSES
            if artifact is Artifact.VIDEO or not (gone or isinstance(error, InvalidContentError)):
                raise
            logger.warning("Job %s is saved without its %s. %s", request.job_id, artifact, error.message)
            self._missing[artifact] = error.message

    def _write_manifest(self) -> None:
        """Write the manifest, then delete the metadata of the parts, which it replaces."""
        request = self._request
        listed = [
            {"artifact": artifact, "name": request.targets[artifact].name, **attrs.asdict(saved)}
            for artifact, saved in self._saved.items()
        ]
        manifest = {"job_id": request.job_id, **self._manifest, "files": listed, "missing": self._missing}
        replace = request.overwrite or bool(_files_in_manifest(request.manifest_path, request.job_id))
        files.write_json(request.manifest_path, manifest, replace=replace)
        for target in request.targets.values():
            files.metadata_path(target).unlink(missing_ok=True)


def _files_in_manifest(path: Path, job_id: str) -> dict[str, Digest]:
    """Return the files that a manifest lists, none if it is another job's."""
    manifest = files.read_json(path)
    listed = manifest.get("files")
    if manifest.get("job_id") != job_id or not isinstance(listed, list):
        return {}
    try:
        return {str(file["name"]): Digest(int(file["size"]), str(file["sha256"])) for file in listed}
    except (TypeError, KeyError, ValueError):
        return {}


def make_manifest(done: Completed | Snapshot, *, saved_at: datetime, program: str) -> dict[str, Any]:
    """Return what is known of a result; nothing in it signs or opens anything.

    Args:
        done: the completed job; a bare snapshot tells less.
        saved_at: when it is saved, aware.
        program: this program, with its version.
    """
    snapshot = done if isinstance(done, Snapshot) else done.snapshot
    manifest: dict[str, Any] = {
        "format": MANIFEST_FORMAT,
        "program": program,
        "job_id": snapshot.job_id,
        "created_at": _timestamp(snapshot.created_at),
        "saved_at": _timestamp(saved_at),
        "credits": snapshot.credits_used,
    }
    if isinstance(done, Completed):
        manifest |= {
            "key": done.key,
            "target": done.target,
            "fingerprint": fingerprint(done.request, done.target),
            "request": _describe(done.request),
            "credits": done.credits,
            "submitted_at": _timestamp(done.submitted_at),
            "ended_at": _timestamp(done.ended_at),
        }
    return manifest


def _timestamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def _describe(request: Request) -> dict[str, Any]:
    # The webhook's URL contains the token that makes a callback trustworthy, and a result may be shared.
    options = attrs.asdict(request, filter=attrs.filters.exclude("key", "webhook_url"))
    described: dict[str, Any] = {"kind": "lipsync" if isinstance(request, LipSyncRequest) else "translation"}
    for name, value in options.items():
        if name in _URLS and value:
            described[name] = canonical_url(value)
        elif value not in (None, ""):
            described[name] = dict(value) if isinstance(value, Mapping) else value
    return described
