"""Texts from outside, made safe to show, and secrets that don't show themselves.

Whatever the vendor, a file host or a URL contributes to a log, an error, a file or a repr passes `sanitize`.
A `Secret` hides itself where it is held, and `sanitize` hides it where others repeat it.
"""

from __future__ import annotations

import base64
import re
import unicodedata
import weakref
from collections.abc import Iterator
from typing import Final, NoReturn, TypeAlias, TypeVar, overload
from urllib.parse import urlsplit, urlunsplit

from akool_async._model.locations import is_private

LONGEST: Final = 300
"""Characters of a remote text that are shown."""

_MOST_READ: Final = 4_096
_LONGEST_SECRET: Final = 512
_HIDDEN: Final = "[redacted]"
SHORTEST_SECRET: Final = 4
"""Characters of the shortest secret that is hidden; no shorter text holds one."""

_WINDOW: Final = 8
"""Letters and digits of a secret that are hidden when they follow each other, whatever is between them."""

_GRAM: Final = 4
"""Among 8 letters in a row are 4 that begin at a multiple of 4: without such 4, none of 8 are in a text."""


class Secret:
    """A text that no repr, pickle or traceback shows, and that `sanitize` hides while this object lives.

    Args:
        text: the secret; one shorter than 4 characters is taken for a placeholder and hidden nowhere else.
    """

    __slots__ = ("__weakref__", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        # A placeholder such as "x" would be hidden in every text that is shown.
        if len("".join(text.split())) >= SHORTEST_SECRET:
            number = id(self)
            traces = _Traces(text)
            _live[number] = weakref.ref(self, lambda _: _forget(number)), traces
            if traces.length >= _WINDOW:
                KNOWN_SECRETS[number] = traces.pattern

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse: a pickle would carry the secret to wherever it is sent."""
        raise TypeError(
            "A secret can't be pickled, because the pickle would contain it. "
            "Build the object again from the environment where it is needed."
        )


class _Traces:
    """What a text is searched for to find a secret in it."""

    def __init__(self, text: str) -> None:
        solid, encoded = "".join(text.split()), text.encode("utf-8", "surrogatepass")
        self.length = len(solid)
        self.pattern = re.compile(r"\s*".join(map(re.escape, solid)))
        self.fragments: dict[int, set[str]] = {}
        self.grams: set[str] | None = set()
        forms = [(text, _WINDOW), (encoded.hex(), 2 * _WINDOW)]
        for before in range(3):  # base64 of a text that holds the secret depends on the bytes before it
            form = base64.b64encode(bytes(before) + encoded).decode()
            forms.append((form[(0, 2, 3)[before] : (before + len(encoded)) * 8 // 6], _WINDOW))
        for form, longest in forms:
            letters = "".join(char for char, _, _ in _letters(_characters(form)))
            size = min(longest, len(letters))
            if size >= SHORTEST_SECRET:
                self.fragments.setdefault(size, set()).update(_windows(letters, size))
                if size < _WINDOW:
                    self.grams = None
                elif self.grams is not None:
                    self.grams.update(_windows(letters, _GRAM))

    def find(self, letters: str) -> list[tuple[int, int]]:
        """Return where parts of the secret are, and how many letters each has."""
        return [
            (at, size)
            for size, fragments in self.fragments.items()
            if not fragments.isdisjoint(windows := _windows(letters, size))
            for at, window in enumerate(windows)
            if window in fragments
        ]


_live: Final[dict[int, tuple[weakref.ref[Secret], _Traces]]] = {}
KNOWN_SECRETS: Final[dict[int, re.Pattern[str]]] = {}
"""What finds each live secret of 8 characters or more, where it is written as it is."""


def _forget(number: int) -> None:
    _live.pop(number, None)
    KNOWN_SECRETS.pop(number, None)


@overload
def hide(text: str | Secret) -> Secret: ...
@overload
def hide(text: str | Secret | None) -> Secret | None: ...
def hide(text: str | Secret | None) -> Secret | None:
    """Return a text as a secret; None and what is one already as they are."""
    return Secret(text) if isinstance(text, str) else text


def sanitize(remote: object) -> str:
    """Return `remote` as one short printable line.

    Control, format and surrogate characters go and white space is folded. Then secrets are hidden: every live
    `Secret`, also where it is split, encoded or repeated in part, tokens by their look, and what URLs have
    besides scheme, host and path. What is longer than 300 characters is cut last.
    """
    if remote is None or remote == "":
        return ""
    whole = str(remote)
    # Cut first, since the rest costs time for each character, and a hostile host may send megabytes.
    text = whole[:_MOST_READ]
    if not text.isprintable():
        text = "".join(
            " " if char.isspace() else char
            for char in text
            if char.isspace() or unicodedata.category(char)[0] != "C"
        )
    text = " ".join(text.split())
    if len(whole) > _MOST_READ:
        text = text[:-_LONGEST_SECRET]  # what was cut off may have been the rest of a secret
    text = _hide_secrets(text)
    # Most texts hold nothing of the kind, and one cheap search says so.
    if _SUSPECT.search(text):
        text = _QUERY.sub("?…", _URL.sub(_cut_url, text))
        text = _NAMED.sub(rf"\1{_HIDDEN}", _TOKEN.sub(_HIDDEN, text)).strip()
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def safe_repr(value: object) -> str:
    """Return the repr of a refused value as one short printable line."""
    try:
        return sanitize(repr(value))
    except Exception:  # noqa: BLE001 - a number of too many digits, lists within lists, an object of the caller's
        return f"a value of type {type(value).__name__} that can't be shown"


# Secrets that are known. A text is read as it is and with two kinds of escapes decoded, each time as its
# letters and digits alone: what is between them may have been put there to split a secret.

_Characters: TypeAlias = list[tuple[str, int, int]]
"""Each character of a reading, and where in the text it is written."""

_ESCAPES: Final = re.compile(
    r"%(?:25)*([0-9a-f]{2})|\\{1,8}u00([0-9a-f]{2})|\\{1,8}x([0-9a-f]{2})"
    r"|&#x0*([0-9a-f]{2});?|&#0*([0-9]{2,3});?|&[a-z]+;",
    re.IGNORECASE,
)
_QUOTED_PRINTABLE: Final = re.compile(r"=([0-9a-f]{2})", re.IGNORECASE)
_NOT_LETTERS: Final = re.compile(r"[^0-9A-Za-z]+")
_GRAMS: Final = re.compile("." * _GRAM)
_HIDDEN_RUN: Final = re.compile("\0+")


def _characters(text: str) -> _Characters:
    return [(char, place, place + 1) for place, char in enumerate(text)]


def _decode(characters: _Characters, escapes: re.Pattern[str]) -> _Characters:
    text = "".join(char for char, _, _ in characters)
    decoded: _Characters = []
    done = 0
    for found in escapes.finditer(text):
        start, end = found.span()
        decoded += characters[done:start]
        if found.lastindex is not None:
            code = int(found[found.lastindex], 10 if found.lastindex == 5 else 16)
            decoded.append((chr(code), characters[start][1], characters[end - 1][2]))
        done = end
    return decoded + characters[done:]


def _letters(characters: _Characters) -> _Characters:
    """Return letters and digits, in lower case and of ordinary width."""
    return [
        (plain, start, end)
        for char, start, end in characters
        if char.isalnum()
        for plain in (char if char.isascii() else unicodedata.normalize("NFKC", char)).casefold()
    ]


def _windows(letters: str, size: int) -> list[str]:
    return [letters[at : at + size] for at in range(len(letters) - size + 1)]


def _hide_secrets(text: str) -> str:
    secrets = sorted((traces for _, traces in list(_live.values())), key=lambda traces: -traces.length)
    if not secrets:
        return text
    for secret in secrets:
        text = secret.pattern.sub(_HIDDEN, text)
    readings = []
    # Nearly all texts are short and have no 4 letters in common with a secret: for them this is all.
    grams = _GRAMS.findall(_NOT_LETTERS.sub("", text).lower())
    if not text.isascii() or any(one.grams is None or not one.grams.isdisjoint(grams) for one in secrets):
        readings.append(_characters(text))
    for escapes in (_ESCAPES, _QUOTED_PRINTABLE):
        if escapes.search(text):
            once = _decode(_characters(text), escapes)
            readings += [once, _decode(once, escapes)]
    hidden: set[int] = set()
    for reading in map(_letters, readings):
        letters = "".join(char for char, _, _ in reading)
        for secret in secrets:
            for at, size in secret.find(letters):
                hidden.update(range(reading[at][1], reading[at + size - 1][2]))
    if not hidden:
        return text
    return _HIDDEN_RUN.sub(_HIDDEN, "".join("\0" if at in hidden else char for at, char in enumerate(text)))


def hide_known_secrets(text: str) -> str:
    """Return an id or a URL without the live secrets that are in it as they are.

    Only whole ones, of 8 characters at least: `sanitize` would also hide what only looks like a part of one,
    and an id or a URL that is changed is lost.
    """
    for pattern in list(KNOWN_SECRETS.values()):
        text = pattern.sub(_HIDDEN, text)
    return text


# Secrets that are not known: signed URLs and tokens, by their look.


def _written(char: str) -> str:
    """Return the pattern of a character of a URL as it is or escaped."""
    code = f"{ord(char):02x}"
    escapes = rf"%(?:25)*{code}|\\{{1,8}}u00{code}|\\{{1,8}}x{code}|&\#x0*{code};|&\#0*{ord(char)};"
    return f"(?:{re.escape(char)}|{escapes})"


_PLAIN_WORD: Final = (
    r"""[("'\[]{0,3}(?:[A-Za-z]?[a-z]*(?:['’-][a-z]+)*|[A-Z]{2,5}|\d{1,4}|[&–-])[.,:;!?)"'\]…]{0,4}"""
)
_URL: Final = re.compile(
    rf"""(?ix)
    (?P<scheme> \b[a-z][a-z0-9+.-]{{0,20}} {_written(":")} (?:\\{{0,8}}{_written("/")}){{2}} )
    (?P<user> [^\s/?\#"<>]* {_written("@")} )?
    (?P<path> (?: (?! {_written("?")} | {_written("#")} | ;\w+= ) [^\s"<>] )* )
    (?P<query> [^\s"<>]+ )?
    (?(query) (?-i: (?P<words> (?:\ {_PLAIN_WORD}(?=\ |$))* ) ) (?P<rest> \ .+ )? )
    """
)
_QUERY: Final = re.compile(rf"""(?i){_written("?")}[\w.~%\[\]\\-]{{1,64}}{_written("=")}[^\s"<>]*""")
_TOKEN: Final = re.compile(
    r"""(?ix) \beyJ[\w-]{8,}(?:\.[\w-]*)*
    | (?<= = ) (?! [a-z][a-z0-9+.-]*:[/\\] ) (?=[^\s"<>]{0,99}\d) [^\s"<>&;,]{20,}
    """
)
_NAMED: Final = re.compile(
    r"""(?ix)
    ( \b (?: authorization | bearer | basic | (?:x-)?api[-_\ ]?key | cookie | credentials?
        | passw(?:or)?d | pwd | secret(?:[-_\ ]?key)? | sig(?:nature)? | token )
      ["']? \s? [:=]? \s? ["']? (?: (?:bearer|basic) \s )? )
    ( (?=[^\s"'<>]{0,99}\d) [^\s"'<>]{8,} | [^\s"'<>]{20,}
      | (?<= [:=]\ bearer\ ) [^\s"'<>]+ | (?<= [:=]\ basic\ ) [^\s"'<>]+ )
    """
)


_CLOSING: Final = re.compile(r"'[.,:;)\]}]*$")
_SUSPECT: Final = re.compile(
    r"[=%&;\\?]|:/|eyJ|auth|bearer|basic|key|cookie|cred|pass|pwd|secret|sig|token", re.IGNORECASE
)


def _cut_url(found: re.Match[str]) -> str:
    shown = found["scheme"] + found["path"]
    query = found["query"]
    if query is None:
        return shown
    if len(query) > 1 and not query.startswith("#"):
        shown += "?…"
    if found.string[: found.start()].endswith("'") and (quoted := _CLOSING.search(query)):
        shown += quoted[0]
    # A signature that white space splits continues after it: nothing is shown from the first odd word on.
    return shown + found["words"] + (" …" if found["rest"] else "")


def redacted_url(url: str, *, public: bool = False) -> str:
    """Return `url` without user and fragment, and without its query unless that is public.

    What is private has no signature: the query of a file or of an object in a bucket says what is in it.
    """
    if not url.startswith("http") and is_private(url):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    plain = (parts.scheme, host, parts.path, parts.query if public else "", "")
    return hide_known_secrets(url if plain == tuple(parts) else urlunsplit(plain))


def strip_query(url: str) -> str:
    """Return `url` without user, query and fragment: what may be logged of a signed URL."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "[not a URL]"
    hidden = "?…" if parts.query else ""
    path = parts.path if parts.netloc else parts.path.rpartition("@")[2]
    return hide_known_secrets(f"{parts.scheme}://{host}{path}{hidden}" if parts.scheme else f"{path}{hidden}")


def url_repr(url: object) -> str:
    """Return the repr of a URL field, without what signs it."""
    return repr(strip_query(url)) if isinstance(url, str) else repr(url)


# Errors: what caused them, and what they carry along.

_ErrorT = TypeVar("_ErrorT", bound=BaseException)


def detach(error: _ErrorT) -> _ErrorT:
    """Cut an error off from its frames and causes, which hold requests, headers and bodies; return it."""
    # Tools that report exceptions with local variables would send the key and signed URLs along.
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def drop_frames(error: _ErrorT) -> _ErrorT:
    """Cut an error and those that it is chained to off from their frames; return it.

    The chain itself stays: anyio recognizes a cancellation of its own by the context.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            pending += [one.__cause__, one.__context__]
    return error


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and those that caused it, each once: libraries wrap the real cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        # A chain may lead back to itself, where a library raises an error from one that it has raised.
        seen.add(id(error))
        # The context counts, too: not every library names the cause.
        error = error.__cause__ or error.__context__
