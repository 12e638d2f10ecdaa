"""A web application with the receiver in it, in a process of its own: `python -m tests.webhook.door INBOX`.

Prints its origin once it serves.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from akool_async.webhook import WebhookReceiver


def main(inbox: str) -> None:
    receiver = WebhookReceiver(inbox=inbox, max_clock_skew=1e9)  # the vendor has a time of its own

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with receiver:
            print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/akool", receiver)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1])
