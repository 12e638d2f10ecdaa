"""`akool-async webhook serve`: receive the vendor's webhooks into an inbox."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Annotated

import anyio
import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async.cli.console import print_error, print_info, stderr
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import DEFAULT_OUTPUT, OutputOptions
from akool_async.webhook.inbox import open_inbox


def webhook_serve(
    *,
    output: OutputOptions = DEFAULT_OUTPUT,
    bind: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8400,
    max_clock_skew: timedelta = timedelta(minutes=5),
    timestamps: bool = True,
) -> int:
    """Receive the vendor's webhooks until Ctrl-C, and write them to an inbox.

    A run with the same --out reads the inbox: it polls jobs sooner, and resolves doubts. Callbacks that
    arrive while no run is active are kept for the next one. Needs AKOOL_CLIENT_ID, and
    AKOOL_CLIENT_SECRET or AKOOL_API_KEY. Put an https server before it, and give that one's URL to runs
    as --webhook-url.

    Parameters
    ----------
    bind
        Address to listen on.
    port
        Port to listen on; 0 picks a free one.
    max_clock_skew
        How far the time in a webhook may be from the clock of this machine.
    timestamps
        Begin each line with the time, where messages do not go to a terminal.
    """
    stderr.stamped &= timestamps
    from akool_async.webhook import WebhookReceiver  # loads cryptography
    from akool_async.webhook.server import serve

    receiver = WebhookReceiver(inbox=output.inbox_path, max_clock_skew=max_clock_skew.total_seconds())
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        output.inbox_path.parent.mkdir(parents=True, exist_ok=True)
        listening = socket.create_server((bind, port), family=family)
    except OSError as error:
        what = f"make {error.filename}" if error.filename else f"listen at {bind} port {port}"
        print_error(f"Can't {what}: {error.strerror}. Name others with --out, --bind and --port.")
        return ExitCode.FAILED

    async def try_inbox() -> None:
        async with open_inbox(output.inbox_path):
            pass

    # The socket is bound first: the port is known before the server starts, also when it was 0.
    with listening:
        anyio.run(try_inbox)  # raises what is wrong with it; the server would only say that it failed
        host, number = listening.getsockname()[:2]
        origin = f"http://{f'[{host}]' if ':' in host else host}:{number}/"
        ready = f"Listening at {origin}, writing to {output.inbox_path}. Press Ctrl-C to stop it."
        serve(receiver, listening, on_ready=lambda: print_info(ready))
    counts = {name: count for name, count in attrs.asdict(receiver.statistics()).items() if count}
    summary = ", ".join(f"{name} {count}" for name, count in counts.items())
    print_info(f"Stopped. {summary or 'Nothing arrived.'}")
    return ExitCode.OK
