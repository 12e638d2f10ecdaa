"""Who waits for which job: a hint about a job reaches its one waiter.

A hint is not believed here or anywhere: it only makes the scheduler ask sooner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Waiter(Protocol):
    """Waits for one job and can be made to look sooner."""

    def hinted(self) -> None:
        """Take in that something may have happened to the job."""
        ...


W = TypeVar("W", bound=Waiter)


class Notifier(Generic[W]):
    """A table from job id to the one that waits for the job."""

    def __init__(self) -> None:
        self._waiters: dict[str, W] = {}

    def __len__(self) -> int:
        """Jobs that are waited for."""
        return len(self._waiters)

    def __iter__(self) -> Iterator[W]:
        """Give all who wait."""
        return iter(tuple(self._waiters.values()))

    def listen(self, job_id: str, waiter: W) -> None:
        """Send hints about the job to `waiter`."""
        self._waiters[job_id] = waiter

    def waiter(self, job_id: str) -> W | None:
        """Give who waits for the job."""
        return self._waiters.get(job_id)

    def forget(self, job_id: str) -> None:
        """Send hints about the job to nobody; unknown ids are fine."""
        self._waiters.pop(job_id, None)

    def hint(self, job_id: str) -> bool:
        """Wake whoever waits for the job; False when nobody does."""
        waiter = self._waiters.get(job_id)
        if waiter is None:
            return False
        waiter.hinted()
        return True
