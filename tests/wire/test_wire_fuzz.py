"""Whatever comes: a value or one of our errors, and never a lost id.

Hypothesis makes the answers: arbitrary JSON, arbitrary bytes, and valid answers that were changed, torn
or damaged. It prints the example that failed, which is what a seed would be for.
"""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akool_async._model.errors import AkoolError, ProtocolError
from akool_async._model.requests import Request
from akool_async._model.responses import Submission
from akool_async._wire import (
    Envelope,
    find_job_ids,
    read_credit,
    read_envelope,
    read_languages,
    read_snapshot,
    read_submission,
    read_token,
    read_voices,
)
from tests.wire.examples import (
    FR,
    HI,
    JA,
    LIP_SYNC,
    OTHER,
    REQUEST,
    THREE,
    accepted,
    answer,
    body,
    completed,
    failed,
    language,
    made,
    made_long_ago,
    refused,
    status,
    status_long_ago,
    voice,
    voices,
)

THOROUGH = int(os.environ.get("AKOOL_FUZZ", "1"))
"""How many times more examples than usual are tried: `AKOOL_FUZZ=200` takes some minutes."""

many = settings(
    max_examples=30 * THOROUGH, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
REQUESTS = (REQUEST, THREE, LIP_SYNC)

READERS: tuple[Callable[[Envelope], object], ...] = (
    lambda found: read_snapshot(found, JA),
    read_languages,
    read_voices,
    read_credit,
    lambda found: read_token(found).reveal(),
)

ODD = (
    None, "", " ", "0", "3", "1000", "x" * 500, "\ud800", "\x00\x1b[31m\u202e", "nan", "1e400", "9" * 5000,
    True, False, 0, 1, 3, 4, 1000, 1003, 1005, -1, 2**63, 10**310, 0.5, -0.0, 1e308,
    math.nan, math.inf, -math.inf, [], {}, [[]], [None],
    {"": ""}, {"_id": None}, {"_id": OTHER}, [{"_id": OTHER}],
    253402300799999, 253402300800000,
)  # fmt: skip

NAMES = (
    "code msg data all_results _id language video_status video progress create_time lang_list result count "
    "credit token voice_id lang_code audio_splits error_code error_reason age style duration".split()
)

ids = st.sampled_from([HI, FR, JA, OTHER, 1234567890, "short", None, "", "a" * 128, "a" * 129, "a b c d e f"])
scalars = (
    st.sampled_from(ODD)
    | ids
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)  # lone surrogates included
    | st.sampled_from(["hi", "fr", "ja", "JA", "Hindi", "zh_CN"])
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)

ANSWERS = [
    answer(made(JA, "ja")),
    answer(made_long_ago(JA)),
    answer(made(JA, "ja"), all_results=[accepted(HI, "hi"), accepted(FR, "fr"), accepted(JA, "ja")]),
    answer(made(JA, "ja"), all_results=[accepted(HI, "hi"), refused(1203, "fr"), accepted(JA, "ja")]),
    answer(None, 1003, all_results=[refused(1003, "hi"), refused(1203), answer(made(JA, "ja"), 1015)]),
    answer([made(HI, "hi"), made(FR, "fr")], all_results=[answer([made(HI, "hi"), made(OTHER, "de")])]),
    answer(None, 1104),
    answer(status()),
    answer(status_long_ago()),
    answer(completed()),
    answer(failed()),
    answer({"lang_list": [language(), language("fr")]}),
    answer(voices(voice(), voice("v2"))),
    answer({"credit": 12.5}),
    answer(token="abc.def.ghi"),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, as the keys that lead there."""
    if path:
        yield path
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in steps:
        yield from places(inner, (*path, key))


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A valid answer in which a few places were replaced, removed, or moved elsewhere."""
    whole = copy.deepcopy(draw(st.sampled_from(ANSWERS)))
    for _ in range(draw(st.integers(1, 4))):
        known = list(places(whole))
        if not known:
            break
        path = draw(st.sampled_from(known))
        holder = whole
        for key in path[:-1]:
            holder = holder[key]
        how = draw(st.sampled_from(["replace", "remove", "wrap", "text", "shuffle"]))
        if how == "replace":
            holder[path[-1]] = copy.deepcopy(draw(anything))  # what is drawn is shared, and changed below
        elif how == "remove":
            del holder[path[-1]]
        elif how == "wrap":
            holder[path[-1]] = draw(st.sampled_from([[holder[path[-1]]], {"x": holder[path[-1]]}]))
        elif how == "text":
            holder[path[-1]] = json.dumps(holder[path[-1]])
        elif isinstance(holder[path[-1]], list):
            holder[path[-1]] = draw(st.permutations(holder[path[-1]]))
    return whole


wholes = changed() | st.dictionaries(st.sampled_from(NAMES), anything, max_size=6)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The bytes of a valid answer, torn or with some of them changed."""
    content = bytearray(body(draw(st.sampled_from(ANSWERS))))
    for _ in range(draw(st.integers(0, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))])


def texts(value: Any) -> Iterator[str]:
    """Every text in a typed value, the raw answer aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, AkoolError):
        yield from (str(value), value.vendor_message)
    elif isinstance(value, tuple):
        for item in value:
            yield from texts(item)
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            if field.name not in ("raw", "data", "whole"):
                yield from texts(getattr(value, field.name))


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from numbers(item)
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            if field.name not in ("raw", "data", "whole"):
                yield from numbers(getattr(value, field.name))


def assert_sound(value: Any) -> None:
    """A typed value can be shown, encoded, compared, and carried to another process."""
    again = pickle.loads(pickle.dumps(value))

    assert repr(value).encode()
    assert repr(again) == repr(value)
    assert value == value
    assert all(text.encode() and text.isprintable() for text in texts(value) if text)
    assert all(map(math.isfinite, numbers(value)))


def outcome_of(read: Callable[[], Any]) -> Any:
    """Read; anything but one of our own errors fails the test by itself."""
    try:
        value = read()
    except AkoolError as error:
        value = error
    assert_sound(value)
    return value


# Any bytes.


@many
@given(st.binary(max_size=200) | damaged() | anything.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_an_envelope_or_a_protocol_error(content: bytes) -> None:
    found = outcome_of(lambda: read_envelope(content))

    assert isinstance(found, Envelope) or type(found) is ProtocolError
    if isinstance(found, Envelope):
        for read in READERS:
            outcome_of(lambda read=read: read(found))


@many
@given(st.binary(max_size=200) | damaged())
def test_ids_are_sought_in_any_body(content: bytes) -> None:
    for job_id in find_job_ids(content):
        assert re.fullmatch(r"[0-9A-Za-z_-]{1,128}", job_id)


@many
@given(st.sampled_from(ANSWERS[:6]), st.data())
def test_every_whole_id_of_a_torn_body_is_found(whole: dict[str, Any], data: st.DataObject) -> None:
    content = body(whole)
    torn = content[: data.draw(st.integers(0, len(content)), label="cut")]
    expected = {job_id for job_id in (HI, FR, JA, OTHER) if f'"_id": "{job_id}"'.encode() in torn}

    found = set(find_job_ids(torn))
    error = outcome_of(lambda: read_envelope(torn))

    assert found == expected
    if torn != content:
        assert set(error.job_ids) == expected


# Any JSON.


@many
@given(wholes)
def test_any_answer_is_a_value_or_a_protocol_error(whole: dict[str, Any]) -> None:
    envelope = outcome_of(lambda: read_envelope(body(whole)))

    for read in READERS if isinstance(envelope, Envelope) else ():
        found = outcome_of(lambda read=read: read(envelope))
        assert not isinstance(found, AkoolError) or type(found) is ProtocolError


@many
@given(wholes, st.sampled_from(REQUESTS))
def test_any_answer_to_a_paid_post_is_a_submission_or_one_of_our_errors(
    whole: dict[str, Any], request: Request
) -> None:
    try:
        found = read_envelope(body(whole))
    except ProtocolError:
        return

    result = outcome_of(lambda: read_submission(found, request))

    if found.ok:
        assert isinstance(result, Submission | ProtocolError)
    if isinstance(result, Submission):
        assert_every_target_is_accounted_for(result, request)


def assert_every_target_is_accounted_for(submission: Submission, request: Request) -> None:
    named = [
        *(job.target for job in submission.accepted),
        *(refusal.target for refusal in submission.refused),
        *submission.missing,
    ]

    assert sorted(named) == sorted(request.targets)
    assert len(set(submission.job_ids)) == len(submission.job_ids)


def documented_ids(whole: dict[str, Any]) -> set[str]:
    """The well-formed ids under `data` and `all_results[].data`, found without the code under test."""
    results = whole.get("all_results")
    parts = [whole, *(results if isinstance(results, list) else [])]
    found = set()
    for part in parts:
        data = part.get("data") if isinstance(part, dict) else None
        for raw in data if isinstance(data, list) else [data]:
            value = raw.get("_id") if isinstance(raw, dict) else None
            if type(value) in (str, int) and re.fullmatch(r"[0-9A-Za-z_-]{8,128}", str(value)):
                found.add(str(value))
    return found


@settings(many, max_examples=60 * THOROUGH)
@given(wholes, st.sampled_from(REQUESTS))
def test_no_id_of_a_paid_post_is_lost(whole: dict[str, Any], request: Request) -> None:
    content = body(whole)
    try:
        expected = documented_ids(json.loads(content))
    except ValueError:  # numbers of more digits than Python reads: no answer that can be parsed
        return

    result = outcome_of(lambda: read_submission(read_envelope(content), request))
    kept = result.job_ids if isinstance(result, Submission | ProtocolError) else ()

    assert expected <= set(kept)
    assert expected <= set(find_job_ids(content))


@many
@given(wholes, st.sampled_from(REQUESTS))
def test_a_refusal_is_raised_only_for_an_answer_without_any_id(
    whole: dict[str, Any], request: Request
) -> None:
    content = body(whole)

    result = outcome_of(lambda: read_submission(read_envelope(content), request))

    if isinstance(result, AkoolError) and not isinstance(result, ProtocolError):
        assert not any(all_ids(json.loads(content)))


def all_ids(value: Any) -> list[Any]:
    """The values of all keys `_id`; an `_id` quoted in a text is no id of the answer's own."""
    if isinstance(value, dict):
        inner = [found for each in value.values() for found in all_ids(each)]
        return [value["_id"], *inner] if "_id" in value else inner
    return [found for each in value for found in all_ids(each)] if isinstance(value, list) else []


@many
@given(st.permutations([accepted(HI, "hi"), accepted(FR, "fr"), refused(1203, "ja"), accepted(OTHER, "de")]))
def test_the_order_of_results_does_not_matter(parts: list[dict[str, Any]]) -> None:
    last = parts[-1]["data"]

    found = read_submission(read_envelope(body(answer(last, all_results=parts))), THREE)

    assert [(job.target, job.id) for job in found.accepted] == [("hi", HI), ("fr", FR)]
    assert [refusal.target for refusal in found.refused] == ["ja"]
    assert [job.id for job in found.extra] == [OTHER]
