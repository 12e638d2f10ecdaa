"""An open journal: its lock, its connections, the transactions of its one writer, and its operations.

`Store` knows no event loop: `commit` may run in another thread, and `close` waits for it. Operations are
gathered into groups by one task, or written inline for a journal in memory. A task that waits for one is
woken when it is durable. To stop waiting tears nothing: an operation is done or not done, and one that has a
way back is taken back.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import anyio
import attrs
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
from anyio.to_thread import run_sync

from akool_async._journal import database
from akool_async._journal.lock import JournalLock
from akool_async._journal.names import check_name
from akool_async._journal.operations import RecordIntent, mark_interrupted
from akool_async._journal.table import (
    DATABASE_ERRORS,
    EntryTable,
    Operation,
    PendingOperation,
    Then,
    Totals,
    Undo,
    UndoOperation,
    read_totals,
)
from akool_async._model.errors import JournalClosedError, JournalWriteError
from akool_async._model.fingerprint import CompactSet

IN_MEMORY: Final = ":memory:"
YIELD_EVERY: Final = 32
"""Operations after which the writer's thread gives way: one that calls SQLite without a pause keeps
the interpreter's lock for milliseconds, and the event loop waits meanwhile."""


def _do(pending: PendingOperation, table: EntryTable) -> None:
    """Do one operation wholly or not at all; its error is its caller's, unless it breaks the transaction."""
    operation, connection = pending.operation, table.connection
    # Others are committed with it: half of an operation that fails must not be, nor must it undo theirs.
    if operation.needs_savepoint:
        connection.execute("SAVEPOINT operation")
    try:
        operation(table)
    except Exception as error:
        broken = isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | UnicodeDecodeError)
        if broken or type(error) is sqlite3.DatabaseError:
            raise
        pending.error = error
        table.take_deltas()
        if operation.needs_savepoint:
            connection.execute("ROLLBACK TO operation")
    else:
        pending.deltas = table.take_deltas()
    table.settle(done=pending.error is None)
    if operation.needs_savepoint:
        connection.execute("RELEASE operation")


_INHERITED: Final[list[object]] = []
"""Connections of a parent, which its forked child never closes."""


class Store:
    """One journal, opened once.

    Args:
        forget_ended: delete entries that have ended, and only count them.

    Attributes:
        lock: None where there is none: in memory, only to read, or not open yet.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        read_only: bool = False,
        forget_ended: bool = False,
        accept_older: bool = False,
    ) -> None:
        self.path = path
        self._accept_older = accept_older
        self.recovered = 0
        self._forgotten = CompactSet() if forget_ended else None
        self._mutex = threading.Lock()
        self.lock: JournalLock | None = None
        self._read_only = read_only
        self._writing: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._closed = False

    def open(self, now: datetime) -> Totals:
        """Open it; intents of an interrupted run become IN_DOUBT. Return the totals."""
        with self._mutex:
            if self._closed:
                raise JournalClosedError("The journal was closed before it was open.")
            if self.path is None:
                self._writing = self._reading = database.in_memory()
                return read_totals(self.reading, IN_MEMORY)
            if not self._read_only:
                self.lock = JournalLock(self.path)
                try:
                    self._open_for_writing(self.path, self.lock, now)
                except (*DATABASE_ERRORS, OSError) as error:
                    raise database.map_sqlite_error(self.path, error, "opened for writing") from error
            if self._reading is None:
                self._reading = database.open_for_reading(self.path)
            return read_totals(self.reading, str(self.path))

    def _open_for_writing(self, path: Path, lock: JournalLock, now: datetime) -> None:
        check_name(path)
        database.check_is_journal(path)  # before a lock is put beside something else
        lock.acquire(now)
        if path.exists():
            lock.claim()
        # Before SQLite opens it for writing: an older journal stays as it is; its log may be put back.
        if not self._accept_older:
            error = lock.older_error(database.check_is_journal(path))
            if error is not None:
                raise error
        self._writing = database.open_for_writing(path)
        lock.claim()
        self.recovered = mark_interrupted(self.table, now)
        lock.remember(database.watermark(self._writing))
        self._reading = database.open_for_reading(path)
        lock.watch(database.log_of(path))

    @property
    def reading(self) -> sqlite3.Connection:
        """The connection that reads it and sees every commit."""
        if self._reading is None:
            raise JournalClosedError("The journal is not open.")
        return self._reading

    @property
    def table(self) -> EntryTable:
        """What writes it."""
        if self._writing is None:
            raise JournalClosedError("The journal is not open for writing.")
        return EntryTable(self._writing, self._forgotten)

    def commit(self, operations: Sequence[PendingOperation]) -> None:
        """Do what all operations want in one durable transaction; each says how it went.

        An operation that is refused fails alone. A transaction that fails fails every operation.
        """
        with self._mutex:
            try:
                table = self.table
                if self.lock is not None:
                    self.lock.check_in_place()
                table.connection.execute("BEGIN IMMEDIATE")
                for number, pending in enumerate(operations):
                    if self.lock is not None and isinstance(pending.operation, RecordIntent):
                        pending.error = self.lock.full_disk_error()  # the last room is for ids that are paid
                    if pending.error is None:
                        _do(pending, table)
                    if number % YIELD_EVERY == YIELD_EVERY - 1:
                        time.sleep(0)
                done = [pending.operation for pending in operations if pending.error is None]
                intended = sum(operation.posts for operation in done if isinstance(operation, RecordIntent))
                if intended:
                    table.connection.execute("UPDATE watermark SET intents = intents + ?", (intended,))
                table.connection.execute("COMMIT")
                if intended and self.lock is not None:
                    self.lock.count_intents(intended)
            except Exception as error:  # noqa: BLE001 - handed to every caller
                self._fail(operations, error)
        for pending in operations:
            pending.done = True

    def do(self, pending: PendingOperation) -> None:
        """Do one operation at once: for a journal in memory, where there is nothing to gather."""
        try:
            _do(pending, self.table)
        except Exception as error:  # noqa: BLE001 - handed to the caller
            self._fail([pending], error)
        pending.done = True

    def _fail(self, operations: Sequence[PendingOperation], error: Exception) -> None:
        """Take the transaction back; callers that were refused already keep their own reason."""
        for pending in operations:
            pending.deltas = []
            pending.error = pending.error or error
            if pending.error is error and isinstance(error, DATABASE_ERRORS):  # one error for each caller
                pending.error = database.map_sqlite_error(self.path or IN_MEMORY, error, "written")
                pending.error.__cause__ = error
        if self._writing is not None and self._writing.in_transaction:
            # If even this fails, each operation that follows fails with the reason.
            with contextlib.suppress(*DATABASE_ERRORS):
                self._writing.execute("ROLLBACK")

    def back_up(self, path: Path) -> None:
        """Copy it to a new file; in another thread it may be written meanwhile."""
        if self.path is None:
            database.back_up(self.table.connection, path)
            return
        # A connection of its own: the other one serves the event loop.
        with contextlib.closing(database.open_for_reading(self.path)) as source:
            database.back_up(source, path)

    def retire(self, place: str) -> None:
        """Remember beside the journal that its entries are continued elsewhere."""
        if self.path is None or self.lock is None or self.lock.remembered is None:
            raise JournalWriteError("Only a journal that is open for writing can be retired.")
        try:
            self.lock.remember(attrs.evolve(self.lock.remembered, moved=place))
        except OSError as error:
            raise database.map_sqlite_error(self.path, error, "retired") from error

    def close(self) -> None:
        """Close the connections, then give the lock back; waits for a commit under way. Twice is fine."""
        if self.lock is not None and self.lock.forked:
            # To close a connection here would tidy up the log that the parent is writing.
            _INHERITED.append((self._reading, self._writing))
            return
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            connections = (self._reading, self._writing)  # the writer's last: it tidies the log up
            self._reading = self._writing = None
            try:
                for connection in connections:
                    if connection is not None:
                        connection.close()
            finally:
                if self.lock is not None:
                    self.lock.release()


# How operations reach the store.

WAKE_BATCH: Final = 8
"""Callers that are woken in one turn of the loop, so that a large group does not hold up everyone else."""

GATHER_DELAY: Final = 0.005
"""Seconds that operations wait to be committed together, if to lose them would cost polls and no money."""

GATHER_TURNS: Final = 8
"""Turns of the loop before a commit of few operations: an answer makes room for the next POST, whose intent
follows some turns later and is committed with it."""

FULL_GROUP: Final = 16
"""Operations that are enough for a commit of their own."""


@attrs.frozen
class OpenJournal:
    """What exists only while a journal is open."""

    store: Store
    reading: sqlite3.Connection
    totals: Totals
    writer: DirectWriter | GroupCommitWriter | None
    stack: contextlib.AsyncExitStack


@attrs.frozen
class Barrier:
    """Writes nothing; when it is done, so is every operation before it."""

    needs_savepoint: bool = False

    def __call__(self, table: EntryTable) -> None:
        """Write nothing."""


class DirectWriter:
    """Writes at once, in the loop: for a journal in memory."""

    def __init__(self, store: Store, totals: Totals) -> None:
        self._store = store
        self._totals = totals
        self._written = 0

    async def write(
        self, operation: Operation, undo: Undo | None = None, *, urgent: bool = True, then: Then | None = None
    ) -> None:
        """Write; now and then let others run."""
        pending = self._do(operation, then)
        self._written += 1
        try:
            await (checkpoint if self._written % YIELD_EVERY == 0 else checkpoint_if_cancelled)()
        except BaseException:  # a cancelled caller did not hear of it: it is taken back
            if undo is not None:
                self._do(UndoOperation(pending, undo), pending.retract)
            raise
        if pending.error is not None:
            raise pending.error

    def _do(self, operation: Operation, then: Then | None = None) -> PendingOperation:
        pending = PendingOperation(operation, then)
        self._store.do(pending)
        pending.settle(self._totals)
        return pending


class _Group:
    """Operations that are committed together, and who waits for them."""

    def __init__(self) -> None:
        self.operations: list[PendingOperation] = []
        self.hurries: Final = anyio.Event()
        self.settled: list[anyio.Event] = []

    def add(self, pending: PendingOperation) -> anyio.Event:
        """Put in an operation; return the event that is set once it is settled."""
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

    async def write(
        self, operation: Operation, undo: Undo | None = None, *, urgent: bool = True, then: Then | None = None
    ) -> None:
        """Hand in an operation, and return when it is durable.

        Args:
            operation: what is to be done.
            undo: takes it back if the caller is cancelled; without it an operation that was handed in is
                done even so.
            urgent: it does not wait a moment for others to be committed with it.
            then: called with whether it was done, also where the caller has been cancelled since, and with
                False once it was taken back.

        Raises:
            JournalError: the operation was not done.
        """
        if self._closing:
            raise JournalClosedError("The journal is being closed.")
        group, pending = self._group, PendingOperation(operation, then)
        settled = self._hand_in(pending, urgent=urgent)
        try:
            await settled.wait()
        except BaseException:  # a cancelled caller did not hear of it: it is taken back
            if undo is not None:
                if group is self._group:  # it is not being written yet
                    group.operations.remove(pending)
                if group is self._group or self.ended.is_set():
                    pending.retract()
                else:
                    self._hand_in(PendingOperation(UndoOperation(pending, undo), pending.retract))
            raise
        if pending.error is not None:
            raise pending.error
        if not pending.done:
            raise JournalWriteError("The journal was torn down before it could say whether this was written.")

    def _hand_in(self, pending: PendingOperation, *, urgent: bool = True) -> anyio.Event:
        self._wanted.set()
        if urgent:
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
        """Wait for what is about to be handed in, then write."""
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
                pending.settle(self._totals)
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
