"""What a ledger asks of its database, however that is set up, and what it does where transactions collide."""

from __future__ import annotations

import threading
import time
from typing import Any

import anyio
import psycopg
import pytest
import sqlalchemy as sa
from anyio.to_thread import run_sync

from akool_async import TranslationRequest
from akool_async.ledger import Ledger, LedgerError, Made, NotSent, open_ledger
from akool_async.ledger.database import CLIENT_SETTINGS, connect
from tests.ledger.conftest import Bench, video


def alter(database: str, setting: str) -> None:
    name = database.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET {setting}")  # type: ignore[arg-type,unused-ignore]


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
async def test_a_budget_bounds_all_machines_together(bench: Bench, level: str) -> None:
    """Whatever isolation the database prefers.

    A snapshot taken before the account's lock was waited for would not see what others reserved.
    """
    first = await bench.ledger.submit_once(bench.client, video(100))
    assert isinstance(first, Made)
    price = first.job.credits_locked
    assert price
    alter(bench.url, f"default_transaction_isolation = '{level}'")
    found: list[object] = []

    async def submit(number: int) -> None:
        async with open_ledger(bench.url) as ledger:
            while True:
                one = await ledger.submit_once(bench.client, video(number))
                if not isinstance(one, NotSent) or one.stops:
                    break
                await anyio.sleep(0.02)
            found.append(one)

    async with open_ledger(bench.url, max_credits=3.5 * price), anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(submit, number)

    assert len(bench.sandbox.audit.jobs) == 3
    assert sum(isinstance(one, NotSent) and "max_credits" in one.reason for one in found) == 6
    assert len(found) == 8


@pytest.mark.parametrize(("given", "kept"), [("off", "on"), ("remote_apply", "remote_apply")])
async def test_an_intent_is_on_disk_before_anything_is_sent(database: str, given: str, kept: str) -> None:
    """A server that may forget its last commits when it crashes would let a POST be sent twice."""
    alter(database, f"synchronous_commit = {given}")
    async with open_ledger(database) as ledger:
        assert await ledger.execute("SHOW synchronous_commit") == [{"synchronous_commit": kept}]


WATCHED = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "idle_in_transaction_session_timeout": "60000",
}
"""Else a machine that lost its power holds its locks for the two hours of TCP's default."""


@pytest.mark.parametrize("kind", ["of the ledger", "of a name"])
async def test_both_ends_of_a_connection_notice_that_the_other_is_gone(database: str, kind: str) -> None:
    def look(connection: sa.Connection) -> tuple[dict[str, str], dict[str, str]]:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        rows = connection.execute(sa.text("SELECT name, setting FROM pg_settings WHERE source = 'session'"))
        return dict(rows.all()), raw.info.get_parameters()

    if kind == "of the ledger":
        async with open_ledger(database) as ledger:
            server, client = await ledger.run_transaction(look)
    else:
        url = sa.make_url(database).set(drivername="postgresql+psycopg")
        with connect(url, name="one", poolclass=sa.NullPool).connect() as connection:
            server, client = look(connection)
        assert client["application_name"] == "akool/one"

    # A Unix socket has no time-outs of TCP, so the server says 0; that it was told says the source.
    assert set(WATCHED) <= set(server)
    assert server["idle_in_transaction_session_timeout"] == WATCHED["idle_in_transaction_session_timeout"]
    assert {name: client[name] for name in CLIENT_SETTINGS} == {
        name: str(value) for name, value in CLIENT_SETTINGS.items()
    }


class Meeting:
    """Two transactions wait for each other between two statements, the first time that each gets there."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2)
        self._came = set[int]()

    def wait(self, who: int) -> None:
        if who not in self._came:
            self._came.add(who)
            self._barrier.wait(30)


async def test_two_machines_may_enter_the_same_rows_in_another_order(database: str) -> None:
    orders, new = ([1, 2], [2, 1]), list[int]()

    async def enter(who: int) -> None:
        async with open_ledger(database) as ledger:
            new.append(len(await ledger.plan([video(number) for number in orders[who]])))

    async with anyio.create_task_group() as tasks:
        for who in range(2):
            tasks.start_soon(enter, who)

    assert sorted(new) == [0, 2]


async def test_two_transactions_that_lock_rows_in_another_order_both_succeed(database: str) -> None:
    meeting, orders = Meeting(), ([1, 2], [2, 1])

    async def change(who: int) -> None:
        def work(connection: sa.Connection) -> None:
            for place, number in enumerate(orders[who]):
                if place:
                    meeting.wait(who)
                connection.execute(
                    sa.text("UPDATE akool_ledger.entry SET reason = reason || :who WHERE key = :key"),
                    {"who": str(who), "key": f"video-{number}"},
                )

        async with open_ledger(database) as ledger:
            await ledger.run_transaction(work)

    async with open_ledger(database) as ledger:
        await ledger.plan([video(1), video(2)])
        async with anyio.create_task_group() as tasks:
            for who in range(2):
                tasks.start_soon(change, who)
        reasons = [entry.reason async for entry in ledger.entries()]

    assert [sorted(reason) for reason in reasons] == [["0", "1"], ["0", "1"]]


class Slow(Ledger):
    """A ledger whose transactions stay open until another one waits for them."""

    def insert(self, connection: sa.Connection, *arguments: Any) -> Any:
        row = super().insert(connection, *arguments)
        waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        deadline = time.monotonic() + 30
        while not connection.execute(waits).scalar_one() and time.monotonic() < deadline:
            time.sleep(0.01)
        return row


async def test_two_machines_that_want_one_file_name_get_two(database: str) -> None:
    """The same stem under two keys, entered in the same moment."""
    one, other = (
        TranslationRequest(url=f"https://{host}.example/talk.mp4", targets="ja", key=host)
        for host in ("one", "other")
    )
    names: list[str] = []

    async def enter(ledger: Ledger, request: TranslationRequest) -> None:
        names.extend(entry.name for entry in await ledger.plan([request]))

    async with Slow(database) as slow, open_ledger(database) as quick, anyio.create_task_group() as tasks:
        tasks.start_soon(enter, slow, one)
        while not await quick.execute(  # until the first one has the name, and has not committed
            "SELECT 1 FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE '%NOT granted%'"
            " AND pid <> pg_backend_pid()"
        ):
            await anyio.sleep(0.01)
        tasks.start_soon(enter, quick, other)

    assert sorted(names)[0] == "talk.ja"
    assert len(set(names)) == 2


CUT_TIME_OUT = """
    SELECT set_config(name, (setting::int / 100)::text, true)
    FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'
"""


async def test_a_machine_that_freezes_in_a_transaction_holds_up_no_other(database: str) -> None:
    begun, thawed = threading.Event(), threading.Event()

    def freeze(connection: sa.Connection) -> None:
        connection.execute(sa.text("LOCK TABLE akool_ledger.entry IN EXCLUSIVE MODE"))
        # Here and now: with a short time-out a slow machine would have no transaction that succeeds.
        connection.execute(sa.text(CUT_TIME_OUT))
        begun.set()
        thawed.wait(40)

    async def frozen() -> None:
        async with open_ledger(database) as ledger:
            with pytest.raises(LedgerError):
                await ledger.run_transaction(freeze)

    async with open_ledger(database) as other, anyio.create_task_group() as tasks:
        tasks.start_soon(frozen)
        await run_sync(begun.wait)
        await other.plan([video()])
        thawed.set()
