"""A bound that is taken several at once, first come first served."""

from __future__ import annotations

from collections import deque

import anyio
import attrs


@attrs.define(eq=False)
class _Waiter:
    wanted: int
    given: anyio.Event = attrs.field(factory=anyio.Event)


class Place:
    """One of the slots, taken; it may be freed early, and then once more."""

    def __init__(self, slots: Slots) -> None:
        self._slots: Slots | None = slots

    def free(self) -> None:
        """Give it back, unless that was done."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.give(1)


class Slots:
    """So many at once, and no more.

    Args:
        total: how many there are, at least 1.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0
        self._waiters: deque[_Waiter] = deque()

    async def take(self, wanted: int) -> None:
        """Take `wanted` at once, at most all; whoever waits longest is served first."""
        if not self._waiters and self.taken + wanted <= self.total:
            self.taken += wanted
            return
        waiter = _Waiter(wanted)
        self._waiters.append(waiter)
        try:
            await waiter.given.wait()
        except BaseException:  # a cancelled waiter, too, makes room for the one behind it
            self._leave(waiter)
            raise

    async def place(self) -> Place:
        """Take one."""
        await self.take(1)
        return Place(self)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter.given.is_set():
            self.give(waiter.wanted)
        else:
            self._waiters.remove(waiter)
            self._serve()

    def give(self, freed: int) -> None:
        """Give back what was taken."""
        self.taken -= freed
        self._serve()

    def _serve(self) -> None:
        while self._waiters and self.taken + self._waiters[0].wanted <= self.total:
            waiter = self._waiters.popleft()
            self.taken += waiter.wanted
            waiter.given.set()
