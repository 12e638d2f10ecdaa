"""The vendor's webhook envelope: seal a message, open one and judge it.

The signature is keyed by the client id alone, so the `Hint` that comes out is never a proof.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs

from akool_async._environment import needs_extra
from akool_async._model.errors import ConfigurationError, UnsealError, UnsealReason
from akool_async._model.redact import Secret, hide, sanitize, url_repr
from akool_async._model.validators import Constraint, is_encodable, not_negative

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC


# Text from strangers is read in one way only: UTF-8, JSON without repeats, base64 of one spelling. Anything
# else is refused, so that two readers can't see two things in one body.


_Found = TypeVar("_Found")


class RawNumber(str):
    """A JSON number as it was written: the vendor signs that text, not its value."""

    __slots__ = ()


def json_object(text: bytes, reason: UnsealReason) -> dict[str, Any]:
    """Parse strictly: UTF-8, one object, no key twice, no NaN; numbers are returned as they were written.

    Raises:
        UnsealError: with `reason`, if it is anything else.
    """

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ValueError("a key occurs twice in one JSON object")
        return fields

    def refuse_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        parsed = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=without_repeats,
            parse_constant=refuse_constant,
            parse_float=RawNumber,
            parse_int=RawNumber,
        )
    except (ValueError, RecursionError):
        # Refused below, outside of this block: the cause carries the whole text, a result's URL with it.
        parsed = None
    if not isinstance(parsed, dict):
        raise UnsealError(reason=reason)
    return parsed


def optional_str(value: object) -> str | None:
    """Return text that can be encoded, else None."""
    if isinstance(value, str) and not isinstance(value, RawNumber) and is_encodable(value):
        return value
    return None


def str_or_number(value: object) -> str | None:
    """Return text, or a number as it was written, else None."""
    if isinstance(value, RawNumber):
        return str(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**64:
        return str(value)
    return optional_str(value)


def non_empty_str(value: object) -> str | None:
    """Return text that is not empty, else None."""
    return optional_str(value) or None


def shown_str(value: object) -> str | None:
    """Return text that is not empty and can be shown, else None; see `sanitize`."""
    return sanitize(optional_str(value)) or None


def whole_number(value: object) -> int | None:
    """Read a number or a numeric text; fractions are cut, anything else counts as absent."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return None
    return int(number) if abs(number) < 2**53 else None


def first_present(
    fields: Mapping[str, Any], read: Callable[[object], _Found | None], *names: str
) -> _Found | None:
    """The first of several spellings of a field that can be read."""
    return next((found for name in names if (found := read(fields.get(name))) is not None), None)


def strict_base64(text: str) -> bytes:
    """Decode base64 of which there is exactly one spelling, so that a message can't be re-spelled."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        decoded = b""
    if not decoded or base64.b64encode(decoded).decode("ascii") != text:
        raise UnsealError(reason="malformed")
    return decoded


_LONGEST_NONCE = 256
_TIMESTAMP = re.compile(r"[0-9]{1,16}(\.[0-9]{1,9})?", re.ASCII)
_FIRST_MILLISECONDS = 10**11
"""As milliseconds a day in 1973, as seconds one in the year 5138."""

_JOB_ID = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)


@attrs.frozen(kw_only=True)
class SealedMessage:
    """The four texts of a body of the right shape; nothing about them is proven."""

    signature: str
    sealed: str
    timestamp: str
    nonce: str

    @classmethod
    def read(cls, body: bytes | Mapping[str, object]) -> SealedMessage:
        """Take a body apart."""
        fields = json_object(body, "malformed") if isinstance(body, bytes) else body
        signature, sealed = optional_str(fields.get("signature")), optional_str(fields.get("dataEncrypt"))
        timestamp, nonce = str_or_number(fields.get("timestamp")), str_or_number(fields.get("nonce"))
        # One reason for every wrong shape: a stranger learns nothing from which field was missed.
        if signature is None or sealed is None or timestamp is None or nonce is None:
            raise UnsealError(reason="malformed")
        if not _TIMESTAMP.fullmatch(timestamp) or not 1 <= len(nonce) <= _LONGEST_NONCE:
            raise UnsealError(reason="malformed")
        return cls(signature=signature, sealed=sealed, timestamp=timestamp, nonce=nonce)

    @property
    def digest(self) -> str:
        """The hash of the four texts, each with its length, so that none can borrow from the next."""
        digest = hashlib.sha256()
        for text in (self.signature, self.timestamp, self.nonce, self.sealed):
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.hexdigest()

    @property
    def sent_at_ms(self) -> int:
        """The timestamp in milliseconds; a number too small to be some is in seconds."""
        number = Decimal(self.timestamp)
        return int(number if number >= _FIRST_MILLISECONDS else number * 1000)


@attrs.frozen(kw_only=True)
class Hint:
    """What a webhook claims about a job: worth a look at the API, never a fact of its own.

    Attributes:
        job_id: the vendor's `_id`, 1 to 128 printable ASCII characters.
        status: the vendor's number (2 processing, 3 completed, 4 failed), unknown ones kept, None if absent.
        url: where the result is said to be, None if absent; its query is left out of the repr.
        type: the vendor's word for the kind of job.
        progress: percent from 0 to 100, None if absent or out of range.
        error_code: the vendor's error number of a failed job.
        error_reason: the vendor's text for it, made safe to show.
        nonce: the envelope's nonce as text.
        digest: SHA-256 hex of the four texts of the envelope, however its JSON was spelled: two deliveries
            with one digest are one message.
        content_digest: SHA-256 hex of the sealed content alone, which has the same one when it is sent again
            under another nonce and signed anew.
        sent_at_ms: the envelope's timestamp, milliseconds since the epoch.
    """

    job_id: str
    status: int | None
    url: str | None = attrs.field(repr=url_repr)
    type: str | None
    progress: int | None
    error_code: int | None
    error_reason: str | None
    nonce: str
    digest: str
    content_digest: str
    sent_at_ms: int


def parse_hint(plain: bytes, sealed_bytes: bytes, envelope: SealedMessage) -> Hint:
    """Read the plaintext of an envelope, whose sealed content is given decoded.

    Raises:
        UnsealError: it names no job.
    """
    fields = json_object(plain, "unreadable")
    job_id = str_or_number(fields.get("_id"))
    if job_id is None or not _JOB_ID.fullmatch(job_id):
        raise UnsealError(reason="unreadable")
    progress = first_present(fields, whole_number, "progress")
    return Hint(
        job_id=job_id,
        status=first_present(fields, whole_number, "status", "video_status"),
        url=first_present(fields, non_empty_str, "url", "video"),
        type=first_present(fields, shown_str, "type"),
        progress=progress if progress is not None and 0 <= progress <= 100 else None,
        error_code=first_present(fields, whole_number, "error_code"),
        error_reason=first_present(fields, shown_str, "error_reason", "error_message"),
        nonce=envelope.nonce,
        digest=envelope.digest,
        content_digest=hashlib.sha256(sealed_bytes).hexdigest(),
        sent_at_ms=envelope.sent_at_ms,
    )


CIPHER_BLOCK = 16


def _check_secret(_key: SealingKey, _attribute: attrs.Attribute[Secret], value: Secret) -> None:
    length = len(value.reveal().encode()) if is_encodable(value.reveal()) else 0
    if length not in (16, 24, 32):
        raise ConfigurationError(
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
        ConfigurationError: the id is empty or the secret has another length. The message hides the secret.
    """

    client_id: str = attrs.field(
        validator=Constraint("text that is not empty", lambda value: value and is_encodable(value))
    )
    client_secret: Secret = attrs.field(converter=hide, validator=_check_secret, repr=False)

    @property
    def iv(self) -> bytes:
        """The 16 bytes that start the CBC chain, the same for every message of a client."""
        return self.client_id.encode()[:CIPHER_BLOCK].ljust(CIPHER_BLOCK, b"\0")

    def signature(self, timestamp: str, nonce: str, sealed: str) -> str:
        """Sign the three texts of an envelope: SHA-1, 40 lower-case hex digits."""
        signed = "".join(sorted((self.client_id, timestamp, nonce, sealed)))
        return hashlib.sha1(signed.encode(), usedforsecurity=False).hexdigest()


_PAD_BLOCKS = (16, 24, 32)
_LONGEST_TAIL = 32


def cipher_for(key: SealingKey) -> Cipher[CBC]:
    """Return the cipher of a pair of credentials."""
    with needs_extra("webhook", "Webhook bodies, which are encrypted,"):
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    return Cipher(algorithms.AES(key.client_secret.reveal().encode()), modes.CBC(key.iv))


def encrypt(cipher: Cipher[CBC], plain: bytes, block: int) -> bytes:
    """Add a PKCS#7 tail for `block` and encrypt."""
    if block not in _PAD_BLOCKS:
        raise ValueError(f"block must be 16, 24 or 32 bytes, not {block}.")
    # Not `cryptography`'s PKCS7: CBC can't carry each multiple of 24 that it pads to, only those that are
    # multiples of 16 as well. For the others the tail is 8 bytes longer.
    tail = block - len(plain) % block
    tail += -(len(plain) + tail) % CIPHER_BLOCK
    encryptor = cipher.encryptor()
    return encryptor.update(plain + bytes([tail]) * tail) + encryptor.finalize()


def decrypt(cipher: Cipher[CBC], sealed: bytes) -> bytes:
    """Decrypt and take off the tail; every way to fail looks the same from outside.

    CBC authenticates nothing: what is returned may have been altered on the way.
    """
    if not sealed or len(sealed) % CIPHER_BLOCK:
        raise UnsealError(reason="unreadable")
    decryptor = cipher.decryptor()
    plain = decryptor.update(sealed) + decryptor.finalize()
    # PKCS7 can't undo it either: it would have to know the block, and refuses a tail longer than that.
    tail = plain[-1]
    if not 1 <= tail <= min(_LONGEST_TAIL, len(plain)) or plain[-tail:] != bytes([tail]) * tail:
        raise UnsealError(reason="unreadable")
    return plain[:-tail]


def seal(
    payload: Mapping[str, object],
    *,
    client_id: str,
    client_secret: str | Secret,
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
        block: PKCS#7 block of 16, 24 or 32 bytes. The vendor's page says 24, its sample code pads to 16.

    Raises:
        ValueError: a key, block or timestamp that can't be used, or a payload that is not JSON.
        MissingExtraError: the extra `akool-async[webhook]` is not installed.
    """
    client_secret = hide(client_secret)  # a traceback with its local variables does not show it
    key = SealingKey(client_id=client_id, client_secret=client_secret)
    if timestamp_ms < 0:
        raise ValueError(f"timestamp_ms counts milliseconds since the epoch and can't be {timestamp_ms}.")
    text = json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    sealed = base64.b64encode(encrypt(cipher_for(key), text.encode(), block)).decode("ascii")
    signature = key.signature(str(timestamp_ms), nonce, sealed)
    return {"signature": signature, "dataEncrypt": sealed, "timestamp": timestamp_ms, "nonce": nonce}


def unseal(
    body: bytes | Mapping[str, object],
    *,
    client_id: str,
    client_secret: str | Secret,
    now_ms: int,
    window_seconds: float = 300.0,
) -> Hint:
    """Check a webhook body and return what it claims.

    Order: shape, signature, freshness, decryption, from the cheapest on. Repeats are the caller's to
    recognise, by `Hint.digest` or `Hint.content_digest`.

    Args:
        body: the raw request body, or the same as a parsed mapping (repeated keys can't be seen in one).
        client_id: see `SealingKey`.
        client_secret: see `SealingKey`.
        now_ms: the receiver's clock, milliseconds since the epoch.
        window_seconds: how far the timestamp may lie before or after `now_ms`, 0 or more; 300 s allows for a
            clock that is somewhat off and a few repeats by the vendor.

    Raises:
        UnsealError: whatever is wrong with the body.
        ConfigurationError: the key or the window is invalid, whatever the body.
        MissingExtraError: the extra `akool-async[webhook]` is not installed.
    """
    client_secret = hide(client_secret)  # a traceback with its local variables does not show it
    key = SealingKey(client_id=client_id, client_secret=client_secret)
    not_negative.check("window_seconds", window_seconds)
    cipher = cipher_for(key)
    envelope = SealedMessage.read(body)
    expected = key.signature(envelope.timestamp, envelope.nonce, envelope.sealed)
    # In constant time, or a signature could be guessed digit by digit.
    if not hmac.compare_digest(expected.encode(), envelope.signature.encode()):
        raise UnsealError(reason="signature")
    ahead = (envelope.sent_at_ms - now_ms) / 1000
    # A recorded message that is sent again later is refused by its age, though its signature is right.
    if abs(ahead) > window_seconds:
        raise UnsealError(
            f"Webhook refused: its timestamp is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} "
            f"the clock of this machine, and {window_seconds:g} s are allowed.",
            reason="stale",
        )
    sealed_bytes = strict_base64(envelope.sealed)  # after the cheap refusals: it costs more than they do
    return parse_hint(decrypt(cipher, sealed_bytes), sealed_bytes, envelope)
