"""What a report shows, as values: entries, videos with their translations, causes, costs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Final

import attrs

from akool_async._model.outcomes import cause_of

GOOD: Final = frozenset({"saved"})
BAD: Final = frozenset({"failed", "refused", "to correct", "expired", "files gone"})
UNVERIFIED: Final = frozenset({"unverified"})
DOUBTFUL: Final = frozenset({"in doubt", "being sent"})
_MADE: Final = frozenset({"saved", "unverified", "files gone", "done", "at the vendor", "expired"})
_SHOWN: Final = 10
"""Entries that are named for one cause; a link leads to the others."""

_DAYS: Final = 31
_BAR: Final = 96
"""Pixels of the longest bar."""


@attrs.frozen(kw_only=True)
class ReportEntry:
    """One entry of a journal as a report shows it.

    Attributes:
        label: what people call its video.
        group: the same for all entries of a video.
        target: the language; "" for lip-sync.
        state: how it is, in a word or two; `reason` says why.
        code: the vendor's number for a failure.
        credits: what its job costs, as far as known.
        cost: what it has cost so far, earlier jobs included.
        submitted_at: when it was sent, aware.
        ended_at: when its outcome was known, aware.
        expires_at: when its result expires, aware; None where nothing is left to expire.
        video: the saved video.
        translated: the saved subtitles in the target language.
        spoken: the saved subtitles in the source language.
        files: all saved files on this machine.
        elsewhere: URLs, without a signature, of saved files that are in a bucket and not on this machine.
        source: the language of the original, or "".
        original: an http(s) URL without a signature, or the path of a file; "" where neither is known.
        version: 1 for a first translation, more for one with corrected subtitles.
    """

    label: str
    group: str
    key: str
    target: str
    state: str
    reason: str = ""
    advice: str = ""
    code: int | None = None
    job_id: str = ""
    credits: float | None = None
    cost: float = 0.0
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    video: Path | None = None
    translated: Path | None = None
    spoken: Path | None = None
    files: tuple[Path, ...] = ()
    elsewhere: tuple[str, ...] = ()
    source: str = ""
    original: str | Path = ""
    version: int = 1

    @property
    def page(self) -> str:
        """The name of its video's page, the same in every report."""
        return f"video-{hashlib.sha256(self.group.encode('utf-8', 'replace')).hexdigest()[:16]}.html"

    @property
    def unpriced(self) -> bool:
        """Whether it has a job of which it is not known what it costs."""
        return bool(self.job_id) and self.credits is None and self.state in _MADE

    @property
    def unsaved_until(self) -> datetime | None:
        """When its result expires, if it is still to be saved."""
        return None if self.state in GOOD | UNVERIFIED | BAD else self.expires_at


@attrs.frozen(kw_only=True)
class Report:
    """A journal at one moment.

    Attributes:
        now: the moment, aware.
        running: whether a run was writing the journal.
        entries: in the journal's order.
        counts: entries by state, in the order in which they are shown.
        unpriced: jobs of which it is not known what they cost; neither `used` nor `locked` has them.
        next_steps: what to do, each with its reason and the command.
        command: what writes it again.
    """

    title: str
    now: datetime
    running: bool = False
    entries: tuple[ReportEntry, ...] = attrs.field(repr=False)
    counts: Mapping[str, int]
    used: float = 0.0
    locked: float = 0.0
    unpriced: int = 0
    next_steps: tuple[tuple[str, str], ...] = ()
    command: str = "akool-async report"

    def videos(self) -> list[list[ReportEntry]]:
        """Return the entries of each video."""
        found: dict[str, list[ReportEntry]] = {}
        for entry in self.entries:
            found.setdefault(entry.group, []).append(entry)
        return [*found.values()]


@attrs.frozen(kw_only=True)
class Cause:
    """Why some entries are as they are, and what to do about it."""

    state: str
    reason: str
    advice: str
    code: int | None
    shown: tuple[ReportEntry, ...]
    more: int


@attrs.frozen
class CauseGroup:
    """Causes of one kind under their heading, the most frequent first; `otherwise` stands for no reason."""

    anchor: str
    heading: str
    otherwise: str
    number: int
    causes: list[Cause]


def find_causes(report: Report) -> list[CauseGroup]:
    """Return what failed, is in doubt, is saved in part, or expires, with reasons."""
    kinds = {
        "failures": ("Without a result", "No reason is known.", BAD),
        "doubts": ("In doubt", "Sent, or maybe sent; the answer is unknown.", DOUBTFUL),
        "shortfalls": ("Saved, but not verified or without a file", "", GOOD | UNVERIFIED),
    }
    groups = []
    for anchor, (heading, otherwise, states) in kinds.items():
        entries = [entry for entry in report.entries if entry.state in states]
        if anchor == "shortfalls":
            entries = [entry for entry in entries if entry.reason]
        causes = _causes(entries, lambda entry: cause_of(entry.reason, entry.job_id))
        groups.append(CauseGroup(anchor, heading, otherwise, len(entries), causes))
    unsaved = sorted(
        (entry for entry in report.entries if entry.unsaved_until is not None),
        key=lambda entry: entry.unsaved_until or report.now,
    )
    causes = _causes(unsaved, lambda entry: f"Expires on {entry.expires_at:%Y-%m-%d}", by_number=False)
    groups.append(CauseGroup("expiring", "Not saved yet, and expires", "", len(unsaved), causes))
    return [group for group in groups if group.causes]


def _causes(
    entries: Iterable[ReportEntry], why: Callable[[ReportEntry], str], *, by_number: bool = True
) -> list[Cause]:
    found: dict[tuple[str, str, str, int | None], list[ReportEntry]] = {}
    for entry in entries:
        found.setdefault((entry.state, why(entry), entry.advice, entry.code), []).append(entry)
    groups = sorted(found.items(), key=lambda item: -len(item[1])) if by_number else [*found.items()]
    return [
        Cause(
            state=state,
            reason=reason,
            advice=advice,
            code=code,
            shown=tuple(same[:_SHOWN]),
            more=max(len(same) - _SHOWN, 0),
        )
        for (state, reason, advice, code), same in groups
    ]


@attrs.define
class CostRow:
    """What one language or day cost; `width` is the length of its bar in pixels."""

    name: str
    entries: int = 0
    saved: int = 0
    credits: float = 0.0
    unpriced: int = 0
    width: int = 0


@attrs.frozen(kw_only=True)
class CostTable:
    """Costs by language or by day."""

    caption: str
    heading: str
    languages: bool
    rows: tuple[CostRow, ...]


def find_costs(report: Report) -> list[CostTable]:
    """Return what was paid by language and by day; nothing where nothing was."""
    if not any(entry.cost or entry.unpriced for entry in report.entries):
        return []
    languages: dict[str, CostRow] = {}
    days: dict[date, CostRow] = {}
    for entry in report.entries:
        rows = [languages.setdefault(entry.target, CostRow(entry.target))]
        if entry.submitted_at is not None:
            day = entry.submitted_at.date()
            rows.append(days.setdefault(day, CostRow(day.isoformat())))
        for row in rows:
            row.entries += 1
            row.saved += entry.state in GOOD
            row.credits += entry.cost
            row.unpriced += entry.unpriced
    newest = [days[day] for day in sorted(days, reverse=True)]
    if len(newest) > _DAYS:
        earlier = CostRow("earlier")
        for row in newest[_DAYS:]:
            earlier.entries += row.entries
            earlier.saved += row.saved
            earlier.credits += row.credits
            earlier.unpriced += row.unpriced
        newest[_DAYS:] = [earlier]
    tables = []
    by_cost = sorted(languages.values(), key=lambda row: -row.credits)
    for caption, heading, rows in (
        ("By language", "Language", by_cost),
        ("By day of submission", "Day", newest),
    ):
        most = max((row.credits for row in rows), default=0.0)
        for row in rows:
            row.width = round(_BAR * row.credits / most) if most > 0 else 0
        tables.append(
            CostTable(caption=caption, heading=heading, languages=rows is by_cost, rows=tuple(rows))
        )
    return tables
