"""`akool-async status`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._journal import Entry
from akool_async._model.errors import AkoolError, InvalidRequestError, JobNotFoundError
from akool_async._model.requests import video_url
from akool_async._model.states import State
from akool_async.cli import exit_codes as exits
from akool_async.cli.console import (
    ago,
    duration,
    format_value,
    print_error,
    print_info,
    print_wrapped,
    write_json,
)
from akool_async.cli.journal_report import (
    WORDS,
    JournalStatus,
    catalog_from,
    counted,
    entry_label,
    read_entries,
    read_status,
    resubmittable,
)
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_LIMITS,
    DEFAULT_OUTPUT,
    ConnectionOptions,
    OutputOptions,
    RunLimits,
)
from akool_async.cli.plan import RetryRules
from akool_async.cli.run import UNBOUNDED, RunOptions, execute

_MOST_DOUBTS = 10


def status(
    *,
    home: OutputOptions = DEFAULT_OUTPUT,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Tell what the journal says: what is home, at work, in doubt, what dies soon, how to go on.

    It only reads, so it may be asked while a run is at work.

    Parameters
    ----------
    as_json
        Give a JSON object.
    """
    seen = anyio.run(_read, home)
    if as_json:
        write_json(_as_json(seen))
    else:
        print_wrapped(_lines(seen))
    return exits.OK


async def _read(home: OutputOptions) -> JournalStatus:
    async with home.reading() as journal:
        return await read_status(journal, home)


def _lines(seen: JournalStatus) -> Iterator[str]:
    counts = seen.counts
    total = sum(counts.values())
    yield f"{format_value(seen.output.path)}: {counted(total)}"
    if seen.lock_holder is not None:
        yield format_value(seen.lock_holder.message)
    yield ""
    width = len(str(max(counts.values())))
    for state, words in WORDS.items():
        if counts[state]:
            yield f"  {counts[state]:>{width}}  {words}"
    yield ""
    yield f"Credits: {seen.used:g} used, {seen.locked:g} locked."
    if seen.expiring:
        yield from ("", "Next to die at the vendor:")
        yield from (f"  {entry_label(entry)}: {_left(entry, seen)}" for entry in seen.expiring)
    if seen.doubts:
        yield from ("", "In doubt:")
        shown = seen.doubts[:_MOST_DOUBTS]
        yield from (f"  {entry_label(entry)}: sent {ago(entry.submitted_at, seen.now)}" for entry in shown)
        if len(seen.doubts) > len(shown):
            yield f"  and {len(seen.doubts) - len(shown)} more"
    if seen.next_steps:
        yield from ("", "To go on:")
        for why, command in seen.next_steps:
            yield from (f"  {why}:", f"    {format_value(command)}")
    elif total and not seen.lock_holder:
        yield from ("", "All that was submitted is home.")


def _left(entry: Entry, seen: JournalStatus) -> str:
    assert entry.expires_at is not None  # noqa: S101 - that is how it was found
    state = WORDS[entry.state]
    if entry.expires_at <= seen.now:
        return f"{state}, should be dead since {duration(seen.now - entry.expires_at)}"
    return f"{state}, dies in {duration(entry.expires_at - seen.now)}"


def _as_json(seen: JournalStatus) -> dict[str, Any]:
    held = seen.lock_holder
    return {
        "journal": str(seen.output.path),
        "held_by": None if held is None else {"pid": held.pid, "host": held.host, "since": held.since},
        "states": {state.value: count for state, count in seen.counts.items()},
        "credits": {"used": seen.used, "locked": seen.locked},
        "dying_within_2_days": seen.expiring_soon,
        "needs_catalog": seen.needs_catalog,
        "expiring": [_facts(entry) | {"expires_at": entry.expires_at} for entry in seen.expiring],
        "in_doubt": [_facts(entry) | {"doubt_ids": list(entry.doubt_ids)} for entry in seen.doubts],
        "to_go_on": [command for _, command in seen.next_steps],
    }


def _facts(entry: Entry) -> dict[str, Any]:
    names = ("key", "target", "state", "job_id", "submitted_at", "reason")
    return {"url": video_url(entry.request), **{name: getattr(entry, name) for name in names}}


# `akool-async resume`.


_UNFINISHED: Final = frozenset(
    {State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.IN_DOUBT}
)


def resume(
    *,
    home: OutputOptions = DEFAULT_OUTPUT,
    in_flight: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
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
    entries = sent + resubmittable((entry for entry in found if entry.state is State.PLANNED), works)
    left_out = len(found) - len(entries)
    if not entries:
        print_info(f"Nothing is at work in {home.path}.")
        return exits.FAILED if left_out else exits.OK
    order = RunOptions(
        output=home,
        rules=RetryRules(),
        in_flight=in_flight,
        limits=terms,
    )
    wanted = catalog_from(home, entries, "what is at work")
    code = execute(wanted, order, connection)
    return exits.FAILED if code == exits.OK and left_out else code


# `akool-async harvest`.


_AT_ONCE: Final = 8
_EVER: Final = timedelta(days=36_500)


def collect(
    *,
    within: timedelta | None = None,
    home: OutputOptions = DEFAULT_OUTPUT,
    captionless: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
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
        print_info(f"{counted(len(dying) - len(done))} at work: `{home.command('resume')}` waits for them.")
    if not done:
        print_info(f"Nothing is to be brought home from {home.path}.")
        return exits.OK
    order = RunOptions(
        output=home,
        rules=RetryRules(),
        in_flight=max(UNBOUNDED, 2 * len(dying)),
        limits=RunLimits(without_captions=captionless, as_json=as_json),
        recover_pending=False,
    )
    wanted = catalog_from(home, done, "what is done and not home")
    return execute(wanted, order, key)


async def _dying(home: OutputOptions, within: timedelta | None) -> list[Entry]:
    """Give what is at the vendor, soonest to die first; last what dies at a time that is not known."""
    async with home.reading() as journal:
        if journal.lock_holder is not None:
            raise journal.lock_holder
        found = [entry async for entry in journal.expiring(_EVER if within is None else within)]
        if within is None:
            left = journal.entries(states={State.SUBMITTED, State.COMPLETED})
            found += [entry async for entry in left if entry.expires_at is None]
        return found


async def _done(connection: ConnectionOptions, entries: Sequence[Entry]) -> list[Entry]:
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
            except JobNotFoundError as error:
                print_error(error)
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


# `akool-async retry`.


_LOST: Final = frozenset({State.FAILED, State.EXPIRED})


def retry(
    *keys: str,
    failed: Annotated[bool, Parameter(negative="")] = False,
    home: OutputOptions = DEFAULT_OUTPUT,
    in_flight: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Submit again what failed, was refused or expired. That costs credits once more.

    Parameters
    ----------
    keys
        Keys of the entries, in all their languages.
    failed
        All entries that failed, were refused or expired.
    in_flight
        Jobs at the vendor at once.
    """
    if failed == bool(keys):
        raise InvalidRequestError("Say what to submit again: --failed for all, or keys.")
    found, works = anyio.run(read_entries, home, _LOST)
    chosen = found if failed else _named(found, keys)
    entries = resubmittable(chosen, works)
    if not entries:
        print_info(f"Nothing can be submitted again from {home.path}.")
        return exits.FAILED if chosen else exits.OK
    order = RunOptions(
        output=home,
        rules=RetryRules(retry_failed=True),
        in_flight=in_flight,
        limits=terms,
    )
    wanted = catalog_from(home, entries, "what ended without a result")
    code = execute(wanted, order, connection)
    return exits.FAILED if code == exits.OK and len(entries) < len(chosen) else code


def _named(found: Collection[Entry], keys: Collection[str]) -> list[Entry]:
    strangers = sorted(set(keys) - {entry.key for entry in found})
    if strangers:
        raise InvalidRequestError(
            f"No failed, refused or expired entry is called {', '.join(map(repr, strangers))}.",
            advice="`akool-async status` tells where entries are.",
        )
    return [entry for entry in found if entry.key in set(keys)]
