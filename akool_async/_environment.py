"""What the environment says about proxies and certificates, read in one place for all HTTP clients.

The libraries read it when a client is built, and raise a ValueError, an ImportError or an SSLError there.
Here each mistake is a `ConfigurationError` that names the variable.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import ssl
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
import httpx

from akool_async._model.credentials import is_loopback
from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import sanitize

_SOCKS: Final = frozenset({"socks5", "socks5h"})
_KINDS: Final = frozenset({"http", "https"}) | _SOCKS


@attrs.frozen
class EnvironmentProxy:
    """A proxy and what names it: an environment variable, or the settings of the system."""

    url: str = attrs.field(repr=False)
    named_by: str

    def __str__(self) -> str:
        """Show the address, without user and password, and what names it."""
        parts = urlsplit(self.url)
        return sanitize(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} ({self.named_by})")


def proxy_for(url: str) -> EnvironmentProxy | None:
    """Return the proxy that the environment names for a URL; None for this machine and hosts in NO_PROXY.

    Raises:
        ConfigurationError: it names a proxy that can't be used.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address or is_loopback(host) or proxy_bypass(host) or _is_excluded(host, proxies.get("no", "")):
        return None
    names = (f"{parts.scheme}_proxy", "all_proxy")
    set_by = [name for name in (*names, *map(str.upper, names)) if os.environ.get(name) == address]
    named_by = set_by[0] if set_by else "the system's settings"
    proxy = EnvironmentProxy(address if "://" in address else f"http://{address}", named_by)
    try:
        kind = httpx.URL(proxy.url).scheme
        usable = bool(urlsplit(proxy.url).hostname) and urlsplit(proxy.url).port != 0
    except (httpx.InvalidURL, ValueError):
        kind, usable = "", False
    if kind and kind not in _KINDS:
        raise ConfigurationError(
            f"{named_by} names a proxy of the kind {sanitize(kind)!r}, which can't be used.",
            advice="Name one that begins with http://, https://, socks5:// or socks5h://, or unset it.",
        )
    if not usable:
        raise ConfigurationError(f"{named_by} is not the URL of a proxy, such as http://127.0.0.1:3128.")
    if kind in _SOCKS and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f"{named_by} names a SOCKS proxy, which needs the package socksio; it is not installed.",
            advice="Run: pip install socksio",
        )
    return proxy


def _is_excluded(host: str, no_proxy: str) -> bool:
    """Whether NO_PROXY lists the address of a host; urllib compares names only."""
    with contextlib.suppress(ValueError):
        address = ip_address(host)
        for part in no_proxy.replace(",", " ").split():
            with contextlib.suppress(ValueError):
                if address in ip_network(part.strip("[]"), strict=False):
                    return True
    return False


def tls_context() -> ssl.SSLContext:
    """Return a new context for TLS clients, which trusts what SSL_CERT_FILE or SSL_CERT_DIR name, if set.

    Raises:
        ConfigurationError: one of them, or SSLKEYLOGFILE, can't be used.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file:
            Path(file).open("rb").close()
        elif folder:
            os.scandir(folder).close()
    except OSError as error:
        variable, path = ("SSL_CERT_FILE", file) if file else ("SSL_CERT_DIR", folder)
        raise ConfigurationError(
            f"{variable} names {sanitize(path)}, which can't be read ({error.strerror}).",
            advice=f"Correct {variable}, or unset it to use the certificates that come with this package.",
        ) from None
    try:
        return httpx.create_ssl_context()
    except ssl.SSLError:
        raise ConfigurationError(
            f"SSL_CERT_FILE names {sanitize(file)}, which holds no certificates in PEM form.",
            advice="Correct SSL_CERT_FILE, or unset it to use the certificates that come with this package.",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"SSLKEYLOGFILE names a file that can't be written ({error.strerror}).",
            advice="Correct SSLKEYLOGFILE, or unset it.",
        ) from None
