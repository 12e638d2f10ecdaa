"""The way to steer a sandbox that runs in another process: read its ledger, change its faults.

Served on the CDN's origin, and only when the sandbox was made with `control=True`.
"""

from __future__ import annotations

from typing import Any, Final

from akool_async.sandbox.clocks import FakeClock
from akool_async.sandbox.distortion import JSON, encode
from akool_async.sandbox.exchange import Answer, Exchange
from akool_async.sandbox.faults import Fault
from akool_async.sandbox.params import json_object
from akool_async.sandbox.world import World

__all__ = ["CONTROL", "control"]

CONTROL: Final = "/_sandbox/"


async def control(world: World, exchange: Exchange, body: bytes) -> None:
    """Answer one request of a test.

    GET ledger: all of it. POST faults: add the object, or the objects under "faults". DELETE faults:
    none from now on. POST advance: move a fake clock by "seconds".
    """
    path = str(exchange.scope["path"]).removeprefix(CONTROL)
    try:
        status, content = _done(world, f"{exchange.scope['method']} {path}", json_object(body) or {})
    except (TypeError, ValueError) as error:
        status, content = 400, {"error": str(error)}
    await exchange.answer(Answer(status, JSON, encode(content)))


def _done(world: World, action: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    match action:
        case "GET ledger":
            return 200, world.ledger.as_dict()
        case "POST faults":
            world.faults.add(*[Fault.from_json(one) for one in fields.get("faults", [fields])])
            return 200, {"faults": len(world.faults)}
        case "DELETE faults":
            world.faults.clear()
            return 200, {"faults": 0}
        case "POST advance" if isinstance(world.clock, FakeClock):
            return 200, {"now": world.clock.advance(float(fields["seconds"]))}
        case _:
            return 404, {"error": "there is no such control"}
