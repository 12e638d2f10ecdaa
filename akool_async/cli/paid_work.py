"""Work that a journal has under another key: what a run of a catalog would refuse, or pay for again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from unicodedata import normalize

from akool_async._batch.resume import find_elsewhere, why_moved, why_replaced
from akool_async._journal import Entry, Journal
from akool_async._model.fingerprint import canonical_url, fingerprint, work_by_content, work_of
from akool_async._model.redact import sanitize
from akool_async._model.requests import INPUT_FIELDS, Request, video_url, with_inputs
from akool_async._model.states import WITHOUT_RESULT, State
from akool_async.cli.catalog import CatalogItem, Issue
from akool_async.cli.console import moment_text
from akool_async.cli.other_work import PAID, into, what_differs

_SEVERAL: Final = ""
"""Stands for the key of a work that the journal has under several keys; no key is empty."""


class PaidWork:
    """The work that a journal has, under any key."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._same_but_query: dict[str, str] = {}
        self._videos: dict[int, str] = {}
        self._files: dict[str, str] = {}

    def add(self, entry: Entry) -> None:
        """Record an entry, unless nothing was made for it and nothing will be."""
        if entry.state is State.FAILED and not entry.job_id:
            return
        work = work_of(entry.fingerprint)
        if self._keys.setdefault(work, entry.key) != entry.key:
            self._keys[work] = _SEVERAL
        if entry.state is not State.PLANNED and (content := work_by_content(entry.request, entry.target)):
            self._files.setdefault(content, entry.key)
        if entry.state in PAID:
            self._same_but_query.setdefault(work, entry.key)
            self._videos.setdefault(_video_and_target(entry.request, entry.target), entry.key)

    def find_renamed(
        self, paid: Iterable[tuple[CatalogItem, str, Entry | None]], journal: Journal
    ) -> Iterator[Issue | str]:
        """Find what a run would not send, or pay again, because its key was changed: an issue, or a note.

        Args:
            paid: what would be paid for: rows with a language of each, and the journal's entry for that.
            journal: what all of it was added from.
        """
        others, example = 0, ""
        for item, target, entry in paid if self._keys else ():
            request, own = item.request, item.key_for(target)
            work = work_of(fingerprint(request, target))
            # Most works are known by one key: the journal is asked only where there may be another.
            known = None
            content = work_by_content(request, target)
            if self._keys.get(work, own) != own or self._files.get(content, own) != own:
                known = find_elsewhere(journal, request, target, entry)
            if known is not None and known.fingerprint == fingerprint(request, target):
                text = f"The same work into {target!r} is in the journal as {same_work(known)}"
                yield Issue(item.where("key"), f"{text} {_advice(known, request.key)}")
                continue
            key = self._same_but_query.get(work) or self._files.get(content, "")
            key = key if known is None else known.key
            if key == own:
                continue
            if key:
                yield _other_input(item, target, key, known or journal.get(key, target))
                continue
            # Other options are other work. But one that was dropped by mistake costs the whole job again.
            same_video = self._videos.get(_video_and_target(request, target), own)
            if same_video == own:
                continue
            earlier = journal.get(same_video, target)
            if earlier is not None and (scheme := _other_scheme(earlier, request, target)):
                yield _other_address(item, target, earlier, scheme)
                continue
            others += 1
            differs = f" ({what_differs(earlier, item, target)})" if earlier and not example else ""
            example = example or (
                f"{item.place}: The same video into {target!r} is in the journal as "
                f"{same_video!r} with other options{differs}. This one is paid, too"
            )
        if others:
            yield f"{example}{f', and {others - 1:,} more like it' * (others > 1)}."


def _other_input(item: CatalogItem, target: str, key: str, known: Entry | None) -> Issue | str:
    """Say that the journal has what may be the same video under another key, by another path or query."""
    request, what = item.request, f"into {target!r} is in the journal as {key!r}"
    replaced = "" if known is None else why_replaced(known, request)
    moved = "" if known is None else why_moved(known, request)
    if not request.key and (reason := replaced or moved):
        return Issue(item.where("url"), reason)
    if moved:
        return f"{item.place}: The same content, at another path, {what}. This one is paid, too."
    if replaced:
        return f"{item.place}: The same path, with other content, {what}. This one is paid, too."
    if request.key or request.url_is_public:  # the caller says that these are two videos
        return f"{item.place}: The same URL with another query {what}. This one is paid, too."
    text = (
        f"The same URL with another query {what}: one video signed twice, or two videos? "
        "Give each video a key, or set url_is_public where the query names the video."
    )
    return Issue(item.where("url"), text)


def _other_address(item: CatalogItem, target: str, earlier: Entry, scheme: str) -> Issue | str:
    """Say that the journal has the same video by the other one of http and https."""
    text = (
        f"The same address with {scheme}:// into {target!r} is in the journal as "
        f"{earlier.key!r}, sent {moment_text(earlier.submitted_at)}"
    )
    if item.request.key:  # the caller says that these are two videos
        return f"{item.place}: {text}. This one is paid, too."
    text += f". Write it with {scheme}:// again, or give this row a key to pay for it."
    return Issue(item.where("url"), text)


def find_repeated_files(paid: Iterable[tuple[CatalogItem, str]]) -> Iterator[Issue | str]:
    """Find rows whose files have the content of another row's, and would be paid, too: issues and notes."""
    seen: dict[str, CatalogItem] = {}
    for item, target in paid:
        content = work_by_content(item.request, target)
        first = seen.setdefault(content, item) if content else item
        if first is item:
            continue
        text = f"The same content{into([target])} as in {first.place}, at another path"
        if item.request.key and first.request.key:  # the caller says that these are two videos
            yield f"{item.place}: {text}. Both are paid."
        else:
            text += ": one video, or two? Remove a row, or give each a key of its own to pay for both."
            yield Issue(item.where("url"), text)


def same_work(known: Entry) -> str:
    """Return the key under which a journal has the same work, and what that means for money."""
    if known.state is State.PLANNED:
        rest = "not sent yet, and both would be paid."
    elif known.state in WITHOUT_RESULT:
        rest = "paid without a result that can be saved, and would be paid again."
    else:
        rest = "and would be paid again."
    return f"{sanitize(known.key)!r}, {rest}"


def _advice(known: Entry, key: str | None) -> str:
    use = "Leave the key out" if known.key == known.fingerprint else "Use that key"
    if known.state in WITHOUT_RESULT:
        advice = f"{use} with --retry-failed to pay for it once more."
    else:
        advice = f"{use}, and it is paid once; with another --out it is paid for again."
    if key and normalize("NFC", key) == normalize("NFC", known.key):  # they look the same
        form = "NFC" if normalize("NFC", known.key) == known.key else "NFD"
        advice += (
            f" It looks the same as this row's, but is spelled in {form}: copy it from `akool-async list`."
        )
    return advice


def _video_and_target(request: Request, target: str) -> int:
    """Return a hash: a journal may hold very many."""
    return hash((_address(video_url(request)), target))


def _address(url: str) -> str:
    """Return a URL without what signs it, by whichever of the two schemes the vendor fetches it."""
    place = canonical_url(url).partition("?")[0]
    return f"https:{place.removeprefix('http:')}" if place.startswith("http:") else place


def _other_scheme(known: Entry, request: Request, target: str) -> str:
    """Return the scheme of an entry's video where a request differs from it in schemes only, else ""."""
    before = {name: url for name in INPUT_FIELDS if (url := getattr(known.request, name, None))}
    if any(_address(url) != _address(getattr(request, name, None) or "") for name, url in before.items()):
        return ""
    same = work_of(fingerprint(with_inputs(request, before), target)) == work_of(known.fingerprint)
    return video_url(known.request).partition(":")[0] if same else ""
