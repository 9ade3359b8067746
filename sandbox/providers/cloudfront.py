"""CloudFront in the sandbox's `aws` provider: origin access control, function, distribution."""

from __future__ import annotations

import uuid
from typing import Any

from sandbox.providers.aws_client import (
    TERRAFORM,
    all_tags,
    as_list,
    cloudfront,
    gone,
    missing,
    or_none,
    tag_facts,
    wait,
)
from sandbox.providers.emulated import Kind
from sandbox.providers.sdk_types import SdkType
from sandbox.providers.shapes import Member, Properties, Shape, set_of

_HOSTED_ZONE = "Z2FDTNDATAQYW2"  # CloudFront's own, for alias records at Route 53


def _set_tags(arn: str, old: Properties, new: Properties) -> None:
    if gone(old, new):
        cloudfront().untag_resource(Resource=arn, TagKeys={"Items": gone(old, new)})
    if all_tags(new) != (old.get("tagsAll") or {}):
        cloudfront().tag_resource(Resource=arn, Tags={"Items": as_list(all_tags(new))})


def _tags(arn: str) -> Properties:
    return tag_facts(cloudfront().list_tags_for_resource(Resource=arn)["Tags"].get("Items", []))


# --- Origin access control --------------------------------------------------------------------------------------

_ACCESS = Shape(
    {
        "name": Member("Name"),
        "description": Member("Description", default="Managed by Pulumi"),
        "originAccessControlOriginType": Member("OriginAccessControlOriginType"),
        "signingBehavior": Member("SigningBehavior"),
        "signingProtocol": Member("SigningProtocol"),
    }
)


def _create_access(inputs: Properties) -> str:
    made = cloudfront().create_origin_access_control(OriginAccessControlConfig=_ACCESS.encode(inputs))
    return str(made["OriginAccessControl"]["Id"])


def _read_access(resource_id: str, _held: Properties) -> Properties | None:
    def read() -> Properties:
        answer = cloudfront().get_origin_access_control(Id=resource_id)
        arn = f"arn:aws:cloudfront:::origin-access-control/{resource_id}"
        config = answer["OriginAccessControl"]["OriginAccessControlConfig"]
        return {**_ACCESS.decode(config), "etag": answer["ETag"], "arn": arn}

    return or_none(read)


def _update_access(resource_id: str, old: Properties, new: Properties) -> None:
    cloudfront().update_origin_access_control(
        Id=resource_id, IfMatch=old["etag"], OriginAccessControlConfig=_ACCESS.encode(new)
    )


def _delete_access(resource_id: str, state: Properties) -> None:
    try:
        cloudfront().delete_origin_access_control(Id=resource_id, IfMatch=state["etag"])
    except Exception as error:
        if not missing(error):
            raise


# --- Function ---------------------------------------------------------------------------------------------------

_FUNCTION = Shape(
    {
        "name": Member("Name"),
        "code": Member("FunctionCode"),
        "comment": Member("Comment", default=""),
        "runtime": Member("Runtime"),
        "publish": Member("publish", default=True),
        "tags": Member("tags"),
    },
    local=frozenset(("publish",)),
)


def _function_call(inputs: Properties) -> Properties:
    api = _FUNCTION.encode(inputs)
    config = {"Comment": api["Comment"], "Runtime": api["Runtime"]}
    return {"Name": api["Name"], "FunctionConfig": config, "FunctionCode": api["FunctionCode"].encode()}


def _publish(inputs: Properties, etag: str) -> None:
    if inputs.get("publish", True):
        cloudfront().publish_function(Name=inputs["name"], IfMatch=etag)


def _create_function(inputs: Properties) -> str:
    made = cloudfront().create_function(**_function_call(inputs))
    _publish(inputs, made["ETag"])
    _set_tags(made["FunctionSummary"]["FunctionMetadata"]["FunctionARN"], {}, inputs)
    return str(inputs["name"])


def _read_function(resource_id: str, _held: Properties) -> Properties | None:
    def read() -> Properties:
        described = cloudfront().describe_function(Name=resource_id, Stage="DEVELOPMENT")
        summary = described["FunctionSummary"]
        code = cloudfront().get_function(Name=resource_id, Stage="DEVELOPMENT")["FunctionCode"].read().decode()
        live = or_none(lambda: dict(cloudfront().describe_function(Name=resource_id, Stage="LIVE")))
        arn = summary["FunctionMetadata"]["FunctionARN"]
        return {
            **_FUNCTION.decode(summary["FunctionConfig"] | {"Name": resource_id, "FunctionCode": code}),
            "arn": arn,
            "etag": described["ETag"],
            "liveStageEtag": live["ETag"] if live else "",
            "status": summary.get("Status", ""),
            **_tags(arn),
        }

    return or_none(read)


def _update_function(_resource_id: str, old: Properties, new: Properties) -> None:
    etag = old["etag"]
    if any((old.get(name) or "") != (new.get(name) or "") for name in ("code", "comment", "runtime")):
        etag = cloudfront().update_function(IfMatch=etag, **_function_call(new))["ETag"]
    _publish(new, etag)
    _set_tags(old["arn"], old, new)


def _delete_function(resource_id: str, state: Properties) -> None:
    try:
        cloudfront().delete_function(Name=resource_id, IfMatch=state["etag"])
    except Exception as error:
        if not missing(error):
            raise


# --- Distribution -----------------------------------------------------------------------------------------------


def _methods_together(theirs: Properties) -> Properties:
    cached = theirs.pop("CachedMethods", None)
    if cached is not None:
        theirs["AllowedMethods"] = theirs["AllowedMethods"] | {"CachedMethods": cached}
    if "CachePolicyId" in theirs:  # then the older way to say what is cached is refused
        return {name: value for name, value in theirs.items() if name not in ("MinTTL", "DefaultTTL", "MaxTTL")}
    return theirs


def _methods_apart(theirs: Properties) -> Properties:
    return theirs | {"CachedMethods": theirs.get("AllowedMethods", {}).get("CachedMethods")}


def _locations_inside(theirs: Properties) -> Properties:
    return {"RestrictionType": theirs.get("RestrictionType"), **theirs.pop("Locations")}


def _locations_apart(theirs: Properties) -> Properties:
    return theirs | {"Locations": {"Items": theirs.get("Items", [])}}


def _certificate_kind(theirs: Properties) -> Properties:
    own = theirs.get("ACMCertificateArn")
    return theirs if own else {"CloudFrontDefaultCertificate": True, "MinimumProtocolVersion": "TLSv1"}


_BEHAVIOUR = Shape(
    {
        "targetOriginId": Member("TargetOriginId"),
        "viewerProtocolPolicy": Member("ViewerProtocolPolicy"),
        "allowedMethods": Member("AllowedMethods", set_of(counted=True)),
        "cachedMethods": Member("CachedMethods", set_of(counted=True)),
        "cachePolicyId": Member("CachePolicyId"),
        "responseHeadersPolicyId": Member("ResponseHeadersPolicyId"),
        "compress": Member("Compress", default=False),
        "minTtl": Member("MinTTL", default=0),
        "defaultTtl": Member("DefaultTTL", default=86_400),
        "maxTtl": Member("MaxTTL", default=31_536_000),
        "forwardedValues": Member(
            "ForwardedValues",
            Shape(
                {
                    "queryString": Member("QueryString", default=False),
                    "cookies": Member("Cookies", Shape({"forward": Member("Forward")})),
                    "headers": Member("Headers", set_of(counted=True)),
                }
            ),
        ),
        "functionAssociations": Member(
            "FunctionAssociations",
            set_of(Shape({"eventType": Member("EventType"), "functionArn": Member("FunctionARN")}), counted=True),
            default=[],
        ),
    },
    after_encode=_methods_together,
    before_decode=_methods_apart,
)
_ORIGIN = Shape(
    {
        "originId": Member("Id"),
        "domainName": Member("DomainName"),
        "originPath": Member("OriginPath", default=""),
        "originAccessControlId": Member("OriginAccessControlId", default=""),
    },
    # An origin of S3 with access control has an empty S3OriginConfig.
    after_encode=lambda theirs: theirs | {"S3OriginConfig": {"OriginAccessIdentity": ""}},
)
_RESTRICTION = Shape(
    {
        "restrictionType": Member("RestrictionType"),
        "locations": Member("Locations", set_of(counted=True), default=[]),
    },
    after_encode=_locations_inside,
    before_decode=_locations_apart,
)
_VIEWER_CERTIFICATE = Shape(
    {
        "acmCertificateArn": Member("ACMCertificateArn"),
        "cloudfrontDefaultCertificate": Member("CloudFrontDefaultCertificate"),
        "minimumProtocolVersion": Member("MinimumProtocolVersion", default="TLSv1"),
        "sslSupportMethod": Member("SSLSupportMethod"),
    },
    after_encode=_certificate_kind,
)
_DISTRIBUTION = Shape(
    {
        "aliases": Member("Aliases", set_of(counted=True), default=[]),
        "comment": Member("Comment", default=""),
        "defaultCacheBehavior": Member("DefaultCacheBehavior", _BEHAVIOUR),
        "enabled": Member("Enabled"),
        "httpVersion": Member("HttpVersion", default="http2"),
        "isIpv6Enabled": Member("IsIPV6Enabled", default=False),
        "origins": Member("Origins", set_of(_ORIGIN, counted=True)),
        "restrictions": Member("Restrictions", Shape({"geoRestriction": Member("GeoRestriction", _RESTRICTION)})),
        "retainOnDelete": Member("retainOnDelete", default=False),
        "tags": Member("tags"),
        "viewerCertificate": Member("ViewerCertificate", _VIEWER_CERTIFICATE),
        "waitForDeployment": Member("waitForDeployment", default=True),
    },
    local=frozenset(("retainOnDelete", "waitForDeployment")),
)


def _config(inputs: Properties, reference: str) -> Properties:
    api = _DISTRIBUTION.encode(inputs)
    return {"CallerReference": reference, **{name: value for name, value in api.items() if name[0].isupper()}}


def _wait_deployed(resource_id: str, inputs: Properties) -> None:
    if inputs.get("waitForDeployment", True):
        wait(
            lambda: cloudfront().get_distribution(Id=resource_id)["Distribution"]["Status"] == "Deployed",
            f"distribution {resource_id} is not deployed",
        )


def _create_distribution(inputs: Properties) -> str:
    made = cloudfront().create_distribution_with_tags(
        DistributionConfigWithTags={
            "DistributionConfig": _config(inputs, uuid.uuid4().hex),
            "Tags": {"Items": as_list(all_tags(inputs))},
        }
    )["Distribution"]
    _wait_deployed(made["Id"], inputs)
    return str(made["Id"])


def _read_distribution(resource_id: str, _held: Properties) -> Properties | None:
    def read() -> Properties:
        answer: dict[str, Any] = cloudfront().get_distribution(Id=resource_id)
        found = answer["Distribution"]
        config = found["DistributionConfig"]
        return {
            **_DISTRIBUTION.decode(config),
            "enabled": config["Enabled"],
            "arn": found["ARN"],
            "callerReference": config["CallerReference"],
            "domainName": found["DomainName"],
            "etag": answer["ETag"],
            "hostedZoneId": _HOSTED_ZONE,
            "inProgressValidationBatches": found.get("InProgressInvalidationBatches", 0),
            "lastModifiedTime": str(found["LastModifiedTime"]),
            "status": found["Status"],
            **_tags(found["ARN"]),
        }

    return or_none(read)


def _update_distribution(resource_id: str, old: Properties, new: Properties) -> None:
    config, etag = _config(new, old["callerReference"]), old["etag"]
    try:
        cloudfront().update_distribution(Id=resource_id, IfMatch=etag, DistributionConfig=config)
    except Exception as error:
        if not missing(error, "PreconditionFailed", "InvalidIfMatchVersion"):
            raise
        # resourceDistributionUpdate: someone changed it meanwhile; once more over that.
        etag = cloudfront().get_distribution(Id=resource_id)["ETag"]
        cloudfront().update_distribution(Id=resource_id, IfMatch=etag, DistributionConfig=config)
    _set_tags(old["arn"], old, new)
    _wait_deployed(resource_id, new)


def _delete_distribution(resource_id: str, state: Properties) -> None:
    current = or_none(lambda: dict(cloudfront().get_distribution_config(Id=resource_id)))
    if current is None:
        return
    etag = current["ETag"]
    if current["DistributionConfig"]["Enabled"]:
        disabled = current["DistributionConfig"] | {"Enabled": False}
        answer = cloudfront().update_distribution(Id=resource_id, IfMatch=etag, DistributionConfig=disabled)
        etag = answer["ETag"]
        _wait_deployed(resource_id, {})
    if not state.get("retainOnDelete"):
        cloudfront().delete_distribution(Id=resource_id, IfMatch=etag)


KINDS = {
    "aws:cloudfront/originAccessControl:OriginAccessControl": Kind(
        sdk=SdkType("pulumi_aws.cloudfront.origin_access_control", "OriginAccessControl"),
        source=f"{TERRAFORM}cloudfront/origin_access_control.go: nothing ForceNew",
        shape=_ACCESS,
        replaces=frozenset(),
        create=_create_access,
        read=_read_access,
        update=_update_access,
        delete=_delete_access,
        named="name",
    ),
    "aws:cloudfront/function:Function": Kind(
        sdk=SdkType("pulumi_aws.cloudfront.function", "Function"),
        source=f"{TERRAFORM}cloudfront/function.go: name ForceNew",
        shape=_FUNCTION,
        replaces=frozenset(("name",)),
        create=_create_function,
        read=_read_function,
        update=_update_function,
        delete=_delete_function,
        named="name",
    ),
    "aws:cloudfront/distribution:Distribution": Kind(
        sdk=SdkType("pulumi_aws.cloudfront.distribution", "Distribution"),
        source=f"{TERRAFORM}cloudfront/distribution.go: of what is carried out here, nothing ForceNew (staging is)",
        shape=_DISTRIBUTION,
        replaces=frozenset(),
        create=_create_distribution,
        read=_read_distribution,
        update=_update_distribution,
        delete=_delete_distribution,
    ),
}
