"""From what is wanted to an exit code: laid beside the journal, asked about, run, told how it ended.

What every command does that may pay for jobs or waits for them.
"""

from __future__ import annotations

import sys
from functools import partial

import anyio

from akool_async.cli import exits
from akool_async.cli.catalog import Catalog, CatalogWrong
from akool_async.cli.connection import Connection
from akool_async.cli.events import Events
from akool_async.cli.labels import labels_of
from akool_async.cli.plan_told import cost, counted, in_words
from akool_async.cli.planning import planned
from akool_async.cli.progress import Progress
from akool_async.cli.refusal import refused
from akool_async.cli.running import Order, Running
from akool_async.cli.survey import Due, Survey
from akool_async.cli.talk import can_ask, complain, confirmed, say, talk


def carry_out(catalog: Catalog, order: Order, connection: Connection) -> int:
    """Bring home what a catalog asks for; give the exit code.

    Args:
        catalog: what is wanted.
        order: what may be done for it.
        connection: how the vendor is reached.

    Raises:
        AkoolError: it could not even begin.
    """
    terms = order.terms
    events = Events(wanted=terms.as_json)
    key = connection.with_key()
    try:
        seen = anyio.run(partial(planned, catalog, order.home.path, order.rules, key.client()))
    except CatalogWrong as wrong:
        return refused(wrong)
    if seen.held is not None:
        raise seen.held
    if seen.new_items and seen.unreachable is not None and not seen.counts[Due.WAIT]:
        raise seen.unreachable  # a wrong host looks like an outage, and no job's result dies meanwhile
    for line in in_words(seen):
        say(line)
    events.planned(seen)
    refusal = _allowed(seen, yes=terms.yes)
    if refusal is not None:
        return refusal
    drawn = talk.is_terminal and not talk.is_dumb_terminal and not (terms.as_json and sys.stdout.isatty())
    progress = Progress(labels_of(seen.lines), drawn=drawn, max_credits=terms.max_credits)
    return _go(Running(seen, order, progress, events), key, events)


def _allowed(seen: Survey, *, yes: bool) -> int | None:
    """Ask whether to spend; None when it may go on, else the exit code."""
    if yes or not seen.estimate.jobs:
        return None
    jobs = counted(seen.estimate.jobs, "new job")
    if not can_ask():
        complain(f"This would submit {jobs}. Add --yes to allow that where nobody can be asked.")
        return exits.USAGE
    known = seen.estimate.jobs > seen.estimate.unknown
    price = f"{cost(seen.estimate).partition(' credits')[0]} credits" if known else "an unknown price"
    try:
        if confirmed(f"Submit {jobs} for {price}?"):
            return None
    except KeyboardInterrupt:  # a no, too
        talk.line()
    say("Nothing was submitted and nothing was spent.")
    return exits.INTERRUPTED


def _go(running: Running, connection: Connection, events: Events) -> int:
    """Run, and tell how it ended."""
    anyio.run(running.run, connection.client())
    ending = running.ending()
    for line in ending.in_words():
        say(line)
    events.over(ending)
    return ending.code
