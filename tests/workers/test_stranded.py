"""An entry whose workflow ended before it did is queued again: the engine ignores an id that it knows."""

from __future__ import annotations

import psycopg
import pytest

from akool_async.ledger import Made, open_ledger
from akool_async.workers.dbos import enqueue
from akool_async.workers.workflows import engine_client, queue_stranded, workflow_id
from tests.ledger.conftest import Bench, video

END = "UPDATE dbos.workflow_status SET status = 'SUCCESS'"
OF_ANOTHER_VERSION = "UPDATE dbos.workflow_status SET status = 'PENDING', application_version = 'old'"


def queued(bench: Bench) -> set[str]:
    with engine_client(bench.ledger) as client:
        return {one.workflow_id for one in client.list_workflows(status="ENQUEUED", load_input=False)}


def change(bench: Bench, statement: str) -> None:
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[arg-type,unused-ignore]


@pytest.mark.parametrize("statement", [END, OF_ANOTHER_VERSION], ids=["ended", "of another version"])
@pytest.mark.parametrize("call", [enqueue, queue_stranded])
async def test_a_paid_job_whose_workflow_ended_is_waited_for(
    bench: Bench, statement: str, call: object
) -> None:
    """As when another worker took it over, saw a doubt and ended, and then its sender recorded the job."""
    await bench.ledger.plan([video(1), video(2)])
    assert await enqueue(bench.ledger) == 2
    assert isinstance(await bench.ledger.submit_once(bench.client, video(1)), Made)
    change(bench, f"{statement} WHERE workflow_uuid = '{workflow_id('default', 'video-1', 'ja', 0)}'")
    await call(bench.ledger)  # type: ignore[operator]

    assert queued(bench) == {
        workflow_id("default", "video-1", "ja", 1),
        workflow_id("default", "video-2", "ja", 0),
    }


async def test_what_is_queued_or_over_is_left_alone(bench: Bench) -> None:
    await bench.ledger.plan([video(1), video(2)])
    await enqueue(bench.ledger)
    await bench.ledger.doubt((await begun(bench)), "lost")
    change(bench, f"{END} WHERE workflow_uuid = '{workflow_id('default', 'video-1', 'ja', 0)}'")

    assert await queue_stranded(bench.ledger) == 0
    assert queued(bench) == {workflow_id("default", "video-2", "ja", 0)}


async def test_two_that_look_at_once_queue_it_once(bench: Bench) -> None:
    await bench.ledger.plan([video(1)])
    async with open_ledger(bench.url) as other:
        found = [await ledger.begin_anew("video-1", "ja", 0) for ledger in (bench.ledger, other)]

    assert found == [("video-1", "ja", 1), None]


async def begun(bench: Bench) -> str:
    intent = await bench.ledger.intend(video(1), "video-1", "one")
    assert await bench.ledger.acquire(intent.token, "one")
    return intent.token


async def test_what_was_entered_and_never_queued_is_queued(bench: Bench) -> None:
    """As when `enqueue` was killed between the two."""
    await bench.ledger.plan([video(1)])
    await enqueue(bench.ledger)
    await bench.ledger.plan([video(2)])

    assert await queue_stranded(bench.ledger) == 1
    assert queued(bench) == {workflow_id("default", f"video-{number}", "ja", 0) for number in (1, 2)}
