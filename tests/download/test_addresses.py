"""Which addresses a file host may have, in every way of writing them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from akool_async._download.network import is_legacy_ipv4, is_local, is_public, parse_ip

PRIVATE = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 100.127.255.254 127.0.0.1 127.1.2.3
    168.63.129.16 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1
    192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:7f00:1 64:ff9b::7f00:1
    64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe:: 2002:808:808::1
    fc00::1 fd00::1     fd00:ec2::254 fe80::1 fe80::a9fe:a9fe fec0::1 ff02::1 3fff::1
""".split()

PUBLIC = """
    1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 172.32.0.1 192.0.3.1 223.255.255.254
    2606:4700:4700::1111 2001:4860:4860::8888 2a00:1450:4001:830::200e ::ffff:8.8.8.8 64:ff9b::808:808
""".split()


@pytest.mark.parametrize("address", PRIVATE)
def test_is_no_file_host(address: str) -> None:
    assert not is_public(ip_address(address))
    assert is_local(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_may_be_a_file_host(address: str) -> None:
    assert is_public(ip_address(address))
    assert not is_local(address)


@pytest.mark.parametrize(
    "host",
    "2130706433 0x7f000001 017700000001 127.1 127.0.1 0x7f.1 0177.0.0.1 0x7F.0x0.0x0.0x1 127.0.0.1. 1 0 "
    "0xa9fea9fe 2852039166 025177524776 0x7f.0.0.01".split(),
)
def test_an_address_in_an_old_spelling_is_seen(host: str) -> None:
    assert is_legacy_ipv4(host)


@pytest.mark.parametrize(
    "host", ["1.2.3.4", "a.example", "1.example", "0x.example", "::1", "xn--80ak6aa92e.com"]
)
def test_names_and_plain_addresses_are_no_disguise(host: str) -> None:
    assert not is_legacy_ipv4(host)


def test_a_zone_does_not_hide_an_address() -> None:
    assert parse_ip("fe80::1%eth0") == ip_address("fe80::1")
    assert is_local("fe80::1%eth0")
