"""What a batch reports: to the log, and to observers that may be broken."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import prometheus_client
import pytest
import structlog

import akool_async._model.events
from akool_async import (
    CallEvent,
    Completed,
    Event,
    InDoubt,
    Observer,
    SubmissionInDoubt,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._observer import Observers
from akool_async.sandbox import Fault, Sandbox
from akool_async.testing import VirtualClock
from tests.batch import seam
from tests.conftest import CANARY
from tests.recorder import Recorder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "observing.md"
SIGNED = f"https://example.com/1.mp4?X-Amz-Signature={CANARY}"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


class Broken(Observer):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def on_event(self, event: Event) -> None:
        raise self.error(event.name)

    def traceparent(self) -> str:
        raise self.error


def video(number: int, **options: Any) -> TranslationRequest:
    return TranslationRequest(
        **{"url": f"https://example.com/{number}.mp4", "targets": "ja", "key": f"v{number}"} | options
    )


async def run(
    tmp_path: Path, requests: list[TranslationRequest], *observers: Observer, **options: Any
) -> Any:
    clock = VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time, **options)
    async with (
        sandbox.client(clock=clock, observers=observers) as client,
        open_journal(tmp_path / "jobs.sqlite3") as journal,
        open_batch(client, requests, journal=journal, download_to=tmp_path / "out", max_submits=1) as batch,
    ):
        return sandbox, [outcome async for outcome in batch]


async def test_the_log_of_a_run_with_one_503_and_one_doubt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "akool_async")
    faults = [
        Fault(on="create", kind="reset_after", nth=2),
        Fault(on="status", kind="http", status=503, nth=1),
    ]
    sandbox, _ = await run(tmp_path, [video(1, url=SIGNED), video(2)], faults=faults)

    logged = [record for record in caplog.records if record.name == "akool_async"]
    info = [record.getMessage() for record in logged if record.levelno == logging.INFO]
    job = sandbox.audit.jobs[0].id
    for line in (
        f"Submitted v1 (ja): job {job}.",
        f"Job {job} of v1 (ja) is completed.",
        f"The result of v1 (ja) is saved in {tmp_path / 'out'}",
        "v2 (ja) is in doubt: A paid call was sent and its answer is not known.",
    ):
        assert sum(each.startswith(line) for each in info) == 1, info
    assert len(info) == 4
    debug = [record.getMessage() for record in logged if record.levelno == logging.DEBUG]
    api = "/api/open/v3/content/video"
    create, status = f"{api}/createbytranslate", f"{api}/infobymodelid"
    assert sum(each.startswith(f"POST {create}: ") for each in debug) == 2
    assert sum(each.startswith(f"GET {status}: HTTP 503, code None, attempt 1, ") for each in debug) == 1
    assert len(debug) == 2 + sum(sandbox.audit.polled.values())
    assert any(each.startswith(f"GET {status}: HTTP 200, code 1000, attempt 2, ") for each in debug)
    assert CANARY not in caplog.text


async def test_an_observer_sees_every_step(tmp_path: Path) -> None:
    seen = Recorder()
    faults = [
        Fault(on="create", kind="reset_after", nth=2),
        Fault(on="create", kind="code", code=1005, nth=3),
        Fault(on="status", kind="http", status=503, nth=1),
        Fault(on="create", kind="code", code=1104, nth=5),
    ]
    requests = [video(number, url=SIGNED.replace("1.mp4", f"{number}.mp4")) for number in range(1, 6)]
    sandbox, outcomes = await run(tmp_path, requests, seen, faults=faults)

    job = sandbox.audit.jobs[0].id
    story = [event.name for event in seen.events if getattr(event, "job_id", "") == job]
    order = list(dict.fromkeys(story))
    steps = "submitted followed polled terminal download_started download_ended saved outcome"
    assert order == steps.split()
    assert [story.count(name) for name in order if name != "polled"] == [1] * 7
    (doubt,) = seen.named("in_doubt")
    assert (doubt.key, doubt.target, doubt.job_id) == ("v2", "ja", "")
    assert len(seen.named("rate_limited")) == 1
    (retry,) = seen.named("retried")
    assert retry.wait > 0
    (stopped,) = seen.named("stopped")
    assert stopped.cause == "credits"
    assert {event.entries[0][0] for event in seen.named("post_started")} == {"v1", "v2", "v3", "v4"}
    assert len(seen.named("post_started")) == len(seen.named("post_ended"))
    assert len(seen.named("outcome")) == len(outcomes) == 5
    for event in seen.events:
        told = f"{event} {event.fields()}"
        assert CANARY not in told
        assert "example.com" not in told


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
async def test_a_broken_observer_changes_nothing_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    after = Recorder()
    _, outcomes = await run(tmp_path, [video(number) for number in range(3)], Broken(error), after)

    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert len(after.named("saved")) == 3
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [
        "The observer Broken failed; it is still called, and this is logged once."
    ]


@pytest.mark.parametrize("event", ["call", "post_ended", "submitted", "in_doubt"])
def test_an_observer_that_ends_the_program_loses_no_id_of_an_answer(tmp_path: Path, event: str) -> None:
    class Ending(Observer):
        def on_event(self, seen: Event) -> None:
            if seen.name == event:
                raise SystemExit(3)

    async def submit() -> None:
        cut = SubmissionInDoubt("Cut.", targets=("ja",), job_ids_by_target={"ja": "job-ja"})
        script = seam.Seam([cut if event == "in_doubt" else seam.made("ja")])
        script.observers = Observers([Ending()])
        call = CallEvent(
            origin="", method="POST", path="", result="", http_status=200, attempt=1, seconds=0.1
        )
        script.on_post = partial(script.observers.report, call)
        async with (
            open_journal(tmp_path / "jobs.sqlite3") as journal,
            seam.opened(script, video(1), journal=journal) as (batch, _),
        ):
            await anext(batch)

    with pytest.raises(SystemExit):
        anyio.run(submit)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as shell:
        (row,) = shell.execute("SELECT state, job_id, doubt_ids FROM entry")
    assert row[0] == ("in_doubt" if event == "in_doubt" else "submitted")
    assert "job-ja" in f"{row[1:]}"


class _Traced(Observer):
    def __init__(self, found: object) -> None:
        self.found = found

    def traceparent(self) -> str:
        return self.found  # type: ignore[return-value]


def _refuse(record: logging.LogRecord) -> bool:
    raise KeyError("a filter of the caller's")


@pytest.mark.parametrize(
    "broken",
    [*map(_Traced, (5, b"x", {"a": 1}, "\ud800")), _refuse],
    ids=["number", "bytes", "object", "surrogate", "filter"],
)
async def test_what_looks_on_loses_no_paid_job_however_it_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], broken: Any
) -> None:
    log, is_filter = logging.getLogger("akool_async"), broken is _refuse
    caplog.set_level(CallEvent.level, log.name)
    if is_filter:
        log.addFilter(_refuse)
    try:
        with anyio.fail_after(55):
            sandbox, outcomes = await run(tmp_path, [video(1)], *([] if is_filter else [broken]))
    finally:
        log.removeFilter(_refuse)

    assert len(sandbox.audit.jobs) == 1
    assert [type(outcome) for outcome in outcomes] == [Completed]
    said = capfd.readouterr().err if is_filter else caplog.text
    assert ("a filter of the caller's" if is_filter else type(broken).__name__) in said


async def test_without_an_observer_frequent_events_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for name in ("CallEvent", "PollEvent", "OutcomeEvent", "FollowedEvent", "PostStartedEvent"):
        for module in ("_http.session", "_polling.scheduler", "_batch.state", "_observer"):
            with_it = __import__(f"akool_async.{module}", fromlist=["x"])
            if hasattr(with_it, name):
                monkeypatch.setattr(with_it, name, lambda name=name, **_: made.append(name))
    monkeypatch.setattr(logging.getLogger("akool_async"), "level", logging.INFO)
    await run(tmp_path, [video(1)])

    assert made == []


async def test_a_client_by_itself_reports_too(tmp_path: Path) -> None:
    seen, clock = Recorder(), VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    async with sandbox.client(clock=clock, observers=[seen]) as client:
        done = await client.translate(video(1))

    (submitted,) = seen.named("submitted")
    assert (submitted.key, submitted.target, submitted.job_id) == ("v1", "ja", done.job.id)
    assert len(seen.named("polled")) == sandbox.audit.polled[done.job.id]


async def test_the_trace_is_in_the_journal_before_the_post_and_survives_a_restart(tmp_path: Path) -> None:
    class Tracing(Recorder):
        def traceparent(self) -> str:
            return f"00-{len(self.events):032x}-00f067aa0ba902b7-01"

    first, second, clock = Tracing(), Recorder(), VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    async with (
        sandbox.client(clock=clock, observers=[first]) as client,
        open_journal(tmp_path / "jobs.sqlite3") as journal,
        open_batch(client, [video(1)], journal=journal),
    ):
        while not first.named("submitted"):
            await anyio.sleep(0.001)
    async with open_journal(tmp_path / "jobs.sqlite3", read_only=True) as journal:
        entry = journal.get("v1", "ja")
        assert entry is not None
        assert entry.traceparent.startswith("00-")
    async with (
        sandbox.client(clock=clock, observers=[second]) as client,
        open_journal(tmp_path / "jobs.sqlite3") as journal,
        open_batch(client, [video(1)], journal=journal) as batch,
    ):
        (outcome,) = [outcome async for outcome in batch]

    assert not isinstance(outcome, InDoubt)
    (ended,) = second.named("outcome")
    assert ended.traceparent == entry.traceparent


@pytest.mark.skipif(not PAGE.exists(), reason="only where the documentation is")
async def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        if "AkoolClient(" not in code:
            exec(compile(code, "example", "exec", dont_inherit=True), names)
    registry = prometheus_client.REGISTRY
    try:
        with structlog.testing.capture_logs() as logged:
            faults = [Fault(on="create", kind="reset_after", nth=2)]
            observers = names["StructlogObserver"](), names["PrometheusObserver"]()
            await run(tmp_path, [video(1), video(2)], *observers, faults=faults)
        doubts = registry.get_sample_value("akool_doubts_total")
        in_flight = registry.get_sample_value("akool_jobs_in_flight")
        completed = registry.get_sample_value("akool_entries_total", {"outcome": "Completed"})
    finally:
        for name in ("ENTRIES", "CREDITS", "DOUBTS", "IN_FLIGHT", "DURATION"):
            registry.unregister(names[name])

    assert [line["event"] for line in logged if line["key"] == "v1"] == ["submitted", "terminal", "saved"]
    assert [line["event"] for line in logged if line["key"] == "v2"] == ["in_doubt"]
    assert (doubts, in_flight) == (1, 0)
    assert completed == 1


@pytest.mark.skipif(not PAGE.exists(), reason="only where the documentation is")
async def test_every_event_is_in_the_documentation() -> None:
    page = PAGE.read_text(encoding="utf-8")
    events = [value for value in vars(akool_async._model.events).values() if isinstance(value, type)]
    names = {each.name for each in events if issubclass(each, Event)} - {""}

    assert len(names) == 15
    assert {name for name in names if f"`{name}`" not in page} == set()
