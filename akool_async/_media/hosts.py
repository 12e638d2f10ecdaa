"""Which hosts of videos are reached, and by which connections: public ones, unless the caller says more."""

from __future__ import annotations

import enum
import os
import re
import socket
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx
from anyio import to_thread

from akool_async._download.network import (
    FileTransport,
    PublicAddressBackend,
    is_legacy_ipv4,
    is_public,
    parse_ip,
)
from akool_async._environment import is_loopback, proxy_for, tls_context
from akool_async._model.errors import DownloadError
from akool_async._model.media import READ_LIMIT, MediaError, MediaFacts, MediaKind, MediaProblem
from akool_async._model.redact import exception_chain, sanitize
from akool_async._model.share_pages import find_share_page
from akool_async._model.validators import file_path, positive, whole_number

_PUBLIC, _PRIVATE = "1.1.1.1", "127.0.0.1"
"""API hosts for which addresses that are not public are refused, and allowed; neither is connected to."""

_NO_PUBLIC_NAME: Final = re.compile(
    r"[^.]*|.*\.(arpa|corp|example|internal|intranet|invalid|lan|local|localdomain|localhost|onion|private|test)"
)
"""Hosts whose names are in no public DNS. Source: the special-use domain names of IANA, RFC 6761, 6762 and
9476; those that routers and companies use in their networks. `example.com` is in the DNS, and is asked."""

_SIGNED_STORE: Final = re.compile(r"(s3|gs|az|abfss?|wasbs?)://", re.IGNORECASE)
_MOST_REDIRECTS: Final = 5
_UPLOAD: Final = (
    "The vendor fetches files by public URLs. Put the file into a bucket, or name it by its path: with the "
    "extra akool-async[storage] it is uploaded and signed before the POST."
)


async def inspect(
    source: str | os.PathLike[str],
    *,
    allow_private: bool = False,
    read_limit: int = READ_LIMIT,
    timeout: float = 60.0,  # noqa: ASYNC109 - it ends in a MediaError, as every other failure does
) -> MediaFacts:
    """Look into a video and return what is in it, without downloading it; this costs nothing.

    A remote video is read in a few ranges with GET: some hundred kilobytes of 300 MB. Needs the extra
    `akool-async[media]`.

    Args:
        source: its http or https URL, or a path on this machine (also as file://).
        allow_private: whether it may be on this machine or in a private network. Leave it off where the URL
            is a stranger's: it would be read from inside your network.
        read_limit: bytes of a remote video that are read at most, 1 or more.
        timeout: seconds for the whole inspection, above 0.

    Raises:
        MediaError: it can't be read or is not a complete video; `problem` says which.
        ConfigurationError: an argument is not valid, or the environment names a proxy or certificates that
            can't be used.
        MissingExtraError: the extra `akool-async[media]` is not installed.
    """
    from akool_async._media.inspection import inspect_url

    file_path.check("source", source)
    whole_number.check("read_limit", read_limit)
    positive.check("timeout", timeout)
    text = os.fspath(source)
    if re.match(r"https?://", text, re.IGNORECASE):
        reach = Reach.ANYWHERE if allow_private else Reach.PUBLIC
        obstacle = find_obstacle(text, reach)
        if obstacle is not None:
            raise obstacle
        async with media_client(reach) as http:
            seen = await inspect_url(text, http=http, read_limit=read_limit, timeout=timeout)
        assert seen.facts is not None  # noqa: S101 - no ETag was known
        return seen.facts
    if _SIGNED_STORE.match(text):
        raise MediaError(
            "An object in a bucket is inspected by its presigned URL.",
            problem=MediaProblem.NOT_PUBLIC,
            advice=_UPLOAD,
        )
    return await inspect_path(
        Path(unquote(urlsplit(text).path) if text.lower().startswith("file://") else text)
    )


async def inspect_path(path: Path, kind: MediaKind = MediaKind.VIDEO) -> MediaFacts:
    """Look into a file of this machine, as `inspect` does.

    Raises:
        MediaError: it can't be read or is not a complete file of that kind.
    """
    from akool_async._media.inspection import inspect_file

    try:
        return await to_thread.run_sync(inspect_file, path, kind)
    except OSError as error:
        raise MediaError(
            f"The file {sanitize(path)} can't be read: {error.strerror}.", problem=MediaProblem.UNREACHABLE
        ) from error


class Reach(enum.Enum):
    """Where videos may be."""

    PUBLIC = "public"
    THIS_MACHINE = "this machine"  # or public
    ANYWHERE = "anywhere"

    def includes(self, host: str) -> bool:
        """Whether a host may be reached, whatever its address is."""
        return self is Reach.ANYWHERE or (self is Reach.THIS_MACHINE and is_loopback(host))


def find_obstacle(
    url: str, reach: Reach = Reach.PUBLIC, kind: MediaKind = MediaKind.VIDEO
) -> MediaError | None:
    """Return why a URL can't lead to a file that the vendor can fetch, as far as its form tells."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return MediaError("The URL is not valid.", problem=MediaProblem.UNREACHABLE)
    page = find_share_page(url)
    if page is not None:
        return MediaError(
            f"This is {page.name}, not {kind.one}.", problem=MediaProblem.PAGE, advice=page.advice
        )
    if reach.includes(host):
        return None
    address, shown = parse_ip(host), sanitize(host)
    if (address is not None and not is_public(address)) or is_legacy_ipv4(host) or is_loopback(host):
        return MediaError(
            f"{shown} is an address of this machine or a private network, which the vendor can't reach.",
            problem=MediaProblem.NOT_PUBLIC,
            advice=_UPLOAD,
        )
    if address is None and _NO_PUBLIC_NAME.fullmatch(host.lower()):
        return MediaError(
            f"The host {shown} has no public DNS name, so the vendor can't fetch the {kind}.",
            problem=MediaProblem.NOT_PUBLIC,
            advice=_UPLOAD,
        )
    return None


def media_client(reach: Reach = Reach.PUBLIC, *, connections: int = 10) -> httpx.AsyncClient:
    """Return a client for `inspect_url`, without credentials.

    Args:
        reach: what it may connect to, also after a redirect.
        connections: open at once, 1 or more.

    Raises:
        ConfigurationError: the environment names certificates that can't be used.
    """
    transport = _MediaTransport(reach, connections)
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        timeout=15.0,
        max_redirects=_MOST_REDIRECTS,
        follow_redirects=True,
    )


class _MediaTransport(httpx.AsyncBaseTransport):
    """Sends each request directly, or through the proxy that the environment names for its URL."""

    def __init__(self, reach: Reach, connections: int) -> None:
        self._reach = reach
        self._tls = tls_context()
        self._to_public, self._to_any = (
            FileTransport(PublicAddressBackend(host), self._tls, connections=connections, idle=connections)
            for host in (_PUBLIC, _PRIVATE)
        )
        self._proxied: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        obstacle = find_obstacle(str(request.url), self._reach)
        if obstacle is not None:  # of a redirect, too
            raise obstacle
        host = sanitize(request.url.host)
        try:
            proxy = proxy_for(str(request.url))
            if proxy is None:
                any_address = self._reach.includes(request.url.host)
                direct = self._to_any if any_address else self._to_public
                return await direct.handle_async_request(request)
        except DownloadError as error:
            # A public name may lead into the network of this machine; what answers there is nobody's video.
            raise MediaError(
                f"The host {host} leads to an address that is not public, which the vendor can't reach.",
                problem=MediaProblem.NOT_PUBLIC,
                advice=_UPLOAD,
            ) from error
        except httpx.ConnectError as error:
            # httpcore raises `from None`: the earlier error is still in its context.
            if not any(isinstance(one, socket.gaierror) for one in exception_chain(error)):
                raise
            raise MediaError(
                f"This machine finds no address for the host {host}.",
                problem=MediaProblem.UNRESOLVED,
                advice="Check the name of the host, then the network and the name server of this machine.",
            ) from error
        transport = self._proxied.get(proxy.url)
        if transport is None:
            transport = httpx.AsyncHTTPTransport(verify=self._tls, proxy=httpx.Proxy(proxy.url))
            self._proxied[proxy.url] = transport
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        for transport in (self._to_public, self._to_any, *self._proxied.values()):
            await transport.aclose()
