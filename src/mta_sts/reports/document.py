"""A summary as one document: plain values in a stable order, which every writer shows and `--json` prints."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mta_sts.findings import MtaStsError
from mta_sts.identifier import content_id
from mta_sts.policy import parse_policy, render_policy
from mta_sts.reports.parse import RESULT_TYPES, UNKNOWN_RESULT
from mta_sts.reports.summary import Group, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mta_sts.reports.summary import GroupKey, Summary

WARNINGS = {
    "bytes-after-gzip": "there is more after the compressed report; it was left out",
    "count-spelling": "a number is written as text or with a decimal point",
    "date-range-long": "the report covers more than a month; its sessions count for the first day",
    "detail-count-unknown": "a failure detail has no usable count; it counts as one session",
    "details-exceed-total": "one failure detail exceeds the total of failed sessions; the detail counts",
    "failure-count-unknown": "the number of failed sessions is missing or makes no sense: it is unknown, not 0",
    "mbox-not-stated": "the mail may have been written into another one of its mbox file, so its DKIM result does "
    "not count; where the file quotes the lines of its mails that begin with From, give it as mbox:PATH",
    "no-organization-name": "the sender does not name itself",
    "no-policy-domain": "a policy names no domain; the mail's TLS-Report-Domain counts, if there is one",
    "no-policy-string": "sessions under an unnamed MTA-STS policy: they say nothing about any body",
    "no-report-id": "the report has no id; copies are told by their content",
    "policy-string-spelling": "policy-string is not a list of text",
    "policy-type-spelling": "a policy type is written in an unusual way",
    "policy-type-unknown": "a policy type that RFC 8460 does not know; it is no evidence for MTA-STS",
    "result-type-spelling": "a result type is written in an unusual way",
    "result-type-unknown": "a result type that RFC 8460 does not know; it counts as a failure",
    "successful-count-unknown": "the number of successful sessions is missing or makes no sense; it counts as 0",
}
"""What each warning of the reader means."""


@lru_cache(maxsize=1024)
def known_body(text: str) -> tuple[str, str] | None:
    """Return content id and canonical text of a policy as a sender quotes it, or None where it is not valid.

    Bodies are compared by meaning: senders change line ends and the order of lines in `policy-string`.
    """
    try:
        body = render_policy(parse_policy(text.rstrip("\n") + "\n"))
    except MtaStsError:
        return None
    return content_id(body), body.decode()


def advice(result_type: str) -> str:
    """Return what the operator should do about a result type."""
    return RESULT_TYPES.get(result_type, UNKNOWN_RESULT)


def document(summary: Summary) -> dict[str, Any]:
    """Return the summary as plain values; policy bodies of equal meaning are one."""
    merged: dict[tuple[str, str, str], _Policy] = {}
    for key, group in sorted(summary.groups.items()):
        known = known_body(key.body) if key.body else None
        identity = (key.domain, key.policy_type, known[0] if known else key.body)
        policy = merged.setdefault(identity, _Policy(known, key.body))
        policy.add(key, group)
    domains: dict[str, list[dict[str, Any]]] = {}
    for (domain, policy_type, _), policy in sorted(merged.items(), key=lambda item: (not item[0][0], item[0])):
        domains.setdefault(domain, []).append(policy.plain(policy_type))
    return {
        "version": 1,
        "read": {
            "files": summary.files,
            "reports": summary.reports,
            "duplicates": summary.duplicates,
            "other_domains": summary.other_domains,
            "conflicts": summary.conflict_count,
        },
        "origin": summary.origin,
        "domains": [{"domain": domain, "policies": policies} for domain, policies in domains.items()],
        "conflicts": [conflict._asdict() for conflict in summary.conflicts],
        "warnings": [
            {"name": name, "count": warned.count, "example": warned.example, "meaning": WARNINGS[name]}
            for name, warned in sorted(summary.warnings.items())
        ],
        "unreadable": [item._asdict() for item in summary.unreadable],
    }


class _Policy:
    """All that is known of one domain, policy type and body, signed and unsigned."""

    def __init__(self, known: tuple[str, str] | None, quoted: str) -> None:
        self._known = known
        self._quoted = quoted
        self._all = Group()
        self._signed = Tally()

    def add(self, key: GroupKey, group: Group) -> None:
        self._all.merge(deepcopy(group))  # merging takes the other's parts over
        if key.signed:
            self._signed.merge(group.tally)

    def plain(self, policy_type: str) -> dict[str, Any]:
        body = self._known[1] if self._known else self._quoted
        group = self._all
        days = sorted(group.days)
        return {
            "type": policy_type,
            "body": self._known[0] if self._known else None,
            "policy": body.splitlines() if body else None,
            **_sessions(group.tally),
            "signed": _sessions(self._signed),
            "first_day": days[0],
            "last_day": days[-1],
            "days": [{"day": day, **_sessions(group.days[day])} for day in days],
            "organizations": [
                {
                    "name": who.organization,
                    "signed_by": who.signer or None,
                    **_sessions(sender.tally),
                    "first_day": sender.first_day,
                    "last_day": sender.last_day,
                }
                for who, sender in sorted(group.senders.items())
            ],
            "failures": [
                {
                    **key._asdict(),
                    "sessions": failure.sessions,
                    "first_day": failure.first_day,
                    "last_day": failure.last_day,
                    "reasons": sorted(failure.reasons),
                }
                for key, failure in sorted(group.failures.items())
            ],
        }


def _sessions(tally: Tally) -> dict[str, int]:
    return {
        "successful": tally.successful,
        "failed": tally.failed,
        "failed_unknown": tally.failed_unknown,
        "reports": tally.reports,
    }


def policies(plain: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield each policy of a document with its domain."""
    for domain in plain["domains"]:
        for policy in domain["policies"]:
            yield domain["domain"], policy
