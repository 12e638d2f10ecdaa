"""Moving a journal into a ledger: what it holds, each entry in its state."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, cast

import attrs
import sqlalchemy as sa
from anyio.to_thread import run_sync

from akool_async._client import new_token
from akool_async._journal import BatchJournal, Entry, open_journal
from akool_async._journal.entry import dump_datetime
from akool_async._journal.lock import JournalLock
from akool_async._journal.operations import display_name
from akool_async._model.errors import InvalidRequestError, JournalOlderError
from akool_async._model.fingerprint import are_other_works, replaced_input, work_of
from akool_async._model.states import State
from akool_async.ledger.database import parse
from akool_async.ledger.entries import LOCKED, MOVING, THIS, IntentState, read_entry, storable
from akool_async.ledger.plans import Conflicts, LedgerPlans

_MOVED: Final = (
    "key target fingerprint job_id paid_submissions credits_locked credits_used credits_before doubts_before "
    "reason code created_at submitted_at ended_at expires_at url_redacted"
).split()
_MOVE: Final = (
    "UPDATE akool_ledger.entry SET state = :state, token = :token, files = CAST(:files AS jsonb),"
    " hold = :hold, doubt_ids = CAST(:doubt_ids AS jsonb), "
    + ", ".join(f"{name} = :{name}" for name in _MOVED if name not in ("key", "target"))
    + THIS
)
_END_DOUBLED: Final = """
    UPDATE akool_ledger.entry SET state = 'failed', paid_already = true, reason = :reason,
        ended_at = :now, updated_at = :now
    WHERE account = :account AND target = :target AND key <> :key AND state = 'planned'
        AND fingerprint >= :work AND fingerprint < :work || 'g' AND (fingerprint = :fingerprint
            OR (key = fingerprint AND CAST(request ->> 'url_is_public' AS boolean) IS NOT TRUE))
"""
_KEEP_JOURNAL: Final = "Save what the journal has with `akool-async resume`, and do not move it."
_TAKE_OVER: Final = f"UPDATE akool_ledger.entry SET hold = :hold {THIS} AND starts_with(hold, '{MOVING}')"
"""What an earlier move entered that was killed before the journal was retired."""

_MOVE_INTENT: Final = """
    INSERT INTO akool_ledger.intent (token, account, key, target, state, job_id, sender, at)
    VALUES (CASE WHEN EXISTS (SELECT 1 FROM akool_ledger.intent WHERE token = :token) THEN :new
        ELSE :token END, :account, :key, :target, :intent, :job_id, :post, :now)
    ON CONFLICT (account, key, target) WHERE state IN ('intended', 'sending', 'made', 'in_doubt')
        DO UPDATE SET state = excluded.state, job_id = excluded.job_id
    RETURNING token
"""
_JOB_OWNER: Final = """
    SELECT key, target FROM akool_ledger.intent
    WHERE account = :account AND job_id = :job_id AND (key, target) <> (:key, :target) LIMIT 1
"""
_MOVED_INTENT: Final = f"""
    SELECT state, job_id FROM akool_ledger.intent {THIS}
        AND (sender = :post OR (token = :token AND token <> '') OR (job_id = :job_id AND job_id <> ''))
    ORDER BY job_id = :job_id DESC LIMIT 1
"""
"""What became of the POST of a journal's entry that was moved before."""


class LedgerMoves(LedgerPlans):
    """Enters what journals hold."""

    async def move_journal(self, path: str | os.PathLike[str]) -> int:
        """Move a journal into the ledger, each entry in its state; return how many were moved.

        The journal is retired, so that a run on it stops. What it had not sent is paid by workers, and only
        after that: killed at any moment, this leaves nothing that both would pay. Called again, it continues.

        A caller that is cancelled does not stop it, and closing the ledger waits for it.

        Args:
            path: the journal's file, which no run is writing.

        Raises:
            InvalidRequestError: as of `adopt`; nothing was moved, and the journal is as it was.
            JournalError: it can't be opened for writing or retired; what was entered of it is not paid before
                this is called again. It was moved already, maybe into another ledger, if it is a
                `JournalOlderError`.
            LedgerError: the database failed; likewise.
        """
        return await self.finish(partial(self._move_journal, path))

    async def _move_journal(self, path: str | os.PathLike[str]) -> int:
        hold = f"{MOVING}{new_token()[:8]}"
        try:
            # Opened for writing, so that no run is at it.
            async with cast("BatchJournal", open_journal(path)) as journal:
                await self._adopt([entry async for entry in journal.entries()], hold)
                # Before the release: a run on the journal would pay for what workers pay for.
                await journal.retire(self._place(hold))
        except JournalOlderError:
            lock = await run_sync(lambda: JournalLock(Path(os.path.realpath(path))).look())
            moved_to = "" if lock.remembered is None else lock.remembered.moved
            begun = await self.execute(
                "SELECT DISTINCT hold FROM akool_ledger.entry WHERE account = :account"
                f" AND starts_with(hold, '{MOVING}')"
            )
            # Retired by a move into this ledger that was killed before it could release the entries.
            places = {self._place(row["hold"]): row["hold"] for row in begun}
            if moved_to not in places:
                raise
            hold = places[moved_to]
        return await self.release(hold)

    def _place(self, hold: str) -> str:
        """Return what a journal remembers of its move: of this one alone, because another ledger may pay."""
        return f"the ledger of the account {self.account!r} ({hold})"

    async def adopt(self, entries: Iterable[Entry]) -> int:
        """Enter what a journal holds, each entry in its state; return how many are new.

        What is in doubt stays so, what has a job is never paid again, under another key neither: what was
        planned for the same work is ended, and says why. An entry whose job another one has is in doubt. An
        entry that is there already gets what the journal knows if nobody has begun with it; any other stays
        as it is.

        The journal is not retired, and a run on it would pay for the same: `move_journal` does both.

        Raises:
            InvalidRequestError: an entry has a job, or may have one, both here and in the journal, or its key
                names other work or another video here; nothing of it was entered.
            LedgerError: the database failed; nothing of it was entered.
        """
        return await self._adopt(entries)

    async def _adopt(self, entries: Iterable[Entry], hold: str = "") -> int:
        now, wanted = self.clock.now(), [*entries]
        posts = Counter(entry.token for entry in wanted)

        def work(connection: sa.Connection) -> int:
            moved, others = 0, Conflicts()
            self.lock_entering(connection)
            # Before any of it is entered: several videos in the journal itself are moved all the same.
            videos = self.find_videos(connection, {entry.key for entry in wanted})
            for entry in wanted:
                if entry.state is State.PLANNED and entry.url_redacted:
                    continue  # only the catalog has the URL that can be sent
                request = attrs.evolve(entry.request_for_target, key=entry.key)
                if entry.job_id:
                    entry = self._without_taken_job(connection, entry)
                if entry.state is State.PLANNED:
                    conflicts = Conflicts()
                    self.find_same_work(connection, request, entry.key, conflicts)
                    if conflicts.doubled or conflicts.asked:
                        continue  # nothing is lost: its catalog, entered again, says what it is
                new = self.insert(connection, request, now) is not None
                if not new and not self._knows_less(connection, entry, others):
                    where = {"account": self.account, "key": entry.key, "target": entry.target, "hold": hold}
                    connection.execute(parse(_TAKE_OVER), where)
                    continue
                if new and videos.names_other(request):
                    others.videos.append(display_name(entry.key, entry.target))
                moved += 1
                # One POST for several languages: a callback does not say which of them its job is.
                token = entry.token if posts[entry.token] == 1 else ""
                self._write(connection, attrs.evolve(entry, token=token), now, hold)
            others.check("Nothing was moved, and the journal is as it was.", _KEEP_JOURNAL)
            return moved

        return await self.run_transaction(work)

    def _write(self, connection: sa.Connection, entry: Entry, now: datetime, hold: str) -> None:
        """Write an entry over the planned one of its name, and the intent of what was begun for it."""
        new = new_token()
        in_doubt = entry.state in (State.SUBMITTING, State.IN_DOUBT)
        state = State.IN_DOUBT if in_doubt else entry.state
        # A run without a folder for results left it at the vendor, for a worker to save.
        if state is State.DELIVERED and not entry.files:
            state = State.COMPLETED
        values = {
            **{name: storable(getattr(entry, name)) for name in _MOVED},
            "account": self.account,
            "state": state.value,
            "files": json.dumps(entry.files),
            "doubt_ids": json.dumps(entry.doubt_ids),
            "token": entry.token or new,
            "now": now,
            "hold": hold,
        }
        begun = bool(entry.job_id) or in_doubt
        if begun:
            intent = IntentState.MADE if entry.job_id else IntentState.IN_DOUBT
            more = {"intent": intent.value, "new": new, "post": _post_name(entry)}
            values["token"] = connection.execute(parse(_MOVE_INTENT), values | more).scalar_one()
        connection.execute(parse(_MOVE), values)
        # Begun there, so it may be paid: what was planned here for the same work is not sent.
        if begun or entry.state not in (State.PLANNED, State.FAILED):
            name = display_name(entry.key, entry.target)
            reason = f"A journal that was moved here had begun the same work as {name}."
            doubled = {**values, "work": work_of(entry.fingerprint), "reason": reason}
            connection.execute(parse(_END_DOUBLED), doubled)

    def _without_taken_job(self, connection: sa.Connection, entry: Entry) -> Entry:
        """Return an entry of a journal; in doubt if another entry of the ledger has its job already."""
        where = {"account": self.account, "key": entry.key, "target": entry.target, "job_id": entry.job_id}
        owner = connection.execute(sa.text(_JOB_OWNER), where).one_or_none()
        if owner is None:
            return entry
        # A vendor's wrong answer named it in an earlier version's journal; its own job may be paid as well.
        return attrs.evolve(
            entry,
            state=State.IN_DOUBT,
            reason=f"Its journal names job {entry.job_id}, which entry {display_name(*owner)} has.",
            doubt_ids=tuple(dict.fromkeys((*entry.doubt_ids, entry.job_id))),
            job_id="",
            code=None,
            files=(),
            credits_locked=None,
            credits_used=None,
            created_at=None,
            ended_at=None,
            expires_at=None,
        )

    def _knows_less(self, connection: sa.Connection, entry: Entry, others: Conflicts) -> bool:
        """Whether the ledger has an entry as planned, or in doubt, of which a journal says more."""
        where = {"account": self.account, "key": entry.key, "target": entry.target}
        found = connection.execute(parse(LOCKED), where).mappings().one()
        # Its job would be taken for that of another video, which then is never translated.
        public = entry.request.url_is_public
        replaced = replaced_input(read_entry(found).request, entry.request)
        if replaced or are_other_works(found["fingerprint"], entry.fingerprint, url_is_public=public):
            others.other.append(display_name(entry.key, entry.target))
            return False
        if entry.state is State.PLANNED:
            return False
        post = {"token": entry.token, "job_id": entry.job_id, "post": _post_name(entry)}
        moved = connection.execute(parse(_MOVED_INTENT), where | post).one_or_none()
        # The same POST: moved before, by a call that was killed before it could retire the journal.
        if moved is not None and entry.job_id in ("", moved.job_id):
            return False
        # The journal has learned since which job it made.
        if moved is not None and moved.state == IntentState.IN_DOUBT:
            return True
        if found["state"] == State.PLANNED.value and not found["paid_submissions"]:
            return True
        # Entered by a move that was killed: the journal was in use meanwhile, and the ledger sent nothing.
        if found["hold"].startswith(MOVING):
            return True
        # A catalog was enqueued before its journal, and a worker may have paid for the same work. To skip it
        # would forget a paid job, for the journal is retired after this.
        if entry.job_id or entry.state in (State.SUBMITTING, State.IN_DOUBT):
            name = display_name(entry.key, entry.target)
            raise InvalidRequestError(
                f"Entry {name} was begun in the ledger ({found['state']}) and the journal ({entry.state}).",
                impact="Nothing was moved, and the journal is as it was; both may have paid for it.",
                advice=_KEEP_JOURNAL,
            )
        return False


def _post_name(entry: Entry) -> str:
    """Return what a journal's POST is known by: one without callbacks has no token."""
    return f"journal {dump_datetime(entry.submitted_at)}"
