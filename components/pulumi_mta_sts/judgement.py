"""Judges a change against what is live and what was served so far, before any resource is registered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pulumi

from mta_sts import (
    Finding,
    Mode,
    Severity,
    check_different,
    check_domain,
    content_id,
    errors,
    parse_policy,
    render_policy,
    resolve_domain,
)
from mta_sts.domain_config import DomainConfig, MxEntry
from mta_sts.ledger import (
    ADOPTED_METADATA,
    HOST_TTL_METADATA,
    UNKNOWN_ID,
    LiveId,
    NoBucketError,
    PolicyVersion,
    enforced_until,
    known_from,
    next_id,
    read_versions,
)
from mta_sts.mx_life_cycle import Needed, needed_hosts, retiring_hosts
from mta_sts.names import to_ascii
from pulumi_mta_sts import aws_access, dns, former_host
from pulumi_mta_sts.live import once_a_run
from pulumi_mta_sts.outside import outside
from pulumi_mta_sts.policy_notes import adopted_note, live_hosts, notes_of, still_cached, versions_after
from pulumi_mta_sts.preflight import not_ready, seen_now
from pulumi_mta_sts.refusal import as_warning, collect, raise_together, warn
from pulumi_mta_sts.stack_state import distribution_target, in_state
from pulumi_mta_sts.unproved import CLOCK_TOLERANCE, history_lost, is_lost, out_of_order, was_replaced, zone_unread
from pulumi_mta_sts.zone_contents import (
    delegation_findings,
    existing_records,
    exists_already,
    find_zone_id,
    known_zones,
    live_id_of,
    mx_at,
    mx_findings,
    null_mx_findings,
    published_names,
)

_PUBLISHING = ("policy-host", "sts-record")

NOW = "now"
_STRICTNESS = (Mode.NONE, Mode.TESTING, Mode.ENFORCE)
_AFTER_RETRACTION = "publish `mode: none` first"
LEDGER_UNREAD = frozenset({"ledger-unreadable", "ledger-account", "ledger-credentials"})
"""Findings that say why the policies served so far are not known."""
_UNPROVED = LEDGER_UNREAD | {"history-lost", "clock-behind", "ledger-out-of-order", "zone-unread", "policy-host-unread"}
"""Findings that say nothing against a change, only that it can't be judged."""


@dataclass(frozen=True, slots=True)
class JudgedHost:
    """A policy host as far as it is known at plan time: its bucket's name (empty: not to be told) and what is wrong."""

    bucket: str
    zone_ids: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    protected: bool = False
    """Whether senders may hold an enforce policy that it has served."""
    target: str | None = None
    """What `mta-sts` is to lead to, where that is given as plain text."""
    distribution: str = ""
    """The name in the program of the distribution that is the target, else."""

    def known_target(self) -> str | None:
        """Return what `mta-sts` is to lead to: empty where that is yet to be made, None where it can't be told."""
        return self.target or (distribution_target(self.distribution) if self.distribution else None)


@dataclass(frozen=True, slots=True)
class Judged:
    """One domain whose change may go on: what is declared, and what of the live world decides it.

    Both maps go by resource role (`policy-host`, `sts-record`, …): `existing` to the record that stands in that
    place, whoever made it, `adopting` to those that are imported as they are in this update. Roles in `held_back`
    wait for the next one: senders must not see them before the host that stands there now is ours. `kept` are MX
    records of hosts no longer declared that must stay, or of ours that are managed here no more. `versions` are the
    policies served so far, newest first, and last those of the configuration's `history`.
    """

    config: DomainConfig
    zone_id: pulumi.Input[str]
    body: bytes
    policy_id: str
    adopting: Mapping[str, dns.LiveRecord] = field(default_factory=dict)
    existing: Mapping[str, dns.LiveRecord] = field(default_factory=dict)
    held_back: frozenset[str] = frozenset()
    kept: Sequence[dns.LiveRecord] = ()
    versions: Sequence[PolicyVersion] = ()
    live_id: LiveId | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the policy object notes beside the policy; see `mta_sts.ledger`."""
    braking: bool = False
    """Whether this change only lets senders go: what is wrong with the live world does not stop it."""
    notes_stay: bool = False
    """Whether that object stays and its notes could not be read: those here are not all, and must not replace them."""
    removable_from: str = NOW
    """`now`, the time from which the domain may be taken off (RFC 3339), or what has to be done first."""

    @property
    def published(self) -> bool:
        """Whether senders may hold a policy; where the bucket can't be read, the record tells."""
        return bool(self.versions) or self.live_id is not None

    @property
    def versions_after(self) -> Sequence[PolicyVersion]:
        """The policies served so far, and before them the one that this update publishes if it is another."""
        return versions_after(self.versions, self.policy_id, self.metadata, self.body)

    def host_ttl(self, target: pulumi.Input[str]) -> pulumi.Input[int]:
        """Return the TTL of the `mta-sts` record, in seconds: where it moves, the longest that caches may have it for.

        So the record itself tells every later plan how long some senders may be led to the former target, whatever
        interrupts the update that moves it. An adopted record keeps the TTL that it had until caches can't hold it.
        """
        record, declared = self.existing.get("policy-host"), self.config.cname_ttl
        if record is None:
            return declared
        ttl, age = dns.effective_ttl(record.ttl), outside().now() - record.modified
        noted = int(self.metadata.get(HOST_TTL_METADATA, 0))

        def at_least(seconds: int) -> int:
            return declared if dns.effective_ttl(declared) >= seconds else seconds

        staying = declared if record.ours and age >= ttl else at_least(ttl)
        moving = at_least(max(ttl, noted if age < noted else 0))
        if staying == moving:
            return staying

        def of(known: str) -> int:
            return staying if to_ascii(known) == record.content else moving

        if isinstance(target, str):
            return of(target)
        flowing: pulumi.Output[str] = pulumi.Output.from_input(target)
        return flowing.apply(of)

    @property
    def unchanged(self) -> bool:
        """Whether senders see this id already."""
        return self.live_id is not None and self.live_id.id == self.policy_id

    @property
    def answered_for(self) -> bool:
        """Whether the configuration lets this very change go on without proof."""
        return self.config.override is not None and self.config.override.change == self.policy_id

    @property
    def protected(self) -> bool:
        """Whether senders may hold an enforce policy: without the records they would deliver without it."""
        return self.removable_from != NOW


@dataclass(frozen=True, slots=True)
class _Entry:
    """A declared domain: its place in the configuration, its arguments as they are given, and all that is found."""

    place: str
    args: Any
    findings: list[Finding]

    @property
    def name(self) -> str:
        """The domain's name, empty where there is none."""
        name = self.args.get("domain") if isinstance(self.args, Mapping) else None
        return to_ascii(name) if isinstance(name, str) else ""


def judge(
    domains: Sequence[Any],
    host: JudgedHost,
    opts: pulumi.ResourceOptions | None = None,
    *,
    path: str = "domains[{}].",
    problems: Sequence[Finding] = (),
) -> list[Judged]:
    """Judge declared domains against the live world: records, CAA and the policies already served.

    `host` is the host that serves them all; `path` is how the place of a domain in the configuration is named;
    `problems` are errors that were found in the configuration before. What is declared wrong can't be judged; the other
    domains are all the same, for a brake among them waits for nobody.
    Warnings are logged. Raises Refused with every error of the host and of every domain.
    """
    entries = [_Entry(path.format(index), domain, check_domain(domain)) for index, domain in enumerate(domains)]
    declared = [_at(entry.place, finding) for entry in entries for finding in entry.findings]
    wrong = errors([*problems, *declared, *check_different(domains)])
    times = Counter(entry.name for entry in entries)
    # Declared twice, it can't be told which one is meant.
    sound = [
        entry for entry in entries if times[entry.name] == 1 and not any(_is_at(entry.place, one) for one in wrong)
    ]
    said = {finding.path for finding in wrong}
    found = [*wrong, *(finding for finding in host.findings if finding.path not in said)]
    judged, unread = _judge_sound(sound, host, opts, found) if sound else ([], [])
    found += [_at(entry.place, finding) for entry in sound for finding in entry.findings] + unread
    brakes = [
        {**entry.args, "host": {"bucket": host.bucket, "target": each.existing["policy-host"].content}}
        for entry, each in zip(sound, judged, strict=True)
        if each.braking and host.bucket and "policy-host" in each.existing and not errors(entry.findings)
    ]
    ways_out = [
        line for entry, each in zip(sound, judged, strict=True) for line in _ways_out(each, entry.findings, unread)
    ]
    raise_together(found, brakes, ways_out)
    return judged


def _judge_sound(
    entries: Sequence[_Entry], host: JudgedHost, opts: pulumi.ResourceOptions | None, found: list[Finding]
) -> tuple[list[Judged], list[Finding]]:
    """Judge domains that are declared well, and add to the findings of each; what concerns several goes to `found`.

    Returns them, and why the policies served so far can't be read.
    """
    configs = [resolve_domain(entry.args) for entry in entries]
    given_ids = [entry.args.get("zone_id") for entry in entries]
    known = known_zones(given_ids, found, opts)
    zone_ids: list[pulumi.Input[str]] = []
    for entry, config, given_id in zip(entries, configs, given_ids, strict=True):
        zone_id, not_found = find_zone_id(config.domain, config.zone, given_id, known)
        zone_ids.append(zone_id)
        entry.findings.extend(not_found)
    live, unreadable = dns.records([zone_id for zone_id in zone_ids if isinstance(zone_id, str) and zone_id], opts)
    found += unreadable
    none: Mapping[str, Sequence[PolicyVersion]] = {}
    unread: list[Finding] = []
    versions = collect(unread, lambda: ledger_of([config.domain for config in configs], host.bucket, opts), none)
    elsewhere = former_host.served_now([config for config in configs if not versions.get(config.domain)])
    here = [live.get(zone_id, []) if isinstance(zone_id, str) else [] for zone_id in zone_ids]
    unproved = [_new_in_enforce(config, records) for config, records in zip(configs, here, strict=True)]
    remaining = [
        _relied_on(config, records, versions.get(config.domain) or ())
        for config, records in zip(configs, here, strict=True)
    ]
    seen = seen_now(mx.host for hosts in (*unproved, *remaining) for mx in hosts)
    judged: list[Judged] = []
    for index, (entry, config) in enumerate(zip(entries, configs, strict=True)):
        broken = {mx.host: wrong[0].message for mx in remaining[index] if (wrong := errors(not_ready([mx], seen)))}
        result, findings = _judge_domain(config, zone_ids[index], here[index], versions.get(config.domain), broken)
        findings += not_ready(unproved[index], seen)
        away = delegation_findings(published_names(config), here[index], known)
        findings += map(as_warning, away) if result.braking else away
        if config.domain in versions:  # else the host's own finding says why nothing is known
            findings += _step_findings(result, elsewhere.get(config.domain))
        judged.append(result)
        entry.findings.extend(findings)
    moving = former_host.move_findings(_moves([each for each in judged if each.config.domain in versions], host))
    for entry, each in zip(entries, judged, strict=True):
        domain = each.config.domain
        findings = [*entry.findings, *([moving[domain]] if domain in moving else [])]
        entry.findings[:] = _overridden(each, findings, unread)
        warn(domain, entry.findings)
    if all(_needs_no_ledger(each) for each in judged):
        unread = [as_warning(finding) for finding in unread]
    warn("MTA-STS", unread)
    return judged, unread


def _moves(judged: Sequence[Judged], host: JudgedHost) -> list[former_host.Move]:
    """Return which policy hosts of ours move while the id changes.

    Where the target is not given, the id that senders see was published by the bucket's own distribution, or the state
    is asked which one that is: this leaves a trace in the plan, so only for an id that the bucket does not know.
    `judged` are the domains whose bucket could be read.
    """
    changing = {
        each.config.domain: (each, record)
        for each in judged
        if each.live_id is not None and not each.unchanged
        for record in [each.existing.get("policy-host")]
        if record is not None and record.ours
        if host.target or each.live_id.id not in {version.id for version in each.versions if version.version_id}
    }
    target = host.known_target() if changing else None
    return [
        former_host.Move(domain, record, target, parse_policy(each.body), each.braking)
        for domain, (each, record) in changing.items()
        if target is not None and record.content != target
    ]


def _new_in_enforce(config: DomainConfig, live: Sequence[dns.LiveRecord]) -> list[MxEntry]:
    """Return the MX hosts that would be new in DNS, where senders refuse those that don't work."""
    if config.mode != "enforce" or not config.manage_mx:
        return []
    there = {record.content for record in mx_at(config, live)}
    return [entry for entry in config.mx if entry.host not in there]


def _relied_on(
    config: DomainConfig, live: Sequence[dns.LiveRecord], served: Sequence[PolicyVersion]
) -> Sequence[MxEntry]:
    """Return the MX hosts on which senders are to rely once another is gone: all, where one leaves."""
    declared = {entry.host for entry in config.mx}
    leaving = [one for one in live if one.name == config.domain and one.type == "MX" and one.content not in declared]
    enforced = any(version.policy and version.policy.mode == "enforce" for version in (*served, *config.history))
    return config.mx if config.manage_mx and leaving and enforced else ()


def _not_due(
    config: DomainConfig, new_mx: Sequence[str], versions: Sequence[PolicyVersion], live_id: LiveId
) -> tuple[frozenset[str], list[Finding]]:
    """Return the MX records that can't be added in this update, because it would wait too long, and from when.

    `versions` begin with the one that is published, and `live_id` is its id.
    """
    due = known_from(versions, live_id)
    if not new_mx or due - outside().now() <= config.wait_limit:
        return frozenset(), []
    when = datetime.fromtimestamp(due, UTC).isoformat(timespec="minutes")
    hosts = ", ".join(role.removeprefix("mx-") for role in new_mx)
    message = (
        f"{hosts}: not added to DNS in this update. Until {when} senders may hold a policy without it, and wait_limit "
        f"is {config.wait_limit} s; an update after that adds it"
    )
    return frozenset(new_mx), [Finding("mx-not-yet", "mx", message, Severity.WARNING)]


def _needs_no_ledger(judged: Judged) -> bool:
    """Whether a domain's senders are only let go, or it stays as it is."""
    return judged.unchanged or judged.braking or judged.answered_for


def _overridden(judged: Judged, findings: list[Finding], unread: Sequence[Finding]) -> list[Finding]:
    """Return a domain's findings; where the configuration answers for this change, those that judge nothing warn."""
    override = judged.config.override
    if override is None:
        return findings
    unproved = sorted({finding.rule for finding in errors([*findings, *unread]) if finding.rule in _UNPROVED})
    if judged.unchanged or judged.braking or not judged.answered_for or not unproved:
        done = "nothing changes" if judged.unchanged else f"this update publishes {judged.policy_id}"
        if judged.answered_for and not judged.unchanged:
            done = "nothing stands against that"
        message = f"it is for the change to {override.change}, and {done}: it has no effect, take it out"
        return [*findings, Finding("override-unused", "override", message, Severity.WARNING)]
    message = (
        f"the change to {override.change} can't be proved safe ({', '.join(unproved)}) and goes on all the same, "
        f"because the configuration answers for it: {override.reason}"
    )
    kept = [as_warning(finding) if finding.rule in _UNPROVED else finding for finding in findings]
    return [*kept, Finding("change-overridden", "override", message, Severity.WARNING)]


def _ways_out(judged: Judged, findings: Sequence[Finding], unread: Sequence[Finding]) -> list[str]:
    """Return the lines that let a domain's change go on without proof, where the lack of it is what stops it."""
    relevant = findings if _needs_no_ledger(judged) else [*findings, *unread]
    if judged.unchanged or not any(finding.rule in _UNPROVED for finding in errors(relevant)):
        return []
    return [
        f"If you answer for this change of {judged.config.domain}, put into its declaration (it counts for no other):",
        "    override:",
        f'      change: "{judged.policy_id}"',
        '      reason: "why it is right without proof"',
    ]


def _is_weakening(
    config: DomainConfig,
    retiring: Sequence[str],
    live_mx: Sequence[dns.LiveRecord],
    versions: Sequence[PolicyVersion],
    live_id: LiveId | None,
) -> bool:
    """Whether a change is the brake: it lowers the mode, and takes nothing from senders that do not look.

    No pattern of the policy that senders are shown now may go (except to `none`, which has none), and no MX record
    that has been declared until now. Where that policy is not known, it may be one to enforce, and any other.
    """
    if live_id is None:
        return False
    declared = {entry.host for entry in config.mx}
    if config.manage_mx and any(mx.comment == dns.MARK and mx.content not in declared for mx in live_mx):
        return False
    shown = next((version.policy for version in versions if version.id == live_id.id), None)
    if shown is None:
        return config.mode is not Mode.ENFORCE
    patterns = [*config.policy.mx, *retiring]
    kept = all(any(pattern in (one, f"*.{one.partition('.')[2]}") for pattern in patterns) for one in shown.mx)
    return _STRICTNESS.index(config.mode) < _STRICTNESS.index(shown.mode) and (kept or config.mode is Mode.NONE)


def ledger_as_warning(finding: Finding) -> Finding:
    """Return a finding about an unread ledger as a warning, any other as it is."""
    return as_warning(finding) if finding.rule in LEDGER_UNREAD else finding


def ledger_of(
    domains: Sequence[str], bucket: str, opts: pulumi.ResourceOptions | None
) -> Mapping[str, Sequence[PolicyVersion]]:
    """Return the policy versions of each domain, newest first, read once a run.

    Raises MtaStsError with one finding, however many domains can't be read: the reason is the same.
    """
    if not bucket:
        return {}
    s3 = aws_access.s3_client(opts)
    known: dict[str, Sequence[PolicyVersion]] = once_a_run(("versions", s3, bucket), dict)
    missing = [domain for domain in domains if domain not in known]
    with ThreadPoolExecutor(max_workers=16) as pool:
        known.update(zip(missing, pool.map(partial(_versions, s3, bucket), missing), strict=True))
    return known


def _versions(s3: Any, bucket: str, domain: str) -> Sequence[PolicyVersion]:
    """Return a domain's policy versions; a bucket that is yet to be made has none."""
    try:
        return read_versions(s3, bucket, domain)
    except NoBucketError:
        return ()


def _judge_domain(
    config: DomainConfig,
    zone_id: pulumi.Input[str],
    live: Sequence[dns.LiveRecord],
    served: Sequence[PolicyVersion] | None,
    broken: Mapping[str, str],
) -> tuple[Judged, list[Finding]]:
    versions = served or ()
    newest = next(iter(versions), None)
    adopted = set((newest.metadata.get(ADOPTED_METADATA, "") if newest else "").split())
    existing, findings = existing_records(config, live)
    foreign = {role: record for role, record in existing.items() if not record.ours and record.id not in adopted}
    live_mx = [record for record in mx_at(config, live) if record.content]
    hosts = live_hosts(live_mx, newest)
    versions = (*versions, *config.history)
    last = next((version for version in versions if version.policy is not None), None)
    retiring = retiring_hosts(config.policy.mx, hosts, last)
    absent, since, dated = still_cached(config, hosts, retiring, last)
    findings += [
        *null_mx_findings(config, live),
        *mx_findings(config, [host.host for host in hosts], retiring),
        *dated,
    ]
    live_id = live_id_of(existing.get("sts-record"))
    braking = _is_weakening(config, retiring, live_mx, versions, live_id)
    held_back: frozenset[str] = frozenset()
    if foreign and not config.adopt:
        if braking:  # a record that the state holds is ours, whatever was done to it
            foreign = {role: one for role, one in foreign.items() if not in_state(one.name, one.type, one.content)}
        braking = braking and not foreign.keys() & set(_PUBLISHING)
        findings += [exists_already(role, one) for role, one in foreign.items()]
        if braking:
            held_back, foreign = frozenset(foreign), {}
    record = existing.get("sts-record")
    lost = served is not None and is_lost(record, live_id, versions)
    findings += [
        *(history_lost(config, record, versions) if lost else ()),
        *zone_unread(config, zone_id, served or ()),
        *out_of_order(config, served or ()),
        *_clock_findings(newest, live_id),
    ]
    trace = existing.get("sts-record", existing.get("policy-host")) if served is not None and not versions else None
    if trace is not None and not lost:
        findings.append(former_host.history_missing(config.domain))
    body = render_policy(replace(config.policy, mx=(*config.policy.mx, *retiring, *absent)))
    policy_id = _published_id(config, body, served, live_id)
    new_mx = [f"mx-{entry.host}" for entry in config.mx if config.manage_mx and f"mx-{entry.host}" not in existing]
    shown = live_id or (LiveId(UNKNOWN_ID, trace.modified, dns.effective_ttl(trace.ttl)) if trace else None)
    metadata = notes_of(config, policy_id, newest, shown, mx=live_mx, host=existing.get("policy-host"))
    after = versions_after(versions, policy_id, metadata, body)
    id_after = LiveId(policy_id, outside().now(), dns.effective_ttl(config.txt_ttl))
    if live_id is not None and live_id.id == policy_id:
        id_after = live_id
    needed = partial(needed_hosts, [mx.host for mx in config.mx], hosts, now=outside().now(), broken=broken)
    expected = {one.host: one for one in needed(versions=after, live_id=id_after)}
    kept, notes = _kept(config, live_mx, needed(versions=versions, live_id=live_id), expected)
    findings += notes
    if versions or live_id is not None:
        not_due, waits = _not_due(config, new_mx, after, id_after)
        held_back |= not_due
        findings += waits
    if foreign.keys() & set(_PUBLISHING):
        # Senders still see another host or id. Nothing new may appear that makes them fetch or use what is ours.
        foreign |= {role: existing[role] for role in _PUBLISHING if role in existing}
        new = ["sts-record", *(f"mx-{entry.host}" for entry in config.mx if config.manage_mx)]
        held_back |= frozenset(role for role in new if role not in existing)
    judged = Judged(
        config=config,
        zone_id=zone_id,
        body=body,
        policy_id=policy_id,
        adopting=foreign,
        existing=existing | {f"mx-{record.content}": record for record in kept},
        held_back=held_back,
        kept=kept,
        versions=versions,
        live_id=live_id,
        metadata=metadata | since | adopted_note(foreign),
        notes_stay=served is None and live_id is not None and live_id.id == policy_id and not foreign,
        braking=braking,
        removable_from=_AFTER_RETRACTION if served is None else _removable_from(config, after, live_id),
    )
    return judged, [as_warning(finding) for finding in findings] if braking else findings


def _published_id(
    config: DomainConfig, body: bytes, served: Sequence[PolicyVersion] | None, live_id: LiveId | None
) -> str:
    """Return the id that a body is published under."""
    if served is None and live_id is not None and live_id.id.startswith(content_id(body)):
        return live_id.id  # as far as can be seen, nothing changes
    newest = next(iter(served or ()), None)
    otherwise = live_id.id if live_id else datetime.fromtimestamp(outside().now(), UTC).date().isoformat()
    return next_id(body, None if was_replaced(newest, served or (), live_id) else newest, config.epoch, otherwise)


def _clock_findings(newest: PolicyVersion | None, live_id: LiveId | None) -> list[Finding]:
    """Return the finding about a clock that is behind what the clouds have written."""
    latest = max(newest.written if newest else 0.0, live_id.since if live_id else 0.0)
    if latest - outside().now() <= CLOCK_TOLERANCE:
        return []
    when = datetime.fromtimestamp(latest, UTC).isoformat(timespec="seconds")
    message = (
        f"the clouds' last change is of {when}, in the future of this machine's clock: waits counted with it would be "
        "wrong; set the clock, then run again"
    )
    return [Finding("clock-behind", "domain", message)]


def _removable_from(config: DomainConfig, versions: Sequence[PolicyVersion], live_id: LiveId | None) -> str:
    """Return from when the domain may be taken off; `versions` begin with the one that is published."""
    if config.mode == "enforce":
        return _AFTER_RETRACTION
    now = outside().now()
    if live_id is not None and live_id.id != versions[0].id:
        # This update takes the id away: counted from now, as the next plan will count from the new record.
        live_id = LiveId(versions[0].id, now, live_id.ttl)
    until = enforced_until(versions, live_id, now)
    if until is None:
        return _AFTER_RETRACTION
    return datetime.fromtimestamp(until, UTC).isoformat(timespec="minutes") if until else NOW


def _step_findings(judged: Judged, elsewhere: former_host.Serving | None) -> list[Finding]:
    """Return what stands against the step to enforce, if this is one.

    A domain that enforces elsewhere has taken it, as far as that is seen live and not only stated.
    """
    if judged.config.mode != "enforce":
        return []
    versions = judged.versions
    findings: list[Finding] = []
    if elsewhere is not None:
        findings = former_host.not_live(judged.config, judged.live_id, elsewhere)
        versions = () if findings else versions
    from mta_sts.promotion import check_step  # noqa: PLC0415  reading evidence loads more than most runs need

    now = datetime.fromtimestamp(outside().now(), UTC)
    return [*findings, *check_step(judged.config, parse_policy(judged.body), versions, now)]


def _kept(
    config: DomainConfig,
    records: Sequence[dns.LiveRecord],
    needed: Sequence[Needed],
    expected: Mapping[str, Needed],
) -> tuple[list[dns.LiveRecord], list[Finding]]:
    """Return the MX records of hosts no longer declared that must stay for now, and the finding that dates each.

    `expected` says by host why, and until when, they will be needed once this update is made.
    """
    if not config.manage_mx:
        # A protected record can't merely fall out of the program: once it is marked, the next update lets go of it.
        return [record for record in records if record.ours], []
    # The engine deletes an MX record only after an update that marked it: what merely falls out of the program (the
    # domain, `manage_mx`, the whole stack) stays in DNS, because a domain without MX gets no mail.
    declared = {entry.host for entry in config.mx}
    leaving = [record for record in records if record.ours and record.content not in declared]
    needing = {one.host: expected.get(one.host, one) for one in needed}
    kept = [record for record in leaving if record.content in needing or record.comment != dns.LEAVING]
    notes = [Finding("mx-kept", "mx", _stays(record.content, needing), Severity.WARNING) for record in kept]
    return kept, notes


def _stays(host: str, needing: Mapping[str, Needed]) -> str:
    """Return the words about an MX host that is no longer declared and stays for now."""
    why = needing.get(host)
    if why is None:
        return f"{host} is no longer declared; the next update removes it from DNS, and later ones from the policy"
    when = datetime.fromtimestamp(why.not_before, UTC).isoformat(timespec="minutes")
    removed = f"an update after {when} can remove it" if why.until else f"no update before {when} can remove it"
    return (
        f"{host} is no longer declared and stays in DNS and in the policy for now: {why}; "
        f"{removed if why.not_before else 'a later update removes it'}"
    )


def _is_at(place: str, finding: Finding) -> bool:
    return f"{finding.path}.".startswith(place)


def _at(prefix: str, finding: Finding) -> Finding:
    return replace(finding, path=f"{prefix}{finding.path}".removesuffix("."))
