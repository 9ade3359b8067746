"""Judge the MX hosts: covered by the policy, with addresses, and with TLS that a sender accepts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mta_sts.checks.certificates import judge_end, untrusted
from mta_sts.checks.observe import mx_hosts
from mta_sts.checks.records import lookup_failure
from mta_sts.checks.report import Area, Kind, Point
from mta_sts.checks.smtp import SmtpCause
from mta_sts.fetch import FetchCause
from mta_sts.matching import mx_matches
from mta_sts.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from mta_sts.checks.observe import MailHost, Seen
    from mta_sts.checks.smtp import Session

NO_CONNECTION = "smtp-no-connection"
"""The rule that a run takes back where it reached no MX host at all: then port 25 is blocked."""
_MEND: dict[SmtpCause | FetchCause, str] = {
    SmtpCause.NO_CONNECTION: "start the host, open its port 25, or take its MX record out",
    SmtpCause.REFUSED: "start the mail service there, or take the MX record out",
    SmtpCause.SILENT: "see why it hangs: senders go to another host, or wait",
    SmtpCause.NO_STARTTLS: "switch STARTTLS on, and see whether a firewall strips it",
    SmtpCause.STARTTLS_FAILS: "see the host's log: its certificate or key may not load",
    SmtpCause.TLS_VERSION: "switch TLS 1.2 and 1.3 on",
    SmtpCause.TLS: "see the host's log: it shows no certificate for this name, or no common cipher",
    FetchCause.CERTIFICATE_EXPIRED: "renew the certificate, and reload the mail service",
    FetchCause.CERTIFICATE_NOT_YET_VALID: "use the former certificate until then, or set the clock right",
    FetchCause.CERTIFICATE_NAME: "get a certificate whose subjectAltName has {host} (RFC 8461 §4.2)",
    FetchCause.CERTIFICATE_UNTRUSTED: "use a certificate of a public authority",
}


def severity(mode: Mode | None) -> Kind:
    """Return how much an MX host matters that senders would not use: mail is refused in enforce only."""
    return Kind.ERROR if mode is Mode.ENFORCE else Kind.WARNING


def judge_mx(seen: Seen, mode: Mode | None) -> Iterator[Point]:
    """Judge MX records against the served policy (RFC 8461 §4.1)."""
    if seen.mx is None:
        return
    failed = lookup_failure(Area.MX, seen.mx)
    if failed:
        yield failed
        return
    hosts = mx_hosts(seen.mx)
    if hosts == ["."]:
        message = (
            "a null MX says that the domain takes no mail (RFC 7505), so there is nothing to protect; take MTA-STS "
            "back with `mode: none`, or publish MX records"
        )
        yield Point(Area.MX, Kind.WARNING, "null-mx", seen.domain, message)
        return
    if "." in hosts:
        message = "a null MX stands beside other MX records, and senders may give up on the domain; delete `MX 0 .`"
        yield Point(Area.MX, Kind.ERROR, "null-mx-not-alone", seen.domain, message)
        hosts.remove(".")
    if not hosts:
        message = f"no MX record: mail goes to the domain's own address; add `{seen.domain} MX 10 …`"
        yield Point(Area.MX, Kind.WARNING, "mx-missing", seen.domain, message)
    yield from _coverage(seen, hosts or [seen.domain], severity(mode))
    for host in seen.mail_hosts or ():
        yield from _address(host, severity(mode))


def _coverage(seen: Seen, hosts: list[str], kind: Kind) -> Iterator[Point]:
    if seen.served is None or seen.served.policy.mode is Mode.NONE:
        return
    patterns = seen.served.policy.mx
    for host in hosts:
        if not any(mx_matches(pattern, host) for pattern in patterns):
            message = (
                f"MX host {host} matches no pattern of the policy ({', '.join(patterns[:6])}), so senders that enforce "
                f"it do not use the host; add `mx: {host}` to the policy with a new id, or delete the MX record"
            )
            yield Point(Area.MX, kind, "mx-not-covered", seen.domain, message)
    for pattern in patterns:
        if not any(mx_matches(pattern, host) for host in hosts):
            message = f"pattern {pattern} matches no MX host; take it out if no move is going on"
            yield Point(Area.MX, Kind.WARNING, "pattern-without-mx", seen.domain, message)


def _address(host: MailHost, kind: Kind) -> Iterator[Point]:
    failed = lookup_failure(Area.MX, host.addresses)
    if failed:
        yield failed if failed.kind is Kind.SKIPPED else replace(failed, kind=kind)
    elif not host.addresses.values:
        message = (
            f"MX host {host.name} has no address, so no mail reaches it; add `{host.name} A …`, or delete its MX record"
        )
        yield Point(Area.MX, kind, "mx-without-address", host.name, message)
    elif host.addresses.cnames:
        message = (
            f"MX host {host.name} is a CNAME to {host.addresses.cnames[-1]}, which RFC 5321 §5.1 forbids; name the "
            "host that has the address"
        )
        yield Point(Area.MX, Kind.WARNING, "mx-is-cname", host.name, message)


def judge_smtp(seen: Seen, mode: Mode | None, now: datetime) -> Iterator[Point]:
    """Judge STARTTLS and certificates of each MX host (RFC 8461 §4.2)."""
    for host in seen.mail_hosts or ():
        groups: dict[tuple[str, str], list[Session]] = {}
        good = [session for session in host.sessions if session.cause is None]
        for session in host.sessions:
            if session.cause:
                groups.setdefault((session.cause, session.detail), []).append(session)
        for group in groups.values():
            at = f" at {', '.join(session.address for session in group)}" if good or len(groups) > 1 else ""
            yield _fault(host.name, group[0], at, severity(mode))
        if good:
            yield from judge_end(Area.SMTP, host.name, good[0].certificate, now)


def _fault(host: str, session: Session, at: str, kind: Kind) -> Point:
    cause = session.cause
    path = f"{host}{at}"
    if cause is SmtpCause.NO_ROUTE:
        message = (
            f"{session.address} can't be reached from this machine; check it from one that has this address family"
        )
        return Point(Area.SMTP, Kind.SKIPPED, "no-route", path, message)
    if cause is SmtpCause.NOT_TALKING:
        message = f"{session.detail}, so its certificate was not seen; check it from a machine that may send it mail"
        return Point(Area.SMTP, Kind.SKIPPED, "smtp-not-talking", path, message)
    rule = f"smtp-{cause}"
    mend = _MEND[cause].format(host=host) if cause else ""
    if cause is FetchCause.CERTIFICATE_UNTRUSTED:
        token, mend = untrusted(session.verify_code, mend)
        rule = f"smtp-{token}"
    return Point(Area.SMTP, kind, rule, path, f"{session.detail}; {mend}")
