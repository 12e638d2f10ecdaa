"""What was handed on before, in bounded memory, so that a replay is seen for what it is."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from akool_async._core.callback import Callback

_TOKENS_OF_ONE: Final = 4
"""A content goes to one URL and so has one token; a few are let through, as nobody knows which is right."""


class Memory:
    """The contents and callbacks that came last.

    Args:
        most: contents that are remembered; the ones seen longest ago are forgotten first.
    """

    def __init__(self, most: int) -> None:
        """Begin with nothing."""
        self._most = most
        self._tokens: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._callbacks: OrderedDict[str, tuple[Callback, ...]] = OrderedDict()

    def __len__(self) -> int:
        """Contents that are remembered."""
        return len(self._tokens)

    def news(self, digest: str, callback: Callback) -> Callback | None:
        """Give the callback if its content is new, or came with another token than before; remember it."""
        known = self._tokens.get(digest, ())
        if callback.token in known or len(known) >= _TOKENS_OF_ONE:
            self._tokens.move_to_end(digest)
            return None
        callback = attrs.evolve(callback, repeated=bool(known))
        self._tokens[digest] = (*known, callback.token)
        self._tokens.move_to_end(digest)
        if callback.token:
            self._callbacks[callback.token] = (*self._callbacks.get(callback.token, ()), callback)[-8:]
            self._callbacks.move_to_end(callback.token)
        for table in (self._tokens, self._callbacks):
            while len(table) > self._most:
                table.popitem(last=False)
        return callback

    def find(self, token: str) -> tuple[Callback, ...]:
        """Give the callbacks that came with a token."""
        return self._callbacks.get(token, ())
