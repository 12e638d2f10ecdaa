"""A whole batch against the sandbox's engine, in one process, in virtual time, with seeded faults.

`python -m tests.batch.simulation FIRST COUNT` runs seeds and says which one broke a rule.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple
from unittest import mock

import anyio
import httpx
import trio

from akool_async import (
    AkoolClient,
    AkoolError,
    BackoffSchedule,
    Completed,
    Failed,
    FixedSchedule,
    InDoubt,
    LearnedSchedule,
    NotSubmitted,
    Outcome,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._batch import saving as naming
from akool_async._download import fetch as disk
from akool_async._journal import Journal
from akool_async.sandbox import Fault, Sandbox
from tests import virtual_time
from tests.batch.whole import check_files

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

KEY = "canary-4f9c1b7e2a"
PLENTY = 1000.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULES = (
    lambda: LearnedSchedule(lag=15.0),
    lambda: BackoffSchedule(initial_delay=5.0, max_delay=60.0),
    lambda: FixedSchedule(interval=20.0),
)
"""Schedules that ask seldom: here it is what happens that counts, not how soon it is seen."""

FAULTS = [
    *[{"on": "create", "kind": do} for do in ("reset_before", "reset_after", "html", "empty", "wrong_type")],
    *[{"on": "create", "kind": "http", "status": code, "acted": True} for code in (500, 503, 504)],
    {"on": "create", "kind": "http", "status": 429, "retry_after": 7},
    {"on": "create", "kind": "truncated", "keep": 0.9},
    {"on": "create", "kind": "truncated", "keep": 0.1},
    {"on": "create", "kind": "hang", "acted": True},
    {"on": "create", "kind": "redirect"},
    *[{"on": "create", "kind": "code", "code": code} for code in (1003, 1005, 1015, 1104, 1200, 1202, 4711)],
    {"on": "create", "kind": "refuse_language", "language": "fr", "code": 1005},
    {"on": "create", "kind": "refuse_language", "language": "ja", "code": 1203},
    {"on": "create", "kind": "omit_language", "language": "fr"},
    {"on": "create", "kind": "extra_language"},
    {"on": "create", "kind": "no_all_results"},
    *[{"on": "create", "kind": "http_with_answer", "acted": acted} for acted in (True, False)],
    {"on": "create", "kind": "code_with_answer"},
    *[{"on": "create", "kind": "cut_after_id", "value": value} for value in (1, 9)],
    *[{"on": "create", "kind": "odd_id", "value": form} for form in ("oid", "number")],
    *[{"on": "create", "kind": "odd_price", "value": price} for price in (None, "NaN", -4)],
    *[{"on": "create", "kind": "odd_time", "value": form} for form in ("seconds", "text", "missing")],
    {"on": "create", "kind": "job_fails"},
    *[{"on": "*", "kind": "wrong_date", "value": days} for days in (30, -30, None)],
    *[{"on": "status", "kind": do} for do in ("odd_id", "odd_price", "odd_time")],
    *[{"on": "status", "kind": do} for do in ("reset_after", "html", "empty", "vanish", "hang")],
    {"on": "status", "kind": "done_without_url"},
    {"on": "status", "kind": "http", "status": 503},
    {"on": "status", "kind": "code", "code": 1005},
    {"on": "status", "kind": "unknown_status", "value": None},
    {"on": "status", "kind": "unknown_status", "value": 9},
    {"on": "status", "kind": "stuck"},
]

FILE_FAULTS = [
    *[
        {"on": "cdn", "kind": do}
        for do in ("reset_before", "reset_mid", "short", "truncated", "html", "empty")
    ],
    *[{"on": "cdn", "kind": do} for do in ("no_length", "wrong_range", "weak_etag", "changed_etag", "hang")],
    {"on": "cdn", "kind": "http", "status": 403},
    {"on": "cdn", "kind": "http", "status": 404},
    {"on": "cdn", "kind": "http", "status": 503, "retry_after": 40},
    {"on": "cdn", "kind": "redirect"},
    {"on": "status", "kind": "url_forbidden"},
]


class VirtualClock:
    """Virtual time for the client; chance comes from the seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def monotonic(self) -> float:
        return anyio.current_time()

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=anyio.current_time())

    def random(self) -> float:
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(seconds, 0.0))


def simulate(seed: int) -> None:
    """Run one seed.

    Raises:
        AssertionError: a rule was broken.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(disk, "run_sync", _at_once),
        mock.patch.object(naming, "run_sync", _at_once),
        mock.patch.object(os, "fsync"),
    ):
        virtual_time.run(_simulate, seed, Path(folder), seed=seed)


async def _at_once(work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Do without a thread what would block: virtual time does not wait for threads."""
    await anyio.lowlevel.checkpoint_if_cancelled()
    result = work(*arguments)
    await anyio.lowlevel.cancel_shielded_checkpoint()
    return result


async def _simulate(seed: int, folder: Path) -> None:
    chance = random.Random(seed)
    out = folder / "out" if chance.random() < 0.25 else None
    clock = VirtualClock(seed)
    sandbox = Sandbox(
        api_key=KEY,
        media=False,
        seed=seed,
        max_jobs=chance.randint(1, 6),
        failure_rate=chance.choice([0.0, 0.2]),
        credits=chance.choice([30.0, PLENTY, PLENTY]),
        progress=chance.choice(["linear", "stall", "coarse", "front", "liar", "none"]),
        api_version=chance.choice(["current", "current", "legacy"]),
        clock=lambda: EPOCH.timestamp() + trio.current_time(),
    )
    chosen = chance.sample(FAULTS, chance.randint(0, 6))
    if out is not None:
        chosen += chance.sample(FILE_FAULTS, chance.randint(0, 5))
    chosen = _detectable(chosen, sandbox)
    for fault in chosen:
        sandbox.faults.add(Fault(**fault, probability=chance.choice([0.1, 0.4]), limit=chance.randint(1, 8)))
    wanted = [
        TranslationRequest(
            url=f"https://example.com/{number}.mp4",
            targets=chance.sample(["ja", "fr", "hi", "de"], chance.randint(1, 3)),
            source_language="en",
        )
        for number in range(chance.randint(1, 6))
    ]
    http = httpx.AsyncClient(transport=sandbox.http_transport(), trust_env=False)
    host = "http://127.0.0.1:1"
    schedule = chance.choice(SCHEDULES)()
    runs: list[list[Outcome]] = []
    async with (
        http,
        open_journal(":memory:", now=clock.now) as journal,
        AkoolClient(api_key=KEY, host=host, http_client=http, clock=clock, schedule=schedule) as client,
    ):
        client.session.opened.downloads._transport = sandbox.http_transport()
        for last in (False, True):
            patience = None if last else chance.choice([None, 5.0, 100.0, 300.0])
            runs.append(await _run(client, wanted, journal, chance, patience, out))
            if out is not None:
                check_files(sandbox, out)
        await check(sandbox, journal, wanted, runs, out)


def _detectable(faults: list[dict[str, Any]], sandbox: Sandbox) -> list[dict[str, Any]]:
    """Leave out faults that together hide what was made from any client."""
    kinds = {fault["kind"] for fault in faults}
    hidden = set()
    if sandbox.settings.legacy or kinds & {"truncated", "cut_after_id", "no_all_results", "omit_language"}:
        hidden.add("extra_language")  # it may stand in the place of what was asked for
    one_answer = sandbox.settings.legacy or "no_all_results" in kinds
    refused = kinds & {"refuse_language", "code_with_answer"} or sandbox.settings.credits < PLENTY
    if one_answer and refused:
        hidden.add("omit_language")  # the one answer is a refusal, and names no job of this language
    if {"truncated", "changed_etag"} <= {fault["kind"] for fault in faults if fault["on"] == "cdn"}:
        hidden.add("changed_etag")  # of two versions the host may say that the same few bytes are all
    return [fault for fault in faults if fault["kind"] not in hidden]


async def _run(
    client: AkoolClient,
    wanted: list[TranslationRequest],
    journal: Journal,
    chance: random.Random,
    patience: float | None,
    out: Path | None = None,
) -> list[Outcome]:
    """Run the catalog once, or leave in the middle."""
    outcomes: list[Outcome] = []
    with anyio.move_on_after(patience):
        try:
            most = chance.randint(1, 5)
            options = {"max_in_flight": most, "journal": journal, "download_to": out}
            async with open_batch(client, wanted, **options) as batch:
                async for outcome in batch:
                    outcomes.append(outcome)
                seen = batch.statistics()
                assert (seen.in_flight, seen.waiting) == (0, 0), f"something is held after the end: {seen}"
        except AkoolError:
            pass  # what stopped the batch; its entries are checked all the same
    return outcomes


async def check(
    sandbox: Sandbox,
    journal: Journal,
    wanted: list[TranslationRequest],
    runs: list[list[Outcome]],
    out: Path | None = None,
    *,
    cleared_later: bool = False,
) -> None:
    """Compare the sandbox's truth, the journal and what the caller was given.

    With `cleared_later` a doubt may have been cleared up after it was handed out.
    """
    cleared = {State.SUBMITTED} if cleared_later else set()
    entries = {(entry.request.url, entry.target): entry async for entry in journal.entries()}
    asked = {(request.url, target) for request in wanted for target in request.targets}
    known = {entry.job_id for entry in entries.values() if entry.job_id}
    torn = {job_id for entry in entries.values() for job_id in entry.doubt_ids}
    wished = {
        job_id: create.payload["language"].split(",")
        for create in sandbox.audit.creates
        if create.payload is not None
        for job_id in create.job_ids
    }
    made = [job for job in sandbox.audit.jobs if job.language in wished.get(job.id, ())]

    twice = [group for group in sandbox.audit.paid_twice() if (group[0].url, group[0].language) in asked]
    assert not twice, f"an entry was paid twice: {twice}"
    for job in made:
        entry = entries[job.url, job.language]
        safe = job.id in known or job.id in torn or entry.state is State.IN_DOUBT
        assert safe, f"job {job.id} is paid and lost: {entry}"
    assert all(entry.state is not State.SUBMITTING for entry in entries.values()), "an intent was left behind"
    for outcomes in runs:
        given = Counter((outcome.request.url, outcome.target) for outcome in outcomes)
        assert all(count == 1 for count in given.values()), "an entry ended twice in one run"
    fresh = Counter(
        outcome.job.id
        for outcomes in runs
        for outcome in outcomes
        if isinstance(outcome, Completed) and not outcome.resumed and (outcome.saved or out is None)
    )
    assert all(count == 1 for count in fresh.values()), "a job was delivered twice"
    delivered = {entry.job_id for entry in entries.values() if entry.state is State.DELIVERED}
    assert set(fresh) <= delivered, "a job was given to the caller and not recorded so"
    for outcome in runs[-1]:
        entry = entries.get((outcome.request.url, outcome.target))
        if isinstance(outcome, InDoubt):
            assert entry is not None
            assert entry.state in {State.IN_DOUBT, *cleared}
        if isinstance(outcome, NotSubmitted):
            assert entry is None or entry.state is State.PLANNED
    if len(runs[-1]) == len(asked):
        ended = {State.DELIVERED, State.FAILED, State.IN_DOUBT, State.PLANNED, State.EXPIRED, *cleared}
        if out is not None:
            ended.add(State.COMPLETED)  # its result could not be had; the next run tries again
        if any(isinstance(outcome, Failed) and not outcome.confirmed for outcome in runs[-1]):
            ended.add(State.SUBMITTED)  # the vendor did not know it; the next run asks again
        assert {entry.state for entry in entries.values()} <= ended, "all was told, and something still runs"


def cut(steps: int) -> None:
    """Run a small catalog that is cancelled after so many turns of the event loop, then run it again.

    Raises:
        AssertionError: a rule was broken.
    """
    virtual_time.run(_cut, steps, seed=steps)


async def _cut(steps: int) -> None:
    clock = VirtualClock(steps)
    sandbox = Sandbox(api_key=KEY, media=False, clock=lambda: EPOCH.timestamp() + trio.current_time())
    wanted = [
        TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja,fr") for number in range(3)
    ]
    http = httpx.AsyncClient(transport=sandbox.http_transport(), trust_env=False)
    first: list[Outcome] = []

    async def run(client: AkoolClient, journal: Journal) -> None:
        async with open_batch(client, wanted, max_in_flight=3, journal=journal) as batch:
            async for outcome in batch:
                first.append(outcome)

    async with (
        http,
        open_journal(":memory:", now=clock.now) as journal,
        AkoolClient(
            api_key=KEY,
            host="http://127.0.0.1:1",
            http_client=http,
            clock=clock,
            schedule=FixedSchedule(interval=30),
        ) as client,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, client, journal)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        again = await _run(client, wanted, journal, random.Random(steps), None)
        await check(sandbox, journal, wanted, [first, again])
        assert len(again) == len(sandbox.audit.jobs) == 6


def _judge(seed: int) -> str:
    """Run one seed; say how it broke a rule, or ""."""
    logging.disable(logging.CRITICAL)
    try:
        simulate(seed)
    except BaseException:
        return f"seed {seed} broke a rule\n{traceback.format_exc()}"
    return ""


def main(first: int, count: int) -> int:
    """Run seeds on all cores; give 1 if one of them broke a rule."""
    os.environ["PYTHONHASHSEED"] = "0"  # where they run: sets have one order, a seed one walk
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        broken = [told for told in pool.map(_judge, range(first, first + count), chunksize=20) if told]
    print("\n".join(broken) or f"{count} seeds from {first}: no rule broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
