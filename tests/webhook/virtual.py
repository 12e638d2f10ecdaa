"""Batches that hear callbacks, in one process and in virtual time, with a post that errs as it is told.

`python -m tests.webhook.virtual FIRST COUNT` runs seeds and says which one broke a rule.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import httpx
import trio

from akool_async import (
    AkoolClient,
    AkoolError,
    Completed,
    InDoubt,
    Outcome,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal import Journal
from akool_async._model.responses import Callback, CallbackListener
from akool_async.sandbox import Fault, Sandbox
from tests import virtual_time
from tests.batch.simulation import EPOCH, FAULTS, KEY, VirtualClock, check

URL = "https://me.example/akool"


@attrs.define(eq=False)
class Post:
    """Brings the sandbox's callbacks, as a receiver would, and some that it was not asked to.

    Attributes:
        loses, doubles, delays: the share of callbacks that this happens to.
        forges: callbacks with a right token and a wrong job, for each right one.
        every: seconds between two looks.
        stopped: whether nothing comes any more.
    """

    sandbox: Sandbox
    chance: random.Random = attrs.field(factory=lambda: random.Random(0))
    loses: float = 0.0
    doubles: float = 0.0
    delays: float = 0.0
    forges: float = 0.0
    every: float = 1.0
    stopped: bool = False
    came: list[Callback] = attrs.field(factory=list)
    listeners: list[CallbackListener] = attrs.field(factory=list)

    def subscribe(self, listener: CallbackListener) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        return tuple(callback for callback in self.came if callback.token == token)

    def tell(self, callback: Callback) -> None:
        self.came.append(callback)
        for listener in tuple(self.listeners):
            listener.on_callback(callback)

    async def deliver(self) -> None:
        """Look now and then what has happened to jobs, and bring word of it."""
        async with anyio.create_task_group() as tasks:
            while True:
                for change in self.sandbox.engine.take_events():
                    token = change.job.spec.webhook_url.rpartition("/")[2]
                    right = Callback(job_id=change.job.id, token=token, status=change.status)
                    for callback in self._spoiled(right):
                        wait = self.chance.expovariate(1 / 40) if self.chance.random() < self.delays else 0.0
                        tasks.start_soon(self._bring, callback, wait)
                await anyio.sleep(self.every)

    def _spoiled(self, right: Callback) -> list[Callback]:
        if self.stopped or self.chance.random() < self.loses:
            return []
        brought = [right] * (1 + (self.chance.random() < self.doubles))
        if self.chance.random() < self.forges:
            brought.insert(self.chance.randint(0, 1), attrs.evolve(right, job_id=self._wrong()))
        return brought

    def _wrong(self) -> str:
        """Give a job that is nobody's, or one whose own POST was answered."""
        answered = [
            job_id
            for create in self.sandbox.audit.creates
            for job_id in create.job_ids
            if not create.faults and create.code == 1000
        ]
        return self.chance.choice([*answered, f"{self.chance.randrange(16**24):024x}"])

    async def _bring(self, callback: Callback, wait: float) -> None:
        await anyio.sleep(wait)
        self.tell(callback)


def simulate(seed: int) -> int:
    """Run one seed; give how many doubts were cleared up.

    Raises:
        AssertionError: a rule was broken.
    """
    return virtual_time.run(_simulate, seed, seed=seed)


async def _simulate(seed: int) -> int:
    chance, clock = random.Random(seed), VirtualClock(seed)
    sandbox = Sandbox(
        api_key=KEY,
        media=False,
        seed=seed,
        max_jobs=chance.randint(1, 8),
        failure_rate=chance.choice([0.0, 0.2]),
        clock=lambda: EPOCH.timestamp() + trio.current_time(),
    )
    chosen = [fault for fault in FAULTS if fault["kind"] not in ("extra_language", "no_all_results")]
    for fault in chance.sample(chosen, chance.randint(0, 5)):
        sandbox.faults.add(Fault(**fault, probability=chance.choice([0.1, 0.4]), limit=chance.randint(1, 8)))
    sandbox.faults.add(Fault(on="create", kind="reset_after", probability=0.4))
    post = Post(
        sandbox,
        chance=random.Random(seed),
        **{how: chance.choice([0.0, 0.3]) for how in ("loses", "doubles", "delays", "forges")},
    )
    wanted = [
        TranslationRequest(
            url=f"https://example.com/{number}.mp4",
            targets=chance.sample(["ja", "fr", "hi"], chance.randint(1, 3)),
            source_language="en",
        )
        for number in range(chance.randint(1, 6))
    ]
    runs: list[list[Outcome]] = []
    cleared = 0
    async with _opened(sandbox, clock) as (client, journal):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post.deliver)
            for last in (False, False, True):
                patience = None if last else chance.choice([None, 3.0, 30.0, 200.0])
                outcomes, resolved = await _run(client, wanted, journal, post, chance, patience)
                runs.append(outcomes)
                cleared += resolved
            tasks.cancel_scope.cancel()
        await check(sandbox, journal, wanted, runs, cleared_later=True)
        await _check_owners(sandbox, journal)
    return cleared


@asynccontextmanager
async def _opened(
    sandbox: Sandbox, clock: VirtualClock, **options: Any
) -> AsyncIterator[tuple[AkoolClient, Journal]]:
    http = httpx.AsyncClient(transport=sandbox.http_transport(), trust_env=False)
    async with (
        http,
        open_journal(":memory:", now=clock.now) as journal,
        AkoolClient(
            api_key=KEY, host="http://127.0.0.1:1", http_client=http, clock=clock, **options
        ) as client,
    ):
        yield client, journal


async def _run(
    client: AkoolClient,
    wanted: list[TranslationRequest],
    journal: Journal,
    post: Post,
    chance: random.Random,
    patience: float | None,
) -> tuple[list[Outcome], int]:
    """Run the catalog once, or leave in the middle."""
    outcomes: list[Outcome] = []
    grace = chance.choice([0.0, 10.0, 300.0])
    batch = open_batch(
        client,
        wanted,
        max_in_flight=chance.randint(1, 5),
        journal=journal,
        callbacks=post,
        webhook_url=URL,
        webhook_grace=grace,
    )
    with anyio.move_on_after(patience):
        try:
            async with batch:
                async for outcome in batch:
                    outcomes.append(outcome)
        except AkoolError:
            pass  # what stopped the batch; its entries are checked all the same
    return outcomes, batch.statistics().doubts_resolved


async def _check_owners(sandbox: Sandbox, journal: Journal) -> None:
    """No entry has a job that was made for another."""
    made = {job.id: (job.url, job.language) for job in sandbox.audit.jobs}
    owned = [entry async for entry in journal.entries() if entry.job_id]
    assert all(made[entry.job_id] == (entry.request.url, entry.target) for entry in owned), "a wrong job"
    assert len({entry.job_id for entry in owned}) == len(owned), "a job of two entries"


@attrs.frozen
class Measured:
    """What a batch cost and how soon it saw its jobs end, in virtual seconds."""

    polls: float
    lags: tuple[float, ...]
    doubts: int

    @property
    def lag(self) -> float:
        return statistics.mean(self.lags)


def measure(jobs: int, *, stops_after: float | None = None, seed: int = 1, **options: Any) -> Measured:
    """Run a catalog with a post that errs as `options` say; `stops_after` seconds it brings nothing more."""
    return virtual_time.run(_measure, jobs, stops_after, seed, options, seed=seed)


async def _measure(jobs: int, stops_after: float | None, seed: int, options: dict[str, Any]) -> Measured:
    clock = VirtualClock(seed)
    sandbox = Sandbox(
        api_key=KEY,
        media=False,
        seed=seed,
        max_jobs=10,
        clock=lambda: EPOCH.timestamp() + trio.current_time(),
    )
    post = Post(sandbox, chance=random.Random(seed), every=0.1, **options)
    wanted = (TranslationRequest(url=f"https://example.com/{n}.mp4", targets="ja") for n in range(jobs))
    seen: dict[str, float] = {}
    doubts = 0

    async def stop() -> None:
        await anyio.sleep(stops_after or 0.0)
        post.stopped = True

    async with _opened(sandbox, clock) as (client, journal), anyio.create_task_group() as tasks:
        tasks.start_soon(post.deliver)
        if stops_after is not None:
            tasks.start_soon(stop)
        async with open_batch(
            client, wanted, max_in_flight=10, journal=journal, callbacks=post, webhook_url=URL
        ) as batch:
            async for outcome in batch:
                doubts += isinstance(outcome, InDoubt)
                if (
                    isinstance(outcome, Completed)
                    and outcome.ended_at is not None
                    and outcome.job is not None
                ):
                    seen[outcome.job.id] = outcome.ended_at.timestamp()
        tasks.cancel_scope.cancel()
    lags = tuple(seen[job.id] - job.ended for job in sandbox.audit.jobs if job.id in seen)
    return Measured(sum(sandbox.audit.polled.values()) / jobs, lags, doubts)


def main(first: int, count: int) -> int:
    """Run seeds; give 1 if one of them broke a rule."""
    cleared = 0
    for seed in range(first, first + count):
        try:
            cleared += simulate(seed)
        except BaseException:
            print(f"seed {seed} broke a rule", file=sys.stderr)
            raise
    print(f"{count} seeds from {first}: no rule broken, {cleared} doubts cleared up")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
