"""The components as a plugin, as a program in another language meets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.resource import DependencyResource

from mta_sts import parse_policy
from tests.components.mocked import TARGET, World, deploy
from tests.components.snapshots import COMPONENTS, PACKAGE

PLUGIN = Path(__file__).parents[2] / "components"


def construct(world: World, kind: str, inputs: dict[str, Any], options: pulumi.ResourceOptions | None = None) -> Any:
    """Make a component through the plugin's own provider, and return what was registered."""
    provider = ComponentProvider(COMPONENTS, PACKAGE)
    return deploy(world, lambda: provider.construct("mail", f"mta-sts:index:{kind}", inputs, options))


@pytest.mark.parametrize("preview", [False, True])
def test_numbers_arrive_as_floats_and_names_in_camel_case(world: World, preview: bool) -> None:
    """The same domain from another language gives the same policy and records."""
    inputs = {
        "domain": "example.com",
        "mode": "enforce",
        "acknowledge": "reports were clean for a month",
        "maxAge": 604800.0,
        "manageMx": True,
        "mx": [{"host": "mx1.example.com", "preference": 10.0}],
        "reports": ["mailto:tls-reports@example.com"],
        "txtTtl": 120.0,
        "host": {"bucket": "policies", "target": pulumi.Output.from_input(TARGET)},
    }
    run = construct(world, "MtaSts", inputs)
    policy = parse_policy(run["mail-policy"].inputs["content"])
    assert ("enforce", 604_800, ("mx1.example.com",)) == (policy.mode, policy.max_age, policy.mx)
    assert {"domain": "example.com", "acknowledge": inputs["acknowledge"]} == run["mail"].inputs
    assert 120 == run["mail-sts-record"].inputs["ttl"]
    assert 10 == run["mail-mx-mx1.example.com"].inputs["priority"]


def test_a_policy_host_with_a_parent_elsewhere(world: World) -> None:
    """Domains are mapped too; the parent is known by its URN alone."""
    parent = DependencyResource("urn:pulumi:test::mta-sts::test:index:Parent::parent")
    inputs = {"domains": [{"domain": "example.com", "zoneId": "zone-1"}], "certificateNames": 20.0}
    run = construct(world, "PolicyHost", inputs, pulumi.ResourceOptions(parent=parent, protect=False))
    assert ["mta-sts.example.com"] == run["mail-distribution"].inputs["aliases"]


def test_the_plugin_stands_where_pulumi_looks() -> None:
    """The manifest beside `__main__.py`, never at the root, where the program would be run as the plugin."""
    assert {"runtime": "python"} == yaml.safe_load((PLUGIN / "PulumiPlugin.yaml").read_text(encoding="utf-8"))
    assert not (PLUGIN.parent / "PulumiPlugin.yaml").exists()
    assert "..[pulumi]" in (PLUGIN / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert 'if __name__ == "__main__"' in (PLUGIN / "__main__.py").read_text(encoding="utf-8")
