"""A job: what was requested, how it will run, its state now; its links; the rejection of a request.

The engine alone changes a job. Times are sandbox seconds since the epoch.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import random
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs

from akool_async.sandbox.settings import SandboxSettings

JobKind: TypeAlias = Literal["translate", "lipsync"]
QUEUEING: Final = 1
PROCESSING: Final = 2
COMPLETED: Final = 3
FAILED: Final = 4
FAILURE: Final = (501312, "The translation broke off on the way. Please start it again.")
"""The error code and the reason of a job that failed by chance."""
_MIN_SECONDS: Final = 0.5
ARTIFACTS: Final[Mapping[str, str]] = {
    "video": "video.mp4",
    "no_caption_video": "no-caption.mp4",
    "original_srt": "original.srt",
    "translated_srt": "translated.srt",
}
"""The file name of each artifact."""


@attrs.frozen(kw_only=True)
class JobSpec:
    """What one job has to do and what it costs."""

    url: str
    language: str = ""
    seconds: float = 0.0
    credits: float = 0.0
    kind: JobKind = "translate"
    source_language: str = "DEFAULT"
    lipsync: bool = False
    speaker_num: int = 0
    caption_type: int = 0
    caption_url: str = ""
    audio_url: str = ""
    webhook_url: str = ""
    options: str = "{}"
    """Everything else that makes two jobs different, as canonical JSON."""
    failure: tuple[int, str] | None = None
    """The error code and the reason of a job that is bound to fail."""
    short_id: bool = False
    """Whether the id is a short number."""


@attrs.frozen(kw_only=True)
class JobScript:
    """How a job will run, decided when it is made."""

    span: float
    """Seconds of work until it ends."""
    whole: float
    """Seconds of work it would take to complete; larger than `span` for one that fails."""
    fails: bool
    quirk: float
    """The job's character, from 0 to 1, for the shape of its progress."""


def script_for(ordinal: int, settings: SandboxSettings, *, bound_to_fail: bool) -> JobScript:
    """Draw how the n-th job will run: the same for the same seed, whatever happened before."""
    # One generator for each job: what other requests draw meanwhile changes nothing.
    draw = random.Random(f"{settings.seed}:job:{ordinal}")  # noqa: S311 - repeatable
    whole = max(_MIN_SECONDS, settings.median_seconds * math.exp(settings.sigma * draw.gauss(0, 1)))
    fails = draw.random() < settings.failure_rate or bound_to_fail
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

    def fraction(self, now: float) -> float:
        """Return the share of the work done."""
        if self.started is None:
            return 0.0
        until = now if self.ended is None else self.ended
        return (until - self.started) / self.script.whole

    def forbid_urls(self) -> None:
        """Let the current URLs answer 403; not those that already did, or the job would never recover."""
        if not self.stale:
            self.forbidden |= {self.generation}

    def note_forbidden(self, generation: int) -> None:
        """Record that a URL of a generation answered 403."""
        self.stale = self.stale or generation == self.generation

    def renew_urls(self) -> None:
        """Show other URLs from now on if the current ones have answered 403."""
        if self.stale:
            self.generation += 1
            self.stale = False

    def __repr__(self) -> str:
        return f"<Job {self.ordinal} {self.id} {self.spec.language} status {self.status}>"


class ApiRejection(Exception):
    """The vendor rejects a request with a business code; the reason is for a log, and is not sent."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason} (code {code})")
        self.code = code


class Signer:
    """Makes links to results and checks their tokens.

    A token opens one file of one job in one generation of links. It is derived from a secret, so that links
    can't be guessed; with the same seed they are the same in another run.
    """

    def __init__(self, seed: int) -> None:
        self._secret = f"{seed}:links".encode()

    def url(self, origin: str, job: SandboxJob, artifact: str) -> str:
        """Return the current link to an artifact."""
        token = self._token(job.id, artifact, job.generation)
        return f"{origin}/results/{job.id}/{ARTIFACTS[artifact]}?token={token}"

    def generation(self, job: SandboxJob, artifact: str, token: str) -> int | None:
        """Return which generation of links a token belongs to, None when it opens nothing."""
        # The URLs of earlier polls stay valid, as signed ones of a file host do until they expire.
        for number in range(job.generation + 1):
            if hmac.compare_digest(token.encode(), self._token(job.id, artifact, number).encode()):
                return number
        return None

    def _token(self, job_id: str, artifact: str, generation: int) -> str:
        text = f"{job_id}/{artifact}/{generation}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:40]
