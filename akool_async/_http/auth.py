"""The one header that says who we are: a key as it is, or a token that is fetched once for all.

A token that is refused is replaced by one fetch, however many calls found out at the same time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio
import attrs

from akool_async._clock import Clock
from akool_async._model.credentials import ApiKey

FRESH: Final = 60.0
"""Seconds in which a replaced token that never worked is not replaced again: the account is the trouble."""


@attrs.frozen
class AuthHeader:
    """A header to send, and which generation of token it holds."""

    header: tuple[str, str] = attrs.field(repr=False)
    generation: int = 0


class Auth(Protocol):
    """Gives the header, and hears whether it was taken."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        ...

    async def header(self) -> AuthHeader:
        """Give the header to send."""
        ...

    async def refresh(self, lease: AuthHeader) -> bool:
        """Replace what was refused; False when there is nothing to replace it with."""
        ...

    def confirm(self, lease: AuthHeader) -> None:
        """Take in that the header worked."""
        ...


class ApiKeyAuth:
    """An API key: there is no other to try when it is refused."""

    def __init__(self, key: ApiKey) -> None:
        self._lease = AuthHeader(("x-api-key", key.api_key))
        self.secrets = key.secrets

    async def header(self) -> AuthHeader:
        """Give the header to send."""
        return self._lease

    async def refresh(self, lease: AuthHeader) -> bool:
        """Say that a key can't be renewed."""
        return False

    def confirm(self, lease: AuthHeader) -> None:
        """Nothing to learn."""


class TokenAuth:
    """A bearer token, fetched when it is first needed and again when it is refused.

    Args:
        fetch: asks the vendor for a token.
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
        """What must never be shown: the client secret and the token."""
        return self._client_secrets if self._token is None else (*self._client_secrets, self._token)

    async def header(self) -> AuthHeader:
        """Give the header to send; fetches a token if there is none."""
        if self._token is None:
            async with self._lock:
                if self._token is None:
                    await self._renew()
        return AuthHeader(("Authorization", f"Bearer {self._token}"), self._generation)

    async def refresh(self, lease: AuthHeader) -> bool:
        """Fetch a new token, unless another call has done so since `lease` was given."""
        async with self._lock:
            if lease.generation == self._generation:
                if self._hopeless():
                    return False
                await self._renew()
        return True

    def _hopeless(self) -> bool:
        """Whether a token that replaced a refused one was refused just now as well."""
        replaced = self._generation > 1 and not self._worked
        return replaced and self._clock.monotonic() - self._fetched < FRESH

    async def _renew(self) -> None:
        self._token = await self._fetch()
        self._generation += 1
        self._fetched = self._clock.monotonic()
        self._worked = False

    def confirm(self, lease: AuthHeader) -> None:
        """Remember that this token works."""
        if lease.generation == self._generation:
            self._worked = True
