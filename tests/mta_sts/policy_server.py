"""A policy host on loopback with certificates of its own authority, which misbehaves on request."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
PAST = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
FUTURE = dt.datetime(2098, 1, 1, tzinfo=dt.UTC)
FAR_FUTURE = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


class Authority:
    """A certificate authority that only these tests trust; its root stands in `ca_file`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._root = self._sign("Test Root", [], self._key, (LONG_AGO, FAR_FUTURE), authority=True)
        self.ca_file = folder / "root.pem"
        self.ca_file.write_bytes(self._root.public_bytes(serialization.Encoding.PEM))

    def server(
        self,
        names: Sequence[str],
        *,
        common_name: str = "host",
        valid: tuple[dt.datetime, dt.datetime] = (LONG_AGO, FAR_FUTURE),
    ) -> ssl.SSLContext:
        """Return a server context with a certificate for these SANs (none: no SAN at all)."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(common_name, names, key, valid)
        pem = self._folder / f"{certificate.serial_number:x}.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        return context

    def _sign(
        self,
        common_name: str,
        names: Sequence[str],
        key: ec.EllipticCurvePrivateKey,
        valid: tuple[dt.datetime, dt.datetime],
        *,
        authority: bool = False,
    ) -> x509.Certificate:
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(_name("Test Root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid[0])
            .not_valid_after(valid[1])
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority, **usage),
                critical=True,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@dataclass
class Answer:
    """What the host sends; `again` is repeated without end, `hold` keeps the connection open and silent."""

    data: bytes = b""
    again: bytes = b""
    hold: bool = False


def response(
    body: bytes, *, status: int = 200, content_type: str | None = "text/plain", headers: Sequence[str] = ()
) -> Answer:
    """Return a whole HTTP response."""
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}", *headers]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    return Answer("\r\n".join([*lines, "", ""]).encode() + body)


@dataclass
class PolicyServer:
    """A running host: where it listens, and what it was asked."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)


@contextlib.asynccontextmanager
async def policy_server(
    context: ssl.SSLContext | None, answer: Answer, *, together: int = 1
) -> AsyncIterator[PolicyServer]:
    """Serve one answer to everybody on 127.0.0.1, with TLS unless `context` is None.

    No request is answered before `together` requests have come.
    """
    running = PolicyServer()
    everybody = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if context:
                running.requests.append(await reader.readuntil(b"\r\n\r\n"))
                if len(running.requests) == together:
                    everybody.set()
                await everybody.wait()
            writer.write(answer.data)
            await writer.drain()
            while answer.again and not writer.is_closing():
                writer.write(answer.again)
                await writer.drain()
                await asyncio.sleep(0)  # drain may return at once, and the end of the connection is never seen
            if answer.hold:
                await reader.read()
        writer.close()

    if context:
        context.sni_callback = lambda _socket, name, _context: running.server_names.append(name)
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        # The handlers end by themselves once their client has gone.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
