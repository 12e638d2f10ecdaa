"""A plan in words and as rows: what would be done, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from akool_async._model.filenames import template_of
from akool_async._model.redact import strip_query
from akool_async._model.requests import CaptionType, Request, TranslationRequest, video_url
from akool_async._model.tariff import credits_text
from akool_async.cli.console import (
    approximate,
    counted,
    credits_line,
    strip_control,
)
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
    width = len(f"{max(counts.values(), default=0):,}")
    for action, words in _ACTIONS.items():
        if counts[action]:
            yield f"  {counts[action]:>{width},}  {words}"
    if extras := _extras(plan):
        yield f"Options that may cost extra: {extras}."
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
        bound, rest = credits_text(plan.max_credits), credits_text(max(left, 0.0))
        yield f"--max-credits {bound} leaves {rest} for that: {fits}."
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


def _extras(plan: Plan) -> str:
    """Return which options the new jobs have that make them dear, such as "lip-sync for 3"."""
    found: Counter[str] = Counter()
    for entry in plan.entries:
        request = entry.item.request
        if entry.action.is_paid and isinstance(request, TranslationRequest):
            found["lip-sync"] += request.lipsync
            if request.caption_type is not CaptionType.NONE:
                found[f"captions ({request.caption_type.name.lower()})"] += 1
    return ", ".join(f"{what} for {number:,}" for what, number in found.items() if number)


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
        name = planned.name or (entry and entry.name)
        name = name or template_of(item.names).name(item.request, planned.target)
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


def terminal_table(
    plan: Plan, output: OutputOptions, most: int
) -> tuple[list[dict[str, Any]], Mapping[str, str]]:
    """Return rows and headings of a plan for a terminal: at most so many entries, each with its video alone.

    Where a row has no key, its entry has a hash for one: the name of the video is shown instead.
    """
    rows = [
        row | {"key": request_label(planned.item.request), "files": row["files"][:1]}
        for planned, row in zip(
            islice(plan.entries, most), plan_rows(plan, output, all_fields=False), strict=False
        )
    ]
    keyless = any(item.request.key is None for item in plan.catalog.items)
    return rows, {**COLUMNS, "key": "Video"} if keyless else COLUMNS


def _reason(planned: PlanEntry) -> str:
    if planned.check is not None and planned.check.refusals:
        return planned.check.reason
    return "" if planned.entry is None else planned.entry.reason


def request_label(request: Request) -> str:
    """Return what people call a request: its key, or the name of its video if it has none."""
    parts = urlsplit(video_url(request))
    return strip_control(request.key or unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.netloc)
