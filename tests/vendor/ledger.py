"""What really happened at the vendor: one JSON object a line, written before the vendor goes on."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any


class Ledger:
    """Appends events to a file; what was noted survives whoever is killed next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._turn = threading.Lock()

    def note(self, event: str, **fields: Any) -> None:
        with self._turn:
            if self._file.closed:  # a connection that outlived the vendor: nothing of it was sent
                return
            line = json.dumps({"event": event, "at": time.time(), **fields})
            self._file.write(line.encode() + b"\n")
            if event == "job":  # it costs money: before anyone can know of it
                os.fsync(self._file.fileno())

    def close(self) -> None:
        with self._turn:
            self._file.close()


def read_events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]
