"""Who the caller is to the vendor: an API key, or a client id and secret.

Values only; the environment is read through a function that is handed in. A secret is a `Secret`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import Secret, hide

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
        raise ConfigurationError(f"{attribute.name} has white space around it; remove it.")


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
        # Stripped: a key that was pasted with a line break would be refused by the vendor as wrong.
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
