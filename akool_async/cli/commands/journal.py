"""`akool-async status`, `resume`, `collect` and `retry`: continue with what a journal holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

import anyio
from cyclopts import Parameter

from akool_async._journal import Entry
from akool_async._model.errors import AkoolError, InvalidRequestError, JobNotFoundError
from akool_async._model.requests import video_url
from akool_async._model.states import State
from akool_async.cli.console import (
    ago,
    counted,
    duration,
    format_value,
    print_error,
    print_info,
    print_wrapped,
    write_json,
)
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import (
    WORDS,
    JournalStatus,
    catalog_from,
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
    InFlight,
    JsonFlag,
    OutputOptions,
    RunLimits,
)
from akool_async.cli.plan import RetryRules
from akool_async.cli.run import UNBOUNDED, RunOptions, execute

_MAX_DOUBTS: Final = 10
_UNFINISHED: Final = frozenset(
    {State.PLANNED, State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.IN_DOUBT}
)
_WITHOUT_RESULT: Final = frozenset({State.FAILED, State.EXPIRED})
_STATUS_CALLS: Final = 8
"""Jobs that `collect` asks the vendor for at once."""
_EVER: Final = timedelta(days=36_500)


def status(
    *,
    output: OutputOptions = DEFAULT_OUTPUT,
    as_json: JsonFlag = False,
) -> int:
    """Show what the journal holds: saved, in progress, in doubt, what expires soon, what to do next.

    It only reads, so it can be used while a run is in progress.
    """

    async def read() -> JournalStatus:
        async with output.reading() as journal:
            return await read_status(journal, output)

    found = anyio.run(read)
    if as_json:
        write_json(_status_json(found))
    else:
        print_wrapped(_status_lines(found))
    return ExitCode.OK


def _status_lines(found: JournalStatus) -> Iterator[str]:
    total = sum(found.counts.values())
    yield f"{format_value(found.output.path)}: {counted(total, 'entry')}"
    if found.lock_holder is not None:
        yield format_value(found.lock_holder.message)
    yield ""
    width = len(str(max(found.counts.values())))
    for state, words in WORDS.items():
        if found.counts[state]:
            yield f"  {found.counts[state]:>{width}}  {words}"
    yield ""
    yield f"Credits: {found.used:g} used, {found.locked:g} locked."
    if found.expiring:
        yield from ("", "Next to expire at the vendor:")
        for entry in found.expiring:
            assert entry.expires_at is not None  # noqa: S101 - entries without it are not listed
            # Past its expiry a result may still be there: the vendor deletes without notice.
            left = entry.expires_at - found.now
            when = f"expires in {duration(left)}" if left > timedelta() else f"expired {duration(-left)} ago"
            yield f"  {entry_label(entry)}: {WORDS[entry.state]}, {when}"
    if found.doubts:
        yield from ("", "In doubt:")
        shown = found.doubts[:_MAX_DOUBTS]
        yield from (f"  {entry_label(entry)}: sent {ago(entry.submitted_at, found.now)}" for entry in shown)
        if len(found.doubts) > len(shown):
            yield f"  and {len(found.doubts) - len(shown)} more"
    if found.next_steps:
        yield from ("", "Next:")
        for why, command in found.next_steps:
            yield from (f"  {why}:", f"    {format_value(command)}")
    elif total and not found.lock_holder:
        yield from ("", "Everything that was submitted is saved.")


def _status_json(found: JournalStatus) -> dict[str, Any]:
    holder = found.lock_holder

    def facts(entry: Entry) -> dict[str, Any]:
        names = ("key", "target", "state", "job_id", "submitted_at", "reason")
        return {"url": video_url(entry.request), **{name: getattr(entry, name) for name in names}}

    return {
        "journal": str(found.output.path),
        "lock_holder": holder and {"pid": holder.pid, "host": holder.host, "since": holder.since},
        "states": {state.value: count for state, count in found.counts.items()},
        "credits": {"used": found.used, "locked": found.locked},
        "expiring_within_2_days": found.expiring_soon,
        "needs_catalog": found.needs_catalog,
        "expiring": [facts(entry) | {"expires_at": entry.expires_at} for entry in found.expiring],
        "in_doubt": [facts(entry) | {"doubt_ids": list(entry.doubt_ids)} for entry in found.doubts],
        "next_steps": [command for _, command in found.next_steps],
    }


def resume(
    *,
    output: OutputOptions = DEFAULT_OUTPUT,
    in_flight: InFlight = 8,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Resume what the journal has in progress, without the catalog.

    Jobs at the vendor are waited for and saved; what is not sent yet is sent. Doubts are left as they are,
    and so are entries whose signed URL only the catalog has, or whose work is paid under another key.
    """
    found, works = anyio.run(read_entries, output, _UNFINISHED)
    submitted = [entry for entry in found if entry.state is not State.PLANNED]
    # A planned entry would be paid for now. It is left out where its request can't be sent as it was
    # (the journal keeps no signatures of URLs) or where another key paid for the same work.
    planned = (entry for entry in found if entry.state is State.PLANNED)
    entries = submitted + resubmittable(planned, works)
    # Exit code 1 tells a script that the catalog is still needed for what was left out.
    left_out = len(found) - len(entries)
    if not entries:
        print_info(f"Nothing is in progress in {output.path}.")
        return ExitCode.FAILED if left_out else ExitCode.OK
    options = RunOptions(output=output, rules=RetryRules(), in_flight=in_flight, limits=terms)
    code = execute(catalog_from(output, entries, "what is in progress"), options, connection)
    return ExitCode.FAILED if code == ExitCode.OK and left_out else code


def collect(
    *,
    within: timedelta | None = None,
    output: OutputOptions = DEFAULT_OUTPUT,
    without_captions: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Save what is finished, what expires first comes first. Nothing is submitted, no job is waited for.

    Results expire at the vendor 7 days after their job was made.

    Parameters
    ----------
    within
        Only results that expire within this time, such as 2d or 12h.
    without_captions
        Also save videos without burnt-in captions, where the vendor made them.
    as_json
        Write events to stdout, one JSON object a line.
    """
    waiting = anyio.run(_at_vendor, output, within)
    connection = connection.with_key()
    finished = anyio.run(_finished, connection, waiting) if waiting else []
    if len(finished) < len(waiting):
        running = counted(len(waiting) - len(finished), "entry")
        print_info(f"{running} in progress: `{output.command('resume')}` waits for them.")
    if not finished:
        print_info(f"Nothing in {output.path} is ready to be saved.")
        return ExitCode.OK
    options = RunOptions(
        output=output,
        rules=RetryRules(),
        # These jobs are at the vendor already; a bound would only delay those that expire first.
        in_flight=max(UNBOUNDED, 2 * len(waiting)),
        limits=RunLimits(without_captions=without_captions, as_json=as_json),
        recover_pending=False,  # nothing else is waited for
    )
    return execute(catalog_from(output, finished, "what is finished and not saved"), options, connection)


async def _at_vendor(output: OutputOptions, within: timedelta | None) -> list[Entry]:
    """Return the entries at the vendor, by expiry; those whose expiry is unknown come last."""
    async with output.reading() as journal:
        # Two runs that save the same results would fight for the same names.
        if journal.lock_holder is not None:
            raise journal.lock_holder
        found = [entry async for entry in journal.expiring(_EVER if within is None else within)]
        if within is None:
            others = journal.entries(states={State.SUBMITTED, State.COMPLETED})
            found += [entry async for entry in others if entry.expires_at is None]
        return found


async def _finished(connection: ConnectionOptions, entries: Sequence[Entry]) -> list[Entry]:
    """Return those whose job the vendor reports, or reported before, as finished.

    Raises:
        AkoolError: the vendor can't be asked.
    """
    finished = {number for number, entry in enumerate(entries) if entry.state is State.COMPLETED}
    limit = anyio.CapacityLimiter(_STATUS_CALLS)
    failures: list[AkoolError] = []

    async with connection.client() as client, anyio.create_task_group() as tasks:

        async def check(number: int) -> None:
            try:
                async with limit:
                    snapshot = await client.status(entries[number].job_id)
            except JobNotFoundError as error:
                # The vendor has forgotten it: the others can still be saved.
                print_error(error)
            except AkoolError as error:
                failures.append(error)
                tasks.cancel_scope.cancel()
            else:
                if snapshot.status.terminal:
                    finished.add(number)

        for number in set(range(len(entries))) - finished:
            tasks.start_soon(check, number)
    if failures:
        raise failures[0]
    return [entries[number] for number in sorted(finished)]


def retry(
    *keys: str,
    failed: Annotated[bool, Parameter(negative="")] = False,
    output: OutputOptions = DEFAULT_OUTPUT,
    in_flight: InFlight = 8,
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
    """
    if failed == bool(keys):
        raise InvalidRequestError("Name what to submit again: --failed for all, or keys.")
    found, works = anyio.run(read_entries, output, _WITHOUT_RESULT)
    unknown = sorted(set(keys) - {entry.key for entry in found})
    if unknown:
        raise InvalidRequestError(
            f"No failed, refused or expired entry is called {', '.join(map(repr, unknown))}.",
            advice="`akool-async status` shows the entries' states.",
        )
    # What `resubmittable` leaves out would be paid although it is paid already, or can't be sent.
    chosen = [entry for entry in found if failed or entry.key in keys]
    entries = resubmittable(chosen, works)
    if not entries:
        print_info(f"Nothing can be submitted again from {output.path}.")
        return ExitCode.FAILED if chosen else ExitCode.OK
    options = RunOptions(
        output=output, rules=RetryRules(retry_failed=True), in_flight=in_flight, limits=terms
    )
    code = execute(catalog_from(output, entries, "what ended without a result"), options, connection)
    return ExitCode.FAILED if code == ExitCode.OK and len(entries) < len(chosen) else code
