"""Credentials that are kept on this machine: where, for which host, in which order, and never shown."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from akool_async._environment import PRODUCTION
from akool_async.cli.logins import Login, login_path, stored_logins
from akool_async.sandbox import Sandbox
from tests.cli.conftest import KEY, Command
from tests.cli.terminal import on_terminal

SECRET = "canary-client-secret-0123456789ab"


class MemoryKeyring(KeyringBackend):
    """A keyring that can be locked."""

    priority = 9

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise KeyringLocked("locked")
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    """A keyring that works."""
    before, backend = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


@pytest.fixture
def origin(vendor: Sandbox, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sandbox's address; no variable holds the key."""
    monkeypatch.delenv("AKOOL_API_KEY")
    return os.environ["AKOOL_API_HOST"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give a function that pipes a line in."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(f"{text}\n"))


def vendors_file(text: str, mode: int = 0o600) -> Path:
    path = Path.home() / ".akool" / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_keeps_the_key_where_there_is_no_keyring(
    akool: Command, origin: str, typed: Callable[[str], None]
) -> None:
    typed(KEY)
    told = akool("login")
    path = login_path()

    assert (told.code, f"Kept in the file {path} for {origin}. 100,000 credits are left." in told.err) == (
        0,
        True,
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert akool("credit").out == "100000\n"
    assert akool("logout").code == 0
    assert KEY not in path.read_text()
    refused = akool("credit")
    assert refused.code == 3
    assert "akool-async login" in refused.err


def test_a_keyring_comes_before_a_file(
    akool: Command, origin: str, typed: Callable[[str], None], ring: MemoryKeyring
) -> None:
    ring.locked = True
    typed(KEY)
    filed = akool("login")
    ring.locked = False
    typed(KEY)
    told = akool("login")

    assert "The keyring can't be written" in filed.err
    assert str(login_path()) in filed.err
    assert f"Kept in the keyring for {origin}" in told.err
    assert json.loads(ring.kept["akool-async", origin]) == {"api_key": KEY}
    assert KEY not in login_path().read_text(), "an earlier copy is left in the file"
    assert akool("credit").code == 0
    ring.locked = True
    locked = akool("credit")
    assert locked.code == 3
    assert "The keyring can't be read (KeyringLocked)" in locked.err
    ring.locked = False
    assert "Removed from the keyring." in akool("logout").err
    assert ring.kept == {}


def test_a_client_id_is_kept_with_its_secret(
    akool: Command, origin: str, typed: Callable[[str], None]
) -> None:
    typed(KEY)
    told = akool("login", "--client-id", "sandbox-client-id")

    assert told.code == 0, told.err
    assert akool("credit").code == 0
    (kept,) = stored_logins(origin)
    assert (kept.api_key, kept.client_id) == (None, "sandbox-client-id")
    assert KEY not in repr(kept)


def test_what_the_vendor_refuses_is_not_kept(
    akool: Command, origin: str, typed: Callable[[str], None]
) -> None:
    typed("another-canary")
    refused = akool("login", "--json")
    typed("another-canary")
    unchecked = akool("login", "--no-check")
    typed("")
    empty = akool("login")

    assert refused.code in (2, 3)
    assert "another-canary" not in refused.err + unchecked.err
    assert unchecked.code == 0
    assert (empty.code, "API key missing" in empty.err) == (2, True)


def test_a_key_goes_to_the_host_alone_for_which_it_was_kept(
    akool: Command,
    origin: str,
    typed: Callable[[str], None],
    serve: Callable[..., Sandbox],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed(KEY)
    akool("login")
    vendors_file(json.dumps({"apiKey": KEY}))
    other = serve()
    monkeypatch.delenv("AKOOL_API_KEY")
    assert os.environ["AKOOL_API_HOST"] != origin

    without = akool("credit")
    assert without.code == 3
    assert f"No credentials for {os.environ['AKOOL_API_HOST']}; a login is kept for {origin}." in without.err
    assert other.audit.requests == {}
    assert [login.source for login in stored_logins(PRODUCTION)] == [
        f"the file {Path.home()}/.akool/config.json"
    ]
    assert akool("credit", "--host", origin).code == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (json.dumps({"clientId": "id", "clientSecret": SECRET}), Login(source="", client_id="id")),
        (json.dumps({"apiKey": SECRET, "baseUrl": "x"}), Login(source="")),
        (json.dumps({"clientId": "id"}), None),
        (json.dumps([1]), None),
        ("nonsense", None),
        (json.dumps({"apiKey": 7}), None),
    ],
)
def test_the_file_of_the_vendors_tool_is_read(
    text: str, found: Login | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = vendors_file(text)
    logins = list(stored_logins(PRODUCTION))

    if found is None:
        assert logins == []
    else:
        (login,) = logins
        assert login.source == f"the file {path}"
        assert login.client_id == found.client_id
        assert SECRET in login.stored().values()
    assert ("left out" in capfd.readouterr().err) is (text == "nonsense")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"hosts": {}}', '{"made_by": "akool-async login", "hosts": {"x": 1}}']
)
def test_a_file_that_is_not_ours_is_left_alone(
    text: str, akool: Command, origin: str, typed: Callable[[str], None]
) -> None:
    login_path().parent.mkdir(parents=True)
    login_path().write_text(text)
    typed(KEY)

    for words in (["login"], ["logout"], ["credit"]):
        told = akool(*words)
        assert told.code == 2, words
        assert str(login_path()) in told.err
    assert login_path().read_text() == text


def test_files_that_others_can_read_are_told(
    akool: Command, origin: str, typed: Callable[[str], None], tmp_path: Path
) -> None:
    typed(KEY)
    akool("login")
    login_path().chmod(0o640)
    shared = akool("credit")
    login_path().chmod(0o600)
    key_file = tmp_path / "key"
    key_file.write_text(KEY)
    key_file.chmod(0o644)
    read = akool("credit", "--key-file", key_file)
    key_file.chmod(0o600)

    assert f"Run: chmod 600 {login_path()}" in shared.err
    assert f"Run: chmod 600 {key_file}" in read.err
    assert akool("credit", "--key-file", key_file).err == akool("credit").err == ""


def test_a_tilde_is_the_home_folder(akool: Command, origin: str) -> None:
    (Path.home() / "key").write_text(KEY)
    (Path.home() / "key").chmod(0o600)

    assert akool("credit", "--key-file=~/key").code == 0
    assert akool("login", "--key-file=~/key").code == 0


def test_the_doctor_tells_where_each_setting_comes_from(
    akool: Command, origin: str, typed: Callable[[str], None], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def details(*arguments: object) -> dict[str, str]:
        told = akool("doctor", "--json", "--out", out, *arguments)
        return {one["check"]: one["detail"] for one in json.loads(told.out)}

    typed(KEY)
    akool("login")
    kept = details()
    monkeypatch.setenv("AKOOL_API_KEY", KEY)
    variable = details("--host", origin, "--journal", out / "j")
    monkeypatch.delenv("AKOOL_API_KEY")
    akool("logout")
    vendors_file(json.dumps({"apiKey": SECRET}))
    vendors = details("--host", PRODUCTION.replace("https", "http"))  # refused before anything is sent

    assert f"Kept in the file {login_path()} for {origin} (hidden)." in kept["credentials"]
    assert f"{origin} (AKOOL_API_HOST)" in kept["host"]
    assert f"{out} (--out)" in kept["folder"]
    assert "(in that folder)" in kept["journal"]
    assert f"AKOOL_API_KEY is set (hidden, {len(KEY)} characters)." in variable["credentials"]
    assert f"the file {login_path()} is not used" in variable["credentials"]
    assert f"{origin} (--host)" in variable["host"]
    assert "(--journal)" in variable["journal"]
    assert SECRET not in str(vendors)


def test_the_clock_of_a_scaled_sandbox_is_no_finding(
    akool: Command, serve: Callable[..., Sandbox], out: Path
) -> None:
    serve(time_scale=5000.0)
    clock = next(
        one for one in json.loads(akool("doctor", "--json", "--out", out).out) if one["check"] == "clock"
    )

    assert clock["level"] == "ok"
    assert "runs 5000 times as fast" in clock["detail"]


def test_a_key_that_is_typed_is_not_shown(origin: str) -> None:
    shown = on_terminal("login", answers=[("API key (it is not shown):", KEY)])

    assert shown.code == 0, shown.text
    assert KEY not in shown.raw
    assert "Kept in" in shown.text
