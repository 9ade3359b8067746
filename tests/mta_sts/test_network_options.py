"""How a command reaches the world: resolvers, roots, ports; and what of that makes no sense."""

from __future__ import annotations

import argparse
import ssl
from typing import TYPE_CHECKING

import pytest

from mta_sts.network_options import Network, add_network_options, network_of

if TYPE_CHECKING:
    from pathlib import Path


def network(*arguments: str) -> Network:
    """Return what a command line says."""
    parser = argparse.ArgumentParser()
    add_network_options(parser)
    return network_of(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_a_resolver_is_an_address_with_or_without_port(given: str, server: tuple[str, int]) -> None:
    """Both families; the port is 53 where none is given."""
    assert (server,) == network("--resolver", given).resolvers


@pytest.mark.parametrize("given", ["dns.example.com", "192.0.2.1:0", "192.0.2.1:70000", "192.0.2.1:x", "[::1]x", ""])
def test_what_is_no_address_is_refused(given: str) -> None:
    """With an example of what is."""
    with pytest.raises(ValueError, match=r"give an address, such as 192\.0\.2\.1"):
        network("--resolver", given)


def test_each_resolver_is_asked_and_none_of_the_machine() -> None:
    """In their order, and the authoritative ones where they are named."""
    both = network("--resolver", "192.0.2.1", "--resolver", "[2001:db8::1]:5353")
    assert [("192.0.2.1", 53), ("2001:db8::1", 5353)] == [
        (server.address, server.port) for server in both.resolver().nameservers
    ]
    assert ["192.0.2.9"] == [server.address for server in both.resolver(("192.0.2.9", 53)).nameservers]


@pytest.mark.parametrize("folder", [None, "empty"])
def test_a_machine_without_roots_is_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str | None
) -> None:
    """Else every certificate of the world would be blamed."""
    here = str(tmp_path) if folder else None
    paths = ssl.get_default_verify_paths()._replace(cafile=None, capath=here)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    with pytest.raises(ValueError, match="no trusted roots"):
        network().tls_context()
    (tmp_path / "root.pem").write_text("")
    assert folder is None or network().tls_context()


def test_a_port_map_counts_for_host_address_and_port(tmp_path: Path) -> None:
    """The host's own entry before that of `*`, in any spelling of the address; everything else stays."""
    file = tmp_path / "ports.json"
    file.write_text('{"*:443": {"127.0.0.1": 8443, "0:0::1": 8444}, "mx.example.com:25": {"127.0.0.1": 2525}}')
    ports = network("--port-map", str(file))
    assert (8443, 8444) == (ports.port("a.example", "127.0.0.1", 443), ports.port("a.example", "::1", 443))
    assert 2525 == ports.port("mx.example.com", "127.0.0.1", 25)
    assert (25, 25) == (ports.port("mx.example.com", "::1", 25), ports.port("b.example", "127.0.0.1", 25))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"*:443": 8443}', '{"*:443": {"localhost": 1}}', '{"*:443": {"::1": "x"}}']
)
def test_a_port_map_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """With an example."""
    file = tmp_path / "ports.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"give JSON like"):
        network("--port-map", str(file))


def test_roots_are_read_before_anything_is_asked(tmp_path: Path) -> None:
    """A file that is none, or not there, is a wrong call."""
    file = tmp_path / "roots.pem"
    for option in ("--ca-file", "--port-map"):
        with pytest.raises(ValueError, match="No such file"):
            network(option, str(file))
    file.write_text("no certificate")
    with pytest.raises(ValueError, match="no certificates in PEM form"):
        network("--ca-file", str(file))
