"""What a file is by its beginning, where FFmpeg is not asked: subtitles, and what was taken for a video."""

from __future__ import annotations

from typing import Final

from akool_async._download.verify import subtitle_ending, text_encoding
from akool_async._model.media import MediaError, MediaFacts, MediaKind

_OTHER_FILES: Final = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML document",
    b"%pdf": "a PDF document",
    b"#extm3u": "a playlist",
    b"ffconcat": "a playlist",
    b"{": "a JSON document",
    b"pk\x03\x04": "a ZIP archive or an Office document",
    b"\x89png": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"gif8": "a picture",
}


def find_other_file(head: bytes, wanted: MediaKind) -> MediaError | None:
    """Return an error that names what begins so; None if it is no file that is often mistaken for another."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    kind = next((name for start, name in _OTHER_FILES.items() if text.startswith(start)), "")
    return MediaError(f"This is {kind}, not {wanted.one}.") if kind else None


def inspect_subtitles(head: bytes, size: int) -> MediaFacts:
    """Judge subtitles by their beginning, where the first cue is.

    How much the vendor forgives is not documented, so only what nobody could take for a cue is refused.

    Raises:
        MediaError: there is no cue of SRT, ASS or WebVTT.
    """
    other = find_other_file(head, MediaKind.SUBTITLES)
    if other is not None:
        raise other
    text = head.decode(text_encoding(head), "replace").lower()
    # A comment of a page ends like the times of SRT; the events of ASS come after its styles and fonts.
    page = text.lstrip("\ufeff \t\r\n").startswith("<")
    later = "[script info]" in text and size > len(head)
    if page or not ("-->" in text or "dialogue:" in text or later):
        raise MediaError("There are no subtitles in the file, neither SRT nor ASS.")
    return MediaFacts(
        container=subtitle_ending(head).removeprefix("."),
        bytes=size,
        seconds=None,
        width=0,
        height=0,
        fps=None,
        video_codec="",
        audio_codec=None,
        has_subtitles=True,
    )
