"""Which network addresses a file host may have: public ones only, in whatever way they are written.

Pure: what a name resolves to is asked elsewhere.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_METADATA: Final = frozenset({ip_address("168.63.129.16")})
"""Of the public addresses, those that mean the machine's own cloud. Source: Azure's page on this address."""

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""IPv4 seen through a translator, as networks without IPv4 show the whole internet. Source: RFC 6052."""

_NO_HOSTS: Final = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24 192.88.99.0/24 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 "
        "2002::/16 fec0::/10"
    ).split()
)
"""Networks for protocols, tunnels, examples and sites; not every Python counts all of them as not global.
Source: the special-purpose address registries of IANA."""

_NUMBERS: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)

_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.IGNORECASE)


def is_public(address: Address) -> bool:
    """Whether `address` is a host of the open internet, and so is an IPv4 address inside of it."""
    inner = _inside(address)
    if inner is not None:
        return is_public(inner)
    if address in _METADATA or not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _NO_HOSTS)


def _inside(address: Address) -> IPv4Address | None:
    """Give the IPv4 address that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return None
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


def is_host(host: str) -> bool:
    """Whether `host` is an address or can be a name as it is sent: ASCII, without anything strange."""
    return literal(host) is not None or _NAME.fullmatch(host) is not None


def literal(host: str) -> Address | None:
    """Give the address that `host` is written as; None for a name."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def is_disguised(host: str) -> bool:
    """Whether `host` is an IPv4 address in a form that only old resolvers read, such as 0x7f.1."""
    return literal(host) is None and _NUMBERS.fullmatch(host) is not None


def is_local(host: str) -> bool:
    """Whether `host` is written as an address that is not public."""
    address = literal(host)
    return address is not None and not is_public(address)
