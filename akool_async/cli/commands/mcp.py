"""`akool-async mcp`: an assistant looks up, plans and, within a bound, translates."""

from __future__ import annotations

from typing import Annotated

import anyio
from cyclopts import Parameter

from akool_async._environment import needs_extra
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_OUTPUT,
    ConnectionOptions,
    OutputOptions,
    check_positive,
)


def mcp(
    *,
    output: OutputOptions = DEFAULT_OUTPUT,
    max_credits: Annotated[float | None, Parameter(validator=check_positive)] = None,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Serve an assistant over stdin and stdout (Model Context Protocol), until it disconnects.

    It can look up languages, voices, the balance and jobs, and plan. With --max-credits it can also
    translate. If the assistant's program can ask a person, the person is asked before each payment.

    Parameters
    ----------
    max_credits
        What all jobs of the journal may cost together, earlier ones included. Without it nothing is spent.
    """
    with needs_extra("mcp", "Servers for assistants"):
        from akool_async.cli.mcp_server import build_server, open_toolbox

    async def serve() -> None:
        async with open_toolbox(connection.client(), output, max_credits) as toolbox:
            await build_server(toolbox).run_stdio_async()

    anyio.run(serve)
    return ExitCode.OK
