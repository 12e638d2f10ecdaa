"""What the vendor answers, as typed values: jobs, snapshots, submissions, languages, voices.

The raw answer stays reachable in `raw` for fields that are new.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, Unpack

import attrs

from akool_async._model.errors import AkoolError, ErrorDetails
from akool_async._model.redact import url_repr

RESULT_LIFETIME: Final = timedelta(days=7)
"""How long a result can be downloaded. Source: the vendor's pages, "resources are valid for 7 days"."""

GZIP_MAGIC: Final = b"\x1f\x8b"
"""How everything begins that gzip compressed. Source: RFC 1952, 2.3.1."""

_LATEST: Final = datetime.max.replace(tzinfo=UTC) - RESULT_LIFETIME


def in_utc(moment: datetime | None) -> datetime | None:
    """Return a moment in UTC; None where it has none there, and once stored could not be read back."""
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:  # before the year 1 or after 9999: absurd, so it counts as unknown
        return None


def result_expiry(created_at: datetime | None) -> datetime | None:
    """Return when the result of a job made at `created_at` expires; None where that is unknown."""
    # A moment in the year 9999 is an absurd answer, and adding to it would raise in the middle of a poll.
    made = in_utc(created_at)
    return None if made is None or made > _LATEST else made + RESULT_LIFETIME


EXPIRED_UNSAVED: Final = "The result expired at the vendor before it was saved."
_CLOCK_TOLERANCE: Final = timedelta(days=1)


def surely_expired(
    expires_at: datetime | None, sent_at: datetime | None, *, now: datetime, vendor_now: datetime
) -> bool:
    """Return whether a result that the vendor does not show has expired, and is not only out of sight.

    Args:
        expires_at: when it expires by the vendor's own times; None where that is unknown.
        sent_at: when its POST went out, by the clock of this machine.
        now: the time of this machine.
        vendor_now: the time at the vendor.
    """
    # By the vendor's clock: a wrong clock here must not give up a result that is still there.
    # And by ours: no time that the vendor names makes a result expire early.
    over = sent_at is None or now >= sent_at + RESULT_LIFETIME + _CLOCK_TOLERANCE
    return over and expires_at is not None and vendor_now >= expires_at


def _raw() -> Any:
    return attrs.field(factory=dict, repr=False, eq=False)


def _url() -> Any:
    return attrs.field(default="", repr=url_repr)


class Status(enum.IntEnum):
    """The vendor's word for where a job is. Source: infobymodelid, video_status."""

    UNKNOWN = 0
    """Not a documented status; `Snapshot.raw_status` has the original."""
    QUEUEING = 1
    PROCESSING = 2
    COMPLETED = 3
    FAILED = 4

    terminal: bool
    """Whether the status will not change any more."""

    def __init__(self, number: int) -> None:
        # An attribute and not a property: it is read several times for every poll.
        self.terminal = number in (3, 4)


@attrs.frozen(kw_only=True, weakref_slot=False)
class Job:
    """One (video, language) at the vendor, as answered at its creation.

    Attributes:
        id: the vendor's `_id`, which status calls take.
        target: the language it is translated into; "" for lip-sync.
        source_language: the language it is translated from, as answered.
        status: where it was when the answer was made.
        created_at: the server's time of creation, aware.
        video_id: another id of the vendor's; no call takes it. "" in a batch, whose snapshots have it.
        task_id: the same.
        seconds_locked: length of video that is charged, in seconds.
        credits_locked: credits that are locked for it, above 0; None where the answer does not say.
        raw: the answer as it came; empty in a batch, which may have very many jobs in flight.
    """

    id: str
    target: str = ""
    source_language: str = ""
    status: Status = Status.UNKNOWN
    created_at: datetime | None = None
    video_id: str = ""
    task_id: str = ""
    seconds_locked: float | None = None
    credits_locked: float | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class AudioSplits:
    """Subtitles and other files of a result; "" for those that the vendor did not make.

    Attributes:
        original_srt_url: subtitles in the source language.
        translated_srt_url: subtitles in the target language.
        no_caption_video_url: the video without burnt-in captions.
    """

    original_srt_url: str = _url()
    translated_srt_url: str = _url()
    no_caption_video_url: str = _url()


NO_AUDIO_SPLITS: Final = AudioSplits()
"""What most snapshots hold."""


@attrs.frozen(kw_only=True)
class Snapshot:
    """What one status call answered about a job.

    Attributes:
        job_id: the job.
        status: where it is.
        raw_status: the status as it came, also when it is not a documented one.
        url: the result's URL; "" until the job is completed. It expires with the result.
        progress: percent, 0 to 100; None where the server sends none.
        created_at: the server's time of creation, aware.
        video_id: another id of the vendor's; no call takes it.
        credits_used: credits that were deducted, above 0; None until the vendor says.
        error_code: the vendor's number for a failure.
        error_reason: the vendor's words for a failure, cleaned of control characters.
        audio_splits: URLs of subtitles and of the video without captions.
        raw: the answer as it came.
    """

    job_id: str
    status: Status = Status.UNKNOWN
    raw_status: str = ""
    url: str = _url()
    progress: int | None = None
    created_at: datetime | None = None
    video_id: str = ""
    credits_used: float | None = None
    error_code: int | None = None
    error_reason: str = ""
    audio_splits: AudioSplits = NO_AUDIO_SPLITS
    raw: Mapping[str, Any] = _raw()

    @property
    def expires_at(self) -> datetime | None:
        """The last moment at which the result is surely there: 7 days after the job was made."""
        return result_expiry(self.created_at)


class JobFailed(AkoolError):
    """The job ended without a result; `snapshot.credits_used` says what was charged, if known.

    Where `confirmed` is False, the vendor did not say so: it did not know the job, as under the key of
    another account, or showed no result. Such a job may still be made and billed.

    Attributes:
        job_id: the job.
        snapshot: the last answer about it, if there was one.
        error_code: the vendor's number for the failure, if it gave one.
    """

    def __init__(
        self,
        message: str,
        *,
        job_id: str = "",
        snapshot: Snapshot | None = None,
        error_code: int | None = None,
        **details: Unpack[ErrorDetails],
    ) -> None:
        super().__init__(message, **details)
        self.job_id = job_id
        self.snapshot = snapshot
        self.error_code = error_code

    @property
    def confirmed(self) -> bool:
        """Whether the vendor says that the job failed."""
        return self.snapshot is not None and self.snapshot.status is Status.FAILED


@attrs.frozen(kw_only=True)
class Refusal:
    """One language of a submission for which no job was made.

    Attributes:
        target: the language.
        error: why, as the exception that a single call would raise.
    """

    target: str
    error: AkoolError


@attrs.frozen(kw_only=True)
class Submission:
    """One create POST and its answer, language by language.

    Attributes:
        accepted: the jobs that were made, in the order of the request's targets; they are paid.
        refused: the languages for which the vendor made none.
        missing: languages that the answer does not mention: whether they were made is in doubt.
        extra: jobs in the answer that belong to no language of the request; they may be billed.
    """

    accepted: tuple[Job, ...] = ()
    refused: tuple[Refusal, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[Job, ...] = ()

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Every job id that the answer holds."""
        return tuple(job.id for job in (*self.accepted, *self.extra))


@attrs.frozen(kw_only=True)
class Language:
    """A language that the vendor translates into.

    Attributes:
        code: what `TranslationRequest.targets` takes.
        name: in English.
        icon_url: a picture of a flag.
        needs_voice: whether a request has to name a voice for it in `voices_map`.
        raw: the answer as it came.
    """

    code: str
    name: str = ""
    icon_url: str = _url()
    needs_voice: bool = False
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class Voice:
    """A voice that `TranslationRequest.voices_map` can name.

    Attributes:
        voice_id: what `voices_map` takes.
        name: for people; like all texts here as the vendor has it, "" where it has none.
        gender: the vendor's word.
        language: in words.
        language_code: the language as `TranslationRequest.targets` takes it.
        preview_url: a sound file to listen to.
        thumbnail_url: a picture of the voice.
        flag_url: a picture of a flag.
        use_case: what the vendor recommends it for.
        category: the vendor's kind of voice.
        age: the vendor's words for its age.
        style: the vendor's words for how it speaks.
        scenario: the vendor's words for where it fits.
        sample_seconds: length of the preview, in seconds.
        created_at: when the vendor made it, aware.
        raw: the answer as it came.
    """

    voice_id: str
    name: str = ""
    gender: str = ""
    language: str = ""
    language_code: str = ""
    preview_url: str = _url()
    thumbnail_url: str = _url()
    flag_url: str = _url()
    use_case: str = ""
    category: str = ""
    age: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    scenario: tuple[str, ...] = ()
    sample_seconds: float | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = _raw()


@attrs.frozen(kw_only=True)
class VoicePage:
    """One page of voices.

    Attributes:
        count: voices on all pages together, if the server says so.
        entries: items that the server sent, including those without a voice id.
    """

    voices: tuple[Voice, ...] = ()
    count: int | None = None
    entries: int = 0


_IN_PROGRESS: Final = frozenset({Status.QUEUEING, Status.PROCESSING})


@attrs.frozen(kw_only=True)
class Callback:
    """What one webhook claims, without its secrets: a hint, whose receiver asks the API.

    Attributes:
        job_id: the vendor's id of the job that it is about.
        token: the unguessable part of the URL that it came to, or "".
        status: the vendor's number for where the job is, None if it did not say.
        repeated: whether the same was said before, under another token.
    """

    job_id: str
    token: str = attrs.field(default="", repr=False)
    status: int | None = None
    repeated: bool = False

    @property
    def in_progress(self) -> bool:
        """Whether it says that the job is in progress, so that a poll would bring nothing new."""
        return self.status in _IN_PROGRESS

    @property
    def should_poll(self) -> bool:
        """Whether it is a reason to poll the job."""
        # A hint that repeats another one is not worth a poll; a flood of them would be a flood of polls.
        return not (self.in_progress or self.repeated)


class CallbackListener(Protocol):
    """Receives callbacks."""

    def on_callback(self, callback: Callback) -> None:
        """Take one in; must neither wait nor raise."""


class CallbackSource(Protocol):
    """Where callbacks come from: a receiver in this process, or an inbox that one writes."""

    def subscribe(self, listener: CallbackListener) -> Callable[[], None]:
        """Tell `listener` of each callback from now on; return a function that ends the subscription."""

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        """Return the callbacks that came with a token so far, as far as they are remembered."""
