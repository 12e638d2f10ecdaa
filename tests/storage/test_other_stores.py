"""gs:// and az://: inputs are signed so that nobody can change what they open, results are never overwritten.

Azure is Azurite, which checks signatures; Google is a server made by hand that does the same.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import httpx
import obstore
import pytest

from akool_async import Completed, NotSubmitted, Storage, verify
from akool_async._storage.buckets import Bucket
from tests.batch.test_batch import run
from tests.client.conftest import Open, video
from tests.storage.azure import ACCOUNT, KEY, azurite
from tests.storage.google import google_store
from tests.storage.test_inputs import reasons, translation
from tests.storage.test_results import LARGE


@attrs.frozen
class Store:
    """A bucket that is open."""

    url: str
    options: dict[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def bucket(self) -> Bucket:
        scheme, _, name = self.url.partition("://")
        return Bucket(scheme, name, Storage(options=self.options))

    @property
    def names(self) -> list[str]:
        return sorted(self.bucket.names("", "", nested=True))

    def content(self, key: str) -> bytes:
        return b"".join(self.bucket.read(key))


@pytest.fixture(scope="module")
def azure_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as endpoint:
        yield endpoint


@pytest.fixture
def azure(azure_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azure_endpoint)
    store = Store("az://results")
    for name in store.names:
        store.bucket.delete(name)
    return store


@pytest.fixture
def google() -> Iterator[Store]:
    with google_store() as served:
        yield Store("gs://bucket", served.options)


@pytest.fixture(params=["azure", "google"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    for name in [name for name in os.environ if name.startswith(("AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    path.write_bytes(os.urandom(LARGE))
    return path


async def test_a_file_is_shared_by_a_signed_url_that_opens_it_alone_and_deleted_afterwards(
    fast_house: Open, store: Store, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[bytes, int, int]] = []
    sign: Callable[..., str] = obstore.sign

    def signing(*arguments: object) -> str:
        url = sign(*arguments)
        place, _, query = url.partition("?")
        changed = query[:-8] + "".join("0" if char != "0" else "1" for char in query[-8:])
        whole, tampered, other = (
            httpx.get(one, trust_env=False, timeout=60.0)
            for one in (url, f"{place}?{changed}", f"{place}x?{query}")
        )
        fetched.append((whole.content, tampered.status_code, other.status_code))
        return url

    monkeypatch.setattr(obstore, "sign", signing)
    async with fast_house() as home:
        storage = Storage(share=f"{store.url}/tmp", options=store.options)
        outcomes = await run(await home.client(), [translation(talk)], storage=storage)

        assert len(home.sandbox.audit.creates) == 1
    assert [type(outcome) for outcome in outcomes] == [Completed]
    assert fetched == [(talk.read_bytes(), 403, 403)]
    assert store.names == []


@pytest.mark.parametrize("size", [5_000, LARGE])
async def test_results_are_saved_whole_and_anothers_object_stays(
    fast_house: Open, store: Store, size: int
) -> None:
    store.bucket.put_new("r/1.ja.mp4", b"another's", "video/mp4")
    storage, target = Storage(options=store.options), f"{store.url}/r"
    async with fast_house(result_bytes=size) as home:
        outcomes = await run(await home.client(), [video(1), video(2)], storage=storage, download_to=target)

    names = {outcome.request.url[-5]: outcome.saved.video.name for outcome in outcomes}
    assert store.content("r/1.ja.mp4") == b"another's"
    assert names["2"] == "2.ja.mp4"
    assert names["1"].startswith("1.ja-")
    assert {len(store.content(f"r/{name}")) for name in names.values()} == {size}
    assert [name for name in store.names if ".part" in name] == []
    assert [one.damaged for one in await verify(target, storage=storage)] == [(), ()]


async def test_an_object_appears_only_after_its_last_part_and_a_name_is_given_once(store: Store) -> None:
    def cut() -> Iterator[bytes]:
        yield os.urandom(9_000_000)
        raise ValueError("cut")

    with pytest.raises(Exception, match="cut"):
        store.bucket.upload("cut", cut(), "video/mp4")
    store.bucket.upload("whole.part", iter([b"1" * 9_000_000, b"2"]), "video/mp4")
    store.bucket.copy_new("whole.part", "whole")
    for action in (
        lambda: store.bucket.copy_new("whole.part", "whole"),
        lambda: store.bucket.put_new("whole", b"other", "video/mp4"),
    ):
        with pytest.raises(Exception, match="already exists"):
            action()

    assert store.names == ["whole", "whole.part"]
    whole = store.content("whole") == b"1" * 9_000_000 + b"2"
    assert whole  # two contents of this size can't be shown side by side
    assert store.bucket.head("nothing") is None


async def test_credentials_that_are_refused_cost_nothing(
    fast_house: Open, store: Store, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = base64.b64encode(b"canary-of-a-wrong-key").decode()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", secret)
    options = store.options | ({"google_bearer_token": secret} if store.options else {})
    async with fast_house() as home:
        storage = Storage(share=f"{store.url}/tmp", options=options)
        outcomes = await run(await home.client(), [translation(talk)], storage=storage)

        assert home.sandbox.audit.creates == ()
    assert [type(outcome) for outcome in outcomes] == [NotSubmitted]
    assert f"{store.url}/tmp/" in reasons(outcomes)[0]
    assert secret not in reasons(outcomes)[0]
