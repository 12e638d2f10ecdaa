"""What the server says about a catalog before anything is sent: its languages, voices and the balance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

import attrs

from akool_async._client import AkoolClient
from akool_async._model.errors import AccountError, AkoolError, CertificateError, ConnectError
from akool_async._model.requests import AUTO_DETECT, LipSyncRequest
from akool_async._model.responses import Language
from akool_async.cli.catalog import CatalogItem, Issue, SourceLocation


@attrs.frozen(kw_only=True)
class ServerCheck:
    """What the server says about a catalog; asking costs nothing.

    Attributes:
        issues: what the vendor would refuse.
        notes: what the user should know.
        balance: the account's credits; None if they could not be read.
        failures: why something could not be checked.
    """

    issues: tuple[Issue, ...] = ()
    notes: tuple[str, ...] = ()
    balance: float | None = None
    failures: tuple[AkoolError, ...] = ()


async def check(client: AkoolClient, items: Iterable[CatalogItem]) -> ServerCheck:
    """Ask the server for the balance, and about the languages and voices of what would be submitted.

    Raises:
        AccountError: the credentials or the account are refused. Any other error becomes a note, because the
            run may still wait for jobs that are in progress.
    """
    items, balance = tuple(items), None
    issues: list[Issue] = []
    notes: list[str] = []
    failures: list[AkoolError] = []
    # Only calls that cost nothing. Each may fail by itself: an unreadable balance must not hide that a
    # language is unknown, whose jobs would be paid for or refused one by one.
    try:
        balance = await client.credit()
    except AccountError:
        raise
    except (ConnectError, CertificateError) as error:  # nothing else can be asked either
        note = f"Languages, voices and the balance could not be checked. {error}"
        return ServerCheck(notes=(note,), failures=(error,))
    except AkoolError as error:
        failures.append(error)
        notes.append(f"The balance could not be checked. {error}")
    try:
        languages = {language.code: language for language in await client.languages()}
    except AccountError:
        raise
    except AkoolError as error:
        failures.append(error)
        notes.append(f"Languages and voices could not be checked. {error}")
    else:
        if not languages:
            notes.append("Languages and voices could not be checked. The server listed no languages.")
        # Once each: what is wrong with --to is wrong in every row.
        issues = [*dict.fromkeys(issue for item in items for issue in _language_issues(item, languages))]
        notes += [] if issues else await _voice_notes(client, items)
    return ServerCheck(issues=tuple(issues), notes=tuple(notes), balance=balance, failures=tuple(failures))


def _language_issues(item: CatalogItem, languages: Mapping[str, Language]) -> Iterator[Issue]:
    if not languages or isinstance(item.request, LipSyncRequest):
        return
    source = item.request.source_language
    # Unconfirmed: the list is documented for targets. A source is refused only if no region of it is listed.
    plain = {code.partition("-")[0] for code in languages}
    if source != AUTO_DETECT and source.partition("-")[0] not in plain:
        text = f"The server has no language {source!r}.{_suggestion(source, languages)}"
        yield Issue(_place(item, "source_language", "--from"), text)
    for target in item.request.targets:
        if target not in languages:
            text = f"The server has no language {target!r}.{_suggestion(target, languages)}"
            yield Issue(_place(item, "targets", "--to"), text)
        elif languages[target].needs_voice and not item.request.voices_map.get(target):
            text = (
                f"{target!r} needs a voice: fill in {target}=VOICE_ID under voices, or use --voice. "
                "`akool-async voices` lists them."
            )
            yield Issue(_place(item, "targets", "--to"), text)


def _place(item: CatalogItem, option: str, flag: str) -> SourceLocation:
    """Return where a row has an option: the command line sets what no column of a table does."""
    is_column = option in item.layout.options or not item.layout.letters
    return item.where(option) if is_column else SourceLocation(flag)


_COUNTRIES: Final[Mapping[str, str]] = {
    "br": "pt",
    "cn": "zh",
    "cz": "cs",
    "dk": "da",
    "gr": "el",
    "jp": "ja",
    "kr": "ko",
    "se": "sv",
    "tw": "zh",
    "ua": "uk",
    "vn": "vi",
}
"""Codes of countries that people write for a language, where the language has another."""


def _suggestion(target: str, languages: Mapping[str, Language]) -> str:
    """Return " Did you mean ...?", also for a language's name or another spelling of its code."""
    folded = target.casefold().replace("_", "-")
    codes = {code.casefold(): code for code in languages}
    names = {language.name.casefold(): code for code, language in languages.items()}
    found = codes.get(folded) or names.get(folded)
    if found is None:
        country = _COUNTRIES.get(folded, "-")
        prefixes = [
            code
            for code in languages
            if folded.startswith(f"{code.casefold()}-") or code == country or code.startswith(f"{country}-")
        ]
        close = get_close_matches(folded, codes, n=1, cutoff=0.6) or get_close_matches(folded, names, n=1)
        found = prefixes[0] if prefixes else next((codes.get(one) or names[one] for one in close), None)
    return f" Did you mean {found!r}?" if found else " `akool-async languages` lists them."


async def _voice_notes(client: AkoolClient, items: Iterable[CatalogItem]) -> list[str]:
    """Return a note for each voice that the server does not list: a user's own voices are not listed.

    Only languages that a row names a voice for are asked for; one that can't be listed hides no other.
    """
    listed: dict[str, set[str] | None] = {}
    notes: dict[tuple[str, str], str] = {}
    for item in items:
        voices = {} if isinstance(item.request, LipSyncRequest) else item.request.voices_map
        for target, voice in voices.items():
            if not voice or (target, voice) in notes:
                continue
            if target not in listed:
                try:
                    listed[target] = {found.voice_id async for found in client.voices(target)}
                except AccountError:
                    raise
                except AkoolError as error:
                    listed[target] = None
                    notes[target, ""] = f"The voices for {target} could not be checked. {error}"
            known = listed[target]
            if known is not None and voice not in known:
                where = item.where("voices_map")
                notes[target, voice] = (
                    f"{where}: The server lists no voice {voice} for {target}; is it one of your own?"
                )
    return list(notes.values())
