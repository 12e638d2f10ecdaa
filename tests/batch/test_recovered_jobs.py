"""What an earlier run left at the vendor comes home first, whenever the source comes to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from akool_async import (
    AuthenticationError,
    Completed,
    Failed,
    Journal,
    JournalWriteError,
    NotSubmitted,
    Snapshot,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._client import ClientSession
from akool_async._journal import EntryUpdate
from akool_async._polling import poll_state
from akool_async.sandbox import Fault
from tests.batch.test_batch import run, videos
from tests.batch.test_without_catalog import SIGNED, leave_at_work
from tests.client.conftest import Open, video


async def test_what_is_at_work_is_followed_before_anything_new_is_submitted(
    house: Open, tmp_path: Path
) -> None:
    signed = TranslationRequest(url=SIGNED, targets="ja")
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        await leave_at_work(client, journal, [signed])
        wanted = [*videos(4), signed]

        outcomes = await run(client, wanted, max_in_flight=1, journal=journal, download_to=tmp_path / "out")

        ends = sorted(home.sandbox.audit.jobs, key=lambda job: job.ended)
    assert ends[0].url == SIGNED
    assert ends[0].ended <= min(job.created for job in ends[1:])
    assert all(isinstance(outcome, Completed) and outcome.saved for outcome in outcomes)
    assert sorted(outcome.request.url for outcome in outcomes) == sorted(request.url for request in wanted)


async def test_the_soonest_to_expire_is_asked_for_first(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        keys = ("young", "old", "oldest")
        await leave_at_work(client, journal, [video(number, key=key) for number, key in enumerate(keys)])
        made = journal.get("young", "ja").created_at
        for key, days in (("old", 2), ("oldest", 6)):
            change = EntryUpdate(
                key=key, target="ja", state=State.SUBMITTED, created_at=made - timedelta(days=days)
            )
            await journal.record(change)
        names = {journal.get(key, "ja").job_id: key for key in keys}
        status, asked = ClientSession.status, []

        async def watched(self: ClientSession, job_id: str) -> Snapshot:
            asked.append(names[job_id])
            return await status(self, job_id)

        monkeypatch.setattr(ClientSession, "status", watched)
        late = await home.client()
        await run(late, journal.requests(), max_in_flight=1, journal=journal, download_to=tmp_path / "out")

    assert list(dict.fromkeys(asked)) == ["oldest", "old", "young"]


async def test_jobs_that_do_not_end_keep_no_finished_result_from_being_saved(
    fast_house: Open, tmp_path: Path
) -> None:
    """What is at the vendor is waited for whatever the cap is now: a result that waits for a slot expires."""
    out = tmp_path / "out"
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await leave_at_work(client, journal, [video(number, key=f"v{number}") for number in range(4)])
        stuck = [Fault(on="status", kind="unknown_status", value=7, job=number) for number in (1, 2)]
        for fault in stuck:
            home.sandbox.faults.add(fault)
        with anyio.fail_after(30):
            async with open_batch(
                client, journal.requests(), max_in_flight=1, journal=journal, download_to=out
            ):
                while journal.counts()[State.DELIVERED] < 2:
                    await anyio.sleep(0.01)

        jobs = home.sandbox.audit.jobs
    assert len(jobs) == 4
    saved = {f"{Path(job.url).stem}.ja.mp4" for job in jobs if job.ordinal not in (1, 2)}
    assert {path.name for path in out.glob("*.mp4")} == saved


async def test_a_job_that_the_vendor_does_not_know_now_is_asked_for_again(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the key of another account: it is paid, and the right key finds it."""
    for name in ("NOT_FOUND_SPAN", "NOT_FOUND_GRACE"):
        monkeypatch.setattr(poll_state, name, 0.01)
    out = tmp_path / "out"
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await leave_at_work(client, journal, [video(1, key="v")])
        home.sandbox.faults.add(unknown := Fault(on="status", kind="vanish"))
        (lost,) = await run(client, journal.requests(), journal=journal, download_to=out, retry_failed=True)
        between = journal.get("v", "ja")
        home.sandbox.faults.remove(unknown)
        (found,) = await run(client, [video(1, key="v")], journal=journal, download_to=out)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(lost, Failed)
    assert not lost.confirmed
    assert "no longer knows" in lost.reason
    assert (between.state, between.reason) == (State.SUBMITTED, lost.reason)
    assert isinstance(found, Completed)
    assert found.saved.video.exists()


async def test_what_the_source_never_names_comes_home_and_is_not_handed_out(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await leave_at_work(client, journal, [video(1, key="old")])

        async def source() -> AsyncIterator[TranslationRequest]:
            while journal.get("old", "ja").state is not State.DELIVERED:
                await anyio.sleep(0.01)
            yield video(2, key="new")

        outcomes = await run(client, source(), journal=journal, download_to=tmp_path / "out")
        again = await run(client, [video(1, key="old")], journal=journal, download_to=tmp_path / "out")

        assert len(home.sandbox.audit.jobs) == 2
    assert [outcome.key for outcome in outcomes] == ["new"]
    assert [(outcome.key, outcome.resumed) for outcome in again] == [("old", True)]
    assert (tmp_path / "out" / "1.ja.mp4").stat().st_size > 0


async def test_a_batch_that_rescues_nothing_leaves_alone_what_the_source_never_names(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await leave_at_work(client, journal, [video(1, key="left"), video(2, key="asked")])
        left = journal.get("left", "ja").job_id
        asked = home.sandbox.audit.polls(left)

        outcomes = await run(
            client,
            [video(2, key="asked")],
            journal=journal,
            download_to=tmp_path / "out",
            recover_pending=False,
        )

        assert journal.get("left", "ja").state is State.SUBMITTED
        assert home.sandbox.audit.polls(left) == asked
    assert [outcome.key for outcome in outcomes] == ["asked"]


async def test_a_batch_does_not_wait_for_what_nobody_asked_for(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        home.sandbox.faults.add(Fault(on="status", kind="unknown_status", value=9, job=1))
        await leave_at_work(client, journal, [video(1, key="old")])

        outcomes = await run(client, videos(3), journal=journal, download_to=tmp_path / "out")

        assert journal.get("old", "ja").state is State.SUBMITTED
    assert len(outcomes) == 3


async def test_a_job_that_failed_early_is_told_as_failed_once(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(failure_rate=1.0) as home:
        client = await home.client()
        await leave_at_work(client, journal, [video(1, key="old")])

        async def source() -> AsyncIterator[TranslationRequest]:
            while journal.get("old", "ja").state is not State.FAILED:
                await anyio.sleep(0.01)
            yield video(1, key="old")
            yield video(1, key="old")

        outcomes = await run(client, source(), journal=journal, download_to=tmp_path / "out")

    assert sorted(type(outcome).__name__ for outcome in outcomes) == [Failed.__name__, NotSubmitted.__name__]


async def test_trouble_with_what_nobody_asked_for_is_raised_at_the_end(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await leave_at_work(client, journal, [video(1, key="old")])
        home.sandbox.faults.add(Fault(on="status", kind="code", code=1101))
        with pytest.raises(AuthenticationError):
            await _run_slowly(client, journal, tmp_path / "out")

        assert journal.get("old", "ja").state is State.SUBMITTED


async def _run_slowly(client: object, journal: Journal, out: Path) -> None:
    async def source() -> AsyncIterator[TranslationRequest]:
        while not batch.stopped:
            await anyio.sleep(0.01)
        yield video(2, key="new")

    with anyio.fail_after(55):
        async with open_batch(client, source(), journal=journal, download_to=out) as batch:  # type: ignore[arg-type]
            assert [type(outcome) async for outcome in batch] == [NotSubmitted]


async def test_what_could_not_be_recorded_early_does_not_hold_up_who_asks_for_it_later(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await leave_at_work(client, journal, [video(1, key="old")])
        record = journal.record

        async def refuse(*changes: EntryUpdate) -> None:
            if any(change.state is State.COMPLETED for change in changes):
                raise JournalWriteError("The disk is full.")
            await record(*changes)

        monkeypatch.setattr(journal, "record", refuse)

        async def source() -> AsyncIterator[TranslationRequest]:
            while not batch.stopped:
                await anyio.sleep(0.01)
            yield video(1, key="old")

        with pytest.raises(JournalWriteError), anyio.fail_after(55):
            async with open_batch(client, source(), journal=journal, download_to=tmp_path / "out") as batch:
                assert [outcome async for outcome in batch] == []
