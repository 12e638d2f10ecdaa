"""What is done with a job that has ended: record it, bring the result home, record that, hand it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from akool_async._batch.flight import Flight
from akool_async._batch.naming import name_of
from akool_async._client import AkoolClient
from akool_async._core.errors import AkoolError, DiskFailed, DownloadFailed, JobGone
from akool_async._core.lifecycle import State
from akool_async._core.models import Snapshot
from akool_async._core.observation import Observation, Verdict
from akool_async._core.outcomes import Saved
from akool_async._journal import Journal
from akool_async._waiting import Watch

if TYPE_CHECKING:
    from akool_async._batch.batch import Batch

_TRIES: Final = 4
_AWAY: Final = (403, 404, 410)


class Finisher:
    """Finishes for a batch."""

    def __init__(self, client: AkoolClient, journal: Journal, download_to: str | None, batch: Batch) -> None:
        self._client = client
        self._clock = client._clock
        self._journal = journal
        self._download_to = download_to
        self._batch = batch
        self._disk_trouble: DownloadFailed | None = None

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
        now = self._clock.now()
        await self._journal.record(
            flight.change(
                State.FAILED, reason=error.what, code=error.error_code, snapshot=seen.snapshot, ended_at=now
            )
        )
        self._batch.end(flight.failed(error.what, seen.snapshot, now))

    async def _completed(self, flight: Flight, snapshot: Snapshot) -> None:
        now = self._clock.now()
        await self._journal.record(flight.change(State.COMPLETED, snapshot=snapshot, ended_at=now))
        saved: Saved | None = None
        if self._download_to is not None:
            try:
                saved = await self._save(flight, snapshot)
            except (DownloadFailed, JobGone) as error:
                await self._not_saved(flight, snapshot, error)
                return
        files = () if saved is None else saved.files
        await self._journal.record(flight.change(State.DELIVERED, files=files))
        self._batch.end(flight.completed(snapshot, saved, now))

    async def _save(self, flight: Flight, snapshot: Snapshot) -> Saved:
        """Download, a few times if need be; a full disk is not tried again."""
        assert self._download_to is not None  # noqa: S101 - asked for
        name = name_of(flight.request, flight.target)
        for number in range(1, _TRIES + 1):
            if self._disk_trouble is not None:
                raise self._disk_trouble
            try:
                return await self._client.download(
                    snapshot, into=self._download_to, name=name, overwrite=True
                )
            except DownloadFailed as error:
                if isinstance(error, DiskFailed):
                    self._disk_trouble = error
                if number == _TRIES or error.http_status in _AWAY:
                    raise
            await self._clock.sleep(self._client._retry.retry_in(number, 0.0) or 0.0)
        raise AssertionError("unreachable")

    async def _not_saved(self, flight: Flight, snapshot: Snapshot, error: AkoolError) -> None:
        now = self._clock.now()
        over = snapshot.expires_at is not None and now >= snapshot.expires_at
        away = isinstance(error, JobGone) or error.http_status in _AWAY
        if over and away:
            reason = "The result died at the vendor before it was brought home."
            await self._journal.record(flight.change(State.EXPIRED, reason=reason, ended_at=now))
            self._batch.end(flight.expired(reason, now))
            return
        self._batch.end(flight.completed(snapshot, None, now, reason=str(error)))
