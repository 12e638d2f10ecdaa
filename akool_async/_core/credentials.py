"""Who the caller is to the vendor: an API key, or a client id and secret.

Values only; reading the environment happens through a mapping that is handed in. Neither repr, str
nor pickle shows a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn, TypeAlias

import attrs

from akool_async._core.errors import InvalidRequest

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
        raise InvalidRequest(f"{attribute.name} must be printable ASCII text and not empty.")
    if value != value.strip():
        raise InvalidRequest(f"{attribute.name} has white space around it; take it away.")


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
class ClientPair(_Unpicklable):
    """The legacy way: an id and a secret, exchanged for a bearer token.

    Source: the vendor's page on authentication, getToken.
    """

    client_id: str = attrs.field(validator=_check)
    client_secret: str = attrs.field(repr=False, validator=_check)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self.client_secret,)


Credentials: TypeAlias = ApiKey | ClientPair


def choose(
    *,
    api_key: str | None,
    client_id: str | None,
    client_secret: str | None,
    environment: Mapping[str, str],
) -> Credentials:
    """Give the credentials that the arguments name, else those of the environment.

    Raises:
        InvalidRequest: none, both or half of them are given.
    """
    if api_key is not None and (client_id is not None or client_secret is not None):
        raise InvalidRequest("Give either api_key or client_id with client_secret, not both.")
    if api_key is not None:
        return ApiKey(api_key)
    if client_id is not None or client_secret is not None:
        return _pair(client_id, client_secret)
    known = {name: environment.get(name, "").strip() for name in (KEY_VARIABLE, ID_VARIABLE, SECRET_VARIABLE)}
    if known[KEY_VARIABLE]:
        return ApiKey(known[KEY_VARIABLE])
    if known[ID_VARIABLE] or known[SECRET_VARIABLE]:
        return _pair(known[ID_VARIABLE], known[SECRET_VARIABLE])
    raise InvalidRequest(
        "No credentials.",
        advice=f"Set {KEY_VARIABLE}, or pass api_key=..., or client_id=... and client_secret=....",
    )


def _pair(client_id: str | None, client_secret: str | None) -> ClientPair:
    if not client_id or not client_secret:
        missing = "client_secret" if client_id else "client_id"
        raise InvalidRequest(f"{missing} is missing: a client id and secret go together.")
    return ClientPair(client_id, client_secret)
