"""The studio for real media: fetches the video, checks it, makes playable results.

Blocking throughout: it is called in worker threads. The film work itself is done in `media`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import attrs
import httpx

from akool_async.sandbox.captions import Caption, format_srt, parse, transcript
from akool_async.sandbox.inspection import MediaFacts, MediaLimits, inspect
from akool_async.sandbox.jobs import ApiRejection, JobSpec, SandboxJob
from akool_async.sandbox.pseudo import pseudo_localise
from akool_async.sandbox.rendering import Rendered, render
from akool_async.sandbox.settings import SandboxSettings

__all__ = ["FilmStudio"]

T = TypeVar("T")

_TIMEOUT: Final = 30.0

_LARGEST_CAPTIONS: Final = 8 * 2**20

_KEPT: Final = 32


@attrs.frozen
class _Footage:
    data: bytes = attrs.field(repr=False)
    facts: MediaFacts


class _Memory(Generic[T]):
    """Remembers what was made last, and makes each thing once however many threads ask for it."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._locks: dict[object, threading.Lock] = {}
        self._things: OrderedDict[object, T] = OrderedDict()

    def get(self, key: object, make: Callable[[], T]) -> T:
        """Return what belongs to a key, made now if it is not there."""
        with self._lock:
            own = self._locks.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                if key in self._things:
                    self._things.move_to_end(key)
                    return self._things[key]
            thing = make()
            with self._lock:
                self._things[key] = thing
                if len(self._things) > self._kept:
                    oldest, _ = self._things.popitem(last=False)
                    self._locks.pop(oldest, None)
            return thing


class FilmStudio:
    """Works on real videos.

    Args:
        settings: Hold the limits for videos and the seed for invented captions.
    """

    threaded = True

    def __init__(self, settings: SandboxSettings) -> None:
        """Begin with nothing remembered."""
        self._limits = settings.limits or MediaLimits()
        self._seed = settings.seed
        self._footage: _Memory[_Footage] = _Memory(_KEPT)
        self._subtitles: _Memory[tuple[Caption, ...]] = _Memory(_KEPT)
        self._rendered: _Memory[Rendered] = _Memory(_KEPT)

    def examine(self, url: str, caption_url: str) -> float:
        """Fetch and check a video and its captions; return its length in seconds."""
        footage = self._video(url)
        if caption_url:
            self._captions(caption_url)
        return footage.facts.seconds

    def artifact(self, job: SandboxJob, artifact: str) -> bytes:
        """Return a result: a playable video, or captions."""
        order = job.spec
        original = self._original(order)
        if artifact == "original_srt":
            return format_srt(original).encode()
        translated = _translated(original, order.language)
        if artifact == "translated_srt":
            return format_srt(translated).encode()
        shown = {0: (), 1: original}.get(order.caption_type, translated)
        key = (order.url, order.caption_url, order.language, order.caption_type)
        rendered = self._rendered.get(key, lambda: self._render(order, shown))
        return rendered.video if artifact == "video" else rendered.no_caption_video

    def _render(self, order: JobSpec, captions: tuple[Caption, ...]) -> Rendered:
        data = self._video(order.url).data
        return render(data, captions, language=order.language, caption_type=order.caption_type)

    def _original(self, order: JobSpec) -> tuple[Caption, ...]:
        if order.caption_url:
            return self._captions(order.caption_url)
        return transcript(order.seconds, self._seed)

    def _video(self, url: str) -> _Footage:
        return self._footage.get(url, lambda: self._fetched(url))

    def _fetched(self, url: str) -> _Footage:
        data = _fetch(url, self._limits.max_bytes, too_large=1207, unreachable=1208)
        return _Footage(data, inspect(data, self._limits))

    def _captions(self, url: str) -> tuple[Caption, ...]:
        return self._subtitles.get(url, lambda: _parsed(url))


def _parsed(url: str) -> tuple[Caption, ...]:
    text = _fetch(url, _LARGEST_CAPTIONS, too_large=1003, unreachable=1003)
    try:
        return tuple(parse(text.decode("utf-8-sig")))
    except ValueError as error:
        raise ApiRejection(1003, "caption_url leads to no captions") from error


def _translated(captions: tuple[Caption, ...], language: str) -> tuple[Caption, ...]:
    return tuple(attrs.evolve(caption, text=pseudo_localise(caption.text, language)) for caption in captions)


def _fetch(url: str, most: int, *, too_large: int, unreachable: int) -> bytes:
    """Return what lies at a URL, following redirects as a vendor's fetcher does."""
    data = bytearray()
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT, trust_env=False) as answer:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > most:
                    raise ApiRejection(too_large, f"more than {most} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiRejection(unreachable, "the file can't be fetched") from error
    return bytes(data)
