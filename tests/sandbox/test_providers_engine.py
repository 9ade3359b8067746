"""The sandbox's providers under the real engine: any program with the official SDKs, not only ours."""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws
import pulumi_cloudflare as cloudflare_sdk
import pytest
import yaml
from pulumi.automation._server import LanguageServer

from sandbox.deployment import Deployment
from tests.sandbox.conftest import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandbox.deployment import Outcome
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine


@pytest.fixture
def run(world: World, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Give a function that makes the deployment of a program of one's own."""

    def declare(program: Callable[[], None], **config: Any) -> Deployment:
        file = tmp_path / "Pulumi.sandbox.yaml"
        settings = {"aws:region": "eu-west-1", "aws:allowedAccountIds": [ACCOUNT]} | config
        file.write_text(yaml.safe_dump({"config": settings}), encoding="utf-8")
        return Deployment(world, program, config=file)

    yield declare
    while _program_runs():
        time.sleep(0.01)
    gc.collect()  # what a refused run has left of the SDK's, while its warnings are let pass


def _program_runs() -> bool:
    """Whether a thread still runs a program for an engine that has ended."""
    frames = [frame for top in sys._current_frames().values() for frame, _ in traceback.walk_stack(top)]
    return any(frame.f_code is LanguageServer.Run.__code__ for frame in frames)


def ops(outcome: Outcome) -> dict[str, str]:
    """Return what was done to which resource; provider and stack left out."""
    assert outcome.ok, outcome.errors
    return {step.name: step.op for step in outcome.changes if step.type.startswith(("aws:", "cloudflare:"))}


def test_a_program_is_made_changed_in_place_replaced_and_gone(
    run: Callable[..., Deployment], cloudflare: Cloudflare, tmp_path: Path
) -> None:
    """After each change a preview shows nothing more to do, nor does one that looks at the clouds first."""
    zone = cloudflare.zone("example.com")
    asked: dict[str, Any] = {"ttl": 300, "names": ["mta-sts.example.com"], "content": "1"}

    def program() -> None:
        bucket = aws.s3.Bucket("store", force_destroy=True)
        versioning = aws.s3.BucketVersioning(
            "versioning", bucket=bucket.id, versioning_configuration={"status": "Enabled"}
        )
        made = aws.s3.BucketObjectv2(
            "object",
            bucket=bucket.id,
            key="a.txt",
            content=asked["content"],
            opts=pulumi.ResourceOptions(depends_on=[versioning]),
        )
        certificate = aws.acm.Certificate(
            "certificate",
            domain_name=asked["names"][0],
            subject_alternative_names=asked["names"][1:] or None,
            validation_method="DNS",
            region="us-east-1",
        )
        option = certificate.domain_validation_options[0]
        cloudflare_sdk.DnsRecord(
            "proof",
            zone_id=zone,
            name=option.resource_record_name.apply(lambda name: name.rstrip(".")),
            type="CNAME",
            content=option.resource_record_value.apply(lambda value: value.rstrip(".")),
            ttl=300,
        )
        cloudflare_sdk.DnsRecord(
            "text", zone_id=zone, name="t.example.com", type="TXT", content='"x"', ttl=asked["ttl"]
        )
        pulumi.export("version", made.version_id)
        pulumi.export("bucket", bucket.bucket)

    deployment = run(program)
    made = deployment.up()
    assert {"create"} == set(ops(made).values())
    assert made.outputs["bucket"].startswith("store-")
    assert {} == ops(deployment.preview_json(tmp_path / "preview.json"))
    plan = json.loads((tmp_path / "preview.json").read_text(encoding="utf-8"))
    assert {"same"} == {step["op"] for step in plan["steps"]}
    assert {"store", "versioning", "object", "certificate", "proof", "text"} <= {
        step["urn"].rpartition("::")[2] for step in plan["steps"]
    }

    asked |= {"ttl": 60, "content": "2"}
    planned = deployment.preview()
    changed = deployment.up()
    assert {"object": "update", "text": "update"} == ops(planned) == ops(changed)
    assert (made.outputs["bucket"], True) == (
        changed.outputs["bucket"],
        made.outputs["version"] != changed.outputs["version"],
    )
    assert {} == ops(deployment.preview(refresh=True))

    asked["names"] = ["mta-sts.example.com", "mta-sts.lists.example.com"]
    replaced = deployment.up()
    assert replaced.ok, replaced.errors
    assert {("certificate", "create-replacement"), ("certificate", "delete-replaced")} <= {
        (step.name, step.op) for step in replaced.changes
    }
    assert {} == ops(deployment.preview(refresh=True))

    gone = deployment.destroy()
    assert gone.ok, gone.errors
    assert [] == deployment.resources()
    assert [] == cloudflare.records("example.com", "t.example.com")


def test_what_stands_already_is_imported_and_drift_is_mended(
    run: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """An import takes a record in as it is; what is changed by hand afterwards is seen and put back."""
    zone = cloudflare.zone("example.com")
    record = cloudflare.add("example.com", "MX", "example.com", "mx1.example.com", priority=0)

    def program() -> None:
        cloudflare_sdk.DnsRecord(
            "mx",
            zone_id=zone,
            name="example.com",
            type="MX",
            content="mx1.example.com",
            priority=0,
            ttl=300,
            opts=pulumi.ResourceOptions(import_=f"{zone}/{record}"),
        )

    deployment = run(program)
    nothing = deployment.export_state()
    for _ in range(2):  # the second time with a state put back that does not know it
        assert {"mx": "import"} == ops(deployment.up())
        assert {} == ops(deployment.preview())
        known = deployment.export_state()
        deployment.import_state(nothing)
    deployment.import_state(known)

    body = {"type": "MX", "name": "example.com", "content": "mx9.example.com", "priority": 0, "ttl": 300}
    cloudflare.call("PUT", f"/zones/{zone}/dns_records/{record}", body)
    assert {"mx": "update"} == ops(deployment.preview(refresh=True))
    assert {"mx": "update"} == ops(deployment.up(refresh=True))
    assert ["mx1.example.com"] == [one["content"] for one in cloudflare.records("example.com", "example.com")]


def test_default_tags_reach_what_is_there_already(run: Callable[..., Deployment]) -> None:
    """Changing the provider's configuration alone updates the resources in place."""

    def program() -> None:
        pulumi.export("tags", aws.s3.Bucket("store", tags={"own": "1"}).tags_all)

    assert {"own": "1"} == run(program).up().outputs["tags"]
    changed = run(program, **{"aws:defaultTags": {"tags": {"team": "mail"}}}).up()
    assert {"store": "update"} == {name: op for name, op in ops(changed).items() if name == "store"}
    assert {"own": "1", "team": "mail"} == changed.outputs["tags"]


# The SDK's language server does not close its loop where the engine is gone before it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("inputs", "config", "reason"),
    [
        ({"bukcet": "a"}, {}, "BucketArgs of the SDK has no property 'bukcet'; did you mean 'bucket'?"),
        ({"website": {"indexDocument": "a"}}, {}, "the sandbox does not carry out 'website'"),
        (
            {},
            {"aws:assumeRoles": [{"roleArn": "arn:aws:iam::1:role/a"}]},
            "the sandbox does not carry out 'assumeRoles'",
        ),
        ({}, {"aws:allowedAccountIds": ["000000000003"]}, "AWS account ID not allowed: 111111111111"),
        ({}, {"aws:profile": "production"}, "failed to get shared config profile, production"),
    ],
)
def test_what_the_real_provider_would_refuse_is_refused_and_nothing_is_made(
    run: Callable[..., Deployment], inputs: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    """So is what would be silently ignored here; the reason is named, without a traceback."""

    def program() -> None:
        pulumi.CustomResource("aws:s3/bucket:Bucket", "store", inputs)

    deployment = run(program, **config)
    refused = deployment.up()
    assert not refused.ok
    assert reason in refused.errors
    assert "Traceback" not in refused.errors
    assert not [one for one in deployment.resources() if one["type"].startswith("aws:")]


PACK = """
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy

def look(args, report):
    if args.resource_type == "aws:s3/bucket:Bucket" and not args.props.get("forceDestroy"):
        report("a bucket must go with its stack")

policy = ResourceValidationPolicy("goes-with-the-stack", "Buckets", look)
PolicyPack("test", [policy], enforcement_level=EnforcementLevel.MANDATORY)
"""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as above
def test_a_policy_pack_stops_a_preview(run: Callable[..., Deployment], tmp_path: Path) -> None:
    """The engine starts the pack through our launcher, as it would through the language host."""
    pytest.importorskip("pulumi_policy")
    (tmp_path / "PulumiPolicy.yaml").write_text("runtime: python\n", encoding="utf-8")
    (tmp_path / "__main__.py").write_text(PACK, encoding="utf-8")
    asked = {"force_destroy": True}
    deployment = run(lambda: aws.s3.Bucket("store", **asked))
    passed = deployment.preview(policy_packs=[str(tmp_path)])
    assert passed.ok, passed.errors
    asked["force_destroy"] = False
    refused = deployment.preview(policy_packs=[str(tmp_path)])
    assert not refused.ok
    assert "goes-with-the-stack: " in refused.errors
    assert "a bucket must go with its stack" in refused.errors
