"""`akool-async retry`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._core.errors import InvalidRequest
from akool_async._core.lifecycle import State
from akool_async._journal import Entry
from akool_async.cli import exits
from akool_async.cli.carrying_out import carry_out
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.entries import catalog_of, read_entries, sendable
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.running import Order
from akool_async.cli.survey import Rules
from akool_async.cli.talk import say
from akool_async.cli.terms import ON_ASKING, Terms

_LOST: Final = frozenset({State.FAILED, State.EXPIRED})


def retry(
    *keys: str,
    failed: Annotated[bool, Parameter(negative="")] = False,
    home: Home = IN_RESULTS,
    in_flight: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    terms: Terms = ON_ASKING,
    connection: Connection = USUAL,
) -> int:
    """Submit again what failed, was refused or expired. That costs credits once more.

    Parameters
    ----------
    keys
        Keys of the entries, in all their languages.
    failed
        All entries that failed, were refused or expired.
    in_flight
        Jobs at the vendor at once.
    """
    if failed == bool(keys):
        raise InvalidRequest("Say what to submit again: --failed for all, or keys.")
    found, works = anyio.run(read_entries, home, _LOST)
    chosen = found if failed else _named(found, keys)
    entries = sendable(chosen, works)
    if not entries:
        say(f"Nothing can be submitted again from {home.path}.")
        return exits.FAILED if chosen else exits.OK
    order = Order(
        home=home,
        rules=Rules(retry_failed=True),
        in_flight=in_flight,
        terms=terms,
    )
    wanted = catalog_of(home, entries, "what ended without a result")
    code = carry_out(wanted, order, connection)
    return exits.FAILED if code == exits.OK and len(entries) < len(chosen) else code


def _named(found: Collection[Entry], keys: Collection[str]) -> list[Entry]:
    strangers = sorted(set(keys) - {entry.key for entry in found})
    if strangers:
        raise InvalidRequest(
            f"No failed, refused or expired entry is called {', '.join(map(repr, strangers))}.",
            advice="`akool-async status` tells where entries are.",
        )
    return [entry for entry in found if entry.key in set(keys)]
