"""The vendor as a hand-written protocol, in a process of its own: it answers faster than any client asks.

Prints its origin, then serves until it is ended. Job ids tell when the job is done, so nothing is kept.
It imitates three calls only; what it says has the size and the shape of the vendor's answers. With `--fixed`
it gives one ready-made answer to whatever is asked, with `--file` a video: both cost next to nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import random
import selectors
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, cast

OVERHEAD = {
    "uid": 101400,
    "team_id": "6500a2f5d4b9c8e7f6a5b4c3",
    "type": 8,
    "from": 2,
    "faceswap_quality": 2,
    "storage_loc": 1,
    "sub_type": 801,
    "source_language": "en",
    "lipsync": True,
    "speaker_num": 0,
    "task_id": "6500a2f5d4b9c8e7f6a5b4c5",
    "video_id": "6500a2f5d4b9c8e7f6a5b4c5",
    "video_duration": 16,
    "error_code": 0,
    "error_reason": "",
    "pronounced_words": [],
    "no_translate_words": [],
    "audio_splits": {"original_srt_url": "", "translated_srt_url": ""},
    "webhookUrl": "https://example.com/hooks/akool/7b1f5c0e9d2a4e68",
}
WORKING, COMPLETED = 2, 3


def snapshot(job_id: str) -> dict[str, Any]:
    """What a status call answers; the id holds creation and duration in milliseconds."""
    created, lasts = int(job_id[:12], 16), int(job_id[12:18], 16)
    done = (time.time() * 1000 - created) / max(lasts, 1)
    told = {"_id": job_id, "create_time": created, "progress": int(min(done, 1) * 100)}
    if done < 1:
        return {**OVERHEAD, **told, "video_status": WORKING, "video": "", "deduction_duration": 0}
    video = f"https://cdn.example.com/{job_id}.mp4"
    return {**OVERHEAD, **told, "video_status": COMPLETED, "video": video, "deduction_duration": 4}


class Jobs:
    """Makes jobs whose lengths are spread as real ones are."""

    def __init__(self, median: float, sigma: float) -> None:
        self._chance = random.Random(1)
        self._median = median
        self._sigma = sigma
        self.made = 0
        self.polls = 0
        self.asked: set[str] = set()

    def make(self, language: str) -> dict[str, Any]:
        self.made += 1
        created = int(time.time() * 1000)
        lasts = self._median * math.exp(self._chance.gauss(0, self._sigma)) * 1000
        job_id = f"{created:012x}{min(int(lasts), 0xFFFFFF):06x}{self.made % 0x1000000:06x}"
        told = {"_id": job_id, "create_time": created, "language": language, "video_status": 1}
        return {**OVERHEAD, **told, "video_lock_duration": 16, "deduction_lock_duration": 4}

    def answer(self, target: str, body: bytes) -> dict[str, Any]:
        """What the API says to one request."""
        if "video_model_id=" in target:
            self.polls += 1
            self.asked.add(target)
            return {"code": 1000, "msg": "OK", "data": snapshot(target.partition("video_model_id=")[2])}
        if target == "/counts":
            return {"code": 1000, "made": self.made, "polls": self.polls, "asked": len(self.asked)}
        if target == "/forget":
            self.asked.clear()
            return {"code": 1000}
        made = [self.make(language) for language in json.loads(body)["language"].split(",")]
        parts = [{"code": 1000, "msg": "OK", "data": job} for job in made]
        return {"code": 1000, "msg": "OK", "data": made[0], "all_results": parts}


class Conversation(asyncio.Protocol):
    """One connection; requests one after the other."""

    def __init__(self, jobs: Jobs, delay: float) -> None:
        self._jobs = jobs
        self._delay = delay
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, rest = self._came.partition(b"\r\n\r\n")
        while end:
            length = 0
            at = head.lower().find(b"content-length:")
            if at >= 0:
                length = int(head[at + 15 :].partition(b"\r\n")[0])
            if len(rest) < length:
                return
            body, self._came = rest[:length], rest[length:]
            self._say(self._jobs.answer(head.split(b" ", 2)[1].decode(), body))
            head, end, rest = self._came.partition(b"\r\n\r\n")

    def _say(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer, separators=(",", ":")).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._write, head.encode() + body)
        else:
            self._write(head.encode() + body)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(jobs: Jobs, delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(jobs, delay), "127.0.0.1", 0, backlog=4096)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


def serve_fixed(job_id: str) -> None:
    """Answer everything with the bytes of one snapshot, over bare sockets."""
    body = json.dumps({"code": 1000, "msg": "OK", "data": snapshot(job_id)}, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    answer = head.encode() + body
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as listener,
        selectors.DefaultSelector() as open_,
    ):
        open_.register(listener, selectors.EVENT_READ)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            for key, _ in open_.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    open_.register(connection, selectors.EVENT_READ)
                    continue
                connection = cast("socket.socket", key.fileobj)
                try:
                    came = connection.recv(65_536)
                    connection.sendall(answer * came.count(b"\r\n\r\n"))
                except OSError:
                    came = b""
                if not came:
                    open_.unregister(connection)
                    connection.close()


def serve_file(size: int) -> None:
    """Answer everything with one MP4 file of so many bytes, which the system sends by itself."""
    boxes = ((b"ftyp", b"isom\0\0\2\0isom"), (b"moov", b"index"))
    head = b"".join(struct.pack(">I4s", 8 + len(content), kind) + content for kind, content in boxes)
    head += struct.pack(">I4sQ", 1, b"mdat", size - len(head))
    fields = ("HTTP/1.1 200 OK", "content-type: video/mp4", 'etag: "1"', f"content-length: {size}")
    answer = "\r\n".join((*fields, "", "")).encode()
    with (
        tempfile.NamedTemporaryFile() as film,
        socket.create_server(("127.0.0.1", 0), backlog=64) as listener,
    ):
        film.write(head)
        film.truncate(size)

        def talk(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while b"\r\n\r\n" in connection.recv(65_536):
                    connection.sendall(answer)
                    with Path(film.name).open("rb") as content:
                        connection.sendfile(content)

        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=talk, args=(connection,), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--seconds", type=float, default=120.0, help="median length of a job")
    parser.add_argument("--sigma", type=float, default=0.0, help="spread of the logarithm of that")
    parser.add_argument("--fixed", metavar="JOB", help="give one ready-made answer, about this job")
    parser.add_argument("--file", type=int, metavar="BYTES", help="give one MP4 file of this size")
    parser.add_argument("--core", type=int, help="the core to stay on")
    told = parser.parse_args()
    if told.core is not None:
        os.sched_setaffinity(0, {told.core})
    if told.file:
        serve_file(told.file)
    if told.fixed:
        serve_fixed(told.fixed)
    asyncio.run(serve(Jobs(told.seconds, told.sigma), told.delay))


if __name__ == "__main__":
    main()
