"""Seal a message as the vendor does; open one and judge it."""

from __future__ import annotations

import base64
import hmac
import json
import math
from collections.abc import Mapping

from akool_async._core.sealed.cipher import cipher_of, decrypted, encrypted
from akool_async._core.sealed.envelope import Envelope
from akool_async._core.sealed.hint import Hint, hint_in
from akool_async._core.sealed.key import SealingKey
from akool_async._core.sealed.refusal import UnsealError


def seal(
    payload: Mapping[str, object],
    *,
    client_id: str,
    client_secret: str,
    timestamp_ms: int,
    nonce: str,
    block: int = 16,
) -> dict[str, object]:
    """Make the JSON body that the vendor would POST to a webhook for this payload.

    Args:
        payload: what to seal; must be JSON without NaN.
        client_id: see `SealingKey`.
        client_secret: see `SealingKey`.
        timestamp_ms: when it is sent, milliseconds since the epoch, not negative.
        nonce: text that no other message repeats.
        block: PKCS#7 block of 16, 24 or 32 bytes. The vendor's page says 24 and its sample code pads to 16.
            CBC carries whole blocks of 16 only, and just every other multiple of 24 is one: for the rest
            the tail is 8 bytes longer, so a block of 24 gives tails of 1 to 32 bytes.

    Raises:
        ValueError: a key, block or timestamp that can't be used, or a payload that is not JSON.
        ModuleNotFoundError: the extra `akool-async[webhook]` is not installed.
    """
    key = SealingKey(client_id=client_id, client_secret=client_secret)
    if timestamp_ms < 0:
        raise ValueError(f"timestamp_ms counts milliseconds since the epoch and can't be {timestamp_ms}.")
    text = json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    sealed = base64.b64encode(encrypted(cipher_of(key), text.encode(), block)).decode("ascii")
    signature = key.signature(str(timestamp_ms), nonce, sealed)
    return {"signature": signature, "dataEncrypt": sealed, "timestamp": timestamp_ms, "nonce": nonce}


def unseal(
    body: bytes | Mapping[str, object],
    *,
    client_id: str,
    client_secret: str,
    now_ms: int,
    window_seconds: float = 300.0,
) -> Hint:
    """Check a webhook body and return what it claims.

    Order: shape, signature, freshness, decryption. Repeats are the caller's to recognise, by
    `Hint.digest` or `Hint.content_digest`.

    Args:
        body: the raw request body, or the same as a parsed mapping (repeated keys can't be seen in one).
        client_id: see `SealingKey`.
        client_secret: see `SealingKey`.
        now_ms: the receiver's clock, milliseconds since the epoch.
        window_seconds: how far the timestamp may lie before or after `now_ms`, 0 or more; 300 s allows for a
            clock that is somewhat off and a few repeats by the vendor.

    Raises:
        UnsealError: whatever is wrong with the body.
        ValueError: whatever is wrong with the key or the window, whoever sent the body.
        ModuleNotFoundError: the extra `akool-async[webhook]` is not installed.
    """
    key = SealingKey(client_id=client_id, client_secret=client_secret)
    if not 0 <= window_seconds < math.inf:
        raise ValueError(f"window_seconds must be 0 or more and finite, not {window_seconds}.")
    cipher = cipher_of(key)
    envelope = Envelope.read(body)
    expected = key.signature(envelope.timestamp, envelope.nonce, envelope.sealed)
    if not hmac.compare_digest(expected.encode(), envelope.signature.encode()):
        raise UnsealError("signature")
    if abs(now_ms - int(envelope.timestamp)) > window_seconds * 1000:
        raise UnsealError("stale")
    return hint_in(decrypted(cipher, envelope.sealed_bytes), envelope)
