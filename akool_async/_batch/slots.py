"""Bounds: how many at once, first come first served."""

from __future__ import annotations

from collections import deque

import anyio
import attrs


@attrs.define(eq=False)
class _Waiter:
    wanted: int
    given: anyio.Event = attrs.field(factory=anyio.Event)


class Permit:
    """The right to one of them, such as a slot; it may be released early, and then again without effect."""

    def __init__(self, slots: WeightedSemaphore) -> None:
        self._slots: WeightedSemaphore | None = slots

    def release(self) -> None:
        """Return it back, unless that was done."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.release(1)


class WeightedSemaphore:
    """So many at once, and no more.

    Args:
        total: how many there are, at least 1.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0
        self._waiters: deque[_Waiter] = deque()

    async def acquire(self, wanted: int) -> None:
        """Take `wanted` at once, at most all; the longest waiting is served first."""
        if not self._waiters and self.taken + wanted <= self.total:
            self.taken += wanted
            return
        waiter = _Waiter(wanted)
        self._waiters.append(waiter)
        try:
            await waiter.given.wait()
        except BaseException:  # a cancelled waiter, too, makes room for the one behind it
            if waiter.given.is_set():
                self.release(waiter.wanted)
            else:
                self._waiters.remove(waiter)
                self._serve()
            raise

    async def acquire_one(self) -> Permit:
        """Take one."""
        await self.acquire(1)
        return Permit(self)

    def release(self, freed: int) -> None:
        """Return back what was taken."""
        self.taken -= freed
        self._serve()

    def _serve(self) -> None:
        while self._waiters and self.taken + self._waiters[0].wanted <= self.total:
            waiter = self._waiters.popleft()
            self.taken += waiter.wanted
            waiter.given.set()
