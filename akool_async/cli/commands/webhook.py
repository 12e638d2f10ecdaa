"""`akool-async webhook serve`: receive the vendor's webhooks into an inbox, or for a ledger's workers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import attrs
from anyio.from_thread import BlockingPortal, start_blocking_portal
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._download import local_path
from akool_async._model.errors import AkoolError
from akool_async._model.responses import Callback
from akool_async.cli.commands.worker import Account
from akool_async.cli.console import counted, print_error, print_info, stderr
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import DEFAULT_OUTPUT, INBOX, Duration, Inbox, Length, OutputOptions
from akool_async.webhook.inbox import open_inbox

if TYPE_CHECKING:
    from akool_async.ledger import Ledger
    from akool_async.webhook import WebhookReceiver

_PAUSE: Final = 2.0
"""Seconds until a callback that the ledger could not take is passed on again."""

_FINISH: Final = 60.0
"""Seconds at most in which callbacks that have arrived are passed on once the receiver is to stop."""


def webhook_serve(
    *,
    ledger: Annotated[
        str | None,
        Parameter(help="Postgres of a ledger; callbacks go to its workers, and no inbox is written."),
    ] = None,
    account: Account = "default",
    output: OutputOptions = DEFAULT_OUTPUT,
    inbox: Inbox = None,
    bind: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8400,
    max_clock_skew: Length = Duration(minutes=5),
    timestamps: bool = True,
) -> int:
    """Receive the vendor's webhooks until Ctrl-C, and write them to an inbox.

    A run with the same --out reads the inbox: it polls jobs sooner, and resolves doubts. Callbacks that
    arrive while no run is active are kept for the next one. Needs AKOOL_CLIENT_ID, and
    AKOOL_CLIENT_SECRET or AKOOL_API_KEY. Put an https server in front of it, and pass that server's URL to
    runs as --webhook-url.

    With --ledger, a callback resolves the doubt of the POST whose token it has, whichever worker sent it.
    Several machines may run the same command.

    Parameters
    ----------
    inbox
        File for the callbacks; default is inbox.sqlite3 in the folder for the results.
    bind
        Address to listen on.
    port
        Port to listen on; 0 picks a free one.
    max_clock_skew
        How far the time in a webhook may be from the clock of this machine.
    timestamps
        Begin each line with the time if messages do not go to a terminal.
    """
    stderr.stamped &= timestamps
    from akool_async.webhook import WebhookReceiver  # loads cryptography
    from akool_async.webhook.server import serve

    place = output.local / INBOX if inbox is None else local_path(inbox)
    receiver = WebhookReceiver(
        inbox=place if ledger is None else None, max_clock_skew=max_clock_skew.total_seconds()
    )
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        if ledger is None:
            place.parent.mkdir(parents=True, exist_ok=True)
        listening = socket.create_server((bind, port), family=family)
    except OSError as error:
        what = f"make {error.filename}" if error.filename else f"listen at {bind} port {port}"
        print_error(f"Can't {what}: {error.strerror}. Name others with --out, --bind and --port.")
        return ExitCode.FAILED

    # The socket is bound first: the port is known before the server starts, also when it was 0.
    with listening:
        host, number = listening.getsockname()[:2]
        origin = f"http://{f'[{host}]' if ':' in host else host}:{number}/"
        if ledger is None:
            anyio.run(_try_inbox, place)  # raises what is wrong; the server would only say that it failed
        purpose = f"writing to {place}" if ledger is None else "for the workers of the ledger"
        ready = f"Listening at {origin}, {purpose}. Press Ctrl-C to stop it."
        with nullcontext() if ledger is None else _forwarded(receiver, ledger, account):
            serve(receiver, listening, on_ready=lambda: print_info(ready))
    counts = {name: count for name, count in attrs.asdict(receiver.statistics()).items() if count}
    summary = ", ".join(f"{name} {count}" for name, count in counts.items())
    print_info(f"Stopped. {summary or 'Nothing arrived.'}")
    return ExitCode.OK


async def _try_inbox(place: Path) -> None:
    async with open_inbox(place):
        pass


@contextmanager
def _forwarded(receiver: WebhookReceiver, url: str, account: str) -> Iterator[None]:
    """Pass what a receiver is sent on to the workers of a ledger, in a loop beside the server's."""
    from akool_async.ledger import open_ledger  # needs the extra `dbos`

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_ledger(url, account=account)) as opened,
    ):
        forwarder = _Forwarder(portal, opened)
        unsubscribe = receiver.subscribe(forwarder)
        try:
            yield
        finally:
            unsubscribe()
            forwarder.finish()  # what was answered with 200 comes only once


class _Forwarder:
    """Passes callbacks on to workers, one after the other."""

    def __init__(self, portal: BlockingPortal, ledger: Ledger) -> None:
        self._portal = portal
        self._ledger = ledger
        self._turn = anyio.Lock()
        self._stopped = False
        self._left = set[Future[None]]()

    def on_callback(self, callback: Callback) -> None:
        """Take a callback; called in the server's loop, which must not wait for a database."""
        if callback.token:
            task = self._portal.start_task_soon(self._forward, callback)
            self._left.add(task)
            task.add_done_callback(self._left.discard)

    def finish(self) -> None:
        """Pass on what has arrived; nothing arrives any more, and what fails now is not tried again."""
        self._stopped = True
        for task in (late := wait(self._left.copy(), timeout=_FINISH).not_done):
            task.cancel()
        if late:
            print_error(
                f"{counted(len(late), 'callback')} could not be passed on within {_FINISH:.0f} s. Doubts "
                "that this would have settled stay: `akool-async resolve --ledger URL` shows them."
            )

    async def _forward(self, callback: Callback) -> None:
        from akool_async.workers.dbos import deliver_callback

        while True:
            try:
                async with self._turn:
                    entry = await self._ledger.find_token(callback.token)
                    # Most callbacks are about jobs that are known; their workers poll them anyway.
                    if entry is not None and not entry.job_id:
                        await deliver_callback(self._ledger, callback)
                        print_info(f"Job {callback.job_id} was named for {entry.key} ({entry.target}).")
            except Exception as error:  # noqa: BLE001 - the engine's and the driver's
                why = str(error) if isinstance(error, AkoolError) else type(error).__name__
                print_error(f"The callback about job {callback.job_id} could not be passed on. {why}")
                if self._stopped:
                    return
                await anyio.sleep(_PAUSE)
            else:
                return
