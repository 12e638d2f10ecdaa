"""The journal: one SQLite file that knows every paid job, over every crash."""

from akool_async._journal.entry import Entry, EntryUpdate
from akool_async._journal.journal import IN_PROGRESS, Journal, open_journal

__all__ = ["IN_PROGRESS", "Entry", "EntryUpdate", "Journal", "open_journal"]
