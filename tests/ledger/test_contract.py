"""What a journal and a ledger both promise, run over both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest

from akool_async import TranslationRequest
from akool_async._journal import Entry, EntryUpdate, Journal, open_journal
from akool_async._model.errors import IllegalTransitionError, InvalidRequestError
from akool_async._model.responses import Job
from akool_async._model.states import State
from akool_async.ledger import Ledger, open_ledger

Book: TypeAlias = "Journal | Ledger"


@pytest.fixture(params=["journal", "ledger"])
async def book(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Book]:
    if request.param == "journal":
        async with open_journal(tmp_path / "jobs.sqlite3") as journal:
            yield journal
    else:
        async with open_ledger(request.getfixturevalue("database")) as ledger:
            yield ledger


async def done(answer: Any) -> Any:
    """A journal reads at once, a ledger over the network."""
    return await answer if isawaitable(answer) else answer


def talk(key: str = "talk") -> TranslationRequest:
    return TranslationRequest(url=f"https://e.com/{key}.mp4?sig=canary-sig", targets="ja", key=key)


async def intend(book: Book, key: str = "talk") -> str:
    """Commit the intent to pay for an entry; return its token."""
    if isinstance(book, Ledger):
        intent = await book.intend(talk(key), key, "worker")
        assert await book.acquire(intent.token, "sender")
        return intent.token
    await book.intend(talk(key), token=f"token-of-{key}")
    return f"token-of-{key}"


async def bring_to(book: Book, state: State, key: str = "talk", job: str = "") -> None:
    token = await intend(book, key)
    if state is State.SUBMITTING:
        return
    if state in (State.FAILED, State.IN_DOUBT):
        if isinstance(book, Ledger):
            await book.record_end(token, state, reason="why")
        else:
            await book.record(EntryUpdate(key=key, target="ja", state=state, reason="why"))
        return
    named = job or f"job-of-{key}"
    if isinstance(book, Ledger):
        assert await book.made(token, Job(id=named, credits_locked=4.0))
    else:
        await book.record(
            EntryUpdate(key=key, target="ja", state=State.SUBMITTED, job_id=named, credits_locked=4.0)
        )
    for after in (State.COMPLETED, State.DELIVERED):
        if state in (after, State.DELIVERED):
            await book.record(EntryUpdate(key=key, target="ja", state=after))


async def entry_of(book: Book, key: str = "talk") -> Entry:
    entry = await done(book.get(key, "ja"))
    assert isinstance(entry, Entry)
    return entry


async def test_a_doubt_is_resolved_by_its_job(book: Book) -> None:
    await bring_to(book, State.IN_DOUBT)
    await book.resolve("talk", "ja", job_id="found-1")

    entry = await entry_of(book)
    assert (entry.state, entry.job_id) == (State.SUBMITTED, "found-1")


async def test_a_doubt_that_made_no_job_may_be_paid_for(book: Book) -> None:
    await bring_to(book, State.IN_DOUBT)
    assert (await entry_of(book)).paid_submissions == 1
    await book.resolve("talk", "ja", not_made=True)

    entry = await entry_of(book)
    assert (entry.state, entry.job_id, entry.paid_submissions) == (State.PLANNED, "", 0)
    await intend(book)
    assert (await entry_of(book)).paid_submissions == 1


@pytest.mark.parametrize("said", [{"job_id": "found-1"}, {"not_made": True}])
@pytest.mark.parametrize("seen_as", [State.IN_DOUBT, State.PLANNED])
async def test_what_was_found_out_about_one_call_is_not_said_of_the_next(
    book: Book, said: dict[str, Any], seen_as: State
) -> None:
    await bring_to(book, State.IN_DOUBT)
    seen = await entry_of(book)
    await book.resolve("talk", "ja", not_made=True, seen=seen)
    if seen_as is State.PLANNED:
        seen = await entry_of(book)
    if isinstance(book, Ledger):
        await bring_to(book, State.IN_DOUBT)
    else:
        await book.intend(talk(), token="token-of-the-next")
        await book.record(EntryUpdate(key="talk", target="ja", state=State.IN_DOUBT))
    with pytest.raises(IllegalTransitionError, match="another call by now"):
        await book.resolve("talk", "ja", **said, seen=seen)

    assert (await entry_of(book)).state is State.IN_DOUBT


@pytest.mark.parametrize("seen_of", ["another key", "another language", "no entry"])
async def test_what_was_found_out_about_another_entry_is_not_said_of_this_one(
    book: Book, seen_of: str
) -> None:
    await bring_to(book, State.IN_DOUBT)
    entry = await entry_of(book)
    seen: Any = {
        "another key": attrs.evolve(entry, key="other"),
        "another language": attrs.evolve(entry, target="fr"),
        "no entry": entry.key,
    }[seen_of]
    with pytest.raises(InvalidRequestError, match="seen"):
        await book.resolve("talk", "ja", not_made=True, seen=seen)

    assert (await entry_of(book)).state is State.IN_DOUBT


@pytest.mark.parametrize("said", [{}, {"job_id": "job-1", "not_made": True}])
async def test_one_thing_is_said_of_a_doubt(book: Book, said: dict[str, Any]) -> None:
    await bring_to(book, State.IN_DOUBT)
    with pytest.raises(InvalidRequestError):
        await book.resolve("talk", "ja", **said)

    assert (await entry_of(book)).state is State.IN_DOUBT


@pytest.mark.parametrize("state", [State.SUBMITTED, State.COMPLETED, State.DELIVERED, State.FAILED])
async def test_only_a_doubt_is_resolved(book: Book, state: State) -> None:
    await bring_to(book, state)
    with pytest.raises(IllegalTransitionError):
        await book.resolve("talk", "ja", not_made=True)
    with pytest.raises(IllegalTransitionError):
        await book.resolve("unknown", "ja", not_made=True)

    assert (await entry_of(book)).state is state


async def test_a_job_belongs_to_one_entry(book: Book) -> None:
    await bring_to(book, State.SUBMITTED, "one", job="job-1")
    await bring_to(book, State.IN_DOUBT, "two")
    with pytest.raises(IllegalTransitionError):
        await book.resolve("two", "ja", job_id="job-1")

    assert (await entry_of(book, "two")).state is State.IN_DOUBT


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (State.SUBMITTING, State.DELIVERED),
        (State.SUBMITTED, State.DELIVERED),
        (State.DELIVERED, State.COMPLETED),
        (State.DELIVERED, State.FAILED),
        (State.FAILED, State.COMPLETED),
        (State.IN_DOUBT, State.COMPLETED),
    ],
)
async def test_a_step_that_may_not_follow_changes_nothing(book: Book, before: State, after: State) -> None:
    await bring_to(book, before)
    with pytest.raises(IllegalTransitionError):
        await book.record(EntryUpdate(key="talk", target="ja", state=after))

    assert (await entry_of(book)).state is before


async def test_an_entry_keeps_its_job(book: Book) -> None:
    await bring_to(book, State.SUBMITTED, job="job-1")
    with pytest.raises(IllegalTransitionError):
        await book.record(EntryUpdate(key="talk", target="ja", state=State.COMPLETED, job_id="job-2"))

    assert (await entry_of(book)).job_id == "job-1"


async def test_a_step_may_be_recorded_twice(book: Book) -> None:
    await bring_to(book, State.COMPLETED)
    await book.record(EntryUpdate(key="talk", target="ja", state=State.COMPLETED))

    assert (await entry_of(book)).state is State.COMPLETED


async def test_entries_come_in_the_order_in_which_they_were_entered(book: Book) -> None:
    keys = [f"talk-{number * 7 % 10}" for number in range(10)]
    for key in keys:
        await bring_to(book, State.SUBMITTED if key < "talk-5" else State.FAILED, key)

    assert [entry.key async for entry in book.entries()] == keys
    failed = [entry.key async for entry in book.entries(states=[State.FAILED])]
    assert failed == [key for key in keys if key >= "talk-5"]


async def test_states_and_credits_are_counted(book: Book) -> None:
    for key, state in {"a": State.SUBMITTED, "b": State.DELIVERED, "c": State.IN_DOUBT}.items():
        await bring_to(book, state, key)

    counts = await done(book.counts())
    assert set(counts) == set(State)
    assert {state for state, number in counts.items() if number} == {
        State.SUBMITTED,
        State.DELIVERED,
        State.IN_DOUBT,
    }
    assert await done(book.credits()) == (8.0, 0.0)


async def test_an_export_holds_no_token_and_no_signature(book: Book) -> None:
    await bring_to(book, State.IN_DOUBT, "one")
    token = await intend(book, "two")
    lines = [line async for line in book.export()]

    assert [json.loads(line)["key"] for line in lines] == ["one", "two"]
    assert token not in "".join(lines)
    assert "canary-sig" not in "".join(lines)


async def test_a_webhook_token_names_its_entry(book: Book) -> None:
    token = await intend(book)
    found = await done(book.find_token(token))

    assert found is not None
    assert found.key == "talk"
    assert await done(book.find_token("unknown")) is None
    assert await done(book.find_token("")) is None
