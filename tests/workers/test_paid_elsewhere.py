"""Results in the folder for which the ledger has paid nothing: a worker does not pay for them unasked."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from akool_async import Completed, State, TranslationRequest, open_batch, open_journal
from akool_async.sandbox import Fault
from akool_async.workers.dbos import Worker, WorkerSettings
from tests.ledger.conftest import Bench, video

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


async def run(bench: Bench, folder: Path, *requests: TranslationRequest) -> None:
    """Pay for requests under a journal, and save their results."""
    async with (
        open_journal(folder / "jobs.sqlite3") as journal,
        open_batch(bench.client, requests, journal=journal, download_to=folder) as batch,
    ):
        assert {type(outcome) async for outcome in batch} == {Completed}


def worker(bench: Bench, folder: Path) -> Worker:
    return Worker(bench.ledger, bench.client, WorkerSettings(name="one", into=folder))


@pytest.mark.parametrize("key", ["video-1", None, "another"], ids=["same-key", "no-key", "other-key"])
async def test_what_a_journal_paid_and_saved_is_paid_again_only_by_a_retry(
    quick: Bench, tmp_path: Path, key: str | None
) -> None:
    await run(quick, tmp_path, video(1) if key else attrs.evolve(video(1), key=None))
    (planned,) = await quick.ledger.plan([attrs.evolve(video(1), key=key)])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.mp4")}
    one = worker(quick, tmp_path)

    assert await one._finish(planned.key, "ja", 0, None) is State.FAILED
    entry = await quick.ledger.get(planned.key, "ja")
    assert entry is not None
    assert quick.sandbox.audit.jobs[0].id in entry.reason
    assert f"akool-async retry {planned.key} --ledger URL" in entry.reason
    assert len(quick.sandbox.audit.jobs) == 1
    assert await quick.ledger.plan([attrs.evolve(video(1), key=key)]) == []

    # A person wants it, also where the vendor does not take the first POST.
    quick.sandbox.faults.add(Fault(on="create", kind="http", status=429, retry_after=1, limit=1))
    assert await quick.ledger.retry(planned.key, "ja")
    assert await one._finish(planned.key, "ja", 1, None) is State.DELIVERED
    assert len(quick.sandbox.audit.jobs) == 2
    assert {path: path.read_bytes() for path in before} == before


async def test_a_result_of_another_video_with_its_name_is_no_evidence(quick: Bench, tmp_path: Path) -> None:
    """Two catalogs number their rows, and their files have the same names."""
    other = attrs.evolve(video(1), url="https://elsewhere.example/1.mp4")
    await run(quick, tmp_path, other)
    await quick.ledger.plan([video(1)])

    assert await worker(quick, tmp_path)._finish("video-1", "ja", 0, None) is State.DELIVERED
    assert len(quick.sandbox.audit.jobs) == 2


async def test_what_the_ledger_paid_is_saved_though_its_result_is_there(quick: Bench, tmp_path: Path) -> None:
    """As by a worker that was killed between the files and their entry."""
    await quick.ledger.plan([video(1)])
    assert await worker(quick, tmp_path)._finish("video-1", "ja", 0, None) is State.DELIVERED
    await quick.ledger.execute("UPDATE akool_ledger.entry SET state = 'completed'")

    assert await worker(quick, tmp_path)._finish("video-1", "ja", 0, None) is State.DELIVERED
    assert len(quick.sandbox.audit.jobs) == 1
