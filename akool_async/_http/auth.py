"""The authentication header; without an API key it holds a token, which is fetched once for all calls.

A refused token is replaced by one fetch, however many calls it was refused for at the same time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import attrs

from akool_async._clock import Clock
from akool_async._model.redact import Secret

FRESH: Final = 60.0
"""Seconds in which a new token that never worked is not replaced again: the account is the problem."""


@attrs.frozen
class AuthHeader:
    """A header to send, and the generation of its token."""

    name: str
    value: Secret
    generation: int = 0


class TokenAuth:
    """A bearer token, fetched when first needed and again when refused."""

    def __init__(self, fetch: Callable[[], Awaitable[Secret]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = anyio.Lock()
        self._bearer = Secret("")
        self._generation = 0
        self._fetched = float("-inf")
        self._worked = True

    async def header(self) -> AuthHeader:
        """Return the header to send; fetch a token if there is none."""
        # Looked at twice: of many calls that begin together, one fetches and the others find its token.
        if not self._generation:
            async with self._lock:
                if not self._generation:
                    await self._renew()
        return AuthHeader("Authorization", self._bearer, self._generation)

    async def refresh(self, auth: AuthHeader) -> bool:
        """Fetch a new token, unless another call has done so since `auth` was issued."""
        async with self._lock:
            # Else another call was refused with the same token, and has replaced it meanwhile.
            if auth.generation == self._generation:
                # A replacement that was refused at once means that the account is refused: fetching again
                # would repeat this for ever.
                replaced = self._generation > 1 and not self._worked
                if replaced and self._clock.monotonic() - self._fetched < FRESH:
                    return False
                await self._renew()
        return True

    async def _renew(self) -> None:
        token = await self._fetch()
        self._bearer = Secret(f"Bearer {token.reveal()}")
        self._generation += 1
        self._fetched = self._clock.monotonic()
        self._worked = False

    def confirm(self, auth: AuthHeader) -> None:
        """Record that this token works."""
        if auth.generation == self._generation:
            self._worked = True
