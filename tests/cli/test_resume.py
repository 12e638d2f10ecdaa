"""Resuming without the catalog: what is paid is saved, what costs is asked about first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from akool_async import LipSyncRequest, State, TranslationRequest
from akool_async.sandbox import FakeClock, Fault, Sandbox
from tests.cli.conftest import Book, Command
from tests.cli.terminal import on_terminal
from tests.cli.test_run import events_of
from tests.client.conftest import video
from tests.journal.test_lock import another_run

pytestmark = pytest.mark.usefixtures("quick")

LONG = 50_000.0
"""Seconds after which every job is done."""


@pytest.fixture
def vendor(serve: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox in which nothing is done before time is moved."""
    return serve(clock=FakeClock(time.time()))


@pytest.fixture
def at_work(book: Book, vendor: Sandbox) -> Book:
    """Three translations and a lip-sync at the vendor, none of them done."""
    lipsync = LipSyncRequest(
        video_url="https://example.com/v.mp4", audio_url="https://example.com/a.wav", key="lips"
    )
    book.submit(video(1, key="one", targets="ja,fr"), video(2), lipsync)
    return book


# resume


def test_what_is_at_work_comes_home_without_a_catalog(akool: Command, at_work: Book, vendor: Sandbox) -> None:
    vendor.clock.advance(LONG)
    told = akool("resume", "--out", at_work.out)

    assert (told.code, told.out) == (0, "")
    assert set(at_work.states().values()) == {"delivered"}
    assert len(list(at_work.out.rglob("*.mp4"))) == 4
    assert len(vendor.audit.creates) == 3
    assert akool("resume", "--out", at_work.out).code == 0


def test_a_resume_tells_programs_what_it_does(akool: Command, at_work: Book, vendor: Sandbox) -> None:
    vendor.clock.advance(LONG)
    events = events_of(akool("resume", "--json", "--out", at_work.out).out)

    assert sum(event["event"] == "ended" for event in events) == 4
    assert (events[-1]["event"], events[-1]["exit_code"]) == ("over", 0)

    for command in (["resume"], ["collect"], ["retry", "--failed"]):
        nothing = akool(*command, "--json", "--out", at_work.out)
        (event,) = events_of(nothing.out)
        assert (event["event"], event["exit_code"], event["entries"], nothing.code) == ("over", 0, 0, 0)
        assert event["reason"] in " ".join(nothing.err.split())


@pytest.mark.parametrize("key", ["mine", None])
@pytest.mark.parametrize("query", ["token=secret", "id=7", "sig=secret&expires=9"])
@pytest.mark.parametrize("command", ["resume", "collect"])
def test_a_url_whose_query_the_journal_does_not_keep_is_resumed_too(
    command: str, query: str, key: str | None, akool: Command, book: Book, vendor: Sandbox
) -> None:
    book.submit(TranslationRequest(url=f"https://example.com/x.mp4?{query}", targets="ja", key=key))
    vendor.clock.advance(LONG)
    told = akool(command, "--out", book.out)
    (video,) = book.out.glob("*.mp4")
    video.unlink()
    again = akool("collect", "--out", book.out)

    assert (told.code, again.code) == (0, 0), told.err + again.err
    assert video.exists()
    assert len(vendor.audit.creates) == 1


@pytest.mark.parametrize("command", ["resume", "collect"])
def test_what_was_paid_before_is_not_called_used_in_this_run(
    akool: Command, at_work: Book, vendor: Sandbox, command: str
) -> None:
    vendor.clock.advance(LONG)
    told = akool(command, "--json", "--out", at_work.out)

    assert told.code == 0
    assert "Cost: none" in told.err
    assert "credits used" not in told.err
    assert events_of(told.out)[-1]["credits_used"] == 0
    assert sum(job.credits for job in vendor.audit.jobs) > 0


def test_only_new_jobs_are_in_the_sum_of_a_run(akool: Command, at_work: Book, vendor: Sandbox) -> None:
    vendor.clock.advance(LONG)
    before = sum(job.credits for job in vendor.audit.jobs)
    at_work.enter(("later", State.PLANNED))

    def let_the_new_one_end() -> None:
        while len(vendor.audit.jobs) < 5:
            time.sleep(0.01)
        vendor.clock.advance(LONG)

    threading.Thread(target=let_the_new_one_end, daemon=True).start()
    told = akool("resume", "--yes", "--json", "--out", at_work.out)
    new = sum(job.credits for job in vendor.audit.jobs) - before

    assert told.code == 0
    assert new > 0
    assert events_of(told.out)[-1]["credits_used"] == new
    assert f"{new:g} credits used in this run" in told.err


def test_giving_up_leaves_jobs_at_the_vendor(akool: Command, at_work: Book, vendor: Sandbox) -> None:
    told = akool("resume", "--out", at_work.out, "--give-up-after", "0.05s")

    assert told.code == 4
    assert "continue at the vendor" in told.err
    assert set(at_work.states().values()) == {"submitted"}
    assert len(vendor.audit.creates) == 3


def test_doubts_stay_and_are_told_by_the_exit_code(akool: Command, at_work: Book, vendor: Sandbox) -> None:
    vendor.clock.advance(LONG)
    at_work.enter(("unclear", State.IN_DOUBT))
    told = akool("resume", "--out", at_work.out, "--yes")

    assert told.code == 6
    assert f"akool-async resolve --out {at_work.out}" in told.err
    assert at_work.states()["unclear"] == "in_doubt"
    assert len(vendor.audit.creates) == 3


def test_what_is_not_sent_is_sent_only_when_that_is_allowed(
    akool: Command, book: Book, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve()
    book.enter(("later", State.PLANNED))
    asked = akool("resume", "--out", book.out)
    assert (asked.code, vendor.audit.creates) == (2, ())
    told = akool("resume", "--out", book.out, "--yes")

    assert "--yes" in asked.err
    assert told.code == 0
    assert len(vendor.audit.creates) == 1
    assert book.states() == {"later": "delivered"}


def test_what_is_paid_under_another_key_is_left_out_and_the_rest_comes_home(
    akool: Command, at_work: Book, vendor: Sandbox
) -> None:
    same = "https://example.com/renamed.mp4"
    at_work.submit(TranslationRequest(url=same, targets="ja", key="its new key"))
    at_work.enter(("renamed", State.PLANNED))
    vendor.clock.advance(LONG)
    resumed = akool("resume", "--yes", "--out", at_work.out)

    assert resumed.code == 1
    assert "'its new key'" in resumed.err
    states = at_work.states()
    assert states.pop("renamed") == "planned"
    assert set(states.values()) == {"delivered"}
    assert len(vendor.audit.creates) == 4


def test_a_url_without_its_signature_is_never_sent(akool: Command, at_work: Book, vendor: Sandbox) -> None:
    vendor.clock.advance(LONG)
    at_work.enter_signed("signed")
    at_work.enter_signed("signed and lost", State.FAILED)
    resumed = akool("resume", "--yes", "--out", at_work.out)
    retried = akool("retry", "--failed", "--yes", "--out", at_work.out)
    again = akool("resume", "--yes", "--out", at_work.out)

    assert [told.code for told in (resumed, retried, again)] == [1, 1, 1]
    assert all("1 entry can't be sent from here" in told.err for told in (resumed, retried, again))
    assert len(vendor.audit.creates) == 3
    assert at_work.states()["signed"] == "planned"


def test_a_signed_job_that_is_at_the_vendor_comes_home(akool: Command, book: Book, vendor: Sandbox) -> None:
    book.submit(
        TranslationRequest(url="https://example.com/s.mp4?X-Amz-Signature=abc", targets="ja", key="s")
    )
    vendor.clock.advance(LONG)

    assert akool("resume", "--out", book.out).code == 0
    assert book.states() == {"s": "delivered"}


@pytest.mark.parametrize("command", [["resume"], ["retry", "--failed"], ["collect"]])
def test_a_journal_that_is_written_broken_or_missing_is_left_alone(
    command: list[str], akool: Command, book: Book, vendor: Sandbox
) -> None:
    missing = akool(*command, "--out", book.out)
    book.enter(("a", State.SUBMITTED))
    with another_run(book.path) as run:
        held = akool(*command, "--out", book.out)
    for beside in book.out.glob("jobs.sqlite3-*"):
        beside.unlink()
    book.path.write_bytes(b"no journal" * 100)
    broken = akool(*command, "--out", book.out)

    assert [told.code for told in (missing, held, broken)] == [2, 1, 1]
    assert f"process {run.pid}" in held.err
    assert "damaged or is not a journal" in broken.err
    assert vendor.audit.creates == ()


def test_a_wrong_key_is_told_before_anything(
    akool: Command, at_work: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKOOL_API_KEY", "wrong")

    assert akool("resume", "--out", at_work.out).code == 3
    assert akool("collect", "--out", at_work.out).code == 3


# retry


@pytest.fixture
def lost(book: Book, serve: Callable[..., Sandbox]) -> Book:
    """Entries that failed, one of them refused, and one that is home."""
    serve()
    book.enter(("failed", State.FAILED), ("refused", State.FAILED), ("expired", State.EXPIRED))
    book.enter(("home", State.DELIVERED), ("unclear", State.IN_DOUBT))
    return book


def test_what_failed_is_paid_again_when_that_is_allowed(
    akool: Command, lost: Book, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve()
    asked = akool("retry", "--failed", "--out", lost.out)
    assert (asked.code, vendor.audit.creates) == (2, ())
    told = akool("retry", "--failed", "--out", lost.out, "--yes")

    assert told.code == 0
    assert len(vendor.audit.creates) == 3
    assert lost.states() == {
        "failed": "delivered",
        "refused": "delivered",
        "expired": "delivered",
        "home": "delivered",
        "unclear": "in_doubt",
    }


def test_what_is_paid_under_another_key_is_not_retried(
    akool: Command, lost: Book, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve()
    same = "https://example.com/refused.mp4"
    lost.submit(TranslationRequest(url=same, targets="ja", key="its new key"))
    told = akool("retry", "refused", "--out", lost.out, "--yes")

    assert told.code == 1
    assert "'its new key'" in told.err
    assert len(vendor.audit.creates) == 1
    assert lost.states()["refused"] == "failed"


def test_only_what_is_named_is_paid_again(akool: Command, lost: Book, serve: Callable[..., Sandbox]) -> None:
    vendor = serve()
    told = akool("retry", "expired", "--out", lost.out, "--yes")

    assert told.code == 0
    assert len(vendor.audit.creates) == 1
    assert lost.states()["expired"] == "delivered"
    assert lost.states()["failed"] == "failed"


@pytest.mark.parametrize("place", ["", "jobs.sqlite3"])
def test_the_folder_or_the_journal_may_come_before_the_keys(
    place: str,
    akool: Command,
    lost: Book,
    serve: Callable[..., Sandbox],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    vendor = serve()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    one = akool("retry", lost.out / place, "expired", "--yes")
    rest = akool("retry", lost.out / place, "--failed", "--yes")

    assert (one.code, rest.code) == (0, 0)
    assert len(vendor.audit.creates) == 3
    assert len(list(lost.out.glob("*.mp4"))) == 4
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--failed"),
        (["home"], "'home'"),
        (["failed", "--failed"], "--failed"),
        (["unclear"], "'unclear'"),
    ],
)
def test_what_can_not_be_retried_is_told(
    arguments: list[str], word: str, akool: Command, lost: Book, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve()
    told = akool("retry", *arguments, "--yes", "--out", lost.out)

    assert told.code == 2
    assert word in told.err
    assert vendor.audit.creates == ()


@pytest.mark.parametrize(("answer", "code", "posts"), [("y", 0, 3), ("n", 130, 0), ("", 130, 0)])
def test_on_a_terminal_it_is_asked_before_credits_are_spent(
    answer: str, code: int, posts: int, lost: Book, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve()
    told = on_terminal("retry", "--failed", "--out", lost.out, answers=[("[y/N]", answer)])

    assert told.code == code, told.text
    assert len(vendor.audit.creates) == posts


# collect


def test_only_what_is_done_is_brought_home(akool: Command, at_work: Book, vendor: Sandbox) -> None:
    nothing = akool("collect", "--out", at_work.out)
    assert (nothing.code, set(at_work.states().values())) == (0, {"submitted"})
    vendor.clock.advance(LONG)
    at_work.submit(video(9, key="young"))
    at_work.enter(("unclear", State.IN_DOUBT), ("later", State.PLANNED), ("lost", State.FAILED))
    told = akool("collect", "--out", at_work.out)

    assert told.code == 0
    assert "1 entry in progress" in told.err
    states = at_work.states()
    assert [key for key, state in states.items() if state != "delivered"] == [
        "young",
        "unclear",
        "later",
        "lost",
    ]
    assert len(vendor.audit.creates) == 4


def test_only_what_dies_soon_is_brought_home(akool: Command, book: Book, vendor: Sandbox) -> None:
    book.submit(video(1, key="old"), video(2, key="young"))
    vendor.clock.advance(LONG)
    book.enter_again("old", created_at=datetime.now(UTC) - timedelta(days=6))
    book.enter_again("young", created_at=datetime.now(UTC))
    told = akool("collect", "--within", "2d", "--out", book.out)

    assert told.code == 0
    assert book.states() == {"old": "delivered", "young": "submitted"}
    assert "1 translation into ja" in told.err


def test_a_result_that_can_not_be_had_is_told(akool: Command, at_work: Book, vendor: Sandbox) -> None:
    vendor.clock.advance(LONG)
    vendor.faults.add(Fault(on="cdn", kind="http", status=500))
    told = akool("collect", "--out", at_work.out)

    assert told.code == 1
    assert "not saved" in told.err
    assert "delivered" not in at_work.states().values()


def test_a_host_that_is_down_while_it_is_asked_is_told(akool: Command, at_work: Book, free_port: int) -> None:
    told = akool("collect", "--out", at_work.out, "--host", f"http://127.0.0.1:{free_port}")

    assert told.code == 1
    assert "could not be reached" in told.err
    assert "Traceback" not in told.err
