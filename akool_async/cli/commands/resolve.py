"""`akool-async resolve`: say what became of paid calls whose answer is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import anyio
import attrs
from cyclopts import Parameter

from akool_async._journal import Entry
from akool_async._model.errors import AkoolError, InvalidRequestError
from akool_async.cli.catalog.languages import LanguageNames
from akool_async.cli.console import (
    can_ask,
    counted,
    print_command,
    print_error,
    print_info,
    print_wrapped,
    prompt,
    stderr,
    wrap,
    write_json,
)
from akool_async.cli.doubts import (
    accept_job,
    ask_vendor,
    confirm_not_made,
    describe_call,
    doubt_json,
    lost_calls,
    read_doubts,
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


def resolve(
    *keys: str,
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
    keys
        Key of the entry; default is all entries in doubt. The journal, or the folder with the results, may
        come first.
    language
        Its language, where several are in doubt.
    job_id
        The job was made and has this id. The vendor is asked whether it knows it.
    not_made
        No job was made: the entry may be sent again, which then costs credits. The vendor is asked for the
        jobs that the answer named.
    yes
        Accept a job that was made at another time than the call was sent, or into another language; or
        --not-made although the answer named a job, or credits are unaccounted for.
    """
    if job_id is not None and not_made:
        raise InvalidRequestError("Name either --job-id or --not-made, not both.")
    output, keys = output.at_first_of(keys)
    if len(keys) > 1:
        raise InvalidRequestError("Name one key, or none.", impact="Nothing was changed.")
    key = next(iter(keys), None)
    language = (language and LanguageNames().find(language)) or language
    doubts = anyio.run(read_doubts, output)
    found = [
        entry for entry in doubts.entries if language in (None, entry.target) and key in (None, entry.key)
    ]
    if key is not None and not found:
        name = f"{key} {language or ''}".strip()
        raise InvalidRequestError(f"No entry {name!r} is in doubt.", impact="Nothing was changed.")
    session = _ResolveSession(output, connection, yes=yes, in_doubt=len(doubts.entries))
    if job_id is not None or not_made:
        # One id given to two entries would save one result under two names, and lose the other job.
        if len(found) != 1:
            names = ", ".join(map(entry_label, found[:5])) or "none"
            raise InvalidRequestError(
                f"Only one entry can be resolved at a time, but {len(found)} are in doubt: {names}.",
                impact="Nothing was changed.",
                advice=f"Name its key and --language; `{output.command('resolve')}` explains each.",
            )
        if not_made and doubts.before is not None:
            session.existing = doubts.count_existing(ask_vendor(connection, ()).balance)
        return ExitCode.OK if session.resolve(found[0], job_id) else ExitCode.FAILED
    if not found:
        if as_json:
            write_json([])
        else:
            print_info("Nothing is in doubt.")
        return ExitCode.OK
    calls = lost_calls(found)
    known = ask_vendor(connection, calls)
    if as_json:
        write_json([doubt_json(entry, number, known, doubts) for number, call in calls for entry in call])
        return ExitCode.IN_DOUBT
    session.existing = doubts.count_existing(known.balance)
    money = list(doubts.describe_credits(known.balance))
    if known.no_balance is not None:
        money.append(f"The balance is not known. {known.no_balance}")
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
    why = f"{counted(unresolved, 'call')} in doubt still. When you know more, run:"
    print_command(why, output.command("resolve"))
    return ExitCode.IN_DOUBT


def _commands(call: Sequence[Entry], output: OutputOptions) -> Iterator[str]:
    for entry in call:
        language = entry.target or None
        yield f"    {output.command('resolve', entry.key, language=language, job_id='ID')}"
        yield f"    {output.command('resolve', entry.key, language=language, not_made=True)}"


@attrs.define
class _ResolveSession:
    """Record what became of calls.

    Attributes:
        in_doubt: entries of the journal that are in doubt still.
        existing: how many of their jobs exist at least, by the balance.
    """

    output: OutputOptions
    connection: ConnectionOptions
    yes: bool
    in_doubt: int
    existing: int = 0

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
                    for target, entry in tuple(rest.items()):
                        if self.resolve(entry, None):
                            del rest[target]  # at once: what fails next must not ask for this one again
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

        async def named_jobs() -> list[str]:
            async with self.output.reading() as journal:
                return [one for one in entry.doubt_ids if journal.find_job(one) is None]

        snapshot, evidence = None, ""
        if self.existing >= self.in_doubt:
            evidence = (
                f"The credits that are unaccounted for say that at least {self.existing} of the "
                f"{counted(self.in_doubt, 'job')} in doubt {'exists' if self.existing == 1 else 'exist'}."
            )
        if job_id is not None:
            snapshot = accept_job(job_id, entry, self.connection, yes=self.yes)
            if snapshot is None:
                return False
        elif not confirm_not_made(
            entry,
            anyio.run(named_jobs),
            self.connection,
            lambda one: self.output.command("resolve", entry.key, language=entry.target or None, job_id=one),
            evidence=evidence,
            yes=self.yes,
        ):
            return False

        async def record() -> None:
            async with self.output.writing() as journal:
                if snapshot is None:
                    # From here the entry may be paid for again; only a person can know that this is right.
                    await journal.resolve(entry.key, entry.target, not_made=True, seen=entry)
                else:
                    await journal.resolve(
                        entry.key, entry.target, job_id=snapshot.job_id, snapshot=snapshot, seen=entry
                    )

        anyio.run(record)
        self.in_doubt -= 1
        self.existing -= snapshot is not None
        if snapshot is None:
            print_info(f"{entry_label(entry)}: not made. The next run sends it, which costs credits.")
        else:
            print_info(f"{entry_label(entry)}: made. `{self.output.command('resume')}` saves its result.")
        return True
