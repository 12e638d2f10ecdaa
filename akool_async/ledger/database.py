"""The database of a ledger: connections, and one short transaction in a thread for each operation."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar

import anyio
import sqlalchemy as sa
from anyio.to_thread import run_sync
from psycopg.errors import UniqueViolation
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from akool_async import _clock
from akool_async._background import spawn
from akool_async._clock import Clock
from akool_async._model.errors import AkoolError, ConfigurationError
from akool_async._model.redact import Secret, sanitize
from akool_async._model.validators import not_negative, text, whole_number

T = TypeVar("T")
_POOL: Final = 8

CLIENT_SETTINGS: Final[Mapping[str, Any]] = {
    "client_encoding": "utf8",
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""All letters, whatever PGCLIENTENCODING says. A network that went silent ends a statement, which would wait
for the two hours of TCP's default."""

_SERVER_SETTINGS: Final = """
    SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '3', false),
        set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '15000', false),
        set_config('idle_in_transaction_session_timeout', '60000', false),
        set_config('default_transaction_isolation', 'read committed', false),
        set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, YMD', false),
        CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', false) END
"""
"""A machine that vanished or was frozen gives its locks back within a minute, and no other waits longer. An
intent is on the server's disk before its POST is sent: forgotten in a crash, it would be paid twice. Moments
are shown in a form that can be read: those at the ends of the calendar have none in other time zones.
"""

_TRIES: Final = 20
_COLLIDED: Final = ("40001", "40P01")
"""Serialization failures and deadlocks, as of two machines that enter the same rows in another order."""


def connect(url: sa.URL, *, name: str | None = None, **options: Any) -> sa.Engine:
    """Return an engine whose connections end when the other side vanished, with SQLAlchemy's own options.

    The connections of a worker show its name in `pg_stat_activity`.
    """
    given: dict[str, Any] = {} if name is None else {"application_name": f"akool/{name}"}
    # The engine's repr shows all of its URL but the usual password.
    for key_password in url.normalized_query.get("sslpassword", ()):
        given["sslpassword"] = key_password
    engine = sa.create_engine(
        url.difference_update_query(["sslpassword"]),
        # Whatever the database prefers: a snapshot from before an account's lock was waited for would not
        # see what others reserved meanwhile, and the budget would be spent twice.
        isolation_level="READ COMMITTED",
        connect_args={**CLIENT_SETTINGS, **given},
        hide_parameters=True,
        **options,
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        connection.execute(_SERVER_SETTINGS)
        connection.commit()

    return engine


class LedgerError(AkoolError):
    """The ledger's database could not be reached, or refused an operation; nothing is sent without it."""

    impact = "Nothing is submitted while the ledger can't be written; what is paid stays recorded."
    advice = "Check the database and its URL, then run the same again."


class LedgerDatabase:
    """What each part of a ledger needs; `open_ledger` describes the arguments."""

    def __init__(
        self,
        url: str,
        *,
        account: str = "default",
        max_credits: float | None = None,
        max_in_flight: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        try:
            parsed = make_url(url)
            # Both schemes are libpq's; providers hand out either.
            ours = parsed.drivername.partition("+")[0] in ("postgresql", "postgres")
            # The end of a password with an "@" that is not escaped would be shown as a host.
            if not ours or "@" in f"{parsed.host}{parsed.database}":
                raise ArgumentError  # noqa: TRY301 - one handler for each wrong URL
            # As libpq chooses, which takes the last one of the query.
            *_, password = (parsed.password, *parsed.normalized_query.get("password", ()))
            *_, key_password = ("", *parsed.normalized_query.get("sslpassword", ()))
            self._url = parsed.difference_update_query(["password", "sslpassword"]).set(
                drivername="postgresql+psycopg", password=password
            )
            self._key_password = Secret(key_password)
        except (ArgumentError, ValueError, NoSuchModuleError):
            raise ConfigurationError(
                "The ledger's URL must be like postgresql://user@host/database.",
                advice="In a password @ is written as %40.",
            ) from None
        if max_credits != math.inf:
            not_negative.or_none.check("max_credits", max_credits)
        whole_number.or_none.check("max_in_flight", max_in_flight)
        text.check("account", account)
        self.account = account
        self._max_credits = max_credits
        self._max_in_flight = max_in_flight
        self.clock: Clock = _clock.default_clock() if clock is None else _clock.check_clock(clock)
        self._engine: sa.Engine | None = None
        self._under_way = 0
        self._idle = anyio.Event()

    @property
    def url(self) -> sa.URL:
        """Where the database is, with its passwords; of them `sslpassword` is in its repr, too."""
        key_password = self._key_password.reveal()
        return self._url.update_query_dict({"sslpassword": key_password} if key_password else {})

    def __repr__(self) -> str:
        """Show the database without its password, and without settings, which may hold others."""
        shown = self._url.set(query={}).render_as_string(hide_password=True)
        return f"<Ledger {shown} of {self.account!r}>"

    def __getstate__(self) -> NoReturn:
        """Refuse: a pickle would carry the password to wherever it is sent."""
        raise TypeError("A ledger can't be pickled, because the pickle would contain its password.")

    def command(self, name: str, key: str = "") -> str:
        """Return a command for a shell that works on this account, and on an entry, as messages name it."""
        options = ["--ledger", "URL", *([] if self.account == "default" else [f"--account={self.account}"])]
        words = [*options, "--", key] if key.startswith("-") else [*filter(None, [key]), *options]
        return shlex.join(["akool-async", name, *words])

    async def __aenter__(self) -> Self:
        """Connect, and bring the tables up to date.

        Raises:
            RuntimeError: it is open already.
            LedgerError: the database can't be reached, or a newer version of this package wrote it.
        """
        if self._engine is not None:
            raise RuntimeError("This ledger is open already.")
        self._engine = connect(
            self.url, pool_size=_POOL, max_overflow=0, pool_timeout=600, pool_pre_ping=True
        )
        self._threads = anyio.CapacityLimiter(_POOL)
        try:
            await self._prepare()
        except BaseException:  # a cancelled caller, too, leaves no connection open
            self._engine.dispose()
            self._engine = None
            raise
        return self

    async def _prepare(self) -> None:
        # By the first that opens it; the others wait for its lock and find nothing to do.
        version = await self.run_transaction(migrate)
        if version > len(MIGRATIONS):
            raise LedgerError(
                f"The ledger has version {version}, this program knows {len(MIGRATIONS)}.",
                advice="Install the version that wrote it, or a newer one.",
            )
        await self.execute("INSERT INTO akool_ledger.account (name) VALUES (:account) ON CONFLICT DO NOTHING")
        if self._max_credits is not None:
            await self.execute(
                "UPDATE akool_ledger.account SET max_credits = :most WHERE name = :account",
                most=None if self._max_credits == math.inf else self._max_credits,
            )
        if self._max_in_flight is not None:
            await self.execute(
                "UPDATE akool_ledger.account SET max_in_flight = :most WHERE name = :account",
                most=self._max_in_flight,
            )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections, once what became of each paid call under way is recorded."""
        try:
            with anyio.CancelScope(shield=True):
                while self._under_way:
                    self._idle = anyio.Event()
                    await self._idle.wait()
        finally:
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.dispose()

    async def finish(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do work to its end though the caller is cancelled; closing waits for it.

        A shield alone does not hold back asyncio's own cancellation, as of `asyncio.wait_for`.
        """
        ended, found, failed = anyio.Event(), list[T](), list[Exception]()

        async def run() -> None:
            try:
                with anyio.CancelScope(shield=True):
                    found.append(await work())
            except Exception as error:  # noqa: BLE001 - the caller's
                failed.append(error)
            finally:
                self._under_way -= 1
                self._idle.set()
                ended.set()

        self._under_way += 1
        spawn(run)
        with anyio.CancelScope(shield=True):
            await ended.wait()
        if failed:
            raise failed[0]
        return found[0]

    async def run_transaction(
        self, work: Callable[[sa.Connection], T], *, single: bool = False, engine: sa.Engine | None = None
    ) -> T:
        """Run one transaction in a thread; it is finished even if the caller is cancelled.

        One that collided with another machine's was rolled back, and is run again: `work` may run twice.
        With `single`, `work` executes one statement: it is a transaction without two more round trips.
        With `engine`, it is run on a connection of that one.

        Raises:
            LedgerError: it failed; whether it was committed is not known if the connection was lost.
        """
        if self._engine is None:
            raise LedgerError("The ledger is not open.", advice="Use it inside: async with open_ledger(...).")

        engine = engine or self._engine
        if single:
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")

        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        for attempt in itertools.count(1):
            try:
                return await run_sync(transaction, limiter=self._threads)
            except SQLAlchemyError as error:
                if attempt == _TRIES or not _has_collided(error):
                    why = str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]
                    failed = LedgerError(f"The ledger's database failed: {sanitize(why)}.")
                    failed.__cause__ = error if isinstance(error, IntegrityError) else None
                    raise failed from failed.__cause__
            await self.clock.sleep(0.1 * self.clock.random())
        raise AssertionError

    async def execute(self, statement: str, **values: Any) -> list[Mapping[str, Any]]:
        """Run one statement of its own; `:account` is the ledger's. Return its rows."""

        def work(connection: sa.Connection) -> list[Mapping[str, Any]]:
            done = connection.execute(parse(statement), {"account": self.account, **values})
            return [dict(row) for row in done.mappings()] if done.returns_rows else []

        return await self.run_transaction(work, single=True)


@lru_cache(maxsize=256)
def parse(statement: str) -> sa.TextClause:
    """Return a statement with its parameters found: there are few, and finding them took 0.1 ms each time."""
    return sa.text(statement)


def _has_collided(error: SQLAlchemyError) -> bool:
    """Whether a transaction was rolled back only because another one ran at the same time."""
    orig = getattr(error, "orig", None)
    # The file name that it chose was reserved by another meanwhile: run again, it chooses the next one.
    name_is_taken = isinstance(orig, UniqueViolation) and orig.diag.constraint_name == "entry_name"
    return getattr(orig, "sqlstate", None) in _COLLIDED or name_is_taken


MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE akool_ledger.account (
        name text PRIMARY KEY, max_credits double precision, max_in_flight integer
    );
    CREATE TABLE akool_ledger.entry (
        number bigserial, account text NOT NULL, key text NOT NULL, target text NOT NULL,
        fingerprint text NOT NULL, state text NOT NULL, request jsonb NOT NULL,
        url_redacted boolean NOT NULL DEFAULT false,
        name text NOT NULL DEFAULT '', name_folded text NOT NULL DEFAULT '',
        token text NOT NULL DEFAULT '', job_id text NOT NULL DEFAULT '',
        paid_submissions integer NOT NULL DEFAULT 0, generation integer NOT NULL DEFAULT 0,
        credits_locked double precision, credits_used double precision,
        credits_before double precision NOT NULL DEFAULT 0,
        reason text NOT NULL DEFAULT '', code bigint,
        created_at timestamptz, submitted_at timestamptz, ended_at timestamptz, expires_at timestamptz,
        files jsonb NOT NULL DEFAULT '[]', snapshot jsonb, doubt_ids jsonb NOT NULL DEFAULT '[]',
        traceparent text NOT NULL DEFAULT '',
        worker text NOT NULL DEFAULT '', updated_at timestamptz NOT NULL,
        PRIMARY KEY (account, key, target)
    );
    CREATE INDEX entry_state ON akool_ledger.entry (account, state, number);
    CREATE UNIQUE INDEX entry_job ON akool_ledger.entry (account, job_id) WHERE job_id <> '';
    CREATE UNIQUE INDEX entry_name ON akool_ledger.entry (account, name_folded) WHERE name_folded <> '';
    CREATE TABLE akool_ledger.intent (
        token text PRIMARY KEY, account text NOT NULL, key text NOT NULL, target text NOT NULL,
        state text NOT NULL, sender text NOT NULL DEFAULT '', job_id text NOT NULL DEFAULT '',
        at timestamptz NOT NULL,
        FOREIGN KEY (account, key, target) REFERENCES akool_ledger.entry
    );
    CREATE UNIQUE INDEX intent_open ON akool_ledger.intent (account, key, target)
        WHERE state IN ('intended', 'sending', 'made', 'in_doubt');
    CREATE UNIQUE INDEX intent_job ON akool_ledger.intent (account, job_id) WHERE job_id <> '';
    CREATE TABLE akool_ledger.worker (
        account text NOT NULL, name text NOT NULL, host text NOT NULL, pid integer NOT NULL,
        started_at timestamptz NOT NULL, seen_at timestamptz NOT NULL, state text NOT NULL,
        PRIMARY KEY (account, name)
    );
    """,
    """
    ALTER TABLE akool_ledger.intent ADD COLUMN post_ends_at timestamptz;
    """,
    """
    CREATE INDEX entry_work ON akool_ledger.entry (account, fingerprint, target);
    ALTER TABLE akool_ledger.entry ADD COLUMN pay_again boolean NOT NULL DEFAULT false;
    """,
    """
    ALTER TABLE akool_ledger.entry ADD COLUMN doubts_before integer NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE akool_ledger.entry ADD COLUMN hold text NOT NULL DEFAULT '';
    CREATE INDEX entry_hold ON akool_ledger.entry (account, hold) WHERE hold <> '';
    """,
    """
    ALTER TABLE akool_ledger.entry ADD COLUMN paid_already boolean NOT NULL DEFAULT false;
    """,
)
"""What each version adds. One that was released is never changed: another follows it."""

_LOCK: Final = 0x616B6F6F6C
"""Names the lock under which migrations run, so that two machines that start at once don't collide."""


def migrate(connection: sa.Connection) -> int:
    """Bring the tables up to date; return the database's version, which may be a newer one.

    Raises:
        LedgerError: the database can't keep all letters.
    """
    execute = connection.execute
    encoding = execute(sa.text("SHOW server_encoding")).scalar_one()
    # Else a job that is paid could not be recorded, for a word of the vendor in another script.
    if encoding != "UTF8":
        raise LedgerError(
            f"The ledger's database has the encoding {encoding}, which lacks most letters.",
            impact="No table was made, and nothing is submitted.",
            advice="Make another one: CREATE DATABASE akool ENCODING 'UTF8' TEMPLATE template0.",
        )
    execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    execute(sa.text("CREATE SCHEMA IF NOT EXISTS akool_ledger"))
    execute(
        sa.text(
            "CREATE TABLE IF NOT EXISTS akool_ledger.migration"
            " (number integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        )
    )
    found: int = execute(sa.text("SELECT coalesce(max(number), 0) FROM akool_ledger.migration")).scalar_one()
    for number, statements in enumerate(MIGRATIONS[found:], found + 1):
        connection.exec_driver_sql(statements)
        execute(sa.text("INSERT INTO akool_ledger.migration (number) VALUES (:number)"), {"number": number})
    return max(found, len(MIGRATIONS))
