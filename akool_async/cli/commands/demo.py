"""`akool-async demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async.cli.talk import talk


def demo(
    *,
    out: Path = Path("demo-results"),
    minutes: Annotated[float, Parameter(validator=Number(gt=0, lte=60))] = 3.0,
) -> int:
    """Translate three short videos into two languages each, against a sandbox on this machine.

    Needs no account and no network, and takes under a minute. Ctrl-C brings home what is at work; run
    it again to go on.

    Parameters
    ----------
    out
        New or empty folder for the results and the journal of what was done, or one of an earlier demo.
        A demo that can't go on there leaves it as it is, and begins anew in run-2, run-3 ... in it.
    minutes
        How long a typical job takes by the sandbox's clock, which runs faster than ours.
    """
    from akool_async.cli.demo import run_demo

    return run_demo(out, minutes=minutes, talk=talk)
