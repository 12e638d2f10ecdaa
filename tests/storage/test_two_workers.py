"""Workers and runs that share a bucket: each result under a name of its own, each object whole."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import anyio
import obstore
import pytest

from akool_async import AkoolClient, Completed, FixedSchedule, State, TranslationRequest, verify
from akool_async._model.errors import DownloadError, StorageError
from akool_async.ledger import Made, open_ledger
from akool_async.sandbox import Sandbox
from tests.batch.test_batch import run
from tests.client.conftest import Open, video
from tests.client.moments import until
from tests.postgres import new_database
from tests.storage.conftest import TestBucket
from tests.storage.test_results import LARGE, collect

KEY = "canary-5d1"


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
    for entry, name in zip(entries, videos, strict=True):
        manifest = json.loads(bucket.content(f"results/{name.removesuffix('.mp4')}.json"))
        assert entry.job_id in json.dumps(manifest)
    assert bucket.unfinished_uploads == 0


async def test_two_runs_never_put_one_result_under_the_name_of_the_other(
    fast_house: Open, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is about to give its video the name while the other sends a video of the same name."""
    turns, first_waits, second_sent, first_named = [], *(threading.Event() for _ in range(3))
    copied = obstore.copy

    def in_turn(*args: Any, **options: Any) -> None:
        turns.append(args)
        if len(turns) == 1:
            first_waits.set()
            assert second_sent.wait(200)
            try:
                copied(*args, **options)
            finally:
                first_named.set()
            return
        second_sent.set()
        assert first_named.wait(200)
        copied(*args, **options)

    ends: dict[int, Any] = {}
    monkeypatch.setattr(obstore, "copy", in_turn)
    async with fast_house(result_bytes=LARGE) as home:
        client = await home.client()

        async def save(number: int) -> None:
            place = {"download_to": f"{bucket.url}/r", "file_names": "{key}"}
            ends[number] = await collect(client, [video(number, key="talk")], **place)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(save, 1)
            await until(first_waits.is_set, seconds=200)
            tasks.start_soon(save, 2)

    videos = {number: end[0][0].saved.video for number, end in ends.items()}
    assert videos[1].name == "talk.mp4" != videos[2].name
    for number, (_, made) in ends.items():
        assert bucket.content(f"r/{videos[number].name}") == made[videos[number].name]
    assert [one.damaged for one in await verify(f"{bucket.url}/r")] == [(), ()]
    assert [name for name in bucket.names if ".part" in name] == []


@pytest.mark.parametrize("step", ["head", "copy"])
async def test_a_part_is_removed_though_its_file_can_not_be_saved(
    fast_house: Open, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    original = getattr(obstore, step)

    def failing(store: Any, key: str, *args: Any, **options: Any) -> Any:
        if key.endswith(".part"):
            raise OSError("the line is dead")
        return original(store, key, *args, **options)

    monkeypatch.setattr(obstore, step, failing)
    async with fast_house(result_bytes=LARGE) as home:
        (outcome,) = await run(await home.client(), [video(1)], download_to=bucket.url)

    assert "the line is dead" in outcome.reason
    assert bucket.names == []


async def test_a_result_whose_part_can_not_be_removed_is_saved(
    fast_house: Open,
    bucket: TestBucket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError("the line is dead")

    monkeypatch.setattr(obstore, "delete", refuse)
    async with fast_house(result_bytes=LARGE) as home:
        (outcome,) = await run(await home.client(), [video(1)], download_to=bucket.url)

    assert isinstance(outcome, Completed)
    assert outcome.saved is not None
    (left,) = [name for name in bucket.names if ".part" in name]
    assert f"{left} could not be deleted: the line is dead" in caplog.text
    assert [one.damaged for one in await verify(bucket.url)] == [()]
