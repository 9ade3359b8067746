"""`make review`: what `mta-sts review` says of real plans, of a safe change and of unsafe ones."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mta_sts.review.markdown import to_markdown
from mta_sts.review.plan import read_plan
from mta_sts.review.verdict import Grade, Review, review
from mta_sts.review.writers import to_text
from sandbox.usual_styles import STYLES, ZONE, Style, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sandbox.deployment import Deployment
    from sandbox.world.client import World

EXAMPLE = Path(__file__).resolve().parent.parent / "docs" / "review-example.md"
OURS = "component"
"""The name of the plan in which our component makes the same changes."""
_DAY = 86_400
_SETTLED = 2 * _DAY
"""Seconds that pass before a change is planned: then no sender holds anything older."""
_NO_USE = ("stackTrace", "sourcePosition")
_SHOWN = "mx-in-parallel"
_PREAMBLE = """\
# What a review looks like

`make review` writes this page: two plans of the real Pulumi engine for the same change, an MX host that is replaced.
The first is of a program in a usual style, the second of this project's component.
"""


class UnexpectedError(RuntimeError):
    """A verdict that is not the one that it should be."""


def declared(style: Style, wanted: Wanted) -> dict[str, Any]:
    """Return what a style wants as our component takes it."""
    mx = [{"host": host, "preference": 10 * place} for place, host in enumerate(wanted.hosts, 1)]
    # A domain that wants no policy any more begins by taking it back.
    mode, max_age = (wanted.mode, wanted.max_age) if wanted.mode else ("none", _DAY)
    config = {"domain": style.domain, "mode": mode, "max_age": max_age, "mx": mx, "manage_mx": True}
    config["reports"] = f"mailto:tls-reports@{ZONE}"
    return config | ({"acknowledge": "seen elsewhere"} if mode == "enforce" else {})


def record_usual(world: World, folder: Path, styles: Sequence[Style] = STYLES) -> Iterator[Path]:
    """Deploy each style, plan its change, and yield the plan."""
    for style in styles:
        config = folder / f"Pulumi.{style.name}.yaml"
        config.write_text("config:\n  aws:region: eu-west-1\n", encoding="utf-8")
        _up(_deployment(world, style.program(style.before), style.name, config))
        world.advance(_SETTLED)
        yield _planned(
            _deployment(world, style.program(style.after), style.name, config), folder / f"{style.name}.json"
        )


def record_ours(world: World, folder: Path, styles: Sequence[Style] = STYLES) -> Path:
    """Deploy our component for the same domains, and return the plan of the same changes."""
    _up(_ours(world, folder, [declared(style, style.before) for style in styles]))
    world.advance(_SETTLED)
    return _planned(_ours(world, folder, [declared(style, style.after) for style in styles]), folder / f"{OURS}.json")


def _ours(world: World, folder: Path, domains: list[dict[str, Any]]) -> Deployment:
    config = folder / "Pulumi.sandbox.yaml"
    settings = {"aws:region": "eu-west-1", "aws:allowedAccountIds": ["111111111111"], "mta-sts:domains": domains}
    config.write_text(yaml.safe_dump({"config": settings}), encoding="utf-8")
    return _deployment(world, None, "sandbox", config)


def _deployment(world: World, program: Callable[[], None] | None, stack: str, config: Path) -> Deployment:
    from sandbox.deployment import ROOT, Deployment  # noqa: PLC0415  heavy

    return Deployment(world, program or ROOT, stack=stack, config=config)


def _up(deployment: Deployment) -> None:
    made = deployment.up()
    if not made.ok:
        raise UnexpectedError(made.errors)


def _planned(deployment: Deployment, file: Path) -> Path:
    """Record a plan, without what names this machine's files."""
    planned = deployment.preview_json(file)
    if not planned.ok:
        raise UnexpectedError(planned.errors)
    document = _slim(json.loads(file.read_text(encoding="utf-8")))
    document["diagnostics"] = [each for each in document["diagnostics"] if "from $PATH" not in each["message"]]
    file.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    return file


def _slim(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _slim(each) for key, each in value.items() if key not in _NO_USE}
    return [_slim(each) for each in value] if isinstance(value, list) else value


def show(folder: Path, say: Callable[[str], None], comments: Path | None = None) -> None:
    """Record every plan, show what is said of each, and write the example; raises UnexpectedError.

    `comments` is a folder that gets each plan and the comment on it, and on each domain of our component's.
    """
    from sandbox.world.client import World  # noqa: PLC0415  heavy

    say("Deploying six programs in usual styles, and planning a change of each")
    with World(folder / "usual") as world:
        plans = list(record_usual(world, folder))
    say("Deploying our component for the same domains, and planning the same changes")
    with World(folder / "ours") as world:
        plans.append(record_ours(world, folder))
        now = datetime.fromtimestamp(world.now(), UTC).replace(microsecond=0)
    for plan in plans:
        found = review([read_plan(plan.stem, plan.read_bytes())])
        expect(plan.stem, found)
        say(f"\n--- {plan.stem} ---\n{to_text(found, now)}")
        if comments is not None:
            write_comments(comments, plan.stem, found, now)
            shutil.copy(plan, comments)
    by_name = {plan.stem: plan for plan in plans}
    pages = [_PREAMBLE]
    for title, name in (("An unsafe change", _SHOWN), ("A safe change", OURS)):
        found = review([read_plan(name, by_name[name].read_bytes())])
        pages.append(f"## {title}\n\n{to_markdown(_only(found, f'{_SHOWN}.{ZONE}'), now, 'review.md')}")
    text = "\n".join(pages)
    if not EXAMPLE.exists() or _alike(EXAMPLE.read_text(encoding="utf-8")) != _alike(text):
        EXAMPLE.write_text(text, encoding="utf-8")
        say(f"{EXAMPLE.name} is written anew")


def expect(name: str, found: Review) -> None:
    """Raise UnexpectedError where a plan is not called what it is, for its own reason."""
    faults = {style.name: style.fault for style in STYLES}
    wanted = (Grade.SAFE, "") if name == OURS else (Grade.UNSAFE, faults[name])
    reasons = [reason.rule for domain in found.domains for reason in domain.reasons]
    said = (found.grade, reasons[0] if reasons else "")
    if said != wanted:
        raise UnexpectedError(
            f"{name} is called {' for '.join(filter(None, said))}, and should be {' for '.join(filter(None, wanted))}"
        )


def write_comments(folder: Path, name: str, found: Review, now: datetime) -> None:
    """Write the comment on a plan; of one with many domains also the comment on each alone."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: found}
    if len(found.domains) > 1:
        parts |= {f"{name}-{one.domain}": _only(found, one.domain) for one in found.domains}
    for each, part in parts.items():
        (folder / f"{each}.md").write_text(to_markdown(part, now), encoding="utf-8")


def _only(found: Review, domain: str) -> Review:
    """Return what a review says of one domain."""
    return replace(found, domains=[each for each in found.domains if each.domain == domain])


def _alike(text: str) -> str:
    """Return a page without what is another in each run: ids and dates."""
    return re.sub(r"\b[a-z0-9]{32}\b|\d{4}-\d\d-\d\d[ T]\d\d:\d\d", "…", text)
