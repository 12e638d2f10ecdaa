"""What the ledger writes down: one frozen value for each thing that happened.

Times are sandbox seconds since the epoch. No value here holds a credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from akool_async.sandbox.jobs import Job, JobKind

__all__ = ["CreateRecord", "CredentialKind", "JobRecord", "LeakRecord", "ServedRecord", "WebhookRecord"]

CredentialKind: TypeAlias = Literal["key", "token", "wrong", "none"]


@attrs.frozen(kw_only=True)
class CreateRecord:
    """One paid POST that arrived whole, whatever came of it."""

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
    def of(cls, job: Job) -> JobRecord:
        """Take down a job."""
        order = job.order
        return cls(
            id=job.id,
            ordinal=job.ordinal,
            kind=order.kind,
            url=order.url,
            language=order.language,
            lipsync=order.lipsync,
            options=order.options,
            seconds=order.seconds,
            credits=order.credits,
            webhook_url=order.webhook_url,
            created=job.created,
            started=job.started,
            ended=job.ended,
            status=job.status,
        )


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
    """A credential that came to a place other than the API."""

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
