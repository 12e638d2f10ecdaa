"""Calls that may be repeated: what they do about each failure, and that an outage is not multiplied."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    AkoolError,
    AuthenticationError,
    BadRequestError,
    ConnectError,
    ConnectionLostError,
    JobNotFoundError,
    OutOfCredits,
    PermissionDeniedError,
    ProtocolError,
    RetryPolicy,
    ServerError,
    UnexpectedRedirectError,
    VendorError,
)
from akool_async.sandbox import Fault
from tests.client.conftest import KEY, QUICK, Open, stray, video
from tests.client.moments import address, closed_port
from tests.client.test_paid_post import _end_once_asked, _named

PASSING: list[tuple[dict[str, Any], type[AkoolError]]] = [
    ({"kind": "reset_before"}, ConnectionLostError),
    ({"kind": "reset_after"}, ConnectionLostError),
    ({"kind": "hang"}, ConnectionLostError),
    *(({"kind": "http", "status": status}, ServerError) for status in (500, 502, 503, 504)),
    ({"kind": "html"}, ProtocolError),
    ({"kind": "empty"}, ProtocolError),
    ({"kind": "truncated"}, ProtocolError),
    ({"kind": "short"}, ConnectionLostError),
    ({"kind": "garbage"}, ConnectionLostError),
    ({"kind": "huge"}, ProtocolError),
    *(({"kind": "code", "code": code}, ServerError) for code in (1015, 1201, 1205, 1211)),
]


@pytest.mark.parametrize(
    ("fault", "error"), PASSING, ids=lambda value: _named(value) if isinstance(value, dict) else ""
)
async def test_repeats_what_may_pass_and_then_tells_it(
    house: Open, fault: dict[str, Any], error: type[AkoolError]
) -> None:
    async with anyio.create_task_group() as tasks, house() as home:
        client = await home.client()
        home.sandbox.faults.add(Fault(on="credit", nth=(1, 2), **fault))
        if fault["kind"] == "hang":
            tasks.start_soon(partial(_end_once_asked, client, home.sandbox, "credit", calls=2))
        assert await client.credit() > 0
        assert home.sandbox.audit.requests["credit"] == 3

        home.sandbox.faults.clear()
        home.sandbox.faults.add(Fault(on="languages", **fault))
        if fault["kind"] == "hang":
            tasks.start_soon(
                partial(_end_once_asked, client, home.sandbox, "languages", calls=QUICK.attempts)
            )
        with pytest.raises(error) as caught:
            await client.languages()
        aiohttps_own = 2 if fault["kind"].startswith("reset") and "fast" in home.way.name else 1
        assert home.sandbox.audit.requests["languages"] == QUICK.attempts * aiohttps_own
    assert type(caught.value) is error


@pytest.mark.parametrize("ask", ["credit", "languages", "status"])
async def test_an_answer_of_the_wrong_type_is_asked_for_again(house: Open, ask: str) -> None:
    async with house(faults=[Fault(on=ask, kind="wrong_type", nth=(1, 2))]) as home:
        client = await home.client()
        job = (await client.submit(video())).accepted[0]
        told = (job.id,) if ask == "status" else ()

        assert await getattr(client, ask)(*told)
        assert home.sandbox.audit.requests[ask] == 3

        home.sandbox.faults.add(Fault(on=ask, kind="wrong_type"))
        with pytest.raises(ProtocolError):
            await getattr(client, ask)(*told)
        assert home.sandbox.audit.requests[ask] == 3 + QUICK.attempts


async def test_throttled_calls_wait_and_do_not_count_as_attempts(house: Open) -> None:
    async with house(faults=[Fault(on="credit", kind="code", code=1005, nth=range(1, 9))]) as home:
        assert await (await home.client()).credit() > 0

        assert home.sandbox.audit.requests["credit"] == 9


async def test_retry_after_is_waited_for(fast_house: Open) -> None:
    async with fast_house(
        faults=[Fault(on="credit", kind="http", status=503, retry_after=60, nth=1)]
    ) as home:
        client = await home.client(retry=RetryPolicy(initial_delay=0.001, deadline=100.0))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.credit)
            with anyio.fail_after(20):
                while not home.sandbox.audit.requests.get("credit"):
                    await anyio.sleep(0.005)
            await anyio.sleep(0.05)  # many times the delay without the header
            tasks.cancel_scope.cancel()

        assert home.sandbox.audit.requests["credit"] == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "redirect", "status": 302}, UnexpectedRedirectError),
        ({"kind": "code", "code": 1003}, BadRequestError),
        ({"kind": "code", "code": 1006}, OutOfCredits),
        ({"kind": "code", "code": 1008}, JobNotFoundError),
        ({"kind": "code", "code": 1109}, PermissionDeniedError),
        ({"kind": "code", "code": 1101}, AuthenticationError),
        ({"kind": "http", "status": 401}, AuthenticationError),
        ({"kind": "http", "status": 403}, AuthenticationError),
        ({"kind": "code", "code": 4711}, VendorError),
    ],
    ids=lambda value: _named(value) if isinstance(value, dict) else "",
)
async def test_does_not_repeat_what_will_not_pass(
    house: Open, fault: dict[str, Any], error: type[AkoolError]
) -> None:
    async with house(faults=[Fault(on="credit", **fault)]) as home:
        with pytest.raises(error) as caught:
            await (await home.client()).credit()

        assert home.sandbox.audit.requests["credit"] == 1
    assert type(caught.value) is error


async def test_a_refused_connection_is_tried_again(way: Any) -> None:
    with closed_port() as port:
        async with stray(way, address(port)) as client:
            with pytest.raises(ConnectError if way.name != "injected-fast" else AkoolError):
                await client.credit()


async def test_an_outage_is_not_multiplied(house: Open) -> None:
    calls = 300
    async with house(faults=[Fault(on="credit", kind="http", status=503)]) as home:
        client = await home.client()

        async with anyio.create_task_group() as tasks:
            for _ in range(calls):
                tasks.start_soon(_fails, client)

        assert home.sandbox.audit.requests["credit"] <= calls + 50


async def _fails(client: AkoolClient) -> None:
    with pytest.raises(ServerError):
        await client.credit()


@pytest.mark.thorough
async def test_a_thousand_calls_at_once_all_succeed(house: Open) -> None:
    async with house() as home:
        client = await home.client()
        answers: list[float] = []

        async def ask() -> None:
            answers.append(await client.credit())

        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(ask)

    assert len(answers) == 1000


async def test_is_used_inside_its_block_only() -> None:
    client = AkoolClient(api_key=KEY)
    with pytest.raises(RuntimeError, match="async with"):
        await client.credit()
    async with client:
        with pytest.raises(RuntimeError, match="open already"):
            await client.__aenter__()
    with pytest.raises(RuntimeError, match="async with"):
        await client.credit()


async def test_what_is_raised_in_the_block_goes_on_bare(way: Any) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with stray(way, "http://127.0.0.1:9"):
            raise KeyError("mine")
