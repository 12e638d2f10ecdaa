"""What a file that came can be, judged by its content."""

from __future__ import annotations

import enum


class Verdict(enum.Enum):
    """Whether a file is whole."""

    WHOLE = "it is all there"
    OPEN = "it may be all there; its content does not say where it ends"
    SHORT = "its end is missing"
    PAGE = "it is a page, such as hosts show instead of a file"
    BROKEN = "it is not what it should be"
