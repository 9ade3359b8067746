"""The policy host: certificate, TLS, redirects, and how long its edge keeps a policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pulumi_policy.proxy import UnknownValueError

from mta_sts import certificate_matches
from mta_sts.cloud_resources import CACHING_DISABLED, UnseenError, seconds_kept_under
from pulumi_mta_sts_policies.resources import POLICY_HOST_LABEL, Resource, code_at_the_edge, get
from pulumi_mta_sts_policies.rule import ADVISORY, MANDATORY, About, Severity, listed, stack_rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pulumi_mta_sts_policies.resources import Distribution, PolicyObject
    from pulumi_mta_sts_policies.rule import Settings
    from pulumi_mta_sts_policies.stack import Stack

_KEEPS_NOTHING = {"minTtl": 0, "defaultTtl": 0, "maxTtl": 0}
_REDIRECT = re.compile(r"""\bstatus(?:Code)?['"]?\s*[:=]\s*['"]?30[12378]\b""")
_FIRST_ERROR = 400
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


@stack_rule(
    About(
        name="policy-host-tls",
        description="A policy host speaks TLS 1.2 or newer.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 9325 (BCP 195)", "§3.1.1"),
        remediation="Set the minimum protocol version to TLSv1.2_2021; CloudFront's default is TLSv1.",
    )
)
def policy_host_tls(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Read the version that CloudFront names its security policies after: the oldest that they allow."""

    def read(served: Distribution) -> Iterator[tuple[Resource, str]]:
        version = get(served.certificate, "minimumProtocolVersion")
        if not _NEW_ENOUGH.match(str(version)):
            message = f"the minimum protocol version is {version or 'not set, so TLSv1'}; give TLSv1.2_2021"
            yield served.resource, message

    yield from stack.each(stack.distributions, read)


@stack_rule(
    About(
        name="policy-host-no-redirect",
        description="A policy host answers with the policy, never with a redirect.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.3"),
        remediation='Set the viewer protocol policy to "https-only", and no redirect on the object.',
    )
)
def policy_host_no_redirect(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Refuse what makes one: senders must not follow it (RFC 8461 §3.3)."""

    def read_distribution(served: Distribution) -> Iterator[tuple[Resource, str]]:
        policy = get(served.behaviour, "viewerProtocolPolicy")
        if policy != "https-only":
            yield served.resource, f"the viewer protocol policy is {policy}; give https-only"

    def read_object(found: PolicyObject) -> Iterator[tuple[Resource, str]]:
        target = get(found.resource.props, "websiteRedirect")
        if target:
            yield found.resource, f"the object redirects to {target}"

    yield from stack.each(stack.distributions, read_distribution)
    yield from stack.each(stack.objects, read_object)


@stack_rule(
    About(
        name="policy-host-function",
        description="No function before a policy host makes a redirect.",
        level=ADVISORY,
        severity=Severity.MEDIUM,
        reference=("RFC 8461", "§3.3"),
        remediation="Let the policy's path through, or give the policy host a behaviour without the function.",
    )
)
def policy_host_function(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Look for one in the code; whether it meets the policy's path, only a fetch can tell."""

    def read(served: Distribution) -> Iterator[tuple[Resource, str]]:
        for function in stack.functions_of(served):
            if any(_REDIRECT.search(code) for code in code_at_the_edge(function) or ()):
                yield function, f"it can redirect what {listed(served.hosts)} is asked for"

    yield from stack.each(stack.distributions, read)


@stack_rule(
    About(
        name="policy-host-serves",
        description="A policy host answers every sender: with the policy, or with an error where there is none.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.3"),
        remediation="Enable the distribution, restrict no countries, and answer no error with status 200.",
    )
)
def policy_host_serves(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Refuse what takes the policy away, and the page that then passes for one."""

    def read(served: Distribution) -> Iterator[tuple[Resource, str]]:
        if get(served.settings, "enabled") is False:
            yield served.resource, f"it is not enabled, so nothing answers for {listed(served.hosts)}"
        if get(served.settings, "restrictions", "geoRestriction", "restrictionType") in ("whitelist", "blacklist"):
            yield served.resource, "it refuses some countries, and senders are everywhere"
        for answer in get(served.settings, "customErrorResponses") or []:
            code = get(answer, "responseCode")
            if code and int(code) < _FIRST_ERROR:
                yield served.resource, f"error {get(answer, 'errorCode'):g} is answered as {int(code)}"

    yield from stack.each(stack.distributions, read)


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


RULES = (
    policy_host_certificate,
    policy_host_tls,
    policy_host_no_redirect,
    policy_host_function,
    policy_host_serves,
    policy_host_caching,
)
