"""What people call an entry: its key, or the name of its video where it has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from akool_async.cli.survey import Line
from akool_async.cli.talk import plain


def labels_of(lines: Iterable[Line]) -> Mapping[str, str]:
    """Give what each key is called."""
    return {line.key: plain(line.item.request.key or _video(line.item.url)) for line in lines}


def _video(url: str) -> str:
    parts = urlsplit(url)
    return unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.netloc
