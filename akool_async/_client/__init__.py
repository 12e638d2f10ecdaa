"""The vendor's verbs, for one account: what a caller awaits."""

from akool_async._client.client import AkoolClient

__all__ = ["AkoolClient"]
