"""What a catalog that is entered again changes: newer URLs, and never the work that a key names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import attrs
import pytest

from akool_async import Entry, InvalidRequestError, State, TranslationRequest, open_journal
from akool_async._journal import EntryUpdate
from akool_async._model.errors import IllegalTransitionError
from akool_async.cli.app import run
from akool_async.ledger import Ledger, Made, NotSent, open_ledger
from akool_async.sandbox import Fault
from tests.ledger.conftest import Bench, end_post_time, video


def signed(anew: str, number: int = 1) -> TranslationRequest:
    return attrs.evolve(video(number), url=f"https://media.example/{number}.mp4?sig={anew}")


async def url_of(ledger: Ledger, number: int = 1) -> object:
    entry = await ledger.get(f"video-{number}", "ja")
    assert entry is not None
    return entry.request.url  # type: ignore[union-attr]


async def test_a_url_that_was_signed_anew_is_the_one_that_is_sent(bench: Bench) -> None:
    await bench.ledger.plan([signed("old")])
    assert await bench.ledger.plan([signed("new")]) == []

    assert str(await url_of(bench.ledger)).endswith("sig=new")


async def test_a_refused_entry_is_retried_with_the_newest_url(bench: Bench) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="code", code=1203, limit=1))
    await bench.ledger.submit_once(bench.client, signed("old"))
    await bench.ledger.plan([signed("new")])

    assert str(await url_of(bench.ledger)).endswith("sig=new")


async def test_what_is_at_the_vendor_stays_as_it_was_sent(bench: Bench) -> None:
    await bench.ledger.submit_once(bench.client, signed("old"))
    await bench.ledger.plan([signed("new")])

    assert str(await url_of(bench.ledger)).endswith("sig=old")


async def test_keys_that_name_other_work_are_named_and_nothing_is_entered(bench: Bench) -> None:
    await bench.ledger.plan([video(number) for number in range(12)])
    others = [attrs.evolve(video(number + 50), key=f"video-{number}") for number in range(12)]
    with pytest.raises(InvalidRequestError) as refused:
        await bench.ledger.plan([video(99), *others])

    assert "video-0 (ja), video-1 (ja)" in str(refused.value)
    assert "and 2 more" in str(refused.value)
    assert await bench.ledger.get("video-99", "ja") is None


def test_a_catalog_that_gives_a_known_key_to_another_video_is_refused(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, url in enumerate(("https://e.com/one.mp4", "https://e.com/two.mp4")):
        (tmp_path / f"{number}.csv").write_text(f"url,languages,key\n{url},ja,talk\n", encoding="utf-8")

    assert run(["enqueue", str(tmp_path / "0.csv"), "--ledger", database]) == 0
    assert run(["enqueue", str(tmp_path / "0.csv"), "--ledger", database]) == 0
    assert run(["enqueue", str(tmp_path / "1.csv"), "--ledger", database]) == 2
    assert "talk (ja)" in capsys.readouterr().err


def other_video(**more: object) -> TranslationRequest:
    return attrs.evolve(video(2, "fr"), key="video-1", **more)


async def test_a_known_key_does_not_name_another_video_in_another_language(bench: Bench) -> None:
    await bench.ledger.plan([video(1)])
    for how in (
        lambda: bench.ledger.plan([video(3), other_video()]),
        lambda: bench.ledger.submit_once(bench.client, other_video()),
    ):
        with pytest.raises(InvalidRequestError, match=r"another video in the ledger: video-1 .fr."):
            await how()

    assert [entry.key async for entry in bench.ledger.entries()] == ["video-1"]
    assert bench.sandbox.audit.creates == ()


async def test_one_key_names_one_video_within_a_catalog_too(bench: Bench) -> None:
    with pytest.raises(InvalidRequestError, match=r"another video in the ledger: video-1 .fr."):
        await bench.ledger.plan([video(1), other_video()])

    assert [entry async for entry in bench.ledger.entries()] == []


async def test_a_known_key_names_its_video_in_further_languages_however_it_is_signed(bench: Bench) -> None:
    await bench.ledger.plan([video(1)])

    assert len(await bench.ledger.plan([attrs.evolve(signed("new"), targets="fr")])) == 1
    assert isinstance(await bench.ledger.submit_once(bench.client, video(1, "ko")), Made)


async def test_the_key_of_what_was_refused_may_name_another_video(bench: Bench) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="code", code=1203, limit=1))
    await bench.ledger.submit_once(bench.client, video(1))

    assert len(await bench.ledger.plan([other_video()])) == 1


async def test_a_journal_with_another_video_under_a_known_key_is_not_moved(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.ledger.plan([other_video()])
    moved = await journaled(tmp_path, State.SUBMITTED)
    with pytest.raises(InvalidRequestError, match="another video") as refused:
        await bench.ledger.adopt(moved)

    assert "Nothing was moved" in refused.value.impact
    assert await bench.ledger.get("video-1", "ja") is None


async def test_a_journal_that_paid_for_two_videos_under_one_key_is_moved_whole(
    bench: Bench, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "jobs.sqlite3") as journal:
        for number, request in enumerate((video(1), other_video())):
            await journal.intend(request, token=f"token-{number}")
    async with open_journal(tmp_path / "jobs.sqlite3") as journal:
        moved = [entry async for entry in journal.entries()]

    assert [await bench.ledger.adopt(moved) for _ in range(2)] == [2, 0]


async def journaled(
    folder: Path, *states: State, request: TranslationRequest | None = None, token: str = "token-1"
) -> list[Entry]:
    """Return an entry of a journal, which keeps no signatures, in the last of these states."""
    async with open_journal(folder / "jobs.sqlite3") as journal:
        await journal.intend(request or video(1), token=token)
        for state in states:
            job_id = "job-1" if state is State.SUBMITTED else None
            change = EntryUpdate(key="video-1", target="ja", state=state, job_id=job_id, reason="why")
            await journal.record(change)
        return [entry async for entry in journal.entries()]


@pytest.mark.parametrize("token", ["token-1", ""])
@pytest.mark.parametrize("state", [State.IN_DOUBT, State.FAILED])
async def test_what_a_journal_began_may_be_moved_twice(
    bench: Bench, tmp_path: Path, state: State, token: str
) -> None:
    """As after a crash before the journal was retired."""
    moved = await journaled(tmp_path, state, token=token)

    assert [await bench.ledger.adopt(moved) for _ in range(2)] == [1, 0]
    assert (await bench.ledger.get("video-1", "ja")).state is state  # type: ignore[union-attr]


@pytest.mark.parametrize("token", ["token-1", ""])
async def test_a_doubt_that_was_moved_and_paid_again_in_the_ledger_may_be_moved_twice(
    bench: Bench, tmp_path: Path, token: str
) -> None:
    moved = await journaled(tmp_path, State.IN_DOUBT, token=token)
    await bench.ledger.adopt(moved)
    await bench.ledger.plan([video(1)])
    await bench.ledger.resolve("video-1", "ja", not_made=True)
    assert await bench.ledger.adopt(moved) == 0
    made = await bench.ledger.submit_once(bench.client, video(1))

    assert isinstance(made, Made)
    assert await bench.ledger.adopt(moved) == 0
    assert (await bench.ledger.get("video-1", "ja")).job_id == made.job.id  # type: ignore[union-attr]


async def test_a_moved_job_that_was_paid_again_in_the_ledger_may_be_moved_twice(
    bench: Bench, tmp_path: Path
) -> None:
    moved = await journaled(tmp_path, State.SUBMITTED)
    await bench.ledger.adopt(moved)
    change = EntryUpdate(key="video-1", target="ja", state=State.FAILED, job_id="job-1", reason="no voice")
    await bench.ledger.record(change)
    await bench.ledger.plan([video(1)])
    assert await bench.ledger.retry("video-1", "ja")
    assert isinstance(await bench.ledger.submit_once(bench.client, video(1)), Made)

    assert await bench.ledger.adopt(moved) == 0


@pytest.mark.parametrize("token", ["token-1", ""])
@pytest.mark.parametrize("not_made", [False, True])
async def test_a_job_that_a_journal_learned_of_after_its_doubt_was_moved_is_moved_too(
    bench: Bench, tmp_path: Path, token: str, not_made: bool
) -> None:
    (doubt,) = await journaled(tmp_path, State.IN_DOUBT, token=token)
    await bench.ledger.adopt([doubt])
    if not_made:
        await bench.ledger.plan([video(1)])
        await bench.ledger.resolve("video-1", "ja", not_made=True)
    known = attrs.evolve(doubt, state=State.SUBMITTED, job_id="job-1")

    assert [await bench.ledger.adopt([known]) for _ in range(2)] == [1, 0]
    made = await bench.ledger.submit_once(bench.client, video(1))
    assert isinstance(made, Made)
    assert made.job.id == "job-1"
    assert bench.sandbox.audit.jobs == ()


async def test_a_call_for_several_languages_is_moved_and_a_callback_of_it_names_none(
    bench: Bench, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "jobs.sqlite3") as journal:
        await journal.intend(attrs.evolve(video(1), targets="ja,fr"), token="token-1")
    async with open_journal(tmp_path / "jobs.sqlite3") as journal:
        moved = [entry async for entry in journal.entries()]

    assert [await bench.ledger.adopt(moved) for _ in range(2)] == [2, 0]
    assert await bench.ledger.find_token("token-1") is None


@pytest.mark.parametrize("end", [State.DELIVERED, State.FAILED])
async def test_a_doubt_of_a_journal_that_was_paid_for_once_more_counts_in_the_ledgers_budget(
    bench: Bench, tmp_path: Path, end: State
) -> None:
    async with open_journal(tmp_path / "jobs.sqlite3") as journal:
        for number, last in ((1, end), (2, State.DELIVERED)):
            name = {"key": f"video-{number}", "target": "ja"}
            await journal.intend(video(number), token=f"token-{number}")
            if number == 1:
                await journal.record(EntryUpdate(**name, state=State.IN_DOUBT))
                await journal.intend(video(number), token="again")
            made = {"job_id": f"job-{number}", "credits_locked": 7.0}
            await journal.record(EntryUpdate(**name, state=State.SUBMITTED, **made))
            if last is State.DELIVERED:
                await journal.record(EntryUpdate(**name, state=State.COMPLETED))
            await journal.record(EntryUpdate(**name, state=last))
        await bench.ledger.adopt([entry async for entry in journal.entries()])

    known = 14.0 if end is State.DELIVERED else 7.0
    assert sum(await bench.ledger.credits()) == known
    async with open_ledger(bench.url, max_credits=known + 13.0) as ledger:
        found = await ledger.submit_once(bench.client, video(3))
    assert isinstance(found, NotSent)
    assert "max_credits" in found.reason


@pytest.mark.parametrize("files", [(), ("out/1.ja.mp4",)])
async def test_what_no_run_has_downloaded_is_left_for_a_worker_to_save(
    bench: Bench, tmp_path: Path, files: tuple[str, ...]
) -> None:
    async with open_journal(tmp_path / "jobs.sqlite3") as journal:
        await journal.intend(video(1), token="token-1")
        change = EntryUpdate(key="video-1", target="ja", state=State.SUBMITTED, job_id="job-1")
        await journal.record(change)
        for state in (State.COMPLETED, State.DELIVERED):
            await journal.record(EntryUpdate(key="video-1", target="ja", state=state))
        await journal.record(EntryUpdate(key="video-1", target="ja", state=State.DELIVERED, files=files))
        await bench.ledger.adopt([entry async for entry in journal.entries()])

    moved = await bench.ledger.get("video-1", "ja")
    assert moved is not None
    assert (moved.state, moved.files) == (State.DELIVERED if files else State.COMPLETED, files)


async def test_what_a_journal_refused_is_paid_again_only_with_its_whole_url(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.ledger.adopt(await journaled(tmp_path, State.FAILED))
    assert "canary" not in str(await url_of(bench.ledger))
    with pytest.raises(IllegalTransitionError, match="without what signs it"):
        await bench.ledger.retry("video-1", "ja")
    await bench.ledger.plan([video(1)])

    assert await bench.ledger.retry("video-1", "ja")
    assert "canary" in str(await url_of(bench.ledger))


async def test_a_doubt_of_a_journal_is_called_not_made_only_with_its_whole_url(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.ledger.adopt(await journaled(tmp_path, State.IN_DOUBT))
    end_post_time(bench.url)
    with pytest.raises(IllegalTransitionError, match="without what signs it"):
        await bench.ledger.resolve("video-1", "ja", not_made=True)
    await bench.ledger.plan([video(1)])
    await bench.ledger.resolve("video-1", "ja", not_made=True)

    async with open_ledger(bench.url) as ledger:
        entry = await ledger.get("video-1", "ja")
        assert entry is not None
        assert isinstance(await ledger.submit_once(bench.client, entry.request), Made)


@pytest.mark.parametrize("state", [State.SUBMITTED, State.IN_DOUBT, State.FAILED])
async def test_a_journal_that_gives_a_key_to_another_video_is_not_moved(
    bench: Bench, tmp_path: Path, state: State
) -> None:
    """Else the job of the one would be saved as the other, which is never translated."""
    await bench.ledger.plan([video(1)])
    moved = await journaled(tmp_path, state, request=attrs.evolve(video(2), key="video-1"))
    also = attrs.evolve(moved[0], key="video-3", token="token-3", job_id="")
    with pytest.raises(InvalidRequestError, match=r"name other work: video-1 \(ja\)") as refused:
        await bench.ledger.adopt([also, *moved])

    assert "the journal is as it was" in str(refused.value)
    assert await bench.ledger.get("video-3", "ja") is None
    kept = await bench.ledger.get("video-1", "ja")
    assert kept is not None
    assert (kept.state, kept.job_id) == (State.PLANNED, "")


async def test_a_public_query_names_another_video_in_a_journal_too(bench: Bench, tmp_path: Path) -> None:
    one, other = (attrs.evolve(video(1), url=f"https://e.com/?v={n}", url_is_public=True) for n in "12")
    await bench.ledger.plan([one])
    with pytest.raises(InvalidRequestError, match="other work"):
        await bench.ledger.adopt(await journaled(tmp_path, State.SUBMITTED, request=other))


async def test_a_replaced_file_is_another_video_in_a_journal_too(bench: Bench, tmp_path: Path) -> None:
    one, other = (attrs.evolve(video(1), url=f"file:///talk.mp4?sha256={n * 64}") for n in "12")
    await bench.ledger.plan([one])
    moved = await journaled(tmp_path, State.SUBMITTED, request=other)
    for again in (bench.ledger.plan([other]), bench.ledger.adopt(moved)):
        with pytest.raises(InvalidRequestError, match="other work"):
            await again


def test_a_journal_that_is_refused_is_not_retired(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anyio.run(partial(journaled, tmp_path, State.SUBMITTED))
    (tmp_path / "one.csv").write_text("url,languages,key\nhttps://e.com/b.mp4,ja,video-1\n", encoding="utf-8")
    assert run(["enqueue", str(tmp_path / "one.csv"), "--ledger", database]) == 0
    assert run(["enqueue", "--from-journal", str(tmp_path / "jobs.sqlite3"), "--ledger", database]) == 2
    assert "video-1 (ja)" in capsys.readouterr().err

    async def reopen() -> int:
        async with open_journal(tmp_path / "jobs.sqlite3") as journal:
            return journal.counts()[State.SUBMITTED]

    assert anyio.run(reopen) == 1
