"""Webhooks to a receiver on a real socket: sealed, repeated until HTTP 200, and what can befall them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from akool_async.sandbox import Fault, Sandbox
from akool_async.sandbox.audit import WebhookRecord
from tests.client.moments import until

from .conftest import CREATE, KEY, LIPSYNC, URL, Visitor, plain_client, visiting
from .receiver import Receiver, receiving

SECRET = "sandbox-test-key"


@asynccontextmanager
async def told(
    *statuses: int, language: str = "fr", **options: Any
) -> AsyncIterator[tuple[Visitor, Receiver]]:
    """Order one job with a webhook to a receiver that answers so."""
    usual = {"sigma": 0, "median_seconds": 60, "max_jobs": 1}
    with receiving(statuses) as receiver:
        async with visiting(**{**usual, **options}) as visitor:
            await visitor.create(language, webhookUrl=receiver.url)
            yield visitor, receiver


def said(visitor: Visitor, receiver: Receiver) -> list[int | None]:
    hints = receiver.hints("sandbox-client-id", SECRET, visitor.clock())
    return [hint.status for hint in hints]


async def test_each_change_of_state_is_told() -> None:
    async with told() as (visitor, receiver):
        await receiver.count(1)
        visitor.clock.advance(60)
        await receiver.count(2)
        started, done = receiver.hints("sandbox-client-id", SECRET, visitor.clock())
        job = visitor.sandbox.audit.jobs[0]
        status = (await visitor.status(job.id))["data"]

    assert (started.job_id, started.status) == (job.id, 2)
    assert (done.job_id, done.status, done.url) == (job.id, 3, status["video"])
    assert [set(body) for body in receiver.bodies] == [{"signature", "dataEncrypt", "timestamp", "nonce"}] * 2
    assert receiver.bodies[1]["timestamp"] == int(visitor.clock() * 1000)


async def test_a_queued_job_is_told_of_when_it_starts() -> None:
    async with told() as (visitor, receiver):
        await visitor.create("ja", webhookUrl=receiver.url)
        await receiver.count(1)
        visitor.clock.advance(60)
        await settled(visitor, 3)
        first, second = visitor.sandbox.audit.jobs
        seen = [(one.job_id, one.status) for one in visitor.sandbox.audit.webhooks]

    assert seen[0] == (first.id, 2)
    assert set(seen[1:]) == {(first.id, 3), (second.id, 2)}


async def test_a_failed_job_is_told_of() -> None:
    async with told(failure_rate=1.0) as (visitor, receiver):
        visitor.clock.advance(60)
        await receiver.count(2)

        assert said(visitor, receiver) == [2, 4]


async def test_a_lipsync_is_told_of_as_such() -> None:
    with receiving() as receiver:
        async with visiting() as visitor:
            fields = {"video_url": URL, "audio_url": "https://example.com/a.wav", "webhookUrl": receiver.url}
            await visitor.post(LIPSYNC, fields)
            await receiver.count(1)

            assert said(visitor, receiver) == [2]


async def test_nobody_is_told_without_a_webhook() -> None:
    async with told() as (visitor, receiver):
        await receiver.count(1)
        await visitor.create("ja")
        visitor.clock.advance(100_000)
        await receiver.count(2)

        assert {one.job_id for one in visitor.sandbox.audit.webhooks} == {visitor.sandbox.audit.jobs[0].id}


async def test_it_is_sent_again_until_answered_with_200_waiting_longer_each_time() -> None:
    async with told(500, 404, 204, webhook_wait=10.0, median_seconds=1000) as (visitor, receiver):
        await receiver.count(1)
        for number, wait in enumerate((10, 20, 40)):
            await settled(visitor, number + 1)
            visitor.clock.advance(wait - 1)
            assert len(receiver.bodies) == number + 1
            visitor.clock.advance(1)
            await receiver.count(number + 2)
        await settled(visitor, 4)
        records = visitor.sandbox.audit.webhooks

    assert [(one.attempt, one.answered) for one in records] == [(1, 500), (2, 404), (3, 204), (4, 200)]
    assert len({body["nonce"] for body in receiver.bodies}) == 4


async def settled(visitor: Visitor, expected: int) -> None:
    """Wait until the answers of so many webhooks are written down."""

    await until(lambda: len(visitor.sandbox.audit.webhooks) >= expected)


async def test_it_is_given_up_after_some_attempts() -> None:
    async with told(500, 500, 500, 500, webhook_attempts=2, webhook_wait=1.0) as (visitor, receiver):
        await settled(visitor, 1)
        visitor.clock.advance(1)
        await settled(visitor, 2)
        visitor.clock.advance(10)
        visitor.clock.advance(49)
        await settled(visitor, 3)

        assert [one.status for one in visitor.sandbox.audit.webhooks] == [2, 2, 3]
        assert len(receiver.bodies) == 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/hook", "http://xn--a/hook"])
async def test_a_receiver_that_is_not_there_is_tried_again(url: str) -> None:
    async with visiting(webhook_attempts=2, webhook_wait=1.0) as visitor:
        await visitor.create(webhookUrl=url)
        await settled(visitor, 1)
        visitor.clock.advance(1)
        await settled(visitor, 2)

        assert [(one.attempt, one.answered) for one in visitor.sandbox.audit.webhooks] == [
            (1, None),
            (2, None),
        ]


async def test_an_attempt_is_planned_before_the_last_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with visiting(webhook_attempts=2, webhook_wait=1.0) as visitor:
        keep = visitor.sandbox.audit.note

        def note(record: WebhookRecord) -> None:
            keep(record)
            visitor.clock.advance(1)

        monkeypatch.setattr(visitor.sandbox.audit, "note", note)
        await visitor.create(webhookUrl="http://127.0.0.1:9/hook")
        await settled(visitor, 2)


async def test_a_webhook_can_be_lost() -> None:
    async with told(faults=[Fault(on="webhook", kind="lose", nth=1)]) as (visitor, receiver):
        await settled(visitor, 1)
        visitor.clock.advance(60)
        await receiver.count(1)

        assert said(visitor, receiver) == [3]
        assert visitor.sandbox.audit.webhooks[0].lost


async def test_a_webhook_can_come_twice() -> None:
    async with told(faults=[Fault(on="webhook", kind="duplicate")]) as (visitor, receiver):
        await receiver.count(2)

        assert said(visitor, receiver) == [2, 2]


async def test_a_webhook_can_be_late() -> None:
    async with told(faults=[Fault(on="webhook", kind="delay", seconds=500, nth=1)]) as (visitor, receiver):
        visitor.clock.advance(60)
        await receiver.count(1)
        visitor.clock.advance(440)
        await receiver.count(2)

        assert said(visitor, receiver) == [3, 2]


async def test_webhooks_can_come_out_of_order() -> None:
    async with told(faults=[Fault(on="webhook", kind="reorder")]) as (visitor, receiver):
        visitor.clock.advance(60)
        await receiver.count(2)

        assert said(visitor, receiver) == [3, 2]


async def test_real_time_stands_on_webhooks_of_a_sandbox_that_runs_faster() -> None:
    sandbox, began = Sandbox(media=False, time_scale=100_000.0), time.time()
    with receiving() as receiver:
        async with sandbox.serve() as server, plain_client(server.base_url, headers=KEY) as http:
            await http.post(CREATE, json={"url": URL, "language": "fr", "webhookUrl": receiver.url})
            await receiver.count(2)

    assert all(began - 1 < body["timestamp"] / 1000 < time.time() + 1 for body in receiver.bodies)


async def test_another_client_id_and_secret_seal_too() -> None:
    options = {"client_id": "another", "client_secret": "s" * 32}
    async with told(**options) as (visitor, receiver):
        await receiver.count(1)

        assert [hint.status for hint in receiver.hints("another", "s" * 32, visitor.clock())] == [2]
