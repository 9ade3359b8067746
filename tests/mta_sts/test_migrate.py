"""`mta-sts migrate`: the dated steps of replacing all MX hosts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mta_sts.cli import main
from mta_sts.domain_config import resolve_domain
from mta_sts.migration import MigrationStep, migration

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KNOWN = timedelta(seconds=300 + 420)
"""TTL of the record, and a fetch with its pause after a failed one."""
MANAGED = {
    "domain": "example.com",
    "mode": "enforce",
    "acknowledge": "seen",
    "max_age": 1_209_600,
    "manage_mx": True,
    "mx": [{"host": "mx1.example.com", "preference": 10}],
    "reports": "mailto:tls-reports@example.com",
}


def steps(config: dict[str, Any], meanwhile: int = 86_400) -> list[MigrationStep]:
    """Return the steps to mx3."""
    return migration(resolve_domain(config), ["mx3.example.com"], NOW, meanwhile)


def after(found: list[MigrationStep]) -> list[timedelta]:
    """Return when each step is due, counted from now."""
    return [step.when - NOW for step in found]


def test_enforce_with_a_long_max_age_is_lowered_first_and_raised_last() -> None:
    """The former policy ends its max_age after the last moment that its id was visible; then the short one counts."""
    found = steps(MANAGED)
    lowered = KNOWN + 14 * DAY
    done = lowered + KNOWN + DAY
    forgotten = done + KNOWN  # the MX records have the same TTL
    assert [timedelta(0), lowered, done, done, forgotten, forgotten] == after(found)
    assert [
        {"max_age": 86_400},
        {"mx": [{"host": "mx3.example.com", "preference": 10}]},
        {},
        {},
        {},
        {"max_age": 1_209_600},
    ] == [step.declare for step in found]


def test_a_short_max_age_is_left_alone() -> None:
    """Nothing to lower: the hosts change at once, and the former go when no policy that lists only them can be held."""
    gone = KNOWN + DAY
    assert [timedelta(0), gone, gone, gone + KNOWN] == after(steps(MANAGED | {"max_age": 86_400}))


def test_in_testing_no_host_is_needed_once_the_new_ones_are_known() -> None:
    """Nobody refuses: only DNS has to be known."""
    found = steps(MANAGED | {"mode": "testing"})
    assert [timedelta(0), KNOWN + timedelta(seconds=300), KNOWN + timedelta(seconds=300)] == after(found)


def test_where_an_update_may_not_wait_so_long_the_records_come_with_a_later_one() -> None:
    """As the component holds them back, with its date."""
    found = steps(MANAGED | {"max_age": 86_400, "txt_ttl": 3600})
    late = timedelta(seconds=3600 + 420)
    assert [timedelta(0), late, late + DAY, late + DAY, late + DAY + KNOWN] == after(found)
    assert "wait_limit" in found[1].why


def test_mx_records_of_others_are_changed_by_hand_in_the_same_order() -> None:
    """Patterns first, then the records, then the former records, then the former patterns."""
    found = steps({"domain": "example.com", "mx": ["mx1.example.com"]})
    assert ["`pulumi up`", "add MX records for mx3.example.com", "delete the MX records of mx1.example.com",
            "`pulumi up`"] == [step.do for step in found]  # fmt: skip
    assert {"mx": ["mx1.example.com", "mx3.example.com"]} == found[0].declare
    assert {"mx": ["mx3.example.com"]} == found[-1].declare
    enforced = steps({"domain": "example.com", "mx": ["mx1.example.com"], "mode": "enforce", "max_age": 86_400})
    assert [{"mx": ["mx3.example.com"]}, {}] == [step.declare for step in enforced[-2:]]
    assert KNOWN == enforced[-1].when - enforced[-2].when


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return a stack file."""
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(json.dumps({"config": {"mta-sts:domains": [MANAGED]}}), encoding="utf-8")
    return file


def test_the_command_prints_them(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As text and as JSON."""
    assert 0 == main(["migrate", "EXAMPLE.com", "--to", "mx3.example.com,mx4.example.com", "--stack", str(stack)])
    said = capsys.readouterr().out
    assert said.startswith("example.com: 6 steps;")
    assert 'mx: [{"host": "mx3.example.com", "preference": 10}, {"host": "mx4.example.com", "preference": 20}]' in said
    assert 0 == main(["migrate", "example.com", "--to", "mx3.example.com", "--stack", str(stack), "--json"])
    assert 6 == len(json.loads(capsys.readouterr().out)["steps"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["other.example", "--to", "mx3.example.com"], ["declares no other.example"]),
        (["example.com", "--to", "mx1.example.com"], ["mx1.example.com: declared already"]),
        (["example.com", "--to", "a_b.example,c..d"], ["a_b.example", "c..d"]),
        (["example.com", "--to", "mx3.example.com", "--max-age", "-1"], ["max_age"]),
        (["example.com", "--to", "*.example.net"], ["*.example.net"]),
    ],
)
def test_a_wrong_call_names_all_that_is_wrong(
    stack: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    """Exit code 64, and no traceback."""
    assert 64 == main(["migrate", *arguments, "--stack", str(stack)])
    said = capsys.readouterr().err
    assert [] == [word for word in words if word not in said]


def test_a_stack_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """By its path."""
    assert 64 == main(["migrate", "example.com", "--to", "mx3.example.com", "--stack", "nowhere"])
    assert "stacks/Pulumi.nowhere.yaml" in capsys.readouterr().err
