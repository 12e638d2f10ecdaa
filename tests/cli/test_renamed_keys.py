"""Work that the journal has under another key: a plan refuses it where a run would, and says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import anyio
import attrs
import pytest

from akool_async import State, TranslationRequest, fingerprint, open_journal
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Book, Command, Told, walk

pytestmark = pytest.mark.usefixtures("quick")
FILM = "https://example.com/a.mp4"
LOST = (
    "paid without a result that can be saved, and would be paid again. Use that key with --retry-failed to "
    "pay for it once more."
)
WAITING = "not sent yet, and both would be paid. Use that key, and it is paid once; "


@pytest.fixture
def ask(akool: Command, book: Book, tmp_path: Path) -> Callable[..., Told]:
    """Give a function that gives a command a catalog of one row."""

    def ask(command: str, row: str, *options: str) -> Told:
        path = tmp_path / "films.csv"
        path.write_text(f"url,to,key\n{row}\n")
        return akool(command, path, "--out", book.out, *options)

    return ask


def enter(book: Book, *entries: tuple[TranslationRequest, State]) -> None:
    """Walk entries to their states, whatever work they are of."""
    book.out.mkdir(exist_ok=True)

    async def write() -> None:
        async with open_journal(book.path) as journal:
            for request, state in entries:
                await walk(journal, request, state)

    anyio.run(write)


def film(key: str) -> TranslationRequest:
    return TranslationRequest(url=FILM, targets="ja", key=key)


@pytest.mark.parametrize("state", [State.PLANNED, State.EXPIRED, State.FAILED])
@pytest.mark.parametrize("command", [("plan",), ("run", "--yes"), ("run", "--yes", "--retry-failed")])
def test_work_that_a_run_would_not_send_under_a_new_key_is_a_mistake_of_the_catalog(
    ask: Callable[..., Told], book: Book, vendor: Sandbox, command: tuple[str, ...], state: State
) -> None:
    book.enter(("a", State.SUBMITTED if state is State.FAILED else state))
    if state is State.FAILED:  # its job is not known any more, and perhaps not failed
        book.enter_again("a", state=State.FAILED, reason="not found")
    told = ask(command[0], f"{FILM},ja,a2", *command[1:])
    creates = len(vendor.audit.creates)
    again = ask("run", f"{FILM},ja,a", "--yes", *[] if state is State.PLANNED else ["--retry-failed"])

    assert told.code == 2
    assert "key (C2): The same work into 'ja' is in the journal as 'a', " in told.err
    assert (WAITING if state is State.PLANNED else LOST) in told.err
    assert creates == 0
    assert again.code == 0, again.err  # what it told to do is a way on


def test_work_that_surely_failed_may_get_a_new_key(
    ask: Callable[..., Told], book: Book, vendor: Sandbox
) -> None:
    book.enter(("a", State.SUBMITTING))
    book.enter_again("a", state=State.FAILED, reason="refused", code=1003)
    planned = ask("plan", f"{FILM},ja,a2")
    ran = ask("run", f"{FILM},ja,a2", "--yes")

    assert (planned.code, ran.code) == (0, 0), planned.err + ran.err
    assert len(vendor.audit.creates) == 1


@pytest.mark.parametrize("state", [State.SUBMITTED, State.EXPIRED])
def test_a_url_with_another_query_than_one_without_a_key_is_a_question(
    ask: Callable[..., Told], book: Book, vendor: Sandbox, state: State
) -> None:
    first = TranslationRequest(url=f"{FILM}?t=1", targets="ja")
    enter(book, (attrs.evolve(first, key=fingerprint(first, "ja")), state))
    told = ask("plan", f"{FILM}?t=2,ja,")

    assert told.code == 2
    assert "url (A2): The same URL with another query into 'ja' is in the journal as " in told.err
    assert ask("plan", f"{FILM}?t=2,ja,mine").code == 0


@pytest.mark.parametrize("command", [("plan",), ("run", "--yes")])
@pytest.mark.parametrize(
    ("before", "now"),
    [
        (FILM.replace("https:", "http:"), FILM),
        (FILM, FILM.replace("https:", "http:")),
        (f"{FILM.replace('https:', 'http:')}?sig=1", f"{FILM}?sig=2"),
    ],
)
def test_an_address_that_was_paid_by_another_scheme_is_a_question(
    ask: Callable[..., Told], book: Book, vendor: Sandbox, before: str, now: str, command: tuple[str, ...]
) -> None:
    first = TranslationRequest(url=before, targets="ja")
    enter(book, (attrs.evolve(first, key=fingerprint(first, "ja")), State.SUBMITTED))
    told = ask(command[0], f"{now},ja,", *command[1:])

    assert told.code == 2
    scheme = before.partition("/")[0]
    assert f"url (A2): The same address with {scheme}// into 'ja' is in the journal as " in told.err
    assert len(vendor.audit.creates) == 0


def test_an_address_with_another_scheme_and_a_key_of_its_own_is_paid_and_told(
    ask: Callable[..., Told], book: Book, vendor: Sandbox
) -> None:
    enter(book, (attrs.evolve(film("a"), url=FILM.replace("https:", "http:")), State.SUBMITTED))
    told = ask("plan", f"{FILM},ja,mine")

    assert told.code == 0
    assert "The same address with http:// into 'ja' is in the journal as 'a', sent " in told.err
    assert "This one is paid, too." in told.err


def test_other_options_for_an_address_with_another_scheme_are_other_work(
    ask: Callable[..., Told], book: Book, vendor: Sandbox
) -> None:
    first = TranslationRequest(url=FILM.replace("https:", "http:"), targets="ja")
    enter(book, (attrs.evolve(first, key=fingerprint(first, "ja")), State.SUBMITTED))
    told = ask("plan", f"{FILM},ja,", "--lipsync")

    assert told.code == 0
    assert "--lipsync was not set and is set now). This one is paid, too" in told.err


def test_a_doubt_is_not_planned_to_be_paid_again_where_another_key_has_the_result(
    ask: Callable[..., Told], book: Book, vendor: Sandbox
) -> None:
    enter(book, (film("a"), State.IN_DOUBT), (film("b"), State.SUBMITTED))
    told = ask("plan", f"{FILM},ja,a", "--on-in-doubt", "resubmit")

    assert told.code == 2
    assert "is in the journal as 'b', and would be paid again. Use that key" in told.err


def test_what_waits_is_sent_though_another_key_waits_for_the_same_work(
    ask: Callable[..., Told], book: Book, vendor: Sandbox
) -> None:
    enter(book, (film("a"), State.PLANNED), (film("b"), State.PLANNED))

    assert ask("plan", f"{FILM},ja,a").code == 0
    assert ask("run", f"{FILM},ja,a", "--yes").code == 0
    assert len(vendor.audit.creates) == 1


def test_a_resume_leaves_out_what_a_run_would_not_send(akool: Command, book: Book, vendor: Sandbox) -> None:
    book.enter(("other", State.PLANNED))
    enter(book, (film("a"), State.PLANNED), (film("b"), State.EXPIRED))
    told = akool("resume", "--yes", "--out", book.out)

    assert told.code == 1
    assert "a ja is left out: the same work is in the journal as 'b', paid without a result" in told.err
    assert len(vendor.audit.creates) == 1
    assert book.states() == {"other": "delivered", "a": "planned", "b": "expired"}


def test_a_key_that_only_looks_the_same_is_told_by_its_form(
    ask: Callable[..., Told], book: Book, vendor: Sandbox
) -> None:
    enter(book, (film(normalize("NFD", "\u00dcbung")), State.SUBMITTED))
    told = ask("plan", f"{FILM},ja,{normalize('NFC', chr(0xDC) + 'bung')}")

    assert told.code == 2
    assert (
        "It looks the same as this row's, but is spelled in NFD: copy it from `akool-async list`." in told.err
    )
