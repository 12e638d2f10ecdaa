"""Where the files of saved results are, and which of them are gone, by their names and sizes alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from akool_async._download import find_file, is_there, read_manifest
from akool_async._journal import Entry
from akool_async._model.locations import BucketPath, result_path
from akool_async._model.outcomes import MANIFEST
from akool_async.cli.options import OutputOptions


def are_gone(files: Sequence[str], folder: Path, name: str) -> bool:
    """Whether one of a result's files is neither where it was saved nor in the folder of the results.

    A manifest that was deleted alone is no loss: a run takes such a result for saved.
    """
    if isinstance(folder, BucketPath):  # the run looks there
        return False
    return not all(is_there(find_file(file, folder, name)) for file in files if not file.endswith(MANIFEST))


def files_of(entry: Entry, output: OutputOptions) -> list[str]:
    """Return where an entry's files are, or have to be; the folder of the results may be moved or copied."""
    return [str(locate(file, output, entry.name)) for file in entry.files]


def locate(file: str, output: OutputOptions, name: str) -> Path:
    """Return where a file of a result is, or was saved if it is gone."""
    path = result_path(file)
    if isinstance(path, BucketPath):
        return path
    if output.local.is_dir():
        return find_file(file, output.local, name)
    # A journal may be named alone: its results are beside it, or where they were saved.
    beside = find_file(file, output.path.parent, name)
    return beside if is_there(beside) else path


def is_saved(manifest: Path, key: str, target: str) -> bool:
    """Whether a manifest says that a result of this entry is saved; one that can't be read says nothing."""
    if isinstance(manifest, BucketPath):  # the run looks there, before it pays
        return False
    with suppress(OSError):
        result = read_manifest(manifest, any_owner=True) if os.path.lexists(manifest) else None
        return result is not None and (result.key, result.target) == (key, target)
    return False
