"""After the POST: waiting and saving may be repeated, and no two workers write one name."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

import anyio
import psycopg
import pytest
from anyio.to_thread import run_sync

from akool_async import (
    Completed,
    Entry,
    InvalidRequestError,
    JobFailed,
    JobNotFoundError,
    State,
    open_batch,
    open_journal,
)
from akool_async._client import ClientSession
from akool_async._clock import SystemClock
from akool_async._download import FileBusyError
from akool_async._model.errors import DownloadError, IllegalTransitionError
from akool_async._model.filenames import DEFAULT_TEMPLATE
from akool_async._polling import poll_state
from akool_async._storage import result_folder
from akool_async.cli.app import run
from akool_async.ledger import Made, open_ledger
from akool_async.sandbox import Fault
from tests.client.moments import SkewedClock
from tests.ledger.conftest import Bench, video


async def submit(bench: Bench, number: int = 1) -> None:
    assert isinstance(await bench.ledger.submit_once(bench.client, video(number)), Made)


async def test_waiting_and_saving_are_done_once_however_often_they_are_asked_for(
    quick: Bench, tmp_path: Path
) -> None:
    await submit(quick)
    waited = await quick.ledger.wait_once(quick.client, "video-1", "ja", worker="one")
    saved = await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)
    asked = dict(quick.sandbox.audit.requests)
    again = [
        await quick.ledger.wait_once(quick.client, "video-1", "ja"),
        await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path),
    ]

    assert (waited.state, saved.state) == (State.COMPLETED, State.DELIVERED)
    assert again == [saved, saved]
    assert quick.sandbox.audit.requests == asked
    assert {Path(file).name for file in saved.files} == {path.name for path in tmp_path.iterdir()}
    # What signs the URL was needed for the POST alone.
    assert "canary" not in saved.request.url  # type: ignore[union-attr,operator]


async def test_a_job_that_failed_is_recorded_and_has_nothing_to_save(quick: Bench, tmp_path: Path) -> None:
    quick.sandbox.faults.add(Fault(on="create", kind="job_fails"))
    await submit(quick)
    failed = await quick.ledger.wait_once(quick.client, "video-1", "ja")

    assert failed.state is State.FAILED
    assert failed.reason
    assert await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path) == failed
    assert list(tmp_path.iterdir()) == []


async def test_what_saved_results_lack_is_in_every_command(
    quick: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick.sandbox.faults.add(Fault(on="cdn", kind="truncated", job=2))
    quick.sandbox.faults.add(Fault(on="cdn", kind="http", status=500, job=3, nth=range(2, 1000)))
    for number in (1, 2, 3):
        await submit(quick, number)
        await quick.ledger.wait_once(quick.client, f"video-{number}", "ja")
        await quick.ledger.save_once(quick.client, f"video-{number}", "ja", into=tmp_path)
    reasons = [entry.reason async for entry in quick.ledger.entries()]
    where = ["--ledger", quick.url]
    assert await run_sync(run, ["status", *where]) == 0
    said = capsys.readouterr().err
    await run_sync(run, ["status", "--json", *where])
    counted = json.loads(capsys.readouterr().out)
    await run_sync(run, ["list", *where])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]

    assert reasons[0] == ""
    assert reasons[1].startswith("Not verified and incomplete: video: ")
    assert reasons[2].startswith("Incomplete: translated_srt: ")
    assert await quick.ledger.count_shortfalls() == (1, 2)
    assert (counted["states"], counted["unverified"], counted["incomplete"]) == ({"delivered": 3}, 1, 2)
    assert [row[2] for row in rows] == ["saved", "unverified", "saved"]
    assert [row[4] for row in rows] == reasons
    assert "  2  saved\n  1  saved, but could not be verified" in said
    assert "  2  of the saved without a file of the video" in said


async def test_a_file_of_something_else_is_never_overwritten(quick: Bench, tmp_path: Path) -> None:
    (tmp_path / "1.ja.mp4").write_bytes(b"the only copy")
    await submit(quick)
    await quick.ledger.wait_once(quick.client, "video-1", "ja")
    saved = await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)

    assert (tmp_path / "1.ja.mp4").read_bytes() == b"the only copy"
    assert saved.state is State.DELIVERED
    assert saved.name.startswith("1.ja-")
    assert Path(saved.files[0]).name == f"{saved.name}.mp4"


async def test_where_every_name_is_taken_nothing_is_saved_and_the_job_is_kept(
    quick: Bench, tmp_path: Path
) -> None:
    for name in islice(DEFAULT_TEMPLATE.names(video(), "ja"), 5):
        (tmp_path / f"{name}.mp4").write_bytes(b"another's")
    await submit(quick)
    await quick.ledger.wait_once(quick.client, "video-1", "ja")
    with pytest.raises(DownloadError, match="Every file name tried"):
        await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)

    assert {path.read_bytes() for path in tmp_path.glob("*.mp4")} == {b"another's"}
    entry = await quick.ledger.get("video-1", "ja")
    assert entry is not None
    assert entry.state is State.COMPLETED


async def test_two_workers_that_save_one_entry_leave_one_result(quick: Bench, tmp_path: Path) -> None:
    await submit(quick)
    await quick.ledger.wait_once(quick.client, "video-1", "ja")

    async def save() -> None:
        async with open_ledger(quick.url) as ledger:
            while True:
                try:
                    found = await ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)
                except FileBusyError:  # the other one is saving it
                    await anyio.sleep(0.02)
                else:
                    assert found.state is State.DELIVERED
                    return

    with anyio.fail_after(50):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(save)

    assert len(list(tmp_path.glob("*.mp4"))) == 1


async def test_a_result_that_another_worker_is_just_publishing_gets_no_second_name(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The video has its name before the manifest says whose it is."""
    await submit(quick)
    await quick.ledger.wait_once(quick.client, "video-1", "ja")
    other, ours = tmp_path / "other", tmp_path / "ours"
    await quick.ledger.save_once(quick.client, "video-1", "ja", into=other)
    await quick.ledger.execute("UPDATE akool_ledger.entry SET state = 'completed' WHERE account = :account")
    ours.mkdir()
    shutil.copy(next(other.glob("*.mp4")), ours)

    async def publish(seconds: float) -> None:
        for path in other.iterdir():
            shutil.copy(path, ours)

    monkeypatch.setattr(quick.ledger.clock, "sleep", publish)
    found = await quick.ledger.save_once(quick.client, "video-1", "ja", into=ours)

    assert found.state is State.DELIVERED
    assert sorted(path.name for path in ours.iterdir()) == sorted(path.name for path in other.iterdir())


async def test_an_entry_that_is_not_there_says_so(quick: Bench, tmp_path: Path) -> None:
    with pytest.raises(IllegalTransitionError, match="not in the ledger"):
        await quick.ledger.wait_once(quick.client, "video-9", "ja")
    with pytest.raises(IllegalTransitionError, match="not in the ledger"):
        await quick.ledger.save_once(quick.client, "video-9", "ja", into=tmp_path)


async def journal_with_a_job(bench: Bench, folder: Path) -> list[Entry]:
    async with (
        open_journal(folder / "jobs.sqlite3") as journal,
        open_batch(bench.client, [video(1)], journal=journal) as batch,
    ):
        assert [type(outcome) async for outcome in batch] == [Completed]
        return [entry async for entry in journal.entries()]


async def test_a_catalog_that_was_entered_before_its_journal_is_not_paid_again(
    quick: Bench, tmp_path: Path
) -> None:
    (paid,) = await journal_with_a_job(quick, tmp_path)
    await quick.ledger.plan([video(1)])
    assert await quick.ledger.adopt([paid]) == 1
    assert await quick.ledger.adopt([paid]) == 0  # as after a crash before the journal was retired

    assert isinstance(await quick.ledger.submit_once(quick.client, video(1)), Made)
    entry = await quick.ledger.get("video-1", "ja")
    assert entry is not None
    assert (entry.job_id, len(quick.sandbox.audit.jobs)) == (paid.job_id, 1)


async def test_a_journal_whose_work_was_begun_elsewhere_is_not_moved(quick: Bench, tmp_path: Path) -> None:
    (paid,) = await journal_with_a_job(quick, tmp_path)
    await submit(quick)
    with pytest.raises(InvalidRequestError, match="begun in the ledger"):
        await quick.ledger.adopt([paid])
    entry = await quick.ledger.get("video-1", "ja")
    assert entry is not None
    assert entry.job_id not in ("", paid.job_id)


async def test_a_job_that_the_vendor_has_forgotten_is_expired_once_its_time_is_over(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(quick)
    await quick.ledger.wait_once(quick.client, "video-1", "ja")
    quick.sandbox.faults.add(Fault(on="status", kind="vanish"))
    for clock in (SystemClock(), SkewedClock(days=9)):  # that of this machine alone does not decide
        quick.ledger.clock = clock
        with pytest.raises(JobNotFoundError):
            await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)

    monkeypatch.setattr(ClientSession, "server_now", lambda _: SkewedClock(days=9).now())
    entry = await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)
    assert entry.state is State.EXPIRED


@pytest.mark.parametrize("recorded", ["completed", "submitted"])
async def test_what_is_saved_is_not_called_expired_though_nobody_recorded_it(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str
) -> None:
    """As after a worker was killed just before that, or with an older copy of the database."""
    for name in ("NOT_FOUND_SPAN", "NOT_FOUND_GRACE"):
        monkeypatch.setattr(poll_state, name, 0.01)
    await submit(quick)
    await quick.ledger.wait_once(quick.client, "video-1", "ja")
    saved = await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)
    with psycopg.connect(quick.url, autocommit=True) as connection:
        lost = "UPDATE akool_ledger.entry SET state = %s, files = '[]'"
        connection.execute(lost, [recorded])
    quick.sandbox.faults.add(Fault(on="status", kind="vanish"))
    quick.ledger.clock = SkewedClock(days=9)
    monkeypatch.setattr(ClientSession, "server_now", lambda _: SkewedClock(days=9).now())
    entry = await quick.ledger.get("video-1", "ja")
    assert entry is not None
    waited = await quick.ledger.wait_for(quick.client, entry, folder=result_folder(tmp_path, None))
    found = await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)

    assert (found.state, sorted(found.files)) == (State.DELIVERED, sorted(saved.files))
    assert waited.state is (State.COMPLETED if recorded == "completed" else State.DELIVERED)
    assert await quick.ledger.retry("video-1", "ja") is False


async def test_the_result_of_another_job_is_not_taken_for_an_expired_one(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(quick)
    await quick.ledger.wait_once(quick.client, "video-1", "ja")
    await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)
    with psycopg.connect(quick.url, autocommit=True) as connection:
        other = "UPDATE akool_ledger.entry SET state = 'completed', files = '[]', job_id = %s"
        connection.execute(other, ["f" * 24])
    quick.ledger.clock = SkewedClock(days=9)
    monkeypatch.setattr(ClientSession, "server_now", lambda _: SkewedClock(days=9).now())

    found = await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)
    assert found.state is State.EXPIRED


async def test_a_job_that_the_vendor_does_not_know_now_is_not_failed(
    quick: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the key of another account: it is paid, and a `retry` would pay once more."""
    for name in ("NOT_FOUND_SPAN", "NOT_FOUND_GRACE"):
        monkeypatch.setattr(poll_state, name, 0.01)
    await submit(quick)
    quick.sandbox.faults.add(unknown := Fault(on="status", kind="vanish"))
    with pytest.raises(JobFailed, match="no longer knows"):
        await quick.ledger.wait_once(quick.client, "video-1", "ja")
    between = await quick.ledger.get("video-1", "ja")
    quick.sandbox.faults.remove(unknown)
    found = await quick.ledger.wait_once(quick.client, "video-1", "ja")

    assert between is not None
    assert between.state is State.SUBMITTED
    assert found.state is State.COMPLETED


async def test_a_video_whose_manifest_says_nothing_is_not_paid_for_unasked(
    bench: Bench, tmp_path: Path
) -> None:
    request, folder = video(1), result_folder(tmp_path, None)
    first = DEFAULT_TEMPLATE.name(request, "ja")
    for ending in (".mp4", ".json"):
        (tmp_path / f"{first}{ending}").write_text("not a manifest")
    await bench.ledger.plan([request])
    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    reason = await bench.ledger.refuse_saved(entry, folder)

    refused = await bench.ledger.get("video-1", "ja")
    assert refused is not None
    assert (refused.state, refused.reason) == (State.FAILED, reason)
    assert f"{first}.json" in reason
    assert "retry" in reason
    assert await bench.ledger.retry("video-1", "ja")
    again = await bench.ledger.get("video-1", "ja")
    assert again is not None
    await bench.ledger.refuse_saved(again, folder)
    assert (await bench.ledger.get("video-1", "ja")).state is State.PLANNED  # type: ignore[union-attr]
