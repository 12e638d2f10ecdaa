"""`akool-async retry`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
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

_LOST: Final = frozenset({State.FAILED, State.EXPIRED})


def retry(
    *keys: str,
    failed: Annotated[bool, Parameter(negative="")] = False,
    home: Home = IN_RESULTS,
    yes: Annotated[bool, Parameter(negative="")] = False,
    max_credits: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    in_flight: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    give_up_after: timedelta | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = USUAL,
) -> int:
    """Submit again what failed, was refused or expired. That costs credits once more.

    Parameters
    ----------
    keys
        Keys of the entries, in all their languages.
    failed
        All entries that failed, were refused or expired.
    yes
        Spend without asking. Needed where there is no terminal to ask on.
    max_credits
        What the jobs in the journal may cost together, earlier ones included.
    in_flight
        Jobs at the vendor at once.
    give_up_after
        How long to wait, such as 90m or 2h. What is at work then goes on at the vendor.
    as_json
        Write events to stdout, one JSON object a line.
    """
    if failed == bool(keys):
        raise InvalidRequest("Say what to submit again: --failed for all, or keys.")
    found = anyio.run(read_entries, home, _LOST)
    chosen = found if failed else _named(found, keys)
    entries = sendable(chosen)
    if not entries:
        say(f"Nothing can be submitted again from {home.path}.")
        return exits.FAILED if chosen else exits.OK
    order = Order(
        home=home,
        rules=Rules(retry_failed=True),
        in_flight=in_flight,
        max_credits=max_credits,
        patience=None if give_up_after is None else give_up_after.total_seconds(),
    )
    wanted = catalog_of(home, entries, "what ended without a result")
    code = carry_out(wanted, order, connection, yes=yes, as_json=as_json)
    return exits.FAILED if code == exits.OK and len(entries) < len(chosen) else code


def _named(found: Collection[Entry], keys: Collection[str]) -> list[Entry]:
    strangers = sorted(set(keys) - {entry.key for entry in found})
    if strangers:
        raise InvalidRequest(
            f"No failed, refused or expired entry is called {', '.join(map(repr, strangers))}.",
            advice="`akool-async status` tells where entries are.",
        )
    return [entry for entry in found if entry.key in set(keys)]
