"""A walk over many entries, page by page, that may be left at any step.

An object and not a generator: it holds nothing open, so nothing has to be closed when a loop breaks off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Generic, TypeVar

from anyio.lowlevel import checkpoint

P = TypeVar("P")
T = TypeVar("T")


class Walk(AsyncIterator[T], Generic[P, T]):
    """Gives what stands at each place, read at the moment in which it is given.

    Args:
        start: a place before the first.
        page: gives the next places after one, an empty page at the end.
        read: gives what stands at a place, or None if it is not wanted any more.
    """

    def __init__(self, start: P, page: Callable[[P], Sequence[P]], read: Callable[[P], T | None]) -> None:
        self._place = start
        self._page = page
        self._read = read
        self._ahead: Iterator[P] = iter(())

    async def __anext__(self) -> T:
        """Give the next one."""
        while True:
            for place in self._ahead:
                self._place = place
                found = self._read(place)
                if found is not None:
                    return found
            await checkpoint()
            page = self._page(self._place)
            if not page:
                raise StopAsyncIteration
            self._ahead = iter(page)
