"""Azurite, Microsoft's emulator of Azure Blob Storage, from npm: without it, tests that need it skip."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from tests.storage.server import free_ports

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account that every Azurite has. Source: Microsoft, "Use the Azurite emulator"."""

_STARTS_WITHIN = 200.0


@contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Start Azurite with a container "results", yield its endpoint, and stop it."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("Azurite is not installed: npm install --global azurite")
    port = next(free_ports())
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    command = [program, "--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + _STARTS_WITHIN
        while not _made_container(endpoint, "results"):
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.05)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def _made_container(endpoint: str, name: str) -> bool:
    """Make a container, which no signed URL can. Source: Microsoft, "Authorize with Shared Key"."""
    sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    said = "".join(f"{header}:{value}\n" for header, value in sent.items())
    text = f"PUT{12 * chr(10)}{said}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    sent["authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    try:
        url = f"{endpoint}/{name}?restype=container"
        return httpx.put(url, headers=sent, trust_env=False).status_code == 201
    except httpx.HTTPError:
        return False
