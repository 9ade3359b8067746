"""How a command reaches the world: `--resolver`, `--ca-file`, `--port-map`; for tests and split networks."""

from __future__ import annotations

import ipaddress
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    import ssl
    from collections.abc import Mapping, Sequence

    from dns.asyncresolver import Resolver

DNS_PORT = 53
DNS_LIMIT = 10.0
"""Seconds for one question, over all the servers that are asked."""
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Network:
    """Which resolvers are asked (none: those of this machine), whose certificates are trusted, where ports went."""

    resolvers: Sequence[tuple[str, int]] = ()
    ca_file: Path | None = None
    ports: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def port(self, host: str, address: str, port: int) -> int:
        """Return the port to connect to where `host`, at `address`, is meant to listen on `port`."""
        for key in (f"{host}:{port}", f"*:{port}"):
            if address in self.ports.get(key, {}):
                return self.ports[key][address]
        return port

    def resolver(self, *only: tuple[str, int]) -> Resolver:
        """Return a resolver without a cache that asks these servers, else those given, else this machine's.

        Raises ValueError where the machine has none.
        """
        from dns.asyncresolver import Resolver  # noqa: PLC0415  heavy: only when DNS is asked
        from dns.nameserver import Do53Nameserver  # noqa: PLC0415
        from dns.resolver import NoResolverConfiguration  # noqa: PLC0415

        asked = only or self.resolvers
        try:
            found = Resolver(configure=not asked)
        except NoResolverConfiguration:
            raise ValueError("this machine has no DNS server configured; give --resolver ADDRESS") from None
        if asked:
            found.nameservers = [Do53Nameserver(address, port) for address, port in asked]
        found.lifetime = DNS_LIMIT
        return found

    def tls_context(self) -> ssl.SSLContext:
        """Return a client context that trusts the public roots, or only those of `--ca-file`.

        Raises ValueError where the machine has no roots: every certificate would look wrong.
        """
        from mta_sts.fetch import tls_context  # noqa: PLC0415  heavy: only when a host is asked

        if self.ca_file is None and not _has_roots():
            raise ValueError(
                "this machine has no trusted roots, so every certificate would look wrong; install them "
                "(ca-certificates), or give --ca-file FILE"
            )
        return tls_context(self.ca_file)


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options; the same for every command that asks the world."""
    group = parser.add_argument_group("how the world is reached (for tests and split networks)")
    group.add_argument(
        "--resolver",
        metavar="ADDRESS[:PORT]",
        action="append",
        default=[],
        help="ask this DNS server instead of the machine's (may be given again; IPv6 in brackets)",
    )
    group.add_argument("--ca-file", metavar="FILE", type=Path, help="trust the roots in this PEM file, and no others")
    group.add_argument(
        "--port-map",
        metavar="FILE",
        type=Path,
        help='JSON: where services listen instead, {"HOST:PORT": {"ADDRESS": PORT}}; HOST may be *',
    )


def network_of(options: argparse.Namespace) -> Network:
    """Return what the options say; raises ValueError for what makes no sense or can't be read."""
    if options.ca_file is not None:
        _check_roots(options.ca_file)
    return Network(
        resolvers=tuple(map(_server, options.resolver)),
        ca_file=options.ca_file,
        ports={} if options.port_map is None else _ports(options.port_map),
    )


def _server(text: str) -> tuple[str, int]:
    """Return address and port of `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`."""
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        address, _, port = (text, "", "") if text.count(":") > 1 else text.partition(":")
    try:
        number = int(port) if port else DNS_PORT
        if not 0 < number <= _HIGHEST_PORT:
            raise ValueError(port)  # noqa: TRY301  said once, below
        return str(ipaddress.ip_address(address)), number
    except ValueError:
        raise ValueError(f"--resolver {text!r}: give an address, such as 192.0.2.1 or [2001:db8::1]:53") from None


def _has_roots() -> bool:
    import ssl  # noqa: PLC0415  heavy: only when a host is asked

    paths = ssl.get_default_verify_paths()
    # Windows keeps them elsewhere.
    return (
        sys.platform == "win32" or paths.cafile is not None or bool(paths.capath and any(Path(paths.capath).iterdir()))
    )


def _check_roots(file: Path) -> None:
    import ssl  # noqa: PLC0415  heavy: only when a host is asked

    try:
        ssl.create_default_context(cafile=str(file))
    except ssl.SSLError:
        raise ValueError(f"--ca-file {file}: no certificates in PEM form") from None
    except OSError as error:
        raise ValueError(f"--ca-file {file}: {error.strerror}") from error


def _ports(file: Path) -> dict[str, dict[str, int]]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return {
            str(key): {str(ipaddress.ip_address(address)): int(port) for address, port in by_address.items()}
            for key, by_address in document.items()
        }
    except OSError as error:
        raise ValueError(f"--port-map {file}: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f'--port-map {file}: give JSON like {{"*:443": {{"127.0.0.1": 8443}}}}') from None
