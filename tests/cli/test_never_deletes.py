"""No command deletes or overwrites a journal, a lock or an inbox: what it can't use stays as it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from akool_async import State, TranslationRequest, open_journal
from akool_async._journal.schema import MIGRATIONS
from akool_async.cli.app import COMMANDS
from akool_async.cli.demo import MARK, MARKER, TITLES
from akool_async.sandbox import Sandbox
from akool_async.webhook.inbox import InboxFile
from tests.cli.conftest import Book, Command, walk

VIDEO = "https://example.com/new.mp4"
PAID = {"old-1": "delivered", "old-2": "submitted", "old-3": "in_doubt"}


def other_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE invoice (id INTEGER PRIMARY KEY, credits REAL)")
        connection.execute("INSERT INTO invoice (credits) VALUES (12.5)")
        connection.commit()


def newer_version(path: Path) -> None:
    paid_jobs(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def broken(path: Path) -> None:
    paid_jobs(path)
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 100 + content[100:])


def empty(path: Path) -> None:
    path.touch()


def paid_jobs(path: Path) -> None:
    Book(path.parent).enter(*((key, State(state)) for key, state in PAID.items()))


def marked(folder: Path) -> None:
    """Let the demo take a folder for its own."""
    (folder / MARKER).write_bytes(MARK.encode())


UNUSABLE = (other_program, newer_version, broken, empty)

READING = {
    "status": ["status"],
    "list": ["list"],
    "report": ["report"],
    "captions pull": ["captions", "pull"],
    "captions check": ["captions", "check"],
    "captions push": ["captions", "push", "old-1", "--caption-url", "https://example.com/a.srt", "--yes"],
    "export": ["export"],
    "resume": ["resume"],
    "collect": ["collect"],
    "resolve": ["resolve", "--json"],
    "resolve with a wrong id": [
        "resolve",
        "old-3",
        "--language",
        "ja",
        "--job-id",
        "0123456789abcdef01234567",
    ],
    "retry": ["retry", "--failed"],
    "doctor": ["doctor", "--json"],
}
SPENDING = {
    "plan": ["plan", "CATALOG"],
    "run": ["run", "CATALOG", "--yes"],
    "translate": ["translate", VIDEO, "--to", "ja", "--yes"],
    "lipsync": ["lipsync", VIDEO, "https://example.com/new.mp3", "--yes"],
}
BY_JOURNAL = READING | SPENDING
ELSEWHERE = {
    "backup",
    "verify",
    "demo",
    "webhook serve",
    "languages",
    "voices",
    "credit",
    "sandbox",
    "mcp",
    "inspect",
    "enqueue",
    "worker",
    "workers",
    "ledger status",
    "ledger list",
    "ledger export",
    "ledger verify",
    "ledger report",
    "ledger resolve",
    "ledger retry",
} | {
    "login",
    "logout",
    "completion",
    "man",
}
"""Commands that open no user's journal; `demo`, `webhook serve` and `mcp` have tests of their own."""


@pytest.fixture
def folder(out: Path) -> Path:
    out.mkdir()
    return out


@pytest.fixture
def command(tmp_path: Path, out: Path) -> Callable[[list[str]], list[object]]:
    """Give a function that completes a command's words."""
    catalog = tmp_path / "catalog.csv"
    catalog.write_text(f"url,languages,key\n{VIDEO},ja,new\n")
    return lambda words: [*(catalog if word == "CATALOG" else word for word in words), "--out", out]


def content(folder: Path) -> dict[str, bytes]:
    """Every file below, without the empty log and the shared memory that SQLite makes for a reader."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {
        name: data
        for name, data in found.items()
        if not name.endswith("-shm") and (data or not name.endswith("-wal"))
    }


def rows(path: Path) -> dict[str, tuple[object, ...]]:
    """What the journal has of the paid jobs: everything but when it was last looked at."""
    columns = "key, target, fingerprint, request, job_id, paid, submitted_at, name"
    with closing(sqlite3.connect(path)) as connection:
        return {row[0]: row for row in connection.execute(f"SELECT {columns} FROM entry ORDER BY id")}


def test_every_command_is_tried_here() -> None:
    names = {name for names in COMMANDS.values() for name in names}

    tried = {" ".join(words[: 2 if words[0] == "captions" else 1]) for words in BY_JOURNAL.values()}
    assert tried | ELSEWHERE == names


@pytest.mark.usefixtures("vendor", "quick")
@pytest.mark.parametrize("make", UNUSABLE)
@pytest.mark.parametrize("words", BY_JOURNAL.values(), ids=BY_JOURNAL)
def test_a_journal_that_can_not_be_used_is_left_alone_and_named(
    make: Callable[[Path], None],
    words: list[str],
    command: Callable[[list[str]], list[object]],
    akool: Command,
    vendor: Sandbox,
    folder: Path,
) -> None:
    journal = folder / "jobs.sqlite3"
    make(journal)
    before = content(folder)

    told = akool(*command(words))

    assert told.code not in (0, 130)
    if words[0] == "doctor":
        (found,) = [found for found in json.loads(told.out) if found["check"] == "journal"]
        said = f"{found['detail']} {found['advice']}"
    else:
        said = told.err
    assert str(journal) in said
    # A backup in its place would overwrite what another program needs.
    advices = (
        ("Name the journal",)
        if make is other_program
        else ("Put a backup", "put a copy", "Install the version")
    )
    assert any(advice in said for advice in advices)
    assert content(folder) == before
    assert not vendor.audit.jobs


@pytest.mark.usefixtures("vendor", "quick")
@pytest.mark.parametrize("words", BY_JOURNAL.values(), ids=BY_JOURNAL)
def test_paid_jobs_of_another_catalog_stay_in_the_journal(
    words: list[str], command: Callable[[list[str]], list[object]], akool: Command, folder: Path
) -> None:
    journal = folder / "jobs.sqlite3"
    paid_jobs(journal)
    before = rows(journal)

    akool(*command([*words, *(["--give-up-after", "1s"] if words[0] == "resume" else [])]))

    assert {key: row for key, row in rows(journal).items() if key in PAID} == before
    assert (folder / "jobs.sqlite3.lock").exists()


@pytest.mark.parametrize(
    ("make", "mark"), [(paid_jobs, True), *((make, False) for make in (*UNUSABLE, paid_jobs))]
)
@pytest.mark.parametrize("below", ["", "run-2"])
def test_the_demo_leaves_a_journal_alone_that_is_not_its_own(
    make: Callable[[Path], None], mark: bool, below: str, akool: Command, folder: Path
) -> None:
    place = folder / below
    place.mkdir(exist_ok=True)
    make(place / "jobs.sqlite3")
    if mark:
        marked(folder)
        marked(place)
    before = content(folder)

    told = akool("demo", "--out", folder)

    assert content(folder) == before
    assert told.code in (1, 2)
    assert str(place / "jobs.sqlite3" if mark else folder) in told.err
    assert "Name a new folder with --out" in told.err


@pytest.mark.parametrize(
    "name", ["talk.ja.mp4", "jobs.sqlite3-wal", "jobs.sqlite3.lock", "inbox.sqlite3", MARKER]
)
def test_the_demo_leaves_a_folder_alone_that_it_did_not_make(name: str, akool: Command, folder: Path) -> None:
    (folder / name).write_bytes(b"somebody's")

    told = akool("demo", "--out", folder)

    assert told.code == 2
    assert f"{folder} is not empty, and the demo did not make it" in told.err
    assert content(folder) == {name: b"somebody's"}


@pytest.mark.parametrize("below", ["", "run-2"])
def test_the_demo_leaves_a_file_alone_that_stands_where_its_folder_should(
    below: str, akool: Command, out: Path
) -> None:
    if below:
        out.mkdir()
        marked(out)
    (out / below).write_bytes(b"somebody's")

    told = akool("demo", "--out", out)

    assert told.code == 1
    assert f"{out} can't be made or written" in told.err
    assert (out / below).read_bytes() == b"somebody's"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root can't write")
def test_the_demo_says_so_where_it_can_not_write(akool: Command) -> None:
    told = akool("demo", "--out", "/proc/demo")

    assert told.code == 1
    assert "/proc/demo can't be made or written" in told.err


@pytest.fixture
def ran_in(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders in which a demo would have run."""
    ran_in = []

    async def translate(_videos: list[str], out: Path, **_: object) -> list[object]:
        ran_in.append(out)
        return []

    monkeypatch.setattr("akool_async.cli.demo._translate_all", translate)
    return ran_in


def test_a_demo_that_can_not_go_on_begins_anew_in_a_folder_of_its_own(
    akool: Command, folder: Path, ran_in: list[Path]
) -> None:
    marked(folder)
    jobs_of_the_demo(folder, State.SUBMITTED)
    before = content(folder)

    akool("demo", "--out", folder)
    jobs_of_the_demo(folder / "run-2", State.SUBMITTED)
    akool("demo", "--out", folder)

    assert ran_in == [folder / "run-2", folder / "run-3"]
    after = content(folder)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("make", UNUSABLE)
@pytest.mark.parametrize("below", ["", pytest.param("run-2", marks=pytest.mark.thorough)])
def test_a_demo_whose_journal_can_not_be_used_begins_anew_in_a_folder_of_its_own(
    make: Callable[[Path], None], below: str, akool: Command, folder: Path, ran_in: list[Path]
) -> None:
    place = folder / below
    place.mkdir(exist_ok=True)
    make(place / "jobs.sqlite3")
    marked(folder)
    marked(place)
    before = content(folder)

    akool("demo", "--out", folder)

    assert ran_in == [folder / ("run-3" if below else "run-2")]
    after = content(folder)
    assert {name: after[name] for name in before} == before


def test_a_demo_that_can_go_on_does_so_where_it_was(
    akool: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    marked(folder)
    jobs_of_the_demo(folder, State.DELIVERED, free_port)
    ran = []

    async def translate(videos: list[str], out: Path, **_: object) -> list[object]:
        ran.append((out, {urlsplit(url).port for url in videos}))
        return []

    monkeypatch.setattr("akool_async.cli.demo._translate_all", translate)

    akool("demo", "--out", folder)

    assert ran == [(folder, {free_port})]
    assert not (folder / "run-2").exists()


def test_a_demo_does_not_touch_what_another_one_is_writing(
    akool: Command, folder: Path, portal: BlockingPortal
) -> None:
    marked(folder)
    with portal.wrap_async_context_manager(open_journal(folder / "jobs.sqlite3")):
        before = content(folder)

        told = akool("demo", "--out", folder)

        assert told.code == 1
        assert "is being written by process" in told.err
        assert content(folder) == before


@pytest.fixture
def can_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `webhook serve` come as far as its inbox."""
    monkeypatch.setenv("AKOOL_CLIENT_ID", "client")
    monkeypatch.setenv("AKOOL_CLIENT_SECRET", "0123456789abcdef01234567")


def newer_inbox(path: Path) -> None:
    InboxFile(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.usefixtures("can_receive")
@pytest.mark.parametrize("make", [other_program, paid_jobs, newer_inbox, broken])
def test_an_inbox_that_can_not_be_used_is_left_alone_and_named(
    make: Callable[[Path], None], akool: Command, folder: Path
) -> None:
    inbox = folder / "jobs.sqlite3"
    make(inbox)
    before = content(folder)

    told = akool("webhook", "serve", "--port", 0, "--out", folder, "--inbox", inbox)

    assert told.code == 1
    assert str(inbox) in told.err
    assert "name another file" in told.err
    assert content(folder) == before


@pytest.mark.usefixtures("can_receive")
@pytest.mark.parametrize("cut", [True, False], ids=["empty", "gone"])
def test_the_log_of_an_inbox_or_a_journal_that_is_gone_is_kept(
    cut: bool, akool: Command, folder: Path
) -> None:
    inbox, log = folder / "jobs.sqlite3", folder / "jobs.sqlite3-wal"
    log.write_bytes(b"the last entries")
    if cut:
        inbox.touch()
    before = content(folder)

    told = akool("webhook", "serve", "--port", 0, "--out", folder, "--inbox", inbox)

    assert content(folder) == before
    assert told.code == 1
    assert f"{log.name} is there and may hold its last callbacks" in told.err


@pytest.mark.usefixtures("vendor", "quick")
@pytest.mark.parametrize("words", [SPENDING["run"], SPENDING["translate"], SPENDING["lipsync"]])
@pytest.mark.parametrize("inbox", [other_program, newer_inbox, broken, paid_jobs])
def test_a_run_leaves_an_inbox_alone_that_it_can_not_use(
    inbox: Callable[[Path], None],
    words: list[str],
    command: Callable[[list[str]], list[object]],
    akool: Command,
    vendor: Sandbox,
    tmp_path: Path,
    folder: Path,
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    inbox(beside / "jobs.sqlite3")
    before = content(beside)

    told = akool(*command(words), "--inbox", beside / "jobs.sqlite3")

    assert told.code == 1
    assert str(beside / "jobs.sqlite3") in told.err
    assert content(beside) == before
    assert not vendor.audit.jobs


@pytest.mark.usefixtures("vendor", "quick")
@pytest.mark.parametrize("words", [SPENDING["run"], SPENDING["translate"], SPENDING["lipsync"]])
def test_a_journal_that_has_the_name_of_a_lock_is_not_overwritten_by_the_lock(
    words: list[str],
    command: Callable[[list[str]], list[object]],
    akool: Command,
    vendor: Sandbox,
    folder: Path,
) -> None:
    paid_jobs(folder / "jobs.sqlite3")
    (folder / "jobs.sqlite3").rename(folder / "mine.lock")
    before = content(folder)

    told = akool(*command(words), "--journal", folder / "mine")

    assert content(folder) == before
    assert told.code == 1
    assert f"{folder / 'mine.lock'} is another file, not a lock" in told.err
    assert not vendor.audit.jobs


def jobs_of_the_demo(folder: Path, state: State, port: int = 8000) -> None:
    """Leave the journal that a demo leaves which came so far."""

    async def write() -> None:
        async with open_journal(folder / "jobs.sqlite3") as journal:
            for title in TITLES:
                name = title.replace(" ", "-")
                url = f"http://127.0.0.1:{port}/{name}.mp4"
                await walk(journal, TranslationRequest(url=url, targets="ja", key=name), state)

    anyio.run(write)
