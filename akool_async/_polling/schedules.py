"""Poll schedules: from what is known about a job to the seconds until its next poll."""

from __future__ import annotations

import attrs

from akool_async._model.errors import ConfigurationError
from akool_async._model.validators import at_least_one, fraction, seconds_field, share
from akool_async._polling.poll_state import PollContext
from akool_async._retry import backoff_step


@attrs.frozen(kw_only=True)
class BackoffSchedule:
    """Polls that come less often the longer a job runs, and more often near its end.

    The wait grows from `initial_delay` by `multiplier` up to half of `max_delay`. Once the vendor reports
    progress, a share of the estimated remaining time is used instead, up to `max_delay`; progress that
    has not changed for a quarter of the job's age is ignored.

    Args:
        initial_delay: seconds before the first poll, and the shortest wait, before jitter.
        multiplier: the ratio of each wait to the one before, at least 1.
        max_delay: seconds that no wait exceeds, before jitter; at least `initial_delay`.
        eagerness: share of the estimated remaining time to wait before the next poll, up to 1.
        jitter: how far a wait is moved at random, as a share of it, below 1.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    initial_delay: float = seconds_field(2.0)
    multiplier: float = attrs.field(default=1.5, validator=at_least_one)
    max_delay: float = seconds_field(20.0)
    eagerness: float = attrs.field(default=0.8, validator=share)
    jitter: float = attrs.field(default=0.1, validator=fraction)

    def __attrs_post_init__(self) -> None:
        """Check what concerns two fields at once."""
        if self.max_delay < self.initial_delay:
            raise ConfigurationError(
                f"max_delay must not be shorter than initial_delay, which is {self.initial_delay:g} s, "
                f"not {self.max_delay:g}."
            )

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll; see `PollSchedule`."""
        wait = backoff_step(
            context.polls, self.initial_delay, self.multiplier, max(self.initial_delay, self.max_delay / 2)
        )
        progress = context.progress
        # Progress that has not moved for long would otherwise promise an end that never comes.
        if progress is not None and 0 < progress < 100 and not context.stalled > context.elapsed / 4:
            remaining = context.elapsed * (100 - progress) / progress
            wait = max(self.initial_delay, min(remaining * self.eagerness, self.max_delay))
        return min(wait, self.max_delay) * (1 + self.jitter * (2 * rand - 1))


@attrs.frozen(kw_only=True)
class FixedSchedule:
    """Polls at one interval, give or take a narrow jitter.

    Args:
        interval: seconds between polls, above 0.
        jitter: how far a wait is moved at random, as a share of it, below 1.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    interval: float = seconds_field(5.0)
    jitter: float = attrs.field(default=0.1, validator=fraction)

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll; see `PollSchedule`."""
        return self.interval * (1 + self.jitter * (2 * rand - 1))
