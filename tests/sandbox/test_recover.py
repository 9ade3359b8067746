"""`mta-sts recover` on the real engine's state: what a kill left is taken up, nothing is made twice."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from mta_sts.cli import main
from sandbox.chaos.campaign import judge, run_kill
from sandbox.chaos.changes import CHANGES
from tests.sandbox.test_main_job import OWN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.deployment import Deployment
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = [pytest.mark.engine, pytest.mark.as_for_a_person]

LAST = "-mx-mx2.example.com"
"""The end of the name of what nothing in the state depends on: only such a thing can be pending."""


@pytest.fixture
def deployed(world: World, deploy: Callable[..., Deployment]) -> Deployment:
    """Return a deployment that is up."""
    deployment = deploy(OWN)
    assert deployment.up().ok
    return deployment


@pytest.fixture
def state_file(world: World, deployed: Deployment) -> Path:
    """Return the file in which the backend keeps the state."""
    return world.folder / "backend" / ".pulumi" / "stacks" / "mta-sts" / "sandbox.json"


def recover(world: World, *options: str) -> int:
    """Run the command, and return its exit code."""
    return main(["recover", "--stack", "sandbox", "--cwd", str(world.folder / "work"), *options])


def forget(file: Path, wanted: Callable[[str], bool], *more: dict[str, Any]) -> dict[str, str]:
    """Make the state what it is when the engine is killed before it heard of creations; return what was forgotten."""
    document = json.loads(file.read_text(encoding="utf-8"))
    latest = document["checkpoint"]["latest"]
    gone = [one for one in latest["resources"] if wanted(one["urn"].rpartition("::")[2])]
    latest["resources"] = [one for one in latest["resources"] if one not in gone]
    bare = [{key: value for key, value in one.items() if key not in ("id", "outputs")} for one in gone]
    latest["pending_operations"] = [{"resource": one, "type": "creating"} for one in (*bare, *more)]
    file.write_text(json.dumps(document), encoding="utf-8")
    return {one["urn"]: one["id"] for one in gone}


def ids(deployment: Deployment) -> dict[str, str]:
    """Return what is in the state, by URN."""
    return {one["urn"]: one.get("id", "") for one in deployment.resources()}


def test_what_was_made_is_taken_up_under_its_id_and_the_next_update_changes_nothing(
    world: World, deployed: Deployment, state_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --yes nothing is done."""
    before = ids(deployed)
    ((urn, identifier),) = forget(state_file, lambda name: name.endswith(LAST)).items()

    assert 1 == recover(world)
    assert urn not in ids(deployed)
    assert f"import: example.com{LAST}: it was made: {identifier}\n" == capsys.readouterr().out

    assert 0 == recover(world, "--yes")
    assert before == ids(deployed)
    again = deployed.up()
    assert again.ok, again.errors
    assert "no change" == again.summary()


@pytest.mark.parametrize("step", [8, 9, 16])
def test_a_killed_first_deployment_is_taken_up_and_ends_as_any_other(step: int, tmp_path: Path) -> None:
    """The engine is killed while bucket, certificate, function, access control or distribution are made."""
    change = next(change for change in CHANGES if change.name == "all replaced and max-age raised")
    (life,) = run_kill(tmp_path, tmp_path / "killed", 0, step, change)
    assert (0, 0, 0) == ((met := judge(life)).refused, met.locked_in, met.downgraded)


def test_what_was_not_made_is_forgotten(
    world: World, deployed: Deployment, state_file: Path, cloudflare: Cloudflare, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that is in no zone is made by the next update; a component and a provider stand in no cloud."""
    urn = "urn:pulumi:sandbox::mta-sts::{0}::other"
    inner: list[dict[str, Any]] = [
        {"urn": urn.format(kind), "type": kind, "custom": kind.startswith("pulumi:"), "inputs": {}}
        for kind in ("mta-sts:index:MtaSts", "pulumi:providers:aws")
    ]
    ((_, identifier),) = forget(state_file, lambda name: name.endswith(LAST), *inner).items()
    cloudflare.call("DELETE", f"/zones/{cloudflare.zone('example.com')}/dns_records/{identifier}")

    assert 0 == recover(world, "--yes")
    said = capsys.readouterr().out
    assert f"clear: example.com{LAST}: it was not made\n" in said
    assert 2 == said.count("clear: other: it stands in no cloud")
    again = deployed.up()
    assert again.ok, again.errors
    assert "1 to create" == again.summary()


def test_what_cannot_be_decided_is_named_and_nothing_is_done(
    world: World, deployed: Deployment, state_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A look-up that is refused, a type that is not known, and another account's credentials."""
    urn = "urn:pulumi:sandbox::mta-sts::{0}::other"
    unknown, bucket = (
        {"urn": urn.format(kind), "type": kind, "custom": True, "inputs": {"bucket": "one"}}
        for kind in ("random:index/randomId:RandomId", "aws:s3/bucket:Bucket")
    )
    forget(state_file, lambda name: name.endswith(LAST), unknown, bucket)
    world.fault("api", "s3 HEAD /one", "denied")
    kept = state_file.read_bytes()

    assert 1 == recover(world, "--yes")
    said = capsys.readouterr()
    assert "other: HeadBucket was refused" in said.out
    assert "other: random:index/randomId:RandomId can't be looked up here" in said.out
    assert "nothing was done" in said.err
    assert kept == state_file.read_bytes()

    world.clear_faults()
    os.environ["AWS_ACCESS_KEY_ID"] = "222222222222"
    assert 1 == recover(world)
    assert "are of account 222222222222, not in `aws:allowedAccountIds`" in capsys.readouterr().out


def test_damaged_files_are_mended_and_show_what_they_hid(
    world: World, deployed: Deployment, state_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty attributes file ("EOF") goes; a state that is cut off is put back from the one before."""
    before = ids(deployed)
    whole = state_file.read_bytes()
    state_file.with_name("sandbox.json.bak").write_bytes(whole)
    state_file.with_name("sandbox.json.attrs").write_bytes(b"")
    state_file.write_bytes(whole[: len(whole) // 2])

    assert 0 == recover(world, "--yes")
    assert "put sandbox.json.bak in its place" in capsys.readouterr().out
    assert before == ids(deployed)
    assert whole[: len(whole) // 2] == state_file.with_suffix(".damaged").read_bytes()
    assert 0 == recover(world)
    assert "nothing to mend\n" == capsys.readouterr().out


def test_a_lock_is_ended_only_where_nobody_can_hold_it(
    world: World, deployed: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that is no more, on this machine; any other only when told."""
    locks = world.folder / "backend" / ".pulumi" / "locks" / "organization" / "mta-sts" / "sandbox"
    locks.mkdir(parents=True, exist_ok=True)
    lock = locks / "one.json"
    held = {"pid": os.getpid(), "username": "me", "hostname": socket.gethostname(), "timestamp": "2026-01-01T00:00:00Z"}

    lock.write_text(json.dumps(held), encoding="utf-8")
    assert 1 == recover(world, "--yes")
    assert f"the state is locked by process {os.getpid()} of me on" in capsys.readouterr().err
    assert lock.exists()

    lock.write_text(json.dumps(held | {"hostname": "elsewhere"}), encoding="utf-8")
    assert 1 == recover(world, "--yes")
    assert 0 == recover(world, "--yes", "--cancel-lock")
    assert not lock.exists()

    lock.write_text(json.dumps(held | {"pid": 2**22 + 1}), encoding="utf-8")
    assert 0 == recover(world, "--yes")
    assert not lock.exists()


def test_a_wrong_call_touches_nothing(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a project is usage; a stack that is not there is said by Pulumi."""
    assert 64 == main(["recover", "--stack", "sandbox", "--cwd", str(tmp_path / "nowhere")])
    assert "no Pulumi.yaml in" in capsys.readouterr().err


def test_a_function_that_was_made_and_not_published_is_published_by_the_next_update(
    world: World, deployed: Deployment, state_file: Path
) -> None:
    """Two calls make it; the state says what the second did not do."""
    inputs = {"name": "one", "runtime": "cloudfront-js-2.0", "code": "function handler() {}", "publish": True}
    urn = "urn:pulumi:sandbox::mta-sts::aws:cloudfront/function:Function::one"
    provider = next(one["provider"] for one in deployed.resources() if "bucket" in one["type"])
    cloudfront = boto3.client("cloudfront", region_name="us-east-1")
    settings = {"Comment": "", "Runtime": "cloudfront-js-2.0"}
    cloudfront.create_function(Name="one", FunctionConfig=settings, FunctionCode=b"function handler() {}")
    pending = {"urn": urn, "type": "aws:cloudfront/function:Function", "custom": True, "provider": provider}
    forget(state_file, lambda _: False, pending | {"inputs": inputs})

    assert 0 == recover(world, "--yes")
    (taken,) = [one for one in deployed.resources() if one["urn"] == urn]
    assert ("one", False) == (taken["id"], taken["inputs"]["publish"])
