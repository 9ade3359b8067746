"""Who sent a report mail, as far as DKIM proves it (RFC 8460 §3: an unsigned report mail is to be ignored).

Without a proof a report is read all the same, and counted as not authenticated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parseaddr
from importlib import import_module
from typing import TYPE_CHECKING

from mta_sts.reports.mail import header_block, header_fields
from mta_sts.reports.parse import host_name

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = re.compile(r'\\.|["()]|[^\\"()]+|\\', re.DOTALL)
_PASS = re.compile(r"\s*dkim\s*=\s*pass\b", re.IGNORECASE)
_SIGNER = re.compile(r"\bheader\.(?:d\s*=\s*|i\s*=\s*[^\s;@]*@)([^\s;]+)", re.IGNORECASE)
_TAG = re.compile(r"(?:^|;)\s*([a-z]+)\s*=\s*([^;]*)", re.IGNORECASE)
_SERVICES = frozenset({"tlsrpt", "*"})


@dataclass(frozen=True, slots=True)
class OriginCheck:
    """How to tell who sent a report mail; with neither setting no mail is authenticated.

    `trusted_host` is the authserv-id of the mail host that checks DKIM on reception and puts its
    Authentication-Results field above all others in every mail (RFC 8601 §5); only the topmost field counts,
    as everything below it may be the sender's own invention. `verify` checks the signatures now instead.
    """

    trusted_host: str = ""
    verify: bool = False

    @property
    def active(self) -> bool:
        """Tell whether anything is checked."""
        return self.verify or bool(self.trusted_host)

    @property
    def method(self) -> str:
        """One sentence for the reader of a summary or an evidence file."""
        if self.verify:
            return "DKIM signatures of report mails verified when the reports were read"
        if self.trusted_host:
            return f"DKIM results that {self.trusted_host} noted on reception (Authentication-Results)"
        return "not checked: nobody verified who sent these reports"

    def signer(self, mail: bytes) -> str:
        """Return the domain whose valid DKIM signature the mail carries, or nothing.

        It counts where it is the domain of the From address or a parent of it (RFC 8460 §3: the signature is
        that of the reporting domain), and where the signature covers the whole body: no `l=` tag.
        """
        headers = header_block(mail)
        senders = header_fields(headers, b"from")
        if len(senders) != 1:
            return ""
        address = parseaddr(_unfold(senders[0]))[1]
        sender = host_name(address.rpartition("@")[2])
        partial = {
            host_name(tags.get("d", ""))
            for tags in map(_tags, header_fields(headers, b"dkim-signature"))
            if "l" in tags
        }
        signers = verified_signers(mail) if self.verify else self._noted(headers)
        for signer in signers:
            aligned = sender == signer or sender.endswith("." + signer)
            if aligned and "." in signer and signer not in partial:
                return signer
        return ""

    def _noted(self, headers: bytes) -> list[str]:
        results = header_fields(headers, b"authentication-results")
        if not self.trusted_host or not results:
            return []
        return noted_signers(_unfold(results[0]), self.trusted_host)


def noted_signers(field: str, trusted_host: str) -> list[str]:
    """Return the domains with `dkim=pass` in one Authentication-Results field of the trusted host (RFC 8601 §2.2)."""
    host, *results = _bare(field).split(";")
    if host_name("".join(host.split()[:1])) != host_name(trusted_host):
        return []
    signers = []
    for result in results:
        domain = _SIGNER.search(result)
        if _PASS.match(result) and domain:
            signers.append(host_name(domain[1]))
    return signers


def _bare(field: str) -> str:
    """Return a field without comments and quoted strings: both may hold anything, `; dkim=pass` included."""
    kept = []
    comment, quoted = 0, False
    for piece in _PIECE.findall(field):
        if quoted:
            quoted = piece != '"'
        elif comment:
            comment += (piece == "(") - (piece == ")")
        elif piece == '"':
            quoted = True
        elif piece == "(":
            comment = 1
        else:
            kept.append(piece)
    return "" if quoted or comment else "".join(kept)


def verified_signers(mail: bytes, dns_text: Callable[..., bytes | None] | None = None) -> list[str]:
    """Return the domains whose DKIM signatures verify now, with their keys from DNS.

    Needs the package dkimpy; raises ImportError without it. Keys are often gone after some months.
    """
    dkim = import_module("dkim")  # optional, and asked for by name

    options = {} if dns_text is None else {"dnsfunc": dns_text}
    signers = []
    for index, field in enumerate(header_fields(header_block(mail), b"dkim-signature")[:5]):
        try:
            if dkim.DKIM(mail, tlsrpt=True).verify(idx=index, **options):
                signers.append(host_name(_tags(field).get("d", "")))
        except (dkim.DKIMException, ValueError, OSError):
            continue
    return signers


def _tags(field: bytes) -> dict[str, str]:
    return {name.lower(): value.strip() for name, value in _TAG.findall(_unfold(field))}


def _unfold(field: bytes) -> str:
    return " ".join(field.decode("utf-8", "replace").split())
