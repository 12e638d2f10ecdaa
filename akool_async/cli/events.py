"""Plans and runs as data for programs: events are one JSON object a line, by the schema beside this file."""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from akool_async._batch import EntryProgress, Statistics
from akool_async._model.outcomes import Completed, Outcome, Rejected
from akool_async.cli.console import name_options, print_info
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.on_saved import CommandResult
from akool_async.cli.plan import Plan, PlannedAction
from akool_async.cli.report import plan_notes
from akool_async.cli.run_summary import OutcomeCounts, RunSummary, outcome_label

SCHEMA: Final = "events.schema.json"


class Events:
    """Writes events to stdout as they happen, or nothing."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._writing = threading.Lock()

    def planned(self, plan: Plan) -> None:
        """Write what would be done; the first event."""
        self._write("planned", **plan_json(plan))

    def entry_ended(self, outcome: Outcome) -> None:
        """Write how an entry ended."""
        saved = outcome.saved if isinstance(outcome, Completed) else None
        self._write(
            "ended",
            key=outcome.key,
            target=outcome.target,
            outcome=outcome_label(outcome),
            job_id=outcome.job_id or None,
            reason=outcome.reason,
            code=outcome.code if isinstance(outcome, Rejected) else None,
            credits=outcome.credits,
            files=[] if saved is None else [str(path) for path in saved.files],
            missing={} if saved is None else dict(saved.missing),
            unverified={} if saved is None else dict(saved.unverified),
            earlier_run=outcome.resumed,
        )

    def progress(
        self, counts: OutcomeCounts, statistics: Statistics, entries: tuple[EntryProgress, ...]
    ) -> None:
        """Write how far the run is."""
        self._write(
            "progress",
            entries=counts.expected,
            outcomes=dict(counts.counts),
            credits_used=statistics.credits_used,
            credits_locked=statistics.credits_locked,
            jobs_without_price=statistics.unpriced,
            seconds=statistics.seconds,
            in_progress=[
                {
                    "key": entry.key,
                    "target": entry.target,
                    "stage": entry.stage.value,
                    "job_id": entry.job_id or None,
                    "progress": entry.progress,
                    "seconds": entry.seconds,
                }
                for entry in entries
            ],
        )

    def command_ended(self, result: CommandResult) -> None:
        """Write how the command for a saved result ended."""
        self._write("on_saved", **attrs.asdict(result))

    def stopping(self, why: str) -> None:
        """Write that nothing more is submitted."""
        self._write("stopping", reason=why)

    def declined(self) -> None:
        """Write that the question was answered with no; the last event."""
        words = {"message": "The question was answered with no.", "advice": ""}
        impact = "Nothing was submitted and nothing was spent."
        self._write("error", exit_code=ExitCode.INTERRUPTED, impact=impact, **words)

    def over(self, summary: RunSummary) -> None:
        """Write how the run ended; the last event."""
        counts = summary.counts
        self._write(
            "over",
            exit_code=summary.code,
            entries=counts.expected,
            outcomes=dict(counts.counts),
            in_progress=counts.in_progress,
            not_submitted=summary.not_submitted,
            credits_used=counts.credits_used,
            credits_locked=counts.credits_locked,
            sent_again=counts.sent_again,
            jobs_without_price=summary.unpriced,
            seconds=summary.seconds,
            reason=str(summary.failure or summary.why),
        )

    def _write(self, event: str, **fields: Any) -> None:
        if not self._enabled:
            return
        if isinstance(reason := fields.get("reason"), str):
            fields["reason"] = name_options(reason)
        data = {"event": event, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        try:
            with self._writing:
                sys.stdout.write(f"{json.dumps(data)}\n")
                sys.stdout.flush()
        except OSError as error:
            # Neither a reader that exits nor a full disk must end the run: its jobs are paid, and expire.
            self._enabled = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            why = error.strerror
            print_info(f"Events can't be written: {why}. The run continues, and saves what is paid.")


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return a plan's totals as data."""
    estimate, checked = plan.estimate, plan.checked
    return {
        "catalog": plan.catalog.title or str(plan.catalog.path),
        "rows": plan.catalog.rows,
        "entries": len(plan.entries),
        "actions": {action.value: plan.counts[action] for action in PlannedAction},
        "duplicates": [
            {"row": str(one.place), "first": str(one.first), "target": one.target}
            for one in plan.catalog.duplicates
        ],
        "new_jobs": estimate.jobs,
        "estimated_credits": None if estimate.unknown else estimate.credits,
        "estimate_basis": estimate.basis,
        "balance": None if checked is None else checked.balance,
        "credits_used": plan.used,
        "credits_locked": plan.locked,
        "jobs_without_price": plan.unpriced,
        "notes": list(plan_notes(plan)),
    }
