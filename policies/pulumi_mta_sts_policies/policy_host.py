"""The policy host: certificate, TLS, redirects, and how long its edge keeps a policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pulumi_policy.proxy import UnknownValueError

from mta_sts import certificate_matches
from mta_sts.cloud_resources import CACHING_DISABLED, UnseenError, seconds_kept_under
from pulumi_mta_sts_policies.resources import POLICY_HOST_LABEL, Resource, distribution, get, policy_object
from pulumi_mta_sts_policies.rule import MANDATORY, About, Severity, listed, resource_rule, stack_rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pulumi_mta_sts_policies.resources import Distribution
    from pulumi_mta_sts_policies.rule import Settings
    from pulumi_mta_sts_policies.stack import Stack

_KEEPS_NOTHING = {"minTtl": 0, "defaultTtl": 0, "maxTtl": 0}
_NEW_ENOUGH = re.compile(r"TLSv1\.[2-9]")


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
    cache_policies = {**stack.cache_policies, **dict.fromkeys(settings["cachePolicies"], _KEEPS_NOTHING)}

    def read(served: Distribution) -> Iterator[tuple[Resource, str]]:
        try:
            kept = max(_seconds_kept(stack, served, said, cache_policies) for said in _said_of_caching(stack, served))
        except UnseenError as error:
            yield served.resource, f"{error}, and is not known to keep nothing"
            return
        if kept > most:
            yield served.resource, f"its edges may keep a policy for {kept} seconds; at most {most} are allowed"

    yield from stack.each(stack.distributions, read)


def _seconds_kept(
    stack: Stack, served: Distribution, cache_control: str, cache_policies: Mapping[str, Mapping[str, Any]]
) -> int:
    behaviour = served.behaviour
    try:
        get(behaviour, "cachePolicyId")
    except UnknownValueError:
        new = stack.new_cache_policy_of(served)
        if new is None:
            raise
        return seconds_kept_under(new.props, cache_control)
    return served.seconds_kept(cache_control, cache_policies)


def _said_of_caching(stack: Stack, served: Distribution) -> set[str]:
    """Return what the policies behind a distribution say of caching: nothing, where they are made elsewhere."""
    return {""} | {
        each.cache_control
        for each in stack.objects
        if not each.domain or f"{POLICY_HOST_LABEL}.{each.domain}" in served.hosts
    }


RULES = (policy_host_certificate, policy_host_tls, policy_host_no_redirect, policy_host_caching)
