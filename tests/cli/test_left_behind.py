"""What a run says of entries that it leaves before they end: what is paid, what may be, what was not sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from akool_async import Batch, Journal, JournalCorruptedError, JournalWriteError, State
from akool_async._batch import post
from akool_async._batch.batch import logger as batch_logger
from akool_async._batch.feeder import Feeder
from akool_async._journal import BatchJournal, EntryUpdate
from akool_async.cli.run import CatalogRun
from akool_async.sandbox import FakeClock, Fault, Sandbox
from akool_async.webhook.inbox import InboxFile
from tests.cli.conftest import Book, Command, GiveUp
from tests.cli.test_run import events_of
from tests.client.moments import held_back

pytestmark = pytest.mark.usefixtures("quick")
TALK = ("translate", "https://example.com/talk.mp4", "--to", "ja", "--yes", "--no-check")


def test_what_waited_for_an_answer_of_the_first_is_not_called_billed(
    akool: Command,
    serve: Callable[..., Sandbox],
    give_up: GiveUp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "videos.csv").write_text(
        "url,languages\n" + "".join(f"https://example.com/{number}.mp4,ja\n" for number in range(4)),
        encoding="utf-8",
    )
    vendor = serve(clock=FakeClock(time.time()))
    give_up(lambda entries: len(entries) == 4 and vendor.audit.requests.get("create") == 1)
    order = ["run", tmp_path / "videos.csv", "--yes", "--no-check", "--out", tmp_path / "out"]
    warn = batch_logger.warning
    with held_back(vendor, "create") as answer:

        def warn_and_let_answer(message: str, *values: object) -> None:
            warn(message, *values)
            if "waited for" in message:
                answer()  # to the POST under way, which is finished while the batch is closed

        monkeypatch.setattr(batch_logger, "warning", warn_and_let_answer)
        told = akool(*order, "--give-up-after", "1h", "--json")

    assert told.code == 4
    assert len(vendor.audit.jobs) == 1
    assert "Paid calls under way: 1. They are waited for, 180 s at most" in told.err
    assert "1 in progress: they continue at the vendor and are billed" in told.err
    assert "3 not submitted, not charged" in told.err
    over = events_of(told.out)[-1]
    assert (over["in_progress"], over["not_submitted"], over["entries"]) == (1, 3, 4)


def test_a_doubt_that_waits_for_its_callback_is_not_called_unsent(
    akool: Command, book: Book, serve: Callable[..., Sandbox], give_up: GiveUp
) -> None:
    vendor = serve(clock=FakeClock(time.time()))
    vendor.faults.add(Fault(on="create", kind="reset_after", acted=True))
    book.out.mkdir()
    InboxFile(book.out / "inbox.sqlite3").close()
    give_up(book.is_in_doubt)
    told = akool(
        *TALK, "--webhook-url", "https://me.example/akool", "--give-up-after", "1h", "--out", book.out
    )

    assert told.code == 4
    assert len(vendor.audit.jobs) == 1
    assert "1 in doubt: sent or maybe sent, and perhaps paid" in told.err
    assert "resolve" in told.err
    assert "not submitted" not in told.err


def test_a_job_whose_polls_are_refused_is_not_called_unsent(
    akool: Command, book: Book, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve(clock=FakeClock(time.time()))
    vendor.faults.add(Fault(on="status", kind="code", code=1101))
    told = akool(*TALK, "--out", book.out)

    assert told.code == 3
    assert len(vendor.audit.jobs) == 1
    assert [*book.states().values()] == ["submitted"]
    assert "1 in progress: they continue at the vendor and are billed" in told.err
    assert "not submitted" not in told.err


@pytest.mark.parametrize("recorded", ["never", "late"])
def test_a_job_whose_id_was_not_recorded_at_first_is_what_the_journal_has_in_the_end(
    akool: Command,
    book: Book,
    serve: Callable[..., Sandbox],
    monkeypatch: pytest.MonkeyPatch,
    recorded: str,
) -> None:
    vendor = serve(clock=FakeClock(time.time()))
    record, over = BatchJournal.record, False
    monkeypatch.setattr(post, "RECORD_WITHIN", 0.0)

    async def full(journal: Journal, *changes: EntryUpdate) -> None:
        if any(change.state is State.SUBMITTED for change in changes) and not (over and recorded == "late"):
            raise JournalWriteError("The journal could not be written: disk full.")
        await record(journal, *changes)

    monkeypatch.setattr(BatchJournal, "record", full)
    read = CatalogRun._read_outcomes

    async def read_and_make_room(run: CatalogRun, batch: Batch) -> None:
        nonlocal over
        await read(run, batch)
        over = True

    monkeypatch.setattr(CatalogRun, "_read_outcomes", read_and_make_room)
    told = akool(*TALK, "--out", book.out)

    assert len(vendor.audit.jobs) == 1
    in_doubt = "1 in doubt: sent or maybe sent, and perhaps paid" in told.err
    assert in_doubt == (recorded == "never")
    in_progress = "1 in progress: they continue at the vendor and are billed" in told.err
    assert in_progress == (recorded == "late")
    assert told.code == (6 if in_doubt else 1)
    assert "not submitted" not in told.err


def test_a_journal_that_can_not_be_read_at_the_end_lets_nothing_be_called_unsent(
    akool: Command, book: Book, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = serve(clock=FakeClock(time.time()))
    vendor.faults.add(Fault(on="status", kind="code", code=1101))
    rest = CatalogRun._read_rest

    async def read_rest(run: CatalogRun, batch: Batch, journal: Journal) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "get", unreadable)
            await rest(run, batch, journal)

    def unreadable(*_: object) -> None:
        raise JournalCorruptedError("The journal can't be read.")

    monkeypatch.setattr(CatalogRun, "_read_rest", read_rest)
    told = akool(*TALK, "--out", book.out)

    assert len(vendor.audit.jobs) == 1
    assert "1 in doubt: sent or maybe sent, and perhaps paid" in told.err
    assert "not submitted" not in told.err


def test_what_an_earlier_run_saved_is_not_called_unsent_by_one_that_did_not_come_to_it(
    akool: Command, book: Book, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = serve()
    assert akool(*TALK, "--out", book.out).code == 0

    async def read_nothing(run: CatalogRun, batch: Batch) -> None:
        run._timed_out = True

    async def pull_nothing(*_: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(CatalogRun, "_read_outcomes", read_nothing)
    monkeypatch.setattr(Feeder, "run", pull_nothing)
    told = akool(*("ja,fr" if word == "ja" else word for word in TALK), "--out", book.out)

    assert len(vendor.audit.jobs) == 1
    assert "1 of 2 translations are saved" in told.err
    assert "1 not submitted, not charged" in told.err
