"""Check many domains at once, and say at the end what could not be told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mta_sts.checks import drift, host, mail, memory, records
from mta_sts.checks.observe import DOMAIN_LIMIT, Observer, mx_hosts
from mta_sts.checks.report import Area, DomainReport, Kind, Point
from mta_sts.findings import MtaStsError
from mta_sts.history import history_versions
from mta_sts.policy import Mode
from mta_sts.records import select_sts_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mta_sts.checks.observe import Seen
    from mta_sts.domain_config import DomainConfig
    from mta_sts.ledger import PolicyVersion
    from mta_sts.network_options import Network

SMTP_DUE = timedelta(hours=48)
"""How long it may be that nobody has looked at the MX hosts of a domain."""
_AT_ONCE = 32
"""Domains that are looked at together: enough to wait for many, few enough for each to be served in its time."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beforehand: declarations by domain, histories of the last run, versions of the policy bucket."""

    declared: Mapping[str, DomainConfig] = field(default_factory=dict)
    before: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    versions: Mapping[str, Sequence[PolicyVersion]] = field(default_factory=dict)
    smtp_seen: Mapping[str, datetime] | None = None
    """When the MX hosts of each domain were last looked at; None where no earlier run is given."""
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
    waiting = iter(enumerate(domains))
    done = wrong = 0

    async def work() -> None:
        nonlocal done, wrong
        for index, domain in waiting:
            start = time.monotonic()
            seen = await observer.look_at(domain)
            report = judge(seen, known, datetime.now(UTC))
            report.seconds = round(time.monotonic() - start, 3)
            reports[index] = report
            done, wrong = done + 1, wrong + bool(report.count(Kind.ERROR))
            progress(Progress(done, len(domains), wrong))

    await asyncio.gather(*(work() for _ in range(min(_AT_ONCE, len(domains)))))
    finished = [report for report in reports if report is not None]
    for report in finished:
        report.points = _at_the_end(report, known, connected=observer.connected, smtp=smtp)
    return finished


def judge(seen: Seen, known: Known, now: datetime) -> DomainReport:
    """Return the report on what was seen of a domain."""
    domain = seen.domain
    before = known.before.get(domain, ())
    report = DomainReport(domain, history=[dict(entry) for entry in before])
    if seen.mx is not None and not seen.mx.exists:
        message = "there is no such domain in DNS (NXDOMAIN); correct the name, or the delegation at the parent zone"
        report.points = (Point(Area.RECORD, Kind.ERROR, "domain-missing", domain, message),)
        return report
    whole = records.zone_failure(seen)
    if whole:
        report.points = (whole,)
        return report
    declared = known.declared.get(domain)
    identifier = _identifier(seen)
    served = seen.served
    mode = served.policy.mode if served else declared.policy.mode if declared else _mode_before(before)
    versions = [
        *known.versions.get(domain, ()),
        *history_versions(before),
        *(declared.history if declared else ()),
    ]
    points = [
        *records.judge_record(seen),
        *host.judge_host(seen, now),
        *host.judge_policy(seen),
        *mail.judge_mx(seen, mode),
        *mail.judge_smtp(seen, mode, now),
        *records.judge_reports(seen),
        *records.judge_agreement(seen),
        *memory.judge_memory(seen, versions, identifier, now),
    ]
    if declared or known.own_ids:
        points += drift.judge_id(seen, identifier)
    if declared:
        points += drift.judge_drift(seen, declared)
    if not seen.in_time:
        message = f"not everything was seen within {DOMAIN_LIMIT:g} s; run again, and see which of its servers hangs"
        points.append(Point(Area.RECORD, Kind.SKIPPED, "out-of-time", domain, message))
    report.points = tuple(sorted(dict.fromkeys(points), key=lambda point: list(Kind).index(point.kind)))
    report.id = identifier
    report.history = memory.next_history(before, seen, identifier, now)
    report.authentic = bool(seen.sts and seen.sts.authentic)
    report.mx = mx_hosts(seen.mx) if seen.mx else []
    if served:
        report.mode, report.max_age = str(served.policy.mode), served.policy.max_age
        report.policy = served.body.decode("utf-8", "replace")
    return report


def _identifier(seen: Seen) -> str:
    try:
        return select_sts_record(seen.sts.values if seen.sts else ()).id
    except MtaStsError:
        return ""


def _mode_before(before: Sequence[Mapping[str, Any]]) -> Mode | None:
    return Mode(before[0]["mode"]) if before else None


def _at_the_end(report: DomainReport, known: Known, *, connected: bool, smtp: bool) -> tuple[Point, ...]:
    """Take back what only seemed to be a fault of MX hosts: if none could be reached, our own port 25 is blocked."""
    kept = [point for point in report.points if connected or point.rule != mail.NO_CONNECTION]
    if len(kept) < len(report.points):
        message = (
            "no MX host of this run could be reached, so outgoing port 25 seems to be blocked here: STARTTLS and "
            "certificates were NOT checked; run it on a host that may use port 25"
        )
        kept.append(Point(Area.SMTP, Kind.SKIPPED, "port-25-blocked", "", message))
    elif not smtp and known.smtp_seen is None:
        message = "STARTTLS and certificates of the MX hosts were NOT checked, as asked; run it without --no-smtp"
        kept.append(Point(Area.SMTP, Kind.NOTE, "smtp-not-asked-for", "", message))
    now = datetime.now(UTC)
    if smtp and not any(point.area is Area.SMTP and point.kind is Kind.SKIPPED for point in kept):
        report.smtp_seen = now
        return tuple(kept)
    report.smtp_seen = (known.smtp_seen or {}).get(report.domain)
    if known.smtp_seen is not None:
        kept.append(_looked_at_before(report.smtp_seen, now))
    return tuple(kept)


def _looked_at_before(last: datetime | None, now: datetime) -> Point:
    """Return what is to be said of MX hosts that another run is to look at."""
    if last is not None and now - last <= SMTP_DUE:
        message = f"STARTTLS and certificates of MX hosts were looked at on {last:%Y-%m-%d %H:%M} UTC, not in this run"
        return Point(Area.SMTP, Kind.NOTE, "smtp-seen-before", "", message)
    when = f"since {last:%Y-%m-%d %H:%M} UTC" if last else "in any run that is known here"
    message = (
        f"STARTTLS and certificates of the MX hosts were NOT looked at {when}, and are to be every "
        f"{SMTP_DUE // timedelta(hours=1)} hours; see that the runner that may use port 25 hands its JSON over"
    )
    return Point(Area.SMTP, Kind.SKIPPED, "smtp-not-seen-lately", "", message)
