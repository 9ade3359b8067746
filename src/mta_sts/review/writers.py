"""A review as text for a terminal and as JSON, and the words that every form shares."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mta_sts.policy import Mode
from mta_sts.review.verdict import Grade
from mta_sts.review.words import duration, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mta_sts.review.verdict import DomainReview, Moment, Review, Seen
    from mta_sts.review.words import Act, Reason

MOST_REASONS = 3
"""Of the reasons and problems that stand at the top."""
_VERDICTS = {
    Grade.SAFE: "Safe to merge.",
    Grade.DEGRADED: "Degraded: no mail is refused, but not every MX host is used for a time.",
    Grade.UNKNOWN: "Could not tell: do not merge on this review.",
    Grade.UNSAFE: "Unsafe: do not merge.",
}
LONGEST_VALUE = 300
LONGEST_NAME = 100
"""In characters, of what a plan holds: it is others' text."""


def to_json(review: Review, now: datetime) -> str:
    """Return the whole review as one JSON document (`mta_sts/schemas/review.json`)."""
    import orjson  # noqa: PLC0415  not for --help

    document = {
        "version": 1,
        "made": now.isoformat(timespec="seconds"),
        "verdict": str(review.grade),
        "live": review.live,
        "plans": review.sources,
        "problems": review.problems,
        "assumptions": review.assumptions,
        "said": review.said,
        "unseen": review.unseen,
        "domains": [_domain(domain, now) for domain in review.domains],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def _domain(domain: DomainReview, now: datetime) -> dict[str, Any]:
    return {
        "domain": domain.domain,
        "verdict": str(domain.grade),
        "headline": domain.headline,
        "stacks": list(domain.stacks),
        "component": domain.ours,
        "changes": domain.changes,
        "before": _side(domain.before),
        "after": _side(domain.after),
        "mx": {
            "added": sorted(set(domain.after.mx or ()) - set(domain.before.mx or ())),
            "removed": sorted(set(domain.before.mx or ()) - set(domain.after.mx or ())),
            "retiring": list(domain.retiring),
        },
        "reasons": [_reason(one, now) for one in domain.reasons],
        "way_out": [_act(act, now) for act in domain.way_out],
        "remarks": [_reason(one, now) for one in domain.remarks],
        "timeline": [
            {"seconds": None if math.isinf(one.at) else round(one.at, 3), "what": one.what, "sees": one.sees}
            for one in domain.moments
        ],
        "safe_from": _moment(now, domain.safe_from) if domain.safe_from else None,
        "removable_from": domain.removable_from,
        "assumptions": list(domain.assumptions),
        "notes": list(domain.notes),
    }


def _side(seen: Seen) -> dict[str, Any]:
    policy = seen.policy
    return {
        "policy": seen.body,
        "mode": str(policy.mode) if policy else None,
        "max_age": policy.max_age if policy else None,
        "patterns": list(policy.mx) if policy else [],
        "id": seen.id,
        "mx": None if seen.mx is None else list(seen.mx),
        "tls_reports": seen.reports,
        "policy_host": seen.host,
        "edge_seconds": seen.edge_seconds,
        "enforce_rests_on": seen.grounds or None,
        "could_not_tell": dict(seen.untold),
    }


def _reason(reason: Reason, now: datetime) -> dict[str, Any]:
    return {"rule": reason.rule, "text": reason.text, "way_out": [_act(act, now) for act in reason.way_out]}


def _act(act: Act, now: datetime) -> dict[str, Any]:
    return {"text": act.text, "from": _moment(now, act.at) if act.at > 0 else None}


def _said(acts: Sequence[Act], now: datetime) -> list[str]:
    """Return acts in words, with the date before which it is too early if the first is done now."""
    dates = [(now + timedelta(seconds=act.at)).astimezone(UTC) for act in acts]
    return [
        f"From {date:%Y-%m-%d %H:%M} UTC: {act.text[:1].lower()}{act.text[1:]}" if act.at > 0 else act.text
        for act, date in zip(acts, dates, strict=True)
    ]


def _moment(now: datetime, seconds: float) -> str:
    return (now + timedelta(seconds=seconds)).astimezone(UTC).isoformat(timespec="minutes")


def recipe(acts: Sequence[Act], now: datetime) -> list[str]:
    """Return what follows `instead`: the one thing to do, or a head and numbered steps."""
    said = _said(acts, now)
    if len(said) < 2:  # noqa: PLR2004
        return [f": {each}" for each in said] or [""]
    dated = ", an update for each step (dated from now; a late one puts off the rest)"
    return [f"{dated if acts[-1].at > 0 else ''}:", *(f"{number}. {each}" for number, each in enumerate(said, 1))]


def remark_text(remark: Reason, now: datetime) -> str:
    """Return a remark with what to do because of it."""
    return " ".join([remark.text, *_said(remark.way_out, now)])


# What every form says first.


def verdict_line(review: Review) -> str:
    """Return the verdict in one line."""
    grade = review.grade
    of_that = [domain for domain in review.domains if domain.grade is grade]
    said = _VERDICTS[grade]
    if grade is Grade.SAFE:
        mind = " Mind what stands below." if any(domain.remarks for domain in review.domains) else ""
        changing = [domain for domain in review.domains if domain.changes]
        if not review.domains:
            return f"{said} Nothing in the plan is about MTA-STS or MX records."
        if not changing:
            return f"{said} Nothing changes for senders of mail to {_names(review.domains)}.{mind}"
        return f"{said} No sender refuses mail to {_names(changing)}, or loses the policy.{mind}"
    if review.problems and not of_that:
        return f"{said} {review.problems[0].splitlines()[0]}"
    if not of_that:
        return f"{said} What may be a record of mail, or serve a policy, could not be read: {listed(review.unseen)}."
    headlines = Counter(domain.headline for domain in of_that)
    parts = [
        f"{_names([domain for domain in of_that if domain.headline == headline])}: "
        f"{short(headline.removeprefix('could not tell: '), LONGEST_VALUE)}"
        for headline in list(headlines)[:MOST_REASONS]
    ]
    return f"{said} {'; '.join(parts)}."


def _names(domains: Sequence[DomainReview]) -> str:
    return listed(short(domain.domain, LONGEST_NAME) for domain in domains)


def count_line(review: Review) -> str:
    """Return how many domains there are of each verdict, and what the review rests on."""
    counts = Counter(domain.grade for domain in review.domains)
    changing = sum(domain.changes for domain in review.domains)
    each = ", ".join(f"{counts[grade]} {grade}" for grade in reversed(Grade) if counts[grade])
    domains = "1 domain" if len(review.domains) == 1 else f"{len(review.domains)} domains"
    rests = "".join(f" {one}" for one in review.assumptions)
    return f"{domains} ({each or 'none judged'}), {changing} of them changing.{rests}"


def quiet(domain: DomainReview) -> bool:
    """Tell whether there is nothing to say of a domain."""
    return not domain.changes and domain.grade is Grade.SAFE and not domain.remarks


def rows(domain: DomainReview, now: datetime) -> Iterator[tuple[str, str, str]]:
    """Yield what a table of a domain says: what, before, after."""
    before, after = domain.before, domain.after
    yield "mode", _of_policy(before, "mode"), _of_policy(after, "mode")
    enforces = [of is not None and of.mode is Mode.ENFORCE for of in (before.policy, after.policy)]
    rests_on = [seen.grounds if each else "" for seen, each in zip((before, after), enforces, strict=True)]
    if any(rests_on):
        old, new = (each or "none" for each in rests_on)
        yield "enforce rests on", old, new
    yield "kept by senders for", _of_policy(before, "max_age"), _of_policy(after, "max_age")
    yield "policy allows MX", _of_policy(before, "mx"), _of_policy(after, "mx")
    if before.mx is not None or after.mx is not None or "mx" in {*before.untold, *after.untold}:
        added = set(after.mx or ()) - set(before.mx or ())
        marks = dict.fromkeys(added, " (new)") | dict.fromkeys(domain.retiring, " (retiring)")
        gone = sorted(set(before.mx or ()) - set(after.mx or ()))
        hosts = [f"{host}{marks.get(host, '')}" for host in after.mx or ()]
        left = f"; removed: {listed(gone)}" if gone else ""
        yield (
            "MX in DNS",
            _value(before, "mx", listed(before.mx or ())),
            _value(after, "mx", f"{listed(hosts) or 'none'}{left}"),
        )
    yield "id in `_mta-sts`", _value(before, "id", before.id), _value(after, "id", after.id)
    yield "TLS reports", _value(before, "reports", before.reports), _value(after, "reports", after.reports)
    if before.edge_seconds or after.edge_seconds or "edge" in {*before.untold, *after.untold}:
        yield "caches keep the file for", _edge(before), _edge(after)
    if domain.safe_from:
        yield "safe if begun after", "", _moment(now, domain.safe_from)


def _edge(seen: Seen) -> str:
    return _value(seen, "edge", None if seen.edge_seconds is None else duration(seen.edge_seconds))


def _of_policy(seen: Seen, name: str) -> str:
    policy = seen.policy
    if policy is None:
        return _value(seen, "policy", "not valid" if seen.body is not None else None)
    if name == "mx":
        return listed(policy.mx)
    return duration(policy.max_age) if name == "max_age" else str(policy.mode)


def _value(seen: Seen, name: str, value: str | None) -> str:
    if name in seen.untold:
        return f"could not tell: {seen.untold[name]}"
    return value or "none"


def when(moment: Moment) -> str:
    """Return the time of a moment, from the begin of the update."""
    if math.isinf(moment.at):
        return "before"
    return "at once" if moment.at < 1 else f"+ {duration(moment.at)}"


def worst_first(review: Review) -> list[DomainReview]:
    """Return the domains in the order in which they deserve a look."""
    return sorted(review.domains, key=lambda one: (-one.grade.weight, not one.changes, one.domain))


# Text.


def to_text(review: Review, now: datetime) -> str:
    """Return the review for a terminal."""
    lines = [verdict_line(review), count_line(review), ""]
    for problem in review.problems:
        lines += [f"! {line}" for line in problem.splitlines()]
    for domain in worst_first(review):
        if quiet(domain):
            continue
        lines += [f"{domain.domain}: {domain.grade}: {domain.headline}"]
        lines += [
            f"  {what:24}{old} -> {new}" if old != new else f"  {what:24}{old}" for what, old, new in rows(domain, now)
        ]
        lines += [f"  why: {reason.text} [{reason.rule}]" for reason in domain.reasons]
        head, *steps = recipe(domain.way_out, now)
        lines += [f"  instead{head}"] if head else []
        lines += [f"    {step}" for step in steps]
        lines += [f"  mind: {remark_text(remark, now)} [{remark.rule}]" for remark in domain.remarks]
        lines += [f"  {when(one):>16}  {one.what}{f' ({one.sees})' if one.sees else ''}" for one in domain.moments]
        lines += [f"  note: {note}" for note in (*domain.assumptions, *domain.notes)]
        lines += [""]
    same = [domain.domain for domain in review.domains if quiet(domain)]
    lines += [f"Nothing changes for {listed(same)}"] if same else []
    lines += [f"The component says: {said}" for said in review.said]
    lines += [f"Could not be read: {listed(review.unseen)}"] if review.unseen else []
    return "".join(f"{printable(line)}\n" for line in lines)


def printable(text: str) -> str:
    """Replace what would steer a terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def short(text: str, most: int) -> str:
    """Return text of at most so many characters, and a mark where it was longer."""
    return text if len(text) <= most else f"{text[:most]}…"
