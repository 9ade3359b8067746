"""Stack files against their schema and against `check_domains`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from jsonschema import Draft202012Validator
from pulumi.runtime.config import set_all_config
from pulumi_mta_sts import judge, judge_host
from pulumi_mta_sts.mta_sts import MtaStsArgs
from pulumi_mta_sts.stack_config import StackConfig, read_stack_config

from mta_sts import check_domains
from mta_sts.evidence import write_evidence
from tests.components.mocked import World, deploy, refusal
from tests.mta_sts.test_evidence import build, clean_week

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "stacks" / "schema.json"
STACKS = [ROOT / "stacks" / f"Pulumi.{name}.yaml" for name in ("dev", "staging", "prod", "sandbox")]
AWS = {"aws:region": "eu-west-1", "aws:allowedAccountIds": '["111111111111"]'}
GOOD = {"domain": "example.com", "mx": ["mx1.example.com"], "reports": "mailto:x@example.com"}


@pytest.fixture(autouse=True)
def _no_config_left() -> Any:
    yield
    set_all_config({})


def read(world: World, settings: dict[str, Any], schema: Path = SCHEMA) -> StackConfig:
    """Return a stack's configuration as Pulumi hands it over: structured values as JSON."""
    found: list[StackConfig] = []
    set_all_config(AWS | {key: json.dumps(value) for key, value in settings.items()})
    deploy(world, lambda: found.append(read_stack_config(schema)))
    return found[0]


def program(schema: Path) -> None:
    """Read the stack and judge it, as `__main__.py` does."""
    config = read_stack_config(schema)
    host = judge_host("policy-host", config.host | {"domains": config.hosted}, None)
    judge(config.domains, host, problems=config.problems)


def refused(world: World, settings: dict[str, Any], schema: Path = SCHEMA) -> tuple[str, list[str]]:
    """Return message and paths with which a stack's configuration is refused."""
    set_all_config(AWS | {key: json.dumps(value) for key, value in settings.items()})
    return refusal(world, lambda: program(schema))


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.name)
def test_a_committed_stack_is_right(path: Path) -> None:
    """Against the schema that editors use, and by meaning, without a warning."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
    assert [] == check_domains(document["config"]["mta-sts:domains"])


def test_a_stack_names_its_account() -> None:
    """Each stack has its own account, so that no `up` reaches another environment's."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8"))["config"] for path in STACKS]
    accounts = [account for document in documents for account in document["aws:allowedAccountIds"]]
    assert len(STACKS) == len(set(accounts))


def test_the_schema_knows_every_argument() -> None:
    """What the component takes, a stack file can say; only shared host and evidence are the program's business."""
    domain = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]["domain"]
    # Evidence comes from a file of its own.
    assert set(MtaStsArgs.__annotations__) - {"host", "evidence"} == set(domain["properties"])
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
        ({}, "domains", "got None; list the mail domains under mta-sts:domains"),
        ({"mta-sts:domains": []}, "domains", "got []; list the mail domains"),
        ({"mta-sts:domains": {"domain": "example.com"}}, "domains", "each as `domain: example.com`"),
        ({"mta-sts:domains": ["example.com"]}, "domains[0]", "give `domain: example.com`"),
        ({"mta-sts:domains": [GOOD | {"modus": "testing"}]}, "domains[0].modus", "did you mean mode?"),
        ({"mta-sts:domains": [GOOD | {"max_age": "a day"}]}, "domains[0].max_age", "whole seconds"),
        ({"mta-sts:domains": [GOOD, GOOD]}, "domains[1].domain", "declared twice"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": {"bucket": "Bad_Name"}}, "host.bucket", "3 to 63 lower-case"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": "policies"}, "host", "bucket, certificate_names, tags"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": {"tags": {"team": 5}}}, "host.tags", "texts by name"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": {"domains": ["x"]}}, "host.domains", "known are bucket"),
        ({"mta-sts:domains": [GOOD | {"host": {"bucket": "b"}}]}, "domains[0].host", "set it as `mta-sts:host`"),
        ({"mta-sts:domains": [GOOD | {"evidence": {}}]}, "domains[0].evidence", "stacks/evidence/DOMAIN.json"),
        ({"mta-sts:domains": [GOOD | {"mx": [{"host": "a.example", "pref": 1}]}]}, "domains[0].mx[0].pref",
         "did you mean preference?"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": {"certificate_names": 101}}, "host.certificate_names", "101"),
        ({"mta-sts:domains": [GOOD], "mta-sts:host": {"buckett": "x"}}, "host.buckett", "did you mean bucket?"),
        ({"mta-sts:domains": [GOOD], "mta-sts:hosts": {}}, "hosts", "did you mean host?"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_said_once_with_its_path(
    world: World, settings: dict[str, Any], path: str, words: str
) -> None:
    """By meaning where the core knows it, by the schema elsewhere."""
    message, paths = refused(world, settings)
    assert [path] == paths
    assert words in message


@pytest.mark.parametrize("missing", [*AWS, {"aws:allowedAccountIds": "[]"}])
def test_a_stack_that_does_not_name_account_and_region_is_refused(world: World, missing: Any) -> None:
    """Else whatever credentials are at hand decide where it goes."""
    given = AWS | missing if isinstance(missing, dict) else {key: AWS[key] for key in AWS if key != missing}
    set_all_config(given | {"mta-sts:domains": json.dumps([GOOD])})
    _, paths = refusal(world, lambda: read_stack_config(SCHEMA))
    assert [next(iter(missing)) if isinstance(missing, dict) else missing] == paths


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


ENFORCE = GOOD | {"mode": "enforce"}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """Return the schema in a folder of its own, where evidence may be put beside it."""
    shutil.copy(SCHEMA, tmp_path / "schema.json")
    (tmp_path / "evidence").mkdir()
    return tmp_path / "schema.json"


def test_a_domain_in_enforce_gets_the_evidence_that_lies_beside_its_stack(
    world: World, schema: Path, tmp_path: Path
) -> None:
    """By the domain's name in A-labels; a domain in testing, or without a file, gets none."""
    clean_week(tmp_path)
    evidence = build(tmp_path)
    for name in ("example.com", "xn--bcher-kva.example"):
        write_evidence(evidence, schema.parent / "evidence" / f"{name}.json")
    domains = [ENFORCE, ENFORCE | {"domain": "Bücher.example."}, ENFORCE | {"domain": "example.net"}]
    config = read(world, {"mta-sts:domains": domains}, schema)
    assert [evidence, evidence, None] == [domain.get("evidence") for domain in config.domains]
    assert "evidence" not in read(world, {"mta-sts:domains": [GOOD]}, schema).domains[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: text.replace('"successful": 80', '"successful": 81'), "changed after it was written"),
        (lambda text: text[:100], "cannot be read"),
        (lambda _: "{}", "is a required property"),
    ],
    ids=["edited", "cut off", "another form"],
)
def test_a_damaged_evidence_file_is_refused_with_its_name(
    world: World, schema: Path, tmp_path: Path, spoil: Any, words: str
) -> None:
    """An edit by hand is noticed; the message names the file and how to write it again."""
    world.zones["zone-2"] = "example.net"
    clean_week(tmp_path)
    file = schema.parent / "evidence" / "example.com.json"
    write_evidence(build(tmp_path), file)
    file.write_text(spoil(file.read_text(encoding="utf-8")), encoding="utf-8")
    message, paths = refused(world, {"mta-sts:domains": [GOOD | {"domain": "example.net"}, ENFORCE]}, schema)
    assert all(path.startswith("domains[1].evidence") for path in paths)
    assert words in message
    assert str(file) in message
