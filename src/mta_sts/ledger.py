"""What the policy bucket remembers: the versions of a domain's policy object, and the id each was published under.

The bucket is the one place that still knows, after any failure or roll-back, which policies senders may hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mta_sts.findings import Finding, MtaStsError
from mta_sts.identifier import content_id, policy_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_s3 import S3Client

ID_METADATA = "sts-id"
"""Object metadata: the id that `_mta-sts` shows for this version."""
EPOCH_METADATA = "sts-epoch"
"""Object metadata: the epoch that went into that id."""
ADOPTED_METADATA = "sts-adopted"
"""Object metadata: ids of the DNS records that were imported before this version was written."""


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """The newest version of one domain's policy object; `metadata` is empty for a delete marker."""

    version_id: str
    metadata: Mapping[str, str]


def policy_key(domain: str) -> str:
    """Return the object key of a domain's policy; the policy host maps `mta-sts.DOMAIN` to it."""
    return f"{domain}/.well-known/mta-sts.txt"


def newest_version(s3: S3Client, bucket: str, domain: str) -> PolicyVersion | None:
    """Return the newest version of a domain's policy object, or None where none was ever written.

    Raises MtaStsError (`ledger-unreadable`) when S3 does not let us look: "no permission" must never
    read as "never served".
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  heavy: only when S3 is read

    key = policy_key(domain)
    try:
        # S3 lists the versions of one key newest first.
        listing = s3.list_object_versions(Bucket=bucket, Prefix=key)
        for marker in listing.get("DeleteMarkers", []):
            if marker["Key"] == key and marker["IsLatest"]:
                return PolicyVersion(marker["VersionId"], {})
        for version in listing.get("Versions", []):
            if version["Key"] == key and version["IsLatest"]:
                head = s3.head_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
                return PolicyVersion(version["VersionId"], head["Metadata"])
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            return None
        raise _unreadable(bucket, key, f"S3 answered {code}") from error
    except BotoCoreError as error:
        raise _unreadable(bucket, key, str(error)) from error
    return None


def _unreadable(bucket: str, key: str, reason: str) -> MtaStsError:
    message = (
        f"the served policies in s3://{bucket}/{key} can't be read ({reason}); grant s3:ListBucketVersions on "
        f"arn:aws:s3:::{bucket} and s3:GetObjectVersion on its objects (docs/permissions.md), then run again"
    )
    return MtaStsError(f"bucket {bucket}", [Finding("ledger-unreadable", "host.bucket", message)])


def next_id(body: bytes, newest: PolicyVersion | None, epoch: str | None, otherwise: str) -> str:
    """Return the id to publish a body under: the one it already has, else one that was never used.

    `otherwise` is what the id is derived from where no version exists to be replaced: the live TXT id,
    or lacking that the UTC day. An id that was once visible is never visible again with another body,
    because some sender stored that other body under it (facts.md, discovery record).
    """
    if newest is None:
        return policy_id(body, otherwise, epoch)
    published = newest.metadata.get(ID_METADATA, "")
    same_body = published.startswith(content_id(body))
    if same_body and newest.metadata.get(EPOCH_METADATA, "") == (epoch or ""):
        return published
    return policy_id(body, newest.version_id, epoch)
