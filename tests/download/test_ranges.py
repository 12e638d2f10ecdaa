"""What a host's answer means for a part of a file: bytes of another place or version are never appended."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from akool_async._download.ranges import Body, RetryableResponse, read_range
from akool_async._model.errors import DownloadError

TAG = '"one"'
NOW = 1_700_000_000.0
PART = {"etag": TAG, "content-range": "bytes 100-199/200", "content-length": "100"}


def read(
    status: int, headers: dict[str, str], *, received: int = 100, length: int | None = 200
) -> Body | None:
    return read_range(status, headers, received=received, etag=TAG, length=length)


def test_the_rest_of_a_file_continues_its_part() -> None:
    assert read(206, PART) == Body(restarts=False, end=200, length=200, etag=TAG)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-range": "bytes 99-199/200", "content-length": "101"},
        {"content-range": "bytes 101-199/200", "content-length": "99"},
        {"content-range": "bytes 0-198/200", "content-length": "199"},
        {"content-type": "multipart/byteranges; boundary=x"},
        {"content-range": "bytes 100-99/200", "content-length": "0"},
        {"content-range": "bytes 100-200/200", "content-length": "101"},
        {"content-range": "bytes 100-199/201"},
        {"content-range": "bytes 100-199/200", "content-length": "99"},
        {"content-range": "pages 100-199/200"},
        {"content-range": ""},
        {"etag": '"two"'},
        {"etag": 'W/"one"'},
        {"etag": ""},
    ],
)
def test_a_range_that_does_not_continue_the_part_starts_over(headers: dict[str, str]) -> None:
    with pytest.raises(RetryableResponse) as raised:
        read(206, PART | headers)

    assert raised.value.start_over


def test_a_range_of_unknown_total_keeps_the_length_that_is_known() -> None:
    body = read(206, {"etag": TAG, "content-range": "bytes 100-149/*"})

    assert body == Body(restarts=False, end=150, length=200, etag=TAG)


@pytest.mark.parametrize("received", [0, 100])
def test_a_range_that_is_the_whole_file_restarts(received: int) -> None:
    whole = {"etag": '"two"', "content-range": "bytes 0-199/200", "content-length": "200"}

    assert read(206, whole, received=received) == Body(restarts=True, end=200, length=200, etag='"two"')


def test_one_byte_is_a_range() -> None:
    body = read(206, {"etag": TAG, "content-range": "bytes 100-100/101", "content-length": "1"}, length=None)

    assert body == Body(restarts=False, end=101, length=101, etag=TAG)


@pytest.mark.parametrize("status", [206, 416])
def test_an_answer_that_names_no_range_starts_over(status: int) -> None:
    with pytest.raises(RetryableResponse) as raised:
        read(status, {"etag": TAG})

    assert raised.value.start_over


def test_a_range_that_does_not_begin_at_the_first_byte_is_no_beginning() -> None:
    with pytest.raises(RetryableResponse) as raised:
        read(206, PART, received=0)

    assert raised.value.start_over


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity, br", "identity,deflate"])
def test_a_compressed_range_is_not_appended(encoding: str) -> None:
    with pytest.raises(RetryableResponse):
        read(206, PART | {"content-encoding": encoding})


def test_a_file_that_ends_where_the_part_ends_is_complete() -> None:
    assert read(416, {"content-range": "bytes */100"}) is None


@pytest.mark.parametrize("span", ["bytes */99", "bytes */101", "bytes */0", "bytes 0-99/100", "", "100"])
def test_a_file_that_ends_elsewhere_is_not_complete(span: str) -> None:
    with pytest.raises(RetryableResponse) as raised:
        read(416, {"content-range": span})

    assert raised.value.start_over


def test_no_range_is_unsatisfiable_before_the_first_byte() -> None:
    with pytest.raises(DownloadError) as raised:
        read(416, {"content-range": "bytes */0"}, received=0)

    assert raised.value.http_status == 416


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (formatdate(NOW + 60, usegmt=True), 60.0),
        (formatdate(NOW - 60, usegmt=True), 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 599])
def test_a_busy_host_is_asked_again_when_it_says(status: int, wait: str, seconds: float | None) -> None:
    with pytest.raises(RetryableResponse) as raised:
        read(status, {"retry-after": wait, "date": formatdate(NOW, usegmt=True)})

    assert (raised.value.http_status, raised.value.retry_after) == (status, seconds)
    assert not raised.value.start_over


def test_a_moment_of_a_host_that_does_not_say_its_time_is_not_waited_for() -> None:
    with pytest.raises(RetryableResponse) as raised:
        read(503, {"retry-after": formatdate(NOW + 60, usegmt=True)})

    assert raised.value.retry_after == 0.0


def test_a_busy_host_may_say_nothing_more() -> None:
    with pytest.raises(RetryableResponse) as raised:
        read(503, {})

    assert raised.value.retry_after is None


@pytest.mark.parametrize("status", [201, 204, 302, 400, 403, 404, 410])
def test_what_no_attempt_changes_is_an_error(status: int) -> None:
    with pytest.raises(DownloadError) as raised:
        read(status, {})

    assert raised.value.http_status == status


def test_a_whole_file_restarts() -> None:
    headers = {"etag": '"two"', "content-length": "300", "content-type": "video/mp4"}

    assert read(200, headers) == Body(restarts=True, end=300, length=300, etag='"two"')


@pytest.mark.parametrize("etag", ['W/"one"', "one", '"one', '"o"ne"', ""])
def test_a_weak_or_broken_etag_promises_nothing(etag: str) -> None:
    body = read(200, {"etag": etag})

    assert body is not None
    assert body.etag == ""


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣", "9" * 20])
def test_a_length_that_is_no_number_is_unknown(length: str) -> None:
    assert read(200, {"content-length": length}) == Body(restarts=True, end=None, length=None, etag="")


def test_a_page_does_not_replace_a_part() -> None:
    page = {"content-type": "Text/HTML; charset=utf-8; a=b", "content-length": "10"}
    with pytest.raises(RetryableResponse) as raised:
        read(200, page)

    assert not raised.value.start_over
    assert read(200, page, received=0) is not None
