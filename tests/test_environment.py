"""Where credentials may go: one origin, plain http to this machine only, no tricks with names."""

from __future__ import annotations

import pytest

from akool_async._environment import PRODUCTION, is_loopback, parse_origin
from akool_async._model.errors import ConfigurationError


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (PRODUCTION, "https://openapi.akool.com"),
        ("openapi.akool.com", "https://openapi.akool.com"),
        (" openapi.akool.com\n", "https://openapi.akool.com"),
        ("https://openapi.akool.com/", "https://openapi.akool.com"),
        ("HTTPS://OpenAPI.Akool.COM", "https://openapi.akool.com"),
        ("https://openapi.akool.com:8443", "https://openapi.akool.com:8443"),
        ("openapi.akool.com:443", "https://openapi.akool.com:443"),
        ("https://xn--r8jz45g.test", "https://xn--r8jz45g.test"),
        ("https://my_host", "https://my_host"),
        ("https://93.184.215.14", "https://93.184.215.14"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://LOCALHOST", "http://localhost"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[0:0:0:0:0:0:0:1]"),
    ],
)
def test_a_host_is_an_origin(host: str, origin: str) -> None:
    assert parse_origin(host) == origin
    assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "https://",
        "://openapi.akool.com",
        "//openapi.akool.com",
        "ftp://openapi.akool.com",
        "wss://openapi.akool.com",
        "javascript:alert(1)",
        "https://:443",
        "https://openapi.akool.com:0",
        "https://openapi.akool.com:70000",
        "https://openapi.akool.com:port",
        "https://open api.akool.com",
        "https://openapi.akool.com\n.evil.test",
        "https://open\tapi.akool.com",
        "https://openapi.akool.com\x00.evil.test",
        "\x00https://openapi.akool.com",
        "https://openapi.akool.com\\.evil.test",
        "https://openapi.akool.com%2eevil.test",
        "https://%6fpenapi.akool.com",
        "https://openapi..akool.com",
        "https://.akool.com",
        "https://openapi.аkool.com",  # a Cyrillic letter
        "https://例え.test",
        "https://openapi。akool.com",
        "https://openapi.akool.com\u200b",
        "https://\u202emoc.looka",
        "https://[::1",
        "https://[openapi.akool.com]",
        "https://[v1.akool]",
        "https://[::1%25eth0]",
        "https://[fe80::1%eth0]",
    ],
)
def test_what_is_no_host_is_refused_on_one_printable_line(host: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_origin(host)

    assert str(caught.value).isprintable()
    assert "Nothing was sent" in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "https://openapi.akool.com@evil.test",
        "https://openapi.akool.com:canary@evil.test",
        "https://openapi.akool.com\\@evil.test",
        "user:canary@openapi.akool.com",
        "https://openapi.akool.com/api",
        "openapi.akool.com/api/open/v3",
        "https://openapi.akool.com/?key=canary",
        "https://openapi.akool.com?key=canary",
        "https://openapi.akool.com#canary",
        "https://evil.test#@openapi.akool.com",
    ],
)
def test_more_than_an_origin_is_refused_and_its_secrets_are_not_shown(host: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_origin(host)

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "http://openapi.akool.com",
        "http://2130706433",
        "http://0x7f000001",
        "http://0x7f.1",
        "http://017700000001",
        "http://127.1",
        "http://127.0.0.01",
        "http://127.0.0.1.evil.test",
        "http://localhost.evil.test",
        "http://evillocalhost",
        "http://localhost.",
        "http://akool.localhost",
        "http://0.0.0.0",
        "http://[::]",
        "http://[::2]",
        "http://[2001:db8::1]",
        "http://10.0.0.1",
        "http://192.168.1.1",
        "http://169.254.169.254",
    ],
)
def test_plain_http_to_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is plain http") as caught:
        parse_origin(host)

    assert "Use https" in str(caught.value)


@pytest.mark.parametrize(
    "host", ["http://１２７.0.0.1", "http://127。0。0。1", "http://ⓛocalhost", "http://localhoﬆ"]
)
def test_letters_that_only_look_like_this_machine_are_refused(host: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_origin(host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.255.254", "::1"])
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost.test",
        "localhostx",
        "a.localhost",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0.0.0.0",
        "::",
        "8.8.8.8",
        "127.0.0.1.nip.io",
    ],
)
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_loopback(host)


def test_a_huge_host_is_refused_with_a_short_text() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_origin("https://" + "a b" * 100_000)

    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("host", "surplus"),
    [
        ("https://user@openapi.akool.com", "without a user or password."),
        ("https://user:canary@openapi.akool.com", "without a user or password."),
        ("https://@openapi.akool.com", "without a user or password."),
        ("https://openapi.akool.com/api", "without a path."),
        ("https://openapi.akool.com/?key=canary", "without a query."),
        ("https://openapi.akool.com#canary", "without a fragment."),
        ("https://user:canary@openapi.akool.com/?canary", "without a user or password and without a query."),
    ],
)
def test_what_has_to_go_from_a_host_is_named_and_not_shown(host: str, surplus: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_origin(host)

    assert surplus in str(caught.value)
    assert "canary" not in str(caught.value)
