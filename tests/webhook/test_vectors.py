"""Sealing gives what two other programs give, and what they sealed is opened: see `vectors/make.py`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from akool_async.webhook import seal, unseal

from .vectors import make

VECTORS: list[dict[str, Any]] = json.loads(make.FILE.read_text(encoding="utf-8"))
KEYS = ("client_id", "client_secret")


def test_there_are_vectors_for_every_key_and_block_and_tail() -> None:
    kinds = {(len(one["client_secret"]), one["block"]) for one in VECTORS}
    tails = {-len(one["plaintext"].encode()) % one["block"] or one["block"] for one in VECTORS}

    assert kinds == {(key, block) for key in (16, 24, 32) for block in (16, 24, 32)}
    assert len(tails) >= 24


@pytest.mark.parametrize("one", VECTORS, ids=lambda one: one["nonce"] + "-" + str(one["timestamp"])[-3:])
def test_both_ways(one: dict[str, Any]) -> None:
    keys = {name: one[name] for name in KEYS}
    payload = json.loads(one["plaintext"])
    body = {name: one[name] for name in ("dataEncrypt", "nonce", "signature", "timestamp")}

    sealed = seal(payload, **keys, timestamp_ms=one["timestamp"], nonce=one["nonce"], block=one["block"])
    hint = unseal(json.dumps(body).encode(), **keys, now_ms=one["timestamp"])

    assert sealed == body
    assert (hint.job_id, hint.status, hint.url) == (
        payload["_id"],
        payload.get("status"),
        payload.get("url") or None,
    )


@pytest.mark.skipif(not make.can_make(), reason="node with crypto-js, or pycryptodome, is not here")
def test_the_vectors_are_those_that_the_other_programs_make() -> None:
    wanted = make.cases()

    assert make.by_pycryptodome(wanted) == make.by_node(wanted) == VECTORS
