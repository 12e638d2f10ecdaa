"""From the source to the vendor: requests are pulled one at a time, as long as there is room."""

from __future__ import annotations

import anyio
from anyio.abc import TaskGroup

from akool_async._batch.callbacks import Callbacks
from akool_async._batch.flight import Flight
from akool_async._batch.hall import Hall
from akool_async._batch.resuming import Resumer
from akool_async._batch.slots import Place, Slots
from akool_async._batch.source import Source, cut
from akool_async._batch.submitting import Submitter
from akool_async._core.lifecycle import State
from akool_async._core.requests import Request, only


class Feeder:
    """Feeds a batch.

    Args:
        hall: the batch's.
        source: where requests come from.
        resumer: knows what is not new.
        submitter: sends what is.
        callbacks: know which requests go out one language at a time.
        posts: paid POSTs under way at once.
    """

    def __init__(
        self,
        hall: Hall,
        source: Source,
        resumer: Resumer,
        submitter: Submitter,
        callbacks: Callbacks,
        posts: int,
    ) -> None:
        self._hall = hall
        self._source = source
        self._resumer = resumer
        self._submitter = submitter
        self._callbacks = callbacks
        self._posts = Slots(posts)
        self._draining = False
        self._pulling: anyio.CancelScope | None = None

    def drain(self) -> None:
        """Pull nothing more, and wait for the source no longer."""
        self._draining = True
        if self._pulling is not None:
            self._pulling.cancel()

    async def feed(self, tasks: TaskGroup) -> None:
        """Send each request on its way, its POST in a task of its own, until there are no more."""
        if self._hall.budget.most is not None:
            with self._hall.reading():
                await self._learn_costs()
        while not self._draining:
            request = await self._pull()
            if request is None:
                break
            most = 1 if self._callbacks.names(request) else self._hall.in_flight.total
            for targets in cut(request.targets, most):
                await self._admit(only(request, targets), tasks)
        self._hall.all_admitted()

    async def _learn_costs(self) -> None:
        async for entry in self._hall.journal.entries():
            cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
            self._hall.budget.learn(cost=cost, in_doubt=entry.state is State.IN_DOUBT)

    async def _pull(self) -> Request | None:
        try:
            with anyio.CancelScope() as self._pulling:  # draining waits neither for room nor for the source
                await self._hall.backlog.take(1)  # room for one has to be there before one is pulled
                self._hall.backlog.give(1)
                return await self._source.pull()
        except Exception as error:  # noqa: BLE001 - the caller's own; it is raised when all is home
            self._hall.stop(f"The source of requests failed: {type(error).__name__}.", error)
        finally:
            self._pulling = None
        return None

    async def _admit(self, request: Request, tasks: TaskGroup) -> None:
        await self._hall.backlog.take(len(request.targets))
        self._hall.admitted(len(request.targets))
        fresh = []
        for target in request.targets:
            flight = Flight(request=request, target=target)
            with self._hall.reading(1):
                if await self._resumer.is_fresh(flight):
                    fresh.append(target)
        if fresh:
            await self.send_off(only(request, tuple(fresh)), tasks)

    async def send_off(self, request: Request, tasks: TaskGroup) -> None:
        """Submit a request that holds no places yet, or end it where nothing is submitted any more."""
        hall = self._hall
        if not hall.stopped:
            await hall.in_flight.take(len(request.targets))
            tasks.start_soon(self._submit, request, await self._posts.place())
            return
        for target in request.targets:
            hall.end(hall.unsent(Flight(request=request, target=target), hall.stopped))

    async def _submit(self, request: Request, place: Place) -> None:
        board = self._hall.board
        board.submitting(request, self._hall.clock.monotonic())
        try:
            await self._submitter.submit(request, place)
        finally:
            board.submitted(request)
            place.free()
