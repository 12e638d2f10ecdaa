"""An entry that can't be read stops what is new; all else comes home, and the error is the journal's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from akool_async import (
    Completed,
    JournalCorruptedError,
    NotSubmitted,
    Outcome,
    TranslationRequest,
    open_batch,
    open_journal,
)
from tests.batch.test_without_catalog import leave_at_work
from tests.client.conftest import Open, video


@pytest.mark.parametrize("spoilt", ["request = '{'", "submitted_at = 'yesterday'"])
@pytest.mark.parametrize("options", [{}, {"download_to": "out"}, {"max_credits": 1000.0}], ids=str)
async def test_an_entry_that_cannot_be_read_holds_up_no_other(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str, options: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "j.sqlite3"
    old = [video(number, key=f"old-{number}") for number in range(3)]
    outcomes: list[Outcome] = []
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(path) as journal:
            await leave_at_work(client, journal, old)
        connection = sqlite3.connect(path)
        connection.execute(f"UPDATE entry SET {spoilt} WHERE key = 'old-1'")
        connection.commit()
        connection.close()

        with pytest.raises(JournalCorruptedError, match="old-1"), anyio.fail_after(55):
            async with (
                open_journal(path) as journal,
                open_batch(client, [*old, video(9, key="new")], journal=journal, **options) as batch,  # type: ignore[arg-type]
            ):
                async for outcome in batch:
                    outcomes.append(outcome)

        assert len(home.sandbox.audit.jobs) == 3
    assert {outcome.key: type(outcome) for outcome in outcomes} == {
        "old-0": Completed,
        "old-2": Completed,
        "new": NotSubmitted,
    }


async def test_the_loop_turns_while_a_journal_that_can_not_be_read_is_asked(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else no answer to a paid POST is read, and nothing can end the batch, until the source ends."""
    pulled, turned = 0, False
    begun = anyio.Event()

    def fail(*_: object) -> None:
        raise JournalCorruptedError("It is damaged.")

    def source() -> Iterator[TranslationRequest]:
        nonlocal pulled
        begun.set()
        while not turned and pulled < 2_000:
            pulled += 1
            yield video(pulled, key=f"new-{pulled}")

    async def take_turns() -> None:
        nonlocal turned
        await begun.wait()
        turned = True

    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal, anyio.create_task_group() as tasks:
            for name in ("recall", "get"):
                monkeypatch.setattr(type(journal), name, fail)
            tasks.start_soon(take_turns)
            with pytest.raises(JournalCorruptedError):
                async with open_batch(client, source(), journal=journal) as batch:
                    async for _ in batch:
                        pass

    assert turned
    assert pulled < 2_000
