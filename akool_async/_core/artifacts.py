"""The files of one result: what the vendor makes of it, and how each is called here."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from akool_async._core.models import Snapshot


class Artifact(enum.StrEnum):
    """One file of a result."""

    VIDEO = "video"
    """The translated video."""
    TRANSLATED_SRT = "translated_srt"
    """Subtitles in the target language."""
    ORIGINAL_SRT = "original_srt"
    """Subtitles in the source language."""
    CAPTIONLESS = "captionless"
    """The translated video without burnt-in captions."""


ENDINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Artifact.VIDEO: ".mp4",
        Artifact.TRANSLATED_SRT: ".srt",
        Artifact.ORIGINAL_SRT: ".original.srt",
        Artifact.CAPTIONLESS: ".captionless.mp4",
    }
)
"""What follows a result's name in the name of each file."""

SIDE_FILE: Final = ".json"
"""Ending of the file that says where the others come from."""


def urls_of(snapshot: Snapshot, *, captionless: bool) -> Mapping[Artifact, str]:
    """Give where the files of a result are, the video first; those that the vendor did not make are left out.

    Args:
        snapshot: of a completed job.
        captionless: whether the video without captions is wanted too.
    """
    side = snapshot.audio_splits
    urls = {
        Artifact.VIDEO: snapshot.url,
        Artifact.TRANSLATED_SRT: side.translated_srt_url,
        Artifact.ORIGINAL_SRT: side.original_srt_url,
        Artifact.CAPTIONLESS: side.no_caption_video_url if captionless else "",
    }
    return {artifact: url for artifact, url in urls.items() if url}
