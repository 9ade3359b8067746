"""ACM in the sandbox's `aws` provider: certificate, and the wait for it."""

from __future__ import annotations

from typing import Any

from sandbox.providers.aws_client import (
    REGION,
    TERRAFORM,
    all_tags,
    as_list,
    client,
    gone,
    or_none,
    region_of,
    tag_facts,
    wait,
)
from sandbox.providers.emulated import Kind
from sandbox.providers.sdk_types import SdkType
from sandbox.providers.shapes import UNKNOWN, Member, Properties, Shape, Value, set_of

_NOT_FOUND = "ResourceNotFoundException"


def _with_first_name(theirs: Properties) -> Properties:
    """Add the certificate's first name to the others, as ACM does (CustomizeDiff of the real provider too)."""
    first, others = theirs.get("DomainName"), theirs.get("SubjectAlternativeNames", [])
    if others is UNKNOWN or first is UNKNOWN or first is None:
        return theirs
    return theirs | {"SubjectAlternativeNames": sorted({first, *(one for one in others if one is not UNKNOWN)})}


_CERTIFICATE = Shape(
    {
        "domainName": Member("DomainName"),
        "subjectAlternativeNames": Member("SubjectAlternativeNames", set_of()),
        "validationMethod": Member("ValidationMethod"),
        "keyAlgorithm": Member("KeyAlgorithm", Value(read=lambda text: text.replace("-", "_"))),
        "tags": Member("tags"),
        "region": Member("region"),
    },
    after_encode=_with_first_name,
)


def _create_certificate(inputs: Properties) -> str:
    acm = client("acm", inputs)
    given = {name: value for name, value in _CERTIFICATE.encode(inputs).items() if name[0].isupper()}
    tags = as_list(all_tags(inputs))
    arn = acm.request_certificate(**given, **({"Tags": tags} if tags else {}))["CertificateArn"]

    def offered() -> bool:
        options = acm.describe_certificate(CertificateArn=arn)["Certificate"].get("DomainValidationOptions", [])
        return bool(options) and all("ResourceRecord" in option for option in options)

    wait(offered, f"ACM names no validation records for {arn}")
    return str(arn)


def _describe(properties: Properties, arn: str) -> Any:
    return client("acm", properties).describe_certificate(CertificateArn=arn)["Certificate"]


def _read_certificate(resource_id: str, held: Properties) -> Properties | None:
    held = {"region": resource_id.split(":")[3]} | held  # an import has the ARN alone

    def read() -> Properties:
        found = _describe(held, resource_id)
        options = found["DomainValidationOptions"]
        tags = client("acm", held).list_tags_for_certificate(CertificateArn=resource_id)["Tags"]
        return {
            **_CERTIFICATE.decode(found | {"ValidationMethod": options[0]["ValidationMethod"]}),
            "arn": resource_id,
            "region": region_of(held),
            "status": found["Status"],
            "type": found.get("Type", "AMAZON_ISSUED"),
            "notAfter": str(found.get("NotAfter", "")),
            "notBefore": str(found.get("NotBefore", "")),
            "renewalEligibility": found.get("RenewalEligibility", ""),
            "domainValidationOptions": [
                {
                    "domainName": option["DomainName"],
                    "resourceRecordName": option["ResourceRecord"]["Name"],
                    "resourceRecordType": option["ResourceRecord"]["Type"],
                    "resourceRecordValue": option["ResourceRecord"]["Value"],
                }
                for option in options
            ],
            **tag_facts(tags),
        }

    return or_none(read, _NOT_FOUND)


def _update_certificate(resource_id: str, old: Properties, new: Properties) -> None:
    acm = client("acm", new)
    if gone(old, new):
        acm.remove_tags_from_certificate(CertificateArn=resource_id, Tags=[{"Key": key} for key in gone(old, new)])
    if all_tags(new):
        acm.add_tags_to_certificate(CertificateArn=resource_id, Tags=as_list(all_tags(new)))


def _delete_certificate(resource_id: str, state: Properties) -> None:
    or_none(lambda: dict(client("acm", state).delete_certificate(CertificateArn=resource_id)), _NOT_FOUND)


_VALIDATION = Shape(
    {
        "certificateArn": Member("CertificateArn"),
        "validationRecordFqdns": Member("validationRecordFqdns", set_of()),
        "region": Member("region"),
    },
    local=frozenset(("validationRecordFqdns",)),
)


def _create_validation(inputs: Properties) -> str:
    arn = inputs["certificateArn"]
    certificate = _describe(inputs, arn)
    given = {name.rstrip(".") for name in inputs.get("validationRecordFqdns") or []}
    wanted = {option["ResourceRecord"]["Name"].rstrip(".") for option in certificate["DomainValidationOptions"]}
    if given and wanted - given:
        raise RuntimeError(f"missing DNS validation records: {', '.join(sorted(wanted - given))}")

    def issued() -> bool:
        found = _describe(inputs, arn)
        if found["Status"] == "FAILED":
            raise RuntimeError(f"ACM could not issue {arn}: {found.get('FailureReason', 'no reason given')}")
        return bool(found["Status"] == "ISSUED")

    wait(issued, f"ACM did not issue {arn}; its validation records are {', '.join(sorted(wanted))}")
    return str(_describe(inputs, arn).get("IssuedAt", certificate["CreatedAt"]))


def _read_validation(_resource_id: str, held: Properties) -> Properties | None:
    def read() -> Properties:
        found = _describe(held, held["certificateArn"])
        return {"certificateArn": held["certificateArn"], "region": region_of(held), "status": found["Status"]}

    found = or_none(read, _NOT_FOUND)
    return found if found is not None and found.pop("status") == "ISSUED" else None


KINDS = {
    "aws:acm/certificate:Certificate": Kind(
        sdk=SdkType("pulumi_aws.acm.certificate", "Certificate"),
        source=f"{TERRAFORM}acm/certificate.go: domain_name, subject_alternative_names, validation_method, "
        f"key_algorithm ForceNew{REGION}",
        shape=_CERTIFICATE,
        replaces=frozenset(("domainName", "subjectAlternativeNames", "validationMethod", "keyAlgorithm", "region")),
        create=_create_certificate,
        read=_read_certificate,
        update=_update_certificate,
        delete=_delete_certificate,
    ),
    "aws:acm/certificateValidation:CertificateValidation": Kind(
        sdk=SdkType("pulumi_aws.acm.certificate_validation", "CertificateValidation"),
        source=f"{TERRAFORM}acm/certificate_validation.go: certificate_arn, validation_record_fqdns ForceNew{REGION}",
        shape=_VALIDATION,
        replaces=frozenset(("certificateArn", "validationRecordFqdns", "region")),
        create=_create_validation,
        read=_read_validation,
        delete=lambda _id, _state: None,  # a waiter, no cloud object
    ),
}
