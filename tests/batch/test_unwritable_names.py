"""Names that this system can't write, and folders that are none: found before anything is spent."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from akool_async import (
    AkoolClient,
    Completed,
    ConfigurationError,
    NotSubmitted,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
    verify,
)
from akool_async._batch import saving
from akool_async._download import files as disk
from akool_async._journal import EntryUpdate
from akool_async._model.fingerprint import entry_key
from akool_async._storage import local_names as local
from akool_async._storage.results import LocalFolder
from tests.batch.test_batch import run, videos
from tests.client.conftest import Open

WANTED = [
    TranslationRequest(url="https://e.com/1.mp4", targets="ja", key="東京"),
    TranslationRequest(url="https://e.com/2.mp4", targets="ja", key="plain"),
]


def _like(error: Exception) -> Any:
    """Return an `os` on which names beyond ASCII are as impossible as where `error` is raised."""

    def lstat(path: os.PathLike[str]) -> os.stat_result:
        if os.fspath(path).isascii():
            return os.lstat(path)
        raise error

    return SimpleNamespace(**vars(os) | {"lstat": lstat})


@pytest.mark.parametrize(
    "error",
    [
        UnicodeEncodeError("latin-1", "東京", 0, 2, "ordinal not in range(256)"),
        OSError(errno.EILSEQ, "Invalid or incomplete multibyte character"),
        OSError(errno.EINVAL, "Invalid argument"),
        OSError(errno.ENAMETOOLONG, "File name too long"),
    ],
    ids=["locale", "character", "file system", "length"],
)
async def test_an_entry_whose_name_can_not_be_written_is_not_paid_for(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(local, "os", _like(error))
    async with fast_house() as home:
        client = await home.client()
        outcomes = await run(client, WANTED, download_to=tmp_path, file_names="{key}")

        assert [job.url for job in home.sandbox.audit.jobs] == [WANTED[1].url]
    refused, saved = sorted(outcomes, key=lambda outcome: outcome.request.url)
    assert isinstance(refused, NotSubmitted)
    assert "can't be written" in refused.reason
    assert ("shorter" if getattr(error, "errno", 0) == errno.ENAMETOOLONG else "LC_ALL") in refused.reason
    assert isinstance(saved, Completed)
    assert saved.saved is not None


@pytest.mark.parametrize("where", ["the name that the journal holds", "a name that is made now"])
async def test_a_paid_result_whose_name_can_not_be_written_waits_for_the_next_run(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def refuse(*_: Any) -> None:
        raise UnicodeEncodeError("latin-1", "東京", 0, 2, "ordinal not in range(256)")

    async with fast_house() as home:
        client = await home.client()
        async with open_journal(":memory:") as journal:
            options = {"journal": journal, "download_to": tmp_path, "file_names": "{key}"}
            with monkeypatch.context() as broken:
                if where == "a name that is made now":
                    broken.setattr(saving.ResultSaver, "candidate_names", _no_names)
                    broken.setattr(local, "os", _like(UnicodeEncodeError("latin-1", "東京", 0, 2, "")))
                else:
                    broken.setattr(disk, "make_folder", refuse)
                (outcome,) = await run(client, WANTED[:1], **options)
                left = journal.counts()[State.COMPLETED]
            (later,) = await run(client, WANTED[:1], **options)

    assert isinstance(outcome, Completed)
    assert outcome.saved is None
    assert "can't be written" in outcome.reason
    assert left == 1
    assert later.saved.video.name == "東京.mp4"


async def test_nothing_is_paid_for_a_folder_that_is_read_only(
    fast_house: Open, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    archive = tmp_path / "archive"
    async with fast_house() as home:
        client = await home.client()
        (first,) = await run(client, videos(1), download_to=archive)
        read_only(archive)
        found, refused = sorted(
            await run(client, videos(2), download_to=archive), key=lambda outcome: outcome.request.url
        )
        below = await run(client, WANTED[1:], download_to=archive, file_names="new/{key}")

        assert len(home.sandbox.audit.creates) == 1
    assert first.saved.video.exists()
    assert isinstance(found, NotSubmitted)
    assert "is saved, which the journal does not know" in found.reason
    for outcome in (refused, *below):
        assert isinstance(outcome, NotSubmitted)
        assert f"{archive} is read-only" in outcome.reason


async def test_a_saved_result_beside_pays_for_no_other_in_a_folder_that_is_read_only(
    fast_house: Open, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    (request,) = videos(1)
    async with open_journal(":memory:") as journal, fast_house() as home:
        client = await home.client()
        await run(client, [request], download_to=tmp_path)
        await journal.intend(request)
        failed = EntryUpdate(
            key=entry_key(request, "ja"), target="ja", state=State.FAILED, reason="it failed"
        )
        await journal.record(failed)
        again = {"journal": journal, "download_to": tmp_path, "retry_failed": True, "pay_again": True}
        read_only(tmp_path)
        (refused,) = await run(client, [request], **again)
        paid = len(home.sandbox.audit.creates)
        (tmp_path / "more").mkdir()
        (saved,) = await run(client, [request], **again, file_names="more/{key}")

    assert isinstance(refused, NotSubmitted)
    assert f"{tmp_path} is read-only" in refused.reason
    assert paid == 1
    assert saved.saved.video.parent == tmp_path / "more"


async def test_nothing_is_paid_where_the_disk_is_full(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fast_house() as home:
        client = await home.client()
        with monkeypatch.context() as full:
            full.setattr(local.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
            refused = await run(client, videos(2), download_to=tmp_path)
        assert home.sandbox.audit.creates == ()
        whole = await run(client, videos(2), download_to=tmp_path)

    assert all(isinstance(outcome, NotSubmitted) for outcome in refused)
    assert (
        f"Nothing can be saved in {tmp_path}: its disk is full, with 1,000 bytes left." in refused[0].reason
    )
    assert all(outcome.saved.video.exists() for outcome in whole)


async def test_nothing_is_paid_for_a_folder_that_is_a_file(fast_house: Open, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.write_text("no folder")
    place.chmod(0o777)
    async with fast_house() as home:
        (refused,) = await run(await home.client(), videos(1), download_to=place)

        assert home.sandbox.audit.creates == ()
    assert isinstance(refused, NotSubmitted)
    assert f"{place} is not a folder" in refused.reason


def test_a_place_that_can_not_be_looked_at_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    """Here the name is too long; a folder that may not be entered raises in the same place."""
    local.check_writable(tmp_path, f"{'x' * 300}/a.mp4")


async def test_a_paid_result_is_saved_whatever_is_asked_before_a_post(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("asked before a POST only")

    monkeypatch.setattr(LocalFolder, "check_writable", refuse)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client, (request,) = await home.client(), videos(1)
        (job,) = (await client.submit(request)).accepted
        await journal.intend(request)
        paid = EntryUpdate(key=entry_key(request, "ja"), target="ja", state=State.SUBMITTED, job_id=job.id)
        await journal.record(paid)
        (outcome,) = await run(client, [request], journal=journal, download_to=tmp_path / "out")

    assert outcome.saved.video.exists()


async def _no_names(*_: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    return {}, {}


@pytest.mark.parametrize("folder", ["s3:/bucket", "ftp://b/x", "https://e.com/x"])
async def test_a_url_is_no_folder(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with AkoolClient(api_key="key", host="http://127.0.0.1:1") as client:
        with pytest.raises(ConfigurationError, match="names no file or folder of this machine"):
            open_batch(client, videos(1), download_to=folder)
        with pytest.raises(ConfigurationError, match="names no file or folder of this machine"):
            await client.download(_done(), into=folder)
    with pytest.raises(ConfigurationError, match="names no file or folder of this machine"):
        await verify(folder)

    assert list(tmp_path.iterdir()) == []


async def test_a_tilde_is_the_home_folder(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with fast_house() as home:
        (outcome,) = await run(await home.client(), videos(1), download_to="~/results")

    assert outcome.saved.video.parent == tmp_path / "results"
    assert await verify("~/results")


def _done() -> Any:
    from akool_async import Snapshot, Status

    return Snapshot(job_id="job-1", status=Status.COMPLETED, url="https://e.com/v")
