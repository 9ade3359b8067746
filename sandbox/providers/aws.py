"""The `aws` provider of the sandbox: the resource types that the components use, over boto3."""

from __future__ import annotations

import json
import time
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any

from sandbox.providers.emulated import EmulatedProvider, Kind, Properties, loopback, plain, serve
from sandbox.providers.sdk_types import SdkType

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulumi.provider.experimental import provider as engine

_TERRAFORM = "terraform-provider-aws internal/service/"
_ISSUE_LIMIT = 20.0  # real seconds: the emulator issues at once, or never
_REGION: dict[str, str] = {}


@cache
def client(service: str, region: str) -> Any:
    """Return a boto3 client at the emulator."""
    import boto3  # noqa: PLC0415  heavy: not needed to be asked for a schema
    from botocore.config import Config  # noqa: PLC0415

    loopback("AWS_ENDPOINT_URL")
    untyped: Any = boto3
    return untyped.client(service, region_name=region, config=Config(retries={"mode": "standard", "max_attempts": 3}))


def _s3(inputs: Properties) -> Any:
    return client("s3", inputs.get("region") or _REGION["default"])


def _cloudfront() -> Any:
    return client("cloudfront", "us-east-1")


def _acm(inputs: Properties) -> Any:
    return client("acm", inputs.get("region") or _REGION["default"])


def _missing(error: Exception, *codes: str) -> bool:
    code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    return code in codes or code == "404" or code.startswith("NoSuch")


def _or_none(read: Callable[[], Properties], *codes: str) -> Properties | None:
    try:
        return read()
    except Exception as error:
        if _missing(error, *codes):
            return None
        raise


# --- S3 ---------------------------------------------------------------------------------------------------------


def _bucket_facts(name: str, region: str) -> Properties:
    return {
        "bucket": name,
        "arn": f"arn:aws:s3:::{name}",
        "region": region,
        "bucketDomainName": f"{name}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{name}.s3.{region}.amazonaws.com",
    }


def _create_bucket(inputs: Properties) -> tuple[str, Properties]:
    name = inputs.get("bucket") or f"bucket-{uuid.uuid4().hex[:12]}"
    region = inputs.get("region") or _REGION["default"]
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    _s3(inputs).create_bucket(Bucket=name, **where)
    return name, _bucket_facts(name, region)


def _read_bucket(name: str, held: Properties) -> Properties | None:
    region = held.get("region") or _REGION["default"]

    def read() -> Properties:
        _s3(held).head_bucket(Bucket=name)
        return {**held, **_bucket_facts(name, region)}

    return _or_none(read)


def _update_bucket(name: str, _old: Properties, new: Properties) -> Properties:
    return _bucket_facts(name, new.get("region") or _REGION["default"])


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


def _setting(
    name: str,
    put: Callable[[Any, Properties], Any],
    read: Callable[[Any, str], Any],
    delete: Callable[[Any, str], Any],
    *missing: str,
) -> Kind:
    """Return the kind of a bucket setting: a resource whose id is the bucket's name."""

    def create(inputs: Properties) -> tuple[str, Properties]:
        put(_s3(inputs), inputs)
        return inputs["bucket"], {"region": inputs.get("region") or _REGION["default"]}

    def read_setting(resource_id: str, held: Properties) -> Properties | None:
        def found() -> Properties:
            read(_s3(held), resource_id)
            return {**held, "bucket": resource_id}

        return _or_none(found, *missing)

    def update(_resource_id: str, _old: Properties, new: Properties) -> Properties:
        put(_s3(new), new)
        return {}

    module = name[0].lower() + "".join(f"_{c.lower()}" if c.isupper() else c for c in name[1:])
    return Kind(
        SdkType(f"pulumi_aws.s3.{module}", name),
        source=f"{_TERRAFORM}s3/{module}.go: bucket ForceNew; region: provider guide, enhanced region support",
        replaces=frozenset(("bucket", "region", "expectedBucketOwner")),
        create=create,
        read=read_setting,
        update=update,
        delete=lambda resource_id, state: delete(_s3(state), resource_id),
        computed=frozenset(("region",)),
    )


def _put_encryption(s3: Any, inputs: Properties) -> None:
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"]
            }
        }
        for rule in inputs["rules"]
    ]
    s3.put_bucket_encryption(Bucket=inputs["bucket"], ServerSideEncryptionConfiguration={"Rules": rules})


def _put_public_access(s3: Any, inputs: Properties) -> None:
    names = {
        "BlockPublicAcls": "blockPublicAcls",
        "BlockPublicPolicy": "blockPublicPolicy",
        "IgnorePublicAcls": "ignorePublicAcls",
        "RestrictPublicBuckets": "restrictPublicBuckets",
    }
    block = {there: bool(inputs.get(here)) for there, here in names.items()}
    s3.put_public_access_block(Bucket=inputs["bucket"], PublicAccessBlockConfiguration=block)


def _put_object(inputs: Properties) -> tuple[str, Properties]:
    given = {
        "ContentType": inputs.get("contentType"),
        "CacheControl": inputs.get("cacheControl"),
        "Metadata": inputs.get("metadata"),
    }
    answer = _s3(inputs).put_object(
        Bucket=inputs["bucket"],
        Key=inputs["key"],
        Body=(inputs.get("content") or "").encode(),
        **{name: value for name, value in given.items() if value},
    )
    return f"{inputs['bucket']}/{inputs['key']}", {
        "etag": answer["ETag"].strip('"'),
        "versionId": answer.get("VersionId", ""),
        "arn": f"arn:aws:s3:::{inputs['bucket']}/{inputs['key']}",
        "region": inputs.get("region") or _REGION["default"],
    }


def _read_object(resource_id: str, held: Properties) -> Properties | None:
    bucket, _, key = resource_id.removeprefix("s3://").partition("/")

    def read() -> Properties:
        head = _s3(held).head_object(Bucket=bucket, Key=key)
        # The content itself is not read back, as in the real provider.
        return {
            **held,
            "bucket": bucket,
            "key": key,
            "contentType": head["ContentType"],
            "metadata": head["Metadata"] or None,
            "etag": head["ETag"].strip('"'),
            "versionId": head.get("VersionId", ""),
        }

    return _or_none(read)


def _delete_object(_resource_id: str, state: Properties) -> None:
    # terraform-provider-aws internal/service/s3/object.go: with a version id in the state, all versions go.
    _delete_versions(_s3(state), state["bucket"], state["key"])


# --- CloudFront -------------------------------------------------------------------------------------------------


def _access_config(inputs: Properties) -> Properties:
    return {
        "Name": inputs["name"],
        "Description": inputs.get("description") or "Managed by Pulumi",
        "OriginAccessControlOriginType": inputs["originAccessControlOriginType"],
        "SigningBehavior": inputs["signingBehavior"],
        "SigningProtocol": inputs["signingProtocol"],
    }


def _create_access(inputs: Properties) -> tuple[str, Properties]:
    made = _cloudfront().create_origin_access_control(OriginAccessControlConfig=_access_config(inputs))
    access_id = made["OriginAccessControl"]["Id"]
    return access_id, {"etag": made["ETag"], "arn": f"arn:aws:cloudfront:::origin-access-control/{access_id}"}


def _read_access(resource_id: str, held: Properties) -> Properties | None:
    return _or_none(lambda: {**held, "etag": _cloudfront().get_origin_access_control(Id=resource_id)["ETag"]})


def _update_access(resource_id: str, _old: Properties, new: Properties) -> Properties:
    etag = _cloudfront().get_origin_access_control(Id=resource_id)["ETag"]
    answer = _cloudfront().update_origin_access_control(
        Id=resource_id, IfMatch=etag, OriginAccessControlConfig=_access_config(new)
    )
    return {"etag": answer["ETag"]}


def _delete_access(resource_id: str, _state: Properties) -> None:
    etag = _cloudfront().get_origin_access_control(Id=resource_id)["ETag"]
    _cloudfront().delete_origin_access_control(Id=resource_id, IfMatch=etag)


def _create_function(inputs: Properties) -> tuple[str, Properties]:
    cloudfront, name = _cloudfront(), inputs["name"]
    config = {"Comment": inputs.get("comment") or "", "Runtime": inputs["runtime"]}
    made = cloudfront.create_function(Name=name, FunctionConfig=config, FunctionCode=inputs["code"].encode())
    if inputs.get("publish", True):
        cloudfront.publish_function(Name=name, IfMatch=made["ETag"])
    return name, _function_facts(name)


def _function_facts(name: str) -> Properties:
    described = _cloudfront().describe_function(Name=name, Stage="DEVELOPMENT")
    arn = described["FunctionSummary"]["FunctionMetadata"]["FunctionARN"]
    return {"arn": arn, "etag": described["ETag"], "status": described["FunctionSummary"].get("Status", "")}


def _read_function(resource_id: str, held: Properties) -> Properties | None:
    return _or_none(lambda: {**held, "name": resource_id, **_function_facts(resource_id)})


def _update_function(resource_id: str, _old: Properties, new: Properties) -> Properties:
    cloudfront = _cloudfront()
    etag = cloudfront.describe_function(Name=resource_id, Stage="DEVELOPMENT")["ETag"]
    config = {"Comment": new.get("comment") or "", "Runtime": new["runtime"]}
    changed = cloudfront.update_function(
        Name=resource_id, IfMatch=etag, FunctionConfig=config, FunctionCode=new["code"].encode()
    )
    if new.get("publish", True):
        cloudfront.publish_function(Name=resource_id, IfMatch=changed["ETag"])
    return _function_facts(resource_id)


def _delete_function(resource_id: str, _state: Properties) -> None:
    etag = _cloudfront().describe_function(Name=resource_id, Stage="DEVELOPMENT")["ETag"]
    _cloudfront().delete_function(Name=resource_id, IfMatch=etag)


def _items(values: list[Any]) -> Properties:
    return {"Quantity": len(values), "Items": values}


def _distribution_config(inputs: Properties, reference: str) -> Properties:
    behaviour = inputs["defaultCacheBehavior"]
    certificate = inputs["viewerCertificate"]
    cached = _items(behaviour["cachedMethods"])
    config: Properties = {
        "CallerReference": reference,
        "Comment": inputs.get("comment") or "",
        "Enabled": inputs["enabled"],
        "IsIPV6Enabled": bool(inputs.get("isIpv6Enabled")),
        "HttpVersion": inputs.get("httpVersion") or "http2",
        "Aliases": _items(inputs.get("aliases") or []),
        "Origins": _items([_origin(origin) for origin in inputs["origins"]]),
        "DefaultCacheBehavior": {
            "TargetOriginId": behaviour["targetOriginId"],
            "ViewerProtocolPolicy": behaviour["viewerProtocolPolicy"],
            "AllowedMethods": _items(behaviour["allowedMethods"]) | {"CachedMethods": cached},
            "Compress": bool(behaviour.get("compress")),
            "FunctionAssociations": _items(
                [
                    {"FunctionARN": one["functionArn"], "EventType": one["eventType"]}
                    for one in behaviour.get("functionAssociations") or []
                ]
            ),
        },
        "Restrictions": {
            "GeoRestriction": {
                "RestrictionType": inputs["restrictions"]["geoRestriction"]["restrictionType"],
                "Quantity": 0,
            }
        },
        "ViewerCertificate": {
            "ACMCertificateArn": certificate["acmCertificateArn"],
            "MinimumProtocolVersion": certificate.get("minimumProtocolVersion") or "TLSv1",
            "SSLSupportMethod": certificate.get("sslSupportMethod") or "sni-only",
        }
        if certificate.get("acmCertificateArn")
        else {"CloudFrontDefaultCertificate": True},
    }
    caching = config["DefaultCacheBehavior"]
    if behaviour.get("cachePolicyId"):
        caching["CachePolicyId"] = behaviour["cachePolicyId"]
    else:
        caching["ForwardedValues"] = {"QueryString": False, "Cookies": {"Forward": "none"}}
        limits = (("MinTTL", "minTtl", 0), ("DefaultTTL", "defaultTtl", 86_400), ("MaxTTL", "maxTtl", 31_536_000))
        caching |= {there: behaviour.get(here, default) for there, here, default in limits}
    return config


def _origin(origin: Properties) -> Properties:
    return {
        "Id": origin["originId"],
        "DomainName": origin["domainName"],
        "OriginPath": origin.get("originPath") or "",
        "OriginAccessControlId": origin.get("originAccessControlId") or "",
        "S3OriginConfig": {"OriginAccessIdentity": ""},
    }


def _distribution_facts(made: Properties) -> Properties:
    distribution = made["Distribution"]
    return {
        "arn": distribution["ARN"],
        "domainName": distribution["DomainName"],
        "status": distribution["Status"],
        "etag": made["ETag"],
        "hostedZoneId": "Z2FDTNDATAQYW2",
        "callerReference": distribution["DistributionConfig"]["CallerReference"],
    }


def _create_distribution(inputs: Properties) -> tuple[str, Properties]:
    made = _cloudfront().create_distribution(DistributionConfig=_distribution_config(inputs, uuid.uuid4().hex))
    return made["Distribution"]["Id"], _distribution_facts(made)


def _read_distribution(resource_id: str, held: Properties) -> Properties | None:
    return _or_none(lambda: {**held, **_distribution_facts(_cloudfront().get_distribution(Id=resource_id))})


def _update_distribution(resource_id: str, _old: Properties, new: Properties) -> Properties:
    current = _cloudfront().get_distribution(Id=resource_id)
    reference = current["Distribution"]["DistributionConfig"]["CallerReference"]
    config = _distribution_config(new, reference)
    return _distribution_facts(
        _cloudfront().update_distribution(Id=resource_id, IfMatch=current["ETag"], DistributionConfig=config)
    )


def _delete_distribution(resource_id: str, _state: Properties) -> None:
    cloudfront = _cloudfront()
    current = cloudfront.get_distribution_config(Id=resource_id)
    etag = current["ETag"]
    if current["DistributionConfig"]["Enabled"]:
        disabled = current["DistributionConfig"] | {"Enabled": False}
        etag = cloudfront.update_distribution(Id=resource_id, IfMatch=etag, DistributionConfig=disabled)["ETag"]
    cloudfront.delete_distribution(Id=resource_id, IfMatch=etag)


# --- ACM --------------------------------------------------------------------------------------------------------


def _create_certificate(inputs: Properties) -> tuple[str, Properties]:
    acm = _acm(inputs)
    others = inputs.get("subjectAlternativeNames")
    arn = acm.request_certificate(
        DomainName=inputs["domainName"],
        ValidationMethod=inputs["validationMethod"],
        **({"SubjectAlternativeNames": others} if others else {}),
    )["CertificateArn"]
    return arn, _certificate_facts(acm, arn)


def _certificate_facts(acm: Any, arn: str) -> Properties:
    certificate = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    options = [
        {
            "domainName": option["DomainName"],
            "resourceRecordName": option["ResourceRecord"]["Name"],
            "resourceRecordType": option["ResourceRecord"]["Type"],
            "resourceRecordValue": option["ResourceRecord"]["Value"],
        }
        for option in certificate["DomainValidationOptions"]
    ]
    return {"arn": arn, "status": certificate["Status"], "domainValidationOptions": options}


def _read_certificate(resource_id: str, held: Properties) -> Properties | None:
    return _or_none(lambda: {**held, **_certificate_facts(_acm(held), resource_id)}, "ResourceNotFoundException")


def _delete_certificate(resource_id: str, state: Properties) -> None:
    _acm(state).delete_certificate(CertificateArn=resource_id)


def _create_validation(inputs: Properties) -> tuple[str, Properties]:
    arn = inputs["certificateArn"]
    deadline = time.monotonic() + _ISSUE_LIMIT
    while True:
        certificate = _acm(inputs).describe_certificate(CertificateArn=arn)["Certificate"]
        if certificate["Status"] == "ISSUED":
            return str(uuid.uuid4()), {}
        if certificate["Status"] == "FAILED":
            raise RuntimeError(f"ACM could not issue {arn}: {certificate.get('FailureReason', 'no reason given')}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"ACM did not issue {arn}: a validation record is missing")
        time.sleep(0.1)


KINDS = {
    "aws:s3/bucket:Bucket": Kind(
        SdkType("pulumi_aws.s3.bucket", "Bucket"),
        source=f"{_TERRAFORM}s3/bucket.go: bucket, bucket_prefix, object_lock_enabled ForceNew",
        replaces=frozenset(("bucket", "bucketPrefix", "objectLockEnabled", "region")),
        create=_create_bucket,
        read=_read_bucket,
        update=_update_bucket,
        delete=_delete_bucket,
        computed=frozenset(("bucket", "arn", "region", "bucketDomainName", "bucketRegionalDomainName")),
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _setting(
        "BucketVersioning",
        lambda s3, inputs: s3.put_bucket_versioning(
            Bucket=inputs["bucket"],
            VersioningConfiguration={"Status": inputs["versioningConfiguration"]["status"]},
        ),
        lambda s3, bucket: s3.get_bucket_versioning(Bucket=bucket)["Status"],
        # terraform-provider-aws internal/service/s3/bucket_versioning.go: deleting suspends it.
        lambda s3, bucket: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}),
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _setting(
        "BucketServerSideEncryptionConfiguration",
        _put_encryption,
        lambda s3, bucket: s3.get_bucket_encryption(Bucket=bucket),
        lambda s3, bucket: s3.delete_bucket_encryption(Bucket=bucket),
        "ServerSideEncryptionConfigurationNotFoundError",
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _setting(
        "BucketPublicAccessBlock",
        _put_public_access,
        lambda s3, bucket: s3.get_public_access_block(Bucket=bucket),
        lambda s3, bucket: s3.delete_public_access_block(Bucket=bucket),
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _setting(
        "BucketOwnershipControls",
        lambda s3, inputs: s3.put_bucket_ownership_controls(
            Bucket=inputs["bucket"],
            OwnershipControls={"Rules": [{"ObjectOwnership": inputs["rule"]["objectOwnership"]}]},
        ),
        lambda s3, bucket: s3.get_bucket_ownership_controls(Bucket=bucket),
        lambda s3, bucket: s3.delete_bucket_ownership_controls(Bucket=bucket),
        "OwnershipControlsNotFoundError",
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _setting(
        "BucketPolicy",
        lambda s3, inputs: s3.put_bucket_policy(Bucket=inputs["bucket"], Policy=inputs["policy"]),
        lambda s3, bucket: json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]),
        lambda s3, bucket: s3.delete_bucket_policy(Bucket=bucket),
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Kind(
        SdkType("pulumi_aws.s3.bucket_objectv2", "BucketObjectv2"),
        source=f"{_TERRAFORM}s3/object.go: bucket, key ForceNew",
        replaces=frozenset(("bucket", "key", "region")),
        create=_put_object,
        read=_read_object,
        update=lambda _id, _old, new: _put_object(new)[1],
        delete=_delete_object,
        computed=frozenset(("etag", "versionId", "arn", "region")),
        changing=frozenset(("etag", "versionId")),
    ),
    "aws:cloudfront/originAccessControl:OriginAccessControl": Kind(
        SdkType("pulumi_aws.cloudfront.origin_access_control", "OriginAccessControl"),
        source=f"{_TERRAFORM}cloudfront/origin_access_control.go: nothing ForceNew",
        replaces=frozenset(),
        create=_create_access,
        read=_read_access,
        update=_update_access,
        delete=_delete_access,
        computed=frozenset(("etag", "arn")),
        changing=frozenset(("etag",)),
    ),
    "aws:cloudfront/function:Function": Kind(
        SdkType("pulumi_aws.cloudfront.function", "Function"),
        source=f"{_TERRAFORM}cloudfront/function.go: name ForceNew",
        replaces=frozenset(("name",)),
        create=_create_function,
        read=_read_function,
        update=_update_function,
        delete=_delete_function,
        computed=frozenset(("arn", "etag", "status")),
        changing=frozenset(("etag", "status")),
    ),
    "aws:cloudfront/distribution:Distribution": Kind(
        SdkType("pulumi_aws.cloudfront.distribution", "Distribution"),
        source=f"{_TERRAFORM}cloudfront/distribution.go: continuous_deployment_policy_id apart, staging ForceNew",
        replaces=frozenset(("staging",)),
        create=_create_distribution,
        read=_read_distribution,
        update=_update_distribution,
        delete=_delete_distribution,
        computed=frozenset(("arn", "domainName", "status", "etag", "hostedZoneId", "callerReference")),
        changing=frozenset(("etag", "status")),
    ),
    "aws:acm/certificate:Certificate": Kind(
        SdkType("pulumi_aws.acm.certificate", "Certificate"),
        source=f"{_TERRAFORM}acm/certificate.go: domain_name, subject_alternative_names, validation_method ForceNew",
        replaces=frozenset(("domainName", "subjectAlternativeNames", "validationMethod", "keyAlgorithm", "region")),
        create=_create_certificate,
        read=_read_certificate,
        update=lambda _id, _old, _new: {},
        delete=_delete_certificate,
        computed=frozenset(("arn", "status", "domainValidationOptions")),
    ),
    "aws:acm/certificateValidation:CertificateValidation": Kind(
        SdkType("pulumi_aws.acm.certificate_validation", "CertificateValidation"),
        source=f"{_TERRAFORM}acm/certificate_validation.go: certificate_arn, validation_record_fqdns ForceNew",
        replaces=frozenset(("certificateArn", "validationRecordFqdns", "region")),
        create=_create_validation,
        read=lambda _id, held: held,
        delete=lambda _id, _state: None,  # a waiter, no cloud object
    ),
}


def _identity(_arguments: Properties) -> Properties:
    found = client("sts", "us-east-1").get_caller_identity()
    return {"accountId": found["Account"], "arn": found["Arn"], "userId": found["UserId"], "id": found["Account"]}


FUNCTIONS = {"aws:index/getCallerIdentity:getCallerIdentity": _identity}


class AwsProvider(EmulatedProvider):
    """Checks the account before it does anything, as the real provider does."""

    async def configure(self, request: engine.ConfigureRequest) -> engine.ConfigureResponse:
        """Take region and allowed accounts from the configuration."""
        given = {name: plain(value) for name, value in request.args.items()}
        _REGION["default"] = str(given.get("region") or "us-east-1")
        allowed = given.get("allowedAccountIds")
        if allowed:
            accounts = json.loads(allowed) if isinstance(allowed, str) else allowed
            found = _identity({})["accountId"]
            if found not in accounts:
                raise RuntimeError(f"AWS account ID not allowed: {found}")
        return await super().configure(request)


if __name__ == "__main__":
    serve(AwsProvider(KINDS, FUNCTIONS), "7.51.1")
