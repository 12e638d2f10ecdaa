"""What is in a video: read from its index and its first frames, never by downloading it whole."""

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
