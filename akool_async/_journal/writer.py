"""How steps reach the store: gathered into groups by one task, or inline for a journal in memory.

Whoever waits for a step is woken when it is durable. To stop waiting tears nothing: the step is
done or not done, and a step that has a way back is taken back.
"""

from __future__ import annotations

from typing import Final, Protocol

import anyio
import attrs
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from akool_async._core.errors import JournalClosed, JournalUnwritable
from akool_async._journal.step import Step, Undo
from akool_async._journal.store import Store, Ticket
from akool_async._journal.table import Table
from akool_async._journal.tally import Tally

WOKEN_AT_ONCE: Final = 8
"""Callers that are woken in one turn of the loop, so that a large group does not hold up everyone else."""

PATIENCE: Final = 0.005
"""Seconds that steps wait for company whose loss would cost a question to the vendor and no money."""

TURNS: Final = 8
"""Turns of the loop before a commit of few steps: an answer that makes room for the next POST and that
POST's intent are some turns apart, and cost one commit together."""

FEW: Final = 16
"""Steps that are enough for a commit of their own."""


class Writer(Protocol):
    """Takes steps to the store."""

    async def write(self, step: Step, undo: Undo | None = None, *, patient: bool = False) -> None:
        """Return when the step is durable.

        Args:
            step: what is to be done.
            undo: takes it back if the caller is cancelled; without it a step that was handed in is
                done even so.
            patient: it may wait a moment for others to be committed with it.

        Raises:
            JournalError: the step was not done.
        """
        ...


@attrs.frozen
class _TakenBack:
    """The way back, as a step: nothing where the ticket itself came to nothing."""

    ticket: Ticket
    undo: Undo
    several: bool = True

    def __call__(self, table: Table) -> None:
        if self.ticket.done and self.ticket.error is None:
            self.undo(table)


class Inline:
    """Writes at once, in the loop: for a journal in memory."""

    def __init__(self, store: Store, tally: Tally) -> None:
        self._store = store
        self._tally = tally

    async def write(self, step: Step, undo: Undo | None = None, *, patient: bool = False) -> None:
        """Write, then let others run."""
        ticket = self._do(step)
        try:
            await checkpoint()
        except BaseException:  # a cancelled caller did not hear of it: it is taken back
            if undo is not None:
                self._do(_TakenBack(ticket, undo))
            raise
        _raise(ticket)

    def _do(self, step: Step) -> Ticket:
        ticket = Ticket(step)
        self._store.do(ticket)
        self._tally.take(ticket.moves)
        return ticket


def _raise(ticket: Ticket) -> None:
    if ticket.error is not None:
        raise ticket.error
    if not ticket.done:
        raise JournalUnwritable("The journal was torn down before it could say whether this was written.")


class _Group:
    """Steps that are committed together, and who waits for them."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.hurries: Final = anyio.Event()
        self._settled: list[anyio.Event] = []

    def add(self, ticket: Ticket) -> anyio.Event:
        """Put in a step; give what tells its caller that it is settled."""
        if len(self.tickets) >= WOKEN_AT_ONCE * len(self._settled):
            self._settled.append(anyio.Event())
        self.tickets.append(ticket)
        return self._settled[-1]

    async def wake(self) -> None:
        """Wake the callers, a few per turn of the loop."""
        for event in self._settled:
            event.set()
            await checkpoint()

    def wake_all(self) -> None:
        """Wake the callers that are not awake yet."""
        for event in self._settled:
            event.set()


class Grouped:
    """Gathers what is handed in while a commit is under way, and commits it in the next one.

    `run` is the one task that writes; the commits happen in a thread of their own turn.
    """

    def __init__(self, store: Store, tally: Tally) -> None:
        self._store = store
        self._tally = tally
        self._group = _Group()
        self._wanted = anyio.Event()
        self._closing = False
        self._limiter: Final = anyio.CapacityLimiter(1)
        self.ended: Final = anyio.Event()

    async def write(self, step: Step, undo: Undo | None = None, *, patient: bool = False) -> None:
        """Hand in, wait until it is durable."""
        if self._closing:
            raise JournalClosed("The journal is being closed.")
        group, ticket = self._group, Ticket(step)
        settled = self._hand_in(ticket, patient=patient)
        try:
            await settled.wait()
        except BaseException:  # a cancelled caller did not hear of it: it is taken back
            if undo is not None:
                self._take_back(group, ticket, undo)
            raise
        _raise(ticket)

    def _hand_in(self, ticket: Ticket, *, patient: bool = False) -> anyio.Event:
        self._wanted.set()
        if not patient:
            self._group.hurries.set()
        return self._group.add(ticket)

    def _take_back(self, group: _Group, ticket: Ticket, undo: Undo) -> None:
        """Withdraw what is not being written yet; what is, is undone by the next group."""
        if group is self._group:
            group.tickets.remove(ticket)
        elif not self.ended.is_set():
            self._hand_in(Ticket(_TakenBack(ticket, undo)))

    async def run(self) -> None:
        """Write until `close`, and then what is left; nothing but the end of the loop cancels it."""
        try:
            with anyio.CancelScope(shield=True):
                while True:
                    await self._wanted.wait()
                    self._wanted = anyio.Event()
                    while self._group.tickets:
                        await self._gather()
                        await self._commit()
                    if self._closing:
                        break
                await run_sync(self._store.close, limiter=self._limiter)
        finally:
            self._closing = True
            self.ended.set()
            self._group.wake_all()

    async def _gather(self) -> None:
        """Let those come along who are about to hand something in."""
        with anyio.move_on_after(PATIENCE):
            await self._group.hurries.wait()
        for _ in range(TURNS):
            if len(self._group.tickets) >= FEW:
                break
            await checkpoint()

    async def _commit(self) -> None:
        group, self._group = self._group, _Group()
        try:
            await run_sync(self._store.commit, group.tickets, limiter=self._limiter)
            for ticket in group.tickets:
                self._tally.take(ticket.moves)
            await group.wake()
        finally:
            group.wake_all()

    def close(self) -> None:
        """Take nothing new, write what is there, then end."""
        self._closing = True
        self._wanted.set()
        self._group.hurries.set()
