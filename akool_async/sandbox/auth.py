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

CredentialKind: TypeAlias = Literal["key", "token", "wrong", "none"]
_OK: Final = 1000
_BAD: Final = 1101
_MISSING: Final = 1102


class Authenticator:
    """Issues tokens and decides which requests are admitted. Thread-safe; times are the sandbox's."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._expiry: dict[str, float] = {}
        self._depth = max(1.0, settings.rate or 0.0)
        self._level = self._depth
        self._filled = float("-inf")

    def issue(self, now: float) -> str:
        """Return a new token, valid from `now` on: like a JSON Web Token, and opaque all the same."""
        expiry = now + self._settings.token_seconds
        with self._lock:
            claims = {"id": f"sandbox-{len(self._expiry) + 1}", "iat": int(now), "exp": int(expiry)}
            signature = hashlib.sha256(f"{self._settings.seed}:{claims}".encode()).digest()
            parts = (b'{"alg":"HS256","typ":"JWT"}', json.dumps(claims).encode(), signature)
            token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
            self._expiry[token] = expiry
            return token

    def revoke(self) -> None:
        """Make all tokens issued so far invalid."""
        with self._lock:
            self._expiry = dict.fromkeys(self._expiry, float("-inf"))

    @property
    def issued(self) -> tuple[str, ...]:
        """All tokens ever issued, the revoked ones too."""
        with self._lock:
            return tuple(self._expiry)

    def credential(self, headers: Mapping[str, str], now: float) -> tuple[CredentialKind, int]:
        """Return which credential counts and its code: 1000, 1101 (wrong, expired) or 1102 (none).

        Authorization wins: when it is there, the key is not looked at.
        """
        # Source: the documentation, by which x-api-key is ignored when both are sent.
        if "authorization" in headers:
            scheme, _, token = headers["authorization"].strip().partition(" ")
            if scheme.lower() not in {"bearer", ""}:
                return "wrong", _BAD
            if not token.strip():
                return "none", _MISSING
            valid = self._expiry.get(token.strip(), now) > now
            return ("token", _OK) if valid else ("wrong", _BAD)
        key = headers.get("x-api-key", "").strip()
        if not key:
            return "none", _MISSING
        # Unconfirmed: that a wrong key is answered like a wrong token.
        return ("key", _OK) if _same(key, self._settings.api_key) else ("wrong", _BAD)

    def knows(self, client_id: str, client_secret: str) -> bool:
        """Tell whether a token may be issued; the vendor's secret and key are the same value."""
        settings = self._settings
        secrets = (settings.client_secret, settings.api_key, settings.webhook_secret)
        return _same(client_id, settings.client_id) and any(_same(client_secret, one) for one in secrets)

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


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
