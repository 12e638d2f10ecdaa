"""A plan in words and as data: what a run would do, what it would cost, what stands in its way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from akool_async._core.names import NameTemplate
from akool_async._core.text import without_query
from akool_async.cli.amounts import about, exact
from akool_async.cli.catalog import Catalog
from akool_async.cli.estimate import Estimate
from akool_async.cli.survey import Due, Line, Survey

COLUMNS: Final[Mapping[str, str]] = {
    "key": "Key",
    "target": "Language",
    "due": "Now",
    "credits": "Credits",
    "files": "Files",
}
"""What is shown of each entry."""

_WORDS: Final[Mapping[Due, str]] = {
    Due.SUBMIT: "new: would be submitted and paid",
    Due.AGAIN: "to be paid again, as you allow it",
    Due.WAIT: "at the vendor, paid already: would be waited for and brought home",
    Due.HOME: "home: nothing to do",
    Due.DOUBT: "in doubt, perhaps paid: would stay so until `akool-async resolve`",
    Due.FAILED: "failed or refused: would stay so without --retry-failed",
    Due.EXPIRED: "expired at the vendor: would stay so without --retry-failed",
}
_MOST_LANGUAGES: Final = 8


def in_words(survey: Survey) -> Iterator[str]:
    """Give the plan as lines for people."""
    yield f"{survey.catalog.title or survey.catalog.path}: {_size(survey.catalog, survey.lines)}."
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


def notes(survey: Survey) -> Iterator[str]:
    """Give what is worth a word."""
    if survey.held is not None:
        yield f"{survey.held.what} What it says here may change meanwhile."
    yield from survey.notes
    if survey.checked is not None:
        yield from survey.checked.notes


def _size(catalog: Catalog, lines: Iterable[Line]) -> str:
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
    return f"{least}{about(estimate.credits)} credits for {jobs} ({estimate.basis})"


def _account(survey: Survey) -> Iterator[str]:
    checked = survey.checked
    if checked is None:
        yield "The server was not asked about languages, voices and the balance."
        return
    if checked.balance is not None:
        left = checked.balance - survey.estimate.credits
        enough = "" if left >= 0 else " That is not enough; what can't be paid stays for another run."
        rest = f", about {about(left)} after that" if survey.estimate.credits and left >= 0 else ""
        yield f"Balance: {exact(checked.balance)} credits{rest}.{enough}"
    if survey.locked or survey.used:
        yield f"So far in this journal: {exact(survey.used)} credits used, {exact(survey.locked)} locked."


def rows(survey: Survey) -> Iterator[dict[str, Any]]:
    """Give the plan's entries as data."""
    for line in survey.lines:
        entry = line.entry
        yield {
            "key": line.key,
            "target": line.target,
            "due": line.due.value,
            "credits": line.cost if entry is None or line.due.paid else entry.credits_used,
            "files": _files(line),
            "job_id": "" if entry is None else entry.job_id,
            "reason": "" if entry is None else entry.reason,
            "url": without_query(line.item.url),
            "row": str(line.item.place),
        }


def _files(line: Line) -> list[str]:
    """Give the files that are home, or else the name that the video would get."""
    entry = line.entry
    if entry is not None and entry.files:
        return list(entry.files)
    wanted = NameTemplate(line.item.names).name(line.item.request, line.target)
    return [f"{(entry and entry.name) or wanted}.mp4"]


def as_data(survey: Survey) -> dict[str, Any]:
    """Give the plan's sums as data."""
    estimate, checked = survey.estimate, survey.checked
    return {
        "catalog": survey.catalog.title or str(survey.catalog.path),
        "rows": survey.catalog.rows,
        "entries": len(survey.lines),
        "due": {due.value: survey.counts[due] for due in Due},
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
