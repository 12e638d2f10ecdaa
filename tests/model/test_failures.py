"""The two tables of failures, row by row, against what is wanted, written out here a second time."""

from __future__ import annotations

import pytest

from akool_async._model.codes import (
    CODES,
    POLICY,
    SUCCESS,
    Action,
    CodeKind,
    Failure,
    error_for,
    failure_of_code,
    failure_of_status,
    lookup,
    not_understood,
)
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    AuthenticationError,
    BadRequestError,
    DuplicateJobError,
    InvalidMediaError,
    JobNotFoundError,
    OutOfCredits,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    VendorError,
)

WANTED = {
    # failure: (a call that may be repeated, the paid POST)
    "UNREACHABLE": ("RETRY", "RETRY"),  # provably not sent
    "CERTIFICATE": ("RAISE", "RAISE"),
    "CONNECTION_LOST": ("RETRY", "IN_DOUBT"),
    "RATE_LIMITED": ("WAIT", "WAIT"),  # it was refused: not an attempt
    "SERVER_ERROR": ("RETRY", "IN_DOUBT"),
    "UNREADABLE": ("RETRY", "IN_DOUBT"),
    "NOT_UNDERSTOOD": ("RAISE", "IN_DOUBT"),
    "SEE_OTHER": ("RAISE", "IN_DOUBT"),  # 303 says that it was accepted
    "REDIRECT": ("RAISE", "RAISE"),
    "UNAUTHORIZED": ("REFRESH_TOKEN", "REFRESH_TOKEN"),  # it was refused: nothing was made
    "BUSY": ("RETRY", "RAISE"),  # answered with an error: rejected by default
    "REFUSED": ("RAISE", "RAISE"),
}


@pytest.mark.parametrize(("failure", "actions"), WANTED.items())
def test_each_failure_leads_to_what_is_wanted(failure: str, actions: tuple[str, str]) -> None:
    found = POLICY[Failure[failure]]

    assert tuple(action.name for action in found) == actions


def test_every_failure_has_a_row() -> None:
    assert {failure.name for failure in Failure} == set(WANTED)
    assert set(POLICY) == set(Failure)


def test_create_is_repeated_only_where_nothing_can_have_been_made() -> None:
    again = {
        failure
        for failure, (_, paid) in POLICY.items()
        if paid in (Action.RETRY, Action.WAIT, Action.REFRESH_TOKEN)
    }

    assert again == {Failure.UNREACHABLE, Failure.RATE_LIMITED, Failure.UNAUTHORIZED}


def test_a_call_that_may_be_repeated_is_never_in_doubt() -> None:
    assert all(free is not Action.IN_DOUBT for free, _ in POLICY.values())


def test_the_table_does_not_change() -> None:
    with pytest.raises(TypeError):
        POLICY[Failure.CONNECTION_LOST] = (Action.RETRY, Action.RETRY)  # type: ignore[index]


# Statuses of HTTP.


@pytest.mark.parametrize(
    ("http_status", "failure"),
    [
        (200, None), (201, None), (204, None), (299, None),
        (300, Failure.REDIRECT), (301, Failure.REDIRECT), (302, Failure.REDIRECT), (307, Failure.REDIRECT),
        (308, Failure.REDIRECT), (303, Failure.SEE_OTHER), (304, Failure.SEE_OTHER),
        (400, None), (404, None), (408, None), (422, None),
        (401, Failure.UNAUTHORIZED), (403, Failure.UNAUTHORIZED), (429, Failure.RATE_LIMITED),
        (500, Failure.SERVER_ERROR), (502, Failure.SERVER_ERROR), (503, Failure.SERVER_ERROR),
        (504, Failure.SERVER_ERROR), (520, Failure.SERVER_ERROR), (599, Failure.SERVER_ERROR),
    ],
)  # fmt: skip
def test_each_http_status_is_its_failure(http_status: int, failure: Failure | None) -> None:
    assert failure_of_status(http_status) is failure


@pytest.mark.parametrize("http_status", [400, 404, 405, 410, 413, 415, 422, 402, 406, 414, 431])
@pytest.mark.parametrize("code", [None, 0, 404, 999])
def test_a_server_that_does_not_know_the_api_is_recognised(http_status: int, code: int | None) -> None:
    assert not_understood(http_status, code)


@pytest.mark.parametrize(
    ("http_status", "code"),
    [
        (404, 1008),
        (400, 1999),
        (422, -1),
        *((status, None) for status in (200, 302, 401, 403, 408, 425, 429, 500)),
    ],
)
def test_an_answer_of_the_api_or_of_its_gateway_is_understood(http_status: int, code: int | None) -> None:
    assert not not_understood(http_status, code)


# Business codes.

KINDS: dict[CodeKind, tuple[Failure, type[AkoolError]]] = {
    CodeKind.BAD_REQUEST: (Failure.REFUSED, BadRequestError),
    CodeKind.MEDIA: (Failure.REFUSED, InvalidMediaError),
    CodeKind.DUPLICATE: (Failure.REFUSED, DuplicateJobError),
    CodeKind.CREDENTIALS: (Failure.UNAUTHORIZED, AuthenticationError),
    CodeKind.CREDITS: (Failure.REFUSED, OutOfCredits),
    CodeKind.ACCOUNT: (Failure.REFUSED, PermissionDeniedError),
    CodeKind.RATE_LIMITED: (Failure.RATE_LIMITED, RateLimitError),
    CodeKind.NOT_FOUND: (Failure.REFUSED, JobNotFoundError),
    CodeKind.SERVER: (Failure.REFUSED, ServerError),  # the vendor does not say "try again later"
    CodeKind.BUSY: (Failure.BUSY, ServerError),
}
"""By the kind of a code; `test_codes.py` lists the codes of each kind."""


def test_every_kind_of_a_documented_code_has_its_failure_and_its_error() -> None:
    assert set(KINDS) == set(CodeKind) - {CodeKind.SUCCESS, CodeKind.UNKNOWN}


@pytest.mark.parametrize("code", sorted(CODES.keys() - {SUCCESS}))
def test_each_documented_code_is_its_failure_and_its_error(code: int) -> None:
    failure, error = KINDS[lookup(code).kind]
    raised = error_for(code, "said so", http_status=200)

    assert failure_of_code(code) is failure
    assert type(raised) is error
    assert (raised.code, raised.vendor_message, raised.http_status) == (code, "said so", 200)
    assert f"(code {code})" in str(raised)
    assert 'It says: "said so".' in str(raised)


@pytest.mark.parametrize("code", [0, 1007, 9999, -1, None])
def test_an_unknown_code_is_an_error_of_the_vendor_with_the_raw_code(code: int | None) -> None:
    raised = error_for(code)

    assert failure_of_code(code) is Failure.REFUSED
    assert type(raised) is VendorError
    assert raised.code == code
    assert ("no code" if code is None else f"code {code}") in str(raised)
    assert "It says" not in str(raised)


@pytest.mark.parametrize("code", [1006, 1103, 1104, 1004, 1009, 1109, 1200, 1213, 1221, 1101, 1102])
def test_what_stops_a_batch_is_an_error_of_the_account(code: int) -> None:
    assert isinstance(error_for(code), AccountError)


@pytest.mark.parametrize("code", [1003, 1010, 1202, 1203, 1222])
def test_what_rejects_one_entry_is_no_error_of_the_account(code: int) -> None:
    raised = error_for(code)

    assert isinstance(raised, BadRequestError)
    assert not isinstance(raised, AccountError)
