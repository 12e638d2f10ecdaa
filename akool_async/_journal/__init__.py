"""The journal: one SQLite file that knows every paid job, over every crash."""

from akool_async._journal.change import Change
from akool_async._journal.entry import Entry
from akool_async._journal.journal import Journal, open_journal
from akool_async._journal.passing import Passing

__all__ = ["Change", "Entry", "Journal", "Passing", "open_journal"]
