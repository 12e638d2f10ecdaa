"""What a caller may ask for, checked when it is built: a bad value never reaches the paid POST.

The vendor's field names are in `_wire`; here are the caller's words and the allowed ranges.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Final, Literal, NoReturn, TypeAlias
from urllib.parse import urlsplit

import attrs
from attrs.validators import optional

from akool_async._model.errors import InvalidRequestError
from akool_async._model.locations import input_url, is_private, is_private_url
from akool_async._model.redact import safe_repr, sanitize, strip_query, url_repr
from akool_async._model.validators import is_encodable, is_printable

STYLES: Final = frozenset(
    "affectionate angry calm cheerful depressed disgruntled embarrassed empathetic excited fearful "
    "friendly unfriendly sad serious relaxed professional".split()
)
"""Speaking styles. Source: the vendor's page on createbytranslate, studio_voice.style."""

MOST_SPEAKERS: Final = 10
"""Source: the vendor's page on createbytranslate offers 0 to 10 speakers."""

AUTO_DETECT: Final = "DEFAULT"
"""The source language that asks the vendor to detect it. Source: createbytranslate, source_language."""

_LANGUAGE: Final = re.compile(r"[A-Za-z0-9]{2,8}(?:[-_][A-Za-z0-9]{1,20}){0,4}")
_LANGUAGE_CODE: Final = "a language code such as 'ja' or 'zh-CN-shandong'"
_LONGEST_URL: Final = 8192
_LONGEST_KEY: Final = 200


PLAIN_URL: Final = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?:/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*)?)+"
)
"""Most URLs of a catalog: nothing in them has to be looked at closer, or could be spelled in another way."""


class CaptionType(enum.IntEnum):
    """Which captions are put into the result. Source: createbytranslate, caption_type."""

    NONE = 0
    ORIGINAL = 1
    TARGET = 2
    REPLACE = 3
    """Translate the captions that the video has and put them in their place."""
    TRANSLATED = 4


CaptionName: TypeAlias = Literal["none", "original", "target", "replace", "translated"]
CaptionNumber: TypeAlias = Literal[0, 1, 2, 3, 4]


def is_http_url(value: object) -> bool:
    """Whether a value is an absolute http or https URL that a request can carry."""
    if not isinstance(value, str) or len(value) > _LONGEST_URL or " " in value or not value.isprintable():
        return False
    if PLAIN_URL.fullmatch(value):
        return True
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


# Type checkers and IDEs take the type of an argument from its converter, and only where the field itself
# calls `attrs.field`. A value of another type is returned as it is, for the validator.
def _as_input(value: str | PurePath) -> Any:
    # Nearly every input is a public URL, which stays as it is.
    public = isinstance(value, str) and value.startswith(("https://", "http://"))
    return value if public else input_url(value)


def _as_optional_input(value: str | PurePath | None) -> Any:
    return None if value is None else _as_input(value)


def _is_input_url(value: object) -> bool:
    return is_http_url(value) or (
        isinstance(value, str) and len(value) <= _LONGEST_URL and is_private_url(value)
    )


def _show_url(value: object) -> str:
    if not isinstance(value, str):
        return type(value).__name__
    if is_private(value):
        return (
            f"{sanitize(strip_query(value))}. In the name of a file or an object ? is written as %3F "
            "and # as %23"
        )
    shown = sanitize(url_repr(value))
    return f"{shown}. A blank within a URL is written as %20" if " " in value.strip() else shown


def _as_targets(value: str | Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        return _checked_targets(tuple(value.split(",")))
    if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes):
        raise InvalidRequestError(f"targets must be a language code or several, not {safe_repr(value)}.")
    targets = tuple(value)
    for target in targets:
        if not isinstance(target, str):
            raise InvalidRequestError(f"targets must be {_LANGUAGE_CODE}, not {safe_repr(target)}.")
    return _checked_targets(targets)


def fold_language(code: str) -> str:
    """Return a language code in the form in which codes that mean one language are equal."""
    return code.lower().replace("_", "-")


@lru_cache(maxsize=256)
def _checked_targets(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return one tuple for all requests with these languages; there may be very many."""
    targets = tuple(target.strip() for target in given)
    if targets in ((), ("",)):
        raise InvalidRequestError("targets is empty: name at least one language, such as targets='ja'.")
    for target in targets:
        if not _LANGUAGE.fullmatch(target):
            raise InvalidRequestError(f"targets must be {_LANGUAGE_CODE}, not {safe_repr(target)}.")
        if target.upper() == AUTO_DETECT:
            raise InvalidRequestError(f"{AUTO_DETECT!r} can be a source language, not a target.")
    # "zh-CN" and "zh_cn" are one language for the vendor, and would be two paid jobs.
    folded = [fold_language(target) for target in targets]
    doubled = sorted({target for target in folded if folded.count(target) > 1})
    if doubled:
        shown = sanitize(", ".join(doubled))
        raise InvalidRequestError(f"targets names {shown} more than once; each job would be paid.")
    return targets


def _as_caption_type(value: CaptionType | CaptionName | CaptionNumber) -> CaptionType:
    if isinstance(value, CaptionType):
        return value
    try:
        if isinstance(value, str):
            return CaptionType[value.upper()]
        if isinstance(value, int) and not isinstance(value, bool):
            return CaptionType(value)
    except (KeyError, ValueError):
        pass  # said below, with what is allowed
    allowed = ", ".join(f"{kind.value} ({kind.name.lower()})" for kind in CaptionType)
    raise InvalidRequestError(f"caption_type must be one of {allowed}, not {safe_repr(value)}.")


def _is_text(value: object) -> bool:
    """Whether `value` is text that can be sent."""
    # JSON could carry a lone surrogate, but UTF-8 can't: encoding would fail after the intent is committed.
    return isinstance(value, str) and is_encodable(value)


def _is_word(value: object) -> bool:
    return _is_text(value) and bool(str(value).strip())


def _as_words(value: Iterable[str]) -> tuple[str, ...]:
    if value == ():  # nearly always
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"no_translate_words must be a list of words, not {safe_repr(value)}.")
    words = tuple(value)
    for word in words:
        if not _is_word(word):
            raise InvalidRequestError(
                f"no_translate_words must hold words only, none of them empty, not {safe_repr(word)}."
            )
    return words


class FrozenDict(dict[str, str]):
    """A dictionary that does not change once it is checked, and can be compared, copied and pickled."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, str]]]:
        return type(self), (dict(self),)

    def _refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("A request does not change; use attrs.evolve to make another one.")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


EMPTY: Final = FrozenDict()
"""Most requests hold none: all of them hold this one."""


def _text_map(name: str, *, empty_values: bool = False) -> Any:
    def convert(value: object) -> FrozenDict:
        if value is EMPTY:  # nearly always
            return EMPTY
        if not isinstance(value, Mapping):
            raise InvalidRequestError(f"{name} must map text to text, not be {safe_repr(value)}.")
        for left, right in value.items():
            if not (_is_word(left) and _is_text(right) and (right.strip() or empty_values)):
                raise InvalidRequestError(
                    f"{name} holds {safe_repr(left)}: {safe_repr(right)}; both must be text."
                )
        return FrozenDict(value) if value else EMPTY

    return attrs.field(factory=lambda: EMPTY, converter=convert, hash=False)


def _show_key(value: object) -> str:
    if isinstance(value, str) and len(value) > _LONGEST_KEY:
        return f"{len(value):,}: {safe_repr(value[:20])[:-1]}…'"
    return safe_repr(value)


def _must_be(
    expected: str, holds: Callable[[Any], object], show: Callable[[object], str] = safe_repr
) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """Make the validator of a field; as a `Constraint` it would make every request a fifth slower."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not holds(value):
            raise InvalidRequestError(f"{attribute.name} must be {expected}, not {show(value)}.")

    return check


_is_url: Final = _must_be("an absolute http:// or https:// URL", is_http_url, _show_url)
_is_input: Final = _must_be("an absolute http:// or https:// URL", _is_input_url, _show_url)
_is_language: Final = _must_be(
    _LANGUAGE_CODE,
    lambda value: isinstance(value, str) and _LANGUAGE.fullmatch(value),
)
_is_bool: Final = _must_be("True or False", lambda value: isinstance(value, bool))
_is_number_of_speakers: Final = _must_be(
    f"a whole number from 0 (detect) to {MOST_SPEAKERS}",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_SPEAKERS,
)
_is_style: Final = _must_be(
    f"one of {', '.join(sorted(STYLES))}", lambda value: isinstance(value, str) and value in STYLES
)
_is_key: Final = _must_be(
    f"1 to {_LONGEST_KEY} printable characters",
    lambda value: isinstance(value, str) and 0 < len(value) <= _LONGEST_KEY and is_printable(value),
    _show_key,
)


def _optional_url_field() -> Any:
    return attrs.field(default=None, validator=optional(_is_url), repr=url_repr, metadata={"url": "other"})


_INPUT: Final = {"url": "input"}


def _key_field() -> Any:
    return attrs.field(default=None, validator=optional(_is_key))


@attrs.frozen(kw_only=True)
class TranslationRequest:
    """One video to be translated into one or several languages: one POST, one job per language.

    Args:
        url: the video's public http(s) URL, which the vendor fetches. With `open_batch(storage=...)` also
            an object ("s3://", "gs://" or "az://") or a file: a `Path`, "file://", or a text that begins with
            "/", "./", "../" or "~".
        targets: language codes, as text ("ja", "hi,fr") or several; no duplicates.
        source_language: a code, or "DEFAULT" to let the vendor detect it.
        lipsync: move the mouth with the new audio.
        webhook_url: where the vendor calls when a job changes state.
        speaker_num: number of speakers, 0 to 10; 0 lets the vendor detect it.
        remove_bgm: drop the background music.
        caption_type: a `CaptionType`, its number 0 to 4 or its name.
        caption_url: an SRT or ASS file to use for captions; where it may be is the same as with `url`.
        voices_map: target language to voice id (from `client.voices`); "" is the default voice.
        no_translate_words: words left as they are.
        style: speaking style: affectionate, angry, calm, cheerful, depressed, disgruntled, embarrassed,
            empathetic, excited, fearful, friendly, unfriendly, sad, serious, relaxed or professional. The
            vendor takes the last one when none is given.
        fixed_words: word to the translation it must get.
        pronounced_words: word to how it must be said.
        dynamic_duration: let the result be longer or shorter than the video.
        key: your own name for this entry, 1 to 200 characters; default is a fingerprint of the request.
        url_is_public: whether the queries of the URLs are no secrets and name the video ("?id=7"). Then they
            are kept in the journal and the manifest. By default it is kept nowhere.

    Raises:
        InvalidRequestError: a value is out of its range; nothing was sent.

    Source: the vendor's page on POST /api/open/v3/content/video/createbytranslate.
    """

    url: str = attrs.field(converter=_as_input, validator=_is_input, repr=url_repr, metadata=_INPUT)
    targets: tuple[str, ...] = attrs.field(converter=_as_targets)
    source_language: str = attrs.field(default=AUTO_DETECT, validator=_is_language)
    lipsync: bool = attrs.field(default=False, validator=_is_bool)
    webhook_url: str | None = _optional_url_field()
    speaker_num: int = attrs.field(default=0, validator=_is_number_of_speakers)
    remove_bgm: bool = attrs.field(default=False, validator=_is_bool)
    caption_type: CaptionType = attrs.field(default=CaptionType.NONE, converter=_as_caption_type)
    caption_url: str | None = attrs.field(
        default=None,
        converter=_as_optional_input,
        validator=optional(_is_input),
        repr=url_repr,
        metadata=_INPUT,
    )
    voices_map: Mapping[str, str] = _text_map("voices_map", empty_values=True)
    no_translate_words: tuple[str, ...] = attrs.field(default=(), converter=_as_words)
    style: str | None = attrs.field(default=None, validator=optional(_is_style))
    fixed_words: Mapping[str, str] = _text_map("fixed_words")
    pronounced_words: Mapping[str, str] = _text_map("pronounced_words")
    dynamic_duration: bool = attrs.field(default=False, validator=_is_bool)
    key: str | None = _key_field()
    url_is_public: bool = attrs.field(default=False, validator=_is_bool)

    def __attrs_post_init__(self) -> None:
        """Check what concerns two fields at once."""
        # A voice for a language with a typing error would silently be replaced by the default one, and paid.
        if self.voices_map and (strangers := sorted(set(self.voices_map) - set(self.targets))):
            shown = sanitize(", ".join(strangers))
            raise InvalidRequestError(f"voices_map names {shown}, which is not among the targets.")


@attrs.frozen(kw_only=True)
class LipSyncRequest:
    """One video whose mouth is to follow an audio file: one POST, one job.

    Args:
        video_url: the video's public http(s) URL; above 25 frames a second the result is worse. With
            `open_batch(storage=...)` also an object or a file, as in a `TranslationRequest`.
        audio_url: the audio's, likewise; best as long as the video.
        webhook_url: where the vendor calls when the job changes state.
        key: your own name for this entry, 1 to 200 characters; default is a fingerprint of the request.
        url_is_public: whether the queries of the URLs are no secrets and name the video ("?id=7"). Then they
            are kept in the journal and the manifest. By default it is kept nowhere.

    Raises:
        InvalidRequestError: a value is out of its range; nothing was sent.

    Source: the vendor's page on POST /api/open/v3/content/video/lipsync.
    """

    video_url: str = attrs.field(converter=_as_input, validator=_is_input, repr=url_repr, metadata=_INPUT)
    audio_url: str = attrs.field(converter=_as_input, validator=_is_input, repr=url_repr, metadata=_INPUT)
    webhook_url: str | None = _optional_url_field()
    key: str | None = _key_field()
    url_is_public: bool = attrs.field(default=False, validator=_is_bool)

    @property
    def targets(self) -> tuple[str, ...]:
        """One job without a language: its target is ""."""
        return ("",)


Request: TypeAlias = TranslationRequest | LipSyncRequest
"""Either kind of paid request."""

REQUEST_KINDS: Final[tuple[type[Request], ...]] = (TranslationRequest, LipSyncRequest)

URL_FIELDS: Final = {
    field.name: field.metadata["url"]
    for kind in REQUEST_KINDS
    for field in attrs.fields(kind)
    if "url" in field.metadata
}
"""The fields of requests that hold a URL. Neither a journal nor a manifest keeps what may sign it."""

INPUT_FIELDS: Final = tuple(name for name, use in URL_FIELDS.items() if use == "input")
"""Those of them that name what the vendor fetches."""

_INPUTS_OF_KIND: Final = {
    kind: tuple(field.name for field in attrs.fields(kind) if field.name in INPUT_FIELDS)
    for kind in REQUEST_KINDS
}


def with_targets(request: Request, targets: tuple[str, ...]) -> Request:
    """Return the request for some of its languages."""
    if isinstance(request, LipSyncRequest) or targets == request.targets:
        return request
    # A voice of a language that is left out would be refused, for it is not among the targets any more.
    voices = {target: voice for target, voice in request.voices_map.items() if target in targets}
    return attrs.evolve(request, targets=targets, voices_map=voices)


def video_url(request: Request) -> str:
    """Return the video's URL."""
    return request.video_url if isinstance(request, LipSyncRequest) else request.url


def with_inputs(request: Request, urls: Mapping[str, str]) -> Request:
    """Return the request with other URLs, by the names of their fields."""
    changes: dict[str, Any] = dict(urls)
    return attrs.evolve(request, **changes) if changes else request


def private_inputs(request: Request) -> dict[str, str]:
    """Return the inputs that the vendor can't fetch by itself, by the name of their field."""
    # The first look saves the second one for nearly every URL: this is asked at each step of each entry.
    return {
        name: url
        for name in _INPUTS_OF_KIND[type(request)]
        if (url := getattr(request, name)) and not url.startswith("http") and is_private(url)
    }
