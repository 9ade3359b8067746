"""A review as Markdown: a comment on a pull request, below the limit however many domains there are."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from mta_sts.review.verdict import Grade
from mta_sts.review.words import duration, listed
from mta_sts.review.writers import (
    LONGEST_NAME,
    LONGEST_VALUE,
    MOST_REASONS,
    count_line,
    printable,
    quiet,
    recipe,
    remark_text,
    rows,
    short,
    verdict_line,
    when,
    worst_first,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from mta_sts.review.verdict import DomainReview, Moment, Review
    from mta_sts.review.words import Reason

MOST_CHARACTERS = 60_000
"""Of a comment: GitHub takes 65,536, and the comment's own mark needs some."""
_FULL_SECTIONS = 40_000
_MOST_NAMED = 12
_MOST_REMARKS = 3
_MOST_MOMENTS = 30
_MOST_LISTED = 30
_LONGEST_TEXT = 1_000
_LONGEST_DIFF = 40


def to_markdown(review: Review, now: datetime, rules_page: str = "") -> str:
    """Return the review as a comment: below GitHub's limit however many domains there are.

    `rules_page` is where `docs/review.md` can be read: each rule becomes a link into it.
    """
    page = _Page(now, rules_page)
    why = _why(review)
    top = [f"**{_escaped(verdict_line(review))}**", ""]
    top += [page.bullet(reason.text, reason.rule) for reason in why]
    remarks = _remarks(review)
    top += [page.bullet(f"{domains}: {remark_text(one, now)}", one.rule) for domains, one in remarks[:_MOST_REMARKS]]
    if len(remarks) > _MOST_REMARKS:
        top += [f"- … and {len(remarks) - _MOST_REMARKS} more remarks; `mta-sts review --json` has them."]
    if not why:
        top += [f"- {_escaped(_changed(domain))}" for domain in worst_first(review)[:3] if domain.changes]
    several = sum(bool(one.reasons) for one in review.domains) > 1
    top += ["", *_instead(worst_first(review)[0], now, several=several)] if why else [""]
    page.add([*top, _escaped(count_line(review)), ""])
    for problem in review.problems[:MOST_REASONS]:
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
    head, *steps = map(_escaped, recipe(domain.way_out, now))
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
    for domain in worst_first(review):
        if rest or quiet(domain) or not page.add(_section(page, domain, said), _FULL_SECTIONS):
            rest.append(domain)
    groups: dict[tuple[Grade, str], list[DomainReview]] = {}
    for domain in rest:
        groups.setdefault((domain.grade, domain.headline), []).append(domain)
    lines = ["| verdict | domains | |", "| --- | --- | --- |"] if groups else []
    for (grade, headline), domains in [*groups.items()][:_MOST_LISTED]:
        names = ", ".join(short(domain.domain, LONGEST_NAME) for domain in domains[:_MOST_NAMED])
        more = f" and {len(domains) - _MOST_NAMED} more" if len(domains) > _MOST_NAMED else ""
        lines.append(f"| {grade} | {len(domains)}: {_escaped(names)}{more} | {_cell(headline)} |")
    more_groups = [domain for group in [*groups.values()][_MOST_LISTED:] for domain in group]
    lines += [f"| … | {len(more_groups)} more domains | |"] if more_groups else []
    page.add([*lines, ""])


def _section(page: _Page, domain: DomainReview, said: set[str]) -> list[str]:
    lines = [f"### {_escaped(domain.domain)}: {domain.grade}", "", f"{_escaped(_capital(domain.headline))}.", ""]
    lines += ["| | before | after |", "| --- | --- | --- |"]
    for what, old, new in rows(domain, page.now):
        lines.append(f"| {what} | {_cell(old)} | {'the same' if old == new else _cell(new)} |")
    lines.append("")
    points = [(reason.text, reason.rule) for reason in domain.reasons]
    points += [(remark_text(remark, page.now), remark.rule) for remark in domain.remarks]
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
    return lines + [f"| {when(one)} | {_cell(one.what)} | {_cell(one.sees)} |" for one in _shown_moments(domain)]


def _mermaid(domain: DomainReview) -> list[str]:
    lines = ["```mermaid", "timeline", f"    title Mail to {_plain(domain.domain)}"]
    for one in _shown_moments(domain):
        given = [f" : {_plain(part)}" for part in one.sees.split("; ") if part]
        lines.append(f"    {_plain(when(one))} : {_plain(one.what)}{''.join(given)}")
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
    shown = [short(printable(line), LONGEST_VALUE) for line in lines]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *shown, fence]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    # In a table a bar ends the cell even where it is code.
    return _escaped(short(text, LONGEST_VALUE).replace("`", "'"))


def _escaped(text: str) -> str:
    """Keep what a plan holds from becoming markup, a mention or a link; code in backticks stays."""
    # Runs of backticks would pair in ways of their own.
    parts = re.sub("``+", "'", printable(" ".join(short(text, _LONGEST_TEXT).split("\n")))).split("`")
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


def _why(review: Review) -> list[Reason]:
    """Return the reasons that a reviewer reads first: of the worst verdict, each rule once."""
    grade = review.grade
    reasons: dict[str, Reason] = {}
    for domain in review.domains:
        if domain.grade is grade and domain.grade is not Grade.SAFE:
            for reason in domain.reasons:
                reasons.setdefault(reason.rule, reason)
    return list(reasons.values())[:MOST_REASONS]


def _remarks(review: Review) -> list[tuple[str, Reason]]:
    """Return what a reviewer has to know whatever the verdict is, with the domains that it is about."""
    of: dict[Reason, list[str]] = {}
    for domain in review.domains:
        for remark in domain.remarks:
            of.setdefault(remark, []).append(domain.domain)
    return [(listed(domains), remark) for remark, domains in of.items()]


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
