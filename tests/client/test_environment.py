"""Whatever the environment says, the client works or names the variable that is wrong, in one sentence."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from akool_async import AkoolClient, ConfigurationError, ConnectError
from akool_async._environment import proxy_for
from tests.client.conftest import KEY, QUICK, Way, stray
from tests.client.moments import address, closed_port

VARIABLES = [f"{name}_PROXY" for name in ("HTTP", "HTTPS", "ALL", "NO")] + [
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "AKOOL_API_HOST", "AKOOL_API_KEY")
]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


async def opened(**options: object) -> None:
    async with AkoolClient(**{"api_key": KEY} | options):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:1080", "socks5://"),
        ("https_proxy", "ftp://127.0.0.1:21", "which can't be used"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:1080", "socksio"),
        ("HTTPS_PROXY", "http://[bad", "not the URL of a proxy"),
        ("HTTPS_PROXY", "http://", "not the URL of a proxy"),
        ("HTTPS_PROXY", "http://host:99999", "not the URL of a proxy"),
        ("SSL_CERT_FILE", "/nope.pem", "/nope.pem"),
        ("SSL_CERT_FILE", __file__, "holds no certificates"),
        ("SSL_CERT_DIR", "/nope", "/nope"),
        ("SSLKEYLOGFILE", "/nope/keys.log", "can't be written"),
        ("AKOOL_API_HOST", "127.0.0.1:8321", "http://127.0.0.1:8321"),
        ("AKOOL_API_HOST", "localhost", "http://localhost"),
        ("AKOOL_API_HOST", "ftp://openapi.akool.com", "must look like"),
        ("AKOOL_API_HOST", "http://openapi.akool.com", "plain http"),
    ],
)
async def test_a_variable_that_can_not_be_used_is_named(
    clean: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    clean.setenv(variable, value)

    with pytest.raises(ConfigurationError) as caught:
        await opened()

    assert variable in caught.value.message
    assert words in str(caught.value)
    assert caught.value.message.count(". ") == 0


@pytest.mark.parametrize("variable", ["AKOOL_API_KEY", "AKOOL_CLIENT_SECRET"])
async def test_a_secret_that_can_not_be_sent_is_named_and_not_shown(
    clean: pytest.MonkeyPatch, variable: str
) -> None:
    clean.setenv("AKOOL_CLIENT_ID", "someone")
    clean.setenv(variable, "canary\u200bcanary")

    with pytest.raises(ConfigurationError, match=variable) as caught:
        AkoolClient()

    assert "canary" not in str(caught.value)


async def test_a_key_with_a_byte_order_mark_works(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("AKOOL_API_KEY", f"\ufeff{KEY}\r\n")

    sent: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["x-api-key"])
        return httpx.Response(200, json={"code": 1000, "data": {"credit": 7}})

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        AkoolClient(http_client=http) as client,
    ):
        assert await client.credit() == 7

    assert sent == [KEY]


async def test_secrets_of_a_proxy_are_not_shown(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("HTTPS_PROXY", "http://user:canary@127.0.0.1:9")

    proxy = proxy_for("https://openapi.akool.com")

    assert str(proxy) == "http://127.0.0.1:9 (HTTPS_PROXY)"
    assert "canary" not in repr(proxy)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("[::1],fd00::/8", "[fd00::7]", True),
        ("[::1],fd00::/8", "[fe00::7]", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8 , example.com", "api.example.com", True),
        (".example.com", "api.example.com", True),
        ("*", "example.org", True),
        ("[fe80,::/999,%,", "example.org", False),
        ("", "127.0.0.1", True),
        ("", "localhost", True),
    ],
)
async def test_no_proxy_may_hold_names_addresses_and_networks(
    clean: pytest.MonkeyPatch, no_proxy: str, host: str, direct: bool
) -> None:
    clean.setenv("ALL_PROXY", "http://127.0.0.1:9")
    clean.setenv("NO_PROXY", no_proxy)

    assert (proxy_for(f"https://{host}:443/path") is None) is direct
    await opened()


async def test_a_proxy_that_is_not_there_is_named_instead_of_the_api(
    clean: pytest.MonkeyPatch, way: Way
) -> None:
    if way.name.startswith("injected"):
        pytest.skip("a caller's own client has its own proxies")
    with closed_port() as port:
        clean.setenv("HTTPS_PROXY", address(port))
        async with stray(way, "https://openapi.akool.invalid") as client:
            with pytest.raises(ConnectError) as caught:
                await client.credit()

        assert f"the proxy {address(port)} (HTTPS_PROXY)" in caught.value.message
    assert "HTTPS_PROXY" in caught.value.advice


async def test_certificates_of_the_environment_count_for_this_machine_too(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    from tests.client.raw import RawVendor

    class Secure(RawVendor):
        def answer(self, connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                super().answer(secure)

    with Secure(lambda _: b"").serve() as vendor:
        clean.setenv("SSL_CERT_FILE", str(file))
        async with AkoolClient(api_key=KEY, host=vendor.url.replace("http", "https"), retry=QUICK) as client:
            snapshot = await client.status("66160f989dfc997ac2890001")

    assert snapshot.job_id == "66160f989dfc997ac2890001"
