"""One URL with two queries: one video signed twice, or two videos? Nobody pays or skips unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    InvalidRequestError,
    NotSubmitted,
    Outcome,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Fault
from tests.client.conftest import Open

PAGE = "https://files.example.com/download.php"
VIDEO = "https://b.example.com/t.mp4"


def request(url: str, **options: Any) -> TranslationRequest:
    return TranslationRequest(**{"url": url, "targets": "ja"} | options)


async def run(client: AkoolClient, *requests: TranslationRequest, **options: Any) -> list[Outcome]:
    with anyio.fail_after(55):
        async with open_batch(client, requests, **options) as batch:
            outcomes = [outcome async for outcome in batch]
    return sorted(outcomes, key=lambda outcome: requests.index(outcome.request))


async def test_in_one_run_the_second_is_not_sent(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        first, second = await run(
            await home.client(), request(f"{PAGE}?token=A"), request(f"{PAGE}?token=B"), journal=journal
        )

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(first, Completed)
    assert isinstance(second, NotSubmitted)
    assert "one video signed twice, or two videos?" in second.reason


@pytest.mark.parametrize("second", ["token=B", "unheard-of-signature=2", ""])
async def test_in_a_later_run_it_is_neither_paid_nor_called_done(
    fast_house: Open, tmp_path: Path, second: str
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, request(f"{PAGE}?token=A"), journal=journal)
        (again,) = await run(client, request(f"{PAGE}?token=A"), journal=journal)
        (other,) = await run(client, request(f"{PAGE}?{second}"), journal=journal)

        assert len(home.sandbox.audit.jobs) == 1
        assert journal.counts()[State.DELIVERED] == 1
    assert isinstance(again, Completed)
    assert isinstance(other, NotSubmitted)


async def test_keys_or_a_public_query_say_that_they_are_two_videos(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        keyed = [request(f"{PAGE}?token={name}", key=name) for name in "AB"]
        public = [request(f"{PAGE}?id={number}", url_is_public=True) for number in range(2)]
        outcomes = await run(client, *keyed, *public, journal=journal)
        again = await run(client, *keyed, *public, journal=journal)

        assert len(home.sandbox.audit.jobs) == 4
    assert all(isinstance(outcome, Completed) for outcome in (*outcomes, *again))


async def test_a_key_says_that_it_is_the_same_video_signed_again(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        for signature in "abc":
            (outcome,) = await run(client, request(f"{VIDEO}?mine={signature}", key="talk"), journal=journal)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, Completed)


async def test_a_key_does_not_make_one_video_of_two_public_queries(fast_house: Open, tmp_path: Path) -> None:
    first, second = (request(f"{PAGE}?id={number}", key="talk", url_is_public=True) for number in (7, 8))
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await run(client, first, journal=journal)
        (other,) = await run(client, second, journal=journal)
        async with open_batch(client, journal=journal) as batch:
            with pytest.raises(InvalidRequestError, match="other work"):
                await batch.submit(second)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(other, NotSubmitted)
    assert "other work" in other.reason


async def test_a_signature_of_a_known_scheme_is_the_same_video(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        for number in range(3):
            url = f"{VIDEO}?X-Amz-Date={number}&X-Amz-Signature={number}"
            (outcome,) = await run(client, request(url), journal=journal)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, Completed)


async def test_what_was_refused_may_be_sent_with_another_query(fast_house: Open, tmp_path: Path) -> None:
    faults = [Fault(on="create", kind="code", code=1003, nth=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        await run(client, request(f"{PAGE}?token=expired"), journal=journal)
        (outcome,) = await run(client, request(f"{PAGE}?token=fresh"), journal=journal)

    assert isinstance(outcome, Completed)


async def test_no_query_is_kept_beside_the_results_unless_it_is_public(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        secret = request(f"{PAGE}?token=s3cret", key="a", caption_url=f"{PAGE}?caption=s3cret")
        public = request(f"{PAGE}?id=7", key="b", url_is_public=True)
        await run(client, secret, public, journal=journal, download_to=tmp_path / "out")
        exported = "".join([line async for line in journal.export()])
    ours = [path for path in tmp_path.rglob("*") if path.suffix not in ("", ".srt", ".mp4")]
    texts = [path.read_bytes() for path in ours] + [exported.encode()]

    assert not any(b"s3cret" in text for text in texts)
    assert any(b"download.php?id=7" in path.read_bytes() for path in (tmp_path / "out").glob("*.json"))
