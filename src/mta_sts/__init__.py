"""MTA-STS (RFC 8461) and TLS reporting (RFC 8460), whatever deploys them."""

from mta_sts.domain_config import DomainConfig, check_different, check_domain, check_domains, check_host, resolve_domain
from mta_sts.findings import Finding, MtaStsError, Severity, errors
from mta_sts.identifier import content_id, policy_id
from mta_sts.matching import certificate_matches, mx_matches
from mta_sts.names import normalise_host
from mta_sts.policy import Mode, Policy, check_policy, parse_policy, render_policy
from mta_sts.records import (
    StsRecord,
    TlsRptRecord,
    parse_sts_record,
    parse_tlsrpt_record,
    render_sts_record,
    render_tlsrpt_record,
    select_sts_record,
    select_tlsrpt_record,
    txt_presentation,
    txt_value,
)

__all__ = [
    "DomainConfig",
    "Finding",
    "Mode",
    "MtaStsError",
    "Policy",
    "Severity",
    "StsRecord",
    "TlsRptRecord",
    "certificate_matches",
    "check_different",
    "check_domain",
    "check_domains",
    "check_host",
    "check_policy",
    "content_id",
    "errors",
    "mx_matches",
    "normalise_host",
    "parse_policy",
    "parse_sts_record",
    "parse_tlsrpt_record",
    "policy_id",
    "render_policy",
    "render_sts_record",
    "render_tlsrpt_record",
    "resolve_domain",
    "select_sts_record",
    "select_tlsrpt_record",
    "txt_presentation",
    "txt_value",
]
