"""A vendor that does what a test tells it to, in place of a client's session: no HTTP and no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import anyio
import attrs

from akool_async import (
    AkoolClient,
    AkoolError,
    Event,
    FixedSchedule,
    Job,
    JobNotFoundError,
    Journal,
    Observer,
    Outcome,
    RetryPolicy,
    Saved,
    Snapshot,
    Status,
    Submission,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._batch.batch import Batch
from akool_async._model.requests import Request
from akool_async._model.responses import Callback
from akool_async._observer import Observers
from akool_async._polling.poll_state import PollState, PollVerdict
from akool_async._polling.scheduler import Listener, PolledJob
from akool_async.testing import VirtualClock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
POST_TAKES, JOB_TAKES = 2.0, 60.0
STEADY = RetryPolicy(initial_delay=10.0, throttle_deadline=100.0, jitter=lambda seconds: seconds)


class Recorder(Observer):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def traceparent(self) -> str:
        return "00-trace"

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event.fields() for event in self.events if event.name == name]


class Telling:
    """A source of callbacks that has these already, and gets no others."""

    def __init__(self, *callbacks: Callback) -> None:
        self.callbacks = callbacks

    def subscribe(self, listener: object) -> Callable[[], None]:
        return lambda: None

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        return tuple(one for one in self.callbacks if one.token == token)


@attrs.define(eq=False)
class Seam:
    """What a batch uses of a client.

    Attributes:
        answers: to the POSTs, in their order; the last one for all that follow.
        ends: by job how it ends; a job that is not among them is completed.
        unready: what fetching a token fails with, in order.
        downloads: by job what the download of its result returns or raises.
        known: what the vendor says about jobs of answers that could not be used.
        server_ahead: how far the vendor's clock is ahead.
        knows_server_time: whether an answer gave the vendor's time.
        endless: whether no job ends.
        on_watch: called when a job begins to be polled.
        on_post: called when a POST is sent.
        turn: what a POST waits for before its intent; `waiting` is set meanwhile.
        answer: what the answer to a POST waits for; `under_way` is set meanwhile.
    """

    answers: list[Submission | AkoolError] = attrs.field(factory=list)
    ends: Mapping[str, PollState | AkoolError] = attrs.field(factory=dict)
    unready: list[AkoolError] = attrs.field(factory=list)
    downloads: Mapping[str, Saved | AkoolError] = attrs.field(factory=dict)
    known: Mapping[str, Snapshot] = attrs.field(factory=dict)
    clock: VirtualClock = attrs.field(factory=lambda: VirtualClock(start=START))
    server_ahead: timedelta = timedelta()
    knows_server_time: bool = True
    endless: bool = False
    on_watch: Callable[[], object] = lambda: None
    on_post: Callable[[], object] = lambda: None
    turn: anyio.Event | None = None
    waiting: anyio.Event = attrs.field(factory=anyio.Event)
    answer: anyio.Event | None = None
    under_way: anyio.Event = attrs.field(factory=anyio.Event)
    posts: list[Request] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)
    ages: list[float | None] = attrs.field(factory=list)
    recorder: Recorder = attrs.field(factory=Recorder)
    observers: Observers = attrs.field(init=False)
    retry: RetryPolicy = STEADY
    create_timeout: float = 180.0
    schedule: FixedSchedule = attrs.field(factory=lambda: FixedSchedule(interval=10.0))

    def __attrs_post_init__(self) -> None:
        self.observers = Observers([self.recorder])

    @property
    def session(self) -> Seam:
        return self

    def server_now(self) -> datetime:
        return self.clock.now() + self.server_ahead

    async def wait_ready(self) -> None:
        self.waiting.set()
        if self.turn is not None:
            await self.turn.wait()
        if self.unready:
            raise self.unready.pop(0)

    async def submit_once(self, request: Request) -> Submission:
        self.posts.append(request)
        self.times.append(self.clock.monotonic())
        self.on_post()
        self.under_way.set()
        if self.answer is not None:
            await self.answer.wait()
        answer = self.answers[min(len(self.posts), len(self.answers)) - 1]
        self.clock.advance(POST_TAKES)
        if isinstance(answer, AkoolError):
            raise answer
        if len(self.posts) <= len(self.answers):
            return answer
        # One job belongs to one POST; that of an entry that is paid again ends like the one before.
        number, again = len(self.posts), all(one.key == request.key for one in self.posts)
        mark = "~" if again else "-"
        jobs = tuple(attrs.evolve(job, id=f"{job.id}{mark}{number}") for job in answer.accepted)
        return attrs.evolve(answer, accepted=jobs)

    def watch(self, job_id: str, listener: Listener, *, schedule: object, age: float | None) -> PolledJob:
        self.ages.append(age)
        self.on_watch()
        end = self.ends.get(job_id.partition("~")[0]) or ended(job_id)
        if isinstance(end, AkoolError):
            watch = PolledJob(state=PollState.begin(job_id, 0.0), schedule=self.schedule, error=end)
        else:
            watch = PolledJob(state=end, schedule=self.schedule)

        def end() -> None:
            self.clock.advance(JOB_TAKES)
            listener(watch)

        if not self.endless:
            asyncio.get_running_loop().call_soon(end)
        return watch

    def unwatch(self, job: PolledJob, listener: Listener) -> None:
        pass

    def reschedule(self) -> None:
        pass

    async def confirm(self, job_ids: Iterable[str]) -> dict[str, Snapshot | AkoolError]:
        return {job_id: self.known.get(job_id) or JobNotFoundError(f"No {job_id}.") for job_id in job_ids}

    async def status(self, job_id: str) -> Snapshot:
        if job_id not in self.known:
            raise JobNotFoundError(f"No {job_id}.")
        return self.known[job_id]

    async def download(self, request: Any) -> Saved:
        result = self.downloads[request.job_id]
        if isinstance(result, AkoolError):
            raise result
        return result


def ended(
    job_id: str, verdict: PollVerdict = PollVerdict.COMPLETED, snapshot: Snapshot | None = None, **facts: Any
) -> PollState:
    """Return the end of a job: completed, or as `verdict` says; with facts about its last answer."""
    if snapshot is None and verdict is not PollVerdict.NOT_FOUND:
        status = Status.FAILED if verdict is PollVerdict.FAILED else Status.COMPLETED
        url = "https://cdn.example/1.mp4" if verdict is PollVerdict.COMPLETED else ""
        snapshot = Snapshot(job_id=job_id, status=status, url=url, created_at=START, **facts)
    return attrs.evolve(PollState.begin(job_id, 0.0), verdict=verdict, snapshot=snapshot)


def made(*targets: str, cost: float | None = 4.0, **rest: Any) -> Submission:
    """Return the answer to a POST that made "job-ja" for "ja" and so on."""
    jobs = [
        Job(id=f"job-{target}", target=target, created_at=START, credits_locked=cost) for target in targets
    ]
    return Submission(accepted=tuple(jobs), **rest)


def video(number: int = 1, targets: str = "ja", **options: Any) -> TranslationRequest:
    return TranslationRequest(
        url=f"https://example.com/{number}.mp4", targets=targets, key=f"v{number}", **options
    )


@asynccontextmanager
async def opened(
    seam: Seam, *requests: Request, journal: Journal | None = None, **options: Any
) -> AsyncIterator[tuple[Batch, Journal]]:
    """Open a batch of a scripted vendor, with a journal in memory unless one is given."""
    own = open_journal(":memory:", now=seam.clock.now) if journal is None else nullcontext(journal)
    async with own as kept, open_batch(cast(AkoolClient, seam), requests, journal=kept, **options) as batch:
        yield batch, kept


async def run(seam: Seam, *requests: Request, **options: Any) -> list[Outcome]:
    """Return how the entries of a batch end."""
    async with opened(seam, *requests, **options) as (batch, _):
        return [outcome async for outcome in batch]
