"""The pack as people get it: its page, its folder, and what Pulumi is told of each rule."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from jsonschema import Draft202012Validator
from pulumi_mta_sts_policies import PACK, RULES
from pulumi_mta_sts_policies.__main__ import main

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "policies.md"


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """After a change: `python -m pulumi_mta_sts_policies > docs/policies.md`."""
    main([])
    assert PAGE.read_text(encoding="utf-8") == capsys.readouterr().out


def test_the_page_shows_configuration_that_the_rules_take() -> None:
    """Every rule and setting in its example exists."""
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    by_name = {rule.name: rule for rule in RULES}
    for name, given in json.loads(example).items():
        settings = set(given) - {"enforcementLevel"} if isinstance(given, dict) else set()
        schema = by_name[name].config_schema
        assert settings <= set(schema.properties if schema else ())


def test_the_folder_is_one_that_pulumi_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the manifest and the program; the wheel carries both, with the rules."""
    main(["folder"])
    folder = Path(capsys.readouterr().out.strip())
    manifest = yaml.safe_load((folder / "PulumiPolicy.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert ("python", project["project"]["version"]) == (manifest["runtime"], manifest["version"])
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "policies/pulumi_mta_sts_policies" in wheel["packages"]
    carried = {Path(source).name for source in wheel["force-include"]}
    assert {"PulumiPolicy.yaml", "__main__.py"} == carried
    assert {(folder / name).is_file() for name in carried} == {True}


def test_every_rule_says_what_it_wants_and_why() -> None:
    """With severity, level, reference and way out; settings with description, and a default that fits."""
    assert PACK
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
        assert None not in (rule.severity, rule.enforcement_level, rule.framework), rule.name
        assert rule.description.endswith("."), rule.name
        assert (rule.remediation_steps or "").endswith("."), rule.name
        for name, schema in (rule.config_schema.properties if rule.config_schema else {}).items():
            Draft202012Validator.check_schema(schema)
            Draft202012Validator(schema).validate(schema["default"])
            assert schema["description"].endswith("."), name


def test_the_rules_need_neither_cloud_sdk_nor_component() -> None:
    """A pack for stacks in another language installs Pulumi's SDK alone."""
    code = "import sys, pulumi_mta_sts_policies; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    environment = {"PATH": os.defpath, "HOME": str(Path.home())}
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    for heavy in ("pulumi_aws", "pulumi_cloudflare", "pulumi_mta_sts'", "boto3", "jsonschema", "sandbox"):
        assert heavy not in loaded
