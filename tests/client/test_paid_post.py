"""The rule that costs most when broken: one create POST, never two, unless it surely made no job."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any

import anyio
import httpx
import pytest
import trustme

from akool_async import (
    AkoolClient,
    AkoolError,
    AuthenticationError,
    BadRequestError,
    CertificateError,
    ClientClosedError,
    ConfigurationError,
    ConnectError,
    DuplicateJobError,
    Event,
    InvalidMediaError,
    NotSubmitted,
    Observer,
    OutOfCredits,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    SubmissionInDoubt,
    UnexpectedRedirectError,
    VendorError,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Fault, Sandbox
from tests.client.conftest import KEY, QUICK, Open, Way, stray, video
from tests.client.moments import address, closed_port, end_time_of_calls, until

LOST_ANSWERS: list[dict[str, Any]] = [
    {"kind": "reset_before"},
    {"kind": "reset_after"},
    {"kind": "hang", "acted": True},
    {"kind": "hang", "acted": False},
    *(
        {"kind": "http", "status": status, "acted": acted}
        for status in (500, 502, 503, 504)
        for acted in (True, False)
    ),
    {"kind": "html", "acted": True},
    {"kind": "empty", "acted": True},
    {"kind": "truncated", "keep": 0.02},
    {"kind": "short", "keep": 0.02},
    {"kind": "garbage", "acted": True},
    {"kind": "huge", "acted": False},
    {"kind": "wrong_type"},
]


def _named(fault: dict[str, Any]) -> str:
    return "-".join(str(value) for value in fault.values())


@pytest.mark.parametrize("fault", LOST_ANSWERS, ids=_named)
async def test_is_in_doubt_and_not_repeated_when_the_answer_is_lost(
    house: Open, fault: dict[str, Any]
) -> None:
    async with house(faults=[Fault(on="create", **fault)]) as home:
        client, ledger = await home.client(), home.sandbox.audit
        async with anyio.create_task_group() as tasks:
            if fault["kind"] == "hang":
                tasks.start_soon(_end_once_asked, client, home.sandbox, "create")
            with pytest.raises(SubmissionInDoubt) as caught:
                await client.submit(video())

        assert ledger.requests["create"] == 1
        assert len(ledger.jobs) <= 1
        assert set(caught.value.job_ids) <= {job.id for job in ledger.jobs}
    assert caught.value.targets == ("ja",)
    assert "may have been made" in str(caught.value)


async def _end_once_asked(client: AkoolClient, sandbox: Sandbox, endpoint: str, *, calls: int = 1) -> None:
    """Let each of the first calls to an endpoint time out, once the vendor has been asked."""
    for number in range(1, calls + 1):
        await until(lambda number=number: sandbox.audit.requests.get(endpoint, 0) >= number)
        end_time_of_calls(client)


@pytest.mark.parametrize("do", ["truncated", "short"])
async def test_keeps_an_id_that_can_be_read_in_a_torn_answer_and_confirms_it(house: Open, do: str) -> None:
    async with house(faults=[Fault(on="create", kind=do, keep=0.9)]) as home:
        submission = await (await home.client()).submit(video())

        (job,) = home.sandbox.audit.jobs
        assert submission.job_ids == (job.id,)
        assert submission.accepted[0].target == "ja"
        assert home.sandbox.audit.requests["create"] == 1
        assert len(home.sandbox.audit.polls(job.id)) == 1


async def test_ids_of_several_languages_in_a_torn_answer_are_confirmed(house: Open) -> None:
    async with house(faults=[Fault(on="create", kind="truncated", keep=0.95)]) as home:
        submission = await (await home.client()).submit(video(targets="ja,fr"))

        assert {job.target: job.id for job in submission.accepted} == {
            job.language: job.id for job in home.sandbox.audit.jobs
        }
    assert submission.missing == ()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "http", "status": 429},
        {"kind": "http", "status": 429, "retry_after": 0},
        {"kind": "http", "status": 429, "retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {"kind": "code", "code": 1005},
    ],
    ids=_named,
)
async def test_is_repeated_when_it_was_refused_as_too_frequent(house: Open, fault: dict[str, Any]) -> None:
    often = QUICK.attempts + 3
    async with house(faults=[Fault(on="create", nth=range(1, often + 1), **fault)]) as home:
        submission = await (await home.client()).submit(video())

        assert len(submission.accepted) == 1
        assert home.sandbox.audit.requests["create"] == often + 1
        assert len(home.sandbox.audit.jobs) == 1


async def test_gives_up_when_the_vendor_throttles_without_end(house: Open) -> None:
    impatient = RetryPolicy(throttle_initial_delay=0.01, max_delay=0.02, throttle_deadline=0.1)
    async with house(faults=[Fault(on="create", kind="code", code=1005)]) as home:
        with pytest.raises(RateLimitError, match="nothing was charged"):
            await (await home.client(retry=impatient)).submit(video())

        assert home.sandbox.audit.jobs == ()


@pytest.mark.parametrize(
    "fault",
    [
        {
            "kind": "http",
            "status": 429,
            "acted": True,
            "body": '{"code":1005,"data":{"_id":"0123456789abcdef01234567"}}',
        }
    ],
)
async def test_a_refusal_that_names_a_job_is_a_doubt(house: Open, fault: dict[str, Any]) -> None:
    async with house(faults=[Fault(on="create", **fault)]) as home:
        with pytest.raises(SubmissionInDoubt) as caught:
            await (await home.client()).submit(video())

        assert home.sandbox.audit.requests["create"] == 1
    assert caught.value.job_ids == ("0123456789abcdef01234567",)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "code", "code": 1101},
        {"kind": "code", "code": 1102},
        {"kind": "http", "status": 401},
        {"kind": "http", "status": 403},
    ],
    ids=_named,
)
async def test_is_repeated_once_with_a_new_token(house: Open, fault: dict[str, Any]) -> None:
    async with house(
        client_id="someone", client_secret=KEY, faults=[Fault(on="create", nth=1, **fault)]
    ) as home:
        client = await home.client(client_id="someone", client_secret=KEY)
        submission = await client.submit(video())

        assert len(submission.accepted) == 1
        assert home.sandbox.audit.requests["create"] == 2
        assert home.sandbox.audit.token_calls == 2
        assert len(home.sandbox.audit.jobs) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_an_error_and_not_followed(house: Open, status: int) -> None:
    async with house(faults=[Fault(on="create", kind="redirect", status=status)]) as home:
        with pytest.raises(UnexpectedRedirectError):
            await (await home.client()).submit(video())

        assert home.sandbox.audit.requests["create"] == 1
        assert home.sandbox.audit.leaks == ()


REFUSALS = [
    *((code, BadRequestError) for code in (1003, 1010, 1011)),
    *((code, InvalidMediaError) for code in (1013, 1203, 1204, 1207, 1208, 1209, 1210)),
    *((code, DuplicateJobError) for code in (1202, 1222)),
    *((code, OutOfCredits) for code in (1006, 1103, 1104)),
    *((code, PermissionDeniedError) for code in (1004, 1009, 1109, 1200, 1213, 1221)),
    *((code, ServerError) for code in (1015, 1017, 1110, 1112, 1201, 1205, 1211)),
    *((code, AuthenticationError) for code in (1101, 1102)),
    *((code, VendorError) for code in (9999, 0, -1)),
]


@pytest.mark.parametrize(("code", "error"), REFUSALS)
async def test_a_refusal_is_an_error_and_not_repeated(
    fast_house: Open, code: int, error: type[AkoolError]
) -> None:
    async with fast_house(faults=[Fault(on="create", kind="code", code=code)]) as home:
        with pytest.raises(error) as caught:
            await (await home.client()).submit(video())

        assert home.sandbox.audit.requests["create"] == 1
    assert type(caught.value) is error
    assert caught.value.code == code
    assert caught.value.vendor_message


async def test_one_refused_language_does_not_lose_the_others(house: Open) -> None:
    async with house(faults=[Fault(on="create", kind="refuse_language", language="fr", code=1202)]) as home:
        submission = await (await home.client()).submit(video(targets="ja,fr,hi"))

        assert set(submission.job_ids) == {job.id for job in home.sandbox.audit.jobs}
    assert [job.target for job in submission.accepted] == ["ja", "hi"]
    assert [(refusal.target, type(refusal.error)) for refusal in submission.refused] == [
        ("fr", DuplicateJobError)
    ]


async def test_a_language_that_the_answer_leaves_out_is_in_doubt(house: Open) -> None:
    async with house(faults=[Fault(on="create", kind="omit_language", language="fr")]) as home:
        submission = await (await home.client()).submit(video(targets="ja,fr,hi"))

    assert [job.target for job in submission.accepted] == ["ja", "hi"]
    assert submission.missing == ("fr",)


async def test_a_job_that_was_not_asked_for_is_kept(house: Open) -> None:
    async with house(faults=[Fault(on="create", kind="extra_language")]) as home:
        submission = await (await home.client()).submit(video(targets="ja,fr"))

        assert set(submission.job_ids) == {job.id for job in home.sandbox.audit.jobs}
    assert len(submission.accepted) == 2
    assert len(submission.extra) == 1


async def test_without_a_list_of_results_only_the_named_job_is_sure(house: Open) -> None:
    async with house(faults=[Fault(on="create", kind="no_all_results")]) as home:
        submission = await (await home.client()).submit(video(targets="ja,fr"))

    assert [job.target for job in submission.accepted] == ["fr"]
    assert submission.missing == ("ja",)


async def test_goes_out_on_a_connection_of_its_own(way: Way, house: Open) -> None:
    if way.name.startswith("injected"):
        pytest.skip("a caller's own client pools as it likes")
    async with house() as home:
        client = await home.client()
        for number in range(3):
            await client.credit()
            await client.submit(video(number))

        creates = home.sandbox.audit.creates
    assert [create.request_on_connection for create in creates] == [1, 1, 1]
    assert len({create.connection for create in creates}) == 3


async def test_a_refused_connection_is_tried_again_and_nothing_was_sent(way: Way) -> None:
    if way.name == "injected-fast":
        pytest.skip("that transport can't prove it, see the next test")
    with closed_port() as port:
        async with stray(way, address(port)) as client:
            with pytest.raises(ConnectError, match="Nothing was sent"):
                await client.submit(video())


async def test_what_a_transport_can_not_prove_unsent_counts_as_sent() -> None:
    from httpx_aiohttp import AiohttpTransport

    with closed_port() as port:
        async with (
            httpx.AsyncClient(transport=AiohttpTransport()) as http,
            AkoolClient(api_key=KEY, host=address(port), http_client=http) as client,
        ):
            with pytest.raises(SubmissionInDoubt):
                await client.submit(video())


async def test_a_name_that_does_not_resolve_is_provably_unsent() -> None:
    async with AkoolClient(api_key=KEY, host="https://no-such-host.invalid", retry=QUICK) as client:
        with pytest.raises(ConnectError):
            await client.submit(video())


async def test_is_sent_once_the_connection_can_be_made(way: Way, house: Open) -> None:
    if way.name == "injected-fast":
        pytest.skip("that transport can't prove a refused connection")
    retried = Retried()
    with closed_port() as port:
        async with anyio.create_task_group() as tasks, house() as home:
            patient = RetryPolicy(initial_delay=0.02, max_delay=0.05, attempts=100_000)
            client = await home.client(host=address(port), retry=patient, observers=[retried])

            async def open_for_one() -> None:
                await until(lambda: retried.times >= 2)
                await anyio.to_thread.run_sync(_forward, port, home.server.base_url)

            tasks.start_soon(open_for_one)
            submission = await client.submit(video())

            assert len(submission.accepted) == 1
            assert home.sandbox.audit.requests["create"] == 1


class Retried(Observer):
    """Counts how often a call was tried again."""

    times = 0

    def on_event(self, event: Event) -> None:
        self.times += event.name == "retried"


def _forward(port: socket.socket, base_url: str) -> None:
    """Pass one connection on to the sandbox."""
    port.listen()
    port.settimeout(40)
    client, _ = port.accept()
    client.settimeout(40)
    host, _, upstream_port = base_url.rpartition("/")[2].partition(":")
    with client, socket.create_connection((host, int(upstream_port))) as upstream:
        answers = threading.Thread(target=_pump, args=(upstream, client))
        answers.start()
        _pump(client, upstream)
        answers.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    while chunk := source.recv(65536):
        sink.sendall(chunk)
    sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("transport", ["auto", "plain"])
async def test_a_bad_certificate_is_an_error_at_once(transport: str) -> None:
    with _UntrustedServer() as (port, connections):
        async with AkoolClient(api_key=KEY, host=f"https://localhost:{port}", transport=transport) as client:
            with pytest.raises(CertificateError, match=rf"localhost:{port} was not accepted: unable to"):
                await client.submit(video())
            with pytest.raises(CertificateError):
                await client.credit()

        assert len(connections) == 2


class _UntrustedServer:
    """A server with a certificate that nobody trusts."""

    def __enter__(self) -> tuple[int, list[object]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._connections: list[object] = []
        self._thread = threading.Thread(target=self._serve, args=(context,), daemon=True)
        self._thread.start()
        return self._socket.getsockname()[1], self._connections

    def _serve(self, context: ssl.SSLContext) -> None:
        while True:
            try:
                client, address = self._socket.accept()
            except OSError:
                return
            self._connections.append(address)
            try:
                context.wrap_socket(client, server_side=True).close()
            except (ssl.SSLError, OSError):
                client.close()

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.mark.parametrize(
    "wrong", ["a text", httpx.Client(), httpx.AsyncClient], ids=["text", "sync", "class"]
)
def test_a_client_that_can_not_send_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^http_client must be None or an httpx\.AsyncClient, not "):
        AkoolClient(api_key=KEY, http_client=wrong)


async def test_a_callers_client_that_is_closed_can_not_be_opened_with() -> None:
    http = httpx.AsyncClient()
    client = AkoolClient(api_key=KEY, http_client=http)
    await http.aclose()

    with pytest.raises(ConfigurationError, match="http_client is closed"):
        await client.aopen()


async def test_a_callers_client_that_is_closed_meanwhile_leaves_no_doubt(fast_house: Open) -> None:
    outcomes: list[type] = []
    async with fast_house() as home, open_journal(":memory:") as journal:
        http = httpx.AsyncClient()
        client = await home.client(http_client=http)
        await http.aclose()
        for call in (client.credit, lambda: client.submit(video())):
            with pytest.raises(ClientClosedError, match="Nothing was sent"):
                await call()
        with pytest.raises(ClientClosedError):
            async with open_batch(client, [video(1, key="talk")], journal=journal) as batch:
                async for outcome in batch:
                    outcomes.append(type(outcome))

        assert journal.get("talk", "ja") is None  # no intent was written
    assert outcomes == [NotSubmitted]


async def test_a_full_pool_is_provably_unsent(fast_house: Open) -> None:
    limits = httpx.Limits(max_connections=1)
    async with fast_house(faults=[Fault(on="status", kind="hang")]) as home:
        http = httpx.AsyncClient(limits=limits)
        client = await home.client(http_client=http, connect_timeout=0.05)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_ignore, client.status, "0" * 24)
            with anyio.fail_after(20):
                while not home.sandbox.audit.requests.get("status"):
                    await anyio.sleep(0.005)
            with pytest.raises(ConnectError):
                await client.submit(video())
            tasks.cancel_scope.cancel()

        assert home.sandbox.audit.creates == ()


async def _ignore(call: Any, *arguments: Any) -> None:
    with contextlib.suppress(AkoolError):
        await call(*arguments)
