"""Which addresses a webhook may be delivered to.

A URL that somebody gives the service is fetched from inside the operator's network, where it could reach
databases, dashboards and the cloud's metadata. So every address that a delivery connects to must be public, one
that the caller could have reached without us, and none of this machine. What is listed in `EVOLVE_WEBHOOK_ALLOW` is
exempt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6
from typing import TypeAlias

import httpx
import psutil

from api.webhooks.resolving import resolve
from evolve.exceptions import InputError
from evolve.formatting import clean

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

RESOLVE_SECONDS = 10.0
MAX_URL = 2048
MAX_PORT = 65535
_SHOWN = 200
_NAME = re.compile(r"(?=.*[a-z])[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")

_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that is handed out; the rest is local, reserved or multicast
_NAT64 = IPv6Network("64:ff9b::/96")
# Python's `is_global` differs between patch releases and lets through multicast, 6to4 and others; these are
# looked up beside it. The IANA registries of special addresses are the source.
_SPECIAL: tuple[Network, ...] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("168.63.129.16/32"),  # looks public, but is the inside of a cloud's hosts
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.31.196.0/24"),
    IPv4Network("192.52.193.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("192.175.48.0/24"),
    IPv4Network("224.0.0.0/3"),  # multicast, reserved, broadcast
    IPv6Network("2001::/23"),  # protocol assignments, among them Teredo, which hides an IPv4 address
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4 hides an IPv4 address
    IPv6Network("2620:4f:8000::/48"),
    IPv6Network("3fff::/20"),
)


def plain(address: Address) -> Address:
    """The IPv4 address behind an IPv4-mapped or a NAT64 one; any other as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet may reach this address: not private, local, shared, reserved or multicast."""
    address = plain(address)
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def own_addresses() -> frozenset[Address]:
    """The addresses of this machine's network interfaces now: public or not, what listens there may trust them."""
    entries = [entry for interface in psutil.net_if_addrs().values() for entry in interface]
    texts = (entry.address.partition("%")[0] for entry in entries if entry.family in (AF_INET, AF_INET6))
    return frozenset(ip_address(text) for text in texts)


def check_url(url: str) -> httpx.URL:
    """Parse the URL of a webhook.

    Raises:
        InputError: if it is not a plain http or https URL.
    """
    shown = clean(url)[:_SHOWN]
    if len(url) > MAX_URL:
        raise InputError(f"webhook {shown}...: must have {MAX_URL} characters at most, but got {len(url)}")
    if not url.isprintable() or " " in url or "\\" in url:
        raise InputError(f"webhook {shown}: must not hold blanks, control characters or \\; correct the URL")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise InputError(f"webhook {shown}: must be a URL ({clean(str(error))}); correct it") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError(f"webhook {shown}: must begin with http:// or https:// and a host; correct the URL")
    if parsed.userinfo:
        raise InputError(
            f"webhook {clean(parsed.host)}: must hold no name or password, but got one; the receiver can tell a "
            "delivery by its signature"
        )
    if not 0 < port_of(parsed) <= MAX_PORT:
        raise InputError(f"webhook {shown}: port must be 1 to {MAX_PORT}, but got {parsed.port}; correct the URL")
    return parsed


def port_of(url: httpx.URL) -> int:
    """The port that a URL stands for."""
    return (443 if url.scheme == "https" else 80) if url.port is None else url.port


@dataclass(frozen=True)
class AddressGuard:
    """Turns the host of a webhook into addresses that may be connected to.

    Attributes:
        names: Hosts that may resolve to any address.
        networks: Addresses that need not be public.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> AddressGuard:
        """Read `EVOLVE_WEBHOOK_ALLOW`: hosts, addresses and networks (CIDR) with commas between them.

        Raises:
            InputError: if an entry is none of these.
        """
        names: set[str] = set()
        networks: list[Network] = []
        for entry in filter(None, (part.strip().lower() for part in text.split(","))):
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                if not _NAME.fullmatch(entry):
                    raise InputError(
                        "EVOLVE_WEBHOOK_ALLOW: must be hosts, addresses or networks with commas between them, "
                        f"but got {clean(entry)[:_SHOWN]!r}; correct or unset it"
                    ) from None
                names.add(entry.rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def addresses(self, host: str, port: int, seconds: float = RESOLVE_SECONDS) -> list[str]:
        """Resolve a host and return where to connect to, best first.

        One forbidden address among several refuses the host: which of them a connection takes must not matter.

        Args:
            host: A name or an address.
            port: Where to.
            seconds: How long the resolution may take.

        Raises:
            InputError: if the host has no address, or one that is not public and not listed.
        """
        try:
            addresses = resolve(host, port, seconds)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"webhook host {clean(host)}: must resolve to an address, but {reason}") from None
        if host.lower().rstrip(".") in self.names:
            return addresses
        own = own_addresses()
        for address in addresses:
            if not self._admits(ip_address(address), own):
                whose = ", of this machine" if plain(ip_address(address)) in own else ""
                raise InputError(
                    f"webhook host {clean(host)}: must have public addresses only, but one is {address}{whose}; "
                    "if it is meant, let EVOLVE_WEBHOOK_ALLOW list the host or the network"
                )
        return addresses

    def _admits(self, address: Address, own: frozenset[Address]) -> bool:
        judged = plain(address)
        listed = any(judged in network or address in network for network in self.networks)
        return listed or (is_public(address) and judged not in own)
