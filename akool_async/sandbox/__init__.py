"""The vendor's video translation API, imitated on this machine: for tests, demos and first steps.

`Sandbox` is the way in; `Fault` says what shall go wrong, the sandbox's `ledger` what happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akool_async.sandbox.clocks import Clock, FakeClock, ScaledClock
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.faults import Do, Fault
from akool_async.sandbox.languages import Language
from akool_async.sandbox.ledger import Ledger
from akool_async.sandbox.plan import FaultPlan
from akool_async.sandbox.sandbox import Sandbox, SandboxServer
from akool_async.sandbox.voices import Voice

if TYPE_CHECKING:
    from akool_async.sandbox.media import MediaLimits

__all__ = [
    "Clock",
    "Do",
    "Engine",
    "FakeClock",
    "Fault",
    "FaultPlan",
    "Language",
    "Ledger",
    "MediaLimits",
    "Sandbox",
    "SandboxServer",
    "ScaledClock",
    "Voice",
]


def __getattr__(name: str) -> Any:
    """Import what needs PyAV only when it is asked for."""
    if name == "MediaLimits":
        from akool_async.sandbox.media import MediaLimits

        return MediaLimits
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
