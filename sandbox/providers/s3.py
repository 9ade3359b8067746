"""S3 in the sandbox's `aws` provider: bucket, its settings, objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sandbox.providers.aws_client import (
    REGION,
    TERRAFORM,
    all_tags,
    as_list,
    client,
    missing,
    or_none,
    region_of,
    tag_facts,
)
from sandbox.providers.emulated import Kind
from sandbox.providers.sdk_types import SdkType
from sandbox.providers.shapes import ListOf, Member, Properties, Shape, Value

if TYPE_CHECKING:
    from collections.abc import Callable

_HOSTED_ZONE = "Z1BKCTXD74EZPE"  # of S3 web sites in eu-west-1; nothing here depends on it


def _s3(properties: Properties) -> Any:
    return client("s3", properties)


# --- Bucket -----------------------------------------------------------------------------------------------------

_BUCKET = Shape(
    {
        "bucket": Member("Bucket"),
        "forceDestroy": Member("forceDestroy", default=False),
        "tags": Member("tags"),
        "region": Member("region"),
    },
    local=frozenset(("forceDestroy",)),
)


def _create_bucket(inputs: Properties) -> str:
    name, region = inputs["bucket"], region_of(inputs)
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    _s3(inputs).create_bucket(Bucket=name, **where)
    _tag_bucket(name, {}, inputs)
    return str(name)


def _tag_bucket(name: str, old: Properties, new: Properties) -> None:
    tags = all_tags(new)
    if tags:
        _s3(new).put_bucket_tagging(Bucket=name, Tagging={"TagSet": as_list(tags)})
    elif old.get("tagsAll"):
        _s3(new).delete_bucket_tagging(Bucket=name)


def _read_bucket(name: str, held: Properties) -> Properties | None:
    region = region_of(held)

    def read() -> Properties:
        _s3(held).head_bucket(Bucket=name)
        return {
            "bucket": name,
            "arn": f"arn:aws:s3:::{name}",
            "region": region,
            "bucketRegion": region,
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{name}.s3.{region}.amazonaws.com",
            "hostedZoneId": _HOSTED_ZONE,
            **tag_facts(_bucket_tags(name, held)),
        }

    return or_none(read)


def _bucket_tags(name: str, held: Properties) -> list[dict[str, str]]:
    found = or_none(lambda: dict(_s3(held).get_bucket_tagging(Bucket=name)), "NoSuchTagSet")
    return list(found["TagSet"]) if found else []


def _delete_bucket(name: str, state: Properties) -> None:
    s3 = _s3(state)
    if state.get("forceDestroy"):
        _delete_versions(s3, name, "")
    s3.delete_bucket(Bucket=name)


def _delete_versions(s3: Any, bucket: str, key: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
            if not key or version["Key"] == key:
                s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


# --- Its settings -----------------------------------------------------------------------------------------------


def _setting(
    name: str,
    call: str,
    members: dict[str, Member],
    *,
    answered: Callable[[Properties], Properties] = dict,
    wrapped: str = "",
    delete: Callable[[Any, str], Any] | None = None,
    absent: tuple[str, ...] = (),
) -> Kind:
    """Return the kind of a bucket setting: a resource whose id is the bucket's name.

    `call` is what boto3 calls it after `put_`, `get_`, `delete_`; `wrapped` the member of the API around ours (or
    `answered`, which takes it out of an answer); `absent` are the codes for "not set".
    """

    def put(inputs: Properties) -> None:
        given = shape.encode(inputs)
        given.pop("region", None)
        bucket = given.pop("Bucket")
        getattr(_s3(inputs), f"put_{call}")(Bucket=bucket, **({wrapped: given} if wrapped else given))

    def create(inputs: Properties) -> str:
        put(inputs)
        return str(inputs["bucket"])

    def read(resource_id: str, held: Properties) -> Properties | None:
        def found() -> Properties:
            answer = getattr(_s3(held), f"get_{call}")(Bucket=resource_id)
            return dict(shape.decode(answer[wrapped] if wrapped else answered(answer)))

        standing = or_none(found, *absent)
        if not standing:  # a bucket that never was versioned answers with nothing
            return None
        return {"bucket": resource_id, "region": region_of(held)} | standing

    def remove(resource_id: str, state: Properties) -> None:
        s3 = _s3(state)
        try:
            delete(s3, resource_id) if delete else getattr(s3, f"delete_{call}")(Bucket=resource_id)
        except Exception as error:
            if not missing(error, *absent):
                raise

    shape = Shape({"bucket": Member("Bucket"), "region": Member("region")} | members)
    module = name[0].lower() + "".join(f"_{c.lower()}" if c.isupper() else c for c in name[1:])
    return Kind(
        sdk=SdkType(f"pulumi_aws.s3.{module}", name),
        source=f"{TERRAFORM}s3/{module}.go: bucket ForceNew{REGION}",
        shape=shape,
        replaces=frozenset(("bucket", "region")),
        create=create,
        read=read,
        update=lambda _id, _old, new: put(new),
        delete=remove,
    )


_ENCRYPTION_RULE = Shape(
    {
        "applyServerSideEncryptionByDefault": Member(
            "ApplyServerSideEncryptionByDefault",
            Shape({"sseAlgorithm": Member("SSEAlgorithm"), "kmsMasterKeyId": Member("KMSMasterKeyID")}),
        ),
        "bucketKeyEnabled": Member("BucketKeyEnabled"),
    }
)
_OWNERSHIP_RULE = Value(
    written=lambda rule: [{"ObjectOwnership": rule["objectOwnership"]}],
    read=lambda rules: {"objectOwnership": rules[0]["ObjectOwnership"]},
)


# --- Object -----------------------------------------------------------------------------------------------------

_OBJECT = Shape(
    {
        "bucket": Member("Bucket"),
        "key": Member("Key"),
        "content": Member("content"),
        "contentType": Member("ContentType"),
        "cacheControl": Member("CacheControl"),
        "metadata": Member("Metadata"),
        "forceDestroy": Member("forceDestroy", default=False),
        "tags": Member("tags"),
        "region": Member("region"),
    },
    local=frozenset(("content", "forceDestroy")),
)
_CONTENT = ("content", "contentType", "cacheControl", "metadata")  # what makes a new version


def _put_object(inputs: Properties) -> str:
    metadata = inputs.get("metadata") or {}
    if any(key != key.lower() for key in metadata):
        raise ValueError(f"metadata must be lower case, got {', '.join(metadata)}")
    given = {name: value for name, value in _OBJECT.encode(inputs).items() if name[0].isupper()}
    tags = all_tags(inputs)
    _s3(inputs).put_object(
        **given, Body=(inputs.get("content") or "").encode(), **({"Tagging": urlencode(tags)} if tags else {})
    )
    return f"{inputs['bucket']}/{inputs['key']}"


def _update_object(resource_id: str, old: Properties, new: Properties) -> None:
    # Where the program gives no type, the cloud's stays.
    if any(old.get(name) != new.get(name) for name in _CONTENT if name != "contentType" or name in new):
        _put_object(new)
        return
    bucket, _, key = resource_id.partition("/")
    _s3(new).put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": as_list(all_tags(new))})


def _read_object(resource_id: str, held: Properties) -> Properties | None:
    bucket, _, key = resource_id.removeprefix("s3://").partition("/")

    def read() -> Properties:
        head = _s3(held).head_object(Bucket=bucket, Key=key)
        tags = _s3(held).get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        return {
            "id": f"{bucket}/{key}",
            **_OBJECT.decode(head | {"Bucket": bucket, "Key": key}),
            "etag": head["ETag"].strip('"'),
            "versionId": head.get("VersionId", ""),
            "arn": f"arn:aws:s3:::{bucket}/{key}",
            "region": region_of(held),
            "storageClass": head.get("StorageClass", "STANDARD"),
            "serverSideEncryption": head.get("ServerSideEncryption", ""),
            **tag_facts(tags),
        }

    return or_none(read)


def _delete_object(_resource_id: str, state: Properties) -> None:
    s3, bucket, key = _s3(state), state["bucket"], state["key"]
    if state.get("versionId"):  # then all versions go (resourceObjectDelete)
        _delete_versions(s3, bucket, key)
    else:
        s3.delete_object(Bucket=bucket, Key=key)


KINDS = {
    "aws:s3/bucket:Bucket": Kind(
        sdk=SdkType("pulumi_aws.s3.bucket", "Bucket"),
        source=f"{TERRAFORM}s3/bucket.go: bucket ForceNew{REGION}",
        shape=_BUCKET,
        replaces=frozenset(("bucket", "region")),
        create=_create_bucket,
        read=_read_bucket,
        update=_tag_bucket,
        delete=_delete_bucket,
        named="bucket",
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _setting(
        "BucketVersioning",
        "bucket_versioning",
        {"versioningConfiguration": Member("VersioningConfiguration", Shape({"status": Member("Status")}))},
        answered=lambda answer: {"VersioningConfiguration": answer},
        # resourceBucketVersioningDelete: it can't be taken away, only suspended.
        delete=lambda s3, bucket: s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
        ),
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _setting(
        "BucketServerSideEncryptionConfiguration",
        "bucket_encryption",
        {"rules": Member("Rules", ListOf(_ENCRYPTION_RULE))},
        wrapped="ServerSideEncryptionConfiguration",
        absent=("ServerSideEncryptionConfigurationNotFoundError",),
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _setting(
        "BucketPublicAccessBlock",
        "public_access_block",
        {
            name: Member(name[0].upper() + name[1:], default=False)
            for name in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        },
        wrapped="PublicAccessBlockConfiguration",
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _setting(
        "BucketOwnershipControls",
        "bucket_ownership_controls",
        {"rule": Member("Rules", _OWNERSHIP_RULE)},
        wrapped="OwnershipControls",
        absent=("OwnershipControlsNotFoundError",),
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _setting(
        "BucketPolicy",
        "bucket_policy",
        # Two texts of one policy are equal, as for the real provider.
        {"policy": Member("Policy", Value(read=lambda text: json.dumps(json.loads(text), sort_keys=True)))},
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Kind(
        sdk=SdkType("pulumi_aws.s3.bucket_objectv2", "BucketObjectv2"),
        source=f"{TERRAFORM}s3/object.go: bucket, key ForceNew; resourceObjectCustomizeDiff: version_id{REGION}",
        shape=_OBJECT,
        replaces=frozenset(("bucket", "key", "region")),
        create=_put_object,
        read=_read_object,
        update=_update_object,
        delete=_delete_object,
        changing=frozenset(("versionId",)),
    ),
}
