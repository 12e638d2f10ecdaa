"""The room of the file hosts: lines to them, opened for one result at a time."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import httpx

from akool_async._core.clock import Clock
from akool_async._core.schedule import RetryPolicy
from akool_async._download.doors import Doors
from akool_async._download.fetch import Fetch, Wanted
from akool_async._download.inspection import Digest
from akool_async._download.limits import Limits
from akool_async._download.line import Line


class Downloads:
    """Fetches files from hosts that are not the API's.

    Args:
        origin: the API's, such as "https://openapi.akool.com".
        clock: time and chance.
        retry: how often a try that brought nothing is repeated.
        user_agent: what is said about us.
        limits: bounds of each file.
        transport: takes all requests, as for a sandbox inside the process; stays open.
    """

    def __init__(
        self,
        *,
        origin: str,
        clock: Clock,
        retry: RetryPolicy,
        user_agent: str,
        limits: Limits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._doors = Doors(urlsplit(origin).hostname or "")
        self._clock = clock
        self._retry = retry
        self._limits = limits or Limits()
        self._user_agent = user_agent
        self._transport = transport
        self._context: ssl.SSLContext | None = None

    def line(self) -> Line:
        """Give connections for the files of one result, to be used in `async with`."""
        return Line(
            self._doors,
            self._tls,
            self._limits,
            user_agent=self._user_agent,
            transport=self._transport,
        )

    def _tls(self) -> ssl.SSLContext:
        """Give the one TLS context: to load the certificates takes long."""
        if self._context is None:
            self._context = httpx.create_ssl_context()
        return self._context

    async def fetch(self, wanted: Wanted, line: Line) -> Digest:
        """Bring one file home; a caller that is cancelled leaves a part that the next try goes on with.

        Raises:
            NameTaken: something else stands under its name.
            DiskFailed: the folder can't be written.
            DownloadFailed: it did not come whole; nothing of it stands under its name.
        """
        return await Fetch(wanted, line, self._clock, self._retry, self._limits).run()
