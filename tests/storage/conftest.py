"""One S3 server for all tests of buckets, and for each test a bucket and the environment that opens it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from obstore.store import S3Store

from tests.client.conftest import WAYS, Way, fast_house, house
from tests.storage.server import S3Server, content, names, s3_server

__all__ = ["fast_house", "house", "way"]
_NUMBERS = itertools.count()


@pytest.fixture(params=[way for way in WAYS if str(way) in {"fast", "trio"}], ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("way").backend if "way" in request.fixturenames else "asyncio"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@attrs.frozen
class TestBucket:
    """A bucket of one test."""

    __test__ = False

    name: str
    server: S3Server
    store: S3Store

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def names(self) -> list[str]:
        return names(self.store)

    def content(self, key: str) -> bytes:
        return content(self.store, key)

    @property
    def unfinished_uploads(self) -> int:
        return self.server.unfinished_uploads(self.name)


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TestBucket:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    name = f"bucket-{next(_NUMBERS)}"
    return TestBucket(name, s3, s3.make_bucket(name))


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    path.write_bytes(os.urandom(1000))
    return path
