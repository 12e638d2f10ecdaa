"""How an entry ended for the caller: one frozen value per (request, language)."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypedDict

import attrs

from akool_async._model.codes import CodeKind, lookup
from akool_async._model.locations import result_path
from akool_async._model.requests import Request
from akool_async._model.responses import Job, Snapshot, Status


class Artifact(enum.StrEnum):
    """One file of a result."""

    VIDEO = "video"
    """The translated video."""
    TRANSLATED_SRT = "translated_srt"
    """Subtitles in the target language."""
    ORIGINAL_SRT = "original_srt"
    """Subtitles in the source language."""
    WITHOUT_CAPTIONS = "without_captions"
    """The translated video without burnt-in captions."""


ENDINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Artifact.VIDEO: ".mp4",
        Artifact.TRANSLATED_SRT: ".srt",
        Artifact.ORIGINAL_SRT: ".original.srt",
        Artifact.WITHOUT_CAPTIONS: ".captionless.mp4",
    }
)
"""What follows a result's name in the name of each file."""

SUBTITLE_ENDINGS: Final = (".srt", ".ass", ".vtt")
"""Endings of subtitle files, the usual one first: what the vendor made decides."""

MANIFEST: Final = ".json"
"""Ending of the file that says where the others come from."""

UNVERIFIED: Final = "Not verified: "
INCOMPLETE: Final = "Incomplete: "
UNVERIFIED_INCOMPLETE: Final = "Not verified and incomplete: "
"""How the reason of a saved entry begins that lacks something; files and what the vendor said follow."""

_FIELDS: Final = sorted({**ENDINGS, "manifest": MANIFEST}.items(), key=lambda item: len(item[1]))
"""The longest endings come last, so that ".original.srt" is not taken for ".srt"."""


def result_urls(snapshot: Snapshot, *, without_captions: bool) -> Mapping[Artifact, str]:
    """Return the URLs of the files that the vendor made for a completed job, the video first."""
    side = snapshot.audio_splits
    urls = {
        Artifact.VIDEO: snapshot.url,
        Artifact.TRANSLATED_SRT: side.translated_srt_url,
        Artifact.ORIGINAL_SRT: side.original_srt_url,
        Artifact.WITHOUT_CAPTIONS: side.no_caption_video_url if without_captions else "",
    }
    return {artifact: url for artifact, url in urls.items() if url}


@attrs.frozen(kw_only=True)
class _Outcome:
    """What every outcome carries.

    Attributes:
        key: the caller's name of the entry, or its fingerprint.
        request: what was asked for.
        target: the language; "" for lip-sync.
        job: the job at the vendor, if one is known.
        reason: in words, why it ended so; "" when it is completed and saved, whole or not.
        submitted_at: when the POST went out, aware.
        ended_at: when this outcome was known, aware.
        credits: credits used, or locked as far as known; None when unknown.
        resumed: whether an earlier run had come to this end already.
    """

    key: str
    request: Request
    target: str
    job: Job | None = None
    reason: str = ""
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    credits: float | None = None
    resumed: bool = False

    @property
    def job_id(self) -> str:
        """The id of `job`; "" if none is known."""
        return "" if self.job is None else self.job.id


class OutcomeFields(TypedDict):
    """The fields of every outcome, as keyword arguments; `_Outcome` describes them."""

    key: str
    request: Request
    target: str
    job: Job | None
    reason: str
    submitted_at: datetime | None
    ended_at: datetime | None
    credits: float | None
    resumed: bool


@attrs.frozen(kw_only=True)
class Saved:
    """The saved files of one result.

    Attributes:
        video: the translated video.
        original_srt: subtitles in the source language, if the vendor made them.
        translated_srt: subtitles in the target language, if the vendor made them.
        without_captions: the video without burnt-in captions, if it was asked for and the vendor made it.
        manifest: JSON that says where the others come from: job, request, credits, sizes and hashes.
        missing: files that could not be saved, and why, in words; a later run tries again.
        unverified: files of which all bytes arrived, but which could not be verified, and why, in words.
    """

    video: Path
    original_srt: Path | None = None
    translated_srt: Path | None = None
    without_captions: Path | None = None
    manifest: Path | None = None
    missing: Mapping[str, str] = attrs.field(factory=dict)
    unverified: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def verified(self) -> bool:
        """Whether each saved file is known to be whole."""
        return not self.unverified

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, the video first."""
        rest = (self.original_srt, self.translated_srt, self.without_captions, self.manifest)
        return (self.video, *(path for path in rest if path is not None))

    @property
    def shortfall(self) -> str:
        """In words, which files are missing or could not be verified; "" if there are none."""
        lead = UNVERIFIED_INCOMPLETE if self.unverified and self.missing else ""
        lead = lead or (UNVERIFIED if self.unverified else INCOMPLETE)
        lacking = {**self.unverified, **self.missing}
        details = ". ".join(f"{artifact}: {why.removesuffix('.')}" for artifact, why in lacking.items())
        return f"{lead}{details}." if details else ""

    @classmethod
    def from_paths(cls, files: Sequence[str], shortfall: str = "") -> Saved | None:
        """Return what `files` gave these, and `shortfall` these words; None for no files."""
        if not files:
            return None
        fields: dict[str, Any] = {}
        if is_unverified(shortfall):
            fields["unverified"] = {"files": shortfall}
        if is_incomplete(shortfall):
            fields["missing"] = {"files": shortfall}
        for file in files[1:]:
            # Subtitles are saved with the ending of their format, so .vtt and .ass count as .srt.
            stem, dot, suffix = file.rpartition(".")
            name = f"{stem}.srt" if dot + suffix in SUBTITLE_ENDINGS else file
            fitting = [field for field, ending in _FIELDS if name.endswith(ending)]
            fields |= {fitting[-1]: result_path(file)} if fitting else {}
        return cls(**{**fields, "video": result_path(files[0])})


def is_unverified(shortfall: str) -> bool:
    """Whether the reason of a saved entry says that a file could not be verified."""
    return shortfall.startswith((UNVERIFIED, UNVERIFIED_INCOMPLETE))


def is_incomplete(shortfall: str) -> bool:
    """Whether the reason of a saved entry says that a file is missing."""
    return shortfall.startswith((INCOMPLETE, UNVERIFIED_INCOMPLETE))


def cause_of(reason: str, *job_ids: str) -> str:
    """Return a reason without the ids of an entry's own jobs, so that entries with one cause say the same."""
    for job_id in filter(None, job_ids):
        reason = reason.replace(f"Job {job_id}", "The job").replace(f"job {job_id}", "the job")
    return reason


@attrs.frozen(kw_only=True)
class Completed(_Outcome):
    """The result is there.

    Attributes:
        snapshot: the answer that said so, with the result's URLs.
        saved: the saved files; None where none were wanted, or where they could not be
            had: then `reason` says why, and the next run tries again.
    """

    snapshot: Snapshot
    saved: Saved | None = None


_PERMANENT: Final = frozenset({CodeKind.BAD_REQUEST, CodeKind.MEDIA, CodeKind.DUPLICATE})


def needs_correction(code: int | None) -> bool:
    """Return whether what failed or was refused with this code would end so again, until it is corrected."""
    return lookup(code).kind in _PERMANENT


@attrs.frozen(kw_only=True)
class Failed(_Outcome):
    """The job was made and ended without a result.

    Attributes:
        snapshot: the last answer about it, if there was one; the vendor's reason is in it.
    """

    snapshot: Snapshot | None = None

    @property
    def confirmed(self) -> bool:
        """Whether the vendor says that it failed; else it may still be made and billed, and is asked for."""
        return self.snapshot is not None and self.snapshot.status is Status.FAILED

    @property
    def may_pass(self) -> bool:
        """Whether another job may succeed: nothing says that the request or its files are at fault."""
        code = None if self.snapshot is None else self.snapshot.error_code
        return self.confirmed and not needs_correction(code)


@attrs.frozen(kw_only=True)
class Rejected(_Outcome):
    """The vendor refused to make the job; nothing was charged.

    Attributes:
        code: the vendor's number for the refusal, if it gave one.
    """

    code: int | None = None


@attrs.frozen(kw_only=True)
class InDoubt(_Outcome):
    """The POST was sent, or may have been, and its answer is unknown: it is not sent again by itself.

    Attributes:
        doubt_ids: job ids in the answer that may be this entry's, and that the API did not confirm.
    """

    doubt_ids: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Expired(_Outcome):
    """The job was completed, but its result expired before it was saved."""


@attrs.frozen(kw_only=True)
class NotSubmitted(_Outcome):
    """Nothing was sent for this entry, and nothing was charged.

    Attributes:
        stopped: whether it is so because the batch stopped submitting; else the reason is this entry's own.
        already_saved: whether the folder has its results, although the journal has no job that made them.
    """

    stopped: bool = False
    already_saved: bool = False


Outcome: TypeAlias = Completed | Failed | Rejected | InDoubt | Expired | NotSubmitted
"""One of the six ways in which an entry ends."""
