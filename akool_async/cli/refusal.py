"""How a catalog that is wrong is told: every mistake, before anything was sent."""

from __future__ import annotations

from akool_async.cli import exits
from akool_async.cli.catalog import CatalogWrong, told
from akool_async.cli.plan_told import counted
from akool_async.cli.talk import complain, say


def refused(wrong: CatalogWrong) -> int:
    """Tell all mistakes, and give the exit code."""
    complain(f"{counted(len(wrong.mistakes), 'mistake')}. Nothing was submitted and nothing was spent.")
    for line in told(wrong.mistakes):
        say(f"  {line}")
    return exits.USAGE
