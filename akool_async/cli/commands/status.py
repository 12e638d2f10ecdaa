"""`akool-async status`, `verify` and `backup`: what a journal and a folder hold, and what to do; a copy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import attrs
from anyio.to_thread import run_sync
from cyclopts import Parameter

from akool_async._batch import open_batch
from akool_async._download import FOLDER_ROW, FileState, SavedResult, local_path
from akool_async._journal import Entry, open_journal
from akool_async._model.errors import ConfigurationError, JournalError
from akool_async._model.locations import BucketPath
from akool_async._model.outcomes import Completed, cause_of
from akool_async._model.states import State
from akool_async._storage import ResultFolder, result_folder, verify
from akool_async.cli.catalog import names_for
from akool_async.cli.console import (
    ago,
    counted,
    credits_line,
    expiry_text,
    format_value,
    print_command,
    print_error,
    print_info,
    print_rows,
    print_wrapped,
    write_json,
)
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import (
    MAX_SHOWN,
    NOT_SUBMITTED,
    TO_CORRECT,
    WORDS,
    JournalStatus,
    advice_for,
    entry_json,
    entry_label,
    read_status,
    state_word,
)
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_OUTPUT,
    ConnectionOptions,
    JournalPlace,
    JsonFlag,
    OutputOptions,
)
from akool_async.cli.saved_files import with_results

_NAMED: Final = 5
"""Entries that are named for one cause."""


def status(
    place: JournalPlace = None, /, *, output: OutputOptions = DEFAULT_OUTPUT, as_json: JsonFlag = False
) -> int:
    """Show what the journal holds: saved, in progress, failed, in doubt, what expires soon, what to do next.

    It only reads, so it can be used while a run is in progress. `list` shows every entry.
    """
    output = with_results(output.at(place))

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
    if found.older is not None:
        yield format_value(found.older)
    yield ""
    width = len(f"{max(found.counts.values()):,}")
    for state, words in WORDS.items():
        if found.counts[state]:
            yield f"  {found.counts[state]:>{width},}  {words}"
    if found.incomplete:
        yield f"  {found.incomplete:>{width},}  of the saved without a file of the video, such as subtitles"
    if found.without_manifest:
        yield (
            f"  {found.without_manifest:>{width},}  of the saved without their manifest, so that nothing "
            "says whether they are whole"
        )
    yield ""
    yield f"Credits: {credits_line(found.used, found.locked, found.unpriced)}."
    if found.counts[NOT_SUBMITTED] and found.lock_holder is None:
        yield f"Interrupted: {counted(found.counts[NOT_SUBMITTED], 'translation')} not submitted yet."
    if found.expiring:
        yield from ("", "Next to expire at the vendor:")
        for entry in found.expiring:
            assert entry.expires_at is not None  # noqa: S101 - entries without it are not listed
            expiry = expiry_text(entry.expires_at, found.now)
            yield f"  {entry_label(entry)}: {WORDS[state_word(entry, found.output)]}, {expiry}"
    if found.without_result:
        yield from ("", "Without a result:")
        yield from _cause_lines(found)
    if found.to_correct:
        yield from ("", "Refused before they were sent:")
        for row in found.to_correct:
            yield f"  {format_value(f'{row.label} {row.target}'.strip())}: {format_value(row.reason)}"
        yield from _more(found, found.counts[TO_CORRECT])
    if found.doubts:
        yield from ("", "In doubt:")
        for call in _calls(found.doubts[:MAX_SHOWN]):
            sent, why = ago(call[0].submitted_at, found.now), format_value(call[0].reason)
            yield f"  {_names(call)}: sent {sent}. {why}".rstrip()
        yield from _more(found, len(found.doubts), in_doubt=True)
    if found.with_other_jobs:
        yield from ("", "Calls for these named another job, too, which may be billed besides:")
        for entry in found.with_other_jobs[:MAX_SHOWN]:
            ids = ", ".join(map(format_value, entry.doubt_ids[:_NAMED]))
            hidden = len(entry.doubt_ids) - _NAMED
            more = f" and {hidden:,} more" if hidden > 0 else ""
            yield f"  {entry_label(entry)}: job {format_value(entry.job_id)}; also {ids}{more}."
        yield from _more(found, len(found.with_other_jobs))
        yield "  Look for them in the account's usage on the vendor's site."
    if found.next_steps:
        yield from ("", "Next:")
        for why, command in found.next_steps:
            yield from (f"  {why}:", f"    {command}")
    elif total and not found.lock_holder:
        yield from ("", "Everything that was submitted is saved.")
    if total:
        yield from ("", "All entries, with files and reasons:", f"    {found.output.command('list')}")


def _cause_lines(found: JournalStatus) -> Iterator[str]:
    """Yield why entries have no result, a line for each cause; the most frequent comes first."""
    causes: dict[tuple[str, str], list[Entry]] = {}
    for entry in found.without_result:
        reason, advice = format_value(cause_of(entry.reason, entry.job_id)), advice_for(entry, found.output)
        end = "" if not reason or reason.endswith(".") else "."
        why = reason if advice in reason else f"{reason}{end} {advice}".strip()
        causes.setdefault((state_word(entry, found.output), why), []).append(entry)
    frequent = sorted(causes.items(), key=lambda cause: -len(cause[1]))[:MAX_SHOWN]
    for (state, why), entries in frequent:
        more = f" and {len(entries) - _NAMED:,} more" if len(entries) > _NAMED else ""
        yield f"  {_names(entries[:_NAMED])}{more}: {state}. {why}".rstrip()
    hidden = len(found.without_result) - sum(len(entries) for _, entries in frequent)
    if hidden:
        yield f"  and {hidden:,} for other reasons:"
    elif any(len(entries) > _NAMED for _, entries in frequent):
        yield "  Each of them:"
    else:
        return
    yield f"    {found.output.command('list', failed=True)}"


def _calls(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield the entries of one paid call together, which has several languages."""
    for _, call in groupby(entries, lambda entry: (entry.key, entry.submitted_at, entry.reason)):
        yield [*call]


def _names(entries: Iterable[Entry]) -> str:
    """Return what people call entries, the languages of one video together."""
    videos = [[*same] for _, same in groupby(entries, lambda entry: entry.key)]
    return "; ".join(", ".join([entry_label(one[0]), *(entry.target for entry in one[1:])]) for one in videos)


def _more(found: JournalStatus, number: int, **option: bool) -> Iterator[str]:
    if number > MAX_SHOWN:
        yield f"  and {number - MAX_SHOWN:,} more:"
        yield f"    {found.output.command('list', **option)}"


def _status_json(found: JournalStatus) -> dict[str, Any]:
    holder = found.lock_holder
    return {
        "journal": str(found.output.path),
        "lock_holder": holder and {"pid": holder.pid, "host": holder.host, "since": holder.since},
        "older": None if found.older is None else found.older.message,
        "states": {state.value: count for state, count in found.states.items()},
        "counts": dict(found.counts),
        "incomplete": found.incomplete,
        "without_manifest": found.without_manifest,
        "credits": {"used": found.used, "locked": found.locked},
        "jobs_without_price": found.unpriced,
        "expiring_within_2_days": found.expiring_soon,
        "needs_catalog": found.needs_catalog,
        "not_submitted": found.counts[NOT_SUBMITTED],
        "not_submitted_of_catalogs": dict(found.not_submitted),
        "to_correct_of_catalogs": dict(found.refused_rows),
        "expiring": [entry_json(entry, found.output) for entry in found.expiring],
        "without_result": [entry_json(entry, found.output) for entry in found.without_result],
        "with_other_jobs": [entry_json(entry, found.output) for entry in found.with_other_jobs],
        "in_doubt": [entry_json(entry, found.output) for entry in found.doubts],
        "next_steps": [command for _, command in found.next_steps],
    }


def backup(journal: Path, to: str, /) -> int:
    """Copy a journal to a new file, also while a run is writing it; nothing is overwritten.

    Do not use `cp`: it may copy half of a write, or leave out what is in the log beside the journal.

    Parameters
    ----------
    journal
        The journal, or the folder with the results.
    to
        The new file, or a folder for it.
    """
    output, place = DEFAULT_OUTPUT.at(journal), local_path(Path(to))
    is_folder = place.is_dir() or to.endswith((os.sep, "/"))
    target = place / output.path.name if is_folder else place

    async def copy() -> int:
        async with output.reading() as opened:
            await opened.backup(target)
        async with open_journal(target, read_only=True) as copied:
            return sum(copied.counts().values())

    print_info(f"{target}: {counted(anyio.run(copy), 'entry')} of {output.path}.")
    return ExitCode.OK


_FILE_COLUMNS: Final = {
    "path": "File",
    "state": "State",
    "reason": "Reason",
    "key": "Key",
    "target": "Language",
    "job_id": "Job",
}


def verify_results(
    place: JournalPlace = None,
    /,
    *,
    fix: Annotated[bool, Parameter(negative="")] = False,
    quick: Annotated[bool, Parameter(negative="")] = False,
    as_json: JsonFlag = False,
    output: OutputOptions = DEFAULT_OUTPUT,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Compare the files in a folder of results with what was saved: deleted, changed, not verified.

    The manifests beside the results and the journal say what was saved. Without --fix it needs no account
    and changes nothing. The exit code is 1 if a file is not as it was saved, or if nothing says what was
    saved.

    Parameters
    ----------
    fix
        Download again what the vendor still has, without paying; a changed file is kept, and the result saved
        beside it under another name.
    quick
        Check only that the files exist and have their size, without reading them.
    as_json
        Print all files; without it only those that are not as they were saved.
    """
    output = with_results(output.at(place), looked_into=True)
    if fix:
        anyio.run(_restore, output, connection.with_key(), not quick)
    results, is_known, left = anyio.run(_look, output, not quick)
    rows = [
        {
            "path": str(file.path or result.manifest.parent / file.artifact),
            "state": file.state.value,
            "reason": file.reason,
            "key": result.key,
            "target": result.target,
            "job_id": result.job_id,
            "artifact": file.artifact,
        }
        for result in results
        for file in result.files
    ]
    damaged = [row for row in rows if row["state"] != FileState.INTACT]
    print_rows(rows if as_json else damaged, _FILE_COLUMNS, as_json=as_json, optional=("job_id", "target"))
    folders = sum(row["artifact"] == FOLDER_ROW for row in rows)
    files, wrong = counted(len(rows) - folders, "file"), len(damaged) - folders
    found = f"{files} of {counted(len(results) - folders, 'result')} in {output.out}"
    if folders:
        print_info(
            f"{counted(folders, 'folder')} can't be read, so what was saved there was not verified. "
            "Correct the permissions, and verify again."
        )
    if left:
        why = f"{counted(left, 'result')} done and never downloaded, so there is nothing to verify:"
        print_command(why, output.command("collect"))
    if wrong:
        print_info(f"{found}: {wrong:,} not as they were saved. They are left as they are.")
        if not fix:
            why = "To save again what the vendor still has, beside a changed file under another name:"
            print_command(why, output.command("verify", fix=True))
    elif len(results) > folders:
        print_info(f"{found}: all as they were saved.")
    elif folders:
        print_info(f"Nothing in {output.out} could be verified.")
    elif is_known:
        print_info(f"Nothing was saved yet, as {output.path} says.")
    else:
        print_info(f"{found}, and no journal says what was saved. Name the journal with --journal.")
    return ExitCode.OK if not damaged and (is_known or (is_known is None and results)) else ExitCode.FAILED


async def _look(output: OutputOptions, hashes: bool) -> tuple[list[SavedResult], bool | None, int]:
    """Return the results that the folder has or the journal calls saved; and whether that could be read.

    Without a journal (None) a folder is verified by its manifests, and nobody misses what is gone altogether.
    The number is that of results which no run has downloaded.
    """
    saved, is_known, left = [], None, 0
    # The journal before the folder: a run may be saving more, whose files are there before it says so.
    try:
        async with output.reading() as journal:
            async for entry in journal.entries(states={State.DELIVERED}):
                left += not entry.files
                if entry.files:
                    saved.append((entry.files, entry.name, entry.key, entry.target, entry.job_id))
        is_known = True
    except ConfigurationError:
        if output.journal is not None:  # else a mistyped name would be answered with what is in `results`
            raise
    except JournalError as error:
        is_known = False
        print_error(error)
    results = {_place(result): result for result in await verify(output.out, hashes=hashes)}
    folder = result_folder(output.out, None)
    for files, name, key, target, job_id in saved:
        result = await _find_saved(folder, files, name, hashes=False)
        known = results.get(_place(result))
        if known is None or not known.job_id:
            if hashes:  # its manifest is gone or damaged, or it was saved elsewhere
                result = await _find_saved(folder, files, name, hashes=True)
            results[_place(result)] = attrs.evolve(result, key=key, target=target, job_id=job_id)
    return [*results.values()], is_known, left


async def _find_saved(folder: ResultFolder, files: Sequence[str], name: str, *, hashes: bool) -> SavedResult:
    """Return what became of files that a journal has; those of which no manifest tells are damaged."""
    result = await run_sync(partial(folder.find_result, files, name=name, hashes=hashes))
    return result if hashes or result.job_id else await _find_saved(folder, files, name, hashes=True)


def _place(result: SavedResult) -> str:
    """Return where a result's manifest is, the same by whatever path the folder is named."""
    path = result.manifest
    return str(path if isinstance(path, BucketPath) else path.parent.resolve() / path.name)


async def _restore(output: OutputOptions, connection: ConnectionOptions, hashes: bool) -> None:
    """Download again what the journal calls saved and the folder does not have as it was saved."""
    output.reading()  # raises where there is no journal, which would be made
    async with connection.client() as client, output.writing() as journal:
        damaged: list[Entry] = []
        before: dict[tuple[str, str], SavedResult] = {}
        folder = result_folder(output.out, None)
        for saved in journal.saved_files():
            entry = journal.get(saved.key, saved.target) if saved.files else None
            if entry is None:
                continue
            found = await _find_saved(folder, saved.files, saved.name, hashes=hashes)
            if found.damaged:
                # Each was delivered before, so that none can be submitted and paid again.
                damaged.append(entry)
                before[entry.key, entry.target] = found
        async with open_batch(
            client,
            [entry.request_for_target for entry in damaged],
            journal=journal,
            download_to=output.out,
            file_names={entry.key: names_for(entry.request.key) for entry in damaged},
            recover_pending=False,
            verify_saved=True,  # also with --quick: what is without a manifest is then damaged
        ) as batch:
            async for outcome in batch:
                words = outcome.reason or "not downloaded"
                entry = journal.get(outcome.key, outcome.target)
                if isinstance(outcome, Completed) and outcome.saved is not None and entry is not None:
                    # It counts as saved, too, where a file beside the video could not be had again.
                    whole = await _find_saved(folder, entry.files, entry.name, hashes=hashes)
                    (lost, *_) = whole.damaged or (None,)
                    words = f"downloaded again: {outcome.saved.video}"
                    if lost is not None:
                        words = f"not downloaded whole. The {lost.artifact}: {lost.reason or lost.state}"
                print_info(f"{format_value(outcome.key)} {outcome.target}: {words}")
                if not isinstance(outcome, Completed) or outcome.saved is None:
                    continue
                found, new = before[outcome.key, outcome.target], {path.name for path in outcome.saved.files}
                left = [str(file.path) for file in found.files if file.path and file.path.name not in new]
                if left:
                    why = ", ".join(f"{file.artifact}: {file.reason or file.state}" for file in found.damaged)
                    print_info(
                        f"  left beside it, because they may have been edited ({why}): {', '.join(left)}"
                    )
