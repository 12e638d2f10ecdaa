"""A sandbox over real sockets, and commands run against it as from a shell."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import attrs
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from akool_async.cli import app
from akool_async.sandbox import Sandbox, SandboxServer

KEY = "canary-7d1e0c55b2"


@attrs.frozen
class Told:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Told]


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def serve(portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sandbox]]:
    """Give a function that serves a sandbox, which commands then find in the environment."""
    with ExitStack() as stack:

        def start(**settings: object) -> Sandbox:
            told = {"api_key": KEY, "media": False, "time_scale": 5000.0, "sigma": 0.1} | settings
            sandbox = Sandbox(**told)  # type: ignore[arg-type]
            server: SandboxServer = stack.enter_context(portal.wrap_async_context_manager(sandbox.serve()))
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            monkeypatch.setenv("AKOOL_API_KEY", KEY)
            return sandbox

        yield start


@pytest.fixture
def vendor(serve: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox with nothing special."""
    return serve()


@pytest.fixture
def akool(capfd: pytest.CaptureFixture[str]) -> Command:
    """Give a function that runs a command in this process."""

    def run(*arguments: object) -> Told:
        capfd.readouterr()
        code = app.run([str(argument) for argument in arguments])
        shown = capfd.readouterr()
        assert KEY not in shown.out + shown.err, "the key was shown"
        return Told(code, shown.out, shown.err)

    return run


@pytest.fixture
def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
