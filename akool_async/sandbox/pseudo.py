"""Pseudo-localisation: text that looks translated and can still be told from a real translation.

Deterministic letter by letter substitution into the script of a language. Nothing here understands a word.
"""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Final

__all__ = ["pseudo_localise"]

_ACCENTED: Final = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "áƀçđéƒĝĥíĵķłɱñöþʠřšţúṽŵẋýžÁßÇÐÉƑĜĤÍĴĶŁṀÑÖÞɊŘŠŢÚṼŴẊÝŽ",
)

# One letter of the script for each of a to z.
_SCRIPTS: Final = {
    "Arab": "ابثدعفغهيجكلمنوپقرسطحڤؤخىز",
    "Beng": "আবচদএফগহইজকলমনওপখরসতউভঐঙযঝ",
    "Cyrl": "абцдефгхийклмнопярстувшжыз",
    "Deva": "आबचदएफगहइजकलमनओपखरसतउवऐङयझ",
    "Grek": "αβψδεφγηιξκλμνοπθρστυωςχύζ",
    "Hang": "아바차다에파가하이자카라마나오빠까러사타우버위싸야짜",
    "Hani": "安白才大衣夫工合一見可力木女口片千日山土五方文小也子",
    "Hebr": "אבצדעפגהיזכלמנוףקרסתטשםחךץ",
    "Jpan": "アバシダエフガハイジカラマナオパクルサタウヴワツヤザ",
    "Taml": "அணசடஎஃஙஹஇஜகலமநஓபஞரஸதஉவஐஷயழ",
    "Telu": "అబచదఎఫగహఇజకలమనఓపఖరసతఉవఐషయఝ",
    "Thai": "อบจดเฟกหฤชคลมนโปฆรสตฦวไซยฐ",
}

_SCRIPT_OF: Final = {
    language: script
    for script, languages in {
        "Arab": "ar fa ps sd ug ur",
        "Beng": "as bn",
        "Cyrl": "be bg kk ky mk mn ru sr tg uk",
        "Deva": "hi mr ne sa",
        "Grek": "el",
        "Hang": "ko",
        "Hani": "yue wuu zh",
        "Hebr": "he iw yi",
        "Jpan": "ja",
        "Taml": "ta",
        "Telu": "te",
        "Thai": "th",
    }.items()
    for language in languages.split()
}

_WORD: Final = re.compile(r"[^\W\d_]{4,}")

_COMPOUNDED: Final = "ungen"
"""What makes a German word longer: translations into German take about a third more room."""


def pseudo_localise(text: str, language: str) -> str:
    """Turn a text into what a translation could look like: same digits, lines and punctuation.

    Latin scripts get accents and the language in brackets, German becomes longer too, other scripts get
    letters of their own.

    Args:
        text: any text.
        language: BCP 47, of which the first part decides; unknown ones are taken to be written in Latin.
    """
    if not text.strip():
        return text
    primary = re.split(r"[-_]", language, maxsplit=1)[0].lower()
    script = _SCRIPT_OF.get(primary)
    if script is not None:
        alphabet = _SCRIPTS[script]
        return "".join(_in_script(character, alphabet) for character in text)
    longer = _WORD.sub(lambda word: word[0] + _COMPOUNDED, text) if primary == "de" else text
    return f"[{language}] {longer.translate(_ACCENTED)}"


def _in_script(character: str, alphabet: str) -> str:
    """Give the letter of another script; what is no letter stays, a letter without a partner gets some."""
    if not character.isalpha():
        return character
    base = unicodedata.normalize("NFD", character)[0]
    upper, at = base in string.ascii_uppercase, string.ascii_lowercase.find(base.lower())
    letter = alphabet[at if at >= 0 else ord(base) % len(alphabet)]
    return letter.upper() if upper else letter
