"""A run that stops at one step of an upload, says so, and waits to be killed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import obstore

from akool_async import AkoolClient, FixedSchedule, Storage, TranslationRequest, open_batch, open_journal
from akool_async.cli.app import run


def stop() -> None:
    print("here", flush=True)
    time.sleep(120)


def stop_at(step: str) -> None:
    """Stop at the first call of this step."""
    put, copy, delete = obstore.put, obstore.copy, obstore.delete

    def stopping_put(store: Any, key: str, content: Any, **options: Any) -> Any:
        part = key.endswith(".part")
        if step == "manifest" and key.endswith(".json"):
            stop()
        if (step == "upload" and "/tmp/" in f"/{key}") or (step == "part" and part):
            whole = iter(content)

            def halves() -> Any:
                yield next(whole)
                yield next(whole)  # asked for when the first one is on its way
                stop()

            content = halves()
        return put(store, key, content, **options)

    def stopping_copy(*args: Any, **options: Any) -> None:
        if step == "copy":
            stop()
        copy(*args, **options)

    def stopping_delete(store: Any, key: str) -> None:
        if step == "copied" and key.endswith(".part"):
            stop()
        delete(store, key)

    obstore.put, obstore.copy, obstore.delete = stopping_put, stopping_copy, stopping_delete


async def main(host: str, key: str, path: str, bucket: str, journal: str) -> None:
    schedule = FixedSchedule(interval=0.05)
    async with (
        AkoolClient(api_key=key, host=host, schedule=schedule) as client,
        open_journal(journal) as opened,
    ):
        batch = open_batch(
            client,
            [TranslationRequest(url=Path(path), targets="ja")],
            journal=opened,
            download_to=f"{bucket}/out",
            storage=Storage(share=f"{bucket}/tmp"),
        )
        async with batch:
            async for outcome in batch:
                print(json.dumps([type(outcome).__name__, outcome.reason]), flush=True)


if __name__ == "__main__":
    stop_at(sys.argv[1])
    if sys.argv[2] == "command":
        sys.exit(run(sys.argv[3:]))
    anyio.run(main, *sys.argv[2:])
