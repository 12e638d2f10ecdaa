"""Who the caller is to the vendor: an API key, or a client id and secret.

Values only; reading the environment happens through a mapping that is handed in. Neither repr, str
nor pickle shows a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NoReturn, TypeAlias
from urllib.parse import urlsplit

import attrs

from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import sanitize, url_repr

KEY_VARIABLE: Final = "AKOOL_API_KEY"
ID_VARIABLE: Final = "AKOOL_CLIENT_ID"
SECRET_VARIABLE: Final = "AKOOL_CLIENT_SECRET"  # noqa: S105 - the name of a variable
HOST_VARIABLE: Final = "AKOOL_API_HOST"
"""Sources: the vendor's command-line tool reads the last three; AKOOL_API_KEY is what programs use."""


class _Unpicklable:
    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse: a pickle would carry the secret to wherever it is sent."""
        raise TypeError(
            f"{type(self).__name__} can't be pickled, because the secret would go along. "
            "Build it again from the environment where it is needed."
        )


def _check(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise ConfigurationError(f"{attribute.name} must be printable ASCII text and not empty.")
    if value != value.strip():
        raise ConfigurationError(f"{attribute.name} has white space around it; take it away.")


@attrs.frozen
class ApiKey(_Unpicklable):
    """The recommended way: one key in the header `x-api-key`.

    Source: the vendor's page on authentication.
    """

    api_key: str = attrs.field(repr=False, validator=_check)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self.api_key,)


@attrs.frozen
class ClientCredentials(_Unpicklable):
    """The legacy way: an id and a secret, exchanged for a bearer token.

    Source: the vendor's page on authentication, getToken.
    """

    client_id: str = attrs.field(validator=_check)
    client_secret: str = attrs.field(repr=False, validator=_check)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self.client_secret,)


Credentials: TypeAlias = ApiKey | ClientCredentials


def resolve_credentials(
    *,
    api_key: str | None,
    client_id: str | None,
    client_secret: str | None,
    environment: Mapping[str, str],
) -> Credentials:
    """Return the credentials that the arguments name, else those of the environment.

    Raises:
        ConfigurationError: none, both or half of them are given.
    """
    if api_key is not None and (client_id is not None or client_secret is not None):
        raise ConfigurationError("Use either api_key or client_id with client_secret, not both.")
    if api_key is not None:
        return ApiKey(api_key)
    if client_id is not None or client_secret is not None:
        return _client_credentials(client_id, client_secret)
    known = {name: environment.get(name, "").strip() for name in (KEY_VARIABLE, ID_VARIABLE, SECRET_VARIABLE)}
    if known[KEY_VARIABLE]:
        return ApiKey(known[KEY_VARIABLE])
    if known[ID_VARIABLE] or known[SECRET_VARIABLE]:
        return _client_credentials(known[ID_VARIABLE], known[SECRET_VARIABLE])
    raise ConfigurationError(
        "No credentials.",
        advice=f"Set {KEY_VARIABLE}, or pass api_key=..., or client_id=... and client_secret=....",
    )


def _client_credentials(client_id: str | None, client_secret: str | None) -> ClientCredentials:
    if not client_id or not client_secret:
        missing = "client_secret" if client_id else "client_id"
        raise ConfigurationError(f"{missing} is missing: a client id and secret go together.")
    return ClientCredentials(client_id, client_secret)


# Which host the credentials may go to: one origin, https only but for loopback.


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
    return sanitize(url_repr(url))


def parse_origin(host: str) -> str:
    """Return the origin of `host`, such as "https://openapi.akool.com", without a slash at the end.

    Args:
        host: a URL, or a bare host name, for which https is taken.

    Raises:
        ConfigurationError: not a host, with a path, query or user in it, or plain http to another machine.
    """
    url = host.strip() if "://" in host else f"https://{host.strip()}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"The API host {_shown(url)} is not a URL.") from error
    name = parts.hostname or ""
    printable = url.isprintable() and " " not in url
    usable = printable and port != 0 and _is_name(name, bracketed="[" in parts.netloc)
    if parts.scheme not in {"http", "https"} or not usable:
        raise ConfigurationError(f"The API host {_shown(url)} must look like {PRODUCTION}.")
    if parts.username is not None or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ConfigurationError(f"The API host {_shown(url)} must be an origin only, like {PRODUCTION}.")
    if parts.scheme == "http" and not is_loopback(name):
        raise ConfigurationError(
            f"The API host {_shown(url)} is plain http.",
            advice="Use https: plain http shows the credentials to the network, and is for this machine.",
        )
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}" if port is None else f"{parts.scheme}://{shown}:{port}"
