"""What stands on the terminal while a run goes on, drawn from made-up moments."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from akool_async import EntryProgress, Stage, Statistics, StopCause
from akool_async.cli.progress import ProgressSnapshot, RunProgress, what_continues
from akool_async.cli.run_summary import OutcomeCounts

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def jobs(count: int, **facts: Any) -> tuple[EntryProgress, ...]:
    told = {"stage": Stage.PROCESSING, "job_id": "j", "progress": 40, "seconds": 75.0} | facts
    return tuple(EntryProgress(key=f"video-{number}", target="ja", **told) for number in range(count))


def score(expected: int, made: int = 0, **counts: int) -> OutcomeCounts:
    told = OutcomeCounts(expected=expected, made=made, made_in=60.0 if made else 0.0)
    told.counts.update({word.replace("_", " "): number for word, number in counts.items()})
    return told


def drawn(
    moment: ProgressSnapshot, *, width: int = 100, height: int = 30, max_credits: float | None = None
) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(RunProgress({}, max_credits=max_credits).render(moment, console.size))
    shown = console.file.getvalue()
    assert len(shown.splitlines()) <= height
    assert all(cell_len(line) <= width for line in shown.splitlines())
    return shown


def moment(at_work: tuple[EntryProgress, ...], told: OutcomeCounts, **facts: Any) -> ProgressSnapshot:
    return ProgressSnapshot(
        counts=told,
        statistics=facts.pop("statistics", Statistics(seconds=60.0)),
        in_progress=at_work,
        now=NOW,
        **facts,
    )


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time of this machine is that of no place."""
    with monkeypatch.context() as told:
        told.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(("width", "height"), [(100, 9), (100, 12), (100, 24), (40, 18), (30, 22)])
def test_a_low_terminal_shows_fewer_jobs_and_says_how_many_there_are(width: int, height: int) -> None:
    shown = drawn(moment(jobs(40), score(100)), width=width, height=height)

    assert "40 in progress" in shown
    lines = [line for line in shown.splitlines() if line.startswith("video-")]
    assert f"and {40 - len(lines)} more" in shown


@pytest.mark.parametrize(
    ("made", "rest", "told"),
    [
        (0, 10, "10 in progress, 1 min so far"),
        (120, 60, "2.0 a second, about 30 s to go"),
        (10, 60, "10.0 a minute, about 6 min to go"),
        (1, 600, "1.0 a minute, about 10 h to go"),
        (1, 6000, "1.0 a minute, about 4 d 4 h to go, until Thu 05 Mar 16:00"),
    ],
)
def test_the_speed_is_told_in_units_that_make_sense(made: int, rest: int, told: str, in_utc: None) -> None:
    shown = drawn(moment(jobs(10), score(made + rest, made, saved=made)))

    assert told in shown


def test_the_rest_never_seems_to_grow_while_nothing_ends() -> None:
    told = []
    for seconds in (60.0, 63.0, 66.0, 90.0, 600.0, 6000.0):
        seen = Statistics(seconds=seconds)
        told.append(moment(jobs(8), score(18, 10, saved=10), statistics=seen).remaining())
    last = moment(jobs(1), score(11, 10, saved=10), statistics=Statistics(seconds=600.0))

    assert told[:3] == ["about 48 s to go", "about 45 s to go", "about 42 s to go"]
    assert set(told[3:]) == {"at least 42 s to go"}
    assert last.remaining() == ""
    assert "1 in progress, 10.0 a minute\n" in drawn(last)


def test_what_did_not_move_a_doubt_and_a_bound_are_seen() -> None:
    seen = Statistics(seconds=60.0, credits_used=12.0, credits_locked=1_234_567.5)
    shown = drawn(
        moment(
            jobs(1, stalled=True), score(9, saved=2, failed=1, in_doubt=1), statistics=seen, total=1999.4444
        ),
        max_credits=5000.0,
    )

    assert "stalled" in shown
    assert "2 of 9 saved, 1 failed, 1 in doubt" in shown
    assert "Credits: 12 used, 1,234,567.5 locked, about 1,999 in all, at most 5,000" in shown


def test_a_stop_says_what_happens_to_what_is_at_work() -> None:
    shown = drawn(moment(jobs(3), score(80, saved=6, not_sent=10), stopping="Interrupted by SIGINT."))

    assert "6 of 80 saved, 71 not sent" in shown  # those, too, that are not pulled from the catalog any more
    assert "Stopping: Interrupted by SIGINT." in shown
    assert "A second Ctrl-C or signal exits now; jobs continue" in shown


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_has_words(stage: Stage) -> None:
    shown = drawn(moment(jobs(1, stage=stage, progress=None), score(2)))

    assert stage.name not in shown
    assert ("100 %" in shown) is (stage is Stage.SAVING)


@pytest.mark.parametrize("cause", [StopCause.FAILURE, StopCause.CREDENTIALS])
def test_what_may_not_be_saved_is_not_called_saved(cause: StopCause) -> None:
    assert what_continues(cause) == (
        "Jobs in progress continue at the vendor; the next run saves what this one can't."
    )
