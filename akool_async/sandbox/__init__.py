"""The vendor's video translation API, imitated on this machine: for tests, demos and first steps.

`Sandbox` is the way in; `Fault` says what goes wrong, the sandbox's `audit` what happened.
"""

from __future__ import annotations

from akool_async.sandbox.audit import Audit
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.fault_kinds import FaultKind
from akool_async.sandbox.faults import Fault, FaultPlan
from akool_async.sandbox.fixtures import SandboxLanguage, SandboxVoice
from akool_async.sandbox.sandbox import Sandbox, SandboxServer
from akool_async.sandbox.settings import FakeClock, MediaLimits, SandboxClock, ScaledClock

__all__ = [
    "Audit",
    "Engine",
    "FakeClock",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "MediaLimits",
    "Sandbox",
    "SandboxClock",
    "SandboxLanguage",
    "SandboxServer",
    "SandboxVoice",
    "ScaledClock",
]
