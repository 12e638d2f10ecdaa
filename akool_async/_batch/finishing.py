"""What is done with a job that has ended: record it, bring the result home, record that, hand it out."""

from __future__ import annotations

import logging
from typing import Final

import attrs

from akool_async._batch.flight import Flight
from akool_async._batch.hall import Hall
from akool_async._batch.naming import Home, Naming
from akool_async._client.fetching import Wish
from akool_async._core.errors import (
    AkoolError,
    DiskFailed,
    DownloadFailed,
    JobFailed,
    JobGone,
    NetworkError,
    VendorError,
)
from akool_async._core.lifecycle import State
from akool_async._core.models import Snapshot
from akool_async._core.observation import Observation, Verdict
from akool_async._core.outcomes import Completed, Saved
from akool_async._download import AWAY, NameInUse, NameTaken
from akool_async._waiting import Watch

logger = logging.getLogger("akool_async")

_NAMES: Final = 5
"""Names that are tried for one result; all but the first hold a hash of the entry."""

_NOT_HAD: Final = (DownloadFailed, JobGone, NetworkError, VendorError)
"""Why a result may stay away while all else goes on: the last two come from asking for a fresh URL."""


class Finisher:
    """Finishes for a batch."""

    def __init__(self, hall: Hall, home: Home, naming: Naming) -> None:
        self._hall = hall
        self._client = hall.client
        self._clock = hall.clock
        self._journal = hall.journal
        self._home = home
        self._naming = naming
        self._disk_trouble: DiskFailed | None = None

    async def run(self) -> None:
        """Finish what arrives, one after the other, without end."""
        while True:
            flight, watch = await self._hall.arrivals.take()
            try:
                await self.finish(flight, watch)
            except AkoolError as error:
                self._hall.lose(flight, error)

    async def finish(self, flight: Flight, watch: Watch) -> None:
        """See one job that ended to its outcome.

        Raises:
            AkoolError: asking about the job became impossible, or the journal can't be written.
        """
        if watch.error is not None:
            raise watch.error
        seen = watch.observation
        if seen.verdict is Verdict.COMPLETED and seen.snapshot is not None:
            await self._completed(flight, seen.snapshot)
        else:
            await self._failed(flight, seen)

    async def _failed(self, flight: Flight, seen: Observation) -> None:
        error = seen.failure()
        entry = self._journal.get(flight.key, flight.target)
        if entry is not None and entry.state is State.COMPLETED:  # an earlier run saw its result
            known = entry.snapshot or Snapshot(job_id=flight.job_id, created_at=entry.created_at)
            await self._not_saved(flight, known, error)
            return
        now = self._clock.now()
        await self._journal.record(
            flight.change(
                State.FAILED, reason=error.what, code=error.error_code, snapshot=seen.snapshot, ended_at=now
            )
        )
        self._hall.end(flight.failed(error.what, seen.snapshot, now))

    async def _completed(self, flight: Flight, snapshot: Snapshot) -> None:
        now = self._clock.now()
        done = flight.completed(snapshot, None, now)
        completed = flight.change(State.COMPLETED, snapshot=snapshot, ended_at=now)
        if self._home.folder is None:  # nothing happens between the two states
            await self._journal.record(completed, flight.change(State.DELIVERED))
            self._hall.end(done)
            return
        await self._journal.record(completed)
        try:
            saved = await self._save(flight, done)
        except _NOT_HAD as error:
            await self._not_saved(flight, snapshot, error)
            return
        await self._journal.record(flight.change(State.DELIVERED, files=saved.files))
        self._hall.end(attrs.evolve(done, saved=saved))

    async def _save(self, flight: Flight, done: Completed) -> Saved:
        """Download under the entry's name, or under another if that is taken by files of somebody else."""
        stem = await self._naming.stem(flight)
        for _ in range(_NAMES):
            if self._disk_trouble is not None:
                raise self._disk_trouble
            try:
                return await self._client._bring_home(
                    Wish(done=done, stem=stem, captionless=self._home.captionless, known=True)
                )
            except DiskFailed as error:
                self._stop_downloads(error)
                raise
            except (NameTaken, NameInUse):
                stem = await self._naming.stem(flight, another=True)
        raise DownloadFailed(f"Whatever name the result should get, something appeared there: {stem}.")

    def _stop_downloads(self, error: DiskFailed) -> None:
        """Bring nothing more home: what can't be written for one result can't be for the next."""
        if self._disk_trouble is None:
            self._disk_trouble = error
            logger.warning("No more results are downloaded; jobs are waited for as before. %s", error)

    async def _not_saved(self, flight: Flight, snapshot: Snapshot, error: AkoolError) -> None:
        if snapshot.created_at is None and flight.job is not None:
            snapshot = attrs.evolve(snapshot, created_at=flight.job.created_at)
        now, dies = self._clock.now(), snapshot.expires_at
        away = isinstance(error, JobFailed | JobGone) or error.http_status in AWAY
        if away and dies is not None and self._client._server_now() >= dies:
            reason = "The result died at the vendor before it was brought home."
            await self._journal.record(flight.change(State.EXPIRED, reason=reason, ended_at=now))
            self._hall.end(flight.expired(reason, now))
            return
        self._hall.end(flight.completed(snapshot, None, now, reason=str(error)))
