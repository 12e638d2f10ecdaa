"""What faults of the connection and of the body do to an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import attrs

from akool_async.sandbox.fault_kinds import TRAITS, FaultKind, Remains
from akool_async.sandbox.faults import Fault
from akool_async.sandbox.http import Answer, Headers, HttpExchange, http_date
from akool_async.sandbox.jobs import COMPLETED, FAILED
from akool_async.sandbox.response_schema import envelope, refusal

_HTML: Final[Headers] = ((b"content-type", b"text/html; charset=utf-8"),)
_NOISE: Final = b"\x00\x01\x16\x03noise, not HTTP\r\n\r\n\xff\xfe"
_HUGE: Final = 5 * 2**20
_JOB_ID: Final = re.compile(rb'"_id":(?:"[^"]*"|\{[^}]*\}|\d+)')
_NO_JOB: Final = {"_id": "0" * 24, "video_status": 1}


def response_fault(faults: tuple[Fault, ...], *, elsewhere: str) -> Fault | None:
    """Return the first fault that replaces the answer; a redirect without a target leads `elsewhere`."""
    fault = next((one for one in faults if TRAITS[one.kind].remains is not None), None)
    if fault is not None and fault.kind is FaultKind.REDIRECT and fault.location is None:
        return attrs.evolve(fault, location=elsewhere)
    return fault


async def send_spoiled(exchange: HttpExchange, fault: Fault, meant: dict[str, Any] | None) -> None:
    """Send what a fault makes of the envelope that was meant, or break the connection instead.

    Without an envelope the request had no effect.
    """
    if meant is None:
        meant = envelope(_NO_JOB if TRAITS[fault.kind].remains is Remains.ID else {})
    whole = json_answer(meant)
    match fault.kind:
        case FaultKind.RESET_BEFORE | FaultKind.RESET_AFTER:
            await exchange.reset()
        case FaultKind.HANG:
            await exchange.wait_closed()
        case FaultKind.GARBAGE:
            await exchange.raw(_NOISE)
        case FaultKind.SHORT:
            await send_short(exchange, whole, fault.keep)
        case FaultKind.HTML:
            await exchange.answer(html_page(200, "Be right back"))
        case FaultKind.EMPTY:
            await exchange.answer(attrs.evolve(whole, body=b""))
        case FaultKind.TRUNCATED:
            await exchange.answer(attrs.evolve(whole, body=whole.body[: int(len(whole.body) * fault.keep)]))
        case FaultKind.HUGE:
            padding = {"padding": "x" * (fault.size or _HUGE)}
            await exchange.answer(json_answer(meant | padding))
        case FaultKind.WRONG_TYPE:
            await exchange.answer(json_answer(meant | {"data": fault.value}))
        case FaultKind.REDIRECT:
            location = (b"location", (fault.location or "").encode())
            await exchange.answer(Answer(fault.status or 302, (*_HTML, location), b""))
        case FaultKind.HTTP_WITH_ANSWER:
            await exchange.answer(attrs.evolve(whole, status=fault.status or 503))
        case FaultKind.CODE_WITH_ANSWER:
            await exchange.answer(
                json_answer(meant | {"code": fault.code, "msg": refusal(fault.code)["msg"]})
            )
        case FaultKind.CUT_AFTER_ID:
            ends = [found.end() for found in _JOB_ID.finditer(whole.body)][: fault.value]
            await exchange.answer(attrs.evolve(whole, body=whole.body[: ends[-1] if ends else None]))
        case FaultKind.CODE:
            await exchange.answer(json_answer(refusal(fault.code)))
        case FaultKind.HTTP:
            await exchange.answer(_http_error(fault))
        case _:
            raise NotImplementedError(f"{fault.kind.value} replaces an answer, but nothing says by what")


def _http_error(fault: Fault) -> Answer:
    status = 500 if fault.status is None else fault.status
    answer = html_page(status, f"{status} from the sandbox")
    if fault.body is not None:
        answer = attrs.evolve(answer, body=fault.body.encode())
    if fault.retry_after is not None:
        answer = attrs.evolve(answer, headers=(*_HTML, (b"retry-after", str(fault.retry_after).encode())))
    return answer


def reshape(data: dict[str, Any], faults: Iterable[Fault]) -> None:
    """Change the job in an answer as the faults say."""
    for fault in faults:
        match fault.kind:
            case FaultKind.ODD_ID if isinstance(data["_id"], str):
                number = fault.value == "number" and data["_id"].isdecimal()
                data["_id"] = int(data["_id"]) if number else {"$oid": data["_id"]}
            case FaultKind.ODD_PRICE:
                for name in {"deduction_lock_duration", "deduction_duration"} & data.keys():
                    data[name] = fault.value
                    if fault.value == "missing":
                        del data[name]
            case FaultKind.ODD_TIME if fault.value == "missing":
                data.pop("create_time", None)
            case FaultKind.ODD_TIME if not isinstance(fault.value, str):
                data["create_time"] = fault.value
            case FaultKind.ODD_TIME if isinstance(data.get("create_time"), int):
                created = data["create_time"]
                forms = {
                    "seconds": created // 1000,
                    "text": str(created),
                    "float": created + 0.5,
                    "iso": datetime.fromtimestamp(created // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
                data["create_time"] = forms[fault.value]
            case FaultKind.UNKNOWN_STATUS:
                data["video_status"] = fault.value
            case FaultKind.DONE_WITHOUT_URL:
                data["video"] = ""
                data.pop("audio_splits", None)
            case FaultKind.STUCK if data["video_status"] not in (COMPLETED, FAILED) and "progress" in data:
                data["progress"] = fault.value
            case _:
                pass


async def wait_and_date(exchange: HttpExchange, faults: Iterable[Fault], now: float) -> None:
    """Take a request up late and change the Date header, as the faults say."""
    for fault in faults:
        if fault.kind is FaultKind.DELAY:
            await anyio.sleep(fault.seconds)
        elif fault.kind is FaultKind.WRONG_DATE:
            exchange.date = b"" if fault.value is None else http_date(int(now + fault.value * 86_400))


async def send_short(exchange: HttpExchange, answer: Answer, keep: float, *, reset: bool = False) -> None:
    """Announce a whole body, send a part of it and end the connection."""
    await exchange.announce(answer)
    await exchange.part(answer.body[: int(len(answer.body) * keep)])
    await (exchange.reset() if reset else exchange.close())


def json_answer(content: object, *, status: int = 200) -> Answer:
    """Return an answer of compact JSON."""
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Answer(status, ((b"content-type", b"application/json; charset=utf-8"),), body)


def html_page(status: int, title: str) -> Answer:
    """Return a HTML page such as a gateway shows."""
    page = f"<!DOCTYPE html><html><title>{title}</title><body><h1>{title}</h1></body></html>"
    return Answer(status, _HTML, page.encode())
