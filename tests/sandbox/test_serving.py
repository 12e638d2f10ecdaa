"""Opening and closing the doors: both event loops, taken ports, many at once, a process of its own."""

from __future__ import annotations

import gc
import http.client
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from anyio import to_thread

from akool_async.sandbox import FakeClock, Fault, Sandbox
from tests.storage.server import free_ports

from .conftest import CREATE, CREDIT, KEY, TOKEN, URL, plain_client, visiting

BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
BODY = {"url": URL, "language": "fr"}


@BOTH
async def test_it_serves_on_both_event_loops() -> None:
    async with visiting() as visitor:
        assert (await visitor.create())["code"] == 1000


@BOTH
async def test_afterwards_the_ports_are_free_and_the_thread_is_gone() -> None:
    before = threading.active_count()
    sandbox = Sandbox(media=False)
    found = free_ports()  # that no connection of another program gets meanwhile
    ports = next(found), next(found)
    for _ in range(2):
        async with sandbox.serve(port=ports[0], cdn_port=ports[1]) as server:
            assert server.base_url.endswith(str(ports[0]))

    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox"]
    assert threading.active_count() <= before + 2  # the worker threads of anyio stay
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", ports[0]), 50):
        pass


async def test_tokens_in_paths_reach_no_log_of_this_process(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    access = logging.getLogger("uvicorn.access")
    async with Sandbox(media=False).serve() as server:
        before, access.propagate = access.propagate, True  # as another server in this process leaves it
        try:
            async with httpx.AsyncClient() as http:
                await http.get(f"{server.cdn_url}/results/canary-of-a-token/talk.mp4")
        finally:
            access.propagate = before

    said = [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")]
    assert not any("canary-of-a-token" in line for line in said)


@BOTH
async def test_it_stops_when_the_block_is_cancelled() -> None:
    with anyio.move_on_after(0.02) as scope:
        async with Sandbox(media=False).serve():
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert not [thread for thread in threading.enumerate() if thread.name == "sandbox"]


@pytest.mark.parametrize("milliseconds", range(0, 10, 3))
async def test_it_closes_also_the_connections_that_come_while_it_stops(milliseconds: int) -> None:
    with ExitStack() as opened:
        knocking = threading.Event()
        async with Sandbox(media=False).serve() as server:
            knocker = threading.Thread(target=knock, args=(server.base_url, opened, knocking))
            knocker.start()
            await anyio.sleep(milliseconds / 1000)
        knocking.set()
        await to_thread.run_sync(knocker.join)

    gc.collect()  # what was left open is told now, and told is failed


def knock(url: str, opened: ExitStack, stop: threading.Event) -> None:
    """Open connections until told to stop, and ask for nothing."""
    address = (urlsplit(url).hostname, urlsplit(url).port)
    for _ in range(200):
        if stop.is_set():
            return
        one = opened.enter_context(socket.socket())
        one.setblocking(False)
        with suppress(BlockingIOError, ConnectionRefusedError):
            one.connect(address)


async def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    sandbox = Sandbox(media=False)
    async with sandbox.serve() as server:
        port = urlsplit(server.base_url).port or 0
        with pytest.raises(OSError, match="in use"):
            async with Sandbox(media=False).serve(port=port):
                pass


async def test_the_state_outlives_the_server() -> None:
    sandbox = Sandbox(media=False, clock=FakeClock())
    for _ in range(2):
        async with sandbox.serve() as server, plain_client(server.base_url, headers=KEY) as http_client:
            await http_client.post(CREATE, json=BODY)

    assert len(sandbox.audit.jobs) == 2


async def test_requests_on_one_connection_are_numbered() -> None:
    async with visiting() as visitor:
        for _ in range(2):
            await visitor.create()
        async with plain_client(visitor.server.base_url, headers=KEY) as other:
            await other.post(CREATE, json=BODY)
        creates = visitor.sandbox.audit.creates

    assert [(one.connection, one.request_on_connection) for one in creates] == [(1, 1), (1, 2), (2, 1)]


async def test_many_clients_at_once() -> None:
    async with visiting(max_jobs=500) as visitor, anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(visitor.create)

    assert len(visitor.sandbox.audit.jobs) == 100


def test_time_can_run_faster() -> None:
    sandbox = Sandbox(media=False, time_scale=1_000_000.0)
    begin = sandbox.clock()
    while sandbox.clock() == begin:
        pass

    assert sandbox.clock() - begin > 0
    with pytest.raises(ValueError):
        Sandbox(media=False, time_scale=0)


@pytest.mark.parametrize(
    "choice",
    [
        {"max_jobs": 0}, {"rate": 0}, {"failure_rate": 2}, {"api_version": "new"}, {"progress": "fast"},
        {"api_key": ""}, {"credits": -1}, {"median_seconds": 0},
        {"allow_remote": ["a"]}, {"allow_remote": ["a"], "api_key": "own", "control": True},
    ],
)  # fmt: skip
def test_impossible_choices_are_refused(choice: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Sandbox(media=False, **choice)  # type: ignore[arg-type]


SERVE = """
import signal
from akool_async.sandbox import Sandbox
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the shell of the tests has it ignored
Sandbox(media=False, control=True).run(
    port=0, ready=lambda server: print(server.base_url, server.cdn_url, flush=True)
)
print("stopped")
"""


BARE = """
import sys
for name in ("av", "uvicorn", "starlette", "cryptography"):
    sys.modules[name] = None
import anyio, httpx
from akool_async.sandbox import Sandbox
sandbox = Sandbox(media=False)
httpx.AsyncClient(transport=sandbox.http_transport())
try:
    anyio.run(sandbox.serve().__aenter__)
except ModuleNotFoundError as error:
    print(error)
"""


def test_inside_the_process_no_extra_is_needed_and_serving_says_which_is() -> None:
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert "akool-async[sandbox]" in done.stdout


def call(
    url: str, method: str = "GET", path: str = "/", body: object = None
) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=50)
    try:
        connection.request(method, path, body=json.dumps(body), headers=KEY)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


def test_a_process_of_its_own_is_steered_from_outside_and_stopped_by_ctrl_c() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            api, cdn = process.stdout.readline().split()
            added = call(
                cdn, "POST", "/_sandbox/faults", {"on": "create", "kind": "code", "code": 1015, "nth": 2}
            )
            codes = [call(api, "POST", CREATE, BODY)[1]["code"] for _ in range(2)]
            refused = call(
                cdn, "POST", "/_sandbox/faults", {"faults": [{"on": "create", "kind": "nonsense"}]}
            )
            cleared = call(cdn, "DELETE", "/_sandbox/faults")
            ledger = call(cdn, "GET", "/_sandbox/audit")
            unknown = call(cdn, "GET", "/_sandbox/nothing")
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=50)

    assert added == (200, {"faults": 1})
    assert codes == [1000, 1015]
    assert refused[0] == 400
    assert cleared == (200, {"faults": 0})
    assert ledger[1]["credits"] == {"paid_in": 100000.0, "available": 99996.0, "locked": 4.0, "spent": 0.0}
    assert ledger[1]["leaks"] == []
    assert unknown[0] == 404
    assert (rest.strip(), process.returncode) == ("stopped", 0)


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (b"create:code:code=1015:nth=2", 1),
        (b"create:code:code=1015:nth=2\r\nstatus:http:status=503\n\n", 2),
        (b'"create:reset"', 1),
        (b'["create:reset", {"on": "cdn", "kind": "drip"}]', 2),
        (b'{"faults": ["create:reset", {"on": "create", "kind": "code", "code": 1015}]}', 2),
        (b'{"faults": "create:reset"}', 1),
        (b'{"on": "create", "kind": "code", "code": 1015, "nth": [2, 4]}', 1),
    ],
)
async def test_faults_are_taken_as_objects_and_as_texts(body: bytes, faults: int) -> None:
    async with visiting(control=True) as visitor, plain_client(visitor.server.cdn_url) as http_client:
        answer = await http_client.post("/_sandbox/faults", content=body)

        assert (answer.status_code, answer.json()) == (200, {"faults": faults})
        assert len(visitor.sandbox.faults) == faults


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "a fault is a text such as"),
        (b"{}", "An object has on and kind"),
        (b"[]", "a fault is a text such as"),
        (b"7", "a fault is a text such as"),
        (b"null", "a fault is a text such as"),
        (b'{"on": "create", "kind": "code", "cod": 1}', "may have acted, body, code"),
        (b'{"on": "nowhere", "kind": "code"}', "on must be one of 'token', "),
        (b'{"on": "create", "kind": "nonsense"}', "'nonsense' is not a valid FaultKind"),
        (b'{"on": "create", "kind": "code", "nth": "3-"}', "nth counts requests from 1"),
        (b'{"on": "create"', "is not a fault"),
        (b"create:nonsense", "after 'create' may follow"),
        (b"create:reset\nnowhere:reset", "it may begin with"),
        (b"[" * 100_000, "is not a fault"),
        (b"\xff", "is not a fault"),
        (b'{"on": "create", "kind": "http", "body": "\\ud800"}', "is not a fault"),
    ],
)
async def test_what_is_no_fault_is_refused_in_plain_words(body: bytes, said: str) -> None:
    async with visiting(control=True) as visitor, plain_client(visitor.server.cdn_url) as http_client:
        answer = await http_client.post("/_sandbox/faults", content=body)

        assert answer.status_code == 400
        assert said in answer.json()["error"]
        assert "__init__" not in answer.text
        assert "Attribute(" not in answer.text
        assert len(visitor.sandbox.faults) == 0


async def test_without_control_nothing_can_be_steered() -> None:
    async with visiting() as visitor, plain_client(visitor.server.cdn_url) as http_client:
        assert (await http_client.get("/_sandbox/audit")).status_code == 404
        assert (
            await http_client.post("/_sandbox/faults", json={"on": "*", "kind": "empty"})
        ).status_code == 404
        assert len(visitor.sandbox.faults) == 0


async def test_a_web_page_can_not_steer_it() -> None:
    async with visiting(control=True) as visitor, plain_client(visitor.server.cdn_url) as http_client:
        for method, path in (("GET", "audit"), ("POST", "faults"), ("DELETE", "faults")):
            answer = await http_client.request(
                method, f"/_sandbox/{path}", headers={"origin": "http://localhost"}, json={}
            )
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
        assert (await http_client.get("/_sandbox/audit")).status_code == 200


async def test_a_fake_clock_can_be_moved_from_outside() -> None:
    async with visiting(control=True) as visitor, plain_client(visitor.server.cdn_url) as http_client:
        before = visitor.clock()
        await http_client.post("/_sandbox/advance", json={"seconds": 60})

        assert visitor.clock() == before + 60
        assert (await http_client.post("/_sandbox/advance", json={})).status_code == 400


@BOTH
async def test_inside_the_process_it_answers_the_same() -> None:
    sandbox = Sandbox(media=False, clock=FakeClock())
    async with httpx.AsyncClient(
        transport=sandbox.http_transport(), base_url="http://127.0.0.1:1"
    ) as http_client:
        http_client.headers.update(KEY)
        job = (await http_client.post(CREATE, json=BODY)).json()["data"]
        sandbox.clock.advance(100_000)  # type: ignore[attr-defined]
        path = "/api/open/v3/content/video/infobymodelid"
        done = (await http_client.get(path, params={"video_model_id": job["_id"]})).json()["data"]
        part = await http_client.get(done["video"], headers={"range": "bytes=0-9"})
        head = await http_client.head(done["video"])

        assert (part.status_code, len(part.content)) == (206, 10)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "4096")
        with pytest.raises(httpx.ConnectError):
            await http_client.get("http://127.0.0.1:3/")


@BOTH
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("reset_before", httpx.ReadError),
        ("reset_after", httpx.ReadError),
        ("short", httpx.RemoteProtocolError),
        ("garbage", httpx.RemoteProtocolError),
        ("hang", httpx.ReadTimeout),
    ],
)
async def test_inside_the_process_faults_become_the_errors_of_httpx(
    kind: str, error: type[Exception]
) -> None:
    sandbox = Sandbox(media=False, faults=[Fault(on="create", kind=kind)])
    async with httpx.AsyncClient(
        transport=sandbox.http_transport(), base_url="http://127.0.0.1:1"
    ) as http_client:
        with pytest.raises(error):
            await http_client.post(CREATE, json=BODY, headers=KEY, timeout=0.03 if kind == "hang" else None)

    assert len(sandbox.audit.jobs) == (kind in ("reset_after", "short"))


async def test_the_client_of_the_sandbox_needs_no_settings() -> None:
    sandbox = Sandbox(media=False)
    async with sandbox.client() as client:
        assert await client.credit() == 100_000


async def test_the_client_of_the_sandbox_can_use_the_older_way_in() -> None:
    sandbox = Sandbox(media=False)
    async with sandbox.client(client_id="sandbox-client-id", client_secret="sandbox-test-key") as client:
        assert await client.credit() == 100_000

    assert sandbox.audit.requests == {"token": 1, "credit": 1}
    assert (TOKEN, CREDIT) == ("/api/open/v3/getToken", "/api/open/v3/faceswap/quota/info")
