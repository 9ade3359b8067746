"""Rules of a Pulumi policy pack: MTA-STS (RFC 8461) and TLS reporting (RFC 8460), on any stack that publishes them."""

from pulumi_mta_sts_policies import mail_hosts, policy_file, policy_host, records, rollout, storage

PACK = "mta-sts"
"""The pack's name."""
THEMES = (policy_file, records, mail_hosts, policy_host, storage, rollout)
RULES = tuple(rule for theme in THEMES for rule in theme.RULES)

__all__ = ["PACK", "RULES", "THEMES"]
