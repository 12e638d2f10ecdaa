"""`akool-async run`."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async.cli import exits
from akool_async.cli.catalog import CatalogWrong
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.events import Events
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.labels import labels_of
from akool_async.cli.plan_told import cost, counted, in_words
from akool_async.cli.planning import planned
from akool_async.cli.progress import Progress
from akool_async.cli.refusal import refused
from akool_async.cli.running import Order, Running
from akool_async.cli.survey import OnInDoubt, Rules, Survey
from akool_async.cli.talk import can_ask, complain, confirmed, say, talk
from akool_async.cli.wanted import AS_IT_SAYS, Wanted


def run(
    catalog: Path,
    /,
    *,
    home: Home = IN_RESULTS,
    yes: Annotated[bool, Parameter(negative="")] = False,
    max_credits: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    in_flight: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    give_up_after: timedelta | None = None,
    retry_failed: bool = False,
    on_in_doubt: OnInDoubt = "hold",
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    wanted: Wanted = AS_IT_SAYS,
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
    yes
        Spend without asking. Needed where there is no terminal to ask on.
    max_credits
        What the jobs in the journal may cost together, earlier ones included.
    in_flight
        Jobs at the vendor at once.
    give_up_after
        How long to wait, such as 90m or 2h. What is at work then goes on at the vendor.
    retry_failed
        Pay again for what failed, was refused or expired.
    on_in_doubt
        Whether entries in doubt stay so, or are paid again.
    as_json
        Write events to stdout, one JSON object a line.
    """
    order = Order(
        home=home,
        rules=Rules(on_in_doubt=on_in_doubt, retry_failed=retry_failed),
        in_flight=in_flight,
        max_credits=max_credits,
        patience=None if give_up_after is None else give_up_after.total_seconds(),
    )
    events = Events(wanted=as_json)
    try:
        read = wanted.read(catalog)  # its mistakes are told before a key is asked for
        key = connection.with_key()
        seen = anyio.run(partial(planned, read, home.path, order.rules, key.client()))
    except CatalogWrong as wrong:
        return refused(wrong)
    if seen.held is not None:
        raise seen.held
    for line in in_words(seen):
        say(line)
    events.planned(seen)
    refusal = _allowed(seen, yes=yes)
    if refusal is not None:
        return refusal
    drawn = talk.is_terminal and not talk.is_dumb_terminal and not (as_json and sys.stdout.isatty())
    progress = Progress(labels_of(seen.lines), drawn=drawn, max_credits=max_credits)
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
    if confirmed(f"Submit {jobs} for {price}?"):
        return None
    say("Nothing was submitted and nothing was spent.")
    return exits.INTERRUPTED


def _go(running: Running, connection: Connection, events: Events) -> int:
    """Run, and tell how it ended, also where it was left by force."""
    try:
        anyio.run(running.run, connection.client())
        left = False
    except KeyboardInterrupt:
        left = True
    ending = running.ending()
    for line in ending.in_words():
        say(line)
    events.over(ending)
    return exits.INTERRUPTED if left else ending.code
