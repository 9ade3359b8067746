"""Small stacks as the engine shows them to a policy pack, to be changed by tests and judged by its rules."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pulumi_mta_sts_policies import RULES
from pulumi_policy import (
    PolicyCustomTimeouts,
    PolicyResource,
    PolicyResourceOptions,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from mta_sts import policy_id, render_sts_record, txt_presentation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UNKNOWN = UNKNOWN_STRING_VALUE
BODY = "version: STSv1\nmode: testing\nmx: mx1.example.com\nmx: mx2.example.com\nmax_age: 604800\n"
ENFORCE = BODY.replace("testing", "enforce")
ARN = "arn:aws:cloudfront::111111111111:distribution/E1"
FUNCTION_ARN = "arn:aws:cloudfront::111111111111:function/F1"
CERTIFICATE_ARN = "arn:aws:acm:us-east-1:111111111111:certificate/1"
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
REPORTS = "v=TLSRPTv1; rua=mailto:tls-reports@example.com"
BUCKET_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::policies/*",
            "Condition": {"StringEquals": {"AWS:SourceArn": ARN}},
        },
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": ["arn:aws:s3:::policies", "arn:aws:s3:::policies/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ],
}


@dataclass
class Made:
    """One resource of a stack; `after` names what it depends on, `values` by property what values come from."""

    type: str
    props: dict[str, Any]
    after: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)
    protect: bool = True
    parent: str = ""

    def put(self, path: str, value: Any) -> None:
        """Set a property at a dotted path; None removes it."""
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        at: Any = self.props
        for part in way:
            at = at[part]
        if value is None:
            del at[last]
        else:
            at[last] = value


Stack = dict[str, Made]


def ours() -> Stack:
    """Return one domain on Cloudflare and S3, as our component publishes it but with no component around it."""
    identifier = policy_id(BODY, "2026-11-24")
    return {
        "bucket": Made("aws:s3/bucket:Bucket", {"bucket": "policies", "id": "policies"}),
        "block": Made(
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
            {
                "bucket": "policies",
                "blockPublicAcls": True,
                "blockPublicPolicy": True,
                "ignorePublicAcls": True,
                "restrictPublicBuckets": True,
            },
            values={"bucket": ["bucket"]},
        ),
        "versioning": Made(
            "aws:s3/bucketVersioning:BucketVersioning",
            {"bucket": "policies", "versioningConfiguration": {"status": "Enabled"}},
            values={"bucket": ["bucket"]},
        ),
        "encryption": Made(
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
            {"bucket": "policies", "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
            values={"bucket": ["bucket"]},
        ),
        "certificate": Made(
            "aws:acm/certificate:Certificate", {"arn": CERTIFICATE_ARN, "domainName": "mta-sts.example.com"}
        ),
        "validation": Made(
            "aws:acm/certificateValidation:CertificateValidation",
            {"certificateArn": CERTIFICATE_ARN},
            values={"certificateArn": ["certificate"]},
        ),
        "function": Made(
            "aws:cloudfront/function:Function",
            {"arn": FUNCTION_ARN, "code": "function handler(event) { return event; }"},
        ),
        "distribution": Made(
            "aws:cloudfront/distribution:Distribution",
            {
                "arn": ARN,
                "aliases": ["mta-sts.example.com"],
                "origins": [
                    {
                        "originId": "policies",
                        "domainName": "policies.s3.eu-west-1.amazonaws.com",
                        "originAccessControlId": "E2",
                    }
                ],
                "defaultCacheBehavior": {
                    "targetOriginId": "policies",
                    "cachePolicyId": CACHING_DISABLED,
                    "viewerProtocolPolicy": "https-only",
                    "functionAssociations": [{"eventType": "viewer-request", "functionArn": FUNCTION_ARN}],
                },
                "viewerCertificate": {
                    "acmCertificateArn": CERTIFICATE_ARN,
                    "minimumProtocolVersion": "TLSv1.2_2021",
                },
            },
            values={"origins": ["bucket"], "viewerCertificate": ["validation"]},
        ),
        "reading": Made(
            "aws:s3/bucketPolicy:BucketPolicy",
            {"bucket": "policies", "policy": json.dumps(BUCKET_POLICY)},
            values={"bucket": ["bucket"], "policy": ["bucket", "distribution"]},
        ),
        "object": Made(
            "aws:s3/bucketObjectv2:BucketObjectv2",
            {
                "bucket": "policies",
                "key": "example.com/.well-known/mta-sts.txt",
                "content": BODY,
                "contentType": "text/plain; charset=utf-8",
                "metadata": {"sts-id": identifier},
            },
            after=["distribution"],
        ),
        "host": cloudflare("mta-sts.example.com", "CNAME", "d1.cloudfront.net"),
        "reports": cloudflare("_smtp._tls.example.com", "TXT", txt_presentation(REPORTS)),
        "sts": cloudflare(
            "_mta-sts.example.com", "TXT", txt_presentation(render_sts_record(identifier)), after=["object", "host"]
        ),
        "mx1": cloudflare("example.com", "MX", "mx1.example.com", after=["sts"]),
        "mx2": cloudflare("example.com", "MX", "mx2.example.com", after=["sts"]),
    }


def theirs() -> Stack:
    """Return one domain on Route 53, in a style of others: a bucket of its own, everything named by outputs."""
    stack = ours()
    stack["zone"] = Made("aws:route53/zone:Zone", {"zoneId": "Z1", "id": "Z1", "name": "example.com"})
    stack["object"].type = "aws:s3/bucketObject:BucketObject"
    stack["object"].props["key"] = ".well-known/mta-sts.txt"
    stack["object"].values["bucket"] = ["bucket"]
    del stack["mx2"]
    for name, record, kind, values in (
        ("host", "mta-sts", "CNAME", ["d1.cloudfront.net"]),
        ("reports", "_smtp._tls.example.com", "TXT", [REPORTS]),
        ("sts", "_mta-sts", "TXT", [render_sts_record(policy_id(BODY, "2026-11-24"))]),
        ("mx1", "", "MX", ["10 mx1.example.com.", "20 mx2.example.com."]),
    ):
        stack[name] = Made(
            "aws:route53/record:Record",
            {"zoneId": "Z1", "name": record, "type": kind, "records": values, "ttl": 300.0},
            after=stack[name].after,
            values={"zoneId": ["zone"]},
        )
    return stack


def cloudflare(name: str, kind: str, content: str, *, after: Iterable[str] = ()) -> Made:
    """Return a record at Cloudflare."""
    props = {"zoneId": "z1", "name": name, "type": kind, "content": content, "ttl": 300.0, "proxied": False}
    return Made("cloudflare:index/dnsRecord:DnsRecord", props, after=[*after])


def domain_more(stack: Stack, body: str, domain: str = "example.net") -> None:
    """Add a second domain with its object and its id to a stack."""
    identifier = policy_id(body, "v1")
    stack["other-object"] = deepcopy(stack["object"])
    stack["other-object"].props |= {
        "key": f"{domain}/.well-known/mta-sts.txt",
        "content": body,
        "metadata": {"sts-id": identifier},
    }
    stack["other-sts"] = cloudflare(
        f"_mta-sts.{domain}", "TXT", txt_presentation(render_sts_record(identifier)), after=["other-object"]
    )
    stack["other-reports"] = cloudflare(f"_smtp._tls.{domain}", "TXT", txt_presentation(REPORTS))


def republish(stack: Stack, body: str) -> None:
    """Change the policy, and with it its id and record."""
    identifier = policy_id(body, "2026-11-24")
    stack["object"].props |= {"content": body, "metadata": {"sts-id": identifier}}
    stack["sts"].props["content"] = txt_presentation(render_sts_record(identifier))


def urn(name: str, made: Made) -> str:
    """Return a resource's URN."""
    return f"urn:pulumi:test::project::{made.type}::{name}"


def _options(made: Made) -> PolicyResourceOptions:
    timeouts = PolicyCustomTimeouts(0, 0, 0)
    return PolicyResourceOptions(made.protect, [], None, [], timeouts, [], made.parent or None)


def _arguments(stack: Stack) -> list[PolicyResource]:
    resources = {
        name: PolicyResource(
            made.type,
            unknown_checking_proxy(deepcopy(made.props)),
            urn(name, made),
            name,
            _options(made),
            None,
            None,
            [],
            {},
        )
        for name, made in stack.items()
    }
    for name, made in stack.items():
        values = {key: [resources[other] for other in others] for key, others in made.values.items()}
        resources[name].property_dependencies = values
        from_values = [other for others in values.values() for other in others]
        resources[name].dependencies = [*(resources[other] for other in made.after), *from_values]
    return list(resources.values())


@dataclass
class Verdict:
    """What the rules said: violations by rule, and the rules that said that something is not known yet."""

    violations: dict[str, list[str]] = field(default_factory=dict)
    unsure: dict[str, str] = field(default_factory=dict)


def judge(stack: Stack, config: dict[str, dict[str, Any]] | None = None) -> Verdict:
    """Apply every rule as the library does."""
    verdict = Verdict()
    for rule in RULES:
        settings = (config or {}).get(rule.name, {})
        for args in _calls(stack, rule, settings):

            def report(message: str, where: str | None = None, name: str = rule.name) -> None:
                verdict.violations.setdefault(name, []).append(message)

            try:
                rule.validate(args, report)
            except UnknownValueError as error:
                verdict.unsure[rule.name] = error.message
    return verdict


def _calls(stack: Stack, rule: Any, settings: dict[str, Any]) -> Iterator[Any]:
    if not isinstance(rule, ResourceValidationPolicy):
        yield StackValidationArgs(_arguments(stack), settings)
        return
    for name, made in stack.items():
        props = unknown_checking_proxy(deepcopy(made.props))
        yield ResourceValidationArgs(made.type, props, urn(name, made), name, _options(made), None, settings)
