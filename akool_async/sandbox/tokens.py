"""The tokens of the older way in: granted for the client's id and secret, valid for a while.

They look like JSON Web Tokens and are opaque all the same. Thread-safe; times are the sandbox's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading

__all__ = ["TokenDesk"]


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenDesk:
    """Grants tokens and knows which are valid.

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

    def grant(self, now: float) -> str:
        """Return a new token, valid from `now` on."""
        with self._lock:
            number = len(self._expiry) + 1
            claims = {"id": f"sandbox-{number}", "iat": int(now), "exp": int(now + self._lifetime)}
            head = _part(b'{"alg":"HS256","typ":"JWT"}') + "." + _part(json.dumps(claims).encode())
            token = f"{head}.{_part(hashlib.sha256(f'{self._seed}:{head}'.encode()).digest())}"
            self._expiry[token] = now + self._lifetime
            return token

    def valid(self, token: str, now: float) -> bool:
        """Tell whether the token was granted here, is not void and has not expired."""
        return self._expiry.get(token, now) > now

    def void(self) -> None:
        """Make all tokens granted so far invalid."""
        with self._lock:
            self._expiry = dict.fromkeys(self._expiry, float("-inf"))

    @property
    def granted(self) -> tuple[str, ...]:
        """All tokens ever granted, the void ones too."""
        with self._lock:
            return tuple(self._expiry)
