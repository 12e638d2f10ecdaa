"""How steps reach the store: gathered into groups by one task, or inline for a journal in memory.

A task that waits for a step is woken when it is durable. To stop waiting tears nothing: the step is done or
not done, and a step that has a way back is taken back.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Final, Protocol, Self

import anyio
import attrs
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from anyio.to_thread import run_sync

from akool_async._journal.store import YIELD_EVERY, PendingOperation, Store
from akool_async._journal.table import EntryTable, Operation, Totals, Undo
from akool_async._model.errors import JournalClosedError, JournalWriteError

WAKE_BATCH: Final = 8
"""Callers that are woken in one turn of the loop, so that a large group does not hold up everyone else."""

GATHER_DELAY: Final = 0.005
"""Seconds that steps wait for company whose loss would cost a question to the vendor and no money."""

GATHER_TURNS: Final = 8
"""Turns of the loop before a commit of few steps: an answer that makes room for the next POST and that
POST's intent are some turns apart, and cost one commit together."""

FULL_GROUP: Final = 16
"""Steps that are enough for a commit of their own."""


class Writer(Protocol):
    """Takes steps to the store."""

    async def write(self, step: Operation, undo: Undo | None = None, *, patient: bool = False) -> None:
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
class OpenJournal:
    """What exists only while a journal is open."""

    store: Store
    reading: sqlite3.Connection
    totals: Totals
    writer: Writer | None
    stack: contextlib.AsyncExitStack


@attrs.frozen
class Barrier:
    """Writes nothing; when it is done, so is every operation before it."""

    several: bool = False

    def __call__(self, table: EntryTable) -> None:
        """Write nothing."""


@attrs.frozen
class _Undo:
    """The way back, as a step: nothing where the step itself came to nothing."""

    pending: PendingOperation
    undo: Undo
    several: bool = True

    def __call__(self, table: EntryTable) -> None:
        if self.pending.done and self.pending.error is None:
            self.undo(table)


class DirectWriter:
    """Writes at once, in the loop: for a journal in memory."""

    def __init__(self, store: Store, totals: Totals) -> None:
        self._store = store
        self._totals = totals
        self._written = 0

    async def write(self, step: Operation, undo: Undo | None = None, *, patient: bool = False) -> None:
        """Write; now and then let others run."""
        pending = self._do(step)
        self._written += 1
        try:
            await (checkpoint if self._written % YIELD_EVERY == 0 else checkpoint_if_cancelled)()
        except BaseException:  # a cancelled caller did not hear of it: it is taken back
            if undo is not None:
                self._do(_Undo(pending, undo))
            raise
        if pending.error is not None:
            raise pending.error

    def _do(self, step: Operation) -> PendingOperation:
        pending = PendingOperation(step)
        self._store.do(pending)
        self._totals.apply(pending.deltas)
        return pending


class _Group:
    """Steps that are committed together, and who waits for them."""

    def __init__(self) -> None:
        self.operations: list[PendingOperation] = []
        self.hurries: Final = anyio.Event()
        self.settled: list[anyio.Event] = []

    def add(self, pending: PendingOperation) -> anyio.Event:
        """Put in a step; return the event that is set once it is settled."""
        if len(self.operations) >= WAKE_BATCH * len(self.settled):
            self.settled.append(anyio.Event())
        self.operations.append(pending)
        return self.settled[-1]


class GroupCommitWriter:
    """Gathers what is handed in while a commit is under way, and commits it in the next one.

    `run` is the one task that writes, in a thread; `async with` starts it, and ends it when all is written.
    """

    def __init__(self, store: Store, totals: Totals) -> None:
        self._store = store
        self._totals = totals
        self._group = _Group()
        self._wanted = anyio.Event()
        self._closing = False
        self._limiter: Final = anyio.CapacityLimiter(1)
        self._tasks: Final = anyio.create_task_group()
        self.ended: Final = anyio.Event()

    async def __aenter__(self) -> Self:
        """Start to write."""
        await self._tasks.__aenter__()
        self._tasks.start_soon(self.run, name="journal writer")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take nothing new, write what is there; an exception of the block is not wrapped in a group."""
        self.close()
        try:
            with anyio.CancelScope(shield=True):
                await self.ended.wait()
        finally:
            await self._tasks.__aexit__(None, None, None)

    async def write(self, step: Operation, undo: Undo | None = None, *, patient: bool = False) -> None:
        """Hand in, wait until it is durable."""
        if self._closing:
            raise JournalClosedError("The journal is being closed.")
        group, pending = self._group, PendingOperation(step)
        settled = self._hand_in(pending, patient=patient)
        try:
            await settled.wait()
        except BaseException:  # a cancelled caller did not hear of it: it is taken back
            if undo is not None:
                if group is self._group:  # it is not being written yet
                    group.operations.remove(pending)
                elif not self.ended.is_set():
                    self._hand_in(PendingOperation(_Undo(pending, undo)))
            raise
        if pending.error is not None:
            raise pending.error
        if not pending.done:
            raise JournalWriteError("The journal was torn down before it could say whether this was written.")

    def _hand_in(self, pending: PendingOperation, *, patient: bool = False) -> anyio.Event:
        self._wanted.set()
        if not patient:
            self._group.hurries.set()
        return self._group.add(pending)

    async def run(self) -> None:
        """Write until `close`, and then what is left; nothing but the end of the loop cancels it."""
        try:
            with anyio.CancelScope(shield=True):
                while True:
                    await self._wanted.wait()
                    self._wanted = anyio.Event()
                    while self._group.operations:
                        await self._commit()
                    if self._closing:
                        break
                await run_sync(self._store.close, limiter=self._limiter)
        finally:
            self._closing = True
            self.ended.set()
            for settled in self._group.settled:
                settled.set()

    async def _commit(self) -> None:
        """Let those come along who are about to hand something in, then write."""
        with anyio.move_on_after(GATHER_DELAY):
            await self._group.hurries.wait()
        for _ in range(GATHER_TURNS):
            if len(self._group.operations) >= FULL_GROUP:
                break
            await checkpoint()
        group, self._group = self._group, _Group()
        try:
            await run_sync(self._store.commit, group.operations, limiter=self._limiter)
            for pending in group.operations:
                self._totals.apply(pending.deltas)
            for settled in group.settled:  # a few callers per turn of the loop
                settled.set()
                await checkpoint()
        finally:
            for settled in group.settled:
                settled.set()

    def close(self) -> None:
        """Take nothing new, write what is there, then end."""
        self._closing = True
        self._wanted.set()
        self._group.hurries.set()
