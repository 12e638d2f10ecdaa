"""The outer part of every answer: a code, the vendor's words, and what is inside."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from akool_async._core.codes import SUCCESS
from akool_async._core.errors import ProtocolError
from akool_async._core.wire.scalars import as_mapping, read_id, read_int, read_words

_ID_IN_TEXT: Final = re.compile(rb'"_id"\s*:\s*"([0-9A-Za-z_-]{8,128})"')
_MOST_IDS: Final = 1000
_DEEPEST: Final = 64


@attrs.frozen(kw_only=True)
class Envelope:
    """The outer part of every answer.

    Attributes:
        code: the business code; None when there was none that could be read.
        message: the vendor's words, cleaned.
        data: the inner part, as it came.
        whole: the object as it came.
    """

    code: int | None
    message: str = ""
    data: Any = attrs.field(default=None, repr=False)
    whole: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the vendor says success."""
        return self.code == SUCCESS


def read_envelope(body: bytes) -> Envelope:
    """Read the body of an answer.

    Raises:
        ProtocolError: it is no JSON object with a code; `job_ids` holds what ids can still be read.
    """
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError) as error:
        what = "an empty body" if not body.strip() else "something that is not JSON"
        raise _unreadable(what, body) from error
    if not isinstance(whole, dict):
        raise _unreadable("JSON that is not an object", body)
    if body.count(b"{") + body.count(b"[") > _DEEPEST and _deeper_than(_DEEPEST, whole):
        raise _unreadable("JSON that is nested too deeply", body)
    code = read_int(whole.get("code"))
    if code is None:
        raise _unreadable("an object without a code", body)
    return Envelope(code=code, message=read_words(whole.get("msg")), data=whole.get("data"), whole=whole)


def _unreadable(what: str, body: bytes) -> ProtocolError:
    return ProtocolError(f"The vendor answered with {what}.", job_ids=ids_in(body))


def _deeper_than(levels: int, value: object) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [inner for item in layer for inner in _inside(item) if isinstance(inner, dict | list)]
        if not layer:
            return False
    return True


def _inside(item: object) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def with_ids(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the outermost objects that have a well-formed id, in their order."""
    stack = [value]
    while stack:
        item = stack.pop()
        job_id = read_id(as_mapping(item).get("_id"))
        if job_id is None:
            stack.extend(reversed([*_inside(item)]))
        else:
            yield job_id, as_mapping(item)


def ids_in(body: bytes) -> tuple[str, ...]:
    """Give the well-formed job ids that can be read in a body, whole or torn, each once."""
    found = [match.group(1).decode() for match in _ID_IN_TEXT.finditer(body)]
    with contextlib.suppress(ValueError, RecursionError):  # what is whole may hold numbers, escapes or UTF-16
        found += (job_id for job_id, _ in with_ids(json.loads(body)))
    return tuple(dict.fromkeys(found))[:_MOST_IDS]


def read_token(envelope: Envelope) -> str:
    """Give the bearer token of a getToken answer; it stands at the top level.

    Raises:
        ProtocolError: there is none.
    """
    for place in (envelope.whole, as_mapping(envelope.data)):
        token = place.get("token")
        if isinstance(token, str) and token.strip() and token.isascii() and token.isprintable():
            return token.strip()
    raise ProtocolError("The vendor answered getToken without a usable token.")
