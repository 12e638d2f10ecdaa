"""Workers on DBOS: one workflow for each (video, language), durable in the ledger's own Postgres.

What keeps a job from being paid twice is the ledger, not the engine: DBOS may run a workflow twice, on two
machines at once, or take a living worker for dead. It sees to it that no entry is left unfinished. Each step
of an entry is recorded by the ledger, so none is a step of the engine: recording it a second time took more
CPU than the POST.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import attrs
import sqlalchemy as sa
from dbos import DBOS, DBOSPortableJSONSerializer, run_dbos_database_migrations

from akool_async._client import AkoolClient
from akool_async._journal import Entry
from akool_async._journal.operations import display_name
from akool_async._model.errors import (
    AkoolError,
    ConfigurationError,
    InvalidRequestError,
    JobNotFoundError,
    StorageError,
)
from akool_async._model.proofs import is_of_its_time
from akool_async._model.responses import Job
from akool_async._model.states import State
from akool_async._retry import backoff_step
from akool_async._storage import result_folder
from akool_async.ledger import Ledger, LedgerError, Made, NotSent, Refused
from akool_async.ledger.database import connect
from akool_async.workers.admission import Admission, Ended
from akool_async.workers.settings import WorkerSettings
from akool_async.workers.workflows import (
    VERSION,
    WORKFLOW,
    deliver_callback,
    engine_url,
    enqueue,
    give_back,
    give_to_its_account,
    joined,
    lock_name,
    queue_name,
    queue_stranded,
    resume,
    workflow_id,
)

__all__ = ["Worker", "WorkerSettings", "deliver_callback", "enqueue", "workflow_id"]

logger: Final[logging.Logger] = logging.getLogger("akool_async")
_AGAIN: Final = 0.5, 2.0, 300.0
"""Waits before an entry that failed is resumed: seconds at first, their growth, the longest."""

_SILENT: Final = 3
"""Failures of an entry in a row that are not logged: a restart of the database is over by then."""

_LOOK: Final = 60.0
"""Seconds after which a doubt that waits for its callback is looked at first; each wait is twice as long."""

_CALLBACKS: Final = 20
"""Callbacks of a doubt that may come for nothing before each takes a part of its wait."""

_HEARTBEAT: Final = 5.0
_STRANDED: Final = 60.0
"""Seconds at least between two looks for entries that no workflow is going to finish."""

_SILENT_FOR: Final = 60.0
"""Seconds without a heartbeat after which a worker's lock is looked at, though it seems to be connected."""

_ADOPT: Final = 10.0
"""Seconds between two looks for workers that ended."""

_POLL_QUEUE: Final = 2.0
"""Seconds between two looks for work; each is six statements, and jobs take minutes."""


class Worker:
    """One worker; `run` works until `stop` is called.

    Args:
        ledger: open; its database is the engine's, too.
        client: open, of the ledger's account.
        settings: how it works.
    """

    def __init__(self, ledger: Ledger, client: AkoolClient, settings: WorkerSettings) -> None:
        """Keep what it works with; nothing is begun before `run`.

        Raises:
            ConfigurationError: the folder for results can't be one.
        """
        self._ledger = ledger
        self._client = client
        self._settings = settings
        self._stop = anyio.Event()
        self._admission = Admission(ledger.clock, ledger.command("resolve"))
        self._folder = result_folder(settings.into, None)
        self._unsaved: dict[tuple[str, str], str] = {}
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
        find = partial(
            DBOS.list_workflows,
            status=["PENDING", "ENQUEUED"],
            name=WORKFLOW,
            workflow_id_prefix=joined(self._ledger.account, ""),
            app_version=VERSION,  # nobody resumes the others
            limit=1,
            load_input=False,
            load_output=False,
        )
        try:
            return not await asyncio.to_thread(find)
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError("The engine can't be asked what is left to do: its database failed.") from error

    def stop(self) -> None:
        """Begin nothing new, finish the POSTs under way, and end `run`; what waits is resumed later."""
        self._stop.set()

    async def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is called.

        Raises:
            ConfigurationError: a worker of this name is alive, or results can't be saved.
            LedgerError: the database can't be reached.
        """
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._folder.check_writable, "result")
        name = self._settings.name
        # A connection that shows the name.
        lock = connect(self._ledger.url, name=name, poolclass=sa.NullPool)
        try:
            connection = await asyncio.to_thread(lock_name, lock, self._ledger.account, name)
            if connection is None:
                raise ConfigurationError(
                    f"A worker named {name} is running.",
                    advice="Each worker needs a name of its own: use --name.",
                )
            await self._beat("running")
            self._admission.begin_after(await self._ledger.count_last_doubts())
            engine = await asyncio.to_thread(self._launch)
            try:
                on_ready()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._heartbeats)
                    tasks.start_soon(self._queue_stranded)
                    if self._settings.adopt:
                        tasks.start_soon(self._adopt_ended, lock)
                    await self._stop.wait()
                    tasks.cancel_scope.cancel()
            finally:
                await self._end(engine)
            with contextlib.suppress(LedgerError):
                await self._beat("stopped")
            await asyncio.to_thread(connection.close)
        finally:
            lock.dispose()

    async def _end(self, engine: DBOS) -> None:
        """Finish the POSTs under way, then the engine: it cancels what runs, and their jobs would be lost."""
        self._stop.set()
        for taking in engine.background_thread_stop_events:
            taking.set()  # what it took now would wait for its name, and others may be idle
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(LedgerError):
                await self._beat("stopping")
            with anyio.move_on_after(self._settings.stop_after):
                while self._posts:
                    self._idle = anyio.Event()
                    await self._idle.wait()
            await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
            await self._give_back()

    def _launch(self) -> DBOS:
        ledger, name = self._ledger, self._settings.name
        run_dbos_database_migrations(engine_url(ledger))
        resume(ledger, [name], lambda _: contextlib.nullcontext())  # its lock is held by this process
        # application_name has to be a connect argument: in the URL DBOS replaces it, and the worker could not
        # be seen by its name in pg_stat_activity. JSON, so that nothing in the database is unpickled.
        engine = DBOS(
            config={
                "name": "akool-async",
                "system_database_url": engine_url(ledger),
                "executor_id": joined(ledger.account, name),
                "application_version": VERSION,
                "serializer": DBOSPortableJSONSerializer(),
                "console_log_level": "ERROR",
                "sys_db_pool_size": 8,
                # It looks for events to send that often; no workflow here sends any.
                "notification_coalesce_sec": 1.0,
                "db_engine_kwargs": {
                    "pool_timeout": 600,
                    "connect_args": {"application_name": f"akool/{name}"},
                },
            }
        )
        self._register()
        DBOS.listen_queues([queue_name(ledger.account)])  # else to those of all accounts in the database
        DBOS.launch()
        # The account's cap is not the queue's concurrency: only the ledger counts what is at the vendor, also
        # for workflows that the engine runs twice.
        rate = self._settings.starts_per_minute
        DBOS.register_queue(
            queue_name(ledger.account),
            worker_concurrency=self._settings.most,
            limiter=None if rate is None else {"limit": rate, "period": 60.0},
            polling_interval_sec=_POLL_QUEUE,
            on_conflict="always_update",
        )
        return engine

    def _register(self) -> None:
        settings = self._settings
        grace = settings.grace if settings.webhook_url else 0.0  # nobody calls back without it

        # Replayed, it may call the engine at one place only: what it does before depends on the ledger.
        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        async def translate(key: str, target: str, generation: int) -> str:
            mine, of = workflow_id(self._ledger.account, key, target, generation), DBOS.workflow_id or ""
            if of != mine:  # as after a person resumed it: the engine's own queue is everybody's
                entry = workflow_id("", key, target, generation)
                return await asyncio.to_thread(give_to_its_account, self._ledger, of, entry)
            state = await self._call(key, target, generation)
            waited, step, heard = 0.0, _LOOK, 0
            # Looked at meanwhile: the sender may record a late answer, and be killed after that.
            while state is State.IN_DOUBT and waited < grace:
                called = await DBOS.recv_async("callback", timeout_seconds=min(step, grace - waited))
                # One that names no job of this entry has not used up the wait, and many have.
                if called is None or heard >= _CALLBACKS:
                    waited, step = waited + step, 2 * step
                heard += called is not None
                state = await self._call(key, target, generation, called=called or [])
            return "begun anew" if state is None else state.value

    async def _call(
        self, key: str, target: str, generation: int, *, called: list[str] | None = None
    ) -> State | None:
        """Finish an entry in the loop in which client and ledger are open; DBOS has a loop of its own."""
        assert self._loop is not None  # noqa: S101 - workflows run while `run` does
        running = asyncio.run_coroutine_threadsafe(self._finish(key, target, generation, called), self._loop)
        return await asyncio.wrap_future(running)

    async def _beat(self, state: str) -> None:
        await self._ledger.heartbeat(
            self._settings.name, host=socket.gethostname(), pid=os.getpid(), state=state
        )

    async def _heartbeats(self) -> None:
        while True:
            await anyio.sleep(_HEARTBEAT)
            with contextlib.suppress(LedgerError):  # the next one says the same
                await self._beat("running")

    async def _queue_stranded(self) -> None:
        """Queue what no workflow is going to finish."""
        clock = self._ledger.clock
        while True:
            began = clock.monotonic()
            try:
                if entries := await queue_stranded(self._ledger):
                    logger.info("Queued %d entries that no workflow was going to finish.", entries)
            except Exception as error:  # noqa: BLE001 - the engine's and the driver's; the next look may succeed
                logger.warning("Could not look for entries without a workflow: %s", type(error).__name__)
            await clock.sleep(max(_STRANDED, 50 * (clock.monotonic() - began)))

    async def _give_back(self) -> None:
        try:
            await give_back(self._ledger, self._settings.name)
        except Exception as error:  # noqa: BLE001 - the engine's and the driver's; its name or --adopt resumes it
            logger.warning(
                "Could not return the entries that this worker had not begun: %s", type(error).__name__
            )

    async def _adopt_ended(self, lock: sa.Engine) -> None:
        """Take over the workflows of workers whose lock nobody holds: it goes with their connection."""
        own, account = self._settings.name, self._ledger.account
        while True:
            try:
                seen = await self._ledger.workers()
                # Connections are named without the account, so a silent one may be another account's; the
                # lock decides.
                ended = [
                    one.name
                    for one in seen
                    if one.name != own and (not one.connected or one.silent_for > _SILENT_FOR)
                ]
                had = await asyncio.to_thread(
                    resume, self._ledger, ended, lambda name: lock_name(lock, account, name)
                )
                for name, entries in had.items():
                    logger.info("Took over %d entries of worker %s.", entries, name)
            except Exception as error:  # noqa: BLE001 - the engine's and the driver's; the next look may succeed
                logger.warning("Work of ended workers could not be taken over: %s", type(error).__name__)
            await anyio.sleep(_ADOPT)

    # The life of an entry, in the loop of client and ledger.

    async def _finish(self, key: str, target: str, generation: int, called: list[str] | None) -> State | None:
        """Take an entry from the step that the ledger names to its end, however often that fails.

        Args:
            key: the entry's.
            target: its language.
            generation: the entry's when it was queued; None is returned if it was begun anew since.
            called: None at first; after the wait for a callback what it named, token and job, or [].
        """
        clock = self._ledger.clock
        for failures in itertools.count():
            try:
                ended = await self._advance(key, target, generation, called)
            except Exception as error:  # noqa: BLE001 - whatever failed, a workflow that ends leaves a paid job
                if isinstance(error, StorageError):
                    self._unsaved[key, target] = str(error)
                wait = backoff_step(failures, *_AGAIN) * (0.5 + clock.random())
                if failures >= _SILENT:
                    logger.warning(
                        "Entry %s failed %d times, and is tried again in %.0f s: %s: %s",
                        display_name(key, target),
                        failures + 1,
                        wait,
                        type(error).__name__,
                        error,
                    )
                await clock.sleep(wait)
            else:
                self._unsaved.pop((key, target), None)
                return ended
        raise AssertionError

    async def _advance(
        self, key: str, target: str, generation: int, called: list[str] | None
    ) -> State | None:
        entry = await self._read(key, target, generation)
        if entry is not None and entry.state is State.IN_DOUBT and called:
            await self._confirm(entry, *called)
            entry = await self._read(key, target, generation)
        if entry is None:
            return None
        if entry.state in (State.PLANNED, State.SUBMITTING):
            entry = await self._submit(entry, generation)
        if entry is None:
            return None
        if entry.state is State.SUBMITTED:
            entry = await self._ledger.wait_for(self._client, entry, folder=self._folder)
            self._admission.free()
        if entry.state is State.COMPLETED:
            # Under the name that the ledger reserved; repeated, it keeps what is saved.
            entry = await self._ledger.save_once(self._client, key, target, into=self._settings.into)
        return entry.state

    async def _submit(self, entry: Entry, generation: int) -> Entry | None:
        submitted = await self._admission.submit(lambda: self._post(entry))
        if not isinstance(submitted, Made):
            state = State.FAILED if isinstance(submitted, Refused) else State.IN_DOUBT
            return attrs.evolve(entry, state=state)
        if submitted.again:  # by another call, which may have finished it
            return await self._read(entry.key, entry.target, generation)
        job, now = submitted.job, self._ledger.clock.now()  # a job of unknown age would be polled at once
        return attrs.evolve(
            entry, state=State.SUBMITTED, job_id=job.id, created_at=job.created_at, submitted_at=now
        )

    async def _post(self, entry: Entry) -> Ended | NotSent:
        if reason := await self._cannot_save(entry.name or "result"):
            return NotSent(reason=f"Results can't be saved. {reason}", stops=True)
        if self._admission.holds:
            try:
                await self._client.credit()  # costs nothing; a host that is wrong or down makes no doubt
            except AkoolError as error:
                return NotSent(reason=str(error), stops=True)
        if self._stop.is_set():
            await anyio.sleep_forever()  # the process ends soon; others may begin the entry
        # Counted from here on, so that a worker that is stopped waits for the answer of a paid call.
        self._posts += 1
        try:
            # It may have waited for hours, and its catalog was enqueued again with URLs signed anew.
            newest = await self._ledger.get(entry.key, entry.target) or entry
            if reason := await self._ledger.refuse_saved(newest, self._folder):
                return Refused(reason=reason)
            return await self._ledger.submit_once(
                self._client,
                newest.request,
                work=entry.key,
                webhook_url=self._settings.webhook_url,
                worker=self._settings.name,
            )
        finally:
            self._posts -= 1
            if not self._posts:
                self._idle.set()

    async def _cannot_save(self, name: str) -> str:
        """Return why a result could not be saved, so that none is paid for now: it might expire first."""
        reason = next(iter(self._unsaved.values()), "")
        try:
            await asyncio.to_thread(self._folder.check_writable, name)
        except ConfigurationError as error:
            reason = str(error)
        return reason

    async def _confirm(self, entry: Entry, token: str, job_id: str) -> None:
        """Ask the API about the job that a callback named for an entry in doubt."""
        (answer,) = (await self._client.session.confirm((job_id,))).values()
        if isinstance(answer, (JobNotFoundError, InvalidRequestError)):
            return  # forged, or of another account
        if isinstance(answer, AkoolError):
            raise answer
        # What can't be the entry's own, such as the job of an earlier POST, may be paid: its id is kept.
        await self._ledger.keep(token, job_id)
        if token != entry.token:
            return
        why = ""
        ahead = self._ledger.clock.now() - self._client.session.server_now()
        if not is_of_its_time(answer.created_at, entry.submitted_at, ahead=ahead):
            why = "it was not made when the entry was sent, by the clock of the sender then"
        elif await self._ledger.may_be_of_another(entry, job_id):
            why = "it may be another entry's"
        elif not await self._ledger.made(token, Job(id=job_id, created_at=answer.created_at)):
            why = "it is another entry's, or the doubt was resolved otherwise"
        if why:
            named = display_name(entry.key, entry.target)
            logger.warning("A callback names job %s for %s, but %s.", job_id, named, why)

    async def _read(self, key: str, target: str, generation: int) -> Entry | None:
        return await self._ledger.assign(key, target, self._settings.name, generation=generation)
