"""How far a download may go: bytes, seconds, redirects."""

from __future__ import annotations

from typing import Final

import attrs

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds of one download.

    Attributes:
        connect: seconds for making a connection.
        window: seconds in which `least` bytes have to come; a line that is slower is dropped.
        least: bytes; 60 KiB in 60 s, so that a line below 1 KiB/s is dropped.
        hops: redirects that are followed.
        tries: connections for one file in all, however much each of them brought.
        largest: bytes of a video; more is not taken in.
        largest_text: bytes of a subtitle file.
        spare: bytes that have to stay free on the disk.
        sync_every: bytes after which what came is put on disk for good.
    """

    connect: float = 10.0
    window: float = 60.0
    least: int = 60 * KIB
    hops: int = 3
    tries: int = 200
    largest: int = 8 * GIB
    largest_text: int = 64 * MIB
    spare: int = MIB
    sync_every: int = 4 * MIB
