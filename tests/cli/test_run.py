"""A catalog in, a folder of results out: what is spent, what is told, and how it ends."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import jsonschema
import pytest

from akool_async import (
    Batch,
    Failed,
    Outcome,
    Snapshot,
    State,
    Status,
    TranslationRequest,
    open_journal,
)
from akool_async._download import files as disk
from akool_async._journal import EntryUpdate
from akool_async.cli import events
from akool_async.cli import run as run_command
from akool_async.cli.run import CatalogRun
from akool_async.cli.run_summary import OutcomeCounts
from akool_async.sandbox import Fault, Sandbox, api
from akool_async.sandbox.jobs import SandboxJob
from tests.cli.conftest import KEY, Command, GiveUp, at_vendor
from tests.cli.terminal import on_terminal
from tests.cli.test_catalog import catalog_with_mistakes

pytestmark = pytest.mark.usefixtures("in_a_folder", "quick")
SCHEMA = json.loads((files("akool_async.cli") / events.SCHEMA).read_text(encoding="utf-8"))
URL = "https://example.com"


def catalog(*rows: str, header: str = "url,languages,key") -> Path:
    path = Path("videos.csv")
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def three_videos() -> Path:
    return catalog(f"{URL}/1.mp4,ja fr,first", f"{URL}/2.mp4,ja,second", f"{URL}/3.mp4,ar,東京の夜")


def events_of(out: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in out.splitlines()]
    checker = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    for event in found:
        checker.validate(event)
    return found


def requests_of(vendor: Sandbox) -> int:
    return len(vendor.audit.requests)


def test_a_catalog_comes_home_and_is_not_paid_again(akool: Command, vendor: Sandbox) -> None:
    path = three_videos()

    first = akool("run", path, "--yes", "--json")
    again = akool("run", path, "--json")

    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert len(vendor.audit.jobs) == 4
    told = events_of(first.out)
    assert [told[0]["event"], told[-1]["event"]] == ["planned", "over"]
    assert told[-1]["outcomes"] == {"saved": 4}
    homes = [event for event in told if event["event"] == "ended"]
    assert all(Path(file).stat().st_size for event in homes for file in event["files"])
    assert {(event["key"], event["target"]) for event in homes} == {
        ("first", "ja"),
        ("first", "fr"),
        ("second", "ja"),
        ("東京の夜", "ar"),
    }
    assert all(event["earlier_run"] for event in events_of(again.out) if event["event"] == "ended")
    assert "All 4 translations are saved" in first.err
    assert "nothing would be submitted" in again.err


def test_files_are_named_as_the_catalog_and_the_command_want_it(akool: Command, vendor: Sandbox) -> None:
    path = catalog(
        f"{URL}/1.mp4,ja fr,first,Erstes Licht",
        f"{URL}/2.mp4,ja,second,",
        f"{URL}/3.mp4,ja,third,Erstes Licht",
        header="url,languages,key,name",
    )
    planned = akool("plan", path, "--names", "{stem}_{language}")
    told = akool("run", path, "--yes", "--names", "{stem}_{language}")

    videos = sorted(file.name for file in Path("results").glob("*.mp4"))
    assert told.code == 0
    assert [name for name in videos if len(name) < 20] == [
        "2_ja.mp4",
        "Erstes-Licht.fr.mp4",
        "Erstes-Licht.ja.mp4",
    ]
    assert len(videos) == 4
    assert {line.split("\t")[4] for line in planned.out.splitlines()} == set(videos)


def test_twelve_mistakes_cost_not_one_request(akool: Command, vendor: Sandbox) -> None:
    text, expected = catalog_with_mistakes()
    Path("videos.csv").write_text(text)

    for command in (["plan"], ["run", "--yes"], ["run", "--yes", "--json"]):
        told = akool(*command, "videos.csv")
        assert told.code == 2
        assert [len(event["mistakes"]) for event in events_of(told.out)] == [12] * ("--json" in command)
        assert "12 mistakes" in told.err
        assert {wanted for wanted in expected if wanted not in told.err} == set()
    assert requests_of(vendor) == 0


def test_nothing_is_spent_where_nobody_can_be_asked(akool: Command, vendor: Sandbox) -> None:
    told = akool("run", three_videos())

    assert told.code == 2
    assert "--yes" in told.err
    assert vendor.audit.creates == ()
    assert not Path("results").exists()


@pytest.mark.parametrize("command", [["plan"], ["run", "--yes"]])
def test_what_the_server_does_not_know_is_told_before_anything_is_spent(
    command: list[str], akool: Command, vendor: Sandbox
) -> None:
    path = catalog(
        f"{URL}/1.mp4,Japanese",
        f"{URL}/2.mp4,JA",
        f"{URL}/3.mp4,pt_br",
        f"{URL}/4.mp4,af-ZA",
        f"{URL}/5.mp4,xx",
        f"{URL}/6.mp4,ja-JP",
        header="url,languages",
    )
    told = akool(*command, path)

    assert told.code == 2
    assert "videos.csv:2" not in told.err  # a language may be named in words
    assert "videos.csv:3: languages (B3): The server has no language 'JA'. Did you mean 'ja'?" in told.err
    assert "Did you mean 'pt-BR'?" in told.err
    assert "videos.csv:5: languages (B5): 'af-ZA' needs a voice" in told.err
    assert "videos.csv:6: languages (B6): The server has no language 'xx'." in told.err
    assert "videos.csv:7: languages (B7): The server has no language 'ja-JP'. Did you mean 'ja'?" in told.err
    assert vendor.audit.creates == ()


def test_a_voice_that_is_not_listed_is_a_word_not_a_mistake(akool: Command, vendor: Sandbox) -> None:
    path = catalog(f"{URL}/1.mp4,ja,ja=my-own-voice", header="url,languages,voices")
    told = akool("plan", path)

    assert told.code == 0
    assert "videos.csv:2: The server lists no voice my-own-voice for ja" in told.err


def test_a_plan_tells_what_the_journal_has_and_what_it_will_cost(akool: Command, vendor: Sandbox) -> None:
    assert akool("run", three_videos(), "--yes").code == 0
    path = catalog(
        f"{URL}/1.mp4,ja fr hi,first",
        f"{URL}/2.mp4,ja,second",
        f"{URL}/9.mp4,ja,ninth",
        f"{URL}/8.mp4,ja,lips,yes",
        header="url,languages,key,lipsync",
    )
    before = len(vendor.audit.creates)

    told = akool("plan", path, "--json")
    words = akool("plan", path)

    plan = json.loads(told.out)
    assert (plan["actions"]["new"], plan["actions"]["saved"]) == (3, 3)
    assert plan["new_jobs"] == 3
    assert plan["estimated_credits"] is None  # nothing with lip-sync was made before
    assert plan["balance"] == 100_000 - 16
    by_key = {(job["key"], job["target"]): job for job in plan["jobs"]}
    assert by_key["first", "hi"]["credits"] == 4
    assert by_key["first", "ja"]["files"][0] == "results/first.ja.mp4"
    assert (
        "at least 8 credits for 3 new jobs (1 by what the same video cost before, 1 by the average"
        in words.err
    )
    assert len(vendor.audit.creates) == before


def test_a_plan_needs_no_server_when_told_so(akool: Command, free_port: int) -> None:
    told = akool("plan", three_videos(), "--offline", "--host", f"http://127.0.0.1:{free_port}")

    assert told.code == 0
    assert "was not asked" in told.err
    assert told.out.splitlines()[0].split("\t")[:3] == ["first", "ja", "new"]


def test_a_key_that_names_other_work_in_the_journal_is_a_mistake(akool: Command, vendor: Sandbox) -> None:
    assert akool("run", three_videos(), "--yes").code == 0
    told = akool("run", catalog(f"{URL}/another.mp4,ja fr hi,first"), "--yes")

    assert told.code == 2
    assert "videos.csv:2: key (C2): In the journal this key names other work into 'ja'" in told.err
    assert len(vendor.audit.jobs) == 4


def test_a_key_that_names_another_video_in_the_journal_is_a_mistake_in_another_language_too(
    akool: Command, vendor: Sandbox
) -> None:
    header = "url,languages,key,public_url"
    first = (f"{URL}/1.mp4?token=a,ja,talk,no", f"{URL}/watch?id=7,ja,show,yes")
    assert akool("run", catalog(*first, header=header), "--yes").code == 0
    others = (f"{URL}/2.mp4,fr hi,talk,no", f"{URL}/watch?id=8,fr,show,yes")
    planned = akool("plan", catalog(*others, header=header))
    told = akool("run", "videos.csv", "--yes")

    for one in (planned, told):
        assert one.code == 2
        assert "videos.csv:2: key (C2): In the journal this key names another video" in one.err
        assert "videos.csv:3: key (C3): In the journal this key names another video" in one.err
        assert f"({URL}/1.mp4 into 'ja') than here into 'fr', 'hi'" in one.err
        assert "If it is the same video, write its URL as it was; another video needs another key" in one.err
    assert len(vendor.audit.jobs) == 2
    same = (f"{URL}/1.mp4?token=b,ja fr,talk,no", f"{URL}/watch?id=7,ja fr,show,no")
    more = akool("run", catalog(*same, header=header), "--yes")
    assert more.code == 0, more.err
    assert len(vendor.audit.jobs) == 4


def test_what_the_journal_has_is_resumed_although_its_key_names_another_video_too(
    akool: Command, vendor: Sandbox
) -> None:
    assert akool("run", catalog(f"{URL}/1.mp4,ja,talk"), "--yes").code == 0

    async def enter() -> None:
        async with open_journal("results/jobs.sqlite3") as journal:
            await journal.intend(TranslationRequest(url=f"{URL}/2.mp4", targets="fr", key="talk"))
            await journal.record(EntryUpdate(key="talk", target="fr", state=State.PLANNED))

    anyio.run(enter)
    told = akool("resume", "--yes")

    assert told.code == 0, told.err
    assert Path("results/talk.fr.mp4").exists()
    assert len(vendor.audit.jobs) == 2


def test_a_row_with_a_key_is_the_same_work_when_its_url_is_signed_anew(
    akool: Command, vendor: Sandbox
) -> None:
    assert akool("run", catalog(f"{URL}/1.mp4?token=a,ja,first"), "--yes").code == 0
    rows = catalog(f"{URL}/1.mp4?token=b,ja,first")
    told = [akool(*command, rows) for command in (["plan"], ["run", "--yes"])]

    assert [one.code for one in told] == [0, 0], told[0].err
    assert len(vendor.audit.jobs) == 1


def test_a_public_query_says_which_video_a_key_names(akool: Command, vendor: Sandbox) -> None:
    header = "url,languages,key,public_url"
    assert akool("run", catalog(f"{URL}/watch?id=7,ja,first,yes", header=header), "--yes").code == 0
    told = akool("run", catalog(f"{URL}/watch?id=8,ja,first,yes", header=header), "--yes")

    assert told.code == 2
    assert "In the journal this key names other work into 'ja'" in told.err
    assert len(vendor.audit.jobs) == 1


def test_work_that_is_paid_under_another_key_is_not_paid_again(akool: Command, vendor: Sandbox) -> None:
    assert akool("run", catalog(f"{URL}/1.mp4,ja,first", f"{URL}/2.mp4?token=a,ja,second"), "--yes").code == 0
    renamed = akool("run", catalog(f"{URL}/1.mp4,ja fr,one"), "--yes")
    signed = akool("plan", catalog(f"{URL}/2.mp4?token=b,ja,two"))

    assert renamed.code == 2
    told = "key (C2): The same work into 'ja' is in the journal as 'first', and would be paid again."
    assert told in renamed.err
    assert signed.code == 0
    assert "The same URL with another query into 'ja' is in the journal as 'second'" in signed.err
    assert len(vendor.audit.jobs) == 2


def test_a_video_that_is_paid_with_other_options_is_told_before_it_is_paid_again(
    akool: Command, vendor: Sandbox
) -> None:
    rows = catalog(f"{URL}/1.mp4,ja,", f"{URL}/2.mp4?a,ja,", f"{URL}/3.mp4,ja,")
    told = "videos.csv:2: The same video into 'ja' is in the journal as "
    first = akool("run", rows, "--yes")
    same = akool("plan", rows)
    dropped = akool("plan", rows, "--lipsync")
    run = akool("run", catalog(f"{URL}/1.mp4,ja,", f"{URL}/1.mp4,fr,"), "--yes", "--lipsync")

    assert "with other options" not in first.err + same.err
    for shown in (dropped, run):
        assert told in shown.err
        assert "with other options (--lipsync was not set and is set now). This one is paid, too" in shown.err
    assert "This one is paid, too, and 2 more like it." in dropped.err
    assert "more like it" not in run.err


def test_failures_refusals_and_doubts_have_exit_codes_and_a_way_on(
    akool: Command, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve()
    vendor.faults.add(Fault(on="create", kind="code", code=1203, nth=(1,)))
    refused = akool("run", catalog(f"{URL}/1.mp4,ja,a", f"{URL}/2.mp4,ja,b"), "--yes", "--in-flight", "1")
    assert refused.code == 1
    assert "refused    a ja" in refused.err
    assert "akool-async retry --failed" in refused.err

    retried = akool("run", "videos.csv", "--yes", "--retry-failed")
    assert retried.code == 0

    vendor.faults.clear()
    vendor.faults.add(Fault(on="create", kind="reset_after"))
    doubtful = akool("run", catalog(f"{URL}/3.mp4,ja,c"), "--yes", "--json")
    assert doubtful.code == 6
    assert events_of(doubtful.out)[-1]["outcomes"] == {"in doubt": 1}
    assert "akool-async resolve" in doubtful.err

    vendor.faults.clear()
    held = akool("run", "videos.csv", "--yes")
    assert held.code == 6
    assert len([job for job in vendor.audit.jobs if job.url.endswith("3.mp4")]) == 1
    paid_again = akool("run", "videos.csv", "--yes", "--json", "--on-in-doubt", "resubmit")
    assert paid_again.code == 0
    assert events_of(paid_again.out)[-1]["sent_again"] == 1
    assert "what a first call in doubt cost, if anything, is not known" in paid_again.err
    once_more = akool("run", "videos.csv", "--yes", "--json", "--on-in-doubt", "resubmit")
    assert events_of(once_more.out)[-1]["sent_again"] == 0
    assert "in doubt cost" not in once_more.err


def test_a_doubt_that_the_question_did_not_show_is_not_paid_again(
    akool: Command, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the question waits, another run pays again, and its answer is lost as well."""
    vendor = serve(faults=[Fault(on="create", kind="reset_after", nth=(1, 2))])
    words = ["run", catalog(f"{URL}/1.mp4,ja,a"), "--on-in-doubt", "resubmit"]
    akool(*words, "--yes")

    def ask(*_: object, yes: bool) -> bool:
        return yes or akool(*words, "--yes").code == 6

    monkeypatch.setattr(run_command, "confirm", ask)
    told = akool(*words)

    assert told.code == 6
    assert len(vendor.audit.creates) == 2


@pytest.mark.parametrize(
    ("codes", "advised", "words"),
    [
        ((1203, 1208), "list", "Sent again as it is, each would end so again."),
        ((1203, 1201), "retry", "1 of them would end so again: correct the video or the row first."),
        ((1201, 1205), "retry", "and to pay again for what failed, run:"),
    ],
)
def test_a_retry_is_advised_as_it_helps(
    akool: Command, serve: Callable[..., Sandbox], codes: tuple[int, int], advised: str, words: str
) -> None:
    """A video without audio fails again, however often it is paid for."""
    kinds = {1203: "code", 1208: "job_fails", 1201: "job_fails", 1205: "job_fails"}
    serve(
        faults=[
            Fault(on="create", kind=kinds[code], code=code, nth=number)  # type: ignore[arg-type]
            for number, code in enumerate(codes, 1)
        ]
    )
    order = ["run", catalog(f"{URL}/1.mp4,ja,a", f"{URL}/2.mp4,ja,b"), "--yes", "--in-flight", "1"]
    told, again = akool(*order), akool(*order)
    status = akool("status")

    for said in (told, again):
        assert words in said.err
        assert "akool-async list --failed" in said.err
        assert ("to pay again for what failed" in said.err) is (advised == "retry")
    (found,) = re.findall(r"without a result; .*:\n +(akool-async .*)", status.out) or [""]
    assert ("retry --failed" in found) is (advised == "retry")
    assert ("without a result until the video or the row is corrected:" in status.out) is (1203 in codes)


def test_credits_that_run_out_and_a_bound_on_them_have_an_exit_code(
    akool: Command, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve(credits=6)
    empty = akool("run", three_videos(), "--yes", "--json")
    assert empty.code == 5
    assert events_of(empty.out)[-1]["outcomes"]["saved"] == 1
    assert "not submitted, not charged" in empty.err
    assert len(vendor.audit.jobs) == 1

    serve()
    bounded = akool("run", three_videos(), "--yes", "--max-credits", "9", "--out", "bounded")
    assert bounded.code == 5
    assert "--max-credits (9) would be exceeded" in bounded.err


def test_a_full_disk_stops_submissions_and_says_what_becomes_of_what_is_paid(
    akool: Command, vendor: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(disk, "ensure_free_space", full)
        told = akool("run", three_videos(), "--yes", "--json")

    assert told.code == 1
    (stopping,) = [event for event in events_of(told.out) if event["event"] == "stopping"]
    assert stopping["reason"].startswith("A result could not be saved.")
    assert "Make room or correct the permissions, then run the same again" in stopping["reason"]
    assert "Jobs in progress are waited for; the next run saves their results." in told.err
    assert "What is in progress is saved" not in told.err
    assert "To resume, run the same command again." in told.err
    assert akool("run", three_videos(), "--yes").code == 0
    assert len(vendor.audit.jobs) == 4


def test_what_ends_while_a_run_is_closing_has_its_event(
    akool: Command, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcome came too late to be taken from the batch: the journal alone has it."""
    serve()
    next_outcome = Batch.__anext__

    async def lose_one(batch: Batch) -> Outcome:
        outcome = await next_outcome(batch)
        return await next_outcome(batch) if outcome.target == "fr" else outcome

    monkeypatch.setattr(Batch, "__anext__", lose_one)
    path = three_videos()
    for earlier in (False, True):
        events = events_of(akool("run", path, "--yes", "--json").out)
        ended = [event for event in events if event["event"] == "ended"]

        assert len({(one["key"], one["target"]) for one in ended}) == len(ended) == 4
        assert {(one["outcome"], one["earlier_run"]) for one in ended} == {("saved", earlier)}
        assert all(one["files"] for one in ended)


def test_what_is_counted_as_a_run_gives_up_has_its_event(
    akool: Command, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    limit, count, scopes = anyio.move_on_after, OutcomeCounts.add, list[anyio.CancelScope]()

    def kept(delay: float | None, shield: bool = False) -> anyio.CancelScope:
        scope = limit(delay, shield)
        if delay == 3600:
            scopes.append(scope)
        return scope

    def give_up(counts: OutcomeCounts, *args: Any, **named: Any) -> None:
        count(counts, *args, **named)
        scopes[0].cancel()

    monkeypatch.setattr(anyio, "move_on_after", kept)
    monkeypatch.setattr(OutcomeCounts, "add", give_up)
    events = events_of(akool("run", three_videos(), "--yes", "--give-up-after", "1h", "--json").out)
    ended = [event for event in events if event["event"] == "ended"]

    assert ended
    assert Counter(event["outcome"] for event in ended) == events[-1]["outcomes"]


def test_giving_up_leaves_jobs_at_work_and_says_so(
    akool: Command, serve: Callable[..., Sandbox], give_up: GiveUp
) -> None:
    vendor = serve(time_scale=1e-6)
    give_up(at_vendor(4))
    told = akool("run", three_videos(), "--yes", "--give-up-after", "1h", "--json")

    assert told.code == 4
    assert events_of(told.out)[-1]["in_progress"] == 4
    assert "4 in progress: they continue at the vendor and are billed" in told.err
    locked = sum(job.credits for job in vendor.audit.jobs)
    assert locked > 0
    assert events_of(told.out)[-1]["credits_locked"] == locked
    assert f"; {locked:g} credits locked by jobs that it left (" in told.err


def test_an_account_that_is_closed_has_an_exit_code(akool: Command, vendor: Sandbox) -> None:
    vendor.faults.add(Fault(on="create", kind="code", code=1200))
    told = akool("run", three_videos(), "--yes")

    assert told.code == 3
    assert "0 of 4 translations are saved" in told.err


def test_two_runs_on_one_journal_do_not_meet(akool: Command, vendor: Sandbox) -> None:
    import anyio

    path = three_videos()
    Path("results").mkdir()

    async def hold() -> int:
        async with open_journal("results/jobs.sqlite3") as journal:
            assert journal.counts()[State.DELIVERED] == 0
            told = await anyio.to_thread.run_sync(lambda: akool("run", path, "--yes"))
            return told.code

    assert anyio.run(hold) == 1
    assert vendor.audit.creates == ()


def test_control_characters_of_the_vendor_are_not_obeyed(akool: Command, vendor: Sandbox) -> None:
    body = json.dumps({"code": 1203, "msg": "\x1b[2Jgone\x07", "data": None})
    vendor.faults.add(Fault(on="create", kind="http", status=200, body=body))
    told = akool("run", catalog(f"{URL}/1.mp4,ja,a"), "--yes")

    assert told.code == 1
    assert "gone" in told.err
    assert "\x1b" not in told.err
    assert "\x07" not in told.err


def test_a_folder_that_can_not_be_made_is_told(akool: Command, vendor: Sandbox) -> None:
    Path("results").write_text("a file")
    told = akool("run", three_videos(), "--yes")

    assert told.code in (1, 2)
    assert "results" in told.err
    assert vendor.audit.creates == ()


def test_a_server_that_does_not_tell_its_languages_does_not_stop_what_is_paid(
    akool: Command, serve: Callable[..., Sandbox]
) -> None:
    vendor = serve()
    path = three_videos()
    assert akool("run", path, "--yes", "--in-flight", "1", "--max-credits", "7").code == 5
    vendor.faults.add(Fault(on="languages", kind="http", status=503))
    told = akool("run", path, "--yes")

    assert told.code == 0
    assert "Languages and voices could not be checked." in told.err


def test_a_host_that_can_not_be_reached_is_told_at_once(
    akool: Command, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    monkeypatch.setenv("AKOOL_API_HOST", "http://127.0.0.1:9")
    told = akool("run", three_videos(), "--yes")

    assert told.code == 1
    assert "could not be reached: no connection could be made (connection refused)." in told.err
    assert "The API host http://127.0.0.1:" in told.err
    assert "Nothing was sent and nothing was charged." in told.err


def test_a_host_that_can_not_be_reached_is_told_before_a_retry(
    akool: Command, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = serve()
    vendor.faults.add(Fault(on="create", kind="code", code=1202))
    path = three_videos()
    assert akool("run", path, "--yes").code == 1
    monkeypatch.setenv("AKOOL_API_HOST", "http://127.0.0.1:9")
    told = akool("run", path, "--yes", "--retry-failed", "--give-up-after", "1h")

    assert told.code == 1
    assert "could not be reached: no connection could be made (connection refused)." in told.err
    assert "The API host http://127.0.0.1:" in told.err
    assert "Nothing was sent and nothing was charged." in told.err


def test_while_a_job_is_at_the_vendor_a_host_that_can_not_be_reached_is_waited_for(
    akool: Command, serve: Callable[..., Sandbox], give_up: GiveUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(time_scale=1e-6)
    path = three_videos()
    give_up(at_vendor(4))
    assert akool("run", path, "--yes", "--give-up-after", "1h").code == 4
    monkeypatch.setenv("AKOOL_API_HOST", "http://127.0.0.1:9")
    looks = itertools.count()
    give_up(lambda entries: next(looks) == 100)
    told = akool("run", path, "--yes", "--give-up-after", "1h")

    assert told.code == 4
    assert "Languages, voices and the balance could not be checked." in told.err


def test_a_stop_is_an_event(akool: Command, serve: Callable[..., Sandbox]) -> None:
    serve(credits=6)
    told = akool("run", three_videos(), "--yes", "--json")

    kinds = [event["event"] for event in events_of(told.out)]
    assert kinds.count("stopping") == 1
    assert told.err.count("Stopping: ") == 1


def test_now_and_then_a_line_tells_how_far_all_is(
    akool: Command, serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akool_async.cli.progress.REPORT_INTERVAL", 0.02)
    serve(time_scale=300.0)
    # One after the other, so that what is done tells how long the rest takes, however busy the machine is.
    told = akool("run", three_videos(), "--yes", "--in-flight", "1")

    assert told.code == 0
    assert "0 of 4 saved, 1 in progress, credits: 0 used, " in told.err
    assert re.search(r"(about|at least) .+ to go\n", told.err)


def test_the_key_may_stand_in_a_file(
    akool: Command, vendor: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AKOOL_API_KEY")
    Path("key").write_text(f"{KEY}\n")
    path = three_videos()

    assert akool("plan", path, "--key-file", "key").code == 0
    assert akool("plan", path).code == 3
    missing = akool("plan", path, "--key-file", "nowhere")
    assert missing.code == 2
    assert "The key file nowhere can't be read" in missing.err


def test_signed_urls_show_no_signature(akool: Command, vendor: Sandbox) -> None:
    path = catalog(
        f"{URL}/1.mp4?X-Amz-Signature=canary-4f9c1b7e2a,ja,a", f"{URL}/2.mp4?token=canary-4f9c1b7e2a,ja,"
    )
    plan = akool("plan", path, "--json")
    ran = akool("run", path, "--yes", "--json")

    assert (plan.code, ran.code) == (0, 0)
    assert "canary-4f9c1b7e2a" not in plan.out + plan.err + ran.out + ran.err


def test_a_plan_on_a_terminal_shows_the_beginning_of_a_long_catalog(vendor: Sandbox) -> None:
    path = catalog(*(f"{URL}/{number}.mp4,ja,video-{number}" for number in range(100)))
    shown = on_terminal("plan", path, "--offline", columns=80)

    assert shown.code == 0
    assert "video-39 " in shown.text
    assert "video-40 " not in shown.text
    assert "and 60 more; pipe the output or use --json to see all." in shown.text


@pytest.mark.parametrize(("times", "code", "posts"), [(0, 1, 1), (1, 1, 2), (2, 0, 3)])
def test_what_may_pass_is_sent_again_as_often_as_is_allowed(
    times: int, code: int, posts: int, akool: Command, vendor: Sandbox
) -> None:
    vendor.faults.add(Fault(on="create", kind="code", code=1015, limit=2))
    told = akool("run", catalog(f"{URL}/1.mp4,ja,a"), "--yes", "--retry-transient", times)

    assert told.code == code, told.err
    assert len(vendor.audit.creates) == posts


def test_what_may_pass_is_not_sent_again_beyond_the_bound(akool: Command, vendor: Sandbox) -> None:
    vendor.faults.add(Fault(on="create", kind="code", code=1015, probability=0.5))
    path = catalog(*(f"{URL}/{number}.mp4,ja,video-{number}" for number in range(8)))
    told = akool("run", path, "--yes", "--retry-transient", 20, "--max-credits", 12, "--in-flight", 1)

    assert told.code == 5, told.err
    assert vendor.audit.credits.spent + vendor.audit.credits.locked <= 12
    assert akool("run", path, "--retry-transient", -1).code == 2


@pytest.fixture
def charging(vendor: Sandbox, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the vendor charges for jobs that fail, one after the other; nothing for the others."""
    costs, usual, charged = list[float](), api.job_status, dict[str, float]()

    def status(job: SandboxJob, *arguments: Any, **options: Any) -> dict[str, Any]:
        told = usual(job, *arguments, **options)
        if told["video_status"] == Status.FAILED and (costs or job.id in charged):
            told["deduction_duration"] = charged[job.id] if job.id in charged else costs.pop(0)
            charged[job.id] = told["deduction_duration"]
        return told

    monkeypatch.setattr(api, "job_status", status)
    return costs


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_what_a_failed_job_was_charged_counts_though_another_replaced_it(
    failures: int, akool: Command, vendor: Sandbox, charging: list[float]
) -> None:
    charging += [1.0, 0.5, 0.25]
    vendor.faults.add(Fault(on="create", kind="job_fails", limit=failures))
    told = akool("run", catalog(f"{URL}/1.mp4,ja,a"), "--yes", "--json", "--retry-transient", 2)
    used = sum([1.0, 0.5, 0.25][:failures]) + vendor.audit.credits.spent

    assert told.code == (failures > 2), told.err
    assert events_of(told.out)[-1]["credits_used"] == used
    assert f"{used:g} credits used in this run" in told.err


@pytest.mark.parametrize(("unpaid", "used"), [(set(), 65.0), ({("a", "ja")}, 1.0)])
def test_of_jobs_that_were_replaced_an_earlier_run_s_costs_nothing_now(
    unpaid: set[tuple[str, str]], used: float
) -> None:
    """As where a callback names the job of an earlier run's doubt."""
    request = TranslationRequest(url=f"{URL}/1.mp4", targets="ja", key="a")
    replaced = [
        Failed(key="a", request=request, target="ja", snapshot=Snapshot(job_id="0" * 24, credits_used=cost))
        for cost in (64.0, 1.0)
    ]
    run = SimpleNamespace(_unpaid=unpaid, _replaced=0, _counts=OutcomeCounts(expected=1))
    for seen in (1, 1, 2):
        CatalogRun._count_replaced(run, SimpleNamespace(replaced=tuple(replaced[:seen])))  # type: ignore[arg-type]

    assert run._counts.credits_used == used
    assert not unpaid


def test_one_url_with_two_queries_is_asked_about_before_anything_is_spent(
    akool: Command, vendor: Sandbox
) -> None:
    page = "https://files.example.com/download.php"
    both = akool("plan", catalog(f"{page}?token=AAAA,ja,", f"{page}?token=BBBB,ja,"))
    assert both.code == 2
    assert "one video signed twice, or two videos?" in both.err

    assert akool("run", catalog(f"{page}?token=AAAA,ja,"), "--yes").code == 0
    for command in (["plan"], ["run", "--yes"]):
        other = akool(*command, catalog(f"{page}?token=BBBB,ja,"))
        assert other.code == 2
        assert "one video signed twice, or two videos?" in other.err
        assert "BBBB" not in other.err + other.out
    assert len(vendor.audit.jobs) == 1


@pytest.mark.parametrize("journal", [(), ("--journal", "jobs.sqlite3")])
def test_nothing_is_planned_for_a_folder_that_is_read_only(
    akool: Command, vendor: Sandbox, read_only: Callable[[Path], None], journal: tuple[str, ...]
) -> None:
    path = catalog(f"{URL}/1.mp4,ja,first")
    assert akool("run", path, "--yes", *journal).code == 0
    read_only(Path("results"))
    archived = akool("plan", path, *journal)
    path = catalog(f"{URL}/1.mp4,ja,first", f"{URL}/2.mp4,ja,second")
    more = [akool(*command, *journal) for command in (["plan", path], ["run", path, "--yes"])]

    assert (archived.code, "nothing would be submitted" in archived.err) == (0, True), archived.err
    for one in more:
        assert one.code == 2
        assert "The folder results can't be written to: results is read-only." in one.err
    assert len(vendor.audit.creates) == 1
