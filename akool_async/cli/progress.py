"""How far a run is, for people: a picture that is redrawn on a terminal, lines anywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

import anyio
from anyio.to_thread import run_sync
from rich.live import Live
from rich.text import Text

from akool_async._core.outcomes import Completed, Outcome
from akool_async.cli.amounts import exact
from akool_async.cli.ending import HOME, word_for
from akool_async.cli.moments import span
from akool_async.cli.picture import STYLES, Moment, Picture
from akool_async.cli.talk import plain, say, talk

REDRAWN: Final = 0.2
"""Seconds between two pictures."""

_WIDEST: Final = max(map(len, STYLES))
_INDENT: Final = 2

SAID: Final = 30.0
"""Seconds between two lines about how far all is, where there is no picture."""

Look: TypeAlias = Callable[[], Moment]


class Progress:
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
        self._picture = Picture(labels, max_credits)

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
        with Live(console=talk, auto_refresh=False, transient=True, redirect_stdout=False) as live:
            while True:
                picture = self._picture.of(look(), talk.size)
                await run_sync(partial(live.update, picture, refresh=True))
                await anyio.sleep(REDRAWN)

    async def _tell(self, look: Look) -> None:
        told = ""
        while True:
            await anyio.sleep(SAID)
            moment = look()
            line = _line(moment)
            if line != told:
                told = line
                await run_sync(say, line)

    def ended(self, outcome: Outcome) -> None:
        """Tell how an entry ended, unless an earlier run has told it."""
        if outcome.resumed:
            return
        word = word_for(outcome)
        name = f"{self._labels.get(outcome.key, outcome.key)} {outcome.target}"
        file = outcome.saved.video if isinstance(outcome, Completed) and outcome.saved else ""
        told = Text(f"{word:<{_WIDEST}}", style=STYLES.get(word, ""))
        told.append("  ".join(["", plain(name), *filter(None, [plain(file)])]), style="default")
        if talk.is_terminal:
            talk.print(told, soft_wrap=True)
            if outcome.reason:
                say(f"{' ' * _INDENT}{outcome.reason}")
        else:
            say("  ".join(filter(None, (told.plain, outcome.reason))))


def _line(moment: Moment) -> str:
    score = moment.score
    others = ", ".join(f"{number} {word}" for word, number in score.counts.items() if word != HOME)
    left = moment.left
    parts = (
        f"{score.home:,} of {score.expected:,} home",
        others,
        f"{len(moment.at_work)} at work",
        f"{exact(moment.seen.credits_used)} credits used",
        f"about {span(left)} to go" if left is not None else "",
    )
    return ", ".join(filter(None, parts))
