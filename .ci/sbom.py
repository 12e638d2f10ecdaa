"""Puts a bill of materials (CycloneDX, PEP 770) into the wheel: what the project is, and what it asks for."""

from __future__ import annotations

import json
import tempfile
import uuid
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.requirements import Requirement

NAME = "akool-async.cdx.json"


class SbomHook(BuildHookInterface):  # type: ignore[type-arg]
    """Write the bill before the wheel is built; nothing in it depends on when or where that is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the file to hatchling."""
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / NAME
        path.write_text(json.dumps(self.bill(), indent=2) + "\n", encoding="utf-8")
        build_data["sbom_files"].append(str(path))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the file."""
        self.folder.cleanup()

    def bill(self) -> dict[str, Any]:
        """Return the bill of materials."""
        core = self.metadata.core
        itself = f"pkg:pypi/{core.name}@{core.version}"
        wanted = [(Requirement(one), "required") for one in core.dependencies]
        for extra, requirements in core.optional_dependencies.items():
            wanted += [(Requirement(one), f"extra {extra}") for one in requirements]
        components: dict[str, dict[str, Any]] = {}
        for requirement, reason in wanted:
            name = requirement.name.lower()
            if name == core.name:
                continue  # an extra of the project's own
            component = components.setdefault(
                name,
                {
                    "type": "library",
                    "bom-ref": f"pkg:pypi/{name}",
                    "name": name,
                    "purl": f"pkg:pypi/{name}",
                    "scope": "required" if reason == "required" else "optional",
                    "properties": [],
                },
            )
            told = {"name": f"requirement ({reason})", "value": str(requirement.specifier) or "any version"}
            component["properties"].append(told)
        license_named = [{"license": {"id": core.license_expression or core.license}}]
        project = {
            "type": "library",
            "bom-ref": itself,
            "name": core.name,
            "version": core.version,
            "purl": itself,
            "licenses": license_named,
        }
        listed = sorted(components.values(), key=lambda one: str(one["name"]))
        bill = {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": project},
            "components": listed,
            "dependencies": [{"ref": itself, "dependsOn": [one["bom-ref"] for one in listed]}],
        }
        serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bill, sort_keys=True))
        return {**bill, "serialNumber": f"urn:uuid:{serial}"}
