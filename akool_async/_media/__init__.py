"""Inspect videos by their index and their first frames, without downloading them whole."""

from __future__ import annotations

from akool_async._media.inspection import (
    READ_LIMIT,
    MediaError,
    MediaFacts,
    MediaProblem,
    find_video,
    inspect_file,
    inspect_url,
    open_video,
)

__all__ = [
    "READ_LIMIT",
    "MediaError",
    "MediaFacts",
    "MediaProblem",
    "find_video",
    "inspect_file",
    "inspect_url",
    "open_video",
]
