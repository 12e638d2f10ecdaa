"""The receiver: one answer to everything, hints that are handed on once, and nothing held without bound."""

from __future__ import annotations

import asyncio
import gzip
import json
import pickle
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync
from fastapi import FastAPI

from akool_async import AkoolClient, Completed, ConfigurationError, FixedSchedule, TranslationRequest
from akool_async.sandbox import Sandbox
from akool_async.webhook import Callback, WebhookReceiver, seal
from tests.client.moments import still_clock, until

from .conftest import CLIENT_ID, JOB, SECRET, TOKEN, Ear, body, looked_at, open_ear, posted, receiver, served

SILENT = (200, [(b"content-length", b"0")], b"")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_what_the_vendor_seals_is_handed_on() -> None:
    async with open_ear() as (door, ear):
        assert await posted(door, body(status=2), path=f"/akool/{TOKEN}") == SILENT
        await looked_at(door)

    assert ear.heard == [Callback(job_id=JOB, token=TOKEN, status=2)]


@pytest.mark.parametrize(
    "path", ["/", "", "/akool", "/akool/", f"/{TOKEN[:-1]}", f"/{TOKEN.upper()}", f"/{TOKEN}/more", "/ä"]
)
async def test_what_is_no_token_is_taken_for_none(path: str) -> None:
    async with open_ear() as (door, ear):
        await posted(door, body(), path=path)
        await looked_at(door)

    assert [callback.token for callback in ear.heard] == [""]


def _wrong_key(length: int) -> bytes:
    told = seal(
        {"_id": JOB, "status": 3},
        client_id=CLIENT_ID,
        client_secret="x" * length,
        timestamp_ms=int(time.time() * 1000),
        nonce="1",
    )
    return json.dumps(told).encode()


HOSTILE: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "empty": (lambda: b"", "malformed"),
    "no json": (lambda: b"\xff\xfe", "malformed"),
    "too large": (lambda: body(filler="x" * 20_000), "malformed"),
    "deep": (lambda: b"[" * 10_000, "malformed"),
    "twice": (lambda: body()[:-1] + b', "nonce": "1"}', "malformed"),
    "padded with spaces": (lambda: body().replace(b'": "', b'":  "', 1) + b"\n", None),
    "another client": (lambda: body().replace(b'"signature": "', b'"signature": "0', 1), "wrong_signature"),
    "old": (lambda: body(at=time.time() - 400), "stale"),
    "early": (lambda: body(at=time.time() + 400), "stale"),
    "another key": (lambda: _wrong_key(24), "unreadable"),
    "no job": (lambda: body(job=""), "unreadable"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_every_body_gets_the_same_answer(name: str) -> None:
    content, counted = HOSTILE[name]
    async with open_ear() as (door, ear):
        assert await posted(door, content(), cut=1000) == SILENT
        await looked_at(door)
        seen = door.statistics()

    assert seen.accepted == 1
    assert getattr(seen, counted or "delivered") == 1
    assert bool(ear.heard) is (counted is None)


async def test_the_answer_is_given_before_the_body_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bytes] = []
    async with open_ear() as (door, _):
        monkeypatch.setattr(door, "_handle", lambda content, path: looked.append(content))

        assert await posted(door, body()) == SILENT
        assert looked == []
        await until(lambda: looked)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_post_is_taken(method: str) -> None:
    async with open_ear() as (door, _):
        status, headers, content = await posted(door, body(), method=method)

        assert (status, content) == (405, b"")
        assert (b"allow", b"POST") in headers
        assert door.statistics().accepted == 0


async def test_a_full_line_is_the_only_reason_for_503() -> None:
    async with open_ear(queue_size=3) as (door, ear):
        contents = [b"", body(), b"x" * 50_000, body(), b"{}", body()]
        answers = [door.receive(content) for content in contents]
        await looked_at(door)

        assert answers == [200, 200, 200, 503, 503, 503]
        assert door.statistics().rejected_busy == 3
        assert len(ear.heard) == 1
        assert door.receive(body()) == 200


async def test_a_receiver_that_is_not_open_takes_nothing() -> None:
    door = receiver()

    assert (await posted(door, body()))[0] == 503
    async with door:
        assert (await posted(door, body()))[0] == 200
    assert (await posted(door, body()))[0] == 503


async def test_what_is_in_line_is_looked_at_before_it_closes() -> None:
    async with open_ear() as (door, ear):
        for number in range(50):
            door.receive(body(f"{number:024}"))

    assert len(ear.heard) == 50


async def test_a_replay_is_handed_on_once_however_it_is_dressed_up() -> None:
    told = json.loads(body())
    async with open_ear() as (door, ear):
        for nonce in ("1", "2", "3"):
            # Whoever knows the client id can sign what he caught once more; the content stays the same.
            signed = seal(
                {"_id": JOB, "status": 3, "type": "video translate", "url": ""},
                client_id=CLIENT_ID,
                client_secret=SECRET,
                timestamp_ms=told["timestamp"] + int(nonce),
                nonce=nonce,
            )
            for spelled in (json.dumps(signed), json.dumps(signed, indent=1), json.dumps(signed)):
                door.receive(spelled.encode())
        await looked_at(door)

        assert len(ear.heard) == 1
        assert door.statistics().repeated == 8


async def test_a_caught_body_can_not_be_told_under_many_tokens() -> None:
    content = body()
    async with open_ear() as (door, ear):
        for number in range(100):
            door.receive(content, f"/akool/{number:032x}")
        await looked_at(door)

    assert len(ear.heard) == 4
    assert [callback.should_poll for callback in ear.heard] == [True, False, False, False]


async def test_memory_is_bounded() -> None:
    async with open_ear(replay_cache_size=10) as (door, _):
        for number in range(40):
            door.receive(body(f"{number:024}"), f"/{number:032x}")
        await looked_at(door)

        assert len(door._replays._tokens) == 10
        assert len(door._replays.callbacks) == 10
        assert door.callbacks_for(f"{39:032x}") == (
            Callback(job_id=f"{39:024}", token=f"{39:032x}", status=3),
        )
        assert door.callbacks_for(f"{0:032x}") == ()


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_listener_that_fails_does_not_silence_the_others(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    class Broken:
        def on_callback(self, callback: Callback) -> None:
            raise error("mine")

    ear = Ear()
    async with receiver() as door:
        door.subscribe(Broken())
        detach = door.subscribe(ear)
        door.receive(body(status=2))
        await looked_at(door)
        detach()
        door.receive(body(status=3))
        await looked_at(door)

    assert [callback.status for callback in ear.heard] == [2]
    assert "A listener failed" in caplog.text


async def test_a_flood_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with open_ear() as (door, _):
        for _ in range(150):
            door.receive(b"{}")
        await looked_at(door)

    assert len(caplog.records) == 3
    assert "So far: 100" in caplog.text


async def test_bodies_can_be_brought_from_any_thread() -> None:
    async with open_ear() as (door, ear):
        assert await run_sync(door.receive, body(), f"/x/{TOKEN}") == 200
        await looked_at(door)

    assert ear.heard[0].token == TOKEN


@pytest.mark.parametrize(
    "kind",
    [bytearray, memoryview, bytes.decode, lambda content: memoryview(content * 2)[::1][: len(content)]],
)
async def test_bodies_may_be_any_bytes_or_text(kind: Callable[[bytes], Any]) -> None:
    content = bytearray(body())
    async with open_ear() as (door, ear):
        assert door.receive(kind(bytes(content)), f"/{TOKEN}") == 200
        content[:] = b"?" * len(content)
        await looked_at(door)

    assert [callback.job_id for callback in ear.heard] == [JOB]


async def test_a_buffer_may_be_used_again_at_once() -> None:
    content = bytearray(body())
    async with open_ear() as (door, ear):
        assert door.receive(content) == 200
        content[:] = b"?" * len(content)
        await looked_at(door)

    assert len(ear.heard) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (None,),
        (7,),
        ({"signature": ""},),
        ([1, 2],),
        (b"{}", None),
        (b"{}", b"/path"),
        (b"{}", "/", None),
        (b"{}", "/", ("127.0.0.1", 80)),
    ],
)
async def test_what_is_no_body_is_refused_in_the_call_and_the_receiver_goes_on(
    arguments: tuple[Any, ...],
) -> None:
    async with open_ear() as (door, ear):
        with pytest.raises(TypeError):
            door.receive(*arguments)
        assert door.receive(body()) == 200
        await looked_at(door)

    assert len(ear.heard) == 1


@pytest.mark.parametrize(
    "content", ["\ud800", "{}", memoryview(b"{}{}")[::2], memoryview(bytes(8)).cast("I"), ""]
)
async def test_nothing_that_can_be_queued_ends_the_receiver(content: Any) -> None:
    async with open_ear() as (door, ear):
        assert door.receive(content, "/\ud800") == 200
        assert door.receive(body()) == 200
        await looked_at(door)

    assert len(ear.heard) == 1


@pytest.mark.parametrize("limit", [16_384, 600])
async def test_a_body_may_be_gzipped_up_to_the_same_size(limit: int) -> None:
    async with open_ear(max_body_bytes=limit) as (door, ear):
        for content in (body("fits"), body("too-large", filler="x" * 20_000)):
            door.receive(gzip.compress(content))
        door.receive(gzip.compress(bytes(10**8)))
        door.receive(gzip.compress(body("torn"))[:-20])
        door.receive(b"\x1f\x8b and nothing of the kind")
        await looked_at(door)

    assert [callback.job_id for callback in ear.heard] == ["fits"]
    assert door.statistics().malformed == 4


async def test_the_clock_is_asked_about_once(caplog: pytest.LogCaptureFixture) -> None:
    now = time.time()
    async with open_ear(max_clock_skew=60, now=lambda: now) as (door, ear):
        for number in range(30):
            door.receive(body(f"{number}", at=now - 7200))
        door.receive(body("fits", at=now - 50))
        await looked_at(door)

    assert caplog.text.count("clock of this machine right?") == 1
    assert "7200 s behind the clock of this machine, and 60 s are allowed" in caplog.text
    assert [callback.job_id for callback in ear.heard] == ["fits"]


def test_a_receiver_can_not_be_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(receiver())


async def test_it_runs_as_a_whole_application_and_mounted_in_another(anyio_backend: str) -> None:
    ear = Ear()
    alone = receiver()
    alone.subscribe(ear)
    with served(alone) as origin:
        async with httpx.AsyncClient(trust_env=False, timeout=50) as http:
            answer = await http.post(f"{origin}/akool/{TOKEN}", content=body(status=2))
            large = await http.post(f"{origin}/akool/{TOKEN}", content=b"x" * 300_000)
        assert (answer.status_code, answer.content) == (200, b"")
        assert large.status_code == 200

    inner = receiver()
    inner.subscribe(ear)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with inner:
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/akool", inner)
    with served(outer) as origin:
        async with httpx.AsyncClient(trust_env=False, timeout=50) as http:
            answer = await http.post(f"{origin}/akool/{TOKEN}", content=body(status=3))
    assert answer.status_code == 200
    assert [(callback.token, callback.status) for callback in ear.heard] == [(TOKEN, 2), (TOKEN, 3)]


async def test_a_hint_wakes_the_poller(anyio_backend: str) -> None:
    clock = still_clock()  # a job that ends before the client waits for it would be polled by its schedule
    async with receiver(max_clock_skew=1e9) as door:
        sandbox = Sandbox(api_key=SECRET, media=False, clock=clock, sigma=0, median_seconds=20)
        async with (
            sandbox.serve() as server,
            AkoolClient(
                api_key=SECRET, host=server.base_url, schedule=FixedSchedule(interval=3600)
            ) as client,
        ):
            door.subscribe(client)
            done: list[Completed] = []

            async def translate() -> None:
                request = TranslationRequest(
                    url="https://example.com/1.mp4", targets="ja", webhook_url=f"{origin}/akool"
                )
                done.append(await client.translate(request))

            with served(door) as origin:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(translate)
                    await until(lambda: client.session.opened.scheduler._jobs)
                    clock.advance(60)
                    await until(lambda: done)
            polls = sandbox.audit.polls(done[0].job.id)

    assert len(polls) == 1


async def test_words_about_work_going_on_wake_nobody() -> None:
    for status, at_work in ((1, True), (2, True), (3, False), (4, False), (9, False), (None, False)):
        assert Callback(job_id=JOB, status=status).in_progress is at_work


@pytest.mark.parametrize(
    "options",
    [
        {"client_id": ""},
        {"client_secret": ""},
        {"client_secret": "x" * 20},
        {"max_body_bytes": 2**53},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        receiver(**options)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("variable", ["AKOOL_CLIENT_SECRET", "AKOOL_API_KEY"])
def test_credentials_come_from_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKOOL_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv(variable, SECRET)

    assert SECRET not in repr(WebhookReceiver())


def test_the_cipher_is_imported_when_it_is_needed() -> None:
    code = "import akool_async.webhook, sys; sys.exit('cryptography' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_the_extra_no_receiver_is_made_that_would_fail_at_its_first_webhook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)

    with pytest.raises(ModuleNotFoundError, match=r"akool-async\[webhook\]"):
        receiver()
