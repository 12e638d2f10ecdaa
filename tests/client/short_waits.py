"""The client's waits, short enough for tests; a process of its own imports this without pytest."""

from __future__ import annotations

from akool_async import FixedSchedule, RetryPolicy

QUICK = RetryPolicy(
    initial_delay=0.001, max_delay=0.01, throttle_initial_delay=0.001, deadline=40.0, throttle_deadline=40.0
)
"""The real policy with short waits."""

OFTEN = FixedSchedule(interval=0.01)
