"""A plan in words and as data: what a run would do, what it would cost, what stands in its way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from akool_async._batch import StopCause
from akool_async._model.errors import AkoolError
from akool_async._model.filenames import NameTemplate
from akool_async._model.outcomes import Completed, Expired, Failed, InDoubt, NotSubmitted, Outcome, Rejected
from akool_async._model.redact import strip_query
from akool_async._model.requests import Request, video_url
from akool_async.cli import exit_codes as exits
from akool_async.cli.catalog import Catalog, CatalogError, format_issues
from akool_async.cli.console import (
    approximate,
    credits_text,
    duration,
    print_error,
    print_info,
    strip_control,
)
from akool_async.cli.options import OutputOptions
from akool_async.cli.plan import Estimate, Plan, PlanEntry, PlannedAction

COLUMNS: Final[Mapping[str, str]] = {
    "key": "Key",
    "target": "Language",
    "due": "Now",
    "credits": "Credits",
    "files": "Files",
}
"""What is shown of each entry."""

_WORDS: Final[Mapping[PlannedAction, str]] = {
    PlannedAction.SUBMIT: "new: would be submitted and paid",
    PlannedAction.RESUBMIT: "to be paid again, as you allow it",
    PlannedAction.WAIT: "at the vendor, paid already: would be waited for and brought home",
    PlannedAction.SAVED: "home: nothing to do",
    PlannedAction.IN_DOUBT: "in doubt, perhaps paid: would stay so until `akool-async resolve`",
    PlannedAction.FAILED: "failed or refused: would stay so without --retry-failed",
    PlannedAction.EXPIRED: "expired at the vendor: would stay so without --retry-failed",
}

_MOST_LANGUAGES: Final = 8


def plan_lines(survey: Plan) -> Iterator[str]:
    """Give the plan as lines for people."""
    yield f"{survey.catalog.title or survey.catalog.path}: {_size(survey.catalog, survey.entries)}."
    width = len(str(max(survey.counts.values(), default=0)))
    for due, words in _WORDS.items():
        if survey.counts[due]:
            yield f"  {survey.counts[due]:>{width}}  {words}"
    if survey.catalog.duplicates:
        places = ", ".join(f"{one.place} ({one.target})" for one in survey.catalog.duplicates)
        yield f"Left out, for the same work stands there twice: {places}."
    yield f"Cost: {cost(survey.estimate)}."
    yield from _account(survey)
    yield from notes(survey)


def notes(survey: Plan) -> Iterator[str]:
    """Give what is worth a word."""
    if survey.in_doubt is not None:
        yield f"{survey.in_doubt.message} What it says here may change meanwhile."
    yield from survey.notes
    if survey.checked is not None:
        yield from survey.checked.notes


def _size(catalog: Catalog, lines: Iterable[PlanEntry]) -> str:
    targets = [line.target for line in lines]
    parts = []
    if not catalog.title:
        parts.append(counted(catalog.rows, "row"))
    if any(targets):
        languages = list(dict.fromkeys(filter(None, targets)))
        shown = ", ".join(languages[:_MOST_LANGUAGES])
        more = f" and {len(languages) - _MOST_LANGUAGES} more" if len(languages) > _MOST_LANGUAGES else ""
        parts.append(f"{counted(len(targets) - targets.count(''), 'translation')} into {shown}{more}")
    if "" in targets:
        parts.append(counted(targets.count(""), "lip-sync"))
    return ", ".join(parts)


def counted(number: int, what: str) -> str:
    """Give so many of something in words."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def cost(estimate: Estimate) -> str:
    """Give what new jobs would cost, and what that rests on."""
    if not estimate.jobs:
        return "none, nothing would be submitted"
    jobs = counted(estimate.jobs, "new job")
    if estimate.unknown == estimate.jobs:
        return f"unknown for {jobs}: {estimate.basis}; --max-credits sets a bound"
    least = "at least " if estimate.unknown else "about "
    return f"{least}{approximate(estimate.credits)} credits for {jobs} ({estimate.basis})"


def _account(survey: Plan) -> Iterator[str]:
    checked = survey.checked
    if checked is None:
        yield "The server was not asked about languages, voices and the balance."
        return
    if checked.balance is not None:
        left = checked.balance - survey.estimate.credits
        enough = "" if left >= 0 else " That is not enough; what can't be paid stays for another run."
        rest = f", about {approximate(left)} after that" if survey.estimate.credits and left >= 0 else ""
        yield f"Balance: {credits_text(checked.balance)} credits{rest}.{enough}"
    if survey.locked or survey.used:
        yield f"So far in this journal: {credits_text(survey.used)} credits used, {credits_text(survey.locked)} locked."


def rows(survey: Plan) -> Iterator[dict[str, Any]]:
    """Give the plan's entries as data."""
    for line in survey.entries:
        entry = line.entry
        yield {
            "key": line.key,
            "target": line.target,
            "due": line.action.value,
            "credits": line.cost if entry is None or line.action.is_paid else entry.credits_used,
            "files": _files(line),
            "job_id": "" if entry is None else entry.job_id,
            "reason": "" if entry is None else entry.reason,
            "url": strip_query(line.item.url),
            "row": str(line.item.place),
        }


def _files(line: PlanEntry) -> list[str]:
    """Give the files that are home, or else the name that the video would get."""
    entry = line.entry
    if entry is not None and entry.files:
        return list(entry.files)
    wanted = NameTemplate(line.item.names).name(line.item.request, line.target)
    return [f"{(entry and entry.name) or wanted}.mp4"]


def as_data(survey: Plan) -> dict[str, Any]:
    """Give the plan's sums as data."""
    estimate, checked = survey.estimate, survey.checked
    return {
        "catalog": survey.catalog.title or str(survey.catalog.path),
        "rows": survey.catalog.rows,
        "entries": len(survey.entries),
        "due": {due.value: survey.counts[due] for due in PlannedAction},
        "duplicates": [
            {"row": str(one.place), "first": str(one.first), "target": one.target}
            for one in survey.catalog.duplicates
        ],
        "new_jobs": estimate.jobs,
        "estimated_credits": None if estimate.unknown else estimate.credits,
        "estimate_rests_on": estimate.basis,
        "balance": None if checked is None else checked.balance,
        "credits_used": survey.used,
        "credits_locked": survey.locked,
        "notes": list(notes(survey)),
    }


# What people call an entry: its key, or the name of its video where it has none.


def labels_of(lines: Iterable[PlanEntry]) -> Mapping[str, str]:
    """Give what each key is called."""
    return {line.key: label_of(line.item.request) for line in lines}


def label_of(request: Request) -> str:
    """Give what people call a request."""
    return strip_control(request.key or _video(video_url(request)))


def _video(url: str) -> str:
    parts = urlsplit(url)
    return unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.netloc


# How a catalog that is wrong is told: every mistake, before anything was sent.


def report_issues(wrong: CatalogError) -> int:
    """Tell all mistakes, and give the exit code."""
    print_error(f"{counted(len(wrong.mistakes), 'mistake')}. Nothing was submitted and nothing was spent.")
    for line in format_issues(wrong.mistakes):
        print_info(f"  {line}")
    return exits.USAGE


# How a run ended: what came of its entries, the exit code of that, and what to do next.


HOME: Final = "home"
NOT_HOME: Final = "not home"
_WORDS_ENDING: Final = {
    Failed: "failed",
    Rejected: "refused",
    InDoubt: "in doubt",
    Expired: "expired",
    NotSubmitted: "not sent",
}


def outcome_label(outcome: Outcome) -> str:
    """Give how an entry ended, in a word or two."""
    if isinstance(outcome, Completed):
        return NOT_HOME if outcome.saved is None else HOME
    return _WORDS_ENDING[type(outcome)]


@attrs.define
class OutcomeCounts:
    """What has come of a run's entries so far.

    Attributes:
        expected: entries of the catalog.
        counts: entries by how they ended.
        earlier: how many of them an earlier run had ended.
        made: how many of the others had a job that has ended.
    """

    expected: int
    counts: Counter[str] = attrs.field(factory=Counter)
    earlier: int = 0
    made: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.counts[outcome_label(outcome)] += 1
        self.earlier += outcome.resumed
        self.made += isinstance(outcome, Completed | Failed | Expired) and not outcome.resumed

    def copy(self) -> OutcomeCounts:
        """Give what it is now, for another thread."""
        return attrs.evolve(self, counts=self.counts.copy())

    @property
    def ended(self) -> int:
        """Entries that have ended."""
        return self.counts.total()

    @property
    def saved(self) -> int:
        """Entries whose files are home."""
        return self.counts[HOME]


@attrs.frozen(kw_only=True)
class RunSummary:
    """A run that is over.

    Attributes:
        score: what came of its entries.
        home: where results come home.
        cause: what made it stop to submit, if anything did.
        why: that in words.
        failure: what ended it before its time.
        gave_up: whether its patience ended.
        at_work: jobs that go on at the vendor.
        credits_used: what this run's jobs cost.
        seconds: how long it took.
    """

    counts: OutcomeCounts
    output: OutputOptions
    cause: StopCause | None = None
    why: str = ""
    failure: AkoolError | None = None
    timed_out: bool = False
    in_progress: int = 0
    credits_used: float = 0.0
    seconds: float = 0.0

    @property
    def code(self) -> int:
        """The exit code: the first of these that is so."""
        score = self.counts
        if score.saved == score.expected:
            return exits.OK
        if self.cause is StopCause.SIGNAL:
            return exits.INTERRUPTED
        if self.failure is not None:
            return exits.exit_code_for(self.failure)
        if self.cause in (StopCause.BUDGET, StopCause.CREDITS):
            return exits.OUT_OF_BUDGET
        if self.timed_out:
            return exits.STILL_RUNNING
        return exits.IN_DOUBT if score.counts["in doubt"] else exits.FAILED

    def lines(self) -> Iterator[str]:
        """Give the ending as lines for people."""
        score = self.counts
        all_of_it = counted(score.expected, "translation")
        spent = f"; {credits_text(self.credits_used)} credits used in this run" if self.credits_used else ""
        spent += f" ({duration(timedelta(seconds=self.seconds))})."
        if score.saved == score.expected:
            those = "It is" if score.expected == 1 else f"All {all_of_it} are"
            yield f"{those} home in {self.output.out}{spent}"
            return
        yield f"{score.saved:,} of {all_of_it} are home in {self.output.out}{spent}"
        if self.failure is not None:
            yield f"Stopped: {self.failure}"
        elif self.why:
            yield f"Stopped: {self.why}"
        for number, what in self._rest():
            yield f"  {number:,} {what}"
        yield from self._next()

    def _rest(self) -> Iterator[tuple[int, str]]:
        counts = self.counts.counts
        left = self.counts.expected - self.counts.ended - self.in_progress
        for number, what in (
            (self.in_progress, "at work: they go on at the vendor and are billed"),
            (counts[NOT_HOME], "done and paid, but not brought home"),
            (counts["in doubt"], "in doubt: sent or maybe sent, and perhaps paid"),
            (counts["failed"], "failed"),
            (counts["refused"], "refused, not charged"),
            (counts["expired"], "expired: the results died at the vendor"),
            (counts["not sent"] + max(left, 0), "not submitted, not charged"),
        ):
            if number:
                yield number, what

    def _next(self) -> Iterator[str]:
        counts = self.counts.counts
        if counts["in doubt"]:
            yield "Doubts are cleared up with:"
            yield f"    {self.output.command('resolve')}"
        if counts["failed"] or counts["refused"] or counts["expired"]:
            yield "To pay again for what failed:"
            yield f"    {self.output.command('retry', '--failed')}"
        if counts[NOT_HOME] or counts["not sent"] or self.counts.ended < self.counts.expected:
            yield "To go on: run the same again. What is paid is not paid again."
