"""A batch over the journal's own entries: what it goes on with, and what it may not send from there."""

from __future__ import annotations

from pathlib import Path

import anyio
import attrs

from akool_async import (
    AkoolClient,
    Completed,
    FixedSchedule,
    Journal,
    LipSyncRequest,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal import EntryUpdate
from tests.batch.test_batch import run
from tests.client.conftest import Open, video

SIGNED = "https://example.com/signed.mp4?X-Amz-Signature=abc"


async def leave_at_work(
    client: AkoolClient, journal: Journal, requests: list[TranslationRequest], *, jobs: int = 0
) -> None:
    """Submit, and leave before anything is known to be done."""
    jobs = jobs or sum(len(request.targets) for request in requests)
    never = FixedSchedule(interval=3600.0)
    async with open_batch(client, requests, journal=journal, max_in_flight=12, schedule=never):
        with anyio.fail_after(55):
            while journal.counts()[State.SUBMITTED] < jobs:
                await anyio.sleep(0.005)


async def test_what_is_at_work_comes_home_without_the_catalog(house: Open, tmp_path: Path) -> None:
    requests = [video(1, targets="ja,fr"), video(2, key="two"), TranslationRequest(url=SIGNED, targets="ja")]
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        await leave_at_work(client, journal, requests)
        names = [(entry.key, entry.target) async for entry in journal.entries()]

        outcomes = await run(client, journal.requests(), journal=journal, download_to=tmp_path / "out")

        assert journal.counts()[State.DELIVERED] == 4
        assert len(home.sandbox.audit.creates) == 3
    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert sorted((outcome.key, outcome.target) for outcome in outcomes) == sorted(names)


async def test_every_entry_is_told_of_however_soon_it_is_home(fast_house: Open, tmp_path: Path) -> None:
    """A batch takes up what is at the vendor before it pulls: what is home by then was still asked for."""
    requests = [video(number) for number in range(12)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await leave_at_work(client, journal, requests)

        source = journal.requests()
        outcomes = await run(
            client, source, journal=journal, download_to=tmp_path / "out", max_in_flight=1, backlog=1
        )

    assert len({outcome.key for outcome in outcomes}) == 12
    assert all(isinstance(outcome, Completed) and outcome.saved for outcome in outcomes)


async def test_files_have_the_names_that_the_catalog_would_give(fast_house: Open, tmp_path: Path) -> None:
    requests = [video(1, targets="ja,fr"), video(2, key="Two 2")]
    homes = (tmp_path / "without", tmp_path / "with")
    for out in homes:
        async with open_journal(f"{out}.sqlite3") as journal, fast_house() as home:
            client = await home.client()
            await leave_at_work(client, journal, requests)
            source = journal.requests() if out == homes[0] else requests
            await run(client, source, journal=journal, download_to=out)

    without, told = (sorted(path.name for path in out.glob("*.mp4")) for out in homes)
    assert without == told
    assert len(told) == 3


async def test_jobs_of_the_same_work_under_two_keys_both_come_home(fast_house: Open, tmp_path: Path) -> None:
    """They are paid, however that came about: only a third would be refused."""
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        open_journal(":memory:") as other,
        fast_house() as home,
    ):
        client = await home.client()
        await leave_at_work(client, journal, [video(1, key="a")])
        await leave_at_work(client, other, [video(1, key="b")])
        await journal.intend(video(1, key="b"))
        paid = EntryUpdate(key="b", target="ja", state=State.SUBMITTED, job_id=other.get("b", "ja").job_id)
        await journal.record(paid)
        third = video(1, key="c")
        source = [request async for request in journal.requests()] + [third]
        outcomes = await run(client, source, journal=journal)

        assert len(home.sandbox.audit.creates) == 2
    assert sorted((outcome.key, type(outcome)) for outcome in outcomes if outcome.key != "c") == [
        ("a", Completed),
        ("b", Completed),
    ]


async def test_planned_entries_are_sent_unless_their_url_lost_its_signature(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        for request in (video(1, key="whole"), TranslationRequest(url=SIGNED, targets="ja", key="signed")):
            await journal.record(
                EntryUpdate(key=request.key, target="ja", state=State.PLANNED, request=request)
            )

        outcomes = await run(await home.client(), journal.requests(), journal=journal)

        assert [outcome.key for outcome in outcomes] == ["whole"]
        assert journal.get("signed", "ja").state is State.PLANNED


async def test_failed_entries_are_sent_again_when_asked_for(fast_house: Open, tmp_path: Path) -> None:
    requests = [
        video(1, key="a"),
        LipSyncRequest(video_url="https://example.com/v.mp4", audio_url="https://example.com/a.wav"),
        TranslationRequest(url=SIGNED, targets="ja"),
    ]
    async with open_journal(tmp_path / "j.sqlite3") as journal:
        async with fast_house(failure_rate=1.0) as home:
            await run(await home.client(), requests, journal=journal)
        assert journal.counts()[State.FAILED] == 3

        async with fast_house() as home:
            source = journal.requests(states={State.FAILED})
            outcomes = await run(await home.client(), source, journal=journal, retry_failed=True)
            assert len(home.sandbox.audit.creates) == 2

        assert [type(outcome) for outcome in outcomes] == [Completed, Completed]
        assert [entry.url_redacted async for entry in journal.entries(states={State.FAILED})] == [True]


async def test_an_entry_keeps_its_key_when_the_default_names_change(tmp_path: Path) -> None:
    """A journal may hold keys that this version would not give; they must not become new work."""
    async with open_journal(":memory:") as journal:
        await journal.record(
            EntryUpdate(key="x", target="ja", state=State.PLANNED, request=video(1, key="x"))
        )
        entry = journal.get("x", "ja")
        older = attrs.evolve(entry, request=video(1), key="0" * 32)

    assert entry.request_for_target == video(1, key="x")
    assert older.request_for_target.key == "0" * 32
