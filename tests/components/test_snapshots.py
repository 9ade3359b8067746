"""The package's contract does not change by accident."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.components.snapshots import FOLDER, SNAPSHOTS, policy_host_inputs, schema, text

if TYPE_CHECKING:
    from collections.abc import Iterator

WAY_OUT = """{name} is no longer what is committed. Others' programs and states hold on to it.
If the change is meant:
  1. a renamed or moved child gets an alias (pulumi.Alias), so that no state loses a live record or a bucket;
  2. the change gets a fragment in changelog.d/ (what it means for users; breaking: a major version);
  3. `python -m tests.components.snapshots` writes the new snapshot, and the diff shows reviewers what changed.
"""


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_the_contract_is_what_is_committed(name: str) -> None:
    """Names, types and inputs change only with a word to their users: arguments, outputs, children."""
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == text(SNAPSHOTS[name]()), WAY_OUT.format(name=name)


def test_a_preview_of_a_policy_host_shows_what_the_update_asks_for() -> None:
    """Every input of every child, on and off."""
    committed = json.loads((FOLDER / "policy_host_inputs.json").read_text(encoding="utf-8"))
    assert committed == policy_host_inputs(preview=True)


def described() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every argument and output of the schema, with its path."""
    document = schema()
    for token, each in (document["resources"] | document["types"]).items():
        for group in ("inputProperties", "properties"):
            for name, found in each.get(group, {}).items():
                yield f"{token}.{name}", found


def test_every_argument_and_output_is_documented() -> None:
    """A text straight after each annotation documents it for every language."""
    assert [] == [path for path, found in described() if not found.get("description", "").strip()]


def test_what_decides_the_policy_is_plain() -> None:
    """Only what may flow from other resources is an output: a zone's id, a host's target."""
    document = schema()
    inputs = {f"{token}.{name}": each for token, found in document["resources"].items()
              for name, each in found["inputProperties"].items()}  # fmt: skip
    types = {f"{token}.{name}": each for token, found in document["types"].items()
             for name, each in found["properties"].items()}  # fmt: skip
    flowing = {path for path, each in (inputs | types).items() if not each.get("plain")}
    assert {
        "mta-sts:index:MtaSts.zoneId",
        "mta-sts:index:HostedDomain.zoneId",
        "mta-sts:index:SharedHost.target",
    } == flowing


def test_the_plugin_serves_both_components() -> None:
    """The schema that a host hands out holds the two components, under the package's name."""
    assert {"mta-sts:index:MtaSts", "mta-sts:index:PolicyHost"} == schema()["resources"].keys()
    assert json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))["name"] == "mta-sts"
