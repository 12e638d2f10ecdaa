"""The parts of one sandbox, together: what every endpoint and background worker needs to see.

A value that holds the parts; each part is owned and explained in its own file.
"""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import attrs
from anyio import to_thread

from akool_async.sandbox.clocks import Clock
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.gate import Gate
from akool_async.sandbox.languages import Language
from akool_async.sandbox.ledger import Ledger
from akool_async.sandbox.links import Signer
from akool_async.sandbox.plan import FaultPlan
from akool_async.sandbox.settings import Settings
from akool_async.sandbox.studio import Studio
from akool_async.sandbox.tokens import TokenDesk
from akool_async.sandbox.voices import Voice

__all__ = ["World"]

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class World:
    """One sandbox's parts."""

    settings: Settings
    clock: Clock
    engine: Engine
    tokens: TokenDesk
    gate: Gate
    ledger: Ledger
    faults: FaultPlan
    signer: Signer
    studio: Studio
    languages: tuple[Language, ...]
    voices: tuple[Voice, ...]

    def language(self, code: str) -> Language | None:
        """Return a language by its code."""
        return next((one for one in self.languages if one.code == code), None)

    async def examine(self, url: str, caption_url: str) -> float:
        """Return the length of a video in seconds, or raise `Refused`."""
        if not self.studio.threaded:
            return self.studio.examine(url, caption_url)
        work = partial(self.studio.examine, url, caption_url)
        return await to_thread.run_sync(work, abandon_on_cancel=True)
