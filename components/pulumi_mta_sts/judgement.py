"""Every reason to refuse, found before any resource is registered and raised together."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pulumi

from mta_sts import (
    Finding,
    MtaStsError,
    Severity,
    check_different,
    check_domain,
    errors,
    mx_matches,
    parse_sts_record,
    render_policy,
    resolve_domain,
)
from mta_sts.domain_config import DomainConfig
from mta_sts.ledger import ADOPTED_METADATA, PolicyVersion, newest_version, next_id
from pulumi_mta_sts import aws_access, dns
from pulumi_mta_sts.live import once_a_run

CERTIFICATE_ISSUERS = ("amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com")
"""CAA values that let ACM issue (AWS Certificate Manager documentation, "Configure a CAA record")."""

_ADDRESS_TYPES = ("A", "AAAA", "CNAME")


@dataclass(frozen=True, slots=True)
class Judged:
    """One domain whose change may go on: what is declared, and what of the live world decides it.

    Both maps go by resource role (`policy-host`, `sts-record`, …): `existing` to the record that stands in that
    place, whoever made it, `adopting` to somebody else's that is imported as it is in this update.
    """

    config: DomainConfig
    zone_id: pulumi.Input[str]
    body: bytes
    policy_id: str
    adopting: Mapping[str, dns.LiveRecord] = field(default_factory=dict)
    existing: Mapping[str, dns.LiveRecord] = field(default_factory=dict)


def judge(
    domains: Sequence[Mapping[str, Any]],
    bucket: str,
    opts: pulumi.ResourceOptions | None = None,
    *,
    path: str = "domains[{}].",
) -> list[Judged]:
    """Judge declared domains against the live world: records, CAA and the policies already served.

    `path` is how the place of a domain in the configuration is named. Warnings are logged.
    Raises pulumi.InputPropertiesError with every error of every domain.
    """
    found = [_at(path.format(i), finding) for i, domain in enumerate(domains) for finding in check_domain(domain)]
    found += check_different(domains)
    if errors(found):
        raise_together(found)
    configs = [resolve_domain(domain) for domain in domains]
    zone_ids: list[pulumi.Input[str]] = []
    for index, (given, config) in enumerate(zip(domains, configs, strict=True)):
        zone_id, not_found = find_zone_id(config.domain, config.zone, given.get("zone_id"), opts)
        zone_ids.append(zone_id)
        found += [_at(path.format(index), finding) for finding in not_found]
    live = dns.records([zone_id for zone_id in zone_ids if isinstance(zone_id, str) and zone_id], opts)
    newest = _newest_versions(configs, bucket, opts)
    judged: list[Judged] = []
    for index, (config, zone_id) in enumerate(zip(configs, zone_ids, strict=True)):
        version, unreadable = newest[index]
        here = live.get(zone_id, []) if isinstance(zone_id, str) else []
        result, findings = _judge_domain(config, zone_id, here, version)
        judged.append(result)
        found += [_at(path.format(index), finding) for finding in [*unreadable, *findings]]
    raise_together(found)
    return judged


def raise_together(findings: Sequence[Finding]) -> None:
    """Log the warnings, each once a run; raise pulumi.InputPropertiesError with all errors, if there are any."""
    warned: set[str] = once_a_run(("warned",), set)
    for finding in findings:
        if finding.severity is Severity.WARNING and finding.message not in warned:
            warned.add(finding.message)
            pulumi.log.warn(str(finding))
    stopping = errors(findings)
    if stopping:
        lines = "\n".join(f"  {finding.path}: {finding.message} [{finding.rule}]" for finding in stopping)
        raise pulumi.InputPropertiesError(
            f"MTA-STS: {len(stopping)} problem(s), nothing was changed:\n{lines}",
            [{"property_path": finding.path, "reason": finding.message} for finding in stopping],
        )


def find_zone_id(
    domain: str, zone: str | None, zone_id: pulumi.Input[str] | None, opts: pulumi.ResourceOptions | None
) -> tuple[pulumi.Input[str], list[Finding]]:
    """Return the id of the zone that holds a domain, or the finding that says why there is none."""
    if zone_id is not None:
        return zone_id, []
    known = dns.zones(opts)
    if zone is not None:
        match = next((candidate for candidate in known if candidate.name == zone), None)
    else:
        match = dns.zone_of(domain, known)
    if match is not None:
        return match.id, []
    seen = ", ".join(sorted(candidate.name for candidate in known)[:10]) or "no zone at all"
    message = (
        f"no zone {zone or f'that holds {domain}'} at Cloudflare: the token sees {seen}; add the zone, or give the "
        "token Zone:Read and DNS:Edit on it (docs/permissions.md)"
    )
    return "", [Finding("zone-not-found", "zone", message)]


def caa_findings(domain: str, live: Sequence[dns.LiveRecord]) -> list[Finding]:
    """Return the finding that says which CAA records stop ACM's certificate for a domain's policy host."""
    stopping = dns.caa_allows(CERTIFICATE_ISSUERS, f"mta-sts.{domain}", live)
    if not stopping:
        return []
    records = ", ".join(str(record) for record in stopping)
    message = (
        f"CAA stops the certificate for mta-sts.{domain}: found {records}; add "
        f'`{stopping[0].name} CAA 0 issue "amazon.com"`'
    )
    return [Finding("caa-forbids-certificate", "domain", message)]


def _newest_versions(
    configs: Sequence[DomainConfig], bucket: str, opts: pulumi.ResourceOptions | None
) -> list[tuple[PolicyVersion | None, Sequence[Finding]]]:
    try:
        s3 = aws_access.s3_client(opts)
    except MtaStsError as error:
        return [(None, error.findings)] * len(configs)

    def read(config: DomainConfig) -> tuple[PolicyVersion | None, Sequence[Finding]]:
        try:
            return newest_version(s3, bucket, config.domain), ()
        except MtaStsError as error:
            return None, error.findings

    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(read, configs))


def _judge_domain(
    config: DomainConfig,
    zone_id: pulumi.Input[str],
    live: Sequence[dns.LiveRecord],
    newest: PolicyVersion | None,
) -> tuple[Judged, list[Finding]]:
    adopted = set((newest.metadata.get(ADOPTED_METADATA, "") if newest else "").split())
    existing, findings = _existing(config, live)
    foreign = {role: record for role, record in existing.items() if not record.ours and record.id not in adopted}
    if not config.adopt:
        findings += [_exists_already(role, record) for role, record in foreign.items()]
    findings += _mx_findings(config, live)
    body = render_policy(config.policy)
    sts_record = existing.get("sts-record")
    otherwise = _live_id(sts_record) or datetime.now(UTC).date().isoformat()
    judged = Judged(
        config=config,
        zone_id=zone_id,
        body=body,
        policy_id=next_id(body, newest, config.epoch, otherwise),
        adopting=foreign,
        existing=existing,
    )
    return judged, findings


def _existing(config: DomainConfig, live: Sequence[dns.LiveRecord]) -> tuple[dict[str, dns.LiveRecord], list[Finding]]:
    """Return what stands at each place that the component wants, and what can't stand there."""
    texts = [("sts-record", f"_mta-sts.{config.domain}", "v=STSv1")]
    if config.reports:
        texts.append(("tlsrpt-record", f"_smtp._tls.{config.domain}", "v=TLSRPTv1"))
    existing: dict[str, dns.LiveRecord] = {}
    findings: list[Finding] = []
    for role, name, version in texts:
        record, in_the_way = _existing_text([record for record in live if record.name == name], name, version)
        findings += in_the_way
        if record is not None:
            existing[role] = record
    for record in live:
        if record.name == f"mta-sts.{config.domain}" and record.type in _ADDRESS_TYPES:
            if record.type == "CNAME":
                existing["policy-host"] = record
            else:
                findings.append(_in_the_way(record, "the policy host needs a CNAME there"))
    if config.manage_mx:
        declared = {entry.host for entry in config.mx}
        for record in (record for record in live if record.name == config.domain and record.type == "MX"):
            if record.content in declared:
                existing[f"mx-{record.content}"] = record
            elif not record.ours:
                findings.append(_in_the_way(record, "this MX is live but not declared in `mx`: declare it"))
    return existing, findings


def _existing_text(
    at_name: Sequence[dns.LiveRecord], name: str, version: str
) -> tuple[dns.LiveRecord | None, list[Finding]]:
    """Return the TXT of one version at a name, and everything else there that hides or spoils it."""
    findings = [_in_the_way(record, "a CNAME there hides every TXT") for record in at_name if record.type == "CNAME"]
    wanted = [record for record in at_name if record.type == "TXT" and record.content.startswith(version)]
    # Several senders see no policy where any other TXT stands beside ours (RFC 8461 §3.1 would ignore it).
    findings += [
        _in_the_way(record, f"only one TXT, beginning {version}, may stand at {name}")
        for record in at_name
        if record.type == "TXT" and record not in wanted
    ]
    if len(wanted) > 1:
        # RFC 8461 §3.1, RFC 8460 §3: not exactly one record means none.
        findings += [_in_the_way(record, f"{len(wanted)} {version} records stand at {name}") for record in wanted]
    return (wanted[0] if len(wanted) == 1 else None), findings


def _mx_findings(config: DomainConfig, live: Sequence[dns.LiveRecord]) -> list[Finding]:
    """Compare MX records that others manage with the declared patterns (RFC 8461 §4.1)."""
    hosts = [record.content for record in live if record.name == config.domain and record.type == "MX"]
    if config.manage_mx or not hosts or config.mode == "none":
        return []
    patterns = config.policy.mx
    severity = Severity.ERROR if config.mode == "enforce" else Severity.WARNING
    findings = [
        Finding(
            "mx-not-covered",
            "mx",
            f"live MX host {host} matches no declared pattern ({', '.join(patterns)}): senders in enforce would not "
            "use it; add it to `mx`, or remove the MX record if it is not yours",
            severity,
        )
        for host in hosts
        if not any(mx_matches(pattern, host) for pattern in patterns)
    ]
    findings += [
        Finding(
            "pattern-without-mx",
            "mx",
            f"pattern {pattern} matches no live MX host ({', '.join(hosts)}); remove it if it is no longer needed",
            Severity.WARNING,
        )
        for pattern in patterns
        if not any(mx_matches(pattern, host) for host in hosts)
    ]
    return findings


def _in_the_way(record: dns.LiveRecord, reason: str) -> Finding:
    message = f"{record} is in the way: {reason}; remove it at Cloudflare, then run again"
    return Finding("record-in-the-way", "domain", message)


def _exists_already(role: str, record: dns.LiveRecord) -> Finding:
    message = (
        f"{record} exists already and was not made here; set `adopt: true` to import it as it is (the next update "
        "then publishes yours), or remove it"
    )
    return Finding("record-exists", "domain", f"{role}: {message}")


def _live_id(record: dns.LiveRecord | None) -> str | None:
    if record is None:
        return None
    try:
        return parse_sts_record(record.content).id
    except MtaStsError:
        return None


def _at(prefix: str, finding: Finding) -> Finding:
    return Finding(finding.rule, f"{prefix}{finding.path}", finding.message, finding.severity)
