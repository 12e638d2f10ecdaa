"""The vendor's video translation API, imitated on this machine: for tests, demos and first steps.

`Sandbox` is the way in; `Fault` says what shall go wrong, the sandbox's `ledger` what happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from akool_async.sandbox.audit import Audit
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.faults import Fault, FaultKind, FaultPlan
from akool_async.sandbox.fixtures import SandboxLanguage, SandboxVoice
from akool_async.sandbox.sandbox import Sandbox, SandboxServer
from akool_async.sandbox.settings import FakeClock, SandboxClock, ScaledClock

if TYPE_CHECKING:
    from akool_async.sandbox.inspection import MediaLimits


__all__ = [
    "SandboxClock",
    "FaultKind",
    "Engine",
    "FakeClock",
    "Fault",
    "FaultPlan",
    "SandboxLanguage",
    "Audit",
    "MediaLimits",
    "Sandbox",
    "SandboxServer",
    "ScaledClock",
    "SandboxVoice",
]


def __getattr__(name: str) -> Any:
    """Import what needs PyAV only when it is asked for."""
    if name == "MediaLimits":
        from akool_async.sandbox.inspection import MediaLimits

        return MediaLimits
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
