"""Small plans in the form of `pulumi preview --json`, to be changed by tests: one domain, hand-written style."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from mta_sts.review.plan import Plan, read_plan

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
DOMAIN = "example.com"
DAY = 86_400
OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2"
DNS = "cloudflare:index/dnsRecord:DnsRecord"
ROUTE53 = "aws:route53/record:Record"
DISTRIBUTION = "aws:cloudfront/distribution:Distribution"

Props = dict[str, Any]


def body(*hosts: str, mode: str = "enforce", max_age: int = 10 * DAY) -> str:
    """Return a policy file."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {host}" for host in hosts), f"max_age: {max_age}"]
    return "\n".join(lines) + "\n"


def policy(*hosts: str, key: str = f"{DOMAIN}/.well-known/mta-sts.txt", **more: Any) -> Props:
    """Return the inputs of a policy object."""
    return {"bucket": "policies", "key": key, "content": body(*hosts, **more), "contentType": "text/plain"}


def txt(identifier: str) -> Props:
    """Return the inputs of an MTA-STS record."""
    return {"name": f"_mta-sts.{DOMAIN}", "type": "TXT", "ttl": 300, "content": f'"v=STSv1; id={identifier};"'}


def mx(host: str, **more: Any) -> Props:
    """Return the inputs of an MX record."""
    return {"name": DOMAIN, "type": "MX", "ttl": 300, "content": host, "priority": 10, **more}


def edge(cache_policy: str | None = CACHING_DISABLED, **more: Any) -> Props:
    """Return the inputs of a distribution."""
    behaviour = {"viewerProtocolPolicy": "https-only", **more}
    if cache_policy is not None:
        behaviour["cachePolicyId"] = cache_policy
    origins = [{"domainName": "policies.s3.eu-west-1.amazonaws.com", "originId": "s3"}]
    return {"aliases": [f"mta-sts.{DOMAIN}"], "defaultCacheBehavior": behaviour, "origins": origins}


def urn(kind: str, name: str, parents: str = "") -> str:
    """Return a resource's URN."""
    return f"urn:pulumi:test::project::{parents}{kind}::{name}"


def step(
    name: str,
    kind: str,
    old: Props | None,
    new: Props | None,
    *after: tuple[str, str],
    op: str = "",
    parents: str = "",
    **more: Any,
) -> Props:
    """Return one step; `after` names kind and name of what it waits for, `more` is in both states."""
    here = urn(kind, name, parents)
    before = [urn(*one) if len(one) == 2 else one[0] for one in after]

    def state(inputs: Props | None) -> Props | None:
        if inputs is None:
            return None
        return {"urn": here, "type": kind, "custom": True, "inputs": inputs, "dependencies": before, **more}

    chosen = op or ("create" if old is None else "delete" if new is None else "same" if old == new else "update")
    found = {"op": chosen, "urn": here, "oldState": state(old), "newState": state(new)}
    return {key: value for key, value in found.items() if value is not None}


def usual(
    old: Props | None = None,
    new: Props | None = None,
    *,
    ids: tuple[str | None, str | None] = ("one", "one"),
    hosts: tuple[tuple[str, ...], tuple[str, ...]] = (("mx1.example.com",), ("mx1.example.com",)),
    cache: str | None = CACHING_DISABLED,
    ordered: bool = True,
) -> list[Props]:
    """Return the steps of a program that publishes `example.com`; `ordered`: the record waits for the file."""
    old = old or policy("mx1.example.com")
    new = new or old
    steps = [
        step("edge", DISTRIBUTION, edge(cache), edge(cache)),
        step("policy", OBJECT, old, new),
        step(
            "sts",
            DNS,
            *(txt(each) if each else None for each in ids),
            *([(OBJECT, "policy")] if ordered else []),
        ),
    ]
    for host in dict.fromkeys([*hosts[0], *hosts[1]]):
        states = [mx(host) if host in some else None for some in hosts]
        steps.append(step(f"mx-{host}", DNS, *states))
    return steps


def document(steps: list[Props], **more: Any) -> bytes:
    """Return the plan's bytes."""
    same = sum(step["op"] == "same" for step in steps)
    return json.dumps({"config": {}, "steps": deepcopy(steps), "changeSummary": {"same": same}, **more}).encode()


def plan(steps: list[Props], **more: Any) -> Plan:
    """Return the plan as it is read."""
    return read_plan("plan.json", document(steps, **more))
