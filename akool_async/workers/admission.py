"""Which entries of a worker may POST: few at a time, and only one asks while the account has no capacity.

None does for a while after a few answers in a row were lost: each may be a job that is paid and unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import anyio

from akool_async._clock import Clock, wait_event
from akool_async._model.outcomes import InDoubt
from akool_async._retry import backoff_step
from akool_async.ledger import LostAnswer, Made, NotSent, Refused

logger: Final[logging.Logger] = logging.getLogger("akool_async")
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

MOST_LOST: Final = 3
"""Answers that are lost in a row before nothing more is sent, as `max_doubts` of a batch."""

_HOLD: Final = 300.0, 2.0, 3600.0
"""Seconds until a single POST tries whether answers come again: at first, their growth, the longest."""


class Admission:
    """Lets the entries of one worker POST.

    Thousands of entries may wait for the account's cap or budget. One of them asks the ledger, at growing
    intervals and when a job of this worker has ended; the others wait for it and cost nothing.
    """

    def __init__(self, clock: Clock, shows_doubts: str = "") -> None:
        """Begin as if there were capacity; `shows_doubts` is the command that a message names."""
        self._clock = clock
        self._shows_doubts = shows_doubts
        self._posts = anyio.Semaphore(POSTS)
        self._one = anyio.Lock()
        self._freed = anyio.Event()
        self._misses = 0
        self._one_by_one = 0
        self._not_before = 0.0
        self._answered = False
        self._lost = self._holds = 0
        self._said: set[str] = set()

    @property
    def holds(self) -> bool:
        """Whether answers were lost, so that the next POST only tries whether they come again."""
        return self._holds > 0

    def begin_after(self, doubts: int) -> None:
        """Begin as if so many answers had been lost, but one less than end all POSTs: a single one is tried.

        A worker that is restarted in an outage would else lose as many again.
        """
        self._lost = min(doubts, MOST_LOST - 1)

    def free(self) -> None:
        """Say that a job of this worker takes no capacity any more."""
        self._freed.set()

    async def submit(self, post: Callable[[], Awaitable[Ended | NotSent]]) -> Ended:
        """Call `post` when it is its turn, and again later if it sent nothing."""
        while True:
            async with self._posts:
                found = await self._ask_in_turn(post)
            if not isinstance(found, NotSent):
                return found

    @property
    def _is_alone(self) -> bool:
        # Until an answer came, too: a host that is wrong or down then costs one doubt, not one for each.
        return bool(self._one_by_one or self._lost) or not self._answered

    async def _ask_in_turn(self, post: Callable[[], Awaitable[Ended | NotSent]]) -> Ended | NotSent:
        while self._is_alone:
            async with self._one:
                if self._is_alone:
                    await self._wait()
                    return await self._ask(post)
        return await self._ask(post)

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
        self._judge(found)
        return found

    def _judge(self, found: Ended | NotSent) -> None:
        if isinstance(found, LostAnswer):
            self._lost += 1
            # Those that were under way together are one sign.
            is_new = not self._holds or self._clock.monotonic() >= self._not_before
            if is_new and (found.stops or self._lost >= MOST_LOST):
                self._hold(found)
        elif isinstance(found, NotSent):
            if found.stops and found.reason not in self._said:
                self._said.add(found.reason)
                logger.warning(
                    "Nothing more is submitted by this worker until the cause is fixed; it checks again by "
                    "itself: %s",
                    found.reason,
                )
        # An answer of the vendor to this POST; a refusal without its number is the folder's or the ledger's.
        elif (isinstance(found, Made) and not found.again) or (
            isinstance(found, Refused) and found.code is not None
        ):
            if self._holds or self._said:
                logger.info("The vendor answers, and this worker submits again.")
            self._answered, self._lost, self._holds = True, 0, 0
            self._said.clear()

    def _hold(self, found: LostAnswer) -> None:
        wait = backoff_step(self._holds, *_HOLD)
        if not self._holds:
            logger.warning(
                "Nothing more is submitted by this worker for %.0f minutes, and then one call at a time: the "
                "answers to paid calls were lost (%d in a row), and each may have made a job that is billed. "
                "`%s` shows them. The last one: %s",
                wait / 60,
                self._lost,
                self._shows_doubts,
                found.reason,
            )
        self._holds += 1
        self._one_by_one = POSTS
        self._not_before = self._clock.monotonic() + wait

    async def _wait(self) -> None:
        if self._holds:
            await self._clock.sleep(self._not_before - self._clock.monotonic())
        if self._misses:
            # What the vendor or the ledger asked for is kept to, whatever ends meanwhile.
            await self._clock.sleep(self._not_before - self._clock.monotonic())
            longest = backoff_step(self._misses - 1, _FIRST, _GROWTH, _LONGEST)
            await wait_event(self._freed, self._clock, longest * self._clock.random())
