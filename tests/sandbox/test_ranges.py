"""Range and If-Range: which bytes are meant, when the whole file is, and when none can be."""

from __future__ import annotations

import pytest

from akool_async.sandbox.http import Unsatisfiable, span_of

DATE = "Thu, 09 Oct 2025 08:53:20 GMT"


def span(wanted: str | None, condition: str | None = None, length: int = 100) -> range | None:
    return span_of(wanted, condition, length=length, etag='"e1"', modified=DATE)


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=10-", 10, 99),
        ("bytes=-10", 90, 99),
        ("bytes=-500", 0, 99),
        ("bytes=99-99", 99, 99),
        ("bytes=90-500", 90, 99),
    ],
)
def test_a_range_is_cut_to_the_file(wanted: str, first: int, last: int) -> None:
    assert span(wanted) == range(first, last + 1)


@pytest.mark.parametrize(
    "wanted",
    [None, "", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", f"bytes=0-{'9' * 5000}"],
)
def test_what_is_no_single_range_means_the_whole_file(wanted: str | None) -> None:
    assert span(wanted) is None


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_of_the_file_can_not_be_satisfied(wanted: str) -> None:
    with pytest.raises(Unsatisfiable):
        span(wanted)


def test_an_empty_file_has_no_range() -> None:
    for wanted in ("bytes=0-", "bytes=-5"):
        with pytest.raises(Unsatisfiable):
            span(wanted, length=0)


@pytest.mark.parametrize(
    ("condition", "partial"), [('"e1"', True), (DATE, True), ('"e2"', False), ('W/"e1"', False)]
)
def test_if_range_wants_the_very_same_file(condition: str, partial: bool) -> None:
    assert (span("bytes=10-", condition) is not None) is partial
