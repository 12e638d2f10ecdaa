"""One exchange without a socket: its bytes, its errors and its end, row by row."""

from __future__ import annotations

import gzip
import json
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import attrs
import httpcore
import httpx
import pytest

from akool_async._http import senders
from akool_async._http.exchange import ExchangeDeadlines, ExchangeFailed, RawResponse, exchange
from akool_async._http.senders import MAX_BODY, ApiRequest, HttpxSender, Send, SendTracker
from akool_async._model.codes import Failure

ID = "66160f989dfc997ac2890001"
ANSWER = json.dumps({"code": 1000, "msg": "OK", "data": {"_id": ID, "video_status": 1}}).encode()
HOST = "https://api.example"
CONNECTING, SENDING = "connection.connect_tcp.started", "http11.send_request_headers.started"
TUNNEL = {"request": httpcore.Request("CONNECT", HOST)}
POST = {"request": httpcore.Request("POST", HOST)}


@attrs.define
class Stream(httpx.AsyncByteStream):
    """A body in pieces that ends with an error, or never."""

    pieces: Sequence[bytes] = ()
    error: Exception | None = None
    endless: bool = False
    closed: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.endless:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()  # fails in a scope that was cancelled
        self.closed = True


@attrs.define(slots=False)
class Connection:
    """What is read of a connection, piece by piece; it ends, fails or stays open after the last one."""

    pieces: list[bytes]
    error: Exception | None = None
    stays_open: bool = False

    async def read(self, _: int, timeout: float | None = None) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        if self.stays_open:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error
        return b""


Events = Sequence[tuple[str, dict[str, Any]]]


def prepared(client: httpx.AsyncClient) -> Send:
    sender = HttpxSender(client, origin=HOST, user_agent="test", own=True)
    return sender.prepare(ApiRequest(method="POST", target="/", connect=10.0))


async def ask(
    answer: httpx.Response | Exception | None,
    *,
    events: Events = (),
    timeout: float = 60.0,
    trusted: bool = False,
) -> RawResponse | ExchangeFailed:
    """Make an exchange whose transport shows `events` and then answers, fails, or never does (None)."""

    async def transport(request: httpx.Request) -> httpx.Response:
        for event, info in events:
            await request.extensions["trace"](event, info)
        if answer is None:
            await anyio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer

    result: RawResponse | ExchangeFailed
    async with (
        anyio.create_task_group() as tasks,
        httpx.AsyncClient(transport=httpx.MockTransport(transport)) as client,
    ):
        deadlines = ExchangeDeadlines(tasks)
        try:
            result = await exchange(
                prepared(client), deadlines=deadlines, timeout=timeout, paid=True, trust_error_types=trusted
            )
        except ExchangeFailed as failed:
            result = failed
        finally:
            deadlines.close()
    return result


async def answer_of(answer: httpx.Response) -> RawResponse:
    result = await ask(answer)
    assert isinstance(result, RawResponse)
    return result


async def failure_of(answer: httpx.Response | Exception | None, **options: Any) -> ExchangeFailed:
    result = await ask(answer, **options)
    assert isinstance(result, ExchangeFailed)
    return result


def response(*pieces: bytes, coding: str = "", error: Exception | None = None) -> httpx.Response:
    headers = {"content-encoding": coding} if coding else {}
    return httpx.Response(200, headers=headers, stream=Stream(pieces, error))


# The body.


def bare_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


PACKED = {
    "": ANSWER,
    "identity": ANSWER,
    "gzip": gzip.compress(ANSWER),
    "X-GZip": gzip.compress(ANSWER),
    "deflate": zlib.compress(ANSWER),
    "deflate ": bare_deflate(ANSWER),
    "gzip,gzip": gzip.compress(gzip.compress(ANSWER)),
}


@pytest.mark.parametrize("coding", PACKED, ids=repr)
async def test_a_body_is_unpacked(coding: str) -> None:
    content = PACKED[coding]
    answer = await answer_of(response(content[:20], content[20:], coding=coding.strip()))

    assert (answer.http_status, answer.body) == (200, ANSWER)
    assert answer.headers.get("content-encoding", "") == coding.strip()


async def test_zlib_is_unpacked_at_every_level() -> None:
    for level in range(10):  # each has a header of its own
        assert (await answer_of(response(zlib.compress(ANSWER, level), coding="deflate"))).body == ANSWER


async def test_bare_deflate_is_unpacked_although_it_looks_like_zlib() -> None:
    content = ANSWER + b" "
    for begin in (b"\x08", b"\x18", b"\x78"):  # a stored block; zlib ignores the bits above the third
        size = len(content)
        stored = (
            begin + size.to_bytes(2, "little") + (0xFFFF - size).to_bytes(2, "little") + content + b"\x03\x00"
        )
        assert int.from_bytes(stored[:2]) % 31

        assert (await answer_of(response(stored, coding="deflate"))).body == content


async def test_an_empty_body_is_whole_whatever_its_coding() -> None:
    assert (await answer_of(response(coding="gzip"))).body == b""


async def test_the_largest_body_is_read_and_a_larger_one_is_no_answer() -> None:
    largest = bytes(MAX_BODY)

    assert (await answer_of(response(largest[:5], largest[5:]))).body == largest
    failed = await failure_of(response(ANSWER, largest))
    assert failed.failure is Failure.UNREADABLE
    assert failed.reason == "an answer of more than 4 MiB"
    assert failed.partial == (ANSWER + largest)[: MAX_BODY + 1]


async def test_the_connection_of_a_body_that_is_too_large_is_closed() -> None:
    """Its stream ends with the error of a closed connection, which is not the reason that is given."""
    closed = []

    class Connection:
        async def aclose(self) -> None:
            closed.append(True)

    answer = response(bytes(MAX_BODY + 1), error=httpx.ReadError("closed"))
    answer.extensions["network_stream"] = Connection()
    failed = await failure_of(answer)

    assert closed == [True]
    assert failed.reason == "an answer of more than 4 MiB"


@pytest.mark.parametrize("layers", [1, 2])
async def test_a_small_body_that_unpacks_to_a_huge_one_is_cut(layers: int) -> None:
    packed, coding = bytes(8 * MAX_BODY), ", ".join(["gzip"] * layers)
    for _ in range(layers):
        packed = gzip.compress(packed)
    tracemalloc.start()
    try:
        answer = await answer_of(response(packed, coding=coding))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(answer.body) == MAX_BODY + 1
    assert most < 3 * MAX_BODY


async def test_more_layers_than_two_are_not_unpacked() -> None:
    packed = gzip.compress(gzip.compress(gzip.compress(ANSWER)))

    assert (await answer_of(response(packed, coding="gzip, gzip, gzip"))).body == packed


@pytest.mark.parametrize("coding", ["br", "zstd", "news"])
async def test_a_coding_that_nobody_asked_for_is_not_unpacked(coding: str) -> None:
    assert (await answer_of(response(ANSWER, coding=coding))).body == ANSWER


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
async def test_what_can_be_read_before_a_broken_checksum_is_kept(coding: str) -> None:
    broken = bytearray(PACKED["deflate" if coding == "deflate" else "gzip"])
    broken[-1 if coding == "deflate" else -6] ^= 0xFF
    failed = await failure_of(response(bytes(broken), coding=coding))

    assert failed.failure is Failure.UNREADABLE
    assert failed.reason == "an answer whose compression is broken"
    assert failed.partial == ANSWER


async def test_the_inner_of_two_layers_is_read_where_the_outer_is_broken() -> None:
    broken = bytearray(gzip.compress(gzip.compress(ANSWER)))
    broken[-6] ^= 0xFF
    failed = await failure_of(response(bytes(broken), coding="gzip, gzip"))

    assert failed.failure is Failure.UNREADABLE
    assert failed.partial == ANSWER


async def test_a_body_that_only_its_header_calls_packed_keeps_its_ids() -> None:
    assert (await failure_of(response(ANSWER, coding="gzip"))).partial == ANSWER
    assert (await failure_of(response(b"<html>", coding="gzip"))).partial == b""


@pytest.mark.parametrize("error", [httpx.ReadError("a"), httpx.RemoteProtocolError("b"), OSError("c")])
async def test_what_came_before_the_line_broke_is_kept(error: Exception) -> None:
    failed = await failure_of(response(ANSWER[:70], error=error), events=[(SENDING, POST)])

    assert failed.failure is Failure.CONNECTION_LOST
    assert failed.partial == ANSWER[:70]


async def test_what_came_packed_before_the_line_broke_is_unpacked() -> None:
    packed = gzip.compress(ANSWER)
    failed = await failure_of(response(packed[:-4], coding="gzip", error=httpx.ReadError("reset")))

    assert failed.partial == ANSWER


async def test_what_another_coding_can_not_unpack_is_unreadable() -> None:
    failed = await failure_of(response(ANSWER, coding="gzip, gzip"))

    assert failed.failure is Failure.UNREADABLE
    assert failed.reason == "an answer whose compression is broken"
    assert failed.partial == ANSWER


async def test_what_another_coding_has_unpacked_before_it_breaks_is_kept() -> None:
    packed = gzip.compress(ANSWER)
    failed = await failure_of(response(packed[:-8], bytes(8), coding="gzip, identity"))

    assert (failed.failure, failed.partial) == (Failure.UNREADABLE, ANSWER)


async def test_what_a_client_of_the_callers_would_add_is_left_out() -> None:
    """Its credentials are for other hosts, and a redirect would show ours to another."""
    asked: list[httpx.Request] = []

    def transport(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(302, headers={"location": "https://elsewhere.example"}, stream=Stream())

    async with anyio.create_task_group() as tasks:
        deadlines = ExchangeDeadlines(tasks)
        async with httpx.AsyncClient(
            transport=httpx.MockTransport(transport),
            auth=("user", "password"),
            follow_redirects=True,
            timeout=1.0,
            headers={"x-mine": "kept", "cookie": "secret", "accept-encoding": "br"},
        ) as client:
            answer = await exchange(
                prepared(client), deadlines=deadlines, timeout=60.0, paid=True, trust_error_types=False
            )
        deadlines.close()

    assert answer.http_status == 302
    assert [request.url.host for request in asked] == ["api.example"]
    assert "authorization" not in asked[0].headers
    assert "cookie" not in asked[0].headers
    assert asked[0].headers["x-mine"] == "kept"
    assert asked[0].headers["accept-encoding"] == "gzip, deflate"
    assert asked[0].headers["host"] == "api.example"
    # Only connecting is timed here: a read that timed out would be a doubt about a paid call.
    assert asked[0].extensions["timeout"] == {"connect": 10.0, "read": None, "write": None, "pool": 10.0}


@pytest.mark.parametrize("paid", [True, False])
async def test_only_a_paid_exchange_outlives_its_client(paid: bool) -> None:
    under_way, may_answer = anyio.Event(), anyio.Event()
    results: list[object] = []

    async def transport(_: httpx.Request) -> httpx.Response:
        under_way.set()
        await may_answer.wait()
        return response(ANSWER)

    async def call(client: httpx.AsyncClient, deadlines: ExchangeDeadlines) -> None:
        try:
            answer = await exchange(
                prepared(client), deadlines=deadlines, timeout=60.0, paid=paid, trust_error_types=False
            )
        except ExchangeFailed as failed:
            results.append(failed.failure)
        else:
            results.append(answer.body)

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(transport)) as client,
        anyio.create_task_group() as tasks,
    ):
        deadlines = ExchangeDeadlines(tasks)
        tasks.start_soon(call, client, deadlines)
        await under_way.wait()
        deadlines.close()
        if paid:
            may_answer.set()

    assert results == [ANSWER if paid else Failure.CONNECTION_LOST]


# Sent or not.

UNSENT, LOST = Failure.UNREACHABLE, Failure.CONNECTION_LOST
OFTEN: Events = [(CONNECTING, {}), (SENDING, POST), (SENDING, TUNNEL)]


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("events", "error", "trusted", "failure"),
    [
        ([], httpx.ConnectError("?"), False, LOST),
        ([], httpx.ConnectError("?"), True, UNSENT),
        ([], httpx.ConnectTimeout("?"), True, UNSENT),
        ([], httpx.PoolTimeout("?"), True, UNSENT),
        ([], httpx.ReadError("?"), True, LOST),
        ([(CONNECTING, {})], httpx.ConnectError("?"), False, UNSENT),
        ([(CONNECTING, {})], httpx.ReadTimeout("?"), False, UNSENT),
        ([("connection.connect_unix_socket.started", {})], httpx.ConnectError("?"), False, UNSENT),
        ([("connection.connect_tcp.complete", {}), ("connection.start_tls", {})], OSError(), False, UNSENT),
        ([(CONNECTING, {}), (SENDING, POST)], httpx.ConnectError("?"), False, LOST),
        ([(CONNECTING, {}), ("http11.send_request_headers.complete", POST)], OSError(), False, UNSENT),
        ([(CONNECTING, {}), ("http2.send_request_headers.started", POST)], OSError(), False, LOST),
        ([(CONNECTING, {}), (SENDING, {})], OSError(), False, LOST),
        ([(CONNECTING, {}), (SENDING, TUNNEL)], httpx.ProxyError("?"), False, UNSENT),
        ([(CONNECTING, {}), (SENDING, TUNNEL), (SENDING, POST)], httpx.ReadError("?"), False, LOST),
        (OFTEN, httpx.ReadError("?"), False, LOST),
        ([], caused(httpx.PoolTimeout("?"), httpcore.PoolTimeout()), False, UNSENT),
        ([], caused(httpx.PoolTimeout("?"), httpcore.ReadTimeout()), False, LOST),
        ([], caused(httpx.ReadTimeout("?"), httpcore.PoolTimeout()), False, LOST),
        ([(SENDING, POST)], caused(httpx.PoolTimeout("?"), httpcore.PoolTimeout()), False, LOST),
    ],
)
async def test_only_proof_means_that_nothing_was_sent(
    events: Events, error: Exception, trusted: bool, failure: Failure
) -> None:
    failed = await failure_of(error, events=events, trusted=trusted)

    assert failed.failure is failure
    assert isinstance(failed.reason, str)


async def test_what_is_asked_before_the_first_byte_can_still_stop_it() -> None:
    asked: list[bool] = []

    async def refuse() -> None:
        asked.append(True)
        raise ConnectionAbortedError

    tracker = SendTracker(refuse)
    await tracker(CONNECTING, {})
    await tracker(SENDING, TUNNEL)
    assert asked == []
    with pytest.raises(ConnectionAbortedError):
        await tracker(SENDING, POST)

    assert asked == [True]
    assert tracker.proves_unsent(None)


@pytest.mark.parametrize("events", [[], [(CONNECTING, {})], [(CONNECTING, {}), (SENDING, POST)]])
async def test_a_bad_certificate_is_one_whatever_was_sent(events: Events) -> None:
    untrusted = ssl.SSLCertVerificationError("?")
    untrusted.verify_message = "certificate has expired."
    failed = await failure_of(caused(httpx.ConnectError("?"), untrusted), events=events, trusted=True)

    assert (failed.failure, failed.reason) == (Failure.CERTIFICATE, "certificate has expired")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectTimeout("canary"), "the connection took too long (ConnectTimeout)"),
        (httpx.ConnectError("canary"), "no connection could be made (ConnectError)"),
        (httpx.ReadError("canary"), "the connection broke (ReadError)"),
        (ConnectionResetError(104, "canary"), "the exchange failed (connection reset by peer)"),
        (RuntimeError("canary"), "the exchange failed (RuntimeError)"),
    ],
)
async def test_the_reason_is_in_words_of_our_own(error: Exception, words: str) -> None:
    assert (await failure_of(error)).reason == words


@pytest.mark.parametrize(
    ("events", "failure"),
    [([], LOST), ([(CONNECTING, {})], UNSENT), ([(CONNECTING, {}), (SENDING, POST)], LOST)],
)
async def test_a_time_out_is_no_proof_by_itself(events: Events, failure: Failure) -> None:
    failed = await failure_of(None, events=events, timeout=0.01)

    assert failed.failure is failure
    assert failed.reason == "no complete answer within 0.01 s"


async def test_an_answer_that_stalls_keeps_what_came_and_frees_its_connection() -> None:
    stream = Stream([ANSWER[:70]], endless=True)
    failed = await failure_of(httpx.Response(200, stream=stream), events=[(SENDING, POST)], timeout=0.01)

    assert failed.partial == ANSWER[:70]
    assert stream.closed


async def test_the_connection_of_a_whole_or_broken_answer_is_freed() -> None:
    whole, broken = Stream([ANSWER]), Stream([ANSWER[:9]], httpx.ReadError("reset"))
    await answer_of(httpx.Response(200, stream=whole))
    await failure_of(httpx.Response(200, stream=broken))

    assert (whole.closed, broken.closed) == (True, True)


HEAD = b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"


@pytest.mark.parametrize(
    "connection",
    [
        Connection([HEAD + ANSWER]),
        Connection([HEAD, ANSWER[:30], ANSWER[30:]]),
        Connection([ANSWER], httpcore.ReadError("reset")),
        Connection([HEAD + ANSWER], stays_open=True),
        Connection([HEAD + gzip.compress(ANSWER)]),
    ],
    ids=["whole", "in pieces", "reset", "kept open", "packed"],
)
async def test_what_follows_a_head_that_is_refused_is_kept(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "_REST", 0.02)
    connected = ("connection.connect_tcp.complete", {"return_value": connection})
    refused = ("http11.receive_response_headers.failed", {"exception": httpcore.RemoteProtocolError("no")})
    failed = await ask(httpx.RemoteProtocolError("no"), events=[connected, (SENDING, POST), refused])

    assert isinstance(failed, ExchangeFailed)
    assert failed.failure is Failure.CONNECTION_LOST
    assert failed.partial == ANSWER


async def test_a_connection_is_read_as_before_once_the_head_is_complete() -> None:
    connection = Connection([b"body"])
    connected = ("connection.start_tls.complete", {"return_value": connection})
    complete = ("http11.receive_response_headers.complete", {"return_value": ()})
    tracker = SendTracker()
    for event, info in (connected, (SENDING, POST)):
        await tracker(event, info)
    assert "read" in vars(connection)
    await tracker(*complete)

    assert connection.read.__func__ is Connection.read  # type: ignore[attr-defined]
    assert await connection.read(1) == b"body"
    assert tracker.refused == b""


@pytest.mark.parametrize(
    "sending", [("http2.send_request_headers.started", POST), (SENDING, TUNNEL)], ids=["http2", "tunnel"]
)
async def test_nothing_is_kept_of_what_may_be_the_answer_to_another_request(sending: Any) -> None:
    connection = Connection([b'{"data": {"_id": "66160f989dfc997ac2890002"}}'])
    tracker = SendTracker()
    for event, info in (("connection.start_tls.complete", {"return_value": connection}), sending):
        await tracker(event, info)
    await connection.read(1)
    await tracker("http2.receive_response_headers.failed", {})

    assert tracker.refused == b""
