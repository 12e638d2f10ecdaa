"""The watch for credentials at places where none belong: the CDN and the targets of redirects.

Notes where one was seen, never its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote_plus

from akool_async.sandbox.asgi import Scope
from akool_async.sandbox.settings import Settings
from akool_async.sandbox.tokens import TokenDesk

__all__ = ["LeakWatch"]


class LeakWatch:
    """Knows every credential of the sandbox and looks for them.

    Args:
        settings: Hold the key and the secret.
        tokens: Knows the tokens.
    """

    def __init__(self, settings: Settings, tokens: TokenDesk) -> None:
        """Take the parts over."""
        self._settings = settings
        self._tokens = tokens

    def findings(self, scope: Scope, body: bytes) -> Iterator[tuple[str, str]]:
        """Go through (where, what) of each credential in a request."""
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            what = self._kind(value)
            if what is None and name in {"authorization", "x-api-key", "proxy-authorization"}:
                what = "authorization"
            if what is not None:
                yield f"header {name}", what
        target = scope["path"] + "?" + unquote_plus(scope["query_string"].decode("latin-1"))
        for where, text in (("query", target), ("body", body.decode("utf-8", "replace"))):
            what = self._kind(text)
            if what is not None:
                yield where, what

    def _kind(self, text: str) -> str | None:
        if self._settings.api_key in text:
            return "key"
        if self._settings.client_secret in text:
            return "secret"
        return "token" if any(token in text for token in self._tokens.granted) else None
