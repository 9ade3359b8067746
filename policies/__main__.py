"""The policy pack as Pulumi starts it; the rules are in the package."""

from pulumi_mta_sts_policies import PACK, RULES
from pulumi_policy import PolicyPack

if __name__ == "__main__":
    PolicyPack(PACK, policies=[*RULES], description="Rules for MTA-STS (RFC 8461) and TLS reporting (RFC 8460)")
