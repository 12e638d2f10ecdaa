"""A catalog in a process of its own, to be killed: `python -m tests.webhook.catalog FOLDER URL COUNT`.

The vendor shall call URL. Host and key come from the environment; given.txt has the outcomes of the last run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from akool_async import AkoolClient, FixedSchedule, RetryPolicy, open_batch, open_journal
from akool_async.webhook import open_inbox
from tests.batch.catalog import requests


async def main(folder: Path, url: str, count: int) -> None:
    retry, schedule = RetryPolicy(initial_delay=0.01, max_delay=0.05), FixedSchedule(interval=0.1)
    async with (
        AkoolClient(retry=retry, schedule=schedule) as client,
        open_journal(folder / "jobs.sqlite3") as journal,
        open_inbox(folder / "inbox.sqlite3") as inbox,
        open_batch(
            client,
            requests(count),
            max_in_flight=10,
            journal=journal,
            download_to=folder / "out",
            webhook_url=url,
            callbacks=inbox,
            webhook_grace=20.0,
        ) as batch,
    ):
        with (folder / "given.txt").open("w") as given:
            async for outcome in batch:
                given.write(f"{outcome.key} {outcome.target} {type(outcome).__name__}\n")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
