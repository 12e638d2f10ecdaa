"""The doorman of the API: which credential a request carries, and whether requests come too often.

Codes only; what a refused request is answered is the API's affair.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Mapping
from typing import Final

from akool_async.sandbox.records import CredentialKind
from akool_async.sandbox.settings import Settings
from akool_async.sandbox.tokens import TokenDesk

__all__ = ["Gate"]

_OK: Final = 1000
_BAD: Final = 1101
_MISSING: Final = 1102


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class Gate:
    """Lets requests in or not.

    Args:
        settings: Holds the right credentials and the rate.
        tokens: Knows which tokens are valid.
    """

    def __init__(self, settings: Settings, tokens: TokenDesk) -> None:
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
