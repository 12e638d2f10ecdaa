"""The states of an entry: which may follow which, and what a resume does, written out a second time."""

from __future__ import annotations

import pytest

from akool_async._model.states import RESUME_ACTIONS, TRANSITIONS, ResumeAction, State, may_follow

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
    assert set(TRANSITIONS) == set(RESUME_ACTIONS) == set(State)


def test_a_submit_always_goes_by_a_committed_intent() -> None:
    assert {state for state in State if State.SUBMITTED in TRANSITIONS[state]} == {
        State.SUBMITTING,
        State.IN_DOUBT,
    }


def test_what_was_delivered_is_never_sent_again() -> None:
    assert TRANSITIONS[State.DELIVERED] == frozenset()
    assert RESUME_ACTIONS[State.DELIVERED] is ResumeAction.REPORT


def test_a_resume_submits_by_itself_only_what_was_never_sent() -> None:
    assert [state for state, act in RESUME_ACTIONS.items() if act is ResumeAction.SUBMIT] == [State.PLANNED]


@pytest.mark.parametrize(
    ("state", "act"),
    [
        (State.SUBMITTING, ResumeAction.DOUBT),
        (State.IN_DOUBT, ResumeAction.HOLD),
        (State.SUBMITTED, ResumeAction.POLL),
        (State.COMPLETED, ResumeAction.DOWNLOAD),
        (State.FAILED, ResumeAction.REPORT),
        (State.EXPIRED, ResumeAction.REPORT),
    ],
)
def test_a_resume_enters_where_the_journal_says(state: State, act: ResumeAction) -> None:
    assert RESUME_ACTIONS[state] is act
