"""`akool-async translate`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._core.errors import InvalidRequest
from akool_async.cli.carrying_out import carry_out
from akool_async.cli.catalog import CatalogWrong
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.options import NOTHING_SAID, Options
from akool_async.cli.refusal import refused
from akool_async.cli.running import ROOM, Order
from akool_async.cli.survey import Rules


def translate(
    url: str,
    /,
    *,
    key: str | None = None,
    home: Home = IN_RESULTS,
    yes: Annotated[bool, Parameter(negative="")] = False,
    max_credits: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    give_up_after: timedelta | None = None,
    retry_failed: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    options: Options = NOTHING_SAID,
    connection: Connection = USUAL,
) -> int:
    """Translate one video into one or several languages, and bring the results home.

    What is paid is written down in the folder's journal: run again it goes on, and pays nothing twice.

    Parameters
    ----------
    url
        The video's public URL; the vendor fetches it from there.
    key
        Your own name for it; default is a fingerprint of what is asked for.
    yes
        Spend without asking. Needed where there is no terminal to ask on.
    max_credits
        What the jobs in the journal may cost together, earlier ones included.
    give_up_after
        How long to wait, such as 90m or 2h. What is at work then goes on at the vendor.
    retry_failed
        Pay again if it failed, was refused or expired before.
    as_json
        Write events to stdout, one JSON object a line.
    """
    if options.to is None:
        raise InvalidRequest("Into which languages? Name them, such as --to ja,fr.")
    try:
        wanted = options.of_one(url, key)
    except CatalogWrong as wrong:
        return refused(wrong)
    order = Order(
        home=home,
        rules=Rules(retry_failed=retry_failed),
        in_flight=ROOM,
        max_credits=max_credits,
        patience=None if give_up_after is None else give_up_after.total_seconds(),
        webhook_url=options.webhook_url,
    )
    return carry_out(wanted, order, connection, yes=yes, as_json=as_json)
