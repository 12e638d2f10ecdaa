"""What videos were found to be, kept between runs in a small file beside the journal."""

from __future__ import annotations

import json
import logging
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Final

import attrs

from akool_async._model.fingerprint import canonical_url
from akool_async._model.media import MediaFacts

logger = logging.getLogger("akool_async")
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS video (mark TEXT PRIMARY KEY, etag TEXT NOT NULL, facts TEXT NOT NULL)"
)


class FactsCache:
    """Facts by URL and ETag.

    A URL is kept as a hash, made without its signature: nothing of it can be read from the file, and a URL
    that is signed anew is known again. The file may be deleted at any time. One that can't be read or written
    costs some requests and nothing else, so it is reported once and then left alone.

    Args:
        path: the file; None keeps nothing. While its folder is missing, what was found waits in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._waiting: dict[str, tuple[str, MediaFacts]] = {}

    def get(self, url: str) -> tuple[str, MediaFacts] | None:
        """Return the last ETag and the facts that were found with it."""
        if url in self._waiting:
            return self._waiting[url]
        try:
            connection = self._connect(create=False)
            if connection is None:
                return None
            found = connection.execute("SELECT etag, facts FROM video WHERE mark = ?", (_mark(url),))
            row = found.fetchone()
            return None if row is None else (str(row[0]), MediaFacts(**json.loads(row[1])))
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._give_up(error)
            return None

    def put(self, url: str, etag: str, facts: MediaFacts) -> None:
        """Keep what was found; without an ETag nothing could tell whether it is still true."""
        if etag and self._path is not None:
            self._waiting[url] = etag, facts
            self.flush()

    def flush(self) -> None:
        """Write what waits, if the folder is there."""
        try:
            connection = self._connect(create=bool(self._waiting))
            if connection is not None and self._waiting:
                rows = [
                    (_mark(url), etag, json.dumps(attrs.asdict(facts)))
                    for url, (etag, facts) in self._waiting.items()
                ]
                connection.executemany("INSERT OR REPLACE INTO video VALUES (?, ?, ?)", rows)
                self._waiting.clear()
        except (sqlite3.Error, OSError, ValueError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file, which the next call opens again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, *, create: bool) -> sqlite3.Connection | None:
        path = self._path
        if path is None or not path.parent.is_dir() or not (create or path.exists()):
            return None
        if self._connection is None:
            # Each statement by itself, so that no other process waits; what is lost is found out again.
            self._connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute(_TABLE)
        return self._connection

    def _give_up(self, error: Exception) -> None:
        logger.warning("The preflight cache can't be used: %s (%s).", self._path, error)
        self._path = None
        self.close()


def _mark(url: str) -> str:
    return sha256(canonical_url(url).encode("utf-8", "surrogateescape")).hexdigest()
