"""What turns a video into a translated one, as the rest of the sandbox sees it.

`PaperStudio`, here, takes any URL and makes small files that only look right from outside; the one
that works on real media lives in `film`.
"""

from __future__ import annotations

import random
import struct
from typing import Final, Protocol

from akool_async.sandbox.jobs import Job
from akool_async.sandbox.settings import Settings

__all__ = ["PaperStudio", "Studio", "altered", "box"]

_BRANDS: Final = b"isom\x00\x00\x02\x00isomiso2avc1mp41"


class Studio(Protocol):
    """Examines what is sent in and makes what is given back."""

    threaded: bool
    """Whether its methods take long and belong in a worker thread."""

    def examine(self, url: str, caption_url: str) -> float:
        """Return the length of a video in seconds.

        Raises:
            Refused: The video or its captions can't be used.
        """
        ...

    def artifact(self, job: Job, artifact: str) -> bytes:
        """Return the content of a completed job's artifact: the same bytes every time."""
        ...


class PaperStudio:
    """Takes any URL; results are MP4 boxes without a film and two lines of captions.

    Args:
        settings: Say how long every video is and how large a result.
    """

    threaded = False

    def __init__(self, settings: Settings) -> None:
        """Take the choices over."""
        self._settings = settings

    def examine(self, url: str, caption_url: str) -> float:
        """Return the one length that every video has."""
        return self._settings.video_seconds

    def artifact(self, job: Job, artifact: str) -> bytes:
        """Return bytes that depend on the job and the artifact alone."""
        if artifact.endswith("_srt"):
            return _captions(job, artifact).encode()
        head = box(b"ftyp", _BRANDS) + box(b"moov", box(b"free", job.id.encode()))
        size = max(0, self._settings.result_bytes - len(head) - 8)
        draw = random.Random(f"{job.id}:{artifact}")  # noqa: S311 - repeatable
        return head + box(b"mdat", draw.randbytes(size))


def box(kind: bytes, content: bytes) -> bytes:
    """Return an MP4 box."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def altered(content: bytes, artifact: str, version: int) -> bytes:
    """Return the content as it is after it was replaced `version` times: still valid, other bytes."""
    if not version:
        return content
    if artifact.endswith("_srt"):
        return content + b"\n" * version
    return content + box(b"free", b"replaced %d" % version)


def _captions(job: Job, artifact: str) -> str:
    language = job.order.source_language if artifact == "original_srt" else job.order.language
    return (
        f"1\n00:00:00,000 --> 00:00:02,000\n[{language}] {job.order.url}\n\n"
        f"2\n00:00:02,000 --> 00:00:04,000\n[{language}] {job.id}\n"
    )
