"""The pages of a report: made by templates, which escape every text from outside, and written one by one.

Each page is replaced as a whole, and only when it has changed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import attrs
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from akool_async._model.errors import ConfigurationError, StorageError
from akool_async._model.redact import sanitize
from akool_async._model.tariff import credits_text
from akool_async.captions import CaptionFileError, Cue, pair_cues, read_cues, to_vtt
from akool_async.report.model import (
    BAD,
    DOUBTFUL,
    GOOD,
    UNVERIFIED,
    Report,
    ReportEntry,
    find_causes,
    find_costs,
)

INDEX: Final = "index.html"
STYLE: Final = "style.css"
MARK: Final = "akool-async report"
"""What each page and the style sheet begin with: a folder without it holds something else."""

PAGE: Final = 200
"""Entries on one page."""

_HEAD: Final = 4_096
"""Bytes of a file in which it says what it belongs to."""

_FOLDER: Final = Path(__file__).with_name("templates")


class ReportFolder:
    """The report of one journal, to be written once or again and again.

    Args:
        folder: where it goes; it is made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def index(self) -> Path:
        """The page to be opened."""
        return self._folder / INDEX

    def write(self, report: Report) -> Path:
        """Write the pages that have changed; return the one to be opened.

        Raises:
            ConfigurationError: the folder holds something else; nothing was changed.
            StorageError: it can't be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._check_owner()
            self._put(STYLE, (_FOLDER / STYLE).read_bytes())
            # The index comes last, so that every page that it leads to is there.
            for entries in report.videos():
                name, state = entries[0].page, _state(report, entries)
                if f'content="{state}"' not in self._head(name):
                    self._put(name, _render_video(report, entries, self._folder, state))
            for name, page in _index_pages(report):
                self._put(name, page)
        except OSError as error:
            raise StorageError(
                f"The report can't be written to {self._folder}: {error.strerror}.",
                impact="Results and journal are not touched by this.",
                advice="Correct the permissions or make space.",
            ) from error
        return self.index

    def _check_owner(self) -> None:
        if not any(self._folder.iterdir()):
            return
        # A first report that was interrupted has its style only.
        if not any(MARK in self._head(name) for name in (INDEX, STYLE)):
            raise ConfigurationError(
                f"{self._folder} holds something else than a report.",
                impact="Nothing was changed.",
                advice="Name another folder, or move away what is there.",
            )

    def _head(self, name: str) -> str:
        """Return the beginning of a page, which says whose it is and what it was made of; "" for none."""
        path = self._folder / name
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_HEAD).decode("utf-8", "replace")

    def _put(self, name: str, content: bytes) -> None:
        path = self._folder / name
        if path.is_file() and path.read_bytes() == content:
            return
        draft = self._folder / f".{name}.{secrets.token_hex(4)}.new"
        try:
            with draft.open("xb") as file:
                file.write(content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _state(report: Report, entries: Sequence[ReportEntry]) -> str:
    """Return a hash of what a video's page is made of."""
    files = [path for entry in entries for path in (entry.translated, entry.spoken) if path is not None]
    made_of = (
        _environment().globals["templates"],
        report.title,
        report.command,
        *entries,
        *map(_stamp, files),
    )
    return hashlib.sha256(repr(made_of).encode("utf-8", "replace")).hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _tone(word: str) -> str:
    if word in DOUBTFUL | UNVERIFIED:
        return "doubt"
    return "good" if word in GOOD else "bad" if word in BAD else "open"


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else ""


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def _page_name(number: int) -> str:
    return "index.html" if number == 1 else f"page-{number}.html"


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters |= {
        "tone": _tone,
        "credits": credits_text,
        "day": _day,
        "moment": _moment,
        "page_name": _page_name,
    }
    script = (_FOLDER / "script.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Nothing may run but this script, nothing may be sent anywhere; `file:` because a page that is opened
    # from disk has no origin of its own.
    found.globals |= {
        "script": Markup(script),  # noqa: S704 - our own file
        "policy": f"default-src 'none'; base-uri 'none'; form-action 'self' file:; img-src data:; "
        f"style-src 'self' file:; script-src 'sha256-{digest}'; media-src 'self' file: data: http: https:",
        "mark": MARK,
        "templates": hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted(_FOLDER.iterdir()))
        ).hexdigest(),
    }
    return found


def _index_pages(report: Report) -> Iterator[tuple[str, bytes]]:
    """Yield the pages that list the entries, each with its name; the first one comes last."""
    rows = report.entries
    pages = max(1, -(-len(rows) // PAGE))
    states = [word for word, count in report.counts.items() if count]
    languages = list(dict.fromkeys(entry.target or "lip-sync" for entry in report.entries))
    data = _search_data(rows)
    shared = {
        "report": report,
        "states": states,
        "languages": languages,
        "quiet": True,
        "stamped": True,
        "made_of": "",
    }
    if pages > 1:
        yield "search.html", _render("search.html", data=data, **shared)
    for number in range(pages, 0, -1):
        yield (
            _page_name(number),
            _render(
                "index.html",
                number=number,
                pages=pages,
                rows=rows[(number - 1) * PAGE : number * PAGE],
                groups=find_causes(report),
                costs=find_costs(report),
                search="search.html" if pages > 1 else "index.html",
                # With all entries on the page it finds them itself; else the first page would get heavy.
                data=data if pages == 1 else "",
                **shared,
            ),
        )


def _search_data(rows: Sequence[ReportEntry]) -> Markup:
    """Return the rows as JSON for the script, in which texts that repeat are numbers."""
    tables: dict[str, dict[Any, int]] = {"states": {}, "languages": {}, "pages": {}, "reasons": {}}

    def number(table: str, value: Any) -> int:
        return tables[table].setdefault(value, len(tables[table]))

    data = [
        (
            row.label,
            number("languages", row.target),
            number("states", (row.state, _tone(row.state))),
            number("pages", row.page),
            None if row.credits is None else credits_text(row.credits),
            _day(row.submitted_at),
            _day(row.unsaved_until),
            number("reasons", row.reason),
            row.job_id,
        )
        for row in rows
    ]
    # It escapes what would end the element that holds the data.
    return htmlsafe_json_dumps({"rows": data} | {name: list(table) for name, table in tables.items()})


def _render(template: str, **values: Any) -> bytes:
    # A key or a path may hold half of a surrogate pair, which no file can.
    return _environment().get_template(template).render(**values).encode("utf-8", "replace")


def _render_video(report: Report, entries: Sequence[ReportEntry], folder: Path, state: str) -> bytes:
    """Return the page of one video: the original beside its translations, with transcripts.

    Its links lead from `folder`. By its state, which `_state` returns, the next report knows that it is still
    right.
    """
    ordered = sorted(entries, key=lambda entry: (entry.target, entry.version))
    cues = {id(entry): (_cues(entry.spoken), _cues(entry.translated)) for entry in ordered}
    firsts = {entry.target: cues[id(entry)][1] for entry in ordered if entry.version == 1}
    versions = []
    for entry in ordered:
        spoken, translated = cues[id(entry)]
        anchor, name = f"in-{entry.target or 'lipsync'}", entry.target or "lip-sync"
        before: Sequence[Cue] = ()
        if entry.version > 1:
            anchor, name = f"{anchor}-{entry.version}", f"{name}, corrected {entry.version - 1}"
            before = firsts.get(entry.target, ())
        versions.append(
            {
                "entry": entry,
                "anchor": anchor,
                "name": name,
                "facts": [(name, value) for name, value in _facts(entry) if value],
                "files": [(path.name, _link(path, folder)) for path in entry.files],
                "video": "" if entry.video is None else _link(entry.video, folder),
                "track": _track(translated),
                "original_track": _track(spoken),
                "pairs": [] if entry.video is None else [*_pairs(spoken, translated, before)],
            }
        )
    first = ordered[0]
    shown = next((entry.original for entry in ordered if entry.original), "")
    remote = isinstance(shown, str)
    note = ""
    if not shown:
        note = (
            "The original can't be shown: it has no URL that works without a signature, and signatures are "
            f"kept nowhere. With the originals in a folder, run `{report.command} --originals FOLDER`."
        )
    elif remote:
        note = "It is fetched from its own host when it is played."
    video = {
        "label": first.label,
        "original": shown if isinstance(shown, str) else _link(shown, folder),
        "original_track": next((track for one in versions if (track := one["original_track"])), ""),
        "note": note,
        "remote": remote,
        "source": first.source,
        "versions": versions,
    }
    return _render(
        "video.html", report=report, video=video, quiet=not (shown and remote), stamped=False, made_of=state
    )


def _facts(entry: ReportEntry) -> Iterator[tuple[str, str]]:
    yield "Key", entry.key if entry.key != entry.label else ""
    yield "Credits", "" if entry.credits is None else credits_text(entry.credits)
    yield "Code", "" if entry.code is None else str(entry.code)
    yield "Job", entry.job_id
    yield "Submitted", _moment(entry.submitted_at)
    yield "Ended", _moment(entry.ended_at)
    yield "At the vendor until", _moment(entry.expires_at)


def _cues(path: Path | None) -> tuple[Cue, ...]:
    try:
        cues = () if path is None else read_cues(path)
    except CaptionFileError:
        return ()  # the video is worth showing without them; its file is linked
    return tuple(attrs.evolve(cue, text="\n".join(map(_shown, cue.text.split("\n")))) for cue in cues)


def _shown(line: str) -> str:
    """Return a line of subtitles without what signs a URL in it: the page may be handed on."""
    clean = sanitize(line)  # which takes joiners for control characters, so most lines are shown as they are
    return clean if "://" in line or "[redacted]" in clean else line


def _track(cues: Sequence[Cue]) -> str:
    """Return a URL that holds the subtitles: browsers load no track from a file beside a page on disk."""
    vtt = base64.b64encode(to_vtt(cues).encode("utf-8", "replace")).decode()
    return f"data:text/vtt;charset=utf-8;base64,{vtt}" if cues else ""


def _link(path: Path, folder: Path) -> str:
    try:
        relative = os.path.relpath(path.absolute(), folder.absolute())
    except ValueError:  # another drive of Windows
        return path.absolute().as_uri()
    return quote(os.fsencode(Path(relative).as_posix()), safe="/")


def _pairs(
    spoken: Sequence[Cue], translated: Sequence[Cue], before: Sequence[Cue]
) -> Iterator[dict[str, Any]]:
    earlier = {
        pair.translated: pair.original
        for pair in pair_cues(before, translated)
        if pair.translated is not None
    }
    for pair in pair_cues(spoken, translated):
        minutes, seconds = divmod(pair.start // 1000, 60)
        text = "" if pair.translated is None else pair.translated.text
        old = earlier.get(pair.translated) if before and pair.translated is not None else None
        changed = bool(before) and (old is None or old.text != text)
        yield {
            "seconds": f"{pair.start / 1000:.2f}",
            "time": f"{minutes}:{seconds:02}",
            "translated": text,
            "original": "" if pair.original is None else pair.original.text,
            "changed": changed,
            "before": old.text if changed and old is not None else "",
        }
