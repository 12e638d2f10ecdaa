"""The vendor's verbs for one account, and the single steps that a batch or a worker may use."""

from akool_async._client.client import AkoolClient
from akool_async._client.session import ClientSession
from akool_async._client.tokens import confirm, new_token, with_token
from akool_async._client.values import WireValue, from_wire, to_wire

__all__ = [
    "AkoolClient",
    "ClientSession",
    "WireValue",
    "confirm",
    "from_wire",
    "new_token",
    "to_wire",
    "with_token",
]
