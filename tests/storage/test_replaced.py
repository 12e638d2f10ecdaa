"""What was replaced under the same path and key: it is refused, and not given the earlier result."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import attrs
import obstore
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    Failed,
    InDoubt,
    InvalidRequestError,
    LipSyncRequest,
    NotSubmitted,
    Outcome,
    Storage,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal import reading
from akool_async.sandbox import Fault
from akool_async.sandbox.media import sample_video
from tests.batch.test_batch import run
from tests.client.conftest import Open
from tests.storage.conftest import TestBucket
from tests.storage.test_command_line import command
from tests.storage.test_shared_files import LOST, leave_at_vendor

pytestmark = pytest.mark.timeout(600)


def keyed(url: object, **options: Any) -> TranslationRequest:
    return TranslationRequest(**{"url": url, "targets": "ja", "key": "talk"} | options)


def reason_of(outcomes: list[Outcome]) -> str:
    (outcome,) = outcomes
    assert isinstance(outcome, NotSubmitted)
    return outcome.reason


def is_result(outcomes: list[Outcome]) -> bool:
    (outcome,) = outcomes
    return isinstance(outcome, Completed) and outcome.resumed


async def test_a_file_that_was_replaced_is_refused_under_its_key_and_no_other_file_is(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    first, copy = Storage(share=f"{bucket.url}/first"), talk.with_name("copy")
    shutil.copy(talk, copy)
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            await run(client, [keyed(talk)], journal=journal, storage=first)
        (tmp_path / "moved").mkdir()
        for name in ("j.sqlite3", "j.sqlite3.lock"):
            (tmp_path / name).rename(tmp_path / "moved" / name)
        async with open_journal(tmp_path / "moved" / "j.sqlite3", accept_older=True) as journal:
            os.utime(talk, (1, 1))
            touched = await run(client, [keyed(talk)], journal=journal, storage=first)
            copy.replace(talk)
            elsewhere = Storage(share=f"{bucket.url}/second")
            copied = await run(client, [keyed(talk)], journal=journal, storage=elsewhere)
            content = talk.read_bytes()
            talk.write_bytes(b"another cut")
            replaced = await run(client, [keyed(talk)], journal=journal, storage=first)
            talk.write_bytes(content)
            back = await run(client, [keyed(talk)], journal=journal, storage=first)
            talk.write_bytes(b"another cut")
            under_its_own = await run(client, [keyed(talk, key="cut 2")], journal=journal, storage=first)

        assert len(home.sandbox.audit.creates) == 2
    assert all(map(is_result, (touched, copied, back)))
    assert f"{talk} was replaced" in reason_of(replaced)
    assert "under the key talk" in reason_of(replaced)
    assert isinstance(under_its_own[0], Completed)


async def test_an_object_that_was_overwritten_is_refused_under_its_key(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    request = keyed(f"{bucket.url}/talk.mp4")
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        outcomes = []
        for content in (b"first cut", b"first cut", b"other cut"):
            obstore.put(bucket.store, "talk.mp4", content)
            outcomes.append(await run(client, [request], journal=journal, storage=Storage()))

        assert len(home.sandbox.audit.creates) == 1
    assert is_result(outcomes[1])
    assert f"{bucket.url}/talk.mp4 was replaced" in reason_of(outcomes[2])
    assert "ETag" in reason_of(outcomes[2])


@pytest.mark.parametrize("key", ["talk", None])
@pytest.mark.parametrize("storage", [None, Storage()])
async def test_a_replaced_file_is_noticed_where_nothing_could_share_it(
    storage: Storage | None, key: str | None, fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    request = keyed(talk, key=key)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, [request], journal=journal, storage=Storage(share=bucket.url))
        same = await run(client, [request], journal=journal, storage=storage)
        talk.write_bytes(b"another cut")
        replaced = await run(client, [request], journal=journal, storage=storage)
        talk.unlink()
        gone = await run(client, [request], journal=journal, storage=storage)

        assert len(home.sandbox.audit.creates) == 1
    assert f"{talk} was replaced" in reason_of(replaced)
    assert is_result(same)
    assert is_result(gone)


async def test_a_file_that_was_replaced_is_noticed_beside_a_signed_url(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    sound = tmp_path / "sound.mp3"
    sound.write_bytes(os.urandom(1000))
    lip_sync = LipSyncRequest(video_url="https://media.example/1.mp4?sig=1", audio_url=sound, key="talk")
    signed = attrs.evolve(lip_sync, video_url="https://media.example/1.mp4?sig=2")
    storage = Storage(share=bucket.url)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, [lip_sync], journal=journal, storage=storage)
        anew = await run(client, [signed], journal=journal, storage=storage)
        sound.write_bytes(b"another voice")
        replaced = await run(client, [signed], journal=journal, storage=storage)

        assert len(home.sandbox.audit.creates) == 1
    assert is_result(anew)
    assert f"{sound} was replaced" in reason_of(replaced)


async def test_a_file_that_was_mended_after_its_failure_is_sent_under_its_key(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    storage, faults = Storage(share=bucket.url), [Fault(on="create", kind="job_fails", nth=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        failed = await run(client, [keyed(talk)], journal=journal, storage=storage)
        talk.write_bytes(b"with sound")
        told = await run(client, [keyed(talk)], journal=journal, storage=storage)
        again = await run(client, [keyed(talk)], journal=journal, storage=storage, retry_failed=True)

        assert len(home.sandbox.audit.creates) == 2
    assert [type(outcome) for outcome in (*failed, *told, *again)] == [Failed, Failed, Completed]


async def test_a_replaced_file_is_not_sent_over_a_doubt(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    storage = Storage(share=bucket.url)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=[LOST]) as home:
        client = await home.client()
        doubt = await run(client, [keyed(talk)], journal=journal, storage=storage)
        talk.write_bytes(b"another cut")
        replaced = await run(client, [keyed(talk)], journal=journal, storage=storage, on_in_doubt="resubmit")

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(doubt[0], InDoubt)
    assert f"{talk} was replaced" in reason_of(replaced)


async def test_a_job_at_the_vendor_is_saved_by_the_journal_though_its_file_was_replaced(
    house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    storage = Storage(share=bucket.url)
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        await leave_at_vendor(client, journal, keyed(talk), storage=storage)
        talk.write_bytes(b"another cut")
        replaced = await run(client, [keyed(talk)], journal=journal, storage=storage)
        resumed = await run(client, journal.requests(), journal=journal, download_to=tmp_path / "out")

        assert len(home.sandbox.audit.creates) == 1
    assert f"{talk} was replaced" in reason_of(replaced)
    assert isinstance(resumed[0], Completed)


@pytest.mark.parametrize("key", ["talk", None])
async def test_a_ticket_for_a_replaced_file_is_refused(
    key: str | None, fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        async with open_batch(client, journal=journal, storage=Storage(share=bucket.url)) as batch:
            await (await batch.submit(keyed(talk, key=key))).outcome()
            os.utime(talk, (1, 1))
            same = await (await batch.submit(keyed(talk, key=key))).outcome()
            talk.write_bytes(b"another cut")
            with pytest.raises(InvalidRequestError, match="was replaced: what the journal has") as refused:
                await batch.submit(keyed(talk, key=key))

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(same, Completed)
    assert "query" not in str(refused.value)


async def test_a_file_that_is_replaced_while_a_batch_runs_is_not_called_a_url(
    fast_house: Open, bucket: TestBucket, talk: Path
) -> None:
    sent = anyio.Event()

    async def source() -> AsyncIterator[TranslationRequest]:
        yield keyed(talk, key=None)
        await sent.wait()
        talk.write_bytes(b"another cut")
        yield keyed(talk, key=None)

    async with fast_house() as home:
        client: AkoolClient = await home.client()
        outcomes = []
        async with open_batch(client, source(), storage=Storage(share=bucket.url)) as batch:
            async for outcome in batch:
                outcomes.append(outcome)
                sent.set()

        assert len(home.sandbox.audit.creates) == 1
    assert "content of a file" in reason_of(outcomes[1:])


async def test_another_journal_pays_for_a_replaced_file_and_keeps_the_earlier_result(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    storage, folder = Storage(share=bucket.url), tmp_path / "out"
    async with fast_house() as home:
        client = await home.client()
        for number, content in enumerate((talk.read_bytes(), talk.read_bytes(), b"another cut")):
            talk.write_bytes(content)
            async with open_journal(tmp_path / f"{number}.sqlite3") as journal:
                await run(client, [keyed(talk)], journal=journal, storage=storage, download_to=folder)

        assert len(home.sandbox.audit.creates) == 2
    assert len([path for path in folder.iterdir() if path.suffix == ".mp4"]) == 2


@pytest.mark.thorough
async def test_plan_and_run_refuse_what_was_replaced(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    film, other = sample_video(1.0, width=64, height=36), sample_video(2.0, width=64, height=36)
    (tmp_path / "a.mp4").write_bytes(film)
    (tmp_path / "b.mp4").write_bytes(film[:-1] + b"b")
    obstore.put(bucket.store, "c.mp4", film)
    rows = {"a": "./a.mp4,ja,a", "b": "./b.mp4,ja,", "c": f"{bucket.url}/c.mp4,ja,c"}
    (tmp_path / "all.csv").write_text("\n".join(["url,languages,key", *rows.values()]), encoding="utf-8")
    for name, row in rows.items():
        (tmp_path / f"{name}.csv").write_text(f"url,languages,key\n{row}\n", encoding="utf-8")
    (tmp_path / "more.csv").write_text("url,languages,key\n./a.mp4,fr,a\n", encoding="utf-8")
    share = ("--share", f"{bucket.url}/tmp")
    async with fast_house(media=True) as home:
        await command(home, "run", "all.csv", *share, "--yes", cwd=tmp_path)
        os.utime(tmp_path / "a.mp4", (1, 1))
        obstore.put(bucket.store, "c.mp4", film)
        same = await command(home, "plan", "all.csv", *share, cwd=tmp_path)
        for name in ("a.mp4", "b.mp4"):
            (tmp_path / name).write_bytes(other)
        obstore.put(bucket.store, "c.mp4", other)
        planned = {
            name: await command(home, "plan", f"{name}.csv", *share, cwd=tmp_path)
            for name in ("a", "b", "c", "more")
        }
        ran = await command(home, "run", "a.csv", *share, "--yes", cwd=tmp_path)
        unshared = [await command(home, "plan", f"{name}.csv", cwd=tmp_path) for name in "ab"]
        for name in ("a.mp4", "b.mp4"):
            (tmp_path / name).unlink()
        (tmp_path / "gone.csv").write_text("\n".join(["url,languages,key", rows["a"], rows["b"]]))
        gone = await command(home, "run", "gone.csv", *share, "--yes", cwd=tmp_path)

        assert len(home.sandbox.audit.creates) == 3, ran.stderr
    assert same.returncode == 0, same.stderr
    for name, told in {**planned, "run": ran, "1": unshared[0], "2": unshared[1]}.items():
        assert told.returncode == 2, (name, told.stdout)
        words = " ".join(told.stderr.split())
        assert ("names another video" if name == "more" else "was replaced") in words
        assert "query" not in words
    assert "without a key" in " ".join(planned["b"].stderr.split())
    assert gone.returncode == 0, gone.stderr


async def test_a_row_whose_file_is_gone_has_the_results_of_each_content(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    """Languages of one key may be of two contents, as where one was added later."""
    storage = Storage(share=f"{bucket.url}/tmp")
    (tmp_path / "out").mkdir()
    (tmp_path / "one.csv").write_text('url,languages,key\n./talk.mp4,"ja,fr",talk\n', encoding="utf-8")
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "out" / "jobs.sqlite3") as journal:
            for target in ("ja", "fr"):
                talk.write_bytes(os.urandom(1000))
                request = keyed(talk, targets=target)
                await run(client, [request], journal=journal, storage=storage, download_to=tmp_path / "out")
        talk.unlink()
        ran = await command(home, "run", "one.csv", "--out", "out", "--no-check", "--yes", cwd=tmp_path)

        assert len(home.sandbox.audit.creates) == 2
    assert ran.returncode == 0, ran.stderr


async def test_a_file_that_was_moved_is_a_question_and_its_earlier_path_has_the_result(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    storage, moved = Storage(share=bucket.url), tmp_path / "moved.mp4"
    one, other = TranslationRequest(url=talk, targets="ja"), TranslationRequest(url=moved, targets="ja")
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, [one], journal=journal, storage=storage)
        talk.rename(moved)
        asked = await run(client, [other], journal=journal, storage=storage)
        before = await run(client, [one], journal=journal, storage=storage)
        posts = len(home.sandbox.audit.creates)
        more = [attrs.evolve(other, targets="fr"), attrs.evolve(other, lipsync=True)]
        others = await run(client, [*more, attrs.evolve(other, key="mine")], journal=journal, storage=storage)

        assert posts == 1
    assert f"{moved} has the content of {talk}, which the journal has without a key" in reason_of(asked)
    assert "write the path as before" in reason_of(asked)
    assert is_result(before)
    assert all(isinstance(outcome, Completed) for outcome in others)


async def test_the_same_content_at_two_paths_is_a_question(
    fast_house: Open, bucket: TestBucket, talk: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to(talk)
    requests = [TranslationRequest(url=path, targets="ja") for path in (talk, link)]
    async with fast_house() as home:
        outcomes = await run(await home.client(), requests, storage=Storage(share=bucket.url))

        assert len(home.sandbox.audit.creates) == 1
    (refused,) = [one for one in outcomes if isinstance(one, NotSubmitted)]
    assert "the same content at another path: one video, or two?" in refused.reason


@pytest.mark.thorough
async def test_plan_and_run_ask_about_a_folder_that_was_moved(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        (tmp_path / "old" / f"{name}.mp4").write_bytes(sample_video(seconds, width=64, height=36))
    rows = "url,languages,key\n./old/a.mp4,ja,\n./old/b.mp4,ja,b\n"
    (tmp_path / "old.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "new.csv").write_text(rows.replace("old", "new"), encoding="utf-8")
    (tmp_path / "keys.csv").write_text(
        rows.replace("old", "new").replace("ja,b", "ja,c").replace("ja,\n", "ja,a\n")
    )
    (tmp_path / "both.csv").write_text(f"{rows.replace('ja', 'fr')}./new/a.mp4,fr,\n./new/b.mp4,fr,b2\n")
    share = ("--share", f"{bucket.url}/tmp")
    async with fast_house(media=True) as home:
        first = await command(home, "run", "old.csv", *share, "--yes", cwd=tmp_path)
        (tmp_path / "old").rename(tmp_path / "new")
        planned = await command(home, "plan", "new.csv", *share, cwd=tmp_path)
        ran = await command(home, "run", "new.csv", *share, "--yes", cwd=tmp_path)
        before = await command(home, "run", "old.csv", *share, "--yes", cwd=tmp_path)
        keys = await command(home, "plan", "keys.csv", *share, cwd=tmp_path)
        (tmp_path / "old").symlink_to(tmp_path / "new")
        both = await command(home, "plan", "both.csv", *share, cwd=tmp_path)

        assert len(home.sandbox.audit.creates) == 2, first.stderr + ran.stderr
    assert (first.returncode, before.returncode) == (0, 0), first.stderr + before.stderr
    for told in (planned, ran):
        assert told.returncode == 2, told.stdout
        words = " ".join(told.stderr.split())
        assert f"new.csv:2: url (A2): {tmp_path}/new/a.mp4 has the content of {tmp_path}/old/a.mp4" in words
        assert f"url was {tmp_path}/old/b.mp4 and is {tmp_path}/new/b.mp4 now, with the same content" in words
    assert keys.returncode == 0, keys.stderr
    words = " ".join(keys.stderr.split())
    assert "keys.csv:2: The same content, at another path, into 'ja' is in the journal as " in words
    assert "keys.csv:3: The same content, at another path, into 'ja' is in the journal as 'b'" in words
    assert both.returncode == 2
    words = " ".join(both.stderr.split())
    assert "both.csv:4: url (A4): The same content into 'fr' as in both.csv:2, at another path" in words
    assert "both.csv:5" not in words


async def test_a_moved_file_is_looked_for_by_an_index(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3"):
        pass
    with closing(sqlite3.connect(tmp_path / "j.sqlite3")) as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {reading._BY_CONTENT}", ("0" * 64, "ja", "key")
        ).fetchall()

    assert "entry_content" in str(plan), plan
