"""Texts from outside, made safe to show: one line, no controls, no secrets, no signed queries."""

from __future__ import annotations

import base64
import gc
import html
import pickle
import pprint
import quopri
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._model import redact
from akool_async._model.redact import (
    LONGEST,
    Secret,
    hide,
    hide_known_secrets,
    redacted_url,
    safe_repr,
    sanitize,
    strip_query,
    url_repr,
)

SECRET = "canary-4f9c.1b7e+2a"
quick = settings(max_examples=60, deadline=None, database=None)
texts = st.text(st.characters(), max_size=400)


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        (None, ""),
        (404, "404"),
        ("  two\r\n\tlines ", "two lines"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("\x1b]0;title\x07", "]0;title"),
        ("bell\x07 null\x00 del\x7f c1\x9b", "bell null del c1"),
        ("a\u202eb\u2066c\u2069\u200ed", "abcd"),
        ("soft\u00adhy\u200bphen\ufeff", "softhyphen"),
        ("line\u2028sep\u2029par\u0085nel", "line sep par nel"),
        ("half\ud800", "half"),
        ("private\ue000 unassigned\U000e0fff", "private unassigned"),
        ("日本語 émile 🎬", "日本語 émile 🎬"),
        ("a\u00a0b\u3000c", "a b c"),
    ],
)
def test_a_remote_text_becomes_one_printable_line(remote: object, expected: str) -> None:
    assert sanitize(remote) == expected


def test_a_long_text_is_cut() -> None:
    assert sanitize("x" * LONGEST) == "x" * 300
    assert sanitize("x" * (LONGEST + 1)) == "x" * 299 + "…"
    assert len(sanitize("word " * 1_000_000)) == 300


def test_a_text_of_controls_alone_is_nothing() -> None:
    assert sanitize("\x00" * 1_000_000) == ""


@quick
@given(texts)
def test_any_text_becomes_one_short_printable_line(remote: str) -> None:
    found = sanitize(remote)

    assert len(found) <= LONGEST
    assert found == found.strip()
    assert not any(unicodedata.category(char)[0] == "C" for char in found)
    assert found.encode().decode() == found
    assert sanitize(found) == found


# Secrets that are known.


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[Secret]:
    """Keep the secret of these tests alive: one that nobody holds any more is forgotten."""
    with pytest.MonkeyPatch.context() as patched:
        # Parts of other tests' secrets may look like parts of the texts here.
        patched.setattr(redact, "_live", {})
        secret = Secret(SECRET)
        yield secret
        del secret


def solid(text: str) -> str:
    """Return letters and digits alone."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text))).casefold()


def shows(text: str, secret: str = SECRET) -> bool:
    """Whether 8 letters and digits of a secret in a row can be read in a text."""
    letters, seen = solid(secret), solid(text)
    return any(letters[at : at + 8] in seen for at in range(len(letters) - 7))


@pytest.mark.parametrize(
    "between",
    ["", "\x00", "\x1b", "\u200b", "\u202e", "\n", "\r\n ", " ", "\t", "\u2028", "\ud800", "\x1b\n\x00"],
    ids=ascii,
)
def test_a_secret_is_hidden_although_it_is_split(between: str) -> None:
    split = between.join(SECRET)

    assert sanitize(f"key {split} is wrong") == "key [redacted] is wrong"
    assert sanitize(SECRET[:5] + between + SECRET[5:]) == "[redacted]"


ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "full width": lambda text: "".join(chr(ord(char) + 0xFEE0) for char in text),
    "dashes": "-".join,
    "quoted lines": "\n> ".join,
    "utf-16": lambda text: text.encode("utf-16-le").decode("latin-1"),
    "percent": lambda text: "".join(f"%{ord(char):02X}" for char in text),
    "percent twice": lambda text: "".join(f"%25{ord(char):02x}" for char in text),
    "half percent": lambda text: re.sub("[a-m]", lambda found: f"%{ord(found[0]):02X}", text),
    "json": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "json in json": lambda text: "".join(f"\\\\u{ord(char):04X}" for char in text),
    "bytes": lambda text: "".join(f"\\x{ord(char):02x}" for char in text),
    "html": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "html in hex": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "html with names between": "&nbsp;".join,
    "quoted-printable": lambda text: quopri.encodestring(text.encode(), quotetabs=True).decode(),
    "quoted-printable throughout": lambda text: "".join(f"={ord(char):02X}" for char in text),
    "hex": lambda text: text.encode().hex(),
    "spaced hex": lambda text: text.encode().hex(" "),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of a pair": lambda text: base64.b64encode(f"id:{text}".encode()).decode(),
    "base64 after one": lambda text: base64.urlsafe_b64encode(f"x{text}yz".encode()).decode(),
    "percent of base64": lambda text: quote(base64.b64encode(text.encode()).decode()),
    "repr": repr,
    "a header": lambda text: f"x-api-key: {text}",
    "a page": lambda text: f"<html><body>bad key <b>{text}</b></body></html>",
    "a tuple of bytes": lambda text: repr([(b"x-api-key", text.encode())]),
}


@quick
@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    before=st.text(max_size=320),
    after=st.text(max_size=30),
    first=st.integers(0, len(SECRET) - 10),
    length=st.integers(10, len(SECRET)),
    gap=st.text(st.characters(categories=["C", "Z", "P", "S"], exclude_characters="%=&\\#;"), max_size=4),
    cut=st.integers(0, 30),
)
def test_no_split_no_neighbour_and_no_encoding_shows_a_secret(
    encoding: str, before: str, after: str, first: int, length: int, gap: str, cut: int
) -> None:
    encoded = ENCODINGS[encoding](SECRET[first : first + length])
    units = re.findall(r"(?s)%25..|%..|\\+u....|\\+x..|&#?\w+;|=..|.", encoded)
    remote = before + gap + "".join(units[:cut]) + gap + "".join(units[cut:]) + after

    found = sanitize(remote)

    for plain in (found, unquote(unquote(found)), html.unescape(found), _unescaped(found)):
        assert not shows(plain), remote
    letters = "".join(filter(str.isalnum, found)).encode("ascii", "ignore")
    for at in range(4):
        text = letters[at:]
        assert not shows(base64.b64decode(text[: len(text) // 4 * 4]).decode("latin-1")), remote
    for run in re.findall(rb"[0-9a-f]{16,}", letters):
        assert not shows(bytes.fromhex(run[: len(run) // 2 * 2].decode()).decode("latin-1")), remote


def _unescaped(text: str) -> str:
    text = re.sub(r"\\+(?:u00|x)([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
    return re.sub(r"=([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_read_back_by_what_the_property_looks_with(encoding: str) -> None:
    if encoding not in ("html with names between",):
        assert "[redacted]" in sanitize(ENCODINGS[encoding](SECRET))


@pytest.mark.parametrize("place", range(270, 305))
def test_a_secret_at_the_cut_is_not_shown_in_part(place: int) -> None:
    assert "canary" not in sanitize("x" * place + " " + SECRET)


@pytest.mark.parametrize("missing", range(len(SECRET)))
def test_a_secret_at_the_end_of_what_is_read_is_not_shown_in_part(missing: int) -> None:
    found = sanitize("\x00" * (4_096 - len(SECRET) + missing) + SECRET)

    assert not shows(found)
    assert "canary" not in found


def test_a_secret_with_white_space_in_it_is_hidden() -> None:
    kept = Secret("pass  phrase")

    assert sanitize("a pass \n phrase b") == "a [redacted] b"
    assert kept.reveal() == "pass  phrase"


def test_every_occurrence_of_every_secret_is_hidden() -> None:
    kept = [Secret("s3cret-1"), Secret("s3cret-2"), Secret("s3cret-1-and-more")]

    assert sanitize("s3cret-1 x s3cret-2 s3cret-1-and-more") == "[redacted] x [redacted] [redacted]"
    assert len(kept) == 3


@pytest.mark.parametrize("secret", ["", "a", "abc", " ", "a b c", "    "])
def test_what_is_too_short_for_a_secret_hides_nothing(secret: str) -> None:
    kept = Secret(secret)

    assert sanitize("abc a    b") == "abc a b"
    assert kept.reveal() == secret


@pytest.mark.parametrize("secret", [r"a.c\d", "[abc]+", "(a|b){4}", "$^.*+?"])
def test_a_secret_is_taken_letter_by_letter(secret: str) -> None:
    kept = Secret(secret)

    assert sanitize(f"a1c4 abcabc {secret}") == "a1c4 abcabc [redacted]"
    assert kept.reveal() == secret


def test_a_secret_that_nobody_holds_any_more_is_forgotten() -> None:
    kept = Secret("forgotten-1234")
    assert sanitize("forgotten-1234") == "[redacted]"
    del kept
    gc.collect()

    assert sanitize("forgotten-1234") == "forgotten-1234"


def test_no_way_of_looking_at_a_secret_shows_it(known: Secret) -> None:
    holder = {"key": known}

    assert "canary" not in f"{known}{known!r}{holder}{pprint.pformat(holder)}{known:}"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(holder, protocol)
    assert hide(known) is known
    assert hide(None) is None


# Secrets that are not known: signed URLs and tokens.

SIGNATURE = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
SIGNED = f"https://user:canary-pw@files.test:8443/a/b.mp4?X-Amz-Expires=60&X-Amz-Signature={SIGNATURE}#part"


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        (f"can't fetch {SIGNED}", "can't fetch https://files.test:8443/a/b.mp4?…"),
        (
            f"{SIGNED} (HTTP 403 after 3 tries).",
            "https://files.test:8443/a/b.mp4?… (HTTP 403 after 3 tries).",
        ),
        (f'{{"url":"{SIGNED}","code":3}}', '{"url":"https://files.test:8443/a/b.mp4?…","code":3}'),
        (f"<a href={SIGNED}>", "<a href=https://files.test:8443/a/b.mp4?…>"),
        (SIGNED.replace("/", r"\/"), r"https:\/\/files.test:8443\/a\/b.mp4?…"),
        (quote(SIGNED, safe=""), "https%3A%2F%2Ffiles.test%3A8443%2Fa%2Fb.mp4?…"),
        (SIGNED.replace("=", r"\u003d"), "https://files.test:8443/a/b.mp4?…"),
        ("/a/b.mp4?Signature=abc", "/a/b.mp4?…"),
        ("a.mp4%3FSignature%3Dabc is bad", "a.mp4?… is bad"),
        (f"https://files.test/a;token={SIGNATURE}/b.mp4", "https://files.test/a?…"),
        (f"hmac={SIGNATURE}", "hmac=[redacted]"),
        (f"Authorization: Bearer {SIGNATURE}", "Authorization: Bearer [redacted]"),
        ("> Authorization: Bearer hunter", "> Authorization: Bearer [redacted]"),
        (f"your token {SIGNATURE} has expired", "your token [redacted] has expired"),
        (f"'x-api-key': '{SIGNATURE}'", "'x-api-key': '[redacted]'"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "got [redacted]"),
    ],
)
def test_what_signs_or_authorises_is_hidden_by_its_look(remote: str, expected: str) -> None:
    assert sanitize(remote) == expected


@pytest.mark.parametrize(
    "remote",
    [
        "invalid token: expired",
        "no speech found in the video",
        "voice_id is required (code 1003)",
        "is it there? yes: a=b",
        "https://files.test/a/b.mp4",
        "job 66c0ffee5eed5eed00000001 of 3f2b8c1e-aaaa-bbbb-cccc-0123456789ab",
    ],
)
def test_ordinary_words_and_ids_are_kept(remote: str) -> None:
    assert sanitize(remote) == remote


@quick
@given(
    before=st.text(max_size=310),
    after=st.text(max_size=30),
    cuts=st.lists(st.integers(1, len(SIGNED) - 1), max_size=6),
    gap=st.sampled_from(["\x00", "\u200b", "\n", "\r\n\t", " ", "\u2028"]),
    encoding=st.sampled_from(["as it is", "percent of reserved", "json", "slashes"]),
)
def test_no_split_no_neighbour_and_no_encoding_shows_a_signature(
    before: str, after: str, cuts: list[int], gap: str, encoding: str
) -> None:
    url = {
        "as it is": SIGNED,
        "percent of reserved": quote(SIGNED, safe=""),
        "json": SIGNED.replace("&", r"\u0026").replace("=", r"\u003d"),
        "slashes": SIGNED.replace("/", r"\/"),
    }[encoding]
    start = url.index("b.mp4") + 6  # a split before the query leaves the query a URL's no longer
    for cut in sorted({start + 14 + cut % (len(url) - start - 14) for cut in cuts}, reverse=True):
        url = url[:cut] + gap + url[cut:]

    found = sanitize(f"{before} {url} {after}")

    letters = solid(found.removeprefix(sanitize(before)))
    assert not any(SIGNATURE[at : at + 12] in letters for at in range(len(SIGNATURE) - 11))
    assert "canary-pw" not in found


@pytest.mark.parametrize("before", ["", "https://h/x?y ", "https://", "token="])
@pytest.mark.parametrize(
    "unit",
    ["\\", "'", '"', "a.", "a-", "%25", "=", "=a", "&#0", "a' ", "://", "?a=", "token ", "eyJ.", "canary"],
)
def test_no_text_takes_long(before: str, unit: str) -> None:
    remote = before + unit * 100_000 + "Z9!"
    began = time.process_time()

    sanitize(remote)

    assert time.process_time() - began < 5.0


# URLs.


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://media.test/a.mp4", "https://media.test/a.mp4"),
        ("https://media.test/a.mp4?sig=canary", "https://media.test/a.mp4?…"),
        ("https://media.test/a.mp4?", "https://media.test/a.mp4"),
        ("https://media.test/a.mp4#canary", "https://media.test/a.mp4"),
        ("https://user:canary@media.test:8443/a.mp4", "https://media.test:8443/a.mp4"),
        ("https://canary@canary@media.test/", "https://media.test/"),
        ("https://media.test/@team/a.mp4", "https://media.test/@team/a.mp4"),
        ("user:canary@media.test/a.mp4?b", "user://media.test/a.mp4?…"),
        ("canary@media.test/a.mp4", "media.test/a.mp4"),
        ("/a.mp4?sig=canary", "/a.mp4?…"),
        ("", ""),
        ("https://[::1/a?sig=canary", "[not a URL]"),
    ],
)
def test_a_url_is_shown_without_user_query_and_fragment(url: str, expected: str) -> None:
    assert strip_query(url) == expected


@quick
@given(texts)
def test_any_text_can_be_shown_as_a_url(text: str) -> None:
    assert url_repr(text).isprintable()
    assert "=canary" not in strip_query(f"https://media.test/{text.replace('?', '')}?sig=canary")


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "None"), (7, "7"), ("https://m.test/?a", "'https://m.test/?…'")]
)
def test_the_repr_of_a_url_field(value: object, expected: str) -> None:
    assert url_repr(value) == expected


# Refused values.


def test_a_refused_value_is_shown_on_one_short_line() -> None:
    assert safe_repr("a\nb\x1b[2J") == r"'a\nb\x1b[2J'"
    assert len(safe_repr(["x" * 1000] * 1000)) == 300


def test_a_refused_value_that_can_not_be_shown_is_named() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    assert safe_repr(10**5000) == "a value of type int that can't be shown"
    assert safe_repr(deep) == "a value of type list that can't be shown"


@pytest.mark.parametrize("show", [hide_known_secrets, strip_query, redacted_url, url_repr])
def test_a_secret_in_the_path_of_a_url_is_hidden(show: Callable[[str], str]) -> None:
    secret = Secret(SECRET)
    shown = show(f"https://files.test/{SECRET}/{SECRET}.mp4")

    assert "https://files.test/[redacted]/[redacted].mp4" in shown
    del secret


@pytest.mark.parametrize(
    ("secret", "url"),
    [("test", "https://files.test/1.mp4"), (SECRET, f"https://files.test/{SECRET[:9]}")],
)
def test_what_only_looks_like_a_secret_leaves_a_url_as_it_is(secret: str, url: str) -> None:
    live = Secret(secret)

    assert hide_known_secrets(url) == strip_query(url) == redacted_url(url) == url
    del live
