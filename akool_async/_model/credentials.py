"""Who the caller is to the vendor: an API key, or a client id and secret.

Values only; the environment is read through a function that is handed in. A secret is a `Secret`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import Secret, hide, sanitize, url_repr

KEY_VARIABLE: Final = "AKOOL_API_KEY"
ID_VARIABLE: Final = "AKOOL_CLIENT_ID"
SECRET_VARIABLE: Final = "AKOOL_CLIENT_SECRET"  # noqa: S105 - the name of a variable
HOST_VARIABLE: Final = "AKOOL_API_HOST"
"""Sources: the vendor's command-line tool reads the last three; AKOOL_API_KEY is what programs use."""


_VARIABLES: Final = {"api_key": KEY_VARIABLE, "client_id": ID_VARIABLE, "client_secret": SECRET_VARIABLE}
_AROUND: Final = "\ufeff \t\r\n"
"""What files leave around the value of a variable: white space and a byte order mark."""


def _check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    text = value.reveal() if isinstance(value, Secret) else value
    usable = isinstance(text, str) and text and text.isascii() and text.isprintable()
    stripped = text == str(text).strip()
    del text, value  # a traceback with its local variables would show them
    if not usable:
        raise ConfigurationError(f"{attribute.name} must be printable ASCII text and not empty.")
    if not stripped:
        raise ConfigurationError(f"{attribute.name} has white space around it; take it away.")


@attrs.frozen
class ApiKey:
    """The recommended way: one key in the header `x-api-key`.

    Source: the vendor's page on authentication.
    """

    api_key: Secret = attrs.field(converter=hide, repr=False, validator=_check, eq=Secret.reveal)


@attrs.frozen
class ClientCredentials:
    """The legacy way: an id and a secret, exchanged for a bearer token.

    Source: the vendor's page on authentication, getToken.
    """

    client_id: str = attrs.field(validator=_check)
    client_secret: Secret = attrs.field(converter=hide, repr=False, validator=_check, eq=Secret.reveal)


Credentials: TypeAlias = ApiKey | ClientCredentials


def resolve_credentials(
    *,
    api_key: Secret | None,
    client_id: str | None,
    client_secret: Secret | None,
    environment: Callable[[str], str | None],
) -> Credentials:
    """Return the credentials that the arguments name, else those of the environment.

    Args:
        api_key: see `ApiKey`.
        client_id: see `ClientCredentials`.
        client_secret: see `ClientCredentials`.
        environment: returns a variable; not a mapping, because its repr would show all of them.

    Raises:
        ConfigurationError: none, both or half of them are given.
    """
    if api_key is not None and (client_id is not None or client_secret is not None):
        raise ConfigurationError("Use either api_key or client_id with client_secret, not both.")
    if api_key is None and client_id is None and client_secret is None:
        found = {name: hide((environment(name) or "").strip(_AROUND) or None) for name in _VARIABLES.values()}
        if any(found.values()):
            client_id = hidden.reveal() if (hidden := found[ID_VARIABLE]) else None
            try:
                return resolve_credentials(
                    api_key=found[KEY_VARIABLE],
                    client_id=None if found[KEY_VARIABLE] else client_id,
                    client_secret=None if found[KEY_VARIABLE] else found[SECRET_VARIABLE],
                    environment=environment,
                )
            except ConfigurationError as error:
                argument, _, rest = error.message.partition(" ")
                raise ConfigurationError(f"{_VARIABLES[argument]} {rest}") from None
    if api_key is not None:
        return ApiKey(api_key)
    if client_id is None and client_secret is None:
        raise ConfigurationError(
            "No credentials.",
            advice=f"Set {KEY_VARIABLE}, or pass api_key=..., or client_id=... and client_secret=....",
        )
    absent = client_secret is None or (isinstance(client_secret, Secret) and not client_secret.reveal())
    if not client_id or absent or client_secret is None:
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
    if parts.username is not None or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ConfigurationError(f"{said} must be an origin only, like {PRODUCTION}.")
    if parts.scheme == "http" and not is_loopback(name):
        raise ConfigurationError(
            f"{said} is plain http.",
            advice="Use https: plain http shows the credentials to the network, and is for this machine.",
        )
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}" if port is None else f"{parts.scheme}://{shown}:{port}"
