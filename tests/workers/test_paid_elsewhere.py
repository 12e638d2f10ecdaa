"""Results in the folder for which the ledger has paid nothing: a worker does not pay for them unasked."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path

import attrs
import pytest
from anyio.to_thread import run_sync

from akool_async import Completed, InvalidRequestError, State, TranslationRequest, open_batch, open_journal
from akool_async._model.filenames import DEFAULT_TEMPLATE, MOST_NAMES
from akool_async.cli.app import run as command_line
from akool_async.sandbox import Fault
from akool_async.workers.dbos import Worker, WorkerSettings
from tests.ledger.conftest import Bench, video


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


@pytest.mark.parametrize("number", range(MOST_NAMES))
async def test_a_result_is_found_after_names_that_have_none(
    quick: Bench, tmp_path: Path, number: int
) -> None:
    await run(quick, tmp_path, video(1))
    (planned,) = await quick.ledger.plan([video(1)])
    name = next(islice(DEFAULT_TEMPLATE.names(video(1), "ja"), number, None))
    (manifest,) = tmp_path.glob("*.json")
    manifest.rename(tmp_path / f"{name}.json")

    assert await worker(quick, tmp_path)._finish(planned.key, "ja", 0, None) is State.FAILED
    assert len(quick.sandbox.audit.jobs) == 1


async def test_what_is_paid_already_is_left_out_where_many_are_retried(
    quick: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await run(quick, tmp_path, video(1))
    await quick.ledger.plan([video(1), video(2)])
    quick.sandbox.faults.add(Fault(on="create", kind="code", code=1203, limit=1))
    one = worker(quick, tmp_path)
    for number in (1, 2):
        assert await one._finish(f"video-{number}", "ja", 0, None) is State.FAILED
    words = ["retry", "--failed", "--yes", "--ledger", quick.url]

    assert await run_sync(partial(command_line, words)) == 0
    told = capsys.readouterr().err
    assert "1 entry paid already, and left out" in told
    assert "1 entry to be submitted once more" in told
    assert await quick.ledger.open_work() == [("video-2", "ja", 1)]
    assert not await quick.ledger.retry("video-1", "ja", pay_again=False)
    assert await quick.ledger.retry("video-1", "ja")
    assert await quick.ledger.refused_as_paid() == frozenset()


async def test_what_is_retried_with_many_is_not_paid_though_a_folder_has_it(
    quick: Bench, tmp_path: Path
) -> None:
    await quick.ledger.plan([video(1)])
    quick.sandbox.faults.add(Fault(on="create", kind="code", code=1203, limit=1))
    one = worker(quick, tmp_path)
    assert await one._finish("video-1", "ja", 0, None) is State.FAILED
    await run(quick, tmp_path, video(1))
    assert await quick.ledger.retry("video-1", "ja", pay_again=False)

    assert await one._finish("video-1", "ja", 1, None) is State.FAILED
    assert len(quick.sandbox.audit.jobs) == 1
    assert await quick.ledger.refused_as_paid() == {("video-1", "ja")}
    with pytest.raises(InvalidRequestError, match="the same work under another key"):
        await quick.ledger.plan([attrs.evolve(video(1), key="another")])


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
