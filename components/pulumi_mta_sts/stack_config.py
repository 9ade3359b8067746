"""The stack's configuration (`stacks/Pulumi.<stack>.yaml`), read against its schema."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from mta_sts import Finding, check_domains
from pulumi_mta_sts.judgement import raise_together

_KEYS = ("domains", "host")


@dataclass(frozen=True, slots=True)
class StackConfig:
    """What a stack declares: its domains, and the settings of the host that they share."""

    domains: list[Any]
    host: Any

    @property
    def hosted(self) -> list[dict[str, Any]]:
        """The domains as a policy host takes them."""
        return [{key: domain[key] for key in ("domain", "zone", "zone_id") if key in domain} for domain in self.domains]


def read_stack_config(schema: Path) -> StackConfig:
    """Return the stack's domains and host settings.

    Raises pulumi.InputPropertiesError with everything that the schema and `check_domains` find.
    """
    config = pulumi.Config()
    given: dict[str, Any] = {
        f"{config.name}:{key}": value for key in _KEYS if (value := config.get_object(key)) is not None
    }
    document = json.loads(schema.read_text(encoding="utf-8"))
    raise_together(_findings(given, document, config.name))
    return StackConfig(given[f"{config.name}:domains"], given.get(f"{config.name}:host", {}))


def _findings(given: Mapping[str, Any], schema: Mapping[str, Any], project: str) -> list[Finding]:
    """Return what is wrong: by meaning where `check_domains` knows it, else by the schema."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415  heavy, and only the program reads a stack

    domains = given.get(f"{project}:domains")
    known = check_domains(domains) if isinstance(domains, list) else []
    settings = {"$ref": "#/$defs/settings", "$defs": schema["$defs"]}
    found = list(known)
    for error in sorted(Draft202012Validator(settings).iter_errors(given), key=lambda error: error.json_path):
        path = error.json_path.removeprefix("$.").removeprefix(f"['{project}:").replace("']", "", 1)
        # check_domains says the same with the way out.
        if not any(finding.path.startswith(path) or path.startswith(finding.path) for finding in known):
            found.append(Finding("stack-schema", path, f"{error.message}; see stacks/schema.json"))
    return found
