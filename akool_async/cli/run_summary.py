"""How a run ended: its entries counted, its exit code, and what it says to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Final

import attrs

from akool_async._batch import StopCause, preflight
from akool_async._batch.entry import outcome_from_journal
from akool_async._journal import Journal
from akool_async._model.errors import AkoolError, JournalError
from akool_async._model.outcomes import (
    Completed,
    Expired,
    Failed,
    InDoubt,
    NotSubmitted,
    Outcome,
    Rejected,
    needs_correction,
)
from akool_async._model.states import State
from akool_async._model.tariff import credits_text
from akool_async.cli.console import counted, duration
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.next_commands import same_command
from akool_async.cli.options import OutputOptions
from akool_async.cli.other_journals import journal_beside
from akool_async.cli.plan import PlanEntry, PlannedAction

SAVED: Final = "saved"
NOT_SAVED: Final = "not saved"
UNVERIFIED: Final = "unverified"
IN_DOUBT: Final = "in doubt"
NOT_SENT: Final = "not sent"
_OUTCOMES: Final = {
    Failed: "failed",
    Rejected: "refused",
    InDoubt: IN_DOUBT,
    Expired: "expired",
    NotSubmitted: NOT_SENT,
}
_NAMED: Final = 5
_UNCLEAR: Final = (State.SUBMITTING, State.IN_DOUBT)


def outcome_label(outcome: Outcome) -> str:
    """Return how an entry ended, in a word or two."""
    if isinstance(outcome, Completed):
        return NOT_SAVED if outcome.saved is None else SAVED if outcome.saved.verified else UNVERIFIED
    return _OUTCOMES[type(outcome)]


def _is_at_fault(outcome: Outcome | None) -> bool:
    if isinstance(outcome, Failed) and outcome.snapshot is not None:
        return needs_correction(outcome.snapshot.error_code)
    return isinstance(outcome, Rejected) and needs_correction(outcome.code)


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
        to_correct: entries that can't be sent before their rows are corrected, by key and language.
        at_fault: entries that failed or were refused, and would be again as they are.
        other_jobs: ids of jobs that this run's answers named besides those of its entries.
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
    to_correct: set[tuple[str, str]] = attrs.field(factory=set)
    at_fault: int = 0
    other_jobs: list[str] = attrs.field(factory=list)

    def add(self, outcome: Outcome, seconds: float = 0.0, *, paid_here: bool = True) -> None:
        """Count one more outcome, which is known since the run was so many seconds old.

        What an earlier run has paid, and not this one (`paid_here`), costs nothing now.
        """
        label = outcome_label(outcome)
        self.counts[label] += 1
        name = outcome.key, outcome.target
        self.ended[name] = label
        if not isinstance(outcome, NotSubmitted):
            self.to_correct.discard(name)
        elif outcome.reason.startswith(preflight.NOT_SENT):
            self.to_correct.add(name)
        if isinstance(outcome, Completed | Failed | Expired) and not outcome.resumed:
            self.made += 1
            self.made_in = seconds
            if paid_here and not isinstance(outcome, Expired) and outcome.snapshot is not None:
                self.credits_used += outcome.snapshot.credits_used or 0.0
        self.at_fault += _is_at_fault(outcome)
        self.found += isinstance(outcome, NotSubmitted) and outcome.already_saved
        if isinstance(outcome, Completed) and outcome.saved is not None and outcome.saved.missing:
            self.incomplete += 1

    def add_planned(self, planned: PlanEntry, journal: Journal, *, replaced: bool) -> Outcome | None:
        """Count what the outcomes don't say of an entry: what is left of it, and whether it was sent again.

        Return its outcome if it ended while the run was closing, so that nobody heard of it. Where the
        journal was replaced, the next run finds another one, and every doubt stays one.
        """
        before = planned.entry
        if planned.action is PlannedAction.RESUBMIT and before is not None and before.state in _UNCLEAR:
            with suppress(JournalError):
                entry = journal.get(planned.key, planned.target)
                self.sent_again += entry is not None and entry.paid_submissions > before.paid_submissions
        return self._add_left(planned, journal, replaced=replaced)

    def _add_left(self, planned: PlanEntry, journal: Journal, *, replaced: bool) -> Outcome | None:
        """Count by the journal an entry that has no outcome after the run, or is in doubt no longer.

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
        self.at_fault += _is_at_fault(outcome)
        return outcome

    def add_other_jobs(self, planned: Iterable[PlanEntry], journal: Journal) -> None:
        """Note the jobs that were named since the plan was made, beside those of its entries."""
        before = {(one.key, one.target): one.entry.doubt_ids if one.entry else () for one in planned}
        for entry in journal.with_other_jobs():
            known = before.get((entry.key, entry.target))
            if known is not None:
                self.other_jobs += [job_id for job_id in entry.doubt_ids if job_id not in known]

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
        catalog: the file whose rows it was about; "" where it was no file.
        commands_failed: commands of `--on-saved` that failed; the results are saved.
        unpriced: jobs of this run of which it is not known what they cost.
    """

    counts: OutcomeCounts
    output: OutputOptions
    cause: StopCause | None = None
    why: str = ""
    failure: AkoolError | None = None
    timed_out: bool = False
    catalog: str = ""
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
        return score.counts[NOT_SENT] + max(score.expected - score.finished - score.in_progress, 0)

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
            few = {1: "It is", 2: "Both translations are"}
            subject = few.get(score.expected, f"All {everything} are")
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
            (len(score.to_correct), "refused before they were sent, not charged: correct them"),
            (self.not_submitted - len(score.to_correct), "not submitted, not charged"),
        ):
            if number:
                yield f"  {number:,} {what}"
        yield from self._beside()
        if counts[IN_DOUBT]:
            yield "To resolve submissions whose outcome is unknown, run:"
            yield f"    {self.output.command('resolve')}"
        if without_result := counts["failed"] + counts["refused"] + counts["expired"]:
            yield from self._retry(without_result)
        if score.found:
            # The same command would find the same: only another journal, or to pay once more, changes that.
            yield f"Of {score.found:,} the results are in the folder and paid; this journal has no such jobs."
            if (other := journal_beside(self.output)) is not None:
                yield f"The journal {other} lies beside the results: run again without --journal to use it."
            yield "To have them counted, put the journal that knows them, or its newest backup, in the place"
            yield f"of {self.output.path} and run again. Without one, use the files; --pay-again pays twice."
        unsent = self.not_submitted - score.found - len(score.to_correct)
        if counts[NOT_SAVED] or score.in_progress or unsent > 0:
            yield from self._resume()
        if score.to_correct and self.catalog:
            yield "To see which rows were refused before they were sent, and why, run:"
            yield f"    {self.output.command('list')}"
            yield f"Correct them in {self.catalog}, and run it again. What is paid is not paid again."
            if not unsent:
                yield from same_command()
        elif score.to_correct:
            yield "Correct what the reasons name, and run again. What is paid is not paid again."

    def _retry(self, without_result: int) -> Iterator[str]:
        seen, again = self.output.command("list", failed=True), self.output.command("retry", failed=True)
        at_fault = self.counts.at_fault
        if at_fault < without_result:
            yield "To see each with its reason, and to pay again for what failed, run:"
            yield from (f"    {seen}", f"    {again}")
            if at_fault:
                yield f"{at_fault:,} of them would end so again: correct the video or the row first."
            return
        yield "To see each with its reason, run:"
        yield f"    {seen}"
        yield "Sent again as it is, each would end so again. Where the video at its URL was corrected, run:"
        yield f"    {again}"
        yield "A row with another URL or options needs another key, if it has one; then run its catalog."

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
        if others := self.counts.other_jobs:
            named = ", ".join(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
            yield f"  {counted(len(others), 'job')} that nobody asked for, which may be billed: {named}."
            yield "To see for which entries they were named, run:"
            yield f"    {self.output.command('status')}"
        if self.commands_failed:
            failed = counted(self.commands_failed, "command")
            yield f"  {failed} of --on-saved failed. The next run of the same catalog runs them again."
