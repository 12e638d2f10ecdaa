"""A job: what was ordered, how it will go, how far it is.

The engine alone changes a job. Times are sandbox seconds since the epoch.
"""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import attrs

from akool_async.sandbox.settings import SandboxSettings

__all__ = [
    "COMPLETED",
    "FAILED",
    "PROCESSING",
    "QUEUEING",
    "JobScript",
    "SandboxJob",
    "JobKind",
    "JobSpec",
    "script_for",
]

JobKind: TypeAlias = Literal["translate", "lipsync"]
QUEUEING: Final = 1
PROCESSING: Final = 2
COMPLETED: Final = 3
FAILED: Final = 4
FAILURE_CODE: Final = 501312
FAILURE_REASON: Final = "The translation broke off on the way. Please start it again."
_SHORTEST: Final = 0.5


@attrs.frozen(kw_only=True)
class JobSpec:
    """What one job was asked for and what it costs."""

    url: str
    language: str
    seconds: float
    credits: float
    kind: JobKind = "translate"
    source_language: str = "DEFAULT"
    lipsync: bool = False
    speaker_num: int = 0
    caption_type: int = 0
    caption_url: str = ""
    audio_url: str = ""
    webhook_url: str = ""
    options: str = "{}"
    """Everything else that makes two orders different, as canonical JSON."""


@attrs.frozen(kw_only=True)
class JobScript:
    """How a job will go, decided when it is made."""

    span: float
    """Seconds of work until it ends."""
    whole: float
    """Seconds of work it would take to complete; larger than `span` for one that fails."""
    fails: bool
    quirk: float
    """The job's character, from 0 to 1, for the shape of its progress."""


def script_for(ordinal: int, settings: SandboxSettings) -> JobScript:
    """Draw the fate of the n-th job: the same for the same seed, whatever happened before."""
    draw = random.Random(f"{settings.seed}:job:{ordinal}")  # noqa: S311 - repeatable
    whole = max(_SHORTEST, settings.median_seconds * 2.718281828459045 ** (settings.sigma * draw.gauss(0, 1)))
    fails = draw.random() < settings.failure_rate
    share = 0.05 + 0.9 * draw.random() if fails else 1.0
    return JobScript(span=whole * share, whole=whole, fails=fails, quirk=draw.random())


@attrs.define(kw_only=True, eq=False)
class SandboxJob:
    """One job at the vendor."""

    id: str
    ordinal: int
    spec: JobSpec
    script: JobScript
    created: float
    video_id: str
    status: int = QUEUEING
    started: float | None = None
    ended: float | None = None
    generation: int = 0
    """How often the result URLs were renewed."""
    forbidden: frozenset[int] = frozenset()
    """The generations of URLs that answer 403."""
    stale: bool = False
    """Whether the URLs of this generation have answered 403, so that new ones are due."""

    @property
    def in_progress(self) -> bool:
        """Whether it is queueing or processing."""
        return self.status in (QUEUEING, PROCESSING)

    def fraction(self, now: float) -> float:
        """Return the share of the work done."""
        if self.started is None:
            return 0.0
        until = now if self.ended is None else self.ended
        return (until - self.started) / self.script.whole

    def __repr__(self) -> str:
        """Show which job and how far."""
        return f"<Job {self.ordinal} {self.id} {self.spec.language} status {self.status}>"


# A request turned down by the vendor with a business code: raised by whoever finds out why.
#
# The reason is for people reading a log; what goes out is the code and its meaning.


class ApiRejection(Exception):
    """The vendor says no.

    Args:
        code: The business code of the answer.
        reason: Why, in the sandbox's words.
    """

    def __init__(self, code: int, reason: str) -> None:
        """Say why, and with which code."""
        super().__init__(f"{reason} (code {code})")
        self.code = code
        self.reason = reason


# Where a job's results lie: paths on the CDN and the token that opens them.
#
# A token belongs to one file of one job and one generation of links; making it needs a secret of the
# sandbox, so that links can't be guessed.


ARTIFACTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "video": "video.mp4",
        "no_caption_video": "no-caption.mp4",
        "original_srt": "original.srt",
        "translated_srt": "translated.srt",
    }
)
"""The file name of each artifact."""


class Signer:
    """Makes links and checks their tokens.

    Args:
        seed: Makes the links the same again in another run.
    """

    def __init__(self, seed: int) -> None:
        """Derive the secret."""
        self._secret = f"{seed}:links".encode()

    def url(self, origin: str, job: SandboxJob, artifact: str) -> str:
        """Return the link to an artifact as it stands now."""
        token = self._token(job.id, artifact, job.generation)
        return f"{origin}/results/{job.id}/{ARTIFACTS[artifact]}?token={token}"

    def generation(self, job: SandboxJob, artifact: str, token: str) -> int | None:
        """Return which generation of links a token belongs to, None when it opens nothing."""
        for number in range(job.generation + 1):
            if hmac.compare_digest(token.encode(), self._token(job.id, artifact, number).encode()):
                return number
        return None

    def _token(self, job_id: str, artifact: str, generation: int) -> str:
        text = f"{job_id}/{artifact}/{generation}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:40]
