"""A job in flight, as the batch follows it: one small object, for there may be very many."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from akool_async._batch.flight import Flight
from akool_async._waiting import Watch


@attrs.define(eq=False, weakref_slot=False)
class Following:
    """Called after every poll of its job.

    Attributes:
        flight: the entry, with its job.
        ended: called with the flight and the watch when the job has ended.
        watch: what waits for the job and knows what its polls have said; None when nothing does any more.
    """

    flight: Flight
    ended: Callable[[Flight, Watch], None]
    watch: Watch | None = None

    def __call__(self, watch: Watch) -> None:
        """Take in what a poll said."""
        if watch.ended:
            self.ended(self.flight, watch)
