"""One API request as its endpoint sees it, and what the endpoint makes of it.

Values only, between the ASGI side in `api` and the endpoints in `orders` and `lookups`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from akool_async.sandbox.faults import Do, Fault
from akool_async.sandbox.jobs import Job
from akool_async.sandbox.world import World

__all__ = ["Call", "Reply"]


@attrs.frozen(kw_only=True, eq=False)
class Call:
    """A request that passed the gate."""

    world: World
    now: float
    query: Mapping[str, str]
    fields: Mapping[str, Any] | None
    """The JSON object of the body, None when there is none."""
    faults: tuple[Fault, ...]
    cdn: str
    """The origin of the results."""
    seen: Job | None = None
    """The job that is asked about, where faults were chosen by how far it was."""

    def struck_by(self, do: Do) -> Iterable[Fault]:
        """Return the faults of one kind that strike this request."""
        return [fault for fault in self.faults if fault.do is do]


@attrs.frozen
class Reply:
    """What an endpoint decided."""

    envelope: dict[str, Any]
    job_ids: tuple[str, ...] = ()
    """The jobs that were made."""
