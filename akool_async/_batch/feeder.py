"""From the source to the vendor: requests are pulled one at a time, as long as there is room."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TypeAlias

import anyio
from anyio.abc import TaskGroup

from akool_async._batch.callbacks import WebhookCoordinator
from akool_async._batch.entry import BatchEntry
from akool_async._batch.queues import Permit, WeightedSemaphore
from akool_async._batch.resume import Resumer
from akool_async._batch.state import BatchState
from akool_async._batch.submit import Submitter
from akool_async._model.errors import InvalidRequestError
from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest, with_targets
from akool_async._model.states import State

# Where a batch's requests come from: any iterable, pulled one at a time, cut into POSTs that fit.


Requests: TypeAlias = Iterable[Request] | AsyncIterable[Request]


class Source:
    """Gives one request after the other.

    Args:
        requests: an iterable or an async iterable, finite or endless.
    """

    def __init__(self, requests: Requests) -> None:
        self._sync: Iterator[Request] | None = None
        self._async: AsyncIterator[Request] | None = None
        if isinstance(requests, AsyncIterable):
            self._async = aiter(requests)
        elif isinstance(requests, Iterable):
            self._sync = iter(requests)
        else:
            raise InvalidRequestError(
                f"A batch takes an iterable of requests, not {type(requests).__name__}."
            )

    async def next(self) -> Request | None:
        """Give the next request, None at the end.

        Raises:
            InvalidRequestError: what came is no request.
            Exception: whatever the iterable raises.
        """
        try:
            found = next(self._sync) if self._sync is not None else await self._pull_async()
        except (StopIteration, StopAsyncIteration):
            return None
        if not isinstance(found, TranslationRequest | LipSyncRequest):
            raise InvalidRequestError(f"A batch takes requests, not {type(found).__name__}.")
        return found

    async def _pull_async(self) -> Request:
        assert self._async is not None  # noqa: S101 - one of the two is there
        return await anext(self._async)


def chunked(targets: tuple[str, ...], most: int) -> Iterator[tuple[str, ...]]:
    """Cut languages into groups of at most `most`."""
    for first in range(0, len(targets), most):
        yield targets[first : first + most]


class Feeder:
    """Feeds a batch.

    Args:
        state: the batch's.
        source: where requests come from.
        resumer: knows what is not new.
        submitter: sends what is.
        callbacks: know which requests go out one language at a time.
        posts: paid POSTs under way at once.
    """

    def __init__(
        self,
        state: BatchState,
        source: Source,
        resumer: Resumer,
        submitter: Submitter,
        callbacks: WebhookCoordinator,
        posts: int,
    ) -> None:
        self._state = state
        self._source = source
        self._resumer = resumer
        self._submitter = submitter
        self._callbacks = callbacks
        self._posts = WeightedSemaphore(posts)
        self._draining = False
        self._pulling: anyio.CancelScope | None = None

    def drain(self) -> None:
        """Pull nothing more, and wait for the source no longer."""
        self._draining = True
        if self._pulling is not None:
            self._pulling.cancel()

    async def run(self, tasks: TaskGroup) -> None:
        """Send each request on its way, its POST in a task of its own, until there are no more."""
        if self._state.budget.most is not None:
            with self._state.tolerate_journal_errors():
                await self._learn_costs()
        while not self._draining:
            request = await self._pull()
            if request is None:
                break
            most = 1 if self._callbacks.uses_token(request) else self._state.in_flight.total
            for targets in chunked(request.targets, most):
                await self._admit(with_targets(request, targets), tasks)
        self._state.source_exhausted()

    async def _learn_costs(self) -> None:
        async for entry in self._state.journal.entries():
            cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
            self._state.budget.record_cost(cost=cost, in_doubt=entry.state is State.IN_DOUBT)

    async def _pull(self) -> Request | None:
        try:
            with anyio.CancelScope() as self._pulling:  # draining waits neither for room nor for the source
                await self._state.backlog.acquire(1)  # room for one has to be there before one is pulled
                self._state.backlog.release(1)
                return await self._source.next()
        except Exception as error:  # noqa: BLE001 - the caller's own; it is raised when all is home
            self._state.stop(f"The source of requests failed: {type(error).__name__}.", error)
        finally:
            self._pulling = None
        return None

    async def _admit(self, request: Request, tasks: TaskGroup) -> None:
        await self._state.backlog.acquire(len(request.targets))
        self._state.count_pulled(len(request.targets))
        fresh = []
        for target in request.targets:
            batch_entry = BatchEntry(request=request, target=target)
            with self._state.tolerate_journal_errors(1):
                if await self._resumer.needs_submission(batch_entry):
                    fresh.append(target)
        if fresh:
            await self.dispatch(with_targets(request, tuple(fresh)), tasks)

    async def dispatch(self, request: Request, tasks: TaskGroup) -> None:
        """Submit a request that holds no places yet, or end it where nothing is submitted any more."""
        state = self._state
        if not state.stopped:
            await state.in_flight.acquire(len(request.targets))
            tasks.start_soon(self._submit, request, await self._posts.acquire_one())
            return
        for target in request.targets:
            state.emit(state.not_submitted_outcome(BatchEntry(request=request, target=target), state.stopped))

    async def _submit(self, request: Request, place: Permit) -> None:
        board = self._state.board
        board.start_submit(request, self._state.clock.monotonic())
        try:
            await self._submitter.submit(request, place)
        finally:
            board.end_submit(request)
            place.release()
