"""The clock, and the way to a policy host: the one place where a sandbox puts something of its own."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import dns.asyncresolver

HTTPS_PORT = 443
SMTP_PORT = 25


async def resolve(name: str, resolver: dns.asyncresolver.Resolver | None = None) -> list[str]:
    """Return the addresses of a name, of both families; by default the machine's own resolver is asked.

    Raises dns.exception.DNSException where that can't be told.
    """
    import dns.asyncresolver  # noqa: PLC0415  heavy, and only a barrier needs it
    import dns.resolver  # noqa: PLC0415

    asked = resolver or dns.asyncresolver.get_default_resolver()
    found: list[str] = []
    for kind in ("A", "AAAA"):
        try:
            answer = await asked.resolve(name, kind)
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            continue
        found += [record.to_text() for record in answer]
    return found


async def _https_addresses(name: str) -> list[tuple[str, int]]:
    return [(address, HTTPS_PORT) for address in await resolve(name)]


async def _mail_addresses(host: str) -> list[tuple[str, int]]:
    return [(address, SMTP_PORT) for address in await resolve(host)]


@dataclass(frozen=True, slots=True)
class Outside:
    """What lies outside of the program: time in seconds, waiting, and the addresses of HTTPS and of MX hosts."""

    now: Callable[[], float] = time.time
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    addresses: Callable[[str], Awaitable[list[tuple[str, int]]]] = _https_addresses
    mail_addresses: Callable[[str], Awaitable[list[tuple[str, int]]]] = _mail_addresses
    ca_file: Path | None = None


_current = Outside()


def outside() -> Outside:
    """Return the outside in use."""
    return _current


def use(replacement: Outside) -> None:
    """Use another outside from now on."""
    global _current  # noqa: PLW0603  one program, one outside
    _current = replacement
