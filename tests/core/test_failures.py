"""The two tables of failures, row by row, against what is wanted, written out here a second time."""

from __future__ import annotations

import pytest

from akool_async._core.errors import (
    AccountClosed,
    AccountError,
    AkoolError,
    BadCredentials,
    DuplicateRefused,
    JobGone,
    MediaRefused,
    OutOfCredits,
    RequestRefused,
    ServerTrouble,
    Throttled,
    VendorError,
)
from akool_async._core.failures import POLICY, Action, Failure, error_of, failure_of_code, failure_of_status

WANTED = {
    # failure: (a call that may be repeated, the paid POST)
    "UNREACHABLE": ("REPEAT", "REPEAT"),  # provably not sent
    "CERTIFICATE": ("RAISE", "RAISE"),
    "LOST": ("REPEAT", "DOUBT"),
    "THROTTLED": ("WAIT", "WAIT"),  # it was refused: not an attempt
    "TROUBLE": ("REPEAT", "DOUBT"),
    "UNREADABLE": ("REPEAT", "DOUBT"),
    "REDIRECT": ("RAISE", "RAISE"),
    "UNAUTHORIZED": ("RENEW", "RENEW"),  # it was refused: nothing was made
    "BUSY": ("REPEAT", "RAISE"),  # answered with an error: rejected by default
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
        failure for failure, (_, paid) in POLICY.items() if paid in (Action.REPEAT, Action.WAIT, Action.RENEW)
    }

    assert again == {Failure.UNREACHABLE, Failure.THROTTLED, Failure.UNAUTHORIZED}


def test_a_call_that_may_be_repeated_is_never_in_doubt() -> None:
    assert all(free is not Action.DOUBT for free, _ in POLICY.values())


def test_the_table_does_not_change() -> None:
    with pytest.raises(TypeError):
        POLICY[Failure.LOST] = (Action.REPEAT, Action.REPEAT)  # type: ignore[index]


# Statuses of HTTP.


@pytest.mark.parametrize(
    ("http_status", "failure"),
    [
        (200, None), (201, None), (204, None), (299, None),
        (300, Failure.REDIRECT), (301, Failure.REDIRECT), (302, Failure.REDIRECT), (307, Failure.REDIRECT),
        (308, Failure.REDIRECT), (304, Failure.REDIRECT),
        (400, None), (404, None), (408, None), (422, None),
        (401, Failure.UNAUTHORIZED), (403, Failure.UNAUTHORIZED), (429, Failure.THROTTLED),
        (500, Failure.TROUBLE), (502, Failure.TROUBLE), (503, Failure.TROUBLE), (504, Failure.TROUBLE),
        (520, Failure.TROUBLE), (599, Failure.TROUBLE),
    ],
)  # fmt: skip
def test_each_http_status_is_its_failure(http_status: int, failure: Failure | None) -> None:
    assert failure_of_status(http_status) is failure


# Business codes.

CODES: dict[type[AkoolError], tuple[Failure, list[int]]] = {
    RequestRefused: (Failure.REFUSED, [1003, 1010, 1011]),
    MediaRefused: (Failure.REFUSED, [1013, 1203, 1204, 1207, 1208, 1209, 1210]),
    DuplicateRefused: (Failure.REFUSED, [1202, 1222]),
    BadCredentials: (Failure.UNAUTHORIZED, [1101, 1102]),
    OutOfCredits: (Failure.REFUSED, [1006, 1103, 1104]),
    AccountClosed: (Failure.REFUSED, [1004, 1009, 1109, 1200, 1213, 1221]),
    Throttled: (Failure.THROTTLED, [1005]),
    JobGone: (Failure.REFUSED, [1008, 1014]),
    ServerTrouble: (Failure.BUSY, [1015, 1201, 1205, 1211]),
}
SERVER = (1017, 1110, 1112)
"""Errors of the server for which the vendor does not say "try again later"."""

ROWS = [(code, failure, error) for error, (failure, codes) in CODES.items() for code in codes]


@pytest.mark.parametrize(
    ("code", "failure", "error"), [*ROWS, *((c, Failure.REFUSED, ServerTrouble) for c in SERVER)]
)
def test_each_documented_code_is_its_failure_and_its_error(
    code: int, failure: Failure, error: type[AkoolError]
) -> None:
    raised = error_of(code, "said so", http_status=200)

    assert failure_of_code(code) is failure
    assert type(raised) is error
    assert (raised.code, raised.vendor_message, raised.http_status) == (code, "said so", 200)
    assert f"(code {code})" in str(raised)
    assert 'It says: "said so".' in str(raised)


@pytest.mark.parametrize("code", [0, 1007, 9999, -1, None])
def test_an_unknown_code_is_an_error_of_the_vendor_with_the_raw_code(code: int | None) -> None:
    raised = error_of(code)

    assert failure_of_code(code) is Failure.REFUSED
    assert type(raised) is VendorError
    assert raised.code == code
    assert ("no code" if code is None else f"code {code}") in str(raised)
    assert "It says" not in str(raised)


@pytest.mark.parametrize("code", [1006, 1103, 1104, 1004, 1009, 1109, 1200, 1213, 1221, 1101, 1102])
def test_what_stops_a_batch_is_an_error_of_the_account(code: int) -> None:
    assert isinstance(error_of(code), AccountError)


@pytest.mark.parametrize("code", [1003, 1010, 1202, 1203, 1222])
def test_what_rejects_one_entry_is_no_error_of_the_account(code: int) -> None:
    raised = error_of(code)

    assert isinstance(raised, RequestRefused)
    assert not isinstance(raised, AccountError)
