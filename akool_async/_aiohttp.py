"""What both users of aiohttp need: its errors as those of httpx, which are what is judged."""

from __future__ import annotations

import aiohttp
import httpcore
import httpx


def httpx_error(error: Exception) -> Exception:
    """Return the error of httpx that means the same as an error of aiohttp; one of httpx stays itself."""
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.HTTPError):
        return error
    if isinstance(error, (aiohttp.ConnectionTimeoutError, httpcore.ConnectTimeout)):
        return httpx.ConnectTimeout(text)
    if isinstance(error, aiohttp.ServerTimeoutError):
        return httpx.ReadTimeout(text)
    if isinstance(error, (aiohttp.ClientConnectorError, httpcore.ConnectError)):
        return httpx.ConnectError(text)
    if isinstance(error, aiohttp.ClientResponseError):
        return httpx.RemoteProtocolError(text)
    return httpx.ReadError(text)
