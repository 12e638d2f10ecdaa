"""What all tests share: the backends, and the canary that must never be printed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.media.file_host import FileHost

settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")  # a busy machine may stand still for seconds within any example

# Under nohup or `&` a signal may be ignored, also by every process that a test starts and sends it to.
# A handler in Python is not inherited: with one here these processes have the default.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

CANARY = "canary-4f9c1b7e2a"
"""A key that stands for every secret; the whole suite's output is searched for it."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def files() -> Iterator[FileHost]:
    """A host of files on this machine."""
    from tests.media.file_host import serve_files  # needs PyAV

    with serve_files() as host:
        yield host


@pytest.fixture(autouse=True)
def no_credentials_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AKOOL_API_KEY", "AKOOL_CLIENT_ID", "AKOOL_CLIENT_SECRET", "AKOOL_API_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """A function that makes a folder read-only, but not those in it.

    The system says so when it is asked; permissions do not bind root.
    """
    folders: set[Path] = set()
    usual = os.access

    def access(path: str | os.PathLike[str], mode: int) -> bool:
        return not (mode & os.W_OK and Path(path).absolute() in folders) and usual(path, mode)

    monkeypatch.setattr(os, "access", access)
    return lambda folder: folders.add(folder.absolute())


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("authority") / "one.pem"
    trustme.CA().cert_pem.write_to_path(file)
    return str(file)


@pytest.fixture(autouse=True)
def no_certificates_from_outside(one_authority: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust one authority, as no test leaves this machine: loading them all is most of opening a client."""
    monkeypatch.setenv("SSL_CERT_FILE", one_authority)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that printed or logged the canary."""
    report = yield
    shown = [name for name, text in report.sections if CANARY in text]
    if report.passed and shown:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} shows a secret in: {', '.join(shown)}"
    return report
