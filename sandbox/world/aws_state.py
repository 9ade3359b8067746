"""What the AWS emulator holds, as the edge and the checks read it: distributions, functions, certificates, objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree as ET

from ministack.core.responses import iso_to_rfc7231, set_request_account_id
from ministack.services import acm, cloudfront, s3

from sandbox.world.internet import ACCOUNT

# The emulator has no other way in than its modules' stores.
# ruff: noqa: SLF001


@dataclass(frozen=True, slots=True)
class Object:
    """What S3 answers to CloudFront."""

    status: int
    body: bytes
    headers: dict[str, str]


def distributions() -> list[dict[str, Any]]:
    """Return every distribution, of every account."""
    return list(cloudfront._distributions._data.values())


def certificates() -> list[dict[str, Any]]:
    """Return every ACM certificate, of every account and region."""
    return list(acm._certificates._data.values())


def certificate(arn: str) -> dict[str, Any] | None:
    """Return the certificate with an ARN."""
    return next((found for found in certificates() if found["CertificateArn"] == arn), None)


def certificate_of(distribution: dict[str, Any]) -> dict[str, Any] | None:
    """Return the certificate that a distribution shows its viewers."""
    return certificate(certificate_arn(_parsed(distribution["config_xml"])))


def aliases_of(distribution: dict[str, Any]) -> list[str]:
    """Return the names that a distribution answers to."""
    return alias_names(_parsed(distribution["config_xml"]))


def used_by_distributions(element: str) -> set[str]:
    """Return what any distribution names in an element of its configuration."""
    return {text for held in distributions() for text in texts(_parsed(held["config_xml"]), element)}


def enabled(distribution: dict[str, Any]) -> bool:
    """Whether a distribution answers at all."""
    return str(distribution["enabled"]).lower() == "true"


def dataplane(distribution: dict[str, Any]) -> dict[str, Any]:
    """Return origins and cache behaviours as the emulator reads them from the configuration."""
    parsed: dict[str, Any] = cloudfront.parse_distribution_dataplane_config(distribution)
    return parsed


def cache_limits(distribution: dict[str, Any], behaviour: dict[str, Any]) -> tuple[int, int, int]:
    """Return (minimum, default, maximum) seconds that an edge keeps an answer of the default behaviour."""
    set_request_account_id(ACCOUNT)
    identifier = behaviour["cache_policy_id"]
    if identifier:
        policies = cloudfront._MANAGED_CACHE_POLICIES
        config = (cloudfront._cache_policies.get(identifier) or policies[identifier])["Config"]
        return int(config["MinTTL"]), int(config["DefaultTTL"]), int(config["MaxTTL"])
    root = _parsed(distribution["config_xml"])
    # The defaults of the older settings (CloudFront API reference, DefaultCacheBehavior).
    legacy = (("MinTTL", "0"), ("DefaultTTL", "86400"), ("MaxTTL", "31536000"))
    least, default, most = (int((texts(root, name) or [value])[0]) for name, value in legacy)
    return least, default, most


def live_code(function_arn: str) -> str | None:
    """Return the published code of a function, None where nothing was published."""
    set_request_account_id(ACCOUNT)
    code = cloudfront.live_function_code(function_arn)
    return code.decode() if isinstance(code, bytes) else code


def origin_access(identifier: str) -> bool:
    """Whether an origin access control signs every request."""
    set_request_account_id(ACCOUNT)
    found = cloudfront._oacs.get(identifier)
    return found is not None and found["SigningBehavior"] == "always"


def read_object(bucket: str, key: str, source_arn: str) -> Object:
    """Read an object as CloudFront does: as itself where an origin access control signs, else as anybody."""
    set_request_account_id(ACCOUNT)
    held = s3._buckets.get(bucket)
    if held is None:
        return Object(404, b"NoSuchBucket", {"content-type": "application/xml"})
    policy = json.loads(s3._bucket_policies.get(bucket) or "{}")
    caller = {"aws:sourcearn": source_arn, "aws:sourceaccount": ACCOUNT, "aws:securetransport": "true"}
    arn = f"arn:aws:s3:::{bucket}"
    if not _allowed(policy, "s3:GetObject", f"{arn}/{key}", caller):
        return Object(403, b"AccessDenied", {"content-type": "application/xml"})
    found = held["objects"].get(key)
    if found is None:
        # Whether a missing object is "not found" or a refusal hangs on s3:ListBucket (S3 API reference, GetObject).
        status = 404 if _allowed(policy, "s3:ListBucket", arn, caller) else 403
        return Object(status, b"NoSuchKey" if status == 404 else b"AccessDenied", {"content-type": "application/xml"})  # noqa: PLR2004
    headers = {
        "content-type": found["content_type"],
        "etag": found["etag"],
        "last-modified": iso_to_rfc7231(found["last_modified"]),
        **found.get("preserved_headers", {}),
        **found.get("metadata", {}),
    }
    if found.get("version_id"):
        headers["x-amz-version-id"] = found["version_id"]
    body: bytes = s3._read_body(bucket, key, found)
    return Object(200, body, {name.lower(): value for name, value in headers.items()})


def _allowed(policy: dict[str, Any], action: str, resource: str, caller: dict[str, str]) -> bool:
    """Evaluate a bucket policy for CloudFront; what we can't evaluate allows nothing and denies all."""
    allowed = False
    for statement in policy.get("Statement", []):
        if not _speaks_of(statement, action, resource, by_cloudfront=bool(caller["aws:sourcearn"])):
            continue
        met = _conditions_met(statement.get("Condition", {}), caller)
        if statement["Effect"] == "Deny" and met is not False:
            return False
        allowed = allowed or (statement["Effect"] == "Allow" and met is True)
    return allowed


def _speaks_of(statement: dict[str, Any], action: str, resource: str, *, by_cloudfront: bool) -> bool:
    principal = statement.get("Principal")
    anybody = principal in ("*", {"AWS": "*"})
    service = isinstance(principal, dict) and "cloudfront.amazonaws.com" in _many(principal.get("Service"))
    return (
        (anybody or (service and by_cloudfront))
        and any(fnmatchcase(action.lower(), pattern.lower()) for pattern in _many(statement.get("Action")))
        and any(fnmatchcase(resource, pattern) for pattern in _many(statement.get("Resource")))
    )


def _conditions_met(conditions: dict[str, dict[str, Any]], caller: dict[str, str]) -> bool | None:
    """Return whether all hold, None where one is beyond us."""
    for operator, wanted in conditions.items():
        for key, values in wanted.items():
            given = caller.get(key.lower())
            if given is None or operator not in ("StringEquals", "ArnEquals", "StringLike", "ArnLike", "Bool"):
                return None
            if not any(
                fnmatchcase(given, str(value).lower() if isinstance(value, bool) else value) for value in _many(values)
            ):
                return False
    return True


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def certificate_arn(root: ET.Element) -> str:
    """Return the ARN of the viewer certificate in a distribution's XML, empty where there is none."""
    return next(iter(texts(root, "ACMCertificateArn")), "")


def alias_names(root: ET.Element) -> list[str]:
    """Return the aliases in a distribution's XML."""
    return [name.lower() for name in texts(root, "CNAME")]


def texts(root: ET.Element, name: str) -> list[str]:
    """Return the texts of every element with a tag name, whatever its namespace."""
    return [element.text for element in root.iter() if _tag(element) == name and element.text]


@lru_cache(maxsize=1024)
def _parsed(xml: str | bytes) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314  what the emulator stored


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
