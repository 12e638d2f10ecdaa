"""The same work under another key, or behind a URL that was signed anew: entered once, and paid once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from akool_async import Entry, InvalidRequestError, State, TranslationRequest, open_journal
from akool_async._journal import EntryUpdate
from akool_async._model.requests import Request
from akool_async.cli.app import run
from akool_async.ledger import Ledger, Made, open_ledger
from akool_async.sandbox import Fault
from tests.ledger.conftest import Bench

TALK = "https://media.example/talk.mp4"


def talk(query: str = "token=monday", **more: Any) -> TranslationRequest:
    return TranslationRequest(url=f"{TALK}?{query}", targets="ja", **more)


async def keys(ledger: Ledger, *states: State) -> list[str]:
    return [entry.key async for entry in ledger.entries(states=states or None)]


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (talk(), talk(key="mine"), "the same work under another key"),
        (talk(key="mine"), talk(), "the same work under another key"),
        (talk(key="mine"), talk(key="yours"), "the same work under another key"),
        (talk(), talk("token=tuesday"), "One video signed twice, or two videos?"),
        (talk(), talk(""), "One video signed twice, or two videos?"),
        (talk(key="mine"), talk("token=tuesday"), "One video signed twice, or two videos?"),
    ],
    ids=["key-given", "key-taken-away", "other-key", "signed-anew", "no-query", "signed-anew-without-key"],
)
async def test_what_may_be_the_same_work_is_not_entered_again(
    bench: Bench, first: Request, second: Request, why: str
) -> None:
    await bench.ledger.plan([first])
    known = await keys(bench.ledger)
    for how in (
        lambda: bench.ledger.plan([talk(key="new", source_language="en"), second]),
        lambda: bench.ledger.submit_once(bench.client, second),
    ):
        with pytest.raises(InvalidRequestError) as refused:
            await how()
        assert why in refused.value.message
        assert known[0] in refused.value.message
        assert "monday" not in str(refused.value)

    assert await keys(bench.ledger) == known
    assert bench.sandbox.audit.creates == ()


async def test_within_one_catalog_the_same_work_is_entered_under_one_key(bench: Bench) -> None:
    with pytest.raises(InvalidRequestError, match=r"yours .ja. is mine .ja."):
        await bench.ledger.plan([talk(key="mine"), talk(key="yours")])

    assert await keys(bench.ledger) == []


async def test_keys_or_a_public_query_say_that_they_are_two_videos(bench: Bench) -> None:
    wanted = [
        *(talk(f"id={number}", key=f"talk-{number}") for number in range(3)),
        *(talk(f"id={number}", url_is_public=True, source_language="en") for number in range(3)),
        attrs.evolve(talk(key="talk-0"), url=f"{TALK}?id=0", targets=("ko",)),
    ]

    assert len(await bench.ledger.plan(wanted)) == 7
    assert await bench.ledger.plan(wanted) == []
    assert len(await keys(bench.ledger, State.PLANNED)) == 7


async def test_what_was_refused_may_be_entered_under_another_key_and_is_not_retried_then(
    bench: Bench,
) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="code", code=1203, limit=1))
    await bench.ledger.submit_once(bench.client, talk(key="mine"))
    assert isinstance(await bench.ledger.submit_once(bench.client, talk(key="yours")), Made)
    with pytest.raises(InvalidRequestError, match=r"mine .ja. is the same work as yours .ja."):
        await bench.ledger.retry("mine", "ja")

    assert await keys(bench.ledger, State.FAILED) == ["mine"]
    assert len(bench.sandbox.audit.jobs) == 1


async def test_a_url_that_is_renewed_does_not_become_that_of_another_key(bench: Bench) -> None:
    wanted = [talk(f"id={key}", key=key) for key in "ab"]
    await bench.ledger.plan(wanted)
    with pytest.raises(InvalidRequestError, match=r"a .ja. is b .ja."):
        await bench.ledger.plan([talk("id=b", key="a")])

    assert await bench.ledger.plan(wanted) == []
    entry = await bench.ledger.get("a", "ja")
    assert entry is not None
    assert entry.request_for_target == wanted[0]


async def test_two_machines_enter_one_work_once(database: str) -> None:
    refused, entered = list[str](), list[Entry]()

    async def enter(key: str) -> None:
        async with open_ledger(database) as ledger:
            try:
                entered.extend(await ledger.plan([talk(key=key)]))
            except InvalidRequestError:
                refused.append(key)

    async with open_ledger(database):
        pass
    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(enter, f"talk-{number}")

    assert len(entered) == 1
    assert len(refused) == 5


# A journal that is moved.


async def journaled(folder: Path, *requests: TranslationRequest, state: State) -> list[Entry]:
    async with open_journal(folder / "jobs.sqlite3") as journal:
        for number, request in enumerate(requests):
            if state is State.PLANNED:
                key = request.key or ""
                await journal.record(EntryUpdate(key=key, target="ja", state=state, request=request))
                continue
            token = f"token-{number}"
            await journal.intend(request, token=token)
            entry = journal.find_token(token)
            assert entry is not None
            if state is State.SUBMITTED:
                await journal.record(
                    EntryUpdate(key=entry.key, target="ja", state=state, job_id=f"job-{number}")
                )
        return [entry async for entry in journal.entries()]


@pytest.mark.parametrize("state", [State.SUBMITTED, State.SUBMITTING])
@pytest.mark.parametrize("planned", [talk(key="yours"), talk("token=tuesday")], ids=["key", "signed-anew"])
async def test_what_a_moved_journal_paid_ends_what_was_planned_for_the_same_work(
    bench: Bench, tmp_path: Path, state: State, planned: TranslationRequest
) -> None:
    (ours,) = await bench.ledger.plan([planned])
    moved = await journaled(tmp_path, talk(), state=state)

    assert await bench.ledger.adopt(moved) == 1
    assert await bench.ledger.adopt(moved) == 0
    ended = await bench.ledger.get(ours.key, "ja")
    assert ended is not None
    assert ended.state is State.FAILED
    assert moved[0].key in ended.reason
    assert not await bench.ledger.retry(ours.key, "ja", pay_again=False)
    kept = await bench.ledger.get(moved[0].key, "ja")
    assert kept is not None
    assert kept.job_id == moved[0].job_id
    assert kept.state is (State.SUBMITTED if state is State.SUBMITTED else State.IN_DOUBT)
    with pytest.raises(InvalidRequestError):
        await bench.ledger.plan([talk(key="a-third")])


async def test_what_a_moved_journal_paid_is_moved_beside_what_was_paid_here(
    bench: Bench, tmp_path: Path
) -> None:
    assert isinstance(await bench.ledger.submit_once(bench.client, talk(key="yours")), Made)
    moved = await journaled(tmp_path, talk(key="mine"), state=State.SUBMITTED)

    assert await bench.ledger.adopt(moved) == 1
    assert sorted(await keys(bench.ledger, State.SUBMITTED)) == ["mine", "yours"]


async def test_what_a_moved_journal_had_not_begun_is_not_entered_twice(bench: Bench, tmp_path: Path) -> None:
    public = attrs.evolve(talk("id=1", key="mine"), url_is_public=True)
    await bench.ledger.plan([attrs.evolve(public, key="yours")])
    moved = await journaled(tmp_path, public, state=State.PLANNED)

    assert await bench.ledger.adopt(moved) == 0
    assert await keys(bench.ledger) == ["yours"]


def test_enqueue_names_the_rows_that_would_be_paid_twice(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogs = {
        "monday": f"url,languages\n{TALK}?token=monday,ja\n",
        "tuesday": f"url,languages\n{TALK}?token=tuesday,ja\n",
        "keyed": f"url,languages,key\n{TALK}?token=monday,ja,my-own-name\n",
    }
    for name, text in catalogs.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")

    def enqueue(name: str) -> tuple[int, str]:
        code = run(["enqueue", str(tmp_path / f"{name}.csv"), "--ledger", database])
        return code, capsys.readouterr().err

    assert enqueue("monday")[0] == 0
    code, told = enqueue("tuesday")
    assert code == 2
    assert f"{TALK}?… (ja)" in told
    assert "One video signed twice, or two videos?" in told
    code, told = enqueue("keyed")
    assert code == 2
    assert "my-own-name (ja)" in told
    assert "each would be paid" in told
    code, told = enqueue("monday")
    assert code == 0
    assert "0 new entries, 1 for the workers to do" in told
