"""`akool-async list` and `export`: the entries of a journal one by one, for people, programs and tables."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import unquote, urlsplit

import anyio
import attrs
from cyclopts import Parameter

from akool_async._download import local_path
from akool_async._journal import Journal
from akool_async._journal.names import check_name
from akool_async._model.csv_cells import escape_formula
from akool_async._model.errors import ConfigurationError, StorageError
from akool_async._model.redact import sanitize
from akool_async._model.states import WITHOUT_RESULT
from akool_async._model.tariff import credits_text
from akool_async.cli.catalog.languages import chosen_languages
from akool_async.cli.console import (
    counted,
    encode_json,
    expiry_text,
    format_value,
    moment_text,
    print_command,
    print_info,
    print_rows,
    write_json,
    write_lines,
)
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import (
    NOT_SUBMITTED,
    TO_CORRECT,
    JournalStatus,
    doubtful_states,
    entry_json,
    not_downloaded,
    read_status,
)
from akool_async.cli.options import DEFAULT_OUTPUT, JournalPlace, JsonFlag, Length, OutputOptions
from akool_async.cli.run_history import read_history
from akool_async.cli.saved_files import with_results

T = TypeVar("T")
FIELDS: Final = tuple(
    "key target state reason code job_id credits submitted_at ended_at expires_at files".split()
)
"""The fields of lines for programs, and the first ones of CSV."""

ALL_FIELDS: Final = (*FIELDS, "url", "doubt_ids", "advice")
_SHOWN: Final = {
    "key": "Key",
    "video": "Video",
    "target": "Language",
    "state": "State",
    "reason": "Reason",
    "code": "Code",
    "credits": "Credits",
    "expires": "Expires",
    "job_id": "Job",
    "file": "File",
    "submitted": "Submitted",
    "ended": "Ended",
}
_OPTIONAL: Final = ("reason", "expires", "credits", "file", "video", "job_id", "code", "submitted", "ended")
"""Columns that a terminal may be too narrow for; the last ones are left out first."""

_JSON_LINES: Final = ("", ".jsonl", ".ndjson", ".json", ".txt")

_LEAD: Final = re.compile(
    r"The vendor refused the call: |Job \w+ failed (?:\(error -?\d+\)\. The vendor says: )?|"
    r"A paid call was sent and its answer is not known\. "
)
"""What many reasons begin with: the state says as much, and a terminal has little room."""

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{32}")
"""The key of an entry that has no name of its own, which says nothing to a person."""

Sort = Literal["key", "language", "state", "code", "credits", "submitted", "ended", "expires"]


@Parameter(name="*", group="Entries")
@attrs.frozen(kw_only=True)
class EntryOptions:
    """Which entries are wanted, as `Journal.entries` has it.

    Attributes:
        failed: What failed, was refused or expired: what `retry --failed` pays for again.
        in_doubt: Paid calls whose answer is unknown: what `resolve` explains.
        expiring: Results that are not saved and expire within this time, such as 2d: what `collect` saves.
        language: Only these languages, such as ja or ja,fr.
        key: Only keys that match this; * stands for any text, ? for one character.
    """

    failed: Annotated[bool, Parameter(negative="")] = False
    in_doubt: Annotated[bool, Parameter(negative="")] = False
    expiring: Length | None = None
    language: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    key: str | None = None

    async def rows(self, journal: Journal, output: OutputOptions) -> list[dict[str, Any]]:
        """Return the entries that are asked for, in the order of their catalogs, then in the journal's."""
        languages = chosen_languages(self.language) or None
        states = WITHOUT_RESULT if self.failed else frozenset()
        if self.in_doubt:
            states |= doubtful_states(journal)
        expiring: set[tuple[str, str]] = set()
        if self.expiring is not None:
            soon = journal.entries(key=self.key, targets=languages, expiring=self.expiring)
            expiring = {(entry.key, entry.target) async for entry in soon}
            expiring |= {(entry.key, entry.target) for entry in not_downloaded(journal, self.expiring)}
        every = not states and self.expiring is None
        found = journal.entries(states=None if every or expiring else states, key=self.key, targets=languages)
        rows = [
            entry_json(entry, output)
            async for entry in found
            if every or entry.state in states or (entry.key, entry.target) in expiring
        ]
        history = read_history(output.path)
        if every:
            rows += (
                dict.fromkeys(ALL_FIELDS)
                | {"key": row.key, "target": row.target, "files": [], "doubt_ids": []}
                | {"state": TO_CORRECT if row.reason else NOT_SUBMITTED}
                | {"reason": row.reason, "advice": row.advice}
                for row in history.unsent(journal)
                if (self.key is None or fnmatchcase(row.key, self.key))
                and (languages is None or row.target in languages)
            )
        # So that it can be compared with the catalog, whatever was corrected, added or moved there since.
        places = history.places()
        rows.sort(key=lambda row: places.get((row["key"], row["target"]), len(places)))
        return rows


DEFAULT_ENTRIES: Final = EntryOptions()


def list_entries(
    place: JournalPlace = None,
    /,
    *,
    wanted: EntryOptions = DEFAULT_ENTRIES,
    sort: Sort | None = None,
    reverse: Annotated[bool, Parameter(negative="")] = False,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    as_json: JsonFlag = False,
    output: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """List the entries of a journal: state, reason, job, credits, times, files.

    --failed, --in-doubt and --expiring select what matches any of them; --language and --key narrow that
    down. A terminal shows as many columns as it has room for. It only reads, also while a run is in progress.

    Parameters
    ----------
    sort
        Order by a field; what has no value comes last. Default is the order of the catalog in its last run;
        what is in no catalog comes after that, in the order in which it was entered.
    reverse
        Reverse the order.
    as_csv
        Print CSV with a header, for a spreadsheet.
    """
    output = with_results(output.at(place))

    async def read() -> tuple[list[dict[str, Any]], JournalStatus]:
        async with output.reading() as opened:
            return await wanted.rows(opened, output), await read_status(opened, output)

    rows, found = anyio.run(read)
    if sort is not None:
        field = {"language": "target"}.get(sort, sort)
        field = f"{sort}_at" if sort in ("submitted", "ended", "expires") else field
        known = sorted(
            (row for row in rows if row[field] is not None), key=lambda row: row[field], reverse=reverse
        )
        rows = known + [row for row in rows if row[field] is None]
    elif reverse:
        rows.reverse()
    if as_json:
        write_json(rows)
    elif as_csv:
        write_lines(_csv_lines(rows, FIELDS))
    elif not sys.stdout.isatty():
        print_rows(rows, dict.fromkeys(FIELDS, ""), as_json=False)
    else:
        shown = [row | _in_words(row, found.now) for row in rows]
        # A key that is a hash says nothing of an entry that has no file either.
        unnamed = any(row["video"] and not row["file"] for row in shown)
        first = ("video",) if unnamed else ()
        optional = tuple(dict.fromkeys((*first, *_OPTIONAL)))
        if print_rows(shown, _SHOWN, as_json=False, optional=optional, cut="reason"):
            print_info("Reasons are cut to fit; --csv and --json have them whole.")
        print_info(f"{len(rows):,} of {counted(sum(found.counts.values()), 'entry')}.")
        for why, command in found.next_steps:
            print_command(f"{why}:", command)
    return ExitCode.OK


def export(
    place: JournalPlace = None,
    /,
    *,
    to: Path | None = None,
    wanted: EntryOptions = DEFAULT_ENTRIES,
    as_csv: Annotated[bool, Parameter(name="--csv", negative="")] = False,
    output: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Write the entries of a journal with all their fields: JSON Lines, or CSV.

    It only reads, also while a run is in progress. No cell of the CSV is a formula.

    Parameters
    ----------
    to
        A new file; default is stdout. It ends in .csv for CSV, or in .jsonl for JSON Lines.
    as_csv
        Write CSV with a header, for a spreadsheet.
    """
    if to is not None:
        to = local_path(to)
        check_name(to)
    ending = "" if to is None else to.suffix.lower()
    as_csv |= ending == ".csv"
    if ending not in (("", ".csv", ".txt") if as_csv else _JSON_LINES):
        raise ConfigurationError(
            f"{to} ends in {sanitize(ending)!r}, which is no format of an export.",
            advice="Name a file that ends in .csv, for a spreadsheet, or in .jsonl, for JSON Lines.",
        )
    output = with_results(output.at(place))

    async def read() -> list[dict[str, Any]]:
        async with output.reading() as opened:
            return await wanted.rows(opened, output)

    rows = anyio.run(read)
    lines = _csv_lines(rows, ALL_FIELDS) if as_csv else (json.dumps(row, default=encode_json) for row in rows)
    if to is None:
        write_lines(lines)
        return ExitCode.OK
    try:
        # With a byte order mark Excel reads UTF-8; without one it takes it for the system's code page.
        with to.open("x", encoding="utf-8-sig" if as_csv else "utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise StorageError(
            f"{to} can't be written: {error.strerror}.",
            impact="Nothing was overwritten.",
            advice="Name a new file with --to.",
        ) from error
    print_info(f"{to}: {counted(len(rows), 'entry')} of {output.path}.")
    return ExitCode.OK


def _in_words(row: dict[str, Any], now: datetime) -> dict[str, str]:
    expires = row["expires_at"]
    url = row["url"] or ""
    named = not _FINGERPRINT.fullmatch(row["key"])
    unsaved = row["state"] in ("done", "at the vendor")
    return {
        "video": "" if named else unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2] or url,
        "reason": _LEAD.sub("", row["reason"] or "", count=1),
        "expires": expiry_text(expires, now).removeprefix("expires ") if expires and unsaved else "",
        "file": next(iter(row["files"]), ""),
        "credits": "" if row["credits"] is None else credits_text(row["credits"]),
        "submitted": moment_text(row["submitted_at"]),
        "ended": moment_text(row["ended_at"]),
    }


def _csv_lines(rows: Iterable[dict[str, Any]], fields: Iterable[str]) -> Iterator[str]:
    """Yield a table for spreadsheets, in which no text is taken for a formula."""
    fields = tuple(fields)
    yield ",".join(fields).replace("target", "language")
    for row in rows:
        cells = []
        for name in fields:
            value = row[name]
            text = value.isoformat() if isinstance(value, datetime) else format_value(value)
            # Keys and reasons come from others; a negative number is no formula.
            cells.append(text if isinstance(value, float | int) else escape_formula(text))
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(cells)
        yield line.getvalue()
