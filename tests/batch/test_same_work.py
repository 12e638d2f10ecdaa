"""One work under two keys, in one journal and in different runs: it is paid once, and the caller is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    Expired,
    InDoubt,
    InvalidRequestError,
    Journal,
    NotSubmitted,
    Outcome,
    Rejected,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal import EntryUpdate
from akool_async._model.fingerprint import fingerprint
from akool_async.sandbox import Fault
from tests.client.conftest import Open
from tests.journal.conftest import bring_to, video


async def run(client: AkoolClient, journal: Journal, key: str | None, **options: Any) -> Outcome:
    with anyio.fail_after(55):
        async with open_batch(client, [video(key)], journal=journal, **options) as batch:
            (outcome,) = [outcome async for outcome in batch]
    return outcome


async def submit(client: AkoolClient, journal: Journal, key: str | None) -> str:
    """Return why a batch that takes requests one by one does not take this one, or ""."""
    async with open_batch(client, journal=journal) as batch:
        try:
            await batch.submit(video(key))
        except InvalidRequestError as error:
            return str(error)
    return ""


@pytest.mark.parametrize(("first", "then"), [("a", "b"), ("a", None), (None, "b")])
async def test_work_that_an_earlier_run_paid_is_not_paid_under_another_name(
    fast_house: Open, tmp_path: Path, first: str | None, then: str | None
) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            await run(client, journal, first)
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            outcome = await run(client, journal, then)
            refused = await submit(client, journal, then)
            again = await run(client, journal, first)

            assert sum(journal.counts().values()) == 1
        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, NotSubmitted)
    assert isinstance(again, Completed)
    for reason in (outcome.reason, refused):
        assert "it is paid already" in reason
        assert ("under another key, a: " if first else "without a key: ") in reason
        assert ("Use that key" if first else "Leave the key out") in reason


async def test_what_a_run_refused_is_refused_when_it_is_given_again(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, journal, "a")
        with anyio.fail_after(55):
            async with open_batch(client, [video("b")] * 2, journal=journal) as batch:
                outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) == 1
    assert all(isinstance(outcome, NotSubmitted) for outcome in outcomes)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (State.PLANNED, "not sent yet, and would be paid as well. Use that key, or take it back first"),
        (State.SUBMITTED, "paid already. Use that key to have its result."),
        (State.COMPLETED, "paid already. Use that key to have its result."),
        (State.IN_DOUBT, "may be paid already. Use that key, or resolve that doubt first."),
        (State.EXPIRED, "Use that key, with retry_failed=True (--retry-failed) to pay once more."),
    ],
)
async def test_the_reason_says_what_became_of_the_work(
    fast_house: Open, tmp_path: Path, state: State, told: str
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        await bring_to(journal, state, "a")
        outcome = await run(await home.client(), journal, "b", recover_pending=False)

        assert home.sandbox.audit.jobs == ()
    assert isinstance(outcome, NotSubmitted)
    assert outcome.reason.startswith("The journal has the same work under another key, a: it is ")
    assert told in outcome.reason


async def test_what_the_vendor_failed_or_refused_may_be_ordered_under_another_key(
    fast_house: Open, tmp_path: Path
) -> None:
    faults = [Fault(on="create", kind="code", code=1003, nth=1), Fault(on="create", kind="job_fails", nth=2)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        outcomes = [await run(client, journal, key) for key in ("refused", "failed", "whole", "late")]

        assert [type(outcome).__name__ for outcome in outcomes[:2]] == ["Rejected", "Failed"]
        assert isinstance(outcomes[2], Completed)
        assert "under another key, whole" in outcomes[3].reason
        assert len(home.sandbox.audit.jobs) == 2


@pytest.mark.parametrize("result", [State.SUBMITTED, State.DELIVERED])
@pytest.mark.parametrize(
    ("before", "options", "kind"),
    [
        (State.PLANNED, {}, NotSubmitted),
        (State.FAILED, {"retry_failed": True}, Rejected),
        (State.EXPIRED, {"retry_failed": True}, Expired),
        (State.IN_DOUBT, {"on_in_doubt": "resubmit"}, InDoubt),
    ],
)
async def test_what_the_journal_has_is_not_paid_where_another_key_has_or_gets_the_result(
    fast_house: Open,
    tmp_path: Path,
    before: State,
    options: dict[str, Any],
    kind: type[Outcome],
    result: State,
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        await bring_to(journal, before, "a")
        await bring_to(journal, result, "b")
        outcome = await run(await home.client(), journal, "a", recover_pending=False, **options)

        assert home.sandbox.audit.creates == ()
        entry = journal.get("a", "ja")
        assert entry is not None
        assert entry.state is before
    assert isinstance(outcome, kind)
    assert "The journal has the same work under another key, b: it is paid already." in outcome.reason


@pytest.mark.parametrize("other", [State.PLANNED, State.FAILED, State.EXPIRED])
async def test_what_the_journal_has_is_paid_where_no_other_key_has_a_result(
    fast_house: Open, tmp_path: Path, other: State
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        await bring_to(journal, State.FAILED, "a")
        await bring_to(journal, other, "b")
        outcome = await run(await home.client(), journal, "a", retry_failed=True)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, Completed)


async def test_one_video_under_two_queries_is_not_paid_twice_because_one_waited(
    fast_house: Open, tmp_path: Path
) -> None:
    first, second = (
        TranslationRequest(url=f"https://example.com/talk.mp4?t={number}", targets="ja") for number in (1, 2)
    )

    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        home.sandbox.faults.add(Fault(on="create", kind="code", code=1104, nth=1))  # no credits, at first
        client, outcomes = await home.client(), list[Outcome]()
        for requests in ([first], [second], [first], [second, first]):
            with anyio.fail_after(55):
                async with open_batch(client, requests, journal=journal) as batch:
                    outcomes += [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) == 1
    assert [type(outcome) for outcome in outcomes[:3]] == [NotSubmitted, Completed, NotSubmitted]
    assert outcomes[2].reason.startswith("Another entry has the same URL with another query")


@pytest.mark.parametrize("tickets", [True, False], ids=["tickets", "catalog"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (State.FAILED, State.FAILED),
        (State.EXPIRED, State.FAILED),
        (State.FAILED, State.PLANNED),
        (State.EXPIRED, State.EXPIRED),
    ],
)
async def test_one_work_that_is_ordered_again_under_two_keys_at_once_is_paid_once(
    fast_house: Open, tmp_path: Path, first: State, second: State, *, tickets: bool
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        for key, state in (("a", first), ("b", second)):
            await bring_to(journal, state, key)
        client, requests = await home.client(), None if tickets else [video("a"), video("b")]
        options: dict[str, Any] = {"retry_failed": True, "resume_planned": False}
        with anyio.fail_after(55):
            async with open_batch(client, requests, journal=journal, **options) as batch:
                if tickets:
                    sent = [await batch.submit(video(key)) for key in "ab"]
                    outcomes = [await ticket.outcome() for ticket in sent]
                else:
                    outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) == 1
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 1


async def test_a_retry_under_two_keys_that_a_stop_held_up_is_paid_once(
    fast_house: Open, tmp_path: Path
) -> None:
    faults = [Fault(on="create", kind="code", code=1104, nth=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        for key in "ab":
            await bring_to(journal, State.FAILED, key)
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, retry_failed=True) as batch:
                first = await batch.submit(video("a"))
                while batch.stop_cause is None:
                    await anyio.sleep(0.005)
                second = await batch.submit(video("b"))
                batch.resume_submitting()
                outcomes = [await ticket.outcome() for ticket in (first, second)]

        assert len(home.sandbox.audit.jobs) == 1
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 1


async def test_a_job_that_only_vanished_may_still_be_paid_for(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        await bring_to(journal, State.SUBMITTED, "a")
        await journal.record(EntryUpdate(key="a", target="ja", state=State.FAILED, reason="not found"))
        outcome = await run(await home.client(), journal, "b")

    assert isinstance(outcome, NotSubmitted)


async def test_keys_that_the_journal_has_go_on_as_before(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        for key in "ab":  # an earlier version paid both
            await bring_to(journal, State.DELIVERED, key)
        outcomes = [await run(await home.client(), journal, key) for key in "ab"]

        assert home.sandbox.audit.jobs == ()
    assert all(isinstance(outcome, Completed) for outcome in outcomes)


async def test_the_journal_finds_work_without_reading_all_entries(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal:
        asked: list[str] = []
        journal._opened.reading.set_trace_callback(asked.append)
        for any_query in (False, True):
            journal.find_work(fingerprint(video(), "ja"), "ja", "a", any_query=any_query)
        journal._opened.reading.set_trace_callback(None)
        plans = [journal._opened.reading.execute(f"EXPLAIN QUERY PLAN {one}").fetchall() for one in asked]

    steps = [step[-1] for plan in plans for step in plan]
    assert sum("entry_work" in step for step in steps) == 2
    assert not any(step.startswith("SCAN entry") for step in steps)


async def test_a_key_of_other_work_is_refused_by_what_differs_and_by_what_is_free_first(
    fast_house: Open, tmp_path: Path
) -> None:
    other = attrs.evolve(video("a"), style="calm", lipsync=True)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await bring_to(journal, State.SUBMITTED, "a")
        async with open_batch(client, [other], journal=journal, recover_pending=False) as batch:
            (outcome,) = [outcome async for outcome in batch]
        async with open_batch(client, journal=journal, recover_pending=False) as tickets:
            with pytest.raises(InvalidRequestError) as refused:
                await tickets.submit(other)

        assert home.sandbox.audit.jobs == ()
    assert isinstance(outcome, NotSubmitted)
    for reason in (outcome.reason, str(refused.value)):
        assert (
            "The key a names other work in the journal: lipsync, style differ. Ask for it as before" in reason
        )
        assert "another key, under which it is paid for" in reason
