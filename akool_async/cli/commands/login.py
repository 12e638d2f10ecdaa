"""`akool-async login` and `logout`: keep the credentials on this machine, and forget them."""

from __future__ import annotations

import getpass
import os
import sys

import anyio

from akool_async._client import AkoolClient
from akool_async._model.credentials import ID_VARIABLE, KEY_VARIABLE
from akool_async._model.errors import InvalidRequestError
from akool_async._model.redact import hide
from akool_async._model.tariff import credits_text
from akool_async.cli.console import can_ask, print_info
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.logins import Login, remove_login, store_login, stored_logins
from akool_async.cli.options import DEFAULT_CONNECTION, ConnectionOptions, read_key_file


def login(
    *,
    client_id: str | None = None,
    check: bool = True,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> int:
    """Keep the API key on this machine, so that commands find it without a variable or a file.

    The key is asked for, read from --key-file, or from stdin in a pipe. It is kept in the system's keyring
    where there is one (`pip install 'akool-async[login]'`), else in a file that only you can read, and is
    sent only to the host for which it was kept. Options and variables take precedence over it.

    Parameters
    ----------
    client_id
        Keep this client id, and the secret that is asked for, in place of a key.
    check
        Ask the vendor whether it accepts them before they are kept. It costs nothing.
    """
    what = "API key" if client_id is None else "Client secret"
    if connection.key_file is not None:
        secret = read_key_file(connection.key_file)
    elif can_ask():
        secret = getpass.getpass(f"{what} (it is not shown): ").strip()
    else:
        secret = sys.stdin.readline().strip("\ufeff \t\r\n")
    if not secret:
        raise InvalidRequestError(
            f"{what} missing.", impact="Nothing was kept.", advice="Type it, pipe it in, or name --key-file."
        )
    kept = (
        Login(source="login", api_key=hide(secret))
        if client_id is None
        else Login(source="login", client_id=client_id, client_secret=hide(secret))
    )

    async def ask() -> float:
        async with AkoolClient(host=connection.host, **kept.arguments) as client:
            return await client.credit()

    left = f" {credits_text(anyio.run(ask))} credits are left." if check else ""
    where = store_login(connection.origin, kept)
    print_info(f"Kept in {where} for {connection.origin}.{left}")
    for name in (KEY_VARIABLE, ID_VARIABLE):
        if os.environ.get(name, "").strip():
            print_info(f"{name} is set and takes precedence over it.")
    return ExitCode.OK


def logout(*, host: str | None = None) -> int:
    """Forget what `login` kept for a host. Files of other programs are left alone.

    Parameters
    ----------
    host
        Origin of the API; default is AKOOL_API_HOST, or the vendor's own.
    """
    origin = ConnectionOptions(host=host).origin
    removed = remove_login(origin)
    print_info(f"Removed from {' and '.join(removed)}." if removed else f"Nothing is kept for {origin}.")
    for left in stored_logins(origin):
        print_info(f"There are credentials in {left.source} still, which `login` did not make.")
    return ExitCode.OK
