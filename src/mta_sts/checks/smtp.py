"""What a sender meets at an MX host: SMTP, STARTTLS with SNI, the certificate (RFC 8461 §4.2, RFC 3207)."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import dataclass, replace
from enum import StrEnum

from mta_sts.checks.certificates import OLD_VERSIONS, any_tls, described
from mta_sts.checks.lookup import NO_ROUTE, NOT_LET_THROUGH
from mta_sts.fetch import FetchCause, certificate_cause
from mta_sts.matching import certificate_matches

SMTP_PORT = 25
_CONNECT_LIMIT = 10.0
_SESSION_LIMIT = 25.0
"""Seconds: senders wait minutes (RFC 5321 §4.5.3.2), but a host that needs more than this is to be looked at."""
_LOOK_LIMIT = 10.0
_MOST_LINES = 100


class SmtpCause(StrEnum):
    """Why a host gave no session that a sender with a policy can use; certificates have their own causes."""

    NO_CONNECTION = "no-connection"  # nothing comes back: the host is down, or port 25 is blocked on the way
    NO_ROUTE = "no-route"  # this machine can't reach the address family
    REFUSED = "refused"  # nothing listens there, or it closes at once
    SILENT = "silent"  # it takes the connection and then says nothing, or too slowly
    NOT_TALKING = "not-talking"  # it turns us away: by our address, or because it is busy
    NO_STARTTLS = "no-starttls"  # it does not offer it, or something on the way strips it
    STARTTLS_FAILS = "starttls-fails"  # it offers STARTTLS and then refuses it
    TLS_VERSION = "tls-version"  # it speaks nothing newer than TLS 1.1
    TLS = "tls"  # the handshake fails otherwise


NOTHING_BACK = (SmtpCause.NO_CONNECTION, SmtpCause.NO_ROUTE, SmtpCause.REFUSED)
"""What a network that blocks port 25 looks like, unless the host greeted."""


@dataclass(frozen=True, slots=True)
class Session:
    """What one address of an MX host showed: a leaf certificate in DER, or the cause why there is none."""

    host: str
    address: str
    cause: SmtpCause | FetchCause | None = None
    detail: str = ""
    verify_code: int = 0
    certificate: bytes = b""
    version: str = ""
    greeted: bool = False
    """Whether it spoke SMTP to us."""


class _EndedError(Exception):
    def __init__(self, cause: SmtpCause, detail: str) -> None:
        self.cause, self.detail = cause, detail
        super().__init__(detail)


async def start_session(host: str, address: str, port: int, context: ssl.SSLContext) -> Session:
    """Open SMTP with STARTTLS at one address as a sender does, and end it; never raises for what the host does.

    `context` checks the chain; the name is compared here, by the same rule as everywhere (RFC 8461 §4.2). Where TLS
    fails, a second look that takes any version and certificate tells what the host has.
    """
    session = await _session(host, address, port, context, _SESSION_LIMIT)
    if session.cause not in (SmtpCause.TLS, *FetchCause):
        return session
    shown = session if session.certificate else await _session(host, address, port, any_tls(), _LOOK_LIMIT)
    if shown.version in OLD_VERSIONS:
        return replace(session, cause=SmtpCause.TLS_VERSION, detail=f"speaks no TLS 1.2, only {shown.version}")
    what = described(shown.certificate) if shown.certificate else ""
    return replace(session, detail=f"{session.detail}: {what}") if what else session


async def _session(host: str, address: str, port: int, context: ssl.SSLContext, limit: float) -> Session:
    writer: asyncio.StreamWriter | None = None
    cause: SmtpCause | FetchCause
    greeted = False
    verify_code = 0
    try:
        reader, writer = await _connect(address, port)
        async with asyncio.timeout(limit):
            code, lines = await _reply(reader)
            greeted = True
            _expect_welcome(code, lines)
            return await _talk(host, address, reader, writer, context)
    except _EndedError as ended:
        cause, detail = ended.cause, ended.detail
    except TimeoutError:
        cause, detail = SmtpCause.SILENT, f"connected, but no whole session within {limit:g} s"
    except ssl.SSLCertVerificationError as error:
        cause, detail, verify_code = certificate_cause(error), error.verify_message.rstrip("."), error.verify_code
    except ssl.SSLError as error:
        cause, detail = SmtpCause.TLS, f"the TLS handshake fails ({error.reason or error})"
    except (OSError, asyncio.IncompleteReadError):
        cause, detail = SmtpCause.REFUSED, "closes the connection"
    finally:
        if writer is not None:
            writer.transport.abort()
    return Session(host, address, cause, detail, verify_code, greeted=greeted)


async def _connect(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(_CONNECT_LIMIT):
            return await asyncio.open_connection(address, port)
    except TimeoutError:
        raise _EndedError(SmtpCause.NO_CONNECTION, f"no connection within {_CONNECT_LIMIT:g} s") from None
    except OSError as error:
        cause = SmtpCause.REFUSED
        if error.errno in NO_ROUTE:
            cause = SmtpCause.NO_ROUTE
        elif error.errno in NOT_LET_THROUGH:
            cause = SmtpCause.NO_CONNECTION
        # asyncio words some of them itself, with the address.
        raise _EndedError(cause, f"no connection ({os.strerror(error.errno or 0)})") from error


def _expect_welcome(code: str, lines: list[str]) -> None:
    if code != "220":
        raise _EndedError(SmtpCause.NOT_TALKING, f"greets with {code} {lines[-1]}")


async def _talk(
    host: str, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> Session:
    # RFC 5321 §4.1.3: a client that has no name to give says its address.
    ours = writer.get_extra_info("sockname")[0]
    writer.write(f"EHLO [{'IPv6:' if ':' in ours else ''}{ours}]\r\n".encode())
    code, lines = await _reply(reader)
    if code != "250":
        raise _EndedError(SmtpCause.NOT_TALKING, f"answers EHLO with {code} {lines[-1]}")
    if "STARTTLS" not in (line.upper().strip() for line in lines):
        raise _EndedError(SmtpCause.NO_STARTTLS, "does not offer STARTTLS")
    writer.write(b"STARTTLS\r\n")
    code, lines = await _reply(reader)
    if code != "220":
        raise _EndedError(SmtpCause.STARTTLS_FAILS, f"offers STARTTLS and answers it with {code} {lines[-1]}")
    try:
        await writer.start_tls(context, server_hostname=host)  # RFC 8461 §4.2: SNI is the MX host
    except ConnectionError:
        raise _EndedError(SmtpCause.TLS, "closes the connection in the TLS handshake") from None
    secured = writer.get_extra_info("ssl_object")
    writer.write(b"QUIT\r\n")
    names = [name for kind, name in secured.getpeercert().get("subjectAltName", ()) if kind == "DNS"]
    matches = certificate_matches(names, host)
    return Session(
        host,
        address,
        None if matches else FetchCause.CERTIFICATE_NAME,
        "" if matches else f"the certificate is not valid for {host}",
        certificate=secured.getpeercert(binary_form=True) or b"",
        version=secured.version() or "",
        greeted=True,
    )


async def _reply(reader: asyncio.StreamReader) -> tuple[str, list[str]]:
    """Return code and lines of one reply (RFC 5321 §4.2)."""
    lines: list[str] = []
    for _ in range(_MOST_LINES):
        try:
            line = (await reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip("\r\n")
        except asyncio.LimitOverrunError:
            break
        if not line[:3].isdigit():
            break
        lines.append(line[4:][:100])
        if line[3:4] != "-":
            return line[:3], lines
    raise _EndedError(SmtpCause.NOT_TALKING, "says what is no SMTP")
