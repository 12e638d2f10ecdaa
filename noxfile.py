"""The project's chores: `nox` checks a change, `nox -s thorough` adds long runs, `nox -s bench` measures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "virtualenv"  # made sooner than by venv, and with a newer pip

# Pythons that pyenv keeps beside the one in use are found too.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
os.environ["PATH"] = os.pathsep.join(
    [*map(str, sorted(PYENV.glob("3.1[1-9].*/bin"))), *os.environ["PATH"].split(os.pathsep)]
)

PYPROJECT = nox.project.load_toml("pyproject.toml")
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
EVERY_PYTHON = sorted({"3.11", "3.12", "3.13", CURRENT})
OTHER_ENDS = sorted({EVERY_PYTHON[0], EVERY_PYTHON[-1]} - {CURRENT})
"""The oldest and the newest Python, besides the one in use."""
RANDOM_RUNS = (
    "tests/batch/test_broken_downloads.py",
    "tests/batch/test_crash.py",
    "tests/batch/test_native_cancellation.py",
    "tests/batch/test_simulation.py",
    "tests/batch/test_tickets.py",
    "tests/client/test_cancellation.py",
    "tests/download/test_cancellation.py",
    "tests/download/test_hostile_host.py",
    "tests/download/test_storms.py",
    "tests/journal/test_crash.py",
    "tests/webhook/test_attacks.py",
    "tests/webhook/test_processes.py",
    "tests/webhook/test_virtual.py",
)
"""Tests whose length is a setting: short in `tests`, long in `thorough`."""
SHORT = {
    "AKOOL_TEST_KILLS": "3",
    "AKOOL_TEST_SEEDS": "10",
    "AKOOL_TEST_STRIDE": "15",
}
LONG = {"AKOOL_TEST_KILLS": "60", "AKOOL_TEST_SEEDS": "40", "AKOOL_TEST_FLOOD": "2000"}
USUAL_WAYS = {"AKOOL_TEST_WAYS": "fast trio"}
OTHER_WAYS = {"AKOOL_TEST_WAYS": "plain injected injected-fast"}
"""Ways to build a client; a session that names none has them all."""
AT_ONCE = ("-n", "4", "--dist", "worksteal")
"""Two processes more than a small machine has cores: tests wait for sockets and other processes."""
SUITE = (*AT_ONCE, "-m", "not thorough", "--durations=20")
WALKS = ("1", "2000")
"""First seed and number of the simulated batches: the same each time, so that a run can be repeated."""

nox.options.sessions = ["lint", "types", f"tests-{CURRENT}", "docs"]


def install(session: nox.Session, *groups: str, extras: str = "all") -> None:
    """Install the wheel, not the source tree, and the named groups of tools."""
    tools = nox.project.dependency_groups(PYPROJECT, *groups) if groups else []
    session.install("--no-compile", f".[{extras}]", *tools)  # most of it is never imported


def enter_suite(session: nox.Session) -> None:
    """Change to a folder in which the source tree can't be imported by accident."""
    root = Path(__file__).parent
    folder = Path(session.create_tmp()) / "suite"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml"):
        shutil.copy(root / name, folder / name)
    for name in ("tests", "docs", "benchmarks", "examples", ".ci"):
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    session.chdir(folder)


def last_release() -> str:
    """Return the newest tag before this commit; "" where there is none, or no repository."""
    command = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
        return done.stdout.strip()
    except FileNotFoundError:  # no git: an unpacked sdist
        return ""


@nox.session(python=CURRENT)
def lint(session: nox.Session) -> None:
    """Style, empty changes, the release's workflow, and the public API against the last release's."""
    session.install("--no-compile", *nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    changes = list(Path(".changes").glob("*.md"))
    empty = [path.name for path in changes if not path.read_text("utf-8").strip()]
    if empty:
        session.error(f"These changes say nothing: {', '.join(empty)}")
    workflows = [str(path) for path in Path(".github", "workflows").glob("*.yml")]
    if workflows:  # an sdist has none
        session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    released = last_release()
    if released:
        session.run("griffe", "check", "akool_async", "--against", released)
    else:
        session.log("No release yet: the public API is compared from the first tag on.")
        early = [path.name for path in changes if not path.name.endswith(".added.md")]
        if early:
            session.error(f"No release has what these changes mend or remove: {', '.join(early)}")


@nox.session(python=CURRENT)
def types(session: nox.Session) -> None:
    """mypy over everything, pyright over the public names, both over programs of users."""
    install(session, "types")
    session.run("mypy")
    # With none of the suite's plugins, and without the source tree on the path.
    alone = ("-c", os.devnull, "--noconftest", "--import-mode=importlib", "-W", "ignore")
    session.run("pytest", *alone, "tests/test_typed.py")
    session.chdir(session.create_tmp())  # so that the installed package is judged, as users see it
    session.run("pyright", "--verifytypes", "akool_async", "--ignoreexternal")


@nox.session(python=EVERY_PYTHON)
def tests(session: nox.Session) -> None:
    """The tests against the installed wheel, with short random runs; arguments go to pytest."""
    install(session, "test")
    enter_suite(session)
    session.run("pytest", *(session.posargs or SUITE), env=SHORT | USUAL_WAYS)


@nox.session(python=CURRENT)
def coverage(session: nox.Session) -> None:
    """The tests once more with every branch traced, which is slow."""
    install(session, "test")
    enter_suite(session)
    session.run("pytest", *SUITE, "--cov", "--cov-report=", env=SHORT)
    session.run("coverage", "report", "--fail-under=90")


@nox.session(python=CURRENT)
def thorough(session: nox.Session) -> None:
    """Long random runs, all ways to build a client, tests marked thorough, simulations; other Pythons."""
    install(session, "test")
    enter_suite(session)
    session.run("pytest", *AT_ONCE, *RANDOM_RUNS, env=LONG)
    session.run("pytest", *AT_ONCE, "tests/client", env=SHORT | OTHER_WAYS)
    session.run("pytest", *AT_ONCE, "-m", "thorough", env=SHORT | USUAL_WAYS)
    session.run("python", "-W", "ignore", "-m", "tests.batch.simulation", *(session.posargs or WALKS))
    for python in OTHER_ENDS:
        session.notify(f"tests-{python}")


@nox.session(python=CURRENT)
def mutants(session: nox.Session) -> None:
    """Plant wrong lines into the code that decides about money: each has to fail a test."""
    install(session, "test")
    session.install("mutmut>=3.8")
    enter_suite(session)
    session.run("python", "-m", "tests.mutants")
    session.run("python", "-m", "tests.mutants", "--survey", *session.posargs)


@nox.session(python=CURRENT)
def shape(session: nox.Session) -> None:
    """Print figures about the form of the code: sizes, layers, names, comments."""
    session.run("python", "-m", "tests.shape", *session.posargs)


@nox.session(python=CURRENT)
def build(session: nox.Session) -> None:
    """Build a wheel and an sdist into `dist/`, twice: the same bytes, with a bill of materials."""
    tools = ("build", "twine", "cyclonedx-python-lib[json-validation]")
    session.install("--no-compile", *tools, *PYPROJECT["build-system"]["requires"])
    root, temporary = Path(__file__).parent, Path(session.create_tmp()).resolve()
    ignored = shutil.ignore_patterns(".git", ".nox", ".venv", "__pycache__", "dist", "site")
    built: list[dict[str, str]] = []
    for number in ("one", "two"):
        source, out = temporary / number / "source", temporary / number / "dist"
        shutil.rmtree(temporary / number, ignore_errors=True)
        shutil.copytree(root, source, ignore=ignored, copy_function=shutil.copyfile)  # with times of its own
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(out), str(source))
        built.append({path.name: sha256(path.read_bytes()).hexdigest() for path in out.iterdir()})
    if built[0] != built[1]:
        session.error(f"Two builds differ: {built}")
    files = [str(temporary / "one" / "dist" / name) for name in built[0]]
    (wheel,) = (name for name in files if name.endswith(".whl"))
    session.run("twine", "check", "--strict", *files)
    session.run("python", ".ci/check_sbom.py", wheel)
    session.install("--no-compile", "--force-reinstall", wheel)
    session.run("python", "-c", "import akool_async; print(akool_async.AkoolClient)")
    (root / "dist").mkdir(exist_ok=True)
    for name in files:
        shutil.copy(name, root / "dist")


def lay_out_pages(root: Path, site: Path) -> None:
    """Copy what the site shows to `site`; a link between two of these files leads there on the site, too."""
    pages = {
        root / "README.md": site / "index.md",
        root / "CONTRIBUTING.md": site / "contributing.md",
        root / "CHANGELOG.md": site / "changelog.md",
        root / "benchmarks" / "results": site / "results" / "README.md",
    }
    for folder, below in ((root / "docs", site), (root / "benchmarks" / "results", site / "results")):
        pages |= {path: below / path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    for path, page in pages.items():
        if path.is_dir():
            continue
        page.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".md":
            shutil.copy(path, page)
            continue

        def moved(link: re.Match[str], path: Path = path, page: Path = page) -> str:
            to = pages.get((path.parent / link[0]).resolve())
            return link[0] if to is None else os.path.relpath(to, page.parent)

        text = path.read_text(encoding="utf-8")
        page.write_text(re.sub(r"(?<=\]\()(?!\w+:)[^)#\s]+", moved, text), encoding="utf-8")


@nox.session(python=CURRENT)
def docs(session: nox.Session) -> None:
    """Build the site into `site/`; a link that leads nowhere fails. `-- serve` shows it."""
    install(session, "docs")
    root = Path(__file__).parent
    work = Path(session.create_tmp()).resolve() / "pages"
    shutil.rmtree(work, ignore_errors=True)
    lay_out_pages(root, work / "docs")
    shutil.copy(work / "docs" / "zensical.toml", work)
    session.chdir(work)
    session.run("zensical", *(session.posargs or ("build", "--clean", "--strict")))
    shutil.copytree(work / "site", root / "site", dirs_exist_ok=True)


@nox.session(python=CURRENT)
def demo(session: nox.Session) -> None:
    """The README's main job."""
    install(session, extras="demo")
    out = Path(session.create_tmp()) / "results"
    shutil.rmtree(out, ignore_errors=True)
    session.run("akool-async", "demo", "--out", str(out))


@nox.session(python=CURRENT)
def bench(session: nox.Session) -> None:
    """Measure everything into benchmarks/results; `-- --check` compares with it, `-- poll` runs one."""
    install(session, "bench", extras="cli,dbos,webhook,sandbox")
    session.run("python", "benchmarks/everything.py", *session.posargs)
    session.install("trio>=0.27")  # for the rest, which runs in virtual time
    session.run("python", "benchmarks/everything.py", *session.posargs)
