"""Hand-written programs in the styles that are found in the wild, each with a change that loses mail.

They are what a review is tried on: nothing of this product is in them.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400
ZONE = "example.com"
_CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a domain is to publish; without a mode it publishes no MTA-STS at all."""

    mode: str | None
    hosts: tuple[str, ...]
    max_age: int = 10 * DAY
    patterns: tuple[str, ...] = ()
    """What the policy lists where that is not the MX hosts."""

    @property
    def body(self) -> str:
        """The policy file."""
        lines = ["version: STSv1", f"mode: {self.mode}", *(f"mx: {host}" for host in self.patterns or self.hosts)]
        return "\n".join([*lines, f"max_age: {self.max_age}"]) + "\n"


@dataclass(frozen=True, slots=True)
class Style:
    """How a program publishes, and the change that shows what is wrong with it.

    `first` names what waits for the other, object or record; empty: neither does.
    """

    name: str
    before: Wanted
    after: Wanted
    fault: str
    """The rule by which a review calls the change unsafe, before all others (docs/review.md)."""
    identifier: Callable[[Wanted], str] = lambda wanted: hashlib.sha256(wanted.body.encode()).hexdigest()[:32]
    first: str = "object"
    cached: bool = False

    @property
    def domain(self) -> str:
        """The mail domain that it publishes for."""
        return f"{self.name}.{ZONE}"

    def program(self, wanted: Wanted) -> Callable[[], None]:
        """Return the program that publishes what is wanted."""
        return lambda: _publish(self, wanted)


_ENFORCE = Wanted("enforce", ("mx1.example.com",))
_LONGER = replace(_ENFORCE, max_age=30 * DAY)

STYLES = (
    # The hash leaves out what nobody thought of when it was written.
    Style(
        "hash-of-inputs",
        _ENFORCE,
        _LONGER,
        "id-unchanged",
        lambda wanted: hashlib.sha256(repr(wanted.hosts).encode()).hexdigest()[:32],
    ),
    Style("timestamp", _LONGER, _ENFORCE, "id-before-policy", lambda _: time.strftime("%Y%m%d%H%M%S"), first=""),
    Style("day-at-the-edge", _ENFORCE, _LONGER, "edge-caches-policy", cached=True),
    Style("mx-in-parallel", _ENFORCE, replace(_ENFORCE, hosts=("mx3.example.com",)), "mx-not-in-held-policy"),
    Style("record-first", replace(_ENFORCE, mode="testing"), _ENFORCE, "id-before-policy", first="record"),
    Style("dropped-with-mx", _ENFORCE, Wanted(None, ("mx3.example.com",)), "mx-not-in-held-policy"),
)


def _publish(style: Style, wanted: Wanted) -> None:
    import pulumi_cloudflare as cloudflare  # noqa: PLC0415  heavy

    zone_id = cloudflare.get_zones(name=ZONE).results[0].id
    domain = style.domain

    def record(role: str, kind: str, name: str, content: Any, after: Any = None, **more: Any) -> Any:
        import pulumi  # noqa: PLC0415

        return cloudflare.DnsRecord(
            role,
            zone_id=zone_id,
            name=name,
            type=kind,
            content=content,
            ttl=300,
            opts=pulumi.ResourceOptions(depends_on=after),
            **more,
        )

    for host in wanted.hosts:
        record(f"mx-{host}", "MX", domain, host, priority=10)
    if wanted.mode is None:
        return
    text = f'"v=STSv1; id={style.identifier(wanted)};"'
    made = record("sts", "TXT", f"_mta-sts.{domain}", text) if style.first == "record" else None
    bucket, policy = _object(style, wanted, made)
    if made is None:
        record("sts", "TXT", f"_mta-sts.{domain}", text, [policy] if style.first == "object" else None)
    target = _distribution(style, bucket, record)
    record("policy-host", "CNAME", f"mta-sts.{domain}", target)


def _object(style: Style, wanted: Wanted, after: Any) -> tuple[Any, Any]:
    import pulumi  # noqa: PLC0415
    import pulumi_aws as aws  # noqa: PLC0415

    bucket = aws.s3.Bucket("policies", bucket=f"usual-{hashlib.sha256(style.name.encode()).hexdigest()[:20]}")
    versioning = aws.s3.BucketVersioning("versions", bucket=bucket.id, versioning_configuration={"status": "Enabled"})
    policy = aws.s3.BucketObjectv2(
        "policy",
        bucket=bucket.id,
        key=".well-known/mta-sts.txt",
        content=wanted.body,
        content_type="text/plain",
        opts=pulumi.ResourceOptions(depends_on=[versioning, *([after] if after is not None else [])]),
    )
    return bucket, policy


def _distribution(style: Style, bucket: Any, record: Callable[..., Any]) -> Any:
    """Return the name of the distribution that serves the bucket."""
    import pulumi  # noqa: PLC0415
    import pulumi_aws as aws  # noqa: PLC0415

    from sandbox.chaos.control import readable  # noqa: PLC0415

    host = f"mta-sts.{style.domain}"
    certificate = aws.acm.Certificate("certificate", domain_name=host, validation_method="DNS", region="us-east-1")
    proof = certificate.domain_validation_options[0]
    validation_record = record(
        "validation",
        "CNAME",
        proof.resource_record_name.apply(lambda name: name.rstrip(".")),
        proof.resource_record_value.apply(lambda value: value.rstrip(".")),
    )
    validation = aws.acm.CertificateValidation(
        "issued", certificate_arn=certificate.arn, validation_record_fqdns=[validation_record.name], region="us-east-1"
    )
    access = aws.cloudfront.OriginAccessControl(
        "access",
        name=f"usual-{style.name}",
        origin_access_control_origin_type="s3",
        signing_behavior="always",
        signing_protocol="sigv4",
    )
    # What CloudFront does when nobody says anything: 24 hours.
    usual = {"forwarded_values": {"query_string": False, "cookies": {"forward": "none"}}}
    distribution = aws.cloudfront.Distribution(
        "distribution",
        enabled=True,
        aliases=[host],
        origins=[
            {
                "origin_id": "s3",
                "domain_name": bucket.bucket_regional_domain_name,
                "origin_access_control_id": access.id,
            }
        ],
        default_cache_behavior={
            "target_origin_id": "s3",
            "allowed_methods": ["GET", "HEAD"],
            "cached_methods": ["GET", "HEAD"],
            "viewer_protocol_policy": "https-only",
            **(usual if style.cached else {"cache_policy_id": _CACHING_DISABLED}),
        },
        viewer_certificate={"acm_certificate_arn": validation.certificate_arn, "ssl_support_method": "sni-only"},
        restrictions={"geo_restriction": {"restriction_type": "none"}},
    )
    aws.s3.BucketPolicy(
        "readable",
        bucket=bucket.id,
        policy=pulumi.Output.all(bucket.arn, distribution.arn).apply(lambda arns: readable(*arns)),
    )
    return distribution.domain_name
