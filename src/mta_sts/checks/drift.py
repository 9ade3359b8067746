"""Judge what is live against what a stack declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta_sts.checks.report import Area, Kind, Point
from mta_sts.findings import MtaStsError
from mta_sts.identifier import content_id, is_own_id
from mta_sts.ledger import ID_METADATA
from mta_sts.records import render_tlsrpt_record, select_tlsrpt_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mta_sts.checks.observe import Seen
    from mta_sts.domain_config import DomainConfig
    from mta_sts.ledger import PolicyVersion
    from mta_sts.policy import Policy

_AUTOMATIC_TTL = 300
"""Seconds that Cloudflare's 1, automatic, means."""
UP = "see `pulumi preview --refresh`, then `pulumi up --refresh`"
"""The way out where what stands is not what the stack declares; without a refresh the engine sees nothing of it."""


def judge_id(
    seen: Seen, identifier: str, history: Sequence[PolicyVersion], meant: Policy | None = None
) -> Iterator[Point]:
    """Judge whether the served file is the one that the record's id stands for; for ids that this product made.

    What a domain that is being adopted has in its `history` was made by others, and stands for nothing. `meant` is the
    policy that was published last, or is declared: where that is served, it is the record that is behind.
    """
    theirs = not is_own_id(identifier) or identifier in {one.metadata.get(ID_METADATA) for one in history}
    if seen.served is None or theirs or identifier.startswith(content_id(seen.served.body)):
        return
    if seen.served.policy == meant:
        message = (
            f"the file is the one that is meant, and the record still shows id {identifier}, which stands for another: "
            f"an update is going on or was interrupted, or a hand changed it; wait for its TTL, else {UP}"
        )
        yield Point(Area.STACK, Kind.ERROR, "id-behind", f"_mta-sts.{seen.domain}", message)
        return
    message = (
        f"the file that is served is not the one that id {identifier} stands for, so an edge serves an old file or "
        "somebody changed one of the two by hand; empty the edge's caches, then change the domain's `epoch`, because "
        f"who came meanwhile holds that file under this id; else {UP}"
    )
    yield Point(Area.STACK, Kind.ERROR, "id-not-of-body", f"https://mta-sts.{seen.domain}", message)


def _record(seen: Seen, declared: DomainConfig) -> Iterator[Point]:
    """Judge whether the record is one of the stack's: others make ids of another form."""
    identifier = seen.identifier
    known = declared.adopt or identifier in {one.id for one in declared.history}
    if identifier and not known and not is_own_id(identifier):
        message = f"id {identifier} was not made by the stack, so somebody changed the record by hand; {UP}"
        yield Point(Area.STACK, Kind.WARNING, "drift-record", f"_mta-sts.{seen.domain}", message)


def judge_drift(seen: Seen, declared: DomainConfig, *, policy: bool = True) -> Iterator[Point]:
    """Judge policy, report addresses and managed MX records; what the policy keeps of retiring hosts is no drift.

    Without `policy` where the file that is served is a wrong one, which is said already.
    """
    url = f"https://mta-sts.{seen.domain}"
    yield from _record(seen, declared)
    if policy and seen.served is not None:
        live, wanted = seen.served.policy, declared.policy
        for name in ("mode", "max_age"):
            if getattr(live, name) != getattr(wanted, name):
                message = f"{name} is {getattr(live, name)}, and {getattr(wanted, name)} is declared; {UP}"
                yield Point(Area.STACK, Kind.WARNING, f"drift-{name.replace('_', '-')}", url, message)
        missing = sorted(set(wanted.mx) - set(live.mx))
        if missing:
            message = f"{', '.join(missing)} is declared and not in the policy that is served; {UP}"
            yield Point(Area.STACK, Kind.WARNING, "drift-mx-pattern", url, message)
    yield from _reports(seen, declared)
    if declared.manage_mx and seen.mx is not None and not seen.mx.failure:
        for entry in declared.mx:
            if f"{entry.preference} {entry.host}" not in seen.mx.values:
                others = [value for value in seen.mx.values if value.partition(" ")[2] == entry.host]
                told = f" (live is `{others[0]}`)" if others else ""
                message = f"`{seen.domain} MX {entry.preference} {entry.host}` is declared and not live{told}; {UP}"
                yield Point(Area.STACK, Kind.WARNING, "drift-mx-record", seen.domain, message)
    looked = seen.host
    if declared.target and looked and not looked.failure and looked.cnames[:1] != (declared.target,):
        leads = f"leads to {looked.cnames[0]}" if looked.cnames else "is no CNAME"
        message = f"{leads}, and `{looked.name} CNAME {declared.target}` is declared; {UP}"
        yield Point(Area.STACK, Kind.WARNING, "drift-cname", looked.name, message)
    yield from _ttls(seen, declared)


def _ttls(seen: Seen, declared: DomainConfig) -> Iterator[Point]:
    """Judge the TTLs that the zone's own servers state; a resolver's only tells how long it keeps its copy."""
    wanted = {
        f"_mta-sts.{seen.domain}": declared.txt_ttl,
        f"mta-sts.{seen.domain}": declared.cname_ttl,
        **({seen.domain: declared.mx_ttl} if declared.manage_mx else {}),
    }
    for name, stated in wanted.items():
        ttl = _AUTOMATIC_TTL if stated == 1 else stated
        live = {one.ttl for one in seen.said if one.own and one.name == name and one.ttl}
        if live and live != {ttl}:
            message = f"the TTL is {', '.join(map(str, sorted(live)))} s, and {ttl} s is declared; {UP}"
            yield Point(Area.STACK, Kind.WARNING, "drift-ttl", name, message)


def _reports(seen: Seen, declared: DomainConfig) -> Iterator[Point]:
    if seen.tlsrpt is None or seen.tlsrpt.failure or not declared.reports:
        return
    try:
        live = select_tlsrpt_record(seen.tlsrpt.values).rua
    except MtaStsError:
        return  # judged as a record
    if set(live) != set(declared.reports):
        message = f"reports go to {', '.join(live)}; declared is `{render_tlsrpt_record(declared.reports)}`; {UP}"
        yield Point(Area.STACK, Kind.WARNING, "drift-reports", seen.tlsrpt.name, message)
