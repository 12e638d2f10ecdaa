"""How far the estimate of 50 mixed jobs is from what a sandbox charges: before any job, after 1, after 10."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from akool_async import Limits, Request, TranslationRequest, open_batch, open_journal
from akool_async._batch.preflight import Preflight
from akool_async.cli.prices import Estimate, Prices
from tests.client.conftest import Open, fast_house
from tests.media.file_host import FileHost, film

__all__ = ["fast_house"]
LENGTHS = (16.0, 3.0, 44.0, 9.5, 31.0)
KINDS = [(target, lipsync) for target in ("ja", "fr", "hi", "de", "es") for lipsync in (False, True)]


async def estimate(requests: list[Request], path: Path, host: str) -> Estimate:
    """Return what these jobs would cost, by what the journal knows."""
    cache = path.with_name(f"{path.name}.media")
    async with (
        Preflight(Limits(), api_host=host, cache=cache) as preflight,
        open_journal(path if path.exists() else ":memory:", read_only=path.exists()) as journal,
    ):
        prices = Prices(preflight.known_seconds)
        async for entry in journal.entries():
            prices.add(entry)
        checks = [await preflight.check(request) for request in requests]
        pairs = zip(requests, checks, strict=True)
        return prices.estimate([prices.price(request, check.seconds) for request, check in pairs])


@pytest.mark.parametrize(
    ("plain", "lips", "before", "after_one"),
    [
        pytest.param(2.0, 10.0, 0.001, 0.001, marks=pytest.mark.thorough),
        pytest.param(3.0, 15.0, 0.34, 0.001, marks=pytest.mark.thorough),
        (2.5, 8.0, 0.25, 0.45),  # the first job says too much of the other kind
    ],
)
async def test_the_estimate_comes_close_as_jobs_tell_their_price(
    fast_house: Open,
    files: FileHost,
    tmp_path: Path,
    plain: float,
    lips: float,
    before: float,
    after_one: float,
) -> None:
    urls = [files.add(f"{length:g}.mp4", film(length, fps=1)) for length in LENGTHS]
    requests: list[Request] = [
        TranslationRequest(url=url, targets=target, lipsync=lipsync, key=f"{number}-{target}-{lipsync}")
        for target, lipsync in KINDS
        for number, url in enumerate(urls)
    ]
    requests.sort(key=lambda request: str(request.key))  # kinds and lengths mixed
    path, errors = tmp_path / "jobs.sqlite3", []
    async with fast_house(media=True, credits_per_10s=plain, lipsync_credits_per_10s=lips) as home:
        client, host = await home.client(), home.server.base_url

        async def run(some: list[Request]) -> None:
            with anyio.fail_after(120):
                async with (
                    open_journal(path) as journal,
                    open_batch(client, some, journal=journal, preflight=Limits()) as batch,
                ):
                    assert [outcome.reason async for outcome in batch] == [""] * len(some)

        guessed = []
        for done in (0, 1, 10):
            if done:
                await run(requests[:done])
            guessed.append((done, await estimate(requests[done:], path, host)))
        await run(requests)
        cost = {}
        async with open_journal(path, read_only=True) as journal:
            async for entry in journal.entries():
                cost[entry.key] = entry.credits_used or 0.0
        assert sum(cost.values()) == sum(job.credits for job in home.sandbox.audit.jobs)
    for done, found in guessed:
        true = sum(cost[str(request.key)] for request in requests[done:])
        errors.append(found.credits / true - 1)
        print(f"\n{plain:g}/{lips:g} after {done}: {found.credits:g} of {true:g}, {errors[-1]:+.1%}")

    assert abs(errors[0]) <= before
    assert abs(errors[1]) <= after_one
    assert abs(errors[2]) <= 0.001
