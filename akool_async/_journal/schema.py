"""The tables of a journal, and how an older file gets them."""

from __future__ import annotations

import sqlite3
from typing import Final

from akool_async._journal.table import CONTENT, HAS_CONTENT, MILLIONTHS, MOST_CREDITS

APPLICATION_ID: Final = 0x616B6A6C
"""In the file's header: this SQLite file is one of ours ("akjl")."""


def _millionths(amount: str) -> str:
    limited = f"min(max(CAST({amount} AS REAL), -{MOST_CREDITS}), {MOST_CREDITS})"
    return f"CAST(round({limited} * {MILLIONTHS}) AS INTEGER)"


def _costs(row: str) -> tuple[str, str, str]:
    """Return in SQL what `EntryRow.cost` returns."""
    locked = _millionths(f"coalesce({row}.credits_locked, 0)")
    free = f"{row}.credits_used IS NOT NULL OR {row}.state IN ('planned', 'failed')"
    used = _millionths(f"coalesce({row}.credits_used, 0) + {row}.credits_before")
    made = f"{row}.state IN ('submitted', 'completed', 'delivered', 'expired')"
    unpriced = f"({made} AND {row}.credits_locked IS NULL AND {row}.credits_used IS NULL)"
    return f"CASE WHEN {free} THEN 0 ELSE {locked} END", used, unpriced


def _add_to_totals(row: str, times: int) -> str:
    changes = ", ".join(f"{times} * {cost}" for cost in ("1", *_costs(row)))
    return f"""
        INSERT INTO totals VALUES ({row}.state, {changes})
        ON CONFLICT (state) DO UPDATE SET entries = entries + excluded.entries,
            locked = locked + excluded.locked, used = used + excluded.used,
            unpriced = unpriced + excluded.unpriced;
    """  # noqa: S608 - our own words


_SUMS: Final = ", ".join(f"CAST(total({cost}) AS INTEGER)" for cost in _costs("entry"))
COUNT_ROWS: Final = (
    f"INSERT INTO totals SELECT state, count(*), {_SUMS} FROM entry GROUP BY state",  # noqa: S608 - ours
    # Triggers, so that no write leaves the totals behind, not even one by hand in a shell of SQLite.
    f"CREATE TRIGGER entry_added AFTER INSERT ON entry BEGIN {_add_to_totals('new', 1)} END",
    f"CREATE TRIGGER entry_removed AFTER DELETE ON entry BEGIN {_add_to_totals('old', -1)} END",
    f"""
    CREATE TRIGGER entry_changed AFTER UPDATE OF state, credits_locked, credits_used, credits_before ON entry
    BEGIN {_add_to_totals("old", -1)} {_add_to_totals("new", 1)} END
    """,
)
"""Entries and credits by state, kept with every write: to count a million rows takes a second."""

DROP_TRIGGERS: Final = tuple(f"DROP TRIGGER entry_{what}" for what in ("added", "removed", "changed"))

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE entry (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL,
            target TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            state TEXT NOT NULL,
            request TEXT NOT NULL,
            stripped INTEGER NOT NULL DEFAULT 0,
            token TEXT NOT NULL DEFAULT '',
            job_id TEXT NOT NULL DEFAULT '',
            paid INTEGER NOT NULL DEFAULT 0,
            credits_locked REAL,
            credits_used REAL,
            credits_before REAL NOT NULL DEFAULT 0,
            reason TEXT NOT NULL DEFAULT '',
            code INTEGER,
            created_at TEXT,
            submitted_at TEXT,
            ended_at TEXT,
            expires_at TEXT,
            files TEXT NOT NULL DEFAULT '[]',
            snapshot TEXT,
            doubt_ids TEXT NOT NULL DEFAULT '[]',
            updated_at TEXT NOT NULL,
            UNIQUE (key, target)
        )
        """,
        "CREATE INDEX entry_state ON entry (state)",
        "CREATE INDEX entry_token ON entry (token) WHERE token <> ''",
        "CREATE INDEX entry_job ON entry (job_id) WHERE job_id <> ''",
        "CREATE INDEX entry_expiry ON entry (expires_at) WHERE state IN ('submitted', 'completed')",
    ),
    (
        "ALTER TABLE entry ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE entry ADD COLUMN name_folded TEXT NOT NULL DEFAULT ''",
        "CREATE UNIQUE INDEX entry_name ON entry (name_folded) WHERE name_folded <> ''",
    ),
    (
        "CREATE TABLE watermark (journal TEXT NOT NULL, intents INTEGER NOT NULL)",
        "INSERT INTO watermark VALUES (lower(hex(randomblob(8))), 0)",
    ),
    ("ALTER TABLE entry ADD COLUMN traceparent TEXT NOT NULL DEFAULT ''",),
    (
        """
        CREATE TABLE totals (
            state TEXT PRIMARY KEY, entries INTEGER NOT NULL, locked INTEGER NOT NULL, used INTEGER NOT NULL,
            unpriced INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        *COUNT_ROWS,
    ),
    ("CREATE INDEX entry_work ON entry (fingerprint)",),
    (
        "ALTER TABLE entry ADD COLUMN doubts_before INTEGER NOT NULL DEFAULT 0",
        # Which earlier POSTs were doubts was not written, so all whose cost is not known count as such.
        "UPDATE entry SET doubts_before = max(paid - (state <> 'planned') - (credits_before > 0), 0)",
    ),
    (
        "ALTER TABLE entry ADD COLUMN candidate_ids TEXT NOT NULL DEFAULT '[]'",
        # Which answer named them was not written: certain only where there was one POST.
        "UPDATE entry SET candidate_ids = doubt_ids WHERE state = 'in_doubt' AND paid = 1",
    ),
    (f"CREATE INDEX entry_content ON entry ({CONTENT}) WHERE {HAS_CONTENT}",),
    (
        # The POSTs of an entry before its last one, and what was called not made: callbacks may name a job.
        """
        CREATE TABLE earlier_post (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL,
            target TEXT NOT NULL,
            state TEXT NOT NULL,
            token TEXT NOT NULL,
            job_id TEXT NOT NULL,
            submitted_at TEXT,
            candidate_ids TEXT NOT NULL,
            callback_ids TEXT NOT NULL DEFAULT '[]'
        )
        """,
        "CREATE INDEX earlier_post_entry ON earlier_post (key, target)",
        "CREATE INDEX earlier_post_token ON earlier_post (token) WHERE token <> ''",
        "CREATE INDEX earlier_post_job ON earlier_post (job_id) WHERE job_id <> ''",
        # When these were sent was not written.
        """
        INSERT INTO earlier_post (key, target, state, token, job_id, submitted_at, candidate_ids)
        SELECT key, target, state, token, '', NULL, '[]' FROM entry WHERE state = 'planned' AND token <> ''
        """,
    ),
)
"""The version of a file is the number of migrations that it has seen."""


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return a number that is in the header of the file."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version, in one transaction: all of it or nothing."""
    before = pragma(connection, "user_version")
    if before == len(MIGRATIONS):
        return
    # The write lock at once: a second program that migrates waits, instead of failing half-way.
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in MIGRATIONS[before:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
