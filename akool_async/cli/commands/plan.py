"""`akool-async plan`."""

from __future__ import annotations

import sys
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import anyio
from cyclopts import Parameter

from akool_async._batch import OnInDoubt
from akool_async.cli import exits
from akool_async.cli.catalog import CatalogWrong
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.listing import show, write_json
from akool_async.cli.options import NOTHING_SAID, Options
from akool_async.cli.plan_told import COLUMNS, as_data, in_words, rows
from akool_async.cli.planning import planned
from akool_async.cli.refusal import refused
from akool_async.cli.survey import Rules
from akool_async.cli.talk import say
from akool_async.cli.wanted import AS_IT_SAYS, Wanted

_MOST: Final = 40
"""Entries that a terminal gets."""


def plan(
    catalog: Path,
    /,
    *,
    home: Home = IN_RESULTS,
    retry_failed: bool = False,
    on_in_doubt: OnInDoubt = "hold",
    offline: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    options: Options = NOTHING_SAID,
    wanted: Wanted = AS_IT_SAYS,
    connection: Connection = USUAL,
) -> int:
    """Tell what `run` would do with a catalog and what it would cost; nothing is spent.

    The catalog is a file of CSV, TSV, JSON Lines or YAML with a row for each video: url, languages, key and
    any option of a translation. Every mistake in it is told at once, before the server is asked.

    Parameters
    ----------
    catalog
        File with the videos.
    retry_failed
        Count what failed, was refused or expired as to be paid again.
    on_in_doubt
        Whether entries in doubt stay so, or are to be paid again.
    offline
        Do not ask the server about languages, voices and the balance.
    as_json
        Give a JSON object.
    """
    rules = Rules(on_in_doubt=on_in_doubt, retry_failed=retry_failed)
    try:
        read = wanted.read(catalog, options)  # its mistakes are told before a key is asked for
        client = None if offline else connection.client()
        seen = anyio.run(partial(planned, read, home.path, rules, client))
    except CatalogWrong as wrong:
        return refused(wrong)
    if as_json:
        write_json(as_data(seen) | {"jobs": list(rows(seen))})
        return exits.OK
    shown = _MOST if sys.stdout.isatty() else len(seen.lines)
    show(islice(rows(seen), shown), COLUMNS, as_json=False)
    if len(seen.lines) > shown:
        say(f"and {len(seen.lines) - shown:,} more; a pipe and --json get them all.")
    say("")
    for line in in_words(seen):
        say(line)
    return exits.OK
