"""Compares what the vendor noted, what the journal says, what the caller was told, and the files.

Reads the journal as plain SQLite and knows nothing of the package but the names of columns and states.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.vendor.jobs import video_of
from tests.vendor.ledger import read_events

Work = tuple[str, str]
"""URL of a video, and the language that it is translated into."""

DOUBTFUL = frozenset({"submitting", "in_doubt"})


@dataclass(frozen=True)
class Told:
    """One outcome that a caller was given.

    Attributes:
        at: when, in seconds since the epoch.
        earlier: whether it was said to be of an earlier run.
    """

    key: str
    target: str
    outcome: str
    at: float
    job_id: str | None = None
    earlier: bool = False


@dataclass(frozen=True)
class Entry:
    """A row of the journal."""

    key: str
    target: str
    state: str
    url: str
    job_id: str
    doubt_ids: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def work(self) -> Work:
        return self.url, self.target

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(filter(None, [self.job_id, *self.doubt_ids]))


@dataclass
class Evidence:
    """All that a case is judged by.

    Attributes:
        ledger: the vendor's file.
        journal: the client's file.
        out: the folder of results.
        told: every outcome that a caller was given, in all runs.
        shown: everything that was printed or logged.
        secret: must be in nothing that the client wrote.
        finished: whether the last run had time to end everything.
        max_credits: the bound of all runs; None for none.
        unpriced: credits of the one job whose price the vendor did not say.
        paid_again: works that the caller wanted to pay for once more.
    """

    ledger: Path
    journal: Path
    out: Path
    told: list[Told] = field(default_factory=list)
    shown: str = ""
    secret: str = ""
    finished: bool = True
    max_credits: float | None = None
    unpriced: float = 0.0
    paid_again: Collection[Work] = ()


def read_journal(path: Path) -> list[Entry]:
    """Read a copy of a journal that no client has open: opening the file itself would change it."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (path.name, f"{path.name}-wal"):
            if (path.parent / name).exists():
                shutil.copy(path.parent / name, folder)
        copy = Path(folder) / path.name
        if not copy.exists():
            return []
        with closing(sqlite3.connect(copy)) as connection:
            return _entries(connection)


def read_open_journal(path: Path) -> list[Entry]:
    """Read a journal that a client of this process has open: a copy would give its lock away."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
        return _entries(connection)


def _entries(connection: sqlite3.Connection) -> list[Entry]:
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the journal is broken"
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchall():
        return []  # killed while the file was made
    rows = connection.execute("SELECT key, target, state, request, job_id, doubt_ids, files FROM entry")
    return [Entry(*row[:3], _url(row[3]), row[4], *map(_texts, row[5:])) for row in rows]


def _url(request: str) -> str:
    fields = json.loads(request)
    return str(fields.get("url") or fields["video_url"])


def _texts(text: str) -> tuple[str, ...]:
    return tuple(map(str, json.loads(text)))


def told_by_events(text: str) -> list[Told]:
    """Read the outcomes out of what `--json` printed; the last line may be torn."""
    told = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == "ended":
            at = datetime.fromisoformat(event["at"]).timestamp()
            told.append(
                Told(
                    event["key"], event["target"], event["outcome"], at, event["job_id"], event["earlier_run"]
                )
            )
    return told


class Case:
    """The evidence, read."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.events = read_events(evidence.ledger)
        self.entries = read_journal(evidence.journal)
        self.jobs = {event["id"]: event for event in self.events if event["event"] == "job"}
        self.of_work: dict[Work, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            self.of_work[entry.work].append(entry)
        self.kept = {job_id for entry in self.entries for job_id in entry.ids}
        self.named = {told.job_id for told in evidence.told} | self.kept

    def is_known(self, job_id: str) -> bool:
        return job_id in self.named or job_id in self.evidence.shown

    def readable(self) -> Iterator[str]:
        """Yield each id that the client must have kept.

        It asked for the job, or it got the bytes and was not killed before its process ended by itself. A
        process that is killed right after the last byte can't have written anything down.
        """
        asked = {event["id"] for event in self.events if event["event"] == "asked"}
        ends = {event["pid"]: event["code"] for event in self.events if event["event"] == "ended"}
        for event in self.events:
            if event["event"] == "answered":
                killed = ends.get(event["pid"]) == -signal.SIGKILL
                yield from (job_id for job_id in event["ids"] if job_id in asked or not killed)


def judge(evidence: Evidence) -> list[str]:
    """Return every violation as one line that begins with its kind."""
    case = Case(evidence)
    rules = (
        _paid_twice,
        _lost,
        _id_forgotten,
        _wrong_job,
        _called_unpaid,
        _delivered_once,
        _files,
        _overspent,
        _secrets,
    )
    return [violation for rule in rules for violation in rule(case)]


def _paid_twice(case: Case) -> Iterator[str]:
    made = defaultdict(list)
    for job in case.jobs.values():
        made[job["url"], job["language"]].append(job["id"])
    for work, ids in made.items():
        if len(ids) > 1 and work not in case.evidence.paid_again:
            yield f"paid twice: {work}, jobs {ids}"


def _lost(case: Case) -> Iterator[str]:
    for job in case.jobs.values():
        entries = case.of_work[job["url"], job["language"]]
        given_up = (job["url"], job["language"]) in case.evidence.paid_again
        if not case.is_known(job["id"]) and not any(e.state in DOUBTFUL for e in entries) and not given_up:
            yield f"lost: job {job['id']}, entries {[(entry.key, entry.state) for entry in entries]}"


def _id_forgotten(case: Case) -> Iterator[str]:
    for job_id in dict.fromkeys(case.readable()):
        if not case.is_known(job_id):
            yield f"id forgotten: {job_id} could be read, and is in no journal, outcome or log"


def _wrong_job(case: Case) -> Iterator[str]:
    owners = defaultdict(list)
    for entry in case.entries:
        if entry.job_id:
            owners[entry.job_id].append(entry.key)
            job = case.jobs.get(entry.job_id)
            if job is None or (job["url"], job["language"]) != entry.work:
                yield f"wrong job: {entry.job_id} of {entry.key} ({entry.target})"
    for job_id, keys in owners.items():
        if len(keys) > 1:
            yield f"wrong job: {job_id} belongs to {keys}"


def _called_unpaid(case: Case) -> Iterator[str]:
    for told in case.evidence.told:
        if told.outcome not in ("not sent", "refused"):
            continue
        works = {entry.work for entry in case.entries if (entry.key, entry.target) == (told.key, told.target)}
        for job in case.jobs.values():
            if (job["url"], job["language"]) in works and job["at"] < told.at:
                yield f"called unpaid: {told.key} ({told.target}), {told.outcome!r}, has job {job['id']}"


def _delivered_once(case: Case) -> Iterator[str]:
    saved: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for told in case.evidence.told:
        if told.outcome == "saved":
            saved[told.key, told.target].append(told)
    for entry in case.entries:
        times = saved[entry.key, entry.target]
        fresh = sum(not told.earlier for told in times)
        if fresh > 1:
            yield f"delivered twice: {entry.key} ({entry.target}), {fresh} times"
        if entry.state == "delivered" and not times and case.evidence.finished:
            yield f"never told: {entry.key} ({entry.target}) is saved, and the caller does not know"
        job = case.jobs.get(entry.job_id)
        if case.evidence.finished and job is not None and not job["fails"] and entry.state != "delivered":
            yield f"not delivered: {entry.key} ({entry.target}) is {entry.state}, job {job['id']} is not"


def _files(case: Case) -> Iterator[str]:
    for entry in case.entries:
        if entry.state != "delivered":
            continue
        paths = [Path(file) for file in entry.files if file.endswith(".mp4")]
        if not paths:
            yield f"wrong file: {entry.key} ({entry.target}) has none"
        for path in paths:
            if not path.exists() or path.read_bytes() != video_of(entry.job_id):
                yield f"wrong file: {path.name} is not the result of {entry.job_id}"
    whole = {video_of(job_id) for job_id in case.jobs}
    for path in case.evidence.out.glob("*.mp4"):
        if path.read_bytes() not in whole:
            yield f"wrong file: {path.name} is not whole"


def _overspent(case: Case) -> Iterator[str]:
    spent, most = (
        sum(job["cost"] for job in case.jobs.values() if not job["fails"]),
        case.evidence.max_credits,
    )
    if most is not None and spent > most + case.evidence.unpriced:
        yield f"overspent: {spent:g} of {most:g}"


def _secrets(case: Case) -> Iterator[str]:
    evidence = case.evidence
    if any(event["event"] == "leak" for event in case.events):
        yield "secret: credentials were sent to the file host"
    if not evidence.secret:
        return
    if evidence.secret in evidence.shown:
        yield "secret: the key was shown"
    for path in _written(evidence):
        if evidence.secret.encode() in path.read_bytes():
            yield f"secret: the key is in {path.name}"


def _written(evidence: Evidence) -> Iterable[Path]:
    journals = evidence.journal.parent.glob(f"{evidence.journal.name}*")
    return {path for path in [*evidence.out.rglob("*"), *journals] if path.is_file()}
