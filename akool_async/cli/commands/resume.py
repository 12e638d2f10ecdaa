"""`akool-async resume`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._core.lifecycle import State
from akool_async.cli import exits
from akool_async.cli.carrying_out import carry_out
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.entries import catalog_of, read_entries, sendable
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.running import Order
from akool_async.cli.survey import Rules
from akool_async.cli.talk import say

_UNFINISHED: Final = frozenset(
    {State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.IN_DOUBT}
)


def resume(
    *,
    home: Home = IN_RESULTS,
    yes: Annotated[bool, Parameter(negative="")] = False,
    max_credits: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    in_flight: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    give_up_after: timedelta | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = USUAL,
) -> int:
    """Go on with what the journal has at work, without the catalog.

    Jobs at the vendor are waited for and brought home; what is not sent yet is sent. Doubts stay as they
    are, and so do entries whose signed URL only the catalog has.

    Parameters
    ----------
    yes
        Spend without asking, if something is to be sent. Needed where there is no terminal to ask on.
    max_credits
        What the jobs in the journal may cost together, earlier ones included.
    in_flight
        Jobs at the vendor at once.
    give_up_after
        How long to wait, such as 90m or 2h. What is at work then goes on at the vendor.
    as_json
        Write events to stdout, one JSON object a line.
    """
    found = anyio.run(read_entries, home, _UNFINISHED)
    planned = [entry for entry in found if entry.state is State.PLANNED]
    left_out = len(planned) - len(sendable(planned))
    entries = [entry for entry in found if not (entry.state is State.PLANNED and entry.stripped)]
    if not entries:
        say(f"Nothing is at work in {home.path}.")
        return exits.FAILED if left_out else exits.OK
    order = Order(
        home=home,
        rules=Rules(),
        in_flight=in_flight,
        max_credits=max_credits,
        patience=None if give_up_after is None else give_up_after.total_seconds(),
    )
    wanted = catalog_of(home, entries, "what is at work")
    code = carry_out(wanted, order, connection, yes=yes, as_json=as_json)
    return exits.FAILED if code == exits.OK and left_out else code
