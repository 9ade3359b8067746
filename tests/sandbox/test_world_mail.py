"""The MX hosts speak real SMTP with STARTTLS, and the proxy leads to what is in the world and nowhere else."""

from __future__ import annotations

import smtplib
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from sandbox.world.client import World
from sandbox.world.internet import MAIL_HOSTS
from tests.sandbox.clouds import KEY, Clouds, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "mx1.example.com"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run one world for all tests here."""
    with World(tmp_path_factory.mktemp("mail")) as started:
        yield started


@pytest.fixture
def world(running: World) -> Iterator[World]:
    """Return the world, and end faults afterwards."""
    yield running
    running.clear_faults()


def secured(world: World, host: str, address: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> str:
    """Say EHLO under STARTTLS, and return the TLS version."""
    context = context or ssl.create_default_context(cafile=world.endpoints.ca_file)
    with smtplib.SMTP(timeout=2) as session:
        session._host = host
        session.connect(address, world.endpoints.mx[host][address])
        session.starttls(context=context)
        assert 250 == session.ehlo()[0]
        return str(session.sock.version())


@pytest.mark.parametrize("host", MAIL_HOSTS)
def test_every_host_has_a_certificate_for_itself(world: World, host: str) -> None:
    """On each address, trusted by the sandbox's authority, TLS 1.2 or better."""
    for address in world.endpoints.mx[host]:
        assert secured(world, host, address) in ("TLSv1.2", "TLSv1.3")


def test_mail_that_was_taken_is_counted(world: World) -> None:
    """By the host that took it."""
    before = world.received().get(HOST, 0)
    with smtplib.SMTP("127.0.0.1", world.endpoints.mx[HOST]["127.0.0.1"], timeout=2) as session:
        session.sendmail("a@sender.invalid", ["b@example.com"], "Subject: x\r\n\r\nx\r\n")
    assert before + 1 == world.received()[HOST]


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("expired", ssl.SSLCertVerificationError, "expired"),
        ("not-yet-valid", ssl.SSLCertVerificationError, "not yet valid"),
        ("wrong-name", ssl.SSLCertVerificationError, "mismatch"),
        ("self-signed", ssl.SSLCertVerificationError, "self-signed|self signed"),
        ("missing-intermediate", ssl.SSLCertVerificationError, "local issuer"),
        ("tls-1.0", ssl.SSLError, "version|protocol|EOF"),
        ("no-starttls", smtplib.SMTPNotSupportedError, "STARTTLS"),
        ("refused", (OSError, smtplib.SMTPServerDisconnected), "closed|reset"),
        ("silent", smtplib.SMTPServerDisconnected, "timed out"),
    ],
)
def test_each_fault_is_what_its_name_says(
    world: World, fault: str, error: type[Exception] | tuple[type[Exception], ...], words: str
) -> None:
    """It strikes the host that was named, and no other."""
    world.fault("mail", HOST, fault)
    with pytest.raises(error, match=words):
        secured(world, HOST)
    assert secured(world, "mx2.example.com")


def test_a_host_of_tls_1_0_speaks_nothing_else(world: World) -> None:
    """A client that would take anything gets the old version."""
    world.fault("mail", HOST, "tls-1.0")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(world.endpoints.ca_file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    assert "TLSv1" == secured(world, HOST, context=context)


def connect(world: World, request: str) -> tuple[str, socket.socket]:
    """Send one request to the proxy; return the first line of its answer, and the connection."""
    host, _, port = world.endpoints.proxy.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), 2)
    connection.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer and (more := connection.recv(1)):
        answer += more
    return answer.decode().partition("\r\n")[0], connection


def test_the_proxy_leads_to_edge_and_mail_hosts(world: World) -> None:
    """CONNECT to port 443 of a name in DNS ends at the edge, to port 25 of an MX host at that host."""
    Clouds(world).host("example.com", "example.com", policy(HOST))
    line, connection = connect(world, "CONNECT mta-sts.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "HTTP/1.1 200 Connection established" == line
    context = ssl.create_default_context(cafile=world.endpoints.ca_file)
    with context.wrap_socket(connection, server_hostname="mta-sts.example.com") as secure:
        secure.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: mta-sts.example.com\r\n\r\n".encode())
        assert secure.recv(100).startswith(b"HTTP/1.1 200")
    line, connection = connect(world, f"CONNECT {HOST}:25 HTTP/1.1\r\n\r\n")
    assert connection.recv(100).startswith(b"220 mx1.example.com")
    connection.close()


@pytest.mark.parametrize(
    "request_line",
    [
        "CONNECT nowhere.example.com:443 HTTP/1.1",
        "CONNECT 127.0.0.1:22 HTTP/1.1",
        f"CONNECT {HOST}:443 HTTP/1.1",
        f"CONNECT {HOST}:26 HTTP/1.1",
        f"CONNECT {HOST} HTTP/1.1",
        f"CONNECT {HOST}:x HTTP/1.1",
        "GET http://mx1.example.com/ HTTP/1.1",
        "junk",
    ],
)
def test_the_proxy_leads_nowhere_else(world: World, request_line: str) -> None:
    """Whatever is not in the world is refused."""
    line, connection = connect(world, f"{request_line}\r\n\r\n")
    connection.close()
    assert "HTTP/1.1 403 Forbidden" == line
