"""Two accounts in one database: a worker begins only what is of its own account."""

from __future__ import annotations

from pathlib import Path

import anyio
import attrs
import psycopg
import pytest

from akool_async import AkoolClient, State
from akool_async.ledger import Ledger, open_ledger
from akool_async.workers.dbos import Worker, WorkerSettings, enqueue
from tests.ledger.conftest import Bench, video


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akool_async.workers.dbos._POLL_QUEUE", 0.05)


async def finish(ledger: Ledger, client: AkoolClient, folder: Path) -> None:
    """Run a worker until all of its account's entries are saved, and a little longer."""
    worker = Worker(ledger, client, WorkerSettings(name="one", into=folder))

    async def stop() -> None:
        with anyio.fail_after(200):
            while await ledger.open_work():
                await anyio.sleep(0.05)
        await anyio.sleep(2)  # what it would take of another account it has taken by then
        worker.stop()

    async with anyio.create_task_group() as tasks:
        await worker.run(on_ready=lambda: tasks.start_soon(stop))


def workflows(bench: Bench, account: str) -> list[tuple[str, str]]:
    """Return the state and the queue of an account's workflows."""
    with psycopg.connect(bench.url) as connection:
        query = "SELECT status, queue_name FROM dbos.workflow_status WHERE workflow_uuid LIKE %s"
        return list(connection.execute(query, (f"{account}/%",)).fetchall())


async def enter(ledger: Ledger, number: int) -> None:
    await ledger.plan([video(number)])
    await enqueue(ledger)


@pytest.mark.parametrize(
    "queue", ["akool/default", pytest.param("_dbos_internal_queue", marks=pytest.mark.thorough)]
)
async def test_a_worker_leaves_the_entries_of_other_accounts_to_their_workers(
    quick: Bench, tmp_path: Path, queue: str
) -> None:
    ledger = quick.ledger
    await enter(ledger, 1)
    await finish(ledger, quick.client, tmp_path)  # the queue of its account is known in the database now
    await enter(ledger, 2)
    with psycopg.connect(quick.url, autocommit=True) as connection:
        # As after a person resumed it: every worker looks into the engine's own queue.
        connection.execute(
            "UPDATE dbos.workflow_status SET queue_name = %s WHERE workflow_uuid LIKE '%%/video-2/%%'",
            (queue,),
        )
    async with open_ledger(quick.url, account="other") as other:
        await enter(other, 2)  # under the same key
        await finish(other, quick.client, tmp_path / "other")
        assert (await other.counts())[State.DELIVERED] == 1

    assert sorted(workflows(quick, "default")) == [
        ("ENQUEUED", "akool/default"),
        ("SUCCESS", "akool/default"),
    ]
    await finish(ledger, quick.client, tmp_path)
    assert (await ledger.counts())[State.DELIVERED] == 2
    assert len(quick.sandbox.audit.jobs) == 3


@pytest.mark.thorough
async def test_accounts_whose_names_have_slashes_share_no_workflow(quick: Bench, tmp_path: Path) -> None:
    async with (
        open_ledger(quick.url, account="team") as team,
        open_ledger(quick.url, account="team/film") as film,
    ):
        await team.plan([attrs.evolve(video(1), key="film/1")])
        await film.plan([attrs.evolve(video(2), key="1")])
        for ledger in (team, film):
            await enqueue(ledger)
        await finish(film, quick.client, tmp_path / "film")

        assert (await film.counts())[State.DELIVERED] == 1
        assert (await team.counts())[State.PLANNED] == 1
        await finish(team, quick.client, tmp_path / "team")
        assert (await team.counts())[State.DELIVERED] == 1
