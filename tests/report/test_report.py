"""What is written of a journal: every entry, nothing secret, no markup from outside."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import ConfigurationError, State, StorageError, TranslationRequest, open_journal
from akool_async._journal import EntryUpdate
from akool_async.cli.options import OutputOptions
from akool_async.cli.pages import collect_report
from akool_async.report import Report, ReportFolder
from akool_async.report import pages as pages_module
from akool_async.report.model import find_causes, find_costs
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Book, Command, walk
from tests.journal.conftest import step
from tests.report.conftest import NOW, make_entry, make_report

EVIL = "</script><img src=x onerror=alert(1)><b>\"'&{{7*7}}"


class Elements(HTMLParser):
    """Every element of a page and its attributes, and the texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts += data


def pages(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}


def test_a_journal_in_all_states_is_shown_as_list_and_status_show_it(akool: Command, book: Book) -> None:
    book.enter(*((state.value, state) for state in State if state is not State.SUBMITTING), target="ja")
    book.enter(("more", State.FAILED), target="fr", reason="No voice.", code=1203, credits_used=2.5)
    told = akool("report", book.out)
    listed = json.loads(akool("list", book.out, "--json").out)
    status = json.loads(akool("status", "--out", book.out, "--json").out)
    index = Path(told.out.strip())
    page = index.read_text(encoding="utf-8")
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])

    assert (told.code, index) == (0, book.out / "report" / "index.html")
    assert [[row[0], data["languages"][row[1]], data["states"][row[2]][0]] for row in data["rows"]] == [
        [one["key"], one["target"], one["state"]] for one in listed
    ]
    texts = re.sub(r"\s+", " ", Elements(page).texts)
    assert all(f"{count} {word}" in texts for word, count in status["counts"].items() if count)
    assert all(one["advice"] in texts for one in listed if one["state"] in ("failed", "refused", "in doubt"))
    assert "No voice." in texts
    assert all(step in texts for step in status["next_steps"])


def test_the_costs_add_up_to_what_the_journal_counts(akool: Command, book: Book) -> None:
    book.enter(("a", State.DELIVERED), ("b", State.FAILED), credits_used=4.5)
    book.enter(("a", State.SUBMITTED), target="fr", credits_locked=2.25)
    book.enter(("c", State.EXPIRED), target="fr", credits_used=1.0)

    async def pay_again() -> None:
        async with open_journal(book.path) as journal:
            entry = journal.get("b", "ja")
            assert entry is not None
            await journal.intend(entry.request)
            await journal.record(step(State.SUBMITTED, "b", "ja", job_id="again", credits_locked=0.5))

    anyio.run(pay_again)
    report = anyio.run(collect_report, OutputOptions(out=book.out))

    assert report.used + report.locked == pytest.approx(sum(entry.cost for entry in report.entries))
    for table in find_costs(report):
        assert sum(row.credits for row in table.rows) == pytest.approx(report.used + report.locked)
    assert [(row.name, row.credits) for row in find_costs(report)[0].rows] == [("ja", 9.5), ("fr", 3.25)]


def test_queries_that_name_videos_have_pages_of_their_own(
    akool: Command, vendor: Sandbox, quick: None, out: Path
) -> None:
    for number in (7, 8):
        url = f"https://example.com/watch?id={number}"
        for language in ("ja", "fr"):
            words = ("--url-is-public", "--to", language, "--out", out, "--yes", "--no-report")
            assert akool("translate", url, *words).code == 0
    index = Path(akool("report", out).out.strip())

    videos = {text for name, text in pages(index.parent).items() if name.startswith("video-")}
    assert sorted("watch?id=7" in text for text in videos) == [False, True]


def test_hostile_text_never_becomes_markup(tmp_path: Path) -> None:
    srt = tmp_path / "a.srt"
    srt.write_text(f"1\n00:00:00,000 --> 00:00:02,000\n{EVIL}\n", encoding="utf-8")
    video = tmp_path / "javascript:alert(1)\"'<b>.mp4"
    video.touch()
    entry = make_entry(
        EVIL, reason=EVIL, advice=EVIL, job_id=EVIL, video=video, translated=srt, spoken=srt,
        files=(video, srt), source=EVIL, cost=1.0,
    )  # fmt: skip
    failed = make_entry(EVIL + "2", state="failed", reason=EVIL, group=EVIL)
    steps = ((EVIL, EVIL),)
    ReportFolder(tmp_path / "report").write(
        make_report(
            entry, failed, *(make_entry(f"{n}{EVIL}") for n in range(200)), title=EVIL, next_steps=steps
        )
    )

    found = pages(tmp_path / "report")
    assert {"index.html", "page-2.html", "search.html"} < {*found}
    for name, page in found.items():
        elements = Elements(page).found
        assert not {tag for tag, _ in elements} & {"img", "b"}, name
        assert not any(at.startswith("on") for _, attributes in elements for at in attributes), name
        assert sum(tag == "script" for tag, _ in elements) <= 2
        for _, attributes in elements:
            for at in ("href", "src", "action"):
                assert not (attributes.get(at) or "").lower().startswith(("javascript:", "data:text/html"))
    assert EVIL in Elements(found["index.html"]).texts


def test_no_signature_is_in_it_and_it_says_why_the_original_is_not_shown(akool: Command, out: Path) -> None:
    secret = "X-Amz-Signature=5ecre7"
    out.mkdir()

    async def write() -> None:
        async with open_journal(out / "jobs.sqlite3") as journal:
            url = f"https://user:pa55@example.com/talk.mp4?{secret}"
            request = TranslationRequest(
                url=url, targets="ja", key="talk", webhook_url="https://me.example/hook?token=5ecre7"
            )
            await walk(journal, request, State.FAILED)
            await walk(
                journal,
                TranslationRequest(url="https://example.com/b.mp4", targets="ja", key="b"),
                State.FAILED,
            )
            reason = f"GET {url} was refused"
            await journal.record(EntryUpdate(key="talk", target="ja", state=State.FAILED, reason=reason))

    anyio.run(write)
    akool("report", out)
    everything = "".join(pages(out / "report").values())

    assert not any(word in everything for word in ("5ecre7", "pa55", "X-Amz"))
    assert "signatures are kept nowhere" in everything
    assert 'src="https://example.com/b.mp4"' in everything


def test_originals_in_a_folder_are_shown_in_place_of_urls(akool: Command, book: Book, tmp_path: Path) -> None:
    book.enter_signed("talk", State.FAILED)
    originals = tmp_path / "my films"
    originals.mkdir()
    (originals / "signed.mp4").touch()
    akool("report", book.out, "--originals", originals)
    (page,) = [page for name, page in pages(book.out / "report").items() if name.startswith("video")]

    assert 'src="../../my%20films/signed.mp4"' in page


def test_a_real_run_is_shown_with_players_and_subtitles(
    akool: Command, vendor: Sandbox, quick: None, out: Path
) -> None:
    akool("translate", "https://example.com/talk.mp4", "--to", "ja,ar", "--out", out, "--yes")
    akool("report", out)
    (page,) = [page for name, page in pages(out / "report").items() if name.startswith("video")]
    elements = Elements(page).found
    videos = [at["src"] for tag, at in elements if tag == "video"]
    tracks = [at["src"] or "" for tag, at in elements if tag == "track"]

    assert videos == ["https://example.com/talk.mp4", "../talk.ar.mp4", "../talk.ja.mp4"]
    assert len(tracks) == 5
    assert all(track.startswith("data:text/vtt;") for track in tracks)


def test_only_what_changed_is_made_and_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    srt = tmp_path / "b.srt"
    srt.write_text("1\n00:00:00,000 --> 00:00:01,000\nBefore\n")
    entries = [make_entry("a"), make_entry("b", video=srt, translated=srt)]
    made: list[str] = []
    render = pages_module._render_video

    def note(*given: Any) -> bytes:
        made.append(given[1][0].key)
        return render(*given)

    monkeypatch.setattr(pages_module, "_render_video", note)
    for _ in range(2):
        ReportFolder(tmp_path / "report").write(make_report(*entries))
    srt.write_text("1\n00:00:00,000 --> 00:00:01,000\nAfterwards\n")
    ReportFolder(tmp_path / "report").write(make_report(*entries))
    assert made == ["a", "b", "b"]
    monkeypatch.undo()

    ReportFolder(tmp_path / "report").write(make_report(make_entry("a"), make_entry("b")))
    before = {path.name: path.stat().st_ino for path in (tmp_path / "report").iterdir()}
    ReportFolder(tmp_path / "report").write(make_report(make_entry("a"), make_entry("b", state="failed")))
    after = {path.name: path.stat().st_ino for path in (tmp_path / "report").iterdir()}
    changed = {name for name, inode in after.items() if before[name] != inode}

    assert "index.html" in changed
    assert len(changed) == 2
    assert {*before} == {*after}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("body { color: red }")

    with pytest.raises(ConfigurationError, match="something else"):
        ReportFolder(tmp_path).write(make_report(make_entry()))
    assert [path.name for path in tmp_path.iterdir()] == ["style.css"]
    assert (tmp_path / "style.css").read_text() == "body { color: red }"


def test_a_first_report_that_was_interrupted_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("akool_async.report.pages._render_video", fail)
        with pytest.raises(StorageError, match="No space left"):
            ReportFolder(tmp_path / "report").write(make_report(make_entry()))
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["style.css"]

    assert ReportFolder(tmp_path / "report").write(make_report(make_entry())).exists()


def test_jobs_that_failed_for_one_reason_are_one_cause() -> None:
    failed = [
        make_entry(f"f{n}", state="failed", reason=f"Job {n}abc failed. No speech.", job_id=f"{n}abc")
        for n in range(3)
    ]
    (group,) = find_causes(make_report(*failed))

    assert [(cause.reason, len(cause.shown)) for cause in group.causes] == [("The job failed. No speech.", 3)]


def test_causes_are_grouped_and_the_most_frequent_comes_first() -> None:
    failed = [make_entry(f"f{n}", state="failed", reason="No speech.", code=1203) for n in range(12)]
    refused = [make_entry("r", state="refused", reason="Bad URL.")]
    waiting = [make_entry(f"w{days}", state="done", expires_at=NOW + timedelta(days=days)) for days in (5, 1)]
    doubt = [make_entry("d", state="in doubt")]
    groups = {group.anchor: group for group in find_causes(make_report(*refused, *failed, *waiting, *doubt))}

    assert [(cause.reason, len(cause.shown), cause.more) for cause in groups["failures"].causes] == [
        ("No speech.", 10, 2),
        ("Bad URL.", 1, 0),
    ]
    assert [cause.reason for cause in groups["expiring"].causes] == [
        "Expires on 2026-03-02",
        "Expires on 2026-03-06",
    ]
    assert groups["doubts"].number == 1


def test_a_damaged_subtitle_file_or_a_pipe_of_its_name_keeps_no_video_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.srt")
    (tmp_path / "page.srt").write_text("<html>00:00:01,000 --> 00:00:02,000")
    (tmp_path / "v.mp4").touch()
    entries = [
        make_entry(name, video=tmp_path / "v.mp4", translated=tmp_path / f"{name}.srt")
        for name in ("pipe", "page", "gone")
    ]
    ReportFolder(tmp_path / "report").write(make_report(*entries))

    assert sum('src="../v.mp4"' in page for page in pages(tmp_path / "report").values()) == 3


def test_without_a_journal_nothing_is_made(akool: Command, out: Path) -> None:
    out.mkdir()
    told = akool("report", "--out", out)

    assert told.code == 2
    assert "There is no journal" in told.err
    assert not (out / "report").exists()


# At the end of a run, and meanwhile.


def test_a_run_ends_with_the_path_of_its_report(
    akool: Command, vendor: Sandbox, quick: None, out: Path
) -> None:
    told = akool("translate", "https://example.com/talk.mp4", "--to", "ja", "--out", out, "--yes")
    index = out / "report" / "index.html"

    assert told.err.splitlines()[-1] == f"To look at the results: {index}"
    assert "talk" in index.read_text(encoding="utf-8")


def test_no_report_is_written_where_none_is_wanted(
    akool: Command, vendor: Sandbox, quick: None, out: Path
) -> None:
    words = ["translate", "https://example.com/talk.mp4", "--to", "ja", "--out", out]
    unpaid = akool(*words)
    told = akool(*words, "--yes", "--no-report")

    assert (unpaid.code, told.code) == (2, 0)
    assert not (out / "report").exists()


@pytest.mark.parametrize("option", [[], ["--report"]])
def test_a_report_that_can_not_be_written_changes_nothing_else(
    akool: Command, vendor: Sandbox, quick: None, out: Path, option: list[str]
) -> None:
    (out / "report").mkdir(parents=True)
    (out / "report" / "index.html").write_text("mine")
    told = akool("translate", "https://example.com/talk.mp4", "--to", "ja", "--out", out, "--yes", *option)

    assert told.code == 0
    assert "holds something else than a report" in told.err
    assert (out / "talk.ja.mp4").exists()
    assert (out / "report" / "index.html").read_text() == "mine"


def test_a_fault_of_the_report_ends_no_run(
    akool: Command, vendor: Sandbox, quick: None, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("akool_async.report.pages._render_video", fail)
    words = ["translate", "https://example.com/talk.mp4", "--to", "ja", "--out", out, "--yes", "--report"]
    told = akool(*words)

    assert told.code == 0
    assert "The report could not be written" in told.err
    assert (out / "talk.ja.mp4").exists()


def test_while_a_run_goes_on_its_report_is_there(
    akool: Command, serve: Callable[..., Sandbox], quick: None, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = serve(seed=3, time_scale=200.0)
    monkeypatch.setattr("akool_async.cli.run.REPORT_INTERVAL", 0.01)
    seen: list[str] = []
    write = ReportFolder.write

    def note(folder: ReportFolder, report: Report) -> Path:
        index = write(folder, report)
        seen.append(index.read_text(encoding="utf-8"))
        return index

    monkeypatch.setattr(ReportFolder, "write", note)
    words = ["translate", "https://example.com/talk.mp4", "--to", "ja,fr", "--out", out, "--yes", "--report"]
    told = akool(*words)

    assert told.code == 0
    assert len(seen) > 1
    assert "while a run was in progress" in seen[0]
    assert "while a run was in progress" not in seen[-1]
    assert vendor.audit.paid_twice() == ()
