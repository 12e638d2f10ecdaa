"""What a run says of entries that it leaves before they end: what is paid, what may be, what was not sent."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from akool_async import Batch
from akool_async.cli.run import CatalogRun
from akool_async.sandbox import FakeClock, Fault, Sandbox
from akool_async.webhook.inbox import InboxFile
from tests.cli.conftest import Book, Command, GiveUp
from tests.client.moments import held_back

pytestmark = pytest.mark.usefixtures("quick")


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
    read = CatalogRun._read_outcomes
    order = ["run", tmp_path / "videos.csv", "--yes", "--no-check", "--out", tmp_path / "out"]
    with held_back(vendor, "create") as answer:

        async def read_and_let_answer(run: CatalogRun, batch: Batch) -> None:
            await read(run, batch)
            answer()  # to the POST under way, which is finished while the batch is closed

        monkeypatch.setattr(CatalogRun, "_read_outcomes", read_and_let_answer)
        told = akool(*order, "--give-up-after", "1h")

    assert told.code == 4
    assert len(vendor.audit.jobs) == 1
    assert "1 in progress: they continue at the vendor and are billed" in told.err
    assert "3 not submitted, not charged" in told.err


def test_a_doubt_that_waits_for_its_callback_is_not_called_unsent(
    akool: Command, book: Book, serve: Callable[..., Sandbox], give_up: GiveUp
) -> None:
    vendor = serve(clock=FakeClock(time.time()))
    vendor.faults.add(Fault(on="create", kind="reset_after", acted=True))
    book.out.mkdir()
    InboxFile(book.out / "inbox.sqlite3").close()

    def is_in_doubt(_: object) -> bool:
        with closing(sqlite3.connect(book.path)) as journal:
            return journal.execute("SELECT state FROM entry").fetchall() == [("in_doubt",)]

    give_up(is_in_doubt)
    order = ["translate", "https://example.com/talk.mp4", "--to", "ja", "--yes", "--no-check"]
    order += ["--webhook-url", "https://me.example/akool", "--give-up-after", "1h", "--out", str(book.out)]
    told = akool(*order)

    assert told.code == 4
    assert len(vendor.audit.jobs) == 1
    assert "1 in doubt: sent or maybe sent, and perhaps paid" in told.err
    assert "resolve" in told.err
    assert "not submitted" not in told.err
