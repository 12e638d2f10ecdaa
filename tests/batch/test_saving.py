"""How a batch brings results home: names, side files, what was home already, and when disk or time is out."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    Expired,
    InvalidRequestError,
    NotSubmitted,
    Outcome,
    State,
    StopCause,
    TranslationRequest,
    entry_key,
    fingerprint,
    open_batch,
    open_journal,
    verify,
)
from akool_async._download import files as disk
from akool_async._polling import poll_state as observation
from akool_async.sandbox import Fault, api
from akool_async.sandbox.response_schema import job_status
from tests.batch.test_batch import run, videos
from tests.client.conftest import Open, video
from tests.client.moments import SkewedClock, still_clock, until


def named(url: str, **options: Any) -> TranslationRequest:
    return TranslationRequest(**{"url": url, "targets": "ja"} | options)


def stems(outcomes: list[Outcome]) -> list[str]:
    return sorted(outcome.saved.video.name for outcome in outcomes)


async def test_results_are_called_after_video_and_language(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        client = await home.client()
        outcomes = await run(client, [video(1, targets="ja,fr", key="mine")], download_to=tmp_path)
        other = await run(client, [video(2, key="a b")], download_to=tmp_path, file_names="{key}_{language}")

    assert stems(outcomes) == ["1.fr.mp4", "1.ja.mp4"]
    assert stems(other) == ["a-b_ja.mp4"]


async def test_names_may_be_told_for_each_key(fast_house: Open, tmp_path: Path) -> None:
    wanted = [video(1, key="one"), video(2, key="two"), video(3)]
    names = {"one": "Erstes Licht.{language}", entry_key(wanted[2], "ja"): "{fingerprint}"}
    async with fast_house() as home:
        outcomes = await run(await home.client(), wanted, download_to=tmp_path, file_names=names)

    assert stems(outcomes) == sorted(
        ["Erstes-Licht.ja.mp4", "2.ja.mp4", f"{fingerprint(wanted[2], 'ja')}.mp4"]
    )


async def test_names_may_be_told_for_each_language_of_a_key(fast_house: Open, tmp_path: Path) -> None:
    wanted = [video(1, key="talk", targets="ja,fr"), video(1, key="talk", targets="de")]
    names = {"talk": "all/{language}", ("talk", "ja"): "japanese/{key}", ("talk", "de"): "german/{key}"}
    async with fast_house() as home:
        outcomes = await run(await home.client(), wanted, download_to=tmp_path, file_names=names)

    saved = {outcome.target: str(outcome.saved.video.relative_to(tmp_path)) for outcome in outcomes}
    assert saved == {"ja": "japanese/talk.mp4", "fr": "all/fr.mp4", "de": "german/talk.mp4"}


async def test_names_that_would_meet_are_told_apart(fast_house: Open, tmp_path: Path) -> None:
    wanted = [
        named("https://e.com/a/talk.mp4"),
        named("https://e.com/b/Talk.mp4"),
        named("https://e.com/c/talk.mp4", targets="ja"),
        named("https://e.com/d/talk.ja.original.mp4", key="x"),
    ]
    async with fast_house() as home:
        client = await home.client()
        outcomes = await run(client, wanted, download_to=tmp_path, max_submits=1)
        odd = await run(client, wanted[3:], download_to=tmp_path, file_names="{stem}")

    marks = [fingerprint(request, "ja")[:8] for request in wanted]
    by_url = {outcome.request.url: outcome.saved.video.name for outcome in outcomes}
    assert by_url[wanted[0].url] == "talk.ja.mp4"
    assert by_url[wanted[1].url] == f"Talk.ja-{marks[1]}.mp4"
    assert by_url[wanted[2].url] == f"talk.ja-{marks[2]}.mp4"
    assert odd[0].saved.video.name == f"talk.ja.original-{marks[3]}.mp4"
    for outcome in outcomes:
        assert all(path.exists() for path in outcome.saved.files)


@pytest.mark.parametrize(
    "ending", [".mp4", ".srt", ".vtt", ".original.srt", ".original.ass", ".json", ".captionless.mp4"]
)
async def test_a_file_that_stands_there_is_never_touched(
    fast_house: Open, tmp_path: Path, ending: str
) -> None:
    (tmp_path / f"1.ja{ending}").write_text("mine")
    async with fast_house() as home:
        (outcome,) = await run(await home.client(), [video(1)], download_to=tmp_path)

    assert (tmp_path / f"1.ja{ending}").read_text() == "mine"
    assert outcome.saved.video.name == f"1.ja-{fingerprint(video(1), 'ja')[:8]}.mp4"


async def test_a_file_that_appears_after_the_payment_is_not_touched_either(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        async with open_batch(client, [video(1)], journal=journal, download_to=tmp_path) as batch:
            with anyio.fail_after(55):
                while not journal.counts()[State.SUBMITTING] and not journal.counts()[State.SUBMITTED]:
                    await anyio.lowlevel.checkpoint()
            (tmp_path / "1.ja.srt").write_text("mine")
            outcomes = [outcome async for outcome in batch]
        assert journal.get(outcomes[0].key, "ja").name == outcomes[0].saved.video.stem

    assert (tmp_path / "1.ja.srt").read_text() == "mine"
    assert outcomes[0].saved.video.name.startswith("1.ja-")
    assert not (tmp_path / "1.ja.mp4").exists()


@pytest.mark.parametrize("same", [False, True], ids=["other videos", "one video"])
async def test_batches_with_journals_of_their_own_bring_like_names_home_at_the_same_time(
    fast_house: Open, tmp_path: Path, same: bool
) -> None:
    outcomes = []

    async def order(number: int, client: AkoolClient) -> None:
        url = f"https://example.com/{0 if same else number}/talk.mp4"
        wanted = TranslationRequest(url=url, targets="ja", key=str(number))
        async with (
            open_journal(tmp_path / f"{number}.sqlite3") as journal,
            open_batch(client, [wanted], journal=journal, download_to=tmp_path / "out") as batch,
        ):
            outcomes.extend([outcome async for outcome in batch])

    async with fast_house(faults=[Fault(on="cdn", kind="delay", seconds=0.02)]) as house:
        client = await house.client()
        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(order, number, client)

    assert not [outcome.reason for outcome in outcomes if outcome.saved is None]
    assert len({outcome.saved.video for outcome in outcomes}) == 6
    assert not list((tmp_path / "out").glob("*.part*"))


async def test_a_second_run_uses_the_name_that_the_first_one_settled(
    fast_house: Open, tmp_path: Path
) -> None:
    async with fast_house(clock=still_clock()) as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            async with open_batch(client, [video(1)], journal=journal, download_to=tmp_path / "out"):
                with anyio.fail_after(55):
                    while not journal.counts()[State.SUBMITTED]:
                        await anyio.sleep(0.01)
            (entry,) = [entry async for entry in journal.entries()]
            assert entry.name == "1.ja"
    async with fast_house() as home:
        client = await home.client()
        job = (await client.submit(video(1))).job_ids[0]
        async with open_journal(tmp_path / "k.sqlite3") as journal:
            await journal.intend(video(1), names={(entry.key, "ja"): ["settled"]})
            await journal.record(_submitted(entry.key, job))
            outcomes = await run(
                client, [video(1)], journal=journal, download_to=tmp_path / "out", file_names="{key}"
            )

    assert stems(outcomes) == ["settled.mp4"]


def _submitted(key: str, job: str) -> Any:
    from akool_async._journal import EntryUpdate

    return EntryUpdate(key=key, target="ja", state=State.SUBMITTED, job_id=job)


async def test_a_bad_template_is_refused_before_anything_is_sent(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        client = await home.client()
        with pytest.raises(InvalidRequestError, match="names"):
            open_batch(client, videos(1), download_to=tmp_path, file_names="../{stem}")

        assert home.sandbox.audit.creates == ()


# What lies beside a result.


@pytest.mark.parametrize("without_captions", [False, True])
async def test_a_side_file_says_where_the_others_come_from(
    house: Open, tmp_path: Path, without_captions: bool
) -> None:
    request = named("https://e.com/talk.mp4?X-Amz-Signature=secret&id=5", key="mine", style="calm")
    async with house() as home:
        client = await home.client()
        (outcome,) = await run(client, [request], download_to=tmp_path, without_captions=without_captions)

        (job,) = home.sandbox.audit.jobs
    saved = outcome.saved
    text = saved.manifest.read_text()
    told = json.loads(text)
    assert saved.manifest.name == "talk.ja.json"
    assert (saved.without_captions is not None) == without_captions
    assert {file["name"] for file in told["files"]} == {path.name for path in saved.files[:-1]}
    for file in told["files"]:
        content = (tmp_path / file["name"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (told["job_id"], told["key"], told["target"]) == (job.id, "mine", "ja")
    assert told["request"]["url"] == "https://e.com/talk.mp4"
    assert told["request"]["style"] == "calm"
    assert told["credits"] == outcome.credits
    assert told["program"].startswith("akool-async")
    assert told["missing"] == {}
    assert "secret" not in text
    assert "token" not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in saved.files)


async def test_what_is_told_again_names_all_files(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(":memory:") as journal, fast_house() as home:
        client = await home.client()
        options = {"journal": journal, "download_to": tmp_path, "without_captions": True}
        first = await run(client, videos(1), **options)
        again = await run(client, videos(1), **options)

    assert again[0].resumed
    assert again[0].saved == first[0].saved
    assert len(again[0].saved.files) == 5


async def test_subtitles_that_are_gone_do_not_keep_the_video_away(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        client = await home.client()
        results = home.sandbox._results
        open_file = results.open

        async def open_or_miss(place: Any, token: str, now: float) -> Any:
            from akool_async.sandbox.cdn import FileUnavailable

            if place.artifact == "original_srt":
                raise FileUnavailable(404)
            return await open_file(place, token, now)

        results.open = open_or_miss
        (outcome,) = await run(client, videos(1), download_to=tmp_path)

    assert outcome.saved.video.exists()
    assert outcome.saved.original_srt is None
    assert list(outcome.saved.missing) == ["original_srt"]
    assert "404" in json.loads(outcome.saved.manifest.read_text())["missing"]["original_srt"]


@pytest.mark.parametrize("length", [500, 200_000])
async def test_a_host_that_compresses_everything_keeps_no_result_away(
    fast_house: Open, tmp_path: Path, length: int
) -> None:
    async with fast_house(result_bytes=length) as home:
        client = await home.client()
        (first,) = await run(client, videos(1), download_to=tmp_path / "plain")
        home.sandbox.faults.add(Fault(on="cdn", kind="compressed"))
        (outcome,) = await run(client, videos(1), download_to=tmp_path / "packed")

    assert outcome.saved.verified
    assert outcome.saved.missing == {}
    assert outcome.saved.video.stat().st_size == first.saved.video.stat().st_size
    (result,) = await verify(tmp_path / "packed")
    assert result.damaged == ()
    assert not list((tmp_path / "packed").glob("*.part*"))


# What was home already when a run died.


@pytest.mark.parametrize("left", ["everything", "no side file", "the video alone", "nothing"])
async def test_what_is_home_is_not_fetched_again(fast_house: Open, tmp_path: Path, left: str) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            (first,) = await run(client, [video(1)], journal=journal, download_to=tmp_path / "out")
        _unfinish(tmp_path / "j.sqlite3")
        saved = first.saved
        if left != "everything":
            _leave_like_a_crash(saved, left)
        before = len(home.sandbox.audit.served)
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            (outcome,) = await run(client, [video(1)], journal=journal, download_to=tmp_path / "out")

        fetched = {one.artifact for one in home.sandbox.audit.served[before:]}
    assert outcome.saved.video == saved.video
    assert all(path.exists() for path in outcome.saved.files)
    gone = {"the video alone": 2, "nothing": 3}
    assert len(fetched) == gone.get(left, 0)


def _unfinish(path: Path) -> None:
    """Take the journal back to where a run that died before its last step leaves it."""
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute("UPDATE entry SET state = 'completed', files = '[]'")
    connection.commit()
    connection.close()


def _leave_like_a_crash(saved: Any, left: str) -> None:
    told = json.loads(saved.manifest.read_text())
    saved.manifest.unlink()
    for file in told["files"]:
        path = saved.video.with_name(file["name"])
        if left == "nothing" or (left == "the video alone" and path != saved.video):
            path.unlink()
            continue
        about = {"owner": told["job_id"], "length": file["size"], "sha256": file["sha256"]}
        path.with_name(f"{path.name}.part.about").write_text(json.dumps(about))


async def test_a_result_that_somebody_changed_is_left_alone(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            first = await run(client, [video(1)], journal=journal, download_to=tmp_path)
            _unfinish(tmp_path / "j.sqlite3")
        first[0].saved.video.write_bytes(b"edited")
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            (outcome,) = await run(client, [video(1)], journal=journal, download_to=tmp_path)

    assert first[0].saved.video.read_bytes() == b"edited"
    assert outcome.saved.video.name.startswith("1.ja-")


# When the disk or the time is out.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES])
async def test_trouble_with_the_disk_stops_downloads_and_submissions_and_no_poll(
    house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, caplog
) -> None:
    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    async def source() -> AsyncIterator[TranslationRequest]:
        for request in videos(3):
            yield request
        await until(lambda: batch.stopped)  # which a download does; all three may be at the vendor by then
        for request in videos(5)[3:]:
            yield request

    async with open_journal(":memory:") as journal, house() as home:
        client = await home.client()
        with monkeypatch.context() as broken:
            broken.setattr(disk, "ensure_free_space", full)
            batch = open_batch(client, source(), journal=journal, download_to=tmp_path, max_in_flight=3)
            async with batch:
                outcomes = [outcome async for outcome in batch]
            served = len(home.sandbox.audit.served)
        assert journal.counts()[State.COMPLETED] == len(home.sandbox.audit.jobs) == 3
        again = await run(client, videos(5), journal=journal, download_to=tmp_path)

        assert len(home.sandbox.audit.jobs) == 5
    assert batch.stop_cause is StopCause.STORAGE
    assert served <= 3
    assert sum(isinstance(outcome, NotSubmitted) for outcome in outcomes) == 2
    assert sum(isinstance(outcome, Completed) and outcome.saved is None for outcome in outcomes) == 3
    assert all(os.strerror(number) in outcome.reason for outcome in outcomes)
    assert all("run the same again" in outcome.reason for outcome in outcomes)
    assert caplog.text.count("No more results are downloaded") == 1
    assert all(outcome.saved.video.exists() for outcome in again)


async def test_a_service_that_made_room_submits_and_downloads_again(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with open_journal(":memory:") as journal, fast_house() as home:
        client = await home.client()
        async with open_batch(client, journal=journal, download_to=tmp_path) as batch:
            with monkeypatch.context() as broken:
                broken.setattr(disk, "ensure_free_space", full)
                unsaved = await (await batch.submit(video(1, key="first"))).outcome()
            waiting = await batch.submit(video(2, key="second"))
            stopped = batch.stop_cause
            batch.resume_submitting()
            saved = await waiting.outcome()

    assert isinstance(unsaved, Completed)
    assert unsaved.saved is None
    assert stopped is StopCause.STORAGE
    assert isinstance(saved, Completed)
    assert saved.saved is not None


@pytest.mark.parametrize("days", [0, -30, 30])
@pytest.mark.parametrize("kept", [True, False])
async def test_whether_a_result_has_died_is_told_by_the_servers_clock(
    fast_house: Open, tmp_path: Path, days: int, kept: bool
) -> None:
    async with fast_house(result_days=30.0 if kept else 0.0, time_scale=1000.0) as home:
        client = await home.client(clock=SkewedClock(days=days))
        if kept:
            home.sandbox.faults.add(Fault(on="cdn", kind="http", status=404))
        (outcome,) = await run(client, videos(1), download_to=tmp_path)
        assert isinstance(outcome, Completed)  # it should be there for seven days, by that clock
        assert "404" in outcome.reason


async def test_a_fresh_url_that_can_not_be_asked_for_keeps_the_result_for_the_next_run(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(":memory:") as journal, fast_house() as home:
        client = await home.client()
        download = client.session.download

        async def troubled(request: Any) -> Any:
            home.sandbox.faults.add(Fault(on="status", kind="http", status=503))
            return await download(request)

        monkeypatch.setattr(client.session, "download", troubled)
        home.sandbox.faults.add(Fault(on="cdn", kind="http", status=403))
        (outcome,) = await run(client, videos(1), journal=journal, download_to=tmp_path)
        monkeypatch.undo()
        home.sandbox.faults.clear()
        (again,) = await run(client, videos(1), journal=journal, download_to=tmp_path)

    assert isinstance(outcome, Completed)
    assert outcome.saved is None
    assert "503" in outcome.reason
    assert again.saved.video.exists()


async def test_what_died_comes_out_as_expired(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(":memory:") as journal, fast_house() as home:
        client = await home.client()
        await run(client, videos(1), journal=journal)
        home.sandbox.clock.scale = 1_000_000.0
        (entry,) = [entry async for entry in journal.entries()]
        async with open_journal(":memory:") as other:
            await other.intend(video(0))
            await other.record(_submitted(entry.key, entry.job_id))
            with anyio.fail_after(55):
                while client.session.server_now() < entry.expires_at + timedelta(days=1):
                    await client.credit()
            late = await home.client(clock=SkewedClock(days=9))
            while late.session.server_now() < entry.expires_at + timedelta(days=1):
                await late.credit()
            (outcome,) = await run(late, videos(1), journal=other, download_to=tmp_path)

    assert isinstance(outcome, Expired)
    assert datetime.now(UTC) < entry.expires_at


@pytest.mark.parametrize("how", ["vanish", "done_without_url"])
async def test_a_result_that_the_vendor_knows_no_more_does_not_stop_the_batch(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for name in ("NOT_FOUND_SPAN", "URL_GRACE", "NOT_FOUND_GRACE"):
        monkeypatch.setattr(observation, name, 0.01)
    monkeypatch.setattr(api, "job_status", _timeless)
    async with open_journal(":memory:") as journal, fast_house() as home:
        client = await home.client()
        home.sandbox.faults.add(away := Fault(on="cdn", kind="http", status=404))
        await run(client, videos(1), journal=journal, download_to=tmp_path)
        home.sandbox.faults.remove(away)
        home.sandbox.faults.add(Fault(on="status", kind=how, job=1))
        (entry,) = [entry async for entry in journal.entries()]
        outcomes = await run(client, videos(2), journal=journal, download_to=tmp_path)
        kept, other = sorted(outcomes, key=lambda outcome: outcome.request.url)
        left = journal.counts()[State.COMPLETED]
        home.sandbox.clock.scale = 1_000_000.0  # other results would be gone as soon
        with anyio.fail_after(55):
            while client.session.server_now() < entry.expires_at + timedelta(days=1):
                await client.credit()
        late = await home.client(clock=SkewedClock(days=9))
        await late.credit()  # tells it the vendor's time
        (dead,) = await run(late, videos(1), journal=journal, download_to=tmp_path)

    assert {kept.job.id, dead.job.id} == {entry.job_id}
    assert isinstance(kept, Completed)
    assert kept.saved is None
    assert entry.job_id in kept.reason
    assert left == 1
    assert other.saved.video.exists()
    assert isinstance(dead, Expired)


@pytest.mark.parametrize("odd", [{"create_time": 253_402_300_799_000}, {"deduction_lock_duration": 1e308}])
@pytest.mark.parametrize(("module", "name"), [(api, "created_job"), (api, "job_status")])
async def test_numbers_beyond_all_reason_do_not_cost_a_job(
    fast_house: Open, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, odd: dict[str, Any]
) -> None:
    """Such as the last second of the year 9999, for "never"."""
    told, odd = getattr(module, name), odd | {"deduction_duration": 1e308}
    monkeypatch.setattr(module, name, lambda *told_of, **how: told(*told_of, **how) | odd)
    async with open_journal(":memory:") as journal, fast_house() as home:
        (outcome,) = await run(await home.client(), videos(1), journal=journal)

        assert journal.counts()[State.DELIVERED] == 1
    assert isinstance(outcome, Completed)


def _timeless(*args: Any, **options: Any) -> dict[str, Any]:
    """Tell of a job without saying when it was made."""
    return {name: value for name, value in job_status(*args, **options).items() if name != "create_time"}
