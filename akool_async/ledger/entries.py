"""The entries and workers of a ledger: what is read of them, and the steps of an entry that has a job."""

from __future__ import annotations

import enum
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs
import sqlalchemy as sa

from akool_async._client import from_wire, to_wire
from akool_async._journal import Entry, EntryUpdate
from akool_async._journal.entry import (
    dump_float,
    dump_int,
    dump_request,
    dump_snapshot,
    entry_to_json,
    load_request,
    load_snapshot,
)
from akool_async._journal.operations import display_name
from akool_async._model.errors import IllegalTransitionError
from akool_async._model.outcomes import INCOMPLETE, UNVERIFIED, UNVERIFIED_INCOMPLETE
from akool_async._model.responses import Job, in_utc
from akool_async._model.states import State, may_follow
from akool_async.ledger.database import LedgerDatabase, parse

_PAGE: Final = 500
_OPEN: Final = (State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.COMPLETED)
_FIELDS: Final = tuple(field.name for field in attrs.fields(Entry) if field.name != "candidate_ids")
"""Its columns. Ids in an answer are asked for at once, by the process that has it, and never later."""

ENTERING: Final = "entering "
MOVING: Final = "move "
"""How the column `hold` begins of entries for which nobody pays yet: those of a catalog that is being
entered, and of a journal that may not be retired yet."""

_HOLD_REASON: Final = f"""CASE WHEN state <> 'planned' OR hold = '' THEN reason
    WHEN starts_with(hold, '{ENTERING}')
        THEN 'Nothing is paid for it while its enqueue has not ended. If that was stopped, run it again.'
    ELSE 'Nothing is paid for it before its journal is moved. Run enqueue --from-journal again.'
    END AS reason"""
READ: Final = (
    f"SELECT number, hold, paid_already, {', '.join(name for name in _FIELDS if name != 'reason')},"
    f" {_HOLD_REASON} FROM akool_ledger.entry"
)
THIS: Final = " WHERE account = :account AND key = :key AND target = :target"
LOCKED: Final = f"{READ}{THIS} FOR UPDATE"
OF_POST: Final = (
    " WHERE account = :account AND (key, target) IN"
    " (SELECT key, target FROM akool_ledger.intent WHERE token = :token AND account = :account)"
)
"""The entry whose POST had a webhook token."""

_DOUBT_AGAIN: Final = """
    WITH doubted AS (
        UPDATE akool_ledger.entry SET state = 'in_doubt', token = :token, reason = :reason,
            paid_submissions = paid_submissions + 1, updated_at = :now,
            doubt_ids = doubt_ids || to_jsonb(CAST(:job AS text))
        WHERE account = :account AND state = 'planned' AND NOT doubt_ids ? CAST(:job AS text)
            AND (key, target) IN (SELECT key, target FROM akool_ledger.intent
                WHERE token = :token AND account = :account AND state = 'not_made')
            AND NOT EXISTS (SELECT 1 FROM akool_ledger.intent WHERE account = :account AND job_id = :job)
        RETURNING key
    )
    UPDATE akool_ledger.intent SET state = 'in_doubt'
    WHERE token = :token AND account = :account AND EXISTS (SELECT 1 FROM doubted)
"""
"""An id that its entry had when a person called its POST not made changes nothing: that person knew it."""

RESERVE_NAME: Final = (
    f"UPDATE akool_ledger.entry SET name = :name, name_folded = :folded{THIS}"
    " AND NOT EXISTS (SELECT 1 FROM akool_ledger.entry other WHERE other.account = :account"
    " AND other.name_folded = :folded AND (other.key, other.target) <> (:key, :target)) RETURNING name"
)
"""Two entries never get one name, so two workers never write one file."""


@attrs.frozen(kw_only=True)
class WorkerRow:
    """One worker, as the ledger knows it.

    Attributes:
        name: its name, unique among the workers of an account.
        host: its machine.
        pid: its process there.
        started_at: when it started, aware.
        seen_at: when it was last heard of, aware.
        state: "running", "stopping" or "stopped".
        entries: entries that it is working on.
        silent_for: seconds since it was last heard of, by the clock of the database alone.
        connected: whether it is connected to the database now, which ends at once when it is killed; a lost
            machine's connections end within a minute.
    """

    name: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    state: str
    entries: int = 0
    silent_for: float = 0.0
    connected: bool = False


class IntentState(enum.StrEnum):
    """How far a paid POST is; while it is one of the first four, its entry can't get another intent."""

    INTENDED = "intended"
    """It may be sent, by the one call that acquires it."""
    SENDING = "sending"
    """A call acquired it, and may have sent it."""
    MADE = "made"
    """It made a job."""
    IN_DOUBT = "in_doubt"
    """It was sent, or may have been, and its answer is unknown."""
    REFUSED = "refused"
    """The vendor refused it."""
    NOT_MADE = "not_made"
    """It made no job; its entry may be sent again."""
    RETIRED = "retired"
    """It made a job, and its entry is to be paid once more."""


class LedgerEntries(LedgerDatabase):
    """Reads entries and workers, and records what happens to jobs."""

    async def record(self, change: EntryUpdate) -> None:
        """Record a step of an entry that has a job: COMPLETED, FAILED, DELIVERED or EXPIRED.

        Recording the same again changes nothing, so that a step which runs twice is harmless.

        Raises:
            IllegalTransitionError: the entry's state does not allow it; nothing was recorded.
            LedgerError: the database failed.
        """
        now = self.clock.now()

        def work(connection: sa.Connection) -> None:
            values = {"account": self.account, "key": change.key, "target": change.target}
            found = connection.execute(parse(LOCKED), values).mappings().one_or_none()
            name = display_name(change.key, change.target)
            if found is None:
                raise IllegalTransitionError(f"Entry {name} is not in the ledger.")
            state = State(found["state"])
            if not may_follow(state, change.state) or change.state in (State.SUBMITTING, State.PLANNED):
                raise IllegalTransitionError(f"Entry {name} is {state}, and {change.state} may not follow.")
            # Also while a later POST has no answer: the end of the job before it is not its end.
            if change.job_id and change.job_id != found["job_id"]:
                holds = f"holds job {found['job_id']}" if found["job_id"] else "was begun anew"
                raise IllegalTransitionError(f"Entry {name} {holds} already.")
            columns: dict[str, Any] = {"state": change.state.value, "updated_at": now}
            given = {name: getattr(change, name) for name in ("reason", "code", "ended_at", "job_id")}
            for column, value in (given | {"credits_used": change.used}).items():
                if value is not None:
                    columns[column] = storable(value)
            if change.created is not None:
                moments = {"created_at": change.created, "expires_at": change.expires}
                columns |= {column: storable(moment) for column, moment in moments.items()}
            if change.files is not None:
                columns["files"] = to_json(change.files)
            if change.snapshot is not None:
                columns["snapshot"] = to_json(json.loads(dump_snapshot(change.snapshot)))
            if change.state is State.DELIVERED:  # what signs its URLs is needed no more
                request = load_request(dump_request(read_entry(found).request))
                columns["request"] = json.dumps(to_wire(request))
            casts = {"files", "snapshot", "request"}
            assignments = ", ".join(
                f"{column} = CAST(:{column} AS jsonb)" if column in casts else f"{column} = :{column}"
                for column in columns
            )
            update = parse(f"UPDATE akool_ledger.entry SET {assignments}{THIS}")
            connection.execute(update, values | columns)

        await self.run_transaction(work)

    # Reading.

    async def get(self, key: str, target: str = "") -> Entry | None:
        """Return an entry, or None."""
        rows = await self.execute(READ + THIS, key=key, target=target)
        return read_entry(rows[0]) if rows else None

    async def find_job(self, job_id: str) -> Entry | None:
        """Return the entry of a job, or None."""
        rows = await self.execute(
            f"{READ} WHERE account = :account AND job_id = :job AND job_id <> ''", job=job_id
        )
        return read_entry(rows[0]) if rows else None

    async def find_token(self, token: str) -> Entry | None:
        """Return the entry whose POST had this webhook token, or None."""
        rows = await self.execute(READ + OF_POST, token=token)
        return read_entry(rows[0]) if rows and token else None

    async def keep(self, token: str, job_id: str, extra: Job | None = None) -> None:
        """Add a job that can't be an entry's own, but may be billed, to the ids in doubt of its entry.

        If its POST was called not made, and nothing was sent since, its entry is in doubt again. What `extra`
        costs is counted: the answer to the POST has this job, which nobody asked for.
        """
        await self.execute(
            _DOUBT_AGAIN,
            token=token,
            job=job_id,
            now=self.clock.now(),
            reason=f"Its POST was called not made, but job {job_id} was named for it since.",
        )
        cost = max(0.0, (extra and dump_float(extra.credits_locked)) or 0.0)
        await self.execute(
            "UPDATE akool_ledger.entry SET doubt_ids = doubt_ids || to_jsonb(CAST(:job AS text)),"
            " credits_before = credits_before + CAST(:cost AS double precision),"
            f" doubts_before = doubts_before + CAST(:unpriced AS integer){OF_POST}"
            " AND job_id <> :job AND NOT doubt_ids ? CAST(:job AS text)",
            token=token,
            job=job_id,
            cost=cost,
            unpriced=int(extra is not None and not cost),
        )

    async def may_be_of_another(self, entry: Entry, job_id: str) -> bool:
        """Return whether this job was named for another entry, too, whose own job is not known."""
        return bool(
            await self.execute(
                "SELECT 1 FROM akool_ledger.entry WHERE account = :account AND NOT (key = :key"
                " AND target = :target) AND state IN ('submitting', 'in_doubt') AND doubt_ids ? :job LIMIT 1",
                key=entry.key,
                target=entry.target,
                job=job_id,
            )
        )

    async def open_work(self, *states: State) -> list[tuple[str, str, int]]:
        """Return what workers have to do: key, language and generation of each entry that is not over.

        What is not released yet by `entering` or `move_journal` is left out.

        Args:
            states: only entries in these; default is all that are not over.
        """
        rows = await self.execute(
            "SELECT key, target, generation FROM akool_ledger.entry WHERE account = :account"
            " AND state = ANY(:states) AND (hold = '' OR state <> 'planned') ORDER BY number",
            states=[*(states or _OPEN)],
        )
        return [(row["key"], row["target"], row["generation"]) for row in rows]

    async def begin_anew(self, key: str, target: str, generation: int) -> tuple[str, str, int] | None:
        """Let workers begin an entry anew that is not over; return it as `open_work` does.

        None if it is over, or another call was faster.
        """
        rows = await self.execute(
            f"UPDATE akool_ledger.entry SET generation = generation + 1{THIS} AND generation = :generation"
            " AND state IN ('planned', 'submitting', 'submitted', 'completed') RETURNING generation",
            key=key,
            target=target,
            generation=generation,
        )
        return (key, target, rows[0]["generation"]) if rows else None

    async def find_work(self, token: str) -> tuple[str, str, int] | None:
        """Return key, language and generation of the entry whose POST had this webhook token, or None."""
        rows = await self.execute(
            f"SELECT key, target, generation FROM akool_ledger.entry{OF_POST}", token=token
        )
        return (rows[0]["key"], rows[0]["target"], rows[0]["generation"]) if rows else None

    async def entries(self, *, states: Iterable[State] | None = None) -> AsyncIterator[Entry]:
        """Return the entries, in the order in which they were entered; several pages are several reads."""
        wanted = None if states is None else [state.value for state in states]
        number = 0
        while True:
            rows = await self.execute(
                f"{READ} WHERE account = :account AND number > :number"
                + ("" if wanted is None else " AND state = ANY(:states)")
                + " ORDER BY number LIMIT :page",
                number=number,
                page=_PAGE,
                **({} if wanted is None else {"states": wanted}),
            )
            for row in rows:
                yield read_entry(row)
            if len(rows) < _PAGE:
                return
            number = rows[-1]["number"]

    async def export(self) -> AsyncIterator[str]:
        """Return each entry as JSON, without its token and without what signs its URLs."""
        async for entry in self.entries():
            yield entry_to_json(entry)

    async def counts(self) -> Mapping[State, int]:
        """Return the number of entries in each state, zeros included."""
        rows = await self.execute(
            "SELECT state, count(*) AS entries FROM akool_ledger.entry"
            " WHERE account = :account GROUP BY state"
        )
        return {**dict.fromkeys(State, 0), **{State(row["state"]): row["entries"] for row in rows}}

    async def count_unreleased(self) -> tuple[int, int]:
        """Return how many planned entries nobody pays for yet: of an `enqueue` that did not end, of moves."""
        rows = await self.execute(
            f"SELECT count(*) FILTER (WHERE starts_with(hold, '{ENTERING}')) AS entering,"
            f" count(*) FILTER (WHERE starts_with(hold, '{MOVING}')) AS moving FROM akool_ledger.entry"
            " WHERE account = :account AND hold <> '' AND state = 'planned'"
        )
        return int(rows[0]["entering"]), int(rows[0]["moving"])

    async def count_last_doubts(self) -> int:
        """Return how many entries in doubt were submitted after the last one that the vendor answered."""
        rows = await self.execute(
            "SELECT count(*) AS doubts FROM akool_ledger.entry WHERE account = :account"
            " AND state = 'in_doubt' AND submitted_at > coalesce("
            " (SELECT max(submitted_at) FROM akool_ledger.entry WHERE account = :account"
            " AND (job_id <> '' OR (state = 'failed' AND code IS NOT NULL))), '-infinity')"
        )
        return int(rows[0]["doubts"])

    async def refused_as_paid(self) -> frozenset[tuple[str, str]]:
        """Return key and language of each entry that was refused because its work is paid already."""
        rows = await self.execute(
            "SELECT key, target FROM akool_ledger.entry"
            " WHERE account = :account AND state = 'failed' AND paid_already"
        )
        return frozenset((row["key"], row["target"]) for row in rows)

    async def credits(self) -> tuple[float, float]:
        """Return the credits that are locked and used."""
        rows = await self.execute(
            "SELECT coalesce(sum(credits_locked) FILTER (WHERE credits_used IS NULL"
            " AND state NOT IN ('planned', 'failed')), 0) AS locked,"
            " coalesce(sum(coalesce(credits_used, 0) + credits_before), 0) AS used"
            " FROM akool_ledger.entry WHERE account = :account"
        )
        return rows[0]["locked"], rows[0]["used"]

    async def count_unpriced(self) -> int:
        """Return how many jobs there are, made and not failed, whose price the vendor did not say."""
        rows = await self.execute(
            "SELECT count(*) AS jobs FROM akool_ledger.entry WHERE account = :account AND job_id <> ''"
            " AND state NOT IN ('planned', 'failed') AND credits_used IS NULL AND credits_locked IS NULL"
        )
        return int(rows[0]["jobs"])

    async def count_shortfalls(self) -> tuple[int, int]:
        """Return how many saved entries could not be verified, and how many lack a file such as subtitles."""
        rows = await self.execute(
            "SELECT count(*) FILTER (WHERE reason LIKE :unverified OR reason LIKE :neither) AS unverified,"
            " count(*) FILTER (WHERE reason LIKE :incomplete OR reason LIKE :neither) AS incomplete"
            " FROM akool_ledger.entry WHERE account = :account AND state = 'delivered' AND reason <> ''",
            unverified=f"{UNVERIFIED}%",
            incomplete=f"{INCOMPLETE}%",
            neither=f"{UNVERIFIED_INCOMPLETE}%",
        )
        return int(rows[0]["unverified"]), int(rows[0]["incomplete"])

    # Workers.

    async def heartbeat(self, name: str, *, host: str, pid: int, state: str) -> None:
        """Record that a worker is alive."""
        await self.execute(
            "INSERT INTO akool_ledger.worker (account, name, host, pid, started_at, seen_at, state)"
            " VALUES (:account, :name, :host, :pid, now(), now(), :state)"
            " ON CONFLICT (account, name) DO UPDATE SET host = :host, seen_at = now(), state = :state,"
            " started_at = CASE WHEN worker.pid = :pid AND worker.state <> 'stopped'"
            " THEN worker.started_at ELSE now() END, pid = :pid",
            name=name,
            host=host,
            pid=pid,
            state=state,
        )

    async def workers(self) -> tuple[WorkerRow, ...]:
        """Return the workers that were seen, by name, with the number of entries that each works on."""
        rows = await self.execute(
            "SELECT name, host, pid, started_at, seen_at, state,"
            " CAST(extract(epoch FROM now() - seen_at) AS double precision) AS silent_for,"
            " (SELECT count(*) FROM akool_ledger.entry e WHERE e.account = w.account AND e.worker = w.name"
            " AND e.state IN ('submitting', 'submitted', 'completed')) AS entries,"
            " EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.datname = current_database()"
            " AND a.application_name = left('akool/' || w.name, 63))"
            " AS connected FROM akool_ledger.worker w"
            " WHERE account = :account ORDER BY name"
        )
        return tuple(WorkerRow(**row) for row in rows)

    async def assign(
        self, key: str, target: str, worker: str, *, generation: int | None = None
    ) -> Entry | None:
        """Record which worker waits for the job of an entry, and return the entry, or None.

        With `generation`, None also if the entry was begun anew since: another workflow has it.
        """
        this = f"{THIS} AND coalesce(:generation, generation) = generation"
        # One transaction: after a restart this is most of what thousands of jobs cost.
        rows = await self.execute(
            f"WITH mine AS (UPDATE akool_ledger.entry SET worker = :worker{this}"
            " AND state = 'submitted' AND :worker NOT IN (worker, ''))"
            f" {READ}{this}",
            key=key,
            target=target,
            worker=worker,
            generation=generation,
        )
        return read_entry(rows[0]) if rows else None


def storable(value: Any) -> Any:
    """Return a value that Postgres can hold; the vendor's answer must not be lost over a character."""
    match value:
        case str():  # NUL and halves of surrogate pairs are refused
            return value.replace("\x00", "").encode("utf-8", "replace").decode()
        case bool():
            return value
        case int():
            return dump_int(value)
        case float():  # larger ones could not be added up, and every later budget would fail
            return dump_float(value)
        case datetime():
            return in_utc(value)
        case list() | tuple():
            return [storable(one) for one in value]
        case dict():
            return {storable(name): storable(one) for name, one in value.items()}
    return value


def to_json(value: Any) -> str:
    """Return a value as JSON that Postgres can hold."""
    return json.dumps(storable(value))


def read_entry(row: Mapping[str, Any] | sa.RowMapping) -> Entry:
    """Return a row that `READ` selects as an entry."""
    fields = {name: row[name] for name in _FIELDS}
    fields |= {
        "state": State(fields["state"]),
        "request": from_wire(fields["request"]),
        "files": tuple(fields["files"]),
        "doubt_ids": tuple(fields["doubt_ids"]),
        "snapshot": None if fields["snapshot"] is None else load_snapshot(json.dumps(fields["snapshot"])),
    }
    return Entry(**fields)
