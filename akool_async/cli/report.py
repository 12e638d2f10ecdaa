"""A plan and the end of a run in words: what would be done, what it costs, how it ended, what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from akool_async._batch import StopCause
from akool_async._batch.entry import outcome_from_journal
from akool_async._journal import Journal
from akool_async._model.errors import AkoolError, JournalError
from akool_async._model.filenames import template_of
from akool_async._model.outcomes import Completed, Expired, Failed, InDoubt, NotSubmitted, Outcome, Rejected
from akool_async._model.redact import strip_query
from akool_async._model.requests import Request, video_url
from akool_async._model.states import State
from akool_async.cli.console import (
    approximate,
    counted,
    credits_line,
    credits_text,
    duration,
    strip_control,
)
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.next_commands import same_command
from akool_async.cli.options import OutputOptions
from akool_async.cli.plan import Plan, PlanEntry, PlannedAction
from akool_async.cli.prices import Estimate
from akool_async.cli.saved_files import files_of

COLUMNS: Final[Mapping[str, str]] = {
    "key": "Key",
    "target": "Language",
    "action": "Now",
    "credits": "Credits",
    "files": "Files",
}
"""The fields of an entry that people see, with their headings."""

SAVED: Final = "saved"
NOT_SAVED: Final = "not saved"
UNVERIFIED: Final = "unverified"
IN_DOUBT: Final = "in doubt"
_ACTIONS: Final[Mapping[PlannedAction, str]] = {
    PlannedAction.SUBMIT: "new: would be submitted and paid",
    PlannedAction.REFUSED: "refused: can't be sent, or the vendor would refuse its files; costs nothing",
    PlannedAction.RESUBMIT: "would be submitted and paid again, as you allow it",
    PlannedAction.WAIT: "at the vendor, paid already: would be waited for and saved",
    PlannedAction.SAVED: "saved: nothing to do",
    PlannedAction.UNVERIFIED: "saved, but not verified: would be downloaded again, without paying",
    PlannedAction.RESTORE: "files are gone: would be saved again, as long as the vendor has them",
    PlannedAction.FOUND: "in the folder, paid but not in this journal: left as it is without --pay-again",
    PlannedAction.IN_DOUBT: "in doubt, perhaps paid: left as it is until it is resolved",
    PlannedAction.FAILED: "failed or refused: left as it is without --retry-failed",
    PlannedAction.EXPIRED: "expired at the vendor: left as it is without --retry-failed",
}
_OUTCOMES: Final = {
    Failed: "failed",
    Rejected: "refused",
    InDoubt: IN_DOUBT,
    Expired: "expired",
    NotSubmitted: "not sent",
}
_UNCLEAR: Final = (State.SUBMITTING, State.IN_DOUBT)
_MAX_LANGUAGES: Final = 8
_MAX_VIDEO_LINES: Final = 12


def plan_lines(plan: Plan) -> Iterator[str]:
    """Return the plan as lines for people."""
    catalog, counts = plan.catalog, plan.counts
    targets = [entry.target for entry in plan.entries]
    parts = [] if catalog.title else [counted(catalog.rows, "row")]
    languages = list(dict.fromkeys(filter(None, targets)))
    if languages:
        shown = ", ".join(languages[:_MAX_LANGUAGES])
        more = f" and {len(languages) - _MAX_LANGUAGES} more" if len(languages) > _MAX_LANGUAGES else ""
        parts.append(f"{counted(len(targets) - targets.count(''), 'translation')} into {shown}{more}")
    if "" in targets:
        parts.append(counted(targets.count(""), "lip-sync"))
    yield f"{catalog.title or catalog.path}: {', '.join(parts)}."
    width = len(str(max(counts.values(), default=0)))
    for action, words in _ACTIONS.items():
        if counts[action]:
            yield f"  {counts[action]:>{width}}  {words}"
    yield from _video_lines(plan)
    if catalog.duplicates:
        places = ", ".join(f"{one.place} ({one.target})" for one in catalog.duplicates)
        yield f"Left out, because the same work is in the catalog twice: {places}."
    yield f"Cost: {cost(plan.estimate)}."
    if plan.max_credits is not None and plan.estimate.jobs:
        reserved = plan.prices.reserved
        left = plan.max_credits - plan.used - plan.locked - (reserved or 0.0)
        fits = plan.estimate.fit(left, surely=plan.checked is not None)
        if reserved is None:
            fits = "nothing is submitted until an earlier job, or a paid call in doubt, has a price"
        yield f"--max-credits {plan.max_credits:g} leaves {credits_text(max(left, 0.0))} for that: {fits}."
    checked = plan.checked
    if checked is None:
        yield "The server was not asked for languages, voices and the balance."
    elif checked.balance is not None:
        left = checked.balance - plan.estimate.credits
        rest = f", about {approximate(left)} after that" if plan.estimate.credits and left >= 0 else ""
        enough = "" if left >= 0 else " That is not enough; what can't be paid is left for another run."
        yield f"Balance: {credits_text(checked.balance)} credits{rest}.{enough}"
    if checked is not None and (plan.locked or plan.used or plan.unpriced):
        yield f"So far in this journal, credits: {credits_line(plan.used, plan.locked, plan.unpriced)}."
    yield from plan_notes(plan)


def _video_lines(plan: Plan) -> Iterator[str]:
    """Return what a look into the videos has found, a line for each row."""
    found: dict[str, list[str]] = {"refused": [], "warning": [], "not looked into": []}
    for entry in {id(entry.item): entry for entry in plan.entries if entry.check is not None}.values():
        check, where = entry.check, f"{entry.item.place} ({request_label(entry.item.request)})"
        if check is None:
            continue
        if check.refusals:
            found["refused"].append(f"{where}: {check.reason}")
        found["warning"] += (f"{where}: {warning}" for warning in check.warnings)
        if check.unchecked:
            found["not looked into"].append(f"{where}: {check.unchecked}")
    for kind, lines in found.items():
        yield from (f"  {kind}: {line}" for line in lines[:_MAX_VIDEO_LINES])
        if len(lines) > _MAX_VIDEO_LINES:
            yield f"  {kind}: and {len(lines) - _MAX_VIDEO_LINES:,} more; --json shows all."


def plan_notes(plan: Plan) -> Iterator[str]:
    """Return what the user should know beside the numbers."""
    if plan.lock_holder is not None:
        yield f"{plan.lock_holder.message} These numbers may change meanwhile."
    if plan.older is not None:
        yield str(plan.older)
    yield from plan.notes
    if plan.checked is not None:
        yield from plan.checked.notes


def cost(estimate: Estimate) -> str:
    """Return what new jobs would cost, and what that is based on."""
    if not estimate.jobs:
        return "none, nothing would be submitted"
    jobs = counted(estimate.jobs, "new job")
    # No number at all rather than a 0, which a user would take for free.
    if estimate.unknown == estimate.jobs:
        return f"unknown for {jobs}: {estimate.basis}; --max-credits sets a bound"
    least = "at least " if estimate.unknown else "about "
    spread = estimate.most - estimate.credits > 0.01 * estimate.credits
    most = f", {approximate(estimate.most)} at most by these" if spread else ""
    return f"{least}{approximate(estimate.credits)} credits for {jobs}{most} ({estimate.basis})"


def plan_rows(plan: Plan, output: OutputOptions, *, all_fields: bool = True) -> Iterator[dict[str, Any]]:
    """Return the plan's entries as data: all fields, or those of `COLUMNS`."""
    for planned in plan.entries:
        item, entry = planned.item, planned.entry
        files = [] if entry is None else files_of(entry, output)
        name = (entry and entry.name) or template_of(item.names).name(item.request, planned.target)
        row = {
            "key": planned.key,
            "target": planned.target,
            "action": planned.action.value,
            "credits": planned.cost if entry is None or planned.action.is_paid else entry.credits_used,
            "files": files or [f"{name}.mp4"],
        }
        if all_fields:
            row |= {
                "job_id": "" if entry is None else entry.job_id,
                "reason": _reason(planned),
                "url": strip_query(item.url),
                "row": str(item.place),
            }
        yield row


def _reason(planned: PlanEntry) -> str:
    if planned.check is not None and planned.check.refusals:
        return planned.check.reason
    return "" if planned.entry is None else planned.entry.reason


def request_label(request: Request) -> str:
    """Return what people call a request: its key, or the name of its video if it has none."""
    parts = urlsplit(video_url(request))
    return strip_control(request.key or unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.netloc)


def outcome_label(outcome: Outcome) -> str:
    """Return how an entry ended, in a word or two."""
    if isinstance(outcome, Completed):
        return NOT_SAVED if outcome.saved is None else SAVED if outcome.saved.verified else UNVERIFIED
    return _OUTCOMES[type(outcome)]


@attrs.define
class OutcomeCounts:
    """How a run's entries ended so far.

    Attributes:
        expected: entries of the catalog.
        counts: entries by how they ended.
        made: entries of this run whose job has ended.
        made_in: seconds of the run after which the last of them ended.
        credits_used: what jobs that this run made did cost, as far as it is known.
        credits_locked: what those of them that it left at the vendor have locked.
        sent_again: entries in doubt that this run sent once more: their first calls may be paid, too.
        found: entries not sent, because the folder has their results although the journal has no job.
        incomplete: entries that are saved without a file that was asked for, such as subtitles.
        ended: how each entry ended, by key and language.
        in_progress: entries that were left with a job at the vendor; 0 while the run is not over.
    """

    expected: int
    counts: Counter[str] = attrs.field(factory=Counter)
    made: int = 0
    made_in: float = 0.0
    credits_used: float = 0.0
    credits_locked: float = 0.0
    sent_again: int = 0
    found: int = 0
    incomplete: int = 0
    ended: dict[tuple[str, str], str] = attrs.field(factory=dict)
    in_progress: int = 0

    def add(self, outcome: Outcome, seconds: float = 0.0, *, paid_here: bool = True) -> None:
        """Count one more outcome, which is known since the run was this old.

        Args:
            outcome: how the entry ended.
            seconds: the age of the run.
            paid_here: whether its job was made by this run; what an earlier run has paid costs nothing now.
        """
        label = outcome_label(outcome)
        self.counts[label] += 1
        self.ended[outcome.key, outcome.target] = label
        if isinstance(outcome, Completed | Failed | Expired) and not outcome.resumed:
            self.made += 1
            self.made_in = seconds
            if paid_here and not isinstance(outcome, Expired) and outcome.snapshot is not None:
                self.credits_used += outcome.snapshot.credits_used or 0.0
        self.found += isinstance(outcome, NotSubmitted) and outcome.already_saved
        if isinstance(outcome, Completed) and outcome.saved is not None and outcome.saved.missing:
            self.incomplete += 1

    def add_planned(self, planned: PlanEntry, journal: Journal, *, replaced: bool) -> Outcome | None:
        """Count what the outcomes don't say of an entry: what is left of it, and whether it was sent again.

        Return its outcome if it ended while the run was closing, so that nobody heard of it.

        Args:
            planned: the entry.
            journal: what the run has recorded.
            replaced: whether the next run will not find that, so that no doubt is less of one.
        """
        before = planned.entry
        if planned.action is PlannedAction.RESUBMIT and before is not None and before.state in _UNCLEAR:
            with suppress(JournalError):
                entry = journal.get(planned.key, planned.target)
                self.sent_again += entry is not None and entry.paid_submissions > before.paid_submissions
        return self._add_left(planned, journal, replaced=replaced)

    def _add_left(self, planned: PlanEntry, journal: Journal, *, replaced: bool) -> Outcome | None:
        """Count an entry that has no outcome after the run, or whose doubt is none any more, by the journal.

        What the batch had in progress would not tell: some of it waited for its turn and was not sent, and a
        job whose polls were refused is at the vendor all the same.
        """
        ended = self.ended.get((planned.key, planned.target))
        if ended is not None and (ended != IN_DOUBT or replaced):
            return None
        label, outcome = IN_DOUBT, None  # where nothing shows that it was not sent
        with suppress(JournalError):
            entry = journal.get(planned.key, planned.target)
            if entry is None or entry.state is State.PLANNED:
                return None
            earlier = planned.entry is not None and planned.entry.state is entry.state
            outcome = attrs.evolve(outcome_from_journal(entry, entry.request), resumed=earlier)
            label = outcome_label(outcome)
            if planned.action is PlannedAction.RESTORE and label == SAVED:
                label, outcome = NOT_SAVED, None  # its files were gone, and were not downloaded again
            if planned.action.is_paid and entry.state in (State.COMPLETED, State.DELIVERED):
                self.credits_used += entry.credits_used or 0.0
            if entry.state is State.SUBMITTED:
                self.in_progress += 1
                if planned.action.is_paid:
                    self.credits_locked += entry.credits_locked or 0.0
                if ended is not None:
                    self.counts -= Counter([IN_DOUBT])
                return None
        if ended is not None:
            return None
        self.counts[label] += 1
        return outcome

    def copy(self) -> OutcomeCounts:
        """Return a copy for another thread."""
        return attrs.evolve(self, counts=self.counts.copy())

    @property
    def finished(self) -> int:
        """Entries that have ended."""
        return self.counts.total()

    @property
    def saved(self) -> int:
        """Entries whose files are saved."""
        return self.counts[SAVED]


@attrs.frozen(kw_only=True)
class RunSummary:
    """How a run ended.

    Attributes:
        cause: what kind of event stopped the submissions, if one did; in words it is `why`.
        failure: the error that ended the run, if one did.
        timed_out: whether `--give-up-after` ended it.
        commands_failed: commands of `--on-saved` that failed; the results are saved.
        unpriced: jobs of this run of which it is not known what they cost.
    """

    counts: OutcomeCounts
    output: OutputOptions
    cause: StopCause | None = None
    why: str = ""
    failure: AkoolError | None = None
    timed_out: bool = False
    commands_failed: int = 0
    unpriced: int = 0
    seconds: float = 0.0

    @property
    def code(self) -> ExitCode:
        """The exit code: the first of these that applies."""
        if self.counts.saved == self.counts.expected:
            return ExitCode.OK
        # Before failures and doubts: what is missing then is missing because the user stopped the run.
        if self.cause is StopCause.SIGNAL:
            return ExitCode.INTERRUPTED
        if self.failure is not None:
            code = ExitCode.for_error(self.failure)
            # What failed is why these are in doubt: they are what is urgent.
            return ExitCode.IN_DOUBT if code is ExitCode.FAILED and self.counts.counts[IN_DOUBT] else code
        if self.cause in (StopCause.BUDGET, StopCause.COST_UNKNOWN, StopCause.CREDITS):
            return ExitCode.OUT_OF_BUDGET
        if self.timed_out:
            return ExitCode.STILL_RUNNING
        return ExitCode.IN_DOUBT if self.counts.counts[IN_DOUBT] else ExitCode.FAILED

    @property
    def not_submitted(self) -> int:
        """Entries of which nothing was sent: they are not charged, and some have no outcome."""
        score = self.counts
        return score.counts["not sent"] + max(score.expected - score.finished - score.in_progress, 0)

    def lines(self) -> Iterator[str]:
        """Return the end of the run as lines for people."""
        score, counts = self.counts, self.counts.counts
        everything = counted(score.expected, "translation")
        used, locked = score.credits_used, score.credits_locked
        spent = f"; {credits_text(used)} credits used in this run" if used else ""
        if locked:
            spent += f"; {credits_text(locked)} {'more' if used else 'credits'} locked by jobs that it left"
        if score.sent_again:
            first = "a first call" if score.sent_again == 1 else f"{score.sent_again:,} first calls"
            spent += f"; what {first} in doubt cost, if anything, is not known"
        if self.unpriced > 0:
            spent += f"; what {counted(self.unpriced, 'job')} cost is not known"
        spent += f" ({duration(timedelta(seconds=self.seconds))})."
        if score.saved == score.expected:
            subject = "It is" if score.expected == 1 else f"All {everything} are"
            yield f"{subject} saved in {self.output.out}{spent}"
            yield from self._beside()
            return
        if score.expected == 1:
            yield f"It is not saved{spent}"
        else:
            yield f"{score.saved:,} of {everything} are saved in {self.output.out}{spent}"
        if self.failure is not None or self.why:
            yield f"Stopped: {self.failure or self.why}"
        for number, what in (
            (score.in_progress, "in progress: they continue at the vendor and are billed"),
            (counts[NOT_SAVED], "done and paid, but not saved"),
            (counts[UNVERIFIED], "saved, but could not be verified: watch them before they expire"),
            (counts[IN_DOUBT], "in doubt: sent or maybe sent, and perhaps paid"),
            (counts["failed"], "failed"),
            (counts["refused"], "refused, not charged"),
            (counts["expired"], "expired: the vendor does not have the results any more"),
            (self.not_submitted, "not submitted, not charged"),
        ):
            if number:
                yield f"  {number:,} {what}"
        yield from self._beside()
        if counts[IN_DOUBT]:
            yield "To resolve submissions whose outcome is unknown, run:"
            yield f"    {self.output.command('resolve')}"
        if counts["failed"] or counts["refused"] or counts["expired"]:
            yield "To see each with its reason, and to pay again for what failed, run:"
            yield f"    {self.output.command('list', failed=True)}"
            yield f"    {self.output.command('retry', failed=True)}"
        if score.found:
            # The same command would find the same: only another journal, or to pay once more, changes that.
            yield f"Of {score.found:,} the results are in the folder and paid; this journal has no such jobs."
            yield "To have them counted, put the journal that knows them, or its newest backup, in the place"
            yield f"of {self.output.path} and run again. Without one, use the files; --pay-again pays twice."
        if counts[NOT_SAVED] or counts["not sent"] > score.found or score.finished < score.expected:
            yield from self._resume()

    def _resume(self) -> Iterator[str]:
        if self.cause is StopCause.BUDGET:  # which bound to set is for a person to decide
            yield (
                "To resume, run the same command again with a higher --max-credits. What is paid is not paid "
                "again."
            )
            yield from same_command({"--max-credits": "CREDITS"})
        elif self.cause is StopCause.COST_UNKNOWN:
            # Never without the bound: what is in doubt would then be paid again without measure.
            if not self.counts.counts[IN_DOUBT]:
                yield "To see whether an earlier submission is in doubt, run:"
                yield f"    {self.output.command('resolve')}"
            yield (
                "To resume after that, run the same command again. What is paid is not paid again. While the "
                "cost of no job is known, it sends nothing more: the account's usage shows what was paid."
            )
            yield from same_command()
        else:
            yield "To resume, run the same command again. What is paid is not paid again."
            yield from same_command()

    def _beside(self) -> Iterator[str]:
        # The video decides about the exit code: a script that sent these again would pay for them again.
        if self.counts.incomplete:
            yield f"  {self.counts.incomplete:,} without a file that belongs to the video, such as subtitles."
            yield "To see which, and to download them again without paying, run:"
            yield f"    {self.output.command('verify')}"
            yield f"    {self.output.command('verify', fix=True)}"
        if self.commands_failed:
            failed = counted(self.commands_failed, "command")
            yield f"  {failed} of --on-saved failed. The next run of the same catalog runs them again."
