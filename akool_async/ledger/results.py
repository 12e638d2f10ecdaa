"""What follows a paid POST under a ledger: wait for the job, save its result. Repeated, it does no harm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from anyio.to_thread import run_sync

from akool_async._client import AkoolClient
from akool_async._download import GONE_STATUSES, DownloadRequest, FileAlreadyExistsError, SavedResult
from akool_async._journal import Entry, EntryUpdate
from akool_async._journal.operations import display_name
from akool_async._model.errors import AkoolError, DownloadError, IllegalTransitionError, JobNotFoundError
from akool_async._model.filenames import DEFAULT_TEMPLATE, MOST_NAMES, collision_key
from akool_async._model.outcomes import Completed, Saved
from akool_async._model.responses import (
    EXPIRED_UNSAVED,
    JobFailed,
    Status,
    result_expiry,
    surely_expired,
)
from akool_async._model.states import State
from akool_async._storage import (
    DamagedManifestError,
    ResultFolder,
    Storage,
    find_paid_result,
    find_saved_job,
    result_folder,
)
from akool_async.ledger.entries import RESERVE_NAME, THIS, LedgerEntries

_PUBLISHED: Final = 0.1, 0.2, 0.4, 0.8
"""Seconds between looks whether files that are there already are this result, which another worker saves."""


class LedgerResults(LedgerEntries):
    """Waits for the jobs of entries and saves their results."""

    async def wait_once(self, client: AkoolClient, key: str, target: str = "", *, worker: str = "") -> Entry:
        """Wait until an entry's job has ended, and record how; the vendor is polled by the client's schedule.

        An entry whose job is known to have ended is returned at once, so a task may be repeated after it was
        killed. A job that failed makes the entry FAILED and raises nothing.

        Args:
            client: of the ledger's account.
            key: the entry's.
            target: its language; "" for lip-sync.
            worker: who waits, for people.

        Returns:
            The entry: COMPLETED or FAILED, or as it was if it has no job that is waited for.

        Raises:
            IllegalTransitionError: there is no such entry.
            LedgerError: the database failed. Call it again.
            JobFailed: the vendor does not know the job, or shows no result, though its time is not over; its
                entry is as it was. Call it again, with the key of the account that made it.
            AkoolError: the vendor can't be asked; the job and its entry are as they were.
        """
        entry = await self.assign(key, target, worker)
        if entry is None:
            raise _unknown(key, target)
        return await self.wait_for(client, entry)

    async def wait_for(
        self, client: AkoolClient, entry: Entry, *, folder: ResultFolder | None = None
    ) -> Entry:
        """Do what `wait_once` does, of an entry that was just read; what is in the folder has not expired."""
        if entry.state is not State.SUBMITTED:
            return entry
        # With its job: a repeated step must not end a later job of the entry.
        ended = partial(EntryUpdate, key=entry.key, target=entry.target, job_id=entry.job_id)
        # The job's age, so that thousands that are waited for again after a restart are not polled at once.
        created = entry.created_at or entry.submitted_at
        try:
            snapshot = await client.wait(entry.job_id, created_at=created)
        except JobFailed as error:
            if not error.confirmed:  # as with the key of another account: it may still be made
                await self._recover_or_expire(client, entry, error, folder)
                return await self._existing(entry.key, entry.target)
            change = ended(
                state=State.FAILED,
                reason=error.message,
                code=error.error_code,
                snapshot=error.snapshot,
                ended_at=self.clock.now(),
            )
        else:
            change = ended(state=State.COMPLETED, snapshot=snapshot, ended_at=self.clock.now())
        await self.record(change)
        return await self._existing(entry.key, entry.target)

    async def save_once(
        self,
        client: AkoolClient,
        key: str,
        target: str = "",
        *,
        into: str | os.PathLike[str],
        storage: Storage | None = None,
    ) -> Entry:
        """Save the result of an entry whose job is completed, under the name that the ledger holds for it.

        A name belongs to one entry of the ledger, so no two workers write one file, in a folder that machines
        share or in a bucket. Where files of something else have it, the entry gets another name.

        Args:
            client: of the ledger's account.
            key: the entry's.
            target: its language; "" for lip-sync.
            into: a folder, or a bucket such as "s3://bucket/prefix".
            storage: settings for the bucket; default is what the environment says.

        Returns:
            The entry: DELIVERED, or EXPIRED if the vendor deleted the result before it was saved; as it was
            if it is not completed.

        Raises:
            IllegalTransitionError: there is no such entry.
            StorageError: the folder or the bucket can't be written.
            DownloadError: the video is incomplete, or another worker is saving it. Call it again.
            JobNotFoundError: the vendor shows no result, though its time is not over.
            LedgerError: the database failed. Call it again.
        """
        entry = await self._existing(key, target)
        if entry.state is not State.COMPLETED:
            return entry
        folder = result_folder(into, storage)
        try:
            # Asked anew: the URLs of an earlier answer may have expired while the worker was down.
            snapshot = await client.status(entry.job_id)
            if snapshot.status is not Status.COMPLETED:
                raise JobNotFoundError(f"Job {entry.job_id} shows no result any more.")
            done = Completed(
                key=key,
                request=entry.request,
                target=target,
                job=entry.job,
                snapshot=snapshot,
                submitted_at=entry.submitted_at,
                ended_at=entry.ended_at,
                credits=entry.credits_used,
            )
            saved = await self._save(client, entry, done, folder)
        except AkoolError as error:
            # Only what a host answered says that it is gone; a machine without a network knows nothing.
            if not isinstance(error, JobNotFoundError) and error.http_status not in GONE_STATUSES:
                raise
            await self._recover_or_expire(client, entry, error, folder)
        else:
            await self._record_saved(entry, saved)
        return await self._existing(key, target)

    async def _record_saved(self, entry: Entry, saved: Saved) -> None:
        change = EntryUpdate(
            key=entry.key,
            target=entry.target,
            state=State.DELIVERED,
            job_id=entry.job_id,
            files=[str(path) for path in saved.files],  # those in a bucket have no path for the system
            reason=saved.shortfall,
        )
        await self.record(change)

    async def _recover_or_expire(
        self, client: AkoolClient, entry: Entry, error: AkoolError, folder: ResultFolder | None
    ) -> None:
        """Record that a result is saved already, or has surely expired; raise `error` if neither is so."""
        # A worker may have been killed after it saved the files, or the database be an older copy. Called
        # expired, what is saved would be paid for again.
        saved = None if folder is None else await run_sync(_find_own, entry, folder)
        if saved is not None:
            if entry.state is not State.COMPLETED:
                ended = EntryUpdate(
                    key=entry.key,
                    target=entry.target,
                    state=State.COMPLETED,
                    job_id=entry.job_id,
                    ended_at=self.clock.now(),
                )
                await self.record(ended)
            return await self._record_saved(entry, saved)
        expires_at = result_expiry(entry.created_at or entry.submitted_at)
        now, vendor_now = self.clock.now(), client.session.server_now()
        if not surely_expired(expires_at, entry.submitted_at, now=now, vendor_now=vendor_now):
            raise error
        # With its job: a worker that was frozen meanwhile must not end a later job of the entry.
        change = EntryUpdate(
            key=entry.key,
            target=entry.target,
            state=State.EXPIRED,
            job_id=entry.job_id,
            reason=EXPIRED_UNSAVED,
        )
        return await self.record(change)

    async def refuse_saved(self, entry: Entry, folder: ResultFolder) -> str:
        """End a planned entry whose result is in the folder, and return why; "" if it may be paid for.

        Another journal or ledger paid for it. What a person said to submit again may be paid for.

        Raises:
            DownloadError: the bucket can't say what is in it.
            LedgerError: the database failed.
        """
        try:
            result = await run_sync(partial(_find_saved, entry, folder))
        except DamagedManifestError as error:
            why = error.message
        else:
            if result is None:
                return ""
            why = (
                f"It is paid already: {result.manifest.name} says that job {result.job_id} is saved, but the "
                "ledger does not know this job."
            )
        reason = f"{why} `{self.command('retry', entry.key)}` pays again."
        ended = await self.execute(
            "UPDATE akool_ledger.entry SET state = 'failed', paid_already = true, reason = :reason,"
            f" ended_at = :now, updated_at = :now{THIS} AND state = 'planned' AND NOT pay_again"
            " RETURNING key",
            key=entry.key,
            target=entry.target,
            reason=reason,
            now=self.clock.now(),
        )
        return reason if ended else ""

    async def _save(
        self,
        client: AkoolClient,
        entry: Entry,
        done: Completed,
        folder: ResultFolder,
    ) -> Saved:
        others = islice(DEFAULT_TEMPLATE.names(entry.request, entry.target), 1, MOST_NAMES)
        name = entry.name or DEFAULT_TEMPLATE.name(entry.request, entry.target)
        waits = iter(_PUBLISHED)
        while True:
            request = DownloadRequest(done=done, stem=Path(name))
            try:
                return await folder.save(request, client.session.download)
            except FileAlreadyExistsError:
                # Never over what is there: it may be the only copy of another paid result. A few times more
                # under the same name: another worker may be saving this very result, its manifest last.
                wait = next(waits, None)
                if wait is None:
                    name = await self._rename(entry, others)
                else:
                    await self.clock.sleep(wait)

    async def _rename(self, entry: Entry, names: Iterator[str]) -> str:
        """Reserve for an entry the first of these names that no other entry has."""
        for name in names:
            names_it = {"name": name, "folded": collision_key(name)}
            if await self.execute(RESERVE_NAME, key=entry.key, target=entry.target, **names_it):
                return name
        raise DownloadError(f"Every file name tried for {entry.name!r} is taken.")

    async def _existing(self, key: str, target: str) -> Entry:
        entry = await self.get(key, target)
        if entry is None:
            raise _unknown(key, target)
        return entry


def _find_own(entry: Entry, folder: ResultFolder) -> Saved | None:
    """Return the files of an entry's own job, by a manifest under a name that it may have."""
    names = DEFAULT_TEMPLATE.names(entry.request, entry.target)
    found = (
        find_saved_job(folder, name, entry.job_id)
        for name in ((entry.name,) if entry.name else islice(names, MOST_NAMES))
    )
    return next(filter(None, found), None)


def _find_saved(entry: Entry, folder: ResultFolder) -> SavedResult | None:
    """Return what a manifest in the folder says of an entry's work, under a name that it may have."""

    def is_its(result: SavedResult) -> bool:
        same = (result.fingerprint, result.target) == (entry.fingerprint, entry.target)
        return same or result.is_of(entry.key, entry.target, entry.request)

    names = tuple(islice(DEFAULT_TEMPLATE.names(entry.request, entry.target), MOST_NAMES))
    return find_paid_result(folder, names, folder.lookup(names[0]), is_its, own=entry.name)


def _unknown(key: str, target: str) -> IllegalTransitionError:
    name = display_name(key, target)
    return IllegalTransitionError(f"Entry {name} is not in the ledger.", advice="Enqueue it again.")
