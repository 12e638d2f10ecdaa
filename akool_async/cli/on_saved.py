"""`--on-saved`: a command for each saved result, such as an upload; its failure is never the run's.

What ended well is noted beside the journal, so that the next run makes up for a command that failed, or that
a killed run did not come to.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import anyio
import attrs
from anyio.abc import ByteReceiveStream, Process, TaskGroup
from anyio.to_thread import run_sync

from akool_async._journal.names import beside
from akool_async._model.credentials import ID_VARIABLE, KEY_VARIABLE, SECRET_VARIABLE
from akool_async._model.errors import InvalidRequestError
from akool_async._model.outcomes import Completed, Outcome
from akool_async._model.redact import sanitize
from akool_async.cli.console import duration, format_value, print_info

AT_ONCE: Final = 4
"""Commands that run at once."""

_SHOWN: Final = 2_000
"""Bytes of the end of a command's output that are kept, to say why it failed."""

_GUARD: Final = Path(__file__).with_name("guard.py")
_LAST_WORDS: Final = 1.0
"""Seconds for the output of a command that has ended."""

_ENDING: Final = 60.0
"""Seconds after which a guard that does not end its command is killed itself.

It needs 4 s, and more on a busy machine; without it nobody ends the command.
"""

_SHORTEST_SECRET: Final = 8


@attrs.frozen(kw_only=True)
class SavedCommand:
    """What is run for each saved result: a program and its arguments, which no shell reads."""

    words: tuple[str, ...]
    timeout: timedelta

    @classmethod
    def parse(cls, text: str, timeout: timedelta) -> SavedCommand:
        """Return the command that `--on-saved` names.

        Raises:
            InvalidRequestError: it can't be read, or there is no such program.
        """
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise InvalidRequestError(f"--on-saved can't be read: {error}.") from error
        # Found out before anything is paid for, and not when the first result is there.
        if not words or shutil.which(words[0]) is None:
            raise InvalidRequestError(
                f"--on-saved names no program that is there: {' '.join(words[:1]) or '(nothing)'}.",
                advice="Name a program with its arguments. No shell reads them: pipes need a script.",
            )
        return cls(words=words, timeout=timeout)


def environment_for(outcome: Completed, secrets: Iterable[str]) -> dict[str, str]:
    """Return the environment of a command: without credentials, with what it needs to know of the result."""
    hidden = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
    ours = (KEY_VARIABLE, ID_VARIABLE, SECRET_VARIABLE)
    # The command gets what it needs to upload somewhere, and nothing that spends credits.
    found = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not any(secret in value for secret in hidden)
    }
    saved = outcome.saved
    assert saved is not None  # noqa: S101 - only saved results have a command
    found |= {
        "AKOOL_ENTRY_KEY": outcome.key,
        "AKOOL_ENTRY_LANGUAGE": outcome.target,
        "AKOOL_VIDEO": str(saved.video.absolute()),
    }
    if saved.manifest is not None:
        found["AKOOL_MANIFEST"] = str(saved.manifest.absolute())
    return found


@attrs.frozen(kw_only=True)
class CommandResult:
    """How a command for a saved result ended.

    Attributes:
        exit_code: None if it took too long.
        reason: why it failed, in words; "" if it did not.
    """

    key: str
    target: str
    exit_code: int | None
    reason: str = ""


class SavedCommands:
    """Runs the command for one result after the other, a few at once, inside `running`.

    Args:
        journal: the journal's file, beside which it is noted what ended well.
        secrets: texts that no command may see.
        on_end: called for each command that ended, in a thread.
    """

    def __init__(
        self,
        command: SavedCommand,
        journal: Path,
        *,
        secrets: Iterable[str],
        on_end: Callable[[CommandResult], None],
    ) -> None:
        self._command = command
        self._path = beside(journal, ".on-saved")
        self._secrets = tuple(secrets)
        self._on_end = on_end
        self._limit = anyio.CapacityLimiter(AT_ONCE)
        self._tasks: TaskGroup
        self._done: set[tuple[str, str, str]]
        self.failed: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run commands until the block ends, then wait for those that run.

        A cancelled run, or one that is killed, ends them.
        """
        self._done = await run_sync(self._read)  # what ended well in earlier runs
        async with anyio.create_task_group() as self._tasks:
            yield

    def add(self, outcome: Outcome) -> None:
        """Run the command for an outcome if it is a saved result, unless it ended well before."""
        if not isinstance(outcome, Completed) or outcome.saved is None:
            return
        if self._name(outcome) not in self._done:
            self._tasks.start_soon(self._run, outcome)

    async def _run(self, outcome: Completed) -> None:
        async with self._limit:
            code, output = await self._call(environment_for(outcome, self._secrets))
        reason = ""
        if code is None:
            reason = f"it took longer than {duration(self._command.timeout)} and was ended"
        elif code:
            last = (output.decode(errors="replace").strip().splitlines() or [""])[-1]
            reason = f"exit code {code}" + (f": {format_value(sanitize(last))}" if last else "")
        self.failed += bool(reason)
        result = CommandResult(key=outcome.key, target=outcome.target, exit_code=code, reason=reason)
        # Only what ended well is noted, so the next run does the others again. Shielded: what has ended is
        # not run again because this run was ended just then.
        with anyio.CancelScope(shield=True):
            if not reason:
                await run_sync(self._note, outcome)
            await run_sync(self._on_end, result)

    async def _call(self, environment: Mapping[str, str]) -> tuple[int | None, bytes]:
        """Run the command once; return its exit code, None if it took too long, and the end of its output."""
        output = bytearray()
        # The guard ends the command when the pipe closes: when this process is killed, too.
        script = [sys.executable, "-I", "-S", str(_GUARD), *self._command.words]
        process = await anyio.open_process(
            script,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101 - these are pipes
        assert process.stdout is not None  # noqa: S101
        code, said = None, anyio.Event()
        try:
            with anyio.move_on_after(self._command.timeout.total_seconds()):
                async with anyio.create_task_group() as reading:
                    reading.start_soon(_keep_end, process.stdout, output, said)
                    code = await process.wait()
                    # Its last words may still be in the pipe, which what it left running keeps open for ever.
                    with anyio.move_on_after(_LAST_WORDS):
                        await said.wait()
                    reading.cancel_scope.cancel()
            return code, bytes(output)
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)

    @staticmethod
    def _name(outcome: Completed) -> tuple[str, str, str]:
        return outcome.key, outcome.target, outcome.job_id

    def _read(self) -> set[tuple[str, str, str]]:
        """Return what ended well; a line that was torn by a crash counts for nothing."""
        done: set[tuple[str, str, str]] = set()
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return done
        except (OSError, ValueError) as error:
            print_info(f"{self._path} can't be read ({error}): every saved result gets its command again.")
            return done
        for line in lines:
            try:
                key, target, job_id = json.loads(line)
            # A line that was torn by a crash: to run a command twice is better than never.
            except (ValueError, TypeError):
                continue
            done.add((str(key), str(target), str(job_id)))
        return done

    def _note(self, outcome: Completed) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(self._name(outcome))}\n")
        except OSError as error:
            print_info(
                f"{self._path} can't be written ({error.strerror}): the next run runs the command again."
            )


async def _keep_end(stream: ByteReceiveStream, kept: bytearray, over: anyio.Event) -> None:
    async for part in stream:
        kept += part
        del kept[:-_SHOWN]
    over.set()


async def _end(process: Process) -> None:
    """Close the pipe, by which the guard ends the command, and see that both are gone."""
    assert process.stdin is not None  # noqa: S101 - these are pipes
    await process.stdin.aclose()
    with anyio.move_on_after(_ENDING):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
