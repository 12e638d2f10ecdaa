"""What only the server knows about a catalog: its languages, which of them need a voice, its voices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from difflib import get_close_matches

import attrs

from akool_async._client import AkoolClient
from akool_async._core.errors import AccountError, AkoolError
from akool_async._core.models import Language
from akool_async._core.requests import LipSyncRequest
from akool_async.cli.catalog import Item, Mistake


@attrs.frozen(kw_only=True)
class Checked:
    """What the server says about a catalog; nothing is spent for it.

    Attributes:
        mistakes: what the vendor would refuse.
        notes: what is worth a word.
        balance: the account's credits; None where it could not be had.
        failure: why it could not be asked; None where it was.
    """

    mistakes: tuple[Mistake, ...] = ()
    notes: tuple[str, ...] = ()
    balance: float | None = None
    failure: AkoolError | None = None


async def check(client: AkoolClient, items: Iterable[Item]) -> Checked:
    """Ask the server about the languages and voices of what would be submitted.

    Raises:
        AccountError: the credentials or the account are refused. Another error is a note: what is at
            work can be waited for all the same.
    """
    try:
        balance = await client.credit()
        languages = {language.code: language for language in await client.languages()}
        mistakes = [mistake for item in items for mistake in _in_languages(item, languages)]
        notes = [note async for note in _VoiceCheck(client).notes(items)] if not mistakes else []
    except AccountError:
        raise
    except AkoolError as error:
        return Checked(notes=(f"Languages and voices could not be checked. {error}",), failure=error)
    return Checked(mistakes=tuple(mistakes), notes=tuple(notes), balance=balance)


def _in_languages(item: Item, languages: Mapping[str, Language]) -> Iterator[Mistake]:
    if not languages or isinstance(item.request, LipSyncRequest):
        return
    for target in item.request.targets:
        if target not in languages:
            text = f"The server has no language {target!r}.{_near(target, languages)}"
            yield Mistake(item.where("targets"), text)
        elif languages[target].needs_voice and not item.request.voices_map.get(target):
            text = (
                f"{target!r} needs a voice: fill in {target}=VOICE_ID under voices, or give --voice. "
                "`akool-async voices` lists them."
            )
            yield Mistake(item.where("targets"), text)


def _near(target: str, languages: Mapping[str, Language]) -> str:
    """Give " Did you mean ...?", also for a language's name and for another way to write the code."""
    folded = target.casefold().replace("_", "-")
    codes = {code.casefold(): code for code in languages}
    names = {language.name.casefold(): code for code, language in languages.items()}
    found = codes.get(folded) or names.get(folded)
    if found is None:
        begun = [code for code in languages if folded.startswith(f"{code.casefold()}-")]
        near = get_close_matches(folded, codes, n=1, cutoff=0.6) or get_close_matches(folded, names, n=1)
        found = begun[0] if begun else next((codes.get(one) or names[one] for one in near), None)
    return f" Did you mean {found!r}?" if found else " `akool-async languages` lists them."


class _VoiceCheck:
    """Knows the voices of each language that was asked about."""

    def __init__(self, client: AkoolClient) -> None:
        self._client = client
        self._known: dict[str, set[str]] = {}

    async def notes(self, items: Iterable[Item]) -> AsyncIterator[str]:
        told: set[tuple[str, str]] = set()
        for item in items:
            voices = {} if isinstance(item.request, LipSyncRequest) else item.request.voices_map
            for target, voice in voices.items():
                if not voice or (target, voice) in told:
                    continue
                told.add((target, voice))
                if voice not in await self._voices(target):
                    where = item.where("voices_map")
                    yield f"{where}: The server lists no voice {voice} for {target}; is it one of your own?"

    async def _voices(self, target: str) -> set[str]:
        if target not in self._known:
            self._known[target] = {voice.voice_id async for voice in self._client.voices(target)}
        return self._known[target]
