"""How a command reaches the vendor: the options that all of them share, and where the key comes from.

A key is never an option: options stand in the shell's history and in every list of processes. It comes
from the environment, from a file, or is asked for.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from akool_async._client import AkoolClient
from akool_async._core.credentials import ID_VARIABLE, KEY_VARIABLE, SECRET_VARIABLE
from akool_async._core.errors import BadCredentials, InvalidRequest
from akool_async.cli.talk import say


@Parameter(name="*", group="Connection")
@attrs.frozen(kw_only=True)
class Connection:
    """Options of every command that talks to the API.

    Attributes:
        host: Origin of the API; default is AKOOL_API_HOST, or the vendor's own.
        key_file: File that holds the API key and nothing else; default is AKOOL_API_KEY, or AKOOL_CLIENT_ID
            with AKOOL_CLIENT_SECRET, or to be asked on a terminal.
    """

    host: str | None = None
    _asked: Annotated[str | None, Parameter(parse=False)] = attrs.field(default=None, repr=False)
    key_file: Annotated[Path | None, Parameter(name="--key-file")] = None

    def with_key(self) -> Connection:
        """Give the same with its key at hand, so that a command with two clients asks for it once."""
        return attrs.evolve(self, asked=self._api_key())

    def client(self, **options: Any) -> AkoolClient:
        """Give a client, not opened yet.

        Args:
            **options: as `AkoolClient` takes them.

        Raises:
            BadCredentials: there are none.
            InvalidRequest: the host is none.
        """
        return AkoolClient(host=self.host, api_key=self._api_key(), **options)

    def _api_key(self) -> str | None:
        """Give the key; None leaves it to the client to take what the environment has."""
        if self._asked is not None:
            return self._asked
        if self.key_file is not None:
            return _read(self.key_file)
        if any(os.environ.get(name, "").strip() for name in (KEY_VARIABLE, ID_VARIABLE, SECRET_VARIABLE)):
            return None
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise BadCredentials(
                "No credentials.", money="Nothing was sent.", advice=f"Set {KEY_VARIABLE}, or use --key-file."
            )
        say(f"{KEY_VARIABLE} is not set.")
        return getpass.getpass("API key (it is not shown): ").strip()


USUAL: Final = Connection()
"""What holds without options."""


def _read(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidRequest(f"The key file {path} can't be read: {why}.") from error
    if not key:
        raise InvalidRequest(f"The key file {path} is empty.")
    return key
