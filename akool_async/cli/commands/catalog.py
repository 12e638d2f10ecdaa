"""`akool-async plan`, `run`, `translate` and `lipsync`: submit a catalog, or a catalog of one row."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import anyio
from cyclopts import Parameter

from akool_async._model.errors import InvalidRequestError
from akool_async._model.redact import strip_query
from akool_async._model.requests import LipSyncRequest
from akool_async.cli.catalog import (
    Catalog,
    CatalogError,
    CatalogItem,
    Issue,
    Layout,
    SourceLocation,
    names_for,
)
from akool_async.cli.catalog.readers import CATALOG_ENDINGS
from akool_async.cli.catalog_options import (
    DEFAULT_CATALOG,
    DEFAULT_TRANSLATION,
    CatalogOptions,
    TranslationOptions,
    read_with_names,
)
from akool_async.cli.console import print_command, print_info, print_rows, shown_argument, write_json
from akool_async.cli.events import plan_json
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_LIMITS,
    DEFAULT_OUTPUT,
    ConnectionOptions,
    InFlight,
    OnDoubt,
    OutputOptions,
    PayAgain,
    RetryFailed,
    RunLimits,
)
from akool_async.cli.plan import PlannedAction, RetryRules
from akool_async.cli.preflight import DEFAULT_VIDEOS, VideoOptions, make_checked_plan
from akool_async.cli.report import COLUMNS, plan_lines, plan_rows, terminal_table
from akool_async.cli.run import UNBOUNDED, RunOptions, execute
from akool_async.cli.storage import DEFAULT_STORAGE, StorageOptions

_MAX_SHOWN: Final = 40
"""Entries that are shown on a terminal."""


def plan(
    catalog: Path,
    /,
    *,
    output: OutputOptions = DEFAULT_OUTPUT,
    retry_failed: RetryFailed = False,
    pay_again: PayAgain = False,
    on_in_doubt: OnDoubt = "hold",
    offline: Annotated[bool, Parameter(negative="")] = False,
    in_flight: InFlight = 8,  # noqa: ARG001 - so that `run` with all its options may become `plan`
    videos: VideoOptions = DEFAULT_VIDEOS,
    sharing: StorageOptions = DEFAULT_STORAGE,
    options: TranslationOptions = DEFAULT_TRANSLATION,
    wanted: CatalogOptions = DEFAULT_CATALOG,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Show what `run` would do with a catalog and what it would cost; nothing is spent.

    The catalog is a spreadsheet, or a file of CSV, TSV, JSON Lines or YAML, with a row for each video: url,
    languages, key and any option of a translation. Every mistake in it is reported at once, before the server
    is asked. It accepts all options of `run`: replace `plan` by `run` in the same command to do it. With
    --json it prints one object.

    Parameters
    ----------
    catalog
        File with the videos.
    offline
        Do not ask the server for languages, voices and the balance, and inspect no video.
    """
    rules = RetryRules(on_in_doubt=on_in_doubt, retry_failed=retry_failed, pay_again=pay_again)
    _, storage = terms.saved_command, sharing.storage  # raise for a mistake in them, as in a run
    # Mistakes in the file are reported before a key is asked for and before the server is called.
    read = read_with_names(partial(wanted.read, catalog, options), connection, offline=offline)
    client = None if offline else connection.client()
    make = partial(make_checked_plan, read, output, rules, client, videos, terms.max_credits, storage)
    seen = anyio.run(make)
    if terms.as_json:
        write_json(plan_json(seen) | {"jobs": list(plan_rows(seen, output))})
        return ExitCode.OK
    if sys.stdout.isatty():
        rows, columns = terminal_table(seen, output, _MAX_SHOWN)
        print_rows(rows, columns, as_json=False)
        if len(seen.entries) > _MAX_SHOWN:
            more = len(seen.entries) - _MAX_SHOWN
            print_info(f"and {more:,} more; pipe the output or use --json to see all.")
    else:
        print_rows(plan_rows(seen, output, all_fields=False), COLUMNS, as_json=False)
    print_info("")
    for line in plan_lines(seen):
        print_info(line)
    if seen.counts[PlannedAction.IN_DOUBT]:
        print_command("To resolve submissions whose outcome is unknown, run:", output.command("resolve"))
    return ExitCode.OK


def run(
    catalog: Path,
    /,
    *,
    output: OutputOptions = DEFAULT_OUTPUT,
    in_flight: InFlight = 8,
    retry_failed: RetryFailed = False,
    pay_again: PayAgain = False,
    on_in_doubt: OnDoubt = "hold",
    options: TranslationOptions = DEFAULT_TRANSLATION,
    wanted: CatalogOptions = DEFAULT_CATALOG,
    videos: VideoOptions = DEFAULT_VIDEOS,
    sharing: StorageOptions = DEFAULT_STORAGE,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Translate a catalog and save all results in a folder.

    The same command run again resumes: saved results are left alone, jobs at the vendor are waited for,
    nothing is paid twice. Ctrl-C submits nothing more and saves what is in progress; a second Ctrl-C
    exits now, and the jobs continue at the vendor.

    Exit codes: 0 everything is saved, 1 something failed, 2 wrong usage or catalog, 3 credentials or account,
    4 still running, 5 out of budget, 6 doubts to resolve, 130 interrupted.

    Parameters
    ----------
    catalog
        File with the videos; see `plan`.
    """
    order = RunOptions(
        output=output,
        rules=RetryRules(on_in_doubt=on_in_doubt, retry_failed=retry_failed, pay_again=pay_again),
        in_flight=in_flight,
        limits=terms,
        storage=sharing.storage,
        videos=videos,
        webhook_url=options.webhook_url,
    )
    # All mistakes at once, before anything is sent: a run that stops half-way has already paid.
    return execute(read_with_names(partial(wanted.read, catalog, options), connection), order, connection)


def translate(
    url: str,
    /,
    *,
    key: str | None = None,
    caption_url: str | None = None,
    output: OutputOptions = DEFAULT_OUTPUT,
    retry_failed: RetryFailed = False,
    pay_again: PayAgain = False,
    options: TranslationOptions = DEFAULT_TRANSLATION,
    videos: VideoOptions = DEFAULT_VIDEOS,
    sharing: StorageOptions = DEFAULT_STORAGE,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Translate one video into one or several languages, and save the results.

    Paid jobs are recorded in the folder's journal. Run the same command again to resume; nothing is paid
    twice.

    Parameters
    ----------
    url
        The video's public URL; the vendor fetches it from there.
    key
        Your own name for it; default is a fingerprint of the request.
    caption_url
        Public URL of subtitles to be used, SRT or ASS.
    """
    if "://" not in url and Path(url).suffix.lower() in CATALOG_ENDINGS:
        raise InvalidRequestError(
            f"{shown_argument(url)} is a catalog, not a video.",
            impact="Nothing was sent.",
            advice=f"`akool-async run {shown_argument(url)}` translates its videos.",
        )
    # There is no default language: a wrong guess would be paid for.
    if options.to is None:
        raise InvalidRequestError("The languages are missing. Name them, such as --to ja,fr.")
    wanted = read_with_names(
        lambda names: options.of_one(url, key, names, caption_url=caption_url), connection
    )
    order = RunOptions(
        output=output,
        rules=RetryRules(retry_failed=retry_failed, pay_again=pay_again),
        in_flight=UNBOUNDED,  # one video: a job for each language, all at once
        limits=terms,
        storage=sharing.storage,
        videos=videos,
        webhook_url=options.webhook_url,
    )
    return execute(wanted, order, connection)


def lipsync(
    video_url: str,
    audio_url: str,
    /,
    *,
    key: str | None = None,
    output: OutputOptions = DEFAULT_OUTPUT,
    retry_failed: RetryFailed = False,
    pay_again: PayAgain = False,
    videos: VideoOptions = DEFAULT_VIDEOS,
    sharing: StorageOptions = DEFAULT_STORAGE,
    terms: RunLimits = DEFAULT_LIMITS,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Make the mouths in a video follow an audio file, and save the result.

    Paid jobs are recorded in the folder's journal. Run the same command again to resume; nothing is paid
    twice.

    Parameters
    ----------
    video_url
        The video's public URL; above 25 frames per second the result is worse.
    audio_url
        The audio's public URL; best as long as the video.
    key
        Your own name for it; default is a fingerprint of the request.
    """
    try:
        request = LipSyncRequest(video_url=video_url, audio_url=audio_url, key=key)
    except InvalidRequestError as error:
        field, _, text = error.message.partition(" ")
        place = SourceLocation("--key" if field == "key" else field.upper())
        raise CatalogError([Issue(place, text)]) from None
    names = {"url": "VIDEO_URL", "audio_url": "AUDIO_URL"}
    places = {name: SourceLocation(name) for name in names.values()}
    layout = Layout("VIDEO_URL", places=places, options=names)
    item = CatalogItem(request=request, names=names_for(key), layout=layout)
    order = RunOptions(
        output=output,
        rules=RetryRules(retry_failed=retry_failed, pay_again=pay_again),
        in_flight=UNBOUNDED,
        limits=terms,
        storage=sharing.storage,
        videos=videos,
    )
    wanted = Catalog(path=Path(), title=strip_query(video_url), rows=1, items=(item,))
    return execute(wanted, order, connection)
