"""The vendor's webhook envelope: seal a message, open one and judge it.

Here live the signature, the cipher, the freshness window and the `Hint` that comes out of them.
Not here: HTTP, the memory of what was delivered before, a clock or a source of nonces (all are arguments).
The signature is keyed by the client id alone, so what comes out is a hint and never a proof.
"""

from akool_async._core.sealed.hint import Hint
from akool_async._core.sealed.key import SealingKey
from akool_async._core.sealed.refusal import UnsealError, UnsealReason
from akool_async._core.sealed.sealing import seal, unseal

__all__ = ["Hint", "SealingKey", "UnsealError", "UnsealReason", "seal", "unseal"]
