"""`akool-async doctor`: check what a run needs, one finding for each thing. Nothing is changed or paid."""

from __future__ import annotations

import enum
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import anyio
import attrs
import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from akool_async._client import AkoolClient
from akool_async._clock import http_date
from akool_async._environment import describe_cause
from akool_async._http.clients import create_clients
from akool_async._journal import open_journal
from akool_async._model.credentials import HOST_VARIABLE, ID_VARIABLE, KEY_VARIABLE, SECRET_VARIABLE
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    ConfigurationError,
    InvalidRequestError,
    JournalError,
)
from akool_async._model.tariff import credits_text
from akool_async.cli.console import counted, duration, format_value, print_rows
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import read_status
from akool_async.cli.logins import is_shared, set_variables, stored_logins
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_OUTPUT,
    ConnectionOptions,
    JsonFlag,
    OutputOptions,
)

_NO_KEY: Final = "-"
"""Key of a client that only parses the host."""
_PACKAGES: Final = ("akool-async", "anyio", "attrs", "cattrs", "httpx", "aiohttp", "backoff")
_TIME_SCALE: Final = "x-sandbox-time-scale"
"""Header by which a sandbox says that its time is not ours."""

_MAX_CLOCK_DIFFERENCE: Final = 60.0
_LOW_SPACE: Final = 2 * 2**30
_MIN_SPACE: Final = 100 * 2**20
_TIMEOUT: Final = 15.0
_COLUMNS: Final = {"level": "", "check": "", "detail": "", "advice": ""}


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@attrs.frozen
class Finding:
    """The result of one check; `account` says whether it concerns the credentials or the account."""

    check: str
    level: Level
    detail: str
    advice: str = ""
    account: bool = False


async def examine(connection: ConnectionOptions, output: OutputOptions) -> AsyncIterator[Finding]:
    """Run one check after the other."""
    yield _versions()
    keys = _credentials(connection)
    yield keys
    host = None
    async for finding in _host(connection):
        host = finding if finding.check == "host" else host
        yield finding
    if keys.level is not Level.BAD and host is not None and host.level is Level.OK:
        yield await _account(connection)
    yield _folder(output)
    async for finding in _journal(output):
        yield finding


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} of unknown version")
    return Finding("versions", Level.OK, ", ".join(found))


def _credentials(connection: ConnectionOptions) -> Finding:
    """Say where the credentials come from, and nothing of what they are."""
    try:
        found = connection.find_login()
    except ConfigurationError as error:
        return Finding("credentials", Level.BAD, error.message, error.advice, account=True)
    if found is None:
        advice = f"Run `akool-async login`, set {KEY_VARIABLE}, or use --key-file."
        return Finding("credentials", Level.BAD, "No credentials are set.", advice, account=True)
    if connection.key_file is not None:
        # The key spends the account's credits.
        if is_shared(connection.key_file):
            words = f"Others on this machine can read the key file {connection.key_file}."
            return Finding("credentials", Level.WARNING, words, f"Run: chmod 600 {connection.key_file}")
        return Finding(
            "credentials", Level.OK, f"The key file {connection.key_file} can be read (--key-file)."
        )
    # Only whether a variable is set is shown, and how long a key is: enough to notice a cut one.
    given = set_variables()
    if not given:
        return Finding("credentials", Level.OK, f"Kept in {found.source} for {connection.origin} (hidden).")
    unused = given[1:]
    with suppress(ConfigurationError):  # a wrong host is the next finding
        unused += [login.source for login in stored_logins(connection.origin)]
    if given[0] == KEY_VARIABLE:
        words = f"{KEY_VARIABLE} is set (hidden, {len(os.environ[KEY_VARIABLE].strip())} characters)."
    elif len(given) == 1:
        advice = f"Set {ID_VARIABLE} and {SECRET_VARIABLE}, or better {KEY_VARIABLE}."
        return Finding("credentials", Level.BAD, f"Only {given[0]} is set.", advice, account=True)
    else:
        words, unused = f"{ID_VARIABLE} and {SECRET_VARIABLE} are set (hidden).", unused[1:]
    if unused:
        words = f"{words} {' and '.join(unused)} {'is' if len(unused) == 1 else 'are'} not used."
    # Two variables that say different things are a mistake; a login that a variable overrides is meant so.
    return Finding("credentials", Level.WARNING if KEY_VARIABLE in given and given[1:] else Level.OK, words)


async def _host(connection: ConnectionOptions) -> AsyncIterator[Finding]:
    """Call the host without credentials; its answer gives its time too."""
    try:
        # The client's own rules decide what a valid host is.
        origin = AkoolClient(host=connection.host, api_key=_NO_KEY).host
        clients = create_clients(origin, "plain")
    except ConfigurationError as error:
        yield Finding("host", Level.BAD, error.message, error.advice)
        return
    through = "" if clients.proxy is None else f" by the proxy {clients.proxy}"
    began = time.monotonic()
    try:
        async with (
            aclosing(clients),
            clients.creates.client.stream("HEAD", origin, timeout=_TIMEOUT) as answer,
        ):
            stream = answer.extensions.get("network_stream")
            address = None if stream is None else stream.get_extra_info("server_addr")
            where = f"{address[0]} port {address[1]}" if address else "an unknown address"
    except httpx.HTTPError as error:
        advice = "Check the name, the network and the firewall."
        if clients.proxy is not None:
            advice = f"Check the proxy, or correct or unset {clients.proxy.named_by}."
        found = f"{origin} can't be reached{through}: {describe_cause(error)}."
        yield Finding("host", Level.BAD, found, advice)
        return
    seconds = time.monotonic() - began
    named = "--host" if connection.host else HOST_VARIABLE if os.environ.get(HOST_VARIABLE) else "the default"
    certificates = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), None)
    trusted = f" Certificates are those of {certificates}." if certificates else ""
    words = f"{origin} ({named}) answers from {where}{through} in {seconds:.2g} s.{trusted}"
    yield Finding("host", Level.OK, words)
    yield _clock(answer.headers, seconds)


def _clock(headers: httpx.Headers, seconds: float) -> Finding:
    scale = headers.get(_TIME_SCALE)
    if scale is not None:
        pace = "is moved by hand" if scale == "0" else f"runs {scale} times as fast"
        return Finding("clock", Level.OK, f"The host is a sandbox whose time {pace}: nothing to compare.")
    theirs = http_date(headers.get("date", ""))
    if theirs is None:
        return Finding(
            "clock", Level.WARNING, "The host does not send its time, so the clocks were not compared."
        )
    apart = (datetime.now(UTC) - theirs).total_seconds() - seconds / 2
    if abs(apart) <= _MAX_CLOCK_DIFFERENCE:
        return Finding("clock", Level.OK, f"Within {max(abs(apart), 1):.0f} s of the host's.")
    length, order = duration(timedelta(seconds=abs(apart))), "ahead of" if apart > 0 else "behind"
    found = f"This machine's clock is {length} {order} the host's."
    advice = "Set it by NTP: the age of webhooks and the expiry of results are judged by it."
    return Finding("clock", Level.WARNING, found, advice)


async def _account(connection: ConnectionOptions) -> Finding:
    try:
        async with connection.client() as client:
            credit = await client.credit()
    except AkoolError as error:
        advice = f"{error.impact} {error.advice}".strip()
        account = isinstance(error, AccountError | InvalidRequestError)
        return Finding("account", Level.BAD, error.message, advice, account=account)
    if credit <= 0:
        return Finding("account", Level.WARNING, "The key is accepted; there are no credits left.", "Top up.")
    return Finding("account", Level.OK, f"The key is accepted; {credits_text(credit)} credits are left.")


def _folder(output: OutputOptions) -> Finding:
    out = existing = output.local
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        if not existing.is_dir():
            raise NotADirectoryError(20, f"{existing} is a file")
        # Permissions alone don't tell: the disk may be read-only or full.
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(b"akool")
        free = shutil.disk_usage(existing).free
    except OSError as error:
        found = f"Nothing can be written to {out}: {error.strerror}."
        return Finding("folder", Level.BAD, found, "Correct its permissions, or name another with --out.")
    named = "the default" if out == DEFAULT_OUTPUT.out else "--out"
    found = f"{out} ({named}) can be {'written' if existing == out else 'made'}; {free / 2**30:.1f} GiB free."
    if free < _MIN_SPACE:
        return Finding("folder", Level.BAD, found, "Make room: a full disk stops a run.")
    if free < _LOW_SPACE:
        return Finding("folder", Level.WARNING, found, "Make room before a large catalog.")
    return Finding("folder", Level.OK, found)


async def _journal(output: OutputOptions) -> AsyncIterator[Finding]:
    named = f"{output.path} ({'in that folder' if output.journal is None else '--journal'})"
    if not output.path.exists():
        yield Finding("journal", Level.OK, f"{named} does not exist yet; the first run makes it.")
        return
    try:
        # Read-only: a check must neither lock the journal nor bring an older one to a new version.
        async with open_journal(output.path, read_only=True) as journal:
            seen = await read_status(journal, output)
    except JournalError as error:
        yield Finding("journal", Level.BAD, error.message, f"{error.impact} {error.advice}".strip())
        return
    total = counted(sum(seen.counts.values()), "entry")
    if seen.lock_holder is not None:
        advice = "Wait for that run, or stop it with Ctrl-C, before you begin another."
        yield Finding("journal", Level.WARNING, f"{total}. {seen.lock_holder.message}", advice)
    else:
        yield Finding("journal", Level.OK, f"{named} can be read: {total}, no run is writing it.")
    if doubts := seen.counts["in doubt"]:
        found = f"{counted(doubts, 'entry')} in doubt."
        yield Finding("journal", Level.WARNING, found, f"Run: {output.command('resolve')}")
    if seen.expiring_soon:
        found = f"{counted(seen.expiring_soon, 'entry')} whose result expires within 2 days."
        yield Finding("journal", Level.WARNING, found, f"Run: {output.command('collect')}")


_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.BAD: "bold red"}


def doctor(
    *,
    output: OutputOptions = DEFAULT_OUTPUT,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    as_json: JsonFlag = False,
) -> int:
    """Check what a run needs: credentials, host, clock, folder, journal, versions.

    Nothing is spent, and nothing is changed. The exit code is 0 if nothing is bad, 3 if the credentials or
    the account are, and otherwise 1.
    """

    async def collect() -> list[Finding]:
        return [finding async for finding in examine(connection, output)]

    findings = anyio.run(collect)
    if as_json or not sys.stdout.isatty():
        rows = [{name: getattr(finding, name) for name in _COLUMNS} for finding in findings]
        print_rows(rows, _COLUMNS, as_json=as_json)
    else:
        _print_table(findings)
    bad = [finding for finding in findings if finding.level is Level.BAD]
    if any(finding.account for finding in bad):
        return ExitCode.ACCOUNT
    return ExitCode.FAILED if bad else ExitCode.OK


def _print_table(findings: Iterable[Finding]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        detail = Text(format_value(finding.detail))
        if finding.advice:
            detail.append(f"\n{format_value(finding.advice)}", style="dim")
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), finding.check, detail)
    Console(highlight=False).print(table)
