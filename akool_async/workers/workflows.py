"""The workflows of an account in DBOS, one for each (video, language): queued, resumed, called back."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Final

import anyio
import sqlalchemy as sa
from dbos import DBOSClient, DBOSPortableJSONSerializer, run_dbos_database_migrations

from akool_async._model.responses import Callback
from akool_async._model.states import State
from akool_async.ledger import Ledger
from akool_async.ledger.database import CLIENT_SETTINGS

WORKFLOW: Final = "akool.translate"
VERSION: Final = "4"
"""Workflows of another version are not resumed; raised when their arguments or messages change."""

_BATCH: Final = 1_000
_GIVE_BACK: Final = 15.0
"""Seconds at most for which a worker that ends gives back what it had not begun."""

_LIVES: Final = ("ENQUEUED", "DELAYED", "PENDING")
_ESCAPED: Final = str.maketrans({"%": "%25", "/": "%2F"})


def joined(*parts: str) -> str:
    """Return one name of several: with slashes in them, those of two accounts could be the same."""
    return "/".join(part.translate(_ESCAPED) for part in parts)


def workflow_id(account: str, key: str, target: str, generation: int) -> str:
    """Return the id of an entry's workflow: enqueued twice, it is one."""
    return joined(account, key, target, str(generation))


def queue_name(account: str) -> str:
    """Return the queue of an account: a worker of another one knows nothing of its entries."""
    return joined("akool", account)


def engine_url(ledger: Ledger) -> str:
    """Return where the engine keeps its tables, password included: beside the ledger's."""
    # With the time-outs of the ledger's own connections, also for the engine's clients and its migrations.
    settings = {name: str(value) for name, value in CLIENT_SETTINGS.items()}
    return ledger.url.update_query_dict(settings).render_as_string(hide_password=False)


@contextmanager
def engine_client(ledger: Ledger) -> Iterator[DBOSClient]:
    """Connect to the engine without working for it; its tables have to be there."""
    client = DBOSClient(system_database_url=engine_url(ledger), serializer=DBOSPortableJSONSerializer())
    try:
        yield client
    finally:
        client.destroy()


async def enqueue(ledger: Ledger) -> int:
    """Queue the entries of a ledger that are not over; return how many there are.

    What is queued already is not queued twice; what is left of a workflow that ended is queued again.

    Raises:
        LedgerError: the database failed.
    """
    # The first worker may start later than the first catalog is enqueued, and makes the tables else.
    await anyio.to_thread.run_sync(run_dbos_database_migrations, engine_url(ledger))
    await _begin_stranded_anew(ledger)
    work = await ledger.open_work()
    await _send(ledger, work)
    return len(work)


async def queue_stranded(ledger: Ledger) -> int:
    """Queue what no workflow is going to finish; return how many entries."""
    work = await _begin_stranded_anew(ledger)
    await _send(ledger, work)
    return len(work)


async def _begin_stranded_anew(ledger: Ledger) -> list[tuple[str, str, int]]:
    """Return entries that no workflow is going to finish; each has a workflow's id that is not used yet.

    A workflow that was taken over by mistake ends with a doubt, and the worker that had begun the POST
    records a paid job after that; one of an older version of this package is resumed by no worker; a person
    may have cancelled one. The engine ignores an id that it knows, so the entry would wait for ever.
    Or a process was killed before it could queue what it had entered, or begun anew.
    """
    work = {workflow_id(ledger.account, *one): one for one in await ledger.open_work()}

    def find() -> dict[str, bool]:
        ids, lives = [*work], dict[str, bool]()
        with engine_client(ledger) as client:
            for first in range(0, len(ids), _BATCH):
                for one in client.list_workflows(
                    workflow_ids=ids[first : first + _BATCH], load_input=False, load_output=False
                ):
                    lives[one.workflow_id] = one.status in _LIVES and one.app_version == VERSION
        return lives

    # Abandoned where the caller is cancelled: the engine waits for a database that is gone, and a worker that
    # is to stop does not.
    lives = await anyio.to_thread.run_sync(find, abandon_on_cancel=True) if work else {}
    stranded = [one for name, one in work.items() if name not in lives]
    for name, is_alive in lives.items():
        again = None if is_alive else await ledger.begin_anew(*work[name])
        if again is not None:
            stranded.append(again)
    return stranded


async def _send(ledger: Ledger, work: list[tuple[str, str, int]]) -> None:
    def send() -> None:
        with engine_client(ledger) as client:
            for key, target, generation in work:
                client.enqueue(
                    {
                        "queue_name": queue_name(ledger.account),
                        "workflow_name": WORKFLOW,
                        "workflow_id": workflow_id(ledger.account, key, target, generation),
                        "app_version": VERSION,
                    },
                    key,
                    target,
                    generation,
                )

    if work:
        await anyio.to_thread.run_sync(send, abandon_on_cancel=True)


async def deliver_callback(ledger: Ledger, callback: Callback) -> bool:
    """Pass a webhook on to the workflow that waits for it, if one does; False if no POST had its token.

    Where none does, the job's id is kept for the person who resolves the doubt.

    The receiver may be any process with the account's key and the database.
    """
    found = await ledger.find_work(callback.token)
    if found is None:
        return False
    # For the person who resolves the doubt, where its workflow has ended; the entry's own job is not added.
    await ledger.keep(callback.token, callback.job_id)
    workflow = workflow_id(ledger.account, *found)

    def send() -> None:
        with engine_client(ledger) as client:
            # None waits for a doubt that was moved from a journal, or of another engine.
            if client.list_workflows(workflow_ids=[workflow], load_input=False, load_output=False):
                # With its token: a callback of an earlier POST must not name the job of a later one.
                client.send(workflow, [callback.token, callback.job_id], "callback")

    await anyio.to_thread.run_sync(send)
    return True


async def give_back(ledger: Ledger, name: str) -> None:
    """Queue again what a worker had taken when it ended, and sent nothing for: any other may begin it."""
    with anyio.move_on_after(_GIVE_BACK):
        planned = {workflow_id(ledger.account, *one) for one in await ledger.open_work(State.PLANNED)}
        send = partial(resume, ledger, [name], lambda _: nullcontext(), only=planned)
        if planned:
            await anyio.to_thread.run_sync(send, abandon_on_cancel=True)


def resume(
    ledger: Ledger,
    names: Iterable[str],
    hold: Callable[[str], AbstractContextManager[object] | None],
    *,
    only: Container[str] | None = None,
) -> dict[str, int]:
    """Queue again what these workers had when they ended; return how many entries each had.

    Many at once: the engine itself would resume one workflow a transaction.

    Args:
        ledger: whose workflows these are.
        names: workers that may have ended.
        hold: returns a context in which this worker can't start; None if it is alive.
        only: the workflows that are queued; None for all.
    """
    resumed = {}
    with engine_client(ledger) as client:
        for name in names:
            lock = hold(name)
            if lock is None:
                continue
            with lock:
                pending = client.list_workflows(
                    status="PENDING",
                    name=WORKFLOW,
                    app_version=VERSION,
                    executor_id=joined(ledger.account, name),
                    load_input=False,
                    load_output=False,
                )
                ids = [one.workflow_id for one in pending if only is None or one.workflow_id in only]
                for first in range(0, len(ids), _BATCH):
                    client.resume_workflows(
                        ids[first : first + _BATCH], queue_name=queue_name(ledger.account)
                    )
            if ids:
                resumed[name] = len(ids)
    return resumed


def give_to_its_account(ledger: Ledger, workflow: str, entry: str) -> str:
    """Queue a workflow of another account, whose id ends with `entry`, for that one's workers.

    Return what became of it, in words.
    """
    with engine_client(ledger) as client:
        # Not by `queue_name`: in an id the account is escaped already.
        client.resume_workflows([workflow], queue_name=f"akool/{workflow.removesuffix(entry)}")
    return "of another account"


def lock_name(engine: sa.Engine, account: str, name: str) -> sa.Connection | None:
    """Hold a worker's name as long as the connection lives; None if another worker holds it."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    number = zlib.crc32(joined(account, name).encode()) + 2**40
    if not connection.execute(sa.text("SELECT pg_try_advisory_lock(:n)"), {"n": number}).scalar_one():
        connection.close()
        return None
    return connection
