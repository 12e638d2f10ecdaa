"""The network between a worker and Postgres stalls or breaks while a job is paid for: in doubt at worst."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import psycopg
import pytest
from anyio.abc import ByteStream, SocketAttribute
from sqlalchemy.engine import make_url

from akool_async import AkoolClient, InDoubt, State
from akool_async.ledger import Ledger, LedgerError, Made, NotSent, Submitted, open_ledger
from akool_async.sandbox import Sandbox
from tests.ledger.conftest import QUICK, SHORT_JOBS, video
from tests.postgres import new_database, server_url

REQUEST, ANSWER = "request", "answer"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Link:
    """A network to Postgres that can go silent, or be cut, where the next bytes of a direction would pass.

    Attributes:
        url: of the database, by way of this network.
        reached: set when bytes were kept back or a connection was cut.
    """

    def __init__(self, database: str) -> None:
        with psycopg.connect(server_url()) as connection:
            info = connection.info
            self._socket = f"{info.host}/.s.PGSQL.{info.port}"
        self._database = make_url(database)
        self._broken = self._kind = ""
        self._down = False
        self._up = anyio.Event()
        self._open: set[anyio.CancelScope] = set()
        self.url = ""
        self.reached = anyio.Event()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Link]:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener,
            anyio.create_task_group() as tasks,
        ):
            port = listener.extra(SocketAttribute.local_port)
            by_way = self._database.set(host="127.0.0.1", port=port, query={})
            self.url = by_way.render_as_string(hide_password=False)
            tasks.start_soon(listener.serve, self._connect)
            yield self
            tasks.cancel_scope.cancel()

    def break_at(self, direction: str, kind: str) -> None:
        self._broken, self._kind = direction, kind

    def restore(self) -> None:
        self._broken, self._down = "", False
        self._up.set()

    async def _connect(self, client: ByteStream) -> None:
        async with client:
            if self._down:
                return
            async with await anyio.connect_unix(self._socket) as server, anyio.create_task_group() as tasks:
                self._open.add(tasks.cancel_scope)
                tasks.start_soon(self._pass, client, server, REQUEST, tasks.cancel_scope)
                tasks.start_soon(self._pass, server, client, ANSWER, tasks.cancel_scope)
            self._open.discard(tasks.cancel_scope)

    async def _pass(
        self, source: ByteStream, sink: ByteStream, direction: str, both: anyio.CancelScope
    ) -> None:
        try:
            async for data in source:
                if self._broken == direction:
                    self._break()
                if self._kind == "stall" and self._broken and self.reached.is_set():
                    await self._up.wait()
                await sink.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the other end has closed, as it does at the end of a test
        both.cancel()

    def _break(self) -> None:
        self.reached.set()
        if self._kind == "cut":
            self._broken, self._down = "", True
            for scope in self._open:
                scope.cancel()


class CutOff(Ledger):
    """The ledger of a worker whose network breaks when it asks for a certain thing."""

    def __init__(self, link: Link, moment: str, direction: str, kind: str) -> None:
        super().__init__(link.url)
        self._breaks = {moment: lambda: link.break_at(direction, kind)}

    def _reach(self, moment: str) -> None:
        self._breaks.pop(moment, lambda: None)()

    async def intend(self, *arguments: Any, **more: Any) -> Any:
        self._reach("intent")
        return await super().intend(*arguments, **more)

    async def acquire(self, *arguments: Any, **more: Any) -> bool:
        self._reach("right to send")
        return await super().acquire(*arguments, **more)

    async def made(self, *arguments: Any, **more: Any) -> bool:
        self._reach("ids")
        return await super().made(*arguments, **more)


async def submit_until_known(ledger: Ledger, client: AkoolClient, number: int = 1) -> Submitted:
    """Submit as an engine does: again after a failure of the database, and where it was not sent."""
    while True:
        try:
            found = await ledger.submit_once(client, video(number))
        except LedgerError:
            found = NotSent(reason="")
        if not isinstance(found, NotSent):
            return found
        await anyio.sleep(0.05)


@pytest.mark.parametrize("kind", ["stall", "cut"])
@pytest.mark.parametrize("direction", [REQUEST, ANSWER])
@pytest.mark.parametrize("moment", ["intent", "right to send", "ids"])
async def test_a_worker_that_was_cut_off_pays_once_and_continues(
    moment: str, direction: str, kind: str
) -> None:
    database = new_database()
    sandbox = Sandbox(api_key="canary-5d1", media=False, **SHORT_JOBS, seed=1)
    found: list[Submitted] = []
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        server = await enter(sandbox.serve())
        client = await enter(AkoolClient(api_key="canary-5d1", host=server.base_url, retry=QUICK))
        other = await enter(open_ledger(database))
        link = await enter(Link(database).serve())
        ledger = await enter(CutOff(link, moment, direction, kind))

        async def work() -> None:
            found.append(await submit_until_known(ledger, client))

        with anyio.fail_after(250):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(work)
                await link.reached.wait()
                # Meanwhile another machine takes the entry, as an engine would let it.
                await other.submit_once(client, video())
                link.restore()
            assert isinstance(await submit_until_known(ledger, client, 2), Made)
        entry = await other.get("video-1", "ja")
        again = await other.submit_once(client, video())

    jobs = [job.id for job in sandbox.audit.jobs if job.url.startswith("https://media.example/1.mp4")]
    assert entry is not None
    assert len(jobs) <= 1
    if jobs:
        assert (entry.state, entry.job_id) == (State.SUBMITTED, jobs[0])
        assert isinstance(again, Made)
    else:  # nobody knows whether it was sent; that is all that a partition may cost
        assert entry.state is State.IN_DOUBT
        assert isinstance(again, InDoubt)
