"""docs/providers.md: what people paste is right."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from mta_sts import check_domains, mx_matches

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, flags=re.DOTALL)
ROWS = re.findall(r"^\| `(\S+)` \| `(\S+)` \| (yes|no) \|$", PAGE, flags=re.MULTILINE)


def test_the_page_has_every_provider() -> None:
    """Each provider has a section with at least one block."""
    for title in ("Google Workspace", "Microsoft 365", "Fastmail", "Cloudflare Email Routing", "Own hosts"):
        section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        assert "```yaml\n" in section, title


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_a_block_is_exact_configuration(language: str, text: str) -> None:
    """Every block can be pasted: no error and no warning, by the schema and by `check_domain`."""
    settings = yaml.safe_load(text)
    assert "yaml" == language
    assert [] == check_domains(settings["mta-sts:domains"])
    schema = json.loads((ROOT / "stacks" / "schema.json").read_text(encoding="utf-8"))
    Draft202012Validator({"$ref": "#/$defs/settings", "$defs": schema["$defs"]}).validate(settings)


def test_the_table_of_patterns_is_true() -> None:
    """What the page says of patterns is what senders do (RFC 8461 §4.1)."""
    assert ROWS == [(host, pattern, "yes" if mx_matches(pattern, host) else "no") for host, pattern, _ in ROWS]
    assert {"yes", "no"} == {covered for _, _, covered in ROWS}


def test_the_live_hosts_of_each_provider_are_covered() -> None:
    """The hosts in the table that are said to be covered are covered by what the blocks declare."""
    declared = {
        entry if isinstance(entry, str) else entry["host"]
        for _, text in BLOCKS
        for domain in yaml.safe_load(text)["mta-sts:domains"]
        for entry in domain.get("mx", [])
    }
    for host, _, _ in ROWS:
        assert any(mx_matches(pattern, host) for pattern in declared), host
