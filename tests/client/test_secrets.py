"""No credential at another host, in any repr, log, exception, pickle or traceback."""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from akool_async import (
    AkoolClient,
    AkoolError,
    ConfigurationError,
    MediaError,
    TranslationRequest,
    inspect,
    open_batch,
)
from akool_async.sandbox import Fault
from tests.client.conftest import KEY, Open, Way, stray, video
from tests.client.raw import http
from tests.conftest import CANARY

JOB = "66160f989dfc997ac2890001"
PAIR = {"client_id": "someone", "client_secret": KEY}


def test_the_key_of_these_tests_is_the_canary() -> None:
    assert KEY == CANARY


FAULTS = [
    {"kind": "http", "status": 500, "body": f"your key {CANARY} broke"},
    {"kind": "html"},
    {"kind": "reset_after"},
    {"kind": "redirect", "status": 307},
    {"kind": "http", "status": 403, "body": f'{{"code":1101,"msg":"bad key {CANARY}"}}'},
    {"kind": "http", "status": 400, "body": f'{{"code":1003,"msg":"bad {CANARY[:7]}\\u0000{CANARY[7:]}"}}'},
    {"kind": "code", "code": 1101},
]


@pytest.mark.parametrize("with_pair", [False, True])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}")
async def test_nothing_that_can_be_seen_shows_a_secret(
    house: Open, everything_logged: io.StringIO, fault: dict[str, object], with_pair: bool
) -> None:
    shown: list[str] = []
    settings = PAIR if with_pair else {}
    async with house(**settings, faults=[Fault(on="*", **fault, nth=range(2, 100))]) as home:
        client = await home.client(**settings)
        shown.append(repr(client))
        for call in (client.credit, client.languages, lambda: client.submit(video())):
            try:
                await call()
            except AkoolError as error:
                shown += [repr(error), str(error), repr(error.__dict__), *_chain(error)]
                shown.append(pickle.dumps(error).decode("latin-1"))
                shown.append(_shown(error))
        shown += [repr(value) for value in vars(client).values()]

        assert home.sandbox.audit.leaks == ()
    shown.append(everything_logged.getvalue())
    assert CANARY not in "\n".join(shown)


def _shown(error: BaseException) -> str:
    """Return its traceback with local variables, from the first frame of the package on."""
    trace = error.__traceback__
    while trace is not None and "/tests/" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next  # the test's own frames hold the key
    error.__traceback__ = trace
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def _chain(error: BaseException) -> list[str]:
    texts = traceback.TracebackException.from_exception(error, capture_locals=False)
    return list(texts.format(chain=True))


async def test_downloads_and_redirects_carry_no_credential(house: Open, tmp_path) -> None:
    async with house(**PAIR) as home:
        for options in ({}, PAIR):
            client = await home.client(**options)
            done = await client.translate(video(), give_up_after=30)
            await client.download(done, into=tmp_path, overwrite=True)
            home.sandbox.faults.add(Fault(on="credit", kind="redirect", status=307, nth=1))
            with pytest.raises(AkoolError):
                await client.credit()

        assert len(home.sandbox.audit.served) > 0
        assert home.sandbox.audit.leaks == ()


async def test_a_clients_own_secret_headers_are_not_sent(house: Open) -> None:
    seen: list[httpx.Request] = []

    async def keep(request: httpx.Request) -> None:
        seen.append(request)

    async with house() as home:
        http = httpx.AsyncClient(
            headers={"authorization": "Bearer other", "cookie": "a=b", "x-trace": "1"},
            event_hooks={"request": [keep]},
        )
        client = await home.client(http_client=http)
        assert await client.credit() > 0

    (request,) = seen
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers
    assert request.headers["x-trace"] == "1"
    assert request.headers["x-api-key"] == KEY


def test_a_client_can_not_be_pickled_with_its_secret() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(AkoolClient(api_key=KEY))


async def test_a_redirect_target_hears_nothing(house: Open) -> None:
    async with house(faults=[Fault(on="*", kind="redirect", status=302)]) as home:
        client = await home.client()
        with anyio.fail_after(40), pytest.raises(AkoolError):
            await client.languages()

        assert home.sandbox.audit.served == ()


SIGNED_FAULTS = [
    {"kind": "reset_mid"},
    {"kind": "http", "status": 500},
    {"kind": "html"},
    {"kind": "redirect", "status": 302},
]


@pytest.mark.parametrize("fault", SIGNED_FAULTS, ids=lambda fault: fault["kind"])
async def test_a_failed_download_shows_no_signed_url(
    house: Open, tmp_path: Path, fault: dict[str, Any]
) -> None:
    async with house(faults=[Fault(on="cdn", **fault, nth=range(1, 500))]) as home:
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        signature = done.snapshot.url.rpartition("=")[2]
        with pytest.raises(AkoolError) as caught:
            await client.download(done, into=tmp_path)

    error = caught.value
    shown = _shown(error) + repr(error) + pickle.dumps(error).decode("latin-1")
    assert len(signature) > 16
    assert signature not in shown


async def test_a_cancelled_batch_shows_no_secret_in_any_frame(house: Open) -> None:
    shown: list[str] = []
    echo = f'{{"code":1003,"msg":"your key {CANARY}"}}'
    async with house(faults=[Fault(on="create", kind="http", status=200, body=echo)]) as home:
        client = await home.client()

        class Broken(Exception):
            pass

        async def broken() -> AsyncIterator[TranslationRequest]:
            yield video()
            raise Broken

        try:
            async with open_batch(client, broken()) as batch:
                async for outcome in batch:
                    shown += [repr(outcome), pickle.dumps(outcome).decode("latin-1")]
        except* Broken as errors:
            for error in errors.exceptions:
                shown.append(_shown(error))
        for thing in (client, home):
            with pytest.raises(TypeError):
                pickle.dumps(thing)

    assert shown
    assert CANARY not in "".join(shown)


@pytest.mark.parametrize("variable", ["ALL_PROXY", "HTTPS_PROXY"])
@pytest.mark.parametrize("scheme", ["socks4", "gopher"])
async def test_the_password_of_a_proxy_is_not_shown(
    variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"{scheme}://user:{CANARY}@proxy.example:1080")
    with pytest.raises(ConfigurationError, match=variable) as caught:
        async with AkoolClient(api_key="k" * 20, host="https://api.example"):
            pass

    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert CANARY not in "".join(frames.format())


@asynccontextmanager
async def answering(answer: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """Serve a host that answers each connection so; yield its URL."""
    server = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, answer)
        yield f"http://127.0.0.1:{server.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


async def given_up(call: Callable[[], Awaitable[object]], arrived: anyio.Event) -> BaseException:
    """Return what comes out of a call that is cancelled once something has arrived."""
    caught: list[BaseException] = []
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:

            async def give_up() -> None:
                await arrived.wait()
                scope.cancel()

            tasks.start_soon(give_up)
            try:
                await call()
            except Exception as error:
                caught.append(error)
            except BaseException as error:
                caught.append(error)
                raise
        tasks.cancel_scope.cancel()
    (error,) = caught
    return error


async def test_a_callers_time_out_of_a_download_shows_no_signed_url(way: Way, tmp_path: Path) -> None:
    signature = "SIGNATURE0123456789abcdef"
    arrived, over = anyio.Event(), anyio.Event()

    async def answer(stream: SocketStream) -> None:
        async with stream:
            path = (await stream.receive()).decode().split(" ")[1]
            if path.startswith("/video"):
                await stream.send(
                    b"HTTP/1.1 302 Found\r\nlocation: /moved?X-Amz-Signature=" + signature.encode()
                )
                await stream.send(b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            elif path.startswith("/moved"):
                arrived.set()
                await over.wait()
            else:
                url = f"{host}/video.mp4?X-Amz-Signature={signature}"
                await stream.send(http({"code": 1000, "data": {"_id": JOB, "video_status": 3, "video": url}}))

    async with answering(answer) as host, stray(way, host) as client:
        error = await given_up(lambda: client.download(JOB, into=tmp_path), arrived)
        over.set()

    assert signature not in _shown(error)


@pytest.mark.parametrize("end", ["reset", "another scheme", "cancelled"])
async def test_a_look_into_a_video_that_fails_shows_no_signed_redirect(way: Way, end: str) -> None:
    signature = "SIGNATURE0123456789abcdef"
    arrived = anyio.Event()

    async def answer(stream: SocketStream) -> None:
        async with stream:
            path = (await stream.receive()).decode().split(" ")[1]
            if path == "/video.mp4":
                place = "ftp://example.com" if end == "another scheme" else ""
                head = f"HTTP/1.1 302 F\r\nlocation: {place}/moved?X-Amz-Signature={signature}"
                await stream.send(f"{head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
            elif end == "cancelled":
                arrived.set()
                await anyio.sleep_forever()

    async with answering(answer) as host:
        error = await given_up(lambda: inspect(f"{host}/video.mp4", allow_private=True), arrived)

    assert isinstance(error, MediaError) is (end != "cancelled")
    assert signature not in _shown(error)


@pytest.mark.parametrize("with_pair", [False, True])
@pytest.mark.parametrize("verb", ["credit", "languages", "submit", "status", "translate", "download"])
async def test_a_callers_time_out_shows_no_secret(way: Way, verb: str, with_pair: bool) -> None:
    arrived, over = anyio.Event(), anyio.Event()

    async def never_answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            arrived.set()
            await over.wait()

    credentials = {"api_key": None, **PAIR} if with_pair else {}
    async with answering(never_answer) as host, stray(way, host, **credentials) as client:
        calls = {
            "credit": client.credit,
            "languages": client.languages,
            "submit": lambda: client.submit(video()),
            "status": lambda: client.status("1" * 24),
            "translate": lambda: client.translate(video()),
            "download": lambda: client.download("1" * 24, into="results"),
        }
        error = await given_up(calls[verb], arrived)
        over.set()

    assert CANARY not in _shown(error)
