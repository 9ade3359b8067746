"""ACM as it really issues: only for names proved by DNS, where CAA allows it, and never deleted while in use."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from typing import TYPE_CHECKING, Any

from sandbox.world import aws_state

if TYPE_CHECKING:
    from sandbox.world.dns import Zones

_ISSUERS = {"amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"}
_DATES = ("IssuedAt", "NotBefore", "NotAfter")


def begin_validation(arn: str) -> None:
    """Make a certificate that the emulator issued at once wait for its proof."""
    certificate = aws_state.certificate(arn)
    if certificate is None:
        return
    certificate["Status"] = "PENDING_VALIDATION"
    account = arn.split(":")[4]
    certificate["DomainValidationOptions"] = [_option(name, account) for name in certificate["SubjectAlternativeNames"]]


def validate(zones: Zones) -> bool:
    """Issue what is proved by DNS and allowed by CAA; return whether anything changed."""
    changed = False
    for certificate in aws_state.certificates():
        if certificate["Status"] != "PENDING_VALIDATION":
            continue
        options = certificate["DomainValidationOptions"]
        for option in options:
            if option["ValidationStatus"] != "SUCCESS" and _proved(zones, option["ResourceRecord"]):
                option["ValidationStatus"] = "SUCCESS"
                changed = True
        if any(option["ValidationStatus"] != "SUCCESS" for option in options):
            continue
        changed = True
        # CAA is looked at when the certificate is to be issued, not when it is asked for.
        if any(caa_forbids(zones, option["DomainName"]) for option in options):
            certificate |= {"Status": "FAILED", "FailureReason": "CAA_ERROR"}
        else:
            certificate |= {"Status": "ISSUED", "IssuedAt": dt.datetime.fromtimestamp(time.time(), dt.UTC).isoformat()}
    return changed


def users(arn: str) -> list[str]:
    """Return the ARNs of the distributions that show a certificate."""
    return [
        distribution["ARN"]
        for distribution in aws_state.distributions()
        if (aws_state.certificate_of(distribution) or {}).get("CertificateArn") == arn
    ]


def described(shown: dict[str, Any]) -> dict[str, Any]:
    """Return the emulator's description of a certificate with what it leaves out or makes up."""
    held = aws_state.certificate(shown["CertificateArn"]) or {}
    kept = {key: value for key, value in shown.items() if held.get("Status") == "ISSUED" or key not in _DATES}
    if "FailureReason" in held:
        kept["FailureReason"] = held["FailureReason"]
    return kept | {"InUseBy": users(shown["CertificateArn"])}


def caa_forbids(zones: Zones, name: str) -> bool:
    """Whether the closest CAA record set at or above a name keeps Amazon from issuing (RFC 8659 §3)."""
    wildcard = name.startswith("*.")
    labels = name.removeprefix("*.").split(".")
    for depth in range(len(labels)):
        answer = zones.look_up(".".join(labels[depth:]), "CAA")
        fields = [text.split(None, 2) for _, kind, _, text in answer if kind == "CAA"]
        if not fields:
            continue
        issue, issuewild = (
            [_issuer(value) for _, tag, value in fields if tag == wanted] for wanted in ("issue", "issuewild")
        )
        relevant = issuewild if wildcard and issuewild else issue
        return bool(relevant) and not _ISSUERS.intersection(relevant)
    return False


def _issuer(value: str) -> str:
    return value.strip('"').split(";")[0].strip().lower()


def _proved(zones: Zones, record: dict[str, str]) -> bool:
    # A record that Cloudflare proxies shows addresses, no CNAME: it proves nothing.
    answer = zones.look_up(record["Name"].rstrip("."), "CNAME")
    return any(kind == "CNAME" and content.lower() == record["Value"] for _, kind, _, content in answer)


def _option(name: str, account: str) -> dict[str, Any]:
    """Return the CNAME that proves a name: the same for every certificate of one account, as at ACM."""
    base = name.removeprefix("*.")
    token, value = (
        hashlib.md5(f"{purpose} {account} {base}".encode(), usedforsecurity=False).hexdigest()
        for purpose in ("name", "value")
    )
    return {
        "DomainName": name,
        "ValidationDomain": base,
        "ValidationMethod": "DNS",
        "ValidationStatus": "PENDING_VALIDATION",
        "ResourceRecord": {
            "Name": f"_{token}.{base}.",
            "Type": "CNAME",
            "Value": f"_{value}.{token[:10]}.acm-validations.aws.",
        },
    }
