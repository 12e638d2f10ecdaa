"""Which hosts are talked to: the API's, and the proxies and certificates that the environment names for them.

The libraries read it when a client is built, and raise a ValueError, an ImportError or an SSLError there.
Here each mistake is a `ConfigurationError` that names the variable.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import re
import socket
import ssl
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, Unpack
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
import httpx

from akool_async._model.credentials import HOST_VARIABLE
from akool_async._model.errors import ConfigurationError, ErrorDetails
from akool_async._model.redact import exception_chain, sanitize, url_repr

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
    # A proxy can't reach this machine: a sandbox, or a local copy, would seem to be down.
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
    # httpx raises an ImportError for it, in the middle of opening a client, without naming the variable.
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
    # Opened first: the error of `create_ssl_context` names neither the file nor the variable.
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


# Which host the credentials may go to: one origin, https only but for loopback.


PRODUCTION: Final = "https://openapi.akool.com"
"""Source: the vendor's API pages."""

_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by its name or by an address; other names may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def find_origin(host: str | None) -> str:
    """Return the origin of a host that the caller names, else of AKOOL_API_HOST, else the vendor's own.

    Raises:
        ConfigurationError: the host is not valid, or AKOOL_API_HOST is set to nothing.
    """
    named = os.environ.get(HOST_VARIABLE)
    if host:
        return parse_origin(host)
    # A variable that a script failed to fill was meant for a sandbox: the vendor's host would cost money.
    if named is not None and not named.strip():
        raise ConfigurationError(
            f"{HOST_VARIABLE} is set, and empty.",
            advice=f"Set it to a host, or unset it: then it is {PRODUCTION}, where jobs cost credits.",
        )
    return parse_origin(PRODUCTION) if named is None else parse_origin(named, HOST_VARIABLE)


class MissingExtraError(ConfigurationError, ModuleNotFoundError):
    """A package that an extra of akool-async installs is missing. `except ImportError` catches it too.

    Attributes:
        extra: the extra.
        name: the module that is missing.
    """

    advice = "Install the extra that it names."

    def __init__(
        self, message: str, *, extra: str = "", name: str = "", **details: Unpack[ErrorDetails]
    ) -> None:
        if extra:
            details.setdefault("advice", f"Install it: {install_command(extra)}")
        super().__init__(message, **details)
        self.extra = extra
        self.name: str | None = name


@contextlib.contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Say which extra installs a module that is imported here and missing.

    Args:
        extra: the extra; where it contains another one, that is not named.
        what: what needs it, as the beginning of a sentence in the plural.

    Raises:
        MissingExtraError: a module is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = error.name or ""
        said = f"{what} need the module {name.partition('.')[0]}, which is not installed."
        raise MissingExtraError(said, extra=extra, name=name) from error


def install_command(extra: str) -> str:
    """Return the command that adds an extra of this package to where the program runs.

    It depends on what made that place: `pip` is not in one of uv, and must not be used in one of pipx.
    """
    place = Path(sys.prefix)
    with contextlib.suppress(OSError):
        if (place / "uv-receipt.toml").is_file():  # of `uv tool install`
            return f"uv tool install --force 'akool-async[cli,{extra}]'"
        if (place / "pipx_metadata.json").is_file():
            return f"pipx install --force 'akool-async[cli,{extra}]'"
        if re.search(r"^uv = ", (place / "pyvenv.cfg").read_text(encoding="utf-8"), re.MULTILINE):
            return f"uv pip install 'akool-async[{extra}]'"
    return f"pip install 'akool-async[{extra}]'"


def parse_origin(host: str, named_by: str = "The API host") -> str:
    """Return the origin of `host`, such as "https://openapi.akool.com", without a slash at the end.

    Args:
        host: a URL, or a bare host name, for which https is taken.
        named_by: what an error says about where the host comes from.

    Raises:
        ConfigurationError: not a host, with a path, query or user in it, or plain http to another machine.
    """
    url = host.strip() if "://" in host else f"https://{host.strip()}"
    said = f"{named_by} {sanitize(url_repr(url))}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{said} is not a URL.") from error
    name = parts.hostname or ""
    if "://" not in host and is_loopback(name):  # the sandbox speaks http: with https the error would mislead
        bare = said.removeprefix(f"{named_by} 'https://").removesuffix("'")
        raise ConfigurationError(
            f"{named_by} {bare!r} has no scheme.",
            advice=f"Write http://{bare} for a sandbox on this machine.",
        )
    # A name as it is sent is ASCII; other letters are written as "xn--...".
    is_name = ":" in name and "%" not in name if "[" in parts.netloc else _NAME.fullmatch(name)
    printable = url.isprintable() and " " not in url
    if parts.scheme not in {"http", "https"} or not (printable and port != 0 and is_name):
        raise ConfigurationError(f"{said} must look like {PRODUCTION}.")
    beyond = {
        "a user or password": parts.username is not None,
        "a path": bool(parts.path.rstrip("/")),
        "a query": bool(parts.query),
        "a fragment": bool(parts.fragment),
    }
    if any(beyond.values()):
        # Some are secrets, so that none but the path is shown.
        surplus = " and without ".join(name for name, given in beyond.items() if given)
        raise ConfigurationError(f"{said} must be an origin only, like {PRODUCTION}: without {surplus}.")
    # The key goes along with every call, so a listener on the way could read it and spend the credits.
    if parts.scheme == "http" and not is_loopback(name):
        raise ConfigurationError(
            f"{said} is plain http.",
            advice="Use https: plain http shows the credentials to the network, and is for this machine.",
        )
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}" if port is None else f"{parts.scheme}://{shown}:{port}"


def describe_cause(error: Exception) -> str:
    """Return the system's word for what went wrong with a connection, else the name of the error's type."""
    for one in reversed([*exception_chain(error)]):
        if isinstance(one, ssl.SSLCertVerificationError) and one.verify_message:
            # OpenSSL's own words, such as "certificate has expired"; a host name may be in them.
            return sanitize(one.verify_message).rstrip(".")
        if isinstance(one, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(one, socket.gaierror):
            return "the name has no address"
        if isinstance(one, OSError) and one.errno is not None and one.errno in errno.errorcode:
            return os.strerror(one.errno).lower()
    return type(error).__name__
