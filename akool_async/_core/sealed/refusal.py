"""Why a webhook body was refused: one of four reasons, and nothing about what was in it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from akool_async._core.errors import AkoolError

UnsealReason: TypeAlias = Literal["malformed", "signature", "stale", "unreadable"]

_EXPLAINED: dict[UnsealReason, str] = {
    "malformed": "the body is not a webhook envelope",
    "signature": "the signature does not belong to this client id",
    "stale": "the timestamp lies outside the freshness window",
    "unreadable": "the sealed content could not be opened",
}


class UnsealError(AkoolError):
    """A webhook body was refused; nothing in it may be acted on.

    Attributes:
        reason: `malformed` (not an envelope), `signature` (wrong signature), `stale` (outside the window) or
            `unreadable`. The last one covers decryption, padding and content alike, so that whoever
            sees the refusal learns nothing about the plaintext.
    """

    money = "No job was changed, polling goes on."

    def __init__(self, reason: UnsealReason) -> None:
        super().__init__(f"Webhook refused: {_EXPLAINED[reason]}.")
        self.args: tuple[Any, ...] = (reason,)
        self.reason: UnsealReason = reason
