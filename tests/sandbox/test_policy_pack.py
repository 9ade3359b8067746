"""The policy pack under the real engine: it lets the sandbox's stack pass, and stops a bad change before it is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws
import pytest

from sandbox.deployment import ROOT, Deployment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine

PACK = ROOT / "policies"


class Heard:
    """What the pack said in one run: each rule's name with its level."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str]] = []

    def __call__(self, _: object, event: Any) -> None:
        """Note a violation."""
        policy = event.policy_event
        if policy is not None:
            self.said.append((policy.policy_name, policy.enforcement_level, policy.message))


def test_the_sandbox_stack_passes_every_rule(
    world: World, cloudflare: Cloudflare, sparing: Callable[[], dict[str, str]]
) -> None:
    """What isn't known yet in a preview stops nothing, the update leaves nothing unsaid, and drift is seen at night."""
    deployment = Deployment(world, policy_pack=PACK, environment=sparing())
    previewed, updated, again = Heard(), Heard(), Heard()
    planned = deployment.preview(on_event=previewed)
    assert planned.ok, planned.errors
    assert {"advisory"} == {level for _, level, _ in previewed.said}
    assert all("during preview" in message for *_, message in previewed.said)
    made = deployment.up(on_event=updated)
    assert made.ok, made.errors
    assert [] == updated.said
    assert [] == deployment.preview(on_event=again).changes
    assert [] == again.said

    nightly = {"refresh": True, "expect_no_changes": True}
    unchanged = deployment.preview(**nightly)
    assert unchanged.ok, unchanged.errors
    (record,) = cloudflare.records("example.com", "_smtp._tls.example.com")
    cloudflare.call("PATCH", f"/zones/{cloudflare.zone('example.com')}/dns_records/{record['id']}", {"ttl": 600})
    drifted = deployment.preview(**nightly)
    assert not drifted.ok
    assert "no changes were expected" in drifted.errors


def test_a_bad_policy_is_refused_before_it_is_made(
    world: World, tmp_path: Path, sparing: Callable[[], dict[str, str]]
) -> None:
    """By the rule's name, in a program that knows nothing of us; a file sets and switches rules."""

    def program(body: str) -> None:
        bucket = aws.s3.Bucket("bucket", bucket="policies-of-others", force_destroy=True)
        aws.s3.BucketObjectv2(
            "policy",
            bucket=bucket.bucket,
            key=".well-known/mta-sts.txt",
            content=body,
            content_type="text/plain",
            opts=pulumi.ResourceOptions(depends_on=[bucket]),
        )

    wrong = "version: STSv1\nmode: testing\nmx: 192.0.2.1\nmax_age: 604800\n"
    refused = Deployment(world, lambda: program(wrong), policy_pack=PACK, environment=sparing()).up()
    assert not refused.ok
    assert "policy-valid" in refused.errors
    assert "mx-address" in refused.errors
    assert not [step for step in refused.steps if step.type.endswith("BucketObjectv2") and step.op == "create"]

    def planned(config: dict[str, Any]) -> str:
        file = tmp_path / "rules.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        right = wrong.replace("192.0.2.1", "mx1.example.com")
        deployment = Deployment(world, lambda: program(right), policy_pack=PACK, environment=sparing())
        return deployment.preview(policy_pack_configs=[str(file)]).errors

    switched = planned({"policy-max-age": {"maximum": 86400}})
    assert "at most 86400" in switched
    assert "tlsrpt-present" not in switched  # nothing says whose policy it is
    assert "bucket-private" in switched
    off = ("policy-max-age", "bucket-private", "bucket-versioned", "bucket-tls-only")
    assert "" == planned(dict.fromkeys(off, "disabled"))
