"""MX hosts: real SMTP with STARTTLS, one ephemeral port a host and address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP

from sandbox.world.internet import MAIL_HOSTS

if TYPE_CHECKING:
    from sandbox.world.authority import Authority
    from sandbox.world.faults import Faults


class Mailboxes:
    """Takes every mail and counts it by MX host."""

    def __init__(self) -> None:
        self.received: dict[str, int] = {}

    def handler(self, host: str) -> _Handler:
        """Return the aiosmtpd handler of one host."""
        return _Handler(self, host)


class _Handler:
    def __init__(self, boxes: Mailboxes, host: str) -> None:
        self._boxes = boxes
        self._host = host

    async def handle_DATA(self, *_: Any) -> str:  # noqa: N802  aiosmtpd's name
        """Accept one mail."""
        self._boxes.received[self._host] = self._boxes.received.get(self._host, 0) + 1
        return "250 2.0.0 taken"


async def start_mail_hosts(
    addresses: list[str], authority: Authority, faults: Faults, boxes: Mailboxes
) -> dict[str, dict[str, int]]:
    """Start every MX host on every address; return the ports by host and address."""
    loop = asyncio.get_running_loop()
    ports: dict[str, dict[str, int]] = {}
    for host in MAIL_HOSTS:
        ports[host] = {}
        for address in addresses:

            def session(host: str = host) -> asyncio.Protocol:
                return _session(host, authority, faults, boxes)

            server = await loop.create_server(session, address, 0)
            ports[host][address] = server.sockets[0].getsockname()[1]
    return ports


def _session(host: str, authority: Authority, faults: Faults, boxes: Mailboxes) -> asyncio.Protocol:
    """Return one SMTP session, with the fault that is in force now."""
    fault = faults.mail.get(host, "")
    if fault == "refused":
        return _Refusing()
    if fault == "silent":
        return asyncio.Protocol()  # takes the connection, and says nothing
    context = None if fault == "no-starttls" else authority.context((host,), fault)
    session: asyncio.Protocol = SMTP(
        boxes.handler(host), hostname=host, tls_context=context, loop=asyncio.get_running_loop()
    )
    return session


class _Refusing(asyncio.Protocol):
    """A host that closes each connection at once."""

    def connection_made(self, transport: Any) -> None:
        transport.abort()
