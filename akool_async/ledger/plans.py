"""Entering work into a ledger: the requests of a catalog, and what a journal holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
import sqlalchemy as sa

from akool_async._client import from_wire, new_token, to_wire
from akool_async._journal import Entry
from akool_async._journal.entry import dump_datetime
from akool_async._journal.operations import display_name
from akool_async._model.errors import InvalidRequestError
from akool_async._model.filenames import DEFAULT_TEMPLATE, FileTemplates, collision_key
from akool_async._model.fingerprint import (
    KeyedVideos,
    are_other_works,
    fingerprint,
    is_other_work,
    replaced_input,
    work_of,
)
from akool_async._model.redact import strip_query
from akool_async._model.requests import Request, video_url, with_targets
from akool_async._model.states import State
from akool_async.ledger.database import parse
from akool_async.ledger.entries import READ, THIS, IntentState, LedgerEntries, read_entry, storable, to_json

_MOVED: Final = (
    *(
        "key",
        "target",
        "fingerprint",
        "job_id",
        "paid_submissions",
        "credits_locked",
        "credits_used",
        "credits_before",
        "doubts_before",
    ),
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
        AND state = ANY(:renewed)
"""
_ENTERING: Final = "SELECT pg_advisory_xact_lock(hashtextextended('akool enter ' || :account, 0))"
"""One at a time: no constraint keeps two machines from entering one work under two keys at once."""

_SAME_WORK: Final = """
    SELECT key FROM akool_ledger.entry WHERE account = :account AND target = :target AND key <> :key
        AND NOT (state = 'failed' AND job_id = '')
"""
"""What was refused is not paid: it keeps no other entry from being sent."""

_KEYED: Final = """
    SELECT key, request FROM akool_ledger.entry
    WHERE account = :account AND key = ANY(:keys) AND state NOT IN ('failed', 'expired')
"""
_END_DOUBLED: Final = """
    UPDATE akool_ledger.entry SET state = 'failed', reason = :reason, ended_at = :now, updated_at = :now
    WHERE account = :account AND target = :target AND key <> :key AND state = 'planned'
        AND fingerprint >= :work AND fingerprint < :work || 'g' AND (fingerprint = :fingerprint
            OR (key = fingerprint AND CAST(request ->> 'url_is_public' AS boolean) IS NOT TRUE))
"""
_RENEWED: Final = (State.PLANNED, State.FAILED, State.EXPIRED, State.IN_DOUBT)
_SHOWN: Final = 10
_KEEP_JOURNAL: Final = "Save what the journal has with `akool-async resume`, and do not move it."
_MOVE_INTENT: Final = """
    INSERT INTO akool_ledger.intent (token, account, key, target, state, job_id, sender, at)
    VALUES (CASE WHEN EXISTS (SELECT 1 FROM akool_ledger.intent WHERE token = :token) THEN :new
        ELSE :token END, :account, :key, :target, :intent, :job_id, :post, :now)
    ON CONFLICT (account, key, target) WHERE state IN ('intended', 'sending', 'made', 'in_doubt')
        DO UPDATE SET state = excluded.state, job_id = excluded.job_id
    RETURNING token
"""
_MOVED_INTENT: Final = f"""
    SELECT state, job_id FROM akool_ledger.intent {THIS}
        AND (sender = :post OR (token = :token AND token <> '') OR (job_id = :job_id AND job_id <> ''))
    ORDER BY job_id = :job_id DESC LIMIT 1
"""
"""What became of the POST of a journal's entry that was moved before."""


@attrs.define
class _Conflicts:
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
        now, wanted = self.clock.now(), [*requests]

        def work(connection: sa.Connection) -> list[Entry]:
            self.lock_entering(connection)
            rows, conflicts = list[Mapping[str, Any]](), _Conflicts()
            videos = self._find_videos(connection, (request.key for request in wanted))
            for request in wanted:
                for target in request.targets:
                    one = with_targets(request, (target,))
                    row = self.insert(connection, one, target, now, names)
                    if row is None:
                        self._renew(connection, one, target, now, conflicts)
                        continue
                    rows.append(row)
                    if videos.names_other(one):
                        conflicts.videos.append(display_name(row["key"], target))
                    videos.add(row["key"], one)
                    self._find_same_work(connection, one, row["key"], conflicts)
            conflicts.check()
            return [read_entry(row) for row in rows]

        return await self.run_transaction(work)

    def lock_entering(self, connection: sa.Connection) -> None:
        """Keep other machines from entering work of this account until the transaction ends."""
        connection.execute(parse(_ENTERING), {"account": self.account})

    def insert_alone(self, connection: sa.Connection, one: Request, now: datetime) -> None:
        """Enter a request for one language that nobody planned.

        Raises:
            InvalidRequestError: the same work is there under another key, or with another query of a URL; or
                the key names another video.
        """
        conflicts, (target,) = _Conflicts(), one.targets
        self.lock_entering(connection)
        videos = self._find_videos(connection, [one.key])
        row = self.insert(connection, one, target, now, DEFAULT_TEMPLATE)
        if row is not None:
            if videos.names_other(one):
                conflicts.videos.append(display_name(row["key"], target))
            self._find_same_work(connection, one, row["key"], conflicts)
            conflicts.check()

    def _find_videos(self, connection: sa.Connection, keys: Iterable[str | None]) -> KeyedVideos:
        """Return which videos keys name in the ledger: captions and reports know a video by its key."""
        named = [key for key in keys if key]
        videos = KeyedVideos(named)
        for row in connection.execute(parse(_KEYED), {"account": self.account, "keys": named}):
            videos.add(row.key, from_wire(row.request))
        return videos

    def _find_same_work(
        self, connection: sa.Connection, one: Request, key: str, conflicts: _Conflicts
    ) -> None:
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
        values = {
            "account": self.account,
            "key": entry.key,
            "target": entry.target,
            "mark": entry.fingerprint,
        }
        query = f"{_SAME_WORK} AND fingerprint = :mark AND state NOT IN ('failed', 'expired') LIMIT 1"
        known = connection.execute(parse(query), values).scalar()
        if known is not None:
            raise InvalidRequestError(
                f"Entry {display_name(entry.key, entry.target)} is the same work as"
                f" {display_name(known, entry.target)}, which is paid, or going to be.",
                impact="Submitted again it would be paid twice. Nothing was changed.",
                advice="Leave it as it is, and use the result of the other entry.",
            )

    def _renew(
        self, connection: sa.Connection, one: Request, target: str, now: datetime, conflicts: _Conflicts
    ) -> None:
        """Keep the newest URL of an entry that may still be sent, if it names the same work."""
        mark = fingerprint(one, target)
        values = {"account": self.account, "key": one.key or mark, "target": target}
        found = connection.execute(sa.text(READ + THIS), values).mappings().one()
        if is_other_work(found["fingerprint"], one, target) or replaced_input(read_entry(found).request, one):
            conflicts.other.append(display_name(values["key"], target))
            return
        # One that was signed last week is refused by now, and one from a journal has no signature at all.
        if found["url_redacted"] or found["request"] != to_wire(one):
            if mark != found["fingerprint"] and found["state"] in _RENEWED:
                self._find_same_work(connection, one, values["key"], conflicts)
            changed = {"mark": mark, "request": to_json(to_wire(one)), "now": now, "renewed": [*_RENEWED]}
            connection.execute(sa.text(_RENEW), values | changed)

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

        What is in doubt stays so, what has a job is never paid again, under another key neither: what was
        planned for the same work is ended, and says why. Of an entry that is there already, and that nobody
        has begun with, the journal knows more; another one stays as it is.

        Raises:
            InvalidRequestError: an entry has a job, or may have one, both here and in the journal, or its key
                names other work or another video here; nothing of it was entered.
            LedgerError: the database failed; nothing of it was entered.
        """
        now, wanted = self.clock.now(), [*entries]
        posts = Counter(entry.token for entry in wanted)

        def work(connection: sa.Connection) -> int:
            moved, others = 0, _Conflicts()
            self.lock_entering(connection)
            # Before any of it is entered: several videos in the journal itself are moved all the same.
            videos = self._find_videos(connection, {entry.key for entry in wanted})
            for entry in wanted:
                if entry.state is State.PLANNED and entry.url_redacted:
                    continue  # only the catalog has the URL that can be sent
                request = attrs.evolve(entry.request_for_target, key=entry.key)
                if entry.state is State.PLANNED:
                    conflicts = _Conflicts()
                    self._find_same_work(connection, request, entry.key, conflicts)
                    if conflicts.doubled or conflicts.asked:
                        continue  # nothing is lost: its catalog, entered again, says what it is
                new = self.insert(connection, request, entry.target, now, DEFAULT_TEMPLATE) is not None
                if not new and not self._knows_less(connection, entry, others):
                    continue
                if new and videos.names_other(request):
                    others.videos.append(display_name(entry.key, entry.target))
                moved += 1
                new_one = new_token()
                # One POST for several languages: a callback does not say which of them its job is.
                token = entry.token if entry.token and posts[entry.token] == 1 else new_one
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
                    "token": token,
                    "now": now,
                }
                begun = bool(entry.job_id) or in_doubt
                if begun:
                    intent = IntentState.MADE if entry.job_id else IntentState.IN_DOUBT
                    more = {"intent": intent.value, "new": new_one, "post": _post_name(entry)}
                    values["token"] = connection.execute(sa.text(_MOVE_INTENT), values | more).scalar_one()
                connection.execute(sa.text(_MOVE), values)
                # Begun there, so it may be paid: what was planned here for the same work is not sent.
                if begun or entry.state not in (State.PLANNED, State.FAILED):
                    name = display_name(entry.key, entry.target)
                    reason = f"A journal that was moved here had begun the same work as {name}."
                    doubled = {**values, "work": work_of(entry.fingerprint), "reason": reason}
                    connection.execute(sa.text(_END_DOUBLED), doubled)
            others.check("Nothing was moved, and the journal is as it was.", _KEEP_JOURNAL)
            return moved

        return await self.run_transaction(work)

    def _knows_less(self, connection: sa.Connection, entry: Entry, others: _Conflicts) -> bool:
        """Whether the ledger has an entry as planned, or in doubt, of which a journal says more."""
        where = {"account": self.account, "key": entry.key, "target": entry.target}
        found = connection.execute(sa.text(f"{READ}{THIS} FOR UPDATE"), where).mappings().one()
        # Its job would be taken for that of another video, which then is never translated.
        public = entry.request.url_is_public
        replaced = replaced_input(read_entry(found).request, entry.request)
        if replaced or are_other_works(found["fingerprint"], entry.fingerprint, url_is_public=public):
            others.other.append(display_name(entry.key, entry.target))
            return False
        if entry.state is State.PLANNED:
            return False
        post = {"token": entry.token, "job_id": entry.job_id, "post": _post_name(entry)}
        moved = connection.execute(sa.text(_MOVED_INTENT), where | post).one_or_none()
        # The same POST: moved before, by a call that was killed before it could retire the journal.
        if moved is not None and entry.job_id in ("", moved.job_id):
            return False
        # The journal has learned since which job it made.
        if moved is not None and moved.state == IntentState.IN_DOUBT:
            return True
        if found["state"] == State.PLANNED.value and not found["paid_submissions"]:
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


def _shown(one: Request, key: str) -> str:
    """Return a request's name as a person knows it: its key, or its URL."""
    (target,) = one.targets
    return display_name(strip_query(video_url(one)) if key == fingerprint(one, target) else key, target)
