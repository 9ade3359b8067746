"""One environment's mail domains: stack configuration in, components out."""

from pathlib import Path

import pulumi
from pulumi_mta_sts import MtaSts, PolicyHost, judge, judge_host
from pulumi_mta_sts.stack_config import read_stack_config

HOST = "policy-host"

config = read_stack_config(Path(__file__).parent / "stacks" / "schema.json")
# Every domain is judged before the first resource of any is registered.
host_args = config.host | {"domains": config.hosted}
judge(config.domains, judge_host(HOST, host_args, None))

host = PolicyHost(HOST, host_args)
for domain in config.domains:
    shared = {"bucket": host.bucket_name, "target": host.target}
    published = MtaSts(domain["domain"], domain | {"host": shared})
    outputs = {"id": published.policy_id, "policy": published.policy_body, "removable_from": published.removable_from}
    pulumi.export(domain["domain"], outputs)
