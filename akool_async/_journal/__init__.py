"""The journal: one SQLite file that knows every paid job, over every crash."""

from akool_async._journal.change import Change
from akool_async._journal.entry import Entry
from akool_async._journal.journal import Journal, open_journal

__all__ = ["Change", "Entry", "Journal", "open_journal"]
