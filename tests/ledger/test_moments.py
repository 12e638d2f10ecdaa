"""A moment that the vendor names is kept and read again, however absurd it is, and wherever the server is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from akool_async import State
from akool_async._journal import EntryUpdate
from akool_async._model.responses import Job, Snapshot, Status, result_expiry
from akool_async.ledger import Made, open_ledger
from akool_async.sandbox import Fault
from tests.ledger.conftest import Bench, video
from tests.ledger.test_database import alter

LAST = datetime.max.replace(tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
BEYOND = [
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
]
"""What has no moment in UTC."""

SETTINGS = ["timezone = 'Pacific/Kiritimati'", "timezone = 'Pacific/Pago_Pago'", "datestyle = 'German'"]


@pytest.mark.parametrize("made", [LAST, LAST - timedelta(days=7), FIRST, *BEYOND])
@pytest.mark.parametrize("setting", SETTINGS)
async def test_every_step_of_a_job_of_an_absurd_time_can_be_read(
    database: str, setting: str, made: datetime
) -> None:
    alter(database, setting)
    seen = Snapshot(job_id="job-2", status=Status.COMPLETED, created_at=made)
    async with open_ledger(database) as ledger:
        for number in (1, 2):
            intent = await ledger.intend(video(number), f"video-{number}", "one")
            await ledger.acquire(intent.token, "one")
            if number == 1:
                assert await ledger.made(intent.token, Job(id="job-1", created_at=made))
                continue
            await ledger.record_end(intent.token, State.IN_DOUBT, reason="lost")
            await ledger.resolve("video-2", "ja", job_id="job-2", snapshot=seen)
        found = [entry async for entry in ledger.entries()]
        for entry in found:
            change = EntryUpdate(
                key=entry.key, target="ja", state=State.COMPLETED, snapshot=seen, ended_at=made
            )
            await ledger.record(change)
            await ledger.assign(entry.key, "ja", "one")
        found += [entry async for entry in ledger.entries()]
        moved = [entry async for entry in ledger.entries()]
    async with open_ledger(database, account="other") as other:
        assert await other.adopt(moved) == 2
        found += [entry async for entry in other.entries()]

    expected = None if made in BEYOND else made
    assert [entry.created_at for entry in found] == [expected] * 6
    assert [entry.expires_at for entry in found] == [result_expiry(made)] * 6


async def test_a_new_job_has_no_expiry_of_an_earlier_one(bench: Bench) -> None:
    for state, made in ((State.FAILED, datetime.now(UTC)), (None, None)):
        intent = await bench.ledger.intend(video(1), "video-1", "one")
        await bench.ledger.acquire(intent.token, "one")
        await bench.ledger.made(intent.token, Job(id=f"job-{made}", created_at=made))
        if state is not None:
            await bench.ledger.record(EntryUpdate(key="video-1", target="ja", state=state))
            await bench.ledger.retry("video-1", "ja")

    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert (entry.job_id, entry.created_at, entry.expires_at) == ("job-None", None, None)


@pytest.mark.parametrize("value", [253402214400000, -62135596800000, -1, 10**300])
async def test_the_result_of_a_job_of_an_absurd_time_is_saved(
    quick: Bench, tmp_path: Path, value: int
) -> None:
    for on in ("create", "status"):
        quick.sandbox.faults.add(Fault(on=on, kind="odd_time", value=value))
    assert isinstance(await quick.ledger.submit_once(quick.client, video(1)), Made)
    await quick.ledger.wait_once(quick.client, "video-1", "ja")
    saved = await quick.ledger.save_once(quick.client, "video-1", "ja", into=tmp_path)

    assert saved.state is State.DELIVERED
    assert [entry.key async for entry in quick.ledger.entries()] == ["video-1"]
