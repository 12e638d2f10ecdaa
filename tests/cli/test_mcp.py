"""An assistant translates through the Model Context Protocol, by its official client, within a bound."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import ElicitResult

from akool_async import (
    AkoolClient,
    Completed,
    FixedSchedule,
    JournalError,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal import EntryUpdate
from akool_async._model.fingerprint import fingerprint
from akool_async.cli.mcp_server import build_server, open_toolbox
from akool_async.cli.options import OutputOptions
from akool_async.sandbox import Fault, Sandbox
from tests.client.conftest import QUICK

KEY = "canary-4f9c1b7e2a"
URL = "https://example.com/talk.mp4?token=secret-token-1"


@asynccontextmanager
async def assisted(
    tmp_path: Path,
    max_credits: float | None = None,
    faults: tuple[Fault, ...] = (),
    answer: ElicitResult | None = None,
    mode: str = "legacy",
    balance: float = 100_000,
    ran: tuple[TranslationRequest, ...] = (),
) -> AsyncIterator[tuple[Sandbox, Client, list[str]]]:
    """Serve a sandbox, and connect the official client to a server of the tools."""
    asked: list[str] = []

    async def ask(_: Any, question: Any) -> ElicitResult:
        asked.append(question.message)
        assert answer is not None
        return answer

    sandbox = Sandbox(api_key=KEY, media=False, time_scale=2000.0, sigma=0.1, faults=faults, credits=balance)
    async with sandbox.serve() as served:

        def account() -> AkoolClient:
            schedule = FixedSchedule(interval=0.05)
            return AkoolClient(api_key=KEY, host=served.base_url, retry=QUICK, schedule=schedule)

        if ran:
            (tmp_path / "out").mkdir()
            async with (
                account() as before,
                open_journal(tmp_path / "out" / "jobs.sqlite3") as journal,
                open_batch(before, ran, journal=journal, download_to=tmp_path / "out") as batch,
            ):
                assert all([isinstance(outcome, Completed) async for outcome in batch])
        async with (
            open_toolbox(account(), OutputOptions(out=tmp_path / "out"), max_credits) as toolbox,
            Client(build_server(toolbox), mode=mode, elicitation_callback=ask if answer else None) as client,
        ):
            yield sandbox, client, asked


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    told = answer.structured_content
    assert told is not None
    return told.get("result", told)


async def saved(client: Client, jobs: int) -> list[dict[str, Any]]:
    with anyio.fail_after(100):
        while True:
            told = await call(client, "jobs", state="delivered")
            if len(told) == jobs:
                return told
            await anyio.sleep(0.05)


async def test_without_a_bound_no_tool_can_spend(tmp_path: Path) -> None:
    async with assisted(tmp_path) as (sandbox, client, _):
        tools = {tool.name for tool in (await client.list_tools()).tools}
        balance = await call(client, "balance")
        planned = await call(client, "plan", url=URL, languages=["ja", "fr"])
        refused = await client.call_tool("translate", {"url": URL, "languages": ["ja"]})
        codes = {language["code"] for language in await call(client, "languages")}

        assert await call(client, "jobs") == []
        assert await call(client, "voices", language="ja")
        assert sandbox.audit.creates == ()
    assert tools == {"languages", "voices", "balance", "jobs", "plan"}
    assert balance == {"credits": 100_000.0, "max_credits": None}
    assert planned["would_be_paid"] == ["ja", "fr"]
    assert {"ja", "fr"} <= codes
    assert refused.is_error
    assert not (tmp_path / "out").exists()


async def test_with_a_bound_a_video_is_translated_once_and_saved(tmp_path: Path) -> None:
    async with assisted(tmp_path, 100) as (sandbox, client, _):
        first = await call(client, "translate", url=URL, languages=["ja", "fr"])
        again = await call(client, "translate", url=URL, languages=["fr", "ja"])
        jobs = await saved(client, 2)

        assert len(sandbox.audit.jobs) == 2
        assert (await call(client, "plan", url=URL, languages=["ja", "fr"]))["would_be_paid"] == []
    names = [{(job["key"], job["language"]) for job in told} for told in (first, again, jobs)]
    assert names[0] == names[1] == names[2]
    assert sorted(path.suffix for path in (tmp_path / "out").glob("*.mp4")) == [".mp4", ".mp4"]
    assert "secret-token-1" not in str([first, again, jobs])


MODES = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
"""How a person is asked: in the middle of a call, or by a call that is made again with the answer."""


@MODES
@pytest.mark.parametrize(
    "declined",
    [
        ElicitResult(action="decline"),
        ElicitResult(action="cancel"),
        ElicitResult(action="accept", content={"spend": False}),
    ],
    ids=["declined", "cancelled", "no"],
)
async def test_a_person_who_can_be_asked_is_asked_and_may_decline(
    tmp_path: Path, mode: str, declined: ElicitResult
) -> None:
    async with assisted(tmp_path, 100, answer=declined, mode=mode) as (
        sandbox,
        client,
        asked,
    ):
        answer = await client.call_tool("translate", {"url": URL, "languages": ["ja"]})

        assert answer.is_error
        assert "nothing was spent" in str(answer.content)
        assert sandbox.audit.creates == ()
    assert len(asked) == 1
    assert "secret-token-1" not in asked[0]


@MODES
async def test_a_person_who_agrees_is_not_asked_again_for_what_is_paid(tmp_path: Path, mode: str) -> None:
    agreed = ElicitResult(action="accept", content={"spend": True})
    async with assisted(tmp_path, 100, answer=agreed, mode=mode) as (
        sandbox,
        client,
        asked,
    ):
        await call(client, "translate", url=URL, languages=["ja"])
        await saved(client, 1)
        await call(client, "translate", url=URL, languages=["ja"])

        assert len(sandbox.audit.jobs) == 1
    assert len(asked) == 1


async def test_the_bound_is_the_journals_also_after_a_restart(tmp_path: Path) -> None:
    for number in range(3):
        async with assisted(tmp_path, 3) as (sandbox, client, _):
            await call(client, "translate", url=f"https://example.com/{number}.mp4", languages=["ja"])
            await saved(client, 1)
            with anyio.fail_after(100):
                while number and len(await call(client, "jobs", state="planned")) < number:
                    await anyio.sleep(0.05)
            assert len(sandbox.audit.creates) == (number == 0)


async def plan_unsent(tmp_path: Path, request: TranslationRequest) -> None:
    """Leave in the journal what a run was given and has not sent."""
    (tmp_path / "out").mkdir()
    async with open_journal(tmp_path / "out" / "jobs.sqlite3") as journal:
        key = request.key or ""
        await journal.record(EntryUpdate(key=key, target="ja", state=State.PLANNED, request=request))


@pytest.mark.parametrize("agrees", [True, False])
async def test_what_was_left_unsent_is_paid_for_only_when_a_person_agrees(
    tmp_path: Path, agrees: bool
) -> None:
    url = "https://example.com/left.mp4"
    mark = fingerprint(TranslationRequest(url=url, targets=("ja",)), "ja")
    await plan_unsent(tmp_path, TranslationRequest(url=url, targets=("ja",), key=mark))
    answer = ElicitResult(action="accept", content={"spend": agrees})
    async with assisted(tmp_path, 100, answer=answer) as (sandbox, client, asked):
        await anyio.sleep(0.3)
        (left,) = await call(client, "jobs")
        planned = await call(client, "plan", url=url, languages=["ja"])

        assert sandbox.audit.creates == ()
        assert asked == []
        assert "`translate` sends it" in left["reason"]
        assert planned["would_be_paid"] == ["ja"]

        told = await client.call_tool("translate", {"url": url, "languages": ["ja"]})
        assert told.is_error is not agrees
        assert len(asked) == 1
        if agrees:
            await saved(client, 1)
        assert len(sandbox.audit.jobs) == agrees


@pytest.mark.parametrize("saved_first", [True, False], ids=["saved", "unsent"])
async def test_what_a_catalog_has_under_its_key_is_known_and_not_paid_again(
    tmp_path: Path, saved_first: bool
) -> None:
    request = TranslationRequest(url=URL, targets="ja", key="talk")
    answer = ElicitResult(action="accept", content={"spend": True})
    if not saved_first:
        await plan_unsent(tmp_path, request)
    async with assisted(tmp_path, 100, answer=answer, ran=(request,) * saved_first) as (
        sandbox,
        client,
        asked,
    ):
        paid = len(sandbox.audit.jobs)
        planned = await call(client, "plan", url=URL, languages=["ja", "fr"])
        told = await call(client, "translate", url=URL, languages=["ja", "fr"])
        await saved(client, 2)
        await call(client, "translate", url=URL, languages=["fr", "ja"])

        assert [(job["key"], job["language"]) for job in planned["known"]] == [("talk", "ja")]
        assert planned["would_be_paid"] == (["fr"] if saved_first else ["ja", "fr"])
        assert ("talk", "ja") in {(job["key"], job["language"]) for job in told}
        assert (paid, len(sandbox.audit.jobs), len(asked)) == (int(saved_first), 2, 1)
        assert sandbox.audit.paid_twice() == ()


async def test_a_plan_tells_that_another_query_would_be_refused(tmp_path: Path) -> None:
    async with assisted(tmp_path, 100) as (sandbox, client, _):
        await call(client, "translate", url=URL, languages=["ja"])
        await saved(client, 1)
        arguments = {"url": URL.replace("token-1", "token-2"), "languages": ["ja"]}
        refused = [await client.call_tool(tool, arguments) for tool in ("plan", "translate")]

        assert all("same URL with another query" in str(told.content) for told in refused)
        assert len(sandbox.audit.jobs) == 1


async def test_without_credits_nothing_more_is_taken_until_there_are_some(tmp_path: Path) -> None:
    async with assisted(tmp_path, 100, balance=0) as (sandbox, client, _):
        await call(client, "translate", url="https://example.com/1.mp4", languages=["ja"])
        with anyio.fail_after(100):
            while not (job := (await call(client, "jobs"))[0])["reason"]:
                await anyio.sleep(0.05)
        assert "Top up the account" in job["reason"]
        refused = await client.call_tool(
            "translate", {"url": "https://example.com/2.mp4", "languages": ["ja"]}
        )
        assert refused.is_error
        assert "Top up the account" in str(refused.content)
        assert "not submitted" in str(refused.content)
        assert len(await call(client, "jobs")) == 1

        sandbox.audit._engine.deposit(100)
        await call(client, "translate", url="https://example.com/2.mp4", languages=["ja"])
        await saved(client, 2)
        assert len(sandbox.audit.jobs) == 2


async def test_why_a_video_is_not_sent_is_told(tmp_path: Path) -> None:
    url = "https://example.com/talk.mp4"
    async with assisted(tmp_path, 100) as (_, client, _):
        await call(client, "translate", url=url, languages=["ja"])
        await saved(client, 1)
    for file in (tmp_path / "out").glob("jobs.sqlite3*"):
        file.unlink()

    async with assisted(tmp_path, 100) as (sandbox, client, _):
        await call(client, "translate", url=url, languages=["ja"])
        with anyio.fail_after(100):
            while not (job := (await call(client, "jobs"))[0])["reason"]:
                await anyio.sleep(0.05)
        assert "paid already" in job["reason"]
        assert sandbox.audit.creates == ()


async def test_what_the_bound_stopped_is_told_and_refused(tmp_path: Path) -> None:
    async with assisted(tmp_path, 3) as (sandbox, client, _):
        for number in range(2):
            await call(client, "translate", url=f"https://example.com/{number}.mp4", languages=["ja"])
        await saved(client, 1)
        with anyio.fail_after(100):
            while not (await call(client, "jobs", state="planned"))[0]["reason"]:
                await anyio.sleep(0.05)
        refused = await client.call_tool("translate", {"url": URL, "languages": ["ja"]})

        assert refused.is_error
        assert "max_credits (3) would be exceeded" in str(refused.content)
        assert "start this server again" in str(refused.content)
        assert len(sandbox.audit.creates) == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("translate", {"url": "talk.mp4", "languages": ["ja"]}, "http"),
        ("translate", {"url": URL, "languages": []}, "targets"),
        ("plan", {"url": URL, "languages": ["not a code"]}, "language"),
        ("jobs", {"state": "lost"}, "no state 'lost'"),
        ("translate", {"url": URL}, "languages"),
    ],
)
async def test_bad_arguments_are_told_and_nothing_is_spent(
    tmp_path: Path, tool: str, arguments: dict[str, Any], told: str
) -> None:
    async with assisted(tmp_path, 100) as (sandbox, client, _):
        answer = await client.call_tool(tool, arguments)

        assert answer.is_error
        assert told in str(answer.content)
        assert sandbox.audit.creates == ()


async def test_an_error_of_the_vendor_is_told_in_words(tmp_path: Path) -> None:
    async with assisted(tmp_path, faults=(Fault(on="credit", kind="code", code=1101),)) as (_, client, _):
        answer = await client.call_tool("balance", {})

    assert answer.is_error
    assert KEY not in str(answer.content)
    assert "Traceback" not in str(answer.content)


FOREIGN = b"not a journal" * 100


@pytest.mark.parametrize(("content", "max_credits"), [(FOREIGN, 100), (FOREIGN, None), (b"", None)])
async def test_a_journal_that_can_not_be_used_is_left_alone(
    tmp_path: Path, content: bytes, max_credits: float | None
) -> None:
    path = tmp_path / "out" / "jobs.sqlite3"
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises((JournalError, ExceptionGroup)):
        async with assisted(tmp_path, max_credits):
            pass

    assert path.read_bytes() == content


async def test_the_command_serves_over_stdin_and_stdout_and_leaves_with_its_client(tmp_path: Path) -> None:
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=2000.0)
    async with sandbox.serve() as served:
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "tests.cli.quick", "mcp", "--out", "out", "--max-credits", "100"],
            env={"AKOOL_API_KEY": KEY, "AKOOL_API_HOST": served.base_url, "PYTHONPATH": ":".join(sys.path)},
            cwd=tmp_path,
        )
        async with Client(command, mode="legacy") as client:
            await call(client, "translate", url=URL, languages=["ja"])
            assert await saved(client, 1)
            assert client.server_info.version

        assert len(sandbox.audit.jobs) == 1
    async with open_journal(tmp_path / "out" / "jobs.sqlite3") as journal:  # its lock is free again
        assert journal.counts()[State.DELIVERED] == 1
