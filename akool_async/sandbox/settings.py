"""Everything about a sandbox that is chosen once, checked when it is built.

Plain values only. What changes while it runs (faults, balance, tokens) lives with its owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import attrs
from attrs import validators

from akool_async.sandbox.progress import SHAPES, ShapeName

if TYPE_CHECKING:
    from akool_async.sandbox.media import MediaLimits

__all__ = ["Flavour", "Settings"]

Flavour: TypeAlias = Literal["current", "legacy"]

_KEY_BYTES: Final = (16, 24, 32)
_SECONDS_OF_400_DAYS: Final = 400 * 86_400.0


def _usable_secret(settings: Settings) -> str:
    """Take the API key, as the vendor does; a key that can't be an AES key is filled up to one."""
    length = len(settings.api_key.encode())
    wanted = next((size for size in _KEY_BYTES if size >= length), None)
    return settings.api_key if wanted is None else settings.api_key + "-" * (wanted - length)


@attrs.frozen(kw_only=True)
class Settings:
    """The choices behind one sandbox; see `Sandbox` for what each of them means."""

    api_key: str = attrs.field(default="sandbox-key", repr=False, validator=validators.min_len(1))
    client_id: str = attrs.field(default="sandbox-client-id", validator=validators.min_len(1))
    client_secret: str = attrs.field(default=attrs.Factory(_usable_secret, takes_self=True), repr=False)
    credits: float = attrs.field(default=100_000.0, validator=validators.ge(0))
    credits_per_second: float = attrs.field(default=0.25, validator=validators.ge(0))
    max_jobs: int = attrs.field(default=10, validator=validators.ge(1))
    rate: float | None = attrs.field(default=None, validator=validators.optional(validators.gt(0)))
    seed: int = 0
    median_seconds: float = attrs.field(default=120.0, validator=validators.gt(0))
    sigma: float = attrs.field(default=0.6, validator=validators.ge(0))
    failure_rate: float = attrs.field(default=0.0, validator=(validators.ge(0), validators.le(1)))
    flavour: Flavour = attrs.field(default="current", validator=validators.in_(get_args(Flavour)))
    progress: ShapeName = attrs.field(default="stall", validator=validators.in_(tuple(SHAPES)))
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

    @property
    def legacy(self) -> bool:
        """Whether answers have the older servers' shapes."""
        return self.flavour == "legacy"

    def cost(self, seconds: float, *, lipsync: bool) -> float:
        """Return the credits locked for a video: whole ones, at least 1, twice as many with lip-sync.

        The vendor's own tariff is not published; its answers show 4 credits for 16 seconds.
        """
        return float(max(1, round(seconds * self.credits_per_second)) * (2 if lipsync else 1))
