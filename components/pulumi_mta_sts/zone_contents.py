"""The zone of a domain: which one that is, what stands at each place in it, and what is in the way there."""

from collections.abc import Sequence

import pulumi

from mta_sts import Finding, Mode, MtaStsError, Severity, mx_matches, parse_sts_record
from mta_sts.caa import CERTIFICATE_ISSUERS
from mta_sts.domain_config import DomainConfig
from mta_sts.ledger import LiveId
from mta_sts.records import STS_PREFIX, TLSRPT_PREFIX, stated_records
from pulumi_mta_sts import dns
from pulumi_mta_sts.refusal import as_warning, collect


def known_zones(
    given_ids: Sequence[pulumi.Input[str] | None], found: list[Finding], opts: pulumi.ResourceOptions | None
) -> Sequence[dns.Zone] | None:
    """Return the zones that the token sees; None where they can't be told or, all ids being outputs, need not."""
    if all(isinstance(given, pulumi.Output) for given in given_ids):
        return None
    return collect(found, lambda: dns.zones(opts), None)


def find_zone_id(
    domain: str, zone: str | None, zone_id: pulumi.Input[str] | None, known: Sequence[dns.Zone] | None
) -> tuple[pulumi.Input[str], list[Finding]]:
    """Return the id of the zone that holds a domain, empty with the finding that says why there is none."""
    if isinstance(zone_id, pulumi.Output):
        message = f"zone_id is an output, so the live records of {domain} were not looked at; give the zone by name"
        return zone_id, [Finding("zone-unread", "zone_id", message, Severity.WARNING)]
    if known is None:
        return "", []
    holding = dns.zones_of(domain, [each for each in known if zone_id in (None, each.id) and zone in (None, each.name)])
    path = "zone_id" if zone_id else "zone"
    if not holding:
        wanted = f"zone {zone_id or zone} that holds {domain}" if zone_id or zone else f"zone that holds {domain}"
        seen = ", ".join(sorted(each.name for each in known)[:10]) or "no zone at all"
        message = (
            f"no {wanted} at Cloudflare: the token sees {seen}; name the right zone, or add it and give the token "
            "Zone:Read and DNS:Edit on it (docs/permissions.md)"
        )
        return "", [Finding("zone-not-found", path, message)]
    if len(holding) > 1:
        ids = ", ".join(each.id for each in holding)
        message = f"the token sees {len(holding)} zones named {holding[0].name} ({ids}); say which one with `zone_id`"
        return "", [Finding("zone-ambiguous", path, message)]
    if holding[0].status != "active":
        message = (
            f"zone {holding[0].name} is {holding[0].status} at Cloudflare: nobody is asked there yet, and the "
            "certificate could not be issued; delegate it to Cloudflare's name servers first"
        )
        return holding[0].id, [Finding("zone-not-active", path, message)]
    return holding[0].id, []


def caa_findings(domain: str, live: Sequence[dns.LiveRecord]) -> list[Finding]:
    """Return the finding that says which CAA records stop ACM's certificate for a domain's policy host."""
    stopping = dns.caa_stopping(CERTIFICATE_ISSUERS, f"mta-sts.{domain}", live)
    if not stopping:
        return []
    records = ", ".join(str(record) for record in stopping)
    message = (
        f"CAA stops the certificate for mta-sts.{domain}: found {records}; add "
        f'`{stopping[0].name} CAA 0 issue "amazon.com"`'
    )
    return [Finding("caa-forbids-certificate", "domain", message)]


def published_names(config: DomainConfig) -> list[str]:
    """Return the names at which senders look for what a domain publishes, beside its MX."""
    names = [f"mta-sts.{config.domain}", f"_mta-sts.{config.domain}"]
    return [*names, f"_smtp._tls.{config.domain}"] if config.reports else names


def delegation_findings(
    names: Sequence[str], live: Sequence[dns.LiveRecord], known: Sequence[dns.Zone] | None
) -> list[Finding]:
    """Return a finding for each place where these names are handed to servers that don't answer from this zone."""
    zones = {zone.id: zone.name for zone in known or ()}
    findings = []
    for at, records in dns.delegations(names, live, zones.values()).items():
        message = (
            f"{', '.join(map(str, records))} delegates {at} to other name servers: what is made in zone "
            f"{zones[records[0].zone_id]} is not seen there, and a certificate would wait for ever; publish in the "
            "zone that those servers answer for (at Cloudflare: let the token see it and leave `zone` out, the longest "
            "one is taken), or remove the NS records, then run again"
        )
        findings.append(Finding("name-delegated", "domain", message))
    return findings


def existing_records(
    config: DomainConfig, live: Sequence[dns.LiveRecord]
) -> tuple[dict[str, dns.LiveRecord], list[Finding]]:
    """Return what stands at each place that the component wants, and what can't stand there."""
    texts = [("sts-record", f"_mta-sts.{config.domain}", STS_PREFIX)]
    if config.reports:
        texts.append(("tlsrpt-record", f"_smtp._tls.{config.domain}", TLSRPT_PREFIX))
    existing: dict[str, dns.LiveRecord] = {}
    findings: list[Finding] = []
    live = [record for record in live if record.type != "NS"]  # see `delegation_findings`
    for role, name, prefix in texts:
        record, in_the_way = _existing_text([record for record in live if record.name == name], name, prefix)
        findings += in_the_way
        if record is not None:
            existing[role] = record
    for record in live:
        if record.name == f"mta-sts.{config.domain}":
            if record.type == "CNAME":
                existing["policy-host"] = record
            elif dns.excludes("CNAME", record):
                findings.append(_in_the_way(record, "the policy host needs a CNAME there"))
    if config.manage_mx:
        existing_mx, in_the_way = _existing_mx(config, live)
        existing |= existing_mx
        findings += in_the_way
    return existing, findings


def _existing_mx(
    config: DomainConfig, live: Sequence[dns.LiveRecord]
) -> tuple[dict[str, dns.LiveRecord], list[Finding]]:
    """Return the MX records that stand at the domain for declared hosts, and those of others."""
    declared = {entry.host for entry in config.mx}
    existing: dict[str, dns.LiveRecord] = {}
    findings: list[Finding] = []
    at_domain = [record for record in mx_at(config, live) if record.content]
    for record in sorted(at_domain, key=lambda record: not record.ours):
        role = f"mx-{record.content}"
        if role in existing:
            findings.append(_in_the_way(record, f"{existing[role]} names the same host"))
        elif record.content in declared:
            existing[role] = record
        elif not record.ours:
            way_out = "declare it there if it is yours, else remove it at Cloudflare; then run again"
            findings.append(_in_the_way(record, "this MX is live but not declared in `mx`", way_out))
    if config.mode is not Mode.ENFORCE:  # nobody refuses it yet
        findings = [as_warning(finding) for finding in findings]
    return existing, findings


def _existing_text(
    at_name: Sequence[dns.LiveRecord], name: str, prefix: str
) -> tuple[dns.LiveRecord | None, list[Finding]]:
    """Return the TXT that counts at a name (`stated_records`), and everything else there that hides or spoils it."""
    findings = [
        _in_the_way(record, f"a {record.type} record there hides every TXT")
        for record in at_name
        if dns.excludes("TXT", record)
    ]
    wanted = [record for record in at_name if record.type == "TXT" and stated_records([record.content], prefix)]
    # Several senders see no policy where any other TXT stands beside ours (RFC 8461 §3.1 would ignore it).
    findings += [
        _in_the_way(record, f"only one TXT, beginning `{prefix}`, may stand at {name}")
        for record in at_name
        if record.type == "TXT" and record not in wanted
    ]
    if len(wanted) > 1:
        # RFC 8461 §3.1, RFC 8460 §3: not exactly one record means none.
        findings += [_in_the_way(record, f"{len(wanted)} `{prefix}` records stand at {name}") for record in wanted]
        wanted = [record for record in wanted if record.ours]
    return (wanted[0] if len(wanted) == 1 else None), findings


def mx_findings(config: DomainConfig, hosts: Sequence[str], retiring: Sequence[str]) -> list[Finding]:
    """Compare MX records that others manage with the patterns that the policy will list (RFC 8461 §4.1)."""
    if config.manage_mx or not hosts or config.mode == "none":
        return []
    patterns = [*config.policy.mx, *retiring]
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
    findings += [
        Finding(
            "mx-kept",
            "mx",
            f"{host} is no longer declared and stays in the policy, because it is in DNS: remove its MX record, then "
            "later updates take it from the policy",
            Severity.WARNING,
        )
        for host in retiring
    ]
    return findings


def null_mx_findings(config: DomainConfig, live: Sequence[dns.LiveRecord]) -> list[Finding]:
    """Return the finding about a live null MX, which names no host: no policy makes senders deliver."""
    if config.mode == "none" and not config.manage_mx:
        return []
    severity = Severity.ERROR if config.mode == "enforce" else Severity.WARNING
    return [
        Finding(
            "null-mx",
            "mx",
            f"{record} says that {config.domain} takes no mail (null MX, RFC 7505), and no other MX may stand beside "
            "it; remove it at Cloudflare if mail is to come, else declare `mode: none` without MX records",
            severity,
        )
        for record in mx_at(config, live)
        if not record.content
    ]


def mx_at(config: DomainConfig, live: Sequence[dns.LiveRecord]) -> list[dns.LiveRecord]:
    """Return the MX records that stand at the domain itself, a null MX among them."""
    return [record for record in live if record.name == config.domain and record.type == "MX"]


def _in_the_way(
    record: dns.LiveRecord, reason: str, way_out: str = "remove it at Cloudflare, then run again"
) -> Finding:
    message = f"{record} is in the way: {reason}; {way_out}"
    return Finding("record-in-the-way", "domain", message)


def exists_already(role: str, record: dns.LiveRecord) -> Finding:
    """Return the finding about a record that was not made here and stands where one of ours is to be."""
    message = (
        f"{record} exists already and was not made here; set `adopt: true` to import it as it is (the next update "
        "then publishes yours), or remove it"
    )
    return Finding("record-exists", "domain", f"{role}: {message}")


def live_id_at(name: str, live: Sequence[dns.LiveRecord]) -> LiveId | None:
    """Return the id that the one MTA-STS record at a name shows (RFC 8461 §3.1), None where there is none."""
    return live_id_of(_existing_text([record for record in live if record.name == name], name, STS_PREFIX)[0])


def live_id_of(record: dns.LiveRecord | None) -> LiveId | None:
    """Return the id that an MTA-STS record shows, None where there is no record or it can't be read."""
    if record is None:
        return None
    try:
        return LiveId(parse_sts_record(record.content).id, record.modified, dns.effective_ttl(record.ttl))
    except MtaStsError:
        return None
