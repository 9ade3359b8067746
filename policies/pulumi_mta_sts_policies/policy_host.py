"""The policy host: certificate, TLS, redirects, and how long its edge keeps a policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mta_sts import certificate_matches
from pulumi_mta_sts_policies.resources import Resource, distribution, get, policy_object
from pulumi_mta_sts_policies.rule import MANDATORY, About, Severity, listed, resource_rule, stack_rule
from pulumi_mta_sts_policies.stack import CACHE_POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulumi_mta_sts_policies.resources import Distribution
    from pulumi_mta_sts_policies.rule import Settings
    from pulumi_mta_sts_policies.stack import Stack

CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
"""CloudFront's managed cache policy under which an edge keeps nothing (facts of CloudFront, managed cache policies)."""
_NEW_ENOUGH = re.compile(r"TLSv1\.[2-9]")
_CLOUDFRONT_LONGEST = 86_400  # seconds that CloudFront keeps by default


@stack_rule(
    About(
        name="policy-host-certificate",
        description="The certificate of a policy host speaks for its name.",
        level=MANDATORY,
        severity=Severity.CRITICAL,
        reference=("RFC 8461", "§3.3"),
        remediation="Ask for a certificate with mta-sts.DOMAIN among its names, for every domain that is served.",
    )
)
def policy_host_certificate(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Compare names, where the certificate is made in the same stack."""

    def read(served: Distribution) -> Iterator[tuple[Resource, str]]:
        if get(served.certificate, "cloudfrontDefaultCertificate") or not served.certificate:
            yield served.resource, f"CloudFront's own certificate does not speak for {listed(served.hosts)}"
            return
        certificate = stack.certificate_of(served)
        if certificate is None:
            return
        names = [get(certificate.props, "domainName"), *(get(certificate.props, "subjectAlternativeNames") or [])]
        missing = [host for host in served.hosts if not certificate_matches(names, host)]
        if missing:
            yield served.resource, f"its certificate ({listed(names)}) does not speak for {listed(missing)}"

    yield from stack.each(stack.distributions, read)


@resource_rule(
    About(
        name="policy-host-tls",
        description="A policy host speaks TLS 1.2 or newer.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 9325 (BCP 195)", "§3.1.1"),
        remediation="Set the minimum protocol version to TLSv1.2_2021; CloudFront's default is TLSv1.",
    )
)
def policy_host_tls(resource: Resource, _: Settings) -> Iterator[str]:
    """Read the version that CloudFront names its security policies after: the oldest that they allow."""
    served = distribution(resource)
    if served is None:
        return
    version = get(served.certificate, "minimumProtocolVersion")
    if not _NEW_ENOUGH.match(str(version)):
        yield f"the minimum protocol version is {version or 'not set, so TLSv1'}; give TLSv1.2_2021"


@resource_rule(
    About(
        name="policy-host-no-redirect",
        description="A policy host answers with the policy, never with a redirect.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.3"),
        remediation='Set the viewer protocol policy to "https-only", and no redirect on the object.',
    )
)
def policy_host_no_redirect(resource: Resource, _: Settings) -> Iterator[str]:
    """Refuse what makes one: senders must not follow it (RFC 8461 §3.3)."""
    served = distribution(resource)
    if served is not None:
        policy = get(served.behaviour, "viewerProtocolPolicy")
        if policy != "https-only":
            yield f"the viewer protocol policy is {policy}; give https-only"
    if policy_object(resource) is not None and get(resource.props, "websiteRedirect"):
        yield f"the object redirects to {get(resource.props, 'websiteRedirect')}"


@stack_rule(
    About(
        name="policy-host-caching",
        description="The edge of a policy host keeps a policy not at all, or for a short time.",
        level=MANDATORY,
        severity=Severity.CRITICAL,
        reference=("RFC 8461", "§8.1"),
        remediation=f"Use the managed cache policy CachingDisabled ({CACHING_DISABLED}).",
        settings={
            "maximum": {
                "type": "integer",
                "description": "Most seconds that an edge may keep a policy; the id must change that much later.",
                "default": 0,
            },
            "cachePolicies": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Ids of further cache policies, made elsewhere, that keep to it.",
                "default": [],
            },
        },
    )
)
def policy_host_caching(stack: Stack, settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Refuse an edge that keeps yesterday's file, and serves it under today's id."""
    most = int(settings["maximum"])

    def read(served: Distribution) -> Iterator[tuple[Resource, str]]:
        kept = _seconds_kept(stack, served, {CACHING_DISABLED, *settings["cachePolicies"]})
        if isinstance(kept, str):
            yield served.resource, kept
        elif kept > most:
            yield served.resource, f"its edges may keep a policy for {kept} seconds; at most {most} are allowed"

    yield from stack.each(stack.distributions, read)


def _seconds_kept(stack: Stack, served: Distribution, allowed: set[str]) -> int | str:
    """Return how long an edge may keep a policy, or why that can't be told."""
    behaviour = served.behaviour
    own = [each for each in stack.of_type(*CACHE_POLICIES) if _is_dependency(served, each)]
    if own:
        return max(_longest(each.props) for each in own)
    cache_policy = get(behaviour, "cachePolicyId")
    if cache_policy in allowed:
        return 0
    if cache_policy:
        known = [each for each in stack.of_type(*CACHE_POLICIES) if get(each.props, "id") == cache_policy]
        if known:
            return _longest(known[0].props)
        return f"its cache policy {cache_policy} is not known to keep nothing"
    return _longest(behaviour)


def _is_dependency(served: Distribution, other: Any) -> bool:
    """Tell whether a distribution's settings come from another resource."""
    dependencies: dict[str, list[Any]] = getattr(served.resource, "property_dependencies", {})
    return any(other in found for found in dependencies.values())


def _longest(settings: Any) -> int:
    longest, usual = get(settings, "maxTtl"), get(settings, "defaultTtl")
    # With only one of them given, CloudFront's defaults fill in: a day, and a year.
    if longest is None:
        longest = _CLOUDFRONT_LONGEST if usual is None else usual
    return int(longest)


RULES = (policy_host_certificate, policy_host_tls, policy_host_no_redirect, policy_host_caching)
