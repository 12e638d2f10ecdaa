"""What is known of a video before it is paid for, and which videos the vendor takes: values and rules."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import attrs

from akool_async._model.errors import CallerError
from akool_async._model.validators import as_text_set, positive, seconds_field, whole_number

READ_LIMIT: Final = 8 * 2**20
"""Bytes of a remote video that are read at most. The index of an hour of video takes about 2 MiB."""

_SECONDS_OF_GRACE: Final = 0.1
"""The last packet of sound reaches a little beyond the picture."""

_RATE_OF_GRACE: Final = 1.01
"""Containers that count in milliseconds can't express 30 frames a second exactly."""

_LIPSYNC_FPS: Final = 25.0
"""Source: the vendor's page on POST /api/open/v3/content/video/lipsync, video_url."""


class MediaKind(enum.StrEnum):
    """What a file is to be, in the words of messages."""

    VIDEO = "video"
    AUDIO = "audio"  # also the sound of a video
    SUBTITLES = "subtitle file"

    @property
    def one(self) -> str:
        """One such file, with its article."""
        return "an audio file" if self is MediaKind.AUDIO else f"a {self}"


class MediaProblem(enum.Enum):
    """Why a video, an audio file or subtitles could not be inspected."""

    UNREACHABLE = "unreachable"  # or the server broke HTTP's rules
    REFUSED = "refused"  # the server answered that the URL leads to nothing, or not for everybody
    NOT_PUBLIC = "not public"  # a private address, or a host without a public DNS name
    UNRESOLVED = "unresolved"  # this machine can't find out the address of the host
    PAGE = "page"  # a share page of Drive, YouTube and their like, known by the form of its URL
    EMPTY = "empty"
    NOT_VIDEO = "not a video"  # a web page, a document, a playlist, sound alone, or damaged; no subtitles
    TRUNCATED = "truncated"  # shorter than its own index says
    READ_LIMIT = "read limit"  # more bytes would have to be read than is allowed

    @property
    def is_certain(self) -> bool:
        """Whether the vendor would fail for the same reason; else the reason may lie on this machine."""
        return self not in (MediaProblem.UNREACHABLE, MediaProblem.UNRESOLVED, MediaProblem.READ_LIMIT)


class MediaError(CallerError):
    """A video could not be inspected. The message never contains the URL, which may be signed.

    Attributes:
        problem: what kind of reason it is.
        requests: GETs that were sent before that was known.
        bytes_read: bytes of the video that were received until then.
    """

    impact = "Nothing was sent to the vendor and nothing was spent."
    advice = "Check that the URL leads to the file itself, and that the whole file was uploaded."

    def __init__(
        self, message: str, *, problem: MediaProblem = MediaProblem.NOT_VIDEO, advice: str | None = None
    ) -> None:
        super().__init__(message, advice=advice)
        self.problem = problem
        self.requests: int = 0
        self.bytes_read: int = 0


@attrs.frozen(kw_only=True)
class MediaFacts:
    """What is in a video, as its container says.

    Attributes:
        container: FFmpeg's name of the file format; "mp4" includes MOV and M4V.
        bytes: size of the file.
        seconds: length; None if the file does not say and is too large to be measured.
        width: in pixels, 0 if the encoding is unknown.
        height: the same.
        fps: average frames per second; None if there is no rate, as with a single picture.
        video_codec: FFmpeg's name of the encoding, such as "h264", or "unknown".
        audio_codec: the same for the first audio track; None if there is none.
        has_subtitles: whether there is a subtitle track.
    """

    container: str
    bytes: int
    seconds: float | None
    width: int
    height: int
    fps: float | None
    video_codec: str
    audio_codec: str | None
    has_subtitles: bool

    @property
    def has_audio(self) -> bool:
        """Whether there is an audio track."""
        return self.audio_codec is not None


@attrs.frozen
class Excess:
    """One way in which a video is not as it should be.

    Attributes:
        code: the business code with which the vendor refuses such a video.
        message: what the video has and what is allowed, such as "61.00 s long, 60 s are allowed".
    """

    code: int
    message: str


def find_excesses(
    facts: MediaFacts, *, max_seconds: float, max_bytes: int, max_fps: float, needs_audio: bool = True
) -> Iterator[Excess]:
    """Yield what a video has too much or too little of, in the order in which it is refused."""
    if facts.bytes > max_bytes:
        yield Excess(1207, f"{facts.bytes:,} bytes, {max_bytes:,} are allowed")
    if needs_audio and not facts.has_audio:
        yield Excess(1203, "there is no audio track")
    if facts.seconds is not None and facts.seconds > max_seconds + _SECONDS_OF_GRACE:
        yield Excess(1204, f"{facts.seconds:.2f} s long, {max_seconds:g} s are allowed")
    if facts.fps is not None and facts.fps > max_fps * _RATE_OF_GRACE:
        yield Excess(1210, f"{facts.fps:.2f} frames a second, {max_fps:g} are allowed")


@attrs.frozen(kw_only=True)
class Limits:
    """Which videos are submitted, and how a look into them may go: the settings of a preflight.

    The vendor's limits differ between its pages and plans, so each is a setting. What exceeds one is refused
    on this machine, before a POST, and costs nothing.

    Args:
        max_seconds: longest video, in seconds, above 0. Source: business code 1204; plans differ.
        max_bytes: largest file, in bytes, 1 or more. Source: business code 1207.
        warn_fps: frames a second on average above which there is a warning, above 0. Source: business code
            1210 in one version of the vendor's pages.
        max_fps: most frames a second, above 0. Source: business code 1210, whose other version says 60;
            whether 60 themselves are taken is not documented, so that by default they are not sent.
        needs_audio: whether a video without sound is refused. Source: business code 1203.
        advised_codecs: video encodings, by FFmpeg's names, without a warning. Source: the vendor's page
            recommends H.264; whether it refuses others is not documented.
        allow_private: whether videos may be on this machine or in a private network, where the vendor can't
            fetch them; None allows it where the API itself is there, as with a sandbox: on this machine for
            one on this machine.
        read_limit: bytes that are read of a video at most, 1 or more.
        timeout: seconds for a look into one video, above 0.
        at_once: videos that are looked into at once, 1 or more.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    max_seconds: float = attrs.field(default=60.0, validator=positive)
    max_bytes: int = attrs.field(default=300 * 2**20, validator=whole_number)
    warn_fps: float = attrs.field(default=30.0, validator=positive)
    max_fps: float = attrs.field(default=59.0, validator=positive)
    needs_audio: bool = True
    advised_codecs: frozenset[str] = attrs.field(default=frozenset({"h264"}), converter=as_text_set)
    allow_private: bool | None = None
    read_limit: int = attrs.field(default=READ_LIMIT, validator=whole_number)
    timeout: float = seconds_field(30.0)
    at_once: int = attrs.field(default=16, validator=whole_number)

    def refusals(self, facts: MediaFacts) -> tuple[str, ...]:
        """Return why a video is not submitted, each reason with the vendor's code; () if it may be."""
        found = find_excesses(
            facts,
            max_seconds=self.max_seconds,
            max_bytes=self.max_bytes,
            max_fps=self.max_fps,
            needs_audio=self.needs_audio,
        )
        return tuple(f"{one.message} (code {one.code})" for one in found)

    def warnings(self, facts: MediaFacts, *, follows_audio: bool = False) -> tuple[str, ...]:
        """Return what the vendor may refuse, or make a worse result of.

        Args:
            facts: the video's.
            follows_audio: whether it is for a `LipSyncRequest`.
        """
        found = []
        if facts.video_codec not in self.advised_codecs:
            advised = ", ".join(sorted(self.advised_codecs))
            found.append(f"encoded as {facts.video_codec}; the vendor recommends {advised}")
        if facts.fps is not None and facts.fps > self.warn_fps * _RATE_OF_GRACE:
            found.append(f"{facts.fps:.2f} frames a second; some plans allow {self.warn_fps:g} (code 1210)")
        elif follows_audio and facts.fps is not None and facts.fps > _LIPSYNC_FPS * _RATE_OF_GRACE:
            found.append(f"{facts.fps:.2f} frames a second; above {_LIPSYNC_FPS:g} a lip-sync is worse")
        if facts.seconds is None:
            found.append("its length is not known: the file does not say it, and is too large to be measured")
        return tuple(found)
