"""The file hosts: results are fetched by a client of its own that knows no credentials.

A file gets its name only when all of it is there.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import SplitResult, unquote, urlsplit

import anyio
import httpx

from akool_async._core.errors import DownloadFailed, InvalidRequest
from akool_async._core.host import is_loopback
from akool_async._core.text import without_query

_UNSAFE: Final = re.compile(r"[^\w.+=@-]+")
_LONGEST_STEM: Final = 80
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)


def stem_of(url: str) -> str:
    """Give a name for files about the video at `url`, safe on every system."""
    last = unquote(urlsplit(url).path).rpartition("/")[2]
    name = unicodedata.normalize("NFC", last.rpartition(".")[0] or last)
    return _UNSAFE.sub("-", name).strip("-.")[:_LONGEST_STEM] or "video"


def is_safe_name(name: str) -> bool:
    """Whether `name` is one plain part of a path, without anything that leads elsewhere."""
    return (
        0 < len(name.encode()) <= 200
        and name.isprintable()
        and not name.startswith(".")
        and not set('/\\:*?"<>|') & set(name)
    )


class Downloads:
    """Fetches files from hosts that are not the API's."""

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first download."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        if self._http is not None:
            with anyio.CancelScope(shield=True):
                await self._http.aclose()

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)
        return self._http

    async def fetch(self, url: str, target: Path, *, overwrite: bool) -> Path:
        """Bring one file home.

        Raises:
            InvalidRequest: the URL is plain http to another machine, or the file is there already.
            DownloadFailed: the file did not come whole; nothing stands under its name.
        """
        parts = _parts(url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise InvalidRequest(f"The result's URL {without_query(url)} is not https.")
        if not overwrite and await anyio.Path(target).exists():
            raise InvalidRequest(
                f"{target} is there already.", money="", advice="Move it away, or pass overwrite=True."
            )
        part = target.with_name(f"{target.name}.part")
        try:
            await anyio.Path(target.parent).mkdir(parents=True, exist_ok=True)
            await self._stream(url, part)
            await anyio.to_thread.run_sync(_publish, part, target)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"{type(error).__name__} while fetching {without_query(url)}"
            raise DownloadFailed(f"The result could not be downloaded: {reason}.") from error
        except OSError as error:
            raise DownloadFailed(f"The result could not be written to {target}: {error.strerror}.") from error
        return target

    async def _stream(self, url: str, part: Path) -> None:
        async with self._client().stream("GET", url, headers={"accept-encoding": "identity"}) as response:
            if response.status_code != 200:
                status = response.status_code
                raise DownloadFailed(f"The file host answered HTTP {status}.", http_status=status)
            size = 0
            async with await anyio.open_file(part, "wb") as file:
                async for chunk in response.aiter_raw():
                    size += len(chunk)
                    await file.write(chunk)
            if size == 0:
                raise DownloadFailed("The file host sent an empty file.")


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise DownloadFailed("The vendor gave a result URL that is none.") from error


def _publish(part: Path, target: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
