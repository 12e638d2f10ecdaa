"""The vendor on plain sockets, written from its documentation alone: it shares no mistake with the client.

One thread for each connection. Every job is in the ledger before the first byte of the answer is sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.vendor.faults import NO_FAULT, Fault, head, readable_text
from tests.vendor.jobs import COMPLETED, FAILED, PROCESSING, QUEUEING, Job, video_of
from tests.vendor.ledger import Ledger

KINDS = {
    ("POST", "/api/open/v3/getToken"): "token",
    ("POST", "/api/open/v3/content/video/createbytranslate"): "create",
    ("POST", "/api/open/v3/content/video/lipsync"): "create",
    ("GET", "/api/open/v3/content/video/infobymodelid"): "status",
    ("GET", "/api/open/v3/language/list"): "languages",
    ("GET", "/api/open/v4/voice/videoTranslation"): "voices",
    ("GET", "/api/open/v3/faceswap/quota/info"): "credit",
}
LANGUAGES = ("de", "en", "es", "fr", "hi", "it", "ja", "ko", "pt", "zh")


@dataclass
class Request:
    """One request, as far as it was read."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] | None = None
    body: bytes = b""


class Vendor:
    """The vendor of one test: `with Vendor(folder) as vendor`.

    Args:
        folder: where the ledger is written, as `ledger.jsonl`.
        key: the API key, which is the client secret, too.
        seed: of the ids.
        seconds: how long a job takes.
        cost: credits that a job really costs.

    Attributes:
        faults: what goes wrong; the first one that applies to an exchange is used up by it.
        victim: the process that strikes hit.
        latest: the process that was started last; what a dead one had sent may be read after its end.
        starting: held while a process is started, until it is known as `victim` and `latest`.
        new_id: makes the id of a job.
        fails: whether the job of a video, in a language, fails.
        edit: changes what is said of a job; given the kind of exchange and the job's object.
        witness: is told of each job that is asked for, before the answer.
    """

    def __init__(
        self, folder: Path, *, key: str, seed: int = 0, seconds: float = 0.05, cost: float = 4.0
    ) -> None:
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.key, self.client_id, self.token = (
            key,
            "client-1",
            f"token.{hashlib.sha1(key.encode()).hexdigest()}",
        )
        self.seconds, self.cost = seconds, cost
        self.balance = 1_000_000.0
        self.faults: list[Fault] = []
        self.victim: int | None = None
        self.latest: int | None = None
        self.starting = threading.Lock()
        chance = random.Random(seed)
        self.new_id: Callable[[], Any] = lambda: f"{chance.getrandbits(96):024x}"
        self.fails: Callable[[str, str], bool] = lambda url, language: False
        self.edit: Callable[[str, dict[str, Any]], None] = lambda kind, job: None
        self.witness: Callable[[str], None] = lambda job_id: None
        self.jobs: dict[str, Job] = {}
        self._turn = threading.Lock()
        self._numbers = itertools.count(1)
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._closing = False
        self._api, self._files = (socket.create_server(("127.0.0.1", 0), backlog=256) for _ in range(2))
        self.url, self.file_url = (
            f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in (self._api, self._files)
        )

    def __enter__(self) -> Self:
        for listener in (self._api, self._files):
            self._start(self._accept, listener)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with self._turn:
            sockets = [self._api, self._files, *self._open]
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._api.close()
        self._files.close()
        for thread in self._threads:
            thread.join(30)
        self.ledger.close()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads = [other for other in self._threads if other.is_alive() or other.ident is None]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closing:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._turn:
                self._open.add(connection)
            self._start(self._serve, connection, listener is self._files)

    def _serve(self, connection: socket.socket, files: bool) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(120)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while not self._closing and Exchange(self, connection, files=files).run():
                    pass
        finally:
            with self._turn:
                self._open.discard(connection)

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until all is noted that a client did which has ended, and which has no connection any more."""
        for listener in (self._api, self._files):
            with socket.create_connection(listener.getsockname(), seconds) as last:
                last.shutdown(socket.SHUT_WR)
                last.recv(1)  # it is closed once it was accepted, which those before it were earlier
        late = time.monotonic() + seconds
        while self._open:
            assert time.monotonic() < late, "a connection outlives its client"
            time.sleep(0.001)

    def next_number(self) -> int:
        return next(self._numbers)

    def take_fault(self, kind: str) -> Fault:
        """Return what goes wrong in an exchange that begins now."""
        with self._turn:
            for place, fault in enumerate(self.faults):
                if fault.on != kind or fault.times == 0:
                    continue
                if fault.skip:
                    self.faults[place] = replace(fault, skip=fault.skip - 1)
                    continue
                if fault.times is not None:
                    self.faults[place] = replace(fault, times=fault.times - 1)
                return fault
            return NO_FAULT

    def make_job(self, number: int, url: str, language: str) -> Job:
        with self._turn:
            job = Job(
                self.new_id(), url, language, time.time(), self.seconds, self.cost, self.fails(url, language)
            )
            self.jobs[str(job.id)] = job
            self.balance -= job.cost
        self.ledger.note(
            "job",
            exchange=number,
            id=str(job.id),
            url=url,
            language=language,
            cost=job.cost,
            fails=job.fails,
        )
        return job

    def authenticates(self, headers: dict[str, str]) -> bool:
        if "authorization" in headers:  # it wins over the key
            return headers["authorization"] == f"Bearer {self.token}"
        return headers.get("x-api-key") == self.key


class Exchange:
    """One request and its answer on a connection."""

    def __init__(self, vendor: Vendor, connection: socket.socket, *, files: bool) -> None:
        self._vendor = vendor
        self._connection = connection
        self._files = files
        self._number = vendor.next_number()
        self._kind = ""
        self._fault = NO_FAULT
        self._made: list[Job] = []
        self._struck = False
        self._client: int | None = None
        self._owner: int | None = None

    def run(self) -> bool:
        """Take part in one exchange; return whether another may follow on the connection."""
        request = self._read()
        if request is None:
            return False
        if self._files:
            wire = self._file(request)
        else:
            status, envelope = self._answer(request)
            wire = self._fault.shape(status, self._fault.body(envelope))
        self._strike("made", 1 << 30)
        late = time.monotonic() + 40
        while self._fault.until is not None and not self._fault.until() and time.monotonic() < late:
            time.sleep(0.002)
        time.sleep(self._fault.delay)
        self._send(wire)
        thaw = None if self._fault.strike is None else self._fault.strike.thaw
        if thaw is not None and self._client is not None:
            time.sleep(thaw)
            os.kill(self._client, signal.SIGCONT)
        return self._end()

    def _read(self) -> Request | None:
        """Read one request, pausing at the bytes that the fault names; None if it is not read to its end."""
        first = self._connection.recv(65_536, socket.MSG_PEEK)
        while first and b"\r\n" not in first:
            first = self._connection.recv(65_536, socket.MSG_PEEK)
        if not first:
            return None
        with self._vendor.starting:
            self._client, self._owner = self._vendor.victim, self._vendor.latest
        method, target, _ = first.partition(b"\r\n")[0].decode("latin-1").split(" ")
        self._kind = "file" if self._files else KINDS.get((method, urlsplit(target).path), "other")
        self._fault = self._vendor.take_fault(self._kind)
        strike, stop = self._fault.strike, self._fault.stop_reading
        marks = [stop, strike.byte if strike is not None and strike.moment == "read" else None]
        data, length = b"", None
        while length is None or len(data) < length:
            ahead = [mark - len(data) for mark in marks if mark is not None and mark > len(data)]
            if stop is not None and len(data) >= stop:
                self._vendor.ledger.note("unread", exchange=self._number, on=self._kind, bytes=len(data))
                self._end()
                return None
            piece = self._connection.recv(min([65_536, *ahead]))
            if not piece:
                self._vendor.ledger.note("left", exchange=self._number, on=self._kind, bytes=len(data))
                return None
            data += piece
            self._strike("read", len(data))
            lines, blank, body = data.partition(b"\r\n\r\n")
            if blank and length is None:
                said = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", lines)
                length = len(lines) + 4 + (int(said[1]) if said else 0)
        self._strike("read", 1 << 30)  # a byte beyond the end means the end
        headers = dict(line.split(": ", 1) for line in lines.decode("latin-1").split("\r\n")[1:])
        self._vendor.ledger.note(
            "request", exchange=self._number, on=self._kind, method=method, target=target
        )
        return Request(method, target, {name.lower(): value for name, value in headers.items()}, body)

    def _strike(self, moment: str, byte: int = 0) -> None:
        strike = self._fault.strike
        if strike is None or self._struck or strike.moment != moment or byte < strike.byte:
            return
        self._struck = True
        time.sleep(strike.pause)
        victim = self._client
        for place, number in enumerate(strike.signals):
            if place:
                time.sleep(strike.gap)
            if victim is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, number)
                self._vendor.ledger.note(
                    "signal",
                    exchange=self._number,
                    on=self._kind,
                    signal=number,
                    pid=victim,
                    moment=moment,
                    byte=byte,
                )

    def _send(self, wire: bytes) -> None:
        """Send an answer up to its cut, and note which ids could be read in what was sent."""
        fault, sent = self._fault, 0
        cut = len(wire) if fault.cut is None else min(fault.cut, len(wire))
        stop = cut
        if fault.strike is not None and fault.strike.moment == "sent":
            stop = min(fault.strike.byte, cut)
        try:
            for end in (stop, cut):
                self._connection.sendall(wire[sent:end])
                sent = end
                self._strike("sent", 1 << 30)
        finally:
            if self._kind == "create":
                text = readable_text(wire[:sent]).decode("utf-8", "replace")
                ids = [str(job.id) for job in self._made if re.search(rf'"?\b{job.id}\b["}},\s]', text)]
                self._vendor.ledger.note(
                    "answered",
                    exchange=self._number,
                    pid=self._owner,
                    bytes=sent,
                    whole=sent == len(wire),
                    ids=ids,
                )

    def _end(self) -> bool:
        if self._fault.end == "rst":
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self._fault.end == "fin":
            self._connection.shutdown(socket.SHUT_WR)
        return self._fault.end == "keep"

    # The API.

    def _answer(self, request: Request) -> tuple[int, dict[str, Any]]:
        assert request.headers is not None
        fields: dict[str, Any] = {}
        if request.method == "POST":
            fields = json.loads(request.body)
        if self._kind == "token":
            if fields == {"clientId": self._vendor.client_id, "clientSecret": self._vendor.key}:
                return self._fault.status, {"code": 1000, "token": self._vendor.token}
            return 200, {"code": 1101, "msg": "wrong credentials"}
        if not self._vendor.authenticates(request.headers):
            return 200, {"code": 1101, "msg": "The token is illegal or has expired."}
        if self._kind == "create":
            return self._fault.status, self._create(request, fields)
        query = parse_qs(urlsplit(request.target).query)
        return self._fault.status, self._read_only(query)

    def _read_only(self, query: dict[str, list[str]]) -> dict[str, Any]:
        if self._kind == "status":
            job = self._vendor.jobs.get(query.get("video_model_id", [""])[0])
            self._vendor.ledger.note("asked", exchange=self._number, id=query.get("video_model_id", [""])[0])
            self._vendor.witness(query.get("video_model_id", [""])[0])
            return (
                {"code": 1008, "msg": "content does not exist"}
                if job is None
                else success(self._progress(job))
            )
        if self._kind == "credit":
            return success({"credit": self._vendor.balance})
        if self._kind == "languages":
            return success(
                {"lang_list": [{"lang_code": code, "lang_name": code.upper()} for code in LANGUAGES]}
            )
        if self._kind == "voices":
            return success({"page": 1, "size": 100, "count": 0, "result": []})
        return {"code": 1003, "msg": "no such path"}

    def _create(self, request: Request, fields: dict[str, Any]) -> dict[str, Any]:
        translates = urlsplit(request.target).path.endswith("createbytranslate")
        url = fields.get("url" if translates else "video_url")
        languages = str(fields.get("language") or "").split(",") if translates else [""]
        if not url or (translates and not all(languages)):
            return {"code": 1003, "msg": "Parameter error or cannot be empty"}
        if not self._fault.makes:
            return {"code": 1015, "msg": "video processing error"}
        self._made = [self._vendor.make_job(self._number, url, language) for language in languages]
        results = [success(self._creation(job, fields)) for job in self._made]
        if not translates:
            return results[0]
        return results[-1] | {"all_results": results}

    def _creation(self, job: Job, fields: dict[str, Any]) -> dict[str, Any]:
        made = {
            "_id": job.id,
            "create_time": int(job.made_at * 1000),
            "uid": 101400,
            "team_id": "6805fb69e92d9edc7ca0b409",
            "target_video": job.url,
            "source_language": fields.get("source_language", "DEFAULT"),
            "video_id": f"v{job.id}",
            "video_status": QUEUEING,
            "video_lock_duration": 16.44,
            "deduction_lock_duration": job.cost,
            "video": "",
            "task_id": f"v{job.id}",
            "lipsync": bool(fields.get("lipsync", not job.language)),
            "webhookUrl": fields.get("webhookUrl", ""),
        }
        made |= (
            {"language": job.language} if job.language else {"type": 9, "input_audio": fields["audio_url"]}
        )
        self._vendor.edit("create", made)
        return made

    def _progress(self, job: Job) -> dict[str, Any]:
        status = job.status
        answer: dict[str, Any] = {
            "_id": job.id,
            "create_time": int(job.made_at * 1000),
            "uid": 101400,
            "video_id": f"v{job.id}",
            "video_status": status,
            "video": f"{self._vendor.file_url}/results/{job.id}.mp4" if status == COMPLETED else "",
            "progress": {QUEUEING: 0, PROCESSING: 50, COMPLETED: 100, FAILED: 50}[status],
        }
        if status == COMPLETED:
            answer["deduction_duration"] = job.cost
        if status == FAILED:
            answer |= {"error_code": 501312, "error_reason": "Oops! Something went a bit wonky."}
        self._vendor.edit("status", answer)
        return answer

    # The file host.

    def _file(self, request: Request) -> bytes:
        assert request.headers is not None
        if {"authorization", "x-api-key", "cookie"} & set(
            request.headers
        ) or self._vendor.key in request.target:
            self._vendor.ledger.note("leak", exchange=self._number, headers=sorted(request.headers))
        job_id = unquote(request.target).rpartition("/")[2].removesuffix(".mp4")
        if self._vendor.jobs.get(job_id) is None or self._fault.status != 200:
            return with_page(404 if self._fault.status == 200 else self._fault.status)
        content = video_of(job_id)
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        lines = ["Content-Type: video/mp4", f"ETag: {tag}", "Accept-Ranges: bytes"]
        wanted = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", request.headers.get("range", ""))
        if wanted and request.headers.get("if-range", tag) == tag:
            first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
            if first >= len(content):
                return head(416, f"Content-Range: bytes */{len(content)}", "Content-Length: 0")
            part = content[first : last + 1]
            lines += [f"Content-Range: bytes {first}-{last}/{len(content)}", f"Content-Length: {len(part)}"]
            return head(206, *lines) + part
        self._vendor.ledger.note("file", exchange=self._number, id=job_id)
        return head(200, *lines, f"Content-Length: {len(content)}") + content


def success(data: dict[str, Any]) -> dict[str, Any]:
    return {"code": 1000, "msg": "OK", "data": data}


def with_page(status: int) -> bytes:
    page = b"<html><body>not here</body></html>"
    return head(status, "Content-Type: text/html", f"Content-Length: {len(page)}") + page
