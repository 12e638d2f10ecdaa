"""The second vendor by itself, spoken to in plain HTTP."""

from __future__ import annotations

import ast
import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.vendor import faults as shapes
from tests.vendor.conftest import KEY
from tests.vendor.faults import Fault, Strike, readable_text
from tests.vendor.jobs import video_of
from tests.vendor.ledger import read_events
from tests.vendor.server import Vendor

CREATE = "/api/open/v3/content/video/createbytranslate"
STATUS = "/api/open/v3/content/video/infobymodelid"
VIDEO = {"url": "https://media.example/1.mp4", "language": "hi,fr,ja"}


def call(vendor: Vendor, method: str, path: str, fields: object = None, **headers: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(vendor.url).netloc, timeout=50)
    body = None if fields is None else json.dumps(fields)
    try:
        connection.request(method, path, body, {"x-api-key": KEY} | headers)
        with connection.getresponse() as response:
            return dict(json.loads(response.read()))
    finally:
        connection.close()


def raw_answer(vendor: Vendor, fields: object = VIDEO, *, first: int | None = None) -> bytes:
    """Return every byte that comes back for a create of which `first` bytes are sent."""
    body = json.dumps(fields).encode()
    request = b"POST %s HTTP/1.1\r\nx-api-key: %s\r\n" % (CREATE.encode(), KEY.encode())
    request += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    address = urlsplit(vendor.url)
    with socket.create_connection((address.hostname, address.port), timeout=50) as connection:
        connection.sendall(request[:first])
        received = b""
        try:
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65_536):
                received += piece
        except OSError:  # reset while it was read, or before that
            received += b"<reset>"
        return received


def noted(vendor: Vendor, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(vendor.ledger.path) if event["event"] == kind]


def test_the_second_vendor_shares_no_code_with_the_package() -> None:
    independent = ["faults.py", "jobs.py", "judge.py", "ledger.py", "server.py"]
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for name in independent
        for node in ast.walk(ast.parse((Path(__file__).parent / name).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    names = {str(name).partition(".")[0] for name in imported if not str(name).startswith("tests.vendor.")}

    assert names <= sys.stdlib_module_names


def test_a_create_makes_a_job_for_each_language(vendor: Vendor) -> None:
    answer = call(vendor, "POST", CREATE, VIDEO)

    assert [part["data"]["language"] for part in answer["all_results"]] == ["hi", "fr", "ja"]
    assert answer["data"] == answer["all_results"][-1]["data"]
    assert [event["language"] for event in noted(vendor, "job")] == ["hi", "fr", "ja"]
    assert vendor.balance == 1_000_000 - 3 * 4


def test_a_job_is_completed_after_its_time_and_its_file_can_be_fetched_in_parts(vendor: Vendor) -> None:
    vendor.seconds = 0.0
    job_id = call(vendor, "POST", CREATE, VIDEO | {"language": "ja"})["data"]["_id"]
    answer = call(vendor, "GET", f"{STATUS}?video_model_id={job_id}")["data"]
    connection = http.client.HTTPConnection(urlsplit(vendor.file_url).netloc, timeout=50)
    connection.request("GET", urlsplit(answer["video"]).path, headers={"Range": "bytes=8-"})
    part = connection.getresponse()
    content = part.read()
    connection.close()

    assert (answer["video_status"], answer["deduction_duration"]) == (3, 4.0)
    assert part.status == 206
    assert content == video_of(job_id)[8:]


@pytest.mark.parametrize("headers", [{"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}])
def test_wrong_credentials_make_nothing(vendor: Vendor, headers: dict[str, str]) -> None:
    assert call(vendor, "POST", CREATE, VIDEO, **headers)["code"] == 1101
    assert noted(vendor, "job") == []


def test_the_token_is_as_good_as_the_key(vendor: Vendor) -> None:
    credentials = {"clientId": vendor.client_id, "clientSecret": KEY}
    token = call(vendor, "POST", "/api/open/v3/getToken", credentials)["token"]
    answer = call(vendor, "GET", "/api/open/v3/faceswap/quota/info", authorization=f"Bearer {token}")

    assert answer["data"]["credit"] == 1_000_000


def test_a_request_that_is_not_read_to_its_end_makes_nothing(vendor: Vendor) -> None:
    vendor.faults.append(Fault(stop_reading=150, end="rst"))
    answer = raw_answer(vendor)

    assert answer == b"<reset>"
    assert [event["bytes"] for event in noted(vendor, "unread")] == [150]
    assert noted(vendor, "job") == []


def test_an_answer_that_is_cut_names_only_the_ids_before_the_cut(vendor: Vendor) -> None:
    vendor.faults.append(Fault(cut=700, end="fin"))
    answer = raw_answer(vendor)
    (answered,) = noted(vendor, "answered")
    made = [event["id"] for event in noted(vendor, "job")]

    assert len(answer) == answered["bytes"] == 700
    assert answered["ids"] == [job_id for job_id in made if job_id.encode() in answer]
    assert 0 < len(answered["ids"]) < 3


SHAPES = [
    shapes.longer_than_said,
    shapes.shorter_than_said,
    shapes.two_lengths,
    shapes.senseless_length,
    shapes.http_1_0,
    shapes.chunked,
    shapes.bad_chunk,
    shapes.no_last_chunk,
    shapes.zipped,
    shapes.bad_checksum,
    shapes.called_zipped,
    shapes.after_early_hints,
    shapes.switches_protocols,
    shapes.twice,
    shapes.not_http,
]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_ids_in_an_answer_of_any_shape_can_be_read(vendor: Vendor, shape: shapes.Shape) -> None:
    vendor.faults.append(Fault(shape=shape, end="fin"))
    answer = raw_answer(vendor)
    made = [event["id"] for event in noted(vendor, "job")]

    assert [event["ids"] for event in noted(vendor, "answered")] == [made]
    assert all(job_id.encode() in readable_text(answer) for job_id in made)


@pytest.mark.parametrize("moment", ["read", "made", "sent"])
def test_a_strike_hits_the_process_at_its_moment(vendor: Vendor, moment: str) -> None:
    with subprocess.Popen(["sleep", "600"]) as victim:
        vendor.victim = victim.pid
        vendor.faults.append(Fault(strike=Strike(moment=moment, byte=100), end="fin"))
        raw_answer(vendor)
        code = victim.wait(50)
    order = [event["event"] for event in read_events(vendor.ledger.path)]

    assert code == -signal.SIGKILL
    assert order.index("signal") == {"read": 0, "made": 4, "sent": 4}[moment]


def test_a_client_that_leaves_before_the_end_of_its_request_makes_nothing(vendor: Vendor) -> None:
    assert raw_answer(vendor, first=150) == b""
    assert [event["bytes"] for event in noted(vendor, "left")] == [150]
    assert noted(vendor, "job") == []
