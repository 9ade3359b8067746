"""A policy host made by hand, with the clouds' own clients: what the components would make."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from sandbox.world.internet import ACCOUNT
from tests.sandbox.conftest import Cloudflare

if TYPE_CHECKING:
    from sandbox.world.client import World

DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
KEY = ".well-known/mta-sts.txt"
CODE = """
async function handler(event) {
    const request = event.request;
    const host = request.headers.host.value.toLowerCase();
    if (request.uri !== '/.well-known/mta-sts.txt') {
        return { statusCode: 404, headers: { 'x-by': { value: 'function' } }, body: 'no' };
    }
    request.uri = await Promise.resolve(`/${host.slice('mta-sts.'.length)}/.well-known/mta-sts.txt`);
    return request;
}
"""


def policy(*mx: str, mode: str = "testing", max_age: int = 86_400) -> str:
    """Return a policy's text."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {pattern}" for pattern in mx), f"max_age: {max_age}"]
    return "\n".join(lines) + "\n"


class Clouds:
    """Both clouds of a world, driven by boto3 and plain HTTP."""

    def __init__(self, world: World) -> None:
        self.cloudflare = Cloudflare(world)
        self._endpoint = world.endpoints.aws

    def client(self, service: str, region: str = "us-east-1", retries: int = 1) -> Any:
        """Return a boto3 client that leads to the world."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self._endpoint,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="sandbox",  # noqa: S106  it opens nothing else
            config=Config(retries={"total_max_attempts": retries}, connect_timeout=5, read_timeout=10),
        )

    @cached_property
    def s3(self) -> Any:
        """The S3 client."""
        return self.client("s3", "eu-west-1")

    @cached_property
    def cloudfront(self) -> Any:
        """The CloudFront client."""
        return self.client("cloudfront")

    @cached_property
    def acm(self) -> Any:
        """The ACM client in the region that CloudFront asks for."""
        return self.client("acm")

    def bucket(self, name: str) -> str:
        """Make a versioned bucket."""
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def put(self, bucket: str, domain: str, body: str, **more: Any) -> str:
        """Write a domain's policy object; return its version."""
        answer = self.s3.put_object(
            Bucket=bucket, Key=f"{domain}/{KEY}", Body=body.encode(), ContentType="text/plain; charset=utf-8", **more
        )
        return str(answer["VersionId"])

    def request(self, *names: str, region: str = "us-east-1") -> str:
        """Ask ACM for a certificate."""
        alternatives = {"SubjectAlternativeNames": list(names)} if len(names) > 1 else {}
        acm = self.client("acm", region)
        return str(
            acm.request_certificate(DomainName=names[0], ValidationMethod="DNS", **alternatives)["CertificateArn"]
        )

    def described(self, arn: str) -> dict[str, Any]:
        """Return what ACM says of a certificate."""
        return dict(self.client("acm", arn.split(":")[3]).describe_certificate(CertificateArn=arn)["Certificate"])

    def prove(self, zone: str, arn: str, **more: Any) -> None:
        """Write the validation records of a certificate into a zone."""
        for option in self.described(arn)["DomainValidationOptions"]:
            record = option["ResourceRecord"]
            if not self.cloudflare.records(zone, record["Name"].rstrip(".")):
                self.cloudflare.add(zone, "CNAME", record["Name"], record["Value"], **more)

    def certificate(self, zone: str, *names: str) -> str:
        """Return an issued certificate."""
        arn = self.request(*names)
        self.prove(zone, arn)
        return arn

    def function(self, name: str, code: str = CODE) -> str:
        """Make and publish a viewer-request function."""
        made = self.cloudfront.create_function(
            Name=name, FunctionConfig={"Comment": "", "Runtime": "cloudfront-js-2.0"}, FunctionCode=code.encode()
        )
        self.cloudfront.publish_function(Name=name, IfMatch=made["ETag"])
        return str(made["FunctionSummary"]["FunctionMetadata"]["FunctionARN"])

    def access_control(self, name: str) -> str:
        """Make an origin access control."""
        config = {
            "Name": name,
            "OriginAccessControlOriginType": "s3",
            "SigningBehavior": "always",
            "SigningProtocol": "sigv4",
        }
        made = self.cloudfront.create_origin_access_control(OriginAccessControlConfig=config)
        return str(made["OriginAccessControl"]["Id"])

    def distribution(self, reference: str, certificate: str, aliases: list[str], bucket: str, **more: Any) -> Any:
        """Make a distribution; `behaviour` replaces the caching, `function` and `access` are used where given."""
        config = distribution_config(reference, certificate, aliases, bucket, **more)
        return self.cloudfront.create_distribution(DistributionConfig=config)["Distribution"]

    def allow(self, bucket: str, arn: str, *extra: dict[str, Any]) -> None:
        """Let a distribution read a bucket."""
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{bucket}/*",
            "Condition": {"StringEquals": {"AWS:SourceArn": arn}},
        }
        self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": [statement, *extra]}))

    def host(self, zone: str, domain: str, body: str, **more: Any) -> Any:
        """Make everything that serves a domain's policy, its name in DNS included; return the distribution."""
        short = domain.partition(".")[0]
        bucket = self.bucket(f"policies-{short}")
        self.put(bucket, domain, body)
        certificate = self.certificate(zone, f"mta-sts.{domain}")
        made = self.distribution(
            short,
            certificate,
            [f"mta-sts.{domain}"],
            bucket,
            function=self.function(f"function-{short}"),
            access=self.access_control(bucket),
            **more,
        )
        self.allow(bucket, made["ARN"])
        self.cloudflare.add(zone, "CNAME", f"mta-sts.{domain}", made["DomainName"])
        return made

    def publish(self, zone: str, domain: str, body: str, identifier: str, **more: Any) -> Any:
        """Make a host, and the record that tells senders of it."""
        made = self.host(zone, domain, body, **more)
        self.cloudflare.add(zone, "TXT", f"_mta-sts.{domain}", f'"v=STSv1; id={identifier};"')
        return made


def distribution_config(
    reference: str,
    certificate: str,
    aliases: list[str],
    bucket: str,
    *,
    function: str = "",
    access: str = "",
    behaviour: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a distribution's configuration."""
    functions = [{"FunctionARN": function, "EventType": "viewer-request"}] if function else []
    return {
        "CallerReference": reference,
        "Aliases": {"Quantity": len(aliases), "Items": aliases},
        "Comment": "",
        "Enabled": True,
        "Origins": {
            "Quantity": 1,
            "Items": [
                {
                    "Id": "policies",
                    "DomainName": f"{bucket}.s3.eu-west-1.amazonaws.com",
                    "OriginAccessControlId": access,
                    "S3OriginConfig": {"OriginAccessIdentity": ""},
                }
            ],
        },
        "DefaultCacheBehavior": {
            "TargetOriginId": "policies",
            "ViewerProtocolPolicy": "https-only",
            "FunctionAssociations": {"Quantity": len(functions), "Items": functions},
            **(behaviour or {"CachePolicyId": DISABLED}),
        },
        "ViewerCertificate": {
            "ACMCertificateArn": certificate,
            "SSLSupportMethod": "sni-only",
            "MinimumProtocolVersion": "TLSv1.2_2021",
        },
    }
