"""The cipher of a webhook's content: AES in CBC mode, its tail a PKCS#7 one of up to 32 bytes.

It authenticates nothing: whatever comes out of it may have been altered on the way. The package
`cryptography` is imported when the first cipher is asked for, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from akool_async._core.sealed.key import CIPHER_BLOCK, SealingKey
from akool_async._core.sealed.refusal import UnsealError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC

_PAD_BLOCKS = (16, 24, 32)
_LONGEST_TAIL = 32


def cipher_of(key: SealingKey) -> Cipher[CBC]:
    """Give the cipher of a pair of credentials.

    Raises:
        ModuleNotFoundError: the extra `akool-async[webhook]` is not installed.
    """
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "Webhook bodies are encrypted and the package `cryptography` is not installed: "
            "install akool-async[webhook].",
            name=missing.name,
        ) from missing
    return Cipher(algorithms.AES(key.client_secret.encode()), modes.CBC(key.iv))


def encrypted(cipher: Cipher[CBC], plain: bytes, block: int) -> bytes:
    """Put on a tail for `block` and encrypt.

    Raises:
        ValueError: it is none of the blocks that are known.
    """
    encryptor = cipher.encryptor()
    return encryptor.update(_padded(plain, block)) + encryptor.finalize()


def _padded(plain: bytes, block: int) -> bytes:
    if block not in _PAD_BLOCKS:
        raise ValueError(f"block must be 16, 24 or 32 bytes, not {block}.")
    tail = block - len(plain) % block
    tail += -(len(plain) + tail) % CIPHER_BLOCK
    return plain + bytes([tail]) * tail


def decrypted(cipher: Cipher[CBC], sealed: bytes) -> bytes:
    """Decrypt and take off the tail; every way to fail looks the same from outside."""
    if not sealed or len(sealed) % CIPHER_BLOCK:
        raise UnsealError("unreadable")
    decryptor = cipher.decryptor()
    plain = decryptor.update(sealed) + decryptor.finalize()
    tail = plain[-1]
    if not 1 <= tail <= min(_LONGEST_TAIL, len(plain)) or plain[-tail:] != bytes([tail]) * tail:
        raise UnsealError("unreadable")
    return plain[:-tail]
