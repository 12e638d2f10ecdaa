"""The tools of `akool-async mcp`: an assistant looks up, plans and, within a bound, translates."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import wraps
from typing import Annotated, Any, Final

import anyio
import attrs
from mcp.server import MCPServer
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from akool_async._batch import Batch, StopCause, open_batch
from akool_async._batch.resume import known_as
from akool_async._client import AkoolClient
from akool_async._http.clients import user_agent
from akool_async._journal import Entry, Journal, open_journal
from akool_async._model.errors import AkoolError, InvalidRequestError
from akool_async._model.fingerprint import entry_key
from akool_async._model.redact import safe_repr, strip_query
from akool_async._model.requests import TranslationRequest
from akool_async._model.states import State
from akool_async.cli.options import DEFAULT_OUTPUT, OutputOptions
from akool_async.cli.saved_files import files_of

_READS: Final = ToolAnnotations(read_only_hint=True)
_MOST: Final = 200
"""Rows of one answer, which an assistant has to read."""
_LEFT: Final = "It was left unsent and unpaid; `translate` sends it."

Languages = Annotated[list[str], Field(description="codes such as ja or fr; `languages` lists them")]
Url = Annotated[str, Field(description="public URL of the video, which the vendor fetches")]


class JobSummary(BaseModel):
    """One (video, language) of the journal."""

    key: str
    language: str
    state: str
    reason: str
    credits: float | None
    files: list[str]


class Consent(BaseModel):
    """What a person is asked before credits are spent."""

    spend: bool = Field(description="Spend credits on this?")


@attrs.frozen(kw_only=True)
class Toolbox:
    """What the tools work with; without `max_credits` there is no batch, so that nothing can be spent.

    Attributes:
        agreed: key and language of what this server was asked to pay for.
    """

    client: AkoolClient
    max_credits: float | None
    output: OutputOptions = DEFAULT_OUTPUT
    journal: Journal | None = None
    batch: Batch | None = None
    agreed: set[tuple[str, str]] = attrs.field(factory=set, repr=False)

    async def languages(self) -> list[dict[str, Any]]:
        """List the languages that videos can be translated into; some need a voice."""
        found = await self.client.languages()
        return [{"code": one.code, "name": one.name, "needs_voice": one.needs_voice} for one in found]

    async def voices(self, language: str) -> list[dict[str, str]]:
        """List the voices of a language."""
        found = [voice async for voice in self.client.voices(language)][:_MOST]
        return [{"id": voice.voice_id, "name": voice.name, "gender": voice.gender} for voice in found]

    async def balance(self) -> dict[str, float | None]:
        """Tell the account's credits, and what this server may spend in all."""
        return {"credits": await self.client.credit(), "max_credits": self.max_credits}

    async def jobs(self, key: str = "*", state: str = "") -> list[JobSummary]:
        """List jobs of the journal. `key` may hold *; `state` is one of the journal's states.

        A job in state IN_DOUBT may have been paid for: a person resolves it with `akool-async resolve`.
        """
        if state and state.upper() not in State.__members__:
            raise ToolError(f"There is no state {safe_repr(state)}, only {', '.join(State.__members__)}.")
        if self.journal is None:
            return []
        states = [State[state.upper()]] if state else None
        found: list[JobSummary] = []
        async for entry in self.journal.entries(key=key, states=states):
            found.append(await self.job(entry))
            if len(found) == _MOST:
                break
        return found

    async def plan(self, url: Url, languages: Languages, lipsync: bool = False) -> dict[str, Any]:
        """Tell what `translate` would do with a video and what is known already; nothing is spent."""
        entries = self.known(_request(url, languages, lipsync))
        known = [await self.job(entry) for entry in entries.values() if entry is not None]
        new = [target for target, entry in entries.items() if self._would_be_paid(entry)]
        return {"known": known, "would_be_paid": new, **await self.balance()}

    def known(self, request: TranslationRequest) -> dict[str, Entry | None]:
        """Return what the journal has of a request, by language, whatever key it was paid under.

        Raises:
            InvalidRequestError: it has the same URL with another query, so that `translate` would be refused.
        """
        found: dict[str, Entry | None] = dict.fromkeys(request.targets)
        journal = self.journal
        if journal is None:
            return found
        for target in found:
            mark = entry_key(request, target)
            entry = journal.get(mark, target)
            if entry is None:
                entry = journal.find_work(mark, target, mark, any_query=True, planned=True)
            if entry is not None and entry.fingerprint != mark:
                raise InvalidRequestError(known_as(entry, mark, request))
            found[target] = entry
        return found

    def _would_be_paid(self, entry: Entry | None) -> bool:
        if entry is None:
            return True
        return entry.state is State.PLANNED and (entry.key, entry.target) not in self.agreed

    async def consent(
        self, context: Context[Any, Any], url: str, languages: list[str], lipsync: bool = False
    ) -> Consent | Elicit[Consent]:
        """Ask the person before something is paid, where the assistant's program can ask."""
        try:
            await self.resume_if_stopped()  # or a person would agree to what can't be sent
            wanted = (await self.plan(url, languages, lipsync))["would_be_paid"]
        except AkoolError as error:
            raise ToolError(str(error)) from error
        able = context.client_capabilities
        if not wanted or able is None or able.elicitation is None:
            return Consent(spend=True)  # then `max_credits` is the bound that a person gave
        where = f"{strip_query(url)} into {', '.join(wanted)}"
        return Elicit(f"Translate {where}? Each language is a paid job.", Consent)

    async def resume_if_stopped(self) -> None:
        """Let the batch submit again where what stopped it is over.

        Raises:
            ToolError: it is not: what is submitted now would never be sent.
        """
        batch = self.batch
        if batch is None or not batch.stopped:
            return
        asked = batch.stop_cause in (StopCause.CREDITS, StopCause.CREDENTIALS)
        if asked and await self.client.credit() > 0:  # raises what the vendor still refuses
            batch.resume_submitting()
            return
        again = "call this again" if asked else "start this server again"
        raise ToolError(
            f"{batch.stopped} So this was not submitted, and nothing was spent on it. "
            f"When that is put right, {again}."
        )

    async def job(self, entry: Entry) -> JobSummary:
        """Return the answer about an entry."""
        cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
        return JobSummary(
            key=entry.key,
            language=entry.target,
            state=entry.state.name,
            reason=entry.reason or await self._why_unsent(entry),
            credits=cost,
            files=files_of(entry, self.output),
        )

    async def _why_unsent(self, entry: Entry) -> str:
        batch, name = self.batch, (entry.key, entry.target)
        if batch is None or entry.state is not State.PLANNED:
            return ""
        if name not in self.agreed:
            return _LEFT
        if batch.stopped:
            return f"It was not sent. {batch.stopped}"
        with anyio.move_on_after(0):  # the journal keeps no reason of what was refused before it was sent
            return (await batch.outcome(*name)).reason
        return ""


def _request(url: str, languages: Sequence[str], lipsync: bool) -> TranslationRequest:
    return TranslationRequest(url=url, targets=tuple(languages), lipsync=lipsync)


@asynccontextmanager
async def open_toolbox(
    client: AkoolClient, output: OutputOptions, max_credits: float | None
) -> AsyncIterator[Toolbox]:
    """Open what the tools work with: without a bound nothing that could spend."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(client)
        journal = batch = None
        if max_credits is not None:
            output.local.mkdir(parents=True, exist_ok=True)
            journal = open_journal(output.path, accept_older=output.accept_older_journal)
        elif output.path.exists():
            journal = open_journal(output.path, read_only=True)
        if journal is not None:
            await stack.enter_async_context(journal)
        if max_credits is not None:
            opened = open_batch(
                client,
                journal=journal,
                download_to=output.out,
                # What an earlier run was given is no consent of this assistant's person.
                resume_planned=False,
                max_credits=max_credits,
            )
            batch = await stack.enter_async_context(opened)
        yield Toolbox(client=client, max_credits=max_credits, output=output, journal=journal, batch=batch)


def build_server(toolbox: Toolbox) -> MCPServer:
    """Return a server with the tools of a toolbox; the one that pays is there only with a bound."""
    server = MCPServer(
        "akool-async",
        version=user_agent().partition("/")[2] or "unknown",
        instructions="Translates videos. Look before you pay: `plan` is free.",
    )
    for tool in (toolbox.languages, toolbox.voices, toolbox.balance, toolbox.jobs, toolbox.plan):
        server.add_tool(_telling(tool), annotations=_READS)
    batch, journal = toolbox.batch, toolbox.journal
    if batch is not None and journal is not None:

        async def translate(
            url: Url,
            languages: Languages,
            consent: Annotated[ElicitationResult[Consent], Resolve(toolbox.consent)],
            lipsync: bool = False,
        ) -> list[JobSummary]:
            """Translate a video: this spends credits, a job for each language that is not known yet.

            It returns at once; `jobs` tells how it went and where the files are. The same video, languages
            and options are not paid twice.
            """
            if consent.action != "accept" or not consent.data.spend:
                raise ToolError("The person declined. Nothing was submitted and nothing was spent.")
            await toolbox.resume_if_stopped()
            request = _request(url, languages, lipsync)
            # Under the key that a work has, what is paid is looked at and saved, and not refused.
            by_key: dict[str | None, list[str]] = {}
            for target, known in toolbox.known(request).items():
                key = None if known is None or known.key == known.fingerprint else known.key
                by_key.setdefault(key, []).append(target)
            names: list[tuple[str, str]] = []
            for key, targets in by_key.items():
                ticket = await batch.submit(attrs.evolve(request, key=key, targets=tuple(targets)))
                names += ticket.names
                toolbox.agreed.update(ticket.names)
            return [await toolbox.job(entry) for name in names if (entry := journal.get(*name)) is not None]

        server.add_tool(_telling(translate), annotations=ToolAnnotations(idempotent_hint=True))
    return server


def _telling(tool: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Let a tool answer with errors that a person can act on; all others are faults of this program."""

    @wraps(tool)
    async def called(*arguments: Any, **named: Any) -> Any:
        try:
            return await tool(*arguments, **named)
        except AkoolError as error:
            raise ToolError(str(error)) from error

    return called
