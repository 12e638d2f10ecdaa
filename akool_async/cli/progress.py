"""How far a run is, for people: redrawn in place on a terminal, lines now and then elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import anyio
import attrs
from anyio.to_thread import run_sync
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from akool_async._batch import Batch, EntryProgress, Stage, Statistics, StopCause
from akool_async._model.outcomes import Completed, Outcome
from akool_async._model.tariff import credits_text
from akool_async.cli.console import (
    approximate,
    credits_line,
    duration,
    is_terminal,
    print_info,
    stderr,
    strip_control,
)
from akool_async.cli.run_summary import NOT_SAVED, NOT_SENT, SAVED, UNVERIFIED, OutcomeCounts, outcome_label

REDRAW_INTERVAL: Final = 0.2
REPORT_INTERVAL: Final = 30.0
"""Seconds between two lines about the whole run, where nothing is drawn."""
STYLES: Final[Mapping[str, str]] = {
    SAVED: "green",
    NOT_SAVED: "yellow",
    UNVERIFIED: "yellow",
    "in doubt": "yellow",
    NOT_SENT: "yellow",
    "failed": "red",
    "refused": "red",
    "expired": "red",
}
_LABEL_WIDTH: Final = len(NOT_SAVED)
_STAGES: Final[Mapping[Stage, str]] = {
    Stage.SUBMITTING: "being sent",
    Stage.WAITING: "at the vendor",
    Stage.QUEUEING: "queued",
    Stage.PROCESSING: "processing",
    Stage.SAVING: "downloading",
}
_RATE_UNITS: Final = ((1.0, "second"), (60.0, "minute"), (3600.0, "hour"))
_MAX_KEY_WIDTH: Final = 40
_BAR_WIDTH: Final = 24
_BARS_FROM: Final = 64
"""Columns of a terminal that has room for bars."""
_LONG_WORD: Final = 8
_MAX_SECONDS: Final = 10_000_000.0
_ONE_SECOND: Final = timedelta(seconds=1)
_MAX_SHOWN: Final = 16
"""Entries that are shown one by one."""


@attrs.frozen(kw_only=True)
class ProgressSnapshot:
    """A run at one moment.

    Attributes:
        stopping: why nothing more is submitted; "" while it is.
        stop_cause: what kind of event that was.
        total: what all jobs of the journal will have cost, as far as it can be estimated.
    """

    counts: OutcomeCounts
    statistics: Statistics
    in_progress: tuple[EntryProgress, ...]
    stopping: str = ""
    stop_cause: StopCause | None = None
    now: datetime
    total: float | None = None

    @classmethod
    def of_batch(cls, batch: Batch, counts: OutcomeCounts) -> ProgressSnapshot:
        """Look at a batch now."""
        return cls(
            counts=counts,
            statistics=batch.statistics(),
            in_progress=batch.in_progress(),
            stopping=batch.stopped,
            stop_cause=batch.stop_cause,
            now=datetime.now(UTC),
        )

    def remaining(self, *, until: bool = False) -> str:
        """Return in words how long the rest takes at the rate of this run; "" before it has one.

        The rate is that of the moment in which the last job ended. Measured now it would fall, and the rest
        seem to take ever longer, while nothing ends because jobs take their time. With `until`, the time at
        which it would be over is said, too.
        """
        rest = len(self.in_progress) if self.stopping else self.counts.expected - self.counts.finished
        if not (rest and self.rate):
            return ""
        since = max(self.statistics.seconds - self.counts.made_in, 0.0)
        left = timedelta(seconds=min((rest - 1) / self.rate + max(1 / self.rate - since, 0), _MAX_SECONDS))
        if since * self.rate > 1:
            return f"at least {duration(left)} to go" if left >= _ONE_SECOND else ""
        over = (self.now + left).astimezone()
        day = "" if left < timedelta(hours=20) else f"{over:%a %d %b} "
        return f"about {duration(left)} to go" + (f", until {day}{over:%H:%M}" if until else "")

    @property
    def rate(self) -> float:
        """Jobs of this run that had ended, per second, when the last of them did."""
        return self.counts.made / max(self.counts.made_in, 1e-9)


class RunProgress:
    """Shows a run on stderr.

    A picture is a table and not `rich.progress`, whose list of tasks can't be cut to the height of the
    terminal: one that is too high would scroll and flicker.

    Args:
        labels: what people call each key.
        drawn: whether there is a terminal to draw on.
    """

    def __init__(
        self, labels: Mapping[str, str], *, drawn: bool = True, max_credits: float | None = None
    ) -> None:
        self._labels = labels
        self._drawn = drawn
        self._max_credits = max_credits

    @asynccontextmanager
    async def watching(self, look: Callable[[], ProgressSnapshot]) -> AsyncIterator[None]:
        """Show how far the run is until the block ends."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._draw if self._drawn else self._report, look)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    async def _draw(self, look: Callable[[], ProgressSnapshot]) -> None:
        with Live(console=stderr, auto_refresh=False, transient=True, redirect_stdout=False) as live:
            while True:
                # In a thread, because a terminal that is paused (Ctrl-S) blocks the write, and polls with it.
                await run_sync(partial(live.update, self.render(look(), stderr.size), refresh=True))
                await anyio.sleep(REDRAW_INTERVAL)

    async def _report(self, look: Callable[[], ProgressSnapshot]) -> None:
        reported = ""
        while True:
            await anyio.sleep(REPORT_INTERVAL)
            moment = look()
            seen = moment.statistics
            parts = (
                _counts(moment).plain,
                f"{len(moment.in_progress):,} in progress",
                f"credits: {credits_line(seen.credits_used, seen.credits_locked, seen.unpriced)}",
                moment.remaining(),
            )
            line = ", ".join(filter(None, parts))
            if line != reported:
                reported = line
                await run_sync(print_info, line)

    def entry_ended(self, outcome: Outcome) -> None:
        """Print how an entry ended, unless an earlier run has printed it."""
        if outcome.resumed:
            return
        label = outcome_label(outcome)
        name = f"{self._labels.get(outcome.key, outcome.key)} {outcome.target}"
        file = outcome.saved.video if isinstance(outcome, Completed) and outcome.saved else ""
        reasons = [outcome.reason]
        if isinstance(outcome, Completed) and outcome.saved is not None:
            lacking = {**outcome.saved.missing, **outcome.saved.unverified}
            reasons += [f"{artifact}: {why}" for artifact, why in lacking.items()]
        line = Text(f"{label:<{_LABEL_WIDTH}}", style=STYLES.get(label, ""))
        line.append("  ".join(["", *filter(None, map(strip_control, (name, file)))]), style="default")
        if is_terminal(stderr):
            stderr.print(line, soft_wrap=True)
            for reason in filter(None, reasons):
                print_info(f"  {reason}")
        else:
            print_info("  ".join(filter(None, (line.plain, *reasons))))

    def render(self, moment: ProgressSnapshot, size: ConsoleDimensions) -> RenderableType:
        """Return the picture of a moment for a terminal of this size."""
        footer = list(map(Text, self._footer(moment)))
        reserved = 6
        for line in footer:
            # A wrapped line leaves some of its columns unused, up to a long word in each.
            wrapped = line.cell_len > size.width
            reserved += 1 + (-(-line.cell_len // max(size.width - _LONG_WORD, 1)) if wrapped else 0)
        shown = moment.in_progress[: min(max(size.height - reserved, 1), _MAX_SHOWN)]
        parts: list[RenderableType] = [Text(), self._entries(shown, size.width)] if shown else []
        if len(moment.in_progress) > len(shown):
            parts.append(Text(f"and {len(moment.in_progress) - len(shown):,} more", style="dim"))
        if parts:
            parts.append(Text())
        overall = Table.grid(padding=(0, 1))
        counts = moment.counts
        bar = ProgressBar(total=max(counts.expected, 1), completed=counts.finished, width=_BAR_WIDTH)
        overall.add_row(*([bar] if size.width >= _BARS_FROM else []), _counts(moment))
        return Group(*parts, overall, *footer)

    def _entries(self, entries: tuple[EntryProgress, ...], width: int) -> Table:
        table = Table.grid(padding=(0, 1))
        wide = width >= _BARS_FROM
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=min(_MAX_KEY_WIDTH, width // 3))
        table.add_column(no_wrap=True)
        if wide:
            table.add_column(width=_BAR_WIDTH)
        table.add_column(justify="right", no_wrap=True, width=5)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for entry in entries:
            done = 100 if entry.stage is Stage.SAVING else entry.progress
            cells: list[RenderableType] = [
                Text(self._labels.get(entry.key, entry.key)),
                Text(entry.target, style="bold"),
                Text("" if done is None else f"{done} %"),
                Text("stalled", style="yellow") if entry.stalled else Text(_STAGES[entry.stage]),
            ]
            if wide:
                cells.insert(2, ProgressBar(total=100, completed=done or 0, width=_BAR_WIDTH))
                age = duration(timedelta(seconds=entry.seconds)) if entry.job_id else ""
                cells.append(Text(age, style="dim", justify="right", no_wrap=True))
            table.add_row(*cells)
        return table

    def _footer(self, moment: ProgressSnapshot) -> Iterator[str]:
        in_progress = f"{len(moment.in_progress):,} in progress"
        if not moment.counts.made:
            yield f"{in_progress}, {duration(timedelta(seconds=moment.statistics.seconds))} so far"
        else:
            rates = ((f"{moment.rate * span:.1f} a {unit}", moment.rate * span) for span, unit in _RATE_UNITS)
            rate = next((text for text, number in rates if number >= 1), f"{moment.rate * 86_400:.1f} a day")
            yield ", ".join(filter(None, (in_progress, rate, moment.remaining(until=True))))
        seen = moment.statistics
        spent = credits_line(seen.credits_used, seen.credits_locked, seen.unpriced)
        total = "" if moment.total is None else f", about {approximate(moment.total)} in all"
        bound = "" if self._max_credits is None else f", at most {credits_text(self._max_credits)}"
        yield f"Credits: {spent}{total}{bound}"
        if moment.stopping:
            yield f"Stopping: {moment.stopping}"
            yield f"{what_continues(moment.stop_cause)} A second Ctrl-C or signal exits now; jobs continue."
        else:
            yield "Ctrl-C submits nothing more and saves what is in progress."


def what_continues(cause: StopCause | None) -> str:
    """Return what becomes of jobs in progress, after a stop."""
    if cause is StopCause.STORAGE:
        return "Jobs in progress are waited for; the next run saves their results."
    # Neither may a poll be answered with a key that was refused, nor a result be recorded in a journal that
    # can't be written.
    if cause in (StopCause.FAILURE, StopCause.CREDENTIALS):
        return "Jobs in progress continue at the vendor; the next run saves what this one can't."
    return "What is in progress is saved."


def _counts(moment: ProgressSnapshot) -> Text:
    text, counts, numbers = Text(), moment.counts, moment.counts.counts
    text.append(f"{counts.saved:,} of {counts.expected:,} saved", style="bold")
    if moment.stopping:  # what no run will pull from the catalog any more is not sent either
        rest = max(counts.expected - counts.finished - len(moment.in_progress), 0)
        numbers = numbers + Counter({NOT_SENT: rest})
    for label, number in numbers.items():
        if label != SAVED:
            text.append(f", {number:,} ")
            text.append(label, style=STYLES.get(label, ""))
    return text
