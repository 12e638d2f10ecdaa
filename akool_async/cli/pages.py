"""What a report shows of a journal, in the words of `status` and `list`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import anyio
import attrs
from anyio.to_thread import run_sync

from akool_async._download import find_file, local_path
from akool_async._journal import Entry
from akool_async._journal.entry import dump_request, load_request
from akool_async._model.errors import AkoolError
from akool_async._model.locations import BucketPath, Location, is_private, result_path
from akool_async._model.outcomes import MANIFEST, Saved
from akool_async._model.redact import sanitize, strip_query
from akool_async._model.requests import AUTO_DETECT, LipSyncRequest, video_url
from akool_async._model.states import State
from akool_async._storage import BucketFolder, result_folder
from akool_async.captions import first_version
from akool_async.cli.console import counted, print_error, print_info
from akool_async.cli.journal_report import NOT_SUBMITTED, TO_CORRECT, WORDS, entry_json, read_status
from akool_async.cli.options import OutputOptions
from akool_async.cli.report import request_label
from akool_async.cli.run_history import read_history
from akool_async.report import Report, ReportEntry, ReportFolder

if TYPE_CHECKING:
    from akool_async.ledger import Ledger

_FOLDER: Final = "report"
_NONE: Final[Mapping[str, Path]] = {}


def report_folder(output: OutputOptions, named: Path | None = None) -> ReportFolder:
    """Return the folder of a report: the one that was named, or the usual one in that of the results."""
    return ReportFolder(output.local / _FOLDER if named is None else local_path(named))


def write_report(output: OutputOptions) -> Path | None:
    """Write the report of a journal; return its first page, or print why there is none.

    Runs a loop of its own, so that it can be called in a thread while a run is in progress.
    """
    try:
        return report_folder(output).write(anyio.run(collect_report, output))
    except AkoolError as error:
        print_error(error)
    except Exception as error:  # noqa: BLE001 - a page that can't be made must not end a run with paid jobs
        print_error(f"The report could not be written: {sanitize(repr(error))}. The results are not touched.")
    return None


async def collect_report(output: OutputOptions, originals: Mapping[str, Path] = _NONE) -> Report:
    """Read what a report shows; a run may be writing the journal meanwhile.

    `originals` are the original videos on this machine, by the names that their URLs have.

    Raises:
        JournalError: the journal can't be read, or there is none.
    """
    async with output.reading() as journal:
        status = await read_status(journal, output)
        entries = []
        async for entry in journal.entries():
            key, version = first_version(entry, journal)
            first = entry if version == 1 else journal.get(key, entry.target) or entry
            entries.append(_report_entry(entry, first, version, output, originals))
        entries += (
            ReportEntry(
                label=row.label,
                group=row.key,
                key=row.key,
                target=row.target,
                state=TO_CORRECT if row.reason else NOT_SUBMITTED,
                reason=row.reason,
                advice=row.advice,
            )
            for row in read_history(output.path).unsent(journal)
        )
    return Report(
        title=output.out.absolute().name or "Translations",
        now=status.now,
        running=status.lock_holder is not None,
        entries=tuple(entries),
        counts={word: status.counts.get(word, 0) for word in WORDS},
        used=status.used,
        locked=status.locked,
        unpriced=status.unpriced,
        next_steps=status.next_steps,
        command=output.command("report"),
    )


async def collect_ledger_report(
    ledger: Ledger, output: OutputOptions, originals: Mapping[str, Path]
) -> Report:
    """Read what a report shows of a ledger, which is open; workers may be writing it meanwhile.

    Raises:
        LedgerError: the database failed.
    """
    entries = []
    async for entry in ledger.entries():
        # A ledger keeps URLs whole, with what signs them; pages are handed on.
        request = load_request(dump_request(entry.request))
        redacted = attrs.evolve(entry, request=request, url_redacted=request != entry.request)
        shown = _report_entry(redacted, redacted, 1, output, originals)
        entries.append(attrs.evolve(shown, advice=""))  # which names commands for a journal
    locked, used = await ledger.credits()
    states = Counter(entry.state for entry in entries)
    doubts = states["in doubt"]
    steps = [(f"{counted(doubts, 'doubt')}, each a paid job or none", ledger.command("resolve"))]
    return Report(
        title=f"Ledger of {ledger.account}",
        now=ledger.clock.now(),
        running=any(worker.state == "running" for worker in await ledger.workers()),
        entries=tuple(entries),
        counts={word: states[word] for word in WORDS},
        used=used,
        locked=locked,
        unpriced=sum(entry.unpriced for entry in entries),
        next_steps=tuple(steps) if doubts else (),
    )


async def copy_results(output: OutputOptions) -> int:
    """Copy saved results that are in buckets to where pages find them; return how many files were copied.

    Raises:
        JournalError: the journal can't be read, or there is none.
        DownloadError: a file is not in its bucket, or is not what was saved.
        StorageError: a file can't be written, or the bucket not be used.
    """
    number = 0
    async with output.reading() as journal:
        async for entry in journal.entries(states={State.DELIVERED}):
            missing = _elsewhere(entry, output)
            if not missing:
                continue
            # Where it was saved, which may be another bucket than the one that is named now.
            folder = result_folder("/".join(missing[0].split("/")[: -1 - entry.name.count("/")]), None)
            assert isinstance(folder, BucketFolder)  # noqa: S101 - its files have URLs of a bucket
            copied = await run_sync(partial(folder.copy_here, entry.files, output.local, name=entry.name))
            number += len(copied)
            for path in copied:
                print_info(f"copied  {path}")
    return number


def _elsewhere(entry: Entry, output: OutputOptions) -> tuple[str, ...]:
    """Return the files of a result that are in a bucket and have no copy on this machine."""
    remote = [file for file in entry.files if isinstance(result_path(file), BucketPath)]
    return tuple(
        file
        for file in remote
        if not file.endswith(MANIFEST) and not find_file(file, output.local, entry.name).exists()
    )


def _report_entry(
    entry: Entry, first: Entry, version: int, output: OutputOptions, originals: Mapping[str, Path]
) -> ReportEntry:
    shown = entry_json(entry, output)
    # The folder may have been moved together with its files.
    files = [find_file(file, output.local, entry.name) for file in entry.files]
    saved = Saved.from_paths([str(path) for path in files]) if entry.state is State.DELIVERED else None
    locked = 0.0 if entry.state in (State.FAILED, State.PLANNED) else entry.credits_locked or 0.0
    used = locked if entry.credits_used is None else entry.credits_used
    url = video_url(entry.request)
    source = "" if isinstance(entry.request, LipSyncRequest) else entry.request.source_language
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return ReportEntry(
        label=request_label(first.request),
        # A query that is no secret says which video it is.
        group=first.request.key or (url if entry.request.url_is_public else strip_query(url)),
        key=entry.key,
        target=entry.target,
        state=shown["state"],
        reason=shown["reason"],
        advice="" if shown["advice"] in shown["reason"] else shown["advice"],
        code=entry.code,
        job_id=entry.job_id,
        credits=shown["credits"],
        cost=used + entry.credits_before,
        submitted_at=entry.submitted_at,
        ended_at=entry.ended_at,
        expires_at=shown["expires_at"],
        video=None if saved is None or not saved.video.exists() else saved.video,
        translated=None if saved is None else saved.translated_srt,
        spoken=None if saved is None else saved.original_srt,
        files=tuple(path for path in files if path.exists()),
        elsewhere=_elsewhere(entry, output),
        source="" if source == AUTO_DETECT else source,
        original=originals.get(name) or _original(entry, url),
        version=version,
    )


def _original(entry: Entry, url: str) -> str | Path:
    """Return where the original can be played from without a signature, or ""."""
    if is_private(url):
        place = Location.parse(url)
        # `Path.is_file` raises for a name that no file can have, such as a very long one.
        is_here = place.scheme == "file" and os.path.isfile(place.key)  # noqa: PTH113
        return Path(place.key) if is_here else ""
    return "" if entry.url_redacted else url
