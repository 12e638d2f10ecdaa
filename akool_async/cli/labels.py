"""What people call an entry: its key, or the name of its video where it has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from akool_async._core.requests import Request, video_of
from akool_async.cli.survey import Line
from akool_async.cli.talk import plain


def labels_of(lines: Iterable[Line]) -> Mapping[str, str]:
    """Give what each key is called."""
    return {line.key: label_of(line.item.request) for line in lines}


def label_of(request: Request) -> str:
    """Give what people call a request."""
    return plain(request.key or _video(video_of(request)))


def _video(url: str) -> str:
    parts = urlsplit(url)
    return unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.netloc
