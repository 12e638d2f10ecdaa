"""A sandbox over real sockets, and commands run against it as from a shell."""

from __future__ import annotations

import asyncio
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import anyio
import attrs
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from akool_async import (
    AkoolClient,
    Batch,
    Entry,
    EntryProgress,
    FixedSchedule,
    Journal,
    Request,
    Stage,
    State,
    TranslationRequest,
    open_journal,
)
from akool_async._journal import EntryUpdate
from akool_async.cli import app
from akool_async.cli import run as run_module
from akool_async.cli.catalog import CatalogError, read_catalog
from akool_async.cli.next_commands import COMMAND_LINE, CommandLine
from akool_async.cli.options import ConnectionOptions
from akool_async.cli.run import CatalogRun
from akool_async.sandbox import Sandbox, SandboxServer
from tests.batch.test_without_catalog import leave_at_work
from tests.client.conftest import QUICK
from tests.journal.conftest import WAY_TO, step

KEY = "canary-7d1e0c55b2"


@attrs.frozen
class Told:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Told]


def without_time(said: str) -> str:
    """Give the lines of a log without the time that each begins with."""
    return re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  ", "", said, flags=re.MULTILINE)


@pytest.fixture(autouse=True)
def no_login(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept on this machine, by whoever runs the tests, is not found."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")


@pytest.fixture(autouse=True)
def no_command_before() -> None:
    """A test begins as a process does: commands that are shown repeat no options of an earlier one."""
    COMMAND_LINE.set(CommandLine())


@pytest.fixture(autouse=True)
def no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name has an address but those of this machine: what name servers say, and when, is not tested."""
    ask = socket.getaddrinfo

    def answer(host: str | bytes | None, *more: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is None or name == "localhost" or set(name) <= set("0123456789abcdef.:"):
            return ask(host, *more, **options)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def serve(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sandbox]]:
    """Give a function that serves a sandbox, which commands then find in the environment."""
    with ExitStack() as stack:

        def start(**settings: object) -> Sandbox:
            told = {"api_key": KEY, "media": False, "time_scale": 5000.0, "sigma": 0.1, "result_days": 1e6}
            told |= settings
            sandbox = Sandbox(**told)  # type: ignore[arg-type]
            server: SandboxServer = stack.enter_context(portal.wrap_async_context_manager(sandbox.serve()))
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            monkeypatch.setenv("AKOOL_API_KEY", KEY)
            return sandbox

        yield start


@pytest.fixture
def vendor(serve: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox with nothing special."""
    return serve()


@pytest.fixture
def akool(capfd: pytest.CaptureFixture[str]) -> Command:
    """Give a function that runs a command in this process."""

    def run(*arguments: object) -> Told:
        capfd.readouterr()
        code = app.run([str(argument) for argument in arguments])
        shown = capfd.readouterr()
        assert KEY not in shown.out + shown.err, "the key was shown"
        return Told(code, shown.out, without_time(shown.err))

    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in this process ask often and repeat soon."""
    usual = ConnectionOptions.client

    def client(connection: ConnectionOptions) -> AkoolClient:
        return usual(connection, retry=QUICK, schedule=FixedSchedule(interval=0.05))

    monkeypatch.setattr(ConnectionOptions, "client", client)


class TimesOut:
    """anyio, but for one time of `move_on_after`, which is over when something has happened."""

    def __init__(self, seconds: float | None, happened: Callable[[], object]) -> None:
        self._seconds = seconds
        self._happened = happened

    def __getattr__(self, name: str) -> Any:
        return getattr(anyio, name)

    @contextmanager
    def move_on_after(self, seconds: float | None) -> Iterator[anyio.CancelScope]:
        if seconds is None or seconds != self._seconds:
            with anyio.move_on_after(seconds) as scope:
                yield scope
            return
        with anyio.CancelScope() as scope:
            watching = asyncio.create_task(self._watch(scope))
            try:
                yield scope
            finally:
                watching.cancel()

    async def _watch(self, scope: anyio.CancelScope) -> None:
        while not self._happened():
            await asyncio.sleep(0.01)
        scope.cancel()


GiveUp = Callable[[Callable[[Sequence[EntryProgress]], object]], None]


def at_vendor(jobs: int) -> Callable[[Sequence[EntryProgress]], bool]:
    """The moment in which so many jobs are in the journal and were asked for."""
    return lambda entries: sum(one.stage in (Stage.QUEUEING, Stage.PROCESSING) for one in entries) == jobs


@pytest.fixture
def give_up(monkeypatch: pytest.MonkeyPatch) -> GiveUp:
    """Give a function that says in which moment commands in this process give up.

    The seconds that stand on a command line may be over before anything is sent.
    """
    usual = CatalogRun._read_outcomes

    def when(wanted: Callable[[Sequence[EntryProgress]], object]) -> None:
        async def read(run: CatalogRun, batch: Batch) -> None:
            moment = TimesOut(run._options.limits.deadline, lambda: wanted(batch.in_progress()))
            with mock.patch.object(run_module, "anyio", moment):
                await usual(run, batch)

        monkeypatch.setattr(CatalogRun, "_read_outcomes", read)

    return when


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port at which nobody listens; no program gets it that does not ask for its number."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield int(reserved.getsockname()[1])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


Write = Callable[..., Path]


@pytest.fixture
def write(in_a_folder: None) -> Write:
    """Give a function that writes a file into the current folder and gives its name."""

    def written(text: str | bytes, name: str = "videos.csv") -> Path:
        path = Path(name)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return written


def mistakes_of(path: Path, **options: Any) -> list[str]:
    """Return what is wrong with a catalog; its folder is not shown."""
    with pytest.raises(CatalogError) as caught:
        read_catalog(path, **options)
    return [str(mistake).replace(str(path), path.name) for mistake in caught.value.mistakes]


async def walk(journal: Journal, request: TranslationRequest, state: State) -> None:
    """Enter a request with a key and one language, and bring it to a state."""
    key, (target,) = request.key or "", request.targets
    await journal.record(EntryUpdate(key=key, target=target, state=State.PLANNED, request=request))
    for after in WAY_TO[state]:
        if after is State.SUBMITTING:
            await journal.intend(request)
        else:
            await journal.record(step(after, key, target))


@attrs.frozen
class Book:
    """A journal in a folder, written and read by tests."""

    out: Path

    @property
    def path(self) -> Path:
        return self.out / "jobs.sqlite3"

    def enter(self, *entries: tuple[str, State], target: str = "ja", **told: object) -> None:
        """Walk entries, each a key and a state, to their states; the last change takes what is told."""
        self.out.mkdir(exist_ok=True)

        async def write() -> None:
            async with open_journal(self.path) as journal:
                for key, state in entries:
                    url = f"https://example.com/{quote(key)}.mp4"
                    await walk(journal, TranslationRequest(url=url, targets=target, key=key), state)
                    if state is State.DELIVERED and "files" not in told:
                        video = self.out / f"{quote(key, '')}.{target}.mp4"
                        video.write_bytes(b"video")
                        change = EntryUpdate(key=key, target=target, state=state, files=[str(video)])
                        await journal.record(change)
                    if told:
                        change = EntryUpdate(key=key, target=target, state=state, **told)  # type: ignore[arg-type]
                        await journal.record(change)

        anyio.run(write)

    def enter_again(self, key: str, **told: object) -> None:
        """EntryUpdate an entry in the state that it is in."""

        async def write() -> None:
            async with open_journal(self.path) as journal:
                entry = journal.get(key, str(told.get("target", "ja")))
                assert entry is not None
                change = EntryUpdate(**{"key": key, "target": "ja", "state": entry.state} | told)  # type: ignore[arg-type]
                await journal.record(change)

        anyio.run(write)

    def submit(self, *requests: Request) -> None:
        """Have a run submit them and die."""
        self.out.mkdir(exist_ok=True)

        async def work() -> None:
            async with AkoolClient(retry=QUICK) as client, open_journal(self.path) as journal:
                before = journal.counts()[State.SUBMITTED]
                jobs = before + sum(len(request.targets) for request in requests)
                await leave_at_work(client, journal, list(requests), jobs=jobs)

        anyio.run(work)

    def enter_signed(self, key: str, state: State = State.PLANNED) -> None:
        """Enter a request whose URL is signed, so that the journal does not have all of it."""
        self.out.mkdir(exist_ok=True)
        url = "https://example.com/signed.mp4?X-Amz-Signature=abc"
        request = TranslationRequest(url=url, targets="ja", key=key)

        async def write() -> None:
            async with open_journal(self.path) as journal:
                await walk(journal, request, state)

        anyio.run(write)

    def read(self) -> dict[tuple[str, str], Entry]:
        async def read() -> dict[tuple[str, str], Entry]:
            async with open_journal(self.path, read_only=True) as journal:
                return {(entry.key, entry.target): entry async for entry in journal.entries()}

        return anyio.run(read)

    def is_in_doubt(self, *_: object) -> bool:
        """Whether its only entry is in doubt; a run may be writing it."""
        with closing(sqlite3.connect(self.path)) as journal:
            return journal.execute("SELECT state FROM entry").fetchall() == [("in_doubt",)]

    def states(self) -> dict[str, str]:
        return {key: entry.state.value for (key, _), entry in self.read().items()}


@pytest.fixture
def book(out: Path) -> Book:
    return Book(out)
