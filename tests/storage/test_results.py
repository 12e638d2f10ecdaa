"""Results in a bucket: byte for byte what the vendor made, whole or not there, never over another's."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import av
import httpx
import obstore
import pytest

from akool_async import (
    Completed,
    ConfigurationError,
    FileState,
    NotSubmitted,
    Storage,
    StorageError,
    open_batch,
    open_journal,
    verify,
)
from akool_async._model.locations import BucketPath
from akool_async._storage import BucketFolder
from akool_async.sandbox import Fault
from akool_async.sandbox.media import sample_video
from tests.batch.test_batch import run
from tests.client.conftest import Open, video
from tests.storage.conftest import TestBucket
from tests.storage.test_inputs import translation

LARGE = 9_000_000
"""More than one part of an upload."""


async def collect(client: Any, requests: Any, **options: Any) -> tuple[list[Completed], dict[str, bytes]]:
    """Run a batch, and fetch what the vendor has as its results by the names that they should get."""
    outcomes, made = [], {}
    async with (
        open_batch(client, requests, **options) as batch,
        httpx.AsyncClient(trust_env=False, timeout=60.0) as http,
    ):
        async for outcome in batch:
            outcomes.append(outcome)
            if isinstance(outcome, Completed) and outcome.saved is not None:
                made[outcome.saved.video.name] = (await http.get(outcome.snapshot.url)).content
    return outcomes, made


def spooled(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "user").rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [5_000, LARGE])
async def test_results_are_saved_byte_for_byte_under_their_names(
    house: Open, bucket: TestBucket, tmp_path: Path, size: int
) -> None:
    async with house(result_bytes=size) as home:
        client = await home.client()
        outcomes, made = await collect(client, [video(1, targets="ja,fr")], download_to=f"{bucket.url}/a b/ö")

    assert sorted(made) == ["1.fr.mp4", "1.ja.mp4"]
    for name, content in made.items():
        assert bucket.content(f"a b/ö/{name}") == content
    endings = (".json", ".mp4", ".original.srt", ".srt")
    expected = [f"a b/ö/1.{code}{ending}" for code in ("fr", "ja") for ending in endings]
    assert bucket.names == sorted(expected)
    assert {str(outcome.saved.video) for outcome in outcomes} == {
        f"{bucket.url}/a b/ö/1.{code}.mp4" for code in ("fr", "ja")
    }
    assert spooled(tmp_path) == []
    assert bucket.unfinished_uploads == 0


async def test_the_whole_way_from_a_local_file_to_a_playable_result_in_a_bucket(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(sample_video(1.0, width=64, height=36))
    async with fast_house(media=True) as home:
        client = await home.client()
        storage = Storage(share=f"{bucket.url}/tmp")
        outcomes, made = await collect(
            client, [translation(film)], storage=storage, download_to=f"{bucket.url}/results"
        )

    assert [type(outcome) for outcome in outcomes] == [Completed]
    content = bucket.content("results/film.ja.mp4")
    assert content == made["film.ja.mp4"]
    (tmp_path / "again.mp4").write_bytes(content)
    with av.open(str(tmp_path / "again.mp4")) as container:
        assert len(list(container.decode(video=0))) > 20
    assert [name for name in bucket.names if not name.startswith("results/")] == []
    manifest = json.loads(bucket.content("results/film.ja.json"))
    assert manifest["request"]["url"].startswith(f"{film.as_uri()}?sha256=")


async def test_a_second_run_neither_pays_nor_saves_again(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        for _ in range(2):
            outcomes = await run(client, [video(1)], journal=journal, download_to=bucket.url)
        served = len(home.sandbox.audit.served)
        again = await run(client, [video(1)], journal=journal, download_to=bucket.url, verify_saved=True)

        assert len(home.sandbox.audit.creates) == 1
        assert len(home.sandbox.audit.served) == served
    assert [one.saved.video for one in outcomes + again] == [BucketPath(f"{bucket.url}/1.ja.mp4")] * 2


async def test_what_was_deleted_is_saved_again_without_paying(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, [video(1)], journal=journal, download_to=bucket.url)
        before = bucket.content("1.ja.mp4")
        obstore.delete(bucket.store, "1.ja.mp4")
        outcomes = await run(client, [video(1)], journal=journal, download_to=bucket.url)

        assert len(home.sandbox.audit.creates) == 1
    assert bucket.content("1.ja.mp4") == before
    assert outcomes[0].saved is not None


@pytest.mark.parametrize("content", [None, b"", b"no manifest"])
async def test_without_its_manifest_a_result_is_saved_again_where_hashes_are_compared(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, content: bytes | None
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, [video(1)], journal=journal, download_to=bucket.url)
        obstore.delete(bucket.store, "1.ja.json")
        if content is not None:
            obstore.put(bucket.store, "1.ja.json", content)
        usual = await run(client, [video(1)], journal=journal, download_to=bucket.url)
        again = await run(client, [video(1)], journal=journal, download_to=bucket.url, verify_saved=True)
        entry = journal.get(usual[0].key, "ja")

        assert len(home.sandbox.audit.creates) == 1
    assert usual[0].saved.video == BucketPath(f"{bucket.url}/1.ja.mp4")
    assert [str(path) for path in again[0].saved.files] == list(entry.files)
    assert [one.damaged for one in await verify(bucket.url)] == [()]


async def test_an_empty_object_without_a_manifest_is_not_called_saved(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, [video(1)], journal=journal, download_to=bucket.url)
        obstore.delete(bucket.store, "1.ja.json")
        obstore.put(bucket.store, "1.ja.mp4", b"")
        (again,) = await run(client, [video(1)], journal=journal, download_to=bucket.url)

        assert len(home.sandbox.audit.creates) == 1
    assert again.saved.video != BucketPath(f"{bucket.url}/1.ja.mp4")


async def test_another_object_keeps_its_name(fast_house: Open, bucket: TestBucket) -> None:
    obstore.put(bucket.store, "r/1.ja.mp4", b"another's")
    async with fast_house() as home:
        outcomes = await run(await home.client(), [video(1)], download_to=f"{bucket.url}/r")

    assert bucket.content("r/1.ja.mp4") == b"another's"
    assert outcomes[0].saved.video.name.startswith("1.ja-")


async def test_an_object_that_appears_at_the_last_moment_keeps_its_name(
    fast_house: Open, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = obstore.copy

    def late(store: Any, source: str, key: str, **options: Any) -> None:
        if key == "1.ja.mp4":
            obstore.put(bucket.store, key, b"another's")
        copied(store, source, key, **options)

    monkeypatch.setattr(obstore, "copy", late)
    async with fast_house(result_bytes=LARGE) as home:
        outcomes, made = await collect(await home.client(), [video(1)], download_to=bucket.url)

    (name,) = made
    assert bucket.content("1.ja.mp4") == b"another's"
    assert bucket.content(name) == made[name]
    assert outcomes[0].saved.video.name == name != "1.ja.mp4"


async def test_a_manifest_in_the_bucket_keeps_a_result_from_being_paid_again(
    fast_house: Open, bucket: TestBucket
) -> None:
    async with fast_house() as home:
        client = await home.client()
        await run(client, [video(1)], download_to=bucket.url)
        outcomes = await run(client, [video(1)], download_to=bucket.url)

        assert len(home.sandbox.audit.creates) == 1
    assert "1.ja.json says that job" in outcomes[0].reason


async def test_results_get_folders_below_the_prefix_and_are_looked_after_there(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    names = {"file_names": "{language}/{key}", "download_to": f"{bucket.url}/r"}
    wanted = [video(1, targets="ja,fr", key="one")]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(result_bytes=LARGE) as home:
        client = await home.client()
        outcomes, made = await collect(client, wanted, journal=journal, **names)
        intact = await verify(f"{bucket.url}/r")
        obstore.delete(bucket.store, "r/ja/one.mp4")
        damaged = await verify(f"{bucket.url}/r")
        again = await run(client, wanted, journal=journal, **names)
        # Without its journal the manifest says that it is paid, and another's object keeps its name.
        found = await run(client, wanted, **names)
        obstore.put(bucket.store, "r/de/one.mp4", b"another's")
        late = await run(client, [video(1, targets="de", key="one")], **names)

        assert len(home.sandbox.audit.creates) == 2
    assert {str(outcome.saved.manifest) for outcome in outcomes} == {
        f"{bucket.url}/r/{code}/one.json" for code in ("ja", "fr")
    }
    assert made["one.mp4"] in (bucket.content("r/ja/one.mp4"), bucket.content("r/fr/one.mp4"))
    assert [len(one.damaged) for one in intact] == [0, 0]
    assert [str(file.path) for one in damaged for file in one.damaged] == [f"{bucket.url}/r/ja/one.mp4"]
    assert {outcome.saved.video for outcome in again} == {outcome.saved.video for outcome in outcomes}
    assert all("says that job" in outcome.reason for outcome in found)
    assert bucket.content("r/de/one.mp4") == b"another's"
    assert str(late[0].saved.video).startswith(f"{bucket.url}/r/de/one-")
    assert not [name for name in bucket.names if ".part" in name]
    assert spooled(tmp_path) == []


async def test_verify_tells_what_became_of_each_object(fast_house: Open, bucket: TestBucket) -> None:
    async with fast_house() as home:
        await run(await home.client(), [video(n) for n in (1, 2, 3)], download_to=f"{bucket.url}/r")
    content = bucket.content("r/2.ja.mp4")
    obstore.put(bucket.store, "r/2.ja.mp4", content[:-1] + b"?")
    obstore.delete(bucket.store, "r/3.ja.srt")
    obstore.put(bucket.store, "r/below/4.ja.json", b"{}")
    obstore.put(bucket.store, "r/other.json", b"no manifest")

    def damage(results: Any) -> list[tuple[str, str, FileState]]:
        return [(one.manifest.name, file.artifact, file.state) for one in results for file in one.damaged]

    missing = ("3.ja.json", "translated_srt", FileState.MISSING)
    assert damage(await verify(f"{bucket.url}/r", hashes=False)) == [missing]
    assert damage(await verify(f"{bucket.url}/r")) == [
        ("2.ja.json", "video", FileState.CHANGED),
        missing,
    ]


async def test_a_bucket_that_can_not_be_written_stops_downloads_and_loses_nothing(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        target = f"{bucket.url}/r"
        with pytest.MonkeyPatch.context() as patched:

            def refuse(*args: Any, **options: Any) -> None:
                store = bucket.server.store(bucket.name, aws_secret_access_key="wrong")
                put(store, *args[1:], **options)

            put = obstore.put
            patched.setattr(obstore, "put", refuse)
            outcomes = await run(client, [video(1), video(2)], journal=journal, download_to=target)
        again = await run(client, [video(1), video(2)], journal=journal, download_to=target)

        assert len(home.sandbox.audit.creates) == 2
    assert all("the secret key is wrong" in outcome.reason for outcome in outcomes)
    assert all(outcome.saved is None for outcome in outcomes)
    assert all(outcome.saved is not None for outcome in again)


async def test_a_bucket_that_can_not_be_looked_at_costs_nothing(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, [video(1)], journal=journal, download_to=bucket.url)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        outcomes = await run(client, [video(1), video(2)], journal=journal, download_to=bucket.url)

        assert len(home.sandbox.audit.creates) == 1
    ends = {type(outcome): outcome for outcome in outcomes}
    assert ends[Completed].saved.video == BucketPath(f"{bucket.url}/1.ja.mp4")
    assert "the secret key is wrong" in ends[NotSubmitted].reason


async def test_a_part_that_the_store_loses_is_found_out(
    fast_house: Open, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put

    def losing(store: Any, key: str, chunks: Any, **options: Any) -> Any:
        if key.endswith(".part"):
            kept = list(chunks)
            chunks = iter([kept[0], *kept[2:]])
        return put(store, key, chunks, **options)

    monkeypatch.setattr(obstore, "put", losing)
    async with fast_house(result_bytes=LARGE) as home:
        outcomes = await run(await home.client(), [video(1)], download_to=bucket.url)

    assert "did not arrive whole" in outcomes[0].reason
    assert [name for name in bucket.names if name.endswith((".mp4", ".json"))] == []


async def test_a_spool_that_is_changed_meanwhile_makes_no_object(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put

    def changing(store: Any, key: str, chunks: Any, **options: Any) -> Any:
        def parts() -> Any:
            yield next(chunks)
            (path,) = [one for one in spooled(tmp_path) if one.name == "1.ja.mp4"]
            with path.open("r+b") as file:
                file.seek(-1, 2)
                file.write(b"?")
            yield from chunks

        return put(store, key, parts() if key.endswith(".part") else chunks, **options)

    monkeypatch.setattr(obstore, "put", changing)
    async with fast_house(result_bytes=LARGE) as home:
        outcomes = await run(await home.client(), [video(1)], download_to=bucket.url)

    assert "was changed while it was sent" in outcomes[0].reason
    assert bucket.names == []
    assert bucket.unfinished_uploads == 0


async def test_what_is_no_bucket_is_refused_when_the_batch_is_made(fast_house: Open) -> None:
    async with fast_house() as home:
        client = await home.client()
        for place in ("s3://", "s3://x", "s3://bucket/a?b", "ftp://bucket/a"):
            with pytest.raises(ConfigurationError):
                open_batch(client, [video(1)], download_to=place)
        for place in (
            "s3://bucket//a",
            "s3://bucket/a//b",
            "s3://bucket/./a",
            "s3://bucket/a/..",
            "gs://bucket/%2E%2E/a",
        ):
            with pytest.raises(ConfigurationError, match="without empty parts"):
                open_batch(client, [video(1)], download_to=place)
            with pytest.raises(ConfigurationError, match="without empty parts"):
                Storage(share=place)
    assert str(BucketFolder("s3://bucket/a/b//", Storage())) == "s3://bucket/a/b"


async def test_a_key_that_is_too_long_for_a_bucket_is_found_before_anything_is_spent(
    fast_house: Open, bucket: TestBucket
) -> None:
    prefix = "/".join(["p" * 200] * 4)
    wanted = [video(1, key="k" * 90), video(2, key="l" * 90, targets="de")]
    async with fast_house() as home:
        client = await home.client()
        outcomes = await run(
            client, wanted, download_to=f"{bucket.url}/{prefix}", file_names="{key}/{language}/{key}/{key}"
        )
        whole = await run(client, wanted[:1], download_to=f"{bucket.url}/{prefix}", file_names="{key}")

        assert len(home.sandbox.audit.creates) == 1
    assert {type(outcome) for outcome in outcomes} == {NotSubmitted}
    assert all("1,024 are allowed" in outcome.reason for outcome in outcomes)
    assert whole[0].saved is not None


async def test_a_file_that_the_spool_can_not_have_is_found_before_anything_is_spent(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    deep = tmp_path
    while (room := 4080 - len(str(deep))) > 0:  # a path has 4,095 bytes at most, the name no room left
        deep /= "d" * min(room, 250)
    async with fast_house() as home:
        outcomes = await run(
            await home.client(), [video(1)], download_to=bucket.url, storage=Storage(spool=deep)
        )

        assert home.sandbox.audit.creates == ()
    assert "too long there" in outcomes[0].reason


@pytest.mark.parametrize("place", ["folder", "bucket"])
async def test_a_part_in_a_folder_of_its_own_is_resumed_by_the_next_run(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, place: str
) -> None:
    target = bucket.url if place == "bucket" else tmp_path / "results"
    faults = [
        Fault(on="cdn", kind="reset_mid", keep=0.5, nth=1),
        Fault(on="cdn", kind="http", status=404, nth=range(2, 99)),
    ]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(result_bytes=200_000) as home:
        client, options = await home.client(), {"file_names": "{language}/{key}", "download_to": target}
        wanted = [video(1, targets="ja", key="one")]
        home.sandbox.faults.add(*faults)
        (cut,) = await run(client, wanted, journal=journal, **options)
        (part,) = tmp_path.rglob("ja/one.mp4.part")
        size = part.stat().st_size
        home.sandbox.faults.clear()
        before = len(home.sandbox.audit.served)
        (done,) = await run(client, wanted, journal=journal, **options)

        assert len(home.sandbox.audit.creates) == 1
        assert home.sandbox.audit.served[before].range == f"bytes={size}-"
    assert cut.saved is None
    assert 0 < size < 200_000
    assert done.saved.video.name == "one.mp4"
    assert list(tmp_path.rglob("*.part")) == []


async def test_verify_says_why_a_bucket_can_not_be_read(bucket: TestBucket) -> None:
    with pytest.raises(StorageError, match="there is no such bucket"):
        await verify("s3://nobody-has-it")


def test_the_path_of_an_object_is_a_path_that_opens_no_file() -> None:
    path = BucketPath("s3://bucket/a b/1.ja.mp4")

    assert (str(path), path.name, path.suffix) == ("s3://bucket/a b/1.ja.mp4", "1.ja.mp4", ".mp4")
    assert str(path.with_name("2.mp4")) == "s3://bucket/a b/2.mp4"
    assert str(path.parent / "x") == "s3://bucket/a b/x"
    assert pickle.loads(pickle.dumps(path)) == copy.deepcopy(path) == path
    assert str(pickle.loads(pickle.dumps(path))) == str(path)
    for read in (path.read_bytes, path.exists, path.stat, path.open):
        with pytest.raises(TypeError, match="an object in a bucket, not a file"):
            read()
