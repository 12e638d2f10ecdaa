"""Ids that were read in an unusable answer to a paid POST: kept first, asked for, never paid over."""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    Entry,
    Failed,
    InDoubt,
    Journal,
    NotSubmitted,
    Outcome,
    Snapshot,
    State,
    SubmissionInDoubt,
    TranslationRequest,
    entry_key,
    open_batch,
    open_journal,
)
from akool_async._batch import in_doubt
from akool_async._client import ClientSession
from akool_async._journal import EntryUpdate
from akool_async.sandbox import Fault
from tests.batch.test_batch import run
from tests.client.conftest import KEY, OFTEN, QUICK, House, Open, video
from tests.client.moments import HurriedClock
from tests.client.raw import KNOWN, RawVendor, gzip_with_bad_checksum, http

NOBODYS = "66160f989dfc997ac2890000"


def hurried(vendor: RawVendor) -> AkoolClient:
    """Make a client that asks for unknown jobs often enough at once, before an entry is paid again."""
    return AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, schedule=OFTEN, clock=HurriedClock())


async def doubt(home: House, journal: Journal, request: TranslationRequest, *ids: str) -> str:
    """Leave a request as a run leaves it that was killed while it asked for the job; return the job's id."""
    (job,) = (await (await home.client()).submit(request)).accepted
    await journal.intend(request)
    for target in request.targets:
        change = EntryUpdate(
            key=entry_key(request, target),
            target=target,
            state=State.IN_DOUBT,
            reason="The answer was cut.",
            doubt_ids=ids or (job.id,),
            candidate_ids=ids or (job.id,),
        )
        await journal.record(change)
    return job.id


@pytest.mark.parametrize("on_in_doubt", ["hold", "resubmit"])
async def test_a_later_run_asks_for_the_job_before_anything_is_paid(
    house: Open, tmp_path: Path, on_in_doubt: str
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        job_id = await doubt(home, journal, video(1))
        (outcome,) = await run(await home.client(), [video(1)], journal=journal, on_in_doubt=on_in_doubt)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, Completed)
    assert outcome.job is not None
    assert outcome.job.id == job_id


async def test_what_can_not_be_asked_for_is_not_paid_again(fast_house: Open, tmp_path: Path) -> None:
    faults = [Fault(on="status", kind="http", status=503)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        await doubt(home, journal, video(1))
        (outcome,) = await run(await home.client(), [video(1)], journal=journal, on_in_doubt="resubmit")

        assert len(home.sandbox.audit.jobs) == 1
        assert journal.counts()[State.IN_DOUBT] == 1
    assert isinstance(outcome, InDoubt)


@pytest.mark.parametrize("on_in_doubt", ["hold", "resubmit"])
async def test_a_job_that_the_account_does_not_have_resolves_nothing(
    fast_house: Open, tmp_path: Path, on_in_doubt: str
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        await doubt(home, journal, video(1), NOBODYS)
        (outcome,) = await run(
            await home.client(clock=HurriedClock()), [video(1)], journal=journal, on_in_doubt=on_in_doubt
        )

        assert len(home.sandbox.audit.jobs) == (1 if on_in_doubt == "hold" else 2)
    assert isinstance(outcome, InDoubt if on_in_doubt == "hold" else Completed)


async def test_an_id_that_two_entries_may_have_is_given_to_neither(fast_house: Open, tmp_path: Path) -> None:
    request = video(1, targets="ja,fr")
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        ids = [job.id for job in (await client.submit(request)).accepted]
        await journal.intend(request)
        for target in request.targets:
            change = EntryUpdate(
                key=entry_key(request, target),
                target=target,
                state=State.IN_DOUBT,
                doubt_ids=ids,
                candidate_ids=ids,
            )
            await journal.record(change)
        outcomes = await run(client, [request], journal=journal)

        assert journal.counts()[State.IN_DOUBT] == 2
    assert all(isinstance(outcome, InDoubt) for outcome in outcomes)


# Answers that can't be used, from a vendor of raw sockets.

ID = f"{KNOWN}0001"
OWN = f"{KNOWN}0009"
SUCCESS = {"code": 1000, "msg": "OK", "data": {"_id": ID, "video_status": 1, "deduction_lock_duration": 4}}


def with_header(line: bytes, answer: bytes = http(SUCCESS)) -> bytes:
    status, _, rest = answer.partition(b"\r\n")
    return b"\r\n".join([status, *([line] if line else []), rest])


def chunks(body: bytes, size: int) -> bytes:
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


BROKEN_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Trace\r\n"
CHUNKED = BROKEN_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PACKED = BROKEN_HEAD + b"Content-Encoding: gzip\r\n"
GZIPPED = gzip.compress(json.dumps(SUCCESS).encode())

UNUSABLE = {
    "503 with a whole answer": http(SUCCESS, 503),
    "cut after the id": http(json.dumps(SUCCESS)[:75].encode()),
    "connection closed early": http(json.dumps(SUCCESS)[:75].encode(), length=400),
    "bad checksum": gzip_with_bad_checksum(SUCCESS),
    "a header without a colon": with_header(b"X-Trace"),
    "a header whose name is not ASCII": with_header("X-Über: 1".encode()),
    "a header with NUL": with_header(b"X-Trace: a\x00b"),
    "two lengths": with_header(b"Content-Length: 7"),
    "no such protocol": with_header(b"").replace(b"HTTP/1.1", b"HTTP/2"),
    "a malformed header of a packed body": with_header(b"X-Trace", gzip_with_bad_checksum(SUCCESS)),
    "a body alone": json.dumps(SUCCESS).encode(),
    "a malformed header of an indented body": BROKEN_HEAD + b"\r\n" + json.dumps(SUCCESS, indent=2).encode(),
    "a malformed header of small chunks": CHUNKED + chunks(json.dumps(SUCCESS).encode(), 16),
    "a malformed header of packed chunks": PACKED + CHUNKED[len(BROKEN_HEAD) :] + chunks(GZIPPED, 4096),
    "a malformed header after early hints": b"HTTP/1.1 103 Early Hints\r\n\r\n" + PACKED + b"\r\n" + GZIPPED,
    "too often, with an id": http({"code": 1005, "msg": "too often", "data": {"_id": {"$oid": ID}}}),
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_an_id_is_committed_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    seen: list[tuple[State, tuple[str, ...]]] = []
    key = entry_key(video(1), "ja")
    async with open_journal(tmp_path / "j.sqlite3") as journal:
        status = ClientSession.status

        async def watched(self: ClientSession, job_id: str) -> Snapshot:
            entry = journal.get(key, "ja")
            assert entry is not None
            seen.append((entry.state, entry.doubt_ids))
            return await status(self, job_id)

        monkeypatch.setattr(ClientSession, "status", watched)
        with RawVendor(lambda _: answer).serve() as vendor:
            async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, schedule=OFTEN) as client:
                with anyio.fail_after(55):
                    async with open_batch(client, [video(1)], journal=journal):
                        while journal.counts()[State.SUBMITTED] == 0:
                            await anyio.sleep(0.005)
        entry = journal.get(key, "ja")

    assert seen[0] == (State.IN_DOUBT, (ID,))
    assert entry is not None
    assert entry.job_id == ID
    assert len(vendor.posts) == 1


async def test_each_language_gets_the_job_that_the_answer_names_for_it(tmp_path: Path) -> None:
    results = [
        {"code": 1000, "data": {"_id": f"{KNOWN}000{number}", "language": language}}
        for number, language in enumerate(("ja", "fr"))
    ]
    answer = http({"code": 1000, "data": results[-1]["data"], "all_results": results}, 502)
    request = video(1, targets="ja,fr")
    async with open_journal(tmp_path / "j.sqlite3") as journal:
        with RawVendor(lambda _: answer).serve() as vendor:
            async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, schedule=OFTEN) as client:
                with anyio.fail_after(55):
                    async with open_batch(client, [request], journal=journal):
                        while journal.counts()[State.SUBMITTED] < 2:
                            await anyio.sleep(0.005)
        jobs = {entry.target: entry.job_id async for entry in journal.entries()}

    assert jobs == {"ja": f"{KNOWN}0000", "fr": f"{KNOWN}0001"}


async def test_what_is_not_confirmed_is_told_with_its_ids(tmp_path: Path) -> None:
    with RawVendor(lambda _: http(SUCCESS, 503), known=lambda _: False).serve() as vendor:
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, schedule=OFTEN) as client,
        ):
            (outcome,) = await run(client, [video(1)], journal=journal)
            (again,) = await run(client, [video(1)], journal=journal)

    assert isinstance(outcome, InDoubt)
    assert isinstance(again, InDoubt)
    assert outcome.doubt_ids == again.doubt_ids == (ID,)
    assert len(vendor.posts) == 1


async def test_all_ids_of_a_doubt_are_told_also_those_that_belong_to_no_language(tmp_path: Path) -> None:
    results = [
        {"code": 1000, "data": {"_id": f"{KNOWN}000{number}", "language": language}}
        for number, language in enumerate(("ja", "fr", "de"))
    ]
    answer = http({"code": 1000, "data": results[-1]["data"], "all_results": results}, 502)
    with RawVendor(lambda _: answer, known=lambda _: False).serve() as vendor:
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, schedule=OFTEN) as client,
        ):
            outcomes = await run(client, [video(1, targets="ja,fr")], journal=journal)
            recorded = {entry.target: entry.doubt_ids async for entry in journal.entries()}

    assert {one.target: one.doubt_ids for one in outcomes if isinstance(one, InDoubt)} == recorded
    assert all(f"{KNOWN}0002" in ids for ids in recorded.values())


async def test_a_second_doubt_tells_the_ids_of_the_first_too(tmp_path: Path) -> None:
    answers = iter((ID, f"{KNOWN}0002"))

    def answer(_: object) -> bytes:
        return http({"code": 1000, "data": {"_id": next(answers)}}, 503)

    with RawVendor(answer, known=lambda _: False).serve() as vendor:
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            hurried(vendor) as client,
        ):
            await run(client, [video(1)], journal=journal)
            (outcome,) = await run(client, [video(1)], journal=journal, on_in_doubt="resubmit")
            (again,) = await run(client, [video(1)], journal=journal)

    assert len(vendor.posts) == 2
    assert isinstance(outcome, InDoubt)
    assert isinstance(again, InDoubt)
    assert outcome.doubt_ids == again.doubt_ids == (ID, f"{KNOWN}0002")


# Ids that an earlier answer named.


@pytest.mark.parametrize("known", [True, False])
async def test_an_earlier_answers_job_that_no_entry_has_forbids_to_pay_again(
    tmp_path: Path, known: bool
) -> None:
    answers = iter((ID, ""))

    def answer(_: object) -> bytes:
        job_id = next(answers, "")
        return http({"code": 1000, "data": {"_id": job_id}} if job_id else {}, 503)

    path, asked = tmp_path / "j.sqlite3", False
    with RawVendor(answer, known=lambda _: known and asked).serve() as vendor:
        async with hurried(vendor) as client:
            async with open_journal(path) as journal:
                await run(client, [video(1)], journal=journal)
                await run(client, [video(1)], journal=journal, on_in_doubt="resubmit")
                assert (await read(journal, video(1))).earlier_ids == (ID,)
            asked = True
            async with open_journal(path) as journal:
                (outcome,) = await run(client, [video(1)], journal=journal, on_in_doubt="resubmit")

    assert isinstance(outcome, InDoubt)
    assert len(vendor.posts) == (2 if known else 3)


async def test_an_older_journal_does_not_forget_to_ask(tmp_path: Path) -> None:
    path, key = tmp_path / "j.sqlite3", entry_key(video(1), "ja")
    async with open_journal(path) as journal:
        for _ in range(2):
            await journal.intend(video(1))
            change = EntryUpdate(key=key, target="ja", state=State.IN_DOUBT, doubt_ids=(ID,))
            await journal.record(change)
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("DROP INDEX entry_content")
        old.execute("DROP TABLE earlier_post")
        old.execute("ALTER TABLE entry DROP COLUMN candidate_ids")
        old.execute("PRAGMA user_version = 7")
    with RawVendor(lambda _: http(SUCCESS)).serve() as vendor:
        async with (
            open_journal(path) as journal,
            AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, schedule=OFTEN) as client,
        ):
            (outcome,) = await run(client, [video(1)], journal=journal, on_in_doubt="resubmit")

    assert isinstance(outcome, InDoubt)
    assert vendor.polls == [ID]
    assert vendor.posts == []


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED])
@pytest.mark.parametrize("known", [True, False])
async def test_an_entry_without_a_result_gets_the_job_of_an_earlier_answer_before_it_is_paid_again(
    tmp_path: Path, state: State, known: bool
) -> None:
    answers = [http({"code": 1000, "data": {"_id": ID}}, 503), http({"code": 1000, "data": {"_id": OWN}})]
    asked = False

    def answer(_: object) -> bytes:
        return answers.pop(0) if answers else http({"code": 1003, "msg": "wrong"})

    with RawVendor(answer, known=lambda job_id: job_id == OWN or (known and asked)).serve() as vendor:
        async with hurried(vendor) as client, open_journal(tmp_path / "j.sqlite3") as journal:
            await run(client, [video(1)], journal=journal)
            async with open_batch(client, [video(1)], journal=journal, on_in_doubt="resubmit"):
                while journal.counts()[State.SUBMITTED] == 0:
                    await anyio.sleep(0.005)
            change = {"key": entry_key(video(1), "ja"), "target": "ja", "state": state, "reason": "gone"}
            await journal.record(EntryUpdate(**change))
            asked = True
            async with open_batch(client, [video(1)], journal=journal, retry_failed=True) as batch:
                if not known:
                    outcomes = [outcome async for outcome in batch]
                while known and journal.counts()[State.SUBMITTED] == 0:
                    await anyio.sleep(0.005)
            entry = await read(journal, video(1))

    if known:
        assert (entry.state, entry.job_id, entry.doubt_ids) == (State.SUBMITTED, ID, ())
        assert len(vendor.posts) == 2
        return
    # That the API did not know it for long was not enough to forget it.
    assert [type(outcome) for outcome in outcomes] == [InDoubt]
    assert len(vendor.posts) == 3
    assert (entry.state, entry.doubt_ids) == (State.IN_DOUBT, (ID,))


async def test_ids_that_another_language_may_have_are_left_to_a_person(tmp_path: Path) -> None:
    request = video(1, targets="ja,fr")
    ids = (ID, f"{KNOWN}0002")
    with RawVendor(lambda _: http({"code": 1003, "msg": "wrong"})).serve() as vendor:
        async with hurried(vendor) as client, open_journal(tmp_path / "j.sqlite3") as journal:
            await journal.intend(request)
            names = [(entry_key(request, target), target) for target in request.targets]
            for key, target in names:
                change = {"key": key, "target": target, "doubt_ids": ids, "candidate_ids": ids}
                await journal.record(EntryUpdate(state=State.IN_DOUBT, **change))
            await journal.intend(request)
            for key, target in names:
                change = {"key": key, "target": target, "job_id": f"{target}-{OWN}"}
                await journal.record(
                    EntryUpdate(state=State.SUBMITTED, **change), EntryUpdate(state=State.FAILED, **change)
                )
            outcomes = await run(client, [request], journal=journal, retry_failed=True)

    assert [type(outcome) for outcome in outcomes] == [InDoubt, InDoubt]
    assert vendor.posts == []


async def test_an_answer_may_name_the_job_that_an_earlier_unusable_answer_named(tmp_path: Path) -> None:
    answers = iter([http(SUCCESS, 503), http(SUCCESS)])
    known = False
    with RawVendor(lambda _: next(answers), known=lambda _: known).serve() as vendor:
        async with hurried(vendor) as client, open_journal(tmp_path / "j.sqlite3") as journal:
            await run(client, [video(1)], journal=journal)
            async with open_batch(client, [video(1)], journal=journal, on_in_doubt="resubmit"):
                while journal.counts()[State.SUBMITTED] == 0:
                    await anyio.sleep(0.005)
            entry = await read(journal, video(1))

    assert (entry.state, entry.job_id, entry.doubt_ids) == (State.SUBMITTED, ID, ())
    assert len(vendor.posts) == 2


@pytest.mark.parametrize("candidates", [True, False])
async def test_a_long_list_of_ids_is_kept_and_what_is_not_asked_for_forbids_to_pay_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, candidates: bool
) -> None:
    monkeypatch.setattr(in_doubt, "_MOST_FROM_ANSWERS", 3)
    ids = tuple(f"{KNOWN}{number:04}" for number in range(5))
    answer = http({"error": "upstream", "jobs": [{"_id": one} for one in ids]}, 502)
    with RawVendor(lambda _: answer, known=lambda _: False).serve() as vendor:
        async with hurried(vendor) as client, open_journal(tmp_path / "j.sqlite3") as journal:
            await run(client, [video(1)], journal=journal)
            if not candidates:  # as in the journal of an earlier version
                journal._opened.store._writing.execute("UPDATE entry SET candidate_ids = '[]'")
            (outcome,) = await run(client, [video(1)], journal=journal, on_in_doubt="resubmit")

    assert isinstance(outcome, InDoubt)
    assert outcome.doubt_ids == ids
    assert len(vendor.posts) == 1
    assert set(vendor.polls) == set(ids[:3])


async def read(journal: Journal, request: TranslationRequest) -> Entry:
    entry = journal.get(entry_key(request, "ja"), "ja")
    assert entry is not None
    return entry


async def fail_beside_a_job_not_asked_for(home: House, client: AkoolClient, path: Path) -> str:
    """Leave a failed entry whose answer named another job, too; return the id of that."""
    home.sandbox.faults.add(Fault(on="create", kind="extra_language", language="fr", nth=1))
    home.sandbox.faults.add(Fault(on="create", kind="job_fails", language="ja", nth=1))
    async with open_journal(path) as journal:
        (outcome,) = await run(client, [video(1)], journal=journal)
        assert isinstance(outcome, Failed)
    home.sandbox.faults.clear()
    (extra,) = [job.id for job in home.sandbox.audit.jobs if job.language == "fr"]
    return extra


@pytest.mark.parametrize("on_in_doubt", ["hold", "resubmit"])
async def test_a_job_that_was_not_asked_for_is_never_the_job_of_a_later_post(
    fast_house: Open, tmp_path: Path, on_in_doubt: str
) -> None:
    path = tmp_path / "j.sqlite3"
    async with fast_house() as home:
        client = await home.client()
        extra = await fail_beside_a_job_not_asked_for(home, client, path)
        async with open_journal(path) as journal:
            await journal.intend(video(1))  # killed before the answer
        async with open_journal(path) as journal:
            (outcome,) = await run(client, [video(1)], journal=journal, on_in_doubt=on_in_doubt)
            # It may be the work all the same, so that only a person says that it is not.
            assert isinstance(outcome, InDoubt)
            assert outcome.doubt_ids == (extra,)
            await journal.resolve(entry_key(video(1), "ja"), not_made=True)
            (outcome,) = await run(client, [video(1)], journal=journal)
            entry = await read(journal, video(1))

    assert isinstance(outcome, Completed)
    assert entry.job_id != extra
    assert entry.doubt_ids == (extra,)


async def test_an_answer_without_ids_does_not_replace_those_of_an_earlier_one(
    fast_house: Open, tmp_path: Path
) -> None:
    path = tmp_path / "j.sqlite3"
    async with fast_house() as home:
        client = await home.client()
        extra = await fail_beside_a_job_not_asked_for(home, client, path)
        home.sandbox.faults.add(Fault(on="create", kind="reset_after"))
        async with open_journal(path) as journal:
            (outcome,) = await run(client, [video(1)], journal=journal, retry_failed=True)
            entry = await read(journal, video(1))

    assert isinstance(outcome, InDoubt)
    assert (entry.state, entry.doubt_ids, entry.candidate_ids) == (State.IN_DOUBT, (extra,), ())


async def test_a_refused_second_post_leaves_the_candidates_of_the_first(tmp_path: Path) -> None:
    answers = iter(
        [
            http({"code": 1000, "data": {"_id": ID}}, 503),
            http({"code": 1003, "msg": "wrong"}),
        ]
    )
    with RawVendor(lambda _: next(answers), known=lambda _: False).serve() as vendor:
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            hurried(vendor) as client,
        ):
            await run(client, [video(1)], journal=journal)
            await run(client, [video(1)], journal=journal, on_in_doubt="resubmit")
            entry = await read(journal, video(1))

    assert (entry.state, entry.candidate_ids) == (State.IN_DOUBT, (ID,))
    assert entry.doubt_ids[0] == ID


@pytest.mark.parametrize("status", [400, 404, 405, 410, 413, 415, 422])
async def test_a_wrong_host_costs_one_doubt(status: int) -> None:
    with RawVendor(lambda _: http(b"<html>not here</html>", status)).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK) as client:
            outcomes: list[Outcome] = []
            with anyio.fail_after(55):
                async with open_batch(client, [video(number) for number in range(20)]) as batch:
                    with pytest.raises(SubmissionInDoubt, match="host"):
                        async for outcome in batch:
                            outcomes.append(outcome)

    assert len(vendor.posts) == 1
    assert [type(outcome) for outcome in outcomes].count(InDoubt) == 1
    assert [type(outcome) for outcome in outcomes].count(NotSubmitted) == 19
