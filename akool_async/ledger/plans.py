"""Entering work into a ledger: the requests of a catalog, and what a journal holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs
import sqlalchemy as sa

from akool_async._client import new_token, to_wire
from akool_async._journal import Entry
from akool_async._journal.operations import display_name
from akool_async._model.errors import InvalidRequestError
from akool_async._model.filenames import DEFAULT_TEMPLATE, FileTemplates, collision_key
from akool_async._model.fingerprint import entry_key, fingerprint, is_other_work
from akool_async._model.requests import Request, with_targets
from akool_async._model.states import State
from akool_async.ledger.entries import READ, THIS, LedgerEntries, read_entry, storable, to_json

_MOVED: Final = (
    *("key", "target", "job_id", "paid_submissions", "credits_locked", "credits_used", "credits_before"),
    *("reason", "code", "created_at", "submitted_at", "ended_at", "expires_at", "url_redacted"),
)
_MOVE: Final = (
    "UPDATE akool_ledger.entry SET state = :state, token = :token, files = CAST(:files AS jsonb),"
    " doubt_ids = CAST(:doubt_ids AS jsonb), "
    + ", ".join(f"{name} = :{name}" for name in _MOVED if name not in ("key", "target"))
    + THIS
)
_RENEW: Final = f"""
    UPDATE akool_ledger.entry SET fingerprint = :mark, request = CAST(:request AS jsonb),
        url_redacted = false, updated_at = :now {THIS}
        AND state IN ('planned', 'failed', 'expired', 'in_doubt')
"""
_SHOWN: Final = 10
_MOVE_INTENT: Final = """
    INSERT INTO akool_ledger.intent (token, account, key, target, state, job_id, at)
    VALUES (:token, :account, :key, :target, :intent, :job_id, :now)
"""


class LedgerPlans(LedgerEntries):
    """Enters work; what is there already stays as it is."""

    async def plan(
        self, requests: Iterable[Request], *, names: FileTemplates = DEFAULT_TEMPLATE
    ) -> list[Entry]:
        """Enter requests as PLANNED, each language by itself; return the entries that are new.

        What is there and may still be sent gets the URLs of these requests: theirs may be signed anew.

        An entry that is there already stays as it is, so that planning a catalog twice changes nothing.

        Raises:
            InvalidRequestError: entries of these keys name other work; nothing of it was entered.
            LedgerError: the database failed; nothing of it was entered.
        """
        now, wanted = self.clock.now(), [*requests]

        def work(connection: sa.Connection) -> list[Entry]:
            rows, others = list[Mapping[str, Any]](), list[str]()
            for request in wanted:
                for target in request.targets:
                    row = self.insert(connection, request, target, now, names)
                    if row is not None:
                        rows.append(row)
                    elif not self._renew(connection, with_targets(request, (target,)), target, now):
                        others.append(display_name(entry_key(request, target), target))
            if others:
                more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
                raise InvalidRequestError(
                    f"Entries of the ledger name other work: {', '.join(others[:_SHOWN])}{more}.",
                    impact="Nothing of these requests was entered, and nothing is paid for them.",
                    advice="A key names one work for good: give other work other keys.",
                )
            return [read_entry(row) for row in rows]

        return await self.run_transaction(work)

    def _renew(self, connection: sa.Connection, one: Request, target: str, now: datetime) -> bool:
        """Keep the newest URL of an entry that may still be sent; False if it names other work."""
        mark = fingerprint(one, target)
        values = {"account": self.account, "key": one.key or mark, "target": target}
        found = connection.execute(sa.text(READ + THIS), values).mappings().one()
        if is_other_work(found["fingerprint"], one, target):
            return False
        # One that was signed last week is refused by now, and one from a journal has no signature at all.
        if found["url_redacted"] or found["request"] != to_wire(one):
            changed = {"mark": mark, "request": to_json(to_wire(one)), "now": now}
            connection.execute(sa.text(_RENEW), values | changed)
        return True

    def insert(
        self, connection: sa.Connection, request: Request, target: str, now: datetime, names: FileTemplates
    ) -> Mapping[str, Any] | None:
        """Enter one language if it is not there; its file name is reserved, so no two entries share one."""
        one = with_targets(request, (target,))
        mark = fingerprint(one, target)
        values = {
            "account": self.account,
            "key": one.key or mark,
            "target": target,
            "mark": mark,
            "request": json.dumps(to_wire(one)),
            "now": now,
        }
        inserted = connection.execute(
            sa.text(
                "INSERT INTO akool_ledger.entry"
                " (account, key, target, fingerprint, state, request, updated_at)"
                " VALUES (:account, :key, :target, :mark, 'planned', CAST(:request AS jsonb), :now)"
                " ON CONFLICT DO NOTHING"
            ),
            values,
        )
        if not inserted.rowcount:
            return None
        # Two entries never get one name, so two workers never write one file.
        for name in names.names(one, target):
            taken = connection.execute(
                sa.text(
                    "UPDATE akool_ledger.entry SET name = :name, name_folded = :folded"
                    f"{THIS} AND NOT EXISTS (SELECT 1 FROM akool_ledger.entry"
                    " WHERE account = :account AND name_folded = :folded)"
                ),
                {**values, "name": name, "folded": collision_key(name)},
            )
            if taken.rowcount:
                break
        query = sa.text(READ + THIS)
        return dict(connection.execute(query, values).mappings().one())

    async def adopt(self, entries: Iterable[Entry]) -> int:
        """Enter what a journal holds, each entry in its state; return how many are new.

        What is in doubt stays so, what has a job is never paid again. Of an entry that is there already, and
        that nobody has begun with, the journal knows more; another one stays as it is.

        Raises:
            InvalidRequestError: an entry has a job, or may have one, both here and in the journal; nothing of
                it was entered.
            LedgerError: the database failed; nothing of it was entered.
        """
        now, wanted = self.clock.now(), [*entries]
        states = {State.SUBMITTING: "in_doubt", State.IN_DOUBT: "in_doubt"}

        def work(connection: sa.Connection) -> int:
            moved = 0
            for entry in wanted:
                if entry.state is State.PLANNED and entry.url_redacted:
                    continue  # only the catalog has the URL that can be sent
                request = attrs.evolve(entry.request_for_target, key=entry.key)
                new = self.insert(connection, request, entry.target, now, DEFAULT_TEMPLATE) is not None
                if not new and not self._knows_less(connection, entry):
                    continue
                moved += 1
                token = entry.token or new_token()
                values = {
                    **{name: storable(getattr(entry, name)) for name in _MOVED},
                    "account": self.account,
                    "state": State.IN_DOUBT.value if entry.state in states else entry.state.value,
                    "files": json.dumps(entry.files),
                    "doubt_ids": json.dumps(entry.doubt_ids),
                    "token": token,
                    "now": now,
                }
                connection.execute(sa.text(_MOVE), values)
                intent = "made" if entry.job_id else states.get(entry.state)
                if intent is not None:
                    connection.execute(sa.text(_MOVE_INTENT), {**values, "intent": intent})
            return moved

        return await self.run_transaction(work)

    def _knows_less(self, connection: sa.Connection, entry: Entry) -> bool:
        """Whether the ledger has an entry as planned of which a journal says more."""
        where = {"account": self.account, "key": entry.key, "target": entry.target}
        found = connection.execute(sa.text(f"{READ}{THIS} FOR UPDATE"), where).mappings().one()
        # The same POST: moved before, by a call that was killed before it could retire the journal.
        same = (entry.job_id and entry.job_id == found["job_id"]) or entry.token == found["token"] != ""
        if entry.state is State.PLANNED or same:
            return False
        if found["state"] == State.PLANNED.value and not found["paid_submissions"]:
            return True
        # A catalog was enqueued before its journal, and a worker may have paid for the same work. To skip it
        # would forget a paid job, for the journal is retired after this.
        if entry.job_id or entry.state in (State.SUBMITTING, State.IN_DOUBT):
            name = display_name(entry.key, entry.target)
            raise InvalidRequestError(
                f"Entry {name} was begun in the ledger ({found['state']}) and the journal ({entry.state}).",
                impact="Nothing was moved, and the journal is as it was; both may have paid for it.",
                advice="Save what the journal has with `akool-async resume`, and do not move it.",
            )
        return False
