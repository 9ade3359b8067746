"""Fetch a policy over HTTPS from one given address, exactly as strictly as a sender does (RFC 8461 §3.3)."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from mta_sts.findings import Finding, MtaStsError
from mta_sts.names import normalise_host
from mta_sts.policy import SIZE_LIMIT, Policy, parse_policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WELL_KNOWN = "/.well-known/mta-sts.txt"
"""Path of the policy on the policy host (RFC 8461 §3.3)."""
FETCH_LIMIT = 60.0
"""Seconds for a whole fetch: RFC 8461 §3.3 suggests a minute."""
_CHUNK = 16_384


class FetchCause(StrEnum):
    """Why a fetch gave no policy, and where to look."""

    UNREACHABLE = "unreachable"  # nothing answers there: address, firewall, service down
    TIMEOUT = "timeout"  # it answers too slowly, or never ends
    CERTIFICATE_EXPIRED = "certificate-expired"  # renew it
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"  # a clock is wrong, or it was deployed too early
    CERTIFICATE_NAME = "certificate-name"  # it does not cover mta-sts.DOMAIN
    CERTIFICATE_UNTRUSTED = "certificate-untrusted"  # self-signed, private authority, or a missing intermediate
    TLS = "tls"  # the handshake failed otherwise: old protocol versions, no certificate for this name
    REDIRECT = "redirect"  # senders do not follow it
    STATUS = "status"  # only 200 counts
    MEDIA_TYPE = "media-type"  # serve it as text/plain
    CONTENT_ENCODING = "content-encoding"  # compressed though nobody asked for it: serve the plain bytes
    TOO_LARGE = "too-large"  # beyond what senders read
    HTTP = "http"  # the answer is no whole HTTP response
    POLICY = "policy"  # served, but it states no valid policy


_VERIFY_CAUSES = {
    9: FetchCause.CERTIFICATE_NOT_YET_VALID,
    10: FetchCause.CERTIFICATE_EXPIRED,
    62: FetchCause.CERTIFICATE_NAME,
}
"""X509_V_ERR_* of OpenSSL's x509_vfy.h; every other one is a chain that leads to no trusted root."""


def certificate_cause(error: ssl.SSLCertVerificationError) -> FetchCause:
    """Return why a certificate was not accepted, a policy host's or an MX host's."""
    return _VERIFY_CAUSES.get(error.verify_code, FetchCause.CERTIFICATE_UNTRUSTED)


class FetchError(MtaStsError):
    """A fetch that gave no policy; a sender goes on with what it holds, or without a policy (RFC 8461 §3.3)."""

    def __init__(self, domain: str, cause: FetchCause, message: str) -> None:
        self.cause = cause
        super().__init__(f"policy of {domain}", [Finding(f"fetch-{cause}", "", message)])


@dataclass(frozen=True, slots=True)
class FetchedPolicy:
    """What the policy host served; `certificate` is the leaf in DER."""

    policy: Policy
    body: bytes
    content_type: str
    certificate: bytes


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a client context that trusts the public roots, or only those in a file; Python sees to TLS 1.2."""
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    # RFC 8461 §3.3: a dNSName in the SAN must name the policy host; the subject's common name does not count.
    context.hostname_checks_common_name = False
    return context


def fetch_policy(
    domain: str, address: str, port: int = 443, *, context: ssl.SSLContext | None = None, limit: float = FETCH_LIMIT
) -> FetchedPolicy:
    """Fetch a policy from synchronous code; see `fetch_policy_async`."""
    return asyncio.run(fetch_policy_async(domain, address, port, context=context, limit=limit))


async def fetch_policy_async(
    domain: str,
    address: str,
    port: int = 443,
    *,
    context: ssl.SSLContext | None = None,
    limit: float = FETCH_LIMIT,
    user_agent: str = "mta-sts",
) -> FetchedPolicy:
    """Return the policy that one address serves for a domain, asked with SNI and Host `mta-sts.DOMAIN`.

    `context` comes from `tls_context`: make one for many fetches, loading the roots takes longest. `limit` is in
    seconds for all of it. An empty `user_agent` is not sent. Raises FetchError, whose cause says what the operator
    should look at.
    """
    host = f"mta-sts.{normalise_host(domain)}"
    try:
        async with asyncio.timeout(limit):
            content_type, body, certificate = await _get(domain, address, port, context or tls_context(), user_agent)
    except TimeoutError:
        message = f"https://{host}{WELL_KNOWN} at {address} gave no whole answer within {limit:g} s"
        raise FetchError(domain, FetchCause.TIMEOUT, message) from None
    try:
        policy = parse_policy(body)
    except MtaStsError as error:
        reasons = "; ".join(finding.message for finding in error.findings)
        raise FetchError(domain, FetchCause.POLICY, f"the served policy is not valid: {reasons}") from error
    return FetchedPolicy(policy, body, content_type, certificate)


async def _get(
    domain: str, address: str, port: int, context: ssl.SSLContext, user_agent: str
) -> tuple[str, bytes, bytes]:
    """Return content type, body and certificate of an answer that a sender accepts."""
    host = f"mta-sts.{normalise_host(domain)}"
    where = f"{host} at {address}"
    try:
        reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise FetchError(domain, certificate_cause(error), f"{where}: {error.verify_message}") from error
    except (ssl.SSLError, ConnectionResetError) as error:
        reason = getattr(error, "reason", "") or str(error) or "the connection was closed"
        raise FetchError(domain, FetchCause.TLS, f"{where}: the TLS handshake failed ({reason})") from error
    except OSError as error:
        # asyncio words some of them itself, with the address.
        reason = os.strerror(error.errno) if error.errno else error
        raise FetchError(domain, FetchCause.UNREACHABLE, f"{where}: no connection ({reason})") from error
    try:
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(
            method="GET",
            target=WELL_KNOWN,
            headers=[
                ("Host", host),
                *([("User-Agent", user_agent)] if user_agent else []),
                ("Accept", "text/plain"),
                ("Accept-Encoding", "identity"),
                ("Connection", "close"),
            ],
        )
        writer.write(connection.send(request) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        content_type = ""
        body = bytearray()
        async for event in _events(connection, reader):
            if isinstance(event, h11.Response):
                content_type = _check_response(domain, event)  # at once: the rest of a refused answer may never end
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > SIZE_LIMIT:
                    message = f"{where} serves more than {SIZE_LIMIT} bytes; senders stop there"
                    raise FetchError(domain, FetchCause.TOO_LARGE, message)
    except (h11.RemoteProtocolError, OSError) as error:
        raise FetchError(domain, FetchCause.HTTP, f"{where}: {_no_response(error)}") from error
    finally:
        writer.transport.abort()
    return content_type, bytes(body), certificate


def _no_response(error: h11.RemoteProtocolError | OSError) -> str:
    """Return in what way an answer is no whole HTTP response; h11 tells by its words alone."""
    if isinstance(error, OSError) or "closed connection" in str(error) or "ConnectionClosed" in str(error):
        return "closes the connection before its answer is whole"
    if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return "sends a header longer than senders read"
    return f"answers what is no HTTP ({error})"


async def _events(connection: h11.Connection, reader: asyncio.StreamReader) -> AsyncIterator[h11.Event]:
    """Yield the events of one response until it ends."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.EndOfMessage):
            return
        elif isinstance(event, h11.Event):
            yield event


def _check_response(domain: str, response: h11.Response) -> str:
    """Return the content type of a response that a sender accepts; raises FetchError for any other."""
    status = response.status_code
    headers = dict(response.headers)
    if 300 <= status < 400:  # noqa: PLR2004  RFC 8461 §3.3: redirects MUST NOT be followed
        to = headers.get(b"location", b"nowhere").decode("latin-1")
        raise FetchError(domain, FetchCause.REDIRECT, f"status {status} redirects to {to[:200]}; answer 200 itself")
    if status != 200:  # noqa: PLR2004  RFC 8461 §3.3: only 200 counts
        raise FetchError(domain, FetchCause.STATUS, f"status {status}; senders take 200 only")
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    if content_type.partition(";")[0].strip().lower() != "text/plain":
        # RFC 8461 §3.2 says text/plain; senders SHOULD check, and several refuse anything else.
        message = f"Content-Type is {content_type[:100]!r}; serve text/plain"
        raise FetchError(domain, FetchCause.MEDIA_TYPE, message)
    encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if encoding.lower() != "identity":
        message = f"Content-Encoding is {encoding[:100]!r}, which nobody asked for; serve the bytes as they are"
        raise FetchError(domain, FetchCause.CONTENT_ENCODING, message)
    return content_type
