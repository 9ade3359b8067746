"""Judge the MX hosts: covered by the policy, with addresses, and with TLS that a sender accepts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mta_sts.checks.certificates import judge_ends, untrusted
from mta_sts.checks.observe import mx_hosts
from mta_sts.checks.records import lookup_failures
from mta_sts.checks.report import Area, Kind, LookedHost, Point
from mta_sts.checks.smtp import NOTHING_BACK, SmtpCause
from mta_sts.fetch import FetchCause
from mta_sts.matching import mx_matches
from mta_sts.names import is_address, name_problem
from mta_sts.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from mta_sts.checks.lookup import Reach
    from mta_sts.checks.observe import MailHost, Seen
    from mta_sts.checks.smtp import Session
    from mta_sts.domain_config import DomainConfig
    from mta_sts.policy import Policy

_NO_TLS = (*NOTHING_BACK, SmtpCause.SILENT, SmtpCause.NOT_TALKING)
"""Causes that come before anything of TLS was seen."""
_MEND: dict[SmtpCause | FetchCause, str] = {
    SmtpCause.NO_CONNECTION: "start the host, open its port 25, or let the MX records name another",
    SmtpCause.REFUSED: "start the mail service there, or let the MX records name another",
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


def judge_mx(
    seen: Seen, mode: Mode | None, policy: Policy | None, declared: DomainConfig | None = None
) -> Iterator[Point]:
    """Judge MX records against a policy (RFC 8461 §4.1): the one that is served, or is to be; None where not known."""
    if seen.mx is None:
        return
    if seen.mx.failure:
        yield from lookup_failures(Area.MX, seen.mx)
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
    kind = severity(mode)
    looked = [host.addresses for host in seen.mail_hosts or ()]
    nowhere = not hosts and bool(looked) and not any(one.values or one.failure for one in looked)
    if not hosts:
        goes = " and no address of its own, so no mail reaches it" if nowhere else ", so mail goes to its own address"
        message = f"the domain has no MX record{goes}; publish an MX record that names its mail host"
        yield Point(Area.MX, kind if nowhere else Kind.WARNING, "mx-missing", seen.domain, message)
    unusable = [host for host in hosts if name_problem(host)]
    yield from (_no_host_name(seen.domain, host, kind) for host in unusable)
    named = [host for host in hosts or [seen.domain] if host not in unusable]
    if not nowhere:
        yield from _coverage(seen, named, policy, kind, declared)
    for host in seen.mail_hosts or ():
        if host.name not in unusable and not nowhere:
            yield from _address(host, kind)


def _no_host_name(domain: str, host: str, kind: Kind) -> Point:
    """Return what is to be said of an MX record whose target no certificate and no policy can name."""
    if is_address(host):
        message = (
            f"the MX record names the address {host}, and senders look for a host of that name (RFC 5321 §5.1); write "
            f"`{domain} MX 10 mail.{domain}` and `mail.{domain} {'AAAA' if ':' in host else 'A'} {host}`"
        )
    else:
        message = (
            f"the MX record names `{host}`, which {name_problem(host)}: no certificate and no policy can name it; let "
            "the record name the mail host by its host name"
        )
    return Point(Area.MX, kind, "mx-no-host-name", domain, message)


def _coverage(
    seen: Seen, hosts: list[str], policy: Policy | None, kind: Kind, declared: DomainConfig | None
) -> Iterator[Point]:
    if policy is None or policy.mode is Mode.NONE:
        return
    domain, recorded = seen.domain, bool(seen.mx and seen.mx.values)
    # That an MX record is missing that the stack makes is drift.
    managed = {entry.host for entry in declared.mx} if declared and declared.manage_mx else ()
    patterns = policy.mx
    for host in hosts:
        if not any(mx_matches(pattern, host) for pattern in patterns):
            mend = f"declare it in `mx` of {domain}" if declared else f"add `mx: {host}` to the policy with a new id"
            away = "or delete the MX record" if recorded else "unless the MX records that the policy lists are put back"
            message = (
                f"MX host {host} matches no pattern of the policy ({', '.join(patterns[:6])}), so senders that enforce "
                f"it do not use the host; {mend}, {away}"
            )
            yield Point(Area.MX, kind, "mx-not-covered", domain, message)
    # Where no MX record is there at all, that is what is to be mended.
    for pattern in patterns if recorded else ():
        if pattern not in managed and not any(mx_matches(pattern, host) for host in hosts):
            message = f"pattern {pattern} matches no MX host; take it out if no move is going on"
            yield Point(Area.MX, Kind.WARNING, "pattern-without-mx", domain, message)


def _address(host: MailHost, kind: Kind) -> Iterator[Point]:
    for failed in lookup_failures(Area.MX, host.addresses):
        yield failed if failed.kind is Kind.SKIPPED else replace(failed, kind=kind)
    if host.addresses.failure:
        return
    if not host.addresses.values:
        message = (
            f"MX host {host.name} has no address, so no mail reaches it; add its A or AAAA record, or delete its MX "
            "record"
        )
        yield Point(Area.MX, kind, "mx-without-address", host.name, message)
    elif host.addresses.cnames:
        message = (
            f"MX host {host.name} is a CNAME to {host.addresses.cnames[-1]}, which RFC 5321 §5.1 forbids; name the "
            "host that has the address"
        )
        yield Point(Area.MX, Kind.WARNING, "mx-is-cname", host.name, message)


def judge_smtp(host: MailHost, kind: Kind, now: datetime, reach: Reach) -> Iterator[Point]:
    """Judge STARTTLS and certificates of an MX host at each address (RFC 8461 §4.2)."""
    good = [session for session in host.sessions if session.cause is None]
    groups: dict[tuple[str, str], list[Session]] = {}
    for session in host.sessions:
        if session.cause and _hidden(session, reach) != "port-25-blocked":
            groups.setdefault((session.cause, session.detail), []).append(session)
    seen_elsewhere = any(not _hidden(session, reach) for session in host.sessions)
    for group in groups.values():
        addresses = ", ".join(session.address for session in group)
        path = f"{host.name} at {addresses}" if good or len(groups) > 1 else host.name
        hidden = _hidden(group[0], reach)
        if hidden == "no-route":
            message = f"{addresses} can't be reached from this machine; check it from one that has this address family"
            yield Point(Area.SMTP, Kind.NOTE if seen_elsewhere else Kind.SKIPPED, "no-route", path, message)
        elif hidden:
            message = (
                f"{group[0].detail}, so its certificate was not seen; check it from a machine that may send it mail"
            )
            yield Point(Area.SMTP, Kind.SKIPPED, "smtp-not-talking", path, message)
        else:
            yield _fault(host, group[0], path, kind)
    yield from judge_ends(Area.SMTP, host.name, [(one.address, one.certificate) for one in good], now)


def blocked(seen: Seen, reach: Reach) -> Iterator[Point]:
    """Say that port 25 is blocked here: no MX host of the whole run spoke, which is not their fault and no pass."""
    sessions = [session for host in seen.mail_hosts or () for session in host.sessions]
    if any(_hidden(session, reach) == "port-25-blocked" for session in sessions):
        message = (
            "no MX host of this run spoke to us, so outgoing port 25 seems to be blocked here, or all are down: "
            "STARTTLS and certificates were NOT checked; run it on a host that may use port 25"
        )
        yield Point(Area.SMTP, Kind.SKIPPED, "port-25-blocked", "", message)


def looked_host(host: MailHost, kind: Kind, now: datetime, reach: Reach) -> LookedHost | None:
    """Return what was found at an MX host, None where it could not be looked at, or not at each address in time."""
    shown = [session for session in host.sessions if not _hidden(session, reach)]
    if not shown or len(host.sessions) < len(host.addresses.values):
        return None
    points = [point for point in judge_smtp(host, kind, now, reach) if point.kind is not Kind.SKIPPED]
    return LookedHost(now if any(session.cause not in _NO_TLS for session in shown) else None, tuple(points))


def _hidden(session: Session, reach: Reach) -> str:
    """Return the rule by which a session tells of us, not of the host; empty where it tells of the host."""
    if session.cause is SmtpCause.NO_ROUTE:
        return "no-route"
    if session.cause is SmtpCause.NO_CONNECTION and reach.no_route(session.address):
        return "no-route"
    if not reach.smtp and session.cause in NOTHING_BACK and not session.greeted:
        return "port-25-blocked"
    return "smtp-not-talking" if session.cause is SmtpCause.NOT_TALKING else ""


def _fault(host: MailHost, session: Session, path: str, kind: Kind) -> Point:
    cause = session.cause
    rule = f"smtp-{cause}"
    mend = _MEND[cause].format(host=host.name) if cause else ""
    if cause is FetchCause.CERTIFICATE_UNTRUSTED:
        token, mend = untrusted(session.verify_code, mend)
        rule = f"smtp-{token}"
    return Point(Area.SMTP, kind, rule, path, f"{session.detail}; {mend}")
