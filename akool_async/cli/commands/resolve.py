"""`akool-async resolve`: say what became of paid calls whose answer is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

import anyio
import attrs
from cyclopts import Parameter

from akool_async._journal import Entry, open_journal
from akool_async._model.errors import AkoolError, InvalidRequestError, JobNotFoundError
from akool_async._model.responses import Snapshot
from akool_async._model.states import State
from akool_async.cli.console import (
    can_ask,
    confirm,
    print_error,
    print_info,
    print_wrapped,
    prompt,
    stderr,
    wrap,
    write_json,
)
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import (
    describe_doubt,
    describe_job,
    doubt_json,
    entry_label,
    plausible,
    resolve_commands,
)
from akool_async.cli.options import DEFAULT_CONNECTION, DEFAULT_OUTPUT, ConnectionOptions, OutputOptions


def resolve(
    key: str | None = None,
    /,
    *,
    target: str | None = None,
    job_id: str | None = None,
    not_made: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    output: OutputOptions = DEFAULT_OUTPUT,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Resolve paid calls whose answer is unknown: the job was made, or it was not.

    Each is explained: what was sent when, what it means for money, how to find out. On a terminal you
    answer for each; elsewhere they are listed, and the exit code is 6 while there are any.

    Parameters
    ----------
    key
        The entry's key; without it all that are in doubt.
    target
        Its language, where several are in doubt.
    job_id
        The job was made and has this id. The vendor is asked whether it knows it.
    not_made
        No job was made: the entry may be sent again, which then costs credits.
    yes
        Accept a job that was made at another time than the call was sent.
    as_json
        Only list what is in doubt, as one JSON array.
    """

    async def read() -> list[Entry]:
        async with output.reading() as journal:
            # Without a run that writes the journal, an intent without an answer is in doubt too.
            states = {State.IN_DOUBT} | (set() if journal.lock_holder else {State.SUBMITTING})
            return [entry async for entry in journal.entries(states=states)]

    doubts = [
        entry for entry in anyio.run(read) if target in (None, entry.target) and key in (None, entry.key)
    ]
    if key is not None and not doubts:
        name = f"{key} {target or ''}".strip()
        raise InvalidRequestError(f"No entry {name!r} is in doubt.", impact="Nothing was changed.")
    if job_id is not None and not_made:
        raise InvalidRequestError("Name either --job-id or --not-made, not both.")
    session = _ResolveSession(output, connection, yes=yes)
    if job_id is not None or not_made:
        if len(doubts) != 1:
            names = ", ".join(map(entry_label, doubts[:5])) or "none"
            raise InvalidRequestError(
                f"Only one entry can be resolved at a time, but {len(doubts)} are in doubt: {names}.",
                impact="Nothing was changed.",
                advice=f"Name its key and --target; `{output.command('resolve')}` explains each.",
            )
        return ExitCode.OK if session.resolve(doubts[0], job_id) else ExitCode.FAILED
    if can_ask() and not as_json:
        return session.run(doubts)
    if as_json:
        write_json([doubt_json(entry) for entry in doubts])
    elif not doubts:
        print_info("Nothing is in doubt.")
    else:
        now = datetime.now(UTC)
        for entry in doubts:
            steps = ["  then:", *resolve_commands(entry, output), ""]
            print_wrapped([*describe_doubt(entry, now), *_callback_hint(entry, output), *steps])
    return ExitCode.IN_DOUBT if doubts else ExitCode.OK


def _callback_hint(entry: Entry, output: OutputOptions) -> Iterator[str]:
    if entry.token:
        yield f"  its callback names the job: `{output.command('resume')}` reads what `webhook serve` wrote."


@attrs.frozen
class _ResolveSession:
    """Resolve doubts one after the other."""

    output: OutputOptions
    connection: ConnectionOptions
    yes: bool

    def run(self, doubts: Sequence[Entry]) -> int:
        """Explain each and ask; the exit code is 6 if some stay in doubt."""
        unresolved = 0
        for number, entry in enumerate(doubts, 1):
            stderr.print(f"{number} of {len(doubts)}", style="bold")
            wrap([*describe_doubt(entry, datetime.now(UTC)), *_callback_hint(entry, self.output)], stderr)
            try:
                for known in entry.doubt_ids:
                    self._look_up(known, entry)
            except AkoolError as error:  # it can still be resolved without the vendor
                print_error(error)
            unresolved += not self._ask(entry)
            print_info("")
        if not doubts:
            print_info("Nothing is in doubt.")
        return ExitCode.IN_DOUBT if unresolved else ExitCode.OK

    def _ask(self, entry: Entry) -> bool:
        """Ask until there is an answer; False when it stays in doubt."""
        print_info("What became of it? Type the job's id, or `no` if none was made; Enter keeps the doubt.")
        while answer := prompt(">"):
            try:
                if self.resolve(entry, None if answer.lower() in ("n", "no") else answer):
                    return True
            except AkoolError as error:
                print_error(error)
        return False

    def _look_up(self, job_id: str, entry: Entry) -> Snapshot | None:
        """Ask the vendor for a job, and print what it knows."""

        async def fetch() -> Snapshot:
            async with self.connection.client() as client:
                return await client.status(job_id)

        try:
            snapshot = anyio.run(fetch)
        except JobNotFoundError:
            print_info(f"The vendor knows no job {job_id}.")
            return None
        print_info(describe_job(snapshot, entry))
        return snapshot

    def resolve(self, entry: Entry, job_id: str | None) -> bool:
        """Record that the job was made and has this id, or None: that it was not made.

        Returns:
            Whether it was recorded.
        """
        snapshot = None
        if job_id is not None:
            snapshot = self._look_up(job_id, entry)
            if snapshot is None:
                return False
            # Another entry's job would be saved under this name, and this one's job be lost.
            if not plausible(snapshot, entry) and not confirm(
                "It was not made when this call was sent. Is it the job?", yes=self.yes
            ):
                return False

        async def record() -> None:
            async with open_journal(self.output.path) as journal:
                if snapshot is None:
                    await journal.resolve(entry.key, entry.target, not_made=True)
                else:
                    await journal.resolve(entry.key, entry.target, job_id=snapshot.job_id, snapshot=snapshot)

        anyio.run(record)
        if snapshot is None:
            print_info(f"{entry_label(entry)}: not made. The next run sends it, which costs credits.")
        else:
            print_info(f"{entry_label(entry)}: made. `{self.output.command('resume')}` saves its result.")
        return True
