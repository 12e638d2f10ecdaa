"""Who the caller is: which credentials are taken, and that no way of looking at them shows a secret."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from akool_async import AkoolClient
from akool_async._model.credentials import (
    HOST_VARIABLE,
    ID_VARIABLE,
    KEY_VARIABLE,
    SECRET_VARIABLE,
    ApiKey,
    ClientCredentials,
    Credentials,
    resolve_credentials,
)
from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import hide, sanitize

KEY = "canary-4f9c1b7e2a"
SECRET = "canary-90ab12cd34"
ENVIRONMENT = {KEY_VARIABLE: "env-key", ID_VARIABLE: "env-id", SECRET_VARIABLE: "env-secret"}


def chosen(environment: dict[str, str] | None = None, **given: Any) -> Credentials:
    known = {"api_key": None, "client_id": None, "client_secret": None, **given}
    hidden = {name: known[name] if name == "client_id" else hide(known[name]) for name in known}
    return resolve_credentials(**hidden, environment=(environment or {}).get)


def test_the_variables_have_the_vendors_own_names() -> None:
    assert (KEY_VARIABLE, HOST_VARIABLE) == ("AKOOL_API_KEY", "AKOOL_API_HOST")
    assert (ID_VARIABLE, SECRET_VARIABLE) == ("AKOOL_CLIENT_ID", "AKOOL_CLIENT_SECRET")


@pytest.mark.parametrize("environment", [{}, ENVIRONMENT])
def test_an_argument_goes_before_the_environment(environment: dict[str, str]) -> None:
    assert chosen(environment, api_key=KEY) == ApiKey(KEY)
    assert chosen(environment, client_id="id-1", client_secret=SECRET) == ClientCredentials("id-1", SECRET)


def test_the_key_of_the_environment_goes_before_the_pair() -> None:
    assert chosen(ENVIRONMENT) == ApiKey("env-key")


@pytest.mark.parametrize("key", [{}, {KEY_VARIABLE: ""}, {KEY_VARIABLE: " \n"}])
def test_the_pair_of_the_environment_is_taken_where_there_is_no_key(key: dict[str, str]) -> None:
    pair = {ID_VARIABLE: "env-id", SECRET_VARIABLE: "env-secret"}

    assert chosen({**pair, **key}) == ClientCredentials("env-id", "env-secret")


def test_white_space_around_a_variable_is_taken_away() -> None:
    assert chosen({KEY_VARIABLE: " env-key\n"}) == ApiKey("env-key")
    assert chosen({ID_VARIABLE: " i\n", SECRET_VARIABLE: "\ts "}) == ClientCredentials("i", "s")


@pytest.mark.parametrize(
    "environment", [{}, dict.fromkeys(ENVIRONMENT, ""), dict.fromkeys(ENVIRONMENT, "  ")]
)
def test_without_any_credentials_it_is_said_where_they_can_come_from(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="No credentials") as caught:
        chosen(environment)

    assert "AKOOL_API_KEY" in str(caught.value)
    assert "api_key=" in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"client_id": "i"},
        {"client_secret": SECRET},
        {"client_id": "i", "client_secret": SECRET},
        {"client_id": ""},
    ],
)
def test_two_kinds_of_credentials_at_once_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        chosen(api_key=KEY, **given)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"client_id": "i"}, "client_secret is missing"),
        ({"client_secret": SECRET}, "client_id is missing"),
        ({"client_id": "", "client_secret": SECRET}, "client_id is missing"),
        ({"client_id": "i", "client_secret": ""}, "client_secret is missing"),
    ],
)
def test_half_a_pair_is_refused_and_never_filled_up_from_the_environment(
    given: dict[str, str], missing: str
) -> None:
    with pytest.raises(ConfigurationError, match=missing) as caught:
        chosen(ENVIRONMENT, **given)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({ID_VARIABLE: "i"}, "AKOOL_CLIENT_SECRET is missing"),
        ({SECRET_VARIABLE: SECRET, ID_VARIABLE: " "}, "AKOOL_CLIENT_ID is"),
    ],
)
def test_half_a_pair_in_the_environment_is_refused(environment: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        chosen(environment)


def test_an_empty_key_as_argument_is_refused_and_not_replaced_by_the_environments() -> None:
    with pytest.raises(ConfigurationError, match="api_key must be printable"):
        chosen(ENVIRONMENT, api_key="")


MAKERS: dict[str, Callable[[Any], Credentials]] = {
    "api_key": ApiKey,
    "client_id": lambda value: ClientCredentials(value, "secret-1"),
    "client_secret": lambda value: ClientCredentials("id-1", value),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "value",
    [
        "",
        None,
        7,
        b"canary-bytes",
        "canary\n",
        "canary\r\nx-evil: 1",
        "canary\x00",
        "canäry",
        " canary",
        "canary ",
        ["canary"],
    ],
)
def test_what_can_not_be_a_header_is_refused_and_not_shown(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MAKERS[name](value)

    assert str(caught.value).startswith(name)
    assert "can" not in str(caught.value)


@pytest.mark.parametrize("name", ["client_id", "client_secret"])
def test_a_pair_of_other_types_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be printable"):
        chosen(**{"client_id": "i", "client_secret": "s", name: 12345})


CANARIES = (ApiKey(KEY), ClientCredentials("id-1", SECRET))


@pytest.mark.parametrize("credentials", CANARIES)
@pytest.mark.parametrize(
    "show", [repr, str, format, "{0!s} {0!r} {0}".format, lambda c: f"{[c]} { ({'a': c}) }"]
)
def test_no_text_of_credentials_shows_the_secret(
    credentials: Credentials, show: Callable[[object], str]
) -> None:
    assert "canary" not in show(credentials)
    assert type(credentials).__name__ in show(credentials)


@pytest.mark.parametrize("credentials", CANARIES)
def test_no_traceback_shows_the_secret(credentials: Credentials) -> None:
    found = credentials
    try:
        raise RuntimeError(f"{found}")
    except RuntimeError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)

    assert "canary" not in "".join(told.format())


@pytest.mark.parametrize("credentials", CANARIES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_credentials_can_not_be_pickled(credentials: Credentials, protocol: int) -> None:
    with pytest.raises(TypeError, match="can't be pickled, because the pickle would contain it") as caught:
        pickle.dumps([credentials], protocol)

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("credentials", CANARIES)
def test_credentials_refuse_to_be_copied_and_say_what_to_do(credentials: Credentials) -> None:
    with pytest.raises(TypeError, match="Build the object again"):
        copy.deepcopy(credentials)


@pytest.mark.parametrize("credentials", CANARIES)
def test_credentials_do_not_change(credentials: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        credentials.api_key = "other"


def test_what_credentials_hold_is_hidden_in_the_texts_of_others() -> None:
    assert sanitize(f"bad {KEY} and {SECRET}") == "bad [redacted] and [redacted]"


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": f" {KEY}"},
        {"api_key": f"{KEY}ä"},
        {"api_key": KEY, "client_secret": SECRET},
        {"client_secret": SECRET},
        {"client_id": "i", "client_secret": f"{SECRET}\n"},
    ],
)
def test_no_local_variable_of_a_refusal_shows_the_secret(given: dict[str, str]) -> None:
    hidden = {name: value if name == "client_id" else hide(value) for name, value in given.items()}
    del given
    with pytest.raises(ConfigurationError) as caught:
        AkoolClient(**hidden)

    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "canary" not in "".join(frames.format())


@pytest.mark.parametrize("given", [{}, {"client_id": "i"}])
def test_no_local_variable_of_a_refusal_shows_the_environment(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    monkeypatch.delenv(ID_VARIABLE, raising=False)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError) as caught:
        AkoolClient(**given)

    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "canary" not in "".join(frames.format())
