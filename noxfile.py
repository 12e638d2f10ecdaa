"""The project's chores: `nox -s lint types tests walks build demo`; `nox -s bench shape` measures."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2024.10.9"
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"

# Pythons that pyenv keeps beside the one in use are found too.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
os.environ["PATH"] = os.pathsep.join(
    [*map(str, sorted(PYENV.glob("3.1[1-9].*/bin"))), *os.environ["PATH"].split(os.pathsep)]
)

PYPROJECT = nox.project.load_toml("pyproject.toml")
LONG = {"AKOOL_TEST_KILLS": "60", "AKOOL_TEST_SEEDS": "40"}
SHORT = {
    "AKOOL_TEST_WAYS": "fast trio",
    "AKOOL_TEST_KILLS": "5",
    "AKOOL_TEST_SEEDS": "40",
    "AKOOL_TEST_STRIDE": "7",
}
"""On one Python crashes go on for long and clients are built in every way; not so on the others."""
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
EVERY_PYTHON = sorted({"3.11", "3.12", "3.13", HERE})
ENDS = sorted({EVERY_PYTHON[0], EVERY_PYTHON[-1], HERE})
"""Tested without being asked: the oldest, the newest and the one in use. `nox -s tests` tests on all."""
LATE = ("tests/cli/", "tests/sandbox/", "tests/download/", "tests/test_readme.py")
"""Tests that may only have been late, and how many of them that may be said of."""
FEW = 3

nox.options.sessions = ["lint", "types", *(f"tests-{python}" for python in ENDS), "walks", "build", "demo"]


def install(session: nox.Session, *groups: str, extras: str = "all") -> None:
    """Install the wheel, not the source tree, and the named groups of tools."""
    tools = nox.project.dependency_groups(PYPROJECT, *groups) if groups else []
    session.install(f".[{extras}]", *tools)


@nox.session(python=HERE)
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=HERE)
def types(session: nox.Session) -> None:
    """mypy over everything, pyright over the public face."""
    install(session, "test", "lint")
    session.run("mypy")
    session.chdir(session.create_tmp())  # so that the installed package is judged, as users see it
    session.run("pyright", "--verifytypes", "akool_async", "--ignoreexternal")


@nox.session(python=EVERY_PYTHON)
def tests(session: nox.Session) -> None:
    """The whole test-suite against the installed wheel, with coverage."""
    install(session, "test")
    run_tests(session, *session.posargs)


@nox.session(python=HERE)
def walks(session: nox.Session) -> None:
    """A batch among seeded faults in virtual time: `nox -s walks -- FIRST COUNT` takes other seeds."""
    install(session, "test")
    go_to_suite(session)
    seeds = session.posargs or ["1", "2000"]  # the same ones each time, so that a change is judged by itself
    session.run("python", "-W", "ignore", "-m", "tests.batch.simulation", *seeds)


def go_to_suite(session: nox.Session) -> None:
    """Go to a folder in which the source tree can't be imported by accident."""
    root = Path(__file__).parent
    folder = Path(session.create_tmp()) / "suite"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(root / name, folder / name)
    for name in ("tests", "docs", ".ci"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    session.chdir(folder)


def run_tests(session: nox.Session, *arguments: str) -> None:
    """Run pytest in the suite's folder, with coverage unless arguments say otherwise."""
    go_to_suite(session)
    thorough = session.python == HERE
    env = LONG if thorough else SHORT
    extent = ["--cov", "--cov-report="] if thorough else ["-m", "not thorough"]
    try:
        session.run("pytest", *(arguments or ("-n", "2", "--durations=20", *extent)), env=env)
    except CommandFailed:
        if not may_be_late(Path(".pytest_cache/v/cache/lastfailed")):
            raise
        session.warn("What failed may only have been late; it is run once more, alone.")
        session.run("pytest", "--last-failed", "--last-failed-no-failures=none", env=env)
    if thorough and not arguments:
        session.run("coverage", "report", "--fail-under=95")


def may_be_late(failed: Path) -> bool:
    """Whether all that failed deals with real screens, processes and sockets, and nothing with money.

    Those tests meet a clock that is not theirs, and the machine may have other work. A rule about money
    or loss has no second chance.
    """
    names = json.loads(failed.read_text(encoding="utf-8")) if failed.exists() else {}
    return bool(names) and len(names) <= FEW and all(name.startswith(LATE) for name in names)


@nox.session(python=HERE)
def shape(session: nox.Session) -> None:
    """Print how the code is laid out, and where it misses its goals: `-- --list` lists everything."""
    session.run("python", "-m", "tests.shape", *session.posargs)


@nox.session(python=HERE)
def build(session: nox.Session) -> None:
    """A wheel that installs by itself, and an sdist."""
    session.install("build", "twine")
    out = Path(session.create_tmp()) / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out))
    built = [str(path) for path in out.iterdir()]
    session.run("twine", "check", "--strict", *built)
    session.install("--force-reinstall", *[path for path in built if path.endswith(".whl")])
    session.run("python", "-c", "import akool_async; print(akool_async.AkoolClient)")


@nox.session(python=HERE)
def demo(session: nox.Session) -> None:
    """The README's main job."""
    install(session, extras="demo")
    out = Path(session.create_tmp()) / "results"
    shutil.rmtree(out, ignore_errors=True)
    session.run("akool-async", "demo", "--out", str(out))


@nox.session(python=HERE)
def bench(session: nox.Session) -> None:
    """Measure everything into benchmarks/results; `-- --check` compares with it, `-- poll` runs one."""
    install(session, "bench", extras="webhook,sandbox")
    session.run("python", "benchmarks/everything.py", *session.posargs)
    session.install("trio>=0.27")  # for the rest, which runs in virtual time
    session.run("python", "benchmarks/everything.py", *session.posargs)
