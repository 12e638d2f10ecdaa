"""The languages that the sandbox translates to, close to the vendor's own list.

A table and nothing else. Some need a voice of their own (`need_voice_id`), as dialects do.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["LANGUAGES", "Language"]


@attrs.frozen
class Language:
    """One target language."""

    code: str
    name: str
    needs_voice: bool = False


LANGUAGES: Final = (
    Language("en", "English"),
    Language("zh", "Chinese (Simplified)"),
    Language("hi", "Hindi"),
    Language("es", "Spanish"),
    Language("fr", "French"),
    Language("de", "German"),
    Language("ja", "Japanese"),
    Language("ko", "Korean"),
    Language("pt", "Portuguese"),
    Language("ru", "Russian"),
    Language("it", "Italian"),
    Language("ar", "Arabic"),
    Language("nl", "Dutch"),
    Language("pl", "Polish"),
    Language("tr", "Turkish"),
    Language("vi", "Vietnamese"),
    Language("th", "Thai"),
    Language("id", "Indonesian"),
    Language("ms", "Malay"),
    Language("fil", "Filipino"),
    Language("sv", "Swedish"),
    Language("da", "Danish"),
    Language("no", "Norwegian"),
    Language("fi", "Finnish"),
    Language("cs", "Czech"),
    Language("sk", "Slovak"),
    Language("hu", "Hungarian"),
    Language("ro", "Romanian"),
    Language("bg", "Bulgarian"),
    Language("hr", "Croatian"),
    Language("el", "Greek"),
    Language("he", "Hebrew"),
    Language("uk", "Ukrainian"),
    Language("ta", "Tamil"),
    Language("te", "Telugu"),
    Language("en-GB", "English (United Kingdom)"),
    Language("es-MX", "Spanish (Mexico)"),
    Language("pt-BR", "Portuguese (Brazil)"),
    Language("af-ZA", "Afrikaans (South Africa)", needs_voice=True),
    Language("zh-CN-shandong", "Chinese (Jilu Mandarin, Simplified)", needs_voice=True),
)
"""What a sandbox offers unless it is given another table."""
