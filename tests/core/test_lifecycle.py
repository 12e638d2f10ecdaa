"""The states of an entry: which may follow which, and what a resume does, written out a second time."""

from __future__ import annotations

import pytest

from akool_async._core.lifecycle import NEXT, RESUME, OnResume, State, may_follow

ALLOWED = {
    "planned": "submitting",
    "submitting": "submitted failed in_doubt planned",
    "submitted": "completed failed expired",
    "completed": "delivered expired",
    "failed": "submitting",
    "delivered": "",
    "in_doubt": "submitted submitting failed planned",
    "expired": "submitting",
}


@pytest.mark.parametrize("before", State)
def test_only_the_listed_states_may_follow(before: State) -> None:
    following = {after.value for after in State if may_follow(before, after)}

    assert following == {before.value, *ALLOWED[before.value].split()}


def test_every_state_has_a_row_in_both_tables() -> None:
    assert set(NEXT) == set(RESUME) == set(State)


def test_a_submit_always_goes_by_a_committed_intent() -> None:
    assert {state for state in State if State.SUBMITTED in NEXT[state]} == {State.SUBMITTING, State.IN_DOUBT}


def test_what_was_delivered_is_never_sent_again() -> None:
    assert NEXT[State.DELIVERED] == frozenset()
    assert RESUME[State.DELIVERED] is OnResume.TELL


def test_a_resume_submits_by_itself_only_what_was_never_sent() -> None:
    assert [state for state, act in RESUME.items() if act is OnResume.SUBMIT] == [State.PLANNED]


@pytest.mark.parametrize(
    ("state", "act"),
    [
        (State.SUBMITTING, OnResume.DOUBT),
        (State.IN_DOUBT, OnResume.HOLD),
        (State.SUBMITTED, OnResume.POLL),
        (State.COMPLETED, OnResume.FETCH),
        (State.FAILED, OnResume.TELL),
        (State.EXPIRED, OnResume.TELL),
    ],
)
def test_a_resume_enters_where_the_journal_says(state: State, act: OnResume) -> None:
    assert RESUME[state] is act
