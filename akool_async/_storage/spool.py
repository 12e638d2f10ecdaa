"""The folder of this machine where results wait on their way into a bucket, and how much it may hold.

A result is not streamed through: what arrives has to be read again to be verified, in any order, and a
download or an upload that breaks, or a program that is killed, resumes with the bytes that are here. A
bucket keeps nothing of an upload that was not completed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import attrs
from anyio.to_thread import run_sync

from akool_async._model.errors import StorageError

_LEAST: Final = 64 * 2**20
"""Bytes that a result is expected to take before a larger one was seen."""


class Spool:
    """Space for results on their way into a bucket.

    Args:
        root: the folder of all buckets; what earlier runs left there counts.
        folder: the folder of this bucket in it.
        most: bytes that may be in it at once. One result alone may be larger.
    """

    def __init__(self, root: Path, folder: Path, most: int) -> None:
        self.folder = folder
        self._root = root
        self._most = most
        self._expected = _LEAST
        self._active: set[Path] = set()
        self._refused = False
        self._turn = anyio.Lock()
        self._left = anyio.Event()

    @asynccontextmanager
    async def reserve(self, job_id: str) -> AsyncIterator[Path]:
        """Wait until there is space for a result, and yield its folder, which may hold a part of it.

        Raises:
            StorageError: there is none, and nothing that is sent now will make any.
        """
        place = self.folder / job_id
        async with self._turn:  # in order: a large result would wait behind small ones for ever
            while True:
                left = self._left
                lack = await run_sync(partial(self._find_lack, place, frozenset(self._active)))
                if not lack:
                    break
                if not self._active and not left.is_set():
                    # One at a time may go beside what an earlier run left, unless the bucket takes nothing.
                    if lack.may_go_alone and not self._refused:
                        break
                    # What is here is never deleted to make space: at the vendor it may have expired.
                    raise StorageError(
                        lack.reason,
                        impact="No paid result is lost: what is here stays, the rest is at the vendor.",
                        advice="Make space, or see why results could not be sent to the bucket; then run the "
                        "same again before they expire.",
                    )
                await left.wait()
            self._active.add(place)
        try:
            yield place
        finally:
            self._active.remove(place)
            self._left.set()
            self._left = anyio.Event()

    def sent(self, size: int) -> None:
        """The bucket took a result: it takes others, too, and the next one may be as large."""
        self._refused = False
        self._expected = max(self._expected, size)

    def refused(self) -> None:
        """The bucket did not take a result, which stays here."""
        self._refused = True

    def _find_lack(self, place: Path, active: frozenset[Path]) -> _Lack | None:
        """Return why there is no space for one more result, None if there is. Blocks."""
        try:
            root = next(one for one in (self._root, *self._root.parents) if one.exists())
            waiting, free = _sizes(self._root), shutil.disk_usage(root).free
        except OSError as error:
            why = f"The spool {self._root} can't be looked at: {error.strerror}."
            return _Lack(why, may_go_alone=False)
        coming = sum(max(self._expected - waiting.get(one, 0), 0) for one in active)
        more = max(self._expected - waiting.get(place, 0), 0)
        others = sum(waiting.values()) - waiting.get(place, 0)
        # A result of which a part is here is always admitted: it makes space when it was sent.
        if place not in waiting and (others or active) and others + coming + more > self._most:
            return _Lack(
                f"The spool {self._root} holds {others:,} bytes of results that were not sent yet, and may "
                f"hold {self._most:,}.",
                may_go_alone=True,
            )
        if free < coming + more:
            return _Lack(
                f"There are {free:,} bytes free for the spool {self._root}, and {coming + more:,} needed.",
                may_go_alone=False,
            )
        return None


@attrs.frozen
class _Lack:
    """Why there is no space, and whether one result may go in all the same where no other is on its way."""

    reason: str
    may_go_alone: bool


def _sizes(root: Path) -> Mapping[Path, int]:
    """Return how many bytes each folder of a job in a spool holds."""
    sizes: dict[Path, int] = {}
    for folder, _, names in os.walk(root):
        below = Path(folder).relative_to(root).parts
        if len(below) < 2:
            continue
        for name in names:
            try:
                size = os.lstat(f"{folder}/{name}").st_size
            except FileNotFoundError:  # another program has sent it just now
                continue
            job = root.joinpath(*below[:2])
            sizes[job] = sizes.get(job, 0) + size
    return sizes
