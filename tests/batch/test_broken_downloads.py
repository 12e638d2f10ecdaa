"""Batches left again and again while results come home over a bad line: whole files, each once, paid once.

AKOOL_TEST_DOWNLOADS sets how many results there are.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import anyio
import pytest

from akool_async import Completed, Outcome, State, open_batch, open_journal
from akool_async._download import DownloadLimits
from akool_async.sandbox import Fault
from tests.batch.test_batch import videos
from tests.batch.whole import check_files
from tests.client.conftest import Open

pytestmark = pytest.mark.timeout(600)

RESULTS = int(os.environ.get("AKOOL_TEST_DOWNLOADS", "24"))
TRANSFERS = (
    *("reset_mid", "short", "truncated", "no_length", "wrong_length", "html", "empty", "reset_after"),
    *("wrong_range", "weak_etag", "compressed", "stall", "changed_etag", "redirect"),
)


async def test_whatever_moment_a_batch_is_left_at_its_files_are_whole(house: Open, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wanted, out = videos(RESULTS // 2, targets="ja,fr"), tmp_path / "out"
    given: list[Outcome] = []
    async with house(result_bytes=200_000, result_days=1e6, max_jobs=50) as home:
        for do in TRANSFERS:
            # A file that is cut twice at one place, by a host that is not to be asked for ranges, can't be
            # found out; so each of these cuts comes once.
            times = {"limit": 1} if do == "truncated" else {}
            for _ in range(10 if times else 1):
                keep = chance.random()
                home.sandbox.faults.add(Fault(on="cdn", kind=do, probability=0.06, keep=keep, **times))
        client = await home.client()
        client.session.opened.downloads._limits = DownloadLimits(slow_window=0.2, min_bytes=1)
        left = 0
        while len([outcome for outcome in given if outcome.saved]) < RESULTS:
            async with open_journal(tmp_path / "j.sqlite3") as journal:
                # Longer from run to run: on a slow machine nothing is done in the first ones.
                patience = chance.choice([0.1, 0.2, 0.4, 0.8, 3.0]) * (1 + left / 10)
                with anyio.move_on_after(patience):
                    async with open_batch(client, wanted, journal=journal, download_to=out) as batch:
                        async for outcome in batch:
                            if not outcome.resumed:
                                given.append(outcome)
                left += 1
                assert left < 200
                check_files(home.sandbox, out)
                if journal.counts()[State.DELIVERED] == RESULTS:
                    break
        check_files(home.sandbox, out, parts=False)
        assert home.sandbox.audit.paid_twice() == ()
        assert len(home.sandbox.audit.jobs) == RESULTS

    assert all(isinstance(outcome, Completed) for outcome in given)
    delivered = [outcome.job.id for outcome in given if outcome.saved]
    assert len(delivered) == len(set(delivered))
