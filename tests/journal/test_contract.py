"""What both journals promise: the one in a file and the one in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path

import attrs
import pytest

from akool_async._journal import Entry, EntryUpdate, Journal, open_journal, reading
from akool_async._model.errors import (
    IllegalTransitionError,
    InvalidRequestError,
    JournalClosedError,
    JournalError,
)
from akool_async._model.fingerprint import fingerprint
from akool_async._model.requests import LipSyncRequest
from akool_async._model.responses import AudioSplits, Job, Snapshot, Status
from akool_async._model.states import TRANSITIONS, State
from tests.journal.conftest import START, StillClock, bring_to, step, video

Opened = Callable[[], Journal]


async def test_an_intent_enters_every_language_of_a_post(opened: Opened) -> None:
    request = video("talk", ("ja", "fr"))
    async with opened() as journal:
        await journal.intend(request, token="t0ken")

        for target in ("ja", "fr"):
            assert journal.get("talk", target) == Entry(
                key="talk",
                target=target,
                fingerprint=fingerprint(request, target),
                state=State.SUBMITTING,
                request=request,
                token="t0ken",
                paid_submissions=1,
                submitted_at=START,
                updated_at=START,
            )


async def test_an_entry_without_a_key_is_named_by_its_fingerprint(opened: Opened) -> None:
    request = video(None)
    async with opened() as journal:
        await journal.intend(request)

        entry = journal.get(fingerprint(request, "ja"), "ja")
    assert entry is not None
    assert entry.request == request


async def test_a_lip_sync_has_an_empty_target(opened: Opened) -> None:
    request = LipSyncRequest(video_url="https://e.com/v.mp4", audio_url="https://e.com/a.mp3", key="lips")
    async with opened() as journal:
        await journal.intend(request)
        await journal.record(EntryUpdate(key="lips", state=State.SUBMITTED, job_id="job-1"))

        entry = journal.get("lips")
    assert entry is not None
    assert (entry.target, entry.job_id, entry.request) == ("", "job-1", request)


async def test_every_field_of_a_change_is_kept(opened: Opened, clock: StillClock) -> None:
    snapshot = Snapshot(
        job_id="job-1",
        status=Status.COMPLETED,
        raw_status="3",
        url="https://cdn.example.com/r.mp4",
        progress=100,
        created_at=START,
        video_id="v",
        credits_used=3.5,
        error_reason="none",
        audio_splits=AudioSplits(original_srt_url="https://cdn.example.com/o.srt"),
    )
    later = START + timedelta(minutes=5, microseconds=7)
    async with opened() as journal:
        await journal.intend(video())
        clock.move(minutes=1)
        await journal.record(step(State.SUBMITTED, job_id="job-1", credits_locked=4.0, created_at=START))
        await journal.record(
            step(
                State.COMPLETED,
                snapshot=snapshot,
                ended_at=later.astimezone(timezone(timedelta(hours=9))),
                reason="done",
                code=1000,
                doubt_ids=["other-id"],
            )
        )
        await journal.record(step(State.DELIVERED, files=[Path("out/a.mp4"), "out/b\udcff.srt"]))

        entry = journal.get("talk", "ja")
    assert entry is not None
    assert entry == attrs.evolve(
        entry,
        state=State.DELIVERED,
        job_id="job-1",
        paid_submissions=1,
        credits_locked=4.0,
        credits_used=3.5,
        reason="",  # said of an earlier state
        code=None,
        created_at=START,
        submitted_at=START,
        ended_at=later,
        expires_at=START + timedelta(days=7),
        files=("out/a.mp4", "out/b\udcff.srt"),
        snapshot=snapshot,
        doubt_ids=("other-id",),
        updated_at=START + timedelta(minutes=1),
    )
    assert entry.ended_at is not None
    assert entry.ended_at.utcoffset() == timedelta(0)


async def test_a_field_that_is_not_given_stays_while_the_state_stays(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.IN_DOUBT)
        await journal.record(step(State.IN_DOUBT, reason="no answer", code=7, doubt_ids=("abcdefgh",)))
        await journal.record(step(State.IN_DOUBT))

        entry = journal.get("talk", "ja")
    assert entry is not None
    assert (entry.reason, entry.code, entry.doubt_ids) == ("no answer", 7, ("abcdefgh",))


async def test_planning_enters_what_was_not_submitted(opened: Opened) -> None:
    async with opened() as journal:
        await journal.record(step(State.PLANNED, request=video(), reason="out of credits"))

        entry = journal.get("talk", "ja")
    assert entry is not None
    assert (entry.state, entry.paid_submissions, entry.reason) == (State.PLANNED, 0, "out of credits")


async def test_a_planned_entry_takes_a_new_request_and_no_other_does(opened: Opened) -> None:
    other = video(lipsync=True)
    async with opened() as journal:
        await bring_to(journal, State.PLANNED)
        await journal.record(step(State.PLANNED, request=other))
        entry = journal.get("talk", "ja")
        assert entry is not None
        assert entry.request == other
        assert entry.fingerprint == fingerprint(other, "ja")

        await journal.intend(other)
        with pytest.raises(IllegalTransitionError, match="names other work"):
            await journal.record(step(State.IN_DOUBT, request=video()))


@pytest.mark.parametrize("before", State)
async def test_an_intent_is_refused_where_no_post_may_be_sent(opened: Opened, before: State) -> None:
    async with opened() as journal:
        await bring_to(journal, before)
        seen = journal.get("talk", "ja")
        assert seen is not None

        if State.SUBMITTING in TRANSITIONS[before]:
            await journal.intend(video())
            again = journal.get("talk", "ja")
            assert again is not None
            assert (again.state, again.paid_submissions) == (State.SUBMITTING, seen.paid_submissions + 1)
        else:
            with pytest.raises(IllegalTransitionError, match=f"is {before}"):
                await journal.intend(video())
            assert journal.get("talk", "ja") == seen


async def test_an_intent_is_all_or_nothing(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.SUBMITTED, target="fr")
        with pytest.raises(IllegalTransitionError, match=r"talk \(fr\)"):
            await journal.intend(video("first"), video("talk", ("ja", "fr", "de")))

        assert journal.get("first", "ja") is None
        assert journal.get("talk", "ja") is None
        assert journal.get("talk", "de") is None
        assert journal.counts()[State.SUBMITTING] == 0


async def test_one_name_twice_in_an_intent_is_refused(opened: Opened) -> None:
    async with opened() as journal:
        with pytest.raises(IllegalTransitionError, match="twice"):
            await journal.intend(video(), video(lipsync=True))

        assert journal.get("talk", "ja") is None


async def test_a_doubt_over_other_work_is_not_overwritten(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.IN_DOUBT)

        with pytest.raises(IllegalTransitionError, match="in doubt over other work"):
            await journal.intend(video(lipsync=True))


async def test_a_retry_starts_afresh_but_keeps_ids_in_doubt_and_what_was_spent(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.COMPLETED)
        ids = {"doubt_ids": ["abcdefgh"], "candidate_ids": ["abcdefgh"]}
        told = {"credits_used": 2.5, **ids, "files": ["x"], "reason": "dead", "code": 9}
        await journal.record(step(State.EXPIRED, created_at=START, ended_at=START, **told))
        await journal.intend(video())

        entry = journal.get("talk", "ja")
        assert entry is not None
        assert entry == attrs.evolve(
            entry,
            paid_submissions=2,
            job_id="",
            credits_used=None,
            credits_before=2.5,
            doubt_ids=("abcdefgh",),
            candidate_ids=(),
            files=(),
        )
        assert (entry.created_at, entry.ended_at, entry.expires_at) == (None, None, None)
        assert (entry.reason, entry.code) == ("", None)
        assert journal.credits() == (0.0, 2.5)


@pytest.mark.parametrize("before", [State.SUBMITTING, State.IN_DOUBT])
async def test_a_post_that_surely_made_no_job_is_not_counted(opened: Opened, before: State) -> None:
    async with opened() as journal:
        await bring_to(journal, before)
        await journal.record(step(State.PLANNED, reason="too often"))

        entry = journal.get("talk", "ja")
    assert entry is not None
    assert (entry.paid_submissions, entry.submitted_at, entry.reason) == (0, None, "too often")


async def test_a_doubt_comes_back_as_it_was_where_the_next_post_surely_made_no_job(opened: Opened) -> None:
    async with opened() as journal:
        await journal.intend(video(), token="first")
        await journal.record(step(State.IN_DOUBT, reason="no answer"))
        await journal.intend(video(), token="second")
        await journal.record(step(State.IN_DOUBT, reason="no answer", token="first", submitted_at=START))

        entry = journal.find_token("first")
        assert journal.find_token("second") is None
        with pytest.raises(IllegalTransitionError, match="can't come back"):
            await journal.record(step(State.IN_DOUBT, token="second"))
    assert entry is not None
    assert (entry.state, entry.paid_submissions, entry.reason) == (State.IN_DOUBT, 1, "no answer")


REFUSED = {
    "unknown": (None, step(State.SUBMITTED), "not in the journal"),
    "no request": (None, step(State.PLANNED), "no request was given"),
    "new but sent": (None, step(State.SUBMITTED, request=video()), "planned or intended first"),
    "sent without intent": (State.PLANNED, step(State.SUBMITTING), "intend"),
    "sent again without intent": (State.IN_DOUBT, step(State.SUBMITTING), "intend"),
    "no job id": (State.SUBMITTING, step(State.SUBMITTED, job_id=""), "without the vendor's job id"),
    "another job": (State.SUBMITTED, step(State.SUBMITTED, job_id="job-2"), "can't be given job job-2"),
    "another job at the end": (State.SUBMITTED, step(State.FAILED, job_id="job-2"), "can't be given"),
    "planned with a job": (State.SUBMITTING, step(State.PLANNED, job_id="job-2"), "a job was made"),
    "backwards": (State.DELIVERED, step(State.SUBMITTED), "may not follow"),
}


@pytest.mark.parametrize(("before", "change", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_would_lose_money_is_refused(
    opened: Opened, before: State | None, change: EntryUpdate, words: str
) -> None:
    async with opened() as journal:
        if before is not None:
            await bring_to(journal, before)
        seen, counted = journal.get("talk", "ja"), journal.counts()

        with pytest.raises(IllegalTransitionError, match=words):
            await journal.record(change)
        assert journal.get("talk", "ja") == seen
        assert journal.counts() == counted


async def test_changes_of_one_call_are_all_or_nothing(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.SUBMITTING)
        with pytest.raises(IllegalTransitionError):
            await journal.record(step(State.SUBMITTED), step(State.COMPLETED), step(State.PLANNED))

        entry = journal.get("talk", "ja")
        assert entry is not None
        assert (entry.state, entry.job_id) == (State.SUBMITTING, "")

        await journal.record(step(State.SUBMITTED), step(State.COMPLETED), step(State.DELIVERED))
        assert journal.counts()[State.DELIVERED] == 1


async def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="aware"):
        step(State.FAILED, ended_at=datetime(2026, 1, 1))


# Doubts.


async def test_a_doubt_is_resolved_with_an_id(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.IN_DOUBT)
        await journal.record(step(State.IN_DOUBT, doubt_ids=("found-id", "other-id")))
        await journal.resolve("talk", job_id="found-id")

        entry = journal.get("talk", "ja")
    assert entry is not None
    assert (entry.state, entry.job_id, entry.paid_submissions) == (State.SUBMITTED, "found-id", 1)
    assert entry.doubt_ids == ("other-id",)


async def test_ids_in_doubt_are_added_to_those_of_earlier_answers(opened: Opened) -> None:
    async with opened() as journal:
        for name in ("first-id", "other-id", "first-id"):
            await journal.intend(video())
            await journal.record(step(State.IN_DOUBT, doubt_ids=(name,), candidate_ids=(name,)))

        entry = journal.get("talk", "ja")
    assert entry is not None
    assert (entry.doubt_ids, entry.candidate_ids) == (("first-id", "other-id"), ("first-id",))


async def test_a_resolved_doubt_knows_when_its_result_dies(opened: Opened) -> None:
    snapshot = Snapshot(job_id="found-id", created_at=START)
    async with opened() as journal:
        await bring_to(journal, State.IN_DOUBT)
        with pytest.raises(InvalidRequestError, match="of job found-id"):
            await journal.resolve("talk", job_id="other-id", snapshot=snapshot)
        await journal.resolve("talk", job_id="found-id", snapshot=snapshot)

        dying = [entry async for entry in journal.expiring(timedelta(days=7))]
        assert journal.count_expiring(timedelta(days=7)) == 1
        assert journal.count_expiring(timedelta(days=6)) == 0

    assert [(entry.job_id, entry.created_at) for entry in dying] == [("found-id", START)]


@pytest.mark.parametrize(("year", "hours"), [(9999, -14), (1, 14)])
async def test_a_moment_that_none_in_utc_is_counts_as_unknown(opened: Opened, year: int, hours: int) -> None:
    """Refused, it would keep the id of a paid job out of the journal."""
    end = datetime.max if year == 9999 else datetime.min
    absurd = end.replace(tzinfo=timezone(timedelta(hours=hours)))
    async with opened() as journal:
        await journal.intend(video("talk"))
        change = EntryUpdate(
            key="talk", target="ja", state=State.SUBMITTED, job_id="job-1", created_at=absurd, ended_at=absurd
        )
        await journal.record(change)

        entry = journal.get("talk", "ja")
    assert entry is not None
    assert (entry.job_id, entry.created_at, entry.ended_at, entry.expires_at) == ("job-1", None, None, None)


async def test_a_doubt_is_resolved_as_not_made(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.IN_DOUBT)
        await journal.resolve("talk", "ja", not_made=True)

        entry = journal.get("talk", "ja")
        assert entry is not None
        assert (entry.state, entry.paid_submissions, entry.doubt_ids) == (State.PLANNED, 0, ())
        await journal.intend(video())


async def test_a_doubt_over_several_languages_needs_its_target(opened: Opened) -> None:
    async with opened() as journal:
        for target in ("ja", "fr"):
            await bring_to(journal, State.IN_DOUBT, target=target)

        with pytest.raises(IllegalTransitionError, match="fr, ja"):
            await journal.resolve("talk", not_made=True)
        await journal.resolve("talk", "fr", not_made=True)
        await journal.resolve("talk", not_made=True)
        assert journal.counts()[State.PLANNED] == 2


async def test_what_was_found_out_about_one_language_is_not_said_of_another_of_its_post(
    opened: Opened,
) -> None:
    """They have the moment of that POST in common, and its token."""
    async with opened() as journal:
        await journal.intend(video(targets=("fr", "ja")), token="of-both")
        await journal.record(step(State.IN_DOUBT), step(State.IN_DOUBT, target="fr"))
        seen = journal.get("talk", "ja")
        await journal.resolve("talk", "ja", job_id="job-of-ja", seen=seen)
        for said in ({"not_made": True}, {"job_id": "job-of-it"}):
            with pytest.raises(IllegalTransitionError, match=r"talk \(ja\) is not in doubt"):
                await journal.resolve("talk", **said, seen=seen)  # type: ignore[arg-type]

        assert journal.counts()[State.IN_DOUBT] == 1
        await journal.resolve("talk", not_made=True, seen=journal.get("talk", "fr"))
        assert journal.counts()[State.PLANNED] == 1


@pytest.mark.parametrize(
    ("price", "known", "unknown"), [(3.5, 3.5, 0), (None, 0, 1), (0.0, 0, 1), (-4.0, 0, 1), (1.7e308, 0, 1)]
)
async def test_the_price_of_a_job_that_nobody_asked_for_is_counted_once(
    opened: Opened, price: float | None, known: float, unknown: int
) -> None:
    extra = (Job(id="extra-1", credits_locked=price),)
    async with opened() as journal:
        await bring_to(journal, State.SUBMITTED, key="other")
        await bring_to(journal, State.SUBMITTING)
        known_job = Job(id="job-other-ja", credits_locked=9.0)
        made = step(State.SUBMITTED, doubt_ids=("extra-1",), extra_jobs=(*extra, known_job))
        await journal.record(made)
        await journal.record(made)

        entry = journal.get("talk", "ja")
        used = journal.credits()[1]
    assert entry is not None
    assert (entry.credits_before, entry.doubts_before, used) == (known, unknown, known)


async def test_what_is_not_in_doubt_is_not_resolved(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.SUBMITTING)
        for key in ("talk", "unknown"):
            with pytest.raises(IllegalTransitionError, match="not in doubt"):
                await journal.resolve(key, "ja", not_made=True)


async def test_a_job_of_another_entry_does_not_resolve_a_doubt(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.SUBMITTED, key="other")
        await bring_to(journal, State.IN_DOUBT)

        with pytest.raises(IllegalTransitionError, match=r"belongs to entry other \(ja\)"):
            await journal.resolve("talk", job_id="job-other-ja")


async def test_a_job_of_another_entry_is_not_recorded_as_an_entrys_own(opened: Opened) -> None:
    async with opened() as journal:
        await bring_to(journal, State.SUBMITTED, key="other")
        await bring_to(journal, State.SUBMITTING)
        for state in (State.SUBMITTED, State.FAILED):
            update = EntryUpdate(key="talk", target="ja", state=state, job_id="job-other-ja")
            with pytest.raises(IllegalTransitionError, match=r"belongs to entry other \(ja\)"):
                await journal.record(update)
        await journal.record(
            EntryUpdate(key="talk", target="ja", state=State.IN_DOUBT, doubt_ids=("job-other-ja",))
        )

        entry = journal.get("talk", "ja")
        assert entry is not None
        assert (entry.job_id, entry.doubt_ids) == ("", ("job-other-ja",))


@pytest.mark.parametrize("told", [{}, {"job_id": "abcdefgh", "not_made": True}, {"job_id": "no id!"}])
async def test_a_resolution_has_to_be_clear(opened: Opened, told: dict[str, object]) -> None:
    async with opened() as journal:
        await bring_to(journal, State.IN_DOUBT)

        with pytest.raises(InvalidRequestError):
            await journal.resolve("talk", **told)  # type: ignore[arg-type]


# Reading.


async def test_an_entry_is_found_by_its_job_and_its_token(opened: Opened) -> None:
    async with opened() as journal:
        await journal.intend(video("talk", ("ja", "fr")), token="t0ken")
        await journal.intend(video("plain"))
        await journal.record(step(State.SUBMITTED))

        found = journal.find_job("job-talk-ja")
        assert found is not None
        assert found.target == "ja"
        waiting = journal.find_token("t0ken")
        assert waiting is not None
        assert waiting.target == "fr"  # ja has its job already
        assert journal.find_job("") is None
        assert journal.find_token("") is None
        assert journal.find_token("unknown") is None


async def test_entries_come_in_the_order_in_which_they_were_entered(opened: Opened) -> None:
    keys = [f"talk-{(number * 37) % 600:03}" for number in range(600)]
    async with opened() as journal:
        await journal.intend(*map(video, keys))
        await journal.record(*(step(State.IN_DOUBT, key) for key in keys[::2]))
        await journal.record(*(step(State.SUBMITTED, key) for key in keys[1:5:2]))

        assert [entry.key async for entry in journal.entries()] == keys
        wanted = [State.IN_DOUBT, State.SUBMITTED, State.EXPIRED]
        seen = [entry.key async for entry in journal.entries(states=wanted)]
        assert seen == sorted({*keys[::2], *keys[1:5:2]}, key=keys.index)
        assert [entry async for entry in journal.entries(states=[])] == []


@pytest.mark.parametrize(
    "pattern", ["talk-*", "TALK-*", "t?lk-1", "[at]*", "[!at]*", "[a", "]", "*[*", "*?", "", "*'*", "talk-1"]
)
@pytest.mark.parametrize("targets", [None, ["ja"], ["fr", ""], []])
async def test_entries_are_found_by_key_and_language(
    pattern: str, targets: list[str] | None, opened: Opened
) -> None:
    names = ["talk-1", "talk-2", "TALK-3", "a[b", "]", "it's", "x*y", "東京"]
    async with opened() as journal:
        await journal.intend(*(video(name, ("ja", "fr")) for name in names))
        await journal.record(*(step(State.FAILED, name) for name in names[::2]))
        every = [entry async for entry in journal.entries()]

        found = [entry async for entry in journal.entries(key=pattern, targets=targets)]
        failed = [
            entry async for entry in journal.entries(states={State.FAILED}, key=pattern, targets=targets)
        ]

    wanted = [
        entry
        for entry in every
        if fnmatchcase(entry.key, pattern) and (targets is None or entry.target in targets)
    ]
    assert found == wanted
    assert failed == [entry for entry in wanted if entry.state is State.FAILED]


async def test_entries_that_expire_are_found_among_others(opened: Opened) -> None:
    async with opened() as journal:
        for key, days in {"late": 3.0, "soon": -6.9, "mid": -6.0, "saved": -6.95}.items():
            await journal.intend(video(key))
            await journal.record(step(State.SUBMITTED, key, created_at=START + timedelta(days=days)))
        await journal.record(step(State.COMPLETED, "mid"), step(State.COMPLETED, "saved"))
        await journal.record(step(State.DELIVERED, "saved"))
        two = timedelta(days=2)

        assert [entry.key async for entry in journal.entries(expiring=two)] == ["soon", "mid"]
        assert [entry.key async for entry in journal.entries(expiring=two, key="m*")] == ["mid"]
        assert [e.key async for e in journal.entries(expiring=two, states={State.SUBMITTED})] == ["soon"]
        assert [e.key async for e in journal.entries(expiring=two, states={State.DELIVERED})] == []


async def test_entries_are_given_as_they_are_by_then(opened: Opened) -> None:
    keys = [f"talk-{number:03}" for number in range(400)]
    async with opened() as journal:
        await journal.intend(*map(video, keys))
        seen = []
        async for entry in journal.entries(states={State.SUBMITTING}):
            seen.append(entry.key)
            if entry.key == keys[0]:
                await journal.record(*(step(State.FAILED, key) for key in keys[1::2]))

    assert seen == [keys[0], *keys[2::2]]


async def test_leaving_a_loop_over_entries_early_is_fine(opened: Opened) -> None:
    async with opened() as journal:
        await journal.intend(video("a"), video("b"))
        async for _ in journal.entries():
            break
        await journal.record(step(State.FAILED, "a"))

        assert journal.counts()[State.FAILED] == 1


async def test_what_dies_soonest_comes_first(opened: Opened, clock: StillClock) -> None:
    async with opened() as journal:
        for key, days in {"late": 3.0, "soon": -6.9, "dead": -8.0, "mid": -6.0, "done": -6.95}.items():
            await journal.intend(video(key))
            created = START + timedelta(days=days)
            await journal.record(step(State.SUBMITTED, key, created_at=created))
        await journal.record(step(State.COMPLETED, "mid"))
        await journal.record(step(State.COMPLETED, "done"), step(State.DELIVERED, "done"))

        soon = [entry.key async for entry in journal.expiring(timedelta(days=2))]
        assert soon == ["dead", "soon", "mid"]
        sooner = [entry.key async for entry in journal.expiring(timedelta(hours=1), START)]
        assert sooner == ["dead"]
        clock.move(days=1)
        assert len([entry async for entry in journal.expiring(timedelta(hours=3))]) == 3


async def test_many_results_that_die_at_once_are_all_given(opened: Opened) -> None:
    keys = [f"talk-{number:03}" for number in range(600)]
    async with opened() as journal:
        await journal.intend(*map(video, keys))
        await journal.record(*(step(State.SUBMITTED, key, created_at=START) for key in keys))

        assert [entry.key async for entry in journal.expiring(timedelta(days=8))] == keys


async def test_states_and_credits_are_counted(opened: Opened) -> None:
    async with opened() as journal:
        for key in ("a", "b", "c", "d"):
            await journal.intend(video(key))
            await journal.record(step(State.SUBMITTED, key, credits_locked=0.1))
        await journal.record(step(State.COMPLETED, "a", credits_used=0.2))
        await journal.record(step(State.FAILED, "b"))
        await journal.record(step(State.COMPLETED, "c"))

        counts = {state: number for state, number in journal.counts().items() if number}
        assert counts == {State.COMPLETED: 2, State.FAILED: 1, State.SUBMITTED: 1}
        assert set(journal.counts()) == set(State)
        assert journal.credits() == (0.2, 0.2)


async def test_an_export_has_one_line_of_json_for_each_entry(opened: Opened) -> None:
    async with opened() as journal:
        await journal.intend(video("a", webhook_url="https://me.example.com/hook?key=abc"), token="t0ken")
        await bring_to(journal, State.DELIVERED, "b")

        lines = [json.loads(line) async for line in journal.export()]
    assert [(line["key"], line["state"], line["paid"]) for line in lines] == [
        ("a", "submitting", 1),
        ("b", "delivered", 1),
    ]
    assert lines[0]["submitted_at"] == "2026-03-01T12:00:00.000000+00:00"
    assert "t0ken" not in json.dumps(lines)
    assert "abc" not in json.dumps(lines)


# Being open and being closed.


async def test_a_journal_that_is_not_open_refuses(opened: Opened) -> None:
    journal = opened()
    with pytest.raises(JournalClosedError):
        journal.get("talk", "ja")
    with pytest.raises(JournalClosedError):
        await journal.record(step(State.FAILED))
    async with journal:
        await journal.intend(video())
        with pytest.raises(RuntimeError, match="open already"):
            await journal.__aenter__()
    with pytest.raises(JournalClosedError):
        journal.counts()


async def test_an_error_in_the_block_comes_out_as_it_is(opened: Opened) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with opened() as journal:
            await journal.intend(video())
            raise KeyError("mine")


async def test_a_journal_says_where_it_is_and_whether_it_is_open(opened: Opened, place: str) -> None:
    journal = opened()
    assert repr(journal) == f"<Journal {place!r} closed>"
    async with journal:
        assert repr(journal) == f"<Journal {place!r} open>"
        assert str(journal.path or ":memory:") == place


async def test_errors_of_the_journal_say_what_it_means(opened: Opened) -> None:
    async with opened() as journal:
        with pytest.raises(JournalError) as caught:
            await journal.record(step(State.FAILED))

    assert caught.value.impact
    assert caught.value.advice


# Only in a file.


async def test_a_journal_is_there_again_after_it_was_closed(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.COMPLETED)
        seen, cost = journal.get("talk", "ja"), journal.credits()
    async with open_journal(str(path)) as journal:
        assert journal.get("talk", "ja") == seen
        assert journal.credits() == cost
        assert journal.counts()[State.COMPLETED] == 1
        assert journal.recovered_count == 0


async def test_an_intent_that_a_dead_run_left_is_in_doubt(path: Path) -> None:
    async with open_journal(path) as journal:
        await journal.intend(video("talk", ("ja", "fr")), video("other"))
        await journal.record(step(State.SUBMITTED, "other"))
    async with open_journal(path) as journal:
        assert journal.recovered_count == 2
        for target in ("ja", "fr"):
            entry = journal.get("talk", target)
            assert entry is not None
            assert (entry.state, entry.paid_submissions) == (State.IN_DOUBT, 1)
            assert "ended before the vendor's answer" in entry.reason
        assert journal.counts()[State.IN_DOUBT] == 2


async def test_a_reader_sees_what_a_run_writes_and_writes_nothing(path: Path) -> None:
    async with open_journal(path) as journal:
        await journal.intend(video())
        async with open_journal(path, read_only=True) as seen:
            assert [entry.key async for entry in seen.entries()] == ["talk"]
            await journal.record(step(State.SUBMITTED, credits_locked=2.0))

            assert seen.get("talk", "ja") == journal.get("talk", "ja")
            assert seen.counts() == journal.counts()
            assert seen.credits() == (2.0, 0.0)
            assert len([line async for line in seen.export()]) == 1
            for write in (
                seen.intend(video("new")),
                seen.record(),
                seen.resolve("talk", not_made=True),
            ):
                with pytest.raises(JournalClosedError, match="for reading"):
                    await write
        await journal.record(step(State.COMPLETED))
    async with open_journal(path, read_only=True) as seen:
        assert seen.counts()[State.COMPLETED] == 1


async def test_a_reader_does_not_put_intents_in_doubt(path: Path) -> None:
    async with open_journal(path) as journal:
        await journal.intend(video())
    async with open_journal(path, read_only=True) as seen:
        entry = seen.get("talk", "ja")

    assert entry is not None
    assert entry.state is State.SUBMITTING


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (reading._BY_NAME, "ab"),
        (reading._BY_JOB, "a"),
        (reading._BY_TOKEN.partition("ORDER")[0], "a"),
        (reading._EXPIRING, ["z", "a", 0, 9]),
        ("SELECT id FROM entry WHERE state = ? AND id > ? ORDER BY id LIMIT ?", ["a", 0, 9]),
    ],
)
async def test_lookups_use_an_index(query: str, values: Sequence[str | int]) -> None:
    async with open_journal(":memory:") as journal:
        connection = journal._opened.reading
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values))

    assert "INDEX" in plan
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan
