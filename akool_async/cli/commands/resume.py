"""`akool-async resume`."""

from __future__ import annotations

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
from akool_async.cli.terms import ON_ASKING, Terms

_UNFINISHED: Final = frozenset(
    {State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.IN_DOUBT}
)


def resume(
    *,
    home: Home = IN_RESULTS,
    in_flight: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    terms: Terms = ON_ASKING,
    connection: Connection = USUAL,
) -> int:
    """Go on with what the journal has at work, without the catalog.

    Jobs at the vendor are waited for and brought home; what is not sent yet is sent. Doubts stay as they
    are, and so do entries whose signed URL only the catalog has, or whose work is paid under another key.

    Parameters
    ----------
    in_flight
        Jobs at the vendor at once.
    """
    found, works = anyio.run(read_entries, home, _UNFINISHED)
    sent = [entry for entry in found if entry.state is not State.PLANNED]
    entries = sent + sendable((entry for entry in found if entry.state is State.PLANNED), works)
    left_out = len(found) - len(entries)
    if not entries:
        say(f"Nothing is at work in {home.path}.")
        return exits.FAILED if left_out else exits.OK
    order = Order(
        home=home,
        rules=Rules(),
        in_flight=in_flight,
        terms=terms,
    )
    wanted = catalog_of(home, entries, "what is at work")
    code = carry_out(wanted, order, connection)
    return exits.FAILED if code == exits.OK and left_out else code
