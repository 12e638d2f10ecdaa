"""Reports what happens to the standard logging and to the caller's observers.

The client and its batches report each step once, as an event.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import attrs

from akool_async._model.events import (
    DownloadEndedEvent,
    DownloadStartedEvent,
    Event,
    PostEndedEvent,
    PostStartedEvent,
)
from akool_async._model.validators import implements

logger = logging.getLogger("akool_async")


@attrs.define(kw_only=True)
class PostReport:
    """What is reported of a paid POST; its sender sets `job_ids` and `error`."""

    entries: tuple[tuple[str, str], ...]
    traceparent: str = ""
    job_ids: tuple[str, ...] = ()
    error: str = ""


class Observer:
    """Base class of what a client and its batches report to; give it as `AkoolClient(observers=[...])`.

    It is called in the event loop, in the task in which the thing happened, so it should return at once.
    What it raises is logged once and changes nothing. `SystemExit` and `KeyboardInterrupt` end the program;
    during a paid POST, once its answer is in the journal or, without one, was reported.
    """

    def on_event(self, event: Event) -> None:
        """Something happened. Events of a kind that is not known here should be left alone."""

    def traceparent(self) -> str:
        """Return what is stored in the journal with the intent of a POST, as W3C Trace Context, or "".

        Called after the POST's `PostStartedEvent`. The entry's `OutcomeEvent` brings it back, also in a later
        run.
        """
        return ""


_observer: Final = implements(
    "objects with a method on_event that is not async, such as an Observer()", "on_event"
)
_ENDS_THE_PROGRAM: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
_postponed: Final[ContextVar[list[BaseException] | None]] = ContextVar("_postponed", default=None)


class Observers:
    """All that a client reports to; the standard logging always is among them.

    Args:
        observers: the caller's.

    Attributes:
        detailed: whether there are any, who want events of every call; at DEBUG the log wants them, too.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers: Final = tuple(observers)
        for observer in self._observers:
            _observer.check("observers", observer)
        self._failed: set[int] = set()
        self.detailed: Final = bool(self._observers)

    def report(self, event: Event) -> None:
        """Report an event to all; it can't fail, for an observer must not cost a paid job.

        A cancellation that comes out of an observer is its own: nothing is awaited here.
        """
        if logger.isEnabledFor(event.level):
            self._log(event.level, "%s", event)
        for observer in self._observers:
            try:
                observer.on_event(event)
            except _ENDS_THE_PROGRAM as end:
                if (postponed := _postponed.get()) is None:
                    raise
                postponed.append(end)
            except BaseException:  # noqa: BLE001
                self._log_failure(observer)

    @contextmanager
    def ends_postponed(self) -> Iterator[None]:
        """Let an observer end the program only after this, which may learn the ids of paid jobs."""
        ends: list[BaseException] = []
        before = _postponed.set(ends)
        try:
            yield
        finally:
            _postponed.reset(before)
        if ends:
            raise ends[0]

    @contextmanager
    def post(self, post: PostReport) -> Iterator[None]:
        """Report the start and the end of a paid POST; an observer can end the program only after it."""
        if not (self.detailed or logger.isEnabledFor(logging.DEBUG)):
            yield
            return
        self.report(PostStartedEvent(entries=post.entries))
        post.traceparent = self.traceparent()
        with self.ends_postponed():
            try:
                yield
            except BaseException as failure:
                post.error = post.error or (str(failure) if isinstance(failure, Exception) else "given up")
                raise
            finally:  # also of one that was torn: a span that never ends would hide that it was paid
                self.report(PostEndedEvent(entries=post.entries, job_ids=post.job_ids, error=post.error))

    @contextmanager
    def download(self, **entry: str) -> Iterator[None]:
        """Report the start and the end of the download of an entry's result."""
        self.report(DownloadStartedEvent(**entry))
        error = "given up"
        try:
            yield
            error = ""
        except Exception as failure:
            error = str(failure)
            raise
        finally:
            self.report(DownloadEndedEvent(**entry, error=error))

    def traceparent(self) -> str:
        """Return what is stored with an intent: the first that is not empty."""
        for observer in self._observers:
            try:
                found = observer.traceparent() or ""
                found.encode("ascii")  # fails for what could not be stored with the intent
            except _ENDS_THE_PROGRAM:
                raise
            except BaseException:  # noqa: BLE001 - as above
                self._log_failure(observer)
                continue
            if found:
                return found
        return ""

    def _log_failure(self, observer: Observer) -> None:
        if id(observer) not in self._failed:
            self._failed.add(id(observer))
            said = "The observer %s failed; it is still called, and this is logged once."
            self._log(logging.ERROR, said, type(observer).__name__, exc_info=True)

    def _log(self, level: int, message: str, about: object, *, exc_info: bool = False) -> None:
        try:
            logger.log(level, message, about, exc_info=exc_info)
        except _ENDS_THE_PROGRAM:
            raise
        except BaseException:  # noqa: BLE001 - a filter of the caller's; shown as logging shows its own errors
            if logging.raiseExceptions and id(logger) not in self._failed:
                self._failed.add(id(logger))
                traceback.print_exc()
