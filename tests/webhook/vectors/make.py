"""Makes `vectors.json` with two programs that share no code with ours: crypto-js in node, and pycryptodome.

`python -m tests.webhook.vectors.make` writes the file if both agree; `NODE_PATH` names the folder of
node's packages. The package itself is not used here.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FILE = FOLDER / "vectors.json"

SECRETS = {16: "sixteen-bytes-k!", 24: "twenty-four-bytes-of-key", 32: "thirty-two-bytes-of-a-secret-key"}
IDS = ("kestrel-7", "exactly-sixteen!", "an-id-that-is-longer-than-sixteen-bytes")
PAYLOADS: tuple[dict[str, Any], ...] = (
    {"_id": "66c0ffee5eed5eed00000001", "status": 2, "type": "video translate", "url": ""},
    {"_id": "66c0ffee5eed5eed00000002", "status": 3, "url": "https://cdn.example/r.mp4?sig=a/b+c%3D"},
    {
        "_id": "66c0ffee5eed5eed00000003",
        "status": 4,
        "error_code": 501312,
        "error_reason": "kein Ton – 日本",
    },
    {"_id": "1"},
)


def cases() -> list[dict[str, Any]]:
    """Give every key length with every block, ids and payloads in turns, and tails of every length."""
    wanted = []
    for number, (length, block) in enumerate((key, block) for key in SECRETS for block in (16, 24, 32)):
        for step in range(8):
            payload = PAYLOADS[(number + step) % len(PAYLOADS)] | {"n": "x" * (number * 8 + step)}
            wanted.append(
                {
                    "client_id": IDS[step % len(IDS)],
                    "client_secret": SECRETS[length],
                    "block": block,
                    "timestamp": 1754300000123 + 97 * number,
                    "nonce": str(7 ** (step + number + 1)),
                    "plaintext": json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
                }
            )
    return wanted


def by_node(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seal with crypto-js."""
    done = subprocess.run(
        ["node", str(FOLDER / "seal.js")], input=json.dumps(wanted).encode(), capture_output=True, check=True
    )
    return json.loads(done.stdout)


def by_pycryptodome(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seal with pycryptodome, its hash included."""
    from Crypto.Cipher import AES
    from Crypto.Hash import SHA1
    from Crypto.Util.Padding import pad

    done = []
    for one in wanted:
        plain = one["plaintext"].encode()
        tail = len(pad(plain, one["block"])) - len(plain)
        tail += (len(plain) + tail) % AES.block_size  # 24 is no whole number of the cipher's blocks: 8 more
        cipher = AES.new(one["client_secret"].encode(), AES.MODE_CBC, iv=_iv(one["client_id"]))
        sealed = base64.b64encode(cipher.encrypt(plain + bytes([tail]) * tail)).decode()
        parts = sorted([one["client_id"], str(one["timestamp"]), one["nonce"], sealed])
        signature = SHA1.new("".join(parts).encode()).hexdigest()
        done.append(one | {"dataEncrypt": sealed, "signature": signature})
    return done


def _iv(client_id: str) -> bytes:
    return (client_id.encode() + bytes(16))[:16]


def can_make() -> bool:
    """Whether both programs are here."""
    if shutil.which("node") is None or find_spec("Crypto") is None:
        return False
    asked = ["node", "-e", "require('crypto-js')"]
    return subprocess.run(asked, capture_output=True, check=False, env=os.environ).returncode == 0


def main() -> None:
    wanted = cases()
    ours, theirs = by_pycryptodome(wanted), by_node(wanted)
    if ours != theirs:
        raise SystemExit("The two programs do not agree.")
    FILE.write_text(json.dumps(ours, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{len(ours)} vectors on which both agree")


if __name__ == "__main__":
    main()
