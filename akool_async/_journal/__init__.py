"""The journal: one SQLite file that knows every paid job, over every crash."""

from akool_async._journal.entry import Entry, EntryUpdate, UpdateFields
from akool_async._journal.journal import BatchJournal, Journal, open_journal
from akool_async._journal.reading import EVER, IN_PROGRESS

__all__ = [
    "EVER",
    "IN_PROGRESS",
    "BatchJournal",
    "Entry",
    "EntryUpdate",
    "Journal",
    "UpdateFields",
    "open_journal",
]
