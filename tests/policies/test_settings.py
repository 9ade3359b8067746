"""What people may set: each rule's configuration, and the step to enforce."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mta_sts.evidence import write_evidence
from tests.mta_sts.report_samples import POLICY, report
from tests.mta_sts.test_evidence import SENDERS, build, signed
from tests.policies.stacks import BODY, ENFORCE, judge, ours, republish

if TYPE_CHECKING:
    from pathlib import Path

BY_REPORTS = POLICY.replace("testing", "enforce")


@pytest.mark.parametrize(
    ("body", "rule", "settings", "broken"),
    [
        (BODY, "policy-max-age", {"minimum": 604801.0}, True),
        (BODY, "policy-max-age", {"maximum": 604799.0}, True),
        (BODY.replace("604800", "3600"), "policy-max-age", {"minimum": 3600.0}, False),
        (BODY.replace("604800", "86400"), "policy-max-age-enforce", {}, False),
        (ENFORCE.replace("604800", "86400"), "policy-max-age-enforce", {}, True),
        (ENFORCE.replace("604800", "86400"), "policy-max-age-enforce", {"minimum": 86400.0}, False),
    ],
)
def test_the_limits_of_max_age_can_be_set(body: str, rule: str, settings: dict[str, Any], broken: bool) -> None:
    """Numbers arrive as floats."""
    stack = ours()
    republish(stack, body)
    assert broken == (rule in judge(stack, {rule: settings}).violations)


def test_an_edge_may_be_allowed_to_keep_a_policy() -> None:
    """For so many seconds, or by a cache policy that was made elsewhere."""
    stack = ours()
    behaviour = stack["distribution"].props["defaultCacheBehavior"]
    behaviour["cachePolicyId"] = "elsewhere"
    assert {"policy-host-caching"} == set(judge(stack).violations)
    assert {} == judge(stack, {"policy-host-caching": {"cachePolicies": ["elsewhere"]}}).violations
    del behaviour["cachePolicyId"]
    behaviour |= {"minTtl": 0.0, "defaultTtl": 300.0, "maxTtl": 300.0}
    assert {} == judge(stack, {"policy-host-caching": {"maximum": 300.0}}).violations
    assert {"policy-host-caching"} == set(judge(stack, {"policy-host-caching": {"maximum": 299.0}}).violations)


def test_reports_may_be_asked_for_elsewhere() -> None:
    """In another stack, say."""
    stack = ours()
    del stack["reports"]
    assert {} == judge(stack, {"tlsrpt-present": {"elsewhere": ["example.com"]}}).violations


def in_enforce(config: dict[str, Any], body: str = BY_REPORTS) -> list[str]:
    """Return what stands against enforce under a configuration of the rule."""
    stack = ours()
    republish(stack, body)
    found = judge(stack, {"enforce-evidence": config}).violations
    assert set(found) <= {"enforce-evidence"}
    return found.get("enforce-evidence", [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with evidence from clean reports of the last eight days."""
    today = datetime.now(UTC).date()
    reports = tmp_path / "reports"
    reports.mkdir()
    for back in range(1, 9):
        day = (today - timedelta(days=back)).isoformat()
        for sender in SENDERS:
            (reports / f"{day}-{sender}.eml").write_bytes(signed(report(day=day, organization=sender), sender))
    write_evidence(build(reports), tmp_path / "evidence" / "example.com.json")
    return tmp_path / "evidence"


def test_enforce_passes_on_evidence(folder: Path) -> None:
    """Of this domain and these MX hosts; without it, and about other hosts, it does not."""
    assert [] == in_enforce({"evidence": str(folder)})
    assert any("no evidence" in message for message in in_enforce({}))
    assert [] != in_enforce({"evidence": str(folder)}, BY_REPORTS.replace("mx: mx1.example.com", "mx: *.example.com"))
    assert [] != in_enforce({"evidence": str(folder), "thresholds": {"organizations": 50.0}})


def test_edited_evidence_is_refused(folder: Path) -> None:
    """Even with a reason."""
    file = folder / "example.com.json"
    file.write_text(file.read_text().replace('"days_with_reports": 8', '"days_with_reports": 80'))
    (message,) = in_enforce({"evidence": str(folder), "acknowledged": {"example.com": "a reason"}})
    assert "evidence-edited" in message


def test_enforce_passes_for_a_stated_reason_or_where_it_was_before() -> None:
    """Each by the domain's name; another's does not count."""
    assert [] == in_enforce({"acknowledged": {"example.com": "the vendor has seen a month of reports"}})
    assert [] == in_enforce({"enforcing": ["example.com"]})
    assert [] != in_enforce({"acknowledged": {"example.net": "a reason"}, "enforcing": ["example.net"]})
