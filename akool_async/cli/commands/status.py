"""`akool-async status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import anyio
from cyclopts import Parameter

from akool_async._core.requests import video_of
from akool_async._journal import Entry
from akool_async.cli import exits
from akool_async.cli.doubts import name_of
from akool_async.cli.home import IN_RESULTS, Home
from akool_async.cli.listing import told, write_json, write_text
from akool_async.cli.moments import ago, span
from akool_async.cli.standing import WORDS, Standing, counted, read_standing

_MOST_DOUBTS = 10


def status(
    *, home: Home = IN_RESULTS, as_json: Annotated[bool, Parameter(name="--json", negative="")] = False
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
        write_text(_lines(seen))
    return exits.OK


async def _read(home: Home) -> Standing:
    async with home.reading() as journal:
        return await read_standing(journal, home)


def _lines(seen: Standing) -> Iterator[str]:
    counts = seen.counts
    total = sum(counts.values())
    yield f"{told(seen.home.path)}: {counted(total)}"
    if seen.held is not None:
        yield told(seen.held.what)
    yield ""
    width = len(str(max(counts.values())))
    for state, words in WORDS.items():
        if counts[state]:
            yield f"  {counts[state]:>{width}}  {words}"
    yield ""
    yield f"Credits: {seen.used:g} used, {seen.locked:g} locked."
    if seen.expiring:
        yield from ("", "Next to die at the vendor:")
        yield from (f"  {name_of(entry)}: {_left(entry, seen)}" for entry in seen.expiring)
    if seen.doubts:
        yield from ("", "In doubt:")
        shown = seen.doubts[:_MOST_DOUBTS]
        yield from (f"  {name_of(entry)}: sent {ago(entry.submitted_at, seen.now)}" for entry in shown)
        if len(seen.doubts) > len(shown):
            yield f"  and {len(seen.doubts) - len(shown)} more"
    if seen.steps:
        yield from ("", "To go on:")
        for why, command in seen.steps:
            yield from (f"  {why}:", f"    {told(command)}")
    elif total and not seen.held:
        yield from ("", "All that was submitted is home.")


def _left(entry: Entry, seen: Standing) -> str:
    assert entry.expires_at is not None  # noqa: S101 - that is how it was found
    state = WORDS[entry.state]
    if entry.expires_at <= seen.now:
        return f"{state}, should be dead since {span(seen.now - entry.expires_at)}"
    return f"{state}, dies in {span(entry.expires_at - seen.now)}"


def _as_json(seen: Standing) -> dict[str, Any]:
    held = seen.held
    return {
        "journal": str(seen.home.path),
        "held_by": None if held is None else {"pid": held.pid, "host": held.host, "since": held.since},
        "states": {state.value: count for state, count in seen.counts.items()},
        "credits": {"used": seen.used, "locked": seen.locked},
        "dying_within_2_days": seen.dying,
        "needs_catalog": seen.needs_catalog,
        "expiring": [_facts(entry) | {"expires_at": entry.expires_at} for entry in seen.expiring],
        "in_doubt": [_facts(entry) | {"doubt_ids": list(entry.doubt_ids)} for entry in seen.doubts],
        "to_go_on": [command for _, command in seen.steps],
    }


def _facts(entry: Entry) -> dict[str, Any]:
    names = ("key", "target", "state", "job_id", "submitted_at", "reason")
    return {"url": video_of(entry.request), **{name: getattr(entry, name) for name in names}}
