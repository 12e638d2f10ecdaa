"""Which network addresses a file host may have: public ones only, in whatever way they are written.

Pure: what a name resolves to is asked elsewhere.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_METADATA: Final = frozenset({ip_address("168.63.129.16")})
"""Of the public addresses, those that mean the machine's own cloud. Source: Azure's page on this address."""

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""IPv4 seen through a translator, as networks without IPv4 show the whole internet. Source: RFC 6052."""

_NO_HOSTS: Final = (IPv6Network("2001::/23"), IPv6Network("fec0::/10"))
"""IPv6 of tunnels and protocols, and site-local addresses."""

_NUMBERS: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)


def is_public(address: Address) -> bool:
    """Whether `address` is a host of the open internet, and so is an IPv4 address inside of it."""
    inner = _inside(address)
    if inner is not None:
        return is_public(inner)
    if address in _METADATA or not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv6Address):
        carried = address.sixtofour
        return not any(address in network for network in _NO_HOSTS) and (
            carried is None or is_public(carried)
        )
    return True


def _inside(address: Address) -> IPv4Address | None:
    """Give the IPv4 address that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return None
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


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
