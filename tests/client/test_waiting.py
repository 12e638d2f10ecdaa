"""Waiting for jobs: a missed poll fails no job, what ends a job ends it once, and asking is cheap."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from akool_async import (
    AkoolClient,
    AkoolError,
    AuthenticationError,
    ClientClosedError,
    FixedSchedule,
    InvalidRequestError,
    JobFailed,
    PollContext,
    Snapshot,
    Status,
    WaitTimeout,
)
from akool_async._http import ApiCall
from akool_async._http.exchange import ExchangeDeadlines
from akool_async._observer import Observers
from akool_async._polling import poll_state as observation
from akool_async._polling import scheduler as _waiting
from akool_async._polling.scheduler import PollScheduler
from akool_async._wire import CREDIT_PATH, read_credit
from akool_async.sandbox import Fault
from tests.batch.simulation import VirtualClock
from tests.client.conftest import Open, video
from tests.client.moments import HurriedClock, held_back, still_clock, until


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "http", "status": 503},
        {"kind": "reset_after"},
        {"kind": "empty"},
        {"kind": "wrong_type"},
        {"kind": "code", "code": 1015},
        {"kind": "code", "code": 4711},
        {"kind": "vanish"},
        {"kind": "unknown_status", "value": 7},
        {"kind": "unknown_status", "value": None},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
async def test_polls_that_fail_are_polls_missed(house: Open, fault: dict[str, object]) -> None:
    async with house(faults=[Fault(on="status", nth=range(1, 12), **fault)]) as home:
        done = await (await home.client()).translate(video(), give_up_after=30)

    assert done.snapshot.status is Status.COMPLETED


async def test_a_status_written_as_text_is_that_status(house: Open) -> None:
    async with house(faults=[Fault(on="status", kind="unknown_status", value="3")]) as home:
        done = await (await home.client()).translate(video(), give_up_after=30)

    assert done.snapshot.status is Status.COMPLETED
    assert done.snapshot.raw["video_status"] in (
        "3",
        3,
    )  # a number if the job ended just as it was asked about


async def test_a_completed_job_without_a_url_is_asked_on(house: Open, monkeypatch) -> None:
    monkeypatch.setattr(observation, "URL_GRACE", 20.0)
    faults = [Fault(on="status", kind="done_without_url", nth=range(1, 4))]
    async with house(faults=faults, median_seconds=0.1) as home:  # done before it is first asked about
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        assert done.snapshot.url
        assert home.sandbox.audit.polled[done.job.id] > 3

        monkeypatch.setattr(observation, "URL_GRACE", 0.2)
        home.sandbox.faults.add(Fault(on="status", kind="done_without_url"))
        with pytest.raises(JobFailed, match="no URL"):
            await client.translate(video(2), give_up_after=30)


async def test_a_job_that_stays_unknown_is_gone_after_several_polls(house: Open, monkeypatch) -> None:
    monkeypatch.setattr(observation, "NOT_FOUND_GRACE", 0.0)
    monkeypatch.setattr(observation, "NOT_FOUND_SPAN", 0.1)
    async with house() as home:
        client = await home.client()
        with pytest.raises(JobFailed, match="no longer knows"):
            await client.wait("0" * 24, give_up_after=30)

        assert home.sandbox.audit.polled["0" * 24] >= 3


async def test_bad_credentials_end_the_waiting(house: Open) -> None:
    async with house(clock=still_clock()) as home:
        client = await home.client()
        job = (await client.submit(video())).accepted[0]
        home.sandbox.faults.add(Fault(on="status", kind="code", code=1101))
        with pytest.raises(AuthenticationError):
            await client.wait(job.id, give_up_after=30)


async def test_many_who_wait_for_one_job_share_its_polls(house: Open) -> None:
    async with house(time_scale=500.0) as home:
        client = await home.client()
        job = (await client.submit(video())).accepted[0]
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(client.wait, job.id)

        assert len(home.sandbox.audit.polls(job.id)) < 60


async def test_a_job_that_nobody_waits_for_is_not_asked_about(house: Open) -> None:
    async with house(clock=still_clock()) as home:
        client = await home.client()
        job = (await client.submit(video())).accepted[0]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.wait, job.id)
            await until(lambda: home.sandbox.audit.polls(job.id))
            tasks.cancel_scope.cancel()
        await client.credit()  # whatever was under way has arrived before this
        polls = len(home.sandbox.audit.polls(job.id))
        await anyio.sleep(0.04)

        assert len(home.sandbox.audit.polls(job.id)) == polls


async def _polls_after_hints(home, hints: int) -> int:
    client = await home.client(schedule=FixedSchedule(interval=3600.0))
    job = (await client.submit(video())).accepted[0]
    assert client.poll_soon(job.id) is False

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.wait, job.id)
        await until(lambda: home.sandbox.audit.polls(job.id))
        await client.credit()
        await anyio.sleep(0.05)
        for _ in range(hints):
            client.poll_soon(job.id)
        await until(lambda: len(home.sandbox.audit.polls(job.id)) >= 2)
        await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    return len(home.sandbox.audit.polls(job.id)) - 1


async def test_a_hint_makes_the_next_poll_come_at_once(house: Open, monkeypatch) -> None:
    monkeypatch.setattr(_waiting, "MIN_HINTED_INTERVAL", 0.0)
    async with house(clock=still_clock()) as home:
        assert await _polls_after_hints(home, 1) == 1


async def test_a_flood_of_hints_is_one_poll(house: Open, monkeypatch) -> None:
    monkeypatch.setattr(_waiting, "MIN_HINTED_INTERVAL", 0.02)
    async with house(clock=still_clock()) as home:
        assert await _polls_after_hints(home, 10_000) == 1


async def test_thousands_of_jobs_wait_with_few_polls_under_way(fast_house: Open) -> None:
    async with fast_house(max_jobs=5000, time_scale=200.0) as home:
        client = await home.client(schedule=FixedSchedule(interval=0.5))
        jobs = []
        for number in range(20):
            targets = [language.code for language in (await client.languages()) if not language.needs_voice][
                :25
            ]
            submission = await client.submit(video(number, targets=targets))
            jobs += submission.accepted
        done: list[Status] = []

        async def wait(job_id: str) -> None:
            done.append((await client.wait(job_id, give_up_after=50)).status)

        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(wait, job.id)

    assert done == [Status.COMPLETED] * len(jobs)


@pytest.mark.parametrize("job_id", ["", "a/b", "x?y=1", "é", "a" * 200, None])
async def test_what_is_no_job_id_is_not_asked_about(house: Open, job_id) -> None:
    async with house() as home:
        client = await home.client()
        for call in (client.status, client.wait):
            with pytest.raises(InvalidRequestError):
                await call(job_id)
        with pytest.raises(InvalidRequestError):
            async for _ in client.watch(job_id):
                pass

        assert home.sandbox.audit.requests == {}


async def test_a_poll_that_comes_back_while_the_client_is_closed_tells_nobody_twice() -> None:
    told: list[AkoolError | None] = []

    async def poll(job_id: str) -> Snapshot:
        waiting.close()
        return Snapshot(job_id=job_id, status=Status.COMPLETED)

    async with anyio.create_task_group() as tasks:
        clock = VirtualClock(1)
        waiting = PollScheduler(
            poll, clock=clock, tasks=tasks, pollers=1, vendor_now=clock.now, observers=Observers()
        )
        schedule = FixedSchedule(interval=1.0)
        waiting.watch("a" * 24, schedule, lambda watch: told.append(watch.error), age=None)

    assert [type(error) for error in told] == [ClientClosedError]


@pytest.mark.parametrize("how", ["wait", "watch", "translate"])
async def test_who_waits_is_told_that_the_client_was_closed(house: Open, how: str) -> None:
    said: list[str] = []

    async def wait(client: AkoolClient, job_id: str) -> None:
        with anyio.fail_after(40), pytest.raises(ClientClosedError) as caught:
            if how == "wait":
                await client.wait(job_id)
            elif how == "watch":
                async for _ in client.watch(job_id):
                    pass
            else:
                await client.translate(video(2))
        said.append(str(caught.value))

    async with anyio.create_task_group() as tasks, house(clock=still_clock()) as home:
        client = await home.client()
        job = (await client.submit(video())).accepted[0]
        tasks.start_soon(wait, client, job.id)
        await until(lambda: home.sandbox.audit.polled)

    assert home.sandbox.audit.jobs[-1].id in said[0]
    assert "are billed" in said[0]


async def test_who_waits_is_told_that_the_http_client_was_closed(fast_house: Open) -> None:
    async with fast_house(time_scale=1e-6) as home:
        http = httpx.AsyncClient()
        client = await home.client(http_client=http)
        job = (await client.submit(video())).accepted[0]
        await http.aclose()
        with anyio.fail_after(40), pytest.raises(ClientClosedError) as caught:
            await client.wait(job.id)

    assert "are billed" in str(caught.value)


@pytest.mark.parametrize("what", ["create", "credit"])
async def test_who_waits_to_try_again_is_told_that_the_client_was_closed(house: Open, what: str) -> None:
    said: list[str] = []

    async def call(client: AkoolClient) -> None:
        with anyio.fail_after(40), pytest.raises(ClientClosedError) as caught:
            await (client.submit(video()) if what == "create" else client.credit())
        said.append(str(caught.value))

    often = [Fault(on=what, kind="http", status=429, retry_after=0.1)]
    async with anyio.create_task_group() as tasks, house(faults=often) as home:
        tasks.start_soon(call, await home.client())
        await until(lambda: home.sandbox.audit.requests)

    assert "closed" in said[0]
    assert home.sandbox.audit.jobs == ()


@pytest.mark.parametrize("what", ["create", "credit"])
async def test_a_call_that_wakes_after_the_closing_is_told_so(house: Open, what: str) -> None:
    async with house() as home:
        api = (await home.client()).session.opened.api
    call = ApiCall(path=CREDIT_PATH, job_count=int(what == "create"))
    with pytest.raises(ClientClosedError):
        await api.call(call, read_credit)


async def test_who_asks_while_the_client_is_closed_is_told_so(house: Open) -> None:
    said: list[str] = []

    async def ask(client: AkoolClient) -> None:
        with anyio.fail_after(40), pytest.raises(ClientClosedError) as caught:
            await client.credit()
        said.append(str(caught.value))

    slow = [Fault(on="credit", kind="hang")]
    async with anyio.create_task_group() as tasks, house(faults=slow) as home:
        client = await home.client()
        for _ in range(100):
            tasks.start_soon(ask, client)
        await until(lambda: home.sandbox.audit.requests)

    assert len(said) == 100


async def test_a_job_that_is_paid_for_while_the_client_is_closed_is_named(house: Open) -> None:
    said: list[str] = []

    async def translate(client: AkoolClient) -> None:
        with anyio.fail_after(40), pytest.raises(ClientClosedError) as caught:
            await client.translate(video())
        said.append(str(caught.value))

    async def answer_once_closing(deadlines: ExchangeDeadlines, answer: Callable[[], None]) -> None:
        await until(lambda: deadlines._closed)
        answer()

    with ExitStack() as holding:
        async with anyio.create_task_group() as tasks, house(clock=still_clock()) as home:
            answer = holding.enter_context(held_back(home.sandbox, "create"))
            client = await home.client()
            tasks.start_soon(translate, client)
            await until(lambda: home.sandbox.audit.requests)
            tasks.start_soon(answer_once_closing, client.session.opened.api._deadlines, answer)

    assert home.sandbox.audit.jobs[0].id in said[0]


async def test_a_job_may_be_given_instead_of_its_id(house: Open, tmp_path: Path) -> None:
    async with house() as home:
        client = await home.client()
        submission = await client.submit(video())
        (job,) = submission.accepted

        done = await client.wait(job, give_up_after=30)
        seen = [snapshot async for snapshot in client.watch(job, created_at=done.created_at)]
        saved = await client.download(job, into=tmp_path)

        assert {done.job_id, seen[-1].job_id, (await client.status(job)).job_id} == {job.id}
        assert saved.video.name == f"{job.id}.mp4"
        assert client.poll_soon(job) is False
        for verb in (client.wait, client.status):
            with pytest.raises(InvalidRequestError, match=r"^Submission is not a job"):
                await verb(submission)


async def test_one_translation_may_be_polled_by_a_schedule_of_its_own(house: Open) -> None:
    asked = []

    class Schedule:
        def next_poll(self, context: PollContext, rand: float) -> float:
            asked.append(context)
            return 0.01

    async with house() as home:
        await (await home.client()).translate(video(), give_up_after=30, schedule=Schedule())

    assert asked


async def test_leaving_a_watch_early_is_fine(house: Open) -> None:
    async with house() as home:
        client = await home.client()
        job = (await client.submit(video())).accepted[0]
        snapshots = client.watch(job.id)
        async for _ in snapshots:
            break
        await snapshots.aclose()

        assert (await client.wait(job.id, give_up_after=30)).status is Status.COMPLETED


async def test_a_watch_gives_up_with_the_error_of_a_wait(house: Open) -> None:
    async with house(clock=still_clock()) as home:
        client = await home.client()
        job = (await client.submit(video())).accepted[0]
        seen = []
        with pytest.raises(WaitTimeout) as caught:
            async for snapshot in client.watch(job, give_up_after=0.05):
                seen.append(snapshot.status)
        with pytest.raises(WaitTimeout) as waited:
            await client.wait(job, give_up_after=0.05)

    assert Status.COMPLETED not in seen
    assert str(caught.value) == str(waited.value)
    assert caught.value.job_id == job.id


async def test_a_job_that_ended_while_the_loop_worked_is_done_and_not_late(house: Open) -> None:
    clock, vendor_clock = HurriedClock(), still_clock()
    async with house(clock=vendor_clock) as home:
        client = await home.client(clock=clock)
        job = (await client.submit(video())).accepted[0]
        seen = []
        async for snapshot in client.watch(job, give_up_after=119.0):
            seen.append(snapshot.status)
            if len(seen) == 1:
                vendor_clock.advance(10_000.0)
                await client.wait(job)
                await clock.sleep(200.0)

    assert seen[-1] is Status.COMPLETED
    assert len(seen) > 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5"])
async def test_an_invalid_time_out_is_refused_before_the_loop(house: Open, seconds: Any) -> None:
    async with house() as home:
        with pytest.raises(InvalidRequestError, match="give_up_after"):
            (await home.client()).watch("a" * 24, give_up_after=seconds)


async def test_who_reads_an_answer_while_the_client_is_closed_is_told_so() -> None:
    begun, said = anyio.Event(), list[str]()

    async def stall(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"code": ')
            begun.set()
            await anyio.sleep_forever()

    async def ask(client: AkoolClient) -> None:
        with anyio.fail_after(40), pytest.raises(ClientClosedError) as caught:
            await client.credit()
        said.append(str(caught.value))

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as serving:
        serving.start_soon(listener.serve, stall)
        origin = f"http://127.0.0.1:{port}"
        async with anyio.create_task_group() as asking, AkoolClient(api_key="k" * 20, host=origin) as client:
            asking.start_soon(ask, client)
            await begun.wait()
            await anyio.sleep(0.02)  # so that the head is read, and the body waited for
        serving.cancel_scope.cancel()

    assert "closed" in said[0]
