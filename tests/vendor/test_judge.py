"""A plain run of six videos is judged right, and each violation that is planted into it is seen."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vendor.conftest import KEY, evidence_of
from tests.vendor.judge import Evidence, judge, read_journal
from tests.vendor.ledger import read_events
from tests.vendor.program import Customer
from tests.vendor.server import Vendor


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Six videos through the command line, then the same command again."""
    folder = tmp_path_factory.mktemp("six")
    with Vendor(folder, key=KEY) as vendor:
        customer = Customer(vendor, folder, KEY)
        for _ in range(2):
            run = customer.run("run", customer.catalog(6), "--out", customer.out, "--yes", "--json")
            assert run.code == 0, run.err
    return evidence_of(customer, max_credits=24.0)


@pytest.fixture
def evidence(original: Evidence, tmp_path: Path) -> Evidence:
    """A copy that a test may tamper with."""
    out = tmp_path / "out"
    shutil.copytree(original.out, out)
    shutil.copy(original.ledger, tmp_path)
    with closing(sqlite3.connect(out / "jobs.sqlite3")) as journal, journal:
        journal.execute("UPDATE entry SET files = replace(files, ?, ?)", (str(original.out), str(out)))
    ledger = tmp_path / original.ledger.name
    return replace(original, ledger=ledger, journal=out / "jobs.sqlite3", out=out, told=[*original.told])


def test_a_plain_run_of_six_videos_is_right(original: Evidence) -> None:
    jobs = [event for event in read_events(original.ledger) if event["event"] == "job"]

    assert judge(original) == []
    assert len(jobs) == len(read_journal(original.journal)) == 6
    assert [told.outcome for told in original.told] == ["saved"] * 12
    assert sum(told.earlier for told in original.told) == 6


def write(evidence: Evidence, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(evidence.journal)) as journal, journal:
        assert journal.execute(statement, values).rowcount == 1


def note(evidence: Evidence, event: str, **fields: object) -> None:
    at = min(told.at for told in evidence.told) - 60
    with evidence.ledger.open("a") as ledger:
        ledger.write(json.dumps({"event": event, "at": at, **fields}) + "\n")


def job(evidence: Evidence, name: str, **fields: object) -> None:
    url = f"https://media.example/{name}.mp4"
    usual = {"exchange": 99, "id": name * 24, "url": url, "language": "ja", "cost": 0.0, "fails": False}
    note(evidence, "job", **usual | fields)


def another_job_for_the_same_video(evidence: Evidence) -> None:
    job(evidence, "1", id="f" * 24)


def a_job_without_an_entry(evidence: Evidence) -> None:
    job(evidence, "7")


def forget_job(evidence: Evidence, key: str, state: str) -> None:
    write(evidence, "UPDATE entry SET state = ?, job_id = '' WHERE key = ?", state, key)
    evidence.told[:] = [told for told in evidence.told if told.key != key]
    evidence.shown = ""


def a_job_whose_entry_is_planned(evidence: Evidence) -> None:
    forget_job(evidence, "video-2", "planned")


def an_id_that_was_asked_for_and_not_kept(evidence: Evidence) -> None:
    forget_job(evidence, "video-3", "in_doubt")


def an_id_in_an_answer_that_was_not_kept(evidence: Evidence) -> None:
    job(evidence, "4", id="e" * 24)
    note(evidence, "answered", exchange=99, pid=1, ids=["e" * 24])
    note(evidence, "ended", pid=1, code=0)
    evidence.paid_again = [("https://media.example/4.mp4", "ja")]


def a_job_of_another_video(evidence: Evidence) -> None:
    url = "https://media.example/3.mp4"
    (other,) = (event["id"] for event in read_events(evidence.ledger) if event.get("url") == url)
    write(evidence, "UPDATE entry SET job_id = ? WHERE key = 'video-4'", other)


def a_job_that_the_vendor_never_made(evidence: Evidence) -> None:
    write(evidence, "UPDATE entry SET job_id = 'invented' WHERE key = 'video-5'")


def a_paid_video_that_is_called_not_sent(evidence: Evidence) -> None:
    evidence.told.append(replace(evidence.told[0], outcome="not sent"))


def a_paid_video_that_is_called_refused(evidence: Evidence) -> None:
    evidence.told.append(replace(evidence.told[0], outcome="refused"))


def a_result_that_is_delivered_again(evidence: Evidence) -> None:
    evidence.told.append(next(told for told in evidence.told if not told.earlier))


def a_result_that_nobody_was_told_of(evidence: Evidence) -> None:
    evidence.told[:] = [told for told in evidence.told if told.key != "video-0"]


def a_completed_job_that_is_left_at_the_vendor(evidence: Evidence) -> None:
    write(evidence, "UPDATE entry SET state = 'submitted' WHERE key = 'video-1'")


def a_file_that_is_cut(evidence: Evidence) -> None:
    path = evidence.out / "video-1.ja.mp4"
    path.write_bytes(path.read_bytes()[:-1])


def a_file_that_is_missing(evidence: Evidence) -> None:
    (evidence.out / "video-1.ja.mp4").unlink()


def two_files_that_are_exchanged(evidence: Evidence) -> None:
    one, other = evidence.out / "video-1.ja.mp4", evidence.out / "video-2.ja.mp4"
    content = one.read_bytes()
    shutil.copy(other, one)
    other.write_bytes(content)


def a_file_of_no_entry_that_is_not_whole(evidence: Evidence) -> None:
    (evidence.out / "extra.mp4").write_bytes(b"<html>")


def a_job_that_is_too_dear(evidence: Evidence) -> None:
    write(evidence, "UPDATE entry SET doubt_ids = ? WHERE key = 'video-1'", json.dumps(["d" * 24]))
    job(evidence, "1", id="d" * 24, cost=0.5)
    evidence.paid_again = [("https://media.example/1.mp4", "ja")]


def a_key_that_is_shown(evidence: Evidence) -> None:
    evidence.shown += f"x-api-key: {KEY}"


def a_key_in_the_journal(evidence: Evidence) -> None:
    write(evidence, "UPDATE entry SET reason = ? WHERE key = 'video-1'", f"refused: {KEY}")


def a_key_in_a_file_beside_a_result(evidence: Evidence) -> None:
    (evidence.out / "video-1.ja.mp4.json").write_text(KEY)


def credentials_at_the_file_host(evidence: Evidence) -> None:
    note(evidence, "leak", exchange=99, headers=["x-api-key"])


PLANTED: list[tuple[Callable[[Evidence], None], str]] = [
    (another_job_for_the_same_video, "paid twice"),
    (a_job_without_an_entry, "lost"),
    (a_job_whose_entry_is_planned, "lost"),
    (an_id_that_was_asked_for_and_not_kept, "id forgotten"),
    (an_id_in_an_answer_that_was_not_kept, "id forgotten"),
    (a_job_of_another_video, "wrong job"),
    (a_job_that_the_vendor_never_made, "wrong job"),
    (a_paid_video_that_is_called_not_sent, "called unpaid"),
    (a_paid_video_that_is_called_refused, "called unpaid"),
    (a_result_that_is_delivered_again, "delivered twice"),
    (a_result_that_nobody_was_told_of, "never told"),
    (a_completed_job_that_is_left_at_the_vendor, "not delivered"),
    (a_file_that_is_cut, "wrong file"),
    (a_file_that_is_missing, "wrong file"),
    (two_files_that_are_exchanged, "wrong file"),
    (a_file_of_no_entry_that_is_not_whole, "wrong file"),
    (a_job_that_is_too_dear, "overspent"),
    (a_key_that_is_shown, "secret"),
    (a_key_in_the_journal, "secret"),
    (a_key_in_a_file_beside_a_result, "secret"),
    (credentials_at_the_file_host, "secret"),
]


@pytest.mark.parametrize(("plant", "kind"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_violation_is_seen(
    evidence: Evidence, plant: Callable[[Evidence], None], kind: str
) -> None:
    assert judge(evidence) == []
    plant(evidence)

    assert kind in {violation.partition(":")[0] for violation in judge(evidence)}


def test_a_process_that_was_killed_after_the_last_byte_could_not_keep_the_id(evidence: Evidence) -> None:
    an_id_in_an_answer_that_was_not_kept(evidence)
    text = evidence.ledger.read_text().replace('"pid": 1, "code": 0', f'"pid": 1, "code": {-signal.SIGKILL}')
    evidence.ledger.write_text(text)
    write(evidence, "UPDATE entry SET state = 'in_doubt' WHERE key = 'video-4'")

    assert "id forgotten" not in {violation.partition(":")[0] for violation in judge(evidence)}
