"""What is known of paid calls in doubt: by the journal, by the vendor, and by the account's balance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import anyio
import attrs

from akool_async._client import AkoolClient
from akool_async._journal import Entry
from akool_async._model.errors import AkoolError, JobNotFoundError, VendorError
from akool_async._model.proofs import EXPECTED_WITHIN, is_of_its_time
from akool_async._model.requests import TranslationRequest, fold_language, video_url
from akool_async._model.responses import RESULT_LIFETIME, Snapshot
from akool_async._model.tariff import credits_text
from akool_async._wire import read_job
from akool_async.cli.console import (
    ago,
    confirm,
    counted,
    duration,
    format_value,
    moment_text,
    print_command,
    print_error,
    print_info,
)
from akool_async.cli.journal_report import doubtful_states, entry_label
from akool_async.cli.options import ConnectionOptions, OutputOptions
from akool_async.cli.run_history import RunStart, read_history

_LOOKING: Final = 15.0
"""Seconds in which the vendor has to answer; doubts are shown without its answer too."""

_CENT: Final = 0.005


def lost_calls(entries: Sequence[Entry]) -> list[tuple[int, list[Entry]]]:
    """Return the calls that were lost, numbered from 1: one POST may be for several languages."""
    calls: dict[object, list[Entry]] = {}
    for entry in entries:
        # Entries of one POST share its token; without callbacks, the moment at which it was sent.
        post = entry.token or (entry.submitted_at, entry.request.key, video_url(entry.request))
        calls.setdefault(post, []).append(entry)
    return list(enumerate(calls.values(), 1))


@attrs.frozen(kw_only=True)
class Doubts:
    """What is in doubt, and what the journal and earlier runs know of the account.

    Attributes:
        recorded: credits that the journal has as used or locked.
        dearest: what its dearest job cost; None if no cost is known.
        unpriced: jobs whose cost is not known.
        before: the last run that began before the first doubt.
    """

    entries: list[Entry]
    recorded: float
    dearest: float | None
    unpriced: int
    before: RunStart | None

    def unaccounted(self, balance: float | None) -> float | None:
        """Return the credits that were spent since `before` and are not in the journal; None if not known."""
        if balance is None or self.before is None:
            return None
        # What the journal has recorded meanwhile was spent as well, and is accounted for.
        return self.before.balance - balance - (self.recorded - self.before.recorded)

    def count_existing(self, balance: float | None) -> int:
        """Return how many of the jobs in doubt exist at least, as far as the balance tells."""
        missing = self.unaccounted(balance)
        if missing is None or missing <= _CENT:
            return 0
        # Rounded up and from the dearest job: "at least" must be true even if all of them were dear.
        return min(math.ceil(missing / self.dearest - _CENT), len(self.entries)) if self.dearest else 1

    def describe_credits(self, balance: float | None) -> Iterator[str]:
        """Return what the balance tells about the doubts."""
        if balance is None:
            return
        missing = self.unaccounted(balance)
        if missing is None or self.before is None:
            yield f"Balance: {credits_text(balance)} credits. What it was before these calls is not known."
            return
        since = f"since {moment_text(self.before.at)}, when it was {credits_text(self.before.balance)}"
        yield f"Balance: {credits_text(balance)} credits; {since}."
        if missing > _CENT:
            jobs = self.count_existing(balance)
            yield (
                f"{credits_text(missing)} credits are unaccounted for: they were spent and the journal does "
                f"not know on what. So at least {jobs} of the jobs in doubt "
                f"{'exists' if jobs == 1 else 'exist'}, unless the account is used elsewhere too."
            )
            if self.unpriced:
                yield f"Part of it may be for {counted(self.unpriced, 'job')} whose cost is not known."
        elif missing > -_CENT:
            yield (
                "No credits are unaccounted for. That speaks against these jobs, but does not prove it: the "
                "vendor may deduct later, and credits may have been added."
            )
        else:
            yield "Credits were added since, so the balance tells nothing about these calls."


async def read_doubts(output: OutputOptions) -> Doubts:
    """Return what is in doubt in a journal."""
    async with output.reading() as journal:
        states = doubtful_states(journal)
        entries, costs, unpriced = [], [0.0], 0
        async for entry in journal.entries():
            cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
            if entry.state in states:
                entries.append(entry)
            elif entry.job_id:
                costs.append(cost or 0.0)
                unpriced += cost is None
        first = min((entry.submitted_at for entry in entries if entry.submitted_at), default=None)
        starts = [one for one in read_history(output.path).starts if first and one.at <= first]
        return Doubts(
            entries=entries,
            recorded=sum(journal.credits()),
            dearest=max(costs) or None,
            unpriced=unpriced,
            before=starts[-1] if starts else None,
        )


@attrs.define
class Known:
    """What the vendor says now: the balance, and the jobs by the ids that lost answers named.

    Attributes:
        balance: the account's credits; None if they are not known, with `no_balance` if only they are not.
        failure: why the vendor could not be asked.
    """

    balance: float | None = None
    no_balance: AkoolError | None = None
    jobs: dict[str, Snapshot | None] = attrs.field(factory=dict)
    failure: AkoolError | None = None


def ask_vendor(connection: ConnectionOptions, calls: Sequence[tuple[int, list[Entry]]]) -> Known:
    """Return what the vendor says of lost calls, as far as it can be asked."""
    known = Known()
    if connection.find_login() is None:  # nobody types a key for what may be left out
        return known

    async def fetch(client: AkoolClient) -> None:
        with anyio.move_on_after(_LOOKING):
            try:
                known.balance = await client.credit()
            except VendorError as error:  # what can't be read of the balance hides no job
                known.no_balance = error
            await _look_up(
                client, (one for _, call in calls for entry in call for one in entry.doubt_ids), known.jobs
            )

    try:
        connection.ask(fetch)
    except AkoolError as error:  # doubts can be resolved without the vendor
        known.failure = error
    return known


async def _look_up(client: AkoolClient, job_ids: Iterable[str], jobs: dict[str, Snapshot | None]) -> None:
    """Add what the vendor says of each job; None of one that it does not know."""
    for job_id in dict.fromkeys(job_ids):
        try:
            jobs[job_id] = await client.status(job_id)
        except JobNotFoundError as error:
            if error.during_auth:
                raise
            # The vendor forgets jobs after their time, so this alone does not prove that none was made.
            jobs[job_id] = None


def describe_call(call: Sequence[Entry], known: Known, output: OutputOptions) -> Iterator[str]:
    """Return what is known of a lost call, what it means for money, how to find out more, line by line."""
    first, now = call[0], datetime.now(UTC)
    request, several = first.request, len(call) > 1
    targets = ", ".join(entry.target for entry in call)
    yield f"{entry_label(attrs.evolve(first, target=''))} {targets}".strip()
    if not request.key:
        yield f"  key: {first.key}"
    if isinstance(request, TranslationRequest):
        yield f"  asked for: {format_value(request.url)} in {targets}"
    else:
        yield f"  asked for: {format_value(request.video_url)} to follow {format_value(request.audio_url)}"
    yield f"  sent: {ago(first.submitted_at, now)}{', as one call' if several else ''}"
    yield f"  known: {format_value(first.reason) or 'nothing about its answer'}"
    ids = list(dict.fromkeys(job_id for entry in call for job_id in entry.doubt_ids))
    yield f"  job ids that could be read in answers: {', '.join(map(format_value, ids)) or 'none'}"
    for job_id in ids:
        if job_id in known.jobs:
            yield f"    {describe_job(job_id, known.jobs[job_id], first)}"
    expiry = ""
    if first.submitted_at is not None:
        expiry = f"; its result expires on {first.submitted_at + RESULT_LIFETIME:%Y-%m-%d}"
    yield (
        "  money: if the job was made, its credits are locked and saving its result costs nothing more"
        f"{expiry}. If it was not made, nothing was charged. Sending it again without knowing may pay twice."
    )
    yield "  how to find out: look at the account's usage at that time on the vendor's site."
    if first.token:
        yield f"  its callback names the job: `{output.command('resume')}` reads what `webhook serve` wrote."


def doubt_json(entry: Entry, number: int, known: Known, doubts: Doubts) -> dict[str, Any]:
    """Return a doubt for programs; entries of one call have one `call` number."""
    jobs = {one: known.jobs[one] for one in entry.doubt_ids if one in known.jobs}
    return {
        "call": number,
        "key": entry.key,
        "target": entry.target,
        "url": video_url(entry.request),
        "submitted_at": entry.submitted_at,
        "reason": entry.reason,
        "doubt_ids": list(entry.doubt_ids),
        "jobs": {one: found.status.name.lower() if found else "unknown" for one, found in jobs.items()},
        "unaccounted_credits": doubts.unaccounted(known.balance),
    }


def describe_job(job_id: str, snapshot: Snapshot | None, entry: Entry) -> str:
    """Return what the vendor knows of a job that may belong to a doubt, as a sentence."""
    if snapshot is None:
        return f"The vendor knows no job {job_id}."
    made, distance = "at an unknown time", ""
    if snapshot.created_at is not None:
        made = moment_text(snapshot.created_at)
        if entry.submitted_at is not None:
            apart = snapshot.created_at - entry.submitted_at
            order = "before" if apart < timedelta() else "after"
            distance = f", {duration(abs(apart))} {order} the call was sent"
    return f"Job {job_id} is {snapshot.status.name.lower()}, made {made}{distance}."


def accept_job(job_id: str, entry: Entry, connection: ConnectionOptions, *, yes: bool) -> Snapshot | None:
    """Return what the vendor says of a job that the user names for an entry in doubt; None to leave it.

    Raises:
        AkoolError: the vendor can't be asked, or the user has to agree and there is no terminal to ask on.
    """
    try:
        snapshot = connection.ask(lambda client: client.status(job_id))
    except JobNotFoundError as error:
        print_info(describe_job(job_id, None, entry))
        print_info(f"{entry_label(entry)} stays in doubt. {error.advice}")
        return None
    print_info(describe_job(job_id, snapshot, entry))
    reason = why_of_another_call(snapshot, entry)
    # Another entry's job would be saved under this name, and this one's job be lost.
    return snapshot if not reason or confirm(f"{reason} Is it the job?", yes=yes) else None


def why_of_another_call(snapshot: Snapshot, entry: Entry) -> str:
    """Return why a job may be that of another call than the one in doubt, as far as known; else ""."""
    made, sent = snapshot.created_at, entry.submitted_at
    if made and sent and not is_of_its_time(made, sent, ahead=timedelta(), latest=EXPECTED_WITHIN):
        return "It was not made when this call was sent."
    # Unconfirmed: the documented answers about jobs name no language.
    language = read_job(snapshot).target
    if language and entry.target and _main_language(language) != _main_language(entry.target):
        return f"It is into {language}, and this call was for {entry.target}."
    return ""


def _main_language(code: str) -> str:
    # The vendor may answer "ja-JP" for "ja".
    return fold_language(code).partition("-")[0]


def confirm_not_made(
    entry: Entry,
    job_ids: Sequence[str],
    connection: ConnectionOptions,
    accepting: Callable[[str], str],
    *,
    evidence: str = "",
    yes: bool,
) -> bool:
    """Return whether an entry may be called not made: its answer named no other job, or the user agrees.

    Other evidence that its job was made needs the same consent.

    The jobs are those that its answer named and no other entry has; `accepting` returns the command by which
    one is accepted as the entry's.

    Raises:
        InvalidRequestError: there is no terminal to ask on.
    """
    jobs: dict[str, Snapshot | None] = {}
    name, question = entry_label(entry), evidence
    try:
        if job_ids:
            connection.ask(lambda client: _look_up(client, job_ids, jobs))
    except AkoolError as error:
        print_error(error)
        unknown = " or ".join(one for one in job_ids if one not in jobs)
        question = f"It is not known whether the vendor has job {unknown}, which the answer for {name} named."
    for job_id, snapshot in jobs.items():
        print_info(describe_job(job_id, snapshot, entry))
    found = [job_id for job_id, snapshot in jobs.items() if snapshot is not None]
    gone = [job_id for job_id in jobs if job_id not in found]
    # One server of the vendor may lag behind the others, and jobs are forgotten after their time.
    if gone and not question:
        question = (
            f"The answer for {name} named job {' and '.join(gone)}. That the vendor does not know it now "
            "does not prove that it was not made."
        )
    if found:
        question = f"The answer for {name} named job {' and '.join(found)}, and the vendor has it."
        print_command("To save what the vendor has, which costs nothing more, run:", *map(accepting, found))
    # Called not made, a job that is paid would be lost, and the next run would pay for another one.
    return not question or confirm(f"{question} Call it not made, and pay once more?", yes=yes)
