"""Authoritative DNS for every zone of the world, in real packets over UDP and TCP."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from mta_sts import txt_presentation, txt_value
from sandbox.world.internet import MAIL_HOSTS, NEGATIVE_TTL

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.world.cloudflare import Cloudflare
    from sandbox.world.faults import Faults

_AUTOMATIC_TTL = 300
_EDGE_TTL = 60
_MOST_CNAMES = 8
_UDP_LIMIT = 512


class Zones:
    """What DNS says: the records of the Cloudflare zones, and the addresses of the world's servers."""

    def __init__(self, cloudflare: Cloudflare, edge_names: Callable[[], set[str]], addresses: list[str]) -> None:
        self._cloudflare = cloudflare
        self._edge_names = edge_names
        self._addresses = addresses

    def at(self, name: str) -> list[tuple[str, int, str]]:
        """Return (type, TTL, presentation) of each record that stands at a name."""
        found = [_presented(record) for record in self._cloudflare.records if record["name"] == name]
        if name in MAIL_HOSTS or name in self._edge_names():
            found += [("AAAA" if ":" in address else "A", _EDGE_TTL, address) for address in self._addresses]
        if name in self._cloudflare.zones:
            soa = f"ns.sandbox.invalid. dns.sandbox.invalid. 1 10000 2400 604800 {NEGATIVE_TTL}"
            found += [("SOA", NEGATIVE_TTL, soa), ("NS", 86_400, "ns.sandbox.invalid.")]
        return found or self._wildcard(name)

    def _wildcard(self, name: str) -> list[tuple[str, int, str]]:
        if self._below(name):
            return []  # an empty non-terminal stops the wildcard (RFC 4592 §2.2)
        _, _, parent = name.partition(".")
        while parent:
            found = [_presented(record) for record in self._cloudflare.records if record["name"] == f"*.{parent}"]
            if found:
                return found
            if any(record["name"] == parent for record in self._cloudflare.records):
                return []
            _, _, parent = parent.partition(".")
        return []

    def _below(self, name: str) -> bool:
        return any(record["name"].endswith(f".{name}") for record in self._cloudflare.records)

    def zone(self, name: str) -> str:
        """Return the zone that holds a name, empty for a name outside of all."""
        holding = [zone for zone in self._cloudflare.zones if name == zone or name.endswith(f".{zone}")]
        return max(holding, key=len, default="")

    def resolve(self, name: str, kind: str) -> tuple[list[tuple[str, str, int, str]], bool]:
        """Return the answer with its CNAME chain as (name, type, TTL, presentation), and whether the name exists."""
        answer: list[tuple[str, str, int, str]] = []
        for _ in range(_MOST_CNAMES):
            here = self.at(name)
            answer += [(name, *record) for record in here if record[0] == kind]
            cname = next((record for record in here if record[0] == "CNAME"), None)
            if cname is None or kind == "CNAME":
                return answer, bool(here) or self._below(name)
            answer.append((name, *cname))
            name = cname[2].rstrip(".").lower()
        return answer, True


def _presented(record: dict[str, Any]) -> tuple[str, int, str]:
    content = record["content"]
    kind = record["type"]
    if kind == "TXT":
        content = txt_presentation(txt_value(content))
    elif kind == "MX":
        content = f"{record['priority']} {content}."
    elif kind in ("CNAME", "NS"):
        content = f"{content}."
    return kind, _AUTOMATIC_TTL if record["ttl"] == 1 else record["ttl"], content


class DnsServer(asyncio.DatagramProtocol):
    """Answers queries from `Zones`."""

    def __init__(self, zones: Zones, faults: Faults) -> None:
        self._zones = zones
        self._faults = faults
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> int:
        """Listen on a free loopback port, the same for UDP and TCP, and return it."""
        loop = asyncio.get_running_loop()
        tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", 0)
        port: int = tcp.sockets[0].getsockname()[1]
        await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", port))
        return port

    def connection_made(self, transport: Any) -> None:
        """Keep the socket to answer through."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answer one UDP query, truncated where it does not fit."""
        reply = self._answer(data)
        if reply is None or self._transport is None:
            return
        query = dns.message.from_wire(data)
        size = max(query.payload, _UDP_LIMIT) if query.edns >= 0 else _UDP_LIMIT
        try:
            wire = reply.to_wire(max_size=size)
        except dns.exception.TooBig:
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.TC
            wire = reply.to_wire()
        self._transport.sendto(wire, addr)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                reply = self._answer(await reader.readexactly(length))
                if reply is None:
                    return
                wire = reply.to_wire(max_size=65_535)
                writer.write(struct.pack("!H", len(wire)) + wire)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _answer(self, data: bytes) -> dns.message.Message | None:
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        reply = dns.message.make_response(query, recursion_available=True)
        reply.flags |= dns.flags.AA
        fault = self._faults.dns.get(name, "")
        if fault == "silent":
            return None
        if fault == "servfail":
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply
        answer, exists = self._zones.resolve(name, kind)
        for owner, found, ttl, text in answer:
            rrset = reply.find_rrset(
                reply.answer, dns.name.from_text(owner), dns.rdataclass.IN, dns.rdatatype.from_text(found), create=True
            )
            rrset.update_ttl(ttl)
            rrset.add(dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(found), text))
        if not any(found == kind for _, found, _, _ in answer):
            zone = self._zones.zone(answer[-1][3].rstrip(".") if answer else name)
            if zone:
                soa = next(record for record in self._zones.at(zone) if record[0] == "SOA")
                reply.authority.append(dns.rrset.from_text(f"{zone}.", soa[1], "IN", "SOA", soa[2]))
            if not exists:
                reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply
