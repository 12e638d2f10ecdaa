"""Whether the files that a batch brought home are what the sandbox made."""

from __future__ import annotations

from pathlib import Path

from akool_async._model.outcomes import ENDINGS
from akool_async.sandbox import Sandbox
from akool_async.sandbox.fixtures import modified, stub_content


def check_files(sandbox: Sandbox, out: Path, *, parts: bool = True) -> None:
    """Every file under a name is what the sandbox made in one of its versions, byte by byte."""
    size, versions = sandbox.settings.result_bytes, sandbox._results.versions
    made = {
        modified(stub_content(job, name, size), name, version)
        for job in sandbox.engine.jobs
        for name in ENDINGS
        if name != "without_captions"
        for version in range(versions[job.id, name] + 1)
    }
    for path in out.iterdir() if out.exists() else ():
        if ".part" in path.name:
            assert parts, f"{path.name} was left behind"
        elif path.suffix != ".json":
            assert path.read_bytes() in made, f"{path.name} is not whole"
