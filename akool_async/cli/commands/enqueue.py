"""`akool-async enqueue`: hand a catalog to the workers of a ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._model.errors import AkoolError, InvalidRequestError
from akool_async._model.filenames import FileTemplates, parse_templates
from akool_async._model.requests import Request
from akool_async.cli.catalog.model import CatalogItem
from akool_async.cli.catalog_options import (
    DEFAULT_CATALOG,
    DEFAULT_TRANSLATION,
    CatalogOptions,
    TranslationOptions,
    read_with_names,
)
from akool_async.cli.commands.worker import Account, LedgerUrl
from akool_async.cli.console import counted, print_info
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import DEFAULT_CONNECTION, JOURNAL, check_positive

if TYPE_CHECKING:
    from akool_async.ledger import Ledger

_TOGETHER: Final = 500
"""Rows of a catalog that are entered, or refused, in one transaction."""

_NOTHING: Final = "Nothing of the catalog was entered, and nothing is paid for it."
_WAITING: Final = "Another enqueue is entering its catalog; this one waits for it."


def enqueue(
    catalog: Path | None = None,
    /,
    *,
    ledger: LedgerUrl,
    account: Account = "default",
    from_journal: Path | None = None,
    max_credits: Annotated[float | None, Parameter(validator=check_positive)] = None,
    in_flight: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    options: TranslationOptions = DEFAULT_TRANSLATION,
    wanted: CatalogOptions = DEFAULT_CATALOG,
) -> int:
    """Hand a catalog to the workers of a ledger, which submit and pay for it, within --max-credits.

    Either all of it is entered, or nothing. A video that is enqueued twice is paid once. Without a catalog,
    what is left in the ledger is queued again.

    Parameters
    ----------
    catalog
        File with the videos, as for `run`.
    from_journal
        Move what a journal holds into the ledger first: paid jobs are resumed, and are not paid again.
    max_credits
        What all entries of the ledger may cost together, on all machines; kept in the ledger. A failed job
        counts nothing, because its credits should come back.
    in_flight
        Jobs that the account may have at the vendor at once, over all machines; kept in the ledger.
    """
    if options.webhook_url is not None:  # a request with a URL of its own is sent without a token
        raise InvalidRequestError(
            "--webhook-url belongs to the workers: they add tokens to it, by which callbacks settle doubts.",
            impact="Nothing was entered.",
            advice="Leave it out, and start each `worker` with it.",
        )
    read = None
    if catalog is not None:
        read = read_with_names(partial(wanted.read, catalog, options), DEFAULT_CONNECTION, offline=True)
    for note in () if read is None else read.notes:
        print_info(note)
    items = () if read is None else read.items

    async def hand_over() -> tuple[int, int]:
        from akool_async.ledger import open_ledger  # needs the extra `ledger`
        from akool_async.workers.dbos import enqueue as enqueue_work

        async with open_ledger(
            ledger, account=account, max_credits=max_credits, max_in_flight=in_flight
        ) as opened:
            if from_journal is not None:
                try:
                    moved = await opened.move_journal(from_journal)
                except anyio.get_cancelled_exc_class():
                    print_info("The move of the journal is ended first: run the same again to see how.")
                    raise
                print_info(f"{counted(moved, 'entry')} of {from_journal} moved into the ledger.")
                print_info("The journal is retired: a run on it stops before it pays for anything.")
                if catalog is None:
                    print_info("What its runs had not begun is not in it: enqueue the catalog too.")
            return await enter(opened), await enqueue_work(opened)

    async def enter(opened: Ledger) -> int:
        new, entering = 0, None
        try:
            async with opened.entering(on_wait=lambda: print_info(_WAITING)) as entering:
                if entering.taken_back:
                    left = counted(entering.taken_back, "entry")
                    print_info(f"{left} of an enqueue that was stopped taken back; none of them was paid.")
                for templates, some in _portions(items):
                    try:
                        new += len(await entering.plan(some, names=templates))
                    except AkoolError as error:
                        error.impact = _NOTHING
                        raise
        except anyio.get_cancelled_exc_class():
            if items and (entering is None or not entering.released):
                print_info(_NOTHING)
            raise
        return new

    if from_journal is not None and from_journal.is_dir():
        from_journal /= JOURNAL
    if from_journal is not None and not from_journal.exists():
        raise InvalidRequestError(f"There is no journal {from_journal}.")
    new, waiting = anyio.run(hand_over)
    print_info(f"{counted(new, 'new entry')}, {waiting:,} for the workers to do.")
    return ExitCode.OK


def _portions(items: Iterable[CatalogItem]) -> Iterator[tuple[FileTemplates, list[Request]]]:
    """Return what is entered together, with the names that its files get."""
    for names, group in groupby(items, key=attrgetter("names")):
        templates, rows = parse_templates(names), iter(group)
        while some := [item.request for item in islice(rows, _TOGETHER)]:
            yield templates, some
