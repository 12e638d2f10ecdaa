"""Traces and metrics for OpenTelemetry; extra `otel`.

A job takes minutes or hours and may outlast the process, so no span stays open for it: what happens now, the
paid POST and the download, has live spans; a job's span is made when its entry has ended, with the job's own
times and a link to the span of its POST, which the journal remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from akool_async._environment import needs_extra
from akool_async._model.events import (
    CallEvent,
    DoubtEvent,
    DownloadEndedEvent,
    DownloadStartedEvent,
    Event,
    FollowedEvent,
    OutcomeEvent,
    PollEvent,
    PostEndedEvent,
    PostStartedEvent,
    RateLimitEvent,
    RetryEvent,
    TerminalEvent,
)
from akool_async._observer import Observer

with needs_extra("otel", "Traces and metrics"):
    from opentelemetry import context, metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = ["OpenTelemetryObserver"]
_NAME: Final = "akool_async"
_W3C: Final = TraceContextTextMapPropagator()


class OpenTelemetryObserver(Observer):
    """Reports to OpenTelemetry; give it as `AkoolClient(observers=[OpenTelemetryObserver()])`.

    Spans: `akool.submit` for each paid POST and `akool.download` for each result, both live, and parents of
    what an instrumentation of HTTP clients adds; `akool.job` for each entry that ended, from its POST to its
    end, with a link to the `akool.submit` of its POST, also where another process sent it. Attributes are
    key, language, job id, outcome and credits; never a URL of a video. `AkoolClient.translate` counts as an
    entry, like one of a batch.

    Metrics: `akool.entries` (by outcome), `akool.credits`, `akool.job.duration`, `akool.polls`,
    `akool.jobs.in_flight`, `akool.doubts`, `akool.retries`, `akool.rate_limits`, and
    `http.client.request.duration` by the semantic conventions of HTTP.

    Args:
        tracer_provider: default is the global one.
        meter_provider: default is the global one.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        """Make the instruments."""
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._entries = meter.create_counter("akool.entries", "{entry}", "Entries that ended, by outcome.")
        self._credits = meter.create_counter("akool.credits", "{credit}", "Credits of entries that ended.")
        self._durations = meter.create_histogram("akool.job.duration", "s", "From the paid POST to the end.")
        self._polls = meter.create_counter("akool.polls", "{poll}", "Polls of jobs.")
        self._in_flight = meter.create_up_down_counter("akool.jobs.in_flight", "{job}", "Jobs of batches.")
        self._doubts = meter.create_counter("akool.doubts", "{entry}", "Paid POSTs without a clear answer.")
        self._retries = meter.create_counter("akool.retries", "{call}", "Calls that were sent again.")
        self._rate_limits = meter.create_counter("akool.rate_limits", "{answer}", "Calls come too often.")
        self._calls = meter.create_histogram(
            "http.client.request.duration", "s", "Duration of HTTP client requests."
        )
        # Of the task, because tasks may send or download the same at once; and of this observer, because
        # another one may report to another provider.
        self._live: ContextVar[tuple[tuple[Span, Token[Context]], ...]] = ContextVar("_live", default=())
        self._followed: set[str] = set()
        self._handlers: Mapping[type[Event], Callable[[Any], None]] = {
            CallEvent: self._call,
            RetryEvent: lambda event: self._retries.add(1, {"url.template": event.path}),
            RateLimitEvent: lambda event: self._rate_limits.add(1, {"url.template": event.path}),
            PollEvent: lambda event: self._polls.add(1, {"error": bool(event.error)}),
            PostStartedEvent: self._start_post,
            PostEndedEvent: lambda event: self._end(event.error, {"akool.job_ids": event.job_ids}),
            FollowedEvent: self._follow,
            TerminalEvent: self._leave,
            DownloadStartedEvent: lambda event: self._start("akool.download", _names(event)),
            DownloadEndedEvent: lambda event: self._end(event.error),
            DoubtEvent: lambda _: self._doubts.add(1),
            OutcomeEvent: self._end_entry,
        }

    def on_event(self, event: Event) -> None:
        """Make spans and measurements of an event."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def traceparent(self) -> str:
        """Return the trace that is current: that of the POST's `akool.submit`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent", "")

    # Live spans: current while their step runs, in the task that runs it.

    def _start(self, name: str, attributes: Mapping[str, Any]) -> None:
        span = self._tracer.start_span(name, attributes=attributes)
        self._live.set((*self._live.get(), (span, context.attach(trace.set_span_in_context(span)))))

    def _end(self, error: str, attributes: Mapping[str, Any] = MappingProxyType({})) -> None:
        *before, (span, token) = self._live.get()
        self._live.set(tuple(before))
        # Both events come in the task that runs the step, so the context is the one that was attached to.
        context.detach(token)
        span.set_attributes(attributes)
        if error:
            span.set_status(StatusCode.ERROR, error)
        span.end()

    def _start_post(self, event: PostStartedEvent) -> None:
        keys, targets = zip(*event.entries, strict=True)
        self._start("akool.submit", {"akool.keys": keys, "akool.languages": targets})

    # What has ended.

    def _end_entry(self, event: OutcomeEvent) -> None:
        if event.resumed:  # an earlier run counted it
            return
        kind = {"akool.outcome": event.outcome}
        self._entries.add(1, kind)
        if event.credits:
            self._credits.add(event.credits, kind)
        self._leave(event)
        if event.submitted_at is None or event.ended_at is None:
            return
        self._durations.record((event.ended_at - event.submitted_at).total_seconds(), kind)
        attributes = {**_names(event), **kind}
        if event.credits is not None:
            attributes["akool.credits"] = event.credits
        sent_in = trace.get_current_span(_W3C.extract({"traceparent": event.traceparent})).get_span_context()
        span = self._tracer.start_span(
            "akool.job",
            context=Context(),  # a trace of its own: it is no part of what happens to run now
            kind=SpanKind.CLIENT,
            links=[Link(sent_in)] if sent_in.is_valid else [],
            attributes=attributes,
            start_time=_nanoseconds(event.submitted_at),
        )
        if event.outcome != "Completed":
            span.set_status(StatusCode.ERROR, event.reason)
        span.end(_nanoseconds(event.ended_at))

    # Jobs and calls.

    def _follow(self, event: FollowedEvent) -> None:
        if event.job_id not in self._followed:
            self._followed.add(event.job_id)
            self._in_flight.add(1)

    def _leave(self, event: TerminalEvent | OutcomeEvent) -> None:
        if event.job_id in self._followed:
            self._followed.remove(event.job_id)
            self._in_flight.add(-1)

    def _call(self, event: CallEvent) -> None:
        server = urlsplit(event.origin)
        attributes: dict[str, str | int] = {
            "http.request.method": event.method,
            "server.address": server.hostname or "",
            "server.port": server.port or (443 if server.scheme == "https" else 80),
            "url.template": event.path,
        }
        if event.http_status is None:
            attributes["error.type"] = "_OTHER"
        else:
            attributes["http.response.status_code"] = event.http_status
        self._calls.record(event.seconds, attributes)


def _names(event: DownloadStartedEvent | OutcomeEvent) -> dict[str, Any]:
    return {"akool.key": event.key, "akool.language": event.target, "akool.job_id": event.job_id}


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1e9)
