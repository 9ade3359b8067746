"""The stack's configuration (`stacks/Pulumi.<stack>.yaml`), read against its schema."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from mta_sts import Finding, check_domains, check_host, errors, normalise_host
from mta_sts.findings import below, unknown_keys
from pulumi_mta_sts.refusal import collect, raise_together

_KEYS = ("domains", "host")
_ELSEWHERE = {
    "host": "the domains of a stack share one; set it as `mta-sts:host`, and leave it out here",
    "evidence": "it is a file beside the stack, stacks/evidence/DOMAIN.json, which `mta-sts evidence` writes",
}
"""What the component takes of a domain, and a stack file has in another place."""


@dataclass(frozen=True, slots=True)
class StackConfig:
    """What a stack declares: its domains, and the settings of the host that they share."""

    domains: list[Any]
    host: Any
    problems: Sequence[Finding] = ()
    """What is wrong with single domains; `judge` raises it, after it has found who may go on in spite of it."""

    @property
    def hosted(self) -> list[Any]:
        """The domains as a policy host takes them."""
        taken = ("domain", "zone", "zone_id")
        return [
            {key: domain[key] for key in taken if key in domain} if isinstance(domain, dict) else domain
            for domain in self.domains
        ]


def read_stack_config(schema: Path) -> StackConfig:
    """Return the stack's domains and host settings, with the evidence files beside the schema.

    What the schema and `check_domains` find of single domains are `problems`. Raises pulumi.InputPropertiesError with
    all of it where something is wrong with the stack itself: then nothing can be told of any domain.
    """
    config = pulumi.Config()
    given: dict[str, Any] = {
        f"{config.name}:{key}": value for key in _KEYS if (value := config.get_object(key)) is not None
    }
    elsewhere = _take_elsewhere(given.get(f"{config.name}:domains"))
    document = json.loads(schema.read_text(encoding="utf-8"))
    problems = errors([*_unknown_keys(config.name), *_aws(), *elsewhere, *_findings(given, document, config.name)])
    if not all(problem.path.startswith("domains[") for problem in problems):
        raise_together(problems)
    broken = {problem.path.partition(".")[0] for problem in problems}
    domains, damaged = _with_evidence(given[f"{config.name}:domains"], broken, schema.parent / "evidence")
    return StackConfig(domains, given.get(f"{config.name}:host", {}), [*problems, *damaged])


def _aws() -> list[Finding]:
    """Return what a stack must say of AWS and does not: without it, other credentials publish into another account."""
    wanted = {
        "allowedAccountIds": 'the account that it publishes into, such as `aws:allowedAccountIds: ["123456789012"]`',
        "region": "the region of the policy bucket, such as `aws:region: eu-west-1`",
    }
    aws = pulumi.Config("aws")
    return [
        Finding("aws-setting-missing", f"aws:{key}", f"aws:{key} is not set; give {example}")
        for key, example in wanted.items()
        if not aws.get(key) or aws.get(key) == "[]"
    ]


def _with_evidence(domains: list[Any], broken: Container[str], folder: Path) -> tuple[list[Any], list[Finding]]:
    """Return the domains, those in enforce with their evidence file where there is one: `evidence/DOMAIN.json`.

    And what is wrong with these files. The domains in `broken` places can't have one.
    """
    found: list[Finding] = []
    complete = []
    for index, domain in enumerate(domains):
        here = f"domains[{index}]"
        evidence = None
        if (
            here not in broken
            and domain.get("mode") == "enforce"
            and (path := folder / f"{normalise_host(domain['domain'])}.json").exists()
        ):
            from mta_sts.evidence import load_evidence  # noqa: PLC0415  heavy, and few domains take this step

            read: list[Finding] = []
            evidence = collect(read, partial(load_evidence, path), None)
            found += below(f"{here}.evidence", [replace(one, message=f"{path}: {one.message}") for one in read])
        complete.append(domain if evidence is None else domain | {"evidence": evidence})
    return complete, found


def _unknown_keys(project: str) -> list[Finding]:
    """Return the keys of this project that nothing reads; `pulumi.Config` itself never tells them."""
    given = sorted(
        key.removeprefix(f"{project}:") for key in {*CONFIG.get(), *get_config_env()} if key.startswith(f"{project}:")
    )
    return unknown_keys(given, _KEYS, f"a stack under {project}:")


def _findings(given: Mapping[str, Any], schema: Mapping[str, Any], project: str) -> list[Finding]:
    """Return what is wrong: by meaning where the core knows it, else by the schema."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415  heavy, and only the program reads a stack

    domains = given.get(f"{project}:domains")
    found: list[Finding] = []
    if not isinstance(domains, list) or not domains:
        message = f"got {domains!r}; list the mail domains under {project}:domains, each as `domain: example.com`"
        found.append(Finding("domains-invalid", "domains", message))
    else:
        found += check_domains(domains)
    if f"{project}:host" in given:
        found += below("host", check_host(given[f"{project}:host"], lists_domains=False))
    known = [finding.path for finding in errors(found)]
    settings = {"$ref": "#/$defs/settings", "$defs": schema["$defs"]}
    for error in sorted(Draft202012Validator(settings).iter_errors(given), key=lambda error: error.json_path):
        # Only `domains` is required of a whole stack.
        path = _path(error.absolute_path).removeprefix(f"{project}:") or "domains"
        # The core says the same with the way out.
        if not any(path.startswith(other) or other.startswith(path) for other in known):
            found.append(Finding("stack-schema", path, f"{error.message}; see stacks/schema.json"))
    return found


def _take_elsewhere(domains: Any) -> list[Finding]:
    """Take from the domains what a stack file has in another place, and return the findings that say where."""
    return [
        Finding(
            "unknown-key",
            f"domains[{index}].{key}",
            f"{key!r} is no setting of a domain in a stack file: {_ELSEWHERE[key]}",
        )
        for index, domain in enumerate(domains if isinstance(domains, list) else [])
        for key in _ELSEWHERE
        if isinstance(domain, dict) and domain.pop(key, None) is not None
    ]


def _path(parts: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")
