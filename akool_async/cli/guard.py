"""Runs one command and ends it when the pipe on stdin closes, so that none outlives a run that is killed.

Started as a script of its own, without the package: nothing but the standard library is imported here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

NOT_STARTED = 127
"""Exit code for a command that can't be started, as shells have it."""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the run to end or to close the pipe, then end the command and what it started."""
    os.read(0, 1)  # not through a buffer, whose lock a thread would keep at the end of the program
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        with suppress(OSError):  # it is over
            if hasattr(os, "killpg"):
                os.killpg(process.pid, number)
            else:
                process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def main(words: list[str]) -> int:
    """Run the command and return its exit code, or 128 and more for the signal that ended it."""
    try:
        # A session of its own: its whole group can be ended, and no Ctrl-C reaches it.
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return NOT_STARTED
    threading.Thread(target=_end, args=(process,), daemon=True).start()
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
