"""Which host the credentials may go to: one origin, https only but for loopback."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from akool_async._core.errors import InvalidRequest
from akool_async._core.text import clean, url_repr

PRODUCTION: Final = "https://openapi.akool.com"
"""Source: the vendor's API pages."""

_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its name or by an address; other names may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_name(name: str, *, bracketed: bool) -> bool:
    """Whether `name` can be a host as it is sent: ASCII; other letters are written as "xn--..."."""
    if bracketed:
        return ":" in name and "%" not in name
    return _NAME.fullmatch(name) is not None


def _shown(url: str) -> str:
    return clean(url_repr(url))


def origin_of(host: str) -> str:
    """Give the origin of `host`, such as "https://openapi.akool.com", without a slash at the end.

    Args:
        host: a URL, or a bare host name, for which https is taken.

    Raises:
        InvalidRequest: not a host, with a path, query or user in it, or plain http to another machine.
    """
    url = host.strip() if "://" in host else f"https://{host.strip()}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"The API host {_shown(url)} is not a URL.") from error
    name = parts.hostname or ""
    printable = url.isprintable() and " " not in url
    usable = printable and port != 0 and _is_name(name, bracketed="[" in parts.netloc)
    if parts.scheme not in {"http", "https"} or not usable:
        raise InvalidRequest(f"The API host {_shown(url)} must look like {PRODUCTION}.")
    if parts.username is not None or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise InvalidRequest(f"The API host {_shown(url)} must be an origin only, like {PRODUCTION}.")
    if parts.scheme == "http" and not is_loopback(name):
        raise InvalidRequest(
            f"The API host {_shown(url)} is plain http.",
            advice="Use https: plain http shows the credentials to the network, and is for this machine.",
        )
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}" if port is None else f"{parts.scheme}://{shown}:{port}"
