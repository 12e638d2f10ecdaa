"""`akool-async credit`."""

from __future__ import annotations

import sys
from typing import Annotated

import anyio
from cyclopts import Parameter

from akool_async.cli import exits
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.listing import told, write_json, write_lines


def credit(
    *, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False, connection: Connection = USUAL
) -> int:
    """Tell the account's balance, in credits.

    Parameters
    ----------
    as_json
        Give a JSON object. Without it a program that reads this gets the number alone.
    """
    found = anyio.run(_found, connection)
    if as_json:
        write_json({"credit": found})
    else:
        write_lines([f"{told(found)} credits" if sys.stdout.isatty() else told(found)])
    return exits.OK


async def _found(connection: Connection) -> float:
    async with connection.client() as client:
        return await client.credit()
