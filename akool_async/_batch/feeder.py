"""From the source to the vendor: requests are pulled one at a time, as long as there is room."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Final, TypeAlias

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from akool_async._batch.callbacks import WebhookCoordinator
from akool_async._batch.entry import BatchEntry
from akool_async._batch.life import EntryLife
from akool_async._batch.state import BatchState
from akool_async._model.errors import ConfigurationError, InvalidRequestError
from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest, with_targets

# Where a batch's requests come from: any iterable, pulled one at a time, cut into POSTs that fit.


_END: Final = object()
_TURN: Final = 16
"""Requests that are pulled between two turns of the loop."""

Requests: TypeAlias = Iterable[Request] | AsyncIterable[Request]


class Source:
    """The caller's requests, pulled one at a time."""

    def __init__(self, requests: Requests, *, threaded: bool) -> None:
        self._sync: Iterator[Request] = iter(())
        self._async: AsyncIterator[Request] | None = None
        # One thread for all pulls: cursors and connections of databases may be used in one thread only.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="akool source") if threaded else None
        if isinstance(requests, AsyncIterable):
            if threaded:
                raise ConfigurationError(
                    "threaded is for an iterable that blocks; an async iterable is pulled in the event loop."
                )
            self._async = aiter(requests)
        elif isinstance(requests, Iterable):
            self._sync = iter(requests)
        else:
            raise ConfigurationError(f"A batch takes an iterable of requests, not {type(requests).__name__}.")

    @property
    def waits(self) -> bool:
        """Whether the loop may run while a request is pulled."""
        return self._thread is not None or self._async is not None

    async def next(self) -> Request | None:
        """Return the next request, None at the end.

        Raises:
            InvalidRequestError: an item is not a request.
            BaseException: whatever the iterable raises.
        """
        found: object
        if self._async is not None:
            found = await anext(self._async, _END)
        elif self._thread is None:
            found = next(self._sync, _END)
        else:
            pulled = self._thread.submit(next, self._sync, _END)
            # A batch that is drained or left does not wait for a source that blocks. What that source returns
            # later is dropped: it is in no journal, and nothing was sent for it.
            found = await run_sync(pulled.result, abandon_on_cancel=True)
        if found is _END:
            return None
        if not isinstance(found, TranslationRequest | LipSyncRequest):
            said = f"A batch takes requests, not {type(found).__name__}."
            raise InvalidRequestError(said, impact="Nothing was sent for it.")
        return found

    def close(self) -> None:
        """End the thread; a pull that is under way in it is not waited for."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)


def chunked(targets: tuple[str, ...], most: int) -> Iterator[tuple[str, ...]]:
    """Cut languages into groups of at most `most`."""
    for first in range(0, len(targets), most):
        yield targets[first : first + most]


def is_left() -> bool:
    """Whether this task is being cancelled by its batch, or by the task that opened the batch."""
    return anyio.current_effective_deadline() == -math.inf


class Feeder:
    """Pulls requests and starts their submission."""

    def __init__(
        self,
        state: BatchState,
        source: Source,
        life: EntryLife,
        callbacks: WebhookCoordinator,
    ) -> None:
        self._state = state
        self._source = source
        self._life = life
        self._callbacks = callbacks
        self._draining = False
        self._pulled = 0
        self._handed: list[BatchEntry] = []
        self._pulling: anyio.CancelScope | None = None

    def drain(self) -> None:
        """Pull nothing more, and wait for the source no longer."""
        self._draining = True
        if self._pulling is not None:
            self._pulling.cancel()

    async def run(self, tasks: TaskGroup) -> None:
        """Send each request on its way, its POST in a task of its own, until there are no more."""
        if self._state.budget.most is not None:
            with self._state.stop_on_journal_error():
                await self._learn_costs()
        with closing(self._source):
            await self._feed(tasks)
        self._state.source_exhausted()

    async def _feed(self, tasks: TaskGroup) -> None:
        while not self._draining:
            request = await self._pull()
            if request is None:
                break
            # Entries that the journal can't read end without any wait: without a turn of the loop now and
            # then no answer to a paid POST would be read until the source ends.
            self._pulled += 1
            if self._pulled % _TURN == 0:
                await checkpoint()
            # A bound on credits needs the price of each job before the next one is made.
            alone = self._state.budget.most is not None or self._callbacks.uses_token(request)
            most = 1 if alone else self._state.in_flight.total
            for targets in chunked(request.targets, most):
                await self._state.backlog.acquire(len(targets))
                # Counted before anything else: from here on each entry comes out with exactly one outcome.
                self._state.count_pulled(len(targets))
                # Known entries end here without a task of their own: a finished catalog is resumed at once.
                entries = await self._life.admit(with_targets(request, targets))
                if entries:
                    self._handed = entries
                    await tasks.start(self._life.inspect_and_submit, entries)
                    self._handed = []

    def give_up(self, error: BaseException) -> None:
        """Pull nothing more because of an error from outside; entries that were pulled get an outcome."""
        self._stop(error)
        self._state.emit_stopped(self._handed)  # they still wait for a slot
        self._state.source_exhausted()

    async def _learn_costs(self) -> None:
        async for entry in self._state.journal.entries():
            self._state.budget.learn(entry)
            self._state.learn_price(entry.request, entry.cost)

    async def _pull(self) -> Request | None:
        try:
            # Nothing is waited for, so there is nothing that draining could end.
            if self._state.backlog.is_free and not self._source.waits:
                return await self._source.next()
            with anyio.CancelScope() as self._pulling:  # draining waits neither for room nor for the source
                await self._state.backlog.acquire(1)  # room for one has to be there before one is pulled
                self._state.backlog.release(1)
                return await self._source.next()
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except Exception as error:  # noqa: BLE001 - the caller's own; it is raised after the last outcome
            self._stop(error)
        except BaseException as error:
            # Also the cancellation of something that the source has waited for, unless it is this task's own.
            if is_left():
                raise
            if not (self._draining and isinstance(error, anyio.get_cancelled_exc_class())):
                self._stop(error)
        finally:
            self._pulling = None
        return None

    def _stop(self, error: BaseException) -> None:
        self._state.stop(f"The source of requests failed: {type(error).__name__}.", error)
