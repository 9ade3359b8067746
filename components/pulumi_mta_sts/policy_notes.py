"""What the policy object notes beside the policy, before any record changes: what caches may go on giving."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mta_sts import Finding, Severity, content_id, mx_matches
from mta_sts.domain_config import DomainConfig
from mta_sts.ledger import (
    ABSENT_METADATA,
    ADOPTED_METADATA,
    EPOCH_METADATA,
    FETCH_SECONDS,
    HOST_TTL_METADATA,
    ID_METADATA,
    LIVE_METADATA,
    MX_TTL_METADATA,
    STATED_METADATA,
    TXT_TTL_METADATA,
    LiveId,
    PolicyVersion,
)
from mta_sts.mx_life_cycle import LiveMx, absent_patterns
from pulumi_mta_sts import dns
from pulumi_mta_sts.outside import outside


def live_hosts(records: Sequence[dns.LiveRecord], newest: PolicyVersion | None) -> list[LiveMx]:
    """Return the live MX hosts with the longest TTL that caches may have them for."""
    noted = newest.seconds(MX_TTL_METADATA) if newest else 0
    ttl = max([noted, *(dns.effective_ttl(record.ttl) for record in records)])
    return [LiveMx(record.content, record.modified, ttl) for record in records]


def notes_of(
    config: DomainConfig,
    policy_id: str,
    newest: PolicyVersion | None,
    live_id: LiveId | None,
    *,
    mx: Sequence[dns.LiveRecord],
    host: dns.LiveRecord | None,
) -> dict[str, str]:
    """Return what the policy object notes beside the policy: its id, and how the live records are before this update.

    `mx` are the MX records, `host` is the policy host's.

    A version that stays keeps its notes. The object is written before any record changes, so what caches may go on
    giving is remembered whatever becomes of the update.
    """
    metadata = {ID_METADATA: policy_id}
    stays = newest is not None and newest.id == policy_id
    noted = newest.metadata.get(LIVE_METADATA) if newest and stays else live_id
    if noted:
        metadata[LIVE_METADATA] = str(noted)
        stated = _stated(config, str(noted))
        if not stated and newest and stays:
            stated = newest.metadata.get(STATED_METADATA, "")
        if stated:
            metadata[STATED_METADATA] = stated
    if config.epoch:
        metadata[EPOCH_METADATA] = config.epoch
    txt_ttl = newest.seconds(TXT_TTL_METADATA) if newest and stays else 0
    if live_id is not None and live_id.id == policy_id:
        txt_ttl = max(txt_ttl, live_id.ttl)
    if txt_ttl > dns.effective_ttl(config.txt_ttl):
        metadata[TXT_TTL_METADATA] = str(txt_ttl)
    here = [host] if host else []
    for key, records, declared in ((MX_TTL_METADATA, mx, config.mx_ttl), (HOST_TTL_METADATA, here, config.cname_ttl)):
        ttl = newest.seconds(key) if newest else 0
        if not stays and all(record.modified + ttl <= outside().now() for record in records):
            ttl = 0  # lowered so long ago that no cache has it
        ttl = max([ttl, *(dns.effective_ttl(record.ttl) for record in records)])
        if ttl > dns.effective_ttl(declared):
            metadata[key] = str(ttl)
    return metadata


def adopted_note(adopting: Mapping[str, dns.LiveRecord]) -> dict[str, str]:
    """Return the note of the records that are imported in this update."""
    ids = " ".join(sorted(record.id for record in adopting.values()))
    return {ADOPTED_METADATA: ids} if ids else {}


def _stated(config: DomainConfig, noted: str) -> str:
    """Return what `history` states of a noted id, for when it is taken out; empty where it states nothing."""
    live_id = LiveId.parse(noted)
    stated = [version.policy for version in config.history if live_id is not None and version.id == live_id.id]
    enforced = [policy.max_age for policy in stated if policy is not None and policy.mode == "enforce"]
    return str(max(enforced, default=0)) if stated else ""


def still_cached(
    config: DomainConfig, hosts: Sequence[LiveMx], retiring: Sequence[str], newest: PolicyVersion | None
) -> tuple[list[str], dict[str, str], list[Finding]]:
    """Return the patterns that stay in the policy because caches may still give a host that left DNS, and the note.

    No record tells when another one was deleted: the policy object notes when the first plan saw it gone. Where it came
    back since, and left again, senders find a host that is listed beside it, as long as one was there all the time: the
    time begins when the oldest of those that stay came.
    """
    absent = absent_patterns(config.policy.mx, retiring, newest) if config.mode == "enforce" else []
    if newest is None or not absent:
        return [], {}, []
    now = outside().now()
    since, _, which = newest.metadata.get(ABSENT_METADATA, "").partition(" ")
    digest = content_id("\n".join(absent))
    listed = [*config.policy.mx, *retiring]
    stay = [mx.since for mx in hosts if any(mx_matches(pattern, mx.host) for pattern in listed)]
    began = max(float(since) if which == digest else now, min(stay, default=0.0))
    ttls = [newest.seconds(MX_TTL_METADATA), dns.effective_ttl(config.mx_ttl), *(mx.ttl for mx in hosts)]
    due = began + max(ttls) + FETCH_SECONDS
    if due <= now:
        return [], {}, []
    when = datetime.fromtimestamp(due, UTC).isoformat(timespec="minutes")
    message = (
        f"{', '.join(absent)}: no longer declared, and stays in the policy for now: caches may go on with MX records "
        f"that have left DNS; an update after {when} takes it out"
    )
    return absent, {ABSENT_METADATA: f"{began:.0f} {digest}"}, [Finding("mx-kept", "mx", message, Severity.WARNING)]


def versions_after(
    versions: Sequence[PolicyVersion], policy_id: str, metadata: Mapping[str, str], body: bytes
) -> Sequence[PolicyVersion]:
    """Return the policies served so far, and first the one that is published with these notes if it is another."""
    if versions and versions[0].id == policy_id:
        return versions
    return (PolicyVersion("", metadata, outside().now(), body.decode()), *versions)
