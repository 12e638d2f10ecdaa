"""The manifests in examples/ are what Docker, Kubernetes and systemd read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

pytestmark = [
    pytest.mark.skipif(not EXAMPLES.exists(), reason="only beside the examples"),
]


def run(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("kubernetes/*.yaml")), ids=lambda path: path.name)
def test_each_object_for_kubernetes_fits_its_schema(path: Path) -> None:
    import kubernetes_validate

    objects = [*yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    assert objects
    for each in objects:
        kubernetes_validate.validate(each, "1.34", strict=True)


def test_the_compose_file_fits_the_schema_of_compose() -> None:
    run(
        tool("check-jsonschema"),
        *("--builtin-schema", "vendor.compose-spec", EXAMPLES / "docker" / "compose.yaml"),
    )


def test_hadolint_finds_nothing_in_the_image() -> None:
    run(tool("hadolint"), EXAMPLES / "docker" / "Dockerfile")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("systemd/*.service")), ids=lambda path: path.name)
def test_systemd_reads_each_unit(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "/opt/akool/bin/akool-async" in text
    unit = tmp_path / path.name.replace("@", "@one")
    unit.write_text(text.replace("/opt/akool/bin/akool-async", "/bin/true"), encoding="utf-8")
    run("systemd-analyze", "verify", "--man=no", unit)
