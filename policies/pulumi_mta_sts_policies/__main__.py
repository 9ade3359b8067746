"""What the pack says of itself: its folder, for `pulumi --policy-pack`, and the page about its rules.

`python -m pulumi_mta_sts_policies folder` prints the folder; without it, docs/policies.md is printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pulumi_policy import StackValidationPolicy

from pulumi_mta_sts_policies import RULES, THEMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pulumi_policy import Policy

_TOP = """\
# The policy pack

Rules for any Pulumi stack that publishes MTA-STS, whatever made it: objects of any store whose key ends in
`.well-known/mta-sts.txt`, records at Cloudflare and Route 53, CloudFront distributions. This page is made by
`python -m pulumi_mta_sts_policies` from the rules; a test compares them.

From a checkout:

```
pulumi preview --policy-pack policies
```

In another project, without one (`pulumi-mta-sts[policies]` installed beside Pulumi's Python SDK):

```
pulumi preview --policy-pack "$(python -m pulumi_mta_sts_policies folder)"
```

A rule is switched, and set, in a file given with `--policy-pack-config`:

```json
{
  "protected": "mandatory",
  "policy-clean": "disabled",
  "policy-max-age": {"enforcementLevel": "mandatory", "maximum": 2419200}
}
```

What to know:

- *Mandatory* stops the update, *advisory* is shown. Rules on a resource are judged before that resource is changed;
  rules on the stack in every preview, and at the end of an update: run the preview, and let it decide.
- What a preview can't know yet is never taken for good or bad: the rule says that it can't run, and the update judges.
  Everything else is judged all the same.
- A pack sees what is declared. It sees no deletion, no live record and no policy served before; `mta-sts review` does.
- What our own component makes is not asked for evidence or protection here: the component judges both before it
  registers anything, by the policies already served.
- The id of a stack of others is opaque: `id-matches-policy` judges ids that the object's metadata states (`sts-id`),
  `id-from-content` names the others.
"""


def folder() -> Path:
    """Return the folder with PulumiPolicy.yaml: the one in the installed package, or the checkout's."""
    package = Path(__file__).resolve().parent
    installed = package / "pack"
    return installed if installed.is_dir() else package.parent


def markdown() -> str:
    """Return docs/policies.md."""
    lines = [_TOP, "## The rules", ""]
    lines += ["| rule | demands | judged on | level | severity | reference |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [_row(rule) for rule in RULES]
    for theme in THEMES:
        lines += ["", f"## {(theme.__doc__ or '').strip().rstrip('.')}"]
        for rule in theme.RULES:
            lines += ["", f"### {rule.name}", "", f"{rule.description} {rule.remediation_steps}", *_settings(rule)]
    return "\n".join(lines) + "\n"


def _row(rule: Policy) -> str:
    judged = "stack" if isinstance(rule, StackValidationPolicy) else "resource"
    level, severity = getattr(rule.enforcement_level, "value", ""), getattr(rule.severity, "value", "")
    reference = f"{rule.framework.name} {rule.framework.reference}" if rule.framework else ""
    return f"| [`{rule.name}`](#{rule.name}) | {rule.description} | {judged} | {level} | {severity} | {reference} |"


def _settings(rule: Policy) -> Iterable[str]:
    if rule.config_schema is None:
        return
    yield from ["", "| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, schema in rule.config_schema.properties.items():
        yield f"| `{name}` | {schema['type']} | `{json.dumps(schema['default'])}` | {schema['description']} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the page, or the folder."""
    parser = argparse.ArgumentParser(
        prog="python -m pulumi_mta_sts_policies", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("what", nargs="?", choices=["folder"], help="print the folder that --policy-pack takes")
    print(f"{folder()}\n" if parser.parse_args(arguments).what else markdown(), end="")


if __name__ == "__main__":
    main()
