"""Saved files that their owner deleted, moved or changed: nothing is called saved that is not there."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolError,
    AuthenticationError,
    ClientClosedError,
    Completed,
    NotSubmitted,
    Snapshot,
    State,
    StopCause,
    open_batch,
    open_journal,
    verify,
)
from akool_async._client import ClientSession
from akool_async._clock import Clock
from akool_async._download import FileState, files
from akool_async._journal import BatchJournal
from akool_async._model.requests import Request
from akool_async._polling import poll_state
from akool_async.sandbox import Fault
from tests.batch.test_batch import run, until, videos
from tests.client.conftest import Open, video
from tests.client.moments import SkewedClock


async def saved_once(home: Any, folder: Path, clock: Clock | None = None, **options: Any) -> Completed:
    client = await home.client(clock=clock)
    folder.mkdir(exist_ok=True)
    async with open_journal(folder / "j.sqlite3") as journal:
        (outcome,) = await run(client, videos(1), journal=journal, download_to=folder / "out", **options)
        assert journal.counts()[State.DELIVERED] == 1
    return outcome


@pytest.mark.parametrize("lost", ["video", "translated_srt", "everything"])
async def test_what_was_deleted_is_fetched_again_and_not_paid_again(
    fast_house: Open, tmp_path: Path, lost: str
) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        whole = {path.name: path.read_bytes() for path in first.saved.files[:-1]}
        for path in first.saved.files if lost == "everything" else [getattr(first.saved, lost)]:
            path.unlink()
        served = len(home.sandbox.audit.served)
        again = await saved_once(home, tmp_path)
        fetched = {one.artifact for one in home.sandbox.audit.served[served:]}
        third = await saved_once(home, tmp_path)

        assert len(home.sandbox.audit.jobs) == 1
    assert again.saved == first.saved
    assert len(fetched) == (len(whole) if lost == "everything" else 1)
    assert {path.name: path.read_bytes() for path in again.saved.files[:-1]} == whole
    assert third.resumed


async def test_a_changed_video_is_left_alone_and_the_whole_one_saved_beside_it(
    fast_house: Open, tmp_path: Path
) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        first.saved.video.write_bytes(b"edited")
        again = await saved_once(home, tmp_path)
        third = await saved_once(home, tmp_path)

    assert first.saved.video.read_bytes() == b"edited"
    assert again.saved.video.name.startswith("0.ja-")
    assert third.saved == again.saved
    assert third.resumed


async def test_a_manifest_alone_may_be_deleted(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        first.saved.manifest.unlink()
        served = len(home.sandbox.audit.served)
        again = await saved_once(home, tmp_path)

        assert len(home.sandbox.audit.served) == served
    assert again.resumed
    assert again.saved.video == first.saved.video


async def test_a_folder_that_was_moved_is_found(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        await saved_once(home, tmp_path / "old")
        shutil.move(tmp_path / "old", tmp_path / "new")
        served = len(home.sandbox.audit.served)
        again = await saved_once(home, tmp_path / "new")

        assert len(home.sandbox.audit.served) == served
    assert again.resumed
    assert {path.parent for path in again.saved.files} == {tmp_path / "new" / "out"}


async def test_relative_paths_lead_to_the_folder_of_the_results(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with fast_house() as home:
        await saved_once(home, Path("old"))
        shutil.copytree("old/out", "below/old/out")
        monkeypatch.chdir(tmp_path / "below")
        again = await saved_once(home, tmp_path / "old")

    assert again.resumed
    assert {path.parent for path in again.saved.files} == {tmp_path / "old" / "out"}


def learn_vendor_time(monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    """Let the vendor's last answer have named a time that is so far ahead of the true one."""
    monkeypatch.setattr(ClientSession, "server_now", lambda _: datetime.now(UTC) + ahead)
    monkeypatch.setattr(ClientSession, "knows_server_time", True)


@pytest.mark.parametrize(
    "why", ["forgotten", "gone", "unreachable", "expired", "expired by when it was sent"]
)
async def test_what_can_not_be_had_any_more_is_never_called_saved(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        first.saved.video.unlink()
        faults = {
            "forgotten": Fault(on="status", kind="vanish"),
            "gone": Fault(on="cdn", kind="http", status=404),
            "unreachable": Fault(on="status", kind="http", status=503),
        }
        asked = len(home.sandbox.audit.served)
        if why in faults:
            home.sandbox.faults.add(faults[why])
            again = await saved_once(home, tmp_path)
        else:
            if why != "expired":  # as journals of earlier versions have it
                with closing(sqlite3.connect(tmp_path / "j.sqlite3")) as database, database:
                    database.execute("UPDATE entry SET created_at = NULL")
            learn_vendor_time(monkeypatch, timedelta(days=9))
            again = await saved_once(home, tmp_path, clock=SkewedClock(days=9))
            assert len(home.sandbox.audit.served) == asked

    assert isinstance(again, Completed)
    assert again.saved is None
    assert "deleted or moved" in again.reason
    assert ("expired" in again.reason) == why.startswith("expired")


@pytest.mark.parametrize("then", [-10, 0])
@pytest.mark.parametrize("now", [0, 10])
async def test_a_wrong_clock_of_this_machine_gives_up_no_deleted_result(
    fast_house: Open, tmp_path: Path, then: int, now: int
) -> None:
    out = tmp_path / "out"
    async with fast_house() as home:
        outcomes = []
        for number, days in enumerate((then, now)):
            clock = SkewedClock(days=days)
            client = await home.client(clock=clock)
            async with BatchJournal(tmp_path / "j.sqlite3", now=clock.now) as journal:
                outcomes += await run(client, videos(1), journal=journal, download_to=out)
            (video,) = out.glob("*.mp4")
            if number == 0:
                video.unlink()

    assert [outcome.reason for outcome in outcomes] == ["", ""]
    assert video.exists()


@pytest.mark.parametrize("created", [True, False])
@pytest.mark.parametrize("submitted", [True, False])
@pytest.mark.parametrize(("here", "vendor"), [(0, 30), (30, 0), (0, 0)])
async def test_no_clock_alone_gives_up_a_deleted_result(
    fast_house: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: int,
    vendor: int,
    submitted: bool,
    created: bool,
) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        first.saved.video.unlink()
        with closing(sqlite3.connect(tmp_path / "j.sqlite3")) as database, database:
            for column, is_known in (("created_at", created), ("submitted_at", submitted)):
                if not is_known:
                    database.execute(f"UPDATE entry SET {column} = NULL")
        learn_vendor_time(monkeypatch, timedelta(days=vendor))
        again = await saved_once(home, tmp_path, clock=SkewedClock(days=here))

    assert again.reason == ""
    assert first.saved.video.exists()


def refuse_status(monkeypatch: pytest.MonkeyPatch, job_id: str, error: AkoolError) -> None:
    """Let the API answer questions about one job with an error."""
    usual = ClientSession.status

    async def status(session: ClientSession, asked: str) -> Snapshot:
        if asked == job_id:
            raise error
        return await usual(session, asked)

    monkeypatch.setattr(ClientSession, "status", status)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(AuthenticationError("Who?", code=1101), True), (ClientClosedError("Closed."), False)],
    ids=["account", "caller"],
)
async def test_an_error_about_one_deleted_file_keeps_no_other_result_back(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: AkoolError, raised: bool
) -> None:
    outcomes = []
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        first.saved.video.unlink()
        refuse_status(monkeypatch, first.job.id, error)
        client, out = await home.client(), tmp_path / "out"

        async def requests() -> AsyncIterator[Request]:
            for new in videos(4)[1:]:
                yield new
            await until(lambda: len(home.sandbox.audit.jobs) == 4)
            yield videos(1)[0]

        with anyio.fail_after(55), pytest.raises(type(error)) if raised else nullcontext():
            async with (
                open_journal(tmp_path / "j.sqlite3") as journal,
                open_batch(client, requests(), journal=journal, download_to=out) as batch,
            ):
                async for outcome in batch:
                    outcomes.append(outcome)

    lost = [outcome for outcome in outcomes if outcome.saved is None]
    assert len(outcomes) == 4
    assert [outcome.key for outcome in lost] == [first.key]
    assert error.message in lost[0].reason


async def test_a_service_outlives_an_account_error_about_a_deleted_file(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        first.saved.video.unlink()
        refuse_status(monkeypatch, first.job.id, AuthenticationError("Who?", code=1101))
        client, out = await home.client(), tmp_path / "out"
        with anyio.fail_after(55):
            async with (
                open_journal(tmp_path / "j.sqlite3") as journal,
                open_batch(client, journal=journal, download_to=out) as batch,
            ):
                (lost,) = await (await batch.submit(videos(1)[0])).outcomes()
                assert batch.stop_cause is StopCause.CREDENTIALS
                batch.resume_submitting()
                (new,) = await (await batch.submit(videos(2)[1])).outcomes()

    assert lost.saved is None
    assert new.saved.video.exists()


async def test_missing_subtitles_are_tried_again_while_the_job_is_known(
    fast_house: Open, tmp_path: Path
) -> None:
    async with fast_house() as home:
        home.sandbox.faults.add(broken := Fault(on="cdn", kind="html", nth=range(2, 100)))
        first = await saved_once(home, tmp_path)
        still = await saved_once(home, tmp_path)
        home.sandbox.faults.remove(broken)
        whole = await saved_once(home, tmp_path)
        fetched = [one.artifact for one in home.sandbox.audit.served]

    assert set(first.saved.missing) == set(still.saved.missing) == {"translated_srt", "original_srt"}
    assert whole.saved.missing == {}
    assert whole.saved.translated_srt.exists()
    assert fetched.count("video") == 1


# Files that nobody recorded.


@pytest.mark.parametrize("how", ["killed", "by the caller"])
async def test_a_result_in_the_folder_is_not_called_expired_nor_paid_again(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    out = tmp_path / "out"
    for name in ("NOT_FOUND_SPAN", "NOT_FOUND_GRACE"):
        monkeypatch.setattr(poll_state, name, 0.01)
    async with fast_house() as home:
        client = await home.client()
        if how == "by the caller":
            home.sandbox.faults.add(broken := Fault(on="cdn", kind="http", status=404))
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            (first,) = await run(client, videos(1), journal=journal, download_to=out)
        if how == "by the caller":
            home.sandbox.faults.remove(broken)
            await client.download(first, into=out)
        else:  # between the files and their record
            with closing(sqlite3.connect(tmp_path / "j.sqlite3")) as database, database:
                database.execute("UPDATE entry SET state = 'submitted', files = '[]'")
        home.sandbox.faults.add(Fault(on="status", kind="vanish"))
        next_week = datetime.now(UTC) + timedelta(days=8)
        monkeypatch.setattr(ClientSession, "server_now", lambda _: next_week)
        outcomes = []
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            for retry in (False, True):
                outcomes += await run(client, videos(1), journal=journal, download_to=out, retry_failed=retry)
            assert journal.counts()[State.DELIVERED] == 1

        assert len(home.sandbox.audit.jobs) == 1
    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert all(outcome.saved.video.exists() for outcome in outcomes)


# Results that an earlier run left at the vendor, and files that it did not ask for.


@pytest.mark.parametrize("without_captions", [False, True])
async def test_what_was_never_downloaded_is_saved_by_a_later_run(
    fast_house: Open, tmp_path: Path, without_captions: bool
) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            (first,) = await run(client, videos(1), journal=journal)
        later = await saved_once(home, tmp_path, without_captions=without_captions)
        third = await saved_once(home, tmp_path, without_captions=without_captions)

        assert len(home.sandbox.audit.jobs) == 1
    assert first.saved is None
    assert later.saved.video.exists()
    assert (later.saved.without_captions is not None) == without_captions
    assert third.saved == later.saved
    assert later.reason == third.reason == ""


@pytest.mark.parametrize("why", ["forgotten", "gone"])
async def test_what_was_never_downloaded_and_can_not_be_had_is_explained(
    fast_house: Open, tmp_path: Path, why: str
) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            await run(client, videos(1), journal=journal)
        fault = Fault(on="status", kind="vanish") if why == "forgotten" else Fault(on="cdn", kind="http")
        home.sandbox.faults.add(fault)
        later = await saved_once(home, tmp_path)

    assert isinstance(later, Completed)
    assert later.saved is None
    assert "The video is not saved: no run has downloaded it. It could not be downloaded." in later.reason


@pytest.mark.parametrize(
    ("names", "name"), [("{stem}.{language}", "0.ja"), ("{language}/{stem}", "ja/0")], ids=["flat", "folders"]
)
async def test_what_the_caller_downloaded_is_not_downloaded_again(
    fast_house: Open, tmp_path: Path, names: str, name: str
) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            (first,) = await run(client, videos(1), journal=journal)
        by_hand = await client.download(first, into=tmp_path / "out", name=name)
        served = len(home.sandbox.audit.served)
        later = await saved_once(home, tmp_path, file_names=names)
        third = await saved_once(home, tmp_path, file_names=names)

        assert len(home.sandbox.audit.served) == served
    assert later.saved == third.saved == by_hand


async def test_a_video_without_captions_is_fetched_by_the_run_that_asks_for_it(
    fast_house: Open, tmp_path: Path
) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        later = await saved_once(home, tmp_path, without_captions=True)
        third = await saved_once(home, tmp_path, without_captions=True)
        fetched = [one.artifact for one in home.sandbox.audit.served]
        usual = await saved_once(home, tmp_path)

        assert len(home.sandbox.audit.jobs) == 1
    assert first.saved.without_captions is None
    assert later.saved.without_captions.exists()
    assert third.saved == later.saved
    assert usual.saved.missing == {}
    assert fetched.count("video") == 1


async def test_a_video_without_captions_that_can_not_be_had_is_called_missing(
    fast_house: Open, tmp_path: Path
) -> None:
    async with fast_house() as home:
        await saved_once(home, tmp_path)
        home.sandbox.faults.add(Fault(on="status", kind="vanish"))
        later = await saved_once(home, tmp_path, without_captions=True)
        usual = await saved_once(home, tmp_path)

    assert set(later.saved.missing) == {"without_captions"}
    assert usual.saved.missing == {}


# Requests that are submitted one by one.


@pytest.mark.parametrize("lost", ["deleted", "changed"])
@pytest.mark.parametrize("asked", ["submitted", "by name"])
async def test_a_ticket_brings_back_what_an_earlier_run_saved(
    fast_house: Open, tmp_path: Path, lost: str, asked: str
) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        content = first.saved.video.read_bytes()
        if lost == "deleted":
            first.saved.video.unlink()
        else:  # what only its SHA-256 shows
            first.saved.video.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        client = await home.client()
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            open_batch(
                client,
                journal=journal,
                download_to=tmp_path / "out",
                verify_saved=lost == "changed",
            ) as batch,
        ):
            with anyio.fail_after(55):
                if asked == "submitted":
                    again = await (await batch.submit(first.request)).outcome()
                else:
                    again = await batch.outcome(first.key, first.target)
                told = await batch.outcome(first.key, first.target)

        assert len(home.sandbox.audit.jobs) == 1
    assert again.saved.video.read_bytes() == content
    assert told.saved == again.saved


async def test_a_ticket_for_a_whole_result_waits_for_no_slot_and_asks_for_nothing(
    fast_house: Open, tmp_path: Path
) -> None:
    async with fast_house(time_scale=1.0) as home:
        home.sandbox.engine.clock.scale = 5000.0
        first = await saved_once(home, tmp_path)
        home.sandbox.engine.clock.scale = 1.0
        served = len(home.sandbox.audit.served)
        client = await home.client()
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            open_batch(client, journal=journal, download_to=tmp_path / "out", max_in_flight=1) as batch,
        ):
            with anyio.fail_after(55):
                for number in (7, 8, 9):
                    await batch.submit(video(number))
                while len(home.sandbox.audit.jobs) < 2:
                    await anyio.sleep(0.005)
                for _ in range(2):
                    again = await (await batch.submit(first.request)).outcome()
                    assert again.saved == first.saved
                assert again.resumed
                batch.drain()
                assert (await batch.outcome(first.key, first.target)).saved == first.saved

        assert len(home.sandbox.audit.served) == served


async def test_a_ticket_does_not_call_saved_what_is_gone(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        first.saved.video.unlink()
        home.sandbox.faults.add(gone := Fault(on="cdn", kind="http", status=404))
        client = await home.client()
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            open_batch(client, journal=journal, download_to=tmp_path / "out") as batch,
        ):
            with anyio.fail_after(55):
                ticket = await batch.submit(first.request)
                lost = [await ticket.outcome(), await ticket.outcome()]
                home.sandbox.faults.remove(gone)
                whole = await (await batch.submit(first.request)).outcome()

    assert [outcome.saved for outcome in lost] == [None, None]
    assert "deleted or moved" in lost[0].reason
    assert whole.saved.video.exists()


# The public check of a folder.


async def test_a_folder_tells_what_became_of_its_files(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        outcomes = await run(await home.client(), videos(4), download_to=tmp_path / "out")
    saved = {outcome.saved.video.name: outcome.saved for outcome in outcomes}
    saved["0.ja.mp4"].video.unlink()
    (out := saved["1.ja.mp4"].video).write_bytes(out.read_bytes()[:-1])
    content = bytearray(saved["2.ja.mp4"].video.read_bytes())
    content[50] ^= 1
    saved["2.ja.mp4"].video.write_bytes(content)
    (tmp_path / "out" / "other.json").write_text('{"not": "a manifest"}')
    (tmp_path / "out" / "list.json").write_text("[1]")

    quick = {result.files[0].path.name: result for result in await verify(tmp_path / "out", hashes=False)}
    found = {result.files[0].path.name: result for result in await verify(str(tmp_path / "out"))}

    states = {name: result.files[0].state for name, result in found.items()}
    assert states == {
        "0.ja.mp4": FileState.MISSING,
        "1.ja.mp4": FileState.CHANGED,
        "2.ja.mp4": FileState.CHANGED,
        "3.ja.mp4": FileState.INTACT,
    }
    assert quick["2.ja.mp4"].files[0].state is FileState.INTACT
    assert found["0.ja.mp4"].saved is None
    assert found["3.ja.mp4"].saved == saved["3.ja.mp4"]
    assert [result.job_id for result in found.values() if result.damaged] == [
        outcome.job.id for outcome in sorted(outcomes, key=lambda one: one.request.url)[:3]
    ]


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
@pytest.mark.parametrize("trap", ["pipe", "symlink", "endless"])
async def test_a_check_neither_hangs_nor_follows(fast_house: Open, tmp_path: Path, trap: str) -> None:
    async with fast_house() as home:
        outcome = await saved_once(home, tmp_path)
    lay = {"pipe": os.mkfifo, "symlink": lambda path: path.symlink_to("/etc/passwd")}
    if trap == "endless":
        (tmp_path / "out" / "x.json").symlink_to("/dev/zero")
    else:
        outcome.saved.video.unlink()
        lay[trap](outcome.saved.video)
        lay[trap](tmp_path / "out" / "x.json")
    (result,) = await verify(tmp_path / "out")

    assert [file.state for file in result.damaged] == [FileState.CHANGED] * (trap != "endless")


async def test_a_folder_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    from akool_async import StorageError

    with pytest.raises(StorageError, match="can't be read"):
        await verify(tmp_path / "nowhere")


async def test_a_manifest_that_can_not_be_read_costs_its_own_entry_alone(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user's of mode 0600: nobody knows what was paid for, and jobs at the vendor are saved."""
    usual = files.open_regular

    def refuse(path: Path, *arguments: Any, **options: Any) -> int:
        if path.name == "0.ja.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path, *arguments, **options)

    async with fast_house() as home:
        first = await saved_once(home, tmp_path)
        monkeypatch.setattr(files, "open_regular", refuse)
        client, out = await home.client(), tmp_path / "out"
        outcomes = await run(client, [*videos(3)[1:], videos(1)[0]], download_to=out)
        paid = await run(client, videos(1), download_to=out, pay_again=True)

    (refused,) = [outcome for outcome in outcomes if isinstance(outcome, NotSubmitted)]
    assert refused.key == first.key
    assert f"{first.saved.manifest} says whose result has this name, and can't be read" in refused.reason
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 2
    assert [type(outcome) for outcome in paid] == [Completed]
