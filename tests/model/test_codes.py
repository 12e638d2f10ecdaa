"""The table of business codes against the vendor's documentation, written out a second time here."""

from __future__ import annotations

import pytest

from akool_async._model.codes import CODES, SUCCESS, Code, CodeKind, lookup

DOCUMENTED = {
    CodeKind.SUCCESS: [1000],
    CodeKind.BAD_REQUEST: [1003, 1010, 1011],
    CodeKind.MEDIA: [1013, 1203, 1204, 1207, 1208, 1209, 1210],
    CodeKind.DUPLICATE: [1202, 1222],
    CodeKind.CREDENTIALS: [1101, 1102],
    CodeKind.CREDITS: [1006, 1103, 1104],
    CodeKind.ACCOUNT: [1004, 1009, 1109, 1200, 1213, 1221],
    CodeKind.RATE_LIMITED: [1005],
    CodeKind.NOT_FOUND: [1008, 1014],
    CodeKind.SERVER: [1017, 1110, 1112],
    CodeKind.BUSY: [1015, 1201, 1205, 1211],
}
ROWS = [(code, kind) for kind, codes in DOCUMENTED.items() for code in codes]


@pytest.mark.parametrize(("code", "kind"), ROWS)
def test_each_documented_code_has_its_kind(code: int, kind: CodeKind) -> None:
    assert lookup(code).kind is kind
    assert lookup(code) is CODES[code]


def test_the_table_holds_the_documented_codes_and_no_others() -> None:
    assert sorted(CODES) == sorted(code for code, _ in ROWS)


def test_every_row_says_what_it_means() -> None:
    assert all(row.meaning and not row.meaning.endswith(".") for row in CODES.values())
    assert all(number == row.code for number, row in CODES.items())


def test_one_code_means_success() -> None:
    assert [code for code, row in CODES.items() if row.kind is CodeKind.SUCCESS] == [SUCCESS] == [1000]


@pytest.mark.parametrize("code", [0, -1, 1, 999, 1999, 9999, 10**30])
def test_an_unknown_code_keeps_its_number(code: int) -> None:
    assert lookup(code) == Code(code, f"an undocumented answer (code {code})", CodeKind.UNKNOWN)


@pytest.mark.parametrize("code", [1007, 1016, 1105, 1108, 1111, 1206, 1212, 1214, 1220, 1223])
def test_a_code_that_is_documented_for_another_tool_is_said_to_be(code: int) -> None:
    row = lookup(code)

    assert (row.code, row.kind) == (code, CodeKind.UNKNOWN)
    assert row.meaning == f"a code of another tool (code {code})"


def test_no_code_at_all_is_unknown_too() -> None:
    row = lookup(None)

    assert (row.code, row.kind, row.meaning) == (-1, CodeKind.UNKNOWN, "an undocumented answer (no code)")


def test_the_table_does_not_change() -> None:
    with pytest.raises(TypeError):
        CODES[1] = CODES[1000]  # type: ignore[index]
