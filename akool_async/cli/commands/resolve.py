"""`akool-async resolve`."""

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
from akool_async.cli import exit_codes as exits
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
from akool_async.cli.journal_report import (
    describe_doubt,
    describe_job,
    doubt_json,
    entry_label,
    plausible,
    resolve_commands,
)
from akool_async.cli.options import DEFAULT_CONNECTION, DEFAULT_OUTPUT, ConnectionOptions, OutputOptions

_MAYBE_SENT = frozenset({State.IN_DOUBT, State.SUBMITTING})


def resolve(
    key: str | None = None,
    /,
    *,
    target: str | None = None,
    job_id: str | None = None,
    not_made: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    home: OutputOptions = DEFAULT_OUTPUT,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Clear up paid calls whose answer is unknown: the job was made, or it was not.

    Each is explained: what was sent when, what it means for money, how to find out. On a terminal it is
    asked about each; elsewhere they are listed, and the exit code is 6 while there are any.

    Parameters
    ----------
    key
        The entry's key; all that are in doubt when left out.
    target
        Its language, where several are in doubt.
    job_id
        The job was made and has this id. The vendor is asked whether it knows it.
    not_made
        No job was made: the entry may be sent again, which then costs credits.
    yes
        Take a job that was made at another time than the call was sent.
    as_json
        Only list what is in doubt, as one JSON array.
    """
    doubts = _chosen(anyio.run(_doubts, home), key, target)
    if job_id is not None and not_made:
        raise InvalidRequestError("Give either --job-id or --not-made, not both.")
    if job_id is not None or not_made:
        table = _ResolveSession(home, connection, yes=yes)
        entry = _only(doubts, home)
        return exits.OK if table.resolve(entry, job_id) else exits.FAILED
    if as_json or not can_ask():
        return _listed(doubts, home, as_json=as_json)
    return _ResolveSession(home, connection, yes=yes).run(doubts)


async def _doubts(home: OutputOptions) -> list[Entry]:
    """Read them; what is being sent counts when nobody is there who sends it."""
    async with home.reading() as journal:
        states = {State.IN_DOUBT} if journal.lock_holder else _MAYBE_SENT
        return [entry async for entry in journal.entries(states=states)]


def _chosen(doubts: Sequence[Entry], key: str | None, target: str | None) -> list[Entry]:
    found = [entry for entry in doubts if target in (None, entry.target)]
    if key is not None:
        found = [entry for entry in found if entry.key == key]
        if not found:
            named = f"{key} {target or ''}".strip()
            raise InvalidRequestError(f"No entry {named!r} is in doubt.", impact="Nothing was changed.")
    return found


def _only(doubts: list[Entry], home: OutputOptions) -> Entry:
    if len(doubts) != 1:
        names = ", ".join(map(entry_label, doubts[:5])) or "none"
        raise InvalidRequestError(
            f"That is about one entry, but {len(doubts)} are in doubt: {names}.",
            impact="Nothing was changed.",
            advice=f"Name its key and --target; `{home.command('resolve')}` explains each.",
        )
    return doubts[0]


def _listed(doubts: list[Entry], home: OutputOptions, *, as_json: bool) -> int:
    if as_json:
        write_json([doubt_json(entry) for entry in doubts])
        return exits.IN_DOUBT if doubts else exits.OK
    now = datetime.now(UTC)
    for entry in doubts:
        print_wrapped(
            [
                *describe_doubt(entry, now),
                *_callback(entry, home),
                "  then:",
                *resolve_commands(entry, home),
                "",
            ]
        )
    if not doubts:
        print_info("Nothing is in doubt.")
    return exits.IN_DOUBT if doubts else exits.OK


def _callback(entry: Entry, home: OutputOptions) -> Iterator[str]:
    """Say where a callback would tell the job, if it was asked for one."""
    if entry.token:
        yield f"  its callback names the job: `{home.command('resume')}` reads what `webhook serve` wrote."


@attrs.frozen
class _ResolveSession:
    """Where doubts are cleared up, one after the other."""

    home: OutputOptions
    connection: ConnectionOptions
    yes: bool

    def run(self, doubts: list[Entry]) -> int:
        """Explain each and ask; give 6 if some are left."""
        left = 0
        for number, entry in enumerate(doubts, 1):
            print_info(f"{number} of {len(doubts)}", style="bold")
            wrap([*describe_doubt(entry, datetime.now(UTC)), *_callback(entry, self.home)], stderr)
            self._ask_about_known(entry)
            left += not self._asked(entry)
            print_info("")
        if not doubts:
            print_info("Nothing is in doubt.")
        return exits.IN_DOUBT if left else exits.OK

    def _ask_about_known(self, entry: Entry) -> None:
        """Say what the vendor knows of ids that could be read, if it can be asked."""
        try:
            for known in entry.doubt_ids:
                self._ask_vendor(known, entry)
        except AkoolError as error:
            print_error(error)

    def _asked(self, entry: Entry) -> bool:
        """Ask until there is an answer; False when it stays in doubt."""
        print_info(
            "What became of it? Type the job's id, or `no` if none was made; Enter leaves it in doubt."
        )
        while True:
            said = prompt(">")
            if not said:
                return False
            try:
                if self.resolve(entry, None if said.lower() in ("n", "no") else said):
                    return True
            except AkoolError as error:
                print_error(error)

    def _ask_vendor(self, job_id: str, entry: Entry) -> Snapshot | None:
        """Ask for a job, and say what the vendor knows of it."""
        try:
            snapshot = anyio.run(self._status, job_id)
        except JobNotFoundError:
            print_info(f"The vendor knows no job {job_id}.")
            return None
        print_info(describe_job(snapshot, entry))
        return snapshot

    async def _status(self, job_id: str) -> Snapshot:
        async with self.connection.client() as client:
            return await client.status(job_id)

    def resolve(self, entry: Entry, job_id: str | None) -> bool:
        """Write down that the job was made and has this id, or None: that it was not made.

        Returns:
            Whether it was written down.
        """
        snapshot = None
        if job_id is not None:
            snapshot = self._ask_vendor(job_id, entry)
            if snapshot is None:
                return False
            if not plausible(snapshot, entry) and not confirm(
                "That is not when this was sent. Is it the job?", yes=self.yes
            ):
                return False
        anyio.run(self._record, entry, snapshot)
        if snapshot is None:
            print_info(f"{entry_label(entry)}: not made. The next run sends it, which costs credits.")
        else:
            print_info(f"{entry_label(entry)}: made. `{self.home.command('resume')}` brings it home.")
        return True

    async def _record(self, entry: Entry, snapshot: Snapshot | None) -> None:
        async with open_journal(self.home.path) as journal:
            if snapshot is None:
                await journal.resolve(entry.key, entry.target, not_made=True)
            else:
                await journal.resolve(entry.key, entry.target, job_id=snapshot.job_id, snapshot=snapshot)
