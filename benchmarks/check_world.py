"""A small internet for `benchmarks/check.py`: any number of domains, each published as it should be, on loopback.

`python check_world.py FOLDER DELAY` prints one JSON line (where it listens) and serves until its input ends. DELAY is
in seconds and lies on every answer: each DNS reply, and each piece that a TCP server sends, handshakes included.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import json
import ssl
import sys
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ZONE = "bench.example"
MX = ("mx1", "mx2")
_SERVERS = (f"ns1.{ZONE}", f"ns2.{ZONE}")
_NOW = dt.datetime.now(dt.UTC)
_CHUNK = 65_536
_PASSING: set[asyncio.Future[Any]] = set()


def policy(domain: str) -> str:
    """Return a domain's policy."""
    lines = ["version: STSv1", "mode: enforce", *(f"mx: {mx}.{domain}" for mx in MX), "max_age: 1209600", ""]
    return "\n".join(lines)


def records(name: str, kind: str) -> list[str]:
    """Return what stands at a name; the domains are the names one label below the zone, each a zone of its own."""
    if name in _SERVERS:
        return ["127.0.0.1"] if kind == "A" else []
    labels = name.removesuffix(f".{ZONE}").split(".")
    domain = f"{labels[-1]}.{ZONE}"
    soa = [f"{_SERVERS[0]}. hostmaster.{ZONE}. 1 7200 600 864000 300"]
    at: dict[str, dict[str, list[str]]] = {
        domain: {
            "MX": [f"{10 * (index + 1)} {mx}.{domain}." for index, mx in enumerate(MX)],
            "NS": [f"{server}." for server in _SERVERS],
            "SOA": soa,
        },
        f"_mta-sts.{domain}": {"TXT": ['"v=STSv1; id=20261124T000000;"']},
        f"_smtp._tls.{domain}": {"TXT": [f'"v=TLSRPTv1; rua=mailto:tls-reports@{domain}"']},
        f"mta-sts.{domain}": {"A": ["127.0.0.1"]},
        **{f"{mx}.{domain}": {"A": ["127.0.0.1"]} for mx in MX},
    }
    return at.get(name, {}).get(kind, [])


class Names(asyncio.DatagramProtocol):
    """Answers every question at once or late."""

    def __init__(self, delay: float) -> None:
        self._delay = delay

    def connection_made(self, transport: Any) -> None:
        """Keep the socket to answer through."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answer one question."""
        reply = answer(data)
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.sendto, reply, addr)
        else:
            self._transport.sendto(reply, addr)


def answer(data: bytes) -> bytes:
    """Return the reply to a question."""
    query = dns.message.from_wire(data)
    question = query.question[0]
    name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
    reply = dns.message.make_response(query, recursion_available=True)
    reply.flags |= dns.flags.AA
    found = records(name, kind)
    if found:
        reply.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *found))
    elif not any(records(name, other) for other in ("A", "TXT", "MX")):
        reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply.to_wire()


class Certificates:
    """One authority, and a certificate for the three names of each domain, made when a client asks for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._root = self._sign("Bench Root", [])
        self.ca_file = folder / "root.pem"
        self.ca_file.write_bytes(self._root.public_bytes(serialization.Encoding.PEM))
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(self._file("bench"))
        self.server.sni_callback = self._choose

    def _choose(self, connection: Any, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = self._context((name or "").partition(".")[2])

    @functools.cache  # noqa: B019  the process ends with it
    def _context(self, domain: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._file(domain))
        return context

    def _file(self, domain: str) -> Path:
        file = self._folder / "leaf.pem"
        leaf = self._sign(domain, [f"{name}.{domain}" for name in ("mta-sts", *MX)])
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        file.write_bytes(
            leaf.public_bytes(serialization.Encoding.PEM)
            + self._key.private_bytes(serialization.Encoding.PEM, form, plain)
        )
        return file

    def _sign(self, subject: str, names: list[str]) -> x509.Certificate:
        public, constraints = self._key.public_key(), x509.BasicConstraints(ca=not names, path_length=None)
        named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Bench Root")])
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(named)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - dt.timedelta(days=1))
            .not_valid_after(_NOW + dt.timedelta(days=90))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=not names, crl_sign=False, **usage), True
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
        return builder.sign(self._key, hashes.SHA256())


async def https(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one policy, by Host."""
    try:
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        host = next(
            line.partition(":")[2].strip() for line in request.split("\r\n") if line.lower().startswith("host:")
        )
        body = policy(host.removeprefix("mta-sts.")).encode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
    except (OSError, EOFError):
        pass
    finally:
        writer.close()


async def smtp(context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak SMTP with STARTTLS and take no mail."""
    try:
        writer.write(b"220 mx ESMTP\r\n")
        while line := (await reader.readline()).upper().strip():
            if line.startswith(b"EHLO"):
                writer.write(b"250-mx\r\n250 STARTTLS\r\n")
            elif line == b"STARTTLS":
                writer.write(b"220 go on\r\n")
                await writer.start_tls(context)
            elif line == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"502 no\r\n")
    except (OSError, EOFError):
        pass
    finally:
        writer.close()


async def late(port: int, delay: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass a connection on to a port, and hold back each piece that comes from there."""
    loop = asyncio.get_running_loop()
    there, thither = await asyncio.open_connection("127.0.0.1", port)

    async def back() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await there.read(_CHUNK):
                loop.call_later(delay, writer.write, data)
        loop.call_later(delay, writer.close)

    async def forth() -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                thither.write(data)
        thither.close()

    both = asyncio.gather(back(), forth())
    # The loop holds what waits only weakly.
    _PASSING.add(both)
    both.add_done_callback(_PASSING.discard)
    await both


async def listen(handler: Any, delay: float, **more: Any) -> int:
    """Start a TCP server and return its port, that of the one that holds back where there is a delay."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=1024, **more)
    if delay:
        behind = server.sockets[0].getsockname()[1]
        server = await asyncio.start_server(functools.partial(late, behind, delay), "127.0.0.1", 0, backlog=1024)
    return int(server.sockets[0].getsockname()[1])


async def main(folder: Path, delay: float) -> None:
    """Serve until the input ends."""
    loop = asyncio.get_running_loop()
    certificates = Certificates(folder)
    transport, _ = await loop.create_datagram_endpoint(lambda: Names(delay), ("127.0.0.1", 0))
    places = {
        "ca_file": str(certificates.ca_file),
        "dns": transport.get_extra_info("sockname")[1],
        "https": await listen(https, delay, ssl=certificates.server),
        "smtp": await listen(functools.partial(smtp, certificates.server), delay),
    }
    print(json.dumps(places), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
