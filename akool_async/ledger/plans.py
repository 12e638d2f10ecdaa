"""Entering requests into a ledger: some, or those of a whole catalog all at once."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import anyio
import attrs
import sqlalchemy as sa

from akool_async._client import from_wire, new_token, to_wire
from akool_async._journal import Entry
from akool_async._journal.operations import display_name
from akool_async._model.errors import InvalidRequestError
from akool_async._model.filenames import DEFAULT_TEMPLATE, FileTemplates, collision_key
from akool_async._model.fingerprint import (
    KeyedVideos,
    fingerprint,
    is_other_work,
    replaced_input,
    work_of,
)
from akool_async._model.redact import strip_query
from akool_async._model.requests import Request, video_url, with_targets
from akool_async._model.states import State
from akool_async.ledger.database import LedgerError, connect, parse
from akool_async.ledger.entries import ENTERING, READ, RESERVE_NAME, THIS, LedgerEntries, read_entry, to_json

logger: Final[logging.Logger] = logging.getLogger("akool_async")
T = TypeVar("T")

_RENEW: Final = f"""
    UPDATE akool_ledger.entry SET fingerprint = :mark, request = CAST(:request AS jsonb),
        url_redacted = false, updated_at = :now {THIS}
        AND state = ANY(:renewed)
"""
_ENTERING: Final = "SELECT pg_advisory_xact_lock(hashtextextended('akool enter ' || :account, 0))"
"""One at a time: no constraint keeps two machines from entering one work under two keys at once."""

_SAME_WORK: Final = """
    SELECT key FROM akool_ledger.entry WHERE account = :account AND target = :target AND key <> :key
        AND NOT (state = 'failed' AND job_id = '' AND NOT paid_already)
"""
"""What the vendor refused is not paid: it keeps no other entry from being sent."""

_KEYED: Final = """
    SELECT key, request FROM akool_ledger.entry
    WHERE account = :account AND key = ANY(:keys) AND state NOT IN ('failed', 'expired')
"""
_RENEWED: Final = (State.PLANNED, State.FAILED, State.EXPIRED, State.IN_DOUBT)
_SHOWN: Final = 10
_TAKE_OVER: Final = f"""
    UPDATE akool_ledger.entry SET hold = :hold {THIS} AND starts_with(hold, '{ENTERING}')
"""
"""What a call left that was killed before it ended, or another one is about to release."""

_TAKE_BACK: Final = """
    DELETE FROM akool_ledger.entry WHERE account = :account AND starts_with(hold, :hold)
        AND state = 'planned' AND NOT EXISTS (SELECT 1 FROM akool_ledger.intent i
            WHERE i.account = entry.account AND i.key = entry.key AND i.target = entry.target)
"""
_RELEASE: Final = "UPDATE akool_ledger.entry SET hold = '' WHERE account = :account AND hold = :hold"
_LOCK_ALONE: Final = """
    SELECT CAST(pg_try_advisory_lock(hashtextextended('akool enter alone ' || :account, 0)) AS integer)
"""
_WAIT: Final = 1.0
"""Seconds between two looks whether another call that enters work has ended."""


@attrs.define
class Conflicts:
    """Why requests can't be entered: the names of the entries of each kind."""

    other: list[str] = attrs.field(factory=list)
    videos: list[str] = attrs.field(factory=list)
    doubled: list[str] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)

    def check(
        self,
        impact: str = "Nothing of these requests was entered, and nothing is paid for them.",
        advice: str = "",
    ) -> None:
        """Raise `InvalidRequestError` if there are any; `advice` replaces what each kind advises."""
        kinds = (
            (
                self.other,
                "Entries of the ledger name other work",
                "A key names one work for good: give other work other keys.",
            ),
            (
                self.videos,
                "These keys name another video in the ledger",
                "A key names one video, in all its languages: give another video another key.",
            ),
            (
                self.doubled,
                "The ledger has the same work under another key, and each would be paid",
                "Leave it out, or give it the key that the ledger has.",
            ),
            (
                self.asked,
                "One video signed twice, or two videos? Its URL has another query than one of the ledger",
                "Leave out a video that is there already, and give each other one a key of its own; or set "
                "url_is_public where the query names the video.",
            ),
        )
        found = [(names, message, advice) for names, message, advice in kinds if names]
        if found:
            raise InvalidRequestError(
                " ".join(f"{message}: {_listed(names)}." for names, message, _ in found),
                impact=impact,
                advice=advice or " ".join(one for _, _, one in found),
            )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class Entering:
    """Requests that are entered all at once, or not at all; see `Ledger.entering`.

    Attributes:
        taken_back: entries of an earlier one that was killed; they are not in the ledger any more.
        released: whether workers pay for what was entered.
    """

    def __init__(self, ledger: LedgerPlans, alone: Callable[..., Awaitable[int]], *, taken_back: int) -> None:
        """Begin without any request; `alone` executes on the connection that has the lock."""
        self.taken_back = taken_back
        self._ledger = ledger
        self._alone = alone
        self._hold = f"{ENTERING}{new_token()}"
        self._one = anyio.Lock()
        self._ended = False
        self.released = False

    async def plan(
        self, requests: Iterable[Request], *, names: FileTemplates = DEFAULT_TEMPLATE
    ) -> list[Entry]:
        """Enter some of the requests; as `Ledger.plan`, but nothing is paid for them yet."""
        wanted = [*requests]
        return await self._do(lambda: self._ledger.enter(wanted, names, self._hold))

    async def release(self) -> None:
        """Let workers pay for all that was entered."""

        async def release() -> None:
            # By the connection that has the lock: where it was lost, another call took these entries back.
            await self._alone(_RELEASE, hold=self._hold)
            self._ended = self.released = True

        await self._do(release)

    async def take_back(self) -> None:
        """Delete what was entered and not released; it waits for what a cancelled caller left under way."""
        async with self._one:
            if self._ended:
                return
            self._ended = True
            try:
                await self._ledger.execute(_TAKE_BACK, hold=self._hold)
            except LedgerError as error:
                logger.warning(
                    "What was entered could not be taken back. Nobody pays for it, and the next `enqueue` "
                    "takes it back. %s",
                    error,
                )

    async def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        async def alone() -> T:
            async with self._one:
                if self._ended:
                    raise LedgerError("What this block entered was released or taken back already.")
                return await work()

        return await self._ledger.finish(alone)


class LedgerPlans(LedgerEntries):
    """Enters work; entries that exist already keep their state."""

    async def plan(
        self, requests: Iterable[Request], *, names: FileTemplates = DEFAULT_TEMPLATE
    ) -> list[Entry]:
        """Enter requests as PLANNED, each language by itself; return the entries that are new.

        An existing entry keeps its state; one that may still be sent gets the URL of the new request, which
        may be signed anew.

        Raises:
            InvalidRequestError: entries of these keys name other work or another video, or the work is there
                under another key, or with another query of a URL; nothing of it was entered.
            LedgerError: the database failed; nothing of it was entered.
        """
        return await self.enter([*requests], names)

    async def enter(self, wanted: Sequence[Request], names: FileTemplates, hold: str = "") -> list[Entry]:
        """Do what `plan` does; with `hold`, nobody pays for what is new before it is released."""
        now = self.clock.now()

        def work(connection: sa.Connection) -> list[Entry]:
            self.lock_entering(connection)
            rows, conflicts = list[Mapping[str, Any]](), Conflicts()
            videos = self.find_videos(connection, (request.key for request in wanted))
            for request in wanted:
                for target in request.targets:
                    one = with_targets(request, (target,))
                    row = self.insert(connection, one, now, names, hold)
                    if row is None:
                        self._renew(connection, one, now, conflicts, hold)
                        continue
                    rows.append(row)
                    if videos.names_other(one):
                        conflicts.videos.append(display_name(row["key"], target))
                    videos.add(row["key"], one)
                    self.find_same_work(connection, one, row["key"], conflicts)
            conflicts.check()
            return [read_entry(row) for row in rows]

        return await self.run_transaction(work)

    @asynccontextmanager
    async def entering(self, *, on_wait: Callable[[], object] = lambda: None) -> AsyncIterator[Entering]:
        """Enter the requests of several calls all at once, or none: `async with` this, and use its `plan`.

        Nothing is paid for them before the block ends; then all are released in one statement. After an
        error, or where the caller is cancelled, they are taken back; if the process is killed, nobody pays
        for them, and the next call of this takes them back. Only one enters at a time, others wait for it.

        Args:
            on_wait: called once if another one is entering.

        Raises:
            LedgerError: the database failed. If it was at the end, some of it may have been released.
        """
        # A connection of its own: the lock goes with it, also where this process is killed.
        engine = connect(self.url, poolclass=sa.StaticPool)

        async def alone(statement: str, **values: object) -> int:
            def work(connection: sa.Connection) -> int:
                done = connection.execute(parse(statement), {"account": self.account, **values})
                return done.scalar_one() if done.returns_rows else done.rowcount

            return await self.run_transaction(work, single=True, engine=engine)

        try:
            waited = False
            while not await alone(_LOCK_ALONE):
                if not waited:
                    on_wait()
                waited = True
                await self.clock.sleep(_WAIT)
            entering = Entering(self, alone, taken_back=await alone(_TAKE_BACK, hold=ENTERING))
            try:
                yield entering
                await entering.release()
            finally:
                with anyio.CancelScope(shield=True):
                    await entering.take_back()
        finally:
            engine.dispose()

    async def release(self, hold: str) -> int:
        """Let workers pay for what was entered under this name; return how many entries there are."""
        return len(await self.execute(f"{_RELEASE} RETURNING key", hold=hold))

    def lock_entering(self, connection: sa.Connection) -> None:
        """Keep other machines from entering work of this account until the transaction ends."""
        connection.execute(parse(_ENTERING), {"account": self.account})

    def insert_alone(self, connection: sa.Connection, one: Request, now: datetime) -> None:
        """Enter a request for one language that nobody planned.

        Raises:
            InvalidRequestError: the same work is there under another key, or with another query of a URL; or
                the key names another video.
        """
        conflicts, (target,) = Conflicts(), one.targets
        self.lock_entering(connection)
        videos = self.find_videos(connection, [one.key])
        row = self.insert(connection, one, now)
        if row is not None:
            if videos.names_other(one):
                conflicts.videos.append(display_name(row["key"], target))
            self.find_same_work(connection, one, row["key"], conflicts)
            conflicts.check()

    def find_videos(self, connection: sa.Connection, keys: Iterable[str | None]) -> KeyedVideos:
        """Return which videos keys name in the ledger: captions and reports know a video by its key."""
        named = [key for key in keys if key]
        videos = KeyedVideos(named)
        for row in connection.execute(parse(_KEYED), {"account": self.account, "keys": named}):
            videos.add(row.key, from_wire(row.request))
        return videos

    def find_same_work(self, connection: sa.Connection, one: Request, key: str, conflicts: Conflicts) -> None:
        """Note an entry of another key for which the same would be paid, or may be: by its URL's query."""
        (target,) = one.targets
        mark = fingerprint(one, target)
        values = {"account": self.account, "key": key, "target": target, "mark": mark, "work": work_of(mark)}
        known = connection.execute(parse(f"{_SAME_WORK} AND fingerprint = :mark LIMIT 1"), values).scalar()
        if known is not None:
            conflicts.doubled.append(f"{_shown(one, key)} is {display_name(known, target)}")
        elif key == mark and not one.url_is_public:  # a key, or a public query, says which video it is
            like = f"{_SAME_WORK} AND fingerprint > :work AND fingerprint < :work || 'g' LIMIT 1"
            known = connection.execute(parse(like), values).scalar()
            if known is not None:
                conflicts.asked.append(f"{_shown(one, key)} and {display_name(known, target)}")

    def check_same_work(self, connection: sa.Connection, entry: Entry) -> None:
        """Refuse to pay for an entry whose work another one has, which did not fail.

        Raises:
            InvalidRequestError: there is one.
        """
        values = {"account": self.account, "key": entry.key, "target": entry.target}
        query = f"{_SAME_WORK} AND fingerprint = :mark AND state NOT IN ('failed', 'expired') LIMIT 1"
        known = connection.execute(parse(query), values | {"mark": entry.fingerprint}).scalar()
        if known is not None:
            raise InvalidRequestError(
                f"Entry {display_name(entry.key, entry.target)} is the same work as"
                f" {display_name(known, entry.target)}, which is paid, or going to be.",
                impact="Submitted again it would be paid twice. Nothing was changed.",
                advice="Leave it as it is, and use the result of the other entry.",
            )

    def _renew(
        self, connection: sa.Connection, one: Request, now: datetime, conflicts: Conflicts, hold: str
    ) -> None:
        """Keep the newest URL of an entry that may still be sent, if it names the same work."""
        (target,) = one.targets
        mark = fingerprint(one, target)
        values = {"account": self.account, "key": one.key or mark, "target": target}
        found = connection.execute(parse(READ + THIS), values).mappings().one()
        if is_other_work(found["fingerprint"], one, target) or replaced_input(read_entry(found).request, one):
            conflicts.other.append(display_name(values["key"], target))
            return
        if found["hold"].startswith(ENTERING):
            connection.execute(parse(_TAKE_OVER), values | {"hold": hold})
        # One that was signed last week is refused by now, and one from a journal has no signature at all.
        if found["url_redacted"] or found["request"] != to_wire(one):
            if mark != found["fingerprint"] and found["state"] in _RENEWED:
                self.find_same_work(connection, one, values["key"], conflicts)
            changed = {"mark": mark, "request": to_json(to_wire(one)), "now": now, "renewed": [*_RENEWED]}
            connection.execute(parse(_RENEW), values | changed)

    def insert(
        self,
        connection: sa.Connection,
        one: Request,
        now: datetime,
        names: FileTemplates = DEFAULT_TEMPLATE,
        hold: str = "",
    ) -> Mapping[str, Any] | None:
        """Enter a request for one language if it is not there, with a file name that no other entry has."""
        (target,) = one.targets
        mark = fingerprint(one, target)
        values = {
            "account": self.account,
            "key": one.key or mark,
            "target": target,
            "mark": mark,
            "request": json.dumps(to_wire(one)),
            "now": now,
            "hold": hold,
        }
        inserted = connection.execute(
            parse(
                "INSERT INTO akool_ledger.entry"
                " (account, key, target, fingerprint, state, request, updated_at, hold)"
                " VALUES (:account, :key, :target, :mark, 'planned', CAST(:request AS jsonb), :now, :hold)"
                " ON CONFLICT DO NOTHING"
            ),
            values,
        )
        if not inserted.rowcount:
            return None
        for name in names.names(one, target):
            named = {**values, "name": name, "folded": collision_key(name)}
            if connection.execute(parse(RESERVE_NAME), named).first():
                break
        return dict(connection.execute(parse(READ + THIS), values).mappings().one())


def _shown(one: Request, key: str) -> str:
    """Return a request's name as a person knows it: its key, or its URL."""
    (target,) = one.targets
    return display_name(strip_query(video_url(one)) if key == fingerprint(one, target) else key, target)
