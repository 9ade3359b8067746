"""What the components need to be allowed: one table, and the documents made from it.

`python -m pulumi_mta_sts.permissions` writes docs/permissions.md to its output;
`python -m pulumi_mta_sts.permissions deploy --account 111111111111 --bucket policies` one policy, ready to paste.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi_mta_sts.policy_host import function_name

_PROVIDER = "terraform-provider-aws, internal/service/"
_S3 = "Service Authorization Reference, Amazon S3"
_CLOUDFRONT = "Service Authorization Reference, Amazon CloudFront"
_ACM = "Service Authorization Reference, AWS Certificate Manager"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one resource type, or one look-up, takes on one kind of AWS resource.

    `read` is needed to refresh, `write` to create and change, `remove` to take away for good.
    """

    type: str
    on: str
    read: Sequence[str] = ()
    write: Sequence[str] = ()
    remove: Sequence[str] = ()
    source: str


LEDGER = Row(
    type="the policies already served",
    on="bucket",
    read=["s3:ListBucketVersions"],
    source=f"mta_sts.ledger; {_S3}",
)
LEDGER_OBJECTS = Row(
    type="the policies already served",
    on="objects",
    # HeadObject and GetObject with a version id.
    read=["s3:GetObjectVersion"],
    source=f"mta_sts.ledger; {_S3}",
)

AWS: Sequence[Row] = (
    LEDGER,
    LEDGER_OBJECTS,
    Row(
        type="aws:s3/bucket:Bucket",
        on="bucket",
        # HeadBucket is s3:ListBucket; the provider reads every setting of a bucket, whoever made it.
        read=[
            "s3:ListBucket",
            "s3:GetAccelerateConfiguration",
            "s3:GetBucketAcl",
            "s3:GetBucketCORS",
            "s3:GetBucketLogging",
            "s3:GetBucketObjectLockConfiguration",
            "s3:GetBucketPolicy",
            "s3:GetBucketRequestPayment",
            "s3:GetBucketTagging",
            "s3:GetBucketVersioning",
            "s3:GetBucketWebsite",
            "s3:GetEncryptionConfiguration",
            "s3:GetLifecycleConfiguration",
            "s3:GetReplicationConfiguration",
            "s3:ListTagsForResource",
        ],
        write=["s3:CreateBucket", "s3:PutBucketTagging", "s3:TagResource", "s3:UntagResource"],
        remove=["s3:DeleteBucket", "s3:ListBucketVersions"],
        source=f"{_PROVIDER}s3/bucket.go; {_S3}",
    ),
    Row(
        type="aws:s3/bucket:Bucket",
        on="objects",
        # force_destroy: the bucket goes with every version in it.
        remove=["s3:DeleteObject", "s3:DeleteObjectVersion"],
        source=f"{_PROVIDER}s3/bucket.go (force_destroy); {_S3}",
    ),
    Row(
        type="aws:s3/bucketVersioning:BucketVersioning",
        on="bucket",
        read=["s3:GetBucketVersioning"],
        write=["s3:PutBucketVersioning"],
        source=f"{_PROVIDER}s3/bucket_versioning.go; {_S3}",
    ),
    Row(
        type="aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        on="bucket",
        read=["s3:GetEncryptionConfiguration"],
        write=["s3:PutEncryptionConfiguration"],
        source=f"{_PROVIDER}s3/bucket_server_side_encryption_configuration.go; {_S3}",
    ),
    Row(
        type="aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        on="bucket",
        read=["s3:GetBucketPublicAccessBlock"],
        write=["s3:PutBucketPublicAccessBlock"],
        source=f"{_PROVIDER}s3/bucket_public_access_block.go; {_S3}",
    ),
    Row(
        type="aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        on="bucket",
        read=["s3:GetBucketOwnershipControls"],
        write=["s3:PutBucketOwnershipControls"],
        source=f"{_PROVIDER}s3/bucket_ownership_controls.go; {_S3}",
    ),
    Row(
        type="aws:s3/bucketPolicy:BucketPolicy",
        on="bucket",
        read=["s3:GetBucketPolicy"],
        write=["s3:PutBucketPolicy"],
        remove=["s3:DeleteBucketPolicy"],
        source=f"{_PROVIDER}s3/bucket_policy.go; {_S3}",
    ),
    Row(
        type="aws:s3/bucketObjectv2:BucketObjectv2",
        on="objects",
        # HeadObject is s3:GetObject. The object is retained on delete: nothing here removes one.
        read=["s3:GetObject", "s3:GetObjectTagging"],
        write=["s3:PutObject", "s3:PutObjectTagging", "s3:DeleteObjectTagging"],
        source=f"{_PROVIDER}s3/object.go; {_S3}",
    ),
    Row(
        type="aws:acm/certificate:Certificate",
        on="certificate request",
        write=["acm:RequestCertificate"],
        source=f"{_PROVIDER}acm/certificate.go; {_ACM}",
    ),
    Row(
        type="aws:acm/certificate:Certificate",
        on="certificates",
        read=["acm:DescribeCertificate", "acm:ListTagsForCertificate"],
        # A changed list of domains is a new certificate, and the old one goes.
        write=["acm:AddTagsToCertificate", "acm:RemoveTagsFromCertificate", "acm:DeleteCertificate"],
        source=f"{_PROVIDER}acm/certificate.go; {_ACM}",
    ),
    Row(
        type="aws:acm/certificateValidation:CertificateValidation",
        on="certificates",
        read=["acm:DescribeCertificate"],
        source=f"{_PROVIDER}acm/certificate_validation.go; {_ACM}",
    ),
    Row(
        type="aws:cloudfront/distribution:Distribution",
        on="anything",
        write=["cloudfront:CreateDistribution"],
        source=f"{_PROVIDER}cloudfront/distribution.go; {_CLOUDFRONT}",
    ),
    Row(
        type="aws:cloudfront/distribution:Distribution",
        on="distributions",
        read=["cloudfront:GetDistribution", "cloudfront:ListTagsForResource"],
        # The provider always creates "with tags".
        write=["cloudfront:UpdateDistribution", "cloudfront:TagResource", "cloudfront:UntagResource"],
        remove=["cloudfront:DeleteDistribution"],
        source=f"{_PROVIDER}cloudfront/distribution.go; {_CLOUDFRONT}",
    ),
    Row(
        type="aws:cloudfront/function:Function",
        on="anything",
        write=["cloudfront:CreateFunction"],
        source=f"{_PROVIDER}cloudfront/function.go; {_CLOUDFRONT}",
    ),
    Row(
        type="aws:cloudfront/function:Function",
        on="functions",
        read=["cloudfront:DescribeFunction", "cloudfront:GetFunction"],
        # New code is a new function, and the old one goes.
        write=["cloudfront:PublishFunction", "cloudfront:UpdateFunction", "cloudfront:DeleteFunction"],
        source=f"{_PROVIDER}cloudfront/function.go; {_CLOUDFRONT}",
    ),
    Row(
        type="aws:cloudfront/originAccessControl:OriginAccessControl",
        on="anything",
        write=["cloudfront:CreateOriginAccessControl"],
        source=f"{_PROVIDER}cloudfront/origin_access_control.go; {_CLOUDFRONT}",
    ),
    Row(
        type="aws:cloudfront/originAccessControl:OriginAccessControl",
        on="origin access controls",
        read=["cloudfront:GetOriginAccessControl"],
        write=["cloudfront:UpdateOriginAccessControl"],
        remove=["cloudfront:DeleteOriginAccessControl"],
        source=f"{_PROVIDER}cloudfront/origin_access_control.go; {_CLOUDFRONT}",
    ),
)

_TOKENS = "Cloudflare API token permissions"
CLOUDFLARE: Sequence[Row] = (
    Row(type="cloudflare:index/getZones:getZones", on="zones", read=["Zone Read"], source=_TOKENS),
    Row(type="cloudflare:index/getDnsRecords:getDnsRecords", on="zones", read=["DNS Read"], source=_TOKENS),
    Row(
        type="cloudflare:index/dnsRecord:DnsRecord",
        on="zones",
        read=["DNS Read"],
        write=["DNS Edit"],
        source=_TOKENS,
    ),
)

DOCUMENTS = {
    "check": "what `mta-sts check` and other readers of the policies already served need",
    "preview": "what `pulumi preview` needs, with `--refresh` too",
    "deploy": "what `pulumi up` needs; it can remove neither bucket nor policy versions nor the distribution",
    "destroy": "what is needed on top of `deploy` to take everything away",
}


def policy(document: str, *, account: str, bucket: str) -> dict[str, Any]:
    """Return one of DOCUMENTS as an IAM policy document."""
    statements = []
    for on, (resources, condition) in _targets(account, bucket).items():
        actions = {action for row in AWS if row.on == on for action in _actions(row, document)}
        if actions:
            name = on.title().replace(" ", "")
            statement: dict[str, Any] = {
                "Sid": name,
                "Effect": "Allow",
                "Action": sorted(actions),
                "Resource": resources,
            }
            statements.append(statement | ({"Condition": condition} if condition else {}))
    return {"Version": "2012-10-17", "Statement": statements}


def _actions(row: Row, document: str) -> Iterable[str]:
    match document:
        case "check":
            return row.read if row in (LEDGER, LEDGER_OBJECTS) else ()
        case "preview":
            return row.read
        case "deploy":
            return [*row.read, *row.write]
        case _:
            return row.remove


def _targets(account: str, bucket: str) -> dict[str, tuple[str, dict[str, Any] | None]]:
    """Return, by the kind of AWS resource, the ARN that limits the actions on it, and a condition."""
    # The certificate is only ever for policy hosts, and only in the one region that CloudFront reads.
    request = {
        "StringEquals": {"aws:RequestedRegion": "us-east-1", "acm:ValidationMethod": "DNS"},
        "ForAllValues:StringLike": {"acm:DomainNames": "mta-sts.*"},
    }
    return {
        "bucket": (f"arn:aws:s3:::{bucket}", None),
        "objects": (f"arn:aws:s3:::{bucket}/*/.well-known/mta-sts.txt", None),
        "certificate request": ("*", request),
        "certificates": (f"arn:aws:acm:us-east-1:{account}:certificate/*", None),
        "distributions": (f"arn:aws:cloudfront::{account}:distribution/*", None),
        "functions": (f"arn:aws:cloudfront::{account}:function/{function_name(bucket, '*')}", None),
        "origin access controls": (f"arn:aws:cloudfront::{account}:origin-access-control/*", None),
        "anything": ("*", None),
    }


def _table(rows: Sequence[Row]) -> Iterable[str]:
    yield "| resource type or look-up | on | read | write | remove | source |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        actions = [", ".join(f"`{action}`" for action in group) for group in (row.read, row.write, row.remove)]
        kind = f"`{row.type}`" if ":" in row.type else row.type
        yield f"| {kind} | {row.on} | {' | '.join(actions)} | {row.source} |"


def markdown(account: str, bucket: str) -> str:
    """Return docs/permissions.md."""
    lines = [
        "# Permissions",
        "",
        "The least that the components need. Made by `python -m pulumi_mta_sts.permissions` from the table at the end;",
        "a test compares the table with the resources that the components really create.",
        "",
        "Replace the account and the bucket's name, or let the command do it:",
        "",
        "```",
        f"python -m pulumi_mta_sts.permissions deploy --account {account} --bucket {bucket}",
        "```",
        "",
        "`sts:GetCallerIdentity` needs no permission. What Pulumi's state needs (an S3 bucket and its KMS key, or",
        "Pulumi Cloud) is not part of this. Once the first `up` has made the distribution, its id can stand in place",
        "of `distribution/*`.",
        "",
        "## Cloudflare",
        "",
        "An API token limited to the zones that hold the domains:",
        "",
        "| for | permissions |",
        "| --- | --- |",
        "| preview, check | Zone / Zone / Read, Zone / DNS / Read |",
        "| deploy, destroy | Zone / Zone / Read, Zone / DNS / Edit (which includes Read) |",
        "",
        "## AWS",
    ]
    for document, meaning in DOCUMENTS.items():
        lines += ["", f"### {document}", "", f"{meaning[0].upper()}{meaning[1:]}.", "", "```json"]
        lines += [json.dumps(policy(document, account=account, bucket=bucket), indent=2), "```"]
    lines += ["", "## The table", "", *_table(AWS), "", *_table(CLOUDFLARE)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the page, or one policy document."""
    parser = argparse.ArgumentParser(prog="python -m pulumi_mta_sts.permissions", description=__doc__.splitlines()[0])
    parser.add_argument("document", nargs="?", choices=[*DOCUMENTS], help="print this policy alone, as JSON")
    parser.add_argument("--account", default="111111111111", help="AWS account id")
    parser.add_argument("--bucket", default="policy-host-prod-111111111111", help="name of the host's bucket")
    given = parser.parse_args(arguments)
    if given.document:
        print(json.dumps(policy(given.document, account=given.account, bucket=given.bucket), indent=2))
    else:
        print(markdown(given.account, given.bucket), end="")


if __name__ == "__main__":
    main()
