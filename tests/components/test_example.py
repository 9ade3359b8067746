"""Another stack's program that uses the component."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import yaml

from tests.components.mocked import World, deploy

SHOP = Path(__file__).parents[2] / "examples" / "shop"


@pytest.mark.parametrize("preview", [False, True])
def test_the_shop_publishes_with_its_own_host(world: World, preview: bool) -> None:
    """Ten lines are a bucket, a distribution, a certificate, the policy and its records."""
    world.zones = {"zone-1": "shop.example"}
    run = deploy(world, lambda: runpy.run_path(str(SHOP / "__main__.py")), preview=preview)
    assert {"shop", "shop-host", "shop-policy", "shop-policy-host", "shop-sts-record", "shop-tlsrpt-record"} <= {
        *run.registered
    }
    assert [] == run.warnings


def test_the_program_is_short_and_complete() -> None:
    """At most 15 lines, a project file, and requirements that lead to this package."""
    assert 15 >= len((SHOP / "__main__.py").read_text(encoding="utf-8").splitlines())
    assert "python" == yaml.safe_load((SHOP / "Pulumi.yaml").read_text(encoding="utf-8"))["runtime"]
    assert "../..[pulumi]" in (SHOP / "requirements.txt").read_text(encoding="utf-8").splitlines()
