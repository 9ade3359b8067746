"""Check many domains at once, and say at the end what could not be told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mta_sts.checks import drift, host, mail, memory, records
from mta_sts.checks.lookup import EVERYTHING
from mta_sts.checks.observe import DOMAIN_LIMIT, Observer, mx_hosts
from mta_sts.checks.report import Area, DomainReport, Kind, Point
from mta_sts.checks.smtp import NOTHING_BACK, SmtpCause
from mta_sts.history import history_versions
from mta_sts.ledger import LiveId, held_policies
from mta_sts.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mta_sts.checks.lookup import Reach
    from mta_sts.checks.observe import Seen
    from mta_sts.checks.report import LookedHost
    from mta_sts.domain_config import DomainConfig
    from mta_sts.ledger import PolicyVersion
    from mta_sts.network_options import Network

_AT_ONCE = 32
"""Domains that are looked at together: enough to wait for many, few enough for each to be served in its time."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beforehand: declarations by domain, histories of the last run, versions of the policy bucket."""

    declared: Mapping[str, DomainConfig] = field(default_factory=dict)
    before: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    versions: Mapping[str, Sequence[PolicyVersion]] = field(default_factory=dict)
    smtp: Mapping[str, Mapping[str, LookedHost]] | None = None
    """What an earlier run found at the MX hosts of each domain; None where no earlier run is given."""
    own_ids: bool = False
    """Whether ids are made by this product, so that they say which bytes they stand for."""


_NOTHING_KNOWN = Known()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    done: int
    total: int
    errors: int

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} domains checked, {self.errors:,} with errors"


def check_domains(
    domains: Sequence[str],
    network: Network,
    known: Known = _NOTHING_KNOWN,
    *,
    smtp: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[DomainReport]:
    """Return a report for each domain (normalised), in their order; see `check_domains_async`."""
    return asyncio.run(check_domains_async(domains, network, known, smtp=smtp, progress=progress))


async def check_domains_async(
    domains: Sequence[str],
    network: Network,
    known: Known = _NOTHING_KNOWN,
    *,
    smtp: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[DomainReport]:
    """Return a report for each domain (normalised), in their order; raises ValueError where no resolver is known."""
    observer = Observer(network, smtp=smtp)
    reports: list[DomainReport | None] = [None] * len(domains)
    doubtful: dict[int, tuple[Seen, datetime, float]] = {}
    waiting = iter(enumerate(domains))
    done = wrong = 0

    async def report(index: int, domain: str) -> DomainReport:
        if done >= _AT_ONCE and not observer.answered:
            return _unasked(domain, known, done)
        start = time.monotonic()
        try:
            seen = await observer.look_at(domain)
        except Exception as error:  # noqa: BLE001  whatever a stranger published, the other domains count
            return _failed(domain, known, error)
        looked = seen, datetime.now(UTC), round(time.monotonic() - start, 3)
        if tells_of_us(seen, observer.reach):
            doubtful[index] = looked
        return _judged(*looked, known, observer.reach)

    async def work() -> None:
        nonlocal done, wrong
        for index, domain in waiting:
            reports[index] = found = await report(index, domain)
            done, wrong = done + 1, wrong + bool(found.count(Kind.ERROR))
            progress(Progress(done, len(domains), wrong))

    await asyncio.gather(*(work() for _ in range(min(_AT_ONCE, len(domains)))))
    # What this machine can reach is known only now.
    for index, looked in doubtful.items():
        reports[index] = _judged(*looked, known, observer.reach)
    return [report for report in reports if report is not None]


def tells_of_us(seen: Seen, reach: Reach) -> bool:
    """Whether something of a domain could not be reached, so that the end of the run tells whose fault that is."""
    sessions = [session for host in seen.mail_hosts or () for session in host.sessions]
    unreached = [one.address for one in (*seen.said, *(seen.fetched or ())) if one.unreached]
    unreached += [session.address for session in sessions if session.cause is SmtpCause.NO_CONNECTION]
    silent = any(session.cause in NOTHING_BACK and not session.greeted for session in sessions)
    return (silent and not reach.smtp) or any(map(reach.no_route, unreached))


def _judged(seen: Seen, now: datetime, seconds: float, known: Known, reach: Reach) -> DomainReport:
    try:
        report = judge(seen, known, now, reach)
    except Exception as error:  # noqa: BLE001  whatever a stranger published, the other domains count
        report = _failed(seen.domain, known, error)
    report.seconds = seconds
    return report


def _remembered(domain: str, known: Known, *points: Point) -> DomainReport:
    """Return the report on a domain of which nothing was seen: what was known of it stays known."""
    history = [dict(entry) for entry in known.before.get(domain, ())]
    return DomainReport(domain, points, history=history, smtp=dict((known.smtp or {}).get(domain, {})))


def _failed(domain: str, known: Known, error: Exception) -> DomainReport:
    message = (
        f"this check itself failed ({type(error).__name__}: {error}), so nothing is known; report it with this line"
    )
    return _remembered(domain, known, Point(Area.RECORD, Kind.SKIPPED, "internal-error", domain, message))


def _unasked(domain: str, known: Known, done: int) -> DomainReport:
    message = (
        f"the resolver gave no answer at all for the {done} domains before this one, so it was not asked any more; "
        "see whether it runs, or give --resolver ADDRESS"
    )
    return _remembered(domain, known, Point(Area.RECORD, Kind.SKIPPED, "resolver-silent", domain, message))


def judge(seen: Seen, known: Known, now: datetime, reach: Reach = EVERYTHING) -> DomainReport:
    """Return the report on what was seen of a domain."""
    domain = seen.domain
    whole = _one_fault(seen)
    if whole:
        return _remembered(domain, known, whole)
    before = known.before.get(domain, ())
    report = _remembered(domain, known)
    declared = known.declared.get(domain)
    identifier = seen.identifier
    versions = [
        *known.versions.get(domain, ()),
        *history_versions(before),
        *(declared.history if declared else ()),
    ]
    mode = _strongest_mode(seen, declared, versions, identifier, now)
    weight = mail.severity(mode)
    own = declared is not None or known.own_ids
    hosts = [host for host in seen.mail_hosts or () if host.addresses.values or host.addresses.failure]
    found = {host.name: mail.looked_host(host, weight, now, reach) for host in hosts}
    stated = declared.history if declared else ()
    last = memory.last_published(known.versions.get(domain, ())) or (declared.policy if declared else None)
    by_id = [*drift.judge_id(seen, identifier, stated, last)] if own else []
    body = by_id or [*memory.judge_body(seen, versions, identifier, now, declared=declared is not None)]
    policy = seen.served.policy if seen.served else None
    wrong_file = bool({"id-not-of-body", "former-policy-served"} & {point.rule for point in body})
    if wrong_file:
        # What it says is not to be blamed on anything else. The stack alone does not tell what is meant: a policy also
        # lists hosts that leave.
        policy = memory.policy_of(versions, identifier)
    points = [
        *records.judge_record(seen, now, declared=declared is not None),
        *host.judge_host(seen, now, reach),
        *(() if wrong_file else host.judge_policy(seen)),
        *body,
        *mail.judge_mx(seen, mode, policy, declared),
        *(point for one in hosts for point in mail.judge_smtp(one, weight, now, reach)),
        *mail.blocked(seen, reach),
        *records.judge_reports(seen, declared=declared is not None and bool(declared.reports)),
        *records.judge_agreement(seen, reach),
        *memory.judge_held(seen, versions, identifier, now),
    ]
    if seen.served and known.versions.get(domain) == []:
        message = (
            "the policy bucket that was given remembers no policy of this domain, and one is served: see that it is "
            "the bucket of the stack that serves it; `pulumi stack output policy_bucket` names it"
        )
        points.append(Point(Area.POLICY, Kind.WARNING, "bucket-without-policy", domain, message))
    if known.smtp is not None:
        points += memory.judge_smtp_memory(report.smtp, seen, found, now)
    elif not seen.smtp:
        message = "STARTTLS and certificates of the MX hosts were NOT checked, as asked; run it without --no-smtp"
        points.append(Point(Area.SMTP, Kind.NOTE, "smtp-not-asked-for", "", message))
    if declared:
        points += drift.judge_drift(seen, declared, policy=not wrong_file)
    if not seen.in_time:
        message = f"not everything was seen within {DOMAIN_LIMIT:g} s; run again, and see which of its servers hangs"
        points.append(Point(Area.RECORD, Kind.SKIPPED, "out-of-time", domain, message))
    report.points = tuple(sorted(dict.fromkeys(points), key=lambda point: list(Kind).index(point.kind)))
    report.id = identifier
    report.history = memory.next_history(before, seen, identifier, now)
    report.smtp = memory.next_smtp(report.smtp, seen, found)
    report.authentic = bool(seen.sts and seen.sts.authentic)
    report.mx = mx_hosts(seen.mx) if seen.mx else []
    served = seen.served
    if served:
        report.mode, report.max_age = str(served.policy.mode), served.policy.max_age
        report.policy = served.body.decode("utf-8", "replace")
    report.looked = _looked(seen, report, declared)
    return report


def _looked(seen: Seen, report: DomainReport, declared: DomainConfig | None) -> frozenset[Area]:
    """Return the areas that were looked at, of which the MX hosts perhaps by the run that handed them over."""
    looked = {
        Area.RECORD: seen.sts is not None and not seen.sts.failure,
        Area.HOST: bool(seen.fetched),
        Area.POLICY: seen.served is not None,
        Area.MX: seen.mx is not None and not seen.mx.failure,
        Area.SMTP: report.smtp_seen is not None,
        Area.REPORTS: seen.tlsrpt is not None and not seen.tlsrpt.failure,
        Area.STACK: declared is not None,
    }
    return frozenset(area for area, was in looked.items() if was)


def _one_fault(seen: Seen) -> Point | None:
    """Return what explains everything else, None where nothing does."""
    domain = seen.domain
    if seen.mx is None:
        return None
    if not seen.public:
        message = (
            "this resolver knows no public DNS (it says that the root does not exist), so nothing is known; connect "
            "this machine, or ask another --resolver"
        )
        return Point(Area.RECORD, Kind.SKIPPED, "no-public-dns", domain, message)
    if not seen.mx.exists:
        message = "there is no such domain in DNS (NXDOMAIN); correct the name, or the delegation at the parent zone"
        return Point(Area.RECORD, Kind.ERROR, "domain-missing", domain, message)
    unpublished = seen.sts is not None and not seen.sts.failure and not seen.sts.values and seen.served is None
    if mx_hosts(seen.mx) == ["."] and unpublished:
        message = (
            "a null MX says that the domain takes no mail (RFC 7505), so it needs no MTA-STS; nothing is to be done"
        )
        return Point(Area.MX, Kind.NOTE, "null-mx", domain, message)
    return records.zone_failure(seen)


def _strongest_mode(
    seen: Seen, declared: DomainConfig | None, versions: Sequence[PolicyVersion], identifier: str, now: datetime
) -> Mode | None:
    """Return the strongest mode that senders may go by: what is served, and what they still hold from before."""
    live = LiveId(identifier, now.timestamp(), seen.sts.ttl if seen.sts else 0) if identifier else None
    modes = {held.policy.mode for held in held_policies(versions, live, now.timestamp())}
    if seen.served:
        modes.add(seen.served.policy.mode)
    elif declared:
        modes.add(declared.policy.mode)
    return next((mode for mode in (Mode.ENFORCE, Mode.TESTING, Mode.NONE) if mode in modes), None)
