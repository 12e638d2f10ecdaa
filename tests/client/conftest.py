"""A client and a sandbox over real sockets, in every way in which the client can be built."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from akool_async import AkoolClient, TranslationRequest
from akool_async.sandbox import Sandbox, SandboxServer
from tests.client.short_waits import OFTEN, QUICK

KEY = "canary-4f9c1b7e2a"


@attrs.frozen
class Way:
    """One way to build a client, and the event loop that it runs on."""

    name: str
    backend: str = "asyncio"
    options: Callable[[], dict[str, Any]] = dict

    def __str__(self) -> str:
        return self.name


def _injected() -> dict[str, Any]:
    return {"http_client": httpx.AsyncClient(headers={"x-api-key": "wrong", "cookie": "a=b"})}


def _injected_fast() -> dict[str, Any]:
    return {"http_client": httpx.AsyncClient(transport=AiohttpTransport())}


WAYS = (
    Way("fast"),
    Way("plain", options=lambda: {"transport": "plain"}),
    Way("trio", backend="trio"),
    Way("injected", options=_injected),
    Way("injected-fast", options=_injected_fast),
)

TRIED = os.environ.get("AKOOL_TEST_WAYS", " ".join(map(str, WAYS))).split()
"""The ways that are tested; all of them if not told otherwise."""


@pytest.fixture(params=[way for way in WAYS if str(way) in TRIED], ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    if "way" in request.fixturenames:
        return request.getfixturevalue("way").backend
    return "asyncio"


@attrs.frozen
class House:
    """A sandbox that is served, and clients of it."""

    sandbox: Sandbox
    server: SandboxServer
    way: Way
    stack: AsyncExitStack

    async def client(self, **options: Any) -> AkoolClient:
        """Open a client that is closed with the house."""
        told = {"api_key": KEY, "host": self.server.base_url, "retry": QUICK, "schedule": OFTEN}
        told |= self.way.options() | options
        if "client_id" in told:
            del told["api_key"]
        if "http_client" in told:
            await self.stack.enter_async_context(told["http_client"])
        return await self.stack.enter_async_context(AkoolClient(**told))


Open = Callable[..., Any]


@pytest.fixture
def house(way: Way) -> Open:
    """Give a function that opens a house: `async with house(faults=[...]) as (sandbox, client)`."""
    return lambda **settings: _house(way, **settings)


@pytest.fixture
def fast_house() -> Open:
    return lambda **settings: _house(WAYS[0], **settings)


@asynccontextmanager
async def _house(way: Way, **settings: Any) -> AsyncIterator[House]:
    sandbox = Sandbox(**{"api_key": KEY, "media": False, "time_scale": 2000.0, "sigma": 0.1} | settings)
    async with sandbox.serve() as server, AsyncExitStack() as stack:
        yield House(sandbox, server, way, stack)


def video(number: int = 1, **options: Any) -> TranslationRequest:
    return TranslationRequest(**{"url": f"https://example.com/{number}.mp4", "targets": "ja"} | options)


@asynccontextmanager
async def stray(way: Way, host: str, **options: Any) -> AsyncIterator[AkoolClient]:
    """Open a client of a host that is no sandbox."""
    told = {"api_key": KEY, "host": host, "retry": QUICK} | way.options() | options
    async with AsyncExitStack() as stack:
        if "http_client" in told:
            await stack.enter_async_context(told["http_client"])
        yield await stack.enter_async_context(AkoolClient(**told))


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """Record what is logged, at every level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)
