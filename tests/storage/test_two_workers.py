"""Workers that share a ledger and a bucket: each result under a name of its own, each object whole."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import obstore
import pytest

from akool_async import AkoolClient, FixedSchedule, State, TranslationRequest
from akool_async._model.errors import DownloadError, StorageError
from akool_async.ledger import Made, open_ledger
from akool_async.sandbox import Sandbox
from tests.postgres import new_database
from tests.storage.conftest import TestBucket

KEY = "canary-5d1"


@pytest.mark.anyio
@pytest.mark.timeout(300)
async def test_two_workers_never_write_one_name_into_a_bucket(bucket: TestBucket, tmp_path: Path) -> None:
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=5000.0, result_days=1e6, seed=1)
    database, schedule = new_database(), FixedSchedule(interval=0.02)
    # Names that meet: the same file in other folders, and in letters of another case.
    urls = [f"https://media.example/{folder}/{name}.mp4" for folder in "abc" for name in ("talk", "TALK")]
    obstore.put(bucket.store, "results/talk.ja.mp4", b"the only copy of something else")

    async def work(name: str) -> None:
        async with (
            AkoolClient(api_key=KEY, host=server.base_url, schedule=schedule) as client,
            open_ledger(database) as ledger,
        ):
            for key, target, _ in await ledger.open_work():
                entry = await ledger.get(key, target)
                assert entry is not None
                while not isinstance(await ledger.submit_once(client, entry.request, work=key), Made):
                    await anyio.sleep(0.02)  # the other one is sending it
                await ledger.wait_once(client, key, target, worker=name)
                with anyio.fail_after(120):
                    while (await save(client, ledger, key, target)) is not State.DELIVERED:
                        await anyio.sleep(0.02)

    async def save(client: AkoolClient, ledger: object, key: str, target: str) -> State | None:
        try:
            into = f"{bucket.url}/results"
            return (await ledger.save_once(client, key, target, into=into)).state  # type: ignore[attr-defined]
        except (DownloadError, StorageError):  # the other one is saving it
            return None

    async with sandbox.serve() as server, open_ledger(database) as ledger:
        await ledger.plan(TranslationRequest(url=url, targets="ja") for url in urls)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, "one")
            tasks.start_soon(work, "two")
        entries = [entry async for entry in ledger.entries()]

    assert len(sandbox.audit.creates) == len(urls)
    assert bucket.content("results/talk.ja.mp4") == b"the only copy of something else"
    videos = [entry.files[0].rpartition("/")[2] for entry in entries]
    assert len({video.casefold() for video in videos}) == len(urls)
    for entry, video in zip(entries, videos, strict=True):
        manifest = json.loads(bucket.content(f"results/{video.removesuffix('.mp4')}.json"))
        assert entry.job_id in json.dumps(manifest)
    assert bucket.unfinished_uploads == 0
