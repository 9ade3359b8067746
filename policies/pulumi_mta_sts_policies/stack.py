"""A whole stack as a rule sees it: what belongs to which domain, bucket and certificate.

What isn't known yet at one resource must not hide what is known at the others: `each` notes it and goes on, and the
rule says at its end what it could not judge.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pulumi_policy.proxy import UnknownValueError

from mta_sts import MtaStsError, Policy, parse_policy
from mta_sts.names import to_ascii
from pulumi_mta_sts_policies.resources import (
    COMPONENT_PACKAGE,
    POLICY_HOST_LABEL,
    STS_LABEL,
    TLSRPT_LABEL,
    Distribution,
    PolicyObject,
    Record,
    Resource,
    distribution,
    get,
    in_stack,
    policy_object,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pulumi_policy import PolicyResource

BUCKETS = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2", "aws-native:s3:Bucket")
CERTIFICATES = ("aws:acm/certificate:Certificate", "aws-native:certificatemanager:Certificate")
_CACHE_POLICIES = ("aws:cloudfront/cachePolicy:CachePolicy",)
_FUNCTIONS = (
    "aws:cloudfront/function:Function",
    "aws-native:cloudfront:Function",
    "aws:lambda/function:Function",
)
_VALIDATIONS = ("aws:acm/certificateValidation:CertificateValidation",)
_ZONES = ("cloudflare:index/zone:Zone", "aws:route53/zone:Zone")
_LABELS = (STS_LABEL, TLSRPT_LABEL, POLICY_HOST_LABEL)
_CLOUDFRONT = ".cloudfront.net"
_NAMED_BY = ("id", "arn", "bucket", "bucketName", "name")

S = TypeVar("S")
T = TypeVar("T", "PolicyResource", "Record", "PolicyObject", "Distribution", "Published")


@dataclass(frozen=True, slots=True)
class Published:
    """A policy and the domain that it is for."""

    domain: str
    object: PolicyObject
    policy: Policy


@dataclass(frozen=True)
class Stack:
    """The resources of a stack, and what of them could not be judged (`unknown`, in words)."""

    resources: Sequence[PolicyResource]
    unknown: list[str] = field(default_factory=list)
    _at: dict[tuple[str, str], dict[str, list[Record]]] = field(default_factory=dict)

    def each(self, items: Iterable[T], read: Callable[[T], Iterable[S]]) -> Iterator[S]:
        """Yield what `read` finds in each item; an item that isn't known yet is noted and the others go on."""
        for item in items:
            try:
                yield from read(item)
            except UnknownValueError as error:
                message = f"{_name(item)}: {error.message}"
                if message not in self.unknown:
                    self.unknown.append(message)

    def left_open(self) -> list[str]:
        """Return in words what a rule could not judge; nothing where the stack has nothing of MTA-STS."""
        looked_up, unknown = [*self._at.values()], [*self.unknown]
        if not self._shows_mta_sts:
            return []
        if any("." in each.domain for each in self.published):
            unknown += [
                f"{each.resource.name}: its name is relative to a zone whose name can't be seen: give the full name"
                for found in looked_up
                for domain, records in found.items()
                if "." not in domain
                for each in records
            ]
        return unknown

    @property
    def _shows_mta_sts(self) -> bool:
        return (
            bool(self.objects or self.distributions)
            or any(self.at(label, kind) for label in _LABELS for kind in ("TXT", "CNAME", "A"))
            or any(each.resource_type.startswith(COMPONENT_PACKAGE) for each in self.resources)
        )

    @cached_property
    def objects(self) -> list[PolicyObject]:
        """The policy objects."""
        return list(self.each(self.resources, lambda each: _some(policy_object(each))))

    @cached_property
    def records(self) -> list[Record]:
        """Every DNS record."""
        return list(self.each(self.resources, lambda each: _some(record(each))))

    @cached_property
    def distributions(self) -> list[Distribution]:
        """The distributions that serve policies: by an alias, or by a wildcard where no other has the name itself."""
        found = list(self.each(self.resources, lambda each: _some(distribution(each, wildcards=True))))
        named = {host for each in found for host in each.hosts}
        others = [host for host in self._hosts_at_cloudfront() if host not in named]

        def with_hosts(each: Distribution) -> Distribution:
            hosts = [host for host in each.hosts if not host.startswith("*.")]
            hosts += [host for host in others if f"*.{host.partition('.')[2]}" in each.hosts]
            return replace(each, hosts=hosts)

        return [each for each in map(with_hosts, found) if each.hosts]

    def _hosts_at_cloudfront(self) -> list[str]:
        """Return the policy hosts whose name leads to CloudFront, as far as can be told here."""
        domains = [each.domain for each in self.objects if each.domain] + [*self.at(STS_LABEL, "TXT")]
        at_host = self.at(POLICY_HOST_LABEL, "CNAME")

        def elsewhere(domain: str) -> bool:
            values = [*self.each(at_host.get(domain, []), lambda each: each.values)]
            return bool(values) and not any(_CLOUDFRONT in value for value in values)

        return [f"{POLICY_HOST_LABEL}.{domain}" for domain in dict.fromkeys(domains) if not elsewhere(domain)]

    @cached_property
    def published(self) -> list[Published]:
        """Each domain's policy; one that doesn't parse is another rule's to name."""
        return list(self.each(self.objects, self._published))

    @cached_property
    def _by_type(self) -> dict[str, list[PolicyResource]]:
        by_type: dict[str, list[PolicyResource]] = {}
        for each in self.resources:
            by_type.setdefault(each.resource_type, []).append(each)
        return by_type

    def of_type(self, *types: str) -> list[PolicyResource]:
        """Return the resources of these types."""
        return [each for kind in types for each in self._by_type.get(kind, [])]

    def at(self, label: str, kind: str) -> dict[str, list[Record]]:
        """Return the records of a type under a label (empty: at the domain itself), by domain."""
        if (label, kind) not in self._at:
            found = self._at[label, kind] = {}

            def read(each: Record) -> Iterator[tuple[str, Record]]:
                if each.type == kind and (not label or each.under(label)):
                    name = self.full_name(each)
                    yield name.removeprefix(f"{label}.") if label else name, each

            for domain, each in self.each(self.records, read):
                found.setdefault(domain, []).append(each)
        return self._at[label, kind]

    def may_have(self, label: str, kind: str) -> bool:
        """Tell whether some record of a type may be of any domain: not known yet, or relative to a zone not seen."""
        return any("." not in domain for domain in self.at(label, kind)) or bool(self.unknown)

    def full_name(self, of: Record) -> str:
        """Return a record's name with its zone; where the zone's name can't be seen its id stands for it."""
        name = of.name
        relative = name == "@" or name in (STS_LABEL, TLSRPT_LABEL, POLICY_HOST_LABEL)
        try:
            zone = self._zone(of)
        except UnknownValueError:
            if relative:
                raise
            return name
        if not relative and (zone is None or f".{name}".endswith(f".{zone}")):
            return name
        zone = zone or f"zone {get(of.resource.props, 'zoneId') or get(of.resource.props, 'hostedZoneId')}"
        return zone if name == "@" else f"{name}.{zone}"

    def _zone(self, of: Record) -> str | None:
        for name in ("zoneId", "hostedZoneId"):
            zone = self.refers_to(of.resource, name, _ZONES)
            if zone is not None:
                return to_ascii(str(get(zone.props, "name") or get(zone.props, "zone") or "")) or None
        return None

    def refers_to(self, resource: Resource, name: str, types: Sequence[str]) -> PolicyResource | None:
        """Return the resource of this stack that a property's value comes from, or names; None where there is none."""
        for each in in_stack(resource).property_dependencies.get(name, []):
            if each.resource_type in types:
                return each
        value = get(resource.props, name)
        return self._named(value, types) if isinstance(value, str) else None

    def bucket_of(self, resource: Resource) -> PolicyResource | None:
        """Return the bucket of this stack that an object or a setting is about."""
        return self.refers_to(resource, "bucket", BUCKETS)

    def certificate_of(self, of: Distribution) -> PolicyResource | None:
        """Return the certificate that a distribution shows, None where another stack made it."""
        resource = in_stack(of.resource)
        name = "viewerCertificate" if of.settings is of.resource.props else "distributionConfig"
        dependencies = list(resource.property_dependencies.get(name, []))
        for each in dependencies:
            if each.resource_type in CERTIFICATES:
                return each
            if each.resource_type in _VALIDATIONS:
                dependencies += each.property_dependencies.get("certificateArn", [])
        arn = get(of.certificate, "acmCertificateArn")
        return self._named(arn, CERTIFICATES) if arn else None

    @cached_property
    def cache_policies(self) -> dict[str, Mapping[str, Any]]:
        """The settings of this stack's cache policies by id."""
        found = {}
        for each in self.of_type(*_CACHE_POLICIES):
            try:
                found[str(get(each.props, "id"))] = each.props
            except UnknownValueError:
                continue  # it is being made, see `new_cache_policy_of`
        return found

    def new_cache_policy_of(self, served: Distribution) -> PolicyResource | None:
        """Return the cache policy that a distribution refers to before it has an id; None where that is not one."""
        refers = in_stack(served.resource).property_dependencies
        own = {
            each.urn: each
            for name in ("defaultCacheBehavior", "orderedCacheBehaviors", "distributionConfig")
            for each in refers.get(name, [])
            if each.resource_type in _CACHE_POLICIES
        }
        return next(iter(own.values())) if len(own) == 1 else None

    def functions_of(self, served: Distribution) -> list[PolicyResource]:
        """Return the functions of this stack that run before or after a policy host answers."""
        arns = {
            str(get(each, "functionArn") or get(each, "lambdaArn") or "")
            for name in ("functionAssociations", "lambdaFunctionAssociations")
            for each in get(served.behaviour, name) or []
        }
        # The ARN of a Lambda function at the edge ends in its version.
        return [
            each
            for each in self.of_type(*_FUNCTIONS)
            for arn in [get(each.props, "arn") or get(each.props, "functionArn")]
            if arn and any(one == arn or one.startswith(f"{arn}:") for one in arns)
        ]

    def comes_after(self, later: Resource, earlier: Resource) -> bool:
        """Tell whether the engine makes one resource only once another is made."""
        waiting, seen = [in_stack(later)], {later.urn}
        while waiting:
            for each in waiting.pop().dependencies:
                if each.urn == earlier.urn:
                    return True
                if each.urn not in seen:
                    seen.add(each.urn)
                    waiting.append(each)
        return False

    def _named(self, value: str, types: Sequence[str]) -> PolicyResource | None:
        for each in self.of_type(*types):
            for name in _NAMED_BY:
                try:
                    if get(each.props, name) == value:
                        return each
                except UnknownValueError:
                    continue  # an id that isn't given out yet is in no other resource's plain text
        return None

    def _published(self, of: PolicyObject) -> Iterator[Published]:
        try:
            policy = parse_policy(of.body)
        except MtaStsError:
            return
        for domain in [of.domain] if of.domain else self._domains_without_key(of):
            yield Published(domain, of, policy)

    def _domains_without_key(self, of: PolicyObject) -> list[str]:
        """Return the domains of an object whose key names none: those of its bucket's distribution, or the only one."""
        bucket = self.bucket_of(of.resource)
        served = [
            host.removeprefix(f"{POLICY_HOST_LABEL}.")
            for each in self.distributions
            if bucket is not None and bucket in in_stack(each.resource).property_dependencies.get("origins", [])
            for host in each.hosts
        ]
        if served or len(self.objects) > 1:
            return served
        return [*self.at(STS_LABEL, "TXT")]


def _name(item: PolicyResource | Record | PolicyObject | Distribution | Published) -> str:
    if isinstance(item, Published):
        item = item.object
    return item.resource.name if isinstance(item, Record | PolicyObject | Distribution) else item.name


def _some(found: S | None) -> list[S]:
    return [] if found is None else [found]
