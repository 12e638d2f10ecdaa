"""Workers on many machines: engines that run what a ledger holds. `akool_async.workers.dbos` needs `dbos`."""
