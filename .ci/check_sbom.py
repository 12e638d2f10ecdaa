"""Check the bill of materials in a wheel: it is CycloneDX, and names the project and all that it asks for."""

from __future__ import annotations

import json
import sys
import tomllib
import zipfile
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

wheel = zipfile.ZipFile(sys.argv[1])
(name,) = (name for name in wheel.namelist() if ".dist-info/sboms/" in name)
text = wheel.read(name).decode()
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
if error is not None:
    sys.exit(f"{name} is not valid: {error}")

bill = json.loads(text)
project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
named = {component["name"] for component in bill["components"] if component["scope"] == "required"}
wanted = {requirement.split(">")[0].lower() for requirement in project["dependencies"]}
if named != wanted or bill["metadata"]["component"]["version"] != project["version"]:
    sys.exit(f"{name} names {sorted(named)}, and the project asks for {sorted(wanted)}.")
print(f"{name}: {len(bill['components'])} components")
