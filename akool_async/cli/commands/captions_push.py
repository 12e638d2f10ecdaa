"""`akool-async captions push`: a translation again, with corrected subtitles."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from akool_async._download import local_path
from akool_async._journal import Entry
from akool_async._model.errors import InvalidRequestError, StorageError
from akool_async._model.fingerprint import canonical_url, fingerprint
from akool_async._model.locations import input_url, is_private, with_content
from akool_async._model.redact import redacted_url
from akool_async._model.requests import CaptionType, TranslationRequest
from akool_async._model.states import State
from akool_async.captions import (
    check_cues,
    first_version,
    read_translation,
    to_srt,
    version_key,
)
from akool_async.cli.catalog import Catalog, CatalogItem, Layout, names_for
from akool_async.cli.console import counted, print_info
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.journal_report import entry_label
from akool_async.cli.next_commands import same_command
from akool_async.cli.options import (
    DEFAULT_CONNECTION,
    DEFAULT_LIMITS,
    DEFAULT_OUTPUT,
    ConnectionOptions,
    OutputOptions,
    RunLimits,
)
from akool_async.cli.plan import RetryRules
from akool_async.cli.preflight import DEFAULT_VIDEOS, VideoOptions
from akool_async.cli.run import UNBOUNDED, RunOptions, execute
from akool_async.cli.saved_files import with_results
from akool_async.cli.storage import DEFAULT_STORAGE, StorageOptions
from akool_async.cli.subtitles import (
    CAPTIONS,
    DEFAULT_CHECK,
    CheckOptions,
    Folder,
    SavedSubtitles,
    captions_folder,
    saved_subtitles,
)

_MAX_FAULTS: Final = 10


def captions_push(
    key: str,
    /,
    *,
    language: str | None = None,
    file: Path | None = None,
    folder: Folder = None,
    caption_url: str | None = None,
    url: str | None = None,
    caption: str | None = None,
    check: CheckOptions = DEFAULT_CHECK,
    terms: RunLimits = DEFAULT_LIMITS,
    videos: VideoOptions = DEFAULT_VIDEOS,
    storage: StorageOptions = DEFAULT_STORAGE,
    output: OutputOptions = DEFAULT_OUTPUT,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Translate a video again with corrected subtitles. That costs credits, like the first time.

    The vendor fetches the subtitles from a URL. Publish the file that this command writes, and name its URL
    with --caption-url; or name a bucket with --share, from which it is shared until the job has ended. The
    first result stays. The new one has the key KEY.captions-2, KEY.captions-3 ..., and `report` shows both.

    Parameters
    ----------
    key
        Key of the entry whose subtitles were corrected.
    language
        Its language, where it is saved in several.
    file
        The corrected subtitles, as SRT, ASS, WebVTT or a table of `captions pull`; default is the file in
        `captions` that was changed.
    caption_url
        Public URL at which the subtitles are published.
    url
        URL of the video, where it was signed: the journal keeps no signatures.
    caption
        Captions in the result: original, target, replace or translated; default is that of the first result,
        or target.
    """
    output = with_results(output)
    one = _one_entry(output, key, language)
    path = _corrected_file(one, captions_folder(output, folder)) if file is None else local_path(file)
    cues = [cue for cue in read_translation(path) if cue.text]
    if not cues:
        raise InvalidRequestError(f"{path} has no subtitles.", impact="Nothing was sent.")
    target = one.entry.target
    words = check.terms(one.entry.request, target, check.read_glossary())
    faults = check_cues(cues, check.limits(target), target=target, spoken=one.spoken_cues, terms=words)
    for fault in faults[:_MAX_FAULTS]:
        print_info(f"{path}, cue {fault.number}: {fault.message}")
    if faults:
        print_info(f"{counted(len(faults), 'fault')} in {path}: `captions check` lists all.")
    if storage.share is not None and caption_url is not None:
        raise InvalidRequestError("--share and --caption-url exclude each other.", impact="Nothing was sent.")
    content = to_srt(cues).encode()

    def publishable(number: int) -> Path:
        return output.local / CAPTIONS / f"{one.name}.captions-{number}.srt"

    def url_of(number: int) -> str:
        if caption_url is not None:
            return caption_url
        # With its content it is the same work when an interrupted push is run again, and only then.
        return with_content(
            str(input_url(publishable(number).absolute())), f"sha256={sha256(content).hexdigest()}"
        )

    version, number = anyio.run(_new_version, output, one.entry, url, url_of)
    if caption_url is None:
        _write(content, publishable(number), corrected=path)
    if caption_url is None and storage.share is None:
        print_info(f"The corrected subtitles are in {publishable(number)}. Nothing was sent.")
        print_info("Publish the file where the vendor can fetch it, then run the same command with its URL:")
        for line in same_command({"--caption-url": "URL"}):
            print_info(line)
        return ExitCode.FAILED
    request = _corrected_request(one.entry, version, url, url_of(number), caption)
    names = names_for(version) if one.entry.request.key else f"{{stem}}.captions-{number}.{{language}}"
    # Beside the first result: its folder is a name that a template made, and stays what it is in another.
    names = f"{one.name.rpartition('/')[0]}/{names}".removeprefix("/")
    item = CatalogItem(request=request, names=names, layout=Layout(str(path)))
    title = f"{entry_label(one.entry)} with corrected subtitles, captions {request.caption_type.name.lower()}"
    options = RunOptions(
        output=output,
        rules=RetryRules(),
        in_flight=UNBOUNDED,
        limits=terms,
        recover_pending=False,
        storage=storage.storage,  # the video may be in a bucket, too
        videos=videos,
    )
    return execute(Catalog(path=path, title=title, rows=1, items=(item,)), options, connection)


def _one_entry(output: OutputOptions, key: str, language: str | None) -> SavedSubtitles:
    found = anyio.run(saved_subtitles, output, (key,), () if language is None else (language,))
    exact = [one for one in found if one.entry.key == key]
    if len(exact) == 1:
        return exact[0]
    several = ", ".join(one.entry.target for one in exact)
    raise InvalidRequestError(
        f"{key!r} is saved in {several}." if exact else f"{key!r} is not saved with subtitles.",
        impact="Nothing was sent.",
        advice="Name one with --language." if exact else f"`{output.command('list')}` shows what is saved.",
    )


def _corrected_file(one: SavedSubtitles, folder: Path) -> Path:
    changed = one.corrected(folder)
    if len(changed) == 1:
        return changed[0]
    raise InvalidRequestError(
        f"Several files were changed: {', '.join(map(str, changed))}."
        if changed
        else f"No file for {one.name} was changed in {folder}.",
        impact="Nothing was sent.",
        advice="Name the corrected one with --file.",
    )


async def _new_version(
    output: OutputOptions, entry: Entry, url: str | None, url_of: Callable[[int], str]
) -> tuple[str, int]:
    """Return the key and number of the translation with these subtitles: a new one, or one to be resumed.

    Raises:
        InvalidRequestError: it is saved already, or may be one that is known.
    """
    async with output.reading() as journal:
        base, _ = first_version(entry, journal)
        number = 2
        while (found := journal.get(version_key(base, number), entry.target)) is not None:
            # Pushed before and interrupted: under another key the same subtitles would be paid for twice.
            if _has_subtitles(found, url_of(number), url, output):
                if found.state is State.DELIVERED and found.files:
                    raise InvalidRequestError(
                        f"The translation with these subtitles is saved already, as {found.key!r}.",
                        impact="Nothing was sent.",
                        advice="Publish other subtitles under another URL.",
                    )
                break
            number += 1
        return version_key(base, number), number


def _has_subtitles(known: Entry, caption_url: str, url: str | None, output: OutputOptions) -> bool:
    """Whether a translation was paid for with the subtitles of this URL.

    Raises:
        InvalidRequestError: the journal can't tell.
    """
    request = known.request
    if not isinstance(request, TranslationRequest) or request.caption_url is None:
        return False
    if is_private(caption_url):  # then the journal has it whole, with what is in the file
        return request.caption_url == caption_url
    if redacted_url(request.caption_url) != redacted_url(caption_url):
        return False
    # The journal keeps no query that may sign a URL; the fingerprint has that of the subtitles and the video.
    asked = attrs.evolve(request, url=url or request.url, caption_url=caption_url)
    if known.fingerprint == fingerprint(asked, known.target) or known.state is State.PLANNED:
        return True
    # What is at the vendor, or in doubt, may be these very subtitles, signed anew.
    has_ended = known.state in (State.DELIVERED, State.FAILED, State.EXPIRED)
    if has_ended and ("?" not in canonical_url(asked.url) or request.url_is_public):
        return False
    raise InvalidRequestError(
        f"{known.key!r} has subtitles from the same URL, with another query of it or of the video's URL: the "
        "same subtitles, or others?",
        impact="Nothing was sent; the same subtitles would be paid for twice.",
        advice=f"Publish others under another path. `{output.command('list', key=known.key)}` shows what "
        "became of these.",
    )


def _write(content: bytes, path: Path, *, corrected: Path) -> None:
    """Write a file to be published, unless it has this content; one that was `corrected` itself may change.

    Raises:
        InvalidRequestError: other subtitles are in the file.
        StorageError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.samefile(corrected):
            if path.read_bytes() == content:
                return
            raise InvalidRequestError(
                f"{path} already exists, and is not what {corrected} has now.",
                impact="Nothing was sent, and nothing was overwritten.",
                advice="To have it published as it is, name it with --file; else move it away or delete it.",
            )
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror}.",
            impact="Nothing was sent.",
            advice="Correct the permissions or make space.",
        ) from error


def _corrected_request(
    entry: Entry, key: str, url: str | None, caption_url: str, caption: str | None
) -> TranslationRequest:
    request = entry.request_for_target
    assert isinstance(request, TranslationRequest)  # noqa: S101 - a lip-sync has no subtitles
    if url is None and entry.url_redacted:
        raise InvalidRequestError(
            "The video's URL was signed, and the journal keeps no signatures.",
            impact="Nothing was sent.",
            advice="Name its URL with --url.",
        )
    public = request.url_is_public
    if url is not None and redacted_url(url, public=public) != redacted_url(request.url, public=public):
        raise InvalidRequestError(
            f"--url names another video than {redacted_url(request.url)}.",
            impact="Nothing was sent; the result would have been paid for.",
        )
    # Unconfirmed: what the vendor does with `caption_url` where the result is to have no captions. Its page
    # names it beside caption_type, so captions are asked for.
    kind: Any = (request.caption_type or CaptionType.TARGET) if caption is None else caption
    return attrs.evolve(
        request,
        key=key,
        url=url or request.url,
        caption_url=caption_url,
        caption_type=kind,  # the request checks the text of an option
        webhook_url=None,
    )
