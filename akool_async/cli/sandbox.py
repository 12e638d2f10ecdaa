"""The sandbox as a server of its own, for clients in any language."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from akool_async.sandbox import Sandbox


def run_sandbox(*, host: str, port: int, cdn_port: int, talk: Console, **settings: Any) -> int:
    """Serve until Ctrl-C; give 0."""
    sandbox = Sandbox(**settings)
    talk.print(f"The sandbox takes the key {settings['api_key']!r}. Ctrl-C stops it.", markup=False)
    sandbox.run(host=host, port=port, cdn_port=cdn_port)
    return 0
