"""`akool-async report`: a journal as pages for people."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter

from akool_async._download import local_path
from akool_async.cli.console import counted, print_info, write_lines
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import DEFAULT_OUTPUT, OutputOptions
from akool_async.cli.pages import collect_report, copy_results, report_folder
from akool_async.cli.saved_files import with_results


def report(
    journal: Path | None = None,
    /,
    *,
    to: Path | None = None,
    originals: Path | None = None,
    copies: Annotated[bool, Parameter(negative="")] = False,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
    output: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Write pages that show a journal: videos beside their originals, transcripts, costs, failures, doubts.

    The pages need no network and no server, and hold no signatures of URLs. They link to the saved files: to
    share them, share the folder of the results. It only reads, also while a run is in progress.

    Parameters
    ----------
    journal
        The journal, or the folder with the results; default is --out or --journal.
    to
        Folder for the pages; default is `report` in the folder of the results.
    originals
        Folder with the original videos, for those whose URL was signed: files of the same name as in the URL.
    copies
        Copy results that are in a bucket to this machine, beside the journal: pages play files only. Files
        that already exist are left alone.
    open_
        Open the first page in a browser.
    """
    output = with_results(output.at(journal), looked_into=to is None)
    local = {} if originals is None else {path.name: path for path in local_path(originals).iterdir()}
    pages = report_folder(output, to)
    index = pages.write(data := anyio.run(collect_report, output, local))
    if copies and anyio.run(copy_results, output):
        index = pages.write(data := anyio.run(collect_report, output, local))
    print_info(f"{counted(len(data.entries), 'entry')} of {output.path}:")
    write_lines([str(index)])
    if open_ and not webbrowser.open(index.absolute().as_uri()):
        print_info("No browser could be started.")
    return ExitCode.OK
