"""`akool-async doctor`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any, Final

import anyio
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from akool_async.cli import exits
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.doctor import Finding, Level, examine
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.listing import show, told

_COLUMNS: Final = {"level": "", "what": "", "found": "", "advice": ""}
_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.BAD: "bold red"}


def doctor(
    *,
    home: Home = IN_RESULTS,
    connection: Connection = USUAL,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Look at what a run needs: credentials, host, clock, folder, journal, versions.

    Nothing is sent that costs anything, and nothing is changed. The exit code is 0 if nothing is bad, 3 if
    the credentials or the account are, else 1.

    Parameters
    ----------
    as_json
        Give one JSON array. Without it a program that reads this gets fields between tabs.
    """
    findings = anyio.run(_findings, connection, home)
    if as_json or not sys.stdout.isatty():
        show([_told(finding) for finding in findings], _COLUMNS, as_json=as_json)
    else:
        _show(findings)
    bad = [finding for finding in findings if finding.level is Level.BAD]
    if any(finding.account for finding in bad):
        return exits.ACCOUNT
    return exits.FAILED if bad else exits.OK


async def _findings(connection: Connection, home: Home) -> list[Finding]:
    return [finding async for finding in examine(connection, home)]


def _told(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in _COLUMNS}


def _show(findings: Iterable[Finding]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        words = Text(told(finding.found))
        if finding.advice:
            words.append(f"\n{told(finding.advice)}", style="dim")
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), finding.what, words)
    Console(highlight=False).print(table)
