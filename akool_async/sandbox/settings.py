"""Everything about a sandbox that is chosen once, checked when it is built.

Plain values only. What changes while it runs (faults, balance, tokens) lives with its owner.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Final, Literal, Protocol, TypeAlias, get_args

import attrs

from akool_async._model.validators import (
    as_text_set,
    as_texts,
    not_negative,
    one_of,
    portion,
    positive,
    some_text,
    whole_number,
    whole_number_from,
)

ApiVersion: TypeAlias = Literal["current", "documented", "legacy"]
ShapeName: TypeAlias = Literal["linear", "stall", "coarse", "front", "liar", "none"]
DEFAULT_API_KEY: Final = "sandbox-test-key"
"""Long enough for an AES key, without which nobody could open the webhooks. Everybody knows it."""

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

    max_seconds: float = attrs.field(default=60.0, validator=positive)
    max_bytes: int = attrs.field(default=300 * 2**20, validator=whole_number)
    max_fps: float = attrs.field(default=30.0, validator=positive)
    codecs: frozenset[str] = attrs.field(default=_CODECS, converter=as_text_set)


@attrs.frozen(kw_only=True)
class SandboxSettings:
    """The choices behind one sandbox; see `Sandbox` for what each of them means."""

    api_key: str = attrs.field(default=DEFAULT_API_KEY, repr=False, validator=some_text)
    client_id: str = attrs.field(default="sandbox-client-id", validator=some_text)
    client_secret: str = attrs.field(repr=False)
    credits: float = attrs.field(default=100_000.0, validator=not_negative)
    credits_per_10s: float = attrs.field(default=2.0, validator=not_negative)
    lipsync_credits_per_10s: float = attrs.field(default=10.0, validator=not_negative)
    max_jobs: int = attrs.field(default=10, validator=whole_number)
    rate: float | None = attrs.field(default=None, validator=positive.or_none)
    seed: int = 0
    median_seconds: float = attrs.field(default=120.0, validator=positive)
    sigma: float = attrs.field(default=0.6, validator=not_negative)
    failure_rate: float = attrs.field(default=0.0, validator=portion)
    api_version: ApiVersion = attrs.field(default="current", validator=one_of(*get_args(ApiVersion)))
    progress: ShapeName = attrs.field(default="stall", validator=one_of(*get_args(ShapeName)))
    media: bool = True
    limits: MediaLimits | None = None
    video_seconds: float = attrs.field(default=16.0, validator=positive)
    result_bytes: int = attrs.field(default=4096, validator=whole_number_from(64))
    token_seconds: float = attrs.field(default=_SECONDS_OF_400_DAYS, validator=positive)
    result_days: float = attrs.field(default=7.0, validator=not_negative)
    reject_duplicates: bool = False
    webhook_attempts: int = attrs.field(default=6, validator=whole_number)
    webhook_wait: float = attrs.field(default=2.0, validator=not_negative)
    control: bool = False
    allow_remote: tuple[str, ...] = attrs.field(default=(), converter=as_texts)

    @client_secret.default
    def _secret_of_key(self) -> str:
        """Return the API key, made an AES key: with the vendor it is the secret, too."""
        return _as_aes_key(self.api_key)

    def __attrs_post_init__(self) -> None:
        """Refuse to serve other machines with a key that everybody knows, or without any as for `control`."""
        if self.allow_remote and self.api_key == DEFAULT_API_KEY:
            raise ValueError("allow_remote needs an api_key of its own: everybody knows the default one")
        if self.allow_remote and self.control:
            raise ValueError("control asks for no key, so it can't go with allow_remote")

    @property
    def webhook_secret(self) -> str:
        """The secret that opens the webhooks: `client_secret`, filled up or cut to 16, 24 or 32 bytes."""
        return _as_aes_key(self.client_secret)

    @property
    def legacy(self) -> bool:
        """Whether answers have the older servers' shapes."""
        return self.api_version == "legacy"

    def cost(self, seconds: float, *, lipsync: bool) -> float:
        """Return the credits locked for a video, for each 10 s that were begun.

        The vendor publishes no tariff. The default ones fit the three prices that are known: 4 credits
        for 16.44 s, and with lip-sync 20 for 11.7 s and 10 for 7.91 s.
        """
        return math.ceil(seconds / 10) * (self.lipsync_credits_per_10s if lipsync else self.credits_per_10s)


def _as_aes_key(text: str) -> str:
    key = text.encode()[: _KEY_BYTES[-1]]
    size = next(size for size in _KEY_BYTES if size >= len(key))
    whole = key.decode(errors="ignore")  # without half a letter at the cut
    return whole + "-" * (size - len(whole.encode()))


def reported_progress(shape: ShapeName, fraction: float, quirk: float) -> int | None:
    """Return the percentage that a job shows, which never goes back; None when it shows nothing.

    Servers report progress in shapes from honest ("linear") to useless; jobs differ by their quirk, 0 to 1.
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
        return f"ScaledClock(scale={self.scale})"


class FakeClock:
    """A clock that moves only by `advance`; safe to move from any thread."""

    scale: float = 0.0
    """Sandbox seconds per real second, as `ScaledClock` has it."""

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
        return f"FakeClock({self._now})"
