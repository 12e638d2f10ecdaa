"""An entry that can't be read stops what is new; all else comes home, and the error is the journal's own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import pytest

from akool_async import Completed, JournalCorruptedError, NotSubmitted, Outcome, open_batch, open_journal
from tests.batch.test_without_catalog import leave_at_work
from tests.client.conftest import Open, video

pytestmark = pytest.mark.anyio


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

        with pytest.raises(JournalCorruptedError, match="old-1"), anyio.fail_after(20):
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
