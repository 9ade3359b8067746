"""What is wrong with what a domain publishes today, and what stands in the way of moving it in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta_sts.caa import stopping
from mta_sts.findings import Finding, MtaStsError, Severity
from mta_sts.matching import mx_matches
from mta_sts.policy import Mode, check_policy
from mta_sts.records import (
    STS_PREFIX,
    TLSRPT_PREFIX,
    check_rua,
    select_sts_record,
    select_tlsrpt_record,
    stated_records,
)

if TYPE_CHECKING:
    from mta_sts.adoption.observe import Looked, Observed

_CLOUDFLARE = (".ns.cloudflare.com", ".foundationdns.com", ".foundationdns.net", ".foundationdns.org")


def faults(observed: Observed) -> list[Finding]:
    """Return every finding: errors are what senders stumble over today or the move would, the rest are warnings."""
    if not observed.answered:
        message = "the DNS server that is asked gives no answer at all, so nothing is known; give another by --resolver"
        return [Finding("resolver-silent", observed.domain, message)]
    if observed.unreadable:
        way_out = f"what can't be seen can't be moved: `mta-sts check {observed.domain}` says more"
        reasons = {one.problem.rpartition("(")[2] for one in observed.unreadable}
        if len(observed.unreadable) == len(observed.needed) and len(reasons) == 1:
            message = f"nothing of {observed.domain} can be looked up ({reasons.pop()}; {way_out}"
            return [Finding("dns-unreadable", observed.domain, message)]
        return [Finding("dns-unreadable", one.name, f"{one.problem}; {way_out}") for one in observed.unreadable]
    if not observed.mx.exists:
        message = "there is no such domain in DNS (NXDOMAIN); correct the name, or the delegation at the parent zone"
        return [Finding("domain-missing", observed.domain, message)]
    return [
        *_zone(observed),
        *_texts(observed),
        *_delegation(observed),
        *_host(observed),
        *_mx(observed),
        *_caa(observed),
    ]


def _zone(observed: Observed) -> list[Finding]:
    findings = [
        Finding(
            "name-is-a-zone",
            name,
            f"{name} is delegated by NS records to a zone of its own; remove them from {observed.zone} when the "
            "records "
            "that the zone has are there",
        )
        for name in observed.delegated
    ]
    if observed.records is None and not any(server.endswith(_CLOUDFLARE) for server in observed.name_servers):
        servers = ", ".join(observed.name_servers) or "nobody that can be asked"
        message = (
            f"the zone {observed.zone or observed.domain} is served by {servers}, and records are made at "
            "Cloudflare: move the zone there first; if it is there under name servers of its own, set "
            "CLOUDFLARE_API_TOKEN, which tells"
        )
        findings.append(Finding("zone-elsewhere", observed.domain, message))
    return findings


def _texts(observed: Observed) -> list[Finding]:
    findings: list[Finding] = []
    if observed.wildcard.problem:
        message = (
            f"{observed.wildcard.problem}, so a wildcard TXT below the domain would not be seen here; see that there "
            "is none"
        )
        findings.append(Finding("wildcard-unreadable", observed.domain, message, Severity.WARNING))
    for looked, prefix in ((observed.sts, STS_PREFIX), (observed.tlsrpt, TLSRPT_PREFIX)):
        findings += _text(looked, prefix, observed.wildcard)
    if not observed.sts.values and (observed.host.values or observed.host.cnames):
        message = (
            "there is no record, so senders see no policy; what is served at the policy host may be held from "
            "before: if a "
            "record ever stood here, state what it showed in `history`"
        )
        findings.append(Finding("sts-record-missing", observed.sts.name, message, Severity.WARNING))
    if not observed.tlsrpt.values:
        message = "there is no TLS reporting record: failures stay unseen (RFC 8460); give `reports` an address"
        findings.append(Finding("tlsrpt-record-missing", observed.tlsrpt.name, message, Severity.WARNING))
    return findings


def _text(looked: Looked, prefix: str, wildcard: Looked) -> list[Finding]:
    if not looked.values:
        if looked.cnames:
            message = f"leads to {looked.delegated_to}, where no TXT stands; remove the CNAME or ask the provider"
            return [Finding("cname-leads-nowhere", looked.name, message)]
        return []
    wanted = stated_records(looked.values, prefix)
    others = [value for value in looked.values if value not in wanted]
    findings: list[Finding] = []
    if others and set(others) <= set(wildcard.values):
        message = f"a wildcard TXT answers here ({others[0][:60]!r}); it ends when the record itself is made"
        findings.append(Finding("wildcard-txt", looked.name, message, Severity.WARNING))
    else:
        findings += [
            Finding(
                "record-in-the-way",
                looked.name,
                f"TXT {other[:60]!r} stands here too; remove it: some senders see none",
            )
            for other in others
        ]
    if not wanted:
        return findings
    try:
        if prefix == STS_PREFIX:
            select_sts_record(wanted)
        else:
            rua = select_tlsrpt_record(wanted).rua
            findings += [
                found for index, uri in enumerate(rua) for found in check_rua(uri, f"{looked.name} rua[{index}]")
            ]
    except MtaStsError as error:
        findings += [Finding(one.rule, looked.name, one.message) for one in error.findings]
    return findings


def _delegation(observed: Observed) -> list[Finding]:
    # RFC 8461 §8.2: the record and the policy host are both delegated, or the two get out of step.
    if bool(observed.sts.cnames) == bool(observed.host.cnames) or not observed.sts.values or not observed.host.values:
        return []
    if not observed.sts.cnames:
        return []  # a TXT of one's own beside a CNAME to a host is the usual way, and what this product makes
    message = (
        f"{observed.sts.name} is delegated to {observed.sts.delegated_to}, and {observed.host.name} is not (RFC 8461 "
        "§8.2): "
        "the id can change without the policy"
    )
    return [Finding("half-delegated", observed.sts.name, message, Severity.WARNING)]


def _host(observed: Observed) -> list[Finding]:
    name = observed.host.name
    if not observed.host.values:
        if observed.sts.values or observed.host.cnames:
            leads = f" (it leads to {observed.host.delegated_to})" if observed.host.cnames else ""
            message = (
                f"has no address{leads}: senders can't fetch the policy. Those that hold one go on with it; which "
                "one can't "
                "be seen, so state it in `history` if you know it"
            )
            return [Finding("policy-host-without-address", name, message)]
        return []
    broken: dict[tuple[str, str], list[str]] = {}
    for one in observed.served:
        if one.problem:
            told = one.problem.message.replace(f" at {one.address}", "")
            broken.setdefault((one.problem.rule, told), []).append(one.address)
    findings = [Finding(rule, name, f"{', '.join(at)}: {told}") for (rule, told), at in broken.items()]
    fetched = [one.fetched for one in observed.served if one.fetched]
    if not fetched and findings:
        message = (
            "no address serves a policy, so what senders hold can't be seen: bring the old host back before the "
            "move, or "
            "state it in `history`"
        )
        findings.append(Finding("history-unknown", name, message))
    bodies = list(dict.fromkeys(one.body for one in fetched))
    if len(bodies) > 1:
        message = f"the addresses serve {len(bodies)} different bodies under one id: senders keep whichever they got"
        findings.append(Finding("addresses-differ", name, message))
    for body in bodies:
        findings += [
            Finding(one.rule, f"{name} {one.path}".strip(), one.message, one.severity) for one in check_policy(body)
        ]
    records = observed.records.at(name, "A", "AAAA", "CNAME") if observed.records else []
    if any(record.proxied for record in records):
        message = "is proxied: Cloudflare's edge and bot rules stand before it; the second update makes it DNS-only"
        findings.append(Finding("policy-host-proxied", name, message, Severity.WARNING))
    return findings


def _mx(observed: Observed) -> list[Finding]:
    hosts = [host for _, _, host in (value.partition(" ") for value in observed.mx.values)]
    if hosts == ["."]:
        message = "a null MX says that the domain takes no mail (RFC 7505); there is nothing for MTA-STS to protect"
        return [Finding("null-mx", observed.domain, message, Severity.WARNING)]
    findings: list[Finding] = []
    if not hosts:
        message = "no MX record: mail goes to the domain's own address; give it an MX record first"
        findings.append(Finding("mx-missing", observed.domain, message, Severity.WARNING))
    for policy in dict.fromkeys(one.fetched.policy for one in observed.served if one.fetched):
        if policy.mode is Mode.NONE:
            continue
        severity = Severity.ERROR if policy.mode is Mode.ENFORCE else Severity.WARNING
        findings += [
            Finding(
                "mx-not-covered",
                observed.domain,
                f"live MX host {host} matches no pattern of the policy ({', '.join(policy.mx)}): senders that "
                "enforce it do "
                "not use it; let the old host list it, or remove the MX record if it is not yours",
                severity,
            )
            for host in hosts
            if not any(mx_matches(pattern, host) for pattern in policy.mx)
        ]
        findings += [
            Finding(
                "pattern-without-mx",
                observed.domain,
                f"pattern {pattern} matches no live MX host; drop it after the move if it is no longer needed",
                Severity.WARNING,
            )
            for pattern in policy.mx
            if not any(mx_matches(pattern, host) for host in hosts)
        ]
    return findings


def _caa(observed: Observed) -> list[Finding]:
    if observed.caa.problem:
        message = f"{observed.caa.problem}; the certificate authority will see the same: put the name servers right"
        return [Finding("caa-unreadable", observed.caa.name, message, Severity.WARNING)]
    found = stopping(observed.caa.values)
    if not found:
        return []
    message = f"CAA stops the certificate of the new host: found {', '.join(found)}"
    if observed.caa.cnames:
        way_out = (
            f"; {observed.caa.name} leads to {observed.caa.cnames[-1].target}, whose CAA counts while it does: ask "
            "its owner "
            "to allow amazon.com, or let the owner of the name give it another CNAME target without that CAA"
        )
    else:
        way_out = f'; add `{observed.caa.name} CAA 0 issue "amazon.com"`'
    return [Finding("caa-forbids-certificate", observed.caa.name, message + way_out)]
