"""Authoritative DNS for every zone of the world, in real packets over UDP and TCP."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from mta_sts import txt_presentation, txt_value
from sandbox.world.internet import MAIL_HOSTS, NAME_SERVERS, NEGATIVE_TTL

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.world.cloudflare import Cloudflare
    from sandbox.world.faults import Faults

_AUTOMATIC_TTL = 300
_EDGE_TTL = 60
_MOST_CNAMES = 8
_UDP_LIMIT = 512
_PORT_TRIES = 10


class LoopError(Exception):
    """CNAME records that lead nowhere."""


class Zones:
    """What DNS says: the records of the Cloudflare zones, and the addresses of the world's servers."""

    def __init__(self, cloudflare: Cloudflare, edge_names: Callable[[], set[str]], addresses: list[str]) -> None:
        self._cloudflare = cloudflare
        self._edge_names = edge_names
        self._addresses = addresses

    def at(self, name: str) -> list[tuple[str, int, str]]:
        """Return (type, TTL, presentation) of each record that stands at a name, a wildcard's included."""
        found = self._presented(self._cloudflare.at(name))
        if name in MAIL_HOSTS or name in NAME_SERVERS or name in self._edge_names():
            found += self._our_addresses(_EDGE_TTL)
        if name == ".":  # the root, which every resolver knows
            found += [("NS", 86_400, f"{server}.") for server in NAME_SERVERS]
        if name in self._cloudflare.zones:
            soa = f"{NAME_SERVERS[0]}. dns.cloudflare.com. 1 10000 2400 604800 {NEGATIVE_TTL}"
            found += [("SOA", NEGATIVE_TTL, soa), *(("NS", 86_400, f"{server}.") for server in NAME_SERVERS)]
        return found if found or self.exists(name) else self._wildcard(name)

    def exists(self, name: str) -> bool:
        """Whether a name stands in DNS itself, with records or above some."""
        return (
            name == "."
            or self._cloudflare.exists(name)
            or name in self._cloudflare.zones
            or any(host == name or host.endswith(f".{name}") for host in (*MAIL_HOSTS, *NAME_SERVERS))
            or name in self._edge_names()
        )

    def _wildcard(self, name: str) -> list[tuple[str, int, str]]:
        """Return what a wildcard below the closest encloser gives (RFC 4592 §3.3.1)."""
        parent = name.partition(".")[2]
        while parent and not self.exists(parent):
            parent = parent.partition(".")[2]
        return self._presented(self._cloudflare.at(f"*.{parent}")) if parent else []

    def _presented(self, records: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
        # Where Cloudflare proxies, DNS shows its own edge's addresses, and nothing of the record.
        proxied = any(record["proxied"] for record in records)
        shown = [_presented(record) for record in records if not record["proxied"]]
        return shown + (self._our_addresses(_AUTOMATIC_TTL) if proxied else [])

    def _our_addresses(self, ttl: int) -> list[tuple[str, int, str]]:
        return [("AAAA" if ":" in address else "A", ttl, address) for address in self._addresses]

    def zone(self, name: str) -> str:
        """Return the zone that holds a name, empty for a name outside of all."""
        holding = [zone for zone in self._cloudflare.zones if name == zone or name.endswith(f".{zone}")]
        return max(holding, key=len, default="")

    def resolve(self, name: str, kind: str) -> tuple[list[tuple[str, str, int, str]], bool]:
        """Return the answer with its CNAME chain as (name, type, TTL, presentation), and whether the name exists.

        Raises LoopError where the chain has no end.
        """
        answer: list[tuple[str, str, int, str]] = []
        for _ in range(_MOST_CNAMES):
            here = self.at(name)
            answer += [(name, *record) for record in here if record[0] == kind]
            cname = next((record for record in here if record[0] == "CNAME"), None)
            if cname is None or kind == "CNAME":
                return answer, bool(here) or self.exists(name)
            answer.append((name, *cname))
            name = cname[2].rstrip(".").lower()
        raise LoopError(name)

    def look_up(self, name: str, kind: str) -> list[tuple[str, str, int, str]]:
        """Return only the answer; empty for a chain without end."""
        try:
            return self.resolve(name, kind)[0]
        except LoopError:
            return []


def _presented(record: dict[str, Any]) -> tuple[str, int, str]:
    content = record["content"]
    kind = record["type"]
    if kind == "TXT":
        content = txt_presentation(txt_value(content))
    elif kind in ("CNAME", "NS", "MX"):
        content = f"{content.rstrip('.')}."
    if kind == "MX":
        content = f"{record['priority']} {content}"
    return kind, _AUTOMATIC_TTL if record["ttl"] == 1 else record["ttl"], content


class DnsServer(asyncio.DatagramProtocol):
    """Answers queries from `Zones`: as the one resolver, or as one name server, which can have faults of its own."""

    def __init__(self, zones: Zones, faults: Faults, server: str = "") -> None:
        self._zones = zones
        self._faults = faults
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self, address: str = "127.0.0.1") -> int:
        """Listen on a free port of a loopback address for UDP and TCP, and return it; OSError where there is none."""
        loop = asyncio.get_running_loop()
        for left in reversed(range(_PORT_TRIES)):
            tcp = await asyncio.start_server(self._serve_tcp, address, 0)
            port: int = tcp.sockets[0].getsockname()[1]
            try:
                await loop.create_datagram_endpoint(lambda: self, (address, port))
            except OSError:  # somebody has this port for UDP
                tcp.close()
                if not left:
                    raise
            else:
                break
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
        reply = dns.message.make_response(query, recursion_available=True)
        reply.flags |= query.flags & dns.flags.CD  # RFC 4035 §3.2.2
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            reply.set_rcode(dns.rcode.NOTIMP)
            return reply
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        fault = self._fault(name)
        if fault == "silent":
            return None
        if self._struck(fault, reply, name, kind):
            return reply
        reply.flags |= dns.flags.AA
        try:
            answer, exists = ([], False) if fault == "outdated" else self._zones.resolve(name, kind)
        except LoopError:
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply
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

    def _struck(self, fault: str, reply: dns.message.Message, name: str, kind: str) -> bool:
        """Whether a fault makes the whole reply; then it stands there."""
        # A lame server was delegated a zone that it does not serve: it refuses, and is no authority. What a resolver
        # gets nowhere, or what fails DNSSEC, is SERVFAIL there, the latter unless the question says not to look (CD).
        if fault == "lame" and self._server and kind == "NS" and name == self._zones.zone(name):
            # The servers of the root are the same ones, and refer (RFC 1034 §4.3.2).
            servers = [f"{server}." for server in NAME_SERVERS]
            reply.authority.append(dns.rrset.from_text(f"{name}.", 86_400, "IN", "NS", *servers))
            return True
        bogus = fault == "bogus" and not self._server and not reply.flags & dns.flags.CD
        if fault in ("servfail", "lame") or bogus:
            reply.set_rcode(dns.rcode.REFUSED if fault == "lame" and self._server else dns.rcode.SERVFAIL)
            return True
        return False

    def _fault(self, name: str) -> str:
        """Return the fault of this server, of a name, or else of the whole zone where it is lame."""
        own = self._faults.dns.get(self._server, "") if self._server else ""
        if own or name in NAME_SERVERS:
            return own
        zone = self._zones.zone(name)
        whole = self._faults.dns.get(zone, "")
        return self._faults.dns.get(name, "") or (whole if whole in ("lame", "bogus") else "")
