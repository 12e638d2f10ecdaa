"""The webhook receiver: answers every body at once, opens it afterwards and passes its content on as a hint.

A sender learns nothing from an answer, because it is sent before the body is looked at.
"""

from __future__ import annotations

import logging
import os
import re
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AsyncExitStack, nullcontext
from random import SystemRandom
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import anyio
import attrs
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from akool_async._background import opening
from akool_async._model.credentials import ID_VARIABLE, KEY_VARIABLE, SECRET_VARIABLE
from akool_async._model.errors import AkoolError, ConfigurationError, InboxError, UnsealError
from akool_async._model.redact import Secret, hide
from akool_async._model.responses import GZIP_MAGIC, Callback, CallbackListener
from akool_async._model.validators import file_path, in_range, positive, text, unix_clock
from akool_async._wire.sealed import Hint, SealingKey, cipher_for, unseal
from akool_async.webhook.inbox import InboxFile
from akool_async.webhook.listeners import CallbackFeed
from akool_async.webhook.memory import PeerQueues, ReplayCache

logger: Final[logging.Logger] = logging.getLogger("akool_async")
ACCEPTED: Final = 200
REJECTED: Final = 503
"""The only two statuses for a body; which of them depends on the length of the queue alone."""

_METHOD_NOT_ALLOWED: Final = 405
_REQUEST_TIMEOUT: Final = 408
_BODY_TIMEOUT: Final = 10.0
"""Seconds in which a body has to arrive."""

_MOST_READ: Final = 2**20
"""Bytes of a body that are read, so that its sender sees the answer; after more the connection is closed."""

_SLICE: Final = 0.005
_LONGEST_SLICE: Final = 0.05
"""Seconds in which bodies are processed before the event loop has its turn, at least and at most."""

_AWAKE: Final = 1.0
"""Seconds after the last body in which the next one is looked for without waiting in a thread."""

_MAX_DELAY: Final = 0.01
"""Seconds at most between an answer and the processing of its body. They are chosen at random, so that the
time that the processing takes can't be read off the answers to other senders either."""

_WRITE_RETRY: Final = 1.0
"""Seconds until callbacks that could not be written to the inbox are tried again."""

# A size beyond that of memory would be accepted here and fail in zlib, at the first packed webhook.
_size: Final = in_range(
    "a whole number of 1 or more, below 2**53", lambda value: isinstance(value, int) and 1 <= value < 2**53
)
_TOKEN: Final = re.compile(r"[0-9a-f]{32}")
_COUNTERS: Final[Mapping[str, str]] = {"signature": "wrong_signature"}
_REFUSALS: Final = ("malformed", "wrong_signature", "stale", "unreadable", "write_errors")
_random: Final = SystemRandom()
_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@attrs.frozen(kw_only=True)
class ReceiverStatistics:
    """A receiver at one moment; all but `waiting` are counted since it was created.

    Attributes:
        accepted: bodies that were answered with 200 and queued.
        waiting: bodies in the queue.
        delivered: callbacks that were passed on.
        repeated: bodies whose content had been passed on before.
        malformed: bodies that were not an envelope, or too large.
        wrong_signature: bodies signed for another client id.
        stale: bodies with a timestamp outside the allowed clock skew.
        unreadable: bodies that could not be decrypted.
        rejected_busy: bodies answered with 503, because the queue was full or the receiver not open.
        write_errors: failed attempts to write callbacks to the inbox; each is repeated.
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


class WebhookReceiver(CallbackFeed):
    """Receives the vendor's webhooks: an ASGI application to mount, or `receive` for other frameworks.

    Open it with `async with` for as long as it is to pass callbacks on. Meanwhile it may be called from any
    task and, with `receive`, from any thread. Served as an application of its own, it opens with the server.

    Every POST gets the same answer, 200 without a body, before anything in it is looked at; only when
    the queue or the sender's share of it is full, or the receiver is not open, it is 503. A callback is a
    hint: it makes a client poll a job sooner, and names the job of a lost answer to a batch, which asks the
    API before it believes it.

    Args:
        client_id: the account's client id; default is AKOOL_CLIENT_ID.
        client_secret: its secret, 16, 24 or 32 bytes, which is the same value as the API key; default is
            AKOOL_CLIENT_SECRET or else AKOOL_API_KEY.
        inbox: a file for the callbacks, which a batch in another process reads with `open_inbox`. It is
            created if it does not exist. Several receivers may write to one.
        max_clock_skew: seconds by which a webhook's timestamp may differ from this machine's clock. The
            default allows for a clock that is somewhat off and for a few retries by the vendor.
        queue_size: bodies that wait to be processed, at most. One address may fill four fifths of it.
        max_body_bytes: size of the largest body that is processed, packed and unpacked; the vendor's have
            one or two thousand.
        replay_cache_size: contents that are remembered to recognise replays.
        now: the wall clock, seconds since the epoch; for tests. It is called here once.

    Raises:
        ConfigurationError: credentials are missing, or a value is out of its range.
        MissingExtraError: the extra `akool-async[webhook]` is not installed.
    """

    def __init__(
        self,
        *,
        client_id: str | None = None,
        client_secret: str | Secret | None = None,
        inbox: str | os.PathLike[str] | None = None,
        max_clock_skew: float = 300.0,
        queue_size: int = 1000,
        max_body_bytes: int = 16_384,
        replay_cache_size: int = 10_000,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Check the credentials; nothing is opened yet."""
        client_secret = hide(client_secret)  # a traceback with its local variables does not show it
        text.or_none.check("client_id", client_id)
        file_path.or_none.check("inbox", inbox)
        self._key = _sealing_key(client_id, client_secret)
        cipher_for(self._key)  # raises here, and not at the first webhook, if the extra is not installed
        positive.check("max_clock_skew", max_clock_skew)
        _size.check("queue_size", queue_size)
        _size.check("max_body_bytes", max_body_bytes)
        _size.check("replay_cache_size", replay_cache_size)
        unix_clock.check("now", now)
        self._max_clock_skew = max_clock_skew
        self._queue_size = queue_size
        self._max_body_bytes = max_body_bytes
        self._now = now
        self._inbox_path = inbox
        self._inbox: InboxFile | None = None
        self._unwritten: list[Callback] = []
        self._write_lock = anyio.Lock()
        self._write_after = 0.0
        self._replays = ReplayCache(replay_cache_size)
        self._listeners: list[CallbackListener] = []
        self._counts: Counter[str] = Counter()
        self._queue: PeerQueues | None = None
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<WebhookReceiver {self._key.client_id!r} {'closed' if self._queue is None else 'open'}>"

    @property
    def is_open(self) -> bool:
        """Whether bodies are processed."""
        return self._queue is not None

    async def __aenter__(self) -> Self:
        """Open it: from now on bodies are processed.

        Raises:
            InboxError: the inbox can't be opened.
        """
        with opening("receiver", self, is_open=self._queue is not None):
            async with AsyncExitStack() as stack:
                if self._inbox_path is not None:
                    self._inbox = await run_sync(InboxFile, self._inbox_path)
                    stack.callback(self._inbox.close)
                tasks = await stack.enter_async_context(anyio.create_task_group())
                self._queue = PeerQueues(self._queue_size)
                tasks.start_soon(self._process, self._queue, name="webhooks")
                self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it: queued bodies are still processed, in a cancelled task too, new ones are rejected."""
        if self._queue is not None:
            self._queue.close()
            self._queue = None
        await self._stack.aclose()

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        """Return the callbacks received with a token so far, as far as they are remembered."""
        return self._replays.callbacks.get(token, ())

    def statistics(self) -> ReceiverStatistics:
        """Return the current counts."""
        waiting = 0 if self._queue is None else len(self._queue)
        return ReceiverStatistics(waiting=waiting, **self._counts)

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one ASGI request, or the lifespan of a server."""
        match scope["type"]:
            case "lifespan":
                await receive()
                async with self if self._queue is None else nullcontext():  # mounted, it may be open already
                    await send({"type": "lifespan.startup.complete"})
                    await receive()
                await send({"type": "lifespan.shutdown.complete"})
            case "websocket":
                await send({"type": "websocket.close"})
            case "http" if scope["method"] == "POST":
                body, whole = b"", False
                with anyio.move_on_after(_BODY_TIMEOUT):
                    body, whole = await self._read(receive)
                peer = str((scope.get("client") or ("",))[0])
                read = whole or len(body) > self._max_body_bytes
                # No 200 for a torn body: the vendor would take it for delivered.
                status = self.receive(body, scope["path"], peer) if read else _REQUEST_TIMEOUT
                await _answer(send, status, *(() if whole else (_CLOSE,)))
            case "http":
                await _answer(send, _METHOD_NOT_ALLOWED, (b"allow", b"POST"), _CLOSE)

    async def _read(self, receive: _Receive) -> tuple[bytes, bool]:
        """Return the body, and whether it was read to its end."""
        # One byte more than is allowed is kept: `_handle` tells a body that is too large by it, and no
        # sender can fill the memory.
        limit, length = self._max_body_bytes + 1, 0
        body = bytearray()
        while length <= max(_MOST_READ, limit):
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            chunk = message.get("body", b"")
            length += len(chunk)
            body += chunk[: limit - len(body)]
            if not message.get("more_body", False):
                return bytes(body), True
        return bytes(body), False

    def receive(self, body: bytes | bytearray | memoryview | str, path: str = "", peer: str = "") -> int:
        """Queue a body; for frameworks that are not ASGI, from any thread.

        Args:
            body: the body of the POST, unchanged.
            path: the URL's path, whose last part may be a batch's token.
            peer: the address of the sender, if it is known; the bodies of several are processed in turn.

        Returns:
            The HTTP status to answer with, without a body: 200, or 503 when the queue is full.

        Raises:
            TypeError: the body is neither bytes nor text, or the path or the peer is not text.
        """
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        if not isinstance(body, bytes | bytearray | memoryview):
            raise TypeError(f"body must be bytes, not {type(body).__name__}.")
        if not isinstance(path, str) or not isinstance(peer, str):
            raise TypeError("path and peer must be text.")
        queue = self._queue
        # A copy: the caller may use its buffer again before the body is processed.
        if queue is None or not queue.put(peer, bytes(body)[: self._max_body_bytes + 1], path):
            self._counts["rejected_busy"] += 1
            return REJECTED
        self._counts["accepted"] += 1
        return ACCEPTED

    async def _process(self, queue: PeerQueues) -> None:
        """Process bodies a little after they were answered."""
        limiter = anyio.CapacityLimiter(1)
        ended = last = 0.0
        try:
            async with anyio.create_task_group() as tasks:
                while not queue.closed or len(queue):
                    # A thread of its own limiter: it waits for hours and must not use up the default one. In
                    # a flood it would wake too late, so that it has to be quiet for a moment first.
                    if time.monotonic() - last > _AWAKE and not self._unwritten:
                        await run_sync(queue.wait, abandon_on_cancel=True, limiter=limiter)
                    # At random: the time until it is processed tells a sender nothing about a body.
                    await anyio.sleep(_random.uniform(0, _MAX_DELAY))
                    while len(queue):
                        # As long as the event loop had its turn: a flood that keeps the server busy does not
                        # make the queue longer, because a body costs the server more than it costs here.
                        now = time.monotonic()
                        until = now + min(max(_SLICE, now - ended), _LONGEST_SLICE)
                        while time.monotonic() < until and (item := queue.pop()) is not None:
                            self._handle(*item)
                        ended = last = time.monotonic()
                        await self._write_soon(tasks)
                    await self._write_soon(tasks)
        finally:
            queue.close()  # an abandoned thread still waits and would keep the process alive
            # Also where this is cancelled: what was answered with 200 is not sent again, and may be the only
            # trace of a paid job.
            while (item := queue.pop()) is not None:
                self._handle(*item)
            with anyio.CancelScope(shield=True):
                await self._write()

    async def _write_soon(self, tasks: TaskGroup) -> None:
        """Begin to write new callbacks; wait for it only if more of them wait than bodies may."""
        if self._unwritten and time.monotonic() >= self._write_after:
            if len(self._unwritten) >= self._queue_size:
                await self._write()
            elif not self._write_lock.locked():
                # Not waited for: bodies would pile up for as long as the disk takes.
                tasks.start_soon(self._write)
        await checkpoint()

    def _handle(self, body: bytes, path: str) -> None:
        try:
            hint = self._unseal(body)
        except UnsealError as error:
            self._log_rejection(_COUNTERS.get(error.reason, error.reason), error)
            return
        # A token that is no token of ours is dropped, but the hint is kept: it can only cause a poll.
        token = path.rstrip("/").rpartition("/")[2]
        claim = Callback(
            job_id=hint.job_id, token=token if _TOKEN.fullmatch(token) else "", status=hint.status
        )
        callback = self._replays.remember(hint.content_digest, claim)
        if callback is None:
            self._counts["repeated"] += 1
            return
        # In memory before it is on disk: a batch in this process need not wait for the inbox.
        self._counts["delivered"] += 1
        if self._inbox is not None:
            self._unwritten.append(callback)
        self._pass_on(callback)

    def _unseal(self, body: bytes) -> Hint:
        if body.startswith(GZIP_MAGIC) and len(body) <= self._max_body_bytes:
            unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            # With a limit: a few kilobytes may unpack to gigabytes.
            try:
                body = unpacking.decompress(body, self._max_body_bytes + 1)
            except zlib.error:
                body = b""
        if len(body) > self._max_body_bytes:
            raise UnsealError(reason="malformed")
        return unseal(
            body,
            client_id=self._key.client_id,
            client_secret=self._key.client_secret,
            now_ms=int(self._now() * 1000),
            window_seconds=self._max_clock_skew,
        )

    async def _write(self) -> None:
        """Write callbacks to the inbox; those that can't be written are kept for the next attempt."""
        async with self._write_lock:
            callbacks = tuple(self._unwritten)
            if self._inbox is None or not callbacks:
                return
            try:
                await run_sync(self._inbox.write, callbacks)
            except InboxError as error:
                # Memory stays bounded while the disk is full. A callback that is dropped leaves its
                # submission in doubt, which the caller sees; it never makes the batch pay twice.
                del self._unwritten[: -self._queue_size]
                self._write_after = time.monotonic() + _WRITE_RETRY
                self._log_rejection("write_errors", error)
            else:
                del self._unwritten[: len(callbacks)]

    def _log_rejection(self, reason: str, error: AkoolError) -> None:
        """Count it; log the first of each kind and the 10th, the 100th of all: no flood fills the log."""
        self._counts[reason] += 1
        times = str(sum(self._counts[name] for name in _REFUSALS))
        first = self._counts[reason] == 1
        if first or times.strip("0") == "1":
            clock = " Is the clock of this machine right?" if first and reason == "stale" else ""
            logger.warning("%s%s So far: %s.", error, clock, times)


_CLOSE: Final = (b"connection", b"close")
"""The server ends the connection after the answer: otherwise it would read an endless body for ever."""


async def _answer(send: _Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    empty = (b"content-length", b"0")
    await send({"type": "http.response.start", "status": status, "headers": [empty, *headers]})
    await send({"type": "http.response.body", "body": b""})


def _sealing_key(client_id: str | None, client_secret: Secret | None) -> SealingKey:
    name = os.environ.get(ID_VARIABLE, "") if client_id is None else client_id
    secret = client_secret
    if secret is None:
        secret = hide(os.environ.get(SECRET_VARIABLE) or os.environ.get(KEY_VARIABLE) or "")
    if not isinstance(secret, Secret):  # not shown, for it may be one
        raise ConfigurationError("client_secret must be text or a Secret.")
    if not name or not secret.reveal():
        missing = "client id" if not name else "client secret"
        raise ConfigurationError(
            f"Webhooks can't be decrypted without the {missing}.",
            advice=f"Set {ID_VARIABLE} and {SECRET_VARIABLE} (the API key is the same value as the secret).",
        )
    return SealingKey(client_id=name, client_secret=secret)
