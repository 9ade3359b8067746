"""Pulumi components that publish MTA-STS (RFC 8461) and TLS reporting (RFC 8460), with AWS and Cloudflare."""

from pulumi_mta_sts.judgement import Judged, JudgedHost, judge
from pulumi_mta_sts.mta_sts import MtaSts, MtaStsArgs, SharedHost
from pulumi_mta_sts.policy_host import HostedDomain, PolicyHost, PolicyHostArgs, judge_host
from pulumi_mta_sts.refusal import Refused

__all__ = [
    "HostedDomain",
    "Judged",
    "JudgedHost",
    "MtaSts",
    "MtaStsArgs",
    "PolicyHost",
    "PolicyHostArgs",
    "Refused",
    "SharedHost",
    "judge",
    "judge_host",
]
