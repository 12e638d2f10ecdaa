"""Workers on many machines: engines that run what a ledger holds. `akool_async.workers.dbos` needs `dbos`."""

from akool_async._environment import needs_extra

with needs_extra("dbos", "Workers on DBOS"):  # here, for all modules of this package
    import dbos as _dbos  # noqa: F401 - only looked for
    import sqlalchemy as _sqlalchemy  # noqa: F401 - likewise
