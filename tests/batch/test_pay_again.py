"""Results in the output folder that this journal does not know: they are not paid again unasked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    Failed,
    InDoubt,
    NotSubmitted,
    Outcome,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Fault
from tests.client.conftest import Open, video


async def run(client: AkoolClient, journal: Path, out: Path, **options: Any) -> list[Outcome]:
    requests = options.pop("requests", [video(1, key="one"), video(2)])
    with anyio.fail_after(55):
        async with (
            open_journal(journal) as opened,
            open_batch(client, requests, journal=opened, download_to=out, **options) as batch,
        ):
            return [outcome async for outcome in batch]


async def test_what_another_journal_paid_is_not_paid_again_unasked(fast_house: Open, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with fast_house() as home:
        client = await home.client()
        first = await run(client, tmp_path / "a.sqlite3", out)
        second = await run(client, tmp_path / "b.sqlite3", out)
        paid = len(home.sandbox.audit.jobs)
        third = await run(client, tmp_path / "b.sqlite3", out, pay_again=True)

        assert paid == 2
        assert len(home.sandbox.audit.jobs) == 4
    assert {type(outcome) for outcome in first + third} == {Completed}
    ids = {outcome.key: outcome.job.id for outcome in first if outcome.job is not None}
    unsent = [outcome for outcome in second if isinstance(outcome, NotSubmitted)]
    assert [(outcome.already_saved, outcome.stopped) for outcome in unsent] == [(True, False)] * 2
    assert all(ids[outcome.key] in outcome.reason for outcome in second)
    assert all("--pay-again" in outcome.reason for outcome in second)


async def test_another_entry_with_the_same_file_name_is_no_evidence(fast_house: Open, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with fast_house() as home:
        client = await home.client()
        await run(client, tmp_path / "a.sqlite3", out, requests=[video(1, key="one")])
        (outcome,) = await run(client, tmp_path / "b.sqlite3", out, requests=[video(1, key="two")])
        (again,) = await run(client, tmp_path / "c.sqlite3", out, requests=[video(1, key="two")])

    assert isinstance(outcome, Completed)
    assert isinstance(again, NotSubmitted)


async def test_another_video_with_the_same_key_is_no_evidence(fast_house: Open, tmp_path: Path) -> None:
    """As where two catalogs count their rows, and save into one folder under names of their keys."""
    out = tmp_path / "out"
    async with fast_house() as home:
        client = await home.client()
        films = [video(number, key="1") for number in (1, 2)]
        for film in films:
            journal = tmp_path / f"{film.url.rpartition('/')[2]}.sqlite3"
            (outcome,) = await run(client, journal, out, requests=[film], file_names="{key}.{language}")
            assert isinstance(outcome, Completed), outcome
            assert outcome.saved is not None

        assert [job.url for job in home.sandbox.audit.jobs] == [film.url for film in films]
    assert len({*out.glob("*.mp4")}) == 2


async def test_an_entry_in_doubt_whose_result_is_there_is_not_submitted_again(
    fast_house: Open, tmp_path: Path
) -> None:
    request = video(1, key="one")
    out, journal = tmp_path / "out", tmp_path / "b.sqlite3"
    async with fast_house() as home:
        client = await home.client()
        await run(client, tmp_path / "a.sqlite3", out, requests=[request])
        async with open_journal(journal) as opened:
            await opened.intend(request)  # as an older copy of the journal knows it
        (outcome,) = await run(client, journal, out, requests=[request], on_in_doubt="resubmit")

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, InDoubt)
    async with open_journal(journal, read_only=True) as opened:
        assert opened.counts()[State.IN_DOUBT] == 1


async def test_a_failed_entry_whose_result_is_there_is_not_submitted_again(
    fast_house: Open, tmp_path: Path
) -> None:
    """A journal from a backup has the first job, which failed; the second one was paid, and is saved."""
    request = video(1, key="one")
    out, journal, backup = tmp_path / "out", tmp_path / "jobs.sqlite3", tmp_path / "backup.sqlite3"
    async with fast_house() as home:
        client = await home.client()
        home.sandbox.faults.add(Fault(on="create", kind="job_fails", nth=1))
        (failed,) = await run(client, journal, out, requests=[request])
        async with open_journal(journal) as opened:
            await opened.backup(backup)
        (saved,) = await run(client, journal, out, requests=[request], retry_failed=True)
        async with open_journal(backup, accept_older=True):
            pass
        (outcome,) = await run(client, backup, out, requests=[request], retry_failed=True)
        paid = len(home.sandbox.audit.jobs)
        (again,) = await run(client, backup, out, requests=[request], retry_failed=True, pay_again=True)

        assert paid == 2
        assert len(home.sandbox.audit.jobs) == 3
    assert isinstance(failed, Failed)
    assert isinstance(saved, Completed)
    assert isinstance(again, Completed)
    assert isinstance(outcome, NotSubmitted)
    assert outcome.already_saved
    assert saved.job is not None
    assert saved.job.id in outcome.reason


def talk(host: str) -> TranslationRequest:
    """Return one of the videos that are all called "talk"."""
    return video(url=f"https://{host}.example.com/talk.mp4", key=host)


async def test_a_result_is_found_after_a_name_that_has_none(fast_house: Open, tmp_path: Path) -> None:
    """The entry that got the first name is in doubt, or its files were moved away."""
    out, requests = tmp_path / "out", [talk("a"), talk("b")]
    async with fast_house() as home:
        client = await home.client()
        await run(client, tmp_path / "a.sqlite3", out, requests=requests, max_in_flight=1)
        for file in out.glob("talk.ja.*"):
            file.unlink()
        (outcome,) = await run(client, tmp_path / "b.sqlite3", out, requests=[talk("b")])

        assert len(home.sandbox.audit.jobs) == 2
    assert isinstance(outcome, NotSubmitted)
    assert outcome.already_saved


async def test_a_result_is_found_under_the_name_of_its_entry_however_names_are_made_now(
    fast_house: Open, tmp_path: Path
) -> None:
    out, journal, backup = tmp_path / "out", tmp_path / "jobs.sqlite3", tmp_path / "backup.sqlite3"
    async with fast_house() as home:
        client = await home.client()
        home.sandbox.faults.add(Fault(on="create", kind="job_fails", nth=1))
        await run(client, journal, out, requests=[talk("a")])
        async with open_journal(journal) as opened:
            await opened.backup(backup)
        await run(client, journal, out, requests=[talk("a")], retry_failed=True)
        async with open_journal(backup, accept_older=True):
            pass
        (outcome,) = await run(
            client, backup, out, requests=[talk("a")], retry_failed=True, file_names="{key}.{language}"
        )

        assert len(home.sandbox.audit.jobs) == 2
    assert isinstance(outcome, NotSubmitted)
    assert outcome.already_saved


def _empty(manifest: Path) -> None:
    manifest.write_bytes(b"")


def _cut(manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:-20])


def _too_large(manifest: Path) -> None:
    content = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({"pad": "x" * 2**20, **content}))


def _no_object(manifest: Path) -> None:
    manifest.write_bytes(b"[]")


def _link(manifest: Path) -> None:
    manifest.rename(manifest.with_name("elsewhere"))
    manifest.symlink_to(manifest.with_name("elsewhere"))


def _dangling(manifest: Path) -> None:
    manifest.unlink()
    manifest.symlink_to(manifest.with_name("not there"))


def _folder(manifest: Path) -> None:
    manifest.unlink()
    manifest.mkdir()


LINKS = pytest.mark.skipif(os.name == "nt", reason="links of POSIX")


@pytest.mark.parametrize(
    "damage",
    [
        _empty,
        _cut,
        _too_large,
        _no_object,
        _folder,
        pytest.param(_link, marks=LINKS),
        pytest.param(_dangling, marks=LINKS),
    ],
)
async def test_a_video_whose_manifest_says_nothing_is_not_paid_again_unasked(
    fast_house: Open, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    out, request = tmp_path / "out", video(1, key="one")
    async with fast_house() as home:
        client = await home.client()
        (first,) = await run(client, tmp_path / "a.sqlite3", out, requests=[request])
        assert isinstance(first, Completed)
        assert first.saved is not None
        damage(first.saved.manifest)
        (second,) = await run(client, tmp_path / "b.sqlite3", out, requests=[request])
        assert len(home.sandbox.audit.jobs) == 1
        (third,) = await run(client, tmp_path / "b.sqlite3", out, requests=[request], pay_again=True)

        assert len(home.sandbox.audit.jobs) == 2
    assert isinstance(second, NotSubmitted)
    assert first.saved.manifest.name in second.reason
    assert "--pay-again" in second.reason
    assert isinstance(third, Completed)
