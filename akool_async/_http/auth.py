"""The authentication header: an API key, or a token that is fetched once for all calls.

A refused token is replaced by one fetch, however many calls it was refused for at the same time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio
import attrs

from akool_async._clock import Clock
from akool_async._model.credentials import ApiKey

FRESH: Final = 60.0
"""Seconds in which a new token that never worked is not replaced again: the account is the problem."""


@attrs.frozen
class AuthHeader:
    """A header to send, and the generation of its token."""

    header: tuple[str, str] = attrs.field(repr=False)
    generation: int = 0


class Auth(Protocol):
    """Provides the header and learns whether the vendor accepted it."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never be shown."""
        ...

    async def header(self) -> AuthHeader:
        """Return the header to send."""
        ...

    async def refresh(self, lease: AuthHeader) -> bool:
        """Replace a refused header; return False if there is no replacement."""
        ...

    def confirm(self, lease: AuthHeader) -> None:
        """Record that the header was accepted."""
        ...


class ApiKeyAuth:
    """An API key; if it is refused, there is no other to try."""

    def __init__(self, key: ApiKey) -> None:
        self._lease = AuthHeader(("x-api-key", key.api_key))
        self.secrets = key.secrets

    async def header(self) -> AuthHeader:
        """Return the header to send."""
        return self._lease

    async def refresh(self, lease: AuthHeader) -> bool:
        """Return False: a key can't be renewed."""
        return False

    def confirm(self, lease: AuthHeader) -> None:
        """Do nothing."""


class TokenAuth:
    """A bearer token, fetched when first needed and again when refused.

    Args:
        fetch: fetches a token from the vendor.
        secrets: the client secret.
    """

    def __init__(self, fetch: Callable[[], Awaitable[str]], secrets: tuple[str, ...], clock: Clock) -> None:
        self._fetch = fetch
        self._client_secrets = secrets
        self._clock = clock
        self._lock = anyio.Lock()
        self._token: str | None = None
        self._generation = 0
        self._fetched = float("-inf")
        self._worked = True

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never be shown: the client secret and the token."""
        return self._client_secrets if self._token is None else (*self._client_secrets, self._token)

    async def header(self) -> AuthHeader:
        """Return the header to send; fetch a token if there is none."""
        if self._token is None:
            async with self._lock:
                if self._token is None:
                    await self._renew()
        return AuthHeader(("Authorization", f"Bearer {self._token}"), self._generation)

    async def refresh(self, lease: AuthHeader) -> bool:
        """Fetch a new token, unless another call has done so since `lease` was issued."""
        async with self._lock:
            if lease.generation == self._generation:
                # A replacement that was refused at once means that the account is refused: fetching again
                # would repeat this for ever.
                replaced = self._generation > 1 and not self._worked
                if replaced and self._clock.monotonic() - self._fetched < FRESH:
                    return False
                await self._renew()
        return True

    async def _renew(self) -> None:
        self._token = await self._fetch()
        self._generation += 1
        self._fetched = self._clock.monotonic()
        self._worked = False

    def confirm(self, lease: AuthHeader) -> None:
        """Record that this token works."""
        if lease.generation == self._generation:
            self._worked = True
