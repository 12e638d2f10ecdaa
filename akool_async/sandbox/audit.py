"""The audit: what really happened in a sandbox, for tests and demos to compare with what they saw.

May be read from any thread; reading catches up with the clock first. Times are sandbox seconds since the
epoch. No record holds a credential.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final
from urllib.parse import unquote_plus

import attrs

from akool_async.sandbox.auth import Authenticator, CredentialKind
from akool_async.sandbox.engine import Credits, Engine, LedgerEntry
from akool_async.sandbox.http import Scope
from akool_async.sandbox.jobs import FAILED, JobKind, SandboxJob
from akool_async.sandbox.settings import SandboxSettings

_CREDENTIAL_HEADERS: Final = frozenset(
    {"header authorization", "header x-api-key", "header proxy-authorization"}
)


@attrs.frozen(kw_only=True)
class CreateRecord:
    """One paid POST that arrived whole, whatever its result."""

    number: int
    at: float
    endpoint: str
    payload: Mapping[str, Any] | None
    """The body as sent; None when it was not a JSON object."""
    credential: CredentialKind
    connection: int
    request_on_connection: int
    acted: bool
    """Whether a job was made."""
    job_ids: tuple[str, ...]
    code: int | None
    """The business code decided on, None when a fault came first."""
    faults: tuple[str, ...]


@attrs.frozen(kw_only=True)
class JobRecord:
    """One job as it is now."""

    id: str
    ordinal: int
    kind: JobKind
    url: str
    language: str
    lipsync: bool
    options: str
    seconds: float
    credits: float
    webhook_url: str
    created: float
    started: float | None
    ended: float | None
    status: int

    @classmethod
    def from_job(cls, job: SandboxJob) -> JobRecord:
        """Record a job: what was requested and how it is now."""
        names = attrs.fields_dict(cls)
        return cls(**{name: getattr(job if hasattr(job, name) else job.spec, name) for name in names})


@attrs.frozen(kw_only=True)
class ServedRecord:
    """One answer of the CDN."""

    at: float
    method: str
    path: str
    job_id: str | None
    artifact: str | None
    range: str | None
    if_range: str | None
    status: int
    sent: int
    """Bytes of body given to the connection."""
    faults: tuple[str, ...]


@attrs.frozen(kw_only=True)
class LeakRecord:
    """A credential that was sent to a place other than the API."""

    at: float
    path: str
    where: str
    """"header <name>", "query" or "body"."""
    what: str
    """"key", "secret", "token" or "authorization"."""


@attrs.frozen(kw_only=True)
class WebhookRecord:
    """One webhook, sent or lost."""

    at: float
    job_id: str
    status: int
    attempt: int
    answered: int | None
    """The receiver's HTTP status, None when there was no answer or nothing was sent."""
    lost: bool = False


class Audit:
    """Everything that was asked, made, paid, served and sent.

    Args:
        engine: Owner of the jobs and the credits.
        authenticator: Owner of the tokens.
    """

    def __init__(self, engine: Engine, authenticator: Authenticator) -> None:
        """Begin with nothing recorded."""
        self._engine = engine
        self._authenticator = authenticator
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._records: defaultdict[type, list[Any]] = defaultdict(list)
        self._polls: defaultdict[str, list[float]] = defaultdict(list)
        self._requests: Counter[str] = Counter()

    @property
    def creates(self) -> tuple[CreateRecord, ...]:
        """Every paid POST that arrived whole, in the order of arrival."""
        with self._lock:
            return tuple(sorted(self._records[CreateRecord], key=lambda record: record.number))

    @property
    def jobs(self) -> tuple[JobRecord, ...]:
        """Every job ever made, in order."""
        return tuple(JobRecord.from_job(job) for job in self._engine.jobs)

    def job(self, job_id: str) -> JobRecord:
        """Return one job.

        Raises:
            KeyError: There is none.
        """
        job = self._engine.job(job_id)
        if job is None:
            raise KeyError(job_id)
        return JobRecord.from_job(job)

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
        return len(self._authenticator.issued)

    @property
    def token_calls(self) -> int:
        """How many requests for a token arrived."""
        return self.requests.get("token", 0)

    @property
    def served(self) -> tuple[ServedRecord, ...]:
        """Every answer of the CDN."""
        with self._lock:
            return tuple(self._records[ServedRecord])

    @property
    def leaks(self) -> tuple[LeakRecord, ...]:
        """Every credential that was sent to a place other than the API."""
        with self._lock:
            return tuple(self._records[LeakRecord])

    @property
    def webhooks(self) -> tuple[WebhookRecord, ...]:
        """Every webhook, sent or lost, with its attempt."""
        with self._lock:
            return tuple(self._records[WebhookRecord])

    @property
    def movements(self) -> tuple[LedgerEntry, ...]:
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
        # Not the webhook's URL: a batch makes another one for each POST, also for the one that must not be.
        groups: dict[tuple[str, str, str, str], list[JobRecord]] = {}
        for job in self.jobs:
            if count_failed or job.status != FAILED:
                groups.setdefault((job.kind, job.url, job.language, job.options), []).append(job)
        return tuple(tuple(group) for group in groups.values() if len(group) > 1)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **{
                name: [attrs.asdict(record) for record in getattr(self, name)]
                for name in ("creates", "jobs", "served", "leaks", "webhooks", "movements")
            },
            "polls": {job_id: list(self.polls(job_id)) for job_id in self.polled},
            "requests": dict(self.requests),
            "tokens_issued": self.tokens_issued,
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
        """Record that the status of a job was asked for."""
        with self._lock:
            self._polls[job_id].append(at)

    def note(self, record: CreateRecord | ServedRecord | LeakRecord | WebhookRecord) -> None:
        """Record one thing that happened."""
        with self._lock:
            self._records[type(record)].append(record)


def credentials_in(
    scope: Scope, body: bytes, settings: SandboxSettings, authenticator: Authenticator
) -> Iterator[tuple[str, str]]:
    """Return the place and kind of each credential in a request where none belongs; never its value."""
    secrets = dict.fromkeys(authenticator.issued, "token")
    secrets |= {settings.client_secret: "secret", settings.webhook_secret: "secret", settings.api_key: "key"}
    target = scope["path"] + "?" + unquote_plus(scope["query_string"].decode("latin-1"))
    places = [("query", target), ("body", body.decode("utf-8", "replace"))]
    for raw_name, raw_value in scope["headers"]:
        places.append((f"header {raw_name.decode('latin-1')}", raw_value.decode("latin-1")))
    for where, text in places:
        found = next((kind for secret, kind in secrets.items() if secret in text), "")
        if not found and where in _CREDENTIAL_HEADERS:
            found = "authorization"
        if found:
            yield where, found
