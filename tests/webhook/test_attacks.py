"""What somebody gets who knows the client id, has caught a webhook and sends what he likes: nothing.

AKOOL_TEST_FLOOD says how many forged webhooks the flood has.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from akool_async import AkoolClient, FixedSchedule, TranslationRequest
from akool_async.sandbox import Sandbox
from tests.client.moments import until

from .conftest import CLIENT_ID, JOB, SECRET, body, looked_at, open_ear, posted, receiver, served

FLOOD = int(os.environ.get("AKOOL_TEST_FLOOD", "500"))
BLOCK = 16

Oracle = Callable[[bytes], Awaitable[object]]
"""Sends one body and gives all that can be seen of the answer."""


def signed(sealed: bytes, nonce: str, *, age: float = 0.0) -> bytes:
    """Sign anything: the signature is keyed by the client id, which is no secret."""
    text, moment = base64.b64encode(sealed).decode(), str(int((time.time() - age) * 1000))
    signature = hashlib.sha1("".join(sorted([CLIENT_ID, moment, nonce, text])).encode()).hexdigest()
    told = {"signature": signature, "dataEncrypt": text, "timestamp": int(moment), "nonce": nonce}
    return json.dumps(told).encode()


def caught() -> bytes:
    """Give the sealed content of a webhook that somebody has caught."""
    return base64.b64decode(json.loads(body(url="https://cdn.example/secret.mp4?sig=42"))["dataEncrypt"])


async def crack(oracle: Oracle, sealed: bytes) -> bytes:
    """Read the last block by Vaudenay's attack: the one of 256 answers that differs tells a byte.

    Gives the bytes that were learned, from the last one on; nothing when the answers do not differ.
    """
    before, last = sealed[-2 * BLOCK : -BLOCK], sealed[-BLOCK:]
    inner = bytearray(BLOCK)
    for place in range(BLOCK - 1, -1, -1):
        tail = BLOCK - place
        answers: dict[object, list[int]] = {}
        for guess in range(256):
            forged = bytearray(os.urandom(BLOCK))
            forged[place] = guess
            for known in range(place + 1, BLOCK):
                forged[known] = inner[known] ^ tail
            answers.setdefault(await oracle(bytes(forged) + last), []).append(guess)
        rare = min(answers.values(), key=len)
        if len(answers) == 1 or len(rare) > 1:
            return bytes(a ^ b for a, b in zip(inner[place + 1 :], before[place + 1 :], strict=True))
        inner[place] = rare[0] ^ tail
    return bytes(a ^ b for a, b in zip(inner, before, strict=True))


async def test_a_padding_oracle_would_be_found_by_this_attack() -> None:
    async def leaks(sealed: bytes) -> object:
        decryptor = Cipher(algorithms.AES(SECRET.encode()), modes.CBC(bytes(BLOCK))).decryptor()
        unpadder = PKCS7(8 * BLOCK).unpadder()
        try:
            unpadder.update(decryptor.update(sealed) + decryptor.finalize())
            unpadder.finalize()
        except ValueError:
            return 500
        return 400

    learned = [await crack(leaks, caught()) for _ in range(3)]

    assert any(len(each) == BLOCK and b'"}' in each for each in learned)


async def test_a_padding_oracle_attack_learns_nothing() -> None:
    seen: set[object] = set()
    async with open_ear(queue_size=10_000) as (door, ear):

        async def oracle(sealed: bytes) -> object:
            status, headers, content = await posted(door, signed(sealed, str(len(seen))))
            seen.add((status, tuple(headers), content))
            return status, tuple(headers), content

        for _ in range(4):
            assert await crack(oracle, caught()) == b""
        await looked_at(door)
        counted = door.statistics()

    assert len(seen) == 1
    assert ear.heard == []
    # The attack was a real one: bodies with a right signature came as far as the cipher, and no further.
    assert counted.unreadable == counted.accepted == 4 * 256


async def test_altered_ciphertext_is_never_handed_on_as_another_job() -> None:
    chance = random.Random(7)
    sealed = caught()
    async with open_ear(queue_size=10_000) as (door, ear):
        for number in range(2000):
            altered = bytearray(sealed)
            altered[chance.randrange(len(sealed))] ^= chance.randrange(1, 256)
            door.receive(signed(bytes(altered), str(number)))
        await looked_at(door)

    assert {callback.job_id for callback in ear.heard} <= {JOB}


def forgeries(count: int, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Give forged webhooks of every kind, and replays in every dress, with paths to send them to."""
    chance, sealed = random.Random(1), base64.b64decode(json.loads(content)["dataEncrypt"])
    told = json.loads(content)
    kinds: list[Callable[[int], bytes]] = [
        lambda _: chance.randbytes(200),
        lambda _: b"x" * 50_000,
        lambda _: json.dumps(told | {"signature": "0" * 40}).encode(),
        lambda n: signed(sealed, str(n), age=1000.0),
        lambda n: signed(chance.randbytes(64), str(n)),
        lambda n: signed(sealed[:-16] + chance.randbytes(16), str(n)),
        lambda n: signed(sealed, str(n)),
        lambda _: content,
    ]
    for number in range(count):
        path = chance.choice(["", "/", f"/{chance.randbytes(16).hex()}", "/../../etc/passwd"])
        yield f"/akool{path}", kinds[number % len(kinds)](number)


@pytest.mark.timeout(300 + FLOOD // 5)
async def test_a_flood_of_forged_webhooks_costs_one_get() -> None:
    sandbox = Sandbox(api_key=SECRET, media=False, time_scale=1.0, median_seconds=10_000)
    async with (
        receiver(queue_size=20_000) as door,
        sandbox.serve() as server,
        AkoolClient(api_key=SECRET, host=server.base_url, schedule=FixedSchedule(interval=3600)) as client,
    ):
        door.subscribe(client)
        submitted = await client.submit(TranslationRequest(url="https://example.com/1.mp4", targets="ja"))
        job = submitted.accepted[0].id
        content = body(job)
        answers: set[tuple[Any, ...]] = set()
        with served(door) as origin:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.wait, job)
                await until(lambda: sandbox.audit.polls(job))  # the first, which has nothing to do with it
                await _flood(origin, forgeries(FLOOD, content), answers)
                await looked_at(door)
                await until(lambda: len(sandbox.audit.polls(job)) >= 2)
                tasks.cancel_scope.cancel()
        polls, counted = len(sandbox.audit.polls(job)), door.statistics()

    print(f"{FLOOD} forged webhooks: {polls - 1} GET; {counted}")
    assert answers == {(200, b"")}
    assert polls == 2
    assert counted.accepted == FLOOD
    assert counted.delivered <= 4
    assert 0 not in (counted.malformed, counted.wrong_signature, counted.stale, counted.unreadable)
    assert sum(sandbox.audit.polled.values()) == polls


async def _flood(
    origin: str, told: Iterator[tuple[str, bytes]], answers: set[tuple[Any, ...]], senders: int = 20
) -> None:
    async def send(http: httpx.AsyncClient) -> None:
        for path, content in told:
            answer = await http.post(origin + path, content=content)
            answers.add((answer.status_code, answer.content))

    async with httpx.AsyncClient(trust_env=False, timeout=60) as http, anyio.create_task_group() as tasks:
        for _ in range(senders):
            tasks.start_soon(send, http)
