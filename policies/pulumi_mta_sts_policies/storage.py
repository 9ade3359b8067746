"""The bucket that holds policy objects and, in their versions, the memory of what senders may still hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pulumi_mta_sts_policies.resources import Resource, get
from pulumi_mta_sts_policies.rule import ADVISORY, MANDATORY, About, Severity, stack_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pulumi_policy import PolicyResource

    from pulumi_mta_sts_policies.resources import Distribution
    from pulumi_mta_sts_policies.rule import Settings
    from pulumi_mta_sts_policies.stack import Stack

_SECURITY_HUB = "AWS Security Hub"
_PUBLIC_ACCESS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_BLOCK_TYPES = ("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",)
_VERSIONING_TYPES = ("aws:s3/bucketVersioning:BucketVersioning", "aws:s3/bucketVersioningV2:BucketVersioningV2")
_ENCRYPTION = "ServerSideEncryptionConfiguration"
_ENCRYPTION_TYPES = (
    f"aws:s3/bucket{_ENCRYPTION}:Bucket{_ENCRYPTION}",
    f"aws:s3/bucket{_ENCRYPTION}V2:Bucket{_ENCRYPTION}V2",
)
_POLICY_TYPES = ("aws:s3/bucketPolicy:BucketPolicy",)


@stack_rule(
    About(
        name="bucket-private",
        description="A bucket of policies is closed to the public.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=(_SECURITY_HUB, "S3.8"),
        remediation="Add a BucketPublicAccessBlock with all four settings true.",
    )
)
def bucket_private(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Refuse public access: whoever can write there decides where a domain's mail goes."""

    def read(bucket: PolicyResource) -> Iterator[tuple[Resource, str]]:
        # Under all four, public ACLs and policies are refused or without effect.
        blocks = _about(stack, bucket, _BLOCK_TYPES)
        if not blocks and not stack.unknown:
            yield bucket, "it has no BucketPublicAccessBlock"
        for block in blocks:
            missing = [name for name in _PUBLIC_ACCESS if get(block.props, name) is not True]
            if missing:
                yield block, f"{', '.join(missing)} must be true"

    yield from _each_bucket(stack, read)


@stack_rule(
    About(
        name="bucket-versioned",
        description="A bucket of policies keeps every version of them.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=(_SECURITY_HUB, "S3.14"),
        remediation='Add a BucketVersioning with status "Enabled".',
    )
)
def bucket_versioned(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Demand versions: they say what senders may still hold."""

    def read(bucket: PolicyResource) -> Iterator[tuple[Resource, str]]:
        settings = _about(stack, bucket, _VERSIONING_TYPES)
        for setting in settings:
            status = get(setting.props, "versioningConfiguration", "status")
            if status != "Enabled":
                yield setting, f"its status is {status}"
        if not settings and not stack.unknown and not get(bucket.props, "versioning", "enabled"):
            yield bucket, "it has no BucketVersioning"

    yield from _each_bucket(stack, read)


@stack_rule(
    About(
        name="bucket-encrypted",
        description="A bucket of policies states its encryption.",
        level=ADVISORY,
        severity=Severity.LOW,
        reference=("Amazon S3 User Guide", "Setting default server-side encryption"),
        remediation="Add a BucketServerSideEncryptionConfiguration; S3 encrypts in any case, a reviewer should see it.",
    )
)
def bucket_encrypted(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Look for a statement: the content is public, but nobody should have to wonder."""

    def read(bucket: PolicyResource) -> Iterator[tuple[Resource, str]]:
        stated = _about(stack, bucket, _ENCRYPTION_TYPES) or get(bucket.props, "serverSideEncryptionConfiguration")
        if not stated and not stack.unknown:
            yield bucket, "it states no encryption"

    yield from _each_bucket(stack, read)


@stack_rule(
    About(
        name="bucket-tls-only",
        description="A bucket of policies answers over TLS alone.",
        level=MANDATORY,
        severity=Severity.MEDIUM,
        reference=(_SECURITY_HUB, "S3.5"),
        remediation="Deny `s3:*` to everybody in the bucket policy where aws:SecureTransport is false.",
    )
)
def bucket_tls_only(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Demand TLS: what goes in over plain HTTP can be changed on the way."""

    def read(bucket: PolicyResource) -> Iterator[tuple[Resource, str]]:
        statements = _statements(stack, bucket)
        if not any(map(_denies_plain_http, statements)) and not (stack.unknown and not statements):
            yield bucket, "no statement of its policy denies requests without TLS"

    yield from _each_bucket(stack, read)


@stack_rule(
    About(
        name="bucket-origin-access",
        description="One distribution alone reads a bucket of policies, by origin access control.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=(_SECURITY_HUB, "CloudFront.13"),
        remediation="Allow s3:GetObject to cloudfront.amazonaws.com where AWS:SourceArn is the distribution's ARN.",
    )
)
def bucket_origin_access(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Demand the condition, without which any distribution of any account could serve the bucket."""

    def read_bucket(bucket: PolicyResource) -> Iterator[tuple[Resource, str]]:
        for statement in _statements(stack, bucket):
            if statement.get("Effect") == "Allow" and _for_anybody(statement):
                yield bucket, "a statement of its policy allows everybody"
            elif statement.get("Effect") == "Allow" and _for_cloudfront(statement) and not _one_distribution(statement):
                yield bucket, "a statement of its policy allows every CloudFront distribution"

    def read_distribution(served: Distribution) -> Iterator[tuple[Resource, str]]:
        for origin in served.origins:
            if get(origin, "originAccessControlId"):
                continue
            if get(origin, "s3OriginConfig") or ".s3" in str(get(origin, "domainName") or ""):
                yield served.resource, "its origin has no origin access control (the older access identity is no match)"

    yield from _each_bucket(stack, read_bucket)
    yield from stack.each(stack.distributions, read_distribution)


def _each_bucket(
    stack: Stack, read: Callable[[PolicyResource], Iterable[tuple[Resource, str]]]
) -> Iterator[tuple[Resource, str]]:
    """Apply a check to every bucket of this stack that holds a policy object."""
    found = stack.each(stack.objects, lambda each: [stack.bucket_of(each.resource)])
    buckets = {bucket.urn: bucket for bucket in found if bucket is not None}
    yield from stack.each(buckets.values(), read)


def _about(stack: Stack, bucket: PolicyResource, types: Iterable[str]) -> list[PolicyResource]:
    return [
        *stack.each(
            stack.of_type(*types),
            lambda each: [each] if getattr(stack.bucket_of(each), "urn", None) == bucket.urn else [],
        )
    ]


def _statements(stack: Stack, bucket: PolicyResource) -> list[Mapping[str, Any]]:
    statements: list[Mapping[str, Any]] = []
    holding = _about(stack, bucket, _POLICY_TYPES) or [bucket]
    for text in stack.each(holding, lambda each: [get(each.props, "policy")]):
        document = json.loads(text) if isinstance(text, str) and text else text or {}
        found = document.get("Statement") or []
        statements += [found] if isinstance(found, dict) else found
    return statements


def _denies_plain_http(statement: Mapping[str, Any]) -> bool:
    secure = _condition(statement, "aws:securetransport")
    return statement.get("Effect") == "Deny" and _for_anybody(statement) and secure == ["false"]


def _for_anybody(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    return principal == "*" or (isinstance(principal, dict) and "*" in _several(principal.get("AWS")))


def _for_cloudfront(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    return isinstance(principal, dict) and "cloudfront.amazonaws.com" in _several(principal.get("Service"))


def _one_distribution(statement: Mapping[str, Any]) -> bool:
    arns = _condition(statement, "aws:sourcearn")
    return bool(arns) and all(":distribution/" in arn and "*" not in arn for arn in arns)


def _condition(statement: Mapping[str, Any], key: str) -> list[str]:
    """Return the values of a condition's key, whatever operator tests it."""
    conditions = statement.get("Condition") or {}
    return [
        str(value).lower()
        for tests in conditions.values()
        for name, values in tests.items()
        if name.lower() == key
        for value in _several(values)
    ]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


RULES = (bucket_private, bucket_versioned, bucket_encrypted, bucket_tls_only, bucket_origin_access)
