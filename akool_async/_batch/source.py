"""Where a batch's requests come from: any iterable, pulled one at a time, cut into POSTs that fit."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TypeAlias

from akool_async._core.errors import InvalidRequest
from akool_async._core.requests import LipSyncRequest, Request, TranslationRequest

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
            raise InvalidRequest(f"A batch takes an iterable of requests, not {type(requests).__name__}.")

    async def pull(self) -> Request | None:
        """Give the next request, None at the end.

        Raises:
            InvalidRequest: what came is no request.
            Exception: whatever the iterable raises.
        """
        try:
            found = next(self._sync) if self._sync is not None else await self._pull_async()
        except (StopIteration, StopAsyncIteration):
            return None
        if not isinstance(found, TranslationRequest | LipSyncRequest):
            raise InvalidRequest(f"A batch takes requests, not {type(found).__name__}.")
        return found

    async def _pull_async(self) -> Request:
        assert self._async is not None  # noqa: S101 - one of the two is there
        return await anext(self._async)


def cut(targets: tuple[str, ...], most: int) -> Iterator[tuple[str, ...]]:
    """Cut languages into groups of at most `most`."""
    for first in range(0, len(targets), most):
        yield targets[first : first + most]
