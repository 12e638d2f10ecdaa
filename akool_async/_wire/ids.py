"""Ids of jobs in answers that are refused, torn, or not of the documented form.

What is under `_id` is a job's id. What is under other names, or looks like an id of the vendor's, may be one:
with it in the answer to a paid POST, a job may exist, and only the API can say whether it does.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Self

import attrs

from akool_async._wire.fields import JOB_ID, as_mapping, read_id

DEEPEST: Final = 64

# Ids in text that is no JSON as a whole: torn, or quoted inside a message or a page. A number counts only if
# it surely ends there: half of one would be another job's id.
_QUOTE: Final = r"""(?:\\{0,8}"|&quot;|&#34;)"""
_ID_IN_TEXT: Final = re.compile(
    rf"""{_QUOTE}_id{_QUOTE}\s*:\s*(?:\{{\s*{_QUOTE}[$\w]{{1,32}}{_QUOTE}\s*:\s*|\[\s*)?"""
    rf"""(?:{_QUOTE}([^"\\&]{{1,200}}){_QUOTE}|(\d{{1,40}})(?=\s*[,}}\]]))"""
)
_JOB_NAME: Final = r"(?i:(?:job|task|video|(?:video[_-]?)?model)[_-]?ids?)"
_MAY_BE_AN_ID: Final = re.compile(
    rf"""{_QUOTE}(?:_id|{_JOB_NAME}){_QUOTE}\s*:\s*"""
    rf"""(?!null\b|false\b|0\s*[,}}\]]|\{{\s*\}}|\[\s*\]|{_QUOTE}\s*{_QUOTE}\s*[,}}\]])"""
)
_NAMED_IN_TEXT: Final = re.compile(
    rf"""{_QUOTE}(?P<name>\w{{0,40}}(?i:id)s?){_QUOTE}\s*:\s*(?:\[\s*)?"""
    rf"""(?:{_QUOTE}(?P<text>{JOB_ID.pattern}){_QUOTE}|(?P<number>\d{{1,40}})(?=\s*[,}}\]]))"""
    rf"""|(?<![0-9A-Za-z])(?P<job>{_JOB_NAME})\s?[=:]\s?(?P<value>{JOB_ID.pattern})(?![\w-]|\Z)"""
)
# Job ids are 24 hexadecimal digits in all examples of the vendor. Those in the trace ids of a load balancer
# are not: "1-67891233-abcdef012345678912345678".
_LOOKS_LIKE_AN_ID: Final = re.compile(
    r"(?<![0-9A-Za-z])(?<!\b[0-9]-[0-9A-Fa-f]{8}-)[0-9A-Fa-f]{24}(?=[^0-9A-Za-z])"
)
_JSON_TOKEN: Final = re.compile(r"""\"(?:[^"\\]|\\.)*("|\\?\Z)|[{}\[\],:]""", re.DOTALL)
_MOST_MENDED: Final = 2**20
"""Characters of torn JSON that are read as JSON; ids beyond are found without their language."""

# Names of ids: "id", "result_id", "resultId". A name about something else than work says that it is no job's.
_NAMES_AN_ID: Final = re.compile(
    r"(?:(?i:.*[\W_])?(?i:id)|.*[a-z](?:Id|ID)|(?i:job|task|video|model|result)id)s?"
)
_WORK: Final = re.compile(r"job|task|video|model|result|translat|dub", re.IGNORECASE)
_JOB: Final = re.compile(r"job|task|model", re.IGNORECASE)
_OF_OTHERS: Final = (
    "account acct activity amz app auth avatar bucket cfemail client company cookie correlation credential "
    "csrf customer device err etag event guid hash host incident instance invocation key lang limit log md5 "
    "member message msg node nonce org owner person plan policy price product quota ray reference region req "
    "rule secret server session sha sign speaker span state subscription support team tenant token trace "
    "transaction uid user uuid voice wf workspace"
)
_NAMES_OTHERS: Final = re.compile(
    rf"(?:^|(?<=[\W_]))(?i:{'|'.join(_OF_OTHERS.split())})|(?<=[a-z])(?:{'|'.join(_OF_OTHERS.title().split())})"
)
_TELLS: Final = re.compile(r"err|event|message|msg", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
_WORDS_BEFORE: Final = re.compile(r"(?:[\w-]+[\W_]{1,12}(?i:id))?[\W_]{0,12}\Z|[\w-]+[\W_]{0,12}\Z")
_NAMES_RESULT: Final = re.compile("location|job|task|video|model", re.IGNORECASE)
_SHORTEST: Final = 6
"""Characters of an id whose name does not say that it is a job's: 7 or "url" is too short."""
_LONGEST_NAME: Final = 64
_DECODER: Final = json.JSONDecoder()


@attrs.frozen
class _Name:
    """What the name of a value says about it, read once for all values of a list.

    Attributes:
        text: the name, or the end of a long one.
        is_of_id: whether it names an id.
        is_of_others: whether it is about something else than work, such as a request or a user.
        is_of_job: whether it says that it is about a job.
    """

    text: str
    is_of_id: bool
    is_of_others: bool
    is_of_job: bool

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a name."""
        text = text[-_LONGEST_NAME:]
        is_of_id = _NAMES_AN_ID.fullmatch(text) is not None
        return cls(text, is_of_id, _is_of_others(text), _JOB.search(text) is not None)

    def inside(self, key: str) -> _Name:
        """Return the name of what has a key in an object of this name."""
        # {"user": {"id": 1}} is about a user, as {"user_id": 1} is.
        return _Name.read(f"{self.text[-40:]}_{key}" if key.lower() == "id" else key)

    def ids(self, value: object) -> Iterator[str]:
        """Yield the value if it may be a job's id."""
        job_id = None if self.is_of_others else read_id(value)
        if job_id and (self.is_of_job or (len(job_id) >= _SHORTEST and _has_digit(job_id))):
            yield job_id


def inside(item: object) -> Iterable[Any]:
    """Return what an object or a list of JSON holds."""
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def iter_job_objects(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return the outermost objects that have a well-formed id, in their order."""
    stack = [value]
    while stack:
        item = stack.pop()
        job_id = read_id(as_mapping(item).get("_id"))
        if job_id is None:
            stack.extend(reversed([*inside(item)]))
        else:
            yield job_id, as_mapping(item)


def find_job_ids(body: bytes) -> tuple[str, ...]:
    """Return the job ids that can be read in a body, whole or torn, each once."""
    text = text_of(body)
    found = (read_id(quoted or number) for quoted, number in _ID_IN_TEXT.findall(text))
    named = (job_id for job_id, _ in iter_job_objects(parse_torn(text)))
    # All of them: one that is left out may be the paid job.
    return tuple(dict.fromkeys(job_id for job_id in (*found, *named) if job_id))


def may_name_job(body: bytes, sent: Mapping[str, Any] | None = None) -> bool:
    """Whether a body, whole or torn, holds anything that could be the id of a job, well-formed or not.

    Args:
        body: of the answer to a paid POST.
        sent: what was sent: an id that is in it is not that of a job which it made.
    """
    return _MAY_BE_AN_ID.search(text_of(body)) is not None or bool(find_possible_ids(body, sent))


def holds_id(whole: Mapping[str, Any], sent: Mapping[str, Any] | None = None) -> bool:
    """Whether an answer that was read holds any `_id`, well-formed or not, or what may be a job's id."""
    stack: list[Any] = [whole]
    while stack:
        item = stack.pop()
        if isinstance(item, dict) and item.get("_id"):
            return True
        stack.extend(inside(item))
    return bool(possible_ids(whole, sent))


def find_possible_ids(body: bytes, sent: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Return what may be ids of jobs in a body that names none under `_id`, whole or torn, each once."""
    text = text_of(body)
    with contextlib.suppress(ValueError, RecursionError):
        # After the JSON there may be headers.
        value, end = _DECODER.raw_decode(text, len(text) - len(text.lstrip()))
        return _unsent((*_in_json(value), *_in_text(text[end:])), sent)
    # Beside a job, torn text can't tell another job's id from what else the vendor says about this one.
    return () if find_job_ids(body) else _unsent(_in_text(text), sent)


def possible_ids(value: object, sent: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Return what may be ids of jobs in JSON, outside of the objects that have a well-formed `_id`."""
    return _unsent(_in_json(value), sent)


def _unsent(ids: Iterable[str], sent: Mapping[str, Any] | None) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(ids))
    # A refusal may repeat the request: the video's URL, or the id of a voice.
    known = json.dumps(sent) if found else ""
    return tuple(job_id for job_id in found if len(job_id) < _SHORTEST or job_id not in known)


def _in_json(value: object) -> Iterator[str]:
    stack: list[tuple[_Name, Any]] = [(_Name.read(""), value)]
    while stack:
        name, item = stack.pop()
        if isinstance(item, list):
            stack.extend((name, inner) for inner in reversed(item))
        elif isinstance(item, dict):
            if read_id(item.get("_id")) is None:
                stack.extend((name.inside(key), inner) for key, inner in reversed(item.items()))
        elif name.is_of_id:
            yield from name.ids(item)
        elif isinstance(item, str) and (_TELLS.match(name.text) or not name.is_of_others):
            yield from _in_text(f"{item} ")  # the space tells that an id at the end is whole


def _in_text(text: str) -> Iterator[str]:
    for found in _NAMED_IN_TEXT.finditer(text):
        name = _Name.read(found["name"] or found["job"])
        # "task_id: invalid" is about an id, and names none.
        if name.is_of_id and (found["name"] or _has_digit(found["value"])):
            yield from name.ids(found["text"] or found["number"] or found["value"])
    for found in _LOOKS_LIKE_AN_ID.finditer(text):
        context = _TAG.sub(" ", text[max(0, found.start() - 256) : found.start()])
        before = _WORDS_BEFORE.search(context[-_LONGEST_NAME:])
        if (before is None or not _is_of_others(before[0])) and (job_id := read_id(found[0])):
            yield job_id


def _is_of_others(name: str) -> bool:
    return _NAMES_OTHERS.search(name) is not None and _WORK.search(name) is None


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def naming_headers(headers: Mapping[str, str]) -> bytes:
    """Return the headers that may name a job, as text: those about jobs, or where the result of a POST is."""
    lines = (f"\n{name}: {value}\n" for name, value in headers.items() if _NAMES_RESULT.search(name))
    return "".join(lines).encode("utf-8", "replace")


def text_of(body: bytes) -> str:
    """Return a body as text, in any way in which it may be meant."""
    text, encoding = body.decode("utf-8", "replace").removeprefix("\ufeff"), json.detect_encoding(body)
    # Bytes that only look like UTF-16 must not hide an id, so such a body is read both ways.
    return text if encoding.startswith("utf-8") else f"{body.decode(encoding, 'replace')}\n{text}"


def parse_torn(text: str) -> Any:
    """Return what JSON can be read in a text: all of it, or what is whole of it when it was cut."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    begin = text.find("{")
    if begin < 0 or '_id"' not in text:
        return None
    text = text[begin : begin + _MOST_MENDED]
    closers: list[str] = []
    cut, tail, before = 0, "", ""
    for token in _JSON_TOKEN.finditer(text):
        sign = token.group()[0]
        end = token.start() if sign == "," else token.end()
        if sign in "{[":
            closers.append("}" if sign == "{" else "]")
        elif sign in "}]":
            closers.pop()
        elif sign == '"' and token.group(1) != '"':  # a text that was cut
            break
        key = sign == '"' and before != ":" and closers[-1] == "}"
        if sign != ":" and not key:
            cut, tail = end, "".join(reversed(closers))
        if not closers or len(closers) > DEEPEST:
            break
        before = sign
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text[:cut] + tail)
    return None
