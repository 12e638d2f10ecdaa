"""Each way of going wrong, as a client on a real connection sees it, and what really happened meanwhile."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from anyio import to_thread

from akool_async import Status, TranslationRequest
from akool_async.sandbox import Fault, Sandbox
from tests.client.moments import jump, until

from .conftest import (
    CREATE,
    CREDIT,
    KEY,
    LANGUAGES,
    STATUS,
    TOKEN,
    URL,
    Visitor,
    plain_client,
    visiting,
)

BODY = {"url": URL, "language": "fr"}
PAIR = {"clientId": "sandbox-client-id", "clientSecret": "sandbox-test-key"}


def raw_post(base_url: str) -> bytes:
    """Send a paid POST over a bare socket and return everything that comes back."""
    parts = urlsplit(base_url)
    body = json.dumps(BODY).encode()
    head = f"POST {CREATE} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {KEY['x-api-key']}\r\n"
    head += f"content-length: {len(body)}\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=50) as connection:
        connection.sendall(head.encode() + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


async def answer_to(
    visitor: Visitor, fault: Fault, method: str = "POST", path: str = CREATE
) -> httpx.Response:
    visitor.sandbox.faults.add(fault)
    return await visitor.http.request(method, path, json=BODY if method == "POST" else None)


@pytest.mark.parametrize(("kind", "jobs"), [("reset_before", 0), ("reset_after", 1)])
async def test_a_reset_is_a_real_one(kind: str, jobs: int) -> None:
    async with visiting(faults=[Fault(on="create", kind=kind)]) as visitor:
        with pytest.raises(ConnectionResetError):
            await to_thread.run_sync(raw_post, visitor.server.base_url)
        with pytest.raises(httpx.ReadError):
            await visitor.create()

        assert len(visitor.sandbox.audit.jobs) == 2 * jobs


@pytest.mark.parametrize("path", [TOKEN, CREATE, STATUS, LANGUAGES, CREDIT])
async def test_every_endpoint_can_be_reset(path: str) -> None:
    async with visiting(faults=[Fault(on="*", kind="reset_before")]) as visitor:
        with pytest.raises(httpx.ReadError):
            await visitor.http.request("POST" if path in (TOKEN, CREATE) else "GET", path)


async def test_a_reset_connection_is_followed_by_a_sound_one() -> None:
    async with visiting(faults=[Fault(on="create", kind="reset_before", nth=1)]) as visitor:
        with pytest.raises(httpx.ReadError):
            await visitor.create()
        answer = await visitor.create()

        assert answer["code"] == 1000
        assert [record.connection for record in visitor.sandbox.audit.creates] == [1, 2]


async def test_a_delay_comes_before_the_effect() -> None:
    async with visiting(faults=[Fault(on="create", kind="delay", seconds=0.03)]) as visitor:
        begin = time.monotonic()
        answer = await visitor.create()

        assert answer["code"] == 1000
        assert time.monotonic() - begin >= 0.03


@pytest.mark.parametrize(("acted", "jobs"), [(False, 0), (True, 1)])
async def test_a_hanging_answer_never_comes(acted: bool, jobs: int) -> None:
    async with visiting(faults=[Fault(on="create", kind="hang", acted=acted)]) as visitor:
        async with anyio.create_task_group() as tasks:

            async def post() -> None:
                with pytest.raises(httpx.ReadTimeout):
                    await visitor.http.post(CREATE, json=BODY)

            tasks.start_soon(post)
            await until(lambda: visitor.sandbox.audit.creates)
            jump(60)

        assert len(visitor.sandbox.audit.jobs) == jobs
        assert visitor.sandbox.audit.creates[0].acted is bool(jobs)


async def test_the_server_stops_although_somebody_hangs() -> None:
    sandbox = Sandbox(media=False, faults=[Fault(on="credit", kind="hang")])
    errors: list[httpx.HTTPError] = []
    async with plain_client(headers=KEY) as http, anyio.create_task_group() as tasks:

        async def hang(url: str) -> None:
            try:
                await http.get(url)
            except httpx.HTTPError as error:
                errors.append(error)

        async with sandbox.serve() as server:
            tasks.start_soon(hang, server.base_url + CREDIT)
            while not sandbox.audit.requests:
                await anyio.sleep(0.001)

    assert isinstance(errors[0], httpx.ReadError | httpx.RemoteProtocolError)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 401, 403])
@pytest.mark.parametrize("acted", [False, True])
async def test_a_http_status_with_a_page(status: int, acted: bool) -> None:
    async with visiting() as visitor:
        answer = await answer_to(
            visitor, Fault(on="create", kind="http", status=status, acted=acted, retry_after=7)
        )

        assert answer.status_code == status
        assert answer.headers["retry-after"] == "7"
        assert answer.headers["content-type"].startswith("text/html")
        assert len(visitor.sandbox.audit.jobs) == int(acted)


async def test_the_page_can_be_chosen_and_retry_after_left_out() -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="http", body="<p>no</p>"))

    assert (answer.status_code, answer.text) == (500, "<p>no</p>")
    assert "retry-after" not in answer.headers


async def test_a_page_instead_of_json() -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="html"))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>")


async def test_an_empty_body() -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="empty"))

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(("acted", "jobs"), [(None, 1), (False, 0)])
async def test_truncated_json_in_valid_http(acted: bool | None, jobs: int) -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="truncated", acted=acted))

        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(answer.content)
        with pytest.raises(ValueError):
            answer.json()
        assert len(visitor.sandbox.audit.jobs) == jobs
        assert bool(re.search(r'"_id":"[0-9a-f]{24}"', answer.text)) is bool(jobs)


async def test_less_than_the_announced_length() -> None:
    async with visiting(faults=[Fault(on="create", kind="short")]) as visitor:
        raw = await to_thread.run_sync(raw_post, visitor.server.base_url)
        with pytest.raises(httpx.RemoteProtocolError):
            await visitor.create()

        head, _, body = raw.partition(b"\r\n\r\n")
        announced = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        assert 0 < len(body) < announced
        assert len(visitor.sandbox.audit.jobs) == 2


async def test_noise_instead_of_http() -> None:
    async with visiting(faults=[Fault(on="create", kind="garbage")]) as visitor:
        raw = await to_thread.run_sync(raw_post, visitor.server.base_url)
        with pytest.raises(httpx.RemoteProtocolError):
            await visitor.create()

        assert raw
        assert not raw.startswith(b"HTTP/")
        assert visitor.sandbox.audit.jobs == ()


async def test_a_huge_envelope() -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="huge", acted=True))

    assert len(answer.content) > 4 * 2**20
    assert answer.json()["data"]["_id"]


@pytest.mark.parametrize("value", ["text", 5, None, [1]])
async def test_data_of_the_wrong_type(value: object) -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="wrong_type", value=value))

        assert (answer.json()["code"], answer.json()["data"]) == (1000, value)
        assert len(visitor.sandbox.audit.jobs) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_to_a_place_that_remembers_who_came(status: int) -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="redirect", status=status))
        followed = await visitor.http.post(answer.headers["location"], headers={"authorization": "Bearer x"})
        leaks = visitor.sandbox.audit.leaks

        assert answer.status_code == status
        assert answer.headers["location"] == f"{visitor.server.cdn_url}/elsewhere"
        assert followed.status_code == 200
        assert {(leak.path, leak.where, leak.what) for leak in leaks} == {
            ("/elsewhere", "header x-api-key", "key"),
            ("/elsewhere", "header authorization", "authorization"),
        }
        assert visitor.sandbox.audit.jobs == ()


async def test_the_target_of_a_redirect_can_be_chosen() -> None:
    async with visiting() as visitor:
        answer = await answer_to(
            visitor, Fault(on="create", kind="redirect", location="https://example.com/")
        )

    assert (answer.status_code, answer.headers["location"]) == (302, "https://example.com/")


@pytest.mark.parametrize("acted", [False, True])
async def test_a_business_code(acted: bool) -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="code", code=1015, acted=acted))

        assert (answer.json()["code"], "data" in answer.json()) == (1015, False)
        assert len(visitor.sandbox.audit.jobs) == int(acted)


async def test_an_undocumented_business_code() -> None:
    async with visiting() as visitor:
        answer = await answer_to(visitor, Fault(on="create", kind="code", code=4711))

    assert answer.json() == {"code": 4711, "msg": "unknown error"}


@pytest.mark.parametrize("kind", ["truncated", "short", "huge", "wrong_type"])
async def test_reading_endpoints_spoil_their_true_answer(kind: str) -> None:
    async with (
        visiting(faults=[Fault(on="languages", kind=kind)]) as visitor,
        visitor.http.stream("GET", LANGUAGES) as answer,
    ):
        seen = b""
        try:
            async for piece in answer.aiter_raw():
                seen += piece
        except httpx.RemoteProtocolError:
            assert kind == "short"

    assert seen.startswith(b'{"code":1000,"msg":"OK","data":')


async def test_faults_can_be_combined() -> None:
    faults = [
        Fault(on="create", kind="delay", seconds=0.001),
        Fault(on="create", kind="omit_language", language="fr"),
        Fault(on="create", kind="http", status=502, acted=True, nth=2),
    ]
    async with visiting(faults=faults) as visitor:
        first = await visitor.create("hi,fr,ja")
        second = await visitor.http.post(CREATE, json={"url": URL, "language": "hi,fr,ja"})
        creates = visitor.sandbox.audit.creates

    assert len(first["all_results"]) == 2
    assert second.status_code == 502
    assert [record.faults for record in creates] == [
        ("delay", "omit_language"),
        ("delay", "omit_language", "http"),
    ]
    assert [len(record.job_ids) for record in creates] == [3, 3]


async def test_a_token_can_be_issued_and_its_answer_lost() -> None:
    async with visiting(faults=[Fault(on="token", kind="reset_after", nth=1)]) as visitor:
        with pytest.raises(httpx.ReadError):
            await visitor.http.post(TOKEN, json=PAIR)
        answer: dict[str, Any] = await visitor.post(TOKEN, PAIR)

        assert answer["code"] == 1000
        assert (visitor.sandbox.audit.tokens_issued, visitor.sandbox.audit.token_calls) == (2, 2)


async def test_faults_come_and_go_while_the_server_runs() -> None:
    async with visiting() as visitor:
        before = (await visitor.get(CREDIT))["code"]
        visitor.sandbox.faults.add(Fault(on="credit", kind="code", code=1015))
        during = (await visitor.get(CREDIT))["code"]
        visitor.sandbox.faults.clear()

        assert (before, during, (await visitor.get(CREDIT))["code"]) == (1000, 1015, 1000)


async def test_a_fault_of_a_completed_job_strikes_the_first_answer_that_says_so() -> None:
    """Also where the job is completed between the choice of faults and the answer."""
    for offset in range(8):
        moments = itertools.count()
        sandbox = Sandbox(media=False, clock=lambda moments=moments: float(next(moments)))  # type: ignore[misc]
        sandbox.faults.add(Fault(on="status", kind="done_without_url"))
        async with sandbox.client() as client:
            (job,) = (await client.submit(TranslationRequest(url=URL, targets="fr"))).accepted
            for _ in range(offset):
                next(moments)
            while (seen := await client.status(job.id)).status is not Status.COMPLETED:
                pass
        assert seen.url == ""
