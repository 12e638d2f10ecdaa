"""`akool-async voices`."""

from __future__ import annotations

from typing import Annotated

import anyio
from cyclopts import Parameter

from akool_async._core.models import Voice
from akool_async.cli import exits
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.listing import fields_of, show
from akool_async.cli.talk import say

_COLUMNS = {
    "voice_id": "Voice",
    "language_code": "Code",
    "gender": "Gender",
    "name": "Name",
    "age": "Age",
    "style": "Style",
}


def voices(
    *,
    language: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = USUAL,
) -> int:
    """List the voices that a translation can name.

    Parameters
    ----------
    language
        Only those of this language, such as ja; `languages` lists the codes.
    as_json
        Give one JSON array. Without it a program that reads this gets fields between tabs.
    """
    found = anyio.run(_found, connection, language)
    if not found and language is not None:
        say(f"There is no voice for {language!r}; `akool-async languages` lists the codes.")
    show(map(fields_of, found), _COLUMNS, as_json=as_json)
    return exits.OK


async def _found(connection: Connection, language: str | None) -> list[Voice]:
    async with connection.client() as client:
        return [voice async for voice in client.voices(language)]
