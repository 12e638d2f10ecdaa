"""Where the files of saved results are, and which of them are gone, by their names and sizes alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import attrs

from akool_async._download import find_file, is_there
from akool_async._journal import Entry
from akool_async._model.errors import AkoolError, ConfigurationError
from akool_async._model.locations import BucketPath, result_path
from akool_async._model.outcomes import MANIFEST
from akool_async.cli.options import DEFAULT_OUTPUT, JOURNAL, OutputOptions

_SAMPLES: Final = 20
"""Results of a folder of which one has to be there for it to be the folder."""


def with_results(output: OutputOptions, *, looked_into: bool = False) -> OutputOptions:
    """Return the options with the folder of the results where a journal was named without it.

    The journal says where most of them were saved; if both were moved, they are beside the journal. While
    nothing is saved, a journal of the usual name is in the folder of its results; else that is `results`.

    Args:
        output: as given.
        looked_into: whether the command is of no use without that folder.

    Raises:
        ConfigurationError: the folder is needed, and nothing tells where it is.
    """
    if output.journal is None or output.out != DEFAULT_OUTPUT.out:
        return output
    saved: dict[Path, list[Path]] = {}

    async def read() -> None:
        async with output.reading() as journal:
            for entry in journal.saved_files():
                if entry.files:
                    folder, file = _split(result_path(entry.files[0]), entry.name)
                    saved.setdefault(folder, []).append(file)

    with suppress(AkoolError):  # the command says itself that it can't be read
        anyio.run(read)
    beside = output.path.parent
    if not saved:
        is_usual = output.path.name == JOURNAL and beside.resolve() != Path.cwd()
        return attrs.evolve(output, out=beside) if is_usual else output
    folder = max(saved, key=lambda one: len(saved[one]))
    if isinstance(folder, BucketPath):
        return attrs.evolve(output, out=folder)
    samples = saved[folder][:_SAMPLES]
    for place in (beside, beside / folder, folder, output.out):  # a relative one may be of any directory
        if any(is_there(place / file) for file in samples):
            return attrs.evolve(output, out=place)
    # Deleted from there; a relative path alone may be of any folder of this name.
    if folder.is_absolute() or (folder.parts and folder.is_dir()):
        return attrs.evolve(output, out=folder)
    if looked_into:
        raise ConfigurationError(
            f"The journal {output.path} names the folder of its results as {folder}, from where a run was "
            f"started; they are neither there, nor beside the journal, nor in {output.out}.",
            impact="Nothing was changed.",
            advice="Name that folder with --out.",
        )
    return output


def _split(file: Path, name: str) -> tuple[Path, Path]:
    """Return the folder of the results that a file was saved in, and its path below that."""
    parts, depth = file.parts, 1 + name.count("/")
    return type(file)(*parts[:-depth]), Path(*parts[-depth:])


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
