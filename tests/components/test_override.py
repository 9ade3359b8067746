"""A change that can't be proved goes on only where the configuration answers for that very change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pulumi_mta_sts import JudgedHost, MtaSts, judge

from tests.components.mocked import World, deploy, refusal
from tests.components.test_brake import ENFORCED, UNPROVED, denied, live, stray

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGE = ENFORCED | {"max_age": 604_800}
REASON = "read with the console by A. Person, 2026-11-26"


def emptied(world: World) -> None:
    """Empty the bucket."""
    world.versions.clear()


def printed(message: str) -> dict[str, Any]:
    """Return what a refusal prints to put into the declaration."""
    block = re.search(r"^    override:\n(      .*\n?)+", message, re.MULTILINE)
    assert block
    override: dict[str, Any] = yaml.safe_load(block[0])["override"]
    return override | {"reason": REASON}


@pytest.mark.parametrize("wrong", [*UNPROVED, emptied], ids=lambda wrong: wrong.__name__)
def test_the_refusal_prints_what_lets_this_change_go_on(world: World, wrong: Callable[[World], None]) -> None:
    """As it is printed, for this change: the warning has the rules and the reason; another change is refused again."""
    live(world)
    wrong(world)
    message, _ = refusal(world, lambda: MtaSts("mail", CHANGE))
    rule = message.partition("]")[0].rpartition("[")[2]
    override = printed(message)
    run = deploy(world, lambda: MtaSts("mail", CHANGE | {"override": override}))
    assert override["change"] in run["mail-sts-record"].inputs["content"]
    (said,) = [warning for warning in run.warnings if "[change-overridden]" in warning]
    assert REASON in said
    assert rule in said
    assert any(f"[{rule}]" in warning for warning in run.warnings)
    other, _ = refusal(world, lambda: MtaSts("mail", CHANGE | {"max_age": 700_000, "override": override}))
    assert override["change"] != printed(other)["change"]


def test_what_speaks_against_a_change_is_not_overridden(world: World) -> None:
    """Only a lack of proof is: a stray MX would be passed by, whoever answers for it."""
    live(world)
    denied(world)
    override = printed(refusal(world, lambda: MtaSts("mail", CHANGE))[0])
    stray(world)
    message, _ = refusal(world, lambda: MtaSts("mail", CHANGE | {"override": override}))
    assert "[record-in-the-way]" in message
    assert "ledger" not in message
    assert "override" not in message


def test_a_domain_that_nobody_answers_for_is_refused_beside_one_that_is(world: World) -> None:
    """The bucket is one and can't be read; each domain has its own line."""
    live(world)
    denied(world)
    override = printed(refusal(world, lambda: MtaSts("mail", CHANGE))[0])
    domains = [CHANGE | {"override": override}, ENFORCED | {"domain": "b.example.com"}]
    message, paths = refusal(world, lambda: judge(domains, JudgedHost("policies")))
    assert ["host.bucket"] == paths
    assert "b.example.com" in message
    assert override["change"] not in message


@pytest.mark.parametrize(
    ("wrong", "change", "words"),
    [
        (None, CHANGE, "nothing stands against that"),
        (None, ENFORCED, "nothing changes"),
        (None, CHANGE | {"max_age": 700_000}, "this update publishes "),
        (denied, ENFORCED, "nothing changes"),
    ],
)
def test_an_override_without_effect_says_so(
    world: World, wrong: Callable[[World], None] | None, change: dict[str, Any], words: str
) -> None:
    """It is made already, it is for another change, or proof is there again: a warning, until it is taken out."""
    live(world)
    override = {"change": deploy(world, lambda: MtaSts("mail", CHANGE))["mail-policy"].inputs["metadata"]["sts-id"]}
    if wrong:
        wrong(world)
    run = deploy(world, lambda: MtaSts("mail", change | {"override": override | {"reason": REASON}}))
    (said,) = [warning for warning in run.warnings if "override" in warning]
    assert "[override-unused]" in said
    assert words in said
