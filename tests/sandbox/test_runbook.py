"""The runbook's first page does what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mta_sts import parse_policy
from tests.sandbox.test_main_job import OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.deployment import Deployment
    from sandbox.world.client import World

pytestmark = pytest.mark.engine

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


def test_the_brake_takes_one_setting_and_one_update(world: World, deploy: Callable[..., Deployment]) -> None:
    """With the policy bucket unreadable, and without waiting: senders see `testing` at once."""
    deployment = deploy(OWN)
    assert deployment.up().ok
    world.advance(86_400)
    begun = world.now()

    block = re.search(r"```\n(pulumi config set .*)\n(pulumi up .*)\n```", RUNBOOK.read_text(encoding="utf-8"))
    assert block
    command = shlex.split(block[1].replace("--stack prod", "--stack sandbox"))
    world.fault("api", r"s3 GET /policy-host-sandbox-\d+/?$", "denied")
    unproved = deploy(OWN | {"mx": OWN["mx"][:1]}).up()
    assert "ledger-unreadable" in unproved.errors  # any other change is held up by that

    deployment = deploy(OWN)
    subprocess.run(command, cwd=world.folder / "work", check=True, capture_output=True)
    braked = deployment.up()
    assert braked.ok, braked.errors

    policies = [event for event in world.timeline() if event["domain"] == "example.com" and event["kind"] == "policy"]
    assert "testing" == parse_policy(policies[-1]["value"]).mode
    assert 60 > world.now() - begun
