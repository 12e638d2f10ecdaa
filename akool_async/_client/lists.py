"""What the account and the vendor have: languages, voices, credits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from akool_async._core import wire
from akool_async._core.models import Language, Voice, VoicePage
from akool_async._transport import Api, Call

_PAGE: Final = 100
_MOST_PAGES: Final = 10_000


async def languages(api: Api) -> tuple[Language, ...]:
    """Give the languages that videos can be translated into."""
    return await api.ask(Call(path=wire.LANGUAGES_PATH), wire.read_languages)


async def credit(api: Api) -> float:
    """Give the account's balance, in credits."""
    return await api.ask(Call(path=wire.CREDIT_PATH), wire.read_credit)


async def voices(api: Api, language_code: str) -> AsyncIterator[Voice]:
    """Give all voices, page after page, each once; "" gives those of all languages."""
    seen: set[str] = set()
    entries = 0
    for page in range(1, _MOST_PAGES):
        found = await _voice_page(api, language_code, page)
        entries += found.entries
        fresh = [voice for voice in found.voices if voice.voice_id not in seen]
        seen.update(voice.voice_id for voice in fresh)
        for voice in fresh:
            yield voice
        if not found.entries or (found.voices and not fresh):
            return
        if entries >= found.count if found.count is not None else found.entries < _PAGE:
            return


async def _voice_page(api: Api, language_code: str, page: int) -> VoicePage:
    query: Mapping[str, str | int] = {"language_code": language_code, "page": page, "size": _PAGE}
    return await api.ask(Call(path=wire.VOICES_PATH, query=query), wire.read_voices)
