"""An MX host must work before senders in enforce rely on it: a new one, and those that remain when another leaves."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

# Pulumi's own synchronous invokes stand on this; see `live`.
from pulumi.runtime.sync_await import _sync_await

from mta_sts import Finding, Severity
from mta_sts.checks.smtp import Session, SmtpCause, start_session
from mta_sts.domain_config import MxEntry
from mta_sts.fetch import tls_context
from pulumi_mta_sts.live import once_a_run
from pulumi_mta_sts.outside import outside

_UNSEEN = (SmtpCause.NO_CONNECTION, SmtpCause.NO_ROUTE, SmtpCause.REFUSED)
"""What a network that forbids port 25 looks like, too."""
_MOST_AT_ONCE = 64


def seen_now(hosts: Iterable[str]) -> Mapping[str, Sequence[Session]]:
    """Return what each address of these hosts showed, looked at once a run and all at once."""
    seen: dict[str, list[Session]] = once_a_run(("mx-sessions",), dict)
    missing = [host for host in dict.fromkeys(hosts) if host not in seen]
    at_once = asyncio.Semaphore(_MOST_AT_ONCE)

    async def look(host: str) -> list[Session]:
        async with at_once:
            return await _sessions(host)

    async def gather() -> list[list[Session]]:
        return await asyncio.gather(*map(look, missing))

    if missing:
        seen.update(zip(missing, _sync_await(gather()), strict=True))
    return seen


def not_ready(entries: Iterable[MxEntry], seen: Mapping[str, Sequence[Session]]) -> list[Finding]:
    """Return which of these MX hosts senders in enforce would not use, at any address (RFC 8461 §4.2).

    Where port 25 can't be reached from here (most networks block it), the entry's `checked` has to say who looked.
    """
    return [finding for entry in entries for finding in _judged(entry, seen[entry.host])]


async def _sessions(host: str) -> list[Session]:
    import dns.exception as of_dns  # noqa: PLC0415  heavy

    try:
        addresses = await outside().mail_addresses(host)
    except of_dns.DNSException as error:
        detail = f"its addresses can't be looked up: {' '.join(str(error).split())} Run it again"
        return [Session(host, host, SmtpCause.NO_CONNECTION, detail)]
    context = tls_context(outside().ca_file)
    return await asyncio.gather(*(start_session(host, address, port, context) for address, port in addresses))


def _judged(entry: MxEntry, sessions: Sequence[Session]) -> list[Finding]:
    host = entry.host
    if not sessions:
        message = f"{host} has no address, and senders would wait for it; give it one before it becomes an MX host"
        return [Finding("mx-not-ready", "mx", message)]
    wrong = [session for session in sessions if session.cause is not None and session.cause not in _UNSEEN]
    if wrong:
        shown = "; ".join(f"{session.address}: {session.detail}" for session in wrong)
        message = f"{host} is not ready for senders in enforce ({shown}); mend that first"
        return [Finding("mx-not-ready", "mx", message)]
    if any(session.cause is None for session in sessions):
        return []
    if entry.checked:
        message = f"{host} could not be looked at from here (port 25); checked: {entry.checked}"
        return [Finding("mx-unseen", "mx", message, Severity.WARNING)]
    message = (
        f"{host} can't be looked at from here ({sessions[0].detail}; many networks block port 25), and a host without "
        "a good certificate would lose mail: run this where port 25 is open, or look yourself and write "
        f"`checked: <who looked, when>` beside `host: {host}`"
    )
    return [Finding("mx-unseen", "mx", message)]
