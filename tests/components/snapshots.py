"""The package's contract as committed files: what others' programs and states hold on to.

`python -m tests.components.snapshots` writes them anew.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pulumi.provider.experimental.analyzer import Analyzer
from pulumi.provider.experimental.schema import generate_schema
from pulumi_mta_sts import MtaSts, PolicyHost

from tests.components.mocked import TARGET, World, deploy, use_aws

FOLDER = Path(__file__).parent / "snapshots"
COMPONENTS = [MtaSts, PolicyHost]
PACKAGE = "mta-sts"


def schema() -> dict[str, Any]:
    """Return the package's schema as programs in other languages get it, without its version."""
    analysed = Analyzer(PACKAGE).analyze(COMPONENTS)
    found = generate_schema(
        PACKAGE,
        "0.0.0",
        None,
        analysed["component_definitions"],
        analysed["type_definitions"],
        sorted(analysed["dependencies"], key=str),
    )
    document: dict[str, Any] = found.to_json()
    del document["version"]
    return document


def children() -> dict[str, dict[str, str]]:
    """Return each component's resources, type by name; a name that holds a hash of code is cut before it."""
    mx = [{"host": "mx1.example.com", "preference": 10}]
    args: dict[str, Any] = {
        "domain": "example.com",
        "mx": mx,
        "manage_mx": True,
        "reports": ["mailto:tls-reports@example.com"],
    }
    shared = {"host": {"bucket": "policies", "target": TARGET}}
    programs = {
        "MtaSts": lambda: MtaSts("NAME", args),
        "MtaSts with a shared host": lambda: MtaSts("NAME", args | shared),
        "PolicyHost": lambda: PolicyHost("NAME", {"domains": [{"domain": "example.com"}]}),
    }
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for title, program in programs.items():
            world = World()
            use_aws(world, patch)
            run = deploy(world, program)
            found[title] = {
                re.sub(r"(function)-[0-9a-f]{8}$", r"\1-…", name): kind for name, kind in run.children().items()
            }
    return found


def policy_host_inputs(*, preview: bool = False) -> dict[str, dict[str, Any]]:
    """Return the inputs of each child of a policy host for two domains; the bucket's policy and the code are shown.

    What changes with every change of the function's code, a hash in names, is left out.
    """
    domains = [{"domain": "example.com"}, {"domain": "lists.example.com"}]
    with pytest.MonkeyPatch.context() as patch:
        world = World()
        use_aws(world, patch)
        args: Any = {"domains": domains, "tags": {"team": "mail"}}
        run = deploy(world, lambda: PolicyHost("NAME", args), preview=preview)
    found = {name: each.inputs for name, each in run.registered.items()}
    found["NAME-bucket-policy"]["policy"] = json.loads(found["NAME-bucket-policy"]["policy"])
    (function,) = [name for name in found if name.startswith("NAME-function-")]
    found[function]["code"] = found[function]["code"].splitlines()
    version = function.removeprefix("NAME-function-")
    shown: dict[str, dict[str, Any]] = json.loads(json.dumps(found, sort_keys=True).replace(f"-{version}", "-VERSION"))
    return shown


SNAPSHOTS = {"schema.json": schema, "children.json": children, "policy_host_inputs.json": policy_host_inputs}


def text(document: dict[str, Any]) -> str:
    """Return a document as it is committed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file_name, make in SNAPSHOTS.items():
        (FOLDER / file_name).write_text(text(make()), encoding="utf-8")
        print(FOLDER / file_name)
