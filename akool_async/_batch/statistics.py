"""Numbers about a batch, pulled when somebody wants to know them."""

from __future__ import annotations

from typing import Final

import attrs

from akool_async._batch.hall import Hall


@attrs.frozen(kw_only=True)
class Statistics:
    """A batch at one moment.

    Attributes:
        pulled: entries (one per request and language) taken from the source.
        waiting: entries that are pulled and not submitted yet, or done and not handed out yet.
        in_flight: jobs at the vendor.
        completed: entries that ended so; likewise the five others.
        cleared_up: doubts for which a callback named the job, and the API confirmed it.
        resumed: of all these, how many an earlier run had ended.
        repaid: entries in doubt for which a POST was sent once more, knowingly.
        credits_locked: credits locked for jobs whose cost is not known yet.
        credits_used: credits deducted.
        seconds: since the batch was opened.
        rate: entries that ended in this run, per second.
        seconds_left: for what is pulled and has not ended, at this rate; None while nothing has ended.
        basis: what `seconds_left` rests on, in words.
    """

    pulled: int = 0
    waiting: int = 0
    in_flight: int = 0
    completed: int = 0
    failed: int = 0
    rejected: int = 0
    in_doubt: int = 0
    expired: int = 0
    not_submitted: int = 0
    cleared_up: int = 0
    resumed: int = 0
    repaid: int = 0
    credits_locked: float = 0.0
    credits_used: float = 0.0
    seconds: float = 0.0
    rate: float = 0.0
    seconds_left: float | None = None
    basis: str = ""


_COUNTED: Final = {
    "Completed": "completed",
    "Failed": "failed",
    "Rejected": "rejected",
    "InDoubt": "in_doubt",
    "Expired": "expired",
    "NotSubmitted": "not_submitted",
}


def read(hall: Hall, seconds: float) -> Statistics:
    """Give the numbers of a batch that has been open for so many seconds."""
    counts = hall.counts
    here = sum(counts[name] for name in _COUNTED) - counts["resumed"]
    rate = here / max(seconds, 1e-9)
    locked, used = hall.journal.credits()
    basis = f"{here} entries that ended in {seconds:.0f} s of this run"
    return Statistics(
        pulled=counts["pulled"],
        waiting=max(hall.backlog.taken - hall.in_flight.taken, 0),
        in_flight=hall.in_flight.taken,
        **{field: counts[name] for name, field in _COUNTED.items()},
        cleared_up=counts["cleared_up"],
        resumed=counts["resumed"],
        repaid=counts["repaid"],
        credits_locked=locked,
        credits_used=used,
        seconds=seconds,
        rate=rate,
        seconds_left=hall.pending / rate if here else None,
        basis=basis if here else "nothing has ended yet",
    )
