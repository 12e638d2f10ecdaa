"""Webhooks: a receiver of the vendor's, a signer for tests. What comes out is a hint, never a fact."""

from akool_async._core.callback import Callback, CallbackSource, Listener
from akool_async._core.sealed import Hint, UnsealError, seal, unseal
from akool_async._inbox import Inbox, open_inbox
from akool_async.webhook.receiver import WebhookReceiver
from akool_async.webhook.statistics import ReceiverStatistics

__all__ = [
    "Callback",
    "CallbackSource",
    "Hint",
    "Inbox",
    "Listener",
    "ReceiverStatistics",
    "UnsealError",
    "WebhookReceiver",
    "open_inbox",
    "seal",
    "unseal",
]
