"""A job is made at most once, whoever asks, however often, and whatever breaks in between."""

from __future__ import annotations

import pickle

import anyio
import attrs
import psycopg
import pytest

from akool_async import ConfigurationError, InDoubt, InvalidRequestError, State
from akool_async._model.errors import IllegalTransitionError
from akool_async.ledger import LedgerError, LostAnswer, Made, NotSent, Refused, open_ledger
from akool_async.ledger.database import connect
from akool_async.sandbox import Fault
from akool_async.workers.workflows import engine_url
from tests.ledger.conftest import Bench, end_post_time, video
from tests.postgres import new_database


async def test_one_work_is_paid_once_however_often_it_is_submitted(bench: Bench) -> None:
    first = await bench.ledger.submit_once(bench.client, video())
    again = [await bench.ledger.submit_once(bench.client, video()) for _ in range(3)]

    assert isinstance(first, Made)
    assert [one.job.id for one in again if isinstance(one, Made) and one.again] == [first.job.id] * 3
    assert len(bench.sandbox.audit.creates) == 1


async def test_of_many_that_submit_at_once_one_sends(bench: Bench) -> None:
    found: list[object] = []

    async def submit(url: str) -> None:
        async with open_ledger(url) as ledger:
            found.append(await ledger.submit_once(bench.client, video()))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(submit, bench.url)
    last = await bench.ledger.submit_once(bench.client, video())

    assert len(bench.sandbox.audit.creates) == 1
    assert isinstance(last, Made)
    # Others may see a doubt or "about to be sent", but nobody sees another job.
    assert {one.job.id for one in found if isinstance(one, Made)} == {last.job.id}


async def test_a_sender_that_vanished_leaves_a_doubt_and_no_second_post(bench: Bench) -> None:
    intent = await bench.ledger.intend(video(), "video-1", "dead")
    assert await bench.ledger.acquire(intent.token, "dead")

    again = await bench.ledger.submit_once(bench.client, video())

    assert isinstance(again, InDoubt)
    assert bench.sandbox.audit.creates == ()


async def test_an_intent_that_nobody_took_is_sent(bench: Bench) -> None:
    await bench.ledger.intend(video(), "video-1", "dead")

    assert isinstance(await bench.ledger.submit_once(bench.client, video()), Made)
    assert len(bench.sandbox.audit.creates) == 1


async def test_an_answer_makes_a_declared_doubt_a_job_again(bench: Bench) -> None:
    intent = await bench.ledger.intend(video(), "video-1", "slow")
    assert await bench.ledger.acquire(intent.token, "slow")
    await bench.ledger.submit_once(bench.client, video())
    (job,) = (await bench.client.submit(video())).accepted

    assert await bench.ledger.made(intent.token, job)
    again = await bench.ledger.submit_once(bench.client, video())
    assert isinstance(again, Made)
    assert again.job.id == job.id


async def test_a_take_is_won_once_and_may_be_asked_for_again_by_its_winner(bench: Bench) -> None:
    intent = await bench.ledger.intend(video(), "video-1", "a")

    assert [await bench.ledger.acquire(intent.token, who) for who in "aba"] == [True, False, True]


@pytest.mark.parametrize("kind", ["reset_after", "cut_after_id"])
async def test_a_lost_answer_is_a_doubt_or_the_job_that_it_names(bench: Bench, kind: str) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind=kind, limit=1))
    found = await bench.ledger.submit_once(bench.client, video())
    await bench.ledger.submit_once(bench.client, video())

    assert len(bench.sandbox.audit.creates) == 1
    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    if kind == "reset_after":
        assert isinstance(found, InDoubt)
        assert entry.state is State.IN_DOUBT
    else:
        assert isinstance(found, Made)
        assert entry.job_id == bench.sandbox.audit.jobs[0].id


async def test_a_rate_limit_is_told_at_once_and_the_work_may_be_sent_again(bench: Bench) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="http", status=429, retry_after=3, limit=1))
    limited = await bench.ledger.submit_once(bench.client, video())
    again = await bench.ledger.submit_once(bench.client, video())

    assert isinstance(limited, NotSent)
    assert limited.retry_after >= 3
    assert not limited.stops
    assert isinstance(again, Made)
    assert (await bench.ledger.get("video-1", "ja")).paid_submissions == 1  # type: ignore[union-attr]


async def test_a_refusal_ends_the_entry_until_somebody_retries_it(bench: Bench) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="code", code=1203, limit=1))
    refused = await bench.ledger.submit_once(bench.client, video())
    again = await bench.ledger.submit_once(bench.client, video())
    assert await bench.ledger.retry("video-1", "ja")
    paid = await bench.ledger.submit_once(bench.client, video())

    assert isinstance(refused, Refused)
    assert isinstance(again, Refused)
    assert (refused.code, again.code) == (1203, 1203)
    assert isinstance(paid, Made)
    assert len(bench.sandbox.audit.jobs) == 1


async def test_a_doubt_is_resolved_by_its_job_or_by_saying_that_there_is_none(bench: Bench) -> None:
    for number in (1, 2):
        intent = await bench.ledger.intend(video(number), f"video-{number}", "dead")
        assert await bench.ledger.acquire(intent.token, "dead")
        await bench.ledger.submit_once(bench.client, video(number))
    (job,) = (await bench.client.submit(video(1))).accepted
    await bench.ledger.resolve("video-1", "ja", job_id=job.id)
    with pytest.raises(IllegalTransitionError, match="belongs to another"):
        await bench.ledger.resolve("video-2", "ja", job_id=job.id)
    end_post_time(bench.url)
    await bench.ledger.resolve("video-2", "ja", not_made=True)

    found = [await bench.ledger.submit_once(bench.client, video(number)) for number in (1, 2)]
    assert all(isinstance(one, Made) for one in found)
    assert len(bench.sandbox.audit.creates) == 2
    with pytest.raises(IllegalTransitionError):
        await bench.ledger.resolve("video-1", "ja", not_made=True)


async def test_a_job_that_comes_after_a_resolved_doubt_is_not_forgotten(bench: Bench) -> None:
    intent = await bench.ledger.intend(video(), "video-1", "frozen")
    assert await bench.ledger.acquire(intent.token, "frozen")
    await bench.ledger.doubt(intent.token, "frozen")
    end_post_time(bench.url)
    await bench.ledger.resolve("video-1", "ja", not_made=True)
    (job,) = (await bench.client.submit(video())).accepted

    assert not await bench.ledger.made(intent.token, job)
    await bench.ledger.keep(intent.token, job.id)
    assert (await bench.ledger.get("video-1", "ja")).doubt_ids == (job.id,)  # type: ignore[union-attr]


async def test_while_no_price_is_known_one_job_at_a_time_is_made(bench: Bench) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="reset_after"))
    async with open_ledger(bench.url, max_credits=1000.0) as ledger:
        found = [await ledger.submit_once(bench.client, video(number)) for number in range(3)]

    assert [type(one) for one in found] == [LostAnswer, NotSent, NotSent]


async def test_one_post_is_for_one_language(bench: Bench) -> None:
    with pytest.raises(InvalidRequestError):
        await bench.ledger.submit_once(bench.client, video(target="ja,fr"))


async def test_a_webhook_url_that_no_post_can_carry_leaves_no_intent(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match="webhook_url must be"):
        await bench.ledger.submit_once(bench.client, video(), webhook_url="https://me.example/my hook")
    assert [entry async for entry in bench.ledger.entries()] == []


async def test_a_key_names_one_work(bench: Bench) -> None:
    await bench.ledger.submit_once(bench.client, video(1))
    with pytest.raises(IllegalTransitionError, match="other work"):
        await bench.ledger.submit_once(bench.client, video(2), work="video-1")


async def test_without_the_database_nothing_is_sent(bench: Bench) -> None:
    async with open_ledger(bench.url, account="other") as ledger:
        pass
    with pytest.raises(LedgerError):
        await ledger.submit_once(bench.client, video())
    with pytest.raises(LedgerError):
        async with open_ledger("postgresql://nobody@127.0.0.1:1/none"):
            pass

    assert bench.sandbox.audit.creates == ()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_can_not_keep_all_letters_is_refused(encoding: str) -> None:
    """A job that is paid could not be recorded in it, for a word of the vendor in another script."""
    url = new_database(f"ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    for _ in range(2):
        with pytest.raises(LedgerError, match=encoding) as refused:
            async with open_ledger(url):
                pass
        assert "ENCODING 'UTF8'" in refused.value.advice


async def test_words_in_any_script_are_kept_whatever_the_environment_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    async with open_ledger(bench.url) as ledger:
        await ledger.plan([attrs.evolve(video(), key="映画")])
        assert [key for key, *_ in await ledger.open_work()] == ["映画"]


async def test_both_schemes_of_postgres_are_understood(bench: Bench) -> None:
    async with open_ledger(bench.url.replace("postgresql://", "postgres://")) as ledger:
        assert await ledger.open_work() == []
    with pytest.raises(ConfigurationError, match="postgresql://user@host/database"):
        open_ledger("mysql://someone@127.0.0.1/none")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://someone:canary-pass@127.0.0.1:1/none",
        "postgresql://someone@127.0.0.1:1/none?password=canary-pass",
        "postgresql://someone@127.0.0.1:1/none?sslpassword=canary-pass",
    ],
)
async def test_no_password_is_shown(bench: Bench, url: str) -> None:
    ledger = open_ledger(url)
    with pytest.raises(LedgerError) as raised:
        async with ledger:
            pass
    with pytest.raises(TypeError, match="can't be pickled") as refused:
        pickle.dumps(ledger)

    shown = f"{ledger!r} {vars(ledger)} {raised.value} {raised.value.__cause__!r} {refused.value}"
    assert "canary-pass" not in shown
    assert "canary-pass" not in repr(connect(ledger.url))
    assert "canary-pass" in engine_url(ledger)


@pytest.mark.parametrize("more", ["", "&sslpassword=", "&sslpassword=one&sslpassword=canary-pass"])
async def test_the_password_of_a_key_is_given_to_the_driver(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    given: list[object] = []

    def refuse(*_: object, **options: object) -> None:
        given.append(options.get("sslpassword"))
        raise psycopg.OperationalError("refused")

    monkeypatch.setattr(psycopg, "connect", refuse)
    with pytest.raises(LedgerError):
        async with open_ledger(f"postgresql://someone@127.0.0.1:1/none?sslmode=require{more}"):
            pass

    assert given[:1] == ["canary-pass" if "canary" in more else None]


@pytest.mark.parametrize("password", ["p@canary-pass", "canary-pass@", "5@1/canary-pass"])
def test_a_password_that_is_not_escaped_is_refused_and_not_shown(password: str) -> None:
    """Its end would be taken for the host, which errors show."""
    with pytest.raises(ConfigurationError) as refused:
        open_ledger(f"postgresql://someone:{password}@127.0.0.1/none")

    assert "canary" not in f"{refused.value!r} {refused.value} {refused.value.__context__!r}"
    assert "%40" in refused.value.advice


def test_a_password_in_the_query_counts_as_by_libpq() -> None:
    ledger = open_ledger("postgresql://someone:other@127.0.0.1/none?password=canary-pass&sslmode=require")

    assert ledger.url.password == "canary-pass"
    assert "canary-pass" not in repr(ledger.url)
    assert ledger.url.query == {"sslmode": "require"}


async def test_a_single_statement_begins_no_transaction(bench: Bench) -> None:
    (row,) = await bench.ledger.execute("SELECT now() = statement_timestamp() AS alone")

    assert row["alone"]
