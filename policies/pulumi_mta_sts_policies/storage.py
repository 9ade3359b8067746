"""The bucket that holds policy objects and, in their versions, the memory of what senders may still hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pulumi_mta_sts_policies.resources import Resource, UnreadableError, get
from pulumi_mta_sts_policies.rule import ADVISORY, MANDATORY, About, Severity, stack_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pulumi_policy import PolicyResource

    from pulumi_mta_sts_policies.resources import Distribution, PolicyObject
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
_POLICY_TYPES = ("aws:s3/bucketPolicy:BucketPolicy", "aws-native:s3:BucketPolicy")
_LIFECYCLE = "LifecycleConfiguration"
_LIFECYCLE_TYPES = (
    f"aws:s3/bucket{_LIFECYCLE}:Bucket{_LIFECYCLE}",
    f"aws:s3/bucket{_LIFECYCLE}V2:Bucket{_LIFECYCLE}V2",
)
_LONGEST_HELD = 366  # days; RFC 8461 §3.2 ends max_age at 31557600 seconds


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
        blocks = [(each, each.props) for each in _about(stack, bucket, _BLOCK_TYPES)]
        own = get(bucket.props, "publicAccessBlockConfiguration")
        blocks += [(bucket, own)] if own else []
        if not blocks and not stack.unknown:
            yield bucket, "it has no BucketPublicAccessBlock"
        for block, settings in blocks:
            missing = [name for name in _PUBLIC_ACCESS if get(settings, name) is not True]
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
        own = get(bucket.props, "versioning", "enabled")
        own = own or get(bucket.props, "versioningConfiguration", "status") == "Enabled"
        if not settings and not stack.unknown and not own:
            yield bucket, "it has no BucketVersioning"

    yield from _each_bucket(stack, read)


@stack_rule(
    About(
        name="bucket-remembers",
        description="Nothing deletes a policy, or its earlier versions while some sender may hold them.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=("RFC 8461", "§3.2"),
        remediation=f"Keep earlier versions for {_LONGEST_HELD} days at least, and let no policy expire.",
    )
)
def bucket_remembers(stack: Stack, _: Settings) -> Iterator[tuple[Resource, str]]:
    """Look at life cycles: the versions are the only memory of what senders may hold, for up to a year."""

    def read(bucket: PolicyResource) -> Iterator[tuple[Resource, str]]:
        keys = [each.key for each in _objects_in(stack, bucket)]
        rules = [
            (each, rule) for each in _about(stack, bucket, _LIFECYCLE_TYPES) for rule in get(each.props, "rules") or []
        ]
        rules += [(bucket, rule) for rule in get(bucket.props, "lifecycleRules") or []]
        rules += [(bucket, rule) for rule in get(bucket.props, "lifecycleConfiguration", "rules") or []]
        for where, rule in rules:
            if _applies(rule, keys):
                yield from ((where, message) for message in _forgotten(rule))

    yield from _each_bucket(stack, read)


def _applies(rule: Mapping[str, Any], keys: Iterable[str]) -> bool:
    """Tell whether a life cycle's rule is in force for some policy; one for tagged objects is not taken to be."""
    if get(rule, "status") == "Disabled" or get(rule, "enabled") is False:
        return False
    chosen = [get(rule, "filter"), get(rule, "filter", "and"), rule]
    if any(get(each, name) for each in chosen for name in ("tag", "tags", "tagFilters")):
        return False
    prefix = next((str(found) for each in chosen if (found := get(each, "prefix"))), "")
    return any(key.startswith(prefix) for key in keys)


def _forgotten(rule: Mapping[str, Any]) -> Iterator[str]:
    if get(rule, "expiration") or get(rule, "expirationInDays") or get(rule, "expirationDate"):
        yield "the policy itself expires"
    earlier = get(rule, "noncurrentVersionExpiration")
    days = get(earlier, "noncurrentDays") or get(earlier, "days") or get(rule, "noncurrentVersionExpirationInDays")
    if days is not None and float(days) < _LONGEST_HELD:
        yield f"earlier versions are deleted after {days:g} days"


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
        own = ("serverSideEncryptionConfiguration", "bucketEncryption")
        stated = _about(stack, bucket, _ENCRYPTION_TYPES) or any(get(bucket.props, name) for name in own)
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
        if not statements and stack.unknown:
            return
        denying = [
            resource for each in statements if _denies_plain_http(each) for resource in _several(each.get("Resource"))
        ]
        keys = [each.key for each in _objects_in(stack, bucket)]
        # The bucket's name is asked for only where it decides: it may be one that is not known yet.
        if "*" not in denying and not (
            denying and all(_among(denying, f"{_bucket_name(bucket)}/{key}") for key in keys)
        ):
            yield bucket, "no statement of its policy denies every request for policies without TLS"

    yield from _each_bucket(stack, read)


@stack_rule(
    About(
        name="bucket-origin-access",
        description="One distribution alone reads a bucket of policies, by origin access control; no other account.",
        level=MANDATORY,
        severity=Severity.HIGH,
        reference=(_SECURITY_HUB, "CloudFront.13"),
        remediation="Allow s3:GetObject to cloudfront.amazonaws.com where AWS:SourceArn equals the distribution's ARN.",
        settings={
            "accounts": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Further AWS accounts that the bucket's policy may allow something.",
                "default": [],
            },
        },
    )
)
def bucket_origin_access(stack: Stack, settings: Settings) -> Iterator[tuple[Resource, str]]:
    """Demand the condition, without which any distribution of any account could serve the bucket."""

    def read_bucket(bucket: PolicyResource) -> Iterator[tuple[Resource, str]]:
        statements = [each for each in _statements(stack, bucket) if each.get("Effect") == "Allow"]
        ids = {arn.rpartition("/")[2] for each in statements for arn in _source_arns(each)}
        known = {_id(served) for served in stack.distributions} if ids else set()
        accounts = {_account(arn) for each in statements for arn in _source_arns(each)} | {*settings["accounts"]}
        for statement in statements:
            for what in _opened(statement, known, accounts):
                yield bucket, f"a statement of its policy allows {what}"

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


def _objects_in(stack: Stack, bucket: PolicyResource) -> list[PolicyObject]:
    def read(each: PolicyObject) -> list[PolicyObject]:
        return [each] if getattr(stack.bucket_of(each.resource), "urn", None) == bucket.urn else []

    return [*stack.each(stack.objects, read)]


def _bucket_name(bucket: PolicyResource) -> str:
    return str(get(bucket.props, "bucket") or get(bucket.props, "bucketName") or get(bucket.props, "id") or "")


def _statements(stack: Stack, bucket: PolicyResource) -> list[Mapping[str, Any]]:
    statements: list[Mapping[str, Any]] = []
    holding = _about(stack, bucket, _POLICY_TYPES) or [bucket]

    def read(each: PolicyResource) -> list[Any]:
        return [get(each.props, "policy") or _plain(get(each.props, "policyDocument"))]

    for text in stack.each(holding, read):
        document = json.loads(text) if isinstance(text, str) and text else text or {}
        statements += _several(document.get("Statement"))
    return statements


def _plain(value: Any) -> Any:
    """Return a value without the proxies through which the library shows it."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}
    return [_plain(each) for each in value] if hasattr(value, "__len__") and not isinstance(value, str) else value


def _denies_plain_http(statement: Mapping[str, Any]) -> bool:
    """Tell whether a statement denies everybody everything without TLS, whatever else is true of the request."""
    conditions = {operator.lower(): tests for operator, tests in (statement.get("Condition") or {}).items()}
    return (
        statement.get("Effect") == "Deny"
        and _for_anybody(statement)
        and "NotPrincipal" not in statement
        and any(action in ("*", "s3:*") for action in _several(statement.get("Action")))
        and len(conditions) == 1
        and any(
            [(name.lower(), [str(each).lower() for each in _several(value)]) for name, value in tests.items()]
            == [("aws:securetransport", ["false"])]
            for operator, tests in conditions.items()
            if operator in ("bool", "boolifexists")
        )
    )


def _among(patterns: Iterable[str], key: str) -> bool:
    """Tell whether an object, as bucket/key, is one of those that a statement is about."""
    return any(fnmatchcase(key, pattern.rpartition(":::")[2]) for pattern in patterns)


def _for_anybody(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    return principal == "*" or (isinstance(principal, dict) and "*" in _several(principal.get("AWS")))


def _opened(statement: Mapping[str, Any], distributions: set[str], accounts: set[str]) -> Iterator[str]:
    """Yield to whom a statement opens the bucket that is neither the distribution nor of its account.

    Where nothing tells the account, `accounts` is empty and none is called another one.
    """
    principal = statement.get("Principal")
    if _for_anybody(statement) or not isinstance(principal, dict):
        yield "everybody"
        return
    if "cloudfront.amazonaws.com" in _several(principal.get("Service")):
        arns = _source_arns(statement)
        if not arns or not all(":distribution/" in arn and "*" not in arn and "?" not in arn for arn in arns):
            yield "every CloudFront distribution"
        elif distributions and not {arn.rpartition("/")[2] for arn in arns} <= distributions:
            yield "a distribution that is not the policy host's"
    for each in map(str, _several(principal.get("AWS"))):
        if accounts and _account(each) not in accounts:
            yield f"{each}, of another account"
    if principal.get("CanonicalUser"):
        yield "a canonical user: another account's, or an older access identity"


def _account(principal: str) -> str:
    """Return the account in an ARN; a bare one is its own."""
    return (principal.split(":")[4:5] or [principal])[0]


def _id(served: Distribution) -> str:
    props = served.resource.props
    found = str(get(props, "arn") or get(props, "id") or "").rpartition("/")[2]
    if not found:
        raise UnreadableError(f"{served.resource.name} has no id yet")
    return found


_EXACT = ("stringequals", "arnequals", "stringlike", "arnlike")
"""Operators under which a condition on an ARN without wildcards lets that one ARN through."""


def _source_arns(statement: Mapping[str, Any]) -> list[str]:
    """Return the ARNs that a condition limits a statement to, none where it does not."""
    return [
        str(value)
        for operator, tests in (statement.get("Condition") or {}).items()
        if operator.lower() in _EXACT
        for name, values in tests.items()
        if name.lower() == "aws:sourcearn"
        for value in _several(values)
    ]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


RULES = (bucket_private, bucket_versioned, bucket_remembers, bucket_encrypted, bucket_tls_only, bucket_origin_access)
