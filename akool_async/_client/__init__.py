"""The vendor's verbs for one account, and the single steps that a batch or a worker may use."""

from akool_async._client.client import AkoolClient
from akool_async._client.session import ClientSession

__all__ = ["AkoolClient", "ClientSession"]
