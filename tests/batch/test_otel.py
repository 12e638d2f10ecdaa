"""Traces and metrics: by the SDK's own memory, and by a collector that two processes report to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from akool_async import open_batch, open_journal
from akool_async.otel import OpenTelemetryObserver
from akool_async.sandbox import FakeClock, Fault, Sandbox
from akool_async.testing import VirtualClock
from tests.batch.seam import video
from tests.threads import serve_in_thread

KEY = "otel-test-key-16"


async def test_spans_and_metrics_of_a_run(tmp_path: Path) -> None:
    spans, reader, clock = InMemorySpanExporter(), InMemoryMetricReader(), VirtualClock()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    observer = OpenTelemetryObserver(tracer_provider=tracers, meter_provider=meters)
    faults = [
        Fault(on="create", kind="reset_after", nth=2),
        Fault(on="create", kind="job_fails", nth=3),
        Fault(on="status", kind="http", status=503, nth=1),
        Fault(on="create", kind="code", code=1005, nth=4),
    ]
    sandbox = Sandbox(media=False, clock=clock.sandbox_time, median_seconds=7200, sigma=0, faults=faults)
    async with (
        sandbox.client(clock=clock, observers=[observer]) as client,
        open_journal(tmp_path / "jobs.sqlite3", now=clock.now) as journal,
        open_batch(
            client, map(video, range(1, 5)), journal=journal, download_to=tmp_path / "out", max_submits=1
        ) as batch,
    ):
        outcomes = [outcome async for outcome in batch]

    done = {span.name: [] for span in spans.get_finished_spans()}
    for span in spans.get_finished_spans():
        done[span.name].append(span)
    assert {name: len(found) for name, found in done.items()} == {
        "akool.submit": 5,
        "akool.job": 4,
        "akool.download": 2,
    }
    submits = {span.context.span_id: span for span in done["akool.submit"]}
    for span in done["akool.job"]:
        (link,) = span.links
        assert span.attributes["akool.key"] in submits[link.context.span_id].attributes["akool.keys"]
        assert span.context.trace_id != link.context.trace_id
        if span.attributes["akool.outcome"] == "Completed":
            assert 7200 <= (span.end_time - span.start_time) / 1e9 < 7500
        else:
            assert span.status.status_code is StatusCode.ERROR
    assert sorted(span.attributes["akool.outcome"] for span in done["akool.job"]) == sorted(
        type(outcome).__name__ for outcome in outcomes
    )
    assert all("example.com" not in span.to_json() for span in spans.get_finished_spans())
    found = reader.get_metrics_data()
    assert found is not None
    values: dict[str, Any] = {}
    for metric in found.resource_metrics[0].scope_metrics[0].metrics:
        points = metric.data.data_points
        values[metric.name] = sum(getattr(point, "value", getattr(point, "count", 0)) for point in points)
    assert values["akool.entries"] == 4
    assert values["akool.credits"] > 0
    assert values["akool.jobs.in_flight"] == 0
    assert values["akool.doubts"] == values["akool.rate_limits"] == 1
    assert values["akool.polls"] == sum(sandbox.audit.polled.values()) - 1  # one was repeated after a 503
    assert values["akool.retries"] == 1
    assert values["akool.job.duration"] == 4
    assert values["http.client.request.duration"] == sum(
        sandbox.audit.requests[name] for name in ("create", "status")
    )


@contextmanager
def collector() -> Iterator[tuple[str, list[Any], list[Any]]]:
    """An OTLP collector over HTTP, in this process."""
    spans: list[Any] = []
    metrics: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            else:
                for each in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    metrics.extend(metric for scope in each.scope_metrics for metric in scope.metrics)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with serve_in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url, spans, metrics


PROGRAM = """
import sys, anyio
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from akool_async import AkoolClient, FixedSchedule, TranslationRequest, open_batch, open_journal
from akool_async.otel import OpenTelemetryObserver

async def main():
    async with (
        AkoolClient(observers=[OpenTelemetryObserver()], schedule=FixedSchedule(interval=0.05)) as client,
        open_journal("jobs.sqlite3") as journal,
        open_batch(client, journal=journal, download_to="out") as batch,
    ):
        if sys.argv[1] == "first":
            with trace.get_tracer("theirs").start_as_current_span("order"):
                await batch.submit(TranslationRequest(url="https://example.com/1.mp4", targets="ja", key="k"))
            while journal.get("k", "ja").job_id == "":
                await anyio.sleep(0.005)
        else:
            print(type(await batch.outcome("k", "ja")).__name__)

tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(tracers)
meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
metrics.set_meter_provider(meters)
anyio.run(main)
tracers.shutdown()
meters.shutdown()
"""


@pytest.mark.thorough
async def test_a_collector_joins_the_spans_of_two_processes(tmp_path: Path) -> None:
    clock = FakeClock(time.time())
    sandbox = Sandbox(api_key=KEY, media=False, clock=clock)
    with collector() as (origin, spans, metrics):
        async with sandbox.serve() as server:
            environment = os.environ | {
                "AKOOL_API_KEY": KEY,
                "AKOOL_API_HOST": server.base_url,
                "OTEL_EXPORTER_OTLP_ENDPOINT": origin,
                "PYTHONPATH": str(Path(__file__).parents[2]),
            }

            async def program(name: str) -> str:
                done = await anyio.run_process(
                    [sys.executable, "-c", PROGRAM, name], cwd=tmp_path, env=environment, check=False
                )
                assert done.returncode == 0, done.stderr.decode()
                return done.stdout.decode().strip()

            await program("first")
            first = {span.name: span for span in spans}
            clock.advance(3600)
            assert await program("second") == "Completed"

    assert first.keys() == {"order", "akool.submit"}
    second = {span.name: span for span in spans[len(first) :]}
    assert second.keys() == {"akool.download", "akool.job"}
    (link,) = second["akool.job"].links
    assert link.trace_id == first["akool.submit"].trace_id
    assert link.span_id == first["akool.submit"].span_id
    assert second["akool.job"].start_time_unix_nano <= first["akool.submit"].end_time_unix_nano
    assert {"akool.entries", "akool.polls", "http.client.request.duration"} <= {each.name for each in metrics}
    assert all(b"example.com" not in span.SerializeToString() for span in spans)


async def test_spans_and_metrics_of_a_client_by_itself(tmp_path: Path) -> None:
    spans, reader, clock = InMemorySpanExporter(), InMemoryMetricReader(), VirtualClock()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    observer = OpenTelemetryObserver(tracer_provider=tracers, meter_provider=MeterProvider([reader]))
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    async with sandbox.client(clock=clock, observers=[observer]) as client:
        done = await client.translate(video(1))
        with tracers.get_tracer("handler").start_as_current_span("handler"):
            before = trace.get_current_span()
            async with anyio.create_task_group() as tasks:
                for folder in ("a", "b"):  # the same result at once
                    tasks.start_soon(partial(client.download, done.snapshot, into=tmp_path / folder))
            assert trace.get_current_span() is before

    found = {span.name: span for span in spans.get_finished_spans()}
    assert [span.name for span in spans.get_finished_spans()].count("akool.download") == 2
    assert all(span.status.status_code is StatusCode.UNSET for span in found.values())
    assert found["akool.download"].parent == found["handler"].context
    (link,) = found["akool.job"].links
    assert link.context.span_id == found["akool.submit"].context.span_id
    data = reader.get_metrics_data()
    assert data is not None
    names = {metric.name for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert {"akool.entries", "akool.credits", "akool.job.duration"} <= names
