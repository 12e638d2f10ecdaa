"""Tokens, credentials and the rate limit: which requests the API admits, as business codes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from akool_async.sandbox.settings import SandboxSettings

# The tokens of the older way in: issued for the client's id and secret, valid for a while.
#
# They look like JSON Web Tokens and are opaque all the same. Thread-safe; times are the sandbox's.


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenIssuer:
    """Issues tokens and knows which are valid.

    Args:
        seed: Makes the tokens the same again in another run.
        lifetime: Sandbox seconds until a token expires.
    """

    def __init__(self, *, seed: int, lifetime: float) -> None:
        """Begin without tokens."""
        self._seed = seed
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._expiry: dict[str, float] = {}

    def issue(self, now: float) -> str:
        """Return a new token, valid from `now` on."""
        with self._lock:
            number = len(self._expiry) + 1
            claims = {"id": f"sandbox-{number}", "iat": int(now), "exp": int(now + self._lifetime)}
            head = _part(b'{"alg":"HS256","typ":"JWT"}') + "." + _part(json.dumps(claims).encode())
            token = f"{head}.{_part(hashlib.sha256(f'{self._seed}:{head}'.encode()).digest())}"
            self._expiry[token] = now + self._lifetime
            return token

    def valid(self, token: str, now: float) -> bool:
        """Tell whether the token was issued here, is not revoked and has not expired."""
        return self._expiry.get(token, now) > now

    def revoke(self) -> None:
        """Make all tokens issued so far invalid."""
        with self._lock:
            self._expiry = dict.fromkeys(self._expiry, float("-inf"))

    @property
    def issued(self) -> tuple[str, ...]:
        """All tokens ever issued, the revoked ones too."""
        with self._lock:
            return tuple(self._expiry)


CredentialKind: TypeAlias = Literal["key", "token", "wrong", "none"]


_OK: Final = 1000
_BAD: Final = 1101
_MISSING: Final = 1102


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class Authenticator:
    """Decides which requests are admitted.

    Args:
        settings: Holds the right credentials and the rate.
        tokens: Knows which tokens are valid.
    """

    def __init__(self, settings: SandboxSettings, tokens: TokenIssuer) -> None:
        """Begin with a full bucket."""
        self._settings = settings
        self._tokens = tokens
        self._lock = threading.Lock()
        self._depth = max(1.0, settings.rate or 0.0)
        self._level = self._depth
        self._filled = float("-inf")

    def credential(self, headers: Mapping[str, str], now: float) -> tuple[CredentialKind, int]:
        """Return which credential counts and its code: 1000, 1101 (wrong, expired) or 1102 (none).

        Authorization wins: when it is there, the key is not looked at.
        """
        if "authorization" in headers:
            return self._bearer(headers["authorization"], now)
        key = headers.get("x-api-key", "").strip()
        if not key:
            return "none", _MISSING
        return ("key", _OK) if _same(key, self._settings.api_key) else ("wrong", _BAD)

    def _bearer(self, value: str, now: float) -> tuple[CredentialKind, int]:
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() not in {"bearer", ""}:
            return "wrong", _BAD
        if not token.strip():
            return "none", _MISSING
        return ("token", _OK) if self._tokens.valid(token.strip(), now) else ("wrong", _BAD)

    def knows(self, client_id: str, client_secret: str) -> bool:
        """Tell whether a token may be issued; the vendor's secret and key are the same value."""
        secrets = (self._settings.client_secret, self._settings.api_key)
        return _same(client_id, self._settings.client_id) and any(
            _same(client_secret, one) for one in secrets
        )

    def admits(self, now: float) -> bool:
        """Take one request out of the bucket; False when it is empty. Counts sandbox seconds."""
        rate = self._settings.rate
        if rate is None:
            return True
        with self._lock:
            elapsed = max(0.0, now - self._filled)
            self._level = min(self._depth, self._level + elapsed * rate) if elapsed else self._level
            self._filled = max(now, self._filled)
            if self._level < 1:
                return False
            self._level -= 1
            return True
