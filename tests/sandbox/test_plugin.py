"""The component as a package: the engine constructs it in the plugin's process, as for programs in other languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
import pytest

from sandbox.check import problems
from sandbox.deployment import Deployment
from tests.sandbox.test_main_job import GOOGLE

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.world.client import World

pytestmark = pytest.mark.engine


def test_a_program_in_any_language_can_use_the_package(world: World, tmp_path: Path) -> None:
    """Numbers arrive as floats and names in camel case; hooks run; a second update changes nothing."""
    config = tmp_path / "Pulumi.sandbox.yaml"
    config.write_text("config:\n  aws:region: eu-west-1\n", encoding="utf-8")
    inputs = {"domain": "gmail-new.example", "mx": GOOGLE["mx"], "reports": [GOOGLE["reports"]], "maxAge": 86400.0}

    def program() -> None:
        class Packaged(pulumi.ComponentResource):
            policy_id: pulumi.Output[str]

        made = Packaged("mta-sts:index:MtaSts", "gmail", {**inputs, "policyId": None}, None, remote=True)
        pulumi.export("urn", made.urn)

    deployment = Deployment(world, program, config=config)
    made = deployment.up()
    assert made.ok, made.errors
    assert [] == problems(world, "gmail-new.example")
    assert "gmail-sts-record" in {step.name for step in made.changes}
    assert [] == deployment.preview().changes
