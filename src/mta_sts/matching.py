"""Which MX host a policy allows, and which host a certificate speaks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta_sts.names import is_address, name_problem, to_ascii

if TYPE_CHECKING:
    from collections.abc import Iterable


def mx_matches(pattern: str, host: str) -> bool:
    """Whether an MX host matches one `mx` pattern of a policy (RFC 8461 §4.1)."""
    # An MX RRset that can't be read may give no name: nothing matches that.
    return isinstance(host, str) and _matches(to_ascii(pattern), to_ascii(host))


def certificate_matches(dns_names: Iterable[str], host: str) -> bool:
    """Whether a certificate with these dNSName SANs speaks for a host (RFC 8461 §4.2, RFC 6125 §6.4).

    The subject's common name never counts: RFC 8461 §4.2 demands a SAN.
    """
    wanted = to_ascii(host)
    return not is_address(wanted) and any(_matches(to_ascii(name), wanted) for name in dns_names)


def _matches(pattern: str, host: str) -> bool:
    """Compare a normalised pattern and host: equal, or `*.` for exactly one leftmost label."""
    if not pattern.startswith("*."):
        return bool(host) and pattern == host
    return not name_problem(host) and host.partition(".")[2] == pattern.removeprefix("*.")
