"""The durable list of paid work that many machines share: rows in Postgres, consumed by compare-and-set.

Needs the extra `ledger`. No engine is needed: call `submit_once` from any queue or workflow.
"""

from akool_async._environment import needs_extra
from akool_async._journal import EntryUpdate

with needs_extra("ledger", "Ledgers"):
    from akool_async.ledger.database import LedgerError
    from akool_async.ledger.entries import WorkerRow
    from akool_async.ledger.ledger import Ledger, LostAnswer, Made, NotSent, Refused, Submitted, open_ledger
    from akool_async.ledger.plans import Entering

__all__ = [
    "Entering",
    "EntryUpdate",
    "Ledger",
    "LedgerError",
    "LostAnswer",
    "Made",
    "NotSent",
    "Refused",
    "Submitted",
    "WorkerRow",
    "open_ledger",
]
