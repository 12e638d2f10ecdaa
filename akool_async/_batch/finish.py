"""What is done with a job that has ended: record it, bring the result home, record that, hand it out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import attrs
from anyio.to_thread import run_sync

from akool_async._batch.entry import BatchEntry
from akool_async._batch.state import BatchState
from akool_async._download import GONE_STATUSES, DownloadRequest, FileAlreadyExistsError, FileBusyError
from akool_async._journal import Journal
from akool_async._model.errors import (
    AkoolError,
    DownloadError,
    JobNotFoundError,
    NetworkError,
    StorageError,
    VendorError,
)
from akool_async._model.filenames import FileTemplates
from akool_async._model.fingerprint import entry_key
from akool_async._model.outcomes import ENDINGS, MANIFEST, Completed, Saved
from akool_async._model.requests import Request
from akool_async._model.responses import JobFailed, Snapshot
from akool_async._model.states import State
from akool_async._polling.poll_state import PollState, PollVerdict
from akool_async._polling.scheduler import PolledJob

# What the files of an entry are called: settled before money is spent, and the same in every run.
#
# The template makes names, the journal holds each for one entry, the folder tells which are taken by others.


_OFFERED: Final = 5
"""Names that the journal may choose from: all but the first hold a part of a hash of the entry."""

_WHOLE: Final = (*ENDINGS.values(), MANIFEST)
_BEGUN: Final = tuple(f"{ending}.part" for ending in ENDINGS.values())


@attrs.frozen(kw_only=True)
class OutputConfig:
    """Where results go.

    Attributes:
        folder: None leaves them at the vendor.
        templates: how their names are made.
        without_captions: whether the video without burnt-in captions is brought home too.
    """

    folder: Path | None
    templates: FileTemplates
    without_captions: bool = False


class FileNames:
    """Names for a batch.

    Args:
        home: where the files go, and how names are made.
        journal: who holds which name.
    """

    def __init__(self, home: OutputConfig, journal: Journal) -> None:
        self._template = home.templates
        self._folder = home.folder
        self._journal = journal

    async def candidates(self, request: Request) -> dict[tuple[str, str], tuple[str, ...]]:
        """Give for each entry of a request the names that it may get, none where nothing is brought home."""
        if self._folder is None:
            return {}
        names = await run_sync(partial(self._free, request, self._folder))
        return {(entry_key(request, target), target): found for target, found in names.items()}

    def _free(self, request: Request, folder: Path, *, begun: bool = False) -> dict[str, tuple[str, ...]]:
        """Look which names are not taken by files that stand there, or are `begun`."""
        endings = (*_WHOLE, *_BEGUN) if begun else _WHOLE
        found = {}
        for target in request.targets:
            names = self._template.names(request, target)
            free = (name for name in names if not _is_taken(folder, name, endings))
            found[target] = tuple(islice(free, _OFFERED))
        return found

    async def reserve(self, batch_entry: BatchEntry, *, another: bool = False) -> Path:
        """Give folder and name of an entry's files; an entry that holds no name is given one.

        Args:
            batch_entry: the entry.
            another: whether the name that it holds turned out to be somebody else's, who may be just
                bringing files of this name home.

        Raises:
            JournalError: it can't be recorded.
        """
        assert self._folder is not None  # noqa: S101 - there is something to bring home
        entry = self._journal.get(batch_entry.key, batch_entry.target)
        if entry is None or not entry.name or another:
            names = await run_sync(partial(self._free, batch_entry.request, self._folder, begun=another))
            await self._journal.reserve_name(
                batch_entry.key, batch_entry.target, names[batch_entry.target], another=another
            )
            entry = self._journal.get(batch_entry.key, batch_entry.target)
        assert entry is not None  # noqa: S101 - it was just written
        return self._folder / entry.name


def _is_taken(folder: Path, name: str, endings: Iterable[str]) -> bool:
    return any(os.path.lexists(folder / f"{name}{ending}") for ending in endings)


logger = logging.getLogger("akool_async")
_NAMES: Final = 5
"""Names that are tried for one result; all but the first hold a hash of the entry."""

_RETRY_NEXT_RUN: Final = (DownloadError, JobNotFoundError, NetworkError, VendorError)
"""Why a result may stay away while all else goes on: the last two come from asking for a fresh URL."""


class ResultCollector:
    """Finishes for a batch."""

    def __init__(self, state: BatchState, home: OutputConfig, naming: FileNames) -> None:
        self._state = state
        self._client = state.client
        self._clock = state.clock
        self._journal = state.journal
        self._home = home
        self._naming = naming
        self._disk_trouble: StorageError | None = None

    async def run(self) -> None:
        """Finish what arrives, one after the other, without end."""
        while True:
            batch_entry, watch = await self._state.finished.get()
            try:
                await self.finish(batch_entry, watch)
            except AkoolError as error:
                self._state.abandon_job(batch_entry, error)

    async def finish(self, batch_entry: BatchEntry, watch: PolledJob) -> None:
        """See one job that ended to its outcome.

        Raises:
            AkoolError: asking about the job became impossible, or the journal can't be written.
        """
        if watch.error is not None:
            raise watch.error
        seen = watch.state
        if seen.verdict is PollVerdict.COMPLETED and seen.snapshot is not None:
            await self._completed(batch_entry, seen.snapshot)
        else:
            await self._failed(batch_entry, seen)

    async def _failed(self, batch_entry: BatchEntry, seen: PollState) -> None:
        error = seen.failure()
        entry = self._journal.get(batch_entry.key, batch_entry.target)
        if entry is not None and entry.state is State.COMPLETED:  # an earlier run saw its result
            known = entry.snapshot or Snapshot(job_id=batch_entry.job_id, created_at=entry.created_at)
            await self._record_download_failure(batch_entry, known, error)
            return
        now = self._clock.now()
        await self._journal.record(
            batch_entry.update(
                State.FAILED,
                reason=error.message,
                code=error.error_code,
                snapshot=seen.snapshot,
                ended_at=now,
            )
        )
        self._state.emit(batch_entry.failed(error.message, seen.snapshot, now))

    async def _completed(self, batch_entry: BatchEntry, snapshot: Snapshot) -> None:
        now = self._clock.now()
        done = batch_entry.completed(snapshot, None, now)
        completed = batch_entry.update(State.COMPLETED, snapshot=snapshot, ended_at=now)
        if self._home.folder is None:  # nothing happens between the two states
            await self._journal.record(completed, batch_entry.update(State.DELIVERED))
            self._state.emit(done)
            return
        await self._journal.record(completed)
        try:
            saved = await self._save(batch_entry, done)
        except _RETRY_NEXT_RUN as error:
            await self._record_download_failure(batch_entry, snapshot, error)
            return
        await self._journal.record(batch_entry.update(State.DELIVERED, files=saved.files))
        self._state.emit(attrs.evolve(done, saved=saved))

    async def _save(self, batch_entry: BatchEntry, done: Completed) -> Saved:
        """Download under the entry's name, or under another if that is taken by files of somebody else."""
        stem = await self._naming.reserve(batch_entry)
        for _ in range(_NAMES):
            if self._disk_trouble is not None:
                raise self._disk_trouble
            try:
                return await self._client.download(
                    DownloadRequest(
                        done=done, stem=stem, without_captions=self._home.without_captions, skip_existing=True
                    )
                )
            except StorageError as error:
                self._stop_downloads(error)
                raise
            except (FileAlreadyExistsError, FileBusyError):
                stem = await self._naming.reserve(batch_entry, another=True)
        raise DownloadError(f"Whatever name the result should get, something appeared there: {stem}.")

    def _stop_downloads(self, error: StorageError) -> None:
        """Bring nothing more home: what can't be written for one result can't be for the next."""
        if self._disk_trouble is None:
            self._disk_trouble = error
            logger.warning("No more results are downloaded; jobs are waited for as before. %s", error)

    async def _record_download_failure(
        self, batch_entry: BatchEntry, snapshot: Snapshot, error: AkoolError
    ) -> None:
        if snapshot.created_at is None and batch_entry.job is not None:
            snapshot = attrs.evolve(snapshot, created_at=batch_entry.job.created_at)
        now, dies = self._clock.now(), snapshot.expires_at
        away = isinstance(error, JobFailed | JobNotFoundError) or error.http_status in GONE_STATUSES
        if away and dies is not None and self._client.server_now() >= dies:
            reason = "The result died at the vendor before it was brought home."
            await self._journal.record(batch_entry.update(State.EXPIRED, reason=reason, ended_at=now))
            self._state.emit(batch_entry.expired(reason, now))
            return
        self._state.emit(batch_entry.completed(snapshot, None, now, reason=str(error)))
