"""`akool-async resume`, `collect` and `retry`: continue with what a journal holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Final

import anyio
from anyio.to_thread import run_sync
from cyclopts import Parameter

from akool_async._batch.saving import expect_without_captions
from akool_async._journal import EVER, Entry
from akool_async._model.errors import AkoolError, InvalidRequestError, JobNotFoundError
from akool_async._model.states import WITHOUT_RESULT, State
from akool_async._storage import result_folder
from akool_async.cli.console import counted, print_command, print_error, print_info
from akool_async.cli.events import Events
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import (
    AT_VENDOR,
    catalog_from,
    check_without_result,
    not_downloaded,
    read_entries,
    read_status,
    resubmittable,
)
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_LIMITS,
    DEFAULT_OUTPUT,
    ConnectionOptions,
    Duration,
    InFlight,
    JournalPlace,
    Length,
    OutputOptions,
    PayAgain,
    RunLimits,
)
from akool_async.cli.plan import RetryRules
from akool_async.cli.preflight import DEFAULT_VIDEOS, VideoOptions
from akool_async.cli.run import UNBOUNDED, RunOptions, execute
from akool_async.cli.run_summary import OutcomeCounts, RunSummary
from akool_async.cli.saved_files import with_results
from akool_async.cli.storage import DEFAULT_STORAGE, StorageOptions

_UNFINISHED: Final = AT_VENDOR | {State.PLANNED, State.SUBMITTING, State.IN_DOUBT}
_STATUS_CALLS: Final = 8
"""Jobs that `collect` asks the vendor for at once."""


def resume(
    place: JournalPlace = None,
    /,
    *,
    output: OutputOptions = DEFAULT_OUTPUT,
    in_flight: InFlight = 8,
    pay_again: PayAgain = False,
    videos: VideoOptions = DEFAULT_VIDEOS,
    sharing: StorageOptions = DEFAULT_STORAGE,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Resume what the journal has in progress, without the catalog.

    Jobs at the vendor are waited for and saved; what is not sent yet is sent. Doubts are left as they are,
    and so are entries whose signed URL only the catalog has, or whose work is paid under another key. Rows
    that no run has reached are only in the catalog: they are counted, and left to `run`.
    """
    output = with_results(output.at(place))
    found, elsewhere = anyio.run(read_entries, output, _UNFINISHED)
    submitted = [entry for entry in found if entry.state is not State.PLANNED]
    # A planned entry would be paid for now. It is left out where its request can't be sent as it was
    # (the journal keeps no signatures of URLs) or where another key paid for the same work.
    planned = (entry for entry in found if entry.state is State.PLANNED)
    entries = submitted + resubmittable(planned, elsewhere)
    # Exit code 1 tells a script that the catalog is still needed for what was left out.
    left_out = len(found) - len(entries)
    if left_out and not entries:
        raise AkoolError(
            f"Nothing in {output.path} can be resumed from the journal alone.",
            impact="Nothing was sent.",
            advice="Run the catalog again, with the same options.",
        )
    if not entries:
        nothing = _nothing_to_do(f"Nothing is in progress in {output.path}.", output, as_json=terms.as_json)
        anyio.run(_print_unsent, output)
        return nothing
    rules = RetryRules(pay_again=pay_again)
    options = RunOptions(
        output=output,
        rules=rules,
        in_flight=in_flight,
        limits=terms,
        storage=sharing.storage,
        videos=videos,
    )
    code = execute(catalog_from(output, entries, "what is in progress"), options, connection)
    anyio.run(_print_unsent, output)
    return ExitCode.FAILED if code == ExitCode.OK and left_out else code


async def _print_unsent(output: OutputOptions) -> None:
    """Print how much the journal does not know yet, and which commands submit it."""
    async with output.reading() as journal:
        found = await read_status(journal, output)
    for why, command in found.catalog_steps:
        print_command(f"{why}:", command)


def _nothing_to_do(message: str, output: OutputOptions, *, as_json: bool) -> ExitCode:
    """Say that a command has nothing to work on; a program that reads events gets the last one, too."""
    print_info(message)
    summary = RunSummary(counts=OutcomeCounts(expected=0), output=output, why=message)
    Events(enabled=as_json).over(summary)
    return summary.code


def collect(
    place: JournalPlace = None,
    /,
    *,
    within: Length | None = None,
    output: OutputOptions = DEFAULT_OUTPUT,
    without_captions: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    timestamps: bool = True,
    on_saved: str | None = None,
    on_saved_timeout: Length = Duration(minutes=10),
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Save what is finished, beginning with what expires first. Nothing is submitted or waited for.

    Results expire at the vendor 7 days after their job was made.

    Parameters
    ----------
    within
        Only results that expire within this time, such as 2d or 12h.
    without_captions
        Also save videos without burnt-in captions, if the vendor made them.
    as_json
        Write events to stdout, one JSON object a line.
    timestamps
        Begin each line with the time if messages do not go to a terminal.
    on_saved
        Program with arguments to run for each saved result, which finds the manifest in AKOOL_MANIFEST.
    on_saved_timeout
        How long each may take.
    """
    output = with_results(output.at(place))
    waiting = anyio.run(_at_vendor, output, within, without_captions)
    connection = connection.with_key()
    finished = anyio.run(_finished, connection, waiting) if waiting else []
    if len(finished) < len(waiting):
        running = counted(len(waiting) - len(finished), "entry")
        print_info(f"{running} in progress: `{output.command('resume')}` waits for them.")
    if not finished:
        return _nothing_to_do(f"Nothing in {output.path} is ready to be saved.", output, as_json=as_json)
    options = RunOptions(
        output=output,
        rules=RetryRules(),
        # These jobs are at the vendor already; a bound would only delay those that expire first.
        in_flight=max(UNBOUNDED, 2 * len(waiting)),
        limits=RunLimits(
            without_captions=without_captions,
            as_json=as_json,
            timestamps=timestamps,
            on_saved=on_saved,
            on_saved_timeout=on_saved_timeout,
        ),
        recover_pending=False,  # nothing else is waited for
    )
    return execute(catalog_from(output, finished, "what is finished and not saved"), options, connection)


async def _at_vendor(output: OutputOptions, within: timedelta | None, without_captions: bool) -> list[Entry]:
    """Return the entries to be saved: those that never were, by expiry, then those that lack files."""
    async with output.reading() as journal:
        # Two runs that save the same results would fight for the same names.
        if (holder := journal.find_lock_holder()) is not None:
            raise holder
        until = EVER if within is None else within
        found = [entry async for entry in journal.expiring(until)] + not_downloaded(journal, until)
        found.sort(key=lambda entry: (entry.expires_at is None, entry.expires_at))
        if within is None:
            others = journal.entries(states=AT_VENDOR)
            found += [entry async for entry in others if entry.expires_at is None]
            folder = result_folder(output.out, None)
            for saved in journal.saved_files():
                if not saved.files:
                    continue
                find = partial(folder.find_result, saved.files, name=saved.name, hashes=False)
                result = await run_sync(find)
                entry = journal.get(saved.key, saved.target)
                if entry is not None and without_captions:
                    result = expect_without_captions(entry, result)
                if result.damaged and entry is not None:
                    found.append(entry)
        return found


async def _finished(connection: ConnectionOptions, entries: Sequence[Entry]) -> list[Entry]:
    """Return those whose job the vendor reports, or reported before, as finished.

    Raises:
        AkoolError: the vendor can't be asked.
    """
    done = (State.COMPLETED, State.DELIVERED)
    finished = {number for number, entry in enumerate(entries) if entry.state in done}
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
    pay_again: PayAgain = False,
    videos: VideoOptions = DEFAULT_VIDEOS,
    sharing: StorageOptions = DEFAULT_STORAGE,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Submit again what failed, was refused or expired. That costs credits once more.

    Parameters
    ----------
    keys
        Keys of the entries, in all their languages; before them the journal, or the folder with the results.
    failed
        All entries that failed, were refused or expired.
    """
    output, keys = output.at_first_of(keys)
    output = with_results(output)
    if failed == bool(keys):
        raise InvalidRequestError("Name what to submit again: --failed for all, or keys.")
    found, elsewhere = anyio.run(read_entries, output, WITHOUT_RESULT)
    check_without_result(keys, found, output.command("list"))
    # What `resubmittable` leaves out would be paid although it is paid already, or can't be sent.
    chosen = [entry for entry in found if failed or entry.key in keys]
    entries = resubmittable(chosen, elsewhere)
    if chosen and not entries:
        raise AkoolError(
            f"Nothing can be submitted again from {output.path}.",
            impact="Nothing was sent.",
            advice="Run the catalog again, with the same options and --retry-failed.",
        )
    if not entries:
        return _nothing_to_do(
            f"Nothing in {output.path} failed, was refused or expired.", output, as_json=terms.as_json
        )
    options = RunOptions(
        output=output,
        rules=RetryRules(retry_failed=True, pay_again=pay_again),
        in_flight=in_flight,
        limits=terms,
        storage=sharing.storage,
        videos=videos,
    )
    code = execute(catalog_from(output, entries, "what ended without a result"), options, connection)
    return ExitCode.FAILED if code == ExitCode.OK and len(entries) < len(chosen) else code
