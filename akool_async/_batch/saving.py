"""Save the result of a job that has ended: its file names, its download, and what can stop downloads.

What the files of an entry are called is settled before money is spent and is the same in every run: the
template makes names, the journal holds each for one entry, the folder tells which are taken by others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import attrs
from anyio.to_thread import run_sync

from akool_async._batch.entry import BatchEntry, outcome_from_journal
from akool_async._batch.limits import StopCause
from akool_async._batch.state import BatchState
from akool_async._download import (
    DownloadRequest,
    FileAlreadyExistsError,
    FileBusyError,
    FileState,
    SavedFile,
    SavedResult,
)
from akool_async._journal import Entry, EntryUpdate
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    ConfigurationError,
    DownloadError,
    IllegalTransitionError,
    JobNotFoundError,
    JournalError,
    NetworkError,
    StorageError,
    VendorError,
)
from akool_async._model.filenames import MOST_NAMES, FileTemplates
from akool_async._model.outcomes import ENDINGS, MANIFEST, SUBTITLE_ENDINGS, Artifact, Completed, Saved
from akool_async._model.responses import Status, result_expiry, surely_expired
from akool_async._model.states import State
from akool_async._storage import ResultFolder, find_paid_result, find_saved_job

logger = logging.getLogger("akool_async")
_RESTORES: Final = 4
"""Results that are downloaded again at once."""

FileNames: TypeAlias = dict[tuple[str, str], tuple[str, ...]]
"""For each entry the names that its files may get, the one to be preferred first."""

RETRY_NEXT_RUN: Final = (DownloadError, JobNotFoundError, NetworkError, VendorError)
"""Why a result may be left for the next run; the last three come from requesting a fresh URL."""

_WHOLE: Final = (
    *ENDINGS.values(),
    *(
        ending.replace(".srt", other)
        for ending in (".srt", ".original.srt")
        for other in SUBTITLE_ENDINGS[1:]
    ),
    MANIFEST,
)
LONGEST_ENDING: Final = f"{max(_WHOLE, key=len)}.part.about.new"
"""The longest that follows a name while its files are downloaded."""

_BEGUN: Final = tuple(f"{ending}.part" for ending in ENDINGS.values())


def free_names(
    names: Iterable[str], is_there: Callable[[str], bool], endings: Sequence[str] = _WHOLE
) -> Iterator[str]:
    """Yield those of some names with which no file that has one of these endings is there."""
    return (name for name in names if not any(is_there(f"{name}{ending}") for ending in endings))


@attrs.frozen(kw_only=True)
class OutputConfig:
    """Where results go; `open_batch` describes it."""

    folder: ResultFolder | None
    templates: FileTemplates
    without_captions: bool = False
    verify_saved: bool = False
    pay_again: bool = False


def expect_without_captions(entry: Entry, found: SavedResult) -> SavedResult:
    """Return a saved result, in which a video without captions that the vendor made counts as missing."""
    made = entry.snapshot is not None and entry.snapshot.audio_splits.no_caption_video_url
    if not made or any(file.artifact == Artifact.WITHOUT_CAPTIONS for file in found.files):
        return found
    reason = "the run that saved the others did not ask for it"
    row = SavedFile(artifact=Artifact.WITHOUT_CAPTIONS, path=None, state=FileState.MISSING, reason=reason)
    return attrs.evolve(found, files=(*found.files, row))


class ResultSaver:
    """Downloads for a batch, under names that the journal holds for its entries.

    Attributes:
        disk_error: why nothing more is downloaded, if a result could not be written.
    """

    def __init__(self, state: BatchState, output: OutputConfig) -> None:
        self.folder = output.folder
        self._output = output
        self._state = state
        self._journal = state.journal
        self._session = state.session
        self.disk_error: StorageError | None = None
        self._names_before: dict[tuple[str, str], str] = {}
        self._restores = anyio.Semaphore(_RESTORES)

    async def candidate_names(
        self, entries: Sequence[BatchEntry]
    ) -> tuple[FileNames, dict[tuple[str, str], SavedResult]]:
        """Return for each entry of a POST the names that it may get, and its result if it is paid already.

        Both are empty where nothing is downloaded.

        Raises:
            ConfigurationError: such a name can't be written, or the bucket can't say which are free.
        """
        if self.folder is None:
            return {}, {}
        try:
            return await run_sync(self._names_and_results, entries, self.folder)
        except DownloadError as error:  # before the POST: nothing is paid yet
            raise ConfigurationError(error.message, advice=error.advice) from None

    def remember_name(self, entry: Entry) -> None:
        """Look also under the name of an entry that may be paid for, however names are made now."""
        if entry.name:
            self._names_before[entry.key, entry.target] = entry.name

    async def save(self, batch_entry: BatchEntry, done: Completed) -> Saved:
        """Download under the entry's name, or under another if files of another entry have that.

        Raises:
            StorageError: the folder can't be written; then nothing more is downloaded or paid in this run.
            DownloadError: a file is incomplete.
        """
        folder = self.folder
        assert folder is not None  # noqa: S101 - there is something to download
        name = await self._reserve_name(batch_entry)
        for _ in range(MOST_NAMES):
            # A full disk would refuse the next result, too, after all of it was loaded.
            if self.disk_error is not None:
                message = f"Nothing more is downloaded in this run. {self.disk_error.message}"
                raise StorageError(message, advice=self.disk_error.advice)
            request = DownloadRequest(
                done=done, stem=Path(name), without_captions=self._output.without_captions
            )
            try:
                with self._session.observers.download(**batch_entry.event_fields):
                    return await folder.save(request, self._session.download)
            except StorageError as error:
                if self.disk_error is None:  # what can't be written for one result can't be for the next
                    self.disk_error = error
                    logger.warning("No more results are downloaded; jobs are waited for as before. %s", error)
                    # What is paid now might expire before there is room for it.
                    reason = f"A result could not be saved. {error.message} {error.advice}"
                    self._state.stop(reason, cause=StopCause.STORAGE)
                raise
            # Never over what is there: it may be the only copy of another paid result.
            except (FileAlreadyExistsError, FileBusyError):
                name = await self._reserve_name(batch_entry, another=True)
        raise DownloadError(
            f"Every file name that was tried for this result is taken; the last one was {name}."
        )

    async def find_damage(self, entry: Entry) -> tuple[Entry, SavedResult | None]:
        """Return what became of a result that an earlier run saved or left, None if all is as it was.

        With it comes the entry, whose files are named where they are: their folder may have been moved, or
        the journal may name it by a path that leads elsewhere from the current directory.

        Raises:
            JournalError: that it is whole by now can't be recorded.
        """
        if self.folder is None or entry.state is not State.DELIVERED:
            return entry, None
        # An earlier run may have had no folder. That the vendor has the result does not make it saved.
        if not entry.files and not (entry := await self._adopt_download(entry, self.folder)).files:
            row = SavedFile(
                artifact=Artifact.VIDEO, path=None, state=FileState.MISSING, reason="no run has downloaded it"
            )
            return entry, SavedResult(manifest=Path(), job_id=entry.job_id, files=(row,))
        find = partial(self.folder.find_result, name=entry.name, hashes=self._output.verify_saved)
        try:
            found = await run_sync(find, entry.files)
        except DownloadError as error:  # it was saved; that a bucket can't be asked now makes it no damage
            logger.warning("Whether %s (%s) is still saved is not known. %s", entry.key, entry.target, error)
            return entry, None
        if self._output.without_captions:
            found = expect_without_captions(entry, found)
        if found.damaged:
            return entry, found
        # Another program may have made it whole: no whole result may be emitted as unverified.
        # Without its manifest only the names of files are known.
        if entry.reason and found.job_id == entry.job_id:
            update = EntryUpdate(key=entry.key, target=entry.target, state=State.DELIVERED, reason="")
            await self._journal.record(update)
            entry = attrs.evolve(entry, reason="")
        paths = [found.manifest, *(file.path for file in found.files if file.path is not None)]
        here = {path.name: str(path) for path in paths}
        files = tuple(here.get(Path(file).name, file) for file in entry.files)
        return attrs.evolve(entry, files=files), None

    async def recover_saved(self, batch_entry: BatchEntry) -> Completed | None:
        """Return the outcome of an entry whose own files are in the folder, though nobody recorded them.

        A run was killed just before that, or the caller downloaded them there.

        Raises:
            JournalError: it can't be recorded.
        """
        entry, folder = self._journal.get(*batch_entry.name), self.folder
        if entry is None or folder is None:
            return None
        found = await run_sync(self._find_own, entry, folder)
        if found is None:
            return None
        now, known = self._state.clock.now(), entry.known_snapshot
        snapshot = attrs.evolve(
            known, status=Status.COMPLETED, created_at=known.created_at or entry.created_at
        )
        changes = [batch_entry.update(State.DELIVERED, files=found.files, reason=found.shortfall)]
        if entry.state is not State.COMPLETED:
            changes.insert(0, batch_entry.update(State.COMPLETED, snapshot=snapshot, ended_at=now))
        await self._journal.record(*changes)
        return batch_entry.completed(snapshot, found, now)

    def _find_own(self, entry: Entry, folder: ResultFolder) -> Saved | None:
        """Return the files of an entry's own job, by a manifest under a name that it may have."""
        names = self._output.templates.names(entry.request, entry.target)
        for name in (entry.name,) if entry.name else islice(names, MOST_NAMES):
            with suppress(DownloadError):  # one that can't be read says nothing
                saved = find_saved_job(folder, name, entry.job_id, hashes=self._output.verify_saved)
                if saved is not None:
                    return saved
        return None

    async def _adopt_download(self, entry: Entry, folder: ResultFolder) -> Entry:
        """Return an entry without files with those that its caller downloaded into the folder, if any."""
        names = self._output.templates.names(entry.request, entry.target)
        try:
            for name in () if entry.name else islice(names, MOST_NAMES):
                found = await run_sync(folder.read_manifest, name)
                saved = found and found.job_id == entry.job_id and found.saved
                if saved:
                    await self._journal.reserve_name(entry.key, entry.target, (name,))
                    break
            else:
                return entry
        # Then it is downloaded, under a name of its own.
        except (DownloadError, OSError, IllegalTransitionError):
            return entry
        files, reason = tuple(map(str, saved.files)), saved.shortfall
        change = EntryUpdate(
            key=entry.key, target=entry.target, state=State.DELIVERED, files=files, reason=reason
        )
        await self._journal.record(change)
        return attrs.evolve(entry, name=name, files=files, reason=reason)

    async def restore(self, batch_entry: BatchEntry, entry: Entry, found: SavedResult) -> Completed:
        """Download again what is not there as it was saved, and return the outcome.

        Raises:
            JournalError: it can't be recorded.
        """
        done = outcome_from_journal(entry, batch_entry.request)
        assert isinstance(done, Completed)  # noqa: S101 - it was delivered
        lost = found.damaged[0]  # the video comes first
        was, again = (" as it was", " again") if entry.files else ("", "")
        reason = f"The {lost.artifact} is not{was} saved: {lost.reason or lost.state}."
        # Before the vendor's first answer, its time is that of this machine, which alone gives nothing up.
        if self._session.knows_server_time and surely_expired(
            result_expiry(entry.created_at or entry.submitted_at),
            entry.submitted_at or entry.created_at,
            now=self._state.clock.now(),
            vendor_now=self._session.server_now(),
        ):
            reason = f"{reason} The result has expired at the vendor."
        else:
            try:
                async with self._restores:
                    # The journal has no signatures, so the vendor is asked where the files are.
                    snapshot = await self._session.status(entry.job_id)
                    saved = await self.save(batch_entry, attrs.evolve(done, snapshot=snapshot))
            except JournalError:
                raise
            except AkoolError as error:  # of one saved result: other jobs are waited for and saved
                if isinstance(error, AccountError):
                    self._state.stop_for_account(error)
                reason = f"{reason} It could not be downloaded{again}. {error}"
            else:
                files = [str(path) for path in saved.files]
                # "" included: what was saved whole this time must not stay marked.
                change = batch_entry.update(State.DELIVERED, files=files, reason=saved.shortfall)
                await self._journal.record(change)
                return attrs.evolve(done, saved=saved)
        # Nobody may say "saved" about a video that is not there.
        if found.saved is None:
            return attrs.evolve(done, saved=None, reason=reason, resumed=False)
        # An entry of an earlier version has no reason yet. Without a manifest the journal knows more.
        if found.job_id and entry.reason != found.saved.shortfall:
            await self._journal.record(batch_entry.update(State.DELIVERED, reason=found.saved.shortfall))
        return attrs.evolve(done, saved=found.saved)

    async def _reserve_name(self, batch_entry: BatchEntry, *, another: bool = False) -> str:
        """Return the name of an entry's files; an entry that holds no name is given one.

        With `another` its name turned out to belong to another run, which may be downloading files of this
        name just now.
        """
        folder = self.folder
        assert folder is not None  # noqa: S101 - there is something to download

        def find() -> tuple[str, ...]:
            _, is_there = self._look_up(batch_entry, folder)
            return self._free_names(batch_entry, is_there, (*_WHOLE, *_BEGUN) if another else _WHOLE)

        name = self._journal.file_name(*batch_entry.name)
        if not name or another:
            try:
                names = await run_sync(find)
            except ConfigurationError as error:  # the job is paid; a run under another locale can save it
                raise DownloadError(error.message, advice=error.advice) from error
            await self._journal.reserve_name(*batch_entry.name, names, another=another)
            name = self._journal.file_name(*batch_entry.name)
        assert name  # noqa: S101 - it was just written
        return name

    def _names_and_results(
        self, entries: Sequence[BatchEntry], folder: ResultFolder
    ) -> tuple[FileNames, dict[tuple[str, str], SavedResult]]:
        """Return for each entry the names that are free, and its result if that is saved already.

        Raises:
            ConfigurationError: this system can't write such a name, or the folder is read-only.
        """
        names: FileNames = {}
        saved: dict[tuple[str, str], SavedResult] = {}
        for entry in entries:
            first, is_there = self._look_up(entry, folder)
            result = None if self._output.pay_again else self._find_paid(entry, folder, is_there)
            if result is not None:
                saved[entry.name] = result
            else:  # what is saved already needs no room: an archive may well be read-only
                folder.check_writable(first)
            names[entry.name] = self._free_names(entry, is_there, _WHOLE)
        return names, saved

    def _look_up(self, entry: BatchEntry, folder: ResultFolder) -> tuple[str, Callable[[str], bool]]:
        """Return the preferred name of an entry, and what tells whether the folder has a file."""
        # The job would be paid for, and its result could not be saved under a name that can't be written.
        first = next(iter(self._output.templates.names(entry.request, entry.target)))
        folder.check_name(f"{first}{LONGEST_ENDING}")
        return first, folder.lookup(first)

    def _find_paid(
        self, entry: BatchEntry, folder: ResultFolder, is_there: Callable[[str], bool]
    ) -> SavedResult | None:
        """Return the result of an entry that was paid under another journal, or before this one was lost."""
        names = islice(self._output.templates.names(entry.request, entry.target), MOST_NAMES)
        own = self._names_before.pop(entry.name, "")
        return find_paid_result(
            folder, names, is_there, lambda one: one.is_of(*entry.name, entry.request), own=own
        )

    def _free_names(
        self, entry: BatchEntry, is_there: Callable[[str], bool], endings: Sequence[str]
    ) -> tuple[str, ...]:
        """Return names of an entry with which no file that has one of these endings is there."""
        names = self._output.templates.names(entry.request, entry.target)
        return tuple(islice(free_names(names, is_there, endings), MOST_NAMES))
