"""A run as events for programs: one JSON object a line on stdout, by the schema beside this file."""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime
from typing import Any, Final

from akool_async._batch import EntryProgress, Statistics
from akool_async._model.outcomes import Completed, Outcome, Rejected
from akool_async.cli.console import print_info
from akool_async.cli.plan import Plan
from akool_async.cli.report import OutcomeCounts, RunSummary, as_data, outcome_label

SCHEMA: Final = "events.schema.json"


class Events:
    """Writes events as they happen; nothing at all where none are wanted.

    Args:
        wanted: whether anybody wants them.
    """

    def __init__(self, *, wanted: bool) -> None:
        """Write nothing yet."""
        self._wanted = wanted
        self._writing = threading.Lock()

    def planned(self, survey: Plan) -> None:
        """Tell what would be done."""
        self._write("planned", **as_data(survey))

    def ended(self, outcome: Outcome) -> None:
        """Tell how an entry ended."""
        saved = outcome.saved if isinstance(outcome, Completed) else None
        self._write(
            "ended",
            key=outcome.key,
            target=outcome.target,
            outcome=outcome_label(outcome),
            job_id=None if outcome.job is None else outcome.job.id,
            reason=outcome.reason,
            code=outcome.code if isinstance(outcome, Rejected) else None,
            credits=outcome.credits,
            files=[] if saved is None else [str(path) for path in saved.files],
            earlier_run=outcome.resumed,
        )

    def progress(self, score: OutcomeCounts, seen: Statistics, at_work: tuple[EntryProgress, ...]) -> None:
        """Tell how far all is."""
        self._write(
            "progress",
            entries=score.expected,
            outcomes=dict(score.counts),
            credits_used=seen.credits_used,
            credits_locked=seen.credits_locked,
            seconds=seen.seconds,
            at_work=[
                {
                    "key": one.key,
                    "target": one.target,
                    "stage": one.stage.value,
                    "job_id": one.job_id or None,
                    "progress": one.progress,
                    "seconds": one.seconds,
                }
                for one in at_work
            ],
        )

    def stopping(self, why: str) -> None:
        """Tell that nothing more is submitted."""
        self._write("stopping", reason=why)

    def over(self, ending: RunSummary) -> None:
        """Tell how it all ended; the last event."""
        score = ending.counts
        self._write(
            "over",
            exit_code=ending.code,
            entries=score.expected,
            outcomes=dict(score.counts),
            at_work=ending.in_progress,
            credits_used=ending.credits_used,
            seconds=ending.seconds,
            reason=str(ending.failure or ending.why),
        )

    def _write(self, event: str, **fields: Any) -> None:
        if not self._wanted:
            return
        told = {"event": event, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        try:
            with self._writing:
                sys.stdout.write(f"{json.dumps(told)}\n")
                sys.stdout.flush()
        except BrokenPipeError:
            self._wanted = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            print_info("Nobody reads the events any more. The run goes on, and brings home what is paid.")
