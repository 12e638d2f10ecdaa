"""`akool-async languages`."""

from __future__ import annotations

import sys
from typing import Annotated

import anyio
from cyclopts import Parameter

from akool_async._model.responses import Language, Voice
from akool_async.cli import exit_codes as exits
from akool_async.cli.console import fields_of, format_value, print_info, print_rows, write_json, write_lines
from akool_async.cli.options import DEFAULT_CONNECTION, ConnectionOptions

_COLUMNS = {"code": "Code", "name": "Language", "needs_voice": "Needs a voice"}


def languages(
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """List the languages that videos can be translated into.

    Where one needs a voice, name it with --voice; `voices` lists them.

    Parameters
    ----------
    as_json
        Give one JSON array. Without it a program that reads this gets fields between tabs.
    """
    found = anyio.run(_found, connection)
    print_rows(map(fields_of, sorted(found, key=lambda one: one.code)), _COLUMNS, as_json=as_json)
    return exits.OK


async def _found(connection: ConnectionOptions) -> tuple[Language, ...]:
    async with connection.client() as client:
        return await client.languages()


# `akool-async voices`.


_COLUMNS_VOICES = {
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
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """List the voices that a translation can name.

    Parameters
    ----------
    language
        Only those of this language, such as ja; `languages` lists the codes.
    as_json
        Give one JSON array. Without it a program that reads this gets fields between tabs.
    """
    found = anyio.run(_found_voices, connection, language)
    if not found and language is not None:
        print_info(f"There is no voice for {language!r}; `akool-async languages` lists the codes.")
    print_rows(map(fields_of, found), _COLUMNS_VOICES, as_json=as_json)
    return exits.OK


async def _found_voices(connection: ConnectionOptions, language: str | None) -> list[Voice]:
    async with connection.client() as client:
        return [voice async for voice in client.voices(language)]


# `akool-async credit`.


def credit(
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Tell the account's balance, in credits.

    Parameters
    ----------
    as_json
        Give a JSON object. Without it a program that reads this gets the number alone.
    """
    found = anyio.run(_found_credit, connection)
    if as_json:
        write_json({"credit": found})
    else:
        write_lines([f"{format_value(found)} credits" if sys.stdout.isatty() else format_value(found)])
    return exits.OK


async def _found_credit(connection: ConnectionOptions) -> float:
    async with connection.client() as client:
        return await client.credit()
