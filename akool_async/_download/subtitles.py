"""Whether a subtitle file is one, and whether its end is there: a small strict look at SRT.

What stands between the lines that tell times is the speakers' affair.
"""

from __future__ import annotations

import re
from typing import Final

from akool_async._download.verdict import Verdict

_TIMES: Final = re.compile(
    r"\s*(\d{1,3}:)?\d{1,2}:\d{2}[,.]\d{1,3}\s*-->\s*(\d{1,3}:)?\d{1,2}:\d{2}[,.]\d{1,3}(\s.*)?", re.ASCII
)
_LONGEST_LETTER: Final = 4


def judge(content: bytes) -> Verdict:
    """Judge a subtitle file; where it ends it never says, for it may end after any line."""
    text = _text(content)
    if text is None:
        return Verdict.BROKEN
    lines = text.splitlines()
    timed = [number for number, line in enumerate(lines) if _TIMES.fullmatch(line)]
    if not timed or lines[0].lstrip().startswith("<"):
        return Verdict.BROKEN
    last = lines[-1]
    return Verdict.SHORT if "-->" in last and not _TIMES.fullmatch(last) else Verdict.OPEN


def _text(content: bytes) -> str | None:
    """Give the text; a last letter of which bytes are missing is left out."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start >= len(content) - _LONGEST_LETTER:
            return content[: error.start].decode("utf-8-sig")
        return None if b"\x00" in content else content.decode("latin-1")
