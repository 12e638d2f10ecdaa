"""`akool-async demo` and `sandbox`: what runs without an account."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._environment import is_loopback, needs_extra
from akool_async.cli.console import WarningPrinter, print_error, print_info, stderr
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import check_positive

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
    with needs_extra("sandbox", "Sandboxes with real videos"):
        from akool_async.cli.demo import run_demo  # loads uvicorn and av, which no other command needs
    return run_demo(out, minutes=minutes, talk=stderr)


def sandbox(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8321,
    cdn_port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 0,
    allow_remote: Annotated[list[str], Parameter(consume_multiple=True, negative=())] | None = None,
    api_key: str | None = None,
    client_id: str = "sandbox-client-id",
    credit: Annotated[float, Parameter(validator=Number(gte=0))] = 100_000.0,
    max_jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 10,
    fault: Annotated[list[str], Parameter(negative=())] | None = None,
    control: Annotated[bool, Parameter(negative=())] = False,
    fast: Annotated[bool, Parameter(negative=())] = False,
    time_scale: Annotated[float, Parameter(validator=check_positive)] = 1.0,
    media: bool = True,
    api_version: Literal["current", "documented", "legacy"] = "current",
    log: bool = True,
    seed: int = 0,
) -> int:
    """Imitate the vendor's API on this machine until Ctrl-C, for clients in any language.

    Every request is logged on stderr: method, path, HTTP status, code and the faults that hit it.

    Parameters
    ----------
    host
        Address to listen on. Any address other than this machine's own needs --allow-remote.
    port
        Port of the API; 0 picks a free one.
    cdn_port
        Port of the host for results; 0 picks a free one.
    allow_remote
        Names or addresses by which other machines reach this one; the first one is used in the URLs of
        results. Anyone who knows the key can then use the sandbox, so --api-key is needed too. Videos
        and webhooks at addresses of the inner network are refused.
    api_key
        The key that is accepted; the client secret is the same.
    client_id
        The client id that is accepted, and that webhooks are sealed with.
    credit
        Balance of the account at the start.
    max_jobs
        Jobs in progress at once; more wait.
    fault
        Something that goes wrong, such as create:reset:nth=2 or status:http:status=503:probability=0.1; may
        be repeated. docs/sandbox.md lists all kinds.
    control
        Answer GET /_sandbox/audit, and POST and DELETE /_sandbox/faults, on the host of the results: what was
        really made and paid, and faults while it is running. They ask for no key, so it does not go with
        --allow-remote.
    fast
        Jobs take about a tenth of a second.
    time_scale
        Sandbox seconds in one real second.
    media
        Inspect the videos and return copies of them with subtitles; without it any URL is accepted.
    api_version
        Answer as servers do, as today's documentation says (no language needs a voice), or as older
        servers did.
    log
        Print the log of requests.
    seed
        Makes durations and failures repeatable.
    """
    from akool_async.sandbox import Sandbox
    from akool_async.sandbox.settings import DEFAULT_API_KEY

    if (allow_remote or not is_loopback(host)) and not (allow_remote and api_key):
        print_error(
            "To serve other machines, name this one with --allow-remote and choose a key with --api-key. "
            "There is no encryption, and anyone who knows the key can use the sandbox."
        )
        return ExitCode.USAGE
    try:
        server = Sandbox(
            api_key=DEFAULT_API_KEY if api_key is None else api_key,
            client_id=client_id,
            credits=credit,
            max_jobs=max_jobs,
            faults=fault or (),
            media=media,
            api_version=api_version,
            allow_remote=allow_remote or (),
            control=control,
            seed=seed,
            median_seconds=1.0 if fast else 120.0,
            time_scale=10.0 * time_scale if fast else time_scale,
        )
    except ValueError as error:
        print_error(f"The sandbox can't be started like this: {error}.")
        return ExitCode.USAGE
    settings = server.settings

    def ready(listening: SandboxServer) -> None:
        print_info(f"API      {listening.base_url}   results {listening.cdn_url}")
        print_info(f"Key      {settings.api_key}   client id {settings.client_id}")
        key, url = shlex.quote(settings.api_key), shlex.quote(listening.base_url)
        name, secret = shlex.quote(settings.client_id), shlex.quote(settings.webhook_secret)
        print_info("For the client:")
        if is_loopback(host):
            print_info(f"    AKOOL_API_KEY={key} AKOOL_API_HOST={url} akool-async credit")
        else:  # the client sends its key to another machine encrypted only
            print_info("    put an https server before both, and its URL in AKOOL_API_HOST")
        print_info("For a receiver of webhooks:")
        print_info(f"    AKOOL_CLIENT_ID={name} AKOOL_CLIENT_SECRET={secret} akool-async webhook serve")
        if media:
            print_info("Videos are fetched from their URLs and have to play; --no-media accepts any URL.")
        if control:
            print_info(f"What was made and paid: curl {listening.cdn_url}/_sandbox/audit")
        print_info("Press Ctrl-C to stop it.")

    requests, printer = logging.getLogger("akool_async.sandbox"), WarningPrinter(logging.DEBUG)
    if log:
        requests.addHandler(printer)
        requests.setLevel(logging.DEBUG)
        requests.propagate = False
    try:
        server.run(host, port, cdn_port, ready=ready)  # returns after Ctrl-C
    except OSError as error:
        print_error(
            f"Can't listen at {host} port {port}, or {cdn_port} for results: {error.strerror}. "
            "Name others with --host, --port and --cdn-port; 0 picks a free port."
        )
        return ExitCode.FAILED
    finally:
        requests.removeHandler(printer)
        requests.setLevel(logging.NOTSET)
        requests.propagate = True
    return ExitCode.OK
