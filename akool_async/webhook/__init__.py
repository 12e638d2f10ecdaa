"""Receive the vendor's webhooks, and seal some for tests. Their content is a hint, never a fact."""

from akool_async._model.errors import UnsealError
from akool_async._model.responses import Callback, CallbackListener, CallbackSource
from akool_async._wire.sealed import Hint, seal, unseal
from akool_async.webhook.inbox import Inbox, open_inbox
from akool_async.webhook.receiver import ReceiverStatistics, WebhookReceiver

__all__ = [
    "Callback",
    "CallbackListener",
    "CallbackSource",
    "Hint",
    "Inbox",
    "ReceiverStatistics",
    "UnsealError",
    "WebhookReceiver",
    "open_inbox",
    "seal",
    "unseal",
]
