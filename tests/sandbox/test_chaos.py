"""The campaign in short: it must find no harm in our changes, and find it in those of the usual style."""

from __future__ import annotations

import json
import re

import pytest

from sandbox.chaos.__main__ import main
from sandbox.chaos.campaign import Life, judge, witness
from sandbox.chaos.changes import CHANGES

pytestmark = pytest.mark.engine


def test_the_short_campaign_finds_no_harm_but_in_the_usual_style(capsys: pytest.CaptureFixture[str]) -> None:
    """Interrupted at two places, retried and rolled back: no sender refuses, is locked in or loses protection."""
    code = main(["--short"])
    said = capsys.readouterr().out
    assert 0 == code, said
    assert re.search(r"([1-9]|1\d) of them interrupted.* 0 refused, 0 locked in, 0 downgraded", said.replace("\n", " "))
    assert re.search(r"In the usual style: [1-9]\d* refused, [1-9]\d* locked in", said)
    assert re.search(r"[1-9][\d,]+ deliveries, 0 refused, 0 locked in; in the usual style: [1-9]\d* refused", said)


def test_there_are_forty_different_changes() -> None:
    """By name, by domain, and by what they declare."""
    assert len(CHANGES) >= 40
    assert len(CHANGES) == len({change.name for change in CHANGES}) == len({change.domain for change in CHANGES})
    declared = {
        json.dumps([change.before, change.after, change.standing, change.by_hand], sort_keys=True) for change in CHANGES
    }
    assert len(CHANGES) == len(declared)


def test_the_cells_of_the_host_have_every_change_that_changes_it() -> None:
    """Whether a domain comes or goes: its name enters or leaves the certificate and the distribution."""
    assert all(change.is_long for change in CHANGES if change.before is None or change.after is None)


def test_judges_that_see_harm_say_so() -> None:
    """A life in which the only MX host goes with nothing left is refused mail, by ours and by the independent one."""
    body = "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmax_age: 864000\n"
    events = [
        [-86_400, "mx", ["mx1.example.com"], 300],
        [-86_400, "policy", body, 0],
        [-86_400, "txt", "v=STSv1; id=id1;", 300],
        [10, "mx", ["mx2.example.com"], 300],
    ]
    life = Life("x", "none", "nothing", 0.0, tuple(json.dumps(event) for event in events), complete=True, stopped=False)
    assert judge(life).refused > 0
    assert witness(life).refused > 0
