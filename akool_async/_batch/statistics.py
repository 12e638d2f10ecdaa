"""Numbers about a batch, made when they are read."""

from __future__ import annotations

from typing import Final

import attrs

from akool_async._batch.state import BatchState


@attrs.frozen(kw_only=True)
class Statistics:
    """A batch at one moment.

    Attributes:
        pulled: entries (one per request and language) taken from the source.
        waiting: entries that are pulled and not submitted yet, or done and not handed out yet.
        in_flight: jobs at the vendor, and those that are about to be submitted.
        completed: entries that ended so; likewise the five others.
        doubts_resolved: doubts that were resolved: by a callback or an id in the answer that the API
            confirmed, or by the caller.
        resumed: of all these, how many an earlier run had ended.
        resubmitted: entries in doubt for which a POST was sent once more, knowingly.
        retried: jobs that failed and were submitted again (`retry_transient`); `Batch.replaced` has them.
        credits_locked: credits locked for jobs whose cost is not known yet.
        credits_used: credits deducted for all jobs of the journal, those of earlier runs included.
        credits_used_in_run: of these, credits deducted since the batch was opened.
        unpriced: jobs of which the vendor has not said what they cost; they are in neither sum.
        seconds: since the batch was opened.
        rate: entries that ended in this run, per second.
        seconds_left: for what is pulled and has not ended, at this rate; None while nothing has ended.
        estimate_basis: what `seconds_left` rests on, in words.
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
    doubts_resolved: int = 0
    resumed: int = 0
    resubmitted: int = 0
    retried: int = 0
    credits_locked: float = 0.0
    credits_used: float = 0.0
    credits_used_in_run: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    seconds_left: float | None = None
    estimate_basis: str = ""


_COUNTED: Final = {
    "Completed": "completed",
    "Failed": "failed",
    "Rejected": "rejected",
    "InDoubt": "in_doubt",
    "Expired": "expired",
    "NotSubmitted": "not_submitted",
}


def collect_statistics(state: BatchState, *, began: float | None, used_before: float) -> Statistics:
    """Return the numbers of a batch that began at that moment, when these credits were used already."""
    seconds = 0.0 if began is None else state.clock.monotonic() - began
    counts = state.counts
    here = sum(counts[name] for name in _COUNTED) - counts["resumed"]
    rate = here / max(seconds, 1e-9)
    locked, used = state.journal.credits()
    basis = f"{here} entries that ended in {seconds:.0f} s of this run"
    return Statistics(
        pulled=counts["pulled"],
        waiting=max(state.backlog.taken - state.in_flight.taken, 0),
        in_flight=state.in_flight.taken,
        **{field: counts[name] for name, field in _COUNTED.items()},
        doubts_resolved=counts["doubts_resolved"],
        resumed=counts["resumed"],
        resubmitted=counts["resubmitted"],
        retried=len(state.replaced),
        credits_locked=locked,
        credits_used=used,
        credits_used_in_run=max(used - used_before, 0.0),
        unpriced=state.journal.count_unpriced(),
        seconds=seconds,
        rate=rate,
        seconds_left=state.pending / rate if here else None,
        estimate_basis=basis if here else "nothing has ended yet",
    )
