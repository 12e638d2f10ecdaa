"""What others may put into a shared folder: links, pipes and files of theirs are neither used nor changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import AkoolError, DownloadError
from akool_async._download import files
from tests.download.conftest import downloads, fetch, film
from tests.download.host import Asked, Reply, hosting, part

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")

TRAPS = ["symlink", "dangling symlink", "hard link", "pipe", "folder", "foreign owner"]
PLACES = ["a.mp4.part", "a.mp4.part.about", "a.mp4.part.about.new"]


def lay(trap: str, path: Path, victim: Path) -> None:
    victim.write_text("mine")
    if trap == "symlink":
        path.symlink_to(victim)
    elif trap == "dangling symlink":
        path.symlink_to(victim.with_name("not there"))
    elif trap == "hard link":
        path.hardlink_to(victim)
    elif trap == "pipe":
        os.mkfifo(path)
    elif trap == "folder":
        path.mkdir()
    else:
        if os.geteuid():
            pytest.skip("only root can make files of other users")
        path.write_text("theirs")
        os.chown(path, 12345, 12345)


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("place", PLACES)
async def test_a_trap_is_told_and_neither_followed_nor_waited_for(
    tmp_path: Path, place: str, trap: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    victim = tmp_path / "victim"
    lay(trap, folder / place, victim)
    before = os.lstat(folder / place)
    async with hosting(lambda asked: part(film(), asked)) as host:
        with anyio.fail_after(50), pytest.raises(AkoolError) as caught:
            await fetch(downloads(), f"{host.url}/a.mp4", folder / "a.mp4")

    assert place.removesuffix(".new") in str(caught.value) or "a.mp4" in str(caught.value)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "not there").exists()
    assert os.path.samestat(before, os.lstat(folder / place))
    assert not (folder / "a.mp4").exists()


async def test_a_part_that_is_swapped_while_it_is_checked_gives_no_name_to_foreign_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = files.publish

    def swapped(descriptor: int, draft: Path, target: Path, *, replace: bool) -> None:
        if draft.name == "a.mp4.part":
            draft.rename(tmp_path / "aside")
            draft.write_bytes(b"foreign")
        publish(descriptor, draft, target, replace=replace)

    monkeypatch.setattr(files, "publish", swapped)
    async with hosting(lambda asked: part(film(), asked)) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == film()


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("proc", [False, True])
async def test_a_part_that_is_replaced_by_a_foreign_file_is_never_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: bool, proc: bool
) -> None:
    publish = files.publish
    if not proc:
        monkeypatch.setattr(files.os, "link", _by_name_alone(os.link))
    (tmp_path / "foreign").write_bytes(b"foreign")

    def swapped(descriptor: int, draft: Path, target: Path, *, replace: bool) -> None:
        if draft.name == "a.mp4.part":
            (tmp_path / "foreign").replace(draft)
        publish(descriptor, draft, target, replace=replace)

    monkeypatch.setattr(files, "publish", swapped)
    async with hosting(lambda asked: part(film(), asked)) as host:
        with pytest.raises(AkoolError, match="another program"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4", replace=replace)

    assert not (tmp_path / "a.mp4").exists()


def _by_name_alone(link: Any) -> Any:
    """Return `os.link` as it is where descriptors have no names."""

    def linked(source: Any, target: Any, **options: Any) -> None:
        if options:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    return linked


async def test_files_are_published_also_where_descriptors_have_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "link", _by_name_alone(os.link))
    async with hosting(lambda asked: part(film(), asked)) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")
        with pytest.raises(ValueError, match="already exists"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == film()


async def test_a_part_that_is_swapped_before_the_check_is_not_what_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = film()

    def answer(asked: Asked) -> Reply:
        if (tmp_path / "a.mp4.part").exists():
            (tmp_path / "a.mp4.part").unlink()
        (tmp_path / "a.mp4.part").write_bytes(film(5))
        return part(content, asked)

    async with hosting(answer) as host:
        with pytest.raises(AkoolError, match="another program"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert not (tmp_path / "a.mp4").exists()


async def test_a_link_that_somebody_laid_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "a.mp4.part").symlink_to(tmp_path / "victim")
    async with hosting(lambda asked: part(film(), asked)) as host:
        with pytest.raises(DownloadError):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "victim").read_text() == "mine"


async def test_a_second_name_of_a_whole_file_is_not_written_into(tmp_path: Path) -> None:
    """What a crash between the two halves of a rename leaves."""
    (tmp_path / "a.mp4").write_bytes(film())
    (tmp_path / "a.mp4.part").hardlink_to(tmp_path / "a.mp4")
    async with hosting(lambda asked: part(film(30_000), asked, keep=3000)) as host:
        host.answer = lambda asked: (
            part(film(30_000), asked, keep=3000) if not asked.first else Reply(status=500)
        )
        with pytest.raises(DownloadError):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4", replace=True)

    assert (tmp_path / "a.mp4").read_bytes() == film()
