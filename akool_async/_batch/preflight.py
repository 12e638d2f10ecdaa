"""Inspect the files of a request before it is paid for; what the vendor would refuse is not sent."""

from __future__ import annotations

import importlib.util
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import anyio
import attrs
import httpx

from akool_async._download.network import is_local
from akool_async._environment import MissingExtraError, describe_cause, is_loopback
from akool_async._journal.names import beside
from akool_async._media import Reach, find_obstacle, inspect_path, media_client
from akool_async._media.cache import FactsCache
from akool_async._model.errors import AkoolError, InputError
from akool_async._model.locations import Location, is_private
from akool_async._model.media import Limits, MediaError, MediaFacts, MediaKind, MediaProblem
from akool_async._model.requests import LipSyncRequest, Request, video_url
from akool_async._storage import SharedInputs

_FRESH: Final = 600.0
"""Seconds for which an inspection counts without another request: from a plan to the run that follows it."""

_MOST_KEPT: Final = 20_000
"""Inspections that are kept in memory; more take one request each to be confirmed by their ETag."""

NOT_SENT: Final = "Not sent, because the vendor would refuse it: "
_EXAMPLE: Final = re.compile(r"(.*\.)?(example(\.(com|net|org))?|invalid|test)")
"""Names for examples, which lead to nothing. Source: RFC 2606."""


@attrs.frozen(kw_only=True)
class RequestCheck:
    """What an inspection of the files of one request says about paying for it: video, audio and captions.

    Attributes:
        facts: what is in the video; None if it could not be inspected.
        refusals: why the vendor would refuse one of them; with a refusal nothing is sent.
        warnings: why the vendor may refuse it, or make a worse result.
        unchecked: why it could not be inspected, where that may lie on this machine; "" where it was.
        advice: what to do about a refusal.
        requests: GETs that the inspection took, without redirects.
        bytes_read: bytes of the files that were received.
    """

    facts: MediaFacts | None = None
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unchecked: str = ""
    advice: str = ""
    # What it took is not a part of what was found: another inspection may be cheaper.
    requests: int = attrs.field(default=0, eq=False)
    bytes_read: int = attrs.field(default=0, eq=False)

    @property
    def seconds(self) -> float | None:
        """The length of the video, None if it is not known."""
        return None if self.facts is None else self.facts.seconds

    @property
    def reason(self) -> str:
        """Why nothing is sent, in sentences; "" if it may be sent."""
        if not self.refusals:
            return ""
        listed = "; ".join(text.rstrip(".") for text in self.refusals)
        return f"{listed[0].upper()}{listed[1:]}. {self.advice}".rstrip()


@attrs.frozen
class _Inspection:
    """An inspection of one file, the ETag that the file had, and what it took."""

    found: MediaFacts | MediaError
    etag: str = ""
    requests: int = 0
    bytes_read: int = 0
    at: float = attrs.field(factory=time.monotonic)


class Preflight:
    """Inspects videos, each once; used in `async with`.

    Args:
        limits: which videos may be sent, and how many are inspected at once.
        api_host: the API's host; where it is on this machine, as a sandbox is, videos may be there, too.
        cache: the file in which facts are kept between runs; None keeps them in memory.

    Attributes:
        inputs: signs objects in buckets; the batch's, or by default none.
        turn: the right to inspect a video ahead of its POST, for as many as are inspected at once.

    Raises:
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, limits: Limits, *, api_host: str, cache: Path | None = None) -> None:
        if importlib.util.find_spec("av") is None:
            said = "Inspections of videos need the module av, which is not installed."
            raise MissingExtraError(said, extra="media", name="av")
        self.limits = limits
        self._api_host = urlsplit(api_host).hostname or ""
        self._api_is_here = is_loopback(self._api_host) or is_local(self._api_host)
        self.inputs: SharedInputs = SharedInputs(None)
        if limits.allow_private is not None:
            self._reach = Reach.ANYWHERE if limits.allow_private else Reach.PUBLIC
        elif is_loopback(self._api_host):
            self._reach = Reach.THIS_MACHINE
        else:
            self._reach = Reach.ANYWHERE if self._api_is_here else Reach.PUBLIC
        self._cache = FactsCache(cache)
        self._seen: OrderedDict[tuple[str, MediaKind], _Inspection] = OrderedDict()
        self._under_way: dict[tuple[str, MediaKind], anyio.Event] = {}
        self._names_are_resolved: bool | None = None
        self._stack = AsyncExitStack()
        self._http: httpx.AsyncClient | None = None
        self.turn: anyio.Semaphore = anyio.Semaphore(limits.at_once)
        self.requests: int = 0
        self.bytes_read: int = 0

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        self._cache.flush()
        self._http = await self._stack.enter_async_context(
            media_client(self._reach, connections=self.limits.at_once)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections; what was seen stays known."""
        self._cache.close()
        await self._stack.aclose()

    async def check(self, request: Request) -> RequestCheck:
        """Inspect the files of a request, unless that was done a short while ago."""
        video = await self._check_file(request, video_url(request), MediaKind.VIDEO)
        if isinstance(request, LipSyncRequest):
            name, url, kind = "audio", request.audio_url, MediaKind.AUDIO
        elif request.caption_url is not None:
            name, url, kind = "captions", request.caption_url, MediaKind.SUBTITLES
        else:
            return video
        if video.refusals:
            return video
        other = await self._check_file(request, url, kind)
        unchecked = (video.unchecked, other.unchecked and f"{name}: {other.unchecked}")
        return attrs.evolve(
            video,
            refusals=tuple(f"{name}: {text}" for text in other.refusals),
            unchecked="; ".join(filter(None, unchecked)),
            advice=other.advice or video.advice,
            requests=video.requests + other.requests,
            bytes_read=video.bytes_read + other.bytes_read,
        )

    async def find_refusal(self, request: Request) -> str:
        """Return why a request is not sent; "" if it may be.

        An error that nobody has foreseen is such a reason: it must not end the jobs of other requests.
        """
        try:
            check = await self.check(request)
        except Exception as error:  # noqa: BLE001 - of any library that reads a stranger's file
            said = error.message if isinstance(error, AkoolError) else f"{describe_cause(error)}."
            return (
                f"Not sent, because inspecting its files failed: {said} Nothing was spent. "
                "Run again; if it fails again, run without preflight."
            )
        return NOT_SENT + check.reason if check.refusals else ""

    async def _check_file(self, request: Request, url: str, kind: MediaKind) -> RequestCheck:
        host = (urlsplit(url).hostname or "").lower()
        # A sandbox may take such a name, and nothing is there: it goes without saying.
        if self._reach is not Reach.PUBLIC and _EXAMPLE.fullmatch(host):
            return RequestCheck()
        inspection = await self._inspect_once(url, kind)
        found = inspection.found
        took = RequestCheck(requests=inspection.requests, bytes_read=inspection.bytes_read)
        if isinstance(found, MediaFacts) and kind is not MediaKind.VIDEO:
            return took  # which ones the vendor takes is not documented; that it is such a file has been seen
        if isinstance(found, MediaFacts):
            return attrs.evolve(
                took,
                facts=found,
                refusals=self.limits.refusals(found),
                warnings=self.limits.warnings(found, follows_audio=isinstance(request, LipSyncRequest)),
                advice="Convert it, or set other limits if your plan allows more.",
            )
        # Only what is certain refuses a video. A host that does not answer us may well answer the vendor, and
        # a refusal here would cost the user a translation that works.
        certain = found.problem.is_certain
        if found.problem is MediaProblem.UNRESOLVED:
            certain = await self._resolves_names()
        if certain:
            return attrs.evolve(took, refusals=(found.message,), advice=found.advice)
        return attrs.evolve(took, unchecked=found.message)

    async def check_all(
        self, requests: Iterable[Request], done: Callable[[Request, RequestCheck], None]
    ) -> None:
        """Check many, `limits.at_once` at a time; `done` is called with each, in the order of their ends."""
        by_url: dict[str, list[Request]] = {}
        for request in requests:
            by_url.setdefault(video_url(request), []).append(request)
        groups = iter(by_url.values())

        async def work() -> None:
            for group in groups:  # one iterator for all: each takes the next one
                for request in group:
                    done(request, await self.check(request))

        async with anyio.create_task_group() as tasks:
            for _ in range(min(self.limits.at_once, len(by_url))):
                tasks.start_soon(work)

    def known_seconds(self, request: Request) -> float | None:
        """Return how long the video of a request was at its last inspection, without another one."""
        url = video_url(request)
        inspection = self._seen.get((url, MediaKind.VIDEO))
        if inspection is not None and isinstance(inspection.found, MediaFacts):
            return inspection.found.seconds
        _, known = self._cache.get(url) or ("", None)
        return None if known is None else known.seconds

    async def _inspect_once(self, url: str, kind: MediaKind) -> _Inspection:
        name = (url, kind)
        while (other := self._under_way.get(name)) is not None:  # other languages of one video
            await other.wait()
        before = self._seen.get(name)
        if before is not None and time.monotonic() - before.at < _FRESH:
            return before
        self._under_way[name] = anyio.Event()
        try:
            if is_private(url):
                inspection = await self._inspect_private(url, kind)
            elif (obstacle := find_obstacle(url, self._reach, kind)) is not None:
                inspection = _Inspection(obstacle)
            else:
                inspection = await self._inspect(url, kind)
        finally:
            self._under_way.pop(name).set()
        self._seen[name] = inspection
        self._seen.move_to_end(name)
        # A catalog may have a million rows; one that is seen again is looked up in the cache, or inspected
        # anew.
        if len(self._seen) > _MOST_KEPT:
            self._seen.popitem(last=False)
        return inspection

    async def _inspect_private(self, url: str, kind: MediaKind) -> _Inspection:
        """Inspect a file, or an object by the signed URL that the vendor would get."""
        place = Location.parse(url)
        try:
            if place.scheme == "file":
                return _Inspection(await inspect_path(Path(place.key), kind))
            signed = await self.inputs.sign_object(place)
        except InputError as error:  # its row says so when its turn comes
            return _Inspection(
                MediaError(error.message, problem=MediaProblem.UNREACHABLE, advice=error.advice)
            )
        except MediaError as error:
            return _Inspection(error)
        async with media_client(Reach.ANYWHERE) as http:  # the endpoint is the caller's own
            return await self._read(signed, http, kind)

    async def _inspect(self, url: str, kind: MediaKind) -> _Inspection:
        assert self._http is not None  # noqa: S101 - it was entered
        if kind is not MediaKind.VIDEO:  # the cache holds what is known of URLs as videos
            return await self._read(url, self._http, kind)
        known_etag, known = self._cache.get(url) or ("", None)
        inspection = await self._read(url, self._http, kind, known_etag, known)
        if isinstance(inspection.found, MediaFacts) and inspection.found is not known:
            self._cache.put(url, inspection.etag, inspection.found)
        return inspection

    async def _read(
        self,
        url: str,
        http: httpx.AsyncClient,
        kind: MediaKind,
        known_etag: str = "",
        known: MediaFacts | None = None,
    ) -> _Inspection:
        from akool_async._media.inspection import inspect_url

        found: MediaFacts | MediaError | None
        limits, etag = self.limits, ""
        try:
            seen = await inspect_url(
                url,
                http=http,
                read_limit=limits.read_limit,
                timeout=limits.timeout,
                known_etag=known_etag,
                kind=kind,
            )
            # Nothing new was read where the server said that the file is the one that is known.
            found, etag, requests, read = seen.facts or known, seen.etag, seen.requests, seen.bytes_read
        except MediaError as error:
            found, requests, read = error, error.requests, error.bytes_read
        assert found is not None  # noqa: S101 - unchanged since it was known
        self.requests += requests
        self.bytes_read += read
        return _Inspection(found, etag, requests, read)

    async def _resolves_names(self) -> bool:
        """Whether this machine finds addresses of public names: else a missing one says nothing."""
        if self._names_are_resolved is None:
            try:
                found = [] if self._api_is_here else await anyio.getaddrinfo(self._api_host, 443)
            except OSError:
                found = []
            self._names_are_resolved = bool(found)
        return self._names_are_resolved


def preflight_for(
    wanted: Limits | Preflight | None, api_host: str, journal: Path | None, inputs: SharedInputs | None = None
) -> Preflight | None:
    """Return the preflight that a caller wants, its cache beside the journal; None where none is wanted."""
    if isinstance(wanted, Limits):
        cache = None if journal is None else beside(journal, ".media")
        wanted = Preflight(wanted, api_host=api_host, cache=cache)
    if wanted is not None and inputs is not None:
        wanted.inputs = inputs
    return wanted
