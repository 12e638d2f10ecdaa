"""`akool-async languages`."""

from __future__ import annotations

from typing import Annotated

import anyio
from cyclopts import Parameter

from akool_async._core.models import Language
from akool_async.cli import exits
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.listing import fields_of, show

_COLUMNS = {"code": "Code", "name": "Language", "needs_voice": "Needs a voice"}


def languages(
    *, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False, connection: Connection = USUAL
) -> int:
    """List the languages that videos can be translated into.

    Where one needs a voice, name it with --voice; `voices` lists them.

    Parameters
    ----------
    as_json
        Give one JSON array. Without it a program that reads this gets fields between tabs.
    """
    found = anyio.run(_found, connection)
    show(map(fields_of, sorted(found, key=lambda one: one.code)), _COLUMNS, as_json=as_json)
    return exits.OK


async def _found(connection: Connection) -> tuple[Language, ...]:
    async with connection.client() as client:
        return await client.languages()
