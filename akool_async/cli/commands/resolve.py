"""`akool-async resolve`: say what became of paid calls whose answer is unknown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import anyio
import attrs
from cyclopts import Parameter

from akool_async._client import AkoolClient
from akool_async._journal import Entry
from akool_async._model.errors import AkoolError, InvalidRequestError, JobNotFoundError
from akool_async._model.proofs import EXPECTED_WITHIN, is_of_its_time
from akool_async._model.requests import TranslationRequest, video_url
from akool_async._model.responses import RESULT_LIFETIME, Snapshot
from akool_async._model.states import State
from akool_async.cli.console import (
    ago,
    can_ask,
    confirm,
    counted,
    credits_text,
    duration,
    format_value,
    moment_text,
    print_error,
    print_info,
    print_wrapped,
    prompt,
    stderr,
    wrap,
    write_json,
)
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import entry_label
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_OUTPUT,
    ConnectionOptions,
    JsonFlag,
    OutputOptions,
)
from akool_async.cli.run_history import RunStart, read_history

_LOOKING: Final = 15.0
"""Seconds in which the vendor has to answer; doubts are shown without its answer too."""

_CENT: Final = 0.005


def resolve(
    key: str | None = None,
    /,
    *,
    language: str | None = None,
    job_id: str | None = None,
    not_made: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    as_json: JsonFlag = False,
    output: OutputOptions = DEFAULT_OUTPUT,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Resolve paid calls whose answer is unknown: the jobs were made, or they were not.

    Each call is explained: what was sent when, what it means for money, what the vendor knows of the ids in
    its answer, and which credits are unaccounted for. On a terminal you answer for each; elsewhere they are
    listed, and the exit code is 6 while there are any.

    Parameters
    ----------
    key
        The entry's key; without it all that are in doubt.
    language
        Its language, where several are in doubt.
    job_id
        The job was made and has this id. The vendor is asked whether it knows it.
    not_made
        No job was made: the entry may be sent again, which then costs credits.
    yes
        Accept a job that was made at another time than the call was sent.
    """
    if job_id is not None and not_made:
        raise InvalidRequestError("Name either --job-id or --not-made, not both.")
    doubts = anyio.run(_read, output)
    found = [
        entry for entry in doubts.entries if language in (None, entry.target) and key in (None, entry.key)
    ]
    if key is not None and not found:
        name = f"{key} {language or ''}".strip()
        raise InvalidRequestError(f"No entry {name!r} is in doubt.", impact="Nothing was changed.")
    session = _ResolveSession(output, connection, yes=yes)
    if job_id is not None or not_made:
        # One id given to two entries would save one result under two names, and lose the other job.
        if len(found) != 1:
            names = ", ".join(map(entry_label, found[:5])) or "none"
            raise InvalidRequestError(
                f"Only one entry can be resolved at a time, but {len(found)} are in doubt: {names}.",
                impact="Nothing was changed.",
                advice=f"Name its key and --language; `{output.command('resolve')}` explains each.",
            )
        return ExitCode.OK if session.resolve(found[0], job_id) else ExitCode.FAILED
    if not found:
        if as_json:
            write_json([])
        else:
            print_info("Nothing is in doubt.")
        return ExitCode.OK
    calls = lost_calls(found)
    known = _ask_vendor(connection, calls)
    if as_json:
        write_json([doubt_json(entry, number, known, doubts) for number, call in calls for entry in call])
        return ExitCode.IN_DOUBT
    money = list(doubts.describe_credits(known.balance))
    if known.failure is not None:
        money.append(f"The vendor could not be asked. {known.failure}")
    # A script gets a list and an exit code; it must not be able to answer for a person by accident.
    if not can_ask():
        for _, call in calls:
            print_wrapped([*describe_call(call, known, output), "  then:", *_commands(call, output), ""])
        print_wrapped(money)
        return ExitCode.IN_DOUBT
    wrap([*money, ""], stderr)
    unresolved = 0
    for number, call in calls:
        stderr.print(f"{number} of {len(calls)}", style="bold")
        wrap(describe_call(call, known, output), stderr)
        unresolved += not session.ask(call)
        print_info("")
    if not unresolved:
        return ExitCode.OK
    print_info(f"{counted(unresolved, 'call')} in doubt still. When you know more, run:")
    print_info(f"    {output.command('resolve')}")
    return ExitCode.IN_DOUBT


def lost_calls(entries: Sequence[Entry]) -> list[tuple[int, list[Entry]]]:
    """Return the calls that were lost, numbered from 1: one POST may be for several languages."""
    calls: dict[object, list[Entry]] = {}
    for entry in entries:
        # Entries of one POST share its token; without callbacks, the moment at which it was sent.
        post = entry.token or (entry.submitted_at, entry.request.key, video_url(entry.request))
        calls.setdefault(post, []).append(entry)
    return list(enumerate(calls.values(), 1))


@attrs.frozen(kw_only=True)
class _Doubts:
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
            # Rounded up and from the dearest job: "at least" must be true even if all of them were dear.
            jobs = min(math.ceil(missing / self.dearest - _CENT), len(self.entries)) if self.dearest else 1
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


async def _read(output: OutputOptions) -> _Doubts:
    async with output.reading() as journal:
        # Without a run that writes the journal, an intent without an answer is in doubt too.
        states = {State.IN_DOUBT} | (set() if journal.find_lock_holder() else {State.SUBMITTING})
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
        return _Doubts(
            entries=entries,
            recorded=sum(journal.credits()),
            dearest=max(costs) or None,
            unpriced=unpriced,
            before=starts[-1] if starts else None,
        )


@attrs.define
class _Known:
    """What the vendor says now: the balance, and the jobs by the ids that lost answers named."""

    balance: float | None = None
    jobs: dict[str, Snapshot | None] = attrs.field(factory=dict)
    failure: AkoolError | None = None


def _ask_vendor(connection: ConnectionOptions, calls: Sequence[tuple[int, list[Entry]]]) -> _Known:
    known = _Known()
    if connection.find_login() is None:  # nobody types a key for what may be left out
        return known

    async def fetch(client: AkoolClient) -> None:
        with anyio.move_on_after(_LOOKING):
            known.balance = await client.credit()
            for job_id in dict.fromkeys(
                one for _, call in calls for entry in call for one in entry.doubt_ids
            ):
                try:
                    known.jobs[job_id] = await client.status(job_id)
                except JobNotFoundError:
                    # The vendor forgets jobs after their time, so this alone does not prove that none was
                    # made.
                    known.jobs[job_id] = None

    try:
        connection.ask(fetch)
    except AkoolError as error:  # doubts can be resolved without the vendor
        known.failure = error
    return known


def describe_call(call: Sequence[Entry], known: _Known, output: OutputOptions) -> Iterator[str]:
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


def _commands(call: Sequence[Entry], output: OutputOptions) -> Iterator[str]:
    for entry in call:
        language = entry.target or None
        yield f"    {output.command('resolve', entry.key, language=language, job_id='ID')}"
        yield f"    {output.command('resolve', entry.key, language=language, not_made=True)}"


def doubt_json(entry: Entry, number: int, known: _Known, doubts: _Doubts) -> dict[str, Any]:
    """Return a doubt for programs; entries of one call have one `call` number."""
    jobs: Mapping[str, Snapshot | None] = {
        one: known.jobs[one] for one in entry.doubt_ids if one in known.jobs
    }
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


def plausible(snapshot: Snapshot, entry: Entry) -> bool:
    """Return whether a job was made about when the doubt's POST was sent, as far as known."""
    if snapshot.created_at is None or entry.submitted_at is None:
        return True
    return is_of_its_time(snapshot.created_at, entry.submitted_at, ahead=timedelta(), latest=EXPECTED_WITHIN)


@attrs.frozen
class _ResolveSession:
    """Record what became of calls."""

    output: OutputOptions
    connection: ConnectionOptions
    yes: bool

    def ask(self, call: Sequence[Entry]) -> bool:
        """Ask until there is an answer for every language of a call; False when some stay in doubt."""
        rest = {entry.target.lower(): entry for entry in call}
        while rest:
            how = (
                "the job's id" if len(rest) == 1 else f"the ids as {' '.join(f'{name}=ID' for name in rest)}"
            )
            none = "none was made" if len(rest) == 1 else "no job was made for any of them"
            print_info(f"What became of it? Type {how}, or `no` if {none}; Enter keeps the doubt.")
            answer = prompt(">")
            # Enter decides nothing about money: the doubt stays as it is.
            if not answer:
                return False
            try:
                if answer.lower() in ("n", "no"):
                    for entry in [*rest.values()]:
                        self.resolve(entry, None)
                        del rest[entry.target.lower()]
                    continue
                for part in answer.replace(",", " ").split():
                    name, equals, job_id = part.rpartition("=")
                    name = name.lower() if equals else next(iter(rest)) if len(rest) == 1 else ""
                    if name not in rest:
                        print_info(f"Name the language, one of {', '.join(rest)}: as {next(iter(rest))}=ID.")
                    # One by one: what was recorded stays recorded when the next id turns out to be wrong.
                    elif self.resolve(rest[name], job_id):
                        del rest[name]
            except AkoolError as error:
                print_error(error)
        return True

    def resolve(self, entry: Entry, job_id: str | None) -> bool:
        """Record that the job was made and has this id, or None: that it was not made.

        Returns:
            Whether it was recorded.
        """
        snapshot = None
        if job_id is not None:
            try:
                snapshot = self.connection.ask(lambda client: client.status(job_id))
            except JobNotFoundError:
                print_info(describe_job(job_id, None, entry))
                return False
            print_info(describe_job(job_id, snapshot, entry))
            # Another entry's job would be saved under this name, and this one's job be lost.
            if not plausible(snapshot, entry) and not confirm(
                "It was not made when this call was sent. Is it the job?", yes=self.yes
            ):
                return False

        async def record() -> None:
            async with self.output.writing() as journal:
                if snapshot is None:
                    # From here the entry may be paid for again; only a person can know that this is right.
                    await journal.resolve(entry.key, entry.target, not_made=True)
                else:
                    await journal.resolve(entry.key, entry.target, job_id=snapshot.job_id, snapshot=snapshot)

        anyio.run(record)
        if snapshot is None:
            print_info(f"{entry_label(entry)}: not made. The next run sends it, which costs credits.")
        else:
            print_info(f"{entry_label(entry)}: made. `{self.output.command('resume')}` saves its result.")
        return True
