"""Certificates that a sender does not accept, looked at closer; and when a good one ends."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography import x509

from mta_sts.checks.report import Area, Kind, Point

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

OLD_VERSIONS = ("TLSv1", "TLSv1.1")
"""What senders refuse (RFC 8996), as Python names it."""
_LOOK_LIMIT = 10.0
_MOST_NAMES = 4
_SELF_SIGNED = (18, 19)
"""X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, _SELF_SIGNED_CERT_IN_CHAIN of OpenSSL's x509_vfy.h."""
_INCOMPLETE = (20, 21)
"""X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, _UNABLE_TO_VERIFY_LEAF_SIGNATURE."""
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion)
"""What the library makes of certificates that OpenSSL, and so a sender, reads all the same."""


@cache
def any_tls() -> ssl.SSLContext:
    """Return a context that takes any certificate and any version, to see what is wrong; nothing is sent through it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    return context


async def look_closer(host: str, address: str, port: int) -> tuple[bytes, str]:
    """Return leaf certificate (DER) and TLS version of a server, whatever they are worth; empty where there is none."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_LOOK_LIMIT):
            _, writer = await asyncio.open_connection(address, port, ssl=any_tls(), server_hostname=host)
        try:
            secured = writer.get_extra_info("ssl_object")
            return secured.getpeercert(binary_form=True) or b"", secured.version() or ""
        finally:
            writer.transport.abort()
    return b"", ""


def described(certificate: bytes) -> str:
    """Return names, dates and issuer of a leaf certificate; empty for one that can't be read."""
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        valid = f"valid from {leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        told = f"{valid}, issued by {leaf.issuer.rfc4514_string()[:100]}"
    except _UNREADABLE:
        return ""
    names = names_of(certificate)
    if names is None:
        return f"its names can't be read, {told}"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"it names {', '.join(names[:_MOST_NAMES]) or 'no host'}{more}, {told}"


def untrusted(verify_code: int, mend: str) -> tuple[str, str]:
    """Return token and way out for a chain that leads to no trusted root."""
    if verify_code in _SELF_SIGNED:
        return "certificate-self-signed", mend
    if verify_code in _INCOMPLETE:
        return "certificate-chain", "send the intermediate certificate too (`fullchain.pem`), of a public authority"
    return "certificate-untrusted", mend


def judge_ends(area: Area, name: str, certificates: Iterable[tuple[str, bytes]], now: datetime) -> Iterator[Point]:
    """Warn of certificates that end within a week, or within a third of a short life; given by address."""
    addresses: dict[bytes, list[str]] = {}
    for address, certificate in certificates:
        addresses.setdefault(certificate, []).append(address)
    for certificate, at in addresses.items():
        where = f"{name} at {', '.join(at)}" if len(addresses) > 1 else name
        try:
            leaf = x509.load_der_x509_certificate(certificate)
            begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        except _UNREADABLE as error:
            message = f"the certificate is taken, and can't be read here ({error}); see when it ends by hand"
            yield Point(area, Kind.SKIPPED, "certificate-unreadable", where, message)
            continue
        if ends - now < min(timedelta(days=7), (ends - begins) / 3):
            message = (
                f"the certificate ends on {ends:%Y-%m-%d %H:%M} UTC; renew it, and see why that did not happen by "
                "itself"
            )
            yield Point(area, Kind.WARNING, "certificate-ends-soon", where, message)


def organisation_of(certificate: bytes) -> str:
    """Return the organisation that issued a certificate, empty where it names none."""
    try:
        issuer = x509.load_der_x509_certificate(certificate).issuer
    except _UNREADABLE:
        return ""
    named = issuer.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    return str(named[0].value) if named else ""


def names_of(certificate: bytes) -> list[str] | None:
    """Return the dNSName SANs of a certificate, None where they can't be read."""
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        sans = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except _UNREADABLE:
        return None
    return sans.get_values_for_type(x509.DNSName)
