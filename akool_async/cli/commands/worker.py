"""`akool-async worker` and `workers`: work on what a ledger holds, and show who does."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._model.errors import AkoolError
from akool_async._signals import ending_signals, received_signals
from akool_async.cli.console import ago, print_info, print_rows, stderr
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.next_commands import OptionValue, next_command
from akool_async.cli.options import DEFAULT_CONNECTION, ConnectionOptions, JsonFlag, output_folder

if TYPE_CHECKING:
    from akool_async.ledger import Ledger, WorkerRow

T = TypeVar("T")
LedgerUrl: TypeAlias = Annotated[
    str,
    Parameter(
        name="--ledger",
        env_var="AKOOL_LEDGER",
        help="Postgres that all machines share, as postgresql://user@host/database. A password in it is "
        "safer in AKOOL_LEDGER, which no list of processes shows.",
    ),
]
Account: TypeAlias = Annotated[
    str, Parameter(help="Name of the vendor's account; each has entries of its own.")
]


def on_ledger(account: str) -> dict[str, OptionValue]:
    """Return the options by which a command that a message names works on this account's ledger."""
    return {"--ledger": "URL", "--account": None if account == "default" else account}


def with_ledger(url: str, account: str, call: Callable[[Ledger], Awaitable[T]]) -> T:
    """Return what a function returns of a ledger that is open."""
    from akool_async.ledger import open_ledger  # needs the extra `ledger`

    async def opened() -> T:
        async with open_ledger(url, account=account) as ledger:
            return await call(ledger)

    return anyio.run(opened)


_GRACE: Final = 120.0
_GRACE_FOR_CALLBACKS: Final = 86_400.0
"""Seconds for which a doubt waits for its callback, which comes when the job begins or ends."""

_ALIVE: Final = 20.0
"""Seconds for which a worker that was not heard of is called alive."""


def worker(
    *,
    ledger: LedgerUrl,
    name: str | None = None,
    account: Account = "default",
    out: Path = Path("results"),
    most: Annotated[int, Parameter(validator=Number(gte=1))] = 2000,
    starts_per_minute: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    webhook_url: str | None = None,
    adopt: Annotated[bool, Parameter(negative="")] = False,
    until_done: Annotated[bool, Parameter(negative="")] = False,
    timestamps: bool = True,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Work on what a ledger holds, beside other workers, until SIGTERM or Ctrl-C.

    A stopped worker finishes the paid call under way and begins nothing new; what waits at the vendor is
    resumed when a worker of the same name starts, or taken over by one with --adopt.

    Parameters
    ----------
    name
        Name of this worker, which no other may have at the same time; default is the machine's.
    out
        Folder for the results, or a bucket as s3://bucket/prefix; best one that all machines share: no two
        entries get the same name.
    most
        Entries that this worker works on at once.
    starts_per_minute
        Entries that all workers together begin in a minute.
    webhook_url
        Where the vendor calls back: a `webhook serve --ledger`. A POST in doubt then waits a day for its
        callback; two minutes with --until-done.
    adopt
        Take over the entries of workers that ended.
    until_done
        End when nothing is left to do, instead of waiting for more. While credits, the bound or the key
        keep it from paying for what is left, it says so and waits.
    timestamps
        Begin each line with the time if messages do not go to a terminal.
    """
    stderr.stamped &= timestamps
    connection = connection.with_key()
    called = socket.gethostname() if name is None else name

    async def work() -> None:
        from akool_async.ledger import LedgerError, open_ledger  # needs the extra `dbos`
        from akool_async.workers.dbos import Worker, WorkerSettings

        settings = WorkerSettings(
            name=called,
            into=output_folder(out),
            most=most,
            starts_per_minute=starts_per_minute,
            webhook_url=webhook_url,
            # A worker that is to end does not wait a day for a callback that may never come.
            grace=_GRACE if until_done else _GRACE_FOR_CALLBACKS,
            adopt=adopt,
        )
        async with open_ledger(ledger, account=account) as opened, connection.client() as client:
            running, failure = Worker(opened, client, settings), None

            async def stop_when_done() -> None:
                done = False
                while not done:
                    await anyio.sleep(1.0)
                    # The worker continues, and says itself what it can't do; the next look may succeed.
                    with contextlib.suppress(LedgerError):
                        done = await running.is_done()
                running.stop()

            def stop(_: signal.Signals) -> None:
                print_info(f"Worker {called} is stopping: it begins nothing new.")
                running.stop()

            async with received_signals(ending_signals(), stop), anyio.create_task_group() as tasks:

                def begin() -> None:  # the engine can be asked only once it runs
                    print_info(f"Worker {called} is working.")
                    if until_done:
                        tasks.start_soon(stop_when_done)

                try:
                    await running.run(on_ready=begin)
                except AkoolError as error:
                    failure = error  # raised here, it would come out in a group of errors
                tasks.cancel_scope.cancel()
            if failure is not None:
                raise failure

    anyio.run(work)
    print_info(f"Worker {called} has stopped.")
    return ExitCode.OK


_COLUMNS: Final = {
    "name": "Worker",
    "state": "State",
    "entries": "Entries",
    "host": "Machine",
    "seen": "Heard of",
}


def workers(*, ledger: LedgerUrl, account: Account = "default", as_json: JsonFlag = False) -> int:
    """Show the workers of a ledger: who is alive, and how many entries each works on.

    "running", "stopped" by a signal, "ended" without one, as when it is killed, or "silent" for 20 s. The
    exit code is 1 if none is running, for health checks.
    """
    now = datetime.now(UTC)
    rows = [
        {
            "name": one.name,
            "state": _state(one),
            "entries": one.entries,
            "host": f"{one.host} ({one.pid})",
            "seen": (
                one.seen_at.isoformat(timespec="seconds")
                if as_json
                else ago(now - timedelta(seconds=one.silent_for), now)
            ),
        }
        for one in with_ledger(ledger, account, lambda opened: opened.workers())
    ]
    if not rows and not as_json:
        start = next_command("worker", (), on_ledger(account))
        print_info(f"No worker of account {account} was seen. To start one: {start}")
        return ExitCode.FAILED
    print_rows(rows, _COLUMNS, as_json=as_json)
    return ExitCode.OK if any(row["state"] == "running" for row in rows) else ExitCode.FAILED


def _state(worker: WorkerRow) -> str:
    if worker.state == "stopped":
        return "stopped"
    if not worker.connected:
        return "ended"
    return worker.state if worker.silent_for < _ALIVE else "silent"
