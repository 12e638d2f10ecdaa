"""Languages as people write them: codes, English and own names, the vendor's names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from akool_async._model.requests import AUTO_DETECT
from akool_async.cli.catalog.cells import CellError, show_cell, text

_NAMES: Final = """\
af Afrikaans; am Amharic, አማርኛ; ar Arabic, العربية; as Assamese; az Azerbaijani, Azeri; be
Belarusian; bg Bulgarian, български; bn Bengali, Bangla, বাংলা; bs Bosnian, bosanski; ca Catalan,
català; cs Czech, čeština; cy Welsh, Cymraeg; da Danish, dansk; de German, Deutsch; el Greek,
Ελληνικά; en English; es Spanish, español, Castilian; et Estonian, eesti; eu Basque, euskara; fa
Persian, Farsi, فارسی; fi Finnish, suomi; fil Filipino; fr French, français, francais; ga Irish,
Gaeilge; gl Galician, galego; gu Gujarati, ગુજરાતી; ha Hausa; he Hebrew, עברית; hi Hindi, हिन्दी,
हिंदी; hr Croatian, hrvatski; hu Hungarian, magyar; hy Armenian, հայերեն; id Indonesian, Bahasa
Indonesia; is Icelandic, íslenska; it Italian, italiano; ja Japanese, 日本語; jv Javanese; ka Georgian,
ქართული; kk Kazakh; km Khmer, Cambodian, ខ្មែរ; kn Kannada, ಕನ್ನಡ; ko Korean, 한국어; ky Kyrgyz; lo
Lao, Laotian, ລາວ; lt Lithuanian, lietuvių; lv Latvian, latviešu; mk Macedonian, македонски; ml
Malayalam, മലയാളം; mn Mongolian, монгол; mr Marathi, मराठी; ms Malay, Bahasa Melayu; mt Maltese,
Malti; my Burmese, Myanmar, မြန်မာ; ne Nepali, नेपाली; nl Dutch, Nederlands, Flemish; no Norwegian,
norsk; nb Norwegian Bokmål, Bokmål; nn Norwegian Nynorsk, Nynorsk; or Odia, Oriya; pa Punjabi,
Panjabi, ਪੰਜਾਬੀ; pl Polish, polski; ps Pashto, پښتو; pt Portuguese, português, portugues; ro
Romanian, română; ru Russian, русский; si Sinhala, Sinhalese, සිංහල; sk Slovak, slovenčina; sl
Slovenian, Slovene, slovenščina; so Somali; sq Albanian, shqip; sr Serbian, српски; su Sundanese; sv
Swedish, svenska; sw Swahili, Kiswahili; ta Tamil, தமிழ்; te Telugu, తెలుగు; th Thai, ไทย; tl
Tagalog; tr Turkish, Türkçe; uk Ukrainian, українська; ur Urdu, اردو; uz Uzbek; vi Vietnamese, Tiếng
Việt; xh Xhosa; yo Yoruba; zh Chinese, Mandarin, 中文, Chinese (Simplified), Simplified Chinese, 简体中文;
zu Zulu; en-US American English, English (US); en-GB British English, English (UK); pt-BR Brazilian
Portuguese; pt-PT European Portuguese; es-MX Mexican Spanish; fr-CA Canadian French
"""
"""Codes with the names that people use. Source of the codes: ISO 639, as the vendor's list has them; which of
them the account can use, the server says."""

_REGIONS: Final = """\
AE United Arab Emirates; AR Argentina; AT Austria; AU Australia; BD Bangladesh; BE Belgium; BR
Brazil; CA Canada; CH Switzerland; CL Chile; CN China; CO Colombia; DE Germany; EG Egypt; ES Spain;
FR France; GB United Kingdom; HK Hong Kong; ID Indonesia; IE Ireland; IL Israel; IN India; IQ Iraq;
IR Iran; IT Italy; JP Japan; KE Kenya; KR Korea; MA Morocco; MX Mexico; MY Malaysia; NG Nigeria; NL
Netherlands; NZ New Zealand; PE Peru; PH Philippines; PK Pakistan; PL Poland; PT Portugal; RU
Russia; SA Saudi Arabia; SG Singapore; TH Thailand; TR Turkey; TW Taiwan; TZ Tanzania; UA Ukraine;
US United States; VE Venezuela; VN Vietnam; ZA South Africa
"""
_CODE: Final = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,20}){0,4}")
_WITH_REGION: Final = re.compile(r"(.+?) ?\((.+)\)")
_LISTED: Final = re.compile(r"[,;|\n]+(?![^()]*\))")
"""What is between two languages; not the comma in "Chinese (Jilu Mandarin, Simplified)"."""


class UnknownLanguageError(CellError):
    """A word is no language that is known here; the server may know it."""


def _fold(name: str) -> str:
    return " ".join(name.casefold().split())


def _by_name(entries: Iterable[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for entry in entries:
        code, _, names = entry.strip().partition(" ")
        named |= {_fold(name): code for name in names.split(", ")}
    return named


_BY_NAME: Final = _by_name(" ".join(_NAMES.split()).split("; "))
_BY_REGION: Final = _by_name(" ".join(_REGIONS.split()).split("; "))


def chosen_languages(given: Iterable[str]) -> frozenset[str]:
    """Return the codes of languages on the command line, such as "ja,French"; an unknown name as it is."""
    names = LanguageNames()
    return frozenset(names.find(part.strip()) or part.strip() for words in given for part in words.split(","))


class LanguageNames:
    """Read languages, and remember which names were taken for codes.

    Args:
        listed: the vendor's languages by name, for names that are not built in: those keep their codes, with
            which they may be paid already, whatever else in a catalog makes the list be asked for.
    """

    def __init__(self, listed: Mapping[str, str] | None = None) -> None:
        """Read the names of `listed` besides those that are built in."""
        self._listed = {_fold(name): code for name, code in (listed or {}).items()}
        self._codes = frozenset((listed or {}).values())
        self.used: dict[str, str] = {}
        self._read: dict[str, tuple[str, ...]] = {}

    def find(self, name: str) -> str | None:
        """Return the code that a name, or a code, means."""
        folded = _fold(name)
        known = _BY_NAME.get(folded)
        if known is None and (found := _WITH_REGION.fullmatch(folded)):
            language, region = found.groups()
            if language in _BY_NAME and region in _BY_REGION:
                known = f"{_BY_NAME[language]}-{_BY_REGION[region]}"
        known = known or self._listed.get(folded)
        if known is None:
            return name if name in self._codes or _CODE.fullmatch(name) else None
        self.used.setdefault(name, known)
        return known

    def code(self, value: Any) -> str:
        """Read one language.

        Raises:
            UnknownLanguageError: it is none that is known.
        """
        said = text(value)
        if said.upper() == AUTO_DETECT:
            return AUTO_DETECT
        found = self.find(said)
        if found is None:
            # "Japanisch" looks more like Spanish than like Japanese, but for its first letter.
            alike = [name for name in (*self._listed, *_BY_NAME) if name[0] == _fold(said)[:1]]
            near = get_close_matches(_fold(said), alike, n=1, cutoff=0.7)
            advice = f" Did you mean {near[0].title()!r}?" if near else ""
            raise UnknownLanguageError(
                "must be a language code such as 'ja' or 'zh-CN-shandong', or a language's name, "
                f"not {show_cell(said)}.{advice}"
            )
        return found

    def codes(self, value: Any) -> tuple[str, ...]:
        """Read languages with commas, semicolons, bars or blanks between them."""
        if isinstance(value, list):
            return tuple(self.code(item) for item in value)
        said = text(value)
        found = self._read.get(said)
        if found is None:
            parts = [part.strip() for part in _LISTED.split(said) if part.strip()]
            # "ja fr" are two languages, "Brazilian Portuguese" is one.
            words = [[part] if self.find(part) else part.split() for part in parts]
            found = self._read[said] = tuple(self.code(word) for group in words for word in group)
        return found

    def keys(self, pairs: Mapping[str, str]) -> dict[str, str]:
        """Return a mapping whose keys are languages, by their codes."""
        return {self.find(name) or name: value for name, value in pairs.items()}

    @property
    def note(self) -> str:
        """Which names were taken for which codes, in words, or ""."""
        pairs = ", ".join(f"{name} is {code}" for name, code in self.used.items())
        return f"Languages by their names: {pairs}." if pairs else ""
