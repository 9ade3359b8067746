"""The records that senders look up: `_mta-sts`, `_smtp._tls`, and the policy host's own name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta_sts import MtaStsError, content_id, parse_sts_record, parse_tlsrpt_record
from mta_sts.ledger import ADOPTED_METADATA, ID_METADATA
from mta_sts.records import check_rua
from pulumi_mta_sts_policies.resources import (
    POLICY_HOST_LABEL,
    STS_LABEL,
    TLSRPT_LABEL,
    Record,
    Resource,
    known,
    record,
)
from pulumi_mta_sts_policies.rule import ADVISORY, MANDATORY, About, Severity, listed, resource_rule, stack_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulumi_mta_sts_policies.rule import Settings
    from pulumi_mta_sts_policies.stack import Published, Stack


@resource_rule(
    About(
        name="sts-record-valid",
        description="An _mta-sts record is one that senders can read, with a well-formed id.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.1"),
        remediation="Write `v=STSv1; id=…;` with 1 to 32 letters and digits as id.",
    )
)
def sts_record_valid(resource: Resource, _: Settings) -> Iterator[str]:
    """Report what `parse_sts_record` finds."""
    for text in _texts(resource, STS_LABEL):
        try:
            parse_sts_record(text)
        except MtaStsError as error:
            yield from map(str, error.findings)


@resource_rule(
    About(
        name="tlsrpt-record-valid",
        description="An _smtp._tls record is one that senders can read, and its addresses can get reports.",
        level=MANDATORY,
        severity=Severity.MEDIUM,
        reference=("RFC 8460", "§3"),
        remediation="Write `v=TLSRPTv1; rua=mailto:…` (or https:…).",
    )
)
def tlsrpt_record_valid(resource: Resource, _: Settings) -> Iterator[str]:
    """Report what `parse_tlsrpt_record` and `check_rua` find."""
    for text in _texts(resource, TLSRPT_LABEL):
        try:
            addresses = parse_tlsrpt_record(text).rua
        except MtaStsError as error:
            yield from map(str, error.findings)
        else:
            for index, address in enumerate(addresses):
                yield from map(str, check_rua(address, f"rua[{index}]"))


@stack_rule(
    About(
        name="sts-record-single",
        description="Exactly one TXT record stands at _mta-sts of a domain.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.1"),
        remediation="Keep one record; with two that begin with v=STSv1 every sender takes the domain for one without.",
    )
)
def sts_record_single(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Count every TXT: another one beside it makes several senders in use see none, too."""
    yield from _more_than_one(stack, STS_LABEL)


@stack_rule(
    About(
        name="tlsrpt-record-single",
        description="Exactly one TXT record stands at _smtp._tls of a domain.",
        level=MANDATORY,
        severity=Severity.MEDIUM,
        reference=("RFC 8460", "§3"),
        remediation="Keep one record and list every address in its rua.",
    )
)
def tlsrpt_record_single(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Count them: with two, senders report to nobody."""
    yield from _more_than_one(stack, TLSRPT_LABEL)


@stack_rule(
    About(
        name="id-matches-policy",
        description="The id in DNS is the one that was made for the policy object.",
        level=MANDATORY,
        severity=Severity.CRITICAL,
        reference=("RFC 8461", "§3.1"),
        remediation=f"Take the id from `mta_sts.policy_id` of the very bytes, and note it as metadata `{ID_METADATA}`.",
    )
)
def id_matches_policy(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Compare them where the object's metadata states its id; `id-from-content` speaks of all others."""

    def read(published: Published) -> Iterator[tuple[Resource, str]]:
        stated = published.object.metadata.get(ID_METADATA)
        # While another's records are taken over they still show the old id, and the old host still serves.
        if not stated or ADOPTED_METADATA in published.object.metadata:
            return
        if not stated.startswith(content_id(published.object.body)):
            yield published.object.resource, f"its {ID_METADATA} {stated} was made for another body"
        for shown, where in _ids(stack, published.domain):
            if shown != stated:
                yield where.resource, f"the id is {shown}, and the policy object's is {stated}"

    yield from stack.each(stack.published, read)


@stack_rule(
    About(
        name="id-from-content",
        description="The id in DNS can be checked against the policy file.",
        level=ADVISORY,
        severity=Severity.MEDIUM,
        reference=("RFC 8461", "§3.1"),
        remediation="Take the id from `mta_sts.policy_id`; time stamps and hashes of inputs miss or invent changes.",
    )
)
def id_from_content(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Name ids that say nothing of the body: record and file can part unseen."""

    def read(published: Published) -> Iterator[tuple[Resource, str]]:
        if ADOPTED_METADATA in published.object.metadata:
            return
        wanted = content_id(published.object.body)
        for shown, where in _ids(stack, published.domain):
            if not shown.startswith(wanted):
                yield where.resource, f"the id is {shown}; one of this policy begins with {wanted}"

    yield from stack.each(stack.published, read)


@stack_rule(
    About(
        name="id-after-policy",
        description="The id changes only after the policy file has.",
        level=MANDATORY,
        severity=Severity.CRITICAL,
        reference=("RFC 8461", "§8.1"),
        remediation="Let the _mta-sts record depend on the policy object (`depends_on`).",
    )
)
def id_after_policy(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Demand an order: a sender that sees the new id and gets the old file keeps it, and never looks again."""

    def read(published: Published) -> Iterator[tuple[Resource, str]]:
        if ADOPTED_METADATA in published.object.metadata:
            return
        for each in stack.at(STS_LABEL, "TXT").get(published.domain, []):
            if not stack.comes_after(each.resource, published.object.resource):
                yield each.resource, f"it does not wait for {published.object.resource.name}"

    yield from stack.each(stack.published, read)


@resource_rule(
    About(
        name="policy-host-dns-only",
        description="The policy host's name is not proxied by Cloudflare.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.3"),
        remediation="Set `proxied: false`, or Cloudflare's own edge, cache and certificate answer.",
    )
)
def policy_host_dns_only(resource: Resource, _: Settings) -> Iterator[str]:
    """Refuse a proxied name; the one that validates the certificate under it counts as well."""
    found = record(resource)
    if found is None:
        return
    name = known(lambda _: found.name, resource)
    if name and f".{POLICY_HOST_LABEL}." in f".{name}." and found.proxied:
        yield f"{name} is proxied"


def _texts(resource: Resource, label: str) -> list[str]:
    found = record(resource)
    if found is None or not known(lambda _: found.type == "TXT" and found.under(label), resource):
        return []
    return found.texts


def _more_than_one(stack: Stack, label: str) -> Iterator[tuple[Resource, str]]:
    at: dict[str, list[Record]] = {}
    # A CNAME stands alone at its name (RFC 1034 §3.6.2).
    for kind in ("TXT", "CNAME"):
        for domain, found in stack.at(label, kind).items():
            at.setdefault(domain, []).extend(found)
    for domain, records in at.items():
        names = listed([each.resource.name for each in records])
        # Each resource makes at least one, whatever its values are.
        count = len(records) if len(records) > 1 else len([*stack.each(records, _values)])
        if count > 1:
            yield records[-1].resource, f"{count} stand at {label}.{domain} ({names})"


def _values(record: Record) -> list[str]:
    return record.texts if record.type == "TXT" else record.values


def _ids(stack: Stack, domain: str) -> Iterator[tuple[str, Record]]:
    for each in stack.at(STS_LABEL, "TXT").get(domain, []):
        for text in each.texts:
            try:
                yield parse_sts_record(text).id, each
            except MtaStsError:
                continue  # sts-record-valid names it


RULES = (
    sts_record_valid,
    tlsrpt_record_valid,
    sts_record_single,
    tlsrpt_record_single,
    id_matches_policy,
    id_from_content,
    id_after_policy,
    policy_host_dns_only,
)
