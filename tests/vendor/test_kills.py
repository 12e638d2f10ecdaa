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
from tests.vendor.judge import DOUBTFUL, read_journal
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

    def __init__(self, customer: Customer, chance: random.Random) -> None:
        self.customer = customer
        self.chance = chance
        self.videos = 3
        self.ends: Counter[str] = Counter()

    def fault(self) -> Fault:
        chance = self.chance
        on = chance.choices(["create", "status", "file", "credit"], [12, 4, 3, 1])[0]
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
            catalog = customer.catalog(self.videos, languages="ja,fr")
            return customer.start("run", catalog, "--out", customer.out, "--yes", "--json")
        requests = [video(number, "ja,fr") for number in range(self.videos)]
        return customer.start_batch(form, requests, drain_signals=DRAINING)

    def round(self) -> None:
        vendor = self.customer.vendor
        vendor.faults[:] = [self.fault()]
        if self.chance.random() < 0.3:
            vendor.faults.append(self.chance.choice(SECOND_FAULTS))
        run = self.start().wait()
        self.ends[str(run.code)] += 1
        self.videos += self.chance.randrange(1, 3)

    def finish(self) -> Run:
        """Let the command line end everything undisturbed."""
        customer = self.customer
        customer.vendor.faults.clear()
        catalog = customer.catalog(self.videos, languages="ja,fr")
        return customer.run("run", catalog, "--out", customer.out, "--yes", "--json")


def strike_again_and_again(customer: Customer, kills: int) -> KillLoop:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    loop = KillLoop(customer, random.Random(seed))
    while struck(customer.vendor) < kills:
        loop.round()
        assert violations(customer, finished=False) == []
    run = loop.finish()
    assert run.code in (0, 6), run.err
    print(f"{struck(customer.vendor)} strikes, {loop.videos} videos, ends: {dict(loop.ends)}")
    return loop


def struck(vendor: Vendor) -> int:
    events = read_events(vendor.ledger.path)
    return len({event["exchange"] for event in events if event["event"] == "signal"})


def test_after_strikes_at_chosen_bytes_the_ledgers_agree(customer: Customer) -> None:
    strike_again_and_again(customer, KILLS)

    assert violations(customer) == []


@pytest.mark.thorough
@pytest.mark.timeout(3600)
def test_after_a_hundred_strikes_at_chosen_bytes_the_ledgers_agree(customer: Customer) -> None:
    strike_again_and_again(customer, max(KILLS, 100))

    assert violations(customer) == []
    states = Counter(entry.state for entry in read_journal(customer.journal))
    print(states)
    assert set(states) <= {"delivered", "in_doubt"}


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
    "signals", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGHUP,)]
)
def test_a_signal_does_not_tear_a_post(customer: Customer, signals: tuple[int, ...]) -> None:
    customer.vendor.faults.append(Fault(strike=Strike(signals=signals, moment="made", gap=0.05), delay=0.1))
    run = customer.run("run", customer.catalog(3), "--out", customer.out, "--yes", "--json")
    (made,) = (event["id"] for event in read_events(customer.vendor.ledger.path) if event["event"] == "job")

    assert run.code > 0
    assert made in {entry.job_id for entry in read_journal(customer.journal)}
    assert customer.run("run", customer.catalog(3), "--out", customer.out, "--yes", "--json").code == 0
    assert violations(customer) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_that_was_frozen_reads_the_answer_that_arrived(customer: Customer, backend: str) -> None:
    """Four times: which of the two won was chance under asyncio."""
    freeze = Strike(signals=(STOP,), moment="made", thaw=0.4)
    customer.vendor.faults.append(Fault(strike=freeze, times=4))
    requests = [video(number) for number in range(4)]
    customer.start_batch(backend, requests, create_timeout=0.25, max_submits=1).wait()

    assert [told.outcome for told in customer.told] == ["saved"] * 4
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
