"""Which fault strikes which request: numbers, filters, limits, chances, and what can't be asked for."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest

from akool_async.sandbox import Fault, FaultKind, FaultPlan, Sandbox, api, cdn, fault_effects, webhooks
from akool_async.sandbox.fault_kinds import TRAITS
from akool_async.sandbox.faults import FaultTarget

STATUS = FaultTarget(on="status", job=(1, "a1"), languages=("fr",), status=2)
DONE = FaultTarget(on="status", job=(1, "a1"), languages=("fr",), status=3)
OTHER = FaultTarget(on="status", job=(2, "b2"), languages=("ja",), status=3)


def struck(fault: Fault, *subjects: FaultTarget) -> list[bool]:
    plan = FaultPlan([fault])
    return [bool(plan.match(subject)) for subject in subjects]


@pytest.mark.parametrize(
    ("nth", "expected"),
    [
        (None, [1, 1, 1, 1]),
        (2, [0, 1, 0, 0]),
        ((1, 4), [1, 0, 0, 1]),
        ([1, 4], [1, 0, 0, 1]),
        (range(2, 4), [0, 1, 1, 0]),
    ],
)
def test_nth_counts_from_one(nth: Any, expected: list[int]) -> None:
    assert struck(Fault(on="status", kind="empty", nth=nth), *[STATUS] * 4) == [bool(one) for one in expected]


def test_nth_counts_the_requests_that_pass_the_other_filters() -> None:
    fault = Fault(on="status", kind="empty", job="b2", nth=2)

    assert struck(fault, OTHER, STATUS, STATUS, OTHER, OTHER) == [False, False, False, True, False]


def test_nth_counts_from_the_moment_at_which_the_fault_was_added() -> None:
    plan = FaultPlan()
    plan.match(STATUS)
    plan.add(Fault(on="status", kind="empty", nth=1))

    assert [fault.kind for fault in plan.match(STATUS)] == [FaultKind.EMPTY]
    assert plan.match(STATUS) == ()


def test_a_job_is_named_by_id_or_ordinal_and_a_language_by_its_code() -> None:
    assert struck(Fault(on="status", kind="empty", job=2), STATUS, OTHER) == [False, True]
    assert struck(Fault(on="status", kind="empty", job="a1"), STATUS, OTHER) == [True, False]
    assert struck(Fault(on="status", kind="empty", language="ja"), STATUS, OTHER) == [False, True]


def test_a_limit_ends_a_fault() -> None:
    assert struck(Fault(on="status", kind="empty", limit=2), *[STATUS] * 3) == [True, True, False]


def test_a_star_means_every_endpoint_of_the_api_and_no_other_place() -> None:
    subjects = [FaultTarget(on=on) for on in ("token", "create", "credit", "cdn", "webhook")]

    assert struck(Fault(on="*", kind="empty"), *subjects) == [True, True, True, False, False]


def test_chances_are_drawn_from_the_seed() -> None:
    fault = Fault(on="status", kind="empty", probability=0.3)
    one, two = (FaultPlan([fault], seed=5) for _ in range(2))
    hits = [bool(one.match(STATUS)) for _ in range(1000)]

    assert hits == [bool(two.match(STATUS)) for _ in range(1000)]
    assert sum(hits) == pytest.approx(300, abs=60)


def test_faults_of_finished_jobs_wait_for_the_finish() -> None:
    assert struck(Fault(on="status", kind="done_without_url", nth=1), STATUS, DONE) == [False, True]
    assert struck(Fault(on="status", kind="unknown_status", value="3"), STATUS, DONE) == [False, True]
    assert struck(Fault(on="status", kind="unknown_status", value=7), STATUS, DONE) == [True, True]


def test_forbidden_urls_happen_once_per_job_unless_told_otherwise() -> None:
    assert struck(Fault(on="status", kind="url_forbidden"), DONE, DONE, OTHER, OTHER) == [
        True,
        False,
        True,
        False,
    ]
    assert struck(Fault(on="status", kind="url_forbidden", limit=3), DONE, DONE, OTHER) == [True, True, True]


def test_faults_come_and_go() -> None:
    first, second = Fault(on="status", kind="empty"), Fault(on="status", kind="html")
    plan = FaultPlan([first, second])
    both = plan.match(STATUS)
    plan.remove(first)
    one = plan.match(STATUS)
    plan.clear()

    assert both == (first, second)
    assert one == (second,)
    assert plan.match(STATUS) == ()
    assert plan.hits == (first, second, second)
    assert len(plan) == 0
    assert list(plan) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"on": "status", "kind": "refuse_language"},
        {"on": "create", "kind": "vanish"},
        {"on": "cdn", "kind": "code"},
        {"on": "*", "kind": "drip"},
        {"on": "webhook", "kind": "empty"},
        {"on": "elsewhere", "kind": "empty"},
        {"on": "status", "kind": "nonsense"},
        {"on": "status", "kind": "empty", "probability": 2},
        {"on": "status", "kind": "empty", "limit": 0},
        {"on": "create", "kind": "omit_language"},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Fault(**fields)


@pytest.mark.parametrize("fields", [{"on": "status"}, {"on": "status", "kind": "empty", "nht": 1}])
def test_a_misspelt_fault_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Fault(**fields)


def test_nth_has_to_be_a_number() -> None:
    with pytest.raises(TypeError):
        Fault(on="status", kind="empty", nth="2")


def test_every_kind_has_a_row_and_an_effect() -> None:
    """A kind that nothing asks for would be matched and counted as a hit, and change nothing."""
    named = {
        node.attr
        for module in (api, cdn, fault_effects, webhooks)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "FaultKind"
    }

    assert set(TRAITS) == set(FaultKind)
    assert named == {kind.name for kind in FaultKind}


def test_the_kinds_that_take_effect_by_themselves_are_listed() -> None:
    acted = re.search(r"yes for ([a-z_,\s]+?), no for the others", Fault.__doc__ or "")

    assert acted
    assert set(re.findall(r"[a-z]+(?:_[a-z]+)*", acted[1])) - {"and"} == {
        kind for kind, traits in TRAITS.items() if traits.acts
    }


def test_the_usual_effect_of_a_kind_can_be_overruled() -> None:
    acts = {
        do: Fault(on="create", kind=do).acts for do in ("reset_before", "reset_after", "http", "truncated")
    }

    assert acts == {"reset_before": False, "reset_after": True, "http": False, "truncated": True}
    assert Fault(on="create", kind="http", acted=True).acts
    assert not Fault(on="create", kind="truncated", acted=False).acts


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("create:reset:nth=2", Fault(on="create", kind="reset_after", nth=2)),
        ("cdn:reset", Fault(on="cdn", kind="reset_mid")),
        (
            "*:http:status=503:retry_after=2:limit=3",
            Fault(on="*", kind="http", status=503, retry_after="2", limit=3),
        ),
        ("status:empty:nth=1,4:job=2", Fault(on="status", kind="empty", nth=(1, 4), job=2)),
        ("status:empty:nth=2-5:job=ab", Fault(on="status", kind="empty", nth=range(2, 6), job="ab")),
        ("create:hang:acted=yes", Fault(on="create", kind="hang", acted=True)),
        (
            "create:cut_after_id:acted=no:value=2",
            Fault(on="create", kind="cut_after_id", acted=False, value=2),
        ),
        ("create:odd_price:value=null", Fault(on="create", kind="odd_price")),
        (
            "create:odd_price:value=NaN:language=fr",
            Fault(on="create", kind="odd_price", value="NaN", language="fr"),
        ),
        ("create:odd_id:value=number", Fault(on="create", kind="odd_id", value="number")),
        (
            "cdn:drip:size=3:seconds=0.5:probability=0.25",
            Fault(on="cdn", kind="drip", size=3, seconds=0.5, probability=0.25),
        ),
        (
            "languages:redirect:location=http://127.0.0.1:80/x:y?a=b",
            Fault(on="languages", kind="redirect", location="http://127.0.0.1:80/x:y?a=b"),
        ),
    ],
)
def test_a_fault_can_be_written_as_text(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault


@pytest.mark.parametrize("faults", ["create:reset", ["create:reset"], Fault.parse("create:reset")])
def test_a_plan_reads_texts_and_one_fault_may_be_alone(faults: Any) -> None:
    added = FaultPlan()
    added.add(*(faults if isinstance(faults, list) else [faults]))

    assert list(FaultPlan(faults)) == list(added) == [Fault.parse("create:reset")]
    assert list(Sandbox(media=False, faults=faults).faults) == [Fault.parse("create:reset")]


@pytest.mark.parametrize(
    ("wrong", "error"), [("create:rest", ValueError), (5, TypeError), (Fault, TypeError)]
)
def test_a_plan_refuses_what_is_no_fault_as_it_is_added(wrong: Any, error: type[Exception]) -> None:
    plan = FaultPlan()

    with pytest.raises(error):
        plan.add("create:reset", wrong)
    with pytest.raises(error):
        Sandbox(media=False, faults=[wrong])

    assert list(plan) == []


def test_nth_can_have_no_end() -> None:
    assert struck(Fault.parse("status:empty:nth=3-"), *[STATUS] * 4) == [False, False, True, True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "may begin with"),
        ("elsewhere:empty", "webhook"),
        ("create", "reset_after"),
        ("create:drip", "http_with_answer"),
        ("create:rest:nth=2", "reset_after"),
        ("create:reset:nht=2", "'nht'.*nth"),
        ("create:reset:2", "'2'"),
        ("create:reset:nth=two", "nth"),
        ("create:hang:acted=maybe", "acted"),
        ("create:reset:limit=0", "limit"),
        ("create:omit_language", "language"),
    ],
)
def test_a_text_that_is_no_fault_is_refused_with_what_there_is(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Fault.parse(text)
