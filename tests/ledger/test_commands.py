"""What the commands say about a ledger: an empty one, one that can't be used, and pages about one."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from anyio.to_thread import run_sync

from akool_async import AkoolClient, State
from akool_async._model.responses import Job
from akool_async.cli.app import run
from akool_async.cli.commands import enqueue as enqueue_command
from akool_async.cli.commands import ledger as ledger_commands
from akool_async.cli.commands import worker as worker_commands
from akool_async.ledger import open_ledger
from akool_async.sandbox import Sandbox
from tests.client.moments import closed_port
from tests.ledger.conftest import Bench, video

NOT_SENT = "Nothing is submitted while the ledger can't be written"


def plan(database: str) -> None:
    async def enter() -> None:
        async with open_ledger(database) as ledger:
            await ledger.plan([video(1), video(2)])
            intent = await ledger.intend(video(1), "video-1", "dead")
            assert await ledger.acquire(intent.token, "dead")
            await ledger.doubt(intent.token, "The answer to a paid call was lost.")

    anyio.run(enter)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("status",), 0, "0 entries of account default"),
        (("list",), 0, "The ledger has no entries of account default."),
        (("list", "--state", "failed"), 0, "no entries in the state failed"),
        (("verify",), 0, "Nothing of account default was saved yet."),
        (("resolve",), 0, "Nothing is in doubt."),
        (("retry", "--failed"), 0, "Nothing failed, was refused or expired."),
        (
            ("workers",),
            1,
            "No worker of account default was seen. To start one: akool-async worker --ledger URL",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_an_empty_ledger_is_told_in_words(
    database: str,
    words: tuple[str, ...],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run([*words, "--ledger", database]) == code
    assert said in capsys.readouterr().err


def test_a_ledger_that_can_not_be_used_says_what_that_means(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closed_port() as closed:
        urls = {
            f"postgresql://nobody:canary-pass@127.0.0.1:{closed.getsockname()[1]}/none": "refused",
            database.replace("postgres:@", "wrong:canary-pass@"): 'role "wrong" does not exist',
            database.replace("/test_", "/gone_"): "does not exist",
        }
        for url, why in urls.items():
            assert run(["status", "--ledger", url]) == 1
            told = capsys.readouterr().err
            assert why in told
            assert NOT_SENT in told
            assert "Check the database and its URL" in told
            assert "canary-pass" not in told

    assert run(["status", "--ledger", "mysql://host/database"]) == 2
    assert "postgresql://user@host/database" in capsys.readouterr().err


def test_messages_name_commands_for_the_account_that_they_are_about(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted without it, a command would work on another account's entries."""
    ours = ("--ledger", database, "--account", "films of mine")
    for words, code in (
        (("workers", *ours), 1),
        (("retry", "none", *ours), 2),
    ):
        assert run(words) == code
        assert "--ledger URL --account 'films of mine'" in capsys.readouterr().err

    ledger = open_ledger(database, account="films of mine")
    assert ledger.command("resolve") == "akool-async resolve --ledger URL '--account=films of mine'"
    assert open_ledger(database).command("retry", "-key") == "akool-async retry --ledger URL -- -key"
    assert open_ledger(database).command("retry", "a key") == "akool-async retry 'a key' --ledger URL"


def test_a_ledger_of_a_newer_version_is_left_alone(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO akool_ledger.migration (number) VALUES (99)")

    assert run(["enqueue", "--ledger", database]) == 1
    told = capsys.readouterr().err
    assert "The ledger has version 99" in told
    assert "Install the version that wrote it, or a newer one." in told


def test_a_webhook_for_a_whole_catalog_is_left_to_the_workers(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = tmp_path / "films.csv"
    catalog.write_text("url,languages\nhttps://example.com/one.mp4,ja\n")
    order = ["enqueue", str(catalog), "--ledger", database]

    assert run([*order, "--webhook-url", "https://me.example/akool"]) == 2
    told = capsys.readouterr().err
    assert "Nothing was entered." in told
    assert "start each `worker` with it" in told
    assert run([*order]) == 0
    assert "1 new entry" in capsys.readouterr().err


def test_a_catalog_that_is_refused_half_way_leaves_nothing_entered(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def enqueue(*rows: str) -> tuple[int, str]:
        catalog = tmp_path / "films.csv"
        catalog.write_text("\n".join(("url,languages,key", *rows)))
        return run(["enqueue", str(catalog), "--ledger", database]), capsys.readouterr().err

    monkeypatch.setattr(enqueue_command, "_TOGETHER", 2)
    rows = [f"https://example.com/{name}.mp4,ja,{name}" for name in ("one", "two", "three", "four")]
    assert enqueue(rows[3])[0] == 0

    code, told = enqueue(*rows[:3], "https://example.com/other.mp4,ja,four")
    assert code == 2
    assert "name other work: four (ja)" in told
    assert "Nothing of the catalog was entered, and nothing is paid for it." in told
    assert run(["list", "--ledger", database]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["four"]

    code, told = enqueue(*rows)
    assert code == 0
    assert "3 new entries, 4 for the workers to do" in told


def test_pages_about_a_ledger_hold_no_signature(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(database)
    pages = tmp_path / "pages"

    assert run(["report", "--ledger", database, "--to", str(pages), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(pages / "index.html")
    written = {path.name: path.read_text(encoding="utf-8") for path in pages.rglob("*.html")}
    assert len(written) >= 3
    assert not [name for name, text in written.items() if "canary" in text]
    assert "The answer to a paid call was lost." in written["index.html"]
    assert "akool-async resolve --ledger URL" in written["index.html"]


def test_a_worker_that_is_gone_is_not_shown_as_running(
    database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_commands, "_ALIVE", 3600.0)  # however long this test takes

    async def begin() -> None:
        async with open_ledger(database) as ledger:
            for name, state in (("alive", "running"), ("killed", "running"), ("ended", "stopped")):
                await ledger.heartbeat(name, host="here", pid=1, state=state)

    anyio.run(begin)
    with psycopg.connect(database, application_name="akool/alive"):
        assert run(["workers", "--ledger", database]) == 0
    shown = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert {name: shown[name] for name in ("alive", "killed", "ended")} == {
        "alive": "running",
        "killed": "ended",
        "ended": "stopped",
    }

    with psycopg.connect(database, application_name="akool/alive", autocommit=True) as connection:
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        connection.execute("UPDATE akool_ledger.worker SET seen_at = %s", (long_ago,))
        assert run(["workers", "--ledger", database]) == 1
    assert "silent" in capsys.readouterr().out


def test_a_price_that_nobody_knows_is_not_shown_as_free(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def enter() -> None:
        async with open_ledger(database) as ledger:
            await ledger.plan([video(1), video(2)])
            intent = await ledger.intend(video(1), "video-1", "one")
            assert await ledger.acquire(intent.token, "one")
            assert await ledger.made(intent.token, Job(id="job-1"))

    anyio.run(enter)

    assert run(["status", "--ledger", database]) == 0
    told = capsys.readouterr().err
    assert "Credits: not known for 1 job." in told
    assert "1  at the vendor" in told
    assert "1  not submitted yet" in told
    assert run(["list", "--ledger", database]) == 0
    assert "at the vendor\tjob-1" in capsys.readouterr().out


async def test_a_job_of_another_time_is_taken_only_if_it_is_said_so(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await run_sync(plan, database)
    sandbox = Sandbox(api_key="canary-5d1", media=False, seed=1)
    async with sandbox.serve() as server, open_ledger(database) as ledger:
        monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
        monkeypatch.setenv("AKOOL_API_KEY", "canary-5d1")
        async with AkoolClient(api_key="canary-5d1", host=server.base_url) as client:
            (job,) = (await client.submit(video(9))).accepted
        await ledger.execute("UPDATE akool_ledger.entry SET submitted_at = submitted_at - interval '5 hours'")
        words = ["resolve", "video-1", "--language", "ja", "--job-id", job.id, "--ledger", database]

        wrong = ["0" * 24 if word == job.id else word for word in words]
        assert await run_sync(partial(run, wrong)) == 1
        assert "video-1 ja stays in doubt. Check the id" in capsys.readouterr().err
        assert await run_sync(partial(run, words)) == 2
        assert "after the call was sent" in (said := capsys.readouterr().err)
        assert "--yes" in said
        entry = await ledger.get("video-1", "ja")
        assert entry is not None
        assert entry.state is State.IN_DOUBT
        assert await run_sync(partial(run, [*words, "--yes"])) == 0
        entry = await ledger.get("video-1", "ja")
        assert entry is not None
        assert entry.job_id == job.id


async def test_a_job_that_the_answer_named_is_not_called_not_made_by_accident(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job is paid: called not made, it is lost, and the workers pay for another one."""
    sandbox = Sandbox(api_key="canary-5d1", media=False, seed=1)
    async with sandbox.serve() as server, open_ledger(database) as ledger:
        monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
        monkeypatch.setenv("AKOOL_API_KEY", "canary-5d1")
        async with AkoolClient(api_key="canary-5d1", host=server.base_url) as client:
            (job,) = (await client.submit(video(9))).accepted
        await ledger.plan([video(1), video(2)])
        for number in (1, 2):
            intent = await ledger.intend(video(number), f"video-{number}", "dead")
            assert await ledger.acquire(intent.token, "dead")
            ids = (job.id, "0" * 24)
            await ledger.record_end(intent.token, State.IN_DOUBT, reason="It was lost.", doubt_ids=ids)
        words = ["resolve", "video-1", "--language", "ja", "--not-made", "--ledger", database]

        assert await run_sync(partial(run, words)) == 2
        said = capsys.readouterr().err
        assert f"Job {job.id} is" in said
        assert f"    akool-async resolve video-1 --language ja --job-id {job.id} --ledger URL" in said
        assert "--yes" in said
        entry = await ledger.get("video-1", "ja")
        assert entry is not None
        assert entry.state is State.IN_DOUBT
        assert await run_sync(partial(run, [*words, "--yes"])) == 0
        entry = await ledger.get("video-1", "ja")
        assert entry is not None
        assert entry.state is State.PLANNED


@pytest.mark.parametrize("before", [State.PLANNED, State.IN_DOUBT])
def test_what_is_said_of_one_call_is_not_recorded_for_the_next(
    database: str, before: State, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(database)
    number = 1 if before is State.IN_DOUBT else 2

    async def send_once_more() -> None:
        async with open_ledger(database) as ledger:
            if before is State.IN_DOUBT:
                await ledger.execute("UPDATE akool_ledger.intent SET post_ends_at = now()")
                await ledger.resolve("video-1", "ja", not_made=True)
            intent = await ledger.intend(video(number), f"video-{number}", "worker")
            assert await ledger.acquire(intent.token, "worker")
            await ledger.doubt(intent.token, "Lost.")

    def look(*arguments: Any) -> Any:
        found = with_ledger(*arguments)
        if not moved:
            moved.append(anyio.run(send_once_more))
        return found

    moved: list[None] = []
    with_ledger = ledger_commands.with_ledger
    monkeypatch.setattr(ledger_commands, "with_ledger", look)
    words = ["resolve", f"video-{number}", "--language", "ja", "--not-made", "--ledger", database]

    assert run(words) == 1
    assert "another call by now" in " ".join(capsys.readouterr().err.split())


async def test_a_job_that_another_entry_has_by_now_is_no_obstacle(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKOOL_API_HOST", bench.client.host)
    monkeypatch.setenv("AKOOL_API_KEY", "canary-5d1")
    (job,) = (await bench.client.submit(video(9))).accepted
    await bench.ledger.plan([video(1), video(2)])
    for number in (1, 2):
        intent = await bench.ledger.intend(video(number), f"video-{number}", "dead")
        assert await bench.ledger.acquire(intent.token, "dead")
        await bench.ledger.record_end(intent.token, State.IN_DOUBT, reason="Lost.", doubt_ids=(job.id,))
    await bench.ledger.resolve("video-2", "ja", job_id=job.id)
    owner = await bench.ledger.find_job(job.id)
    words = ["resolve", "video-1", "--language", "ja", "--not-made", "--ledger", bench.url]

    assert owner is not None
    assert owner.key == "video-2"
    assert await bench.ledger.find_job("") is None
    assert await run_sync(partial(run, words)) == 0
