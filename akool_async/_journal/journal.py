"""The durable list of paid work, as its callers see it.

Reads return at once; writes are awaited until they are durable.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

import anyio
from anyio.to_thread import run_sync

from akool_async._background import LongLived
from akool_async._journal.database import check_is_journal
from akool_async._journal.doubts import (
    DoubtEarlierPost,
    DoubtReads,
    EarlierPost,
    KeepNamedJob,
    ResolveDoubt,
    check_resolution,
)
from akool_async._journal.entry import Entry, EntryUpdate
from akool_async._journal.lock import JournalLock
from akool_async._journal.operations import (
    RecordIntent,
    RecordUpdates,
    ReserveName,
    WithdrawPlanned,
)
from akool_async._journal.reading import ReadableJournal, RowsAhead
from akool_async._journal.store import (
    IN_MEMORY,
    Barrier,
    DirectWriter,
    GroupCommitWriter,
    OpenJournal,
    Store,
)
from akool_async._model.errors import (
    JournalClosedError,
    JournalError,
    JournalLockedError,
    JournalOlderError,
    JournalWriteError,
)
from akool_async._model.fingerprint import entry_key
from akool_async._model.requests import Request
from akool_async._model.responses import Snapshot
from akool_async._model.states import State
from akool_async._model.validators import file_path, wall_clock

_ASKED_AGAIN: Final = frozenset({State.COMPLETED, State.DELIVERED, State.EXPIRED})
"""States that a run which did not record them learns again by polling the job."""

_NO_COPY: Final = "No copy was made. The journal is as it was."
_utc_now: Final = partial(datetime.now, UTC)


def open_journal(
    path: str | os.PathLike[str],
    *,
    read_only: bool = False,
    accept_older: bool = False,
    now: Callable[[], datetime] = _utc_now,
) -> Journal:
    """Return the journal in the file `path`, to be used in `async with`; it is made if it is not there.

    One run writes a journal at a time. Submissions that a killed run was sending become IN_DOUBT on opening.
    The file has mode 0600 and holds neither credentials nor signatures of URLs. Beside it are `<path>.lock`
    and, while it is open, `<path>-wal` and `<path>-shm`.

    Args:
        path: the file, whose folder must exist on a disk of this machine. ":memory:" uses neither threads
            nor files and does not survive its `async with`, for tests and dry runs: what was paid for can
            then only be found in the vendor's account.
        read_only: open it for reading, also while a run is writing it; what writes is refused then.
        accept_older: open it although it is missing, a backup, or older than when it was last written.
            What it does not know is paid again. A backup is a journal like any other after that.
        now: the wall clock, aware; for tests and simulations. It is called here once.

    Raises:
        ConfigurationError: `path` is not a path, or `now` not such a clock.
        JournalOlderError: on entering, it is missing or older than `<path>.lock` remembers, or a backup.
        JournalLockedError: on entering, another run is writing it.
        JournalCorruptedError: on entering, the file is no journal or is damaged; it was not touched.
        JournalVersionError: on entering, a newer version wrote it; it was not touched.
        JournalWriteError: on entering, the file or its folder can't be written.
        JournalError: on entering, it can't be read, or its name belongs beside another journal ("x-wal").
    """
    if not isinstance(path, str | os.PathLike) or "\0" in str(path):
        file_path.check("path", path)
    if now is not _utc_now:
        wall_clock.check("now", now)
    return BatchJournal(path, read_only=read_only, accept_older=accept_older, now=now)


class Journal(ReadableJournal, LongLived):
    """The durable list of entries. Made by `open_journal`; used in `async with`, once or again."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        forget_ended: bool = False,
        accept_older: bool = False,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        # To forget is for the journal of one batch alone: a file must never lose an entry that was paid for.
        if forget_ended and os.fspath(path) != IN_MEMORY:
            raise ValueError("Only a journal in memory may forget entries that have ended.")
        self._path = None if os.fspath(path) == IN_MEMORY else Path(os.path.realpath(path))
        self._forget_ended = forget_ended
        self._read_only = read_only
        self._accept_older = accept_older
        self._now = now
        self._state: OpenJournal | None = None
        self._in_use = False
        self._on_resolved: Callable[[str], object] | None = None
        self._task_id = 0

    def __repr__(self) -> str:
        how = "closed" if self._state is None else "read-only" if self._read_only else "open"
        return f"<Journal {str(self._path or IN_MEMORY)!r} {how}>"

    # Opening and closing.

    async def __aenter__(self) -> Self:
        """Open it; see `open_journal` for the errors."""
        if self._state is not None:
            raise RuntimeError("This journal is open already.")
        async with AsyncExitStack() as stack:
            store = Store(
                self._path,
                read_only=self._read_only,
                forget_ended=self._forget_ended,
                accept_older=self._accept_older,
            )
            stack.callback(store.close)  # also where a cancelled caller does not wait for the thread
            now = self._now()
            writer: DirectWriter | GroupCommitWriter | None = None
            if self._path is None:
                totals = store.open(now)
                writer = None if self._read_only else DirectWriter(store, totals)
            else:
                totals = await run_sync(store.open, now)
                if not self._read_only:
                    writer = gathering = GroupCommitWriter(store, totals)
                    await stack.enter_async_context(gathering)
            self._task_id = anyio.get_current_task().id
            self._state = OpenJournal(store, store.reading, totals, writer, stack.pop_all())
            self._ahead = RowsAhead(self._rows)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what was handed in, then close the file and release the lock."""
        state = self._state
        forked = state is not None and state.store.lock is not None and state.store.lock.forked
        grouped = state is not None and isinstance(state.writer, GroupCommitWriter) and not forked
        # Before anything is torn: the group of the writer can be left by the task alone that entered it.
        if grouped and anyio.get_current_task().id != self._task_id:
            raise JournalError(
                "The journal can't be closed in another task than the one that opened it.",
                impact="It is still open; all that was recorded is in its file.",
                advice="Use async with in one task, or await journal.aopen() and await journal.aclose().",
            )
        self._state = None
        if state is not None and forked:
            state.store.close()  # the parent writes what is open; a child has no loop to wait for it
        elif state is not None:
            await state.stack.aclose()

    @property
    def _open_writer(self) -> DirectWriter | GroupCommitWriter:
        writer = self._opened.writer
        if writer is None:
            raise JournalClosedError(
                "The journal was opened for reading.", advice="Open it without read_only=True to write."
            )
        return writer

    @property
    def path(self) -> Path | None:
        """The file, links followed; None for a journal in memory."""
        return self._path

    @property
    def recovered_count(self) -> int:
        """Entries that became IN_DOUBT on opening: a run was killed while it was sending them."""
        return self._opened.store.recovered

    def find_lock_holder(self) -> JournalLockedError | None:
        """Return the error that a second run would raise while another writes it; None if it is free."""
        return None if self._path is None or not self._read_only else JournalLock(self._path).holder()

    def find_older_error(self) -> JournalOlderError | None:
        """Return the error that opening it would raise because it is outdated; None if it is current."""
        if self._path is None or not self._read_only:
            return None
        return JournalLock(self._path).look().older_error(check_is_journal(self._path))

    # Writing.

    async def resolve(
        self,
        key: str,
        target: str | None = None,
        *,
        job_id: str | None = None,
        snapshot: Snapshot | None = None,
        not_made: bool = False,
        seen: Entry | None = None,
    ) -> None:
        """Resolve a doubt: the job was made and has this id, or it was not made.

        A batch that takes requests one by one follows the job at once; any other leaves it to the next run.

        Args:
            key: the entry.
            target: its language; may be left out where only one is in doubt, or with `seen`.
            job_id: the job's id: the entry becomes SUBMITTED.
            snapshot: what `client.status(job_id)` answered, which says when the result expires.
            not_made: no job was made: the entry becomes PLANNED and may be sent again. Ask `client.status`
                for each of its `doubt_ids` first: a job that is there is paid, and would be lost.
            seen: the entry as it was when this was found out. If another call is in doubt by now, nothing is
                changed.

        Raises:
            InvalidRequestError: not exactly one of `job_id` and `not_made` is given, the id is invalid, the
                snapshot is another job's, or `seen` is another entry.
            IllegalTransitionError: the entry is not in doubt, several are, another entry has the job, or
                another call than that of `seen` is in doubt.
            JournalWriteError: it could not be written.
        """
        check_resolution(key, target, job_id, snapshot, seen, not_made=not_made)

        def tell(done: bool) -> None:
            if done and self._on_resolved is not None:
                self._on_resolved(key)

        doubt = ResolveDoubt(key, target, job_id, self._now(), snapshot, seen)
        await self._open_writer.write(doubt, then=tell)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the journal, as it is now, to a new file; it may be written meanwhile.

        A plain copy of the file may lack what is still in its log, or be torn. The copy has mode 0600, and
        says in itself that it is one: to write it takes `open_journal(path, accept_older=True)`, once.

        Args:
            path: where to; nothing is overwritten.

        Raises:
            JournalError: there is something of that name, it belongs beside another journal ("x-wal"), or the
                journal can't be read.
            JournalWriteError: the copy can't be written; nothing is left of it.
        """
        store, target = self._opened.store, Path(path)
        if not target.parent.is_dir():
            message, advice = f"The folder {target.parent} for the copy is not there.", "Make it first."
            raise JournalWriteError(message, impact=_NO_COPY, advice=advice)
        try:
            if self._path is None:
                store.back_up(target)
            else:
                await run_sync(store.back_up, target)
        except JournalWriteError as error:
            error.impact = _NO_COPY  # not that of a journal which can't be written
            raise


class BatchJournal(Journal, DoubtReads):
    """The journal with the operations of a batch, in whose order they are right; callers see a `Journal`."""

    @asynccontextmanager
    async def exclusive(self, on_resolved: Callable[[str], object] | None = None) -> AsyncIterator[None]:
        """Reserve the journal for one batch; earlier operations are written before it enters and leaves.

        Args:
            on_resolved: called with the key of each doubt that is resolved meanwhile.

        Raises:
            JournalLockedError: a batch has it already.
            JournalClosedError: it is not open for writing.
        """
        if self._in_use:
            raise JournalLockedError("Another batch of this program is using this journal.", pid=os.getpid())
        self._in_use = True
        try:
            # What others handed in before is written first, even if they were cancelled since.
            await self._open_writer.write(Barrier())
            self._on_resolved = on_resolved
            try:
                yield
            finally:  # a journal that was closed meanwhile has failed every pending operation already
                with anyio.CancelScope(shield=True), suppress(JournalClosedError):
                    await self._open_writer.write(Barrier())
        finally:
            self._in_use, self._on_resolved = False, None

    async def intend(
        self,
        *requests: Request,
        token: str = "",
        names: Mapping[tuple[str, str], Sequence[str]] = MappingProxyType({}),
        traceparent: str = "",
    ) -> None:
        """Commit the intent to send POSTs: one entry per language, SUBMITTING, paid once more.

        To be awaited before each paid POST: all its languages are written or none, durably. If the caller
        is cancelled instead, the POST must not be sent, and the intent is not made or is taken back.

        Args:
            requests: what is about to be sent, targets as in the POST.
            token: the unguessable part of the POST's webhook URL, or "".
            names: for each (key, target) the names that its files may get, the preferred one first. An
                entry without a name is given the first that is free.
            traceparent: the trace in which the POSTs are sent, as W3C Trace Context, or "".

        Raises:
            IllegalTransitionError: an entry is in a state from which no POST may be sent, such as SUBMITTING;
                or two of them have the same key and language.
            JournalWriteError: it could not be written: send nothing.
        """
        writer = self._open_writer
        operation = RecordIntent(requests, token, self._now(), names, traceparent)
        await writer.write(operation, operation.undo)

    async def enter(self, *requests: Request, then: Callable[[bool], object] = lambda _entered: None) -> None:
        """Enter requests that are to be sent later, PLANNED: one entry per language, all of them or none.

        If the caller is cancelled instead, nothing is entered, or what was entered is taken back.

        Args:
            requests: what the journal does not know yet.
            then: called with whether they are entered, also where the caller has been cancelled since; and
                with False once they were taken back for that.

        Raises:
            IllegalTransitionError: an entry is there already, and is not PLANNED.
            JournalWriteError: they could not be written.
        """
        changes = tuple(
            EntryUpdate(key=entry_key(request, target), target=target, state=State.PLANNED, request=request)
            for request in requests
            for target in request.targets
        )
        operation = RecordUpdates(changes, self._now())
        await self._open_writer.write(operation, operation.undo, then=then)

    async def record(self, *changes: EntryUpdate) -> None:
        """Commit changes, all of them or none; when it returns they are durable.

        A caller that is cancelled meanwhile does not take them back: what was handed in is written.

        Raises:
            IllegalTransitionError: a change is not allowed after the entry's state, would lose a job's id,
                gives an entry the job of another one, or names an entry that does not exist.
            JournalWriteError: they could not be written: submit nothing more.
        """
        urgent = not {change.state for change in changes} <= _ASKED_AGAIN
        await self._open_writer.write(
            RecordUpdates(changes, self._now(), forgets=self._forget_ended), urgent=urgent
        )

    async def keep_named_job(self, token: str, job_id: str) -> None:
        """Keep a job that a callback names for a POST that is over, unless it is known of an entry.

        Its id joins the `doubt_ids` of its entry, which is in doubt again if it has neither job nor result.

        Raises:
            JournalWriteError: it could not be written.
        """
        await self._open_writer.write(KeepNamedJob(token, job_id, self._now()))

    async def doubt_again(self, post: EarlierPost) -> None:
        """Put an entry without a result in doubt about an earlier POST, for which a job was named.

        Raises:
            IllegalTransitionError: the entry is in another state.
            JournalWriteError: it could not be written.
        """
        await self._open_writer.write(DoubtEarlierPost(post, self._now()))

    async def withdraw(
        self, key: str, target: str = "", *, then: Callable[[bool], object] = lambda _withdrawn: None
    ) -> bool:
        """Remove an entry that is PLANNED and was never sent; return False for any other, which stays.

        A caller that is cancelled meanwhile does not take that back.

        Args:
            key: the entry.
            target: its language; "" for lip-sync.
            then: called with the answer, also where the caller has been cancelled since.

        Raises:
            JournalWriteError: it could not be written.
        """
        operation = WithdrawPlanned(key, target)
        await self._open_writer.write(operation, then=lambda done: then(done and operation.withdrawn))
        return operation.withdrawn

    async def reserve_name(
        self, key: str, target: str, names: Sequence[str], *, another: bool = False
    ) -> None:
        """Reserve for an entry without a name the first of these that is free; `Entry.name` says which.

        Names collide when on some system files of one could be files of the other, such as "Talk" and
        "talk", or the subtitles of "talk" and of "talk.original".

        Args:
            key: the entry.
            target: its language; "" for lip-sync.
            names: the preferred one first.
            another: whether it gives up the name that it has for one of these.

        Raises:
            IllegalTransitionError: the entry is not there, or all names belong to others.
            JournalWriteError: it could not be written.
        """
        await self._open_writer.write(ReserveName(key, target, tuple(names), another, self._now()))

    async def retire(self, place: str) -> None:
        """Remember beside the journal that its entries are continued elsewhere: the next run on it stops.

        Args:
            place: where, in a few words; it is shown where the journal is opened for writing again.

        Raises:
            JournalWriteError: it could not be written; the journal is in use as before.
        """
        await run_sync(self._opened.store.retire, place)
