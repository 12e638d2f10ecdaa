"""The webhook envelope: vectors made by another program, round trips, and every way to be refused."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._model.errors import ConfigurationError, UnsealError
from akool_async._model.redact import Secret, sanitize
from akool_async._wire.sealed import Hint, SealingKey, seal, unseal

CLIENT_ID = "kestrel-7"
SECRET = "0123456789abcdef0123456789abcdef"
JOB_ID = "66c0ffee5eed5eed00000001"
NOW_MS = 1754300000123


@attrs.frozen(kw_only=True)
class Vector:
    """One message as OpenSSL's command line made it."""

    client_id: str = CLIENT_ID
    secret: str
    block: int = 16
    payload: dict[str, object]
    sealed: str
    signature: str


# Made with the openssl program alone, the sealed text with
#   printf %s PLAINTEXT | openssl enc -aes-BITS-cbc -K HEX_OF_SECRET -iv HEX_OF_ID | openssl base64 -A
# (the id cut or filled with 0 to 32 digits; for blocks of 24 and 32 with -nopad and the tail written by
# hand: 20 times 0x14, 30 times 0x1e), the signature with
#   printf '%s\n' ID TIMESTAMP NONCE SEALED | LC_ALL=C sort | tr -d '\n' | openssl dgst -sha1 -r
# for the timestamp 1754300000123 and the nonce n-41.
VECTORS = {
    "aes-128": Vector(
        secret="0123456789abcdef",
        payload={
            "_id": JOB_ID,
            "status": 3,
            "type": "video translate",
            "url": "https://cdn.example/r.mp4?sig=1",
        },
        sealed=(
            "KQZkdG/Ql5oNb2AcrAa4kPVQeDzO1Wn9dxQ+ZN74z5R7a6V01hgZkio4GRHYLAqBtT58wHi79Tmw+fpEx+XLWrqVwSMwFGMb"
            "dAnKuFcK1CISiIcihIk9qVoRk/f2FVIfsTW7YzCVNw4NO21BW99ZiQ=="
        ),
        signature="572cc6fc7d045d194e62e70344378a6a24701722",
    ),
    "aes-192, long id": Vector(
        client_id="an-id-longer-than-sixteen-bytes",
        secret="0123456789abcdef01234567",
        payload={"_id": JOB_ID, "status": 3},
        sealed="0Tes3cQylESWALsAyAS59dEYIrNkY0P+JmUztdPr09xDxEUmKc96n+ZcL/hyVxKn",
        signature="5543daf55d9cdc4e5a7325765b29776cfb1670c9",
    ),
    "aes-256, beyond ascii": Vector(
        secret=SECRET,
        payload={"_id": JOB_ID, "status": 4, "error_reason": "kein Ton – ñ"},
        sealed=(
            "Xdu1hG31wIksdUoGKyJpbaAAC9PNMdnV0D9SAhXMBK9VxtYdcWV85F2MUi1WaMCFITgKi6GvlktJLuBty/iNXBotPhtZRfB/"
            "yPteH0dUK7w="
        ),
        signature="eeec3015cfc97d0ab27232d6de8659732f1e7473",
    ),
    "aes-192, block 24": Vector(
        secret="0123456789abcdef01234567",
        block=24,
        payload={"_id": JOB_ID, "status": 3, "progress": 100},
        sealed=(
            "tg0n4Z88hbuBj7na619VBDvojDfPxTN1uUV72mrEXJT9RENuvxjzcipKlWeCY9WQg8vsWXUoVWzEVtfSv9YLYNmOleIkD1Hg"
            "olqqvMAnI0M="
        ),
        signature="347c7f4d618d98fb022bfc1efbdc14c68320a180",
    ),
    "aes-192, block 32": Vector(
        secret="0123456789abcdef01234567",
        block=32,
        payload={"_id": JOB_ID},
        sealed="tg0n4Z88hbuBj7na619VBDvojDfPxTN1uUV72mrEXJSGOY7IEtTPzJ3dfFJXRqhvbq9tVkOuw+eqDdpIfJ4r2A==",
        signature="8548a7d38ad68d7850b1abc0c733e9e1f72165fd",
    ),
}


def sealed_body(
    payload: Mapping[str, object] | None = None, *, timestamp_ms: int = NOW_MS, nonce: str = "n-41"
) -> dict[str, object]:
    content = {"_id": JOB_ID, "status": 3} if payload is None else payload
    return seal(content, client_id=CLIENT_ID, client_secret=SECRET, timestamp_ms=timestamp_ms, nonce=nonce)


def signed(sealed: str, *, timestamp: object = NOW_MS, nonce: object = "n-41") -> dict[str, object]:
    """Sign any sealed text, as someone would who knows the client id and nothing else."""
    joined = "".join(sorted((CLIENT_ID, str(timestamp), str(nonce), sealed)))
    signature = hashlib.sha1(joined.encode()).hexdigest()
    return {"signature": signature, "dataEncrypt": sealed, "timestamp": timestamp, "nonce": nonce}


def encrypted(plain: bytes) -> dict[str, object]:
    """Seal raw plaintext blocks, padding and all, so that each rule about them can be broken alone."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = SealingKey(client_id=CLIENT_ID, client_secret=SECRET)
    encryptor = Cipher(algorithms.AES(SECRET.encode()), modes.CBC(key.iv)).encryptor()
    sealed = encryptor.update(plain) + encryptor.finalize()
    return signed(base64.b64encode(sealed).decode())


def opened(body: bytes | Mapping[str, object], **changes: Any) -> Hint:
    arguments: dict[str, Any] = {"client_id": CLIENT_ID, "client_secret": SECRET, "now_ms": NOW_MS}
    return unseal(body, **(arguments | changes))


def refusal(body: bytes | Mapping[str, object], **changes: Any) -> str:
    with pytest.raises(UnsealError) as caught:
        opened(body, **changes)
    return caught.value.reason


@pytest.mark.parametrize("name", VECTORS)
def test_sealing_gives_what_openssl_gives(name: str) -> None:
    vector = VECTORS[name]

    body = seal(
        vector.payload,
        client_id=vector.client_id,
        client_secret=vector.secret,
        timestamp_ms=NOW_MS,
        nonce="n-41",
        block=vector.block,
    )

    assert body == {
        "signature": vector.signature,
        "dataEncrypt": vector.sealed,
        "timestamp": NOW_MS,
        "nonce": "n-41",
    }


@pytest.mark.parametrize("name", VECTORS)
def test_what_openssl_sealed_is_opened(name: str) -> None:
    vector = VECTORS[name]
    envelope = {"signature": vector.signature, "dataEncrypt": vector.sealed}
    body = json.dumps(envelope | {"timestamp": NOW_MS, "nonce": "n-41"}).encode()

    hint = unseal(body, client_id=vector.client_id, client_secret=vector.secret, now_ms=NOW_MS)

    assert hint.job_id == JOB_ID
    assert hint.status == vector.payload.get("status")
    assert hint.url == vector.payload.get("url")
    assert hint.error_reason == vector.payload.get("error_reason")


texts = st.text(st.characters(codec="utf-8"), max_size=40)
job_ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


@settings(deadline=None)
@given(
    size=st.sampled_from((16, 24, 32)),
    block=st.sampled_from((16, 24, 32)),
    client_id=texts.filter(bool),
    alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E),
    job_id=job_ids,
    status=st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
    reason=texts,
    more=st.dictionaries(texts, texts | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)),
    nonce=texts.filter(bool),
    as_bytes=st.booleans(),
)
def test_whatever_is_sealed_comes_back(
    size: int,
    block: int,
    client_id: str,
    alphabet: str,
    job_id: str,
    status: int | None,
    reason: str,
    more: dict[str, object],
    nonce: str,
    as_bytes: bool,
) -> None:
    known = {"url", "video", "video_status", "type", "progress", "error_code", "error_message"}
    payload = {name: value for name, value in more.items() if name not in known}
    payload |= {"_id": job_id, "status": status, "error_reason": reason}
    secret = alphabet * size

    body = seal(
        payload, client_id=client_id, client_secret=secret, timestamp_ms=NOW_MS, nonce=nonce, block=block
    )
    hint = unseal(
        json.dumps(body).encode() if as_bytes else body,
        client_id=client_id,
        client_secret=secret,
        now_ms=NOW_MS,
    )

    assert (job_id, status) == (hint.job_id, hint.status)
    assert hint.error_reason == (sanitize(reason) or None)
    assert (nonce, NOW_MS) == (hint.nonce, hint.sent_at_ms)


@settings(deadline=None)
@given(length=st.integers(0, 200), block=st.sampled_from((16, 24, 32)))
def test_every_block_fits_the_cipher_and_the_longest_tail_a_receiver_takes(length: int, block: int) -> None:
    payload = {"_id": JOB_ID, "x": "a" * length}
    plain = len(json.dumps(payload, separators=(",", ":")))

    body = seal(
        payload, client_id=CLIENT_ID, client_secret=SECRET, timestamp_ms=NOW_MS, nonce="n", block=block
    )
    total = len(base64.b64decode(str(body["dataEncrypt"])))

    assert total % 16 == 0
    assert 1 <= total - plain <= 32


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused(body: bytes) -> None:
    assert refusal(body) == "malformed"


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(("signature", "dataEncrypt", "timestamp", "nonce")),
    st.booleans(),
)
def test_no_value_of_a_field_raises_anything_else(value: object, name: str, as_bytes: bool) -> None:
    body = sealed_body() | {name: value}
    try:
        hint = opened(json.dumps(body).encode() if as_bytes else body)
    except UnsealError as refused:
        reason = refused.reason
    else:
        reason = "signature"
        assert (str(value), hint.job_id) == (str(sealed_body()[name]), JOB_ID)

    assert reason in {"malformed", "signature", "stale"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"signature": NaN}',
        b'{"signature": Infinity}',
        b"[" * 100_000,
        b'{"nonce": ' + b"9" * 10_000 + b"}",
        b"\xef\xbb\xbf{}",
        b'{"signature": "\xff"}',
    ],
    ids=["empty", "list", "null", "object", "nan", "infinity", "deep", "long number", "bom", "not utf-8"],
)
def test_a_body_that_is_no_envelope_is_malformed(body: bytes) -> None:
    assert refusal(body) == "malformed"


@pytest.mark.parametrize("name", ["signature", "dataEncrypt", "timestamp", "nonce"])
def test_a_key_that_stands_twice_is_malformed(name: str) -> None:
    body = json.dumps(sealed_body())
    twice = "{" + json.dumps(name) + ": " + json.dumps(sealed_body()[name]) + ", " + body[1:]

    assert refusal(twice.encode()) == "malformed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("signature", None),
        ("signature", 7),
        ("dataEncrypt", 1234),
        ("dataEncrypt", ["AAAA"]),
        ("timestamp", True),
        ("timestamp", "soon"),
        ("timestamp", ""),
        ("timestamp", -5),
        ("timestamp", 1e22),
        ("timestamp", ".5"),
        ("timestamp", "1."),
        ("timestamp", "1.5.5"),
        ("timestamp", "\u0661\u0662\u0663"),
        ("timestamp", "9" * 5000),
        ("nonce", None),
        ("nonce", False),
        ("nonce", ""),
        ("nonce", {}),
        ("nonce", "n" * 257),
        pytest.param("nonce", 10**5000, id="nonce-huge"),
        ("nonce", "\ud800"),
    ],
)
def test_a_field_of_the_wrong_type_is_malformed(name: str, value: object) -> None:
    assert refusal(sealed_body() | {name: value}) == "malformed"


@pytest.mark.parametrize(
    "spelling",
    ["", "AAAA", "QUJ=", "QUI", "QU\nI=", " QUI=", "QUI=QUI=", "QUJD-_", "QUI==", "ÄÄÄÄ", "===="],
)
def test_sloppy_base64_is_never_taken_for_content(spelling: str) -> None:
    assert refusal(signed(spelling)) in {"malformed", "unreadable"}


def test_a_second_spelling_of_the_same_base64_is_malformed() -> None:
    sealed = str(sealed_body({"_id": "66c0"})["dataEncrypt"])
    assert sealed.endswith("=")
    respelled = sealed.rstrip("=")
    respelled = respelled[:-1] + chr(ord(respelled[-1]) + 1) + "=" * (len(sealed) - len(respelled))

    assert base64.b64decode(respelled) == base64.b64decode(sealed)
    assert refusal(signed(respelled)) == "malformed"


@pytest.mark.parametrize("name", ["signature", "dataEncrypt", "timestamp", "nonce"])
def test_changing_any_signed_field_breaks_the_signature(name: str) -> None:
    other = sealed_body({"_id": "another"}, timestamp_ms=NOW_MS + 1, nonce="n-42")

    assert refusal(sealed_body() | {name: other[name]}) == "signature"


@pytest.mark.parametrize("signature", ["", "0" * 40, "ä" * 20, "x" * 10_000])
def test_a_wrong_signature_is_refused(signature: str) -> None:
    assert refusal(sealed_body() | {"signature": signature}) == "signature"


def test_the_signature_of_another_client_is_refused() -> None:
    assert refusal(sealed_body(), client_id="kestrel-8") == "signature"


@pytest.mark.parametrize(
    ("seconds", "stale"), [(-300.001, True), (-300, False), (300, False), (300.001, True)]
)
def test_the_window_has_two_sides(seconds: float, stale: bool) -> None:
    body = sealed_body(timestamp_ms=NOW_MS + round(seconds * 1000))

    if stale:
        assert refusal(body) == "stale"
    else:
        assert opened(body).job_id == JOB_ID


def test_the_window_is_the_callers_to_set() -> None:
    body = sealed_body(timestamp_ms=NOW_MS - 2000)

    assert opened(body, window_seconds=2).sent_at_ms == NOW_MS - 2000
    assert refusal(body, window_seconds=1.999) == "stale"


@pytest.mark.parametrize("window", [-1.0, float("inf"), float("nan"), "5", True])
def test_a_window_that_lets_everything_or_nothing_in_is_a_mistake_of_the_caller(window: Any) -> None:
    with pytest.raises(ConfigurationError, match="window_seconds"):
        opened(sealed_body(), window_seconds=window)


GOOD = b'{"_id":"66c0"}'
BROKEN_PLAINTEXTS = {
    "empty": b"\x10" * 16,
    "tail of zero": GOOD.ljust(16, b" ")[:15] + b"\0",
    "tail beyond 32": GOOD + b"\x22" * 34,
    "tail beyond the text": b"\x20" * 16,
    "torn tail": GOOD + b"\x02\x03",
    "tail that differs only in front": GOOD + b" \x02",
    "no json": b"hello world 1234" + b"\x10" * 16,
    "not utf-8": b'{"_id":"6\xff"}  \x02\x02',
    "a list": b'["_id", "66c0"]\x01',
    "twice": b'{"_id":1,"_id":1,"a":1}' + b"\x09" * 9,
    "nan": b'{"_id":1,"a":NaN}' + b"\x0f" * 15,
    "no id": b'{"status":3}\x04\x04\x04\x04',
    "null id": b'{"_id":null}\x04\x04\x04\x04',
    "blank id": b'{"_id":"  "}\x04\x04\x04\x04',
    "id with a line end": b'{"_id":"a\\n"}\x03\x03\x03',
    "id that is a flag": b'{"_id":true}\x04\x04\x04\x04',
    "id beyond ascii": '{"_id":"é"}'.encode() + b"\x04" * 4,
}


@pytest.mark.parametrize("name", BROKEN_PLAINTEXTS)
def test_everything_behind_the_cipher_fails_in_the_same_words(name: str) -> None:
    with pytest.raises(UnsealError) as caught:
        opened(encrypted(BROKEN_PLAINTEXTS[name]))

    assert caught.value.reason == "unreadable"
    assert str(caught.value) == str(UnsealError(reason="unreadable"))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_sealed_text_of_torn_blocks_is_unreadable() -> None:
    assert refusal(signed(base64.b64encode(b"x" * 17).decode())) == "unreadable"


@settings(deadline=None)
@given(position=st.integers(0, 95), flip=st.integers(1, 255))
def test_altered_ciphertext_gives_another_digest_or_nothing(position: int, flip: int) -> None:
    body = sealed_body({"_id": JOB_ID, "status": 3, "note": "z" * 30})
    sealed = bytearray(base64.b64decode(str(body["dataEncrypt"])))
    sealed[position % len(sealed)] ^= flip
    altered = signed(base64.b64encode(bytes(sealed)).decode())

    try:
        hint = opened(altered)
    except UnsealError as refused:
        seen = str(refused.reason)
    else:
        seen = "opened" if hint.digest != opened(body).digest else "the same"

    assert seen in {"unreadable", "opened"}


def test_another_key_of_the_right_length_opens_nothing() -> None:
    assert refusal(sealed_body(), client_secret="f" * 32) == "unreadable"


@pytest.mark.parametrize("tail", range(1, 33))
def test_every_tail_up_to_32_bytes_is_taken(tail: int) -> None:
    plain = GOOD[:-1] + b" " * ((16 - len(GOOD) - tail) % 16) + b"}"

    assert opened(encrypted(plain + bytes([tail]) * tail)).job_id == "66c0"


def test_numbers_may_arrive_as_strings_and_the_other_way_round() -> None:
    payload = {"_id": 4711, "status": "3", "progress": 99.6, "error_code": "501312", "type": 9, "url": 5}

    hint = opened(sealed_body(payload))

    assert (hint.job_id, hint.status, hint.progress, hint.error_code) == ("4711", 3, 99, 501312)
    assert (hint.type, hint.url) == (None, None)


@pytest.mark.parametrize("status", [None, "", "done", True, [], {}, "1e999"])
def test_a_status_that_is_no_number_counts_as_absent(status: object) -> None:
    plain = b'{"_id":"66c0","status":' + json.dumps(status).encode() + b"}"
    tail = 16 - len(plain) % 16

    assert opened(encrypted(plain + bytes([tail]) * tail)).status is None


def test_a_status_too_long_for_any_counter_counts_as_absent() -> None:
    plain = b'{"_id":"66c0","status":' + b"9" * 5000 + b"}"
    tail = 16 - len(plain) % 16

    assert opened(encrypted(plain + bytes([tail]) * tail)).status is None


@pytest.mark.parametrize("progress", [-1, 101, "many"])
def test_progress_out_of_range_counts_as_absent(progress: object) -> None:
    assert opened(sealed_body({"_id": JOB_ID, "progress": progress})).progress is None


def test_the_second_spelling_of_the_fields_is_read_too() -> None:
    payload = {"_id": JOB_ID, "video_status": 4, "video": "https://x/y", "error_message": "no speech"}

    hint = opened(sealed_body(payload))

    assert (hint.status, hint.url, hint.error_reason) == (4, "https://x/y", "no speech")


@pytest.mark.parametrize("nonce", [7, 0.125, "7", "a b"])
@pytest.mark.parametrize("timestamp", [NOW_MS, str(NOW_MS)])
def test_numbers_in_the_envelope_are_signed_as_they_are_written(nonce: object, timestamp: object) -> None:
    body = signed(str(sealed_body()["dataEncrypt"]), timestamp=timestamp, nonce=nonce)

    assert opened(body) == opened(json.dumps(body).encode())
    assert opened(body).nonce == str(nonce)


def test_a_number_keeps_its_spelling_between_wire_and_signature() -> None:
    sealed = str(sealed_body()["dataEncrypt"])
    body = json.dumps(signed(sealed, nonce="1E-9")).replace('"1E-9"', "1E-9")

    assert opened(body.encode()).nonce == "1E-9"


@pytest.mark.parametrize(
    "timestamp", [f"{NOW_MS}.0", f"{NOW_MS}.75", f"{NOW_MS / 1000:.3f}", f"{NOW_MS / 1000:.0f}"]
)
@pytest.mark.parametrize("spelled", ["number", "text"])
def test_a_timestamp_may_have_a_fraction_or_count_seconds(timestamp: str, spelled: str) -> None:
    body = json.dumps(signed(str(sealed_body()["dataEncrypt"]), timestamp=timestamp))
    written = body if spelled == "text" else body.replace(f'"{timestamp}"', timestamp)

    hint = opened(written.encode(), window_seconds=0.4)

    assert abs(hint.sent_at_ms - NOW_MS) <= 400


def test_a_stale_message_tells_by_how_much_and_what_is_allowed() -> None:
    for behind, words in ((7200, "7200 s behind"), (-7200, "7200 s ahead of")):
        with pytest.raises(UnsealError, match=f"{words} the clock of this machine, and 300 s are allowed"):
            opened(sealed_body(timestamp_ms=NOW_MS - behind * 1000))


def test_one_message_has_one_digest_however_its_json_is_spelled() -> None:
    body = sealed_body()
    other = json.dumps({name: body[name] for name in reversed(body)} | {"new": 1}, indent=2).encode()

    assert opened(body).digest == opened(other).digest
    assert opened(body).digest != opened(sealed_body(nonce="n-42")).digest
    assert len(opened(body).digest) == 64


@pytest.mark.parametrize("length", [0, 1, 15, 17, 23, 25, 31, 33, 64])
def test_a_secret_of_another_length_is_refused_when_it_is_configured(length: int) -> None:
    with pytest.raises(ValueError, match="16, 24 or 32 bytes") as caught:
        SealingKey(client_id=CLIENT_ID, client_secret="Q" * length)

    assert "QQ" not in str(caught.value)


def test_the_length_of_a_secret_is_counted_in_bytes() -> None:
    assert SealingKey(client_id=CLIENT_ID, client_secret="é" * 8).client_secret.reveal() == "é" * 8
    with pytest.raises(ValueError, match="this one has 64"):
        SealingKey(client_id=CLIENT_ID, client_secret="é" * 32)
    with pytest.raises(ValueError, match="this one has 0"):
        SealingKey(client_id=CLIENT_ID, client_secret="\ud800" * 16)


def test_a_client_without_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="client_id"):
        SealingKey(client_id="", client_secret=SECRET)


@pytest.mark.parametrize(
    ("client_id", "iv"),
    [("ab", b"ab" + b"\0" * 14), ("0123456789abcdefXYZ", b"0123456789abcdef"), ("é" * 9, "é".encode() * 8)],
)
def test_the_iv_is_the_id_cut_or_filled_to_16_bytes(client_id: str, iv: bytes) -> None:
    assert SealingKey(client_id=client_id, client_secret=SECRET).iv == iv


def test_secrets_stay_out_of_what_is_printed() -> None:
    url = "https://user:pass@cdn.example/r.mp4?sig=topsecret#frag"

    hint = opened(sealed_body({"_id": JOB_ID, "url": url}))

    assert SECRET not in repr(SealingKey(client_id=CLIENT_ID, client_secret=SECRET))
    assert hint.url == url
    assert "https://cdn.example/r.mp4?" in repr(hint)
    assert not any(secret in repr(hint) for secret in ("topsecret", "pass@", "frag"))


def test_a_reason_that_repeats_the_secret_or_a_signed_url_is_made_safe() -> None:
    reason = f"bad {SECRET[:9]}\n{SECRET[9:]} for https://cdn.example/r.mp4?sig=topsecret"

    hint = opened(sealed_body({"_id": JOB_ID, "error_reason": reason, "type": SECRET}))

    assert hint.error_reason == "bad [redacted] for https://cdn.example/r.mp4?…"
    assert hint.type == "[redacted]"


def test_no_local_variable_of_a_refusal_shows_the_secret() -> None:
    body, given = sealed_body(), Secret(SECRET)
    for change in ({"signature": "0" * 40}, {"timestamp": "soon"}, {"timestamp": 1}, {}):
        with pytest.raises(UnsealError) as caught:
            unseal(body | change, client_id=CLIENT_ID, client_secret=given, now_ms=NOW_MS + 10**7)

        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert SECRET not in "".join(frames.format())


@pytest.mark.parametrize("block", [0, 1, 8, 48])
def test_only_the_documented_blocks_can_be_sealed_with(block: int) -> None:
    with pytest.raises(ValueError, match="block"):
        seal({}, client_id=CLIENT_ID, client_secret=SECRET, timestamp_ms=0, nonce="n", block=block)


def test_only_json_can_be_sealed() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        sealed_body({"_id": float("nan")})
    with pytest.raises(ValueError, match="timestamp_ms"):
        sealed_body(timestamp_ms=-1)


def test_a_missing_cipher_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    body = sealed_body()
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)

    with pytest.raises(ModuleNotFoundError, match=r"akool-async\[webhook\]"):
        opened(body)


def test_a_refusal_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(UnsealError(reason="stale")))

    assert (copy.reason, str(copy)) == ("stale", str(UnsealError(reason="stale")))
