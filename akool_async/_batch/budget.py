"""What may still be spent: locks and doubts are counted at their worst before a POST goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio


class Budget:
    """Credits that a journal's entries may cost together.

    What a job will cost is known only when it is made, so the dearest job so far is taken for each new
    one; until one is known, POSTs go out one after the other.

    Args:
        most: credits; None for no bound.
        spent: gives the credits that are used by or locked for the journal's entries.
    """

    def __init__(self, most: float | None, spent: Callable[[], float]) -> None:
        self.most = most
        self._spent = spent
        self._dearest: float | None = None
        self._doubts = 0
        self._reserved = 0
        self._settled = anyio.Event()
        self._cleared_up: set[str] = set()

    async def reserve(self, jobs: int) -> bool:
        """Set credits aside for jobs that are about to be submitted; False when there are not enough.

        Each that gives True has to be followed by one `settle`.
        """
        if self.most is None:
            return True
        while self._dearest is None and self._reserved:
            await self._settled.wait()
        expected = (self._reserved + self._doubts + jobs) * (self._dearest or 0.0)
        if self._spent() >= self.most or self._spent() + expected > self.most:
            return False
        self._reserved += jobs
        return True

    def settle(self, jobs: int, *, costs: Iterable[float] = (), doubts: int = 0) -> None:
        """Take in what came of jobs that credits were set aside for."""
        if self.most is None:
            return
        self._reserved -= jobs
        self._doubts += doubts
        for cost in costs:
            self._dearest = max(cost, self._dearest or 0.0)
        self._settled.set()
        self._settled = anyio.Event()

    def learn(self, *, cost: float | None, in_doubt: bool) -> None:
        """Take in an entry of an earlier run: what its job cost, and whether it is in doubt."""
        if cost is not None:
            self._dearest = max(cost, self._dearest or 0.0)
        self._doubts += in_doubt

    def clear_up(self, job_id: str) -> None:
        """Take in that a doubt was about this job; it is counted as a doubt until its cost is known."""
        self._cleared_up.add(job_id)

    def ended(self, job_id: str) -> None:
        """Take in that a job has ended, and that the journal knows its cost."""
        if job_id in self._cleared_up:
            self._cleared_up.remove(job_id)
            self._doubts -= 1
