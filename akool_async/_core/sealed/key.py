"""The pair of credentials that seals and opens webhook bodies, and the signature that it makes."""

from __future__ import annotations

import hashlib

import attrs

from akool_async._core.errors import InvalidRequest
from akool_async._core.sealed.strictness import encodable

CIPHER_BLOCK = 16
_KEY_BYTES = (16, 24, 32)


def _usable_id(_key: SealingKey, _attribute: attrs.Attribute[str], value: str) -> None:
    if not value or not encodable(value):
        raise InvalidRequest("client_id must not be empty: webhook bodies are sealed with it.")


def _usable_secret(_key: SealingKey, _attribute: attrs.Attribute[str], value: str) -> None:
    length = len(value.encode()) if encodable(value) else 0
    if length not in _KEY_BYTES:
        raise InvalidRequest(
            f"client_secret must have 16, 24 or 32 bytes to be an AES key, this one has {length}. "
            "Check AKOOL_CLIENT_SECRET."
        )


@attrs.frozen(kw_only=True)
class SealingKey:
    """The pair of credentials that seals and opens webhook bodies, checked when it is made.

    Args:
        client_id: the account's client id, not empty. Its UTF-8 bytes, cut or zero-filled to 16, are the IV.
        client_secret: the client secret (the vendor's API key is the same value). Its UTF-8 bytes are the
            AES key: 16, 24 or 32 of them.

    Raises:
        InvalidRequest: the id is empty or the secret has another length. The message never shows the secret.
    """

    client_id: str = attrs.field(validator=_usable_id)
    client_secret: str = attrs.field(validator=_usable_secret, repr=False)

    @property
    def iv(self) -> bytes:
        """The 16 bytes that start the CBC chain, the same for every message of a client."""
        return self.client_id.encode()[:CIPHER_BLOCK].ljust(CIPHER_BLOCK, b"\0")

    def signature(self, timestamp: str, nonce: str, sealed: str) -> str:
        """Sign the three texts of an envelope: SHA-1, 40 lower-case hex digits."""
        signed = "".join(sorted((self.client_id, timestamp, nonce, sealed)))
        return hashlib.sha1(signed.encode(), usedforsecurity=False).hexdigest()
