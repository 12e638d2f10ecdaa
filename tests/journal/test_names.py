"""Names of files are settled before money is spent: one entry each, on every system, in every run."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import anyio
import pytest

from akool_async import IllegalTransitionError, State, TranslationRequest, open_journal
from akool_async._journal import EntryUpdate, Journal, schema
from akool_async._model.filenames import collision_key


def video(key: str) -> TranslationRequest:
    return TranslationRequest(url=f"https://e.com/{key}.mp4", targets="ja", key=key)


async def intend(journal: Journal, key: str, *names: str) -> str:
    await journal.intend(video(key), names={(key, "ja"): names})
    return journal.get(key, "ja").name


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ":memory:" if request.param == "memory" else str(tmp_path / "j.sqlite3")


async def test_the_first_name_that_is_free_is_held(place: str) -> None:
    async with open_journal(place) as journal:
        assert await intend(journal, "a", "talk", "talk-1") == "talk"
        assert await intend(journal, "b", "TALK", "talk-2") == "talk-2"
        assert await intend(journal, "c", "Talk.original", "talk-3") == "talk-3"
        assert await intend(journal, "d") == ""
        assert await intend(journal, "e") == ""


async def test_without_a_free_name_nothing_is_intended(place: str) -> None:
    async with open_journal(place) as journal:
        await intend(journal, "a", "talk")
        with pytest.raises(IllegalTransitionError, match="another entry"):
            await intend(journal, "b", "talk", "Talk")

        assert journal.get("b", "ja") is None


async def test_an_entry_keeps_its_name_over_runs_and_retries(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite3"
    async with open_journal(path) as journal:
        await intend(journal, "a", "talk")
        await journal.record(EntryUpdate(key="a", target="ja", state=State.FAILED, reason="refused"))
    async with open_journal(path) as journal:
        assert await intend(journal, "a", "other") == "talk"
        assert await intend(journal, "b", "talk", "free") == "free"


async def test_a_cancelled_intent_gives_its_name_back(place: str) -> None:
    async with open_journal(place) as journal:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await intend(journal, "a", "talk")

        assert journal.get("a", "ja") is None
        assert await intend(journal, "b", "talk") == "talk"


async def test_one_post_for_several_languages_gets_several_names(place: str) -> None:
    request = TranslationRequest(url="https://e.com/v.mp4", targets="ja,fr", key="v")
    async with open_journal(place) as journal:
        names = {("v", "ja"): ("same", "same-ja"), ("v", "fr"): ("same", "same-fr")}
        await journal.intend(request, names=names)

        assert {journal.get("v", target).name for target in ("ja", "fr")} == {"same", "same-fr"}


async def test_a_name_is_claimed_later_or_changed(place: str) -> None:
    async with open_journal(place) as journal:
        await intend(journal, "a")
        await intend(journal, "b", "talk")
        await journal.reserve_name("a", "ja", ["talk", "free"])
        assert journal.get("a", "ja").name == "free"
        await journal.reserve_name("a", "ja", ["third"])
        assert journal.get("a", "ja").name == "free"
        await journal.reserve_name("a", "ja", ["free", "talk", "third"], another=True)
        assert journal.get("a", "ja").name == "third"
        await journal.reserve_name("b", "ja", ["free"], another=True)
        assert journal.get("b", "ja").name == "free"
        with pytest.raises(IllegalTransitionError):
            await journal.reserve_name("nobody", "ja", ["x"])


async def test_many_at_once_hold_different_names(place: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    words = ["talk", "Talk", "TALK", "talk.original", "Talk.captionless", "other"]
    async with open_journal(place) as journal:
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                word = chance.choice(words)
                tasks.start_soon(intend, journal, str(number), word, f"{word}-{number}")
        held = [entry.name async for entry in journal.entries()]

    assert len({collision_key(name) for name in held}) == 60


async def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "j.sqlite3"
    connection = sqlite3.connect(path)
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        schema.migrate(connection)
    connection.execute(
        "INSERT INTO entry (key, target, fingerprint, state, request, job_id, updated_at) VALUES "
        "('a', 'ja', 'f', 'submitted', ?, 'job1', '2026-01-01T00:00:00+00:00')",
        ('{"kind": "translation", "url": "https://e.com/v.mp4", "targets": ["ja"]}',),
    )
    connection.commit()
    connection.close()
    async with open_journal(path) as journal:
        entry = journal.get("a", "ja")
        assert (entry.job_id, entry.name) == ("job1", "")
        await journal.reserve_name("a", "ja", ["talk"])

        assert journal.get("a", "ja").name == "talk"
