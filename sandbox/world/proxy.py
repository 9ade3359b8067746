"""A CONNECT proxy for clients that insist on ports 443 and 25: it leads to the world's servers, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Proxy:
    """Maps `host:port` to a loopback port by the given function; what it does not know is refused."""

    def __init__(self, port_of: Callable[[str, int], int | None]) -> None:
        self._port_of = port_of

    async def start(self) -> int:
        """Listen on a free loopback port and return it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[0].split(" ")
            host, _, port = head[1].rpartition(":") if len(head) > 1 else ("", "", "")
            known = self._port_of(host.lower(), int(port)) if head[0] == "CONNECT" and port.isdigit() else None
            if known is None:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n")
            else:
                there_reader, there_writer = await asyncio.open_connection("127.0.0.1", known)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(16_384):
            writer.write(data)
            await writer.drain()
    writer.close()
