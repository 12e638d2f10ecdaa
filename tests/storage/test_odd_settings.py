"""Settings that the library for buckets fails on: told as other errors are, and no other entry ends."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import obstore
import pytest

from akool_async import Completed, ConfigurationError, NotSubmitted, Storage, StorageError, open_batch, verify
from akool_async._storage.buckets import Bucket
from tests.batch.test_batch import run
from tests.client.conftest import Open, video
from tests.storage.conftest import TestBucket
from tests.storage.test_inputs import reasons, translation

SECRET = "canary-4f9c1b7e2a"
ODD: list[dict[str, Any]] = [{"allow_http": "true"}, {"aws_timeout": "30s"}, {"aws_region": 5}]
"""The library panics at the first two, and raises a TypeError at the last."""


def assert_one_is_refused(outcomes: list[Any], words: str) -> None:
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "Completed",
        "Completed",
        "NotSubmitted",
    ]
    (reason,) = reasons([outcome for outcome in outcomes if isinstance(outcome, NotSubmitted)])
    assert words in reason
    assert "Nothing was sent and nothing was spent." in reason


@pytest.mark.parametrize("options", [*ODD, {"aws_endpoint": 5}], ids=str)
async def test_odd_options_are_told_where_a_bucket_is_opened(
    fast_house: Open, bucket: TestBucket, talk: Path, options: dict[str, Any]
) -> None:
    async with fast_house() as home:
        client = await home.client()
        with pytest.raises(ConfigurationError, match=f"{bucket.url} can't be opened: "):
            open_batch(client, [translation(talk)], storage=Storage(share=bucket.url, options=options))
        requests = [video(1), translation(f"{bucket.url}/a.mp4"), video(2)]
        outcomes = await run(client, requests, storage=Storage(options=options))

        assert len(home.sandbox.audit.creates) == 2
    assert_one_is_refused(outcomes, f"{bucket.url} can't be opened: ")


async def test_a_line_break_in_a_token_ends_no_other_entry(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token\n")
    async with fast_house() as home:
        client = await home.client()
        requests = [video(1), translation(talk), video(2)]
        outcomes = await run(client, requests, storage=Storage(share=bucket.url))
        unsaved = await run(client, [video(3)], download_to=bucket.url)

        assert len(home.sandbox.audit.creates) == 2
    assert_one_is_refused(outcomes, "Look for a line break, or another character that no request can have")
    assert "could not be listed" in reasons(unsaved)[0]
    with pytest.raises(StorageError, match="could not be listed"):
        await verify(bucket.url)


async def test_a_result_that_the_library_fails_on_stays_at_the_vendor(
    fast_house: Open, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put

    def failing(store: Any, *args: Any, **options: Any) -> Any:
        return put(bucket.server.store(bucket.name, aws_session_token="token\n"), *args, **options)

    monkeypatch.setattr(obstore, "put", failing)
    async with fast_house() as home:
        (outcome,) = await run(await home.client(), [video(1)], download_to=bucket.url)

    assert isinstance(outcome, Completed)
    assert outcome.saved is None
    assert "1.ja.mp4 could not be written" in outcome.reason


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_program_is_no_error_of_the_bucket(
    bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def ending(*_: Any) -> None:
        raise error

    opened = Bucket("s3", bucket.name, Storage())
    monkeypatch.setattr(obstore, "delete", ending)
    with pytest.raises(error):
        opened.delete("a")
    monkeypatch.setattr("obstore.store.from_url", lambda *_, **__: ending())
    with pytest.raises(error):
        Bucket("s3", bucket.name, Storage())


@pytest.mark.parametrize(
    "odd", [*ODD, {"bogus": "x"}, {"aws_endpoint": f"http://u:{SECRET}@a.example"}], ids=str
)
def test_odd_options_are_told_without_their_secrets(odd: Mapping[str, Any]) -> None:
    storage = Storage(options={"aws_access_key_id": "key", "aws_secret_access_key": SECRET, **odd})
    with pytest.raises(ConfigurationError) as caught:
        Bucket("s3", "bucket", storage)

    trace = caught.value.__traceback__
    assert trace is not None
    caught.value.__traceback__ = trace.tb_next  # the test's own frame has them
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "buckets.py" in (shown := "".join(told.format()))
    assert SECRET not in shown
