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
from mta_sts.reports.signers import tells_who

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = re.compile(r'\\.|["()]|[^\\"()]+|\\', re.DOTALL)
_PASS = re.compile(r"\s*dkim\s*=\s*pass\b", re.IGNORECASE)
_SIGNER = re.compile(r"\bheader\.(?:d\s*=\s*|i\s*=\s*[^\s;@]*@)([^\s;]+)", re.IGNORECASE)
_TRACE = re.compile(rb"^(received|authentication-results):([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_MAX_SIGNATURES = 5
_PROTOCOL = re.compile(r"\bwith\s+(\S+)")


@dataclass(frozen=True, slots=True)
class OriginCheck:
    """How to tell who sent a report mail; with neither setting no mail is authenticated.

    `trusted_host` is the authserv-id of the mail host that checks DKIM on reception and puts its
    Authentication-Results fields above all others in every mail (RFC 8601 §5). `verify` checks the signatures now
    instead.
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
        that of the reporting domain), where it tells who sent the mail (`signers.tells_who`), and where the
        signature covers the whole body: no `l=` tag.
        """
        headers = header_block(mail)
        senders = header_fields(headers, b"from")
        if len(senders) != 1:
            return ""
        address = parseaddr(_unfold(senders[0]))[1]
        sender = host_name(address.rpartition("@")[2])
        partial = {domain for field in header_fields(headers, b"dkim-signature") for domain in _partly_signed(field)}
        if self.verify:
            signers = verified_signers(mail)
        else:
            signers = [
                signer
                for field in (_fields_on_reception(headers) if self.trusted_host else ())
                for signer in noted_signers(field, self.trusted_host)
            ]
        for signer in signers:
            # A result may name the domain of `i=`, which is that of `d=` or below it (RFC 6376 §3.5).
            doubtful = any(_at_or_below(signer, domain) for domain in partial)
            if _at_or_below(sender, signer) and tells_who(signer) and not doubtful:
                return signer
        return ""


def _fields_on_reception(headers: bytes) -> list[str]:
    """Return the Authentication-Results fields that the receiving host added, as far as their place proves it.

    A host may add several (OpenDMARC's above OpenDKIM's) above its own Received field; a delivery by LMTP puts one
    more Received on top. Without a Received below them, or with another one above, where the sender's own fields
    begin can't be told: then only the topmost counts.
    """
    fields: list[str] = []
    on_top, bounded = True, False
    for name, value in _TRACE.findall(headers):
        if name.lower() != b"received":
            fields.append(_unfold(value))
        elif fields:
            bounded = True
            break
        else:
            protocols = _PROTOCOL.findall(_bare(_unfold(value)))
            on_top = on_top and protocols[-1:] == ["LMTP"]
    return fields if on_top and bounded else fields[:1]


def _at_or_below(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


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
    for index in range(min(len(header_fields(header_block(mail), b"dkim-signature")), _MAX_SIGNATURES)):
        try:
            verifier = dkim.DKIM(mail, tlsrpt=True)
            if verifier.verify(idx=index, **options):
                # The domain whose key was used: read the field again, and a second tag might be taken for it.
                signers.append(host_name(verifier.domain.decode("ascii")))
        except (dkim.DKIMException, ValueError, OSError):
            continue
    return signers


def _partly_signed(field: bytes) -> list[str]:
    """Return the domains in a DKIM-Signature field that has an `l=` tag: more may stand behind what it signs.

    Names of tags are case-sensitive (RFC 6376 §3.2). Of a tag given twice, which no verifier takes, both count.
    """
    tags = [(name.strip(), value) for name, _, value in (tag.partition("=") for tag in _unfold(field).split(";"))]
    return [host_name(value) for name, value in tags if name == "d"] if any(name == "l" for name, _ in tags) else []


def _unfold(field: bytes) -> str:
    return " ".join(field.decode("utf-8", "replace").split())
