"""What the vendor answers to a POST is kept, however odd it is, and what it costs is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import attrs
import pytest

from akool_async import AkoolClient, FixedSchedule, InDoubt, State
from akool_async._clock import SystemClock
from akool_async._journal import EntryUpdate
from akool_async._model.errors import AkoolError, ConnectError, IllegalTransitionError
from akool_async._model.responses import Job
from akool_async.ledger import Ledger, Made, NotSent, Refused, open_ledger
from akool_async.sandbox import Fault
from tests.client.moments import SkewedClock
from tests.ledger.conftest import QUICK, Bench, video
from tests.vendor.server import Vendor

KEY = "canary-4f9c1b7e2a"


@attrs.frozen
class Shop:
    vendor: Vendor
    client: AkoolClient
    ledger: Ledger
    url: str


@pytest.fixture
async def shop(database: str, tmp_path: Path) -> AsyncIterator[Shop]:
    schedule = FixedSchedule(interval=0.02)
    with Vendor(tmp_path, key=KEY) as vendor:
        async with (
            AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, schedule=schedule) as client,
            open_ledger(database) as ledger,
        ):
            yield Shop(vendor, client, ledger, database)


async def open_intent(ledger: Ledger, number: int = 1) -> str:
    intent = await ledger.intend(video(number), f"video-{number}", "one")
    assert await ledger.acquire(intent.token, "one")
    return intent.token


async def doubt_ids(ledger: Ledger, number: int = 1) -> tuple[str, ...]:
    entry = await ledger.get(f"video-{number}", "ja")
    assert entry is not None
    return entry.doubt_ids


async def test_an_id_that_another_entry_has_leaves_a_doubt_that_names_it(shop: Shop) -> None:
    shop.vendor.new_id = lambda: "66b0a1f0c0ffee0123456789"
    with anyio.fail_after(50):
        first = await shop.ledger.submit_once(shop.client, video(1))
        second = await shop.ledger.submit_once(shop.client, video(2))

    assert isinstance(first, Made)
    assert isinstance(second, InDoubt)
    assert second.doubt_ids == (first.job.id,)
    assert first.job.id in second.reason


async def test_a_callback_that_names_the_job_of_another_entry_is_not_believed(bench: Bench) -> None:
    await bench.ledger.submit_once(bench.client, video(1))
    token = await open_intent(bench.ledger, 2)
    await bench.ledger.doubt(token, "lost")

    assert not await bench.ledger.made(token, Job(id=bench.sandbox.audit.jobs[0].id))


@pytest.mark.parametrize("code", [10**30, -(2**63) - 1])
async def test_a_code_that_no_column_can_hold_ends_the_entry_all_the_same(bench: Bench, code: int) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="code", code=code, limit=1))
    with anyio.fail_after(50):
        found = await bench.ledger.submit_once(bench.client, video())

    assert isinstance(found, Refused)
    assert (await bench.ledger.get("video-1", "ja")).state is State.FAILED  # type: ignore[union-attr]


async def test_a_second_job_in_an_answer_is_kept(bench: Bench) -> None:
    """It belongs to no language of the request, and may be billed."""
    bench.sandbox.faults.add(Fault(on="create", kind="extra_language", limit=1))
    found = await bench.ledger.submit_once(bench.client, video())

    assert isinstance(found, Made)
    answered = {job.id for job in bench.sandbox.audit.jobs} | {*await doubt_ids(bench.ledger)}
    assert answered > {found.job.id}
    assert len(await doubt_ids(bench.ledger)) == 1
    assert found.job.id not in await doubt_ids(bench.ledger)


@pytest.mark.parametrize("price", [4.0, None])
async def test_jobs_that_nobody_asked_for_count_against_the_budget(bench: Bench, price: float | None) -> None:
    token = await open_intent(bench.ledger)
    await bench.ledger.made(token, Job(id="job-1", credits_locked=4.0))
    extra = [Job(id=f"extra-{number}", credits_locked=price) for number in (1, 2)]
    for job in (*extra, *extra):  # a worker that was killed may say it twice
        await bench.ledger.keep(token, job.id, job)
    async with open_ledger(bench.url, max_credits=15.0) as ledger:
        found = await ledger.submit_once(bench.client, video(2))
    async with open_ledger(bench.url, max_credits=16.0) as ledger:
        fits = await ledger.submit_once(bench.client, video(2))

    assert isinstance(found, NotSent)
    assert "max_credits" in found.reason
    assert isinstance(fits, Made)


async def test_a_folder_whose_name_is_no_text_can_be_recorded(bench: Bench) -> None:
    await bench.ledger.made(await open_intent(bench.ledger), Job(id="job-1"))
    for state, files in ((State.COMPLETED, None), (State.DELIVERED, ("/r\udcffsultats/1.ja.mp4",))):
        await bench.ledger.record(EntryUpdate(key="video-1", target="ja", state=state, files=files))

    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert entry.files == ("/r?sultats/1.ja.mp4",)


async def test_absurd_prices_do_not_stop_the_account(bench: Bench) -> None:
    """Two of them can't be added up, and each later sum would fail."""
    for number in (1, 2):
        token = await open_intent(bench.ledger, number)
        await bench.ledger.made(token, Job(id=f"job-{number}", credits_locked=1.7e308))
    async with open_ledger(bench.url, max_credits=100.0) as ledger:
        found = await ledger.submit_once(bench.client, video(3))

    assert isinstance(found, NotSent)


async def test_ids_of_an_earlier_answer_are_not_forgotten(bench: Bench) -> None:
    token = await open_intent(bench.ledger)
    await bench.ledger.keep(token, "earlier-1")
    await bench.ledger.record_end(token, State.IN_DOUBT, reason="odd", doubt_ids=("later-1",))

    assert await doubt_ids(bench.ledger) == ("earlier-1", "later-1")


async def test_ids_that_come_after_a_callback_named_the_job_are_not_forgotten(bench: Bench) -> None:
    token = await open_intent(bench.ledger)
    assert await bench.ledger.made(token, Job(id="named-1"))
    await bench.ledger.record_end(token, State.IN_DOUBT, reason="odd", doubt_ids=("named-1", "other-1"))

    assert await doubt_ids(bench.ledger) == ("other-1",)


async def test_a_job_that_is_an_entrys_own_is_in_doubt_no_more(bench: Bench) -> None:
    token = await open_intent(bench.ledger)
    await bench.ledger.record_end(token, State.IN_DOUBT, reason="odd", doubt_ids=("own-1", "other-1"))
    await bench.ledger.resolve("video-1", "ja", job_id="own-1")

    assert await doubt_ids(bench.ledger) == ("other-1",)


@pytest.mark.parametrize(("locked", "counted"), [(4.0, 4.0), (None, 7.0)], ids=["known", "unknown"])
async def test_an_expired_job_was_paid_for_when_it_is_submitted_again(
    bench: Bench, locked: float | None, counted: float
) -> None:
    """One without a price counts as the dearest that is known, now as before."""
    await bench.ledger.made(await open_intent(bench.ledger, 2), Job(id="dear-1", credits_locked=7.0))
    await bench.ledger.made(await open_intent(bench.ledger), Job(id="job-1", credits_locked=locked))
    for state in (State.COMPLETED, State.EXPIRED):
        await bench.ledger.record(EntryUpdate(key="video-1", target="ja", state=state))
    assert await bench.ledger.retry("video-1", "ja")

    assert await bench.ledger.credits() == (7.0, counted)
    async with open_ledger(bench.url, max_credits=7.0 + counted + 6.0) as ledger:
        found = await ledger.submit_once(bench.client, video())
    assert isinstance(found, NotSent)
    assert "max_credits" in found.reason


async def test_an_expired_job_counts_as_a_doubt_where_no_price_is_known(bench: Bench) -> None:
    await bench.ledger.made(await open_intent(bench.ledger), Job(id="job-1"))
    for state in (State.COMPLETED, State.EXPIRED):
        await bench.ledger.record(EntryUpdate(key="video-1", target="ja", state=state))
    assert await bench.ledger.retry("video-1", "ja")
    await bench.ledger.made(await open_intent(bench.ledger), Job(id="job-2", credits_locked=7.0))

    async with open_ledger(bench.url, max_credits=20.0) as ledger:
        found = await ledger.submit_once(bench.client, video(2))
    assert isinstance(found, NotSent)
    assert found.reason == (
        "max_credits (20) would be exceeded: 14 credits are spent or locked, and 7, the price of the "
        "dearest job so far, have to be left for the next one."
    )


async def test_a_doubt_holds_its_place_whatever_the_clock_of_a_machine_says(bench: Bench) -> None:
    await bench.ledger.doubt(await open_intent(bench.ledger), "lost")
    async with open_ledger(bench.url, max_in_flight=1, clock=SkewedClock(days=9)) as ledger:
        found = await ledger.submit_once(bench.client, video(2))

    assert isinstance(found, NotSent)
    assert bench.sandbox.audit.creates == ()


async def test_a_worker_is_heard_of_by_the_clock_of_the_database(bench: Bench) -> None:
    async with open_ledger(bench.url, clock=SkewedClock(days=9)) as ledger:
        await ledger.heartbeat("one", host="here", pid=1, state="running")
    (worker,) = await bench.ledger.workers()

    assert 0 <= worker.silent_for < 3600  # not nine days


async def test_no_result_is_called_expired_without_an_answer_of_the_vendor(
    bench: Bench, tmp_path: Path
) -> None:
    """A machine whose clock is ahead, and whose network is down, knows nothing."""
    token = await open_intent(bench.ledger)
    await bench.ledger.made(token, Job(id="job-1", created_at=SystemClock().now()))
    await bench.ledger.record(EntryUpdate(key="video-1", target="ja", state=State.COMPLETED))
    bench.ledger.clock = SkewedClock(days=9)
    async with AkoolClient(api_key=KEY, host="http://127.0.0.1:1", retry=QUICK) as client:
        with pytest.raises(ConnectError):
            await bench.ledger.save_once(client, "video-1", "ja", into=tmp_path)

    assert (await bench.ledger.get("video-1", "ja")).state is State.COMPLETED  # type: ignore[union-attr]


async def test_the_end_of_an_earlier_job_does_not_end_a_later_post(bench: Bench) -> None:
    """A worker that was frozen while it waited for the first job."""
    one = await bench.ledger.submit_once(bench.client, video())
    assert isinstance(one, Made)
    failed = EntryUpdate(key="video-1", target="ja", state=State.FAILED, job_id=one.job.id, reason="no voice")
    await bench.ledger.record(failed)
    assert await bench.ledger.retry("video-1", "ja")
    await bench.ledger.doubt(await open_intent(bench.ledger), "lost")

    with pytest.raises(IllegalTransitionError, match="begun anew"):
        await bench.ledger.record(failed)
    await bench.ledger.resolve("video-1", "ja", job_id="a" * 24)

    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert (entry.state, entry.job_id) == (State.SUBMITTED, "a" * 24)


async def test_a_doubt_may_end_while_it_is_resolved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await open_intent(bench.ledger)
    resolve = Ledger._resolve

    async def end_meanwhile(self: Ledger, *arguments: object) -> object:
        resolved = await resolve(self, *arguments)  # type: ignore[arg-type]
        await bench.ledger.record_end(token, State.IN_DOUBT, reason="lost")
        return resolved

    monkeypatch.setattr(Ledger, "_resolve", end_meanwhile)
    with pytest.raises(AkoolError, match="video-1"):
        await bench.ledger.resolve("video-1", "ja", not_made=True)
