"""One environment's mail domains: stack configuration in, components out."""

from pathlib import Path
from typing import Any

import pulumi
from pulumi_mta_sts import MtaSts, PolicyHost, Refused, judge, judge_host
from pulumi_mta_sts.stack_config import read_stack_config

HOST = "policy-host"


def publish(domain: Any) -> None:
    """Declare what one domain publishes, and export what people ask for."""
    published = MtaSts(domain["domain"], domain)
    outputs = {"id": published.policy_id, "policy": published.policy_body, "removable_from": published.removable_from}
    pulumi.export(domain["domain"], outputs)


config = read_stack_config(Path(__file__).parent / "stacks" / "schema.json")
host_args = config.host | {"domains": config.hosted}
try:
    # Every domain is judged before the first resource of any is registered.
    judge(config.domains, judge_host(HOST, host_args, None), problems=config.problems)
except Refused as refused:
    raise refused.after_brakes(publish) from None

host = PolicyHost(HOST, host_args)
pulumi.export("policy_bucket", host.bucket_name)
for domain in config.domains:
    publish(domain | {"host": {"bucket": host.bucket_name, "target": host.target}})
