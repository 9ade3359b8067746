"""Host names as DNS and the RFCs compare them: A-labels, lower case, no trailing dot."""

from __future__ import annotations

import ipaddress
import re

from mta_sts.findings import Finding, MtaStsError

LONGEST_NAME = 253
"""Characters of a name without trailing dot (RFC 1035 §2.3.4)."""

# sub-domain of RFC 5321 §4.1.2: letters, digits and inner hyphens.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")


def normalise_host(text: str) -> str:
    """Return a host name in A-labels, lower case and without trailing dot (RFC 8461 §3.2, §4.1).

    Raises MtaStsError (`host-name`) for what is not a host name: an address, a URL, an e-mail address, a bad label.
    """
    name = to_ascii(text)
    reason = name_problem(name)
    if reason:
        raise MtaStsError(f"host name {text!r}", [Finding("host-name", "", f"{text!r} {reason}")])
    return name


def to_ascii(text: str) -> str:
    """Return a name lower case, without trailing dot, in A-labels; what can't be converted stays as it is."""
    name = text.strip().removesuffix(".").lower()
    if name.isascii():
        return name
    import idna  # noqa: PLC0415  heavy, and few names need it

    wildcard = "*." if name.startswith("*.") else ""
    try:
        # The trailing dot may have been another script's full stop (RFC 5895 §2).
        return wildcard + idna.encode(name.removeprefix(wildcard), uts46=True).decode("ascii").removesuffix(".")
    except idna.IDNAError:
        return name


def name_problem(name: str) -> str:
    """Return why a normalised name is no host name, empty where it is one."""
    problems = (
        (not name, "is empty; give a host name such as mx1.example.com"),
        ("@" in name, "is an e-mail address; give the part after the @"),
        (bool(name) and is_address(name), "is an IP address; give the host's name (RFC 8461 §3.2)"),
        ("/" in name or ":" in name, "is a URL or has a port; give the host name alone"),
        (len(name) > LONGEST_NAME, f"is {len(name)} characters long; a name has at most {LONGEST_NAME} (RFC 1035)"),
    )
    for found, reason in problems:
        if found:
            return reason
    bad = [label for label in name.split(".") if not _LABEL.match(label)]
    if bad:
        return f"has the label {bad[0]!r}; a label has 1 to 63 letters, digits and inner hyphens (RFC 5321 §4.1.2)"
    return ""


def is_address(name: str) -> bool:
    """Whether a name is an IP address, an address literal, or would be read as an IPv4 address."""
    try:
        # RFC 5321 §4.1.3: in brackets, an IPv6 address with its tag.
        ipaddress.ip_address(name.strip("[]").removeprefix("ipv6:"))
    except ValueError:
        return name.rpartition(".")[2].isdigit()
    return True
