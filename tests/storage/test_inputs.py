"""Files and objects as inputs: uploaded once, signed for the POST, deleted, and nothing signed is kept."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import obstore
import pytest

from akool_async import (
    Completed,
    ConfigurationError,
    InputError,
    Limits,
    LipSyncRequest,
    NotSubmitted,
    Outcome,
    StopCause,
    Storage,
    TranslationRequest,
    fingerprint,
    open_batch,
    open_journal,
)
from akool_async._client import ClientSession
from akool_async._storage import SharedInputs
from akool_async.sandbox import Fault
from akool_async.sandbox.media import sample_video
from tests.batch.test_batch import run
from tests.client.conftest import Open
from tests.client.moments import until
from tests.storage.conftest import TestBucket

SRT = "1\n00:00:00,000 --> 00:00:00,900\nHello from the hill.\n"


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    folder = tmp_path / "Vidéos & more"
    folder.mkdir()
    path = folder / "my talk 100%.mp4"
    path.write_bytes(os.urandom(9_000_000))
    return path


def translation(url: object, **options: Any) -> TranslationRequest:
    return TranslationRequest(**{"url": url, "targets": "ja"} | options)


def sent_urls(home: Any, field: str = "url") -> list[str]:
    return [create.payload[field] for create in home.sandbox.audit.creates]


def fetched(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=60.0)


def reasons(outcomes: list[Outcome]) -> list[str]:
    assert [type(outcome) for outcome in outcomes] == [NotSubmitted] * len(outcomes)
    return [outcome.reason for outcome in outcomes]


async def test_a_file_is_shared_for_its_jobs_and_deleted_after_the_last(
    house: Open, bucket: TestBucket, talk: Path
) -> None:
    shared: list[str] = []
    async with house() as home:
        client = await home.client()
        storage = Storage(share=f"{bucket.url}/for akool", expires=timedelta(hours=2))
        async with open_batch(client, [translation(talk, targets="ja,fr")], storage=storage) as batch:
            outcomes = []
            async for outcome in batch:
                shared = shared or bucket.names
                outcomes.append(outcome)
        (url,) = sent_urls(home)

    digest = hashlib.sha256(talk.read_bytes()).hexdigest()
    parts = urlsplit(url)
    assert [type(outcome) for outcome in outcomes] == [Completed, Completed]
    assert parts.path == f"/{bucket.name}/for%20akool/{digest}.mp4"
    assert parse_qs(parts.query)["X-Amz-Expires"] == ["7200"]
    assert shared in ([], [f"for akool/{digest}.mp4"])
    assert bucket.names == []
    assert {outcome.request.url for outcome in outcomes} == {f"{talk.as_uri()}?sha256={digest}"}


async def test_what_the_vendor_fetches_is_the_file_and_no_changed_signature_opens_it(
    fast_house: Open, bucket: TestBucket, talk: Path
) -> None:
    async with fast_house() as home:
        client = await home.client()
        await run(client, [translation(talk)], storage=Storage(share=bucket.url, keep=True))
        (url,) = sent_urls(home)

    whole, tampered = fetched(url), fetched(url.replace("X-Amz-Signature=", "X-Amz-Signature=0"))
    assert whole.content == talk.read_bytes()
    assert tampered.status_code == 403
    assert fetched(url.partition("?")[0]).status_code == 403


async def test_a_whole_file_is_not_sent_again(fast_house: Open, bucket: TestBucket, talk: Path) -> None:
    storage = Storage(share=bucket.url, keep=True)
    async with fast_house() as home:
        client = await home.client()
        await run(client, [translation(talk)], storage=storage)
        before = obstore.head(bucket.store, bucket.names[0])["last_modified"], bucket.names
        copied = talk.with_name("copy.mp4")
        shutil.copy(talk, copied)
        await run(client, [translation(copied, targets="fr")], storage=storage)
        urls = sent_urls(home)

    assert (obstore.head(bucket.store, bucket.names[0])["last_modified"], bucket.names) == before
    assert len({url.partition("?")[0] for url in urls}) == 1
    assert bucket.unfinished_uploads == 0


async def test_nothing_signed_is_kept_or_told(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "akool_async")
    faults = [Fault(on="create", kind="code", code=1005, nth=1)]
    path = tmp_path / "j.sqlite3"
    async with open_journal(path) as journal, fast_house(faults=faults) as home:
        client = await home.client()
        outcomes = await run(
            client,
            [translation(talk, targets="ja"), translation(talk, targets="fr")],
            journal=journal,
            download_to=tmp_path / "out",
            storage=Storage(share=bucket.url),
        )
        urls = sent_urls(home)

    signatures = {parse_qs(urlsplit(url).query)["X-Amz-Signature"][0] for url in urls}
    kept = {one.name: one.read_bytes() for one in [*(tmp_path / "out").glob("*.json"), path]}
    kept |= {"log": caplog.text.encode(), "outcomes": repr(outcomes).encode()}
    assert signatures
    for secret in (*signatures, "X-Amz", bucket.server.environment["AWS_SECRET_ACCESS_KEY"]):
        assert [name for name, text in kept.items() if secret.encode() in text] == []
    assert b"sha256=" in path.read_bytes()


async def test_every_attempt_is_signed_anew(fast_house: Open, bucket: TestBucket, talk: Path) -> None:
    faults = [Fault(on="create", kind="code", code=1005, nth=1)]
    async with fast_house(faults=faults) as home:
        client = await home.client()
        # With another lifetime each time no two signatures are the same, whatever the second is.
        signed: list[str] = []
        sign = obstore.sign

        def counted(*args: Any) -> Any:
            signed.append("")
            return sign(*args)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(obstore, "sign", counted)
            outcomes = await run(client, [translation(talk)], storage=Storage(share=bucket.url))
        posts = len(sent_urls(home))

    assert [type(outcome) for outcome in outcomes] == [Completed]
    assert posts == len(signed) == 2


async def test_the_sandbox_fetches_video_and_captions_and_an_object(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(sample_video(1.0, width=64, height=36))
    captions = tmp_path / "film.srt"
    captions.write_text(SRT)
    obstore.put(bucket.store, "in/Größe 1?#.mp4", film.read_bytes())
    requests = [
        translation(film, caption_url=str(captions), caption_type=3, key="file"),
        translation(f"{bucket.url}/in/Größe 1%3F%23.mp4", key="object"),
    ]
    async with fast_house(media=True) as home:
        client = await home.client()
        outcomes = await run(
            client, requests, storage=Storage(share=f"{bucket.url}/tmp"), download_to=tmp_path / "out"
        )

    assert {outcome.key: type(outcome) for outcome in outcomes} == {"file": Completed, "object": Completed}
    assert bucket.names == ["in/Größe 1?#.mp4"]


async def test_a_lip_sync_takes_files_too(fast_house: Open, bucket: TestBucket, talk: Path) -> None:
    audio = talk.with_suffix(".mp3")
    audio.write_bytes(os.urandom(1000))
    async with fast_house() as home:
        client = await home.client()
        request = LipSyncRequest(video_url=talk, audio_url=audio)
        await run(client, [request], storage=Storage(share=bucket.url, keep=True))
        (video,), (sound,) = sent_urls(home, "video_url"), sent_urls(home, "audio_url")

    assert fetched(video).content == talk.read_bytes()
    assert fetched(sound).content == audio.read_bytes()


@pytest.mark.parametrize("storage", [None, Storage()])
async def test_without_a_place_to_share_a_file_is_refused_before_anything_is_spent(
    fast_house: Open, talk: Path, storage: Storage | None
) -> None:
    async with fast_house() as home:
        client = await home.client()
        outcomes = await run(client, [translation(talk)], storage=storage)
        with pytest.raises(InputError, match="--share s3://bucket/prefix"):
            await client.submit(translation(talk))

        assert home.sandbox.audit.creates == ()
    (reason,) = reasons(outcomes)
    assert str(talk) in reason
    assert "Nothing was sent and nothing was spent." in reason
    assert "Set a bucket as `share`" in reason


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _empty(path: Path) -> None:
    path.touch()


def _nothing(path: Path) -> None:
    """Leave it missing."""


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere.mp4")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_folder, "is a folder or a device"),
        (_pipe, "is a folder or a device"),
        (_empty, "is empty"),
        (_nothing, "does not exist"),
        (_dangling, "does not exist"),
    ],
)
async def test_what_is_no_file_is_refused(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, make: Any, words: str
) -> None:
    path = tmp_path / "odd.mp4"
    make(path)
    async with fast_house() as home:
        client = await home.client()
        outcomes = await run(client, [translation(path)], storage=Storage(share=bucket.url))

        assert home.sandbox.audit.creates == ()
    assert words in reasons(outcomes)[0]
    assert bucket.names == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
async def test_an_unreadable_file_is_refused(fast_house: Open, bucket: TestBucket, talk: Path) -> None:
    talk.chmod(0)
    async with fast_house() as home:
        outcomes = await run(await home.client(), [translation(talk)], storage=Storage(share=bucket.url))

    assert "can't be read: Permission denied" in reasons(outcomes)[0]


async def test_an_object_that_is_missing_or_empty_is_refused(fast_house: Open, bucket: TestBucket) -> None:
    obstore.put(bucket.store, "empty.mp4", b"")
    requests = [translation(f"{bucket.url}/{name}.mp4") for name in ("empty", "missing")]
    async with fast_house() as home:
        outcomes = await run(await home.client(), requests, storage=Storage())

        assert home.sandbox.audit.creates == ()
    assert sorted(reason.partition(". ")[0] for reason in reasons(outcomes)) == [
        f"{bucket.url}/empty.mp4 is empty",
        f"{bucket.url}/missing.mp4 does not exist",
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret key is wrong"),
        ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "it does not know the access key"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "error sending request"),
    ],
)
async def test_a_bucket_that_refuses_costs_nothing_and_is_named(
    fast_house: Open,
    bucket: TestBucket,
    talk: Path,
    settings: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    async with fast_house() as home:
        outcomes = await run(await home.client(), [translation(talk)], storage=Storage(share=bucket.url))

        assert home.sandbox.audit.creates == ()
    assert words in reasons(outcomes)[0]
    assert bucket.names == []


async def test_a_missing_bucket_is_named_and_nothing_is_left_in_it(
    fast_house: Open, bucket: TestBucket, talk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with fast_house() as home:
        storage = Storage(share="s3://nobody-has-it/x")
        outcomes = await run(await home.client(), [translation(talk)], storage=storage)

    assert "there is no such bucket" in reasons(outcomes)[0]
    assert "was shared" not in caplog.text


async def test_a_file_that_changes_while_it_is_uploaded_is_not_shared(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put

    def changing(store: Any, key: str, chunks: Any, **options: Any) -> Any:
        def parts() -> Any:
            yield next(chunks)
            with talk.open("r+b") as file:
                file.seek(-5, os.SEEK_END)
                file.write(b"other")
            yield from chunks

        return put(store, key, parts(), **options)

    monkeypatch.setattr(obstore, "put", changing)
    async with fast_house() as home:
        outcomes = await run(await home.client(), [translation(talk)], storage=Storage(share=bucket.url))

        assert home.sandbox.audit.creates == ()
    assert "was changed while it was uploaded" in reasons(outcomes)[0]
    assert bucket.names == []
    assert bucket.unfinished_uploads == 0


def stop_uploads(monkeypatch: pytest.MonkeyPatch, begun: threading.Event, *, until: threading.Event) -> None:
    """Let each upload stop after its first part until an event is set."""
    put = obstore.put

    def slow(store: Any, key: str, chunks: Any, **options: Any) -> Any:
        def parts() -> Any:
            yield next(chunks)
            begun.set()
            until.wait(60)
            yield from chunks

        return put(store, key, parts(), **options)

    monkeypatch.setattr(obstore, "put", slow)


async def test_draining_ends_an_upload_whose_job_is_not_made(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, drained = threading.Event(), threading.Event()
    stop_uploads(monkeypatch, begun, until=drained)
    async with fast_house() as home:
        client = await home.client()
        with anyio.fail_after(50):
            async with open_batch(client, [translation(talk)], storage=Storage(share=bucket.url)) as batch:
                await until(begun.is_set)
                batch.drain("enough")
                outcomes = [outcome async for outcome in batch]
        drained.set()

        assert home.sandbox.audit.creates == ()
    assert reasons(outcomes) == ["enough"]
    await until(lambda: bucket.unfinished_uploads == 0)
    assert bucket.names == []


async def test_an_upload_that_a_stop_ended_is_done_again_where_the_batch_submits_again(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both in one moment: the upload that was cut short must not be taken for one that was done."""
    put, begun, resumed, uploads = obstore.put, threading.Event(), threading.Event(), list[str]()

    def slow(store: Any, key: str, chunks: Any, **options: Any) -> Any:
        def parts() -> Any:
            yield next(chunks)
            begun.set()
            resumed.wait(60)
            yield from chunks

        uploads.append(key)
        return put(store, key, parts() if len(uploads) == 1 else chunks, **options)

    monkeypatch.setattr(obstore, "put", slow)
    fetched_by_vendor = list[int]()
    sign = SharedInputs.sign

    async def signed(self: SharedInputs, *args: Any) -> Any:
        urls = await sign(self, *args)
        fetched_by_vendor.extend(len(fetched(url).content) for url in urls.values())
        return urls

    monkeypatch.setattr(SharedInputs, "sign", signed)
    async with fast_house() as home:
        client = await home.client()
        with anyio.fail_after(50):
            async with open_batch(client, [translation(talk)], storage=Storage(share=bucket.url)) as batch:
                await until(begun.is_set)
                batch._state.stop("No credits.", cause=StopCause.CREDITS)
                batch.resume_submitting()
                outcomes = [outcome async for outcome in batch]
        resumed.set()

        assert len(home.sandbox.audit.creates) == 1
    assert [type(outcome) for outcome in outcomes] == [Completed]
    assert len(uploads) == 2
    assert fetched_by_vendor == [9_000_000]


def change_while_waiting(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Do something while an entry waits for its turn, after its upload, once."""
    wait_ready, changes = ClientSession.wait_ready, [change]

    async def wait(self: ClientSession) -> None:
        while changes:
            changes.pop()()
        await wait_ready(self)

    monkeypatch.setattr(ClientSession, "wait_ready", wait)


@pytest.mark.parametrize("replaced", [True, False])
async def test_an_object_that_is_replaced_or_deleted_while_its_entry_waits_is_not_paid_for(
    fast_house: Open, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    obstore.put(bucket.store, "talk.mp4", b"first cut")

    def change() -> None:
        if replaced:
            obstore.put(bucket.store, "talk.mp4", b"another cut")
        else:
            obstore.delete(bucket.store, "talk.mp4")

    change_while_waiting(monkeypatch, change)
    async with fast_house() as home:
        requests = [translation(f"{bucket.url}/talk.mp4"), translation("https://example.com/1.mp4")]
        outcomes = await run(await home.client(), requests, storage=Storage(), max_submits=1)

        assert sent_urls(home) == ["https://example.com/1.mp4"]
    unsent = [outcome for outcome in outcomes if not isinstance(outcome, Completed)]
    why = "was changed since this entry was made" if replaced else "does not exist"
    assert f"{bucket.url}/talk.mp4 {why}" in reasons(unsent)[0]


async def test_a_shared_file_that_is_deleted_while_its_entry_waits_is_uploaded_again(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_while_waiting(monkeypatch, lambda: obstore.delete(bucket.store, bucket.names[0]))
    async with fast_house() as home:
        storage = Storage(share=bucket.url, keep=True)
        outcomes = await run(await home.client(), [translation(talk)], storage=storage)
        (url,) = sent_urls(home)

    assert [type(outcome) for outcome in outcomes] == [Completed]
    assert fetched(url).content == talk.read_bytes()


async def test_a_shared_file_that_can_not_be_uploaded_again_is_not_paid_for(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        obstore.delete(bucket.store, bucket.names[0])
        talk.unlink()

    change_while_waiting(monkeypatch, change)
    async with fast_house() as home:
        outcomes = await run(await home.client(), [translation(talk)], storage=Storage(share=bucket.url))

        assert home.sandbox.audit.creates == ()
    assert f"{talk} does not exist" in reasons(outcomes)[0]


async def test_draining_ends_the_second_upload_of_a_file_that_was_deleted(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, drained = threading.Event(), threading.Event()

    def change() -> None:
        obstore.delete(bucket.store, bucket.names[0])
        stop_uploads(monkeypatch, again, until=drained)

    change_while_waiting(monkeypatch, change)
    async with fast_house() as home:
        client = await home.client()
        with anyio.fail_after(50):
            async with open_batch(client, [translation(talk)], storage=Storage(share=bucket.url)) as batch:
                await until(again.is_set)
                batch.drain("enough")
                outcomes = [outcome async for outcome in batch]
        drained.set()

        assert home.sandbox.audit.creates == ()
    assert reasons(outcomes) == ["enough"]


async def test_another_object_under_the_name_of_the_hash_is_neither_used_nor_overwritten(
    fast_house: Open, bucket: TestBucket, talk: Path
) -> None:
    key = f"{hashlib.sha256(talk.read_bytes()).hexdigest()}.mp4"
    obstore.put(bucket.store, key, b"somebody else's")
    async with fast_house() as home:
        storage = Storage(share=bucket.url, keep=True)
        outcomes = await run(await home.client(), [translation(talk)], storage=storage)

        assert home.sandbox.audit.creates == ()
    assert "has 15 bytes instead of 9,000,000" in reasons(outcomes)[0]
    assert bucket.content(key) == b"somebody else's"


async def test_changed_content_at_the_same_path_is_other_work(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    storage = Storage(share=bucket.url)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        first = await run(client, [translation(talk)], journal=journal, storage=storage)
        again = await run(client, [translation(talk)], journal=journal, storage=storage)
        talk.write_bytes(b"other content")
        changed = await run(client, [translation(talk)], journal=journal, storage=storage)

        assert len(home.sandbox.audit.creates) == 1
    assert first[0].key == again[0].key != changed[0].key
    assert again[0].resumed
    assert f"{talk} was replaced: what the journal has without a key" in reasons(changed)[0]


async def test_a_file_may_be_deleted_once_its_job_is_made(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    storage = Storage(share=bucket.url)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        for key in (None, "mine"):
            request = translation(talk, key=key, targets="ja" if key else "fr")
            await run(client, [request], journal=journal, storage=storage)
        talk.unlink()
        outcomes = [
            *await run(client, [translation(talk, targets="fr")], journal=journal, storage=storage),
            *await run(client, [translation(talk, key="mine")], journal=journal, storage=storage),
        ]

        assert len(home.sandbox.audit.creates) == 2
    assert [(type(outcome), outcome.resumed) for outcome in outcomes] == [(Completed, True)] * 2


async def test_a_ticket_takes_files(fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        async with open_batch(client, journal=journal, storage=Storage(share=bucket.url)) as batch:
            outcome = await (await batch.submit(translation(talk))).outcome()
            with pytest.raises(InputError, match="does not exist"):
                await batch.submit(translation(talk.with_name("none.mp4")))

    assert isinstance(outcome, Completed)
    assert bucket.names == []


def test_settings_are_checked_when_they_are_made() -> None:
    for share in ("bucket", "https://bucket", "s3://", "s3://buc/a?sha256=1", 7):
        with pytest.raises(ConfigurationError, match="share must be a bucket such as"):
            Storage(share=share)
    for expires in (timedelta(minutes=14), timedelta(days=8), 3600):
        with pytest.raises(ConfigurationError, match="expires must be a timedelta from 15 minutes to 7 days"):
            Storage(expires=expires)


def test_no_setting_shows_a_secret() -> None:
    assert "canary" not in repr(Storage(options={"aws_secret_access_key": "canary-4f9c1b7e2a"}))


@pytest.mark.parametrize("name", ["GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT", "AWS_ENDPOINT_URL_S3"])
def test_every_kind_of_store_is_reached_by_https(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://storage.example")
    with pytest.raises(ConfigurationError, match=f"{name} names an endpoint by http://"):
        Storage().allows_http()
    monkeypatch.setenv(name, "http://127.0.0.1:9000")
    assert Storage().allows_http()


@pytest.mark.parametrize("endpoint", ["http://192.0.2.7:9000", "http://storage.example"])
async def test_plain_http_is_for_this_machine_alone(
    fast_house: Open, talk: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    words = "AWS_ENDPOINT_URL names an endpoint by http://"
    async with fast_house() as home:
        client = await home.client()
        with pytest.raises(ConfigurationError, match=words):
            open_batch(client, [translation(talk)], storage=Storage(share="s3://bucket"))
        outcomes = await run(client, [translation("s3://bucket/a.mp4")], storage=Storage())

        assert home.sandbox.audit.creates == ()
    assert words in reasons(outcomes)[0]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("/a/../v/my talk?.mp4", "file:///v/my%20talk%3F.mp4"),
        (Path("/v/50%.mp4"), "file:///v/50%25.mp4"),
        ("file:///v/my talk.mp4", "file:///v/my%20talk.mp4"),
        ("S3://buc/ü/x.mp4", "s3://buc/%C3%BC/x.mp4"),
        ("gs://buc/a%3Fb.mp4", "gs://buc/a%3Fb.mp4"),
        ("./x.mp4", f"{Path.cwd().as_uri()}/x.mp4"),
        (Path("x.mp4"), f"{Path.cwd().as_uri()}/x.mp4"),
    ],
)
def test_an_input_is_named_by_one_url_however_it_is_written(written: object, kept: str) -> None:
    request = translation(written)

    assert request.url == kept
    assert translation(request.url) == request
    assert fingerprint(request, "ja") == fingerprint(translation(kept), "ja")


async def test_preflight_looks_into_files_and_objects(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    film, long, page = tmp_path / "film.mp4", tmp_path / "long.mp4", tmp_path / "page.mp4"
    film.write_bytes(sample_video(1.0, width=64, height=36))
    long.write_bytes(sample_video(3.0, width=64, height=36))
    page.write_text("<html>no video</html>")
    for path in (film, long):
        obstore.put(bucket.store, path.name, path.read_bytes())
    requests = [translation(path, key=f"file {path.stem}") for path in (film, long, page)]
    requests += [translation(f"{bucket.url}/{name}.mp4", key=f"object {name}") for name in ("film", "long")]
    async with fast_house() as home:
        client = await home.client()
        outcomes = await run(
            client, requests, storage=Storage(share=f"{bucket.url}/tmp"), preflight=Limits(max_seconds=2.0)
        )

        assert len(home.sandbox.audit.creates) == 2
    ends = {outcome.key: outcome.reason for outcome in outcomes}
    assert (ends["file film"], ends["object film"]) == ("", "")
    assert all("s long" in ends[key] or "seconds" in ends[key] for key in ("file long", "object long")), ends
    assert "Not sent, because the vendor would refuse it" in ends["file page"]
