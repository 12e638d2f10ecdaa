"""The command line in a process of its own, asking often: `python -m tests.cli.quick ARGUMENTS`."""

from __future__ import annotations

import fcntl
import sys
import termios

from akool_async import AkoolClient, FixedSchedule
from akool_async.cli import main
from akool_async.cli.options import ConnectionOptions
from tests.client.short_waits import QUICK

_usual = ConnectionOptions.client


def _quick(connection: ConnectionOptions, **options: object) -> AkoolClient:
    return _usual(connection, retry=QUICK, schedule=FixedSchedule(interval=0.05), **options)


if __name__ == "__main__":
    if sys.stdin is not None and sys.stdin.isatty():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches this process
    ConnectionOptions.client = _quick
    main()
