"""The step to enforce: which policy change needs evidence, what it must be about, and what a reason overrides."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from mta_sts import resolve_domain
from mta_sts.evidence import Explanation, Thresholds, evidence_digest
from mta_sts.findings import Finding, errors
from mta_sts.ledger import PolicyVersion
from mta_sts.policy import parse_policy
from mta_sts.promotion import check_step, complete_on
from tests.mta_sts.report_samples import DOMAIN, POLICY, failure, policy
from tests.mta_sts.test_evidence import build, clean_week, spoil

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)
PUBLISHED = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
DAY = 86_400
ENFORCED = POLICY.replace("testing", "enforce")
DECLARED: dict[str, Any] = {
    "domain": DOMAIN,
    "mx": ["mx1.example.com", "mx2.example.com"],
    "mode": "enforce",
    "reports": "mailto:tls@example.com",
}


@pytest.fixture
def evidence(tmp_path: Path) -> dict[str, Any]:
    """Return evidence of a clean week, which is enough."""
    clean_week(tmp_path)
    return build(tmp_path)


def version(body: str | None = POLICY, written: float = PUBLISHED) -> PolicyVersion:
    """Return one served policy."""
    return PolicyVersion(f"v{written:.0f}", {}, written, body)


def judge(*served: PolicyVersion, **declared: Any) -> list[Finding]:
    """Return what stands against what is declared, given what was served so far, newest first."""
    config = resolve_domain(DECLARED | declared)
    return check_step(config, config.policy, served, NOW)


def rules(findings: list[Finding]) -> list[str]:
    """Return the names of the errors."""
    return [finding.rule for finding in errors(findings)]


ON_EVIDENCE = ["enforce-on-evidence"]


def all_rules(findings: list[Finding]) -> list[str]:
    """Return the names of errors and warnings."""
    return [finding.rule for finding in findings]


def edited(evidence: dict[str, Any]) -> dict[str, Any]:
    """Return evidence with a number that somebody changed by hand."""
    return evidence | {"sessions": {"successful": 1000, "failed": 0}}


def test_enough_evidence_lets_the_step_pass(evidence: dict[str, Any]) -> None:
    """The body in testing, a clean week, and it is what was served: what it rests on is shown, and by whose word."""
    (shown,) = judge(version(), evidence=evidence)
    assert ("enforce-on-evidence", "warning") == (shown.rule, shown.severity)
    assert (
        "goes to enforce on evidence from 2026-03-01 to 2026-03-08: 80 sessions, 2 senders, 8 days, told by "
        "one.example; two.example. "
    ) in shown.message
    assert "a backup, is not tested by them" in shown.message


def test_only_the_step_needs_evidence() -> None:
    """A domain in testing needs none, nor one that is served in enforce, whatever is derived from that later."""
    assert [] == judge(version(), mode="testing")
    assert [] == judge(version(ENFORCED), version(), mx=["mx1.example.com"])


@pytest.mark.parametrize(
    ("served", "since", "earliest"),
    [
        ([version()], "in testing since 2026-03-01", "2026-03-09"),
        ([version(written=PUBLISHED + 2 * DAY), version()], "in testing since 2026-03-01", "2026-03-09"),
        (
            [version(written=PUBLISHED + 2 * DAY), version(POLICY.replace("mx2", "mx3"))],
            "in testing since 2026-03-03",
            "2026-03-10",
        ),
        ([version(POLICY.replace("604800", "864001"))], "in testing since 2026-03-01", "2026-03-12"),
        ([], "mode: testing first", "2026-03-16"),
        ([version(None)], "mode: testing first", "2026-03-16"),
        ([version(POLICY.replace("testing", "none"))], "mode: testing first", "2026-03-16"),
    ],
    ids=["testing", "the same twice", "changed since", "a day begun is a day", "never served", "deleted", "none"],
)
def test_without_evidence_the_refusal_says_when_it_can_be_there(
    served: list[PolicyVersion], since: str, earliest: str
) -> None:
    """Counted from the day on which what is served now was published; a week is needed at least; never in the past."""
    (finding,) = judge(*served)
    assert ("evidence-missing", "mode") == (finding.rule, finding.path)
    assert since in finding.message
    assert f"{earliest} at the earliest" in finding.message


def test_everything_that_evidence_lacks_is_named_with_its_place(tmp_path: Path) -> None:
    """Too short, and a failure: both are said, as parts of the domain's `evidence`."""
    clean_week(tmp_path, 5)
    spoil(tmp_path, policy(failed=1, details=[failure()]))
    found = judge(version(), evidence=build(tmp_path))
    assert {"evidence-failure", "evidence-short", "evidence-few-days"} == set(rules(found))
    assert {"evidence.certificate-expired@mx2.example.com", "evidence.window"} == {each.path for each in found}


def test_thresholds_are_the_domain_s_own(evidence: dict[str, Any]) -> None:
    """A stack that asks for more organizations gets a refusal."""
    assert ["evidence-few-organizations"] == rules(judge(version(), evidence=evidence, thresholds={"organizations": 3}))


@pytest.mark.parametrize(
    "served",
    [POLICY.replace("604800", "86400"), POLICY + "mx: mx3.example.com\n", POLICY.replace("testing", "none")],
    ids=["max_age", "an MX more", "not in testing"],
)
def test_evidence_is_about_what_is_served_now(evidence: dict[str, Any], served: str) -> None:
    """Reports about an earlier body prove nothing about the one that is there now."""
    (finding,) = errors(judge(version(served), version(), evidence=evidence))
    assert ("evidence-other-body", True) == (finding.rule, "what is served now" in finding.message)


def test_evidence_may_come_from_where_the_domain_was_before(evidence: dict[str, Any]) -> None:
    """Nothing served here yet: the body in testing stood elsewhere."""
    assert ON_EVIDENCE == all_rules(judge(evidence=evidence))


def test_after_the_brake_old_evidence_counts_no_more(evidence: dict[str, Any]) -> None:
    """Back from enforce to testing: reports must cover one max_age since; those from before passed once already."""
    back = version(written=PUBLISHED + 4 * DAY)
    (finding,) = errors(judge(back, version(ENFORCED), version(), evidence=evidence))
    assert "evidence-before-return" == finding.rule
    assert "2026-03-13" in finding.message
    long_ago = version(written=PUBLISHED - 60 * DAY)
    unread = evidence | {"window": evidence["window"] | {"last_day": "2026-01-02"}}
    (finding,) = [
        each
        for each in judge(long_ago, version(ENFORCED), evidence=unread | {"digest": evidence_digest(unread)})
        if each.rule == "evidence-before-return"
    ]
    assert "2026-03-09" in finding.message
    early = version(written=PUBLISHED)
    assert ON_EVIDENCE == all_rules(judge(early, version(ENFORCED, PUBLISHED - DAY), evidence=evidence))
    again = version(written=PUBLISHED + 6 * DAY)  # published once more, as with a new epoch
    assert ON_EVIDENCE == all_rules(judge(again, early, version(ENFORCED, PUBLISHED - DAY), evidence=evidence))


def test_a_file_edited_by_hand_is_refused_whatever_is_acknowledged(evidence: dict[str, Any]) -> None:
    """Also where the domain enforces already: the file lies about what was seen."""
    for served in (version(), version(ENFORCED)):
        assert ["evidence-edited"] == rules(judge(served, evidence=edited(evidence), acknowledge="we looked"))


def test_a_form_that_no_reports_give_is_refused_in_words(evidence: dict[str, Any]) -> None:
    """Sealed again by hand, with a day that does not exist, or a body that is none: no traceback."""
    for wrong in (
        {"window": evidence["window"] | {"last_day": "2026-02-31"}},
        {"body": evidence["body"] | {"policy": ["version: STSv1", "mode: testing", "max_age: x"]}},
    ):
        forged = evidence | wrong
        assert ["evidence-form"] == rules(judge(version(), evidence=forged | {"digest": evidence_digest(forged)}))


def test_an_acknowledgement_overrides_and_is_shown(tmp_path: Path) -> None:
    """One warning with what it overrides and the reason; without need of it nothing is said."""
    (finding,) = judge(version(), acknowledge="the vendor has seen a month of reports")
    assert ("enforce-acknowledged", "warning") == (finding.rule, finding.severity)
    assert "evidence-missing" in finding.message
    assert "the vendor has seen a month of reports" in finding.message
    clean_week(tmp_path, 3)
    (finding,) = judge(version(), evidence=build(tmp_path), acknowledge="we looked")
    assert "evidence-few-days, evidence-short" in finding.message
    spoil(tmp_path, policy(failed=1, details=[failure()]), day="2026-03-02")
    explained = build(tmp_path, Explanation("certificate-expired", "", "known"))
    assert ["evidence-explained", "enforce-acknowledged"] == [
        each.rule for each in judge(version(), evidence=explained, acknowledge="we looked")
    ]
    (tmp_path / "spoiler.eml").unlink()
    clean_week(tmp_path)
    assert ON_EVIDENCE == all_rules(judge(version(), evidence=build(tmp_path), acknowledge="we looked"))


def test_the_day_on_which_evidence_can_be_complete(tmp_path: Path) -> None:
    """After what is missing of the window; from the day after an open failure; without reports from today."""
    today = date(2026, 3, 9)

    def complete(*explanations: Explanation, body: str = POLICY, on: date = date(2026, 3, 6)) -> date:
        return complete_on(build(tmp_path, *explanations), parse_policy(body), Thresholds(), on)

    assert date(2026, 3, 16) == complete(on=today)
    clean_week(tmp_path, 5)
    assert date(2026, 3, 8) == complete()
    assert today == complete(on=today)
    assert date(2026, 3, 16) == complete(body=POLICY.replace("604800", "500000"), on=today)
    assert date(2026, 3, 17) == complete(body=POLICY.replace("604800", "604801"), on=today)
    spoil(tmp_path, policy(failed=1, details=[failure()]))
    assert date(2026, 3, 13) == complete()
    fixed = Explanation("certificate-expired", "", "renewed", date(2026, 3, 5))
    assert date(2026, 3, 13) == complete(fixed)
    spoil(tmp_path, policy(failed=1, details=[failure()]), day="2199-04-30")
    assert date(2026, 3, 17) == complete(on=today)
