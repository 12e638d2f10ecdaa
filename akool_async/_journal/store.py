"""An open journal: its lock, its connections, and the transactions of its one writer.

Knows no event loop. `commit` may run in another thread; `close` waits for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import attrs

from akool_async._core.errors import JournalClosed
from akool_async._journal import file
from akool_async._journal.intent import leave_in_doubt
from akool_async._journal.lock import Lock
from akool_async._journal.reader import Reader
from akool_async._journal.step import Step
from akool_async._journal.table import Table
from akool_async._journal.tally import Move, Tally

BREATH: Final = 32
"""Steps after which the writer's thread gives way: one that calls SQLite again and again keeps the
interpreter's lock for milliseconds, and the loop stands still meanwhile."""


@attrs.define(eq=False)
class Ticket:
    """One caller's step on its way through the writer.

    Attributes:
        step: what is to be done.
        error: why it was not done.
        moves: what it wrote.
        done: whether it was committed or failed.
    """

    step: Step
    error: Exception | None = None
    moves: list[Move] = attrs.field(factory=list)
    done: bool = False


def _breaks_all(error: Exception) -> bool:
    """Whether the transaction is lost, and not one caller's step."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError) or (
        type(error) is sqlite3.DatabaseError
    )


def _do(ticket: Ticket, table: Table) -> None:
    """Do one step, so that it is done wholly or not at all."""
    step, connection = ticket.step, table.connection
    if step.several:
        connection.execute("SAVEPOINT step")
    try:
        step(table)
    except Exception as error:
        if _breaks_all(error):
            raise
        ticket.error = error
        table.take_moves()
        if step.several:
            connection.execute("ROLLBACK TO step")
    else:
        ticket.moves = table.take_moves()
    if step.several:
        connection.execute("RELEASE step")


class Store:
    """One journal, opened once.

    Args:
        path: its file; None keeps it in memory.
        read_only: open it without the lock, only to read.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path
        self.recovered = 0
        self._read_only = read_only
        self._mutex = threading.Lock()
        self._lock = None if path is None or read_only else Lock(path)
        self._writing: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._closed = False

    def open(self, now: datetime) -> Tally:
        """Open it; what a dead run left behind is put in doubt. Gives the tally.

        Raises:
            JournalError: it can't be opened, locked or read.
        """
        with self._mutex:
            if self._closed:
                raise JournalClosed("The journal was closed before it was open.")
            if self.path is None:
                self._writing = self._reading = file.in_memory()
            elif self._read_only:
                self._reading = file.open_for_reading(self.path)
            else:
                self._open_locked(self.path, now)
            return self.reader.tally()

    def _open_locked(self, path: Path, now: datetime) -> None:
        file.check_kind(path)
        if self._lock is not None:
            self._lock.take(now)
        self._writing = file.open_for_writing(path)
        try:
            self.recovered = leave_in_doubt(self.table, now)
        except sqlite3.Error as error:
            raise file.translated(path, error, "written") from error
        self._reading = file.open_for_reading(path)

    @property
    def reader(self) -> Reader:
        """What reads it."""
        if self._reading is None:
            raise JournalClosed("The journal is not open.")
        return Reader(self._reading, str(self.path or ":memory:"))

    @property
    def table(self) -> Table:
        """What writes it.

        Raises:
            JournalClosed: it is closed, or open for reading only.
        """
        if self._writing is None:
            raise JournalClosed("The journal is not open for writing.")
        return Table(self._writing)

    def commit(self, tickets: Sequence[Ticket]) -> None:
        """Do what all tickets want in one durable transaction; each ticket says how it went.

        A step that is refused fails its own ticket. A transaction that fails fails every ticket.
        """
        with self._mutex:
            try:
                table = self.table
                table.connection.execute("BEGIN IMMEDIATE")
                for number, ticket in enumerate(tickets):
                    _do(ticket, table)
                    if number % BREATH == BREATH - 1:
                        time.sleep(0)
                table.connection.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - handed to every caller
                self._fail(tickets, error)
        for ticket in tickets:
            ticket.done = True

    def do(self, ticket: Ticket) -> None:
        """Do what one ticket wants, at once: for a journal in memory, where there is nothing to gather."""
        try:
            _do(ticket, self.table)
        except Exception as error:  # noqa: BLE001 - handed to the caller
            self._fail([ticket], error)
        ticket.done = True

    def _fail(self, tickets: Sequence[Ticket], error: Exception) -> None:
        """Take the transaction back; callers that were refused already keep their own reason."""
        for ticket in tickets:
            ticket.moves = []
            ticket.error = ticket.error or self._translated(error)
        if self._writing is not None and self._writing.in_transaction:
            with contextlib.suppress(
                sqlite3.Error
            ):  # then each step that follows is told that it can't be written
                self._writing.execute("ROLLBACK")

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error):
            told = file.translated(self.path or ":memory:", error, "written")
            told.__cause__ = error
            return told
        return error

    def close(self) -> None:
        """Close the connections, then give the lock back; waits for a commit under way. Twice is fine."""
        with self._mutex:
            self._closed = True
            connections = (self._reading, self._writing)  # the writer's last: it tidies the log up
            self._reading = self._writing = None
            try:
                for connection in connections:
                    if connection is not None:
                        connection.close()
            finally:
                if self._lock is not None:
                    self._lock.free()
