"""`akool-async run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._batch import OnInDoubt
from akool_async.cli.carrying_out import carry_out
from akool_async.cli.catalog import CatalogWrong
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.options import NOTHING_SAID, Options
from akool_async.cli.refusal import refused
from akool_async.cli.running import Order
from akool_async.cli.survey import Rules
from akool_async.cli.terms import ON_ASKING, Terms
from akool_async.cli.wanted import AS_IT_SAYS, Wanted


def run(
    catalog: Path,
    /,
    *,
    home: Home = IN_RESULTS,
    in_flight: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    retry_failed: bool = False,
    on_in_doubt: OnInDoubt = "hold",
    options: Options = NOTHING_SAID,
    wanted: Wanted = AS_IT_SAYS,
    terms: Terms = ON_ASKING,
    connection: Connection = USUAL,
) -> int:
    """Translate a catalog, and bring all results home into a folder.

    Run again it goes on: what is home is left alone, what is at the vendor is waited for, nothing is
    paid twice. Ctrl-C submits nothing more and brings home what is at work; the second one leaves it
    there, where it goes on.

    Exit codes: 0 all is home, 1 something failed, 2 wrong usage or catalog, 3 credentials or account,
    4 still running, 5 out of budget, 6 doubts to resolve, 130 interrupted.

    Parameters
    ----------
    catalog
        File with the videos; see `plan`.
    in_flight
        Jobs at the vendor at once.
    retry_failed
        Pay again for what failed, was refused or expired.
    on_in_doubt
        Whether entries in doubt stay so, or are paid again.
    """
    order = Order(
        home=home,
        rules=Rules(on_in_doubt=on_in_doubt, retry_failed=retry_failed),
        in_flight=in_flight,
        terms=terms,
        webhook_url=options.webhook_url,
    )
    try:
        read = wanted.read(catalog, options)  # its mistakes are told before a key is asked for
    except CatalogWrong as wrong:
        return refused(wrong)
    return carry_out(read, order, connection)
