"""The plan of moving a domain in: a value, made of what was observed. Nothing here asks the world.

The move changes nothing for senders: every name goes on answering the same, the same policy is served by both hosts
before a name or an id changes, and what may be held from before is written down.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mta_sts.adoption.faults import faults
from mta_sts.adoption.zone import API
from mta_sts.domain_config import check_domain, resolve_domain
from mta_sts.findings import Finding, MtaStsError, errors
from mta_sts.history import history_entry
from mta_sts.identifier import policy_id
from mta_sts.ledger import FETCH_SECONDS
from mta_sts.policy import Policy, render_policy
from mta_sts.records import render_sts_record, select_sts_record, select_tlsrpt_record, txt_presentation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mta_sts.adoption.observe import Observed

COMPONENT = "mta-sts:index:MtaSts"
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
STAND_IN = "mta-sts-before"
"""Label of the name that keeps the addresses of a policy host that has no name of its own."""
MISSING_ZONE = "ZONE_ID"
_NEW_TTL = 300
_DELEGATION_TTL = 172_800
"""Seconds for which resolvers may go on with a delegation: what most top-level domains give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the move; `earliest` is its date if every step before is done as soon as it may be."""

    title: str
    earliest: datetime
    why: str
    do: Sequence[str] = ()
    call: dict[str, Any] | None = None
    """A call of Cloudflare's API: method, path, body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What `mta-sts adopt` found and proposes."""

    observed: Observed
    findings: Sequence[Finding]
    published: bool
    """Whether anything of MTA-STS is published today."""
    config: dict[str, Any] | None = None
    """The domain's entry of the stack configuration; None where too little is known to give one."""
    same_bytes: bool = False
    """Whether the stack will serve the very bytes that are served today."""
    records: tuple[str, str] = ("", "")
    """The `_mta-sts` record now, and the one that the second update publishes."""
    imports: dict[str, Any] | None = None
    """The document for `pulumi import --file`."""
    look_up: Sequence[str] = ()
    """How to find the ids that stand as placeholders."""
    steps: Sequence[Step] = ()
    history_ends: datetime | None = None
    """When nobody can hold a policy from before, if every step is done as soon as it may be."""


def plan(observed: Observed) -> Adoption:
    """Return the plan for what was observed."""
    policies = _policies(observed)
    live_id = _live_id(observed)
    published = bool(
        observed.sts.values
        or observed.sts.cnames
        or observed.host.cnames
        or observed.host.values
        or observed.tlsrpt.values
    )
    findings = faults(observed)
    if observed.blind:
        return Adoption(observed=observed, findings=findings, published=published)
    config = _config(observed, policies, live_id)
    unacceptable = errors(check_domain(config))
    findings += [replace(found, path=f"stack: {found.path}") for found in unacceptable]
    if unacceptable:
        return Adoption(observed=observed, findings=findings, published=published, config=config)
    body = render_policy(resolve_domain(config).policy)
    served = [one.fetched.body for one in observed.served if one.fetched]
    now = observed.sts.values[0] if len(observed.sts.values) == 1 else ""
    imports, look_up = _imports(observed, config)
    steps, ends = _steps(observed, findings, policies)
    return Adoption(
        observed=observed,
        findings=findings,
        published=published,
        config=config,
        same_bytes=bool(served) and set(served) == {body},
        records=(now, render_sts_record(policy_id(body, live_id)) if live_id else ""),
        imports=imports,
        look_up=look_up,
        steps=steps,
        history_ends=ends,
    )


def _policies(observed: Observed) -> list[tuple[Policy, list[str]]]:
    """Return each policy that is served, with the addresses that serve it."""
    found: dict[Policy, list[str]] = {}
    for one in observed.served:
        if one.fetched:
            found.setdefault(one.fetched.policy, []).append(one.address)
    return list(found.items())


def _live_id(observed: Observed) -> str:
    try:
        return select_sts_record(observed.sts.values).id
    except MtaStsError:
        return ""


def mx_hosts(observed: Observed) -> list[tuple[int, str]]:
    """Return preference and host of each MX record, the null MX (RFC 7505) left out."""
    records = [value.partition(" ") for value in observed.mx.values]
    return sorted((int(preference), host) for preference, _, host in records if host not in ("", "."))


def _config(observed: Observed, policies: Sequence[tuple[Policy, list[str]]], live_id: str) -> dict[str, Any]:
    """Return the entry of the stack configuration that says what is published today, and nothing else."""
    config: dict[str, Any] = {"domain": observed.domain}
    if observed.zone not in ("", observed.domain):
        config["zone"] = observed.zone
    if policies:
        policy = policies[0][0]
        config |= {"mode": str(policy.mode), "mx": list(dict.fromkeys(policy.mx)), "max_age": policy.max_age}
    else:
        config |= {"mode": "testing", "mx": [host for _, host in mx_hosts(observed)]}
    try:
        rua = select_tlsrpt_record(observed.tlsrpt.values).rua
    except MtaStsError:
        rua = ()
    if rua:
        config["reports"] = rua[0] if len(rua) == 1 else list(rua)
    if observed.sts.values or observed.sts.cnames or observed.host.cnames or rua:
        config["adopt"] = True
    if live_id and policies:
        config["history"] = [
            history_entry(live_id, policy, observed.seen, _source(observed, addresses))
            for policy, addresses in policies
        ]
    return config


def _source(observed: Observed, addresses: Iterable[str]) -> str:
    through = f" ({observed.host.delegated_to})" if observed.host.cnames else ""
    return f"https://mta-sts.{observed.domain}{through} at {', '.join(addresses)}"


# What can be imported.


def _imports(observed: Observed, config: dict[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the import file for the records that stay, with how to find the ids that are not known."""
    domain = observed.domain
    wanted = [("sts-record", f"_mta-sts.{domain}", "TXT", observed.sts)]
    if config.get("reports"):
        wanted.append(("tlsrpt-record", f"_smtp._tls.{domain}", "TXT", observed.tlsrpt))
    resources: list[dict[str, Any]] = []
    look_up: list[str] = []
    for role, name, kind, looked in wanted:
        if looked.values and not looked.cnames:
            resources.append(_imported(observed, role, name, kind, look_up))
    if observed.host.cnames:
        resources.append(_imported(observed, "policy-host", f"mta-sts.{domain}", "CNAME", look_up))
    if not resources:
        return None, []
    component = {"type": COMPONENT, "name": domain, "component": True}
    return {"resources": [component, *resources]}, look_up


def _imported(observed: Observed, role: str, name: str, kind: str, look_up: list[str]) -> dict[str, Any]:
    """Return one resource of the import file, named as the component names it; its id is ZONE/RECORD."""
    zone_id, record_id = _ids(observed, name, kind)
    if record_id.startswith("RECORD_ID"):
        look_up.append(_question(zone_id, name, kind))
    # The component's resources are named after it, and it is named after the domain.
    return {
        "type": RECORD,
        "name": f"{observed.domain}-{role}",
        "id": f"{zone_id}/{record_id}",
        "parent": observed.domain,
    }


def _ids(observed: Observed, name: str, kind: str) -> tuple[str, str]:
    """Return the ids of a zone and of a record, or marked placeholders."""
    zone_id = observed.records.id if observed.records else MISSING_ZONE
    found = observed.records.at(name, kind) if observed.records else []
    return zone_id, found[0].id if found else f"RECORD_ID_OF_{name}_{kind}"


def _question(zone_id: str, name: str, kind: str) -> str:
    url = f"{API}/zones/{zone_id}/dns_records?type={kind}&name.exact={name}"
    return f'curl -H "Authorization: Bearer $CLOUDFLARE_API_TOKEN" "{url}"'


# The one batch call.


def batch(observed: Observed) -> dict[str, Any] | None:
    """Return the one call that puts our own records where CNAMEs or addresses stand, with the same answers.

    Cloudflare runs a batch as one transaction, deletes before posts, so that a CNAME makes room for the TXT. None
    where nothing is in the way.
    """
    domain = observed.domain
    deletes: list[dict[str, str]] = []
    posts: list[dict[str, Any]] = []
    for name, looked in ((f"_mta-sts.{domain}", observed.sts), (f"_smtp._tls.{domain}", observed.tlsrpt)):
        if looked.cnames:
            deletes.append({"id": _ids(observed, name, "CNAME")[1]})
            posts += [
                {"type": "TXT", "name": name, "content": txt_presentation(value), "ttl": _NEW_TTL}
                for value in looked.values
            ]
    if observed.host.values and not observed.host.cnames:
        moved, kept = _stand_in(observed)
        deletes += moved
        posts += kept
    zone_id = observed.records.id if observed.records else MISSING_ZONE
    if not deletes:
        return None
    return {
        "method": "POST",
        "path": f"/zones/{zone_id}/dns_records/batch",
        "body": {"deletes": deletes, "posts": posts},
    }


def _stand_in(observed: Observed) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Return what gives the addresses at `mta-sts` a name of their own, and a CNAME to it that can be taken over."""
    host, name = f"mta-sts.{observed.domain}", f"{STAND_IN}.{observed.domain}"
    known = observed.records.at(host, "A", "AAAA") if observed.records else []
    if known:
        addresses = [(record.type, record.content, record.ttl) for record in known]
        deletes = [{"id": record.id} for record in known]
    else:
        kinds = [("AAAA" if ":" in address else "A", address) for address in observed.host.values]
        addresses = [(kind, address, observed.host.ttl) for kind, address in kinds]
        deletes = [{"id": f"RECORD_ID_OF_{host}_{kind}_{address}"} for kind, address in kinds]
    proxied = any(record.proxied for record in known)
    posts: list[dict[str, Any]] = [
        {"type": kind, "name": name, "content": address, "ttl": ttl, "proxied": False}
        for kind, address, ttl in addresses
    ]
    # A proxied name keeps Cloudflare's own edge in front, as today; the first update takes it over as it is.
    ttl = 1 if proxied else _NEW_TTL
    return deletes, [*posts, {"type": "CNAME", "name": host, "content": name, "ttl": ttl, "proxied": proxied}]


# The order.


@dataclass(slots=True)
class _Course:
    """The steps so far, and the date that they lead to."""

    now: datetime
    steps: list[Step] = field(default_factory=list)

    def add(self, title: str, why: str, *do: str, after: int = 0, call: dict[str, Any] | None = None) -> None:
        """Add a step that begins when the one before is done and `after` seconds have passed."""
        self.now += timedelta(seconds=after)
        self.steps.append(Step(title=title, earliest=self.now, why=why, do=do, call=call))


def _steps(
    observed: Observed, findings: Sequence[Finding], policies: Sequence[tuple[Policy, list[str]]]
) -> tuple[list[Step], datetime | None]:
    """Return the order in which no sender notices anything, and when the history is over."""
    domain = observed.domain
    course = _Course(observed.seen)
    elsewhere = any(found.rule == "zone-elsewhere" for found in findings)
    stopping = [found for found in errors(findings) if found.rule != "zone-elsewhere"]
    if stopping:
        course.add(
            "Put right what is wrong today",
            "The move would stop at it, or carry it along.",
            *(f"{found.message} [{found.rule}]" for found in stopping),
        )
    hosted = bool(observed.host.values or observed.host.cnames)
    if not hosted and not observed.sts.values:
        if elsewhere:
            _add_zone(observed, course)
        course.add("Publish", "Nothing of MTA-STS is published today: this is an ordinary start.", "pulumi up")
        return course.steps, None
    course.add(
        "Change nothing at the old host from here on",
        "Both hosts must serve the same policy while names and caches move; a change in between would be seen by some "
        "senders only. Tell whoever runs it.",
    )
    if elsewhere:
        _add_zone(observed, course)
    _add_batch(observed, course)
    _add_alias(observed, course)
    course.add(
        "First update: nothing visible changes",
        "It makes bucket, certificate and distribution, puts the policy there, and imports the records as they are "
        f"(`adopt: true`). `_mta-sts` and `mta-sts` of {domain} go on answering as today.",
        "put the entry into the stack file (above)",
        "pulumi preview",
        "pulumi up",
    )
    course.add(
        "Look at the new host before any name leads to it",
        "The same policy must come from it, with a valid certificate and status 200.",
        f"curl --connect-to mta-sts.{domain}:443:DISTRIBUTION.cloudfront.net:443 "
        f"https://mta-sts.{domain}/.well-known/mta-sts.txt",
    )
    course.add(
        "Second update: the name moves, then the id",
        "`mta-sts` leads to the new host, then `_mta-sts` shows a new id. Whichever host a sender asks, it gets the "
        "same policy, so it does not matter who still has the old address.",
        "pulumi up",
        f"mta-sts check {domain}",
    )
    moved = course.now
    if hosted and observed.tlsrpt.cnames and observed.tlsrpt.values:
        course.add(
            "Give the reports an address of your own",
            f"{observed.tlsrpt.name} names the service's address, as today. Reports that come there are lost when the "
            "service ends, and some come two days late.",
            "change `reports` in the entry",
            "pulumi up",
        )
    if hosted:
        course.add(
            "End the old host, not before this date",
            f"Resolvers may lead senders there for {observed.host.ttl} s more, and a fetch takes its time. Until "
            "then it serves the same policy.",
            *_endings(observed),
            after=observed.host.ttl + FETCH_SECONDS,
        )
    held = max((policy.max_age for policy, _ in policies), default=None)
    if held is None:
        return course.steps, None
    ends = moved + timedelta(seconds=observed.sts.ttl + FETCH_SECONDS + held)
    last = (
        f"Senders may hold today's policy (max_age {held} s) until then. Changes before that are judged against it; "
        "MX hosts that it needs stay."
    )
    course.now = max(course.now, ends)
    course.add("Take `history` out of the stack file", last, "remove `history` and `adopt` from the entry")
    return course.steps, ends


def _add_zone(observed: Observed, course: _Course) -> None:
    """Add the step that moves the zone itself; what comes after waits until the old delegation is forgotten."""
    zone = observed.zone or observed.domain
    course.add(
        f"Move the zone {zone} to Cloudflare",
        "The stack makes its records there. Nothing changes for senders while both sets of name servers answer the "
        f"same: resolvers may ask the old ones for {_DELEGATION_TTL // 3600} h more, and the next step waits for that.",
        "make the zone at Cloudflare with every record that it has today, DNS-only: export the zone file, import it",
        f"compare what both say: `dig @SERVER NAME TYPE` for {zone} MX and the three names of MTA-STS",
        "if the zone is signed: take its DS record out at the registrar, and let its TTL pass",
        "name Cloudflare's servers at the registrar, and change nothing at the old ones",
        "run `mta-sts adopt` again with CLOUDFLARE_API_TOKEN set",
    )
    course.now += timedelta(seconds=_DELEGATION_TTL)


def _add_batch(observed: Observed, course: _Course) -> None:
    call = batch(observed)
    if call is None:
        return
    texts = [looked.name for looked in (observed.sts, observed.tlsrpt) if looked.cnames]
    names = texts if observed.host.cnames or not observed.host.values else [*texts, observed.host.name]
    waits = max(looked.ttl for looked in (observed.sts, observed.tlsrpt, observed.host))
    do = ["make the call below: it is one transaction, deletes before posts"]
    if observed.records is None:
        do.insert(0, "run `mta-sts adopt` again with CLOUDFLARE_API_TOKEN set: it puts the ids in")
    course.add(
        "Take the names into your own zone, with the same answers",
        f"A CNAME blocks a TXT, and addresses block a CNAME, at {', '.join(names)}. The answers stay the same, the "
        "id too: "
        f"senders notice nothing. Resolvers may follow the old records for {waits} s more, so leave everything at "
        "the old "
        "provider as it is. Propagation inside Cloudflare is not atomic: for seconds a resolver may see nothing there, "
        "which senders with a policy bridge.",
        *do,
        call=call,
    )


def _add_alias(observed: Observed, course: _Course) -> None:
    """Add the step that frees an alias: it lives on one CloudFront distribution in the world."""
    at_cloudfront = [hop.target for hop in observed.host.cnames if hop.target.endswith(".cloudfront.net")]
    if not at_cloudfront:
        return
    host = f"mta-sts.{observed.domain}"
    course.add(
        f"Free the alias {host} at {at_cloudfront[-1]}",
        "An alias lives on one distribution in the world, so the first update fails with CNAMEAlreadyExists while "
        "the old one "
        "has it. While neither serves it, senders that hold a policy go on with it; a new sender sees none. So do this "
        "directly before the first update, which brings the name back wherever its CNAME leads. (AWS can also move "
        "an alias in one step, on a TXT record "
        f"at _{host} that names the new distribution. That is the discovery record's own name: some senders see no "
        "policy while two TXT records stand there. Prefer the short gap.)",
        f"aws cloudfront list-conflicting-aliases --distribution-id YOUR_DISTRIBUTION --alias {host}",
        f"let the owner of {at_cloudfront[-1]} remove the alternate domain name {host}",
    )


def _endings(observed: Observed) -> list[str]:
    domain = observed.domain
    do = []
    if observed.host.cnames:
        do.append(f"end mta-sts.{domain} at {observed.host.delegated_to}")
    else:
        do.append(f"end the policy host at {', '.join(observed.host.values)}")
        do.append(f"delete the address records of {STAND_IN}.{domain}")
    delegated = {looked.delegated_to for looked in (observed.sts, observed.tlsrpt) if looked.cnames}
    return [*do, *(f"end the service behind {target}" for target in sorted(delegated))]
