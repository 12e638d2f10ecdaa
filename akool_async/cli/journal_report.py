"""What a journal holds: its entries as data and in words, counts, credits, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final

import attrs

from akool_async._batch.resume import find_elsewhere
from akool_async._download import is_there
from akool_async._journal import EVER, Entry, Journal
from akool_async._model.codes import error_for
from akool_async._model.errors import InvalidRequestError, JournalLockedError, JournalOlderError
from akool_async._model.locations import BucketPath
from akool_async._model.outcomes import MANIFEST, is_incomplete, is_unverified, needs_correction
from akool_async._model.redact import strip_query
from akool_async._model.requests import video_url
from akool_async._model.states import WITHOUT_RESULT, State
from akool_async._model.tariff import credits_text
from akool_async.cli.catalog import Catalog, CatalogItem, Layout, names_for
from akool_async.cli.console import counted, format_value, print_info
from akool_async.cli.next_commands import Order
from akool_async.cli.options import OutputOptions
from akool_async.cli.paid_work import same_work
from akool_async.cli.report import request_label
from akool_async.cli.run_history import UnsentEntry, read_history
from akool_async.cli.run_summary import SAVED, UNVERIFIED
from akool_async.cli.saved_files import files_of, locate

NOT_SUBMITTED: Final = "not submitted"
TO_CORRECT: Final = "to correct"
FILES_GONE: Final = "files gone"
_NO_MANIFEST: Final = "no manifest"
WORDS: Final[Mapping[str, str]] = {
    SAVED: "saved",
    UNVERIFIED: "saved, but could not be verified: watch them before they expire",
    FILES_GONE: "saved before, but files are not there any more",
    "done": "done, not saved yet",
    "at the vendor": "at the vendor",
    "being sent": "being sent, or perhaps sent by a run that was interrupted",
    NOT_SUBMITTED: "not submitted yet",
    TO_CORRECT: "refused before they were sent, not charged: their rows have to be corrected",
    "in doubt": "in doubt: sent or maybe sent, the answer is unknown",
    "failed": "failed: the vendor made no result",
    "refused": "refused by the vendor, not charged",
    "expired": "expired: done, but the vendor does not have the result any more",
}
"""How an entry is, in a word or two and in more, in the order in which they are shown."""

STATE_WORDS: Final[Mapping[State, str]] = {
    State.DELIVERED: SAVED,
    State.COMPLETED: "done",
    State.SUBMITTED: "at the vendor",
    State.SUBMITTING: "being sent",
    State.PLANNED: NOT_SUBMITTED,
    State.IN_DOUBT: "in doubt",
    State.FAILED: "failed",
    State.EXPIRED: "expired",
}
SOON: Final = timedelta(days=2)
"""Results that expire within this time are pointed out."""

AT_VENDOR: Final = frozenset({State.SUBMITTED, State.COMPLETED})
MAX_SHOWN: Final = 10
"""Entries of a kind that `status` shows; `list` shows all."""


def recorded_word(entry: Entry) -> str:
    """Return how an entry is by its record alone; one that failed without a job was refused."""
    if entry.state is State.DELIVERED and is_unverified(entry.reason):
        return UNVERIFIED
    return "refused" if entry.state is State.FAILED and not entry.job_id else STATE_WORDS[entry.state]


def state_word(entry: Entry, output: OutputOptions) -> str:
    """Return how an entry of a journal is, after a look at its files."""
    if entry.state is State.DELIVERED:
        # A run without a folder for results emits them as they are at the vendor: that is no file here.
        if not entry.files:
            return STATE_WORDS[State.COMPLETED]
        if _lost(entry.files, entry.name, output) == FILES_GONE:
            return FILES_GONE
    return recorded_word(entry)


def doubtful_states(journal: Journal) -> frozenset[State]:
    """Return the states that are in doubt: without a run that writes the journal, also a POST being sent."""
    return frozenset({State.IN_DOUBT} if journal.find_lock_holder() else {State.IN_DOUBT, State.SUBMITTING})


def not_downloaded(journal: Journal, within: timedelta = EVER) -> list[Entry]:
    """Return what runs without a folder for results left at the vendor, what expires first comes first.

    Only results that expire within this time, or should have expired already.
    """
    saved = [entry for entry in journal.saved_files() if not entry.files]
    entries = filter(None, (journal.get(entry.key, entry.target) for entry in saved))
    until = datetime.now(UTC) + within
    expiring = ((entry.expires_at or until, entry) for entry in entries)
    return [entry for moment, entry in sorted(expiring, key=itemgetter(0)) if moment <= until]


def _lost(files: Sequence[str], name: str, output: OutputOptions) -> str:
    """Return what is not there any more of a saved result: files, its manifest alone, or "" for nothing.

    Nothing is known of what is in a bucket: only `verify` and a run look there.
    """
    if isinstance(output.out, BucketPath):
        return ""
    places = [locate(file, output, name) for file in files]
    lost = [path for path in places if not (isinstance(path, BucketPath) or is_there(path))]
    if all(path.name.endswith(MANIFEST) for path in lost):
        return _NO_MANIFEST if lost else ""
    return FILES_GONE


def advice_for(entry: Entry, output: OutputOptions) -> str:
    """Return what can be done about an entry whose result is not saved whole, or ""."""
    match state_word(entry, output):
        case "refused":
            return error_for(entry.code, creating=True).advice
        case "failed" if entry.code is not None:
            return error_for(entry.code).advice
        case "failed":
            return "Send it again, which costs credits; if it fails again, look at the video."
        case "expired":
            return "Only sending it again makes a new result, which costs credits."
        case "files gone":
            return f"`{output.command('collect')}` saves it again while the vendor has it."
        case "unverified" | "saved" if is_unverified(entry.reason) or is_incomplete(entry.reason):
            return (
                f"`{output.command('collect')}` downloads it again, without paying, while the vendor has it."
            )
        case "saved" if _lost(entry.files, entry.name, output):
            return (
                "Its manifest is gone, so nothing says whether its files are what was saved. "
                f"`{output.command('verify', fix=True)}` saves it again beside them, without paying, while "
                "the vendor has it."
            )
        case "done":
            return f"`{output.command('collect')}` saves it, without paying, while the vendor has it."
        case "in doubt" | "being sent":
            known = f"`{output.command('resolve')}`"
            return f"Do not send it again before it is known whether a job was made: {known}."
    return ""


def entry_json(entry: Entry, output: OutputOptions) -> dict[str, Any]:
    """Return an entry for programs and tables."""
    failed = entry.state is State.FAILED  # its lock is released, and it has no result that could expire
    locked = None if failed else entry.credits_locked
    return {
        "key": entry.key,
        "target": entry.target,
        "state": state_word(entry, output),
        "reason": entry.reason,
        "code": entry.code,
        "job_id": entry.job_id,
        "credits": locked if entry.credits_used is None else entry.credits_used,
        "submitted_at": entry.submitted_at,
        "ended_at": entry.ended_at,
        "expires_at": None if failed else entry.expires_at,
        "files": files_of(entry, output),
        "url": strip_query(video_url(entry.request)),
        "doubt_ids": list(entry.doubt_ids),
        "advice": advice_for(entry, output),
    }


@attrs.frozen(kw_only=True)
class JournalStatus:
    """A journal at one moment.

    Attributes:
        counts: entries by how they are, as in `WORDS`; rows of catalogs that have no entry yet included.
        not_downloaded: entries that ended in a run without a folder for results.
        incomplete: saved entries, verified or not, that lack a file such as subtitles.
        without_manifest: saved entries whose manifest alone is gone.
        shortfalls: incomplete ones, and what could not be verified.
        unpriced: jobs of which the vendor has not said what they cost; neither `locked` nor `used` has them.
        without_result: entries that failed, were refused or expired.
        with_other_jobs: entries that have a job, and for which another one was named.
        expiring: up to 10 entries whose result is at the vendor, by expiry.
        expiring_soon: number of entries whose result expires within 2 days.
        not_submitted: rows without an entry that may be sent, by catalog.
        to_correct: up to 10 of the rows that were refused before they were sent.
        refused_rows: number of these by catalog.
        orders: the commands of its last run, by catalog.
        needs_catalog: entries not submitted whose URL lost its signature.
    """

    output: OutputOptions
    now: datetime
    lock_holder: JournalLockedError | None
    older: JournalOlderError | None
    states: Mapping[State, int]
    counts: Mapping[str, int]
    not_downloaded: int
    incomplete: int
    without_manifest: int
    shortfalls: int
    locked: float
    used: float
    unpriced: int
    doubts: tuple[Entry, ...]
    without_result: tuple[Entry, ...]
    with_other_jobs: tuple[Entry, ...]
    expiring: tuple[Entry, ...]
    expiring_soon: int
    not_submitted: Mapping[str, int]
    to_correct: tuple[UnsentEntry, ...]
    refused_rows: Mapping[str, int]
    orders: Mapping[str, Order]
    needs_catalog: int

    @property
    def next_steps(self) -> tuple[tuple[str, str], ...]:
        """What to do next, each with its reason and the command; nothing while a run is writing."""
        if self.lock_holder is not None:
            return ()
        states, command = self.states, self.output.command
        planned = states[State.PLANNED] - self.needs_catalog
        at_fault = sum(needs_correction(entry.code) for entry in self.without_result)
        # In the order in which something is lost: results that expire, money in doubt, then what can wait.
        steps = [
            (self.expiring_soon, "expire at the vendor within 2 days: save them first", command("collect")),
            (
                len(self.doubts) + states[State.SUBMITTING],
                "in doubt: find out whether jobs were made and paid",
                command("resolve"),
            ),
            (
                self.shortfalls,
                "not verified or without a file: download them again, without paying",
                command("collect"),
            ),
            (self.not_downloaded, "done and never downloaded: save them, without paying", command("collect")),
            (self.counts[FILES_GONE], "whose files are gone: save them again", command("collect")),
            (sum(states[state] for state in AT_VENDOR), "paid and not saved yet", command("resume")),
            (planned, "not submitted yet, which costs credits", command("resume")),
            (
                len(self.without_result) - at_fault,
                "without a result; sending them again costs credits",
                command("retry", failed=True),
            ),
            (
                at_fault,
                "without a result until the video or the row is corrected",
                command("list", failed=True),
            ),
            (
                self.needs_catalog,
                "not submitted yet, whose signed URL only the catalog has",
                "run the catalog again",
            ),
        ]
        found = [(f"{counted(count, 'entry')} {why}", step) for count, why, step in steps if count]
        return (*found, *self.catalog_steps)

    @property
    def catalog_steps(self) -> Iterator[tuple[str, str]]:
        """Which catalogs to run again, for what no run has sent."""
        for catalogs, what in (
            (self.not_submitted, "not submitted yet: run the catalog again"),
            (self.refused_rows, "to be corrected in {catalog}: then run it again"),
        ):
            for catalog, count in catalogs.items():
                why, order = what.format(catalog=catalog), self.orders.get(catalog)
                if order is not None:
                    where = {"--out": self.output.out, "--journal": self.output.journal}
                    why, step = f"{why}, which costs credits", order.command(self.output.path, where)
                    if bound := order.value("--max-credits"):
                        # The same bound would stop it again; how much is enough, nobody knows here.
                        why += (
                            f" (of --max-credits {bound}, {credits_text(self.used + self.locked)} are used)"
                        )
                else:
                    why += ", with the same options, such as --max-credits"
                    step = self.output.command("run", catalog)
                yield f"{counted(count, 'entry')} {why}", step


async def read_status(journal: Journal, output: OutputOptions) -> JournalStatus:
    """Read what a journal holds; a run may be writing it meanwhile."""
    locked, used = journal.credits()
    expiring: list[Entry] = []
    async for entry in journal.expiring(EVER):
        expiring.append(entry)
        if len(expiring) == MAX_SHOWN:
            break
    left = not_downloaded(journal)
    now = datetime.now(UTC)
    waiting = [entry for entry in left if entry.expires_at is not None and entry.expires_at > now]
    expiring = sorted((*expiring, *waiting), key=lambda entry: entry.expires_at or now)[:MAX_SHOWN]
    without_result = [entry async for entry in journal.entries(states=WITHOUT_RESULT)]
    states = journal.counts()
    history = read_history(output.path)
    unsent = [*history.unsent(journal)]
    pending = Counter(entry.catalog for entry in unsent if not entry.reason)
    refused = [entry for entry in unsent if entry.reason]
    counts = {STATE_WORDS[state]: number for state, number in states.items()}
    saved = Counter[str]()
    for one in journal.saved_files():
        if not one.files:
            continue
        reason, lost = one.reason, _lost(one.files, one.name, output)
        saved[lost] += 1
        if lost != FILES_GONE and reason:
            unverified, incomplete = is_unverified(reason), is_incomplete(reason)
            saved.update({UNVERIFIED: unverified, "incomplete": incomplete, "all": unverified or incomplete})
    counts |= {word: saved[word] for word in (UNVERIFIED, FILES_GONE)}
    counts[SAVED] -= saved[UNVERIFIED] + saved[FILES_GONE] + len(left)
    counts[STATE_WORDS[State.COMPLETED]] += len(left)
    counts["refused"] = sum(state_word(entry, output) == "refused" for entry in without_result)
    counts["failed"] -= counts["refused"]
    counts[NOT_SUBMITTED] += pending.total()
    counts[TO_CORRECT] = len(refused)
    return JournalStatus(
        output=output,
        now=now,
        lock_holder=journal.find_lock_holder(),
        older=journal.find_older_error(),
        states=states,
        counts=counts,
        not_downloaded=len(left),
        incomplete=saved["incomplete"],
        without_manifest=saved[_NO_MANIFEST],
        shortfalls=saved["all"],
        locked=locked,
        used=used,
        unpriced=journal.count_unpriced(),
        doubts=tuple([entry async for entry in journal.entries(states={State.IN_DOUBT})]),
        without_result=tuple(without_result),
        with_other_jobs=tuple(journal.with_other_jobs()),
        expiring=tuple(expiring),
        expiring_soon=journal.count_expiring(SOON)
        + sum(entry.expires_at is not None and entry.expires_at <= now + SOON for entry in waiting),
        not_submitted=pending,
        to_correct=tuple(refused[:MAX_SHOWN]),
        refused_rows=Counter(entry.catalog for entry in refused),
        orders=history.orders,
        needs_catalog=len(
            [1 async for entry in journal.entries(states={State.PLANNED}) if entry.url_redacted]
        ),
    )


def entry_label(entry: Entry) -> str:
    """Return what people call an entry, and its language."""
    return format_value(f"{request_label(entry.request)} {entry.target}".strip())


async def read_entries(
    output: OutputOptions, states: Collection[State]
) -> tuple[list[Entry], dict[tuple[str, str], Entry]]:
    """Return the entries in these states, in the order in which they were entered.

    With them come, by their names, entries of the same work for which a run would not pay for them.

    Raises:
        JournalError: there is no journal, it can't be read, or a run is writing it.
    """
    async with output.reading() as journal:
        # The run that is writing may be submitting these entries at this moment.
        if (holder := journal.find_lock_holder()) is not None:
            raise holder
        found, elsewhere = [], {}
        async for entry in journal.entries(states=states):
            found.append(entry)
            if entry.state is State.PLANNED or entry.state in WITHOUT_RESULT:
                known = find_elsewhere(journal, entry.request_for_target, entry.target, entry)
                if known is not None:
                    elsewhere[entry.key, entry.target] = known
        return found, elsewhere


def resubmittable(entries: Iterable[Entry], elsewhere: Mapping[tuple[str, str], Entry]) -> list[Entry]:
    """Return the entries that can be sent from the journal alone, and print why the others can't.

    Their URL lost its signature, or the journal has their work elsewhere, under another key.
    """
    found = list(entries)
    complete = [entry for entry in found if not entry.url_redacted]
    if len(complete) < len(found):
        print_info(
            f"{counted(len(found) - len(complete), 'entry')} can't be sent from here: the URLs were signed, "
            "and the journal keeps no signatures. Run the catalog again for them."
        )
    resubmitted = []
    for entry in complete:
        known = elsewhere.get((entry.key, entry.target))
        if known is None:
            resubmitted.append(entry)
            continue
        what = "work" if known.fingerprint == entry.fingerprint else "URL with another query"
        print_info(
            f"{entry_label(entry)} is left out: the same {what} is in the journal as {same_work(known)}"
        )
    return resubmitted


def check_without_result(keys: Iterable[str], entries: Iterable[Entry], listing: str) -> None:
    """Raise `InvalidRequestError` for a key of none of these entries; `listing` is what shows all."""
    unknown = sorted({*keys} - {entry.key for entry in entries})
    if unknown:
        raise InvalidRequestError(
            f"No failed, refused or expired entry is called {', '.join(map(repr, unknown))}.",
            advice=f"`{listing}` shows the entries and their states.",
        )


def catalog_from(output: OutputOptions, entries: Iterable[Entry], what: str) -> Catalog:
    """Return a catalog that asks for the work of a journal's entries; in words that is `what`."""
    layout = Layout(str(output.path))
    items = tuple(
        CatalogItem(request=entry.request_for_target, names=names_for(entry.request.key), layout=layout)
        for entry in entries
    )
    return Catalog(path=output.path, title=f"{output.path}, {what}", rows=len(items), items=items)
