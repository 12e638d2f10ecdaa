"""The totals that a journal keeps in its file are those of its rows, whoever writes these."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from akool_async._journal import Journal, open_journal, schema
from akool_async._journal.table import read_totals
from akool_async._model.errors import IllegalTransitionError
from akool_async._model.states import State
from tests.journal.conftest import bring_to, step, video

PRICES = (None, 0.0, 0.1, 4.0, 12.345678, 0.0000015, -2.5)
AMOUNTS = (*PRICES, 3e9)
LARGEST = 1e9


async def recount(journal: Journal) -> tuple[dict[State, int], float, float]:
    """Count what the rows say, by another rule than the journal's own."""
    counts, locked, used = Counter[State](), 0.0, 0.0
    async for entry in journal.entries():
        counts[entry.state] += 1
        used += min((entry.credits_used or 0.0) + entry.credits_before, LARGEST)
        if entry.credits_used is None and entry.state not in (State.PLANNED, State.FAILED):
            locked += min(entry.credits_locked or 0.0, LARGEST)
    return dict(counts), locked, used


def as_kept(journal: Journal) -> tuple[dict[State, int], float, float]:
    return {state: number for state, number in journal.counts().items() if number}, *journal.credits()


async def assert_totals_agree(journal: Journal) -> None:
    counts, locked, used = await recount(journal)
    if journal.path is not None:
        in_file = read_totals(journal._opened.reading, str(journal.path))
        assert journal.counts() == in_file.counts
        assert journal.credits() == in_file.credits
    made = (State.SUBMITTED, State.COMPLETED, State.DELIVERED, State.EXPIRED)
    unpriced = [
        entry.key
        async for entry in journal.entries(states=made)
        if entry.credits_locked is None is entry.credits_used
    ]
    assert journal.count_unpriced() == len(unpriced)
    assert as_kept(journal) == (counts, pytest.approx(locked, abs=1e-4), pytest.approx(used, abs=1e-4))


async def one_write(journal: Journal, chance: random.Random) -> None:
    key, target = chance.choice("abcd"), chance.choice(("ja", "fr"))
    turn = chance.random()
    if turn < 0.25:
        await journal.intend(video(key, ("ja", "fr") if chance.random() < 0.5 else target))
    elif turn < 0.3:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.intend(video(key, target))
    elif turn < 0.4:
        await journal.withdraw(key, target)
    elif turn < 0.5:
        await journal.resolve(key, target, not_made=True)
    else:
        costs = {"credits_locked": chance.choice(AMOUNTS), "credits_used": chance.choice(AMOUNTS)}
        await journal.record(
            step(
                chance.choice(list(State)),
                key,
                target,
                request=video(key, target) if chance.random() < 0.2 else None,
                **costs,
            )
        )


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_random_walks_keep_the_totals_right(
    opened: Callable[[], Journal], chance: random.Random
) -> None:
    written = 0
    for _ in range(8):
        async with opened() as journal:
            await assert_totals_agree(journal)  # a walk before it left intents, which are doubts now
            for _ in range(60):
                try:
                    await one_write(journal, chance)
                except IllegalTransitionError:
                    continue
                written += 1
            await assert_totals_agree(journal)
    assert written > 100


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_journal_without_totals_is_counted_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, chance: random.Random
) -> None:
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:4])
        connection = sqlite3.connect(path)
        schema.migrate(connection)
    connection.executemany(
        "INSERT INTO entry (key, target, fingerprint, state, request, credits_locked, credits_used, "
        "credits_before, updated_at) VALUES (?, 'ja', 'f', ?, ?, ?, ?, ?, '2026-01-01T00:00:00+00:00')",
        [
            (
                str(number),
                chance.choice([state.value for state in State if state is not State.SUBMITTING]),
                '{"kind": "translation", "url": "https://e.com/v.mp4", "targets": ["ja"]}',
                chance.choice(PRICES),
                chance.choice(PRICES),
                chance.choice(PRICES[1:]),
            )
            for number in range(300)
        ],
    )
    connection.commit()
    connection.close()

    async with open_journal(path, read_only=True) as journal:
        await assert_totals_agree(journal)
    async with open_journal(path) as journal:
        await assert_totals_agree(journal)
        await bring_to(journal, State.DELIVERED)
        await assert_totals_agree(journal)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_is_changed_by_hand_is_counted_too(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.DELIVERED, "a")
        await bring_to(journal, State.SUBMITTED, "b")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE entry SET state = 'failed', credits_before = 7 WHERE key = 'a'")
    connection.execute("DELETE FROM entry WHERE key = 'b'")
    connection.commit()
    connection.close()

    async with open_journal(path) as journal:
        assert as_kept(journal) == ({State.FAILED: 1}, 0.0, 7.0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_copy_has_the_totals_of_its_rows(opened: Callable[[], Journal], path: Path) -> None:
    copy = path.with_name("copy.sqlite3")
    async with opened() as journal:
        await bring_to(journal, State.IN_DOUBT)
        await journal.backup(copy)

    async with open_journal(copy, accept_older=True) as journal:
        await assert_totals_agree(journal)
        assert as_kept(journal)[0] == {State.IN_DOUBT: 1}


@pytest.mark.parametrize(("costs", "counted"), [({"credits_locked": 3.0}, 3.0), ({}, 7.0)])
async def test_an_expired_job_was_paid_for_when_it_is_submitted_again(
    opened: Callable[[], Journal], costs: dict[str, float], counted: float
) -> None:
    """One without a price counts as the dearest that is known: else a new one would exceed the budget."""
    async with opened() as journal:
        for key, price in (("dear", {"credits_locked": 7.0}), ("lost", costs)):
            await bring_to(journal, State.SUBMITTING, key)
            await journal.record(step(State.SUBMITTED, key, **price))
        await journal.record(step(State.EXPIRED, "lost"))
        await journal.intend(video("lost", "ja"))

        assert as_kept(journal)[1:] == (7.0, counted)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_totals_are_not_counted_from_the_rows(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.DELIVERED)
        connection = journal._opened.reading
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        read_totals(journal._opened.reading, str(journal.path))

    assert len(statements) == 1
    assert "FROM totals" in statements[0]
