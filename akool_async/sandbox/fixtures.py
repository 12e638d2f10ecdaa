"""Where the sandbox's results come from, as the rest of it sees them.

`StubMedia`, here, takes any URL and makes small files that only look right from outside; the backend
that works on real videos is in `media`, which needs PyAV.
"""

from __future__ import annotations

import random
import struct
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import urlsplit

import attrs

from akool_async._environment import needs_extra
from akool_async.sandbox.jobs import SandboxJob
from akool_async.sandbox.settings import SandboxSettings

_BRANDS: Final = b"isom\x00\x00\x02\x00isomiso2avc1mp41"


class MediaBackend(Protocol):
    """Examines what is sent in and makes what is given back."""

    async def examine(self, url: str, caption_url: str) -> float:
        """Return the length of a video in seconds.

        Raises:
            ApiRejection: The video or its captions can't be used.
        """
        ...

    async def artifact(self, job: SandboxJob, artifact: str) -> bytes:
        """Return the content of a completed job's artifact: the same bytes every time.

        Raises:
            ApiRejection: The video is not there any more, or can't be copied.
        """
        ...


def media_backend(settings: SandboxSettings) -> MediaBackend:
    """Return the backend for real videos, or `StubMedia` where `media` is off."""
    if not settings.media:
        return StubMedia(settings)
    with needs_extra("sandbox", "Sandboxes with real videos"):
        from akool_async.sandbox.media import RealMedia
    return RealMedia(settings)


class StubMedia:
    """Takes any URL; results are MP4 boxes without a film and two lines of captions."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings

    async def examine(self, url: str, caption_url: str) -> float:
        """Return the one length that every video has."""
        return self._settings.video_seconds

    async def artifact(self, job: SandboxJob, artifact: str) -> bytes:
        """Return bytes that depend on the job and the artifact alone."""
        return stub_content(job, artifact, self._settings.result_bytes)


def stub_content(job: SandboxJob, artifact: str, size: int) -> bytes:
    """Return what `StubMedia` gives for an artifact; a video has about `size` bytes."""
    if artifact.endswith("_srt"):
        language = job.spec.source_language if artifact == "original_srt" else job.spec.language
        name = urlsplit(job.spec.url).path  # what is around it may be secret, and this is saved
        return (
            f"1\n00:00:00,000 --> 00:00:02,000\n[{language}] {name}\n\n"
            f"2\n00:00:02,000 --> 00:00:04,000\n[{language}] {job.id}\n"
        ).encode()
    head = box(b"ftyp", _BRANDS) + box(b"moov", box(b"free", job.id.encode()))
    draw = random.Random(f"{job.id}:{artifact}")  # noqa: S311 - repeatable
    return head + box(b"mdat", draw.randbytes(max(0, size - len(head) - 8)))


def box(kind: bytes, content: bytes) -> bytes:
    """Return an MP4 box."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def modified(content: bytes, artifact: str, version: int) -> bytes:
    """Return the content as it is after it was replaced `version` times: still valid, other bytes."""
    if not version:
        return content
    if artifact.endswith("_srt"):
        return content + b"\n" * version
    return content + box(b"free", b"replaced %d" % version)


@attrs.frozen
class SandboxLanguage:
    """One target language."""

    code: str
    name: str
    needs_voice: bool = False


_NAMED: Final = (
    "en English, zh Chinese (Simplified), hi Hindi, es Spanish, fr French, de German, ja Japanese, "
    "ko Korean, pt Portuguese, ru Russian, it Italian, ar Arabic, nl Dutch, pl Polish, tr Turkish, "
    "vi Vietnamese, th Thai, id Indonesian, ms Malay, fil Filipino, sv Swedish, da Danish, no Norwegian, "
    "fi Finnish, cs Czech, sk Slovak, hu Hungarian, ro Romanian, bg Bulgarian, hr Croatian, el Greek, "
    "he Hebrew, uk Ukrainian, ta Tamil, te Telugu, en-GB English (United Kingdom), es-MX Spanish (Mexico), "
    "pt-BR Portuguese (Brazil)"
)
LANGUAGES: Final = (
    *(SandboxLanguage(code, name) for code, name in (entry.split(" ", 1) for entry in _NAMED.split(", "))),
    SandboxLanguage("af-ZA", "Afrikaans (South Africa)", needs_voice=True),
    SandboxLanguage("zh-CN-shandong", "Chinese (Jilu Mandarin, Simplified)", needs_voice=True),
)
"""What a sandbox offers unless it is given another table: close to the vendor's own list."""

VOICES_PER_LANGUAGE: Final = 8
_FIRST: Final = ("Calm", "Bright", "Honest", "Gentle", "Bold", "Warm", "Clear", "Quiet", "Lively", "Steady")
_SECOND: Final = ("Narrator", "Teacher", "Neighbour", "Captain", "Gardener", "Reporter", "Aunt", "Host")
_AGES: Final = ("Young", "Middle aged", "Old")
_STYLES: Final = ("casual", "animated", "strong", "soft", "formal", "friendly")
_USES: Final = {
    "Conversational": ("chat", "podcast"),
    "Narrative": ("audiobook", "documentary"),
    "Educational": ("course", "explainer"),
}

_FIRST_DAY: Final = 1_729_353_600_000


@attrs.frozen(kw_only=True)
class SandboxVoice:
    """One voice of one language."""

    id: str
    voice_id: str
    name: str
    gender: str
    language_code: str
    language_name: str
    use_case: str
    ages: tuple[str, ...]
    styles: tuple[str, ...]
    scenarios: tuple[str, ...]
    duration_ms: int
    created_ms: int


@lru_cache
def invent_voices(languages: tuple[SandboxLanguage, ...], *, seed: int) -> tuple[SandboxVoice, ...]:
    """Return the voices of some languages, the same for the same seed."""
    draw = random.Random(f"{seed}:voices")  # noqa: S311 - repeatable
    voices = []
    for language in [one for one in languages for _ in range(VOICES_PER_LANGUAGE)]:
        use = draw.choice(tuple(_USES))
        voices.append(
            SandboxVoice(
                id=draw.randbytes(12).hex(),
                voice_id=draw.randbytes(12).hex(),
                name=f"{draw.choice(_FIRST)} {draw.choice(_SECOND)}",
                gender=draw.choice(("Male", "Female")),
                language_code=language.code,
                language_name=language.name,
                use_case=use,
                ages=(draw.choice(_AGES),),
                styles=tuple(draw.sample(_STYLES, 3)),
                scenarios=_USES[use],
                duration_ms=draw.randrange(4_000, 15_000),
                created_ms=_FIRST_DAY + draw.randrange(300) * 86_400_000,
            )
        )
    return tuple(voices)
