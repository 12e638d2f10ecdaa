"""Answers to the paid call that say too little, too much or nothing: one job at most, no id forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from akool_async import InvalidRequestError, SubmissionInDoubt
from tests.vendor.conftest import KEY, violations
from tests.vendor.faults import Fault, Shape
from tests.vendor.judge import read_open_journal
from tests.vendor.ledger import read_events
from tests.vendor.program import Customer, video
from tests.vendor.server import with_page
from tests.vendor.test_server import SHAPES

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def jobs_made(customer: Customer) -> list[str]:
    events = read_events(customer.vendor.ledger.path)
    return [event["id"] for event in events if event["event"] == "job"]


def creates(customer: Customer) -> int:
    events = read_events(customer.vendor.ledger.path)
    return sum(event["event"] == "request" and event["on"] == "create" for event in events)


def forgotten_when_asked(customer: Customer) -> list[str]:
    """Let the vendor look into the journal whenever it is asked for a job; return what is not there."""
    missing: list[str] = []

    def look(job_id: str) -> None:
        if job_id not in {kept for entry in read_open_journal(customer.journal) for kept in entry.ids}:
            missing.append(job_id)

    customer.vendor.witness = look
    return missing


def outcomes(customer: Customer) -> dict[str, str]:
    return {f"{told.key} {told.target}": told.outcome for told in customer.told}


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda envelope: {name: value for name, value in envelope.items() if name not in names}


@BACKENDS
@pytest.mark.parametrize("status", [500, 503])
def test_a_job_in_an_answer_that_calls_itself_failed_is_kept_before_it_is_confirmed(
    customer: Customer, status: int, backend: str
) -> None:
    missing = forgotten_when_asked(customer)
    customer.vendor.faults.append(Fault(status=status))
    customer.batch(video(0), backend=backend)

    assert missing == []
    assert outcomes(customer) == {"video-0 ja": "saved"}
    assert violations(customer) == []


@BACKENDS
def test_each_language_of_a_failed_answer_gets_its_own_job(customer: Customer, backend: str) -> None:
    missing = forgotten_when_asked(customer)
    customer.vendor.faults.append(Fault(status=502))
    customer.batch(video(0, "ja,fr"), backend=backend)

    assert missing == []
    assert outcomes(customer) == {"video-0 ja": "saved", "video-0 fr": "saved"}
    assert violations(customer) == []


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("cut", [130, 200, 400, 800])
def test_an_answer_that_ends_after_the_id_is_confirmed(customer: Customer, cut: int, end: str) -> None:
    missing = forgotten_when_asked(customer)
    customer.vendor.faults.append(Fault(cut=cut, end=end))
    customer.batch(video(0))

    assert missing == []
    assert violations(customer) == []


@pytest.mark.parametrize("odd", [{"$oid": "ID"}, ["ID"], {"value": "ID"}])
def test_a_rate_limit_that_names_a_job_in_an_odd_form_is_not_sent_again(
    customer: Customer, odd: object
) -> None:
    def limited(envelope: dict[str, Any]) -> dict[str, Any]:
        job_id = envelope["data"]["_id"]
        shaped = dict.fromkeys(odd, job_id) if isinstance(odd, dict) else [job_id]
        return {"code": 1005, "msg": "Operation is too frequent", "data": {"_id": shaped}}

    customer.vendor.faults.append(Fault(change=limited))
    customer.batch(video(0))

    assert creates(customer) == 1
    assert violations(customer) == []


def test_times_in_seconds_expire_nothing(customer: Customer) -> None:
    def in_seconds(kind: str, job: dict[str, Any]) -> None:
        job["create_time"] = int(time.time())

    customer.vendor.edit = in_seconds
    customer.vendor.faults.append(Fault(on="file", status=404))
    customer.batch(video(0))
    customer.batch(video(0))

    assert [told.outcome for told in customer.told][-1] == "saved"
    assert "expired" not in {told.outcome for told in customer.told}
    assert violations(customer) == []


@pytest.mark.parametrize("job_id", [1234567, "7"])
def test_a_short_numeric_id_can_be_used_everywhere(customer: Customer, job_id: object) -> None:
    customer.vendor.new_id = lambda: job_id
    customer.vendor.seconds = 60.0
    waiting = customer.run(
        "run", customer.catalog(1), "--out", customer.out, "--yes", "--give-up-after", "0.2s", "--json"
    )
    customer.vendor.jobs[str(job_id)].seconds = 0.0
    resumed = customer.run("resume", "--out", customer.out, "--json")

    assert (waiting.code, resumed.code) == (4, 0)
    assert violations(customer) == []


def test_a_short_numeric_id_resolves_a_doubt(customer: Customer) -> None:
    customer.vendor.new_id = lambda: 1234567
    customer.vendor.faults.append(Fault(cut=0, end="rst"))
    doubtful = customer.run("run", customer.catalog(1), "--out", customer.out, "--yes", "--json")
    resolved = customer.run("resolve", "video-0", "--job-id", "1234567", "--yes", "--out", customer.out)
    finished = customer.run("run", customer.catalog(1), "--out", customer.out, "--yes", "--json")

    assert (doubtful.code, resolved.code, finished.code) == (6, 0, 0)
    assert violations(customer) == []


@pytest.mark.parametrize("status", [400, 404, 405, 410, 413, 415, 422])
def test_a_host_that_does_not_understand_the_call_costs_one_doubt(customer: Customer, status: int) -> None:
    page = Fault(makes=False, times=None, shape=lambda *_: with_page(status))
    customer.vendor.faults.append(page)
    with pytest.raises(SubmissionInDoubt, match="AKOOL_API_HOST"):
        customer.batch(*[video(number) for number in range(20)])
    told = [told.outcome for told in customer.told]

    assert creates(customer) == 1
    assert (told.count("in doubt"), told.count("not sent")) == (1, 19)
    assert customer.vendor.url.removeprefix("http://") in customer.shown


def test_what_does_not_exist_on_create_is_the_video_or_the_voice(customer: Customer) -> None:
    customer.vendor.faults.append(Fault(makes=False, change=lambda _: {"code": 1008, "msg": "not exist"}))
    customer.batch(video(0), video(1))

    assert outcomes(customer) == {"video-0 ja": "refused", "video-1 ja": "saved"}
    assert "check the id" not in customer.shown.lower()
    assert violations(customer) == []


# The same jobs in answers of every shape.


@pytest.mark.parametrize("languages", ["ja", "ja,fr"])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_of_an_answer_loses_an_id(customer: Customer, shape: Shape, languages: str) -> None:
    missing = forgotten_when_asked(customer)
    customer.vendor.faults.append(Fault(shape=shape, end="fin"))
    customer.batch(video(0, languages), video(1, languages))
    customer.batch(video(0, languages), video(1, languages))

    assert missing == []
    assert len(jobs_made(customer)) == 2 * len(languages.split(","))
    assert violations(customer) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_polls_outlive_answers_of_every_shape(customer: Customer, shape: Shape) -> None:
    customer.vendor.faults.append(Fault(on="status", shape=shape, end="fin", times=2))
    customer.batch(video(0))

    assert outcomes(customer) == {"video-0 ja": "saved"}
    assert violations(customer) == []


@pytest.mark.parametrize("byte", [0, 1, 150, 300])
@pytest.mark.parametrize("end", ["fin", "rst"])
def test_a_request_that_the_vendor_stops_reading_is_not_sent_twice(
    customer: Customer, byte: int, end: str
) -> None:
    customer.vendor.faults.append(Fault(stop_reading=byte, end=end))
    customer.batch(video(0))

    assert outcomes(customer) == {"video-0 ja": "in doubt"}
    assert violations(customer) == []


@pytest.mark.parametrize(
    "change",
    [
        without("all_results"),
        without("data"),
        without("code"),
        without("msg"),
        lambda envelope: envelope | {"code": "1000"},
        lambda envelope: envelope | {"data": [envelope["data"]]},
        lambda envelope: envelope | {"data": None, "all_results": envelope["all_results"][::-1]},
        lambda envelope: envelope | {"all_results": [part["data"] for part in envelope["all_results"]]},
        lambda envelope: {"result": envelope},
        lambda envelope: envelope | {"code": 1015},
        lambda envelope: envelope | {"code": 4711, "msg": "news"},
    ],
)
def test_no_envelope_loses_an_id(customer: Customer, change: Callable[..., Any]) -> None:
    missing = forgotten_when_asked(customer)
    customer.vendor.faults.append(Fault(change=change))
    customer.batch(video(0, "ja,fr"))

    assert missing == []
    assert len(jobs_made(customer)) == 2
    assert violations(customer) == []


# Credentials.


@BACKENDS
def test_a_client_id_and_a_secret_are_as_good_as_a_key(customer: Customer, backend: str) -> None:
    customer.batch(video(0), backend=backend, client_id=customer.vendor.client_id, client_secret=KEY)

    assert outcomes(customer) == {"video-0 ja": "saved"}
    assert violations(customer) == []


def test_a_token_that_expires_during_a_batch_is_fetched_again(customer: Customer) -> None:
    vendor = customer.vendor

    def expire(job_id: str) -> None:
        vendor.token, vendor.witness = "token.second", lambda job_id: None

    vendor.witness = expire
    customer.batch(
        *[video(number) for number in range(3)],
        client_id=vendor.client_id,
        client_secret=KEY,
        max_in_flight=1,
    )

    assert [told.outcome for told in customer.told] == ["saved"] * 3
    assert violations(customer) == []


def test_a_wrong_key_makes_nothing(customer: Customer) -> None:
    with pytest.raises(InvalidRequestError):
        customer.batch(video(0), api_key="")
    run = customer.run("run", customer.catalog(1), "--out", customer.out, "--yes", "--json")
    assert run.code == 0
    customer.vendor.key = "another"
    refused = customer.run("run", customer.catalog(2), "--out", customer.out, "--yes", "--json")

    assert refused.code == 3
    assert len(jobs_made(customer)) == 1
