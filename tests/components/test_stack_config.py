"""Stack files against their schema and against `check_domains`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from jsonschema import Draft202012Validator
from pulumi.runtime.config import set_all_config
from pulumi_mta_sts.mta_sts import MtaStsArgs
from pulumi_mta_sts.stack_config import StackConfig, read_stack_config

from mta_sts import check_domains, errors
from tests.components.mocked import World, deploy, refusal

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "stacks" / "schema.json"
STACKS = [ROOT / "stacks" / f"Pulumi.{name}.yaml" for name in ("dev", "staging", "prod", "sandbox")]
GOOD = {"domain": "example.com", "mx": ["mx1.example.com"], "reports": "mailto:x@example.com"}


@pytest.fixture(autouse=True)
def _no_config_left() -> Any:
    yield
    set_all_config({})


def read(world: World, settings: dict[str, Any]) -> StackConfig:
    """Return a stack's configuration as Pulumi hands it over: structured values as JSON."""
    found: list[StackConfig] = []
    set_all_config({key: json.dumps(value) for key, value in settings.items()})
    deploy(world, lambda: found.append(read_stack_config(SCHEMA)))
    return found[0]


def refused(world: World, settings: dict[str, Any]) -> tuple[str, list[str]]:
    """Return message and paths with which a stack's configuration is refused."""
    set_all_config({key: json.dumps(value) for key, value in settings.items()})
    return refusal(world, lambda: read_stack_config(SCHEMA))


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.name)
def test_a_committed_stack_is_right(path: Path) -> None:
    """Against the schema that editors use, and by meaning, without a warning."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
    findings = check_domains(document["config"]["mta-sts:domains"])
    assert [] == errors(findings)
    assert [] == findings if "sandbox" not in path.name else findings is not None


def test_a_stack_names_its_account() -> None:
    """Each stack has its own account, so that no `up` reaches another environment's."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8"))["config"] for path in STACKS]
    accounts = [account for document in documents for account in document["aws:allowedAccountIds"]]
    assert len(STACKS) == len(set(accounts))


def test_the_schema_knows_every_argument() -> None:
    """What the component takes, a stack file can say; only the shared host is the program's business."""
    domain = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]["domain"]
    assert set(MtaStsArgs.__annotations__) - {"host"} == set(domain["properties"])
    assert all("description" in each or "$ref" in each or "default" in each for each in domain["properties"].values())


def test_domains_and_host_are_read(world: World) -> None:
    """The host takes of each domain what it needs."""
    config = read(world, {"mta-sts:domains": [GOOD | {"zone": "example.com"}], "mta-sts:host": {"bucket": "policies"}})
    assert [{"domain": "example.com", "zone": "example.com"}] == config.hosted
    assert {"bucket": "policies"} == config.host
    assert {} == read(world, {"mta-sts:domains": [GOOD]}).host


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        ({}, "domains", "'mta-sts:domains' is a required property"),
        ({"mta-sts:domains": []}, "domains", "non-empty"),
        ({"mta-sts:domains": ["example.com"]}, "domains[0]", "give `domain: example.com`"),
        ({"mta-sts:domains": [GOOD | {"modus": "testing"}]}, "domains[0].modus", "did you mean mode?"),
        ({"mta-sts:domains": [GOOD | {"max_age": "a day"}]}, "domains[0].max_age", "whole seconds"),
        ({"mta-sts:domains": [GOOD, GOOD]}, "domains[1].domain", "declared twice"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": {"bucket": "Not A Bucket"}}, "host.bucket", "does not match"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": {"certificate_names": 101}}, "host.certificate_names", "101"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": {"buckets": "x"}}, "host", "'buckets' was unexpected"),
        ({"mta-sts:domains": [GOOD], "mta-sts:hosts": {}}, "hosts", "did you mean host?"),
    ],
)
def test_a_wrong_setting_is_said_once_with_its_path(
    world: World, settings: dict[str, Any], path: str, words: str
) -> None:
    """By meaning where `check_domains` knows it, by the schema elsewhere."""
    message, paths = refused(world, settings)
    assert [path] == paths
    assert words in message


def test_settings_of_all_domains_are_refused_together(world: World) -> None:
    """A finding at one domain does not hide the schema's at another with a similar number."""
    domains: list[Any] = [GOOD | {"domain": f"d{number}.example.com"} for number in range(11)]
    domains[1] = "d1.example.com"
    domains[10]["tags"] = {"team": 5}
    domains[10]["zone_id"] = 5
    _, paths = refused(world, {"mta-sts:domains": domains, "mta-sts:host": {"bucket": "-"}})
    assert {"domains[1]", "domains[10].tags", "domains[10].zone_id", "host.bucket"} == set(paths)


def test_a_setting_that_is_no_structure_is_said_in_a_line(world: World) -> None:
    """A plain text in place of a list; Pulumi's own message names the key."""
    set_all_config({"mta-sts:domains": "example.com"})
    with pytest.raises(pulumi.RunError, match="mta-sts:domains"):
        deploy(world, lambda: read_stack_config(SCHEMA))
