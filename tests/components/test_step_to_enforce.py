"""The gate before enforce in the component: what the bucket says is served now decides whether evidence is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pulumi_mta_sts import JudgedHost, MtaSts, judge

from tests.components.mocked import World, deploy, refusal
from tests.components.test_judgement import ALONE, GOOD
from tests.mta_sts.report_samples import POLICY, report
from tests.mta_sts.test_evidence import SENDERS, build, signed

if TYPE_CHECKING:
    from pathlib import Path

ENFORCE = GOOD | {"mode": "enforce", "mx": ["mx1.example.com", "mx2.example.com"]}
REASON = "the vendor has seen a month of reports"


def serve(world: World, body: str = POLICY) -> None:
    """Let the bucket hold a policy."""
    world.versions["example.com"] = ("v1", {"sts-id": "20260101"})
    world.bodies["example.com"] = body.encode()


@pytest.fixture
def evidence(tmp_path: Path) -> dict[str, Any]:
    """Return evidence from clean reports of the last eight days."""
    today = datetime.now(UTC).date()
    for back in range(1, 9):
        day = (today - timedelta(days=back)).isoformat()
        for sender in SENDERS:
            (tmp_path / f"{day}-{sender}.eml").write_bytes(signed(report(day=day, organization=sender), sender))
    return build(tmp_path)


def refused(world: World, *domains: dict[str, Any]) -> tuple[str, list[str]]:
    """Return message and paths with which domains are refused together, in preview and in update alike."""

    def program() -> None:
        judge(domains, JudgedHost("policies"))

    previewed = refusal(world, program, preview=True)
    assert previewed == refusal(world, program)
    return previewed


def test_the_step_is_refused_without_evidence_and_nothing_is_registered(world: World) -> None:
    """By the program and by the component alone; the message says since when, and when it could be there."""
    serve(world)
    message, paths = refused(world, ENFORCE)
    assert ["domains[0].mode"] == paths
    assert "in testing since" in message
    _, alone = refusal(world, lambda: MtaSts("mail", ALONE | {"mode": "enforce"}))
    assert ["mode"] == alone


def test_a_domain_that_is_served_in_enforce_needs_none(world: World) -> None:
    """Its changes are no step."""
    serve(world, POLICY.replace("testing", "enforce"))
    run = deploy(world, lambda: MtaSts("mail", ENFORCE | {"mx": ["mx1.example.com"]}))
    assert [] == [warning for warning in run.warnings if "[mx-kept]" not in warning]


def test_evidence_lets_it_pass_and_preview_shows_what_it_is(world: World, evidence: dict[str, Any]) -> None:
    """With whose word it is; also with its numbers as another language sends them."""
    serve(world)
    floats = evidence | {"sessions": {key: float(number) for key, number in evidence["sessions"].items()}}
    for given in (evidence, floats):
        run = deploy(world, lambda given=given: MtaSts("mail", ENFORCE | {"evidence": given}), preview=True)
        (shown,) = run.warnings
        assert "80 sessions, 2 senders, 8 days, told by one.example; two.example" in shown
        assert "mode: enforce" in run["mail-policy"].inputs["content"]


def test_an_acknowledgement_passes_and_is_shown_in_preview(world: World) -> None:
    """The reviewer reads the reason, and what it overrides."""
    serve(world)
    (warning,) = deploy(world, lambda: MtaSts("mail", ENFORCE | {"acknowledge": REASON}), preview=True).warnings
    assert REASON in warning
    assert "evidence-missing" in warning


def test_the_plan_shows_what_enforce_rests_on(world: World, evidence: dict[str, Any]) -> None:
    """As inputs of the component itself, which a review reads: the reason, and what the evidence counts."""
    serve(world)
    for given in ({"acknowledge": REASON}, {"evidence": evidence}):
        run = deploy(world, lambda given=given: MtaSts("mail", ENFORCE | given), preview=True)
        shown = {"evidence": evidence["window"]} if "evidence" in given else given
        assert {"domain": "example.com", **shown} == run["mail"].inputs


def test_edited_evidence_is_refused_in_spite_of_a_reason(world: World, evidence: dict[str, Any]) -> None:
    """The digest shows it."""
    serve(world)
    edited = evidence | {"sessions": {"successful": 10_000, "failed": 0}}
    message, paths = refused(world, ENFORCE | {"evidence": edited, "acknowledge": REASON})
    assert ["domains[0].evidence.digest"] == paths
    assert "changed after it was written" in message


def test_where_the_bucket_can_not_be_read_only_that_is_said(world: World) -> None:
    """Not knowing what is served is no reason to speak of evidence."""
    world.failing["s3"] = "AccessDenied"
    _, paths = refused(world, ENFORCE)
    assert ["host.bucket"] == paths
