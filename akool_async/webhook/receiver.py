"""The receiver of webhooks: takes bodies, answers at once, looks at them afterwards, hands hints on.

The answer is given before a body is looked at, so nothing can be learned from it. How HTTP brings
bodies here stands in `door`.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from queue import SimpleQueue
from random import SystemRandom
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import anyio
import attrs
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from akool_async._model.credentials import ID_VARIABLE, KEY_VARIABLE, SECRET_VARIABLE
from akool_async._model.errors import AkoolError, InboxError, InvalidRequestError, UnsealError
from akool_async._model.responses import Callback, CallbackListener
from akool_async._wire.sealed import Hint, SealingKey, cipher_for, unseal
from akool_async.webhook.asgi import AsgiEndpoint
from akool_async.webhook.inbox import InboxFile

# What was handed on before, in bounded memory, so that a replay is seen for what it is.


_TOKENS_OF_ONE: Final = 4
"""A content goes to one URL and so has one token; a few are let through, as nobody knows which is right."""


class ReplayCache:
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

    def remember(self, digest: str, callback: Callback) -> Callback | None:
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


# What came to a receiver, as numbers: pulled when somebody wants to know them.


@attrs.frozen(kw_only=True)
class ReceiverStatistics:
    """A receiver at one moment; all but `waiting` are counted since it was made.

    Attributes:
        accepted: bodies that were answered with 200 and put in line.
        waiting: of these, how many were not looked at yet.
        delivered: callbacks that were handed on.
        repeated: contents that had been handed on before.
        malformed: bodies that were no envelope, or too large.
        wrong_signature: bodies signed for another client id.
        stale: bodies from outside the freshness window.
        unreadable: bodies whose content could not be opened.
        rejected_busy: bodies answered with 503, because the line was full or the receiver not open.
        write_errors: times that callbacks could not be written to the inbox; they are tried again.
    """

    accepted: int = 0
    waiting: int = 0
    delivered: int = 0
    repeated: int = 0
    malformed: int = 0
    wrong_signature: int = 0
    stale: int = 0
    unreadable: int = 0
    rejected_busy: int = 0
    write_errors: int = 0


logger: Final[logging.Logger] = logging.getLogger("akool_async")
ACCEPTED: Final = 200
REJECTED: Final = 503
"""The only two statuses: which of them depends on the length of the line alone."""

_LONGEST_PAUSE: Final = 0.01
"""Seconds, at most, between an answer and the look at its body. They are chosen at random, so that
how long the look took can't be read off the answers to others either."""

_WRITTEN_AT_ONCE: Final = 100
"""Callbacks in one transaction, so that a flood is on disk before it is over."""

_TOKEN: Final = re.compile(r"[0-9a-f]{32}")
_COUNTED: Final[Mapping[str, str]] = {"signature": "wrong_signature"}
_random: Final = SystemRandom()
_Line: TypeAlias = "SimpleQueue[tuple[bytes, str] | None]"
"""Bodies with the paths that they came to; None ends it."""


class WebhookReceiver:
    """Receives the vendor's webhooks: an ASGI application to mount, or `take` for other frameworks.

    It is opened with `async with`, for as long as it is to hand anything on; meanwhile it may be called
    from any task and, with `take`, from any thread. Served by itself, it opens with the server.

    Every POST gets the same answer, 200 without a body, before anything in it is looked at; only when
    `line` bodies are waiting, or the receiver is not open, it is 503. What comes out is a hint: it
    makes a client ask about a job sooner, and names the job of a lost answer to a batch, which asks
    the API before it believes it.

    Args:
        client_id: the account's client id; default is AKOOL_CLIENT_ID.
        client_secret: its secret, 16, 24 or 32 bytes, which is the same value as the API key; default is
            AKOOL_CLIENT_SECRET or else AKOOL_API_KEY.
        inbox: a file into which callbacks are written for a batch in another process, which reads it with
            `open_inbox`; it is made if it is not there. Several receivers may write one.
        window: seconds that a webhook's timestamp may lie before or after this machine's clock. The
            default allows for a clock that is somewhat off and a few repeats by the vendor.
        line: bodies that wait to be looked at, at most.
        largest: bytes of a body that is looked at; the vendor's have one or two thousand.
        remembered: contents that are remembered to recognise replays.
        now: the wall clock, seconds since the epoch; for tests.

    Raises:
        InvalidRequestError: credentials are missing, or a value is out of its range.
        ModuleNotFoundError: the extra `akool-async[webhook]` is not installed.
    """

    def __init__(
        self,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        inbox: str | os.PathLike[str] | None = None,
        max_clock_skew: float = 300.0,
        queue_size: int = 1000,
        max_body_bytes: int = 16_384,
        replay_cache_size: int = 10_000,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Check the credentials; nothing is opened yet."""
        self._key = _key(client_id, client_secret)
        cipher_for(self._key)  # what it needs is missing now, or not at all
        for name, value in {
            "window": max_clock_skew,
            "line": queue_size,
            "largest": max_body_bytes,
            "remembered": replay_cache_size,
        }.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**53:
                raise InvalidRequestError(f"{name} must be a positive number, not {value!r}.")
        self._window = max_clock_skew
        self._length = queue_size
        self._largest = max_body_bytes
        self._now = now
        self._inbox_path = inbox
        self._inbox: InboxFile | None = None
        self._unwritten: list[Callback] = []
        self._memory = ReplayCache(replay_cache_size)
        self._listeners: list[CallbackListener] = []
        self._counts: Counter[str] = Counter()
        self._line: _Line | None = None
        self._stack = AsyncExitStack()
        self._door = AsgiEndpoint(self._lifespan_context, self.receive, largest=max_body_bytes)

    def __repr__(self) -> str:
        """Show whom it receives for and whether it is open."""
        return f"<WebhookReceiver {self._key.client_id!r} {'closed' if self._line is None else 'open'}>"

    # Opening and closing.

    async def __aenter__(self) -> Self:
        """Open it: from now on bodies are looked at.

        Raises:
            InboxError: the inbox can't be opened.
        """
        if self._line is not None:
            raise RuntimeError("This receiver is open already.")
        async with AsyncExitStack() as stack:
            if self._inbox_path is not None:
                self._inbox = await run_sync(InboxFile, self._inbox_path)
                stack.callback(self._inbox.close)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            self._line = SimpleQueue()
            tasks.start_soon(self._process, self._line, name="webhooks")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it: what is in line is still looked at, nothing new is taken."""
        if self._line is not None:
            self._line.put(None)
            self._line = None
        await self._stack.aclose()

    def _lifespan_context(self) -> AbstractAsyncContextManager[Any]:
        """Give what keeps it open: itself, unless somebody opened it already."""
        return self if self._line is None else nullcontext()

    # Whom it tells.

    def subscribe(self, listener: CallbackListener) -> Callable[[], None]:
        """Tell a listener, such as a client, of each callback from now on.

        A batch is attached with `open_batch(..., webhook=receiver)`.

        Returns:
            What ends that when it is called.
        """
        self._listeners.append(listener)

        def detach() -> None:
            self._listeners = [other for other in self._listeners if other is not listener]

        return detach

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        """Give the callbacks that came with a token so far, as far as they are remembered."""
        return self._memory.find(token)

    def statistics(self) -> ReceiverStatistics:
        """Give numbers about what came, as of now."""
        waiting = 0 if self._line is None else self._line.qsize()
        return ReceiverStatistics(waiting=waiting, **self._counts)

    # What comes in.

    async def __call__(
        self,
        scope: Any,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Be an ASGI application."""
        await self._door(scope, receive, send)

    def receive(self, body: bytes, path: str = "") -> int:
        """Put a body in line; for frameworks that are not ASGI, from any thread.

        Args:
            body: what was POSTed, as it came.
            path: the URL's path, whose last part may be a batch's token.

        Returns:
            The HTTP status to answer with, and with no body: 200, or 503 when the line is full.
        """
        line = self._line
        if line is None or line.qsize() >= self._length:
            self._counts["rejected_busy"] += 1
            return REJECTED
        line.put((body, path))
        self._counts["accepted"] += 1
        return ACCEPTED

    async def _process(self, line: _Line) -> None:
        """Look at what is in line, a little after it was answered; the line is waited for in a thread."""
        limiter = anyio.CapacityLimiter(1)
        try:
            while True:
                await self._write()
                item = await run_sync(line.get, abandon_on_cancel=True, limiter=limiter)
                await anyio.sleep(_random.uniform(0, _LONGEST_PAUSE))
                while item is not None:
                    self._handle(*item)
                    await checkpoint()
                    if line.empty() or len(self._unwritten) >= _WRITTEN_AT_ONCE:
                        break
                    item = line.get()
                else:
                    await self._write()
                    return
        finally:
            line.put(None)  # so that a thread that still waits goes home

    def _handle(self, body: bytes, path: str) -> None:
        try:
            hint = self._opened(body)
        except UnsealError as error:
            self._log_rejection(_COUNTED.get(error.reason, error.reason), error)
            return
        told = Callback(job_id=hint.job_id, token=_token(path), status=hint.status)
        callback = self._memory.remember(hint.content_digest, told)
        if callback is None:
            self._counts["repeated"] += 1
            return
        self._counts["delivered"] += 1
        if self._inbox is not None:
            self._unwritten.append(callback)
        for listener in self._listeners:
            try:
                listener.on_callback(callback)
            except Exception:  # a listener is the caller's own code: it may not cost the others their hint
                logger.exception("A listener failed over a webhook; the others were told.")

    async def _write(self) -> None:
        """Write what came to the inbox; what can't be written is tried again with what comes next."""
        if self._inbox is None or not self._unwritten:
            return
        try:
            await run_sync(self._inbox.write, tuple(self._unwritten))
        except InboxError as error:
            del self._unwritten[: -self._length]
            self._log_rejection("write_errors", error)
        else:
            self._unwritten.clear()

    def _opened(self, body: bytes) -> Hint:
        if len(body) > self._largest:
            raise UnsealError(reason="malformed")
        return unseal(
            body,
            client_id=self._key.client_id,
            client_secret=self._key.client_secret,
            now_ms=int(self._now() * 1000),
            window_seconds=self._window,
        )

    def _log_rejection(self, reason: str, error: AkoolError) -> None:
        """Count it, and say so the 1st, the 10th, the 100th time: a flood must not fill the log."""
        self._counts[reason] += 1
        times = str(self._counts[reason])
        if times.strip("0") == "1":
            logger.warning("%s So far: %s.", error, times)


def _key(client_id: str | None, client_secret: str | None) -> SealingKey:
    told = os.environ
    name = told.get(ID_VARIABLE, "") if client_id is None else client_id
    secret = client_secret
    if secret is None:
        secret = told.get(SECRET_VARIABLE) or told.get(KEY_VARIABLE) or ""
    if not name or not secret:
        missing = "client id" if not name else "client secret"
        raise InvalidRequestError(
            f"Webhooks can't be opened without the {missing}.",
            advice=f"Set {ID_VARIABLE} and {SECRET_VARIABLE} (the API key is the same value as the secret).",
        )
    return SealingKey(client_id=name, client_secret=secret)


def _token(path: str) -> str:
    """Give the last part of a path if it can be a token, else ""."""
    last = path.rstrip("/").rpartition("/")[2]
    return last if _TOKEN.fullmatch(last) else ""
