"""Commands with `--ledger`, from `status` to `retry`: the same for many machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from akool_async._download import FileState, local_path
from akool_async._model.errors import InvalidRequestError
from akool_async._model.states import WITHOUT_RESULT, State
from akool_async._storage import verify
from akool_async.cli.commands.worker import Account, LedgerUrl, on_ledger, with_ledger
from akool_async.cli.console import (
    confirm,
    counted,
    credits_line,
    print_info,
    print_rows,
    write_json,
    write_lines,
)
from akool_async.cli.doubts import accept_job, confirm_not_made
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import STATE_WORDS, WORDS, check_without_result, recorded_word
from akool_async.cli.next_commands import next_command
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    JOURNAL,
    ConnectionOptions,
    JsonFlag,
    OutputOptions,
    output_folder,
)
from akool_async.cli.run_summary import UNVERIFIED

if TYPE_CHECKING:
    from akool_async._journal import Entry
    from akool_async.ledger import Ledger

_COLUMNS: Final = {"key": "Key", "target": "Language", "state": "State", "job_id": "Job", "reason": "Reason"}


def status(*, ledger: LedgerUrl, account: Account = "default", as_json: JsonFlag = False) -> int:
    """Show how many entries of a ledger are in which state, and what they cost.

    Exit codes: 6 something is in doubt, 1 something failed, else 0.
    """

    async def read(
        opened: Ledger,
    ) -> tuple[dict[State, int], tuple[int, int], tuple[int, int], tuple[float, float], int]:
        return (
            {state: count for state, count in (await opened.counts()).items() if count},
            await opened.count_shortfalls(),
            await opened.count_unreleased(),
            await opened.credits(),
            await opened.count_unpriced(),
        )

    found = with_ledger(ledger, account, read)
    counts, (unverified, incomplete), (entering, moving), (locked, used), unpriced = found
    if as_json:
        cost = {"locked": locked, "used": used, "unknown_jobs": unpriced}
        shortfalls = {"unverified": unverified, "incomplete": incomplete}
        write_json({"states": counts, "unreleased": entering + moving, **shortfalls, "credits": cost})
    else:
        print_info(f"{counted(sum(counts.values()), 'entry')} of account {account}.")
        for state, count in counts.items():
            words = "failed or refused" if state is State.FAILED else WORDS[STATE_WORDS[state]]
            whole = count - unverified if state is State.DELIVERED else count
            if whole:
                print_info(f"  {whole:,}  {words}")
        if unverified:
            print_info(f"  {unverified:,}  {WORDS[UNVERIFIED]}")
        if incomplete:
            print_info(f"  {incomplete:,}  of the saved without a file of the video, such as subtitles")
        if entering:
            what = "not submitted until their enqueue ends; if it was stopped, run it again"
            print_info(f"  {entering:,}  of the entries are {what}")
        if moving:
            what = "not submitted until their journal is moved: run `enqueue --from-journal` again"
            print_info(f"  {moving:,}  of the entries are {what}")
        print_info(f"Credits: {credits_line(used, locked, unpriced)}.")
        if State.IN_DOUBT in counts:
            print_info(f"To see what is in doubt: {next_command('resolve', (), on_ledger(account))}")
    if State.IN_DOUBT in counts:
        return ExitCode.IN_DOUBT
    return ExitCode.FAILED if any(state in counts for state in WITHOUT_RESULT) else ExitCode.OK


def list_entries(
    *,
    ledger: LedgerUrl,
    account: Account = "default",
    state: State | None = None,
    as_json: JsonFlag = False,
) -> int:
    """Show the entries of a ledger one by one.

    Parameters
    ----------
    state
        Only entries in this state.
    """

    async def read(opened: Ledger) -> list[dict[str, object]]:
        found = opened.entries(states=None if state is None else [state])
        return [
            {name: getattr(entry, name) for name in _COLUMNS}
            | ({} if as_json else {"state": recorded_word(entry)})
            async for entry in found
        ]

    rows = with_ledger(ledger, account, read)
    print_rows(rows, _COLUMNS, as_json=as_json, optional=("reason", "job_id"))
    if not rows and not as_json:
        which = "entries" if state is None else f"entries in the state {state.value}"
        print_info(f"The ledger has no {which} of account {account}.")
    return ExitCode.OK


def export(*, ledger: LedgerUrl, account: Account = "default") -> int:
    """Print each entry of a ledger as a line of JSON, without the signatures of its URLs."""

    async def read(opened: Ledger) -> list[str]:
        return [line async for line in opened.export()]

    write_lines(with_ledger(ledger, account, read))
    return ExitCode.OK


def verify_results(
    *, ledger: LedgerUrl, account: Account = "default", out: Path = Path("results"), as_json: JsonFlag = False
) -> int:
    """Compare the saved files in a folder with what the ledger calls saved.

    The exit code is 1 if a file is missing.

    Parameters
    ----------
    out
        Folder or bucket with the results.
    """

    async def read(opened: Ledger) -> list[dict[str, object]] | None:
        if not (await opened.counts())[State.DELIVERED]:
            return None
        results = {result.job_id: result for result in await verify(output_folder(out))}
        return [
            {
                "key": entry.key,
                "target": entry.target,
                "job_id": entry.job_id,
                "state": "damaged",
                "reason": "",
            }
            async for entry in opened.entries(states=[State.DELIVERED])
            if entry.job_id not in results
            or any(file.state is not FileState.INTACT for file in results[entry.job_id].files)
        ]

    found = with_ledger(ledger, account, read)
    rows = found or []
    print_rows(rows, _COLUMNS, as_json=as_json, optional=("reason", "job_id"))
    if found is None:
        print_info(f"Nothing of account {account} was saved yet.")
        return ExitCode.OK
    if rows:
        print_info(f"{counted(len(rows), 'result')} not as saved. They are at the vendor for 7 days.")
        return ExitCode.FAILED
    print_info("All results of the ledger are as they were saved.")
    return ExitCode.OK


def report(
    *,
    ledger: LedgerUrl,
    account: Account = "default",
    out: Path = Path("results"),
    to: Path | None = None,
    originals: Path | None = None,
) -> int:
    """Write pages that show a ledger, as `report` does for a journal; they hold no signatures of URLs.

    Parameters
    ----------
    out
        Folder or bucket with the results; pages play files of a folder.
    to
        Folder for the pages; default is `report` in the folder of the results.
    originals
        Folder with the original videos, for those whose URL was signed: files of the same name as in the URL.
    """
    from akool_async.cli.pages import collect_ledger_report, report_folder

    output = OutputOptions(out=out, journal=local_path(to or Path()) / JOURNAL)
    local = {} if originals is None else {path.name: path for path in local_path(originals).iterdir()}
    data = with_ledger(ledger, account, lambda opened: collect_ledger_report(opened, output, local))
    index = report_folder(output, to).write(data)
    print_info(f"{counted(len(data.entries), 'entry')} of account {account}:")
    write_lines([str(index)])
    return ExitCode.OK


def resolve(
    key: str | None = None,
    /,
    *,
    language: Annotated[str, Parameter(show_default=False)] = "",
    job_id: str | None = None,
    not_made: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    ledger: LedgerUrl,
    account: Account = "default",
    as_json: JsonFlag = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Show what is in doubt in a ledger, or say what became of it; workers then continue.

    Parameters
    ----------
    key
        Key of an entry in doubt; without it all are shown.
    language
        Its language.
    job_id
        The job was made and has this id, which is looked up first.
    not_made
        No job was made: the entry may be submitted, and paid, once more. The vendor is asked for the jobs
        that the answer named.
    yes
        Accept a job that was made at another time than the call was sent, or into another language; or
        --not-made although the answer named a job.
    """
    if key is None:
        left = with_ledger(ledger, account, lambda opened: opened.counts())[State.IN_DOUBT]
        if not left and not as_json:
            print_info("Nothing is in doubt.")
            return ExitCode.OK
        code = list_entries(ledger=ledger, account=account, state=State.IN_DOUBT, as_json=as_json)
        return ExitCode.IN_DOUBT if left else code

    async def read(opened: Ledger) -> tuple[Entry | None, list[str]]:
        entry = await opened.get(key, language)
        if entry is None:
            return None, []  # `opened.resolve` says so
        return entry, [one for one in entry.doubt_ids if await opened.find_job(one) is None]

    seen, named = with_ledger(ledger, account, read)
    entry = seen if seen is not None and seen.state in (State.IN_DOUBT, State.SUBMITTING) else None
    snapshot = None
    # Asked before anything is written: no job has a wrong id, and it would be waited for in vain.
    if entry is not None and job_id is not None:
        snapshot = accept_job(job_id, entry, connection, yes=yes)
        if snapshot is None:
            return ExitCode.FAILED
    elif entry is not None and not_made:

        def accepting(job_id: str) -> str:
            options = {"--language": language or None, "--job-id": job_id, **on_ledger(account)}
            return next_command("resolve", (key,), options)

        if not confirm_not_made(entry, named, connection, accepting, yes=yes):
            return ExitCode.FAILED

    async def say(opened: Ledger) -> int:
        from akool_async.workers.dbos import enqueue

        await opened.resolve(key, language, job_id=job_id, not_made=not_made, snapshot=snapshot, seen=seen)
        return await enqueue(opened)

    with_ledger(ledger, account, say)
    print_info(f"{key} is resolved; the workers resume it.")
    return ExitCode.OK


def retry(
    *keys: str,
    failed: Annotated[bool, Parameter(negative="")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
    ledger: LedgerUrl,
    account: Account = "default",
) -> int:
    """Let workers submit again what failed, was refused or expired. That costs credits once more.

    Parameters
    ----------
    keys
        Keys of the entries, in all their languages.
    failed
        All entries that failed, were refused or expired, but for those refused because they are paid already.
    yes
        Spend without asking. Required where there is no terminal to ask on.
    """
    if bool(keys) is failed:
        raise InvalidRequestError("Name entries, or use --failed.")

    async def find(opened: Ledger) -> tuple[list[Entry], int]:
        paid = await opened.refused_as_paid() if failed else frozenset()
        found = opened.entries(states=WITHOUT_RESULT)
        wanted = [entry async for entry in found if failed or entry.key in keys]
        left = [entry for entry in wanted if (entry.key, entry.target) not in paid]
        return left, len(wanted) - len(left)

    async def send(opened: Ledger) -> int:
        from akool_async.workers.dbos import enqueue

        moved = 0
        for name in names:
            try:
                moved += await opened.retry(*name, pay_again=not failed)
            except InvalidRequestError as error:  # the same work is paid under another key
                print_info(str(error))
        await enqueue(opened)
        return moved

    entries, paid = with_ledger(ledger, account, find)
    if paid:
        print_info(f"{counted(paid, 'entry')} paid already, and left out; `retry KEY` pays for one again.")
    check_without_result(keys, entries, next_command("list", (), on_ledger(account)))
    names = [(entry.key, entry.target) for entry in entries if not entry.url_redacted]
    if len(names) < len(entries):
        left = counted(len(entries) - len(names), "entry")
        print_info(f"{left} of a journal, which kept no signatures: enqueue the catalog first.")
        if not names:
            return ExitCode.FAILED
    if not names:
        print_info(f"Nothing{' else' * bool(paid)} failed, was refused or expired.")
        return ExitCode.OK
    if not confirm(f"Submit {counted(len(names), 'entry')} once more? Each is a paid job.", yes=yes):
        print_info("Nothing was submitted and nothing was spent.")
        return ExitCode.INTERRUPTED
    again = with_ledger(ledger, account, send)
    print_info(f"{counted(again, 'entry')} to be submitted once more.")
    return ExitCode.OK if again else ExitCode.FAILED
