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
from akool_async._model.errors import DownloadError
from akool_async._model.fingerprint import canonical_url, fingerprint
from akool_async._model.outcomes import ENDINGS, MANIFEST, Artifact, Completed, Saved
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
class DownloadPlan:
    """What to download.

    Attributes:
        job_id: the job's id.
        urls: URLs of its files, the video first.
        stem: folder and name, without ending.
        manifest: what the manifest says besides the files.
        overwrite: whether existing files are replaced.
        skip_existing: whether a result that was saved before is accepted; else its name counts as taken.
        urls_fresh: whether the vendor has just returned the URLs: then a missing subtitle file is skipped.
    """

    job_id: str
    urls: Mapping[Artifact, str] = attrs.field(repr=False)
    stem: Path
    manifest: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    overwrite: bool = False
    skip_existing: bool = False
    urls_fresh: bool = False

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

    def __init__(self, downloader: FileDownloader, plan: DownloadPlan) -> None:
        self._downloader = downloader
        self._plan = plan
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
        plan = self._plan
        await files.run_blocking(plan.stem, partial(files.make_folder, plan.stem.parent))
        if not await files.run_blocking(plan.stem, self._find_saved):
            async with self._downloader.session() as session:
                for artifact in plan.urls:
                    if artifact not in self._saved:
                        await self._fetch(artifact, session)
            with anyio.CancelScope(shield=True):
                await files.run_blocking(plan.manifest_path, self._write_manifest)
        paths = {str(artifact): plan.targets[artifact] for artifact in self._saved}
        return Saved(**paths, manifest=plan.manifest_path, missing=self._missing)

    def _find_saved(self) -> bool:
        """Find the files that were saved before; return whether these are all.

        Raises:
            FileExistsError: a file with one of the names is not this job's.
        """
        plan = self._plan
        if plan.overwrite:
            return False
        listed = _files_in_manifest(plan.manifest_path, plan.job_id)
        for artifact, target in plan.targets.items():
            if not os.path.lexists(target):
                continue
            # A name alone proves nothing: only a file with the recorded size and hash is this job's result.
            known = listed.get(target.name) or files.digest_if_owned(target, plan.job_id)
            if known is None or target.is_symlink() or not target.is_file() or digest(target) != known:
                raise FileExistsError(str(target))
            self._saved[artifact] = known
        if not os.path.lexists(plan.manifest_path):
            return False
        if not plan.skip_existing or not listed:
            raise FileExistsError(str(plan.manifest_path))
        return len(self._saved) == len(plan.urls)

    async def _fetch(self, artifact: Artifact, session: FileHostSession) -> None:
        plan = self._plan
        video = artifact in (Artifact.VIDEO, Artifact.WITHOUT_CAPTIONS)
        spec = FileSpec(
            url=plan.urls[artifact],
            target=plan.targets[artifact],
            kind=Kind.VIDEO if video else Kind.SUBTITLES,
            owner=plan.job_id,
            replace=plan.overwrite,
        )
        try:
            self._saved[artifact] = await self._downloader.fetch(spec, session)
        except DownloadError as error:
            # The video is what was paid for: a subtitle file that is broken or gone must not keep it from
            # being delivered. With old URLs the caller first asks the vendor for fresh ones.
            gone = plan.urls_fresh and error.http_status in GONE_STATUSES
            if artifact is Artifact.VIDEO or not (gone or isinstance(error, InvalidContentError)):
                raise
            logger.warning("Job %s is saved without its %s. %s", plan.job_id, artifact, error.message)
            self._missing[artifact] = error.message

    def _write_manifest(self) -> None:
        """Write the manifest, then delete the metadata of the parts, which it replaces."""
        plan = self._plan
        listed = [
            {"artifact": artifact, "name": plan.targets[artifact].name, **attrs.asdict(saved)}
            for artifact, saved in self._saved.items()
        ]
        manifest = {"job_id": plan.job_id, **plan.manifest, "files": listed, "missing": self._missing}
        replace = plan.overwrite or bool(_files_in_manifest(plan.manifest_path, plan.job_id))
        files.write_json(plan.manifest_path, manifest, replace=replace)
        for target in plan.targets.values():
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
