"""The jobs of the second vendor, and the file that each of them makes."""

from __future__ import annotations

import hashlib
import struct
import time
from dataclasses import dataclass
from typing import Any

QUEUEING, PROCESSING, COMPLETED, FAILED = 1, 2, 3, 4


def video_of(job_id: str) -> bytes:
    """Return a small MP4 file that only this job can have: an index, media, and the job's id in it."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", len(content) + 8, kind) + content

    movie_header = struct.pack(">IIIII", 0, 0, 0, 1000, 1000) + bytes(80)
    media = job_id.encode() + hashlib.sha256(job_id.encode()).digest() * 40
    return (
        box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
        + box(b"moov", box(b"mvhd", movie_header))
        + box(b"mdat", media)
    )


@dataclass
class Job:
    """One (video, language) that was paid for."""

    id: Any
    url: str
    language: str
    made_at: float
    seconds: float
    cost: float
    fails: bool = False

    @property
    def status(self) -> int:
        age = time.time() - self.made_at
        if age < self.seconds:
            return QUEUEING if age < self.seconds / 3 else PROCESSING
        return FAILED if self.fails else COMPLETED
