"""What a run of a catalog would do, entry by entry: the catalog beside what the journal says."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from statistics import fmean
from typing import Final

import anyio
import attrs

from akool_async._batch import OnInDoubt
from akool_async._client import AkoolClient
from akool_async._journal import Entry, open_journal
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    CertificateError,
    ConnectError,
    JournalLockedError,
)
from akool_async._model.fingerprint import canonical_url, exact_fingerprint, fingerprint
from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import Language
from akool_async._model.states import State
from akool_async.cli.catalog import Catalog, CatalogError, CatalogItem, Issue

# What new jobs will cost, judged by what earlier ones did.
#
# The vendor tells no price before a job is made.


@attrs.frozen
class Estimate:
    """What some new jobs would cost.

    Attributes:
        jobs: how many.
        credits: for those that there is a basis for.
        same_video: how many are judged by earlier jobs of the same video.
        average: how many are judged by all earlier jobs of their kind.
        earlier: jobs whose cost is known.
    """

    jobs: int = 0
    credits: float = 0.0
    same_video: int = 0
    average: int = 0
    earlier: int = 0

    @property
    def unknown(self) -> int:
        """How many there is no basis for."""
        return self.jobs - self.same_video - self.average

    @property
    def basis(self) -> str:
        """What it rests on, in words."""
        if not self.jobs:
            return "nothing would be submitted"
        if not self.earlier:
            return "no earlier job in the journal tells what one costs"
        parts = []
        if self.same_video:
            parts.append(f"{self.same_video} by what the same video cost before")
        if self.average:
            parts.append(f"{self.average} by the average of {self.earlier} earlier")
        if self.unknown:
            parts.append(f"{self.unknown} unknown: none of their kind was made before")
        return ", ".join(parts)


class Prices:
    """What jobs have cost: per job, for a video and for a kind (with or without lip-sync)."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._videos: dict[tuple[str, bool], list[float]] = {}
        self._kinds: dict[bool, list[float]] = {}

    def learn(self, entry: Entry) -> None:
        """Take in what an entry's job cost, or has locked."""
        cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
        if cost is not None and entry.job_id:
            video, lipsync = _kind(entry.request)
            self._videos.setdefault((video, lipsync), []).append(cost)
            self._kinds.setdefault(lipsync, []).append(cost)

    def of(self, request: Request) -> float | None:
        """Give what one job of a request will probably cost."""
        same, alike = self._found(request)
        known = same or alike
        return fmean(known) if known else None

    def estimate(self, requests: Iterable[Request]) -> Estimate:
        """Judge jobs, one for each of `requests`."""
        jobs = same_video = average = 0
        total = 0.0
        for request in requests:
            jobs += 1
            same, alike = self._found(request)
            same_video += bool(same)
            average += bool(alike and not same)
            total += fmean(same or alike) if same or alike else 0.0
        earlier = sum(map(len, self._kinds.values()))
        return Estimate(jobs, total, same_video, average, earlier)

    def _found(self, request: Request) -> tuple[list[float], list[float]]:
        video, lipsync = _kind(request)
        return self._videos.get((video, lipsync), []), self._kinds.get(lipsync, [])


def _kind(request: Request) -> tuple[str, bool]:
    if isinstance(request, TranslationRequest):
        return canonical_url(request.url), request.lipsync
    return canonical_url(request.video_url), True


# What only the server knows about a catalog: its languages, which of them need a voice, its voices.


@attrs.frozen(kw_only=True)
class ServerCheck:
    """What the server says about a catalog; nothing is spent for it.

    Attributes:
        mistakes: what the vendor would refuse.
        notes: what is worth a word.
        balance: the account's credits; None where it could not be had.
        failure: why it could not be asked; None where it was.
    """

    issues: tuple[Issue, ...] = ()
    notes: tuple[str, ...] = ()
    balance: float | None = None
    failure: AkoolError | None = None


async def check(client: AkoolClient, items: Iterable[CatalogItem]) -> ServerCheck:
    """Ask the server about the languages and voices of what would be submitted.

    Raises:
        AccountError: the credentials or the account are refused. Another error is a note: what is at
            work can be waited for all the same.
    """
    try:
        balance = await client.credit()
        languages = {language.code: language for language in await client.languages()}
        mistakes = [mistake for item in items for mistake in _in_languages(item, languages)]
        notes = [note async for note in _VoiceCheck(client).notes(items)] if not mistakes else []
    except AccountError:
        raise
    except AkoolError as error:
        return ServerCheck(notes=(f"Languages and voices could not be checked. {error}",), failure=error)
    return ServerCheck(issues=tuple(mistakes), notes=tuple(notes), balance=balance)


def _in_languages(item: CatalogItem, languages: Mapping[str, Language]) -> Iterator[Issue]:
    if not languages or isinstance(item.request, LipSyncRequest):
        return
    for target in item.request.targets:
        if target not in languages:
            text = f"The server has no language {target!r}.{_near(target, languages)}"
            yield Issue(item.where("targets"), text)
        elif languages[target].needs_voice and not item.request.voices_map.get(target):
            text = (
                f"{target!r} needs a voice: fill in {target}=VOICE_ID under voices, or give --voice. "
                "`akool-async voices` lists them."
            )
            yield Issue(item.where("targets"), text)


def _near(target: str, languages: Mapping[str, Language]) -> str:
    """Give " Did you mean ...?", also for a language's name and for another way to write the code."""
    folded = target.casefold().replace("_", "-")
    codes = {code.casefold(): code for code in languages}
    names = {language.name.casefold(): code for code, language in languages.items()}
    found = codes.get(folded) or names.get(folded)
    if found is None:
        begun = [code for code in languages if folded.startswith(f"{code.casefold()}-")]
        near = get_close_matches(folded, codes, n=1, cutoff=0.6) or get_close_matches(folded, names, n=1)
        found = begun[0] if begun else next((codes.get(one) or names[one] for one in near), None)
    return f" Did you mean {found!r}?" if found else " `akool-async languages` lists them."


class _VoiceCheck:
    """Knows the voices of each language that was asked about."""

    def __init__(self, client: AkoolClient) -> None:
        self._client = client
        self._known: dict[str, set[str]] = {}

    async def notes(self, items: Iterable[CatalogItem]) -> AsyncIterator[str]:
        told: set[tuple[str, str]] = set()
        for item in items:
            voices = {} if isinstance(item.request, LipSyncRequest) else item.request.voices_map
            for target, voice in voices.items():
                if not voice or (target, voice) in told:
                    continue
                told.add((target, voice))
                if voice not in await self._voices(target):
                    where = item.where("voices_map")
                    yield f"{where}: The server lists no voice {voice} for {target}; is it one of your own?"

    async def _voices(self, target: str) -> set[str]:
        if target not in self._known:
            self._known[target] = {voice.voice_id async for voice in self._client.voices(target)}
        return self._known[target]


class PlannedAction(enum.StrEnum):
    """What a run would do with an entry."""

    SUBMIT = "new"
    RESUBMIT = "again"
    WAIT = "at the vendor"
    SAVED = "home"
    IN_DOUBT = "in doubt"
    FAILED = "failed"
    EXPIRED = "expired"

    @property
    def is_paid(self) -> bool:
        """Whether a job would be made for it."""
        return self in (PlannedAction.SUBMIT, PlannedAction.RESUBMIT)


_DUE: Final[Mapping[State, PlannedAction]] = {
    State.PLANNED: PlannedAction.SUBMIT,
    State.SUBMITTING: PlannedAction.IN_DOUBT,
    State.SUBMITTED: PlannedAction.WAIT,
    State.COMPLETED: PlannedAction.WAIT,
    State.DELIVERED: PlannedAction.SAVED,
    State.IN_DOUBT: PlannedAction.IN_DOUBT,
    State.FAILED: PlannedAction.FAILED,
    State.EXPIRED: PlannedAction.EXPIRED,
}


@attrs.frozen(kw_only=True)
class RetryRules:
    """What the caller allows.

    Attributes:
        on_in_doubt: "hold" keeps doubts as they are; "resubmit" pays for them again.
        retry_failed: whether what failed, was refused or expired is paid for again.
    """

    on_in_doubt: OnInDoubt = "hold"
    retry_failed: bool = False

    def action(self, entry: Entry | None) -> PlannedAction:
        """Give what is to be done with an entry that stands so in the journal."""
        due = PlannedAction.SUBMIT if entry is None else _DUE[entry.state]
        if (due is PlannedAction.IN_DOUBT and self.on_in_doubt == "resubmit") or (
            due in (PlannedAction.FAILED, PlannedAction.EXPIRED) and self.retry_failed
        ):
            return PlannedAction.RESUBMIT
        return due


@attrs.frozen(kw_only=True)
class PlanEntry:
    """One entry of the catalog: one (key, language).

    Attributes:
        item: its row.
        target: its language.
        due: what would be done with it.
        entry: what the journal has of it.
        cost: what its job will probably cost; None where nothing is known or none would be made.
    """

    item: CatalogItem
    target: str
    action: PlannedAction
    entry: Entry | None = None
    cost: float | None = None

    @property
    def key(self) -> str:
        """The entry's name in the journal."""
        return self.item.key_for(self.target)


@attrs.frozen(kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        catalog: what was asked for.
        lines: its entries, in its order.
        estimate: what new jobs would cost.
        locked: credits locked for entries of the journal, others of it included.
        used: credits deducted for them.
        held: who is writing the journal, if anybody is.
        mistakes: what has to be corrected first.
        notes: what is worth a word.
        checked: what the server says; None where it was not asked.
    """

    catalog: Catalog
    entries: tuple[PlanEntry, ...] = attrs.field(repr=False)
    estimate: Estimate
    locked: float = 0.0
    used: float = 0.0
    in_doubt: JournalLockedError | None = None
    issues: tuple[Issue, ...] = ()
    notes: tuple[str, ...] = ()
    checked: ServerCheck | None = None

    @property
    def counts(self) -> Counter[PlannedAction]:
        """Entries for each thing that would be done."""
        return Counter(line.action for line in self.entries)

    @property
    def unreachable(self) -> AkoolError | None:
        """Why no connection to the server could be made; None where that is not known."""
        failure = None if self.checked is None else self.checked.failure
        return failure if isinstance(failure, ConnectError | CertificateError) else None

    @property
    def new_items(self) -> tuple[CatalogItem, ...]:
        """Rows of which at least one language would be submitted."""
        return tuple({id(line.item): line.item for line in self.entries if line.action.is_paid}.values())


async def plan_catalog(catalog: Catalog, journal: Path, rules: RetryRules) -> Plan:
    """Lay the catalog beside the journal, which is only read; there may be none yet."""
    there = await anyio.Path(journal).exists()
    async with open_journal(journal if there else ":memory:", read_only=there) as found:
        prices, works = Prices(), PaidWork()
        async for entry in found.entries():
            prices.learn(entry)
            works.learn(entry)
        known = [
            (item, target, found.get(item.key_for(target), target)) for item, target in _entries(catalog)
        ]
        lines = tuple(_line(item, target, entry, rules, prices) for item, target, entry in known)
        renamed = list(works.find_renamed(lines))
        locked, used = found.credits()
        return Plan(
            catalog=catalog,
            entries=lines,
            estimate=prices.estimate(line.item.request for line in lines if line.action.is_paid),
            locked=locked,
            used=used,
            in_doubt=found.lock_holder,
            issues=(*_other_work(known), *(one for one in renamed if isinstance(one, Issue))),
            notes=tuple(one for one in renamed if isinstance(one, str)),
        )


def _entries(catalog: Catalog) -> Iterator[tuple[CatalogItem, str]]:
    for item in catalog.items:
        for target in item.request.targets:
            yield item, target


def _line(
    item: CatalogItem, target: str, entry: Entry | None, rules: RetryRules, prices: Prices
) -> PlanEntry:
    due = rules.action(entry)
    cost = prices.of(item.request) if due.is_paid else None
    return PlanEntry(item=item, target=target, action=due, entry=entry, cost=cost)


def _other_work(known: list[tuple[CatalogItem, str, Entry | None]]) -> Iterator[Issue]:
    for item, target, entry in known:
        if entry is None or entry.state is State.PLANNED:
            continue
        if entry.fingerprint != fingerprint(item.request, target):
            text = (
                f"In the journal this key names other work into {target!r}: another video or other options. "
                "Use another key, or another --out."
            )
            yield Issue(item.where("key"), text)


_PAID: Final = frozenset(
    {State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DELIVERED, State.IN_DOUBT}
)


class PaidWork:
    """What a journal has paid for, whatever its key is."""

    def __init__(self) -> None:
        """Know of nothing yet."""
        self._paid: dict[str, tuple[str, str]] = {}

    def learn(self, entry: Entry) -> None:
        """Take in an entry."""
        if entry.state in _PAID:
            self._paid.setdefault(
                entry.fingerprint, (entry.key, exact_fingerprint(entry.request, entry.target))
            )

    def paid_under_key(self, entry: Entry) -> str:
        """Give the other key under which an entry's work is paid for, or ""."""
        key, work = self._paid.get(entry.fingerprint, ("", ""))
        return key if key != entry.key and work == exact_fingerprint(entry.request, entry.target) else ""

    def find_renamed(self, lines: Iterable[PlanEntry]) -> Iterator[Issue | str]:
        """Find what would be paid again because its key is another one now.

        Where only what signs the URL differs, it may be another video: that is worth a word, no more.
        """
        for line in lines:
            request = line.item.request
            key, work = self._paid.get(fingerprint(request, line.target), ("", ""))
            if not line.action.is_paid or not key or key == line.key:
                continue
            told = f"into {line.target!r} stands in the journal as {key!r}, and would be paid again"
            if work == exact_fingerprint(request, line.target):
                text = f"The same work {told}. Use that key, or another --out."
                yield Issue(line.item.where("key"), text)
            else:
                yield f"{line.item.place}: Perhaps the same work {told}: only what signs its URL differs."


# From a catalog to a survey: laid beside the journal, checked with the server.


async def make_plan(catalog: Catalog, journal: Path, rules: RetryRules, client: AkoolClient | None) -> Plan:
    """Give the survey of a catalog.

    Args:
        catalog: what is wanted.
        journal: the journal's file, which may be missing.
        rules: what may be paid again.
        client: asks the server; None leaves that out.

    Raises:
        CatalogWrong: its keys name other work in the journal, or the server does not know its languages.
        AccountError: the credentials or the account are refused.
    """
    seen = await plan_catalog(catalog, journal, rules)
    if seen.issues:
        raise CatalogError(seen.issues)
    if client is None:
        return seen
    async with client:
        checked = await check(client, seen.new_items)
    if checked.issues:
        raise CatalogError(checked.issues)
    return attrs.evolve(seen, checked=checked)
