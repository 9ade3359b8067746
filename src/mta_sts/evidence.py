"""Evidence that a domain may go from testing to enforce: a small reviewed file, and the rule that judges it.

What senders saw under the testing body, as their reports say (RFC 8460). Two things are never done: to average
over senders, and to take silence for success. Successes count only with proof of who reported them; failures
count from anybody, until a person explains them.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import file_digest, sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mta_sts.files import write_whole
from mta_sts.findings import Finding, MtaStsError, Severity
from mta_sts.identifier import content_id
from mta_sts.names import normalise_host
from mta_sts.policy import Mode, Policy, parse_policy, render_policy
from mta_sts.reports.collect import Options, collect
from mta_sts.reports.containers import Limits, Unreadable
from mta_sts.reports.document import advice, known_body
from mta_sts.reports.parse import STS, clean
from mta_sts.reports.signers import registrable_domain
from mta_sts.reports.sources import pieces
from mta_sts.reports.summary import FailureTally, Group

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from jsonschema.protocols import Validator

    from mta_sts.reports.collect import Progress
    from mta_sts.reports.origin import OriginCheck
    from mta_sts.reports.summary import GroupKey, SenderKey, Summary

UNREADABLE = "unreadable"
"""What an explanation of unreadable files names instead of a result type."""
_DAY = 86_400
_FILES = 100
_LISTED = 20
_TOLD = 10
UNTESTED = (
    "Reports count successes per policy, not per MX host: one that no sender came to, such as a backup, is not tested "
    "by them (`mta-sts check` looks at each)"
)
"""What no evidence can tell."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is enough: all three at once, since small domains get less than one report a day.

    `days` with reports, `sessions` that were fine, `organizations` that report; `fresh_days` is the greatest
    age of the last report. All count from the day after the last failure that was fixed.
    """

    days: int = 7
    sessions: int = 10
    organizations: int = 2
    fresh_days: int = 14


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why failures of one kind may be put aside; without `mx` on every host.

    With `until` they were fixed on that day: later ones are not explained, and the clean time starts after it.
    """

    result_type: str
    mx: str
    reason: str
    until: date | None = None

    def covers(self, result_type: str, mx: str, last_day: str) -> bool:
        """Tell whether failures of that kind, last seen on that day, are explained by this."""
        in_time = self.until is None or date.fromisoformat(last_day) <= self.until
        return self.result_type == result_type and self.mx in {"", mx} and in_time


@dataclass(frozen=True, slots=True)
class Vouching:
    """Who stands for reports without a signature, and why."""

    name: str
    reason: str


def parse_explanation(text: str, *, fixed: bool = False) -> Explanation:
    """Read `TYPE[@MX]=REASON`, or with `fixed` `TYPE[@MX]=DAY:REASON`; raises ValueError that says what is wrong."""
    kind, _, reason = text.partition("=")
    result_type, _, mx = kind.strip().partition("@")
    until = None
    if fixed:
        day, _, reason = reason.partition(":")
        try:
            until = date.fromisoformat(day.strip())
        except ValueError:
            raise ValueError(f"{text!r} has no day; write TYPE[@MX]=YYYY-MM-DD:REASON") from None
    mx = mx.strip().lower().rstrip(".")
    if not result_type or not _says(reason) or ("@" in kind and not mx):
        form = f"TYPE[@MX]={'YYYY-MM-DD:' if fixed else ''}REASON"
        raise ValueError(f"{text!r} has no type, no host behind the @, or no reason in words; write {form}")
    return Explanation(result_type.lower(), mx, clean(reason), until)


def parse_vouching(text: str) -> Vouching:
    """Read `NAME: REASON`; raises ValueError where either is missing."""
    name, _, reason = text.partition(":")
    if not _says(name) or not _says(reason):
        raise ValueError(f"{text!r} names nobody or gives no reason; write `NAME: REASON`")
    return Vouching(clean(name), clean(reason))


def _says(text: str) -> bool:
    """Tell whether there is anything to read: blanks that are not shown, dots and dashes give no reason."""
    return any(character.isalnum() for character in text)


def build_evidence(
    domain: str,
    policy: str | bytes,
    places: Iterable[str],
    *,
    origin: OriginCheck,
    explanations: Sequence[Explanation] = (),
    vouching: Vouching | None = None,
    limits: Limits | None = None,
    jobs: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Return what the reports at `places` prove about a testing body, as the document of the evidence file.

    The same input gives the same document. Raises MtaStsError for a body that is not a testing policy, a bad
    domain, or an explanation that explains nothing.
    """
    domain = normalise_host(domain)
    body = render_policy(parse_policy(policy))
    parsed = parse_policy(body)
    if parsed.mode is not Mode.TESTING:
        message = f"the body has mode {parsed.mode}; evidence is about the body in testing: give that one"
        raise MtaStsError(f"no evidence for {domain}", [Finding("evidence-not-testing", "policy", message)])
    places = list(places)
    options = Options(domains=frozenset({domain}), origin=origin, limits=limits or Limits(), jobs=jobs, digest=True)
    summary = collect(places, options, progress)
    evidence = _evidence(domain, body, summary, explanations, vouching)
    evidence["read"] |= _files_read(places)
    return _sealed(evidence)


def _files_read(places: Iterable[str]) -> dict[str, Any]:
    """Return how many files lie at the places, and digests of the first by name, as `sha256sum` writes them."""
    count = 0

    def found() -> Iterator[tuple[str, str]]:
        nonlocal count
        last = ""
        for work in pieces(place for place in places if not place.startswith("s3://")):
            for path in [] if isinstance(work, Unreadable) else work.names or (work.place,):
                # A large mbox is several pieces of work in a row.
                count += path != last
                if path != last:
                    yield Path(path).name, path
                last = path

    first = heapq.nsmallest(_FILES, found())
    return {"files": count, "file_digests": [f"{_digest(path)}  {clean(name)}" for name, path in first]}


def _digest(path: str) -> str:
    """Return a file's SHA-256; one that can't be read is among the unreadable already."""
    try:
        with Path(path).open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def _evidence(
    domain: str, body: bytes, summary: Summary, explanations: Sequence[Explanation], vouching: Vouching | None
) -> dict[str, Any]:
    told = _told_of(summary, content_id(body), vouched=vouching is not None)
    counted = told.counted
    days = sorted(day for day, tally in counted.days.items() if tally.successful)
    first = days[0] if days else ""
    failures, used = _failures(told, explanations)
    unreadable = [item for item in explanations if item.result_type == UNREADABLE and summary.unreadable]
    used.update(unreadable)
    _check_used(domain, explanations, used)
    clean_from = max([first, *(_next_day(item.until) for item in used if item.until)])
    clean_days = [day for day in days if day >= clean_from]
    reporters = [
        who for who, sender in counted.senders.items() if sender.last_success and sender.last_success >= clean_from
    ]
    return {
        "version": 1,
        "domain": domain,
        "body": {"id": content_id(body), "policy": body.decode().splitlines()},
        "window": {
            "first_day": first or None,
            "last_day": days[-1] if days else None,
            "clean_from": clean_from or None,
            "days_with_reports": len(clean_days),
            "successful_sessions": sum(counted.days[day].successful for day in clean_days),
            "organizations": _independent(reporters, vouched=vouching is not None),
            "told_by": sorted(map(_told, reporters)),
        },
        "sessions": {"successful": counted.tally.successful, "failed": counted.tally.failed},
        "organizations": [
            {
                "name": who.organization,
                "signed_by": who.signer or None,
                "successful": sender.tally.successful,
                "failed": sender.tally.failed,
                "first_day": sender.first_day,
                "last_day": sender.last_day,
            }
            for who, sender in sorted(counted.senders.items())
        ],
        "failures": failures,
        "not_counted": dict(sorted(told.not_counted.items())),
        "origin": {
            "method": summary.origin,
            "vouched": {"name": vouching.name, "reason": vouching.reason} if vouching else None,
        },
        "read": {
            "reports": summary.reports,
            "duplicates": summary.duplicates,
            "conflicts": summary.conflict_count,
            "conflict_names": [f"{item.organization} {item.report_id}" for item in summary.conflicts[:_LISTED]],
            "sha256": sha256(b"".join(summary.digests)).hexdigest(),
            "unreadable": len(summary.unreadable),
            "unreadable_names": [f"{item.name}: {item.reason}" for item in summary.unreadable[:_LISTED]],
            "unreadable_explained": unreadable[0].reason if unreadable else None,
        },
    }


@dataclass(slots=True)
class _Told:
    """What reports tell of one body: successes that count and that don't, failures by kind, and the days."""

    counted: Group = field(default_factory=Group)
    not_counted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    kinds: dict[tuple[str, str, str], _Kind] = field(default_factory=dict)
    days: set[str] = field(default_factory=set)


def _told_of(summary: Summary, identifier: str, *, vouched: bool) -> _Told:
    """Sort what reports tell by the body that it is about, and by who stands for it."""
    told = _Told()
    for key, group in sorted(summary.groups.items()):
        # A policy without a domain may be about ours: its successes prove nothing, its failures count.
        label = _label(key, identifier) if key.domain else "no domain named"
        if label == "this body" and (key.signed or vouched):
            told.counted.merge(deepcopy(group))  # merging takes the other's parts over
        elif group.tally.successful:
            told.not_counted[f"{label}, unsigned" if label == "this body" else label] += group.tally.successful
        # Unsigned ones stand apart: a forged failure must not make a fixed one look as if it went on.
        about = label if key.signed else f"{label}, unsigned"
        for failure, tally in group.failures.items():
            kind = told.kinds.setdefault((failure.result_type, failure.mx, about), _Kind(tally.first_day))
            kind.add(failure.organization, tally)
        if label == "this body":
            told.days.update(group.days)
    return told


def _failures(told: _Told, explanations: Sequence[Explanation]) -> tuple[list[dict[str, Any]], set[Explanation]]:
    """Return the failures that count, and the explanations that are of any use."""
    failures, used = [], set()
    for (result_type, mx, label), kind in sorted(told.kinds.items()):
        # What failed before anybody spoke of this body is about something else; where nobody does, nothing is.
        if kind.tally.last_day < min(told.days, default=""):
            continue
        found = [item for item in explanations if item.covers(result_type, mx, kind.tally.last_day)]
        used.update(found)
        failures.append({"result_type": result_type, "mx": mx, "policy": label, **kind.plain(), **_explained(found)})
    return failures, used


def _label(key: GroupKey, wanted: str) -> str:
    if key.policy_type != STS:
        return key.policy_type
    if not key.body:
        return "no body named"
    known = known_body(key.body)
    return "this body" if known and known[0] == wanted else "another body"


class _Kind:
    """Failures of one kind on one host, whoever reports them."""

    def __init__(self, first_day: str) -> None:
        self._organizations: set[str] = set()
        self.tally = FailureTally(0, first_day, "")

    def add(self, organization: str, tally: FailureTally) -> None:
        self._organizations.add(organization)
        self.tally.add(tally.sessions, tally.first_day, tally.last_day, tally.days)

    def plain(self) -> dict[str, Any]:
        return {
            "sessions": self.tally.sessions,
            "organizations": sorted(self._organizations)[:_LISTED],
            "first_day": self.tally.first_day,
            "last_day": self.tally.last_day,
            "days": None if self.tally.days is None else dict(sorted(self.tally.days.items())),
        }


def _explained(found: Sequence[Explanation]) -> dict[str, Any]:
    best = max(found, key=lambda item: (item.mx, item.until or date.min), default=None)
    return {
        "explained": best.reason if best else None,
        "fixed_on": best.until.isoformat() if best and best.until else None,
    }


def _check_used(domain: str, explanations: Sequence[Explanation], used: set[Explanation]) -> None:
    idle = [
        Finding(
            "evidence-explanation-idle",
            f"{item.result_type}@{item.mx}" if item.mx else item.result_type,
            "explains no failure that was reported, or one that went on after the day it was fixed: check the spelling "
            "and the dates with `mta-sts reports`",
        )
        for item in explanations
        if item not in used
    ]
    if idle:
        raise MtaStsError(f"no evidence for {domain}", idle)


def _independent(reporters: Iterable[SenderKey], *, vouched: bool) -> int:
    """Count organizations: names are free to choose, and so are names below a domain that somebody registered."""
    names = {who.organization.casefold() for who in reporters}
    domains = {registrable_domain(who.signer) for who in reporters}
    return len(names) if vouched else min(len(names), len(domains))


def _told(who: SenderKey) -> str:
    """Return who reports: the domain that signed, then the name it gives itself, if it is another.

    The name is a stranger's choice: what could pass for its end in a list is left out.
    """
    name = " ".join(re.sub(r"[^\w.&'-]+", " ", who.organization).split())[:60]
    return who.signer if who.signer == name.casefold() else f"{who.signer or 'no signature'}: {name}"


def _next_day(day: date) -> str:
    return (day + timedelta(days=1)).isoformat()


def evidence_digest(evidence: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything in an evidence document but its own `digest`.

    Over JSON with sorted keys and no blanks. It is no signature: it shows that a file was edited by hand.
    """
    content = {name: value for name, value in evidence.items() if name != "digest"}
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sealed(evidence: dict[str, Any]) -> dict[str, Any]:
    return {**evidence, "digest": evidence_digest(evidence)}


def write_evidence(evidence: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write an evidence document, whole or not at all; creates the folder."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, json.dumps(evidence, indent=2, ensure_ascii=False) + "\n")


def load_evidence(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return an evidence document from its file.

    Raises MtaStsError where it can't be read, is not one, or was edited by hand.
    """
    try:
        evidence = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        finding = Finding("evidence-unreadable-file", "", f"cannot be read ({error}): write it with `mta-sts evidence`")
        raise MtaStsError(f"evidence {path}", [finding]) from error
    findings = check_form(evidence)
    if findings:
        raise MtaStsError(f"evidence {path}", findings)
    return dict(evidence)


def check_form(evidence: Any) -> list[Finding]:
    """Return what is wrong with an evidence document in itself: its form, or an edit by hand."""
    findings = [
        Finding("evidence-form", "/".join(map(str, error.absolute_path)), f"{error.message[:200]}; {_AGAIN}")
        for error in sorted(_validator().iter_errors(evidence), key=lambda error: list(map(str, error.absolute_path)))
    ]
    if not findings and evidence["digest"] != evidence_digest(evidence):
        findings.append(Finding("evidence-edited", "digest", f"the file was changed after it was written; {_AGAIN}"))
    return findings


_AGAIN = "write it again with `mta-sts evidence`"


@lru_cache(maxsize=1)
def _validator() -> Validator:
    from jsonschema import Draft202012Validator  # noqa: PLC0415  heavy: only when evidence is read

    return Draft202012Validator(json.loads(files("mta_sts").joinpath("schemas/evidence.json").read_bytes()))


def check_evidence(
    evidence: Mapping[str, Any],
    policy: Policy,
    thresholds: Thresholds,
    now: datetime,
    *,
    domain: str,
) -> list[Finding]:
    """Return everything that stands against publishing an enforce policy for a domain on this evidence.

    `policy` is the one to be published: its MX patterns must be those that were in testing; its max_age may
    differ, what must be covered is one full max_age of the testing body. Warnings are what a reviewer must see.
    """
    findings = check_form(evidence)
    if findings:
        return findings
    window = evidence["window"]
    findings = _check_subject(evidence, policy, domain) + _check_failures(evidence)
    if window["last_day"] is None:
        message = (
            "no report with proof of its origin speaks about this body; no report is not a clean report: wait for "
            "reports, have them checked on reception (--trust-authserv), or vouch for them (--vouch)"
        )
        return [*findings, Finding("evidence-no-reports", "window", message)]
    return findings + _check_window(evidence, thresholds, now)


def whole_days(seconds: int) -> int:
    """Return how many days a time takes when days are counted whole."""
    return -(-seconds // _DAY)


def shown_window(window: Mapping[str, Any]) -> str:
    """Return what an evidence document's `window` counts, in words, and whose word it is: signing domain, then name."""
    days, sessions, organizations = (
        f"{number:,.0f} {word}{'' if number == 1 else 's'}"
        for name, word in (
            ("days_with_reports", "day"),
            ("successful_sessions", "session"),
            ("organizations", "sender"),
        )
        for number in [float(window.get(name) or 0)]
    )
    named = window.get("told_by")
    told_by = [str(each) for each in named] if isinstance(named, list) and named else ["nobody"]
    more = f" and {len(told_by) - _TOLD} more" if len(told_by) > _TOLD else ""
    return (
        f"evidence from {window.get('clean_from')} to {window.get('last_day')}: {sessions}, {organizations}, {days}, "
        f"told by {'; '.join(told_by[:_TOLD])}{more}"
    )


def ready_on(evidence: Mapping[str, Any], thresholds: Thresholds, today: date) -> date | None:
    """Return the first day on which evidence could suffice if reports go on and nothing fails, None without reports."""
    window = evidence["window"]
    if window["last_day"] is None:
        return None
    last = min(date.fromisoformat(window["last_day"]), today)
    covered = date.fromisoformat(window["clean_from"]) + timedelta(days=whole_days(_max_age(evidence)))
    thin = window["successful_sessions"] < thresholds.sessions or window["organizations"] < thresholds.organizations
    missing = max(thresholds.days - window["days_with_reports"], int(thin))
    # The report of a day is complete when the day is over.
    return max(covered, last + timedelta(days=missing + 1), today)


def _check_subject(evidence: Mapping[str, Any], policy: Policy, domain: str) -> list[Finding]:
    tested = parse_policy("\n".join(evidence["body"]["policy"]) + "\n")
    findings = []
    if evidence["domain"] != normalise_host(domain):
        message = f"the evidence is about {evidence['domain']}, not {domain}; {_AGAIN}"
        findings.append(Finding("evidence-other-domain", "domain", message))
    if tested.mode is not Mode.TESTING:
        message = f"the evidence is about a body with mode {tested.mode}; it must be about the one in testing"
        findings.append(Finding("evidence-not-testing", "body", message))
    wanted = set(parse_policy(render_policy(policy)).mx)
    for pattern in sorted(wanted - set(tested.mx)):
        message = f"{pattern} was not in the testing body: publish it in testing first, then collect reports"
        findings.append(Finding("evidence-mx-untested", pattern, message))
    for pattern in sorted(set(tested.mx) - wanted):
        message = f"{pattern} was in the testing body and is not to be enforced: mail to it will be refused"
        findings.append(Finding("evidence-mx-dropped", pattern, message, Severity.WARNING))
    return findings


def _check_failures(evidence: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for item in evidence["failures"]:
        where = f"{item['result_type']}@{item['mx']}" if item["mx"] else item["result_type"]
        seen = (
            f"{item['sessions']} sessions failed ({item['policy']}; {', '.join(item['organizations'])}; "
            f"{item['first_day']} to {item['last_day']})"
        )
        if item["explained"]:
            message = f"{seen}; explained: {item['explained']}"
            findings.append(Finding("evidence-explained", where, message, Severity.WARNING))
        else:
            message = f"{seen}. {advice(item['result_type'])} Then --fixed {where}=DAY:REASON, or --explain"
            findings.append(Finding("evidence-failure", where, message))
    read = evidence["read"]
    if read["unreadable"]:
        names = f"{read['unreadable']} files could not be read, such as {read['unreadable_names'][0]}"
        if read["unreadable_explained"]:
            message = f"{names}; explained: {read['unreadable_explained']}"
            findings.append(Finding("evidence-unreadable", "read", message, Severity.WARNING))
        else:
            message = f"{names}; they may hold failures: put them right, or --explain {UNREADABLE}=REASON"
            findings.append(Finding("evidence-unreadable", "read", message))
    if read["conflicts"]:
        message = (
            f"{read['conflicts']} reports differ from another one under the same id, such as "
            f"{read['conflict_names'][0]}: the failures of all count, the successes of signed ones alone. Look at "
            "who sent them (`mta-sts reports` names the files)"
        )
        findings.append(Finding("evidence-conflict", "read", message, Severity.WARNING))
    vouched = evidence["origin"]["vouched"]
    if vouched:
        message = f"{vouched['name']} vouches for reports without a signature: {vouched['reason']}"
        findings.append(Finding("evidence-vouched", "origin", message, Severity.WARNING))
    return findings


def _check_window(evidence: Mapping[str, Any], thresholds: Thresholds, now: datetime) -> list[Finding]:
    window = evidence["window"]
    start, last = date.fromisoformat(window["clean_from"]), date.fromisoformat(window["last_day"])
    max_age = _max_age(evidence)
    today = now.astimezone(UTC).date()
    ready = ready_on(evidence, thresholds, today)
    findings = []
    covered = max((last - start).days + 1, 0)
    if covered * _DAY < max_age:
        message = (
            f"covers {covered} days from {start}; one full max_age of the testing body is {whole_days(max_age)} days. "
            f"It can be complete on {ready}"
        )
        findings.append(Finding("evidence-short", "window", message))
    for rule, got, needed, what in (
        ("evidence-few-days", window["days_with_reports"], thresholds.days, "days with reports"),
        ("evidence-few-sessions", window["successful_sessions"], thresholds.sessions, "successful sessions"),
        ("evidence-few-organizations", window["organizations"], thresholds.organizations, "organizations"),
    ):
        if got < needed:
            message = f"{got} {what} since {start}, {needed} are needed; not before {ready}"
            findings.append(Finding(rule, "window", message))
    if last > today:
        message = f"the last report is about {last}, which lies ahead: look at who sent it"
        findings.append(Finding("evidence-from-future", "window", message))
    elif (today - last).days > thresholds.fresh_days:
        message = (
            f"the last report is about {last}, {(today - last).days} days ago, at most {thresholds.fresh_days} are "
            "allowed: read the newest reports again"
        )
        findings.append(Finding("evidence-stale", "window", message))
    return findings


def _max_age(evidence: Mapping[str, Any]) -> int:
    return parse_policy("\n".join(evidence["body"]["policy"]) + "\n").max_age
