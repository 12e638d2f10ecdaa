"""`akool-async languages`, `voices` and `credit`: what the vendor and the account have."""

from __future__ import annotations

import sys
from typing import Final

from akool_async._client import AkoolClient
from akool_async._model.responses import Voice
from akool_async.cli.catalog.languages import LanguageNames
from akool_async.cli.console import fields_of, format_value, print_info, print_rows, write_json, write_lines
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import DEFAULT_CONNECTION, ConnectionOptions, JsonFlag

_LANGUAGE_COLUMNS: Final = {"code": "Code", "name": "Language", "needs_voice": "Needs a voice"}
_VOICE_COLUMNS: Final = {
    "voice_id": "Voice",
    "language_code": "Code",
    "language": "Language",
    "gender": "Gender",
    "name": "Name",
    "age": "Age",
    "style": "Style",
}
_OPTIONAL: Final = ("age", "language")
"""Columns that a terminal may be too narrow for; the last ones are left out first."""


def languages(*, as_json: JsonFlag = False, connection: ConnectionOptions = DEFAULT_CONNECTION) -> int:
    """List the languages that videos can be translated into.

    Where one needs a voice, name it with --voice; `voices` lists them.
    """
    found = sorted(connection.ask(AkoolClient.languages), key=lambda language: language.code)
    print_rows(map(fields_of, found), _LANGUAGE_COLUMNS, as_json=as_json)
    return ExitCode.OK


def voices(
    *,
    language: str | None = None,
    as_json: JsonFlag = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """List the voices that a translation can name.

    Parameters
    ----------
    language
        Only those of this language, such as ja; `languages` lists the codes.
    """

    async def fetch(client: AkoolClient) -> list[Voice]:
        return [voice async for voice in client.voices(LanguageNames().find(language or "") or language)]

    found = connection.ask(fetch)
    if not found and language is not None:
        print_info(f"There is no voice for {language!r}; `akool-async languages` lists the codes.")
    shown = dict(_VOICE_COLUMNS)
    if language is not None and sys.stdout.isatty():  # each line would say what was asked for
        del shown["language_code"], shown["language"]
    print_rows(map(fields_of, found), shown, as_json=as_json, optional=_OPTIONAL)
    return ExitCode.OK


def credit(*, as_json: JsonFlag = False, connection: ConnectionOptions = DEFAULT_CONNECTION) -> int:
    """Print the account's balance in credits; in a pipe, only the number."""
    balance = connection.ask(AkoolClient.credit)
    if as_json:
        write_json({"credit": balance})
    else:
        unit = " credits" if sys.stdout.isatty() else ""
        write_lines([f"{format_value(balance)}{unit}"])
    return ExitCode.OK
