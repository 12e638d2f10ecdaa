"""The files of one result brought home under one name, and beside them one that says where they come from."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import attrs
import httpx

from akool_async._clock import Clock
from akool_async._download import files as disk
from akool_async._download import files as part
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

# The room of the file hosts: lines to them, opened for one result at a time.


class FileDownloader:
    """Fetches files from hosts that are not the API's.

    Args:
        origin: the API's, such as "https://openapi.akool.com".
        clock: time and chance.
        retry: how often a try that brought nothing is repeated.
        user_agent: what is said about us.
        limits: bounds of each file.
        transport: takes all requests, as for a sandbox inside the process; stays open.
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
        self._doors = PublicAddressBackend(urlsplit(origin).hostname or "")
        self._clock = clock
        self._retry = retry
        self._limits = limits or DownloadLimits()
        self._user_agent = user_agent
        self._transport = transport
        self._context: ssl.SSLContext | None = None

    def session(self) -> FileHostSession:
        """Give connections for the files of one result, to be used in `async with`."""
        return FileHostSession(
            self._doors,
            self._tls,
            self._limits,
            user_agent=self._user_agent,
            transport=self._transport,
        )

    def _tls(self) -> ssl.SSLContext:
        """Give the one TLS context: to load the certificates takes long."""
        if self._context is None:
            self._context = httpx.create_ssl_context()
        return self._context

    async def fetch(self, wanted: FileSpec, line: FileHostSession) -> Digest:
        """Bring one file home; a caller that is cancelled leaves a part that the next try goes on with.

        Raises:
            NameTaken: something else stands under its name.
            StorageError: the folder can't be written.
            DownloadError: it did not come whole; nothing of it stands under its name.
        """
        return await Fetch(wanted, line, self._clock, self._retry, self._limits).run()


logger = logging.getLogger("akool_async")
GONE_STATUSES: Final = (403, 404, 410)
"""What a file host answers when a file is not there, or not for this URL."""


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
        return result_urls(self.snapshot, captionless=self.without_captions)

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
        """Give the path of one file."""
        return self.stem.with_name(self.stem.name + ending)

    @property
    def targets(self) -> dict[Artifact, Path]:
        """Where its files go."""
        return {artifact: self.path(ENDINGS[artifact]) for artifact in self.urls}

    @property
    def manifest_path(self) -> Path:
        """Where it stands where they come from."""
        return self.path(MANIFEST)


class ResultDownload:
    """One result on its way home.

    Args:
        downloads: the room of the file hosts.
        parcel: what is to be brought home.
    """

    def __init__(self, downloads: FileDownloader, parcel: DownloadRequest) -> None:
        self._downloads = downloads
        self._manifest = make_manifest(
            parcel.done, saved_at=downloads._clock.now(), program=downloads._user_agent
        )
        self._parcel = parcel
        self._home: dict[Artifact, Digest] = {}
        self._missing: dict[str, str] = {}

    async def run(self) -> Saved:
        """Bring home what is not there yet.

        A caller that is cancelled leaves whole files under their names, and parts that can be gone on with.

        Raises:
            NameTaken: something else stands under one of the names; nothing was fetched.
            StorageError: the folder can't be written.
            DownloadError: a file did not come whole; nothing of it stands under its name.
        """
        parcel = self._parcel
        await disk.run_blocking(parcel.stem, partial(disk.make_folder, parcel.stem.parent))
        if not await disk.run_blocking(parcel.stem, self._look):
            async with self._downloads.session() as line:
                for artifact in parcel.urls:
                    if artifact not in self._home:
                        await self._fetch(artifact, line)
            with anyio.CancelScope(shield=True):
                await disk.run_blocking(parcel.manifest_path, self._finish)
        return self._saved()

    def _look(self) -> bool:
        """Find what is home already; give whether that is all.

        Raises:
            FileExistsError: something stands there that is not this job's.
        """
        parcel = self._parcel
        if parcel.overwrite:
            return False
        told = _files_told(parcel.manifest_path, parcel.job_id)
        for artifact, target in parcel.targets.items():
            if not os.path.lexists(target):
                continue
            found = told.get(target.name) or part.digest_if_owned(target, parcel.job_id)
            if found is None or not _is(target, found):
                raise FileExistsError(str(target))
            self._home[artifact] = found
        if not os.path.lexists(parcel.manifest_path):
            return False
        if not parcel.skip_existing or not told:
            raise FileExistsError(str(parcel.manifest_path))
        return len(self._home) == len(parcel.urls)

    async def _fetch(self, artifact: Artifact, line: FileHostSession) -> None:
        parcel = self._parcel
        video = artifact in (Artifact.VIDEO, Artifact.WITHOUT_CAPTIONS)
        wanted = FileSpec(
            url=parcel.urls[artifact],
            target=parcel.targets[artifact],
            kind=Kind.VIDEO if video else Kind.SUBTITLES,
            owner=parcel.job_id,
            replace=parcel.overwrite,
        )
        try:
            self._home[artifact] = await self._downloads.fetch(wanted, line)
        except DownloadError as error:
            gone = parcel.urls_fresh and error.http_status in GONE_STATUSES
            if artifact is Artifact.VIDEO or not (gone or isinstance(error, InvalidContentError)):
                raise
            logger.warning("Job %s comes without its %s. %s", parcel.job_id, artifact, error.message)
            self._missing[artifact] = error.message

    def _finish(self) -> None:
        """Write where the files come from, then forget what was known of their parts."""
        parcel = self._parcel
        files = [
            {"artifact": artifact, "name": parcel.targets[artifact].name, **attrs.asdict(found)}
            for artifact, found in self._home.items()
        ]
        told = {"job_id": parcel.job_id, **self._manifest, "files": files, "missing": self._missing}
        replace = parcel.overwrite or bool(_files_told(parcel.manifest_path, parcel.job_id))
        disk.write_json(parcel.manifest_path, told, replace=replace)
        for target in parcel.targets.values():
            part.metadata_path(target).unlink(missing_ok=True)

    def _saved(self) -> Saved:
        targets = self._parcel.targets
        paths = {str(artifact): targets[artifact] for artifact in self._home}
        return Saved(**paths, manifest=self._parcel.manifest_path, missing=self._missing)


def _files_told(side_file: Path, owner: str) -> dict[str, Digest]:
    """Give the files that a side file of this job names; none where it is another's."""
    told = disk.read_json(side_file)
    files = told.get("files")
    if told.get("job_id") != owner or not isinstance(files, list):
        return {}
    try:
        return {str(file["name"]): Digest(int(file["size"]), str(file["sha256"])) for file in files}
    except (TypeError, KeyError, ValueError):
        return {}


def _is(target: Path, found: Digest) -> bool:
    return not target.is_symlink() and target.is_file() and digest(target) == found


# What the file beside a result says of where it comes from; nothing in it signs or opens anything.


FORMAT: Final = 1
"""Raised when the meaning of a name in the file changes."""

_URLS: Final = ("url", "video_url", "audio_url", "caption_url")


def make_manifest(done: Completed | Snapshot, *, saved_at: datetime, program: str) -> dict[str, Any]:
    """Give what is known of a result.

    Args:
        done: the completed job; of a bare snapshot less is known.
        saved_at: when it was brought home, aware.
        program: who brought it home, with its version.
    """
    snapshot = done if isinstance(done, Snapshot) else done.snapshot
    told: dict[str, Any] = {
        "format": FORMAT,
        "program": program,
        "job_id": snapshot.job_id,
        "created_at": _moment(snapshot.created_at),
        "saved_at": _moment(saved_at),
        "credits": snapshot.credits_used,
    }
    if isinstance(done, Completed):
        told |= {
            "key": done.key,
            "target": done.target,
            "fingerprint": fingerprint(done.request, done.target),
            "request": _options(done.request),
            "credits": done.credits,
            "submitted_at": _moment(done.submitted_at),
            "ended_at": _moment(done.ended_at),
        }
    return told


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def _options(request: Request) -> dict[str, Any]:
    """Give what was asked for; where to call back is nobody's affair."""
    told = attrs.asdict(request, filter=attrs.filters.exclude("key", "webhook_url"))
    for name in _URLS:
        if told.get(name):
            told[name] = canonical_url(told[name])
    kind = "lipsync" if isinstance(request, LipSyncRequest) else "translation"
    return {"kind": kind, **{name: _plain(value) for name, value in told.items() if value not in (None, "")}}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
