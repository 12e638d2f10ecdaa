"""As much of Google Cloud Storage as this project asks of it, over its XML API, made by hand.

No emulator from PyPI or npm speaks the XML API that obstore uses and checks signatures. This one takes a
bearer token, or a signed URL that the key of the service account signed; preconditions hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import uuid4

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.threads import serve_in_thread

TOKEN, ACCOUNT = "canary-token-of-google-5d1c", "tests@project.iam.gserviceaccount.com"
_SIGNATURE = "X-Goog-Signature"
_HOST = "storage.googleapis.com"
"""The host that obstore signs for, also where the base URL is another."""


@attrs.define
class GoogleStore:
    """One bucket, "bucket", and what was asked of it."""

    key: rsa.RSAPrivateKey = attrs.field(factory=lambda: rsa.generate_private_key(65537, 2048))
    base_url: str = ""
    objects: dict[str, bytes] = attrs.field(factory=dict)
    uploads: dict[str, dict[int, bytes]] = attrs.field(factory=dict)
    fetched_by_signature: list[str] = attrs.field(factory=list)

    @property
    def options(self) -> dict[str, str]:
        """What opens it, by obstore's names."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {"client_email": ACCOUNT, "private_key": pem.decode(), "private_key_id": "1"}
        return {
            "google_service_account_key": json.dumps({"type": "service_account", **account}),
            "google_base_url": self.base_url,
            "google_bearer_token": TOKEN,
        }

    def may(self, method: str, path: str, query: str, headers: Any) -> bool:
        """Whether a request carries the token, or a signature for exactly what it asks.

        Source: Google Cloud Storage, "V4 signing process with your own program".
        """
        if headers.get("authorization") == f"Bearer {TOKEN}":
            return True
        given = dict(parse_qsl(query))
        signature = given.pop(_SIGNATURE, "")
        if not signature or given.get("X-Goog-SignedHeaders") != "host":
            return False
        at = datetime.strptime(given["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if datetime.now(UTC) > at + timedelta(seconds=int(given["X-Goog-Expires"])):
            return False
        scope = f"{at:%Y%m%d}/auto/storage/goog4_request"
        asked = "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in sorted(given.items()))
        canonical = f"{method}\n{path}\n{asked}\nhost:{_HOST}\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"GOOG4-RSA-SHA256\n{given['X-Goog-Date']}\n{scope}\n"
        text += hashlib.sha256(canonical.encode()).hexdigest()
        try:
            public = self.key.public_key()
            public.verify(bytes.fromhex(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        self.fetched_by_signature.append(unquote(path))
        return given["X-Goog-Credential"] == f"{ACCOUNT}/{scope}"


@contextmanager
def google_store() -> Iterator[GoogleStore]:
    """Serve a store on this machine until the block is left."""
    store = GoogleStore()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            key = unquote(parts.path).removeprefix("/bucket").removeprefix("/")
            if not store.may(self.command, parts.path, parts.query, self.headers):
                return self.reply(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
            if self.command in ("PUT", "POST"):
                return self.write(key, query, body)
            if self.command == "DELETE":
                known = store.uploads.pop(query["uploadId"], None) if "uploadId" in query else None
                known = known if "uploadId" in query else store.objects.pop(key, None)
                return self.reply(404 if known is None else 204)
            if "list-type" in query:
                return self.list(query)
            if key not in store.objects:
                return self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return self.read(store.objects[key])

        def write(self, key: str, query: dict[str, str], body: bytes) -> None:
            if "uploads" in query:
                name = uuid4().hex  # never used again: a part of an abandoned upload may still be on its way
                store.uploads[name] = {}
                answer = f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId>"
                return self.reply(200, f"{answer}</InitiateMultipartUploadResult>".encode())
            if query.get("uploadId", "") not in {"", *store.uploads}:
                return self.reply(404, b"<Error><Code>NoSuchUpload</Code></Error>")
            if "partNumber" in query:
                store.uploads[query["uploadId"]][int(query["partNumber"])] = body
                return self.reply(200, etag=body)
            if self.headers.get("x-goog-if-generation-match") == "0" and key in store.objects:
                return self.reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            if "uploadId" in query:
                pieces = store.uploads.pop(query["uploadId"])
                body = b"".join(pieces[number] for number in sorted(pieces))
            source = self.headers.get("x-goog-copy-source")
            if source is not None:
                body = store.objects[unquote(source).removeprefix("bucket/")]
            store.objects[key] = body
            answer = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
            return self.reply(200, answer.encode() if "uploadId" in query else b"", etag=body)

        def list(self, query: dict[str, str]) -> None:
            names = sorted(store.objects)
            found = [
                f"<Contents><Key>{name}</Key><Size>{len(store.objects[name])}</Size><ETag>x</ETag>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                for name in names
                if name.startswith(query.get("prefix", "")) and name > query.get("start-after", "")
            ]
            self.reply(200, f"<ListBucketResult>{''.join(found)}</ListBucketResult>".encode())

        def read(self, content: bytes) -> None:
            first, _, last = self.headers.get("range", "").removeprefix("bytes=").partition("-")
            if not first:
                return self.reply(200, content, etag=content)
            end = min(int(last or len(content) - 1) + 1, len(content))
            place = f"bytes {first}-{end - 1}/{len(content)}"
            return self.reply(206, content[int(first) : end], etag=content, place=place)

        def reply(
            self, status: int, body: bytes = b"", *, etag: bytes | None = None, place: str = ""
        ) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            if etag is not None:
                self.send_header("etag", f'"{hashlib.sha256(etag).hexdigest()[:16]}"')
            if place:
                self.send_header("content-range", place)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - their names in http.server

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with serve_in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as store.base_url:
        yield store
