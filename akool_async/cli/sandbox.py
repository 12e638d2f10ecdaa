"""The sandbox as a server of its own, for clients in any language."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from akool_async.sandbox import Sandbox, SandboxServer


def run_sandbox(*, host: str, port: int, cdn_port: int, talk: Console, **settings: Any) -> int:
    """Serve until Ctrl-C; give 0."""
    sandbox = Sandbox(**settings)

    def ready(server: SandboxServer) -> None:
        talk.print(f"API      {server.base_url}   results {server.cdn_url}", markup=False)
        talk.print(f"Key      {settings['api_key']}   client id {sandbox.settings.client_id}", markup=False)
        talk.print("Ctrl-C stops it.")

    sandbox.run(host, port, cdn_port, ready=ready)
    return 0
