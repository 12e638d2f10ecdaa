"""The voices that the sandbox offers: seeded inventions, enough of them for several pages.

Made once per sandbox; the wire form is made in `shapes`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import attrs

from akool_async.sandbox.languages import Language

__all__ = ["VOICES_PER_LANGUAGE", "Voice", "invent_voices"]

VOICES_PER_LANGUAGE: Final = 8

_FIRST: Final = ("Calm", "Bright", "Honest", "Gentle", "Bold", "Warm", "Clear", "Quiet", "Lively", "Steady")
_SECOND: Final = ("Narrator", "Teacher", "Neighbour", "Captain", "Gardener", "Reporter", "Aunt", "Host")
_AGES: Final = ("Young", "Middle aged", "Old")
_STYLES: Final = ("casual", "animated", "strong", "soft", "formal", "friendly")
_USES: Final = {
    "Conversational": ("chat", "podcast"),
    "Narrative": ("audiobook", "documentary"),
    "Educational": ("course", "explainer"),
}
_FIRST_DAY: Final = 1_729_353_600_000


@attrs.frozen(kw_only=True)
class Voice:
    """One voice of one language."""

    id: str
    voice_id: str
    name: str
    gender: str
    language_code: str
    language_name: str
    use_case: str
    ages: tuple[str, ...]
    styles: tuple[str, ...]
    scenarios: tuple[str, ...]
    duration_ms: int
    created_ms: int


def invent_voices(languages: Sequence[Language], *, seed: int) -> tuple[Voice, ...]:
    """Return the voices of some languages, the same for the same seed."""
    draw = random.Random(f"{seed}:voices")  # noqa: S311 - repeatable
    return tuple(_voice(draw, language) for language in languages for _ in range(VOICES_PER_LANGUAGE))


def _voice(draw: random.Random, language: Language) -> Voice:
    use = draw.choice(tuple(_USES))
    return Voice(
        id=draw.randbytes(12).hex(),
        voice_id=draw.randbytes(12).hex(),
        name=f"{draw.choice(_FIRST)} {draw.choice(_SECOND)}",
        gender=draw.choice(("Male", "Female")),
        language_code=language.code,
        language_name=language.name,
        use_case=use,
        ages=(draw.choice(_AGES),),
        styles=tuple(draw.sample(_STYLES, 3)),
        scenarios=_USES[use],
        duration_ms=draw.randrange(4_000, 15_000),
        created_ms=_FIRST_DAY + draw.randrange(300) * 86_400_000,
    )
