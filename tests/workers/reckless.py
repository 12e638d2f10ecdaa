"""A worker whose ledger commits no right to send, as with a plain queue: a POST can be sent twice."""

from __future__ import annotations

from typing import Any

from akool_async.cli import main
from akool_async.ledger import Ledger

_put = Ledger._put


async def acquire_nothing(ledger: Ledger, token: str, sender: str) -> bool:
    return True


async def put(ledger: Ledger, token: str, before: Any, *arguments: Any, **more: Any) -> bool:
    return await _put(ledger, token, ("intended", *before), *arguments, **more)


if __name__ == "__main__":
    Ledger.acquire = acquire_nothing  # type: ignore[method-assign]
    Ledger._put = put  # type: ignore[assignment, method-assign]
    main()
