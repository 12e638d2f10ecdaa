"""`akool-async demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from akool_async.cli import exit_codes as exits
from akool_async.cli.console import print_error, stderr

if TYPE_CHECKING:
    from akool_async.sandbox import SandboxServer


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

    return run_demo(out, minutes=minutes, talk=stderr)


# `akool-async sandbox`.


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
        Inspect the videos and return copies of them with subtitles; without it any URL will do.
    legacy
        Answer as older servers do.
    seed
        Makes durations and failures repeatable.
    """
    return run_sandbox(
        host=host,
        port=port,
        cdn_port=cdn_port,
        talk=stderr,
        api_key=api_key,
        credits=credit,
        max_jobs=max_jobs,
        time_scale=time_scale,
        media=media,
        api_version="legacy" if legacy else "current",
        seed=seed,
    )


# The sandbox as a server of its own, for clients in any language.


def run_sandbox(*, host: str, port: int, cdn_port: int, talk: Console, **settings: Any) -> int:
    """Serve until Ctrl-C; give the exit code."""
    from akool_async.sandbox import Sandbox  # loads uvicorn, which `demo --help` does not need

    sandbox = Sandbox(**settings)

    def ready(server: SandboxServer) -> None:
        talk.print(f"API      {server.base_url}   results {server.cdn_url}", markup=False)
        talk.print(f"Key      {settings['api_key']}   client id {sandbox.settings.client_id}", markup=False)
        if settings["media"]:
            talk.print("Videos   are fetched from their URLs, and have to play; --no-media takes any URL")
        talk.print("Ctrl-C stops it.")

    try:
        sandbox.run(host, port, cdn_port, ready=ready)
    except OSError as error:
        print_error(
            f"Can't listen at {host} port {port}, or {cdn_port} for results: {error.strerror}. "
            "Name others with --host, --port and --cdn-port; 0 takes a free port."
        )
        return exits.FAILED
    return exits.OK
