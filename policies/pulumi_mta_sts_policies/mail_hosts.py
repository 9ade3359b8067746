"""MX records beside the policy that speaks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta_sts import Mode, mx_matches
from pulumi_mta_sts_policies.rule import ADVISORY, MANDATORY, About, Severity, listed, stack_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulumi_mta_sts_policies.resources import Record, Resource
    from pulumi_mta_sts_policies.rule import Settings
    from pulumi_mta_sts_policies.stack import Published, Stack


@stack_rule(
    About(
        name="mx-covered",
        description="Every MX host of a domain matches a pattern of its policy.",
        level=MANDATORY,
        severity=Severity.CRITICAL,
        reference=("RFC 8461", "§4.1"),
        remediation="Add the host to the policy first, and to DNS once no sender can hold a policy without it.",
    )
)
def mx_covered(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Compare them: senders in enforce don't use a host that isn't covered; with none left, mail waits."""

    def read(published: Published) -> Iterator[tuple[Resource, str]]:
        if published.policy.mode is Mode.NONE:
            return
        patterns = published.policy.mx
        for host, where in stack.each(stack.at("", "MX").get(published.domain, []), _hosts):
            if not any(mx_matches(pattern, host) for pattern in patterns):
                yield where.resource, f"{host} matches no pattern of {published.domain}'s policy ({listed(patterns)})"

    yield from stack.each(stack.published, read)


@stack_rule(
    About(
        name="mx-pattern-unused",
        description="Every pattern of a policy matches an MX host of its domain.",
        level=ADVISORY,
        severity=Severity.LOW,
        reference=("RFC 8461", "§4.1"),
        remediation="Remove the pattern once the host has been out of DNS for the MX records' old TTL.",
    )
)
def mx_pattern_unused(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Compare them where this stack makes the domain's MX records; a host that just left is listed for a while."""

    def read(published: Published) -> Iterator[tuple[Resource, str]]:
        hosts = [host for each in stack.at("", "MX").get(published.domain, []) for host, _ in _hosts(each)]
        # A record that isn't known yet may be the one that the pattern is for.
        if not hosts or stack.may_have("", "MX") or published.policy.mode is Mode.NONE:
            return
        for pattern in published.policy.mx:
            if not any(mx_matches(pattern, host) for host in hosts):
                yield published.object.resource, f"{pattern} matches none of {listed(hosts)}"

    yield from stack.each(stack.published, read)


def _hosts(record: Record) -> Iterator[tuple[str, Record]]:
    return ((host, record) for host in record.hosts)


RULES = (mx_covered, mx_pattern_unused)
