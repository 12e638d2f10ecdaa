"""The truth about what happened, for tests and demos to compare their own view with.

Filled by the sandbox, read by anyone, from any thread. Reading catches up with the clock first.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from itertools import count
from typing import Any

import attrs

from akool_async.sandbox.account import Credits, Movement
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.jobs import FAILED
from akool_async.sandbox.records import CreateRecord, JobRecord, LeakRecord, ServedRecord, WebhookRecord
from akool_async.sandbox.tokens import TokenDesk

__all__ = ["Ledger"]


class Ledger:
    """Everything that was asked, made, paid, served and sent.

    Args:
        engine: Owner of the jobs and the credits.
        tokens: Owner of the tokens.
    """

    def __init__(self, engine: Engine, tokens: TokenDesk) -> None:
        """Begin with empty pages."""
        self._engine = engine
        self._tokens = tokens
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._creates: list[CreateRecord] = []
        self._polls: dict[str, list[float]] = {}
        self._served: list[ServedRecord] = []
        self._leaks: list[LeakRecord] = []
        self._webhooks: list[WebhookRecord] = []
        self._requests: Counter[str] = Counter()

    @property
    def creates(self) -> tuple[CreateRecord, ...]:
        """Every paid POST that arrived whole, in the order of arrival."""
        with self._lock:
            return tuple(sorted(self._creates, key=lambda record: record.number))

    @property
    def jobs(self) -> tuple[JobRecord, ...]:
        """Every job ever made, in order."""
        return tuple(JobRecord.of(job) for job in self._engine.jobs)

    def job(self, job_id: str) -> JobRecord:
        """Return one job.

        Raises:
            KeyError: There is none.
        """
        job = self._engine.job(job_id)
        if job is None:
            raise KeyError(job_id)
        return JobRecord.of(job)

    def polls(self, job_id: str) -> tuple[float, ...]:
        """Return when the status of a job, or of an id that never was one, was asked for."""
        with self._lock:
            return tuple(self._polls.get(job_id, ()))

    @property
    def polled(self) -> Mapping[str, int]:
        """How often the status of each id was asked for."""
        with self._lock:
            return {job_id: len(times) for job_id, times in self._polls.items()}

    @property
    def requests(self) -> Mapping[str, int]:
        """How many requests each endpoint received, the spoiled ones too."""
        with self._lock:
            return dict(self._requests)

    @property
    def tokens_issued(self) -> int:
        """How many tokens were issued."""
        return len(self._tokens.granted)

    @property
    def token_calls(self) -> int:
        """How many requests for a token arrived."""
        return self.requests.get("token", 0)

    @property
    def served(self) -> tuple[ServedRecord, ...]:
        """Every answer of the CDN."""
        with self._lock:
            return tuple(self._served)

    @property
    def leaks(self) -> tuple[LeakRecord, ...]:
        """Every credential that came to a place other than the API."""
        with self._lock:
            return tuple(self._leaks)

    @property
    def webhooks(self) -> tuple[WebhookRecord, ...]:
        """Every webhook, sent or lost, with its attempt."""
        with self._lock:
            return tuple(self._webhooks)

    @property
    def movements(self) -> tuple[Movement, ...]:
        """Every change of the account: credits locked, deducted, released."""
        return tuple(self._engine.movements)

    @property
    def credits(self) -> Credits:
        """The account now."""
        return self._engine.credits

    def paid_twice(self, *, count_failed: bool = True) -> tuple[tuple[JobRecord, ...], ...]:
        """Return the jobs that were made more than once, grouped.

        Two jobs are the same when video, language and options are; the webhook's URL is no option.

        Args:
            count_failed: Whether failed jobs count too, although their credits came back.
        """
        groups: dict[tuple[str, str, str, str], list[JobRecord]] = {}
        for job in self.jobs:
            if count_failed or job.status != FAILED:
                groups.setdefault((job.kind, job.url, job.language, job.options), []).append(job)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "creates": [attrs.asdict(record) for record in self.creates],
            "jobs": [attrs.asdict(record) for record in self.jobs],
            "polls": {job_id: list(self.polls(job_id)) for job_id in self.polled},
            "requests": dict(self.requests),
            "tokens_issued": self.tokens_issued,
            "served": [attrs.asdict(record) for record in self.served],
            "leaks": [attrs.asdict(record) for record in self.leaks],
            "webhooks": [attrs.asdict(record) for record in self.webhooks],
            "movements": [attrs.asdict(record) for record in self.movements],
            "credits": attrs.asdict(self.credits),
            "paid_twice": [[job.id for job in group] for group in self.paid_twice()],
        }

    def export(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(self.as_dict(), indent=1)

    def next_create(self) -> int:
        """Return the number for a paid POST that has just arrived."""
        with self._lock:
            return next(self._numbers)

    def note_request(self, endpoint: str) -> None:
        """Count a request."""
        with self._lock:
            self._requests[endpoint] += 1

    def note_poll(self, job_id: str, at: float) -> None:
        """Write down that the status of a job was asked for."""
        with self._lock:
            self._polls.setdefault(job_id, []).append(at)

    def note(self, record: CreateRecord | ServedRecord | LeakRecord | WebhookRecord) -> None:
        """Write down one thing that happened."""
        with self._lock:
            match record:
                case CreateRecord():
                    self._creates.append(record)
                case ServedRecord():
                    self._served.append(record)
                case LeakRecord():
                    self._leaks.append(record)
                case WebhookRecord():
                    self._webhooks.append(record)
