"""A process that freezes itself while it sends a paid POST.

`python -m tests.ledger.frozen DATABASE HOST MOMENT` stops at a moment before the first byte, as a paused
container or a machine that sleeps does, and sends when somebody continues it. FRESH is short here, so that a
test need not wait for it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import anyio

from akool_async import AkoolClient
from akool_async._http import senders as wire
from akool_async.ledger import ledger as module
from akool_async.ledger import open_ledger
from tests.ledger.conftest import QUICK, video


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def freeze_at(moment: str) -> None:
    """Plant the freeze: once the right to send is committed, or once the connection is made."""
    acquire, observe = module.Ledger.acquire, wire.SendTracker.__call__
    freezes = iter([freeze])

    async def acquire_and_freeze(ledger: module.Ledger, token: str, sender: str) -> bool:
        won = await acquire(ledger, token, sender)
        next(freezes, lambda: None)()
        return won

    async def freeze_and_observe(tracker: wire.SendTracker, event: str, info: Any) -> None:
        if event.endswith("send_request_headers.started"):
            next(freezes, lambda: None)()
        await observe(tracker, event, info)

    if moment == "acquired":
        module.Ledger.acquire = acquire_and_freeze  # type: ignore[method-assign]
    else:
        wire.SendTracker.__call__ = freeze_and_observe  # type: ignore[method-assign]


async def main(database: str, host: str) -> None:
    async with (
        AkoolClient(api_key="canary-5d1", host=host, retry=QUICK) as client,
        open_ledger(database) as ledger,
    ):
        print(type(await ledger.submit_once(client, video(), worker="frozen")).__name__)


if __name__ == "__main__":
    module.FRESH = 0.01  # type: ignore[misc]
    freeze_at(sys.argv[3])
    anyio.run(main, sys.argv[1], sys.argv[2])
