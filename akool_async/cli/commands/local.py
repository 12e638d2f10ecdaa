"""`akool-async demo` and `sandbox`: what runs without an account."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async.cli.console import print_error, stderr
from akool_async.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from akool_async.sandbox import SandboxServer


def demo(
    *,
    out: Path = Path("demo-results"),
    minutes: Annotated[float, Parameter(validator=Number(gt=0, lte=60))] = 3.0,
) -> int:
    """Translate three short videos into two languages each, against a sandbox on this machine.

    Needs no account and no network, and takes under a minute. Ctrl-C saves what is in progress; run it
    again to resume.

    Parameters
    ----------
    out
        New or empty folder for the results and the journal, or the folder of an earlier demo. A demo that
        can't resume there leaves it as it is, and starts in run-2, run-3 ... inside it.
    minutes
        How long a typical job takes by the sandbox's clock, which runs faster than real time.
    """
    from akool_async.cli.demo import run_demo  # loads uvicorn and av, which no other command needs

    return run_demo(out, minutes=minutes, talk=stderr)


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
        Port of the API; 0 picks a free one.
    cdn_port
        Port of the host for results; 0 picks a free one.
    api_key
        The key that is accepted; the client secret is the same.
    credit
        Balance of the account at the start.
    max_jobs
        Jobs in progress at once; more wait.
    time_scale
        Sandbox seconds in one real second.
    media
        Inspect the videos and return copies of them with subtitles; without it any URL is accepted.
    legacy
        Answer as older servers do.
    seed
        Makes durations and failures repeatable.
    """
    from akool_async.sandbox import Sandbox

    server = Sandbox(
        api_key=api_key,
        credits=credit,
        max_jobs=max_jobs,
        time_scale=time_scale,
        media=media,
        api_version="legacy" if legacy else "current",
        seed=seed,
    )

    def ready(listening: SandboxServer) -> None:
        stderr.print(f"API      {listening.base_url}   results {listening.cdn_url}", markup=False)
        stderr.print(f"Key      {api_key}   client id {server.settings.client_id}", markup=False)
        if media:
            stderr.print("Videos   are fetched from their URLs and have to play; --no-media accepts any URL")
        stderr.print("Press Ctrl-C to stop it.")

    try:
        server.run(host, port, cdn_port, ready=ready)  # returns after Ctrl-C
    except OSError as error:
        print_error(
            f"Can't listen at {host} port {port}, or {cdn_port} for results: {error.strerror}. "
            "Name others with --host, --port and --cdn-port; 0 picks a free port."
        )
        return ExitCode.FAILED
    return ExitCode.OK
