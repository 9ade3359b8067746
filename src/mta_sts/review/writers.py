"""A review as text for a terminal, as Markdown for a comment on a pull request, and as JSON."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mta_sts.policy import Mode
from mta_sts.review.verdict import Grade
from mta_sts.review.words import duration, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mta_sts.review.verdict import DomainReview, Moment, Review, Seen
    from mta_sts.review.words import Act, Reason

MOST_CHARACTERS = 60_000
"""Of a comment: GitHub takes 65,536, and the comment's own mark needs some."""
_FULL_SECTIONS = 40_000
_MOST_NAMED = 12
_MOST_REASONS = 3
_MOST_REMARKS = 3
_MOST_MOMENTS = 30
_MOST_LISTED = 30
_VERDICTS = {
    Grade.SAFE: "Safe to merge.",
    Grade.DEGRADED: "Degraded: no mail is refused, but not every MX host is used for a time.",
    Grade.UNKNOWN: "Could not tell: do not merge on this review.",
    Grade.UNSAFE: "Unsafe: do not merge.",
}
_LONGEST_TEXT = 1_000
_LONGEST_VALUE = 300
_LONGEST_NAME = 100
_LONGEST_DIFF = 40


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


def _recipe(acts: Sequence[Act], now: datetime) -> list[str]:
    """Return what follows `instead`: the one thing to do, or a head and numbered steps."""
    said = _said(acts, now)
    if len(said) < 2:  # noqa: PLR2004
        return [f": {each}" for each in said] or [""]
    dated = ", an update for each step (dated from now; a late one puts off the rest)"
    return [f"{dated if acts[-1].at > 0 else ''}:", *(f"{number}. {each}" for number, each in enumerate(said, 1))]


def _remark(remark: Reason, now: datetime) -> str:
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
        f"{_short(headline.removeprefix('could not tell: '), _LONGEST_VALUE)}"
        for headline in list(headlines)[:_MOST_REASONS]
    ]
    return f"{said} {'; '.join(parts)}."


def _names(domains: Sequence[DomainReview]) -> str:
    return listed(_short(domain.domain, _LONGEST_NAME) for domain in domains)


def count_line(review: Review) -> str:
    """Return how many domains there are of each verdict, and what the review rests on."""
    counts = Counter(domain.grade for domain in review.domains)
    changing = sum(domain.changes for domain in review.domains)
    each = ", ".join(f"{counts[grade]} {grade}" for grade in reversed(Grade) if counts[grade])
    domains = "1 domain" if len(review.domains) == 1 else f"{len(review.domains)} domains"
    rests = "".join(f" {one}" for one in review.assumptions)
    return f"{domains} ({each or 'none judged'}), {changing} of them changing.{rests}"


def _why(review: Review) -> list[Reason]:
    """Return the reasons that a reviewer reads first: of the worst verdict, each rule once."""
    grade = review.grade
    reasons: dict[str, Reason] = {}
    for domain in review.domains:
        if domain.grade is grade and domain.grade is not Grade.SAFE:
            for reason in domain.reasons:
                reasons.setdefault(reason.rule, reason)
    return list(reasons.values())[:_MOST_REASONS]


def _remarks(review: Review) -> list[tuple[str, Reason]]:
    """Return what a reviewer has to know whatever the verdict is, with the domains that it is about."""
    of: dict[Reason, list[str]] = {}
    for domain in review.domains:
        for remark in domain.remarks:
            of.setdefault(remark, []).append(domain.domain)
    return [(listed(domains), remark) for remark, domains in of.items()]


def _quiet(domain: DomainReview) -> bool:
    """Tell whether there is nothing to say of a domain."""
    return not domain.changes and domain.grade is Grade.SAFE and not domain.remarks


def _rows(domain: DomainReview, now: datetime) -> Iterator[tuple[str, str, str]]:
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


def _diff(domain: DomainReview) -> list[str]:
    """Return how the policy file changes, line by line."""
    if "policy" in {*domain.before.untold, *domain.after.untold} or domain.before.body == domain.after.body:
        return []
    old, new = ((seen.body or "").splitlines() for seen in (domain.before, domain.after))
    lines = [line for line in difflib.ndiff(old, new) if not line.startswith("?")]
    return [
        *lines[:_LONGEST_DIFF],
        *([f"  … {len(lines) - _LONGEST_DIFF} more lines"] if len(lines) > _LONGEST_DIFF else []),
    ]


def _when(moment: Moment) -> str:
    if math.isinf(moment.at):
        return "before"
    return "at once" if moment.at < 1 else f"+ {duration(moment.at)}"


def _worst_first(review: Review) -> list[DomainReview]:
    return sorted(review.domains, key=lambda one: (-one.grade.weight, not one.changes, one.domain))


# Text.


def to_text(review: Review, now: datetime) -> str:
    """Return the review for a terminal."""
    lines = [verdict_line(review), count_line(review), ""]
    for problem in review.problems:
        lines += [f"! {line}" for line in problem.splitlines()]
    for domain in _worst_first(review):
        if _quiet(domain):
            continue
        lines += [f"{domain.domain}: {domain.grade}: {domain.headline}"]
        lines += [
            f"  {what:24}{old} -> {new}" if old != new else f"  {what:24}{old}" for what, old, new in _rows(domain, now)
        ]
        lines += [f"  why: {reason.text} [{reason.rule}]" for reason in domain.reasons]
        head, *steps = _recipe(domain.way_out, now)
        lines += [f"  instead{head}"] if head else []
        lines += [f"    {step}" for step in steps]
        lines += [f"  mind: {_remark(remark, now)} [{remark.rule}]" for remark in domain.remarks]
        lines += [f"  {_when(one):>16}  {one.what}{f' ({one.sees})' if one.sees else ''}" for one in domain.moments]
        lines += [f"  note: {note}" for note in (*domain.assumptions, *domain.notes)]
        lines += [""]
    same = [domain.domain for domain in review.domains if _quiet(domain)]
    lines += [f"Nothing changes for {listed(same)}"] if same else []
    lines += [f"The component says: {said}" for said in review.said]
    lines += [f"Could not be read: {listed(review.unseen)}"] if review.unseen else []
    return "".join(f"{_printable(line)}\n" for line in lines)


def _printable(text: str) -> str:
    """Replace what would steer a terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


# Markdown.


def to_markdown(review: Review, now: datetime, rules_page: str = "") -> str:
    """Return the review as a comment: below GitHub's limit however many domains there are.

    `rules_page` is where `docs/review.md` can be read: each rule becomes a link into it.
    """
    page = _Page(now, rules_page)
    why = _why(review)
    top = [f"**{_escaped(verdict_line(review))}**", ""]
    top += [page.bullet(reason.text, reason.rule) for reason in why]
    remarks = _remarks(review)
    top += [page.bullet(f"{domains}: {_remark(one, now)}", one.rule) for domains, one in remarks[:_MOST_REMARKS]]
    if len(remarks) > _MOST_REMARKS:
        top += [f"- … and {len(remarks) - _MOST_REMARKS} more remarks; `mta-sts review --json` has them."]
    if not why:
        top += [f"- {_escaped(_changed(domain))}" for domain in _worst_first(review)[:3] if domain.changes]
    several = sum(bool(one.reasons) for one in review.domains) > 1
    top += ["", *_instead(_worst_first(review)[0], now, several=several)] if why else [""]
    page.add([*top, _escaped(count_line(review)), ""])
    for problem in review.problems[:_MOST_REASONS]:
        page.add([*_fenced(problem.splitlines()[:_MOST_NAMED], ""), ""])
    _add_sections(page, review, {reason.rule for reason in (*why, *(remark for _, remark in remarks))})
    page.add(_details("What the component says", review.said))
    page.add(_details(f"Resources that could not be read ({len(review.unseen)})", review.unseen))
    return page.text()


class _Page:
    """A comment that stays below GitHub's limit: a part is there as a whole, or not at all."""

    def __init__(self, now: datetime, rules_page: str) -> None:
        self.now = now
        self._rules_page = rules_page
        self._lines: list[str] = []
        self._size = 0
        self._left_out = False

    def bullet(self, text: str, rule: str) -> str:
        """Return a point of a list, with its rule: a link where the rules' page is known."""
        return f"- {_escaped(text)} {f'[`{rule}`]({self._rules_page}#{rule})' if self._rules_page else f'`{rule}`'}"

    def add(self, lines: Sequence[str], limit: int = MOST_CHARACTERS) -> bool:
        """Add a part, where the page with it is within the limit; return whether it is."""
        size = sum(len(line) + 1 for line in lines)
        if self._size + size > limit:
            self._left_out = True
            return False
        self._lines += lines
        self._size += size
        return True

    def text(self) -> str:
        """Return the page."""
        left_out = (
            ["", "… left out what is too long; `mta-sts review --json` has everything."] if self._left_out else []
        )
        return "\n".join([*self._lines, *left_out]).rstrip() + "\n"


def _instead(domain: DomainReview, now: datetime, *, several: bool = False) -> list[str]:
    """Return what to do instead, named as this domain's where others have reasons too."""
    head, *steps = map(_escaped, _recipe(domain.way_out, now))
    whose = f" at {_escaped(domain.domain)}" if several else ""
    return [f"**Instead{whose}**{head}", "", *steps, *([""] if steps else [])] if head else []


def _changed(domain: DomainReview) -> str:
    """Return what changes at a domain in one sentence."""
    before, after = domain.before, domain.after
    added = sorted(set(after.mx or ()) - set(before.mx or ()))
    removed = sorted(set(before.mx or ()) - set(after.mx or ()))
    old, new = before.policy, after.policy
    parts = []
    if old != new and new is not None:
        parts.append(
            f"mode {old.mode} becomes {new.mode}" if old and old.mode != new.mode else f"mode stays {new.mode}"
        )
        if old and old.max_age != new.max_age:
            parts.append(f"senders keep it {duration(new.max_age)} instead of {duration(old.max_age)}")
        if old and old.mx != new.mx:
            parts.append(f"the policy allows {listed(new.mx)}")
    parts += [f"MX {listed(added)} comes"] if added else []
    parts += [f"MX {listed(removed)} goes"] if removed else []
    parts += [f"MX {listed(domain.retiring)} stays until no sender needs it"] if domain.retiring else []
    parts += ["the id changes, so senders fetch the policy"] if before.id and before.id != after.id and after.id else []
    return f"{domain.domain}: {', '.join(parts) or domain.headline}"


def _add_sections(page: _Page, review: Review, said: set[str]) -> None:
    """Add a section a domain, the worst first, as long as they fit; the rest by groups of a line."""
    # One domain's reasons stand at the top already.
    said = said if sum(bool(domain.reasons or domain.remarks) for domain in review.domains) == 1 else set()
    rest: list[DomainReview] = []
    for domain in _worst_first(review):
        if rest or _quiet(domain) or not page.add(_section(page, domain, said), _FULL_SECTIONS):
            rest.append(domain)
    groups: dict[tuple[Grade, str], list[DomainReview]] = {}
    for domain in rest:
        groups.setdefault((domain.grade, domain.headline), []).append(domain)
    lines = ["| verdict | domains | |", "| --- | --- | --- |"] if groups else []
    for (grade, headline), domains in [*groups.items()][:_MOST_LISTED]:
        names = ", ".join(_short(domain.domain, _LONGEST_NAME) for domain in domains[:_MOST_NAMED])
        more = f" and {len(domains) - _MOST_NAMED} more" if len(domains) > _MOST_NAMED else ""
        lines.append(f"| {grade} | {len(domains)}: {_escaped(names)}{more} | {_cell(headline)} |")
    more_groups = [domain for group in [*groups.values()][_MOST_LISTED:] for domain in group]
    lines += [f"| … | {len(more_groups)} more domains | |"] if more_groups else []
    page.add([*lines, ""])


def _section(page: _Page, domain: DomainReview, said: set[str]) -> list[str]:
    lines = [f"### {_escaped(domain.domain)}: {domain.grade}", "", f"{_escaped(_capital(domain.headline))}.", ""]
    lines += ["| | before | after |", "| --- | --- | --- |"]
    for what, old, new in _rows(domain, page.now):
        lines.append(f"| {what} | {_cell(old)} | {'the same' if old == new else _cell(new)} |")
    lines.append("")
    points = [(reason.text, reason.rule) for reason in domain.reasons]
    points += [(_remark(remark, page.now), remark.rule) for remark in domain.remarks]
    if unsaid := [page.bullet(text, rule) for text, rule in points if rule not in said]:
        lines += [*unsaid[:_MOST_LISTED], ""]
    if not said:
        lines += _instead(domain, page.now)
    if domain.moments:
        harm = domain.grade in (Grade.UNSAFE, Grade.DEGRADED)
        title = "What can happen: the shortest time-line that shows it" if harm else "What senders see, and when"
        lines += _folded(title, [*_mermaid(domain), "", *_time_line(domain)])
    diff = _diff(domain)
    if diff:
        lines += _folded("The policy file", _fenced(diff, "diff"))
    return lines + _details("Notes", [*domain.assumptions, *domain.notes])


def _shown_moments(domain: DomainReview) -> Sequence[Moment]:
    """Return what a time-line has room for: how it begins, and how it ends."""
    if len(domain.moments) <= _MOST_MOMENTS:
        return domain.moments
    left = len(domain.moments) - _MOST_MOMENTS + 1
    *begin, last = domain.moments[: _MOST_MOMENTS - 1], domain.moments[-1]
    return [*begin[0], replace(last, what=f"({left} more steps before this) {last.what}")]


def _time_line(domain: DomainReview) -> list[str]:
    lines = ["| when | what happens | what senders are given then |", "| --- | --- | --- |"]
    return lines + [f"| {_when(one)} | {_cell(one.what)} | {_cell(one.sees)} |" for one in _shown_moments(domain)]


def _mermaid(domain: DomainReview) -> list[str]:
    lines = ["```mermaid", "timeline", f"    title Mail to {_plain(domain.domain)}"]
    for one in _shown_moments(domain):
        given = [f" : {_plain(part)}" for part in one.sees.split("; ") if part]
        lines.append(f"    {_plain(_when(one))} : {_plain(one.what)}{''.join(given)}")
    return [*lines, "```"]


def _plain(text: str) -> str:
    """Return text without what means something in a Mermaid diagram."""
    return re.sub(r"[^\w .,+*()@/=-]", " ", text)


def _details(title: str, texts: Sequence[str]) -> list[str]:
    """Return a list to be unfolded, none where there is nothing in it."""
    lines = [f"- {_escaped(text)}" for text in texts[:_MOST_LISTED]]
    lines += [f"- … and {len(texts) - _MOST_LISTED} more"] if len(texts) > _MOST_LISTED else []
    return _folded(title, lines) if lines else []


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]


def _fenced(lines: Sequence[str], language: str) -> list[str]:
    shown = [_short(_printable(line), _LONGEST_VALUE) for line in lines]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *shown, fence]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _cell(text: str) -> str:
    # In a table a bar ends the cell even where it is code.
    return _escaped(_short(text, _LONGEST_VALUE).replace("`", "'"))


def _escaped(text: str) -> str:
    """Keep what a plan holds from becoming markup, a mention or a link; code in backticks stays."""
    # Runs of backticks would pair in ways of their own.
    parts = re.sub("``+", "'", _printable(" ".join(_short(text, _LONGEST_TEXT).split("\n")))).split("`")
    if len(parts) % 2 == 0:  # an odd backtick is no code
        parts = ["'".join(parts)]
    return "`".join(part if place % 2 else _escaped_prose(part) for place, part in enumerate(parts))


def _escaped_prose(text: str) -> str:
    escaped = re.sub(r"([\\|<>\[\]*#&~$])", r"\\\1", text)
    # `_` between letters is no emphasis, at the beginning of a word it is.
    return _LINKS.sub(lambda found: f"{found[0]}{_NOTHING}", re.sub(r"(?<![^\W_])_", r"\\_", escaped))


_NOTHING = "\N{ZERO WIDTH SPACE}"
_LINKS = re.compile(r"@|#|(?i:\bgh(?=-\d)|\bwww(?=\.)|\b(?:https?|ftp|mailto|xmpp)(?=:))|:(?=//)")
"""What GitHub makes a link or a mention of, in the text that it shows: writing it otherwise does not help."""
