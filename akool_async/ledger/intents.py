"""The intents of a ledger, one row for each paid POST, changed by compare-and-set alone.

Which machine, process or engine calls an operation does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from akool_async._client import new_token
from akool_async._journal import Entry
from akool_async._journal.doubts import another_call_in_doubt, check_ids_seen, check_resolution
from akool_async._journal.operations import display_name
from akool_async._model.errors import IllegalTransitionError
from akool_async._model.fingerprint import is_other_work
from akool_async._model.redact import sanitize
from akool_async._model.requests import Request
from akool_async._model.responses import Job, Snapshot, result_expiry
from akool_async._model.states import WITHOUT_RESULT, State
from akool_async._model.tariff import budget_refusal
from akool_async.ledger.database import LedgerError, parse
from akool_async.ledger.entries import (
    LOCKED,
    THIS,
    IntentState,
    read_entry,
    storable,
    to_json,
)
from akool_async.ledger.moves import LedgerMoves
from akool_async.ledger.results import LedgerResults

_BUDGET_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('akool budget ' || :account, 0))"
_IN_FLIGHT: Final = """
    SELECT (SELECT count(*) FROM akool_ledger.entry
            WHERE account = :account AND state IN ('submitting', 'submitted'))
        + (SELECT count(*) FROM akool_ledger.intent
            WHERE account = :account AND state = 'in_doubt' AND at > now() - interval '10 minutes')
"""
_POSTING: Final = """
    SELECT count(*) FROM akool_ledger.intent
    WHERE account = :account AND state IN ('intended', 'sending') AND post_ends_at > now()
"""
_SPENT: Final = """
    SELECT coalesce(sum(credits_before + coalesce(credits_used, CASE
               WHEN state IN ('planned', 'failed') THEN 0 ELSE coalesce(credits_locked, 0) END)), 0) AS known,
           count(*) FILTER (WHERE state NOT IN ('planned', 'failed')
               AND credits_used IS NULL AND credits_locked IS NULL)
               + coalesce(sum(doubts_before), 0) AS unknown,
           max(coalesce(credits_used, credits_locked)) AS dearest
    FROM akool_ledger.entry WHERE account = :account
"""
_PAID: Final = """coalesce(credits_used, CASE WHEN state = 'expired' THEN coalesce(credits_locked,
    (SELECT max(coalesce(credits_used, credits_locked)) FROM akool_ledger.entry WHERE account = :account))
    END, 0)"""
"""What an ended job cost: what the vendor says; where it does not, an expired one's price, or the dearest."""

_ALL_DOUBT_IDS: Final = """entry.doubt_ids || (SELECT coalesce(jsonb_agg(one), '[]')
    FROM jsonb_array_elements(CAST(:doubt_ids AS jsonb)) one WHERE NOT entry.doubt_ids @> one)"""
"""What an answer names is added to what earlier ones named."""

FRESH: Final = 5.0
"""Seconds after the ledger was asked in which a POST may begin to be sent."""

_POST_TIME: Final = timedelta(seconds=240)
"""How long a POST may take, from `FRESH` to the vendor's answer; until then nobody calls it not made."""


@attrs.frozen(kw_only=True)
class NotNow:
    """Why an entry gets no intent at present, which may change.

    Attributes:
        reason: in words.
        stops: whether no other entry gets one either, because the budget is spent.
    """

    reason: str
    stops: bool = False


@attrs.frozen(kw_only=True)
class Intent:
    """The open intent of an entry.

    Attributes:
        token: identifies it, also in the webhook's URL.
        state: INTENDED where it may be sent; else how far an earlier call came.
    """

    token: str
    state: IntentState


_SENT: Final = (IntentState.SENDING, IntentState.IN_DOUBT)
_ENDED: Final = {
    State.FAILED: IntentState.REFUSED,
    State.PLANNED: IntentState.NOT_MADE,
    State.IN_DOUBT: IntentState.IN_DOUBT,
}
_PRICE_UNKNOWN: Final = NotNow(reason="The price of a job is not known yet.")


class LedgerIntents(LedgerMoves, LedgerResults):
    """Changes intents and their entries together, by compare-and-set."""

    async def intend(self, request: Request, key: str, worker: str) -> Intent | NotNow | None:
        """Commit the intent to send a POST, or return the one that is open.

        Returns:
            The open intent; `NotNow` because of the budget or the cap; None if the entry is over.
        """
        (target,) = request.targets
        now, token = self.clock.now(), new_token()
        one = attrs.evolve(request, key=key) if request.key != key and len(key) <= 200 else request

        def work(connection: sa.Connection) -> Intent | NotNow | None:
            execute = connection.execute
            values: dict[str, Any] = {"account": self.account, "key": key, "target": target, "now": now}
            most, slots = execute(
                parse("SELECT max_credits, max_in_flight FROM akool_ledger.account WHERE name = :account"),
                values,
            ).one()
            if most is not None or slots is not None:  # the sums and the intent are one step for all machines
                execute(parse(_BUDGET_LOCK), values)
            mine = execute(parse(LOCKED), values).mappings().one_or_none()
            if mine is None:  # no entry of a worker: those were planned
                self.insert_alone(connection, one, now)
                mine = execute(parse(LOCKED), values).mappings().one()
            row = read_entry(mine)
            if is_other_work(row.fingerprint, one, target):
                raise IllegalTransitionError(
                    f"Entry {display_name(key, target)} names other work than this request.",
                    advice="Use another key for other work.",
                )
            open_one = execute(
                parse(
                    "SELECT token, state FROM akool_ledger.intent WHERE account = :account"
                    " AND key = :key AND target = :target"
                    " AND state IN ('intended', 'sending', 'made', 'in_doubt')"
                ),
                values,
            ).one_or_none()
            # An open intent is the only right to send; what an earlier call left decides, not this one.
            if open_one is not None:
                return Intent(token=open_one.token, state=IntentState(open_one.state))
            # A refused or failed entry is paid again only after `retry`.
            if row.state is not State.PLANNED:
                return None
            if mine["hold"]:
                return NotNow(reason=row.reason)
            refusal = None
            if most is not None:
                refusal = _over_budget(execute(parse(_SPENT), values).one(), most)
                # One at a time over all machines: each POST under way is of a price that nobody knows, and
                # together they could cost many times what is left.
                if refusal is None and execute(parse(_POSTING), values).scalar_one():
                    refusal = _PRICE_UNKNOWN
            if refusal is not None:
                return refusal
            if slots is not None and execute(parse(_IN_FLIGHT), values).scalar_one() >= slots:
                return NotNow(reason=f"{slots} jobs are at the vendor, as many as the account may have.")
            values |= {"token": token, "worker": worker}
            execute(
                parse(
                    "INSERT INTO akool_ledger.intent (token, account, key, target, state, at, post_ends_at)"
                    " VALUES (:token, :account, :key, :target, 'intended', now(), now() + :post_time)"
                ),
                {**values, "post_time": _POST_TIME},
            )
            execute(
                parse(
                    "UPDATE akool_ledger.entry SET state = 'submitting', token = :token, submitted_at = :now,"
                    " paid_submissions = paid_submissions + 1, reason = '', code = NULL, ended_at = NULL,"
                    " credits_before = credits_before + coalesce(credits_used, 0), credits_used = NULL,"
                    " credits_locked = NULL, job_id = '', snapshot = NULL, worker = :worker,"
                    " updated_at = :now" + THIS
                ),
                values,
            )
            return Intent(token=token, state=IntentState.INTENDED)

        return await self.run_transaction(work)

    async def acquire(self, token: str, sender: str) -> bool:
        """Win the right to send a POST: exactly one caller does, for ever.

        A caller that did not hear the answer may ask again with the same `sender`, and has to ask again if it
        did not begin to send within `FRESH` seconds: meanwhile the POST may have been called not made.
        """
        won = await self.execute(
            "UPDATE akool_ledger.intent SET state = 'sending', sender = :sender,"
            " post_ends_at = now() + :post_time WHERE token = :token AND account = :account"
            " AND (state = 'intended' OR (state = 'sending' AND sender = :sender)) RETURNING token",
            token=token,
            sender=sender,
            post_time=_POST_TIME,
        )
        return bool(won)

    async def doubt(self, token: str, reason: str) -> None:
        """Declare an intent that was begun to be sent in doubt, only if no answer to it was recorded."""
        await self._put(token, (IntentState.SENDING,), IntentState.IN_DOUBT, State.IN_DOUBT, reason=reason)

    async def made(self, token: str, job: Job) -> bool:
        """Record the job of an intent.

        Returns:
            Whether it is the entry's now: False if the intent was resolved otherwise or has another job, or
            if the job is another entry's.
        """
        try:
            return await self._put_job(token, job, anew=False)
        except LedgerError as error:
            if isinstance(error.__cause__, IntegrityError):
                return False  # for ever: to try it again would never end
            raise

    async def _put_job(self, token: str, job: Job, *, anew: bool) -> bool:
        return await self._put(
            token,
            _SENT,
            IntentState.MADE,
            State.SUBMITTED,
            anew=anew,
            job_id=job.id,
            credits_locked=job.credits_locked,
            created_at=job.created_at,
            expires_at=result_expiry(job.created_at),
        )

    async def record_end(
        self, token: str, state: State, *, reason: str, code: int | None = None, doubt_ids: Sequence[str] = ()
    ) -> None:
        """Record that a POST was refused (FAILED), made no job (PLANNED), or is in doubt (IN_DOUBT)."""
        more: dict[str, Any] = {"doubt_ids": to_json(doubt_ids)} if doubt_ids else {}
        if state is State.FAILED:
            more["ended_at"] = self.clock.now()
        # Its sender says so, and sends nothing any more: a person may say at once what became of it.
        recorded = await self._put(
            token,
            _SENT,
            _ENDED[state],
            state,
            free=", post_ends_at = NULL",
            reason=reason,
            code=code,
            **more,
        )
        if not recorded:  # a callback or a person was faster, and knew one job; the others may be billed
            for job_id in doubt_ids:
                await self.keep(token, job_id)

    async def _put(
        self,
        token: str,
        before: Sequence[IntentState],
        after: IntentState,
        state: State,
        *,
        free: str = "",
        only: str = "",
        anew: bool = False,
        **columns: Any,
    ) -> bool:
        """Move an intent and its entry together, if the intent still is as expected.

        With `anew`, workers begin the entry anew: the workflow that ended with a doubt does not run again.
        """
        assignments = "".join(f", {name} = :{name}" for name in columns)
        if anew:
            assignments += ", generation = entry.generation + 1"
        if "doubt_ids" in columns:
            assignments = assignments.replace("= :doubt_ids", f"= {_ALL_DOUBT_IDS}")
        if "job_id" in columns:
            assignments += ", doubt_ids = entry.doubt_ids - CAST(:job_id AS text)"
        # A POST that made no job is not counted as one that may have been charged.
        if state in (State.PLANNED, State.FAILED):
            assignments += ", paid_submissions = greatest(entry.paid_submissions - 1, 0)"
        found = await self.execute(
            f"WITH moved AS (UPDATE akool_ledger.intent SET state = :after, job_id = :job{free}"
            f" WHERE token = :token AND account = :account AND state = ANY(:before){only}"
            " RETURNING account, key, target)"
            f" UPDATE akool_ledger.entry SET state = :state, updated_at = :now{assignments} FROM moved"
            " WHERE entry.account = moved.account AND entry.key = moved.key AND entry.target = moved.target"
            " RETURNING entry.key",
            token=token,
            before=[*before],
            after=after.value,
            state=state.value,
            now=self.clock.now(),
            job=columns.get("job_id", ""),
            **{name: storable(value) for name, value in columns.items()},
        )
        return bool(found)

    async def resolve(
        self,
        key: str,
        target: str = "",
        *,
        job_id: str | None = None,
        not_made: bool = False,
        snapshot: Snapshot | None = None,
        seen: Entry | None = None,
    ) -> None:
        """Say what became of an entry in doubt: its job has this id, or no job was made.

        Before `not_made`, ask `client.status` for each of its `doubt_ids`: a job that is there is paid, and
        would be lost. With `seen`, the entry as it was when this was found out, nothing is changed if another
        call is in doubt by now.

        Raises:
            InvalidRequestError: neither or both was said, or `seen` is another entry.
            IllegalTransitionError: the entry is not in doubt, or another call of it than that of `seen`; the
                job belongs to another entry; or it was not made, and the ledger does not have the whole URL.
        """
        check_resolution(key, target, job_id, snapshot, seen, not_made=not_made)
        entry = await self.get(key, target)
        if not_made:
            _check_url(entry)
        if entry is None or entry.state not in (State.IN_DOUBT, State.SUBMITTING):
            state = "not in the ledger" if entry is None else f"{entry.state}, not in doubt"
            raise IllegalTransitionError(f"Entry {display_name(key, target)} is {state}.")
        if seen is not None and seen.token != entry.token:
            raise another_call_in_doubt(key, target)
        check_ids_seen(key, target, entry.doubt_ids, seen)
        try:
            resolved = await self._resolve(entry.token, job_id, snapshot)
        except LedgerError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise IllegalTransitionError(
                    f"Job {sanitize(job_id or '')} belongs to another entry already."
                ) from None
            raise
        if resolved:
            return
        still_open = await self.execute(
            "SELECT coalesce(extract(epoch FROM post_ends_at - now()), 0) AS seconds FROM akool_ledger.intent"
            " WHERE token = :token AND account = :account AND state IN ('intended', 'sending', 'in_doubt')",
            token=entry.token,
        )
        if still_open:
            wait = max(1, math.ceil(still_open[0]["seconds"]))
            raise IllegalTransitionError(
                f"The POST of entry {display_name(key, target)} may still be under way: the worker that began"
                " it has not said how it ended.",
                impact="Called not made too early, it could be paid twice. Nothing was changed.",
                advice=f"Run the same command again in {wait} s; if the job shows up by then, name its id.",
            )
        raise IllegalTransitionError(f"Entry {display_name(key, target)} was resolved meanwhile.")

    async def _resolve(self, token: str, job_id: str | None, snapshot: Snapshot | None) -> bool:
        if job_id is not None:
            created = None if snapshot is None else snapshot.created_at
            return await self._put_job(token, Job(id=job_id, created_at=created), anew=True)
        # Not while its sender may be alive, frozen or cut off: what it sends later would be paid, too.
        return await self._put(
            token,
            (IntentState.INTENDED, *_SENT),
            IntentState.NOT_MADE,
            State.PLANNED,
            only=" AND (post_ends_at IS NULL OR post_ends_at <= now())",
            anew=True,
            reason="",
        )

    async def retry(self, key: str, target: str = "", *, pay_again: bool = True) -> bool:
        """Let an entry that failed, was refused or expired be submitted, and paid, once more.

        Args:
            key: the entry's.
            target: its language; "" for lip-sync.
            pay_again: also what is paid already, as a result in the folder or a moved journal says. False for
                many at once, of which nobody said that.

        Returns:
            Whether it is to be submitted; False if it did not fail, or another call was faster.

        Raises:
            IllegalTransitionError: the ledger does not have the whole URL.
            InvalidRequestError: another entry has the same work, and did not fail.
        """
        values = {"account": self.account, "key": key, "target": target, "now": self.clock.now()}
        values["pay_again"] = pay_again

        def work(connection: sa.Connection) -> bool:
            self.lock_entering(connection)
            found = connection.execute(parse(LOCKED), values).mappings().one_or_none()
            if found is None or found["state"] not in WITHOUT_RESULT:
                return False
            if found["paid_already"] and not pay_again:
                return False
            entry = read_entry(found)
            _check_url(entry)
            self.check_same_work(connection, entry)
            connection.execute(
                parse(f"UPDATE akool_ledger.intent SET state = 'retired'{THIS} AND state = 'made'"), values
            )
            connection.execute(
                parse(
                    "UPDATE akool_ledger.entry SET state = 'planned', updated_at = :now, job_id = '',"
                    " generation = generation + 1, pay_again = :pay_again, paid_already = false,"
                    f" credits_before = credits_before + {_PAID},"
                    # It was made, and no price is known: counted as nothing, it would exceed the budget.
                    f" doubts_before = doubts_before + CASE WHEN state = 'expired' AND {_PAID} = 0"
                    " THEN 1 ELSE 0 END,"
                    f" credits_used = NULL, credits_locked = NULL{THIS}"
                ),
                values,
            )
            return True

        return await self.run_transaction(work)


def _check_url(entry: Entry | None) -> None:
    """Refuse to send an entry again of which a journal kept the URL without what signs it."""
    if entry is not None and entry.url_redacted:
        raise IllegalTransitionError(
            f"The ledger has the URL of {display_name(entry.key, entry.target)} without what signs it.",
            impact="Sent like this it could not be read, and might be paid. Nothing was changed.",
            advice="Enqueue its catalog, which has the whole URL; then run the same command again.",
        )


def _over_budget(spent: Any, most: float) -> NotNow | None:
    """Return why another job may not be made now; None if it may."""
    # Unknown prices count as the dearest known one: as nothing, doubts would be paid without end.
    each = spent.dearest or 0.0
    if spent.dearest is None and spent.unknown:
        return _PRICE_UNKNOWN  # only one job at a time can tell one
    total = spent.known + spent.unknown * each
    if total >= most or total + each > most:
        return NotNow(reason=budget_refusal(most, total, each), stops=True)
    return None
