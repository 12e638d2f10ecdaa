"""The sandbox as a server of its own, for clients in any language."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from akool_async.cli import exits
from akool_async.cli.talk import complain
from akool_async.sandbox import Sandbox, SandboxServer


def run_sandbox(*, host: str, port: int, cdn_port: int, talk: Console, **settings: Any) -> int:
    """Serve until Ctrl-C; give the exit code."""
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
        complain(
            f"Can't listen at {host} port {port}, or {cdn_port} for results: {error.strerror}. "
            "Name others with --host, --port and --cdn-port; 0 takes a free port."
        )
        return exits.FAILED
    return exits.OK
