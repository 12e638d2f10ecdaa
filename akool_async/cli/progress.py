"""How far a run is, for people: a picture that is redrawn on a terminal, lines anywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

import anyio
import attrs
from anyio.to_thread import run_sync
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from akool_async._batch import EntryProgress, Stage, Statistics
from akool_async._model.outcomes import Completed, Outcome
from akool_async.cli.console import approximate, credits_text, duration, print_info, stderr, strip_control
from akool_async.cli.report import HOME, OutcomeCounts, outcome_label

# What stands on the terminal while a run goes on: its jobs, how far all is, what it costs, what to do.
#
# Only looks; a moment and a size in, something to draw out.


STYLES: Final[Mapping[str, str]] = {
    HOME: "green",
    "not home": "yellow",
    "in doubt": "yellow",
    "not sent": "yellow",
    "failed": "red",
    "refused": "red",
    "expired": "red",
}
"""The colour of each way to end."""

_STAGES: Final[Mapping[Stage, str]] = {
    Stage.SUBMITTING: "being sent",
    Stage.WAITING: "at the vendor",
    Stage.QUEUEING: "in the queue",
    Stage.PROCESSING: "at work",
    Stage.DOWNLOADING: "coming home",
}

_WIDEST_LABEL: Final = 40
_BAR: Final = 24
_NARROW: Final = 64
"""Columns below which there is no room for bars."""

_LONG_WORD: Final = 8
_EVER: Final = 10_000_000.0
_MOST: Final = 16
"""Jobs that are shown one by one."""


@attrs.frozen(kw_only=True)
class ProgressSnapshot:
    """A run at one moment.

    Attributes:
        score: what has come of its entries.
        seen: the batch's numbers.
        at_work: entries at work.
        stopping: why nothing more is submitted; "" while it is.
        now: the wall clock, aware.
        in_all: what this journal's jobs will have cost together, as far as it can be judged.
    """

    score: OutcomeCounts
    seen: Statistics
    in_progress: tuple[EntryProgress, ...]
    stopping: str = ""
    now: datetime
    total: float | None = None

    @property
    def left(self) -> timedelta | None:
        """How long the rest takes at the rate of this run; None before it has one."""
        rest = len(self.in_progress) if self.stopping else self.score.expected - self.score.ended
        return timedelta(seconds=min(rest / self.rate, _EVER)) if rest and self.rate else None

    @property
    def rate(self) -> float:
        """Jobs of this run that have ended, per second."""
        return self.score.made / max(self.seen.seconds, 1e-9)


class ProgressView:
    """Draws a run.

    Args:
        labels: what each key is called.
        max_credits: the bound on credits, if there is one.
    """

    def __init__(self, labels: Mapping[str, str], max_credits: float | None) -> None:
        """Draw nothing yet."""
        self._labels = labels
        self._max_credits = max_credits

    def of(self, moment: ProgressSnapshot, size: ConsoleDimensions) -> RenderableType:
        """Give the picture of a moment for a terminal of this size."""
        below = list(map(Text, self._below(moment)))
        room = max(size.height - sum(_height(line, size.width) for line in below) - 6, 1)
        shown = moment.in_progress[: min(room, _MOST)]
        parts: list[RenderableType] = [Text(), self._jobs(shown, size.width)] if shown else []
        if len(moment.in_progress) > len(shown):
            parts.append(Text(f"and {len(moment.in_progress) - len(shown)} more", style="dim"))
        if parts:
            parts.append(Text())
        return Group(*parts, self._overall(moment, size.width), *below)

    def _jobs(self, at_work: tuple[EntryProgress, ...], width: int) -> Table:
        table = Table.grid(padding=(0, 1))
        wide = width >= _NARROW
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=min(_WIDEST_LABEL, width // 3))
        table.add_column(no_wrap=True)
        if wide:
            table.add_column(width=_BAR)
        table.add_column(justify="right", no_wrap=True, width=5)
        table.add_column(no_wrap=True, overflow="ellipsis")
        if wide:
            table.add_column(justify="right", no_wrap=True)
        for one in at_work:
            table.add_row(*self._row(one, wide=wide))
        return table

    def _row(self, one: EntryProgress, *, wide: bool) -> Iterator[RenderableType]:
        done = 100 if one.stage is Stage.DOWNLOADING else one.progress or 0
        known = one.stage is Stage.DOWNLOADING or one.progress is not None
        yield Text(self._labels.get(one.key, one.key))
        yield Text(one.target, style="bold")
        if wide:
            yield ProgressBar(total=100, completed=done, width=_BAR)
        yield Text(f"{done} %" if known else "")
        yield Text("does not move", style="yellow") if one.stalled else Text(_STAGES[one.stage])
        if wide:
            yield Text(duration(timedelta(seconds=one.seconds)) if one.job_id else "", style="dim")

    def _overall(self, moment: ProgressSnapshot, width: int) -> RenderableType:
        score = moment.score
        told = Text()
        told.append(f"{score.saved:,} of {score.expected:,} home", style="bold")
        for word, number in score.counts.items():
            if word != HOME:
                told.append(f", {number:,} ")
                told.append(word, style=STYLES.get(word, ""))
        if width < _NARROW:
            return told
        table = Table.grid(padding=(0, 1))
        table.add_row(ProgressBar(total=max(score.expected, 1), completed=score.ended, width=_BAR), told)
        return table

    def _below(self, moment: ProgressSnapshot) -> Iterator[str]:
        yield self._speed(moment)
        yield self._credits(moment)
        if moment.stopping:
            yield f"Stopping: {moment.stopping}"
            yield "What is at work is brought home. Ctrl-C again leaves it at the vendor, where it goes on."
        else:
            yield "Ctrl-C submits nothing more and brings home what is at work."

    def _speed(self, moment: ProgressSnapshot) -> str:
        working = f"{len(moment.in_progress)} at work"
        left = moment.left
        if left is None:
            return f"{working}, {duration(timedelta(seconds=moment.seen.seconds))} so far"
        until = (moment.now + left).astimezone()
        day = "" if left < timedelta(hours=20) else f"{until:%a %d %b} "
        return f"{working}, {_rate(moment.rate)}, about {duration(left)} to go, until {day}{until:%H:%M}"

    def _credits(self, moment: ProgressSnapshot) -> str:
        seen = moment.seen
        most = "" if self._max_credits is None else f", at most {credits_text(self._max_credits)}"
        used, locked = (
            f"{credits_text(seen.credits_used)} used",
            f"{credits_text(seen.credits_locked)} locked",
        )
        in_all = "" if moment.total is None else f", about {approximate(moment.total)} in all"
        return f"Credits: {used}, {locked}{in_all}{most}"


def _height(line: Text, width: int) -> int:
    """Give the lines that a text takes; breaks between words leave some room unused."""
    return 1 if line.cell_len <= width else 1 + -(-line.cell_len // max(width - _LONG_WORD, 1))


def _rate(rate: float) -> str:
    """Give how many end in a time that makes sense of the number."""
    for seconds, unit in ((1.0, "second"), (60.0, "minute"), (3600.0, "hour")):
        if rate * seconds >= 1:
            return f"{rate * seconds:.1f} a {unit}"
    return f"{rate * 86_400:.1f} a day"


REDRAWN: Final = 0.2
"""Seconds between two pictures."""

_WIDEST: Final = max(map(len, STYLES))
_INDENT: Final = 2
REPORTED_EVERY: Final = 30.0
"""Seconds between two lines about how far all is, where there is no picture."""

Look: TypeAlias = Callable[[], ProgressSnapshot]


class RunProgress:
    """Shows a run.

    Args:
        labels: what each key is called.
        drawn: whether there is a terminal to draw on.
        max_credits: the bound on credits, if there is one.
    """

    def __init__(self, labels: Mapping[str, str], *, drawn: bool, max_credits: float | None) -> None:
        """Show nothing yet."""
        self._labels = labels
        self._drawn = drawn
        self._picture = ProgressView(labels, max_credits)

    @asynccontextmanager
    async def watching(self, look: Look) -> AsyncIterator[None]:
        """Show how far the run is while the block goes on."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._draw if self._drawn else self._tell, look)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    async def _draw(self, look: Look) -> None:
        with Live(console=stderr, auto_refresh=False, transient=True, redirect_stdout=False) as live:
            while True:
                picture = self._picture.of(look(), stderr.size)
                await run_sync(partial(live.update, picture, refresh=True))
                await anyio.sleep(REDRAWN)

    async def _tell(self, look: Look) -> None:
        told = ""
        while True:
            await anyio.sleep(REPORTED_EVERY)
            moment = look()
            line = _line(moment)
            if line != told:
                told = line
                await run_sync(print_info, line)

    def ended(self, outcome: Outcome) -> None:
        """Tell how an entry ended, unless an earlier run has told it."""
        if outcome.resumed:
            return
        word = outcome_label(outcome)
        name = f"{self._labels.get(outcome.key, outcome.key)} {outcome.target}"
        file = outcome.saved.video if isinstance(outcome, Completed) and outcome.saved else ""
        told = Text(f"{word:<{_WIDEST}}", style=STYLES.get(word, ""))
        told.append(
            "  ".join(["", strip_control(name), *filter(None, [strip_control(file)])]), style="default"
        )
        if stderr.is_terminal:
            stderr.print(told, soft_wrap=True)
            if outcome.reason:
                print_info(f"{' ' * _INDENT}{outcome.reason}")
        else:
            print_info("  ".join(filter(None, (told.plain, outcome.reason))))


def _line(moment: ProgressSnapshot) -> str:
    score = moment.score
    others = ", ".join(f"{number} {word}" for word, number in score.counts.items() if word != HOME)
    left = moment.left
    parts = (
        f"{score.saved:,} of {score.expected:,} home",
        others,
        f"{len(moment.in_progress)} at work",
        f"{credits_text(moment.seen.credits_used)} credits used",
        f"about {duration(left)} to go" if left is not None else "",
    )
    return ", ".join(filter(None, parts))
