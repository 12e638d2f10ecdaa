"""One fetch of a token, however many tasks need it."""

from __future__ import annotations

import anyio
import pytest

from akool_async import AuthenticationError, ConfigurationError
from akool_async.sandbox import Fault
from tests.client.conftest import KEY, Open, video
from tests.client.moments import still_clock, until

PAIR = {"client_id": "someone", "client_secret": KEY}


async def test_200_tasks_share_the_first_token_and_the_next(house: Open) -> None:
    async with house(**PAIR) as home:
        client = await home.client(**PAIR)
        await _all_ask(client)
        assert home.sandbox.audit.token_calls == 1

        home.sandbox.revoke_tokens()
        await _all_ask(client)
        assert home.sandbox.audit.token_calls == 2


async def _all_ask(client) -> None:
    answers: list[float] = []

    async def ask() -> None:
        answers.append(await client.credit())

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(ask)

    assert len(answers) == 200


async def test_200_waiting_jobs_survive_an_expired_token_with_one_fetch(fast_house: Open) -> None:
    clock = still_clock()
    async with fast_house(**PAIR, max_jobs=500, clock=clock) as home:
        client = await home.client(**PAIR)
        jobs = [(await client.submit(video(number))).accepted[0] for number in range(200)]
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(client.wait, job.id)
            await until(lambda: len(home.sandbox.audit.polled) == 200)
            home.sandbox.revoke_tokens()
            clock.advance(3600.0)

        assert home.sandbox.audit.token_calls == 2


@pytest.mark.parametrize("status", [None, 401, 403])
async def test_wrong_credentials_are_an_error_after_one_new_token(house: Open, status: int | None) -> None:
    refusal = {"kind": "code", "code": 1101} if status is None else {"kind": "http", "status": status}
    async with house(**PAIR, faults=[Fault(on="credit", **refusal)]) as home:
        client = await home.client(**PAIR)
        with pytest.raises(AuthenticationError):
            await client.credit()

        assert home.sandbox.audit.token_calls == 2
        assert home.sandbox.audit.requests["credit"] == 2

        with pytest.raises(AuthenticationError):
            await client.credit()
        assert home.sandbox.audit.token_calls == 2


async def test_a_wrong_secret_is_an_error_at_once(house: Open) -> None:
    async with house(**PAIR) as home:
        client = await home.client(client_id="someone", client_secret="not-the-secret")
        with pytest.raises(AuthenticationError):
            await client.submit(video())

        assert home.sandbox.audit.token_calls == 1
        assert home.sandbox.audit.requests.get("create", 0) == 0


async def test_a_wrong_key_is_an_error_at_once(house: Open) -> None:
    async with house() as home:
        with pytest.raises(AuthenticationError):
            await (await home.client(api_key="not-the-key")).submit(video())

        assert home.sandbox.audit.jobs == ()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset_before"},
        {"kind": "http", "status": 503},
        {"kind": "html"},
        {"kind": "code", "code": 1005},
    ],
)
async def test_fetching_a_token_is_repeated(house: Open, fault: dict[str, object]) -> None:
    async with house(**PAIR, faults=[Fault(on="token", nth=(1, 2), **fault)]) as home:
        assert await (await home.client(**PAIR)).credit() > 0


async def test_only_one_header_says_who_is_asking(house: Open) -> None:
    async with house(**PAIR) as home:
        await (await home.client(**PAIR)).submit(video(1))
        await (await home.client()).submit(video(2))

        assert [create.credential for create in home.sandbox.audit.creates] == ["token", "key"]


@pytest.mark.parametrize("before", [{"api_key": "a-wrong-key"}, {**PAIR, "client_secret": "a-wrong-secret"}])
async def test_credentials_are_replaced_while_the_client_is_open(house: Open, before: dict[str, str]) -> None:
    async with house(**PAIR) as home:
        client = await home.client(**before)
        with pytest.raises(AuthenticationError):
            await client.credit()
        with pytest.raises(ConfigurationError, match="not both"):
            client.replace_credentials(api_key=KEY, **PAIR)
        for after in ({"api_key": KEY}, PAIR):
            client.replace_credentials(**after)
            assert await client.credit() > 0
