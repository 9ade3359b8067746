"""The step to enforce: what must be known before a domain's mail can be held back.

Only the step needs evidence. A domain that is served in enforce has taken it; what the component derives from its
policy later (a retiring host dropped, a longer max_age) needs none.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from mta_sts.domain_config import DEFAULT_MAX_AGE
from mta_sts.evidence import (
    UNTESTED,
    Thresholds,
    check_evidence,
    check_form,
    ready_on,
    shown_window,
    whole_days,
)
from mta_sts.findings import Finding, Severity, errors
from mta_sts.policy import Mode, Policy, parse_policy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mta_sts.domain_config import DomainConfig
    from mta_sts.ledger import PolicyVersion


def check_step(
    config: DomainConfig,
    policy: Policy,
    versions: Sequence[PolicyVersion],
    now: datetime,
    served_as: str = "what is served now",
) -> list[Finding]:
    """Return what stands against publishing `policy` for a domain, and as warnings what a reviewer must see.

    `versions` are the policies served so far, newest first; `served_as` says how that is known.
    An acknowledgement turns every reason but a damaged evidence file into one warning.
    """
    if policy.mode is not Mode.ENFORCE:
        return []
    damaged = [_within(found) for found in ([] if config.evidence is None else check_form(config.evidence))]
    served = versions[0].policy if versions else None
    if damaged or (served and served.mode is Mode.ENFORCE):
        return damaged
    findings = _step(config, policy, versions, now, served_as)
    stopping = errors(findings)
    if not stopping and config.evidence:
        message = f"goes to enforce on {shown_window(config.evidence['window'])}. {UNTESTED}"
        return [*findings, Finding("enforce-on-evidence", "evidence", message, Severity.WARNING)]
    if not config.acknowledge:
        return findings
    message = (
        f"goes to enforce without evidence that is enough ({', '.join(sorted({one.rule for one in stopping}))}); "
        f"acknowledged: {config.acknowledge}"
    )
    seen = [finding for finding in findings if finding.severity is Severity.WARNING]
    return [*seen, Finding("enforce-acknowledged", "acknowledge", message, Severity.WARNING)]


def complete_on(evidence: Mapping[str, Any], in_testing: Policy, thresholds: Thresholds, today: date) -> date:
    """Return the first day on which evidence about what is in testing could be enough.

    That is if every failure is fixed and none comes after it; of evidence about another body nothing counts.
    """
    needed = timedelta(days=max(whole_days(in_testing.max_age), thresholds.days))
    if not _same(in_testing, _tested(evidence)):
        return today + needed
    failed = [date.fromisoformat(item["last_day"]) for item in evidence["failures"] if not item["explained"]]
    without_failures = ready_on(evidence, thresholds, today) or today + needed
    # A failure that is dated ahead was seen today at the latest.
    return max([without_failures, *(min(day, today) + timedelta(days=1) + needed for day in failed)])


def _step(
    config: DomainConfig, policy: Policy, versions: Sequence[PolicyVersion], now: datetime, served_as: str
) -> list[Finding]:
    if config.evidence is None:
        return [_missing(config, versions, now)]
    try:
        found = check_evidence(config.evidence, policy, Thresholds(**config.thresholds), now, domain=config.domain)
        tested = _tested(config.evidence)
    except ValueError as error:  # values that no form forbids, such as a 31st of February
        return [
            Finding("evidence-form", "evidence", f"can't be read ({error}): write it again with `mta-sts evidence`")
        ]
    findings = [_within(finding) for finding in found]
    served = versions[0].policy if versions else None
    if served is None:
        return findings
    if not _same(served, tested):
        message = (
            f"the evidence is about {_shown(tested)}, and {served_as} is {_shown(served)}: put what you want to "
            "enforce in testing, then collect reports about it"
        )
        return [*findings, Finding("evidence-other-body", "evidence.body", message)]
    in_testing = list(takewhile(lambda version: _mode(version) is Mode.TESTING, versions))
    if any(_mode(version) is Mode.ENFORCE for version in versions[len(in_testing) :]):
        returned = _day(in_testing[-1].written)
        findings += _check_since_return(config.evidence["window"]["last_day"], tested, returned, _today(now))
    return findings


def _missing(config: DomainConfig, versions: Sequence[PolicyVersion], now: datetime) -> Finding:
    served = versions[0].policy if versions else None
    today = _today(now)
    if served is None or served.mode is not Mode.TESTING:
        since = today
        state, max_age = "publish it with mode: testing first", DEFAULT_MAX_AGE[Mode.TESTING]
    else:
        since = _day([*takewhile(lambda version: version.policy == served, versions)][-1].written)
        state, max_age = f"it is in testing since {since}", served.max_age
    needed = timedelta(days=max(whole_days(max_age), Thresholds(**config.thresholds).days))
    earliest = max(since + needed, today)
    message = (
        "enforce makes senders hold back mail that fails the policy, and no evidence is attached that none does: "
        f"{state}; evidence can be there on {earliest} at the earliest, and `mta-sts promote {config.domain}` attaches "
        "it. Or state the reason in `acknowledge`"
    )
    return Finding("evidence-missing", "mode", message)


def _check_since_return(last_day: str | None, tested: Policy, returned: date, today: date) -> list[Finding]:
    """Refuse evidence from before the domain went back from enforce: why it went back is not in it."""
    complete = returned + timedelta(days=whole_days(tested.max_age))
    if last_day is not None and last_day >= complete.isoformat():
        return []
    message = (
        f"the domain went back from enforce to testing on {returned}, and the reports end on {last_day}: they must "
        f"cover one max_age since; that can be complete on {max(complete + timedelta(days=1), today)}"
    )
    return [Finding("evidence-before-return", "evidence.window", message)]


def _tested(evidence: Mapping[str, Any]) -> Policy:
    return parse_policy("\n".join(evidence["body"]["policy"]) + "\n")


def _same(one: Policy, other: Policy) -> bool:
    return (one.mode, set(one.mx), one.max_age) == (other.mode, set(other.mx), other.max_age)


def _shown(policy: Policy) -> str:
    return f"{policy.mode} with {', '.join(policy.mx)} and max_age {policy.max_age}"


def _today(now: datetime) -> date:
    return now.astimezone(UTC).date()


def _day(seconds: float) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()


def _mode(version: PolicyVersion) -> Mode | None:
    return version.policy.mode if version.policy else None


def _within(finding: Finding) -> Finding:
    return replace(finding, path=f"evidence.{finding.path}" if finding.path else "evidence")
