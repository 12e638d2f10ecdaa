"""The commands and their options; what they do stands in a file each.

Exit codes: 0 all is home, 1 something failed, 2 usage, 3 credentials or account, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from rich.console import Console

from akool_async._core.errors import AccountError, AkoolError, InvalidRequest

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
ACCOUNT: Final = 3
INTERRUPTED: Final = 130

talk: Final = Console(stderr=True, highlight=False)
"""For people; stdout is for data."""

app: Final[App] = App(
    name="akool-async",
    help="Translate videos with the Akool API, one or a whole catalog.",
    help_on_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    try:
        code = app(sys.argv[1:] if arguments is None else arguments, exit_on_error=False, error_console=talk)
    except CycloptsError:
        return USAGE  # said on stderr already
    except KeyboardInterrupt:
        talk.print("Interrupted.")
        return INTERRUPTED
    except AkoolError as error:
        talk.print(f"akool-async: {error}", markup=False, soft_wrap=True)
        return _code_of(error)
    return code if isinstance(code, int) else OK


def _code_of(error: AkoolError) -> int:
    if isinstance(error, InvalidRequest):
        return USAGE
    return ACCOUNT if isinstance(error, AccountError) else FAILED


def _needs(extra: str, error: ModuleNotFoundError) -> int:
    talk.print(f"akool-async: {error.name} is missing. Install it with: pip install 'akool-async\\[{extra}]'")
    return USAGE


@app.command
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
        Folder for the results and the journal of what was done.
    minutes
        How long a typical job takes by the sandbox's clock, which runs faster than ours.
    """
    try:
        from akool_async.cli.demo import run_demo
    except ModuleNotFoundError as error:
        return _needs("demo", error)
    return run_demo(out, minutes=minutes, talk=talk)


@app.command
def sandbox(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8321,
    cdn_port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    api_key: str = "sandbox-key",
    credit: Annotated[float, Parameter(validator=Number(gte=0))] = 100_000.0,
    max_jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 10,
    time_scale: Annotated[float, Parameter(validator=Number(gt=0))] = 1.0,
    media: bool = True,
    legacy: bool = False,
    seed: int = 0,
) -> int:
    """Imitate the vendor's API on this machine until Ctrl-C, for clients in any language.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port of the API; 0 takes a free one.
    cdn_port
        Port of the host for results; 0 takes a free one.
    api_key
        The key that is accepted; the client secret is the same.
    credit
        Balance of the account at the start.
    max_jobs
        Jobs at work at once; more wait.
    time_scale
        Sandbox seconds in one real second.
    media
        Fetch the videos and make results that play; without it any URL will do.
    legacy
        Answer as older servers do.
    seed
        Makes durations and failures repeatable.
    """
    try:
        from akool_async.cli.sandbox import run_sandbox
    except ModuleNotFoundError as error:
        return _needs("sandbox", error)
    return run_sandbox(
        host=host,
        port=port,
        cdn_port=cdn_port,
        talk=talk,
        api_key=api_key,
        credits=credit,
        max_jobs=max_jobs,
        time_scale=time_scale,
        media=media,
        flavour="legacy" if legacy else "current",
        seed=seed,
    )
