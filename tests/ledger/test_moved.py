"""A journal that was moved into a ledger is retired: no later run on it pays for anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from akool_async import JournalOlderError, State, open_journal
from tests.cli.vendor import served
from tests.postgres import new_database

KEY = "canary-4f9c1b7e2a"


def akool(folder: Path, host: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": ":".join(sys.path),
        "AKOOL_API_KEY": KEY,
        "AKOOL_API_HOST": host,
    }
    command = [sys.executable, "-W", "ignore", "-m", "akool_async", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_journal_that_was_moved_pays_for_nothing_any_more(tmp_path: Path) -> None:
    rows = "".join(f"https://example.com/{number}.mp4,ja\n" for number in range(3))
    (tmp_path / "one.csv").write_text("url,languages\nhttps://example.com/0.mp4,ja\n", encoding="utf-8")
    (tmp_path / "all.csv").write_text("url,languages\n" + rows, encoding="utf-8")
    with served(KEY) as vendor:

        def run_until_paid(jobs: int, *words: str) -> None:
            """Run, and give up soon, until so many were made: none of them ends."""
            for _ in range(20):
                done = akool(
                    tmp_path, vendor.base_url, "run", *words, "--yes", "--no-check", "--give-up-after", "1s"
                )
                if len(vendor.ledger()["jobs"]) >= jobs:
                    break
            assert len(vendor.ledger()["jobs"]) == jobs, done.stderr

        run_until_paid(1, "one.csv")
        moved = akool(
            tmp_path, vendor.base_url, *("enqueue", "--from-journal", "results", "--ledger", new_database())
        )
        assert moved.returncode == 0, moved.stderr
        assert "retired" in moved.stderr + moved.stdout
        for words in (("run", "all.csv", "--yes", "--no-check"), ("resume",), ("retry", "--failed", "--yes")):
            refused = akool(tmp_path, vendor.base_url, *words)
            if words[0] != "retry":  # which has nothing to pay for again
                assert refused.returncode == 1, refused.stderr
                assert "moved to the ledger" in refused.stderr
        assert akool(tmp_path, vendor.base_url, "status").returncode == 0
        assert len(vendor.ledger()["jobs"]) == 1

        run_until_paid(3, "all.csv", "--accept-older-journal")


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_retry_asks_before_it_spends(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(
        "url,languages,key\nhttps://example.com/0.mp4,ja,talk\n", encoding="utf-8"
    )
    ledger = ("--ledger", new_database())
    with served(KEY) as vendor:
        vendor.fault(on="create", kind="code", code=1003, limit=1)
        assert akool(tmp_path, vendor.base_url, "enqueue", "one.csv", *ledger).returncode == 0
        worker = akool(
            tmp_path, vendor.base_url, "worker", "--name", "one", "--out", "out", "--until-done", *ledger
        )
        assert '"failed"' in akool(tmp_path, vendor.base_url, "status", "--json", *ledger).stdout, (
            worker.stderr
        )

        unasked = akool(tmp_path, vendor.base_url, "retry", "--failed", *ledger)
        unknown = akool(tmp_path, vendor.base_url, "retry", "tour", "--yes", *ledger)
        assert (unasked.returncode, unknown.returncode) == (2, 2)
        assert "--yes" in unasked.stderr
        assert "'tour'" in unknown.stderr
        assert '"failed"' in akool(tmp_path, vendor.base_url, "status", "--json", *ledger).stdout

        assert akool(tmp_path, vendor.base_url, "retry", "talk", "--yes", *ledger).returncode == 0
        assert '"planned"' in akool(tmp_path, vendor.base_url, "status", "--json", *ledger).stdout
        assert vendor.ledger()["jobs"] == []


@pytest.mark.anyio
async def test_a_journal_that_was_retired_says_where_it_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    async with open_journal(path) as journal:
        await journal.retire("another place")
    with pytest.raises(JournalOlderError, match="another place"):
        async with open_journal(path):
            pass
    async with open_journal(path, read_only=True) as journal:
        assert journal.counts()[State.PLANNED] == 0
        assert "another place" in str(journal.older_error)
    async with open_journal(path, accept_older=True):
        pass
    async with open_journal(path):
        pass
