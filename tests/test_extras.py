"""A missing extra is one kind of error everywhere, which names the command that installs it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from tests.cli.test_extras import only_with_extras

NEEDED = {
    "otel": "import akool_async.otel",
    "media": "akool_async.open_batch(client, [], preflight=akool_async.Limits())",
    "media by itself": "anyio.run(akool_async.inspect, 'talk.mp4')",
    "webhook": "akool_async.webhook.WebhookReceiver(client_id='me', client_secret='s' * 16)",
    "sandbox": "anyio.run(akool_async.sandbox.Sandbox(media=False).serve().__aenter__)",
    "sandbox with videos": "akool_async.sandbox.Sandbox()",
    "sandbox for a receiver": "import akool_async.webhook.server",
    "storage": "akool_async.open_batch(client, [], download_to='s3://bucket/results')",
    "ledger": "import akool_async.ledger",
    "dbos": "import akool_async.workers.dbos",
    "dbos for workflows": "import akool_async.workers.workflows",
    "captions": "import akool_async.captions",
    "captions as tables": "import akool_async.captions.tables as tables; tables._xlsx([])",
    "sheets": "from akool_async.cli.catalog import sheets; sheets.read_sheet(None, None, None, '')",
    "mcp": "from akool_async.cli.commands import mcp; mcp.mcp()",
    "man": "from akool_async.cli.commands import shell; shell.man()",
    "cli": "import akool_async.report",
}
"""By extra (its first word) what needs it."""

PROGRAM = """
import json, sys, anyio
import akool_async, akool_async.sandbox, akool_async.webhook
client = akool_async.AkoolClient(api_key="key")
found = {}
for name, code in json.loads(sys.argv[1]).items():
    both = ["jinja2", "pysubs2"] if name in ("cli", "captions") else []
    sys.modules |= dict.fromkeys([*json.loads(sys.argv[2]), *both])
    try:
        exec(code)
    except ImportError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        found[name] = {"kinds": kinds, "text": str(error), "extra": error.extra, "name": error.name}
    for module in both:
        del sys.modules[module]
print(json.dumps(found))
"""


@cache
def raised() -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-c", PROGRAM, json.dumps(NEEDED), json.dumps(sorted(only_with_extras()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("needed", NEEDED)
def test_a_missing_extra_is_one_kind_of_error_that_says_how_to_install_it(needed: str) -> None:
    error, extra = raised()[needed], needed.split()[0]

    assert error["kinds"][:2] == ["MissingExtraError", "ConfigurationError"]
    assert "ModuleNotFoundError" in error["kinds"]
    assert error["extra"] == extra
    assert error["name"].partition(".")[0] in {*only_with_extras(), "jinja2", "pysubs2"}
    assert f"need the module {error['name'].partition('.')[0]}," in error["text"]
    assert "install 'akool-async[" in error["text"]
    assert f"{extra}]'" in error["text"]
