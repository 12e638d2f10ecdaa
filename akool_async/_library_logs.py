"""What libraries log of our requests: nothing that a host repeats, no signature and no password.

httpx logs each URL at INFO; httpcore at DEBUG the headers of each answer, and the password of a SOCKS proxy;
some versions of aiohttp as a WARNING what is no name of a cookie. Our own log says what happens. Requests of
the rest of the program are logged as before.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final

from akool_async._model.redact import sanitize

SENDING: Final[ContextVar[bool]] = ContextVar("akool_async.sending", default=False)
"""Whether what the current task sends and reads is ours; set around each exchange with a host."""

_LOGGERS: Final = (
    "aiohttp.client",
    "aiohttp.internal",
    "hpack.hpack",
    "hpack.table",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "httpx",
)


def _redact(record: logging.LogRecord) -> bool:
    """Cut a line about a request of ours down to what may be shown; False if that is nothing."""
    if not SENDING.get():
        return True
    if record.name == "httpx" and isinstance(record.args, tuple):  # method, URL, version, status and reason
        record.args = tuple(arg if isinstance(arg, int) else sanitize(arg) for arg in record.args)
        return True
    # The name of the event. What follows may be anything: headers, errors with bytes of them, passwords.
    record.msg, record.args = record.getMessage().partition(" ")[0], ()
    return record.name.startswith("httpcore.")


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_redact)
