"""The files on the CDN: who may have which, and for how long.

Finds the bytes and the verdict; sending them is the CDN's affair.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Final

import attrs
from anyio import to_thread

from akool_async.sandbox.engine import Engine
from akool_async.sandbox.jobs import COMPLETED, Job
from akool_async.sandbox.links import ARTIFACTS, Signer
from akool_async.sandbox.studio import Studio, altered

__all__ = ["File", "Place", "Shelf", "Withheld"]

_ARTIFACT_OF: Final[Mapping[str, str]] = {name: artifact for artifact, name in ARTIFACTS.items()}
_DAY: Final = 86_400.0


class Withheld(Exception):
    """The file is not given out.

    Args:
        status: The HTTP status that says so.
    """

    def __init__(self, status: int) -> None:
        """Remember the HTTP status."""
        super().__init__(f"HTTP {status}")
        self.status = status


@attrs.frozen
class Place:
    """What a path on the CDN stands for."""

    job: Job
    artifact: str


@attrs.frozen
class File:
    """One file as it is now."""

    content: bytes
    etag: str
    media_type: bytes
    modified: float


class Shelf:
    """All results.

    Args:
        engine: Owner of the jobs.
        studio: Makes the files.
        signer: Checks the links.
        days: How long a file is kept after its job ended, in the sandbox's days.
    """

    def __init__(self, engine: Engine, studio: Studio, signer: Signer, *, days: float) -> None:
        """Take the parts over."""
        self._engine = engine
        self._studio = studio
        self._signer = signer
        self._seconds = days * _DAY
        self._lock = threading.Lock()
        self._versions: Counter[tuple[str, str]] = Counter()

    def place(self, path: str) -> Place | None:
        """Return what a path stands for, None when there is nothing."""
        parts = path.split("/")
        if len(parts) != 4 or parts[1] != "results" or parts[3] not in _ARTIFACT_OF:
            return None
        job = self._engine.job(parts[2])
        return None if job is None else Place(job, _ARTIFACT_OF[parts[3]])

    def replace(self, place: Place) -> None:
        """Put other bytes in the file's place."""
        with self._lock:
            self._versions[place.job.id, place.artifact] += 1

    async def take(self, place: Place, token: str, now: float) -> File:
        """Return a file.

        Raises:
            Withheld: 403 for a wrong or forbidden link, 404 when there is no file, or no more.
        """
        job = place.job
        generation = self._signer.generation(job, place.artifact, token)
        if generation is None:
            raise Withheld(403)
        if job.status != COMPLETED or job.ended is None or now >= job.ended + self._seconds:
            raise Withheld(404)
        if generation in job.forbidden:
            self._engine.edit(partial(_mark_stale, job, generation))
            raise Withheld(403)
        content = altered(await self._made(place), place.artifact, self._versions[job.id, place.artifact])
        kind = b"application/x-subrip" if place.artifact.endswith("_srt") else b"video/mp4"
        return File(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"', kind, job.ended)

    async def _made(self, place: Place) -> bytes:
        if not self._studio.threaded:
            return self._studio.artifact(place.job, place.artifact)
        work = partial(self._studio.artifact, place.job, place.artifact)
        return await to_thread.run_sync(work, abandon_on_cancel=True)


def _mark_stale(job: Job, generation: int) -> None:
    job.stale = job.stale or generation == job.generation
