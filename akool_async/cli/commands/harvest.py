"""`akool-async harvest`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final

import anyio
from cyclopts import Parameter

from akool_async._core.errors import AkoolError, JobGone
from akool_async._core.lifecycle import State
from akool_async._journal import Entry
from akool_async.cli import exits
from akool_async.cli.carrying_out import carry_out
from akool_async.cli.connection import USUAL, Connection
from akool_async.cli.entries import catalog_of
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.running import ROOM, Order
from akool_async.cli.standing import counted
from akool_async.cli.survey import Rules
from akool_async.cli.talk import complain, say
from akool_async.cli.terms import Terms

_AT_ONCE: Final = 8
_EVER: Final = timedelta(days=36_500)


def harvest(
    *,
    within: timedelta | None = None,
    home: Home = IN_RESULTS,
    captionless: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: Connection = USUAL,
) -> int:
    """Bring home what is done, the soonest to die first. Nothing is submitted, and no job is waited for.

    Results die at the vendor 7 days after they were made.

    Parameters
    ----------
    within
        Only results that die within this time, such as 2d or 12h.
    captionless
        Videos without burnt-in captions too, where the vendor made them.
    as_json
        Write events to stdout, one JSON object a line.
    """
    dying = anyio.run(_dying, home, within)
    key = connection.with_key()
    done = anyio.run(_done, key, dying) if dying else []
    if len(done) < len(dying):
        say(f"{counted(len(dying) - len(done))} at work: `{home.command('resume')}` waits for them.")
    if not done:
        say(f"Nothing is to be brought home from {home.path}.")
        return exits.OK
    order = Order(
        home=home,
        rules=Rules(),
        in_flight=max(ROOM, 2 * len(dying)),
        terms=Terms(captionless=captionless, as_json=as_json),
        rescue=False,
    )
    wanted = catalog_of(home, done, "what is done and not home")
    return carry_out(wanted, order, key)


async def _dying(home: Home, within: timedelta | None) -> list[Entry]:
    """Give what is at the vendor, soonest to die first; last what dies at a time that is not known."""
    async with home.reading() as journal:
        if journal.held is not None:
            raise journal.held
        found = [entry async for entry in journal.expiring(_EVER if within is None else within)]
        if within is None:
            left = journal.entries(states={State.SUBMITTED, State.COMPLETED})
            found += [entry async for entry in left if entry.expires_at is None]
        return found


async def _done(connection: Connection, entries: Sequence[Entry]) -> list[Entry]:
    """Give those of which the vendor says that they are over, or of which it was said before.

    Raises:
        AkoolError: the vendor can't be asked.
    """
    over = {number for number, entry in enumerate(entries) if entry.state is State.COMPLETED}
    limit = anyio.CapacityLimiter(_AT_ONCE)
    failures: list[AkoolError] = []

    async with connection.client() as client, anyio.create_task_group() as tasks:

        async def ask(number: int) -> None:
            try:
                async with limit:
                    snapshot = await client.status(entries[number].job_id)
            except JobGone as error:
                complain(error)
            except AkoolError as error:
                failures.append(error)
                tasks.cancel_scope.cancel()
            else:
                if snapshot.status.terminal:
                    over.add(number)

        for number in set(range(len(entries))) - over:
            tasks.start_soon(ask, number)
    if failures:
        raise failures[0]
    return [entries[number] for number in sorted(over)]
