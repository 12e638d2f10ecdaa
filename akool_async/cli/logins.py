"""Where `akool-async login` keeps credentials: the system's keyring, else a file; each for one host only.

Read after the options and the environment. What the vendor's own tool keeps is read last.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import platformdirs

from akool_async._environment import PRODUCTION
from akool_async._model.credentials import ID_VARIABLE, KEY_VARIABLE, SECRET_VARIABLE
from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import Secret, hide
from akool_async.cli.console import print_info

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE: Final = "akool-async"
KEYRING: Final = "the keyring"
_MARK: Final = "akool-async login"
_SECURE: Final = 1
"""Least priority of a keyring that encrypts; those that don't, or that don't work, have less."""


USED: Final[ContextVar[str]] = ContextVar("USED", default="")
"""Where the credentials of this command come from and which host they are sent to, for its errors."""


@attrs.frozen(kw_only=True)
class Login:
    """Credentials, and where they come from.

    Attributes:
        source: where they come from, in words, such as "the keyring".
        api_key: the key; None for a client id and secret, and for what the client reads from the environment.
    """

    source: str
    api_key: Secret | None = attrs.field(default=None, repr=False)
    client_id: str | None = None
    client_secret: Secret | None = attrs.field(default=None, repr=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `AkoolClient`."""
        return {name: value for name, value in attrs.asdict(self).items() if name != "source"}

    def stored(self) -> dict[str, str]:
        """Return what is written into a keyring or a file: the secrets themselves."""
        return {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in self.arguments.items()
            if value is not None
        }

    @classmethod
    def read(cls, found: Mapping[str, Any], source: str) -> Login | None:
        """Return the login that was stored; None if it is not whole."""
        texts = {name: value for name, value in found.items() if isinstance(value, str) and value}
        if "api_key" in texts:
            return cls(source=source, api_key=hide(texts["api_key"]))
        if texts.keys() >= {"client_id", "client_secret"}:
            secret = hide(texts["client_secret"])
            return cls(source=source, client_id=texts["client_id"], client_secret=secret)
        return None


def set_variables() -> list[str]:
    """Return the variables with credentials that are set, the one that counts first."""
    names = (KEY_VARIABLE, ID_VARIABLE, SECRET_VARIABLE)
    return [name for name in names if os.environ.get(name, "").strip()]


def login_path() -> Path:
    """Return the file in the platform's folder for settings, which exists only where there is no keyring."""
    return Path(platformdirs.user_config_dir(SERVICE)) / "credentials.json"


def stored_logins(origin: str) -> Iterator[Login]:
    """Yield the logins for a host that are kept on this machine, the one to be used first.

    Raises:
        ConfigurationError: the file can't be read, or is not ours.
    """
    kept = _read_keyring(origin)
    if kept is not None:
        yield kept
    path = login_path()
    kept = Login.read(_read_file(path).get(origin, {}), f"the file {path}")
    if kept is not None:
        warn_if_shared(path)
        yield kept
    vendors = Path.home() / ".akool" / "config.json"
    if origin == PRODUCTION and vendors.is_file():  # no other host may see what was made for the vendor's
        found = _read_vendors(vendors)
        if found is not None:
            warn_if_shared(vendors)
            yield found


def known_hosts() -> list[str]:
    """Return the hosts for which the file has a login; a keyring does not list what it keeps."""
    return sorted(_read_file(login_path()))


def store_login(origin: str, login: Login) -> str:
    """Keep a login, in the place of an earlier one for this host, and return where.

    Raises:
        ConfigurationError: the file can't be written, or is not ours.
    """
    backend = open_keyring()
    if backend is not None:
        try:
            backend.set_password(SERVICE, origin, json.dumps(login.stored()))
        except Exception as error:  # noqa: BLE001 - a keyring raises what its system gives it
            print_info(f"The keyring can't be written ({type(error).__name__}): a file is used instead.")
        else:
            _write_file({name: kept for name, kept in _read_file(login_path()).items() if name != origin})
            return KEYRING
    _write_file(_read_file(login_path()) | {origin: login.stored()})
    return f"the file {login_path()}"


def remove_login(origin: str) -> list[str]:
    """Forget the login for a host, and return from where; what is not ours is left alone.

    Raises:
        ConfigurationError: the file can't be written, or is not ours.
    """
    removed = []
    backend = open_keyring()
    if backend is not None and _read_keyring(origin) is not None:
        backend.delete_password(SERVICE, origin)
        removed.append(KEYRING)
    kept = _read_file(login_path())
    if kept.pop(origin, None) is not None:
        _write_file(kept)
        removed.append(f"the file {login_path()}")
    return removed


def open_keyring() -> KeyringBackend | None:
    """Return the system's keyring; None if there is none, or the package `keyring` is not installed."""
    try:
        import keyring
    except ModuleNotFoundError:
        return None
    try:
        backend = keyring.get_keyring()
        secure = backend.priority >= _SECURE
    except Exception:  # noqa: BLE001 - a backend that can't be started counts for nothing, why ever
        return None
    return backend if secure else None


def _read_keyring(origin: str) -> Login | None:
    backend = open_keyring()
    if backend is None:
        return None
    try:
        text = backend.get_password(SERVICE, origin)
        return None if text is None else Login.read(json.loads(text), KEYRING)
    except Exception as error:  # noqa: BLE001 - locked, cancelled, no bus: each system has errors of its own
        print_info(
            f"The keyring can't be read ({type(error).__name__}); unlock it to use what is kept in it."
        )
        return None


def _read_file(path: Path) -> dict[str, Any]:
    """Return by host what the file keeps; empty if there is none."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise ConfigurationError(f"The login in {path} can't be read: {why}.") from None
    hosts = data.get("hosts") if isinstance(data, dict) and data.get("made_by") == _MARK else None
    if not isinstance(hosts, dict) or not all(isinstance(kept, dict) for kept in hosts.values()):
        raise ConfigurationError(f"{path} was not made by `akool-async login` and is left alone.")
    return hosts


def _write_file(hosts: Mapping[str, Any]) -> None:
    path = login_path()
    if not hosts and not path.exists():
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with mode 0600: no moment in which others could read it.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            json.dump({"made_by": _MARK, "hosts": hosts}, file)
        Path(file.name).replace(path)
    except OSError as error:
        raise ConfigurationError(f"The login can't be kept in {path}: {error.strerror}.") from error


def _read_vendors(path: Path) -> Login | None:
    """Read what the vendor's tool keeps: `apiKey`, or `clientId` and `clientSecret`.

    Source: programs that use that tool. Unconfirmed: which of them it writes today.
    """
    try:
        data = json.loads(path.read_bytes())
        names = {"apiKey": "api_key", "clientId": "client_id", "clientSecret": "client_secret"}
        return Login.read({names[name]: data[name] for name in names if name in data}, f"the file {path}")
    except (OSError, ValueError, TypeError):
        print_info(f"{path}, which the vendor's tool made, can't be read and is left out.")
        return None


def warn_if_shared(path: Path) -> None:
    """Say so if others on this machine can read a file with credentials: they can spend the credits."""
    if is_shared(path):
        print_info(f"Others on this machine can read {path}. Run: chmod 600 {path}")


def is_shared(path: Path) -> bool:
    """Return whether others on this machine can read a file, as far as its mode tells."""
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
