"""From nothing to enforce and back: reports first, evidence before enforce, nothing removed while it may be held."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mta_sts import Mode, MtaStsError, errors, render_policy, resolve_domain
from mta_sts.ledger import PolicyVersion
from pulumi_mta_sts_policies.resources import STS_LABEL, TLSRPT_LABEL, Resource, in_stack, made_by_component
from pulumi_mta_sts_policies.rule import ADVISORY, MANDATORY, About, Severity, stack_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulumi_mta_sts_policies.rule import Settings
    from pulumi_mta_sts_policies.stack import Published, Stack


@stack_rule(
    About(
        name="tlsrpt-present",
        description="A domain in testing or enforce asks for TLS reports.",
        level=MANDATORY,
        severity=Severity.MEDIUM,
        reference=("RFC 8460", "§3"),
        remediation="Publish `_smtp._tls` with a rua; without reports nobody learns that mail fails.",
        settings={
            "elsewhere": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Domains whose record is made outside this stack.",
                "default": [],
            }
        },
    )
)
def tlsrpt_present(stack: Stack, settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Look for the record; a CNAME counts, because report addresses can be delegated."""

    def read(published: Published) -> Iterator[tuple[Resource, str]]:
        domain = published.domain
        if published.policy.mode is Mode.NONE or domain in settings["elsewhere"]:
            return
        if domain in stack.at(TLSRPT_LABEL, "TXT") or domain in stack.at(TLSRPT_LABEL, "CNAME"):
            return
        # A record whose name isn't known yet may be the one.
        if not any(stack.may_have(TLSRPT_LABEL, kind) for kind in ("TXT", "CNAME")):
            yield published.object.resource, f"no record is made at {TLSRPT_LABEL}.{domain}"

    yield from stack.each(stack.published, read)


@stack_rule(
    About(
        name="enforce-evidence",
        description="A policy goes to enforce on evidence from reports, or for a stated reason.",
        level=MANDATORY,
        severity=Severity.CRITICAL,
        reference=("RFC 8461", "§5"),
        remediation="Collect reports in testing and attach what `mta-sts evidence` writes, or acknowledge the domain.",
        settings={
            "evidence": {
                "type": "string",
                "description": "Folder of evidence files, DOMAIN.json, as an absolute path.",
                "default": "",
            },
            "acknowledged": {
                "type": "object",
                "additionalProperties": {"type": "string", "minLength": 1},
                "description": "Why a domain is right to be in enforce without evidence, by domain.",
                "default": {},
            },
            "enforcing": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Domains that were in enforce before; only the step there needs evidence.",
                "default": [],
            },
            "thresholds": {
                "type": "object",
                "description": "What is enough: days (7), sessions (10), organizations (2), fresh_days (14).",
                "default": {},
            },
        },
    )
)
def enforce_evidence(stack: Stack, settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Apply `check_step`; what our component makes it has judged itself, against the policies already served."""

    def read(published: Published) -> Iterator[tuple[Resource, str]]:
        if published.policy.mode is Mode.ENFORCE and not made_by_component(published.object.resource):
            for message in _against(published, settings):
                yield published.object.resource, f"{published.domain}: {message}"

    yield from stack.each(stack.published, read)


@stack_rule(
    About(
        name="protected",
        description="What senders need while they hold a policy is protected from deletion.",
        level=ADVISORY,
        severity=Severity.MEDIUM,
        reference=("RFC 8461", "§8.3"),
        remediation="Set `protect: true`; lift it when the last policy served has expired after mode none.",
    )
)
def protected(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Look at the records, MX included, and the bucket; our component keeps its own by other means."""

    def read(published: Published) -> Iterator[tuple[Resource, str]]:
        domain = published.domain
        needed: list[Resource] = [
            each.resource
            for label, kind in ((STS_LABEL, "TXT"), (TLSRPT_LABEL, "TXT"), ("", "MX"))
            for each in stack.at(label, kind).get(domain, [])
        ]
        bucket = stack.bucket_of(published.object.resource)
        needed += [bucket] if bucket is not None else []
        for each in needed:
            if not in_stack(each).opts.protect and not made_by_component(each):
                yield each, f"it is not protected, and senders may hold a policy of {domain}"

    # One bucket serves many domains: named once.
    named = set()
    for resource, message in stack.each(stack.published, read):
        if resource.urn not in named:
            named.add(resource.urn)
            yield resource, message


def _against(published: Published, settings: Settings) -> Iterator[str]:
    """Return what stands against enforce for a domain."""
    from mta_sts.evidence import load_evidence  # noqa: PLC0415  heavy, and few stacks take the step
    from mta_sts.promotion import check_step  # noqa: PLC0415

    domain, policy = published.domain, published.policy
    declared = {"domain": domain, "mode": "enforce", "mx": [*policy.mx], "max_age": policy.max_age}
    file = Path(settings["evidence"] or ".", f"{domain}.json")
    try:
        if settings["evidence"] and file.exists():
            declared["evidence"] = load_evidence(file)
        if settings["acknowledged"].get(domain):
            declared["acknowledge"] = settings["acknowledged"][domain]
        if settings["thresholds"]:
            declared["thresholds"] = {name: int(value) for name, value in settings["thresholds"].items()}
        config = resolve_domain(declared)
    except MtaStsError as error:
        yield from map(str, error.findings)
        return
    before = [PolicyVersion("", {}, body=render_policy(policy).decode())] if domain in settings["enforcing"] else []
    yield from map(str, errors(check_step(config, policy, before, datetime.now(UTC))))


RULES = (tlsrpt_present, enforce_evidence, protected)
