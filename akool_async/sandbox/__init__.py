"""The vendor's video translation API, imitated on this machine: for tests, demos and first steps.

`Sandbox` is the way in; `Fault` says what shall go wrong, the sandbox's `ledger` what happened.
"""

from __future__ import annotations

from akool_async.sandbox.audit import Audit
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.faults import Fault, FaultKind, FaultPlan
from akool_async.sandbox.fixtures import SandboxLanguage, SandboxVoice
from akool_async.sandbox.sandbox import Sandbox, SandboxServer
from akool_async.sandbox.settings import FakeClock, MediaLimits, SandboxClock, ScaledClock

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
