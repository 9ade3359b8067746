"""The policy file: what is in it, and what it is served as."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mta_sts import Finding, Mode, MtaStsError, Policy, check_policy, errors, parse_policy
from mta_sts.policy import MAX_AGE_FLOOR, MAX_AGE_LIMIT, check_max_age
from pulumi_mta_sts_policies.resources import PolicyObject, Resource, code_at_the_edge, get, known, policy_object
from pulumi_mta_sts_policies.rule import ADVISORY, MANDATORY, About, Severity, resource_rule, stack_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulumi_policy import PolicyResource

    from pulumi_mta_sts_policies.rule import Settings
    from pulumi_mta_sts_policies.stack import Stack

_POLICY_TEXT = re.compile(r"version:[ \t]*STSv1")
_WEEK = 604_800
_NO_ENCODING = ("identity", "aws-chunked")


@resource_rule(
    About(
        name="policy-valid",
        description="A policy file is one that every sender can use.",
        level=MANDATORY,
        severity=Severity.CRITICAL,
        reference=("RFC 8461", "§3.2"),
        remediation="Write version, mode, mx and max_age, one `key: value` a line, or let the component render it.",
    )
)
def policy_valid(resource: Resource, _: Settings) -> Iterator[str]:
    """Report every error of `check_policy` but those about max_age, which have a rule of their own."""
    yield from (str(finding) for finding in errors(_findings(resource)) if not _about_max_age(finding))


@resource_rule(
    About(
        name="policy-clean",
        description="A policy file has nothing that some sender in use stumbles over.",
        level=ADVISORY,
        severity=Severity.LOW,
        reference=("RFC 8461", "§3.2"),
        remediation="Write the canonical form: the usual order, one space after the colon, names in A-labels, LF.",
    )
)
def policy_clean(resource: Resource, _: Settings) -> Iterator[str]:
    """Report every warning of `check_policy` but those about max_age."""
    found = _findings(resource)
    stopping = errors(found)
    yield from (str(finding) for finding in found if finding not in stopping and not _about_max_age(finding))


@resource_rule(
    About(
        name="policy-max-age",
        description="max_age is within what RFC 8461 allows and senders honour.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.2"),
        remediation="Give whole seconds between minimum and maximum; weeks are usual: 604800 or 1209600.",
        settings={
            "minimum": {
                "type": "integer",
                "description": "Least seconds in testing and enforce; large senders ignore less than a day.",
                "default": MAX_AGE_FLOOR,
            },
            "maximum": {
                "type": "integer",
                "description": "Most seconds; how long a mistake can last.",
                "default": MAX_AGE_LIMIT,
            },
        },
    )
)
def policy_max_age(resource: Resource, settings: Settings) -> Iterator[str]:
    """Apply `check_max_age`, then the limits of the configuration."""
    yield from (str(finding) for finding in _findings(resource) if finding.rule == "max-age-range")
    policy = _policy(resource)
    if policy is None or any(check_max_age(policy.max_age, Mode.NONE, "max_age")):
        return
    # RFC 8461 §8.3: a policy that is being taken back says mode none with a small max_age.
    if policy.mode is not Mode.NONE and policy.max_age < int(settings["minimum"]):
        yield f"max_age is {policy.max_age}; at least {int(settings['minimum'])} is wanted"
    if policy.max_age > int(settings["maximum"]):
        yield f"max_age is {policy.max_age}; at most {int(settings['maximum'])} is wanted"


@resource_rule(
    About(
        name="policy-max-age-enforce",
        description="A policy in enforce lasts long enough to protect.",
        level=ADVISORY,
        severity=Severity.MEDIUM,
        reference=("RFC 8461", "§3.2"),
        remediation="Raise max_age, unless it was lowered on purpose before MX hosts are moved.",
        settings={
            "minimum": {
                "type": "integer",
                "description": "Least seconds in enforce; an attacker waits a short one out.",
                "default": _WEEK,
            }
        },
    )
)
def policy_max_age_enforce(resource: Resource, settings: Settings) -> Iterator[str]:
    """Apply a floor to enforce alone."""
    policy = _policy(resource)
    if policy and policy.mode is Mode.ENFORCE and policy.max_age < int(settings["minimum"]):
        yield f"max_age is {policy.max_age} in enforce; at least {int(settings['minimum'])} is wanted"


@resource_rule(
    About(
        name="policy-media-type",
        description="A policy file is served as text/plain, and not compressed.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.2"),
        remediation='Set the object\'s content type to "text/plain"; many senders refuse any other.',
    )
)
def policy_media_type(resource: Resource, _: Settings) -> Iterator[str]:
    """Demand the type that senders check: a store's own default is application/octet-stream."""
    if known(policy_object, resource) is None:
        return
    encoding = get(resource.props, "contentEncoding")
    if encoding and encoding not in _NO_ENCODING:
        yield f"the content encoding is {encoding}; leave it out"
    given = get(resource.props, "contentType")
    media_type = str(given or "").partition(";")[0].strip().lower()
    if media_type != "text/plain":
        yield f"the content type is {given!r}; give text/plain"


@stack_rule(
    About(
        name="policy-not-in-code",
        description="Policy text stands in an object, never in code that runs at the edge, nor in what it reads.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§8.1"),
        remediation="Serve the policy from an object behind an edge that keeps nothing; keep the code free of it.",
    )
)
def policy_not_in_code(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Refuse it: edges take new code one after the other and tell nobody when, so the new id meets the old policy."""

    def read(resource: PolicyResource) -> Iterator[tuple[Resource, str]]:
        if any(_POLICY_TEXT.search(text) for text in code_at_the_edge(resource) or ()):
            yield resource, "it holds the text of a policy, so a sender can get the old one after the new id is visible"

    yield from stack.each(stack.resources, read)


def _findings(resource: Resource) -> list[Finding]:
    found = known(policy_object, resource)
    return [] if found is None else check_policy(found.body)


def _policy(resource: Resource) -> Policy | None:
    found: PolicyObject | None = known(policy_object, resource)
    try:
        return None if found is None else parse_policy(found.body)
    except MtaStsError:
        return None


def _about_max_age(finding: Finding) -> bool:
    return finding.rule in ("max-age-range", "max-age-short")


RULES = (policy_valid, policy_clean, policy_max_age, policy_max_age_enforce, policy_media_type, policy_not_in_code)
