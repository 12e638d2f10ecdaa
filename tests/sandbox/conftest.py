"""A visitor of a served sandbox: plain httpx, the right key, and the paths of the vendor."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import httpx

from akool_async.sandbox import FakeClock, Sandbox, SandboxServer

TOKEN = "/api/open/v3/getToken"
CREATE = "/api/open/v3/content/video/createbytranslate"
LIPSYNC = "/api/open/v3/content/video/lipsync"
STATUS = "/api/open/v3/content/video/infobymodelid"
LANGUAGES = "/api/open/v3/language/list"
VOICES = "/api/open/v4/voice/videoTranslation"
CREDIT = "/api/open/v3/faceswap/quota/info"

URL = "https://example.com/talk.mp4"
KEY = {"x-api-key": "sandbox-test-key"}
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@attrs.frozen
class Visitor:
    """Somebody who calls the API by hand."""

    sandbox: Sandbox
    server: SandboxServer
    http: httpx.AsyncClient

    @property
    def clock(self) -> FakeClock:
        return cast(FakeClock, self.sandbox.clock)

    async def post(self, path: str, body: object, **options: Any) -> dict[str, Any]:
        answer = await self.http.post(path, json=body, **options)
        assert answer.status_code == 200
        return cast(dict[str, Any], answer.json())

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = await self.http.get(path, params=params)
        assert answer.status_code == 200
        return cast(dict[str, Any], answer.json())

    async def create(self, language: str = "fr", **fields: Any) -> dict[str, Any]:
        return await self.post(CREATE, {"url": URL, "source_language": "en", "language": language, **fields})

    async def status(self, job_id: str) -> dict[str, Any]:
        return await self.get(STATUS, video_model_id=job_id)

    async def finished(self, language: str = "fr", **fields: Any) -> dict[str, Any]:
        """Return the status of a new job after its end."""
        job_id = (await self.create(language, **fields))["data"]["_id"]
        self.clock.advance(100_000)
        return cast(dict[str, Any], (await self.status(job_id))["data"])


def plain_client(base_url: str = "", **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=base_url, trust_env=False, verify=PLAIN, timeout=50, **options)


@asynccontextmanager
async def visiting(**options: Any) -> AsyncIterator[Visitor]:
    """Serve a sandbox under a fake clock and visit it with the right key."""
    sandbox = Sandbox(**{"media": False, "clock": FakeClock(), "result_days": 30.0, **options})
    async with sandbox.serve() as server, plain_client(server.base_url, headers=KEY) as http:
        yield Visitor(sandbox, server, http)
