"""Signals at chosen bytes and events, again and again on one journal: nothing paid twice, no paid job lost.

AKOOL_TEST_KILLS sets how many there are.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter

import pytest

from tests.vendor import faults as shapes
from tests.vendor.conftest import violations
from tests.vendor.faults import Fault, Strike
from tests.vendor.judge import DOUBTFUL, Work, read_journal
from tests.vendor.ledger import read_events
from tests.vendor.program import Customer, Run, video
from tests.vendor.server import Vendor

KILLS = int(os.environ.get("AKOOL_TEST_KILLS", "10"))
KILL, STOP, CONTINUE = (signal.SIGKILL,), signal.SIGSTOP, signal.SIGCONT
SIGNALS = [
    *[KILL] * 6,
    (signal.SIGTERM,),
    (signal.SIGINT,),
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGTERM, signal.SIGINT),
    (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT),
    (signal.SIGHUP,),
    (STOP, CONTINUE),
    (STOP, CONTINUE, signal.SIGKILL),
]
DRAINING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SECOND_FAULTS = [
    Fault(cut=500, end="rst"),
    Fault(cut=300, end="fin"),
    Fault(status=503, end="fin"),
    Fault(shape=shapes.bad_chunk, end="fin"),
    Fault(shape=shapes.bad_checksum),
    Fault(stop_reading=200, end="rst"),
    Fault(on="status", end="rst", cut=10),
    Fault(on="file", cut=900, end="rst"),
]


class KillLoop:
    """One journal and one catalog that grows, used by a client that never lives long."""

    def __init__(
        self, customer: Customer, chance: random.Random, *, videos: int = 3, max_credits: float | None = None
    ) -> None:
        self.customer = customer
        self.chance = chance
        self.videos = videos
        self.max_credits = max_credits
        self.ends: Counter[str] = Counter()

    def fault(self) -> Fault:
        chance = self.chance
        kinds = [12, 4, 3, 1] if self.max_credits is None else [1, 0, 0, 0]
        on = chance.choices(["create", "status", "file", "credit"], kinds)[0]
        strike = Strike(
            signals=chance.choice(SIGNALS),
            moment=chance.choice(["read", "made", "sent"]),
            byte=chance.choice([chance.randrange(900), chance.randrange(900), 1 << 20]),
            pause=chance.choice([0.0, 0.0, chance.random() * 0.04]),
            gap=chance.random() * 0.1,
        )
        torn = chance.random() < 0.3
        return Fault(
            on=on,
            skip=chance.randrange(2),
            strike=strike,
            cut=chance.randrange(900) if torn else None,
            end="rst" if torn else "keep",
        )

    def start(self) -> Run:
        customer, form = self.customer, self.chance.choice(["command", "asyncio", "trio"])
        if form == "command":
            return customer.start(*self.command())
        requests = [video(number, "ja,fr") for number in range(self.videos)]
        return customer.start_batch(form, requests, drain_signals=DRAINING, max_credits=self.max_credits)

    def command(self, *more: str) -> tuple[object, ...]:
        catalog = self.customer.catalog(self.videos, languages="ja,fr")
        bound = () if self.max_credits is None else ("--max-credits", self.max_credits)
        return ("run", catalog, "--out", self.customer.out, "--yes", "--json", *bound, *more)

    def round(self) -> None:
        vendor = self.customer.vendor
        vendor.faults[:] = [self.fault()]
        if self.chance.random() < 0.3:
            vendor.faults.append(self.chance.choice(SECOND_FAULTS))
        run = self.start().wait()
        self.ends[str(run.code)] += 1
        if self.max_credits is None:
            self.videos += self.chance.randrange(1, 3)

    def strike(self, kills: int, **more: object) -> None:
        """Go on until there were so many strikes, and let the command line end everything undisturbed."""
        while struck(self.customer.vendor) < kills:
            self.round()
            assert violations(self.customer, finished=False, **more) == []
            if self.max_credits is not None and self.ends.total() >= 2 * kills:
                break  # nothing may be spent any more, so that nothing is sent that could be struck
        self.customer.vendor.faults.clear()
        run = self.customer.run(*self.command())
        assert run.code in (0, 5, 6), run.err
        print(f"{struck(self.customer.vendor)} strikes, {self.videos} videos, ends: {dict(self.ends)}")
        assert violations(self.customer, **more) == []

    def resubmit(self) -> set[Work]:
        """Pay again for what is in doubt; return the works of which no id is known.

        What stays in doubt has an id that may be another language's as well: its job is there.
        """
        before = read_journal(self.customer.journal)
        known = Counter(job_id for entry in before for job_id in entry.ids)
        run = self.customer.run(*self.command("--on-in-doubt", "resubmit"))
        left = [entry for entry in read_journal(self.customer.journal) if entry.state != "delivered"]
        assert run.code == (6 if left else 0), run.err
        assert all(entry.state == "in_doubt" for entry in left)
        assert all(entry.ids and all(known[job_id] > 1 for job_id in entry.ids) for entry in left)
        return {entry.work for entry in before if entry.state in DOUBTFUL and not entry.ids}


def printed_seed() -> random.Random:
    seed = int(os.environ.get("AKOOL_TEST_SEED") or random.randrange(2**32))
    print(f"AKOOL_TEST_SEED={seed}")
    return random.Random(seed)


def struck(vendor: Vendor) -> int:
    events = read_events(vendor.ledger.path)
    return len({event["exchange"] for event in events if event["event"] == "signal"})


def check_a_journal_that_is_struck(customer: Customer, kills: int) -> None:
    loop = KillLoop(customer, printed_seed())
    loop.strike(kills)
    paid_again = loop.resubmit()

    assert violations(customer, paid_again=paid_again) == []


@pytest.mark.timeout(900)
def test_after_strikes_at_chosen_bytes_the_ledgers_agree(customer: Customer) -> None:
    check_a_journal_that_is_struck(customer, KILLS)


@pytest.mark.thorough
@pytest.mark.timeout(3600)
def test_after_a_hundred_strikes_at_chosen_bytes_the_ledgers_agree(customer: Customer) -> None:
    check_a_journal_that_is_struck(customer, max(KILLS, 100))


def check_a_bound_that_is_struck(customer: Customer, kills: int) -> None:
    """A kill can hide the price of one job; the next run counts it all the same."""
    loop = KillLoop(customer, printed_seed(), videos=60, max_credits=200.0)
    loop.strike(kills, max_credits=200.0, unpriced=4.0)


def test_strikes_do_not_loosen_the_bound(customer: Customer) -> None:
    check_a_bound_that_is_struck(customer, 4)


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_twenty_strikes_do_not_loosen_the_bound(customer: Customer) -> None:
    check_a_bound_that_is_struck(customer, 20)


# Single moments.


def test_the_real_command_line_is_killed_between_a_job_and_its_answer(customer: Customer) -> None:
    customer.vendor.faults.append(Fault(strike=Strike(moment="made")))
    killed = customer.start_shell("run", customer.catalog(2), "--out", customer.out, "--yes").wait()
    listed = customer.start_shell("resolve", "--out", customer.out, "--json").wait()

    assert (killed.code, listed.code) == (-signal.SIGKILL, 6)
    assert {entry["key"] for entry in json.loads(listed.out)} == doubtful(customer)
    assert violations(customer, finished=False) == []


def doubtful(customer: Customer) -> set[str]:
    return {entry.key for entry in read_journal(customer.journal) if entry.state in DOUBTFUL}


@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGTERM,),
        (signal.SIGINT,),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGINT, signal.SIGINT, signal.SIGINT, signal.SIGTERM),
        (signal.SIGHUP,),
        (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM),
    ],
)
def test_a_signal_does_not_tear_a_post(customer: Customer, signals: tuple[int, ...]) -> None:
    def told() -> bool:
        said = customer.folder / "run-1.err"
        return said.exists() and "Stopping: " in said.read_text()

    strike = Strike(signals=signals, moment="made", gap=0.05)
    customer.vendor.faults.append(Fault(strike=strike, until=told, delay=0.1))
    run = customer.run("run", customer.catalog(3), "--out", customer.out, "--yes", "--json")
    (made,) = (event["id"] for event in read_events(customer.vendor.ledger.path) if event["event"] == "job")

    assert run.code > 0
    assert made in {entry.job_id for entry in read_journal(customer.journal)}
    assert customer.run("run", customer.catalog(3), "--out", customer.out, "--yes", "--json").code == 0
    assert violations(customer) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_that_was_frozen_reads_the_answer_that_arrived(customer: Customer, backend: str) -> None:
    """Eight times: which of the two wins is chance where the deadline is not moved."""
    freeze = Strike(signals=(STOP,), moment="made", thaw=0.2)
    customer.vendor.faults.append(Fault(strike=freeze, times=8))
    requests = [video(number) for number in range(8)]
    customer.start_batch(backend, requests, create_timeout=60.0, max_submits=1, asleep=100.0).wait()

    assert [told.outcome for told in customer.told] == ["saved"] * 8
    assert violations(customer) == []


def test_an_id_that_is_being_confirmed_survives_a_kill(customer: Customer) -> None:
    """The answer is torn after its id; the process is killed by the vendor as it asks for that job."""
    customer.vendor.faults += [
        Fault(cut=400, end="fin"),
        Fault(on="status", strike=Strike(moment="made")),
    ]
    killed = customer.run("run", customer.catalog(1), "--out", customer.out, "--yes", "--json")

    assert killed.code == -signal.SIGKILL
    assert [event["event"] for event in read_events(customer.vendor.ledger.path)].count("asked") == 1
    assert violations(customer, finished=False) == []


def test_a_doubt_whose_ids_are_known_is_not_paid_again(customer: Customer) -> None:
    """The API answers no GET in the first run, so that no id can be confirmed."""
    vendor = customer.vendor
    vendor.faults += [Fault(cut=400, end="fin"), Fault(on="status", status=503, times=None)]
    first = customer.run("run", customer.catalog(1), "--out", customer.out, "--yes", "--json")
    vendor.faults.clear()
    again = ("--on-in-doubt", "resubmit")
    second = customer.run("run", customer.catalog(1), "--out", customer.out, "--yes", "--json", *again)

    assert (first.code, second.code) == (6, 0)
    assert violations(customer) == []


def test_an_id_of_an_unknown_language_is_not_paid_again(customer: Customer) -> None:
    """The answer ends in the first of its jobs, which is that of the last language."""
    customer.vendor.faults.append(Fault(cut=300, end="fin"))
    customer.batch(video(0, "ja,fr"))
    customer.batch(video(0, "ja,fr"), on_in_doubt="resubmit")

    assert violations(customer, finished=False) == []
