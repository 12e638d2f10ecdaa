"""Doubts are explained, never guessed at: an id is confirmed by the vendor before it is believed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from akool_async import AkoolClient, Snapshot, State, TranslationRequest, open_journal
from akool_async._journal import EntryUpdate
from akool_async.cli.commands import resolve as resolve_command
from akool_async.cli.doubts import why_of_another_call
from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import KEY, Book, Command, GiveUp, at_vendor
from tests.cli.terminal import on_terminal
from tests.cli.test_next_commands import commands_in
from tests.journal.test_lock import another_run


@pytest.fixture
def vendor(serve: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox whose clock is ours: what was made when is compared."""
    return serve(time_scale=1.0)


def _job() -> str:
    """Make a job at the vendor that no journal knows of."""

    async def submit() -> str:
        async with AkoolClient(api_key=KEY) as client:
            request = TranslationRequest(url="https://example.com/a.mp4", targets="ja")
            return (await client.submit(request)).accepted[0].id

    return anyio.run(submit)


@pytest.fixture
def two(book: Book) -> Book:
    book.enter(("first", State.IN_DOUBT), ("second", State.IN_DOUBT), ("home", State.DELIVERED))
    return book


def test_doubts_are_listed_with_what_can_be_done(akool: Command, two: Book) -> None:
    two.enter(
        ("third", State.IN_DOUBT),
        reason="The answer was \x1b[31mcut.",
        doubt_ids=("65f0aa12bb34cc56dd78ee90",),
    )
    told = akool("resolve", "--out", two.out)
    listed = akool("resolve", "--json", "--out", two.out)

    assert told.code == listed.code == 6
    assert "65f0aa12bb34cc56dd78ee90" in told.out
    assert f"akool-async resolve first --language ja --not-made --out {two.out}" in told.out
    assert "\x1b" not in told.out
    found = json.loads(listed.out)
    assert [one["key"] for one in found] == ["first", "second", "third"]
    assert found[2]["doubt_ids"] == ["65f0aa12bb34cc56dd78ee90"]
    assert datetime.fromisoformat(found[0]["submitted_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize("place", ["results", "results/", "results/jobs.sqlite3"])
def test_the_folder_or_the_journal_may_come_before_the_key(
    akool: Command, two: Book, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    two.out.rename(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    Path("elsewhere").mkdir()
    Path("first").mkdir()
    listed = akool("resolve", place)
    monkeypatch.chdir("elsewhere")
    told = akool("resolve", f"../{place}", "first", "--not-made")
    missing = akool("resolve", "missing/")

    assert listed.code == 6
    assert ("first ja" in listed.out, "second ja" in listed.out) == (True, True)
    assert told.code == 0
    assert "first ja: not made" in told.err
    assert akool("resolve", f"../{place}", "first", "second").code == 2
    assert missing.code == 2
    assert "There is no missing" in missing.err


def test_a_word_beside_out_is_a_key(
    akool: Command, two: Book, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("first").mkdir()
    shutil.copy(two.path, "first/jobs.sqlite3")
    told = akool("resolve", "first", "--not-made", "--out", two.out)

    assert told.code == 0
    assert two.states()["first"] == "planned"


def test_nothing_in_doubt_is_said(akool: Command, book: Book) -> None:
    book.enter(("home", State.DELIVERED))

    assert akool("resolve", "--out", book.out).code == 0
    assert akool("resolve", "--json", "--out", book.out).out == "[]\n"


def test_an_id_is_confirmed_before_it_is_believed(akool: Command, two: Book, vendor: Sandbox) -> None:
    unknown = akool("resolve", "first", "--job-id", "0" * 24, "--out", two.out)
    assert two.states()["first"] == "in_doubt"
    job_id = _job()
    told = akool("resolve", "first", "--job-id", job_id, "--out", two.out)
    taken = akool("resolve", "second", "--job-id", job_id, "--out", two.out)

    assert (unknown.code, told.code, taken.code) == (1, 0, 1)
    assert f"The vendor knows no job {'0' * 24}." in unknown.err
    assert "first ja stays in doubt. Check the id and that the credentials belong" in unknown.err
    assert "belongs to entry first" in taken.err
    entry = two.read()["first", "ja"]
    assert (entry.state, entry.job_id, entry.paid_submissions) == (State.SUBMITTED, job_id, 1)
    assert entry.expires_at is not None
    assert two.states()["second"] == "in_doubt"
    assert len(vendor.audit.creates) == 1


def test_a_job_of_another_time_is_taken_only_if_it_is_said_so(
    akool: Command, two: Book, vendor: Sandbox
) -> None:
    two.enter(("first", State.IN_DOUBT), submitted_at=datetime.now(UTC) - timedelta(hours=5))
    job_id = _job()
    told = akool("resolve", "first", "--job-id", job_id, "--out", two.out)
    assert two.states()["first"] == "in_doubt"
    agreed = akool("resolve", "first", "--job-id", job_id, "--yes", "--out", two.out)

    assert (told.code, agreed.code) == (2, 0)
    assert "after the call was sent" in told.err
    assert "--yes" in told.err
    assert two.states()["first"] == "submitted"


@pytest.mark.parametrize(
    ("language", "reason"),
    [
        ("", ""),
        ("ja", ""),
        ("ja_JP", ""),
        ("fr", "It is into fr, and this call was for ja."),
    ],
)
def test_a_job_into_another_language_is_not_taken_for_the_job(two: Book, language: str, reason: str) -> None:
    """Taken by mistake, the French video would be saved as the Japanese one, and that one be lost."""
    entry = two.read()["first", "ja"]
    snapshot = Snapshot(job_id="0" * 24, created_at=entry.submitted_at, raw={"language": language})

    assert why_of_another_call(snapshot, entry) == reason


def test_not_made_may_be_sent_again(akool: Command, two: Book) -> None:
    told = akool("resolve", "first", "--language", "ja", "--not-made", "--out", two.out)

    assert told.code == 0
    assert "costs credits" in told.err
    assert two.read()["first", "ja"].paid_submissions == 0
    assert two.states() == {"first": "planned", "second": "in_doubt", "home": "delivered"}


def test_a_job_that_the_answer_named_is_not_called_not_made_by_accident(
    akool: Command, two: Book, vendor: Sandbox
) -> None:
    """The job is paid: called not made, it is lost, and the next run pays for another one."""
    job_id, gone = _job(), "0" * 24
    two.enter(("second", State.IN_DOUBT), doubt_ids=(gone, job_id))
    refused = akool("resolve", "second", "--not-made", "--out", two.out)
    assert two.states()["second"] == "in_doubt"
    agreed = akool("resolve", "second", "--not-made", "--yes", "--out", two.out)

    assert (refused.code, agreed.code) == (2, 0)
    assert f"The vendor knows no job {gone}." in refused.err
    assert f"Job {job_id} is processing, made" in refused.err
    assert f"    akool-async resolve second --language ja --job-id {job_id} --out {two.out}" in refused.err
    assert "second ja" in refused.err
    assert "--yes" in refused.err
    assert two.states()["second"] == "planned"


def test_the_job_that_the_answer_named_is_taken_by_the_command_that_is_advised(
    akool: Command, two: Book, vendor: Sandbox
) -> None:
    job_id = _job()
    two.enter(("second", State.IN_DOUBT), doubt_ids=(job_id,))
    (advised,) = commands_in(akool("resolve", "second", "--not-made", "--out", two.out))
    akool(*shlex.split(advised)[1:])

    assert two.read()["second", "ja"].job_id == job_id


@pytest.mark.parametrize("said", [["--not-made"], ["--job-id", "0" * 24]])
def test_what_is_said_of_one_call_is_not_recorded_for_the_next(
    akool: Command, two: Book, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another person resolved it meanwhile, it was sent once more, and that made a job: it is paid."""

    async def send_once_more() -> None:
        async with open_journal(two.path) as journal:
            await journal.resolve("first", "ja", not_made=True)
            entry = journal.get("first", "ja")
            assert entry is not None
            await journal.intend(entry.request, token="f" * 32)
            await journal.record(EntryUpdate(key="first", target="ja", state=State.IN_DOUBT))

    def ask(*_: object, **options: object) -> Snapshot:
        anyio.run(send_once_more)
        return Snapshot(job_id="0" * 24)

    monkeypatch.setattr(resolve_command, "confirm_not_made", ask)
    monkeypatch.setattr(resolve_command, "accept_job", ask)
    told = akool("resolve", "first", *said, "--out", two.out)

    assert told.code == 1
    assert "first (ja) is in doubt about another call by now" in told.err
    assert two.states()["first"] == "in_doubt"


def test_a_job_that_the_vendor_does_not_know_is_called_not_made_only_if_it_is_said_so(
    akool: Command, two: Book, vendor: Sandbox
) -> None:
    two.enter(("second", State.IN_DOUBT), doubt_ids=("0" * 24,))
    words = ["resolve", "second", "--not-made", "--out", two.out]
    refused = akool(*words)
    assert two.states()["second"] == "in_doubt"
    agreed = akool(*words, "--yes")

    assert (refused.code, agreed.code) == (2, 0)
    assert "does not prove" in " ".join(refused.err.split())
    assert two.states()["second"] == "planned"


def test_a_job_that_another_entry_has_is_no_obstacle(akool: Command, two: Book, vendor: Sandbox) -> None:
    job_id = _job()
    for key in ("first", "second"):
        two.enter((key, State.IN_DOUBT), doubt_ids=(job_id,))
    akool("resolve", "first", "--job-id", job_id, "--out", two.out)
    told = akool("resolve", "second", "--not-made", "--out", two.out)

    assert told.code == 0
    assert two.states() == {"first": "submitted", "second": "planned", "home": "delivered"}


def test_while_the_named_job_can_not_be_asked_for_nothing_is_called_not_made(
    akool: Command, two: Book, quick: None, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.enter(("second", State.IN_DOUBT), doubt_ids=("0" * 24,))
    words = ["resolve", "second", "--not-made", "--out", two.out]
    words += ["--host", f"http://127.0.0.1:{free_port}"]
    unnamed = akool(*words)
    monkeypatch.setenv("AKOOL_API_KEY", KEY)
    unasked = akool(*words)
    assert two.states()["second"] == "in_doubt"
    agreed = akool(*words, "--yes")

    assert (unnamed.code, unasked.code, agreed.code) == (2, 2, 0)
    assert "No credentials." in unnamed.err
    for refused in (unnamed, unasked):
        assert f"whether the vendor has job {'0' * 24}" in refused.err
        assert "--yes" in refused.err
    assert two.states()["second"] == "planned"


def test_on_a_terminal_the_named_job_is_asked_about_once_more(two: Book, vendor: Sandbox) -> None:
    job_id = _job()
    two.enter(("second", State.IN_DOUBT), doubt_ids=(job_id,))
    told = on_terminal(
        "resolve",
        "second",
        "--out",
        two.out,
        answers=[(">", "no"), ("[y/N]", "n"), (">", "no"), ("[y/N]", "y")],
    )

    assert told.code == 0, told.text
    assert two.states()["second"] == "planned"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--not-made"], "2 are in doubt"),
        (["fir", "--not-made"], "'fir'"),
        (["home", "--not-made"], "'home'"),
        (["first", "--language", "fr", "--not-made"], "'first fr'"),
        (["first", "--not-made", "--job-id", "abcdefgh"], "not both"),
        (["first", "--job-id", "no id"], "is not a job id"),
    ],
)
def test_what_is_not_clear_changes_nothing(
    arguments: list[str], word: str, akool: Command, two: Book, vendor: Sandbox
) -> None:
    told = akool("resolve", *arguments, "--out", two.out)

    assert told.code == 2
    assert word in told.err
    assert two.states() == {"first": "in_doubt", "second": "in_doubt", "home": "delivered"}


def test_an_intent_that_a_dead_run_left_is_a_doubt_too(akool: Command, book: Book) -> None:
    book.enter(("a", State.DELIVERED))
    with another_run(book.path) as run:
        alive = akool("resolve", "--json", "--out", book.out)
        refused = akool("resolve", "talk", "--not-made", "--out", book.out)
        run.kill()
        run.wait()
    dead = akool("resolve", "--json", "--out", book.out)
    told = akool("resolve", "talk", "--not-made", "--out", book.out)

    assert (alive.out, alive.code) == ("[]\n", 0)
    assert refused.code == 2
    assert [one["key"] for one in json.loads(dead.out)] == ["talk"]
    assert told.code == 0


def test_a_locked_journal_is_not_written(akool: Command, two: Book) -> None:
    with another_run(two.path) as run:
        told = akool("resolve", "first", "--not-made", "--out", two.out)

    assert told.code == 1
    assert str(run.pid) in told.err
    assert two.states()["first"] == "in_doubt"


def test_on_a_terminal_it_is_asked_about_each(two: Book, vendor: Sandbox) -> None:
    job_id = _job()
    two.enter(("second", State.IN_DOUBT), doubt_ids=(job_id,))
    told = on_terminal(
        "resolve",
        "--out",
        two.out,
        answers=[(">", "nonsense-id"), ("knows no job nonsense-id", "no"), (f"Job {job_id} is", job_id)],
    )

    assert told.code == 0, told.text
    assert two.states() == {"first": "planned", "second": "submitted", "home": "delivered"}
    assert two.read()["second", "ja"].job_id == job_id


def test_what_is_left_in_doubt_is_told_by_the_exit_code(two: Book) -> None:
    told = on_terminal(
        "resolve",
        "--out",
        two.out,
        columns=40,
        answers=[
            (">", "no"),
            ("doubt.", ""),
        ],
    )

    assert told.code == 6
    assert two.states()["second"] == "in_doubt"


def test_nobody_is_asked_for_a_key_where_none_is_needed(two: Book) -> None:
    assert not {"AKOOL_API_KEY", "AKOOL_CLIENT_ID", "AKOOL_CLIENT_SECRET"} & set(os.environ)
    told = on_terminal("resolve", "first", "--out", two.out, answers=[(">", "no")])

    assert told.code == 0
    assert "API key" not in told.text


def test_ctrl_c_ends_the_questions_and_keeps_what_was_said(two: Book) -> None:
    told = on_terminal("resolve", "--out", two.out, answers=[(">", "no"), ("2 of 2", "\x03")])

    assert told.code == 130
    assert "Traceback" not in told.text
    assert two.states() == {"first": "planned", "second": "in_doubt", "home": "delivered"}


@pytest.fixture
def lost(akool: Command, vendor: Sandbox, book: Book, quick: None, give_up: GiveUp) -> Book:
    """One paid call for two languages whose answer was lost, and one that was answered."""
    give_up(at_vendor(2))
    vendor.faults.add(Fault(on="create", kind="reset_after", acted=True, nth=2))
    for key in ("fine", "lost"):
        url = f"https://example.com/{key}.mp4"
        order = ["translate", url, "--key", key, "--to", "ja,fr", "--yes", "--give-up-after", "1h"]
        akool(*order, "--out", book.out)
    return book


def test_a_lost_call_for_several_languages_is_one_question(lost: Book, vendor: Sandbox) -> None:
    ids = {job.language: job.id for job in vendor.audit.jobs if "lost" in job.url}
    told = on_terminal(
        "resolve",
        "--out",
        lost.out,
        answers=[
            ("Type the ids as ja=ID fr=ID", ids["ja"]),
            ("Name the language", f"ja={ids['ja']}"),
            ("Type the job's id, or `no` if none was made", ids["fr"]),
        ],
    )

    assert told.code == 0, told.text
    assert "1 of 1" in told.text
    assert "in ja, fr" in told.text
    assert {target: entry.job_id for (key, target), entry in lost.read().items() if key == "lost"} == ids


def test_no_answers_for_all_languages_of_a_call(lost: Book, vendor: Sandbox) -> None:
    answers = [("`no` if no job was made", "no"), ("[y/N]", "y"), ("[y/N]", "y")]
    told = on_terminal("resolve", "--out", lost.out, answers=answers)

    assert told.code == 0, told.text
    assert {entry.state for (key, _), entry in lost.read().items() if key == "lost"} == {State.PLANNED}


def test_the_balance_tells_how_many_jobs_exist_at_least(lost: Book, akool: Command) -> None:
    told = akool("resolve", "--out", lost.out)
    listed = json.loads(akool("resolve", "--out", lost.out, "--json").out)

    assert told.code == 6
    assert "8 credits are unaccounted for" in told.out
    assert "So at least 2 of the jobs in doubt exist, unless the account is used elsewhere too." in told.out
    assert [(one["call"], one["target"], one["unaccounted_credits"]) for one in listed] == [
        (1, "ja", 8.0),
        (1, "fr", 8.0),
    ]


def test_no_is_asked_once_more_where_the_balance_says_that_the_job_exists(
    lost: Book, vendor: Sandbox
) -> None:
    answers = [
        ("`no` if no job was made", "no"),
        ("2 of the 2 jobs in doubt exist", "n"),
        ("[y/N]", "n"),
        (">", ""),
    ]
    told = on_terminal("resolve", "--out", lost.out, answers=answers)

    assert told.code == 6, told.text
    assert {entry.state for (key, _), entry in lost.read().items() if key == "lost"} == {State.IN_DOUBT}


def test_against_the_balance_a_script_says_not_made_only_with_yes(
    lost: Book, akool: Command, vendor: Sandbox
) -> None:
    order = ["resolve", "lost", "--not-made", "--out", lost.out, "--language"]
    refused = akool(*order, "ja")
    made = next(job.id for job in vendor.audit.jobs if "lost" in job.url and job.language == "ja")
    assert akool("resolve", "lost", "--job-id", made, "--language", "ja", "--out", lost.out).code == 0
    other = akool(*order, "fr")
    before = lost.read()["lost", "fr"].state
    agreed = akool(*order, "fr", "--yes")

    for told in (refused, other):
        assert told.code == 2, told.err
        assert "credits that are unaccounted for say" in told.err
        assert "--yes" in told.err
    assert before is State.IN_DOUBT
    assert agreed.code == 0, agreed.err
    assert lost.read()["lost", "fr"].state is State.PLANNED


def test_a_balance_without_a_gap_is_no_proof(
    akool: Command, vendor: Sandbox, book: Book, quick: None
) -> None:
    vendor.faults.add(Fault(on="create", kind="reset_after", acted=False))
    akool("translate", "https://example.com/a.mp4", "--to", "ja", "--yes", "--out", book.out)
    told = akool("resolve", "--out", book.out)

    assert "No credits are unaccounted for." in told.out
    assert "does not prove it" in told.out


def test_credits_that_were_added_are_not_taken_for_an_answer(
    lost: Book, akool: Command, vendor: Sandbox
) -> None:
    vendor.audit._engine.deposit(1000)
    told = akool("resolve", "--out", lost.out)

    assert "the balance tells nothing" in told.out
    assert "unaccounted" not in told.out


def test_ids_in_a_lost_answer_are_looked_up(two: Book, akool: Command, vendor: Sandbox) -> None:
    job_id = _job()
    two.enter(("second", State.IN_DOUBT), doubt_ids=(job_id, "0" * 24))
    told = akool("resolve", "--out", two.out)
    listed = json.loads(akool("resolve", "--out", two.out, "--json").out)

    assert f"    Job {job_id} is processing, made" in told.out
    assert f"    The vendor knows no job {'0' * 24}." in told.out
    assert listed[1]["jobs"] == {job_id: "processing", "0" * 24: "unknown"}


def test_ids_in_a_lost_answer_are_looked_up_without_a_balance(
    two: Book, akool: Command, vendor: Sandbox
) -> None:
    vendor.faults.add(Fault(on="credit", kind="wrong_type"))
    job_id = _job()
    two.enter(("second", State.IN_DOUBT), doubt_ids=(job_id,))
    told = akool("resolve", "--out", two.out)

    assert f"    Job {job_id} is processing, made" in told.out
    assert "The balance is not known. The vendor answered without a balance." in told.out
    assert "could not be asked" not in told.out


def test_doubts_are_listed_without_the_vendor_too(
    two: Book, akool: Command, quick: None, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKOOL_API_KEY", KEY)
    told = akool("resolve", "--out", two.out, "--host", f"http://127.0.0.1:{free_port}")

    assert told.code == 6
    assert "first ja" in told.out
    assert "The vendor could not be asked." in told.out
