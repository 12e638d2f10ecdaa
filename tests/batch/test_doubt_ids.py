"""Ids that were read in an unusable answer to a paid POST: kept first, asked for, never paid over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    EntryUpdate,
    InDoubt,
    Journal,
    Outcome,
    State,
    TranslationRequest,
    entry_key,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Fault
from tests.client.conftest import House, Open, video

pytestmark = pytest.mark.anyio
NOBODYS = "66160f989dfc997ac2890000"


async def run(client: AkoolClient, requests: list[TranslationRequest], **options: Any) -> list[Outcome]:
    with anyio.fail_after(40):
        async with open_batch(client, requests, **options) as batch:
            return [outcome async for outcome in batch]


async def doubt(home: House, journal: Journal, request: TranslationRequest, *ids: str) -> str:
    """Leave a request as a run leaves it that was killed while it asked for the job; return the job's id."""
    (job,) = (await (await home.client()).submit(request)).accepted
    await journal.intend(request)
    for target in request.targets:
        change = EntryUpdate(
            key=entry_key(request, target),
            target=target,
            state=State.IN_DOUBT,
            reason="The answer was cut.",
            doubt_ids=ids or (job.id,),
        )
        await journal.record(change)
    return job.id


@pytest.mark.parametrize("on_in_doubt", ["hold", "resubmit"])
async def test_a_later_run_asks_for_the_job_before_anything_is_paid(
    house: Open, tmp_path: Path, on_in_doubt: str
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        job_id = await doubt(home, journal, video(1))
        (outcome,) = await run(await home.client(), [video(1)], journal=journal, on_in_doubt=on_in_doubt)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, Completed)
    assert outcome.job is not None
    assert outcome.job.id == job_id


async def test_what_can_not_be_asked_for_is_not_paid_again(fast_house: Open, tmp_path: Path) -> None:
    faults = [Fault(on="status", kind="http", status=503)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        await doubt(home, journal, video(1))
        (outcome,) = await run(await home.client(), [video(1)], journal=journal, on_in_doubt="resubmit")

        assert len(home.sandbox.audit.jobs) == 1
        assert journal.counts()[State.IN_DOUBT] == 1
    assert isinstance(outcome, InDoubt)


@pytest.mark.parametrize("on_in_doubt", ["hold", "resubmit"])
async def test_a_job_that_the_account_does_not_have_resolves_nothing(
    fast_house: Open, tmp_path: Path, on_in_doubt: str
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        await doubt(home, journal, video(1), NOBODYS)
        (outcome,) = await run(await home.client(), [video(1)], journal=journal, on_in_doubt=on_in_doubt)

        assert len(home.sandbox.audit.jobs) == (1 if on_in_doubt == "hold" else 2)
    assert isinstance(outcome, InDoubt if on_in_doubt == "hold" else Completed)


async def test_an_id_that_two_entries_may_have_is_given_to_neither(fast_house: Open, tmp_path: Path) -> None:
    request = video(1, targets="ja,fr")
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        ids = [job.id for job in (await client.submit(request)).accepted]
        await journal.intend(request)
        for target in request.targets:
            change = EntryUpdate(
                key=entry_key(request, target), target=target, state=State.IN_DOUBT, doubt_ids=ids
            )
            await journal.record(change)
        outcomes = await run(client, [request], journal=journal)

        assert journal.counts()[State.IN_DOUBT] == 2
    assert all(isinstance(outcome, InDoubt) for outcome in outcomes)
