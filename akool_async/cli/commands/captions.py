"""`akool-async captions pull` and `check`: subtitles out to reviewers, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import anyio
from cyclopts import Parameter

from akool_async._download import local_path
from akool_async._journal import Entry
from akool_async._model.errors import ConfigurationError, StorageError
from akool_async.captions import (
    CaptionFault,
    CaptionFileError,
    Layout,
    check_cues,
    lay_out,
    read_cues,
    read_translation,
)
from akool_async.cli.console import counted, print_command, print_info, print_rows, shown_argument
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import DEFAULT_OUTPUT, JsonFlag, OutputOptions
from akool_async.cli.saved_files import with_results
from akool_async.cli.subtitles import DEFAULT_CHECK, CheckOptions, Folder, captions_folder, saved_subtitles

_LANGUAGE_IN_NAME: Final = re.compile(r".*\.([A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,20})*)(?:\.bilingual)?\.\w+")
_MAX_SHOWN: Final = 10
_COLUMNS: Final[Mapping[str, str]] = {
    "file": "File",
    "cue": "Cue",
    "time": "Time",
    "fault": "Fault",
    "message": "What is wrong",
}
Languages = Annotated[
    tuple[str, ...],
    Parameter(name="--language", negative="", show_default=False, help="Only these, such as ja or ja,fr."),
]


def captions_pull(
    *keys: str,
    language: Languages = (),
    table: Annotated[tuple[Literal["csv", "xlsx"], ...], Parameter(negative="", show_default=", ".join)] = (
        "csv",
    ),
    bilingual: Annotated[bool, Parameter(negative="")] = False,
    to: Path | None = None,
    output: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Write the saved subtitles for reviewers: as SRT, and both languages in a table.

    A reviewer corrects the SRT of the translation, or the column `translation` of the table. Files that
    already exist are left alone.

    Parameters
    ----------
    keys
        Keys of the entries, in which * stands for any letters; default is all. The journal, or the folder
        with the results, may come first.
    table
        Kinds of table.
    bilingual
        Also an SRT with both languages in each cue, to be watched with the video.
    to
        Folder for the files; default is `captions` in the folder of the results.
    """
    output, keys = output.at_first_of(keys)
    output = with_results(output)
    folder = captions_folder(output, to)
    layouts: list[Layout] = ["srt", *table, *(["bilingual"] if bilingual else [])]  # type: ignore[list-item]
    written: list[Path] = []
    kept: list[Path] = []
    for one in anyio.run(saved_subtitles, output, keys, language):
        translated = read_cues(one.translated)
        try:
            (folder / one.name).parent.mkdir(parents=True, exist_ok=True)
            made, left = lay_out(folder, one.name, one.spoken_cues, translated, layouts)
        except OSError as error:
            raise StorageError(
                f"{error.filename or folder} can't be written: {error.strerror}.",
                impact="The results are not touched by this.",
                advice="Correct the permissions or make space, or name another folder with --to.",
            ) from error
        written += made
        kept += left
    print_rows([{"file": str(path)} for path in written], {"file": "File"}, as_json=False)
    print_info(f"{counted(len(written), 'file')} written to {folder}.")
    if kept:
        print_info(f"{counted(len(kept), 'file')} left alone: already there, perhaps with corrections.")
    if written or kept:
        print_command("Once they are corrected, check them:", output.command("captions check", folder=to))
    else:
        print_info(f"Nothing in {output.path} is saved with subtitles.")
    return ExitCode.OK


def captions_check(
    *files: Path,
    language: str | None = None,
    original: Path | None = None,
    folder: Folder = None,
    as_json: JsonFlag = False,
    check: CheckOptions = DEFAULT_CHECK,
    output: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Find what is wrong with subtitles: too fast, too long, overlapping, empty, a term that is missing.

    Without files it checks all saved subtitles, each as a reviewer corrected it in the files of
    `captions pull`. Terms come from the requests and from --glossary. The exit code is 1 if something was
    found.

    Parameters
    ----------
    files
        Subtitle files, or tables from `captions pull`; or the folder with the results, as for --out.
    language
        Language of the files; default is what their names say, as in talk.ja.srt.
    original
        Subtitles in the source language, to find terms in; default is FILE.original.srt beside a file.
    """
    words = check.read_glossary()
    if len(files) == 1 and local_path(files[0]).is_dir():
        output, files = output.at(files[0]), ()
    for path in map(local_path, files):
        if not path.is_file():
            raise ConfigurationError(
                f"There is no file {shown_argument(path)}.",
                advice="Name subtitle files, or the folder with the results alone.",
            )
    output = with_results(output)
    checked = 0
    corrected: dict[tuple[str, str], None] = {}
    rows: list[dict[str, Any]] = []
    laid_out = captions_folder(output, folder)
    for path, target, spoken, entry in _to_check(files, language, original, output, laid_out):
        checked += 1
        if entry is not None and path.is_relative_to(laid_out):
            corrected[entry.key, target] = None
        try:
            cues, original_cues = read_translation(path), () if spoken is None else read_cues(spoken)
        except CaptionFileError as error:
            found = {"file": str(path), "cue": None, "time": "", "fault": "unreadable", "message": str(error)}
            rows.append(found)
            continue
        terms = check.terms(None if entry is None else entry.request, target, words)
        faults = check_cues(cues, check.limits(target), target=target, spoken=original_cues, terms=terms)
        rows += (_fault_row(path, fault) for fault in faults)
    print_rows(rows, _COLUMNS, as_json=as_json)
    where = len({row["file"] for row in rows})
    if rows:
        print_info(f"{counted(len(rows), 'fault')} in {where} of {counted(checked, 'file')}.")
        if not files:
            print_command(
                "To lay them out for correction, and to check again what was corrected:",
                output.command("captions pull", to=folder),
                output.command("captions check", folder=folder),
            )
        return ExitCode.FAILED
    print_info(f"{counted(checked, 'file')}: nothing was found.")
    if corrected:
        pushes = [
            output.command("captions push", key, language=target, folder=folder)
            for key, target in islice(corrected, _MAX_SHOWN)
        ]
        print_command("To translate again with what was corrected, which costs credits:", *pushes)
        if len(corrected) > _MAX_SHOWN:
            print_info(f"    and {len(corrected) - _MAX_SHOWN:,} more")
    return ExitCode.OK


def _to_check(
    files: tuple[Path, ...],
    language: str | None,
    original: Path | None,
    output: OutputOptions,
    laid_out: Path,
) -> Iterator[tuple[Path, str, Path | None, Entry | None]]:
    for path in map(local_path, files):
        named = _LANGUAGE_IN_NAME.fullmatch(path.name)
        beside = path.with_name(f"{path.stem}.original.srt")
        spoken = local_path(original) if original is not None else beside if beside.exists() else None
        yield path, language or (named[1] if named else ""), spoken, None
    if not files:
        languages = () if language is None else (language,)
        for one in anyio.run(saved_subtitles, output, (), languages):
            for path in one.corrected(laid_out) or [one.translated]:
                yield path, one.entry.target, one.spoken, one.entry


def _fault_row(path: Path, fault: CaptionFault) -> dict[str, Any]:
    minutes, rest = divmod(fault.start / 1000, 60)
    return {
        "file": str(path),
        "cue": fault.number,
        "time": f"{int(minutes)}:{rest:06.3f}",
        "fault": fault.fault.value,
        "message": fault.message,
    }
