"""Where results come home: a folder, and the journal that stands in it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import attrs
from cyclopts import Parameter

from akool_async._core.errors import InvalidRequest
from akool_async._journal import Journal, open_journal

JOURNAL: Final = "jobs.sqlite3"
INBOX: Final = "inbox.sqlite3"
_OUT: Final = Path("results")


@Parameter(name="*", group="Files")
@attrs.frozen(kw_only=True)
class Home:
    """Options of every command that knows of paid jobs.

    Attributes:
        out: Folder for the results; it is made if it is missing.
        journal: The list of paid jobs; default is jobs.sqlite3 in that folder.
        inbox: What `webhook serve` writes; default is inbox.sqlite3 in that folder.
    """

    out: Path = _OUT
    journal: Path | None = None
    inbox: Path | None = None

    @property
    def path(self) -> Path:
        """The journal's file."""
        return self.out / JOURNAL if self.journal is None else self.journal

    @property
    def inbox_path(self) -> Path:
        """The inbox's file, which need not be there."""
        return self.out / INBOX if self.inbox is None else self.inbox

    def reading(self) -> Journal:
        """Give the journal to be read, which has to be there.

        Raises:
            InvalidRequest: there is none.
        """
        gone = not self.path.exists() and not self.path.with_name(f"{self.path.name}-wal").exists()
        if gone:
            raise InvalidRequest(
                f"There is no journal {self.path}.",
                money="Nothing was sent.",
                advice="Name the folder of the results with --out, or the journal itself with --journal.",
            )
        return open_journal(self.path, read_only=True)

    def command(self, *words: str) -> str:
        """Give the command with these words for the same folder and journal, to be typed into a shell."""
        options = [] if self.out == _OUT else ["--out", str(self.out)]
        options += [] if self.journal is None else ["--journal", str(self.journal)]
        options += [] if self.inbox is None else ["--inbox", str(self.inbox)]
        return shlex.join(["akool-async", *words, *options])


IN_RESULTS: Final = Home()
"""What holds without options."""
