"""The clock, and the way to a policy host: the one place where a sandbox puts something of its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

HTTPS_PORT = 443
SMTP_PORT = 25


async def _resolve(name: str, port: int = HTTPS_PORT) -> list[tuple[str, int]]:
    """Return the addresses of a name, of both families, as (address, port)."""
    import dns.asyncresolver  # noqa: PLC0415  heavy, and only a barrier needs it
    import dns.resolver  # noqa: PLC0415

    found: list[tuple[str, int]] = []
    for kind in ("A", "AAAA"):
        try:
            answer = await dns.asyncresolver.resolve(name, kind)
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            continue
        found += [(record.to_text(), port) for record in answer]
    return found


async def _resolve_mail(name: str) -> list[tuple[str, int]]:
    return await _resolve(name, SMTP_PORT)


@dataclass(frozen=True, slots=True)
class Outside:
    """What lies outside of the program: time in seconds, waiting, and the addresses of HTTPS and of MX hosts."""

    now: Callable[[], float] = time.time
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    addresses: Callable[[str], Awaitable[list[tuple[str, int]]]] = _resolve
    mail_addresses: Callable[[str], Awaitable[list[tuple[str, int]]]] = _resolve_mail
    ca_file: Path | None = None


_current = Outside()


def outside() -> Outside:
    """Return the outside in use."""
    return _current


def use(replacement: Outside) -> None:
    """Use another outside from now on."""
    global _current  # noqa: PLW0603  one program, one outside
    _current = replacement
