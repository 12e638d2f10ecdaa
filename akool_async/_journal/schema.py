"""The shape of the file: numbered migrations, each one transaction, and the file's marks."""

from __future__ import annotations

import sqlite3
from typing import Final

APPLICATION_ID: Final = 0x616B6A6C
"""In the file's header: this SQLite file is one of ours ("akjl")."""

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
)
"""The version of a file is the number of migrations that it has seen."""


def version(connection: sqlite3.Connection) -> int:
    """Give the version that the file says."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def application(connection: sqlite3.Connection) -> int:
    """Give whose file it says to be."""
    return int(connection.execute("PRAGMA application_id").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version, in one transaction: all of it or nothing."""
    before = version(connection)
    if before == len(MIGRATIONS):
        return
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
