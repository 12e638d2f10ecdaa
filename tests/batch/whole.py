"""Whether the files that a batch brought home are what the sandbox made."""

from __future__ import annotations

import json
from pathlib import Path

from akool_async._model.outcomes import ENDINGS
from akool_async.sandbox import Sandbox
from akool_async.sandbox.fixtures import modified, stub_content


def check_files(sandbox: Sandbox, out: Path, *, parts: bool = True) -> None:
    """Every file is what the sandbox made in one of its versions, or is listed as not verified."""
    size, versions = sandbox.settings.result_bytes, sandbox._results.versions
    made = {
        modified(stub_content(job, name, size), name, version)
        for job in sandbox.engine.jobs
        for name in ENDINGS
        if name != "without_captions"
        for version in range(versions[job.id, name] + 1)
    }
    unverified = set()
    for path in out.iterdir() if out.exists() else ():
        if path.suffix == ".json":
            listed = json.loads(path.read_text())["files"]
            unverified |= {file["name"] for file in listed if not file["verified"]}
        elif path.name.endswith(".about") and json.loads(path.read_text()).get("unverified"):
            unverified.add(path.name.removesuffix(".part.about"))
    for path in out.iterdir() if out.exists() else ():
        if ".part" in path.name:
            assert parts, f"{path.name} was left behind"
        elif path.suffix != ".json" and path.name not in unverified:
            assert path.read_bytes() in made, f"{path.name} is not whole"
