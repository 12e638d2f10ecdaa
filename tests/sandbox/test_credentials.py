"""Both ways in, with their codes: key, token, nothing, both, expired."""

from __future__ import annotations

from typing import Any

import pytest

from akool_async.sandbox import Fault, Sandbox

from .conftest import CREDIT, TOKEN, Visitor, visiting

PAIR = {"clientId": "sandbox-client-id", "clientSecret": "sandbox-test-key"}


async def code_with(visitor: Visitor, headers: dict[str, str]) -> int:
    del visitor.http.headers["x-api-key"]
    return int((await visitor.http.get(CREDIT, headers=headers)).json()["code"])


async def token(visitor: Visitor) -> str:
    return str((await visitor.post(TOKEN, PAIR))["token"])


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-api-key": "sandbox-test-key"}, 1000),
        ({"X-API-KEY": "sandbox-test-key"}, 1000),
        ({"x-api-key": "wrong"}, 1101),
        ({"x-api-key": ""}, 1102),
        ({}, 1102),
        ({"authorization": "Bearer wrong"}, 1101),
        ({"authorization": "Basic c2FuZGJveA=="}, 1101),
        ({"authorization": "Bearer"}, 1102),
        ({"authorization": ""}, 1102),
        ({"authorization": "Bearer wrong", "x-api-key": "sandbox-test-key"}, 1101),
    ],
)
async def test_the_code_says_what_is_wrong(headers: dict[str, str], code: int) -> None:
    async with visiting() as visitor:
        assert await code_with(visitor, headers) == code


async def test_a_token_opens_the_door_and_wins_over_the_key() -> None:
    async with visiting() as visitor:
        bearer = {"authorization": f"Bearer {await token(visitor)}", "x-api-key": "wrong"}

        assert await code_with(visitor, bearer) == 1000


async def test_a_token_stands_at_the_top_of_its_answer() -> None:
    async with visiting() as visitor:
        answer = await visitor.post(TOKEN, PAIR)

    assert set(answer) == {"code", "token"}
    assert answer["token"].count(".") == 2


async def test_a_token_expires() -> None:
    async with visiting(token_seconds=60) as visitor:
        bearer = {"authorization": f"Bearer {await token(visitor)}"}
        before = await code_with(visitor, bearer)
        visitor.clock.advance(61)
        after = (await visitor.http.get(CREDIT, headers=bearer)).json()["code"]

    assert (before, after) == (1000, 1101)


async def test_all_tokens_can_be_made_void_at_once() -> None:
    async with visiting() as visitor:
        old = {"authorization": f"Bearer {await token(visitor)}"}
        visitor.sandbox.revoke_tokens()
        new = {"authorization": f"Bearer {await token(visitor)}"}

        assert await code_with(visitor, old) == 1101
        assert (await visitor.http.get(CREDIT, headers=new)).json()["code"] == 1000
        assert visitor.sandbox.audit.tokens_issued == 2


async def test_the_fault_of_an_expired_token_hits_the_request_itself_and_what_follows() -> None:
    async with visiting(faults=[Fault(on="credit", kind="token_expired", nth=2)]) as visitor:
        bearer = {"authorization": f"Bearer {await token(visitor)}"}
        codes = [await code_with(visitor, bearer)]
        codes += [(await visitor.http.get(CREDIT, headers=bearer)).json()["code"] for _ in range(2)]

    assert codes == [1000, 1101, 1101]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 1003),
        ({"clientId": "sandbox-client-id"}, 1003),
        ({"clientId": "", "clientSecret": "sandbox-test-key"}, 1003),
        ({"clientId": 5, "clientSecret": "sandbox-test-key"}, 1003),
        ({"clientId": "sandbox-client-id", "clientSecret": "wrong"}, 1101),
        ({"clientId": "wrong", "clientSecret": "sandbox-test-key"}, 1101),
    ],
)
async def test_no_token_without_the_right_pair(body: dict[str, Any], code: int) -> None:
    async with visiting() as visitor:
        assert (await visitor.post(TOKEN, body))["code"] == code
        assert visitor.sandbox.audit.tokens_issued == 0
        assert visitor.sandbox.audit.token_calls == 1


async def test_credentials_can_be_chosen() -> None:
    options = {"api_key": "k" * 32, "client_id": "me", "client_secret": "s" * 24}
    async with visiting(**options) as visitor:
        for secret in ("k" * 32, "s" * 24):
            assert (await visitor.post(TOKEN, {"clientId": "me", "clientSecret": secret}))["code"] == 1000
        assert await code_with(visitor, {"x-api-key": "k" * 32}) == 1000


def test_nothing_secret_shows_in_a_repr() -> None:
    sandbox = Sandbox(media=False, api_key="canary-4f9c1b7e2a", client_secret="canary-5e1f")

    assert "canary" not in repr(sandbox) + repr(sandbox.settings)
