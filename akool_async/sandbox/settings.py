"""Everything about a sandbox that is chosen once, checked when it is built.

Plain values only. What changes while it runs (faults, balance, tokens) lives with its owner.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Literal, Protocol, TypeAlias, get_args

import attrs
from attrs import validators

ApiVersion: TypeAlias = Literal["current", "legacy"]
ShapeName: TypeAlias = Literal["linear", "stall", "coarse", "front", "liar", "none"]
_KEY_BYTES: Final = (16, 24, 32)
_SECONDS_OF_400_DAYS: Final = 400 * 86_400.0
_CODECS: Final = frozenset({"av1", "h264", "hevc", "mpeg4", "vp9"})


@attrs.frozen(kw_only=True)
class MediaLimits:
    """What videos are taken; the defaults are the vendor's documented ones.

    Args:
        max_seconds: longest video, in seconds, above 0. Source: business code 1204.
        max_bytes: largest file, in bytes, 1 or more. Source: business code 1207.
        max_fps: most frames a second on average, above 0. Source: business code 1210, another version of
            which says 60.
        codecs: video encodings taken, by FFmpeg's names. Unconfirmed: the vendor only recommends H.264.
    """

    max_seconds: float = attrs.field(default=60.0, validator=validators.gt(0))
    max_bytes: int = attrs.field(default=300 * 2**20, validator=validators.ge(1))
    max_fps: float = attrs.field(default=30.0, validator=validators.gt(0))
    codecs: frozenset[str] = attrs.field(default=_CODECS, converter=frozenset)


@attrs.frozen(kw_only=True)
class SandboxSettings:
    """The choices behind one sandbox; see `Sandbox` for what each of them means."""

    api_key: str = attrs.field(default="sandbox-key", repr=False, validator=validators.min_len(1))
    client_id: str = attrs.field(default="sandbox-client-id", validator=validators.min_len(1))
    client_secret: str = attrs.field(repr=False)
    credits: float = attrs.field(default=100_000.0, validator=validators.ge(0))
    credits_per_second: float = attrs.field(default=0.25, validator=validators.ge(0))
    max_jobs: int = attrs.field(default=10, validator=validators.ge(1))
    rate: float | None = attrs.field(default=None, validator=validators.optional(validators.gt(0)))
    seed: int = 0
    median_seconds: float = attrs.field(default=120.0, validator=validators.gt(0))
    sigma: float = attrs.field(default=0.6, validator=validators.ge(0))
    failure_rate: float = attrs.field(default=0.0, validator=(validators.ge(0), validators.le(1)))
    api_version: ApiVersion = attrs.field(default="current", validator=validators.in_(get_args(ApiVersion)))
    progress: ShapeName = attrs.field(default="stall", validator=validators.in_(get_args(ShapeName)))
    media: bool = True
    limits: MediaLimits | None = None
    video_seconds: float = attrs.field(default=16.0, validator=validators.gt(0))
    result_bytes: int = attrs.field(default=4096, validator=validators.ge(64))
    token_seconds: float = attrs.field(default=_SECONDS_OF_400_DAYS, validator=validators.gt(0))
    result_days: float = attrs.field(default=7.0, validator=validators.ge(0))
    reject_duplicates: bool = False
    webhook_attempts: int = attrs.field(default=6, validator=validators.ge(1))
    webhook_wait: float = attrs.field(default=2.0, validator=validators.ge(0))
    control: bool = False

    @client_secret.default
    def _filled_up_key(self) -> str:
        """Return the API key, as with the vendor; one that can't be an AES key is filled up to one."""
        length = len(self.api_key.encode())
        return self.api_key + "-" * (next((size for size in _KEY_BYTES if size >= length), length) - length)

    @property
    def legacy(self) -> bool:
        """Whether answers have the older servers' shapes."""
        return self.api_version == "legacy"

    def cost(self, seconds: float, *, lipsync: bool) -> float:
        """Return the credits locked for a video: whole ones, at least 1, twice as many with lip-sync.

        The vendor's own tariff is not published; its answers show 4 credits for 16 seconds.
        """
        return float(max(1, round(seconds * self.credits_per_second)) * (2 if lipsync else 1))


def reported_progress(shape: ShapeName, fraction: float, quirk: float) -> int | None:
    """Return the percentage that a job shows, which never goes back; None when it shows nothing.

    Args:
        shape: How servers report progress, from honest ("linear") to useless.
        fraction: The share of the work that is done.
        quirk: The job's character, from 0 to 1.
    """
    fraction = min(max(fraction, 0.0), 1.0)
    match shape:
        case "linear":
            return int(99 * fraction ** (0.9 + 0.2 * quirk))
        case "stall":
            standstill = 0.15 + 0.5 * quirk
            if standstill < fraction < standstill + 0.15:
                fraction = standstill
            return min(95, max(5, 5 * int(20 * fraction ** (0.8 + 0.4 * quirk))))
        case "coarse":
            if fraction < 0.2 + 0.2 * quirk:
                return 10
            return 40 if fraction < 0.6 + 0.2 * quirk else 80
        case "front":
            return int(99 * fraction ** (0.25 + 0.1 * quirk))
        case "liar":
            return min(99, int(99 * fraction / (0.45 + 0.1 * quirk)))
        case "none":
            return None


def shown_while_queued(shape: ShapeName) -> int | None:
    """Return the percentage shown before the work begins, None when nothing is shown."""
    return {"none": None, "stall": 5}.get(shape, 0)


class SandboxClock(Protocol):
    """Anything that tells seconds since the epoch when called."""

    def __call__(self) -> float:
        """Return the sandbox's time now."""


class ScaledClock:
    """Real time, run `scale` times as fast, starting at the wall clock's now.

    Args:
        scale: Sandbox seconds per real second, above 0.
        start: Where to begin, seconds since the epoch; the wall clock by default.
    """

    def __init__(self, scale: float = 1.0, start: float | None = None) -> None:
        """Start the clock."""
        if not scale > 0:
            raise ValueError(f"the scale of a clock is above 0, not {scale!r}")
        self.scale = scale
        self._start = time.time() if start is None else start
        self._origin = time.monotonic()

    def __call__(self) -> float:
        """Return the sandbox's time now."""
        return self._start + (time.monotonic() - self._origin) * self.scale

    def __repr__(self) -> str:
        """Show the scale."""
        return f"ScaledClock(scale={self.scale})"


class FakeClock:
    """A clock that moves only by `advance`; safe to move from any thread."""

    def __init__(self, start: float = 1_760_000_000.0) -> None:
        """Set the clock."""
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return the sandbox's time now."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move forward and return the new time.

        Args:
            seconds: How far, 0 or more.
        """
        if seconds < 0:
            raise ValueError(f"a clock goes forward only, not by {seconds!r} s")
        with self._lock:
            self._now += seconds
            return self._now

    def __repr__(self) -> str:
        """Show the time."""
        return f"FakeClock({self._now})"


def real_wait(clock: SandboxClock, until: float, *, least: float, most: float) -> float:
    """Return the real seconds to wait for `until`, or `most` where the clock can't tell."""
    if isinstance(clock, ScaledClock):
        return min(max((until - clock()) / clock.scale, least), most)
    return most
