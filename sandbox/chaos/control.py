"""The control: the same changes by a hand-written program in the usual style. It must lose mail."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def usual_style(domains: Sequence[dict[str, Any]]) -> None:
    """Publish as hand-written programs do: CloudFront's default caching, an id from the inputs, no order."""
    import pulumi_cloudflare as cloudflare  # noqa: PLC0415  heavy

    zone_id = cloudflare.get_zones(name="example.com").results[0].id
    for config in domains:
        _publish(config, zone_id)


def _publish(config: dict[str, Any], zone_id: str) -> None:
    import pulumi  # noqa: PLC0415
    import pulumi_aws as aws  # noqa: PLC0415
    import pulumi_cloudflare as cloudflare  # noqa: PLC0415

    domain = config["domain"]
    name = domain.replace(".", "-")
    hosts = [entry["host"] if isinstance(entry, dict) else entry for entry in config["mx"]]
    lines = ["version: STSv1", f"mode: {config['mode']}", *(f"mx: {host}" for host in hosts)]
    content = "\n".join([*lines, f"max_age: {config['max_age']}"]) + "\n"
    bucket = aws.s3.Bucket(f"{name}-bucket", bucket=f"usual-{hashlib.sha256(name.encode()).hexdigest()[:20]}")
    aws.s3.BucketObjectv2(
        f"{name}-policy",
        bucket=bucket.id,
        key=".well-known/mta-sts.txt",
        content=content,
        content_type="text/plain",
    )
    certificate = aws.acm.Certificate(
        f"{name}-certificate", domain_name=f"mta-sts.{domain}", validation_method="DNS", region="us-east-1"
    )
    proof = certificate.domain_validation_options[0]
    validation_record = cloudflare.DnsRecord(
        f"{name}-validation",
        zone_id=zone_id,
        name=proof.resource_record_name.apply(lambda name: name.rstrip(".")),
        content=proof.resource_record_value.apply(lambda value: value.rstrip(".")),
        type="CNAME",
        ttl=300,
    )
    validation = aws.acm.CertificateValidation(
        f"{name}-issued",
        certificate_arn=certificate.arn,
        validation_record_fqdns=[validation_record.name],
        region="us-east-1",
    )
    access = aws.cloudfront.OriginAccessControl(
        f"{name}-access",
        name=bucket.bucket,
        origin_access_control_origin_type="s3",
        signing_behavior="always",
        signing_protocol="sigv4",
    )
    distribution = aws.cloudfront.Distribution(
        f"{name}-distribution",
        enabled=True,
        aliases=[f"mta-sts.{domain}"],
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
            "viewer_protocol_policy": "redirect-to-https",
            "forwarded_values": {"query_string": False, "cookies": {"forward": "none"}},
        },
        viewer_certificate={"acm_certificate_arn": validation.certificate_arn, "ssl_support_method": "sni-only"},
        restrictions={"geo_restriction": {"restriction_type": "none"}},
    )
    aws.s3.BucketPolicy(
        f"{name}-readable",
        bucket=bucket.id,
        policy=pulumi.Output.all(bucket.arn, distribution.arn).apply(lambda arns: readable(*arns)),
    )
    identifier = hashlib.sha256(repr((hosts, config["mode"])).encode()).hexdigest()[:32]
    records = {
        "host": (f"mta-sts.{domain}", "CNAME", distribution.domain_name),
        "record": (f"_mta-sts.{domain}", "TXT", f'"v=STSv1; id={identifier};"'),
    }
    for role, (owner, kind, value) in records.items():
        cloudflare.DnsRecord(f"{name}-{role}", zone_id=zone_id, name=owner, type=kind, content=value, ttl=300)
    if config.get("manage_mx"):
        for index, host in enumerate(hosts):  # by index, as a loop over a list does
            cloudflare.DnsRecord(
                f"{name}-mx-{index}", zone_id=zone_id, name=domain, type="MX", content=host, priority=10, ttl=300
            )


def readable(bucket: str, distribution: str) -> str:
    """Return the bucket policy that lets a distribution read."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": "s3:GetObject",
        "Resource": f"{bucket}/*",
        "Condition": {"StringEquals": {"AWS:SourceArn": distribution}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
