"""The manifest beside a result: where its files come from, and whether they are still what was saved."""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from akool_async._download.fetch import run_blocking
from akool_async._download.files import ForeignFileError, local_path, open_regular, read_json
from akool_async._download.verify import Digest, digest
from akool_async._model.errors import StorageError
from akool_async._model.fingerprint import fingerprint, is_by_hash, is_other_work
from akool_async._model.outcomes import MANIFEST, Artifact, Completed, Saved
from akool_async._model.redact import redacted_url
from akool_async._model.requests import URL_FIELDS, LipSyncRequest, Request
from akool_async._model.responses import Snapshot

MANIFEST_FORMAT: Final = 1
"""Raised when the meaning of a name in the manifest changes."""

MANIFEST_ROW: Final = "manifest"
"""What a manifest that is gone or damaged is called among the files of its result."""


FOLDER_ROW: Final = "folder"
"""What a folder that can't be read is called among the files of a result that stands for it."""


class FileState(enum.StrEnum):
    """What became of a saved file."""

    INTACT = "intact"
    """It is there, and is what was saved as far as that was looked at."""
    UNVERIFIED = "unverified"
    """It is what was saved, but it could not be verified when it was downloaded."""
    MISSING = "missing"
    """It was deleted or moved, or could not be downloaded in the first place."""
    CHANGED = "changed"
    """Its size or its content is not what was saved."""


@attrs.frozen(kw_only=True)
class SavedFile:
    """One file of a result, as its manifest lists it.

    Attributes:
        artifact: which file of the result it is, such as "video".
        path: where it should be; None if it could not be downloaded.
        digest: its size and hash when it was saved; None if that is not known.
        state: what became of it.
        reason: why it is missing or unverified, in words, or "".
    """

    artifact: str
    path: Path | None
    digest: Digest | None = None
    state: FileState = FileState.INTACT
    reason: str = ""


@attrs.frozen(kw_only=True)
class SavedResult:
    """The files of one result in a folder.

    Attributes:
        manifest: the path of the manifest.
        job_id: the job that made it.
        key: the entry's key, "" if it was saved without one.
        target: the language.
        files: what was to be saved.
        fingerprint: hash of what was asked for, "" if that is not known.
    """

    manifest: Path
    job_id: str
    key: str = ""
    target: str = ""
    files: tuple[SavedFile, ...] = ()
    fingerprint: str = ""

    def is_of(self, key: str, target: str, request: Request) -> bool:
        """Whether it is the result of an entry: two catalogs may give one key to two videos."""
        if (self.key, self.target) != (key, target):
            return False
        if self.fingerprint and is_by_hash(request):  # a file that was replaced has the same key and path
            return self.fingerprint == fingerprint(request, target)
        return not self.fingerprint or not is_other_work(self.fingerprint, request, target)

    @property
    def saved(self) -> Saved | None:
        """The files that are there; None without the video."""
        paths = {
            file.artifact: file.path
            for file in self.files
            if file.path is not None and file.state in (FileState.INTACT, FileState.UNVERIFIED)
        }
        if Artifact.VIDEO not in paths:
            return None
        return Saved(
            **paths,
            manifest=self.manifest,
            missing={file.artifact: file.reason for file in self.files if file.artifact not in paths},
            unverified={
                file.artifact: file.reason for file in self.files if file.state is FileState.UNVERIFIED
            },
        )

    @property
    def damaged(self) -> tuple[SavedFile, ...]:
        """The files that are not there as they should be."""
        return tuple(file for file in self.files if file.state is not FileState.INTACT)


async def verify_folder(folder: str | os.PathLike[str], *, hashes: bool = True) -> tuple[SavedResult, ...]:
    """Compare the results in a folder of this machine with their manifests, as `verify` does.

    A result that is there whole under another name, too, is left out where its files are deleted or changed.
    A folder in it that can't be read comes last, as a result without a job. Links are not followed.

    Raises:
        ConfigurationError: the folder is named by a URL.
        StorageError: the folder can't be read.
    """
    place = local_path(folder)
    return await run_blocking(place, partial(_verify_folder, place, hashes=hashes))


def _verify_folder(folder: Path, *, hashes: bool) -> tuple[SavedResult, ...]:
    try:
        unreadable: list[SavedResult] = []
        names = sorted(_manifests(folder, unreadable))
        found = [_read_or_tell(path) for path in names]
        results = [check_result(result, hashes=hashes) for result in found if result is not None]
        # A file that was changed is kept, and the result is saved again beside it, under another name.
        whole = {result.job_id for result in results if result.job_id and not result.damaged}
        found_all = (*results, *unreadable)
        return tuple(result for result in found_all if not (result.damaged and result.job_id in whole))
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder} can't be read: {error.strerror}.",
            impact="Nothing was changed.",
            advice="Correct the name or the permissions.",
        ) from error


def _read_or_tell(path: Path) -> SavedResult | None:
    """Return what a manifest lists; one that can't be read is a result of which only the damage is known."""
    try:
        return read_manifest(path, any_owner=True)
    except FileNotFoundError:  # it was deleted since the folder was listed
        return None
    except OSError as error:
        reason = f"it can't be read: {error.strerror}"
        file = SavedFile(artifact=MANIFEST_ROW, path=path, state=FileState.CHANGED, reason=reason)
        return SavedResult(manifest=path, job_id="", files=(file,))


def _manifests(folder: Path, unreadable: list[SavedResult]) -> Iterator[Path]:
    """Yield the manifests below a folder, and note the folders in it that can't be read."""

    def note(error: OSError) -> None:
        place = Path(error.filename)
        if place == folder:
            raise error
        if not isinstance(error, FileNotFoundError):  # it was deleted since the folder was listed
            reason = f"this folder can't be read: {error.strerror}"
            row = SavedFile(artifact=FOLDER_ROW, path=place, state=FileState.CHANGED, reason=reason)
            unreadable.append(SavedResult(manifest=place, job_id="", files=(row,)))

    # Without `onerror` a folder that can't be read would look like one without results.
    for place, _folders, names in os.walk(folder, onerror=note):
        yield from (Path(place, name) for name in names if name.endswith(MANIFEST))


def read_manifest(path: Path, *, any_owner: bool = False) -> SavedResult | None:
    """Return what a manifest lists, None if there is none, or if it is damaged or something else."""
    try:
        stored = read_json(path, any_owner=any_owner)
    except ForeignFileError:
        if any_owner:
            return None
        raise
    return parse_manifest(stored, path)


def parse_manifest(stored: Mapping[str, Any], path: Path) -> SavedResult | None:
    """Return what the manifest at `path` lists, None if that is damaged or something else."""
    try:
        files = [
            SavedFile(
                artifact=str(file["artifact"]),
                # The last part alone: a manifest from elsewhere must not name files outside its own folder.
                path=path.with_name(Path(file["name"]).name),
                digest=Digest(int(file["size"]), str(file["sha256"])),
                state=FileState.INTACT if file.get("verified", True) else FileState.UNVERIFIED,
                reason=str(file.get("reason", "")),
            )
            for file in stored["files"]
        ]
        files += [
            SavedFile(artifact=artifact, path=None, state=FileState.MISSING, reason=str(reason))
            for artifact, reason in dict(stored.get("missing", {})).items()
        ]
        return SavedResult(
            manifest=path,
            job_id=str(stored["job_id"]),
            key=str(stored.get("key") or ""),
            target=str(stored.get("target") or ""),
            files=tuple(files),
            fingerprint=str(stored.get("fingerprint") or ""),
        )
    except (AttributeError, TypeError, KeyError, ValueError, OverflowError):
        return None


def find_file(file: str, folder: Path, name: str) -> Path:
    """Return the path of a saved file, even if it is gone: where it was saved, or the same below `folder`.

    Args:
        file: its path, as it was saved. A relative one counts from `folder`, whatever folder it was saved
            from: what has the same path below the current directory may be another result.
        folder: of the results, which may have been moved or copied.
        name: of the result, with its folders, such as "ja/talk".
    """
    path, depth = Path(file), 1 + name.count("/")
    here = folder.joinpath(*path.parts[-depth:])
    if path == here or not path.exists():
        return here
    # Without such a folder, as where a journal is named alone, the path is all that is known.
    if not path.is_absolute() and folder.is_dir():
        return here
    if len(path.parents) < depth:  # it was saved without the folders of its name
        return path
    # What was copied has to be whole by itself: else a file that is missing in the copy counts as saved, and
    # the original, which its owner may delete, is shown and corrected in place of it.
    manifest = f"{name}{MANIFEST}"
    return here if _is_copy(folder / manifest, of=path.parents[depth - 1] / manifest) else path


def is_there(path: Path) -> bool:
    """Whether something with the name of a saved file is there and not empty, as no saved file is.

    A link whose file is gone, as on a disk that is not mounted, leads to nothing.
    """
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _is_copy(manifest: Path, *, of: Path) -> bool:
    """Whether two manifests are of one job and yet two files."""
    try:
        if manifest.samefile(of):
            return False
        copied, original = read_manifest(manifest, any_owner=True), read_manifest(of, any_owner=True)
    except OSError:
        return False
    return copied is not None and original is not None and copied.job_id == original.job_id != ""


def find_result(files: Sequence[str], folder: Path, name: str, *, hashes: bool = False) -> SavedResult:
    """Return what became of a result whose files were saved under these paths.

    Args:
        files: the video first; a manifest among them tells more.
        folder: where they may be, too.
        name: of the result, with its folders.
        hashes: whether the files are read and compared by their SHA-256, too; then a manifest that is gone or
            damaged counts as damage, because it alone knows what they were.
    """
    paths = [find_file(file, folder, name) for file in files]
    manifest = next((path for path in paths if path.name.endswith(MANIFEST)), None)
    if manifest is not None:
        with suppress(OSError):
            known = read_manifest(manifest, any_owner=True)
            if known is not None:
                return check_result(known, hashes=hashes)
    return result_by_names(paths, manifest, partial(_check_file, hashes=False), hashes=hashes)


def result_by_names(
    paths: Sequence[Path], manifest: Path | None, check: Callable[[SavedFile], SavedFile], *, hashes: bool
) -> SavedResult:
    """Return what became of a result of which only the names of its files are known, the video first.

    Args:
        paths: all of its files.
        manifest: the one of them that does not say any more what was saved; None where there never was one.
        check: returns a file with its state.
        hashes: whether that counts as damage; else its owner may have deleted it, which is no loss.
    """
    saved = Saved.from_paths([str(path) for path in paths])
    named = {artifact: getattr(saved, artifact, None) for artifact in Artifact}
    found = [check(SavedFile(artifact=artifact, path=path)) for artifact, path in named.items() if path]
    if hashes and manifest is not None:
        row = check(SavedFile(artifact=MANIFEST_ROW, path=manifest))
        if row.state is FileState.MISSING:
            reason = "it was deleted or moved, and nothing else says what the other files were"
            row = attrs.evolve(row, reason=reason)
        elif row.state is FileState.INTACT:
            reason = "it does not say what was saved any more"
            row = attrs.evolve(row, state=FileState.CHANGED, reason=reason)
        found.append(row)
    return SavedResult(manifest=manifest or paths[0], job_id="", files=tuple(found))


def check_result(result: SavedResult, *, hashes: bool) -> SavedResult:
    """Return the result with the state that its files have now."""
    return attrs.evolve(result, files=tuple(_check_file(file, hashes=hashes) for file in result.files))


def _check_file(file: SavedFile, *, hashes: bool) -> SavedFile:
    if file.path is None:
        return file
    try:
        found = file.path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return attrs.evolve(file, state=FileState.CHANGED, reason="it is not a file any more")
        read = partial(digest_file, file.path, any_owner=True) if hashes else None
        return compare_file(file, found.st_size, read)
    except FileNotFoundError:
        return attrs.evolve(file, state=FileState.MISSING, reason="it was deleted or moved")
    except ForeignFileError as error:
        return attrs.evolve(file, state=FileState.CHANGED, reason=error.message)
    except OSError as error:  # one file that can't be read must not keep all others from being looked at
        reason = f"it can't be read: {error.strerror}"
        return attrs.evolve(file, state=FileState.CHANGED, reason=reason)


def compare_file(file: SavedFile, size: int, read_digest: Callable[[], Digest] | None) -> SavedFile:
    """Return a file with its state, by its size and, where it is to be read, by its content."""
    reason = ""
    if file.digest is None:  # its name has to do; but nothing that was saved is empty
        reason = "" if size else "it is empty"
    elif size != file.digest.size:  # before the hash, which has to read gigabytes
        reason = f"it has {size:,} bytes instead of {file.digest.size:,}"
    elif read_digest is not None and read_digest() != file.digest:
        reason = "its content was changed"
    return attrs.evolve(file, state=FileState.CHANGED, reason=reason) if reason else file


def digest_file(path: Path, *, any_owner: bool = False) -> Digest:
    """Return size and hash of a file.

    Raises:
        FileNotFoundError: there is none.
        ForeignFileError: it is a link, a pipe or, unless `any_owner` is set, another user's.
    """
    with os.fdopen(open_regular(path, links=0, any_owner=any_owner), "rb") as file:
        return digest(file)


def make_manifest(
    done: Completed | Snapshot,
    files: Sequence[SavedFile],
    *,
    saved_at: datetime,
    program: str,
) -> dict[str, Any]:
    """Return what is known of a result; nothing in it signs or opens anything."""
    snapshot = done if isinstance(done, Snapshot) else done.snapshot
    manifest: dict[str, Any] = {
        "format": MANIFEST_FORMAT,
        "program": program,
        "job_id": snapshot.job_id,
        "created_at": _timestamp(snapshot.created_at),
        "saved_at": _timestamp(saved_at),
        "credits": snapshot.credits_used,
    }
    if isinstance(done, Completed):
        manifest |= {
            "key": done.key,
            "target": done.target,
            "fingerprint": fingerprint(done.request, done.target),
            "request": _describe(done.request),
            "credits": done.credits,
            "submitted_at": _timestamp(done.submitted_at),
            "ended_at": _timestamp(done.ended_at),
        }
    manifest["files"] = [
        {
            "artifact": file.artifact,
            "name": file.path.name,
            **attrs.asdict(file.digest),
            **(
                {"verified": True}
                if file.state is FileState.INTACT
                else {"verified": False, "reason": file.reason}
            ),
        }
        for file in files
        if file.path is not None and file.digest is not None
    ]
    manifest["missing"] = {file.artifact: file.reason for file in files if file.path is None}
    return manifest


def _timestamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def _describe(request: Request) -> dict[str, Any]:
    # The webhook's URL contains the token that makes a callback trustworthy, and a result may be shared.
    options = attrs.asdict(request, filter=attrs.filters.exclude("key", "webhook_url", "url_is_public"))
    described: dict[str, Any] = {"kind": "lipsync" if isinstance(request, LipSyncRequest) else "translation"}
    for name, value in options.items():
        if name in URL_FIELDS and value:
            described[name] = redacted_url(value, public=request.url_is_public)
        elif value not in (None, ""):
            described[name] = dict(value) if isinstance(value, Mapping) else value
    return described
