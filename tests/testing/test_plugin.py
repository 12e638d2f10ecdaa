"""The pytest plugin as users run it: with anyio's plugin, pytest-asyncio and pytest-xdist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.testing.conftest import ANYIO, ASYNCIO, run_tests

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing.md"

GOOD = """
@pytest.mark.akool(median_seconds=7200, sigma=0)
async def test_a_long_job(akool_client, akool_clock, akool_sandbox):
    done = await akool_client.translate(video())
    assert done.job_id == akool_sandbox.audit.jobs[0].id
    assert 7200 <= akool_clock.monotonic() < 7500

async def test_a_batch(akool_client, tmp_path):
    async with (
        open_journal(tmp_path / "jobs.sqlite3") as journal,
        open_batch(akool_client, map(video, range(8)), journal=journal, download_to=tmp_path) as batch,
    ):
        outcomes = [outcome async for outcome in batch]
    assert all(outcome.saved.video.exists() for outcome in outcomes) and len(outcomes) == 8

async def test_waiting_ends_in_virtual_time(akool_client, akool_clock):
    with pytest.raises(WaitTimeout):
        await akool_client.translate(video(), give_up_after=30)
    assert 30 <= akool_clock.monotonic() < 40

@pytest.mark.akool(credits=3)
async def test_the_marker_sets_the_account(akool_client):
    with pytest.raises(OutOfCredits):
        await akool_client.submit(video())

@pytest.mark.akool(faults=["create:reset:nth=1", Fault(on="status", kind="http", status=503, nth=1)])
async def test_faults_are_texts_or_values(akool_client, akool_sandbox):
    with pytest.raises(SubmissionInDoubt):
        await akool_client.submit(video())
    await akool_client.status(akool_sandbox.audit.jobs[0].id)
    assert len(akool_sandbox.faults.hits) == 2

@pytest.mark.akool(faults="create:code:code=1005:nth=1-3")
async def test_a_rate_limit_costs_no_time(akool_client, akool_sandbox):
    await akool_client.submit(video())
    assert len(akool_sandbox.audit.jobs) == 1

async def test_code_that_makes_its_own_client(akool_server, akool_clock):
    async with AkoolClient() as client:
        assert client.host == akool_server.base_url
        await client.translate(video())
    assert akool_clock.monotonic() > 60

async def test_a_forgotten_client_reaches_nobody(akool_sandbox):
    async with AkoolClient() as client:
        with pytest.raises(ConnectError):
            await client.credit()

@pytest.mark.akool(pays_twice=True)
async def test_paying_twice_on_purpose(akool_client):
    await akool_client.submit(video())
    await akool_client.submit(video())

async def test_time_stands_while_something_works(akool_clock):
    moments = []
    async def sleep(seconds):
        await akool_clock.sleep(seconds)
        moments.append(akool_clock.monotonic())
    async with anyio.create_task_group() as tasks:
        for seconds in (30, 10, 20, 10):
            tasks.start_soon(sleep, seconds)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
            assert akool_clock.monotonic() == 0
        with anyio.move_on_after(0.01) as cancelled:
            await akool_clock.sleep(5)
            await anyio.sleep_forever()
    assert moments == [10, 10, 20, 30]
    akool_clock.advance(60)
    assert akool_clock.monotonic() == 90

async def test_time_does_not_wait_for_a_thread_that_never_ends(akool_clock):
    release = __import__("threading").Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, release.wait)
        await akool_clock.sleep(10)
        release.set()
"""
BAD = """
async def test_twice(akool_client):
    await akool_client.submit(video())
    await akool_client.submit(video())

@pytest.mark.akool(faults=["create:job_fails:limit=1"])
async def test_again_after_a_failure(akool_client, akool_clock, akool_sandbox):
    await akool_client.submit(video())
    akool_clock.advance(9999)
    await akool_client.submit(video())

def test_key_to_the_file_host(akool_server):
    import httpx
    httpx.get(akool_server.cdn_url, headers={"x-api-key": os.environ["AKOOL_API_KEY"]})

def test_key_in_the_output(akool_sandbox):
    print("using", os.environ["AKOOL_API_KEY"])

def test_key_in_the_log(akool_sandbox):
    __import__("logging").getLogger("theirs").warning("using %s", os.environ["AKOOL_API_KEY"])

@pytest.fixture
def pays_late(akool_sandbox):
    yield
    async def pay():
        async with akool_sandbox.client() as client:
            await client.submit(video())
            await client.submit(video())
    anyio.run(pay)

def test_twice_in_a_fixture(pays_late): ...

@pytest.mark.akool(credit=3)
def test_misspelled(akool_sandbox): ...

@pytest.mark.akool(faults=["create:rest"])
def test_no_such_fault(akool_sandbox): ...

@pytest.mark.akool(3)
def test_not_named(akool_sandbox): ...
"""
MIXED = """
@pytest.fixture
async def batch(akool_client, tmp_path):
    async with akool_client, open_journal(tmp_path / "j") as journal:
        async with open_batch(akool_client, journal=journal) as batch:
            yield batch

async def test_a_service_of_theirs(batch):
    ticket = await batch.submit(video())
    assert isinstance(await ticket.outcome(), Completed)

def test_without_async(akool_client):
    async def main():
        async with akool_client:
            return await akool_client.translate(video())
    assert anyio.run(main).job.id
    assert os.environ["AKOOL_API_HOST"] == "http://127.0.0.1:1"

def test_nothing_is_left_behind():
    assert "AKOOL_API_HOST" not in os.environ
    client = AkoolClient(api_key="theirs")
    assert type(client.session.clock).__name__ == "SystemClock"
"""


@pytest.mark.thorough
def test_with_the_plugin_of_anyio_and_without_any_on_both_backends(tmp_path: Path) -> None:
    run = run_tests(tmp_path, ANYIO + GOOD + MIXED)

    assert {*map(frozenset, run.outcomes.values())} == {frozenset({"PASSED"})}, run.output
    assert len(run.outcomes) == 2 * 12 + 2


@pytest.mark.thorough
def test_with_pytest_asyncio_and_xdist(tmp_path: Path) -> None:
    run = run_tests(tmp_path, ASYNCIO + GOOD, "-n", "1")

    assert {*map(frozenset, run.outcomes.values())} == {frozenset({"PASSED"})}, run.output
    assert len(run.outcomes) == 11


def test_what_would_cost_money_or_the_key_fails_a_test(tmp_path: Path) -> None:
    run = run_tests(tmp_path, ANYIO.replace(', "trio"', "") + BAD)

    assert run.outcomes == {
        "test_twice[asyncio]": {"FAILED"},
        "test_again_after_a_failure[asyncio]": {"PASSED"},
        "test_key_to_the_file_host": {"FAILED"},
        "test_key_in_the_output": {"FAILED"},
        "test_key_in_the_log": {"FAILED"},
        "test_twice_in_a_fixture": {"PASSED", "ERROR"},
        "test_misspelled": {"ERROR"},
        "test_no_such_fault": {"ERROR"},
        "test_not_named": {"ERROR"},
    }, run.output
    for words in (
        "paid twice for the same work. https://example.com/1.mp4 (ja): jobs ",
        "sent credentials to a host that is not the API: the key in the header x-api-key",
        "shows its API key in: Captured stdout call",
        "shows its API key in: Captured log call",
        "unexpected keyword argument 'credit'",
        "'create:rest' is not a fault",
        "takes options by name",
    ):
        assert words in run.output


@pytest.mark.thorough
@pytest.mark.skipif(not PAGE.exists(), reason="only where the documentation is")
def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    run = run_tests(tmp_path, code)

    assert {*map(frozenset, run.outcomes.values())} == {frozenset({"PASSED"})}, run.output
    assert len(run.outcomes) == 4
