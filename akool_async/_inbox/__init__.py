"""The inbox: one SQLite file into which receivers write callbacks and out of which a batch reads them."""

from akool_async._inbox.file import InboxFile
from akool_async._inbox.inbox import Inbox, open_inbox

__all__ = ["Inbox", "InboxFile", "open_inbox"]
