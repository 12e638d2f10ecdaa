"""The four texts of a webhook body."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import attrs

from akool_async._core.sealed.refusal import UnsealError
from akool_async._core.sealed.strictness import json_object, strict_base64, text_of, text_or_number

_LONGEST_NONCE = 256
_TIMESTAMP = re.compile(r"[0-9]{1,16}", re.ASCII)


@attrs.frozen(kw_only=True)
class Envelope:
    """The four texts of a body whose shape is right; nothing about them is proven yet."""

    signature: str
    sealed: str
    sealed_bytes: bytes
    timestamp: str
    nonce: str

    @classmethod
    def read(cls, body: bytes | Mapping[str, object]) -> Envelope:
        """Take a body apart.

        Raises:
            UnsealError: it has another shape.
        """
        fields = json_object(body, "malformed") if isinstance(body, bytes) else body
        signature, sealed = text_of(fields.get("signature")), text_of(fields.get("dataEncrypt"))
        timestamp, nonce = text_or_number(fields.get("timestamp")), text_or_number(fields.get("nonce"))
        if signature is None or sealed is None or timestamp is None or nonce is None:
            raise UnsealError("malformed")
        if not _TIMESTAMP.fullmatch(timestamp) or not 1 <= len(nonce) <= _LONGEST_NONCE:
            raise UnsealError("malformed")
        sealed_bytes = strict_base64(sealed)
        return cls(
            signature=signature, sealed=sealed, sealed_bytes=sealed_bytes, timestamp=timestamp, nonce=nonce
        )

    @property
    def digest(self) -> str:
        """One message, one digest: each text goes in with its length, so none can borrow from the next."""
        digest = hashlib.sha256()
        for text in (self.signature, self.timestamp, self.nonce, self.sealed):
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.hexdigest()

    @property
    def content_digest(self) -> str:
        """The hash of the sealed content alone: one content has one, whatever is written around it."""
        return hashlib.sha256(self.sealed_bytes).hexdigest()
