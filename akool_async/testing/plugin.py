"""The pytest plugin: a sandbox with one account for each test that asks for it, and what is checked after it.

Loaded in every run of pytest where this package is installed, so it imports nothing of the package until a
fixture is used.
"""

from __future__ import annotations

import functools
import inspect
import secrets
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from akool_async._client import AkoolClient
    from akool_async.sandbox import Sandbox, SandboxServer
    from akool_async.testing.clock import VirtualClock

_NOWHERE: Final = "http://127.0.0.1:1"
"""Where AKOOL_API_HOST points: a client that a test forgot to replace must not reach the vendor."""

_SETTLE: Final = 0.002
"""Real seconds that answers of a served sandbox may take before time jumps."""

_MARKER: Final = (
    "akool(faults=[...], pays_twice=False, **options): the sandbox of this test: what goes wrong in it, "
    "whether the test may pay twice for one job, and any option of akool_async.sandbox.Sandbox, such as "
    "credits=3."
)


class _Account:
    """The account of one test, and what was found wrong with it already."""

    def __init__(self, sandbox: Sandbox, *, pays_twice: bool) -> None:
        self.sandbox = sandbox
        self._payments_reported = pays_twice
        self._leaks_reported = False
        self._shown: set[str] = set()

    def check(self) -> None:
        """Fail the test if it did what would cost money, or the key, at the vendor; each is reported once."""
        twice = () if self._payments_reported else self.sandbox.audit.paid_twice(count_failed=False)
        if twice:
            self._payments_reported = True
            works = [
                f"{jobs[0].url} ({jobs[0].language or 'lip-sync'}): jobs {', '.join(job.id for job in jobs)}"
                for jobs in twice
            ]
            pytest.fail(
                f"The test paid twice for the same work. {'; '.join(works)}. If that is what it is about: "
                "@pytest.mark.akool(pays_twice=True).",
                pytrace=False,
            )
        leaks = () if self._leaks_reported else self.sandbox.audit.leaks
        if leaks:
            self._leaks_reported = True
            places = {f"the {leak.what} in the {leak.where} of {leak.path}" for leak in leaks}
            pytest.fail(
                f"The test sent credentials to a host that is not the API: {', '.join(sorted(places))}.",
                pytrace=False,
            )

    def sections_with_key(self, report: pytest.TestReport) -> list[str]:
        """Return which captured output shows the key; each is reported once."""
        key = self.sandbox.settings.api_key
        shown = [name for name, text in report.sections if key in text and name not in self._shown]
        self._shown.update(shown)
        return shown


_ACCOUNT: Final = pytest.StashKey[_Account]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def akool_clock() -> VirtualClock:
    """A clock that jumps to the next moment for which something waits, once nothing else can happen."""
    from akool_async.testing.clock import VirtualClock

    return VirtualClock()


@pytest.fixture
def akool_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, akool_clock: VirtualClock
) -> Iterator[Sandbox]:
    """The vendor imitated, with an account and a key for this test alone; see the marker `akool`.

    Clients that are made without a clock, also by the code under test, use `akool_clock`. AKOOL_API_KEY is
    the sandbox's; AKOOL_API_HOST points nowhere unless `akool_server` is used, too. A test that paid twice
    for one job, or gave its key away, fails.
    """
    from akool_async import _clock
    from akool_async.sandbox import Sandbox

    options: dict[str, Any] = {
        "api_key": secrets.token_hex(12),
        "media": False,
        "clock": akool_clock.sandbox_time,
    }
    for marker in reversed([*request.node.iter_markers("akool")]):  # the nearest one last, so that it wins
        if marker.args:
            pytest.fail("The marker akool takes options by name, such as akool(credits=3).", pytrace=False)
        options |= marker.kwargs
    pays_twice = options.pop("pays_twice", False)
    try:
        sandbox = Sandbox(**options)
    except (TypeError, ValueError) as error:
        pytest.fail(f"The marker akool has a wrong option: {error}", pytrace=False)
    for name in ("AKOOL_CLIENT_ID", "AKOOL_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AKOOL_API_KEY", sandbox.settings.api_key)
    monkeypatch.setenv("AKOOL_API_HOST", _NOWHERE)
    monkeypatch.setattr(_clock, "default_clock", lambda: akool_clock)
    account = request.node.stash[_ACCOUNT] = _Account(sandbox, pays_twice=pays_twice)
    yield sandbox
    account.check()  # what other fixtures did after the test


@pytest.fixture
def akool_client(akool_sandbox: Sandbox, akool_clock: VirtualClock) -> AkoolClient:
    """A client of `akool_sandbox` inside the process, open while an async test runs.

    A test without `async`, and a fixture that needs the client before the test begins, opens it itself.
    """
    return akool_sandbox.client(clock=akool_clock)


@pytest.fixture
def akool_server(
    akool_sandbox: Sandbox, akool_clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SandboxServer]:
    """`akool_sandbox` on sockets of this machine; AKOOL_API_HOST points there.

    For code that makes its own client, for webhooks, and for other processes.
    """
    from anyio.from_thread import start_blocking_portal

    # The server answers from a thread of its own: to this event loop a request under way looks like idleness.
    akool_clock.settle = _SETTLE
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(akool_sandbox.serve()) as server,
    ):
        monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
        yield server


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Open the client in the task that the test runs in; fail a test that paid twice or leaked its key."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        # Not in a fixture: plugins run fixtures and tests in different tasks, and a client belongs to one.
        client: Any = item.funcargs.get("akool_client")
        if client is not None:
            item.obj = _with_client(item.obj, client)
    yield
    account = item.stash.get(_ACCOUNT, None)
    if account is not None:
        account.check()


def _with_client(test: Callable[..., Awaitable[None]], client: AkoolClient) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def run(*arguments: Any, **named: Any) -> None:
        if client.session.connections is not None:  # a fixture opened it, and closes it
            await test(*arguments, **named)
            return
        async with client:
            await test(*arguments, **named)

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test whose output or logs show its key."""
    report = yield
    account = item.stash.get(_ACCOUNT, None)
    if account is not None and report.passed:
        shown = account.sections_with_key(report)
        if shown:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} shows its API key in: {', '.join(shown)}."
    return report
