"""`akool-async webhook serve`."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import anyio
import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async.cli import exit_codes as exits
from akool_async.cli.console import print_error, print_info
from akool_async.cli.options import DEFAULT_OUTPUT, OutputOptions
from akool_async.webhook.inbox import open_inbox

if TYPE_CHECKING:
    from akool_async.webhook import WebhookReceiver


def webhook_serve(
    *,
    home: OutputOptions = DEFAULT_OUTPUT,
    bind: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8400,
) -> int:
    """Receive the vendor's webhooks until Ctrl-C, and write what they say into an inbox.

    A run with the same --out reads the inbox: it asks sooner about jobs, and clears up doubts. What comes
    while no run is on is kept for the next one. Needs AKOOL_CLIENT_ID, and AKOOL_CLIENT_SECRET or
    AKOOL_API_KEY. Put an https server before it, and give that one's URL to runs as --webhook-url.

    Parameters
    ----------
    bind
        Address to listen at.
    port
        Port to listen at; 0 takes a free one.
    """
    from akool_async.webhook import WebhookReceiver

    receiver = WebhookReceiver(inbox=home.inbox_path)
    try:
        home.inbox_path.parent.mkdir(parents=True, exist_ok=True)
        listening = socket.create_server(
            (bind, port), family=socket.AF_INET6 if ":" in bind else socket.AF_INET
        )
    except OSError as error:
        what = f"make {error.filename}" if error.filename else f"listen at {bind} port {port}"
        print_error(f"Can't {what}: {error.strerror}. Name others with --out, --bind and --port.")
        return exits.FAILED
    with listening:
        anyio.run(_check, home)
        where, number = listening.getsockname()[:2]
        shown = f"[{where}]" if ":" in where else where
        _serve(receiver, listening, f"Listening at http://{shown}:{number}/, writing to {home.inbox_path}.")
    said = {name: count for name, count in attrs.asdict(receiver.statistics()).items() if count}
    print_info(
        "Stopped. " + (", ".join(f"{name} {count}" for name, count in said.items()) or "Nothing came.")
    )
    return exits.OK


async def _check(home: OutputOptions) -> None:
    """Make the inbox, or tell why it can't be used; the server would only say that it failed."""
    async with open_inbox(home.inbox_path):
        pass


def _serve(receiver: WebhookReceiver, listening: socket.socket, begun: str) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print_info(f"{begun} Ctrl-C stops it.")

    config = uvicorn.Config(
        receiver, log_config=None, access_log=False, server_header=False, lifespan="on", proxy_headers=False
    )
    with suppress(KeyboardInterrupt):  # how uvicorn ends after it has stopped in order
        Server(config).run(sockets=[listening])
