"""`akool-async translate`."""

from __future__ import annotations

from akool_async._core.errors import InvalidRequest
from akool_async.cli.carrying_out import carry_out
from akool_async.cli.catalog import CatalogWrong
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.options import NOTHING_SAID, Options
from akool_async.cli.refusal import refused
from akool_async.cli.running import ROOM, Order
from akool_async.cli.survey import Rules
from akool_async.cli.terms import ON_ASKING, Terms


def translate(
    url: str,
    /,
    *,
    key: str | None = None,
    home: Home = IN_RESULTS,
    retry_failed: bool = False,
    options: Options = NOTHING_SAID,
    terms: Terms = ON_ASKING,
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
    retry_failed
        Pay again if it failed, was refused or expired before.
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
        terms=terms,
        webhook_url=options.webhook_url,
    )
    return carry_out(wanted, order, connection)
