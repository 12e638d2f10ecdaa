"""The parts of one sandbox, together: what every endpoint and background worker needs to see.

A value that holds the parts; each part is owned and explained in its own file.
"""

from __future__ import annotations

import attrs

from akool_async.sandbox.audit import Audit
from akool_async.sandbox.auth import Authenticator
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.faults import FaultPlan
from akool_async.sandbox.fixtures import MediaBackend, SandboxLanguage, SandboxVoice
from akool_async.sandbox.jobs import Signer
from akool_async.sandbox.settings import SandboxClock, SandboxSettings


@attrs.frozen(kw_only=True, eq=False)
class SandboxContext:
    """One sandbox's parts."""

    settings: SandboxSettings
    clock: SandboxClock
    engine: Engine
    authenticator: Authenticator
    audit: Audit
    faults: FaultPlan
    signer: Signer
    media: MediaBackend
    languages: tuple[SandboxLanguage, ...]
    voices: tuple[SandboxVoice, ...]

    def language(self, code: str) -> SandboxLanguage | None:
        """Return a language by its code."""
        return next((one for one in self.languages if one.code == code), None)
