"""An argument of a wrong type is refused where it is given, by an error that names it; nothing was sent."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from akool_async import (
    AkoolClient,
    ConfigurationError,
    InvalidRequestError,
    from_wire,
    inspect,
    open_batch,
    open_journal,
    to_wire,
    verify,
)
from akool_async._clock import SystemClock
from akool_async.ledger import open_ledger
from akool_async.sandbox import Fault, MediaLimits, Sandbox
from akool_async.webhook import WebhookReceiver, open_inbox
from tests.client.conftest import KEY, Open, video

NUL = "a\0b"


@pytest.mark.parametrize("name", ["retry", "schedule", "observers", "host", "http_client", "transport"])
def test_a_client_is_not_made_of_what_it_can_not_use(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} must .*5"):
        AkoolClient(api_key=KEY, **{name: 5})


@pytest.mark.parametrize("wrong", [None, 5, "https://example.com/a.mp4", {}])
async def test_only_a_request_is_paid_for(fast_house: Open, wrong: Any) -> None:
    async with fast_house() as home:
        client = await home.client()
        for call in (client.submit, client.translate):
            with pytest.raises(ConfigurationError, match=r"^request must be a TranslationRequest or a Lip"):
                await call(wrong)

        with pytest.raises(ConfigurationError, match=r"^schedule must"):
            await client.translate(video(), schedule=5)

        assert home.sandbox.audit.creates == ()


async def test_a_download_names_the_argument_that_is_wrong(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        client = await home.client()
        done = await client.translate(video(), give_up_after=30)
        for name, options in {
            "done": {"done": 5, "into": tmp_path},
            "into": {"done": done, "into": None},
            "into ": {"done": done, "into": f"{tmp_path}/{NUL}"},
            "into  ": {"done": done, "into": b"folder"},
            "name": {"done": done, "into": tmp_path, "name": 5},
        }.items():
            with pytest.raises(ConfigurationError, match=rf"^{name.strip()} must be "):
                await client.download(**options)
        with pytest.raises(ConfigurationError, match=r"^callback must be a Callback"):
            client.on_callback("a text")


@pytest.mark.parametrize("wrong", [None, b"a", NUL])
async def test_what_names_no_file_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^folder must be text or a path"):
        await verify(wrong)
    with pytest.raises(ConfigurationError, match=r"^source must be text or a path"):
        await inspect(wrong)
    with pytest.raises(ConfigurationError, match=r"^timeout must be a positive number"):
        await inspect("talk.mp4", timeout=0)


@pytest.mark.parametrize("wrong", [None, 5, b"a", NUL])
def test_what_names_no_journal_or_inbox_is_refused(wrong: Any) -> None:
    for opening in (open_journal, open_inbox):
        with pytest.raises(ConfigurationError, match=r"^path must be text or a path"):
            opening(wrong)


async def _late() -> datetime:
    return datetime.now(UTC)


@pytest.mark.parametrize(
    "wrong", [None, 5, datetime(2026, 1, 1, tzinfo=UTC), datetime, datetime.now, time.time, _late]
)
def test_a_journal_refuses_what_is_no_wall_clock(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^now must be a function that returns an aware datetime"):
        open_journal(":memory:", now=wrong)


@pytest.mark.parametrize("wrong", [5, 1.5, SystemClock, datetime.now, object()])
def test_a_ledger_refuses_what_is_no_clock(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^clock must be a clock with now\(\), "):
        open_ledger("postgresql://someone@host/database", clock=wrong)


@pytest.mark.parametrize("wrong", [None, 5, datetime.now, float, _late])
def test_a_receiver_refuses_what_is_no_wall_clock(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^now must be a function that returns seconds"):
        WebhookReceiver(client_id="someone", client_secret="s" * 16, now=wrong)


@pytest.mark.parametrize("name", ["journal", "preflight", "storage", "on_in_doubt"])
def test_a_batch_is_not_made_of_what_it_can_not_use(name: str) -> None:
    client: Any = AkoolClient(api_key=KEY)
    with pytest.raises(ConfigurationError, match=rf"^{name} must be .*not 'journal.sqlite3'"):
        open_batch(client, [], **{name: "journal.sqlite3"})
    with pytest.raises(ConfigurationError, match=r"^download_to must be text or a path"):
        open_batch(client, [], download_to=5)
    with pytest.raises(InvalidRequestError, match=r"^A template of file names may hold .* not '\{nope\}'"):
        open_batch(client, [], file_names="{nope}")


def test_a_batch_shows_its_journal_and_how_many_jobs_are_in_flight() -> None:
    client: Any = AkoolClient(api_key=KEY)

    assert repr(open_batch(client, [])) == "<Batch of <Journal ':memory:' closed>, jobs in flight: 0>"


def test_what_has_no_json_form_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"^A value of the class int has no JSON form"):
        to_wire(5)


@pytest.mark.parametrize("options", [{"client_id": 5}, {"client_secret": KEY.encode()}, {"inbox": 5}])
def test_a_receiver_names_the_argument_that_is_wrong_and_shows_no_secret(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{next(iter(options))} must be ") as caught:
        WebhookReceiver(**{"client_id": "someone", "client_secret": "s" * 16} | options)

    assert KEY not in str(caught.value)


def test_a_stored_value_of_an_odd_kind_can_not_be_read() -> None:
    with pytest.raises(InvalidRequestError, match="not the name of a value"):
        from_wire({"kind": ["Snapshot"]})


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (Sandbox, {"failure_rate": 2}, "failure_rate must be a number from 0 to 1, not 2."),
        (Sandbox, {"rate": "often"}, "rate must be None or a positive number, not 'often'."),
        (Sandbox, {"max_jobs": 1.5}, "max_jobs must be a whole number of 1 or more, not 1.5."),
        (
            Sandbox,
            {"api_version": "new"},
            "api_version must be one of 'current', 'documented', ",
        ),
        (MediaLimits, {"max_fps": "30"}, "max_fps must be a positive number, not '30'."),
        (
            Fault,
            {"on": "status", "kind": "http", "status": 99},
            "status must be None or a whole number from ",
        ),
        (Fault, {"on": "cdn", "kind": "reset_mid", "keep": 1}, "keep must be 0 or more and below 1, not 1."),
    ],
)
def test_a_sandbox_says_what_a_setting_must_be(make: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(**options)

    assert says in caught.value.message
