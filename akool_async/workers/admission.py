"""Which entries of a worker may POST: few at a time, and only one asks while the account has no capacity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import anyio

from akool_async._clock import Clock, wait_event
from akool_async._model.outcomes import InDoubt
from akool_async._retry import backoff_step
from akool_async.ledger import Made, NotSent, Refused

Ended: TypeAlias = Made | Refused | InDoubt
"""What became of an entry's submission, once something did."""

POSTS: Final = 16
"""POSTs under way at once: a client has no more connections for them.

An intent that waits for one has to ask the ledger again each 5 s, and of 1,000 at once most did, often.
"""

_FIRST, _GROWTH, _LONGEST = 1.0, 1.5, 10.0
"""Seconds between two questions for capacity; not long, because jobs of other workers end unseen."""

_STOPPED: Final = 30.0
"""Seconds after an answer that stops all POSTs, such as to a wrong key."""


class Admission:
    """Lets the entries of one worker POST.

    Thousands of entries may wait for the account's cap or budget. One of them asks the ledger, at growing
    intervals and when a job of this worker has ended; the others wait for it and cost nothing.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin as if there were capacity."""
        self._clock = clock
        self._posts = anyio.Semaphore(POSTS)
        self._one = anyio.Lock()
        self._freed = anyio.Event()
        self._misses = 0
        self._one_by_one = 0
        self._not_before = 0.0

    def free(self) -> None:
        """Say that a job of this worker takes no capacity any more."""
        self._freed.set()

    async def submit(self, post: Callable[[], Awaitable[Ended | NotSent]]) -> Ended:
        """Call `post` when it is its turn, and again later if it sent nothing."""
        while True:
            async with self._posts:
                if self._one_by_one:
                    async with self._one:
                        await self._wait()
                        found = await self._ask(post)
                else:
                    found = await self._ask(post)
            if not isinstance(found, NotSent):
                return found

    async def _ask(self, post: Callable[[], Awaitable[Ended | NotSent]]) -> Ended | NotSent:
        self._freed = anyio.Event()  # before the question, so that a job which ends meanwhile counts
        misses = self._misses + 1  # those that ask together miss once together
        found: Ended | NotSent | None = None
        try:
            found = await post()
        finally:
            if found is None or isinstance(found, NotSent):  # a database that fails is asked by one, too
                wait = _FIRST if found is None else found.retry_after
                if isinstance(found, NotSent) and found.stops:
                    wait = max(wait, _STOPPED)
                self._misses, self._one_by_one = misses, POSTS
                self._not_before = max(self._not_before, self._clock.monotonic() + wait)
            else:
                self._misses, self._one_by_one = 0, max(self._one_by_one - 1, 0)
        return found

    async def _wait(self) -> None:
        if self._misses:
            # What the vendor or the ledger asked for is kept to, whatever ends meanwhile.
            await self._clock.sleep(self._not_before - self._clock.monotonic())
            longest = backoff_step(self._misses - 1, _FIRST, _GROWTH, _LONGEST)
            await wait_event(self._freed, self._clock, longest * self._clock.random())
