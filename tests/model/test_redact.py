"""Texts from outside, made safe to show: one line, no controls, no secrets, no signed queries."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._model.redact import LONGEST, redact, safe_repr, sanitize, strip_query, url_repr

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


@pytest.mark.parametrize(
    "between",
    ["", "\x00", "\x1b", "\u200b", "\u202e", "\n", "\r\n ", " ", "\t", "\u2028", "\ud800", "\x1b\n\x00"],
    ids=ascii,
)
def test_a_secret_is_hidden_although_it_is_split(between: str) -> None:
    split = between.join(SECRET)

    assert sanitize(f"key {split} is wrong", secrets=[SECRET]) == "key [redacted] is wrong"
    assert sanitize(SECRET[:5] + between + SECRET[5:], secrets=[SECRET]) == "[redacted]"


@quick
@given(
    st.text(max_size=30),
    st.text(max_size=30),
    st.lists(st.characters(categories=["C", "Z"]), min_size=18, max_size=18),
)
def test_no_split_and_no_neighbours_show_a_secret(before: str, after: str, between: list[str]) -> None:
    split = "".join(char + gap for char, gap in zip(SECRET, [*between, ""], strict=True))

    found = sanitize(before + split + after, secrets=[SECRET])

    assert SECRET not in "".join(found.split())


def test_a_secret_at_the_cut_is_not_shown_in_part() -> None:
    found = sanitize("x" * (LONGEST - 8) + SECRET, secrets=[SECRET])

    assert "canary" not in found


def test_a_secret_with_white_space_in_it_is_hidden() -> None:
    assert redact("pass  phrase", ["pass phrase"]) == "[redacted]"
    assert sanitize("a pass \n phrase b", secrets=["pass  phrase"]) == "a [redacted] b"


def test_the_longest_of_secrets_goes_first() -> None:
    assert redact("abcdefgh abcd", ["abcd", "abcdefgh"]) == "[redacted] [redacted]"


def test_every_occurrence_of_every_secret_is_hidden() -> None:
    assert (
        redact("s3cret-1 x s3cret-2 s3cret-1", {"s3cret-1", "s3cret-2"})
        == "[redacted] x [redacted] [redacted]"
    )


@pytest.mark.parametrize("secret", ["", "a", "abc", " ", "a b c", "    "])
def test_what_is_too_short_for_a_secret_hides_nothing(secret: str) -> None:
    assert redact("abc a    b", [secret]) == "abc a    b"


@pytest.mark.parametrize("secret", [r"a.c\d", "[abc]+", "(a|b){4}", "$^.*+?"])
def test_a_secret_is_taken_letter_by_letter(secret: str) -> None:
    assert redact(f"a1c4 abcabc {secret}", [secret]) == "a1c4 abcabc [redacted]"


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
