"""Workers on DBOS: one workflow for each (video, language), durable in the ledger's own Postgres.

What keeps a job from being paid twice is the ledger, not the engine: DBOS may run a step twice, on two
machines at once, or take a living worker for dead. It sees to it that no entry is left unfinished.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import zlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import anyio
import attrs
import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, run_dbos_database_migrations

from akool_async._client import AkoolClient
from akool_async._journal import Entry
from akool_async._model.errors import AkoolError, ConfigurationError, JobNotFoundError
from akool_async._model.outcomes import InDoubt
from akool_async._model.redact import safe_repr
from akool_async._model.responses import Callback, Job
from akool_async._model.states import State
from akool_async.ledger import Ledger, LedgerError, Made, NotSent, Refused

__all__ = ["Worker", "WorkerSettings", "deliver_callback", "enqueue", "workflow_id"]

logger: Final[logging.Logger] = logging.getLogger("akool_async")
T = TypeVar("T")
_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,49}")
_WORKFLOW: Final = "akool.translate"
_VERSION: Final = "2"
"""Workflows of another version are not resumed; raised when the order of their steps changes."""

_AGAIN: Final[dict[str, Any]] = {
    "retries_allowed": True,
    "max_attempts": 100,
    "interval_seconds": 0.5,
    "backoff_rate": 1.3,
}
"""Each step is harmless when it is repeated, and the failure of a database must not end a workflow."""

_LONGEST_PAUSE: Final = 30.0
_HEARTBEAT: Final = 5.0
_ADOPT: Final = 10.0
"""Seconds between two looks for workers that ended."""


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """How one worker works.

    Attributes:
        name: unique among the workers of the account; a worker that starts again under its name resumes what
            it had.
        into: folder or bucket for the results, the same for all workers, or each its own.
        most: entries that this worker works on at once.
        starts_per_minute: how many entries all workers together begin in a minute; None for no limit.
        webhook_url: where the vendor calls back, without a token.
        grace: seconds for which a doubt waits for its callback.
        adopt: whether work of workers that ended is taken over.
        stop_after: seconds at most that a POST under way may take once the worker is to stop.
    """

    name: str
    into: str | os.PathLike[str]
    most: int = 2_000
    starts_per_minute: int | None = None
    webhook_url: str | None = None
    grace: float = 120.0
    adopt: bool = False
    stop_after: float = 200.0

    def __attrs_post_init__(self) -> None:
        """Refuse a name that systemd, Kubernetes or Postgres would change or cut: two could become one.

        Raises:
            ConfigurationError: the name is not one.
        """
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"A worker can't be named {safe_repr(self.name)}.",
                advice="Name it with 1 to 50 letters, digits, dots, hyphens or underscores, such as node-1.",
            )


def workflow_id(account: str, key: str, target: str, generation: int) -> str:
    """Return the id of an entry's workflow: enqueued twice, it is one."""
    return f"{account}/{key}/{target}/{generation}"


def _queue(account: str) -> str:
    """Return the queue of an account: a worker of another one knows nothing of its entries."""
    return f"akool/{account}"


def _engine_url(ledger: Ledger) -> str:
    return ledger.url.render_as_string(hide_password=False)


async def enqueue(ledger: Ledger) -> int:
    """Queue the entries of a ledger that are not over; return how many there are.

    What is queued already is not queued twice.

    Raises:
        LedgerError: the database failed.
    """
    work = await ledger.open_work()

    def send() -> None:
        url = _engine_url(ledger)
        # The first worker may start later than the first catalog is enqueued, and makes the tables else.
        run_dbos_database_migrations(url)
        client = DBOSClient(system_database_url=url, serializer=DBOSPortableJSONSerializer())
        try:
            for key, target, generation in work:
                client.enqueue(
                    {
                        "queue_name": _queue(ledger.account),
                        "workflow_name": _WORKFLOW,
                        "workflow_id": workflow_id(ledger.account, key, target, generation),
                        "app_version": _VERSION,
                    },
                    key,
                    target,
                )
        finally:
            client.destroy()

    await anyio.to_thread.run_sync(send)
    return len(work)


async def deliver_callback(ledger: Ledger, callback: Callback) -> bool:
    """Pass a webhook on to the workflow that waits for it; False if no POST had its token.

    The receiver may be any process with the account's key and the database.
    """
    found = await ledger.find_work(callback.token)
    if found is None:
        return False
    workflow = workflow_id(ledger.account, *found)

    def send() -> None:
        client = DBOSClient(system_database_url=_engine_url(ledger), serializer=DBOSPortableJSONSerializer())
        try:
            # With its token: a callback of an earlier POST must not name the job of a later one.
            client.send(workflow, [callback.token, callback.job_id], "callback")
        finally:
            client.destroy()

    await anyio.to_thread.run_sync(send)
    return True


class Worker:
    """One worker; `run` works until `stop` is called.

    Args:
        ledger: open; its database is the engine's, too.
        client: open, of the ledger's account.
        settings: how it works.
    """

    def __init__(self, ledger: Ledger, client: AkoolClient, settings: WorkerSettings) -> None:
        """Keep what it works with; nothing is begun before `run`."""
        self._ledger = ledger
        self._client = client
        self._settings = settings
        self._stop = anyio.Event()
        self._posts = 0
        self._idle = anyio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def is_done(self) -> bool:
        """Return whether nothing is left to do in the ledger, for any worker.

        Raises:
            LedgerError: the database failed.
        """
        if await self._ledger.open_work():
            return False
        # A doubt is no open work, but its workflow may wait for a callback.
        waiting = await asyncio.to_thread(
            DBOS.list_workflows,
            status=["PENDING", "ENQUEUED"],
            name=_WORKFLOW,
            workflow_id_prefix=f"{self._ledger.account}/",
            limit=1,
            load_input=False,
            load_output=False,
        )
        return not waiting

    def stop(self) -> None:
        """Begin nothing new, finish the POSTs under way, and end `run`; what waits is resumed later."""
        self._stop.set()

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is called.

        Raises:
            ConfigurationError: a worker of this name is alive.
            LedgerError: the database can't be reached.
        """
        self._loop = asyncio.get_running_loop()
        lock = _lock_engine(self._ledger, self._settings.name)
        try:
            connection = await asyncio.to_thread(_lock_name, lock, self._ledger.account, self._settings.name)
            await self._beat("running")
            await asyncio.to_thread(self._launch)
            try:
                on_ready()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._heartbeats)
                    if self._settings.adopt:
                        tasks.start_soon(self._adopt_ended, lock)
                    await self._stop.wait()
                    tasks.cancel_scope.cancel()
                await self._beat("stopping")
                with anyio.move_on_after(self._settings.stop_after):
                    while self._posts:
                        self._idle = anyio.Event()
                        await self._idle.wait()
            finally:
                # Before anything is cancelled: a step that ends with an error would be recorded as failed.
                with anyio.CancelScope(shield=True):
                    await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
            await self._beat("stopped")
            await asyncio.to_thread(connection.close)
        finally:
            lock.dispose()

    def _launch(self) -> None:
        name = self._settings.name
        # application_name has to be a connect argument: in the URL DBOS replaces it, and the worker could not
        # be seen by its name in pg_stat_activity. JSON, so that nothing in the database is unpickled.
        DBOS(
            config={
                "name": "akool-async",
                "system_database_url": _engine_url(self._ledger),
                "executor_id": f"{self._ledger.account}/{name}",
                "application_version": _VERSION,
                "serializer": DBOSPortableJSONSerializer(),
                "console_log_level": "ERROR",
                "sys_db_pool_size": 8,
                "db_engine_kwargs": {
                    "pool_timeout": 600,
                    "connect_args": {"application_name": f"akool/{name}"},
                },
            }
        )
        _Workflow(self).register()
        DBOS.launch()
        # The account's cap is not the queue's concurrency: only the ledger counts what is at the vendor, also
        # for workflows that the engine runs twice.
        rate = self._settings.starts_per_minute
        DBOS.register_queue(
            _queue(self._ledger.account),
            worker_concurrency=self._settings.most,
            limiter=None if rate is None else {"limit": rate, "period": 60.0},
            polling_interval_sec=0.5,
            on_conflict="always_update",
        )

    async def call(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop in which client and ledger are open; DBOS has a loop of its own."""
        assert self._loop is not None  # noqa: S101 - steps run while `run` does
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(step, self._loop))

    async def _beat(self, state: str) -> None:
        await self._ledger.heartbeat(
            self._settings.name, host=socket.gethostname(), pid=os.getpid(), state=state
        )

    async def _heartbeats(self) -> None:
        while True:
            await anyio.sleep(_HEARTBEAT)
            with contextlib.suppress(LedgerError):  # the next one says the same
                await self._beat("running")

    async def _adopt_ended(self, lock: sa.Engine) -> None:
        """Take over the workflows of workers whose lock nobody holds: it goes with their connection."""
        while True:
            try:
                await asyncio.to_thread(_adopt, lock, self._ledger.account, self._settings.name)
            except Exception as error:  # noqa: BLE001 - the engine's and the driver's; the next look may succeed
                logger.warning("Work of ended workers could not be taken over: %s", type(error).__name__)
            await anyio.sleep(_ADOPT)

    # The steps, in the loop of client and ledger.

    async def submit(self, key: str, target: str) -> dict[str, Any]:
        """Make the entry's job; return what became of it, as plain JSON."""
        if self._stop.is_set():
            await anyio.sleep_forever()  # the process ends soon; the step is repeated by the next one
        entry = await self._entry(key, target)
        if self._stop.is_set():  # meanwhile: nobody would wait for its answer
            await anyio.sleep_forever()
        # Counted from here on, so that a worker that is stopped waits for the answer of a paid call.
        self._posts += 1
        try:
            found = await self._ledger.submit_once(
                self._client,
                entry.request,
                work=key,
                webhook_url=self._settings.webhook_url,
                worker=self._settings.name,
            )
        finally:
            self._posts -= 1
            if not self._posts:
                self._idle.set()
        match found:
            case Made(job=job):
                return {"made": job.id}
            case NotSent(reason=reason, retry_after=wait, stops=stops):
                return {"not_sent": reason, "wait": _LONGEST_PAUSE if stops else wait}
            case Refused():
                return {"ended": State.FAILED.value}
            case InDoubt():
                return {"in_doubt": entry.token}
        raise AssertionError(found)

    async def settle_doubt(self, key: str, target: str, called: list[str] | None) -> dict[str, Any]:
        """Look at a doubt once more, after its callback, which names token and job, or its time."""
        entry = await self._entry(key, target)
        if called is not None and not entry.job_id:
            token, job_id = called
            (answer,) = (await self._client.session.confirm((job_id,))).values()
            if isinstance(answer, JobNotFoundError):
                pass  # forged, or of another account
            elif isinstance(answer, AkoolError):
                raise answer
            else:
                # A job of an earlier POST can't be the entry's own, but it is paid: its id is kept.
                if not await self._ledger.made(token, Job(id=job_id, created_at=answer.created_at)):
                    await self._ledger.keep(token, job_id)
                entry = await self._entry(key, target)
        return {"made": entry.job_id} if entry.job_id else {"ended": State.IN_DOUBT.value}

    async def wait(self, key: str, target: str, job_id: str) -> str:
        """Wait until the job has ended; record how. One step, however long: polls cost no commits."""
        # The ledger knows the job; the engine's tables show `job_id` to people.
        entry = await self._ledger.wait_once(self._client, key, target, worker=self._settings.name)
        return entry.state.value

    async def save(self, key: str, target: str, job_id: str) -> str:
        """Save the result under the name that the ledger reserved; repeated, it keeps what is saved."""
        entry = await self._ledger.save_once(self._client, key, target, into=self._settings.into)
        return entry.state.value

    async def _entry(self, key: str, target: str) -> Entry:
        entry = await self._ledger.get(key, target)
        if entry is None:
            raise LedgerError(f"Entry {key} is not in the ledger.", advice="Enqueue it again.")
        return entry


class _Workflow:
    """The life of an entry as DBOS runs it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def register(self) -> None:
        """Tell DBOS of the workflow and its steps."""
        worker = self._worker
        settings = worker._settings
        grace = settings.grace if settings.webhook_url else 0.0  # nobody calls back without it

        @DBOS.step(name="submit", **_AGAIN)
        async def submit(key: str, target: str) -> dict[str, Any]:
            return await worker.call(worker.submit(key, target))

        @DBOS.step(name="settle_doubt", **_AGAIN)
        async def settle_doubt(key: str, target: str, called: list[str] | None) -> dict[str, Any]:
            return await worker.call(worker.settle_doubt(key, target, called))

        @DBOS.step(name="wait", **_AGAIN)
        async def wait(key: str, target: str, job_id: str) -> str:
            return await worker.call(worker.wait(key, target, job_id))

        @DBOS.step(name="save", **_AGAIN)
        async def save(key: str, target: str, job_id: str) -> str:
            return await worker.call(worker.save(key, target, job_id))

        @DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
        async def translate(key: str, target: str) -> str:
            found = await submit(key, target)
            while "not_sent" in found:
                await DBOS.sleep_async(found["wait"])
                found = await submit(key, target)
            if "in_doubt" in found:
                called = await DBOS.recv_async("callback", timeout_seconds=grace)
                found = await settle_doubt(key, target, called)
            if "ended" in found:
                return str(found["ended"])
            # The wait is one step: with a durable sleep for each poll, polls would cost more than jobs.
            state = await wait(key, target, found["made"])
            return await save(key, target, found["made"]) if state == State.COMPLETED.value else state


def _lock_number(account: str, name: str) -> int:
    return zlib.crc32(f"{account}/{name}".encode()) + 2**40


def _lock_engine(ledger: Ledger, name: str) -> sa.Engine:
    """Return where a worker's name is locked, by a connection that shows the name."""
    return sa.create_engine(
        ledger.url, poolclass=sa.NullPool, connect_args={"application_name": f"akool/{name}"}
    )


def _lock_name(engine: sa.Engine, account: str, name: str) -> sa.Connection:
    """Hold a worker's name as long as the connection lives.

    Raises:
        ConfigurationError: another worker holds it.
    """
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    number = _lock_number(account, name)
    if not connection.execute(sa.text("SELECT pg_try_advisory_lock(:n)"), {"n": number}).scalar_one():
        connection.close()
        raise ConfigurationError(
            f"A worker named {name} is running.", advice="Each worker needs a name of its own: use --name."
        )
    return connection


def _adopt(engine: sa.Engine, account: str, own: str) -> None:
    ours = f"{account}/"
    pending = DBOS.list_workflows(
        status="PENDING", name=_WORKFLOW, workflow_id_prefix=ours, load_input=False, load_output=False
    )
    named = {(one.executor_id or "").removeprefix(ours) for one in pending}
    for name in named - {"", own}:
        try:
            connection = _lock_name(engine, account, name)
        except ConfigurationError:
            continue  # it is alive
        with connection:
            for one in pending:
                if one.executor_id == ours + name:
                    DBOS.resume_workflow(one.workflow_id, queue_name=_queue(account))
                    logger.info("Took over %s of %s.", one.workflow_id, name)
