"""Who may reach the sandbox and what it may reach: other machines, web pages, private addresses; the log."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread

from akool_async._wire.sealed import seal, unseal
from akool_async.sandbox import Fault, Sandbox
from akool_async.sandbox.jobs import ApiRejection
from akool_async.sandbox.media import RealMedia
from akool_async.sandbox.settings import SandboxSettings
from tests.client.moments import until

from .conftest import CREATE, CREDIT, KEY, LANGUAGES, TOKEN, URL, Visitor, plain_client, visiting
from .receiver import receiving

OWN_KEY = "a-key-of-its-own"
REMOTE: dict[str, Any] = {"api_key": OWN_KEY, "allow_remote": ["sandbox.test", "Other.test"]}
PAGE = "http://127.0.0.1:3000"


@asynccontextmanager
async def open_to_others(**options: Any) -> AsyncIterator[tuple[Sandbox, httpx.AsyncClient]]:
    """Serve at all addresses, and connect to one of them by the sandbox's name."""
    sandbox = Sandbox(**{"media": False, **REMOTE, **options})
    async with sandbox.serve("0.0.0.0") as server:
        port = httpx.URL(server.base_url).port
        headers = {"x-api-key": OWN_KEY, "host": f"sandbox.test:{port}"}
        async with plain_client(f"http://127.0.0.1:{port}", headers=headers) as http:
            yield sandbox, http


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "sandbox.test"])
async def test_another_address_than_a_loopback_one_needs_consent(host: str) -> None:
    with pytest.raises(ValueError, match="allow_remote"):
        async with Sandbox(media=False, api_key=OWN_KEY).serve(host):
            pass


def test_serving_others_needs_a_key_that_not_everybody_knows() -> None:
    with pytest.raises(ValueError, match="api_key"):
        Sandbox(media=False, allow_remote=["sandbox.test"])


def test_one_name_for_others_may_be_alone() -> None:
    settings = SandboxSettings(api_key="k" * 20, allow_remote="sandbox.test")

    assert settings.allow_remote == ("sandbox.test",)


async def test_serving_others_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    async with open_to_others() as (_, http):
        assert (await http.get(CREDIT)).json()["code"] == 1000
    async with Sandbox(media=False).serve():
        pass

    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "http://sandbox.test:" in warning
    assert OWN_KEY not in warning


async def test_results_are_linked_by_the_name_that_others_use() -> None:
    async with open_to_others(time_scale=1e6, result_days=1e9) as (_, http):
        job_id = (await http.post(CREATE, json={"url": URL, "language": "fr"})).json()["data"]["_id"]
        path = "/api/open/v3/content/video/infobymodelid"
        with anyio.fail_after(50):
            while not (
                video := (await http.get(path, params={"video_model_id": job_id})).json()["data"]["video"]
            ):
                await anyio.sleep(0.001)

    assert video.startswith("http://sandbox.test:")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("sandbox.test", 200),
        ("other.test:8321", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:1", 200),
        ("localhost", 200),
        ("api.localhost:1", 200),
        ("host.docker.internal:8321", 200),
        ("203.0.113.9", 200),
        ("attacker.example", 421),
        ("sandbox.test.attacker.example", 421),
        ("localhost.attacker.example", 421),
        ("[oops", 421),
        ("", 421),
    ],
)
async def test_only_its_own_names_are_answered(host: str, status: int) -> None:
    async with open_to_others() as (sandbox, http):
        answer = await http.get(CREDIT, headers={"host": host})

        assert answer.status_code == status
        assert sandbox.audit.requests == ({"credit": 1} if status == 200 else {})


async def test_a_name_that_was_led_to_this_machine_is_not_answered_either() -> None:
    async with visiting() as visitor:
        answers = [
            await visitor.http.post(CREATE, json={}, headers={"host": "attacker.example"}),
            await visitor.http.get(f"{visitor.server.cdn_url}/x", headers={"host": "attacker.example"}),
        ]

        assert [answer.status_code for answer in answers] == [421, 421]
        assert visitor.sandbox.audit.creates == ()


@pytest.mark.parametrize(
    "where", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "0.0.0.0"]
)
async def test_open_to_others_it_fetches_nothing_from_private_addresses(where: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://{where}:{listening.getsockname()[1]}/talk.mp4"
        async with open_to_others(media=True) as (sandbox, http):
            answer = (await http.post(CREATE, json={"url": url, "language": "fr"})).json()
        media = RealMedia(sandbox.settings)
        with pytest.raises(ApiRejection, match="can't be fetched"):
            await to_thread.run_sync(media._subtitles, url)

        assert answer["code"] == 1208
        assert sandbox.audit.jobs == ()
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


async def test_open_to_others_it_follows_no_redirect_to_a_private_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if 127.0.0.1 were public, and 127.0.0.2 an address of the inner network."""
    monkeypatch.setattr("akool_async._download.network._is_public_ip", lambda text: text != "127.0.0.2")
    media = RealMedia(SandboxSettings(**{**REMOTE, "allow_remote": ("sandbox.test",)}))
    with socket.create_server(("127.0.0.2", 0)) as inner:
        target = f"http://127.0.0.2:{inner.getsockname()[1]}/a.srt"
        faults = [Fault(on="languages", kind="redirect", location=target)]
        async with visiting(faults=faults) as visitor:
            with pytest.raises(ApiRejection, match="can't be fetched"):
                await to_thread.run_sync(media._subtitles, f"{visitor.server.base_url}{LANGUAGES}")

            assert visitor.sandbox.audit.requests == {"languages": 1}
        inner.setblocking(False)
        with pytest.raises(BlockingIOError):
            inner.accept()


async def test_open_to_others_it_sends_no_webhooks_to_private_addresses() -> None:
    with receiving() as receiver:
        async with open_to_others(webhook_attempts=1) as (sandbox, http):
            await http.post(CREATE, json={"url": URL, "language": "fr", "webhookUrl": receiver.url})
            await until(lambda: sandbox.audit.webhooks)

        assert receiver.bodies == []
        assert sandbox.audit.webhooks[0].answered is None


def preflight(origin: str) -> dict[str, Any]:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    return {"method": "OPTIONS", "url": CREATE, "headers": {"origin": origin, **asked}}


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:5173", "https://[::1]:1"])
async def test_a_page_of_this_machine_may_call_the_api(origin: str) -> None:
    async with visiting() as visitor:
        asked = await visitor.http.request(**preflight(origin))
        answer = await visitor.http.get(CREDIT, headers={"origin": origin})

    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "x-api-key" in asked.headers["access-control-allow-headers"]
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json()["code"] == 1000


@pytest.mark.parametrize(("key", "allowed"), [(None, False), (OWN_KEY, True)])
async def test_a_page_of_another_site_needs_a_key_that_it_can_not_know(
    key: str | None, allowed: bool
) -> None:
    async with visiting(**({"api_key": key} if key else {})) as visitor:
        asked = await visitor.http.request(**preflight("https://attacker.example"))
        answer = await visitor.http.get(CREDIT, headers={"origin": "https://attacker.example"})

    assert ["access-control-allow-origin" in one.headers for one in (asked, answer)] == [allowed, allowed]


async def test_without_an_origin_no_answer_has_the_header_of_browsers() -> None:
    async with visiting() as visitor:
        assert "access-control-allow-origin" not in (await visitor.http.get(CREDIT)).headers


@asynccontextmanager
async def logged(
    caplog: pytest.LogCaptureFixture, **options: Any
) -> AsyncIterator[tuple[Visitor, list[str]]]:
    lines: list[str] = []
    with caplog.at_level(logging.DEBUG, logger="akool_async.sandbox"):
        async with visiting(**options) as visitor:
            yield visitor, lines
    lines += [record.getMessage() for record in caplog.records if record.name == "akool_async.sandbox"]


async def test_every_request_is_logged_with_its_code_and_its_faults(caplog: pytest.LogCaptureFixture) -> None:
    faults = [
        Fault(on="create", kind="http_with_answer", nth=1),
        Fault(on="create", kind="odd_id", nth=1),
        Fault(on="create", kind="reset_after", nth=2),
        Fault(on="cdn", kind="weak_etag"),
    ]
    async with logged(caplog, faults=faults) as (visitor, lines):
        await visitor.http.post(CREATE, json={"url": URL, "language": "fr"})
        with pytest.raises(httpx.ReadError):
            await visitor.create()
        await visitor.post(CREATE, {})
        await visitor.http.get("/else where%0A", params={"a": "b"})
        async with plain_client() as http:
            await http.get((await visitor.finished())["video"])

    job_id = visitor.sandbox.audit.jobs[-1].id
    status = "GET /api/open/v3/content/video/infobymodelid 200, code 1000"
    assert lines == [
        f"POST {CREATE} 503, code 1000, fault http_with_answer odd_id",
        f"POST {CREATE} no answer, code 1000, fault reset_after",
        f"POST {CREATE} 200, code 1003",
        "GET /else%20where%0A 404",
        f"POST {CREATE} 200, code 1000",
        status,
        f"GET /results/{job_id}/video.mp4 200, fault weak_etag",
    ]


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    secret = "canary-9c4e7a1b2d"
    options = {"api_key": secret, "client_secret": "canary-5e1f8b3c6a90", "time_scale": 1.0}
    async with logged(caplog, **options) as (visitor, lines):
        visitor.http.headers["x-api-key"] = secret
        pair = {"clientId": "sandbox-client-id", "clientSecret": "canary-5e1f8b3c6a90"}
        token = (await visitor.post(TOKEN, pair))["token"]
        for one in (secret, "canary-5e1f8b3c6a90", token):
            await visitor.http.get(
                f"/{one}/", params={"key": one}, headers={"authorization": f"Bearer {one}"}
            )
        await visitor.create(url=f"{URL}?signature={secret}", webhookUrl=f"http://127.0.0.1:9/{secret}")
        await until(lambda: visitor.sandbox.audit.webhooks)

    assert "GET [redacted] 404" in lines
    assert any(line.startswith("webhook of job ") for line in lines)
    assert "canary" not in "".join(lines)
    assert token not in "".join(lines)


@pytest.mark.parametrize(
    ("seconds", "lipsync", "cost"),
    [
        (16.44, False, 4),
        (11.7, True, 20),
        (7.91, True, 10),
        (10.0, False, 2),
        (0.5, False, 2),
        (60, True, 60),
    ],
)
def test_the_price_is_that_of_the_vendors_samples(seconds: float, lipsync: bool, cost: float) -> None:
    assert SandboxSettings().cost(seconds, lipsync=lipsync) == cost


@pytest.mark.parametrize(
    "key", ["sandbox-test-key", "k", "x" * 17, "x" * 24, "x" * 40, "ü" * 9, "ü" * 33, "a" + "ü" * 20]
)
def test_its_webhooks_can_be_opened_with_the_secret_that_it_tells(key: str) -> None:
    settings = SandboxSettings(api_key=key)
    pair = {"client_id": settings.client_id, "client_secret": settings.webhook_secret}
    body = seal({"_id": "a"}, timestamp_ms=0, nonce="n", **pair)

    assert unseal(body, now_ms=0, **pair).job_id == "a"
    assert SandboxSettings().webhook_secret == SandboxSettings().api_key == KEY["x-api-key"]


async def test_a_secret_of_any_length_seals_webhooks() -> None:
    secret = "much-longer-than-the-32-bytes-that-a-cipher-takes"
    with receiving() as receiver:
        async with visiting(api_key=OWN_KEY, client_secret=secret) as visitor:
            visitor.http.headers["x-api-key"] = OWN_KEY
            await visitor.create(webhookUrl=receiver.url)
            await receiver.count(1)
            webhook_secret = visitor.sandbox.settings.webhook_secret

            assert len(webhook_secret) == 32
            assert [
                one.status for one in receiver.hints("sandbox-client-id", webhook_secret, visitor.clock())
            ] == [2]


async def test_by_todays_documentation_no_language_needs_a_voice() -> None:
    async with visiting(api_version="documented") as visitor:
        languages = (await visitor.get("/api/open/v3/language/list"))["data"]["lang_list"]
        answer = await visitor.create("af-ZA")

    assert not any("need_voice_id" in entry for entry in languages)
    assert answer["code"] == 1000
