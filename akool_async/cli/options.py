"""The options that commands share: limits, connection, output."""

from __future__ import annotations

import codecs
import getpass
import math
import os
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import anyio
import attrs
from cyclopts import Parameter, Token
from cyclopts.validators import Number

from akool_async._batch import OnInDoubt
from akool_async._client import AkoolClient
from akool_async._download import local_path
from akool_async._environment import find_origin
from akool_async._journal import Journal, open_journal
from akool_async._journal.names import beside
from akool_async._model.credentials import KEY_VARIABLE, SECRET_VARIABLE
from akool_async._model.errors import AuthenticationError, ConfigurationError, JournalOlderError
from akool_async._model.locations import BucketPath
from akool_async._model.redact import hide, sanitize
from akool_async._storage import Storage, result_folder, unwritable_reason
from akool_async.cli.console import can_ask, print_info, shown_argument
from akool_async.cli.logins import USED, Login, known_hosts, set_variables, stored_logins, warn_if_shared
from akool_async.cli.next_commands import OptionValue, next_command
from akool_async.cli.on_saved import SavedCommand

T = TypeVar("T")
JsonFlag: TypeAlias = Annotated[
    bool,
    Parameter(
        name="--json",
        negative="",
        help="Print JSON. Otherwise, output that does not go to a terminal has tabs between its fields.",
    ),
]
JournalPlace: TypeAlias = Annotated[
    Path | None,
    Parameter(help="The journal, or the folder with the results; default is --out or --journal."),
]
InFlight: TypeAlias = Annotated[int, Parameter(validator=Number(gte=1), help="Jobs at the vendor at once.")]
RetryFailed: TypeAlias = Annotated[bool, Parameter(help="Pay again for what failed, was refused or expired.")]
PayAgain: TypeAlias = Annotated[
    bool,
    Parameter(
        negative="", help="Pay again for entries whose result is in the folder, but not in the journal."
    ),
]
OnDoubt: TypeAlias = Annotated[OnInDoubt, Parameter(help="Hold entries in doubt, or pay for them again.")]


def read_key_file(path: Path) -> str:
    """Return the key in a file, which may begin with a byte order mark.

    Raises:
        ConfigurationError: it can't be read, is empty or holds more than a key.
    """
    try:
        content = path.read_bytes()
        # Editors of other systems save a line of text as UTF-16, or put a mark before it.
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        key = content.decode("utf-16" if wide else "utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        name = path if os.path.lexists(path) else shown_argument(path)
        advice = "--key-file takes the name of a file that holds the key, not the key."
        raise ConfigurationError(f"The key file {name} can't be read: {why}.", advice=advice) from error
    if not key:
        raise ConfigurationError(f"The key file {path} is empty.")
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError(f"The key file {path} holds more than a key: one line of plain letters.")
    return key


def output_folder(path: Path) -> Path:
    """Return a folder of this machine, or a bucket, as the command line names it."""
    named = re.match(r"(s3|gs|az):/+(.+)", str(path), re.IGNORECASE)
    return local_path(path) if named is None else BucketPath(f"{named[1].lower()}://{named[2]}")


def _local(path: Path) -> Path:
    return local_path(path)  # by its annotations the help would name another type than a path


class Duration(timedelta):
    """A length of time on the command line, in whose help the name of this class stands for it."""

    def __str__(self) -> str:
        """Return it as it is typed, such as "90s"."""
        seconds = self.total_seconds()
        unit, size = next((unit, size) for unit, size in _UNITS if not seconds % size or size == 1)
        return f"{seconds / size:g}{unit}"


_UNITS: Final = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_TYPED: Final = re.compile(r"(\d+(?:\.\d+)?)([wdhms])")


def _read_duration(_: object, tokens: Sequence[Token]) -> Duration:
    parts = _TYPED.findall(tokens[0].value)
    length = Duration(seconds=sum(float(number) * dict(_UNITS)[unit] for number, unit in parts))
    if not length or _TYPED.sub("", tokens[0].value):
        raise ValueError("must be a length of time longer than 0, such as 90s, 2h or 7d")
    return length


def check_positive(_: object, number: float | None) -> None:
    """Refuse what is no finite number above 0."""
    if number is not None and not 0 < number < math.inf:
        raise ValueError("must be a number above 0")


Length: TypeAlias = Annotated[Duration, Parameter(converter=_read_duration)]
"""How long something may take."""


Inbox: TypeAlias = Annotated[Path | None, Parameter(group="Files")]
"""The file of callbacks between `webhook serve` and runs; None is the usual one of the folder."""


@Parameter(name="*", group="Limits")
@attrs.frozen(kw_only=True)
class RunLimits:
    """Options of every command that may pay for jobs or waits for them.

    Attributes:
        yes: Spend without asking, also after a trial. Required where there is no terminal to ask on.
        max_credits: What the jobs in the journal may cost together, earlier ones included. A failed job
            counts nothing, because its credits should come back.
        trial: Send this many of the cheapest jobs first, wait for their results and their price, then ask
            again for the rest, unless --yes.
        retry_transient: How many times to submit again what failed for a reason that may pass, within
            --max-credits. Each job costs credits.
        give_up_after: How long to wait, such as 90m or 2h. Jobs then continue at the vendor.
        without_captions: Also save videos without burnt-in captions, if the vendor made them.
        as_json: Write events to stdout, one JSON object a line.
        timestamps: Begin each line with the time if messages do not go to a terminal.
        on_saved: Program with arguments to run for each saved result, such as an upload. AKOOL_MANIFEST names
            the manifest; the key is not in its environment. No shell reads it.
        on_saved_timeout: How long each may take.
        report: Write the pages of `report` also while the run is in progress. At its end they are written
            anyway, unless --no-report.
        inbox: Callbacks that `webhook serve` received; default is inbox.sqlite3 in the folder for the
            results.
    """

    yes: Annotated[bool, Parameter(negative="")] = False
    max_credits: Annotated[float | None, Parameter(validator=check_positive)] = None
    trial: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    retry_transient: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    give_up_after: Length | None = None
    without_captions: Annotated[bool, Parameter(negative="")] = False
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False
    timestamps: bool = True
    on_saved: str | None = None
    on_saved_timeout: Length = Duration(minutes=10)
    report: bool | None = None
    inbox: Inbox = attrs.field(default=None, converter=attrs.converters.optional(_local))

    @property
    def saved_command(self) -> SavedCommand | None:
        """What is run for each saved result.

        Raises:
            InvalidRequestError: there is no such program.
        """
        return None if self.on_saved is None else SavedCommand.parse(self.on_saved, self.on_saved_timeout)

    @property
    def deadline(self) -> float | None:
        """Seconds after which waiting ends; None waits as long as it takes."""
        return None if self.give_up_after is None else self.give_up_after.total_seconds()


DEFAULT_LIMITS: Final = RunLimits()


@Parameter(name="*", group="Connection")
@attrs.frozen(kw_only=True)
class ConnectionOptions:
    """Options of every command that calls the API.

    A key is no option: the shell's history and every list of processes would show it.

    Attributes:
        host: Origin of the API; default is AKOOL_API_HOST, or the vendor's own.
        key_file: File that holds the API key and nothing else; default is AKOOL_API_KEY, or AKOOL_CLIENT_ID
            with AKOOL_CLIENT_SECRET, then what `login` kept, then a question on the terminal.
    """

    host: str | None = None
    _login: Annotated[Login | None, Parameter(parse=False)] = attrs.field(default=None, repr=False)
    key_file: Annotated[Path | None, Parameter(name="--key-file")] = attrs.field(
        default=None, converter=attrs.converters.optional(_local)
    )

    @property
    def origin(self) -> str:
        """The API host, as an origin."""
        return find_origin(self.host)

    def with_key(self) -> ConnectionOptions:
        """Return these options with the key read, so that a command with two clients asks for it once."""
        return attrs.evolve(self, login=self._find_or_ask())

    def secrets(self) -> list[str]:
        """Return the texts that other programs must not be given."""
        found = self.find_login()
        kept = [] if found is None else list(found.stored().values())
        return [*kept, *(os.environ.get(name, "").strip() for name in (KEY_VARIABLE, SECRET_VARIABLE))]

    def find_login(self) -> Login | None:
        """Return the credentials, the first of the places in which they may be; None to be asked for them.

        Raises:
            ConfigurationError: a file with credentials can't be read.
        """
        if self._login is not None:
            return self._login
        if self.key_file is not None:
            key = hide(read_key_file(self.key_file))
            warn_if_shared(self.key_file)
            return Login(source=f"the key file {self.key_file}", api_key=key)
        if variables := set_variables():
            return Login(source=variables[0])  # the client reads them, and says what is missing
        return next(stored_logins(self.origin), None)

    def client(self, **options: Any) -> AkoolClient:
        """Return a client with these arguments of `AkoolClient`, not opened yet.

        Raises:
            AuthenticationError: there are no credentials.
            ConfigurationError: the key file can't be read, the host is not valid, or the environment can't
                be used.
        """
        login = self._find_or_ask()
        USED.set(f"They come from {login.source}, and are sent to {self.origin}.")
        return AkoolClient(host=self.host, **login.arguments, **options)

    def ask(self, call: Callable[[AkoolClient], Awaitable[T]]) -> T:
        """Return what one call of a client returns."""

        async def answer(client: AkoolClient) -> T:
            async with client:
                return await call(client)

        return anyio.run(answer, self.client())

    def _find_or_ask(self) -> Login:
        found = self.find_login()
        if found is not None:
            return found
        # A script that waits for a key which nobody types would hang until it is killed.
        if not can_ask():
            others = ", ".join(known_hosts())
            raise AuthenticationError(
                f"No credentials for {self.origin}; a login is kept for {others}."
                if others
                else "No credentials.",
                impact="Nothing was sent.",
                advice=f"Run `akool-async login`, set {KEY_VARIABLE}, or use --key-file.",
            )
        print_info(f"{KEY_VARIABLE} is not set. `akool-async login` keeps a key.")
        return Login(source="input", api_key=hide(getpass.getpass("API key (it is not shown): ").strip()))


DEFAULT_CONNECTION: Final = ConnectionOptions()

JOURNAL: Final = "jobs.sqlite3"
INBOX: Final = "inbox.sqlite3"
_OUT: Final = Path("results")


@Parameter(name="*", group="Files")
@attrs.frozen(kw_only=True)
class OutputOptions:
    """Options of every command that uses the journal.

    Attributes:
        out: Folder for the results, or a bucket as s3://bucket/prefix; a folder is made if it is missing.
        journal: Journal of paid jobs; default is jobs.sqlite3 in that folder.
        accept_older_journal: Use a journal that is missing, a backup, or older than when it was last
            written. Jobs that it does not know are paid again if they are still asked for.
    """

    out: Path = attrs.field(default=_OUT, converter=output_folder)
    journal: Path | None = attrs.field(default=None, converter=attrs.converters.optional(_local))
    accept_older_journal: Annotated[bool, Parameter(negative="")] = False

    def at(self, journal: Path | None) -> OutputOptions:
        """Return the options for a journal that is named by its file, or by the folder of its results.

        Raises:
            ConfigurationError: there is neither of this name.
        """
        if journal is None:
            return self
        if isinstance(output_folder(journal), BucketPath):
            raise ConfigurationError(
                f"{shown_argument(journal)} is in a bucket, and the journal is a file of this machine.",
                impact="Nothing was sent.",
                advice="Name the journal; where results are saved in a bucket, it was named with --journal.",
            )
        journal = local_path(journal)
        if journal.is_dir():
            return attrs.evolve(self, out=journal)
        named = attrs.evolve(self, journal=journal)
        if named.is_missing and named.older is None:
            raise ConfigurationError(
                f"There is no {shown_argument(journal)}.",
                impact="Nothing was sent.",
                advice="Name the journal, or the folder with the results; a bucket with --out.",
            )
        return named

    def at_first_of(self, words: Sequence[str]) -> tuple[OutputOptions, tuple[str, ...]]:
        """Return the options for the journal that the first word names, as `at` does, and the keys after it.

        A key may be called as a folder is. So a word names a place only if a journal is there or it ends as
        one does, and not where --out or --journal names the place.

        Raises:
            ConfigurationError: there is no journal of this name.
        """
        if words and self.out == _OUT and self.journal is None:
            place = Path(words[0])
            if words[0].endswith((os.sep, "/", ".sqlite3")) or (local_path(place) / JOURNAL).exists():
                return self.at(place), tuple(words[1:])
        return self, tuple(words)

    @property
    def path(self) -> Path:
        """The journal's file."""
        if self.journal is None and isinstance(self.out, BucketPath):
            raise ConfigurationError(
                f"Results go to {sanitize(self.out)}, and the journal has to be a file of this machine.",
                impact="Nothing was sent.",
                advice="Name it with --journal, such as --journal jobs.sqlite3.",
            )
        return self.out / JOURNAL if self.journal is None else self.journal

    def check_folders(self, storage: Storage | None, *, written: Collection[Path] = ()) -> None:
        """Check, without writing anything, that results and the journal can be where they are to be.

        Args:
            storage: settings for the bucket.
            written: those of the two folders that files are made in; what is saved may well be read-only.

        Raises:
            ConfigurationError: no journal is named beside a bucket, it can't be opened, or a folder can't be
                made or is read-only.
        """
        folders = {self.local, self.path.parent}
        result_folder(self.out, storage)
        for folder in folders:
            if folder not in written and os.path.isdir(folder):  # noqa: PTH112
                continue
            reason = unwritable_reason(folder)
            if reason is not None:
                doing = "written to" if os.path.lexists(folder) else "made"
                raise ConfigurationError(
                    f"The folder {folder} can't be {doing}: {reason}.",
                    impact="Nothing was sent.",
                    advice="Name another one with --out, and one for the journal with --journal.",
                )

    @property
    def local(self) -> Path:
        """The folder for all but results: theirs, or the journal's where they are in a bucket."""
        return self.path.parent if isinstance(self.out, BucketPath) else self.out

    @property
    def older(self) -> JournalOlderError | None:
        """That the journal is missing or older than it was, unless that is accepted."""
        if self.accept_older_journal or not self.path.parent.is_dir():
            return None
        return open_journal(self.path, read_only=True).find_older_error()

    @property
    def is_missing(self) -> bool:
        """Whether there is no journal; while its log is there it is damaged instead."""
        return not any(path.exists() for path in (self.path, beside(self.path, "-wal")))

    def reading(self) -> Journal:
        """Return the existing journal, read-only.

        Raises:
            ConfigurationError: there is no journal.
            JournalOlderError: there was one.
        """
        # To make an empty journal here would hide a wrong folder, and the next run would pay for all again.
        if not self.path.exists() and self.older is not None:
            raise self.older
        if self.is_missing:
            raise ConfigurationError(
                f"There is no journal {self.path}.",
                impact="Nothing was sent.",
                advice="Name the folder of the results with --out, or the journal itself with --journal.",
            )
        return open_journal(self.path, read_only=True)

    def writing(self) -> Journal:
        """Return the journal, to be written."""
        return open_journal(self.path, accept_older=self.accept_older_journal)

    def command(self, name: str, *keys: str, **options: OptionValue) -> str:
        """Return the shell command of a name, such as "captions push", for the same folder and journal.

        Args:
            name: the command's.
            keys: its arguments without an option.
            options: the others by their names, with "_" for "-"; None leaves one out, True has no value.
        """
        given = {f"--{option.replace('_', '-')}": value for option, value in options.items()}
        where = {
            "--out": None if self.out == _OUT else self.out,
            "--journal": self.journal,
        }
        return next_command(name, keys, {**given, **where})


DEFAULT_OUTPUT: Final = OutputOptions()
