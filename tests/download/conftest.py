"""Downloads from hosts of our own, on both event loops."""

from __future__ import annotations

import socket
import struct
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from akool_async import RetryPolicy
from akool_async._clock import SystemClock
from akool_async._download import DownloadLimits, FileDownloader
from akool_async._download.fetch import FileSpec
from akool_async._download.verify import Kind

QUICK = RetryPolicy(attempts=4, initial_delay=0.001, max_delay=0.002)
LIMITS = DownloadLimits(slow_window=60.0, connect=60.0)
LOOPBACK = "http://127.0.0.1:1"

SRT = b"1\n00:00:00,000 --> 00:00:02,000\nhello\n\n2\n00:00:02,000 --> 00:00:04,000\nbye\n"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def film(size: int = 20_000) -> bytes:
    """Return an MP4 file of boxes, with its index at the end."""
    pattern = bytes(number * 7 % 251 for number in range(1009))
    content = (pattern * (size // len(pattern) + 1))[:size]
    return box(b"ftyp", b"isom\0\0\2\0isom") + box(b"mdat", content) + box(b"moov", b"index")


def downloads(api: str = LOOPBACK, **limits: object) -> FileDownloader:
    return FileDownloader(
        origin=api,
        clock=SystemClock(),
        retry=QUICK,
        user_agent="test",
        limits=attrs.evolve(LIMITS, **limits),
    )


async def fetch(downloader: FileDownloader, url: str, target: Path, **fields: object) -> Any:
    """Download one file over a session of its own."""
    spec = FileSpec(**{"url": url, "target": target, "kind": Kind.VIDEO, "owner": "job-1"} | fields)
    async with aclosing(downloader.session()) as session:
        return await downloader.fetch(spec, session)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def connecting(monkeypatch: pytest.MonkeyPatch, to: tuple[str, int] | None = None) -> list[str]:
    """Let aiohttp's connections fail, or lead somewhere else; give the addresses that were asked for."""
    asked: list[str] = []

    async def start(addr_infos: list[Any], **_: Any) -> socket.socket:
        asked.extend(info[4][0] for info in addr_infos)
        if to is None:
            raise ConnectionRefusedError(111, "not in a test")
        connected = socket.create_connection(to)
        connected.setblocking(False)
        return connected

    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", start)
    return asked
