"""A price that the vendor has not said is unknown in every command, and never shown as nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from akool_async._model.tariff import budget_refusal
from akool_async.cli.options import DEFAULT_OUTPUT
from akool_async.cli.prices import Basis, Estimate, JobPrice, Prices
from akool_async.cli.report import cost
from akool_async.cli.run_summary import OutcomeCounts, RunSummary
from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import Command


def catalog(folder: Path) -> Path:
    path = folder / "films.csv"
    path.write_text('url,languages,key\nhttps://example.com/1.mp4,"ja,fr",one\n')
    return path


def test_no_command_shows_an_unknown_price_as_nothing(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    silent = [Fault(on=place, kind="odd_price", value="missing") for place in ("create", "status")]
    serve(faults=silent)
    told = akool("run", catalog(tmp_path), "--out", out, "--yes", "--json")
    over = json.loads(told.out.splitlines()[-1])
    status = akool("status", "--out", out)
    numbers = json.loads(akool("status", "--out", out, "--json").out)
    plan = akool("plan", catalog(tmp_path), "--out", out)
    page = (out / "report" / "index.html").read_text(encoding="utf-8")

    assert "what 2 jobs cost is not known" in told.err
    assert (over["credits_used"], over["jobs_without_price"]) == (0, 2)
    assert "\nCredits: not known for 2 jobs.\n" in status.out
    assert numbers["jobs_without_price"] == 2
    assert "So far in this journal, credits: not known for 2 jobs." in plan.err
    assert "jobs of unknown cost" in page
    assert re.search(r">\s*1 unknown<", page)
    for said in (told.err, status.out, plan.err, page):
        assert not re.search(r"(?<![\d.])0(</strong> <span>)? (credits|used)", said)


def test_what_is_known_is_shown_beside_what_is_not(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    vendor = serve()
    akool("run", catalog(tmp_path), "--out", out, "--yes")
    for place in ("create", "status"):
        vendor.faults.add(Fault(on=place, kind="odd_price", value="missing"))
    akool("translate", "https://example.com/2.mp4", "--to", "ja", "--out", out, "--yes")

    told = akool("status", "--out", out)

    assert "\nCredits: 8 used, 0 locked, not known for 1 job.\n" in told.out


def test_a_plan_leaves_what_a_run_may_spend_beside_calls_in_doubt_that_were_paid_for_once_more(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    vendor = serve(faults=[Fault(on="create", kind="reset_after", nth=1)], video_seconds=16.0)
    one, all_of_them = tmp_path / "one.csv", tmp_path / "all.csv"
    rows = [f"https://example.com/{number}.mp4,ja\n" for number in range(4)]
    one.write_text("url,to\n" + rows[0])
    all_of_them.write_text("url,to\n" + "".join(rows))
    bound = ("--out", out, "--no-check", "--max-credits", "16")
    akool("run", one, *bound, "--yes")
    doubted = akool("plan", all_of_them, *bound)
    akool("run", one, "--out", out, "--no-check", "--yes", "--on-in-doubt", "resubmit")
    planned = akool("plan", all_of_them, *bound)
    akool("run", all_of_them, *bound, "--yes")

    told = "--max-credits 16 leaves 16 for that: nothing is submitted until an earlier job"
    assert told in " ".join(doubted.err.split())
    assert "--max-credits 16 leaves 8 for that: what doesn't fit is not submitted." in planned.err
    assert len(vendor.audit.jobs) == 4


def test_nothing_is_said_to_fit_whose_price_is_unknown_nor_told_to_run_without_a_bound_with_one(
    akool: Command, vendor: Sandbox, quick: None, tmp_path: Path
) -> None:
    films = tmp_path / "films.csv"
    films.write_text("url,to\n" + "".join(f"https://example.com/{n}.mp4,ja\n" for n in range(3)))
    bound = ["--max-credits", "1", "--out", tmp_path / "out"]
    planned = akool("plan", films, *bound)
    ended = akool("run", films, *bound, "--yes")

    assert ": it fits" not in planned.err
    assert "whether it fits shows when the first jobs have a price" in " ".join(planned.err.split())
    assert ended.code != 0
    assert "--max-credits CREDITS" in ended.err
    assert "--max-credits 1 " not in ended.err.partition("To resume")[2]


def test_a_plan_promises_nothing_that_a_run_keeps_back_for_the_dearest_kind(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    vendor = serve(video_seconds=16.0)
    films = tmp_path / "films.csv"
    films.write_text("url,to,lipsync\nhttps://example.com/1.mp4,ja fr,no\nhttps://example.com/1.mp4,de,yes\n")
    assert akool("run", films, "--out", out, "--no-check", "--yes").code == 0
    made = len(vendor.audit.jobs)
    films.write_text("url,to\nhttps://example.com/2.mp4,ja\n")
    bound = (films, "--out", out, "--no-check", "--max-credits")
    planned, ran = akool("plan", *bound, "36"), akool("run", *bound, "36", "--yes")
    enough = akool("plan", *bound, "48")

    told = "because 20, the price of the dearest job so far, have to be left for the next job."
    assert f"--max-credits 36 leaves 8 for that: nothing is submitted, {told}" in planned.err
    assert ran.code == 5
    refused = (
        "--max-credits (36) would be exceeded: 28 credits are spent or locked, and 20, the price of the "
    )
    assert f"{refused}dearest job so far, have to be left for the next one." in " ".join(ran.err.split())
    assert len(vendor.audit.jobs) == made
    assert "--max-credits 48 leaves 20 for that: it fits." in enough.err
    assert akool("run", *bound, "48", "--yes").code == 0


@pytest.mark.parametrize(("left", "fits"), [(24.0, True), (23.9, False)])
def test_all_of_a_plan_fits_only_where_the_last_job_may_be_the_one_of_unknown_length(
    left: float, fits: bool
) -> None:
    short, unknown = JobPrice(4.0, 4.0, Basis.LEARNED, 4.0), JobPrice(4.0, 4.0, Basis.AVERAGE)
    prices = Prices()
    prices._dearest = 20.0

    assert prices.estimate([short, unknown]).fit(left) == (
        "it fits" if fits else "what doesn't fit is not submitted"
    )


def test_a_dear_job_of_the_plan_raises_what_has_to_be_left_for_one_of_unknown_length() -> None:
    dear, unknown = JobPrice(30.0, 30.0, Basis.LEARNED, 30.0), JobPrice(4.0, 4.0, Basis.AVERAGE)
    prices = Prices()
    prices._dearest = 4.0
    estimate = prices.estimate([dear, unknown])

    assert estimate.fit(59.0) == "what doesn't fit is not submitted"
    assert estimate.fit(60.0) == "it fits"
    assert estimate.fit(3.0).startswith("nothing is submitted, because 4, the price of the dearest job")
    assert estimate.fit(3.0, surely=False) == "what doesn't fit is not submitted"
    assert estimate.fit(0.0, surely=False) == "nothing is submitted"


def test_a_price_that_is_unknown_is_called_so_once() -> None:
    estimate = Estimate(jobs=3, by=Counter({Basis.UNKNOWN: 3}), earlier=2)

    assert cost(estimate).count("unknown") == 1
    assert "no job of their kind was made before" in cost(estimate)


def test_a_large_budget_is_written_out() -> None:
    refusal = budget_refusal(1_234_567.5, 1_234_566, 4)

    assert "max_credits (1,234,567.5) would be exceeded: 1,234,566 credits are spent" in refusal


@pytest.mark.parametrize(
    ("expected", "said"),
    [(1, "It is saved"), (2, "Both translations are saved"), (3, "All 3 translations are saved")],
)
def test_a_run_says_in_words_that_all_is_saved(expected: int, said: str) -> None:
    counts = OutcomeCounts(expected=expected, counts=Counter({"saved": expected}))

    assert next(RunSummary(counts=counts, output=DEFAULT_OUTPUT).lines()).startswith(said)
