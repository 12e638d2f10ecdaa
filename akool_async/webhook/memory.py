"""What a receiver remembers, all of it bounded: bodies that wait, and contents that were passed on."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from queue import SimpleQueue
from typing import Final

import attrs

from akool_async._model.responses import Callback

_PEER_SHARE: Final = 4
"""One peer's bodies may take so many times the share that is left: alone it fills four fifths of the queue,
and there is always room for the first body of another."""

_TOKENS_PER_CONTENT: Final = 4
"""The vendor sends a content to one URL, so with one token. A few are accepted: any may be the right one."""

_CALLBACKS_PER_TOKEN: Final = 8


class PeerQueues:
    """Bodies that wait, a queue for each peer; they are served in turn. Any thread may call it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._mutex = threading.Lock()
        self._waiting: OrderedDict[str, deque[tuple[bytes, str]]] = OrderedDict()
        self._length = 0
        self.closed: bool = False
        # Not an anyio stream: `receive` may be called from threads that know nothing of the event loop.
        self._news: SimpleQueue[bool] = SimpleQueue()

    def __len__(self) -> int:
        return self._length

    def put(self, peer: str, body: bytes, path: str) -> bool:
        """Add a body; return False if the queue, or the peer's share of it, is full."""
        with self._mutex:
            own = self._waiting.get(peer, ())
            if self.closed or len(own) >= _PEER_SHARE * (self._size - self._length):
                return False
            self._waiting.setdefault(peer, deque()).append((body, path))
            self._length += 1
            if self._news.empty():
                self._news.put(True)
        return True

    def pop(self) -> tuple[bytes, str] | None:
        """Return the next body and its path, of the peer whose turn it is."""
        with self._mutex:
            if not self._waiting:
                return None
            peer, waiting = self._waiting.popitem(last=False)
            item = waiting.popleft()
            self._length -= 1
            if waiting:
                self._waiting[peer] = waiting
            return item

    def wait(self) -> None:
        """Wait until there is a body, or it is closed."""
        if not self._length and not self.closed:
            self._news.get()

    def close(self) -> None:
        """Accept no more, and let `wait` end."""
        with self._mutex:  # a body that was accepted before is still processed
            self.closed = True
        self._news.put(True)


class ReplayCache:
    """The latest `max_size` contents and their callbacks, in bounded memory, to recognise replays."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._tokens: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self.callbacks: OrderedDict[str, tuple[Callback, ...]] = OrderedDict()  # by token

    def remember(self, digest: str, callback: Callback) -> Callback | None:
        """Return the callback if its content is new, or new under its token, and remember it; else None."""
        known = self._tokens.get(digest, ())
        if callback.token in known or len(known) >= _TOKENS_PER_CONTENT:
            self._tokens.move_to_end(digest)
            return None
        # A known content under another token may be a replay by a stranger: it may name the job of a lost
        # answer, which the API confirms or denies, but it does not cause another poll.
        callback = attrs.evolve(callback, repeated=bool(known))
        self._tokens[digest] = (*known, callback.token)
        self._tokens.move_to_end(digest)
        if callback.token:
            earlier = self.callbacks.get(callback.token, ())
            self.callbacks[callback.token] = (*earlier, callback)[-_CALLBACKS_PER_TOKEN:]
            self.callbacks.move_to_end(callback.token)
        for table in (self._tokens, self.callbacks):
            while len(table) > self._max_size:
                table.popitem(last=False)
        return callback
