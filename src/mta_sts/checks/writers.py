"""The same reports as a table, JSON, Markdown or JUnit."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from mta_sts.checks.report import Area, DomainReport, Kind, Point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from mta_sts.checks.targets import BadLine

_TITLES = ("domain", "mode", "id", "dnssec", "verdict", "errors", "warnings", "skipped")
_MARKUP = re.compile(r"[\\`*_\[\]<>|&~]")
_CALLS = re.compile(r"(?<!\w)@(?=\w)|#(?=\d)")
"""What forges make a mention, or a link to an issue, of; a backslash does not stop them."""


def to_json(reports: Sequence[DomainReport], bad: Sequence[BadLine], when: datetime) -> str:
    """Return everything as one JSON document; `--last-run` reads it."""
    document: Mapping[str, Any] = {
        "checked": when.isoformat(),
        "domains": [
            {
                "domain": report.domain,
                "verdict": report.verdict,
                "mode": report.mode or None,
                "id": report.id or None,
                "max_age": report.max_age,
                "policy": report.policy or None,
                "mx": list(report.mx),
                "dnssec": report.authentic,
                "looked_at": [str(area) for area in Area if area in report.looked],
                "points": [_plain(point) for point in report.points],
                "history": report.history,
                "smtp_seen": _moment(report.smtp_seen),
                "smtp": [
                    {"host": host, "seen": _moment(one.seen), "points": [_plain(point) for point in one.points]}
                    for host, one in report.smtp.items()
                ],
                "seconds": report.seconds,
            }
            for report in reports
        ],
        "not_checked": [{"line": one.line, "text": one.text, "reason": one.reason} for one in bad],
    }
    return json.dumps(document, indent=1) + "\n"


def to_table(reports: Sequence[DomainReport], bad: Sequence[BadLine]) -> str:
    """Return a table of the domains, then every point by domain."""
    rows = [_TITLES, *map(_row, reports)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for report in reports:
        lines += [f"\n{report.domain}"] if report.points else []
        lines += [f"  {_line(point)}" for point in report.points]
    lines += [f"\n{_sum(reports, bad)}", ""]
    return "\n".join(lines)


def to_markdown(reports: Sequence[DomainReport], bad: Sequence[BadLine]) -> str:
    """Return it for an issue or a pull request."""
    lines = [f"| {' | '.join(_TITLES)} |", f"|{'---|' * len(_TITLES)}"]
    lines += [f"| {' | '.join(map(_escaped, _row(report)))} |" for report in reports]
    for report in reports:
        lines += [f"\n### {report.domain}\n"] if report.points else []
        lines += [f"- **{point.kind}** {_spans(_line(point).partition(': ')[2])}" for point in report.points]
    if bad:
        lines += ["\n### not checked\n", *(f"- {_escaped(str(one))}" for one in bad)]
    lines += [f"\n{_sum(reports, bad)}", ""]
    return "\n".join(lines)


def to_junit(reports: Sequence[DomainReport], bad: Sequence[BadLine]) -> str:
    """Return a JUnit document: a suite for each domain, a case for each area; warnings are told, not failed.

    An area of which nothing was looked at is skipped: it did not pass.
    """
    root = Element("testsuites", name="mta-sts check")
    for report in reports:
        suite = SubElement(root, "testsuite", name=report.domain, time=str(report.seconds))
        failures = skips = 0
        for area in Area:
            case = SubElement(suite, "testcase", classname=report.domain, name=str(area))
            by_kind = {kind: [one for one in report.points if (one.area, one.kind) == (area, kind)] for kind in Kind}
            wrong, skipped, told = (
                by_kind[Kind.ERROR],
                by_kind[Kind.SKIPPED],
                by_kind[Kind.WARNING] + by_kind[Kind.NOTE],
            )
            if wrong:
                failure = SubElement(case, "failure", message=_line(wrong[0]), type=wrong[0].rule)
                failure.text = "\n".join(map(_line, wrong + skipped))
            elif skipped or area not in report.looked:
                SubElement(case, "skipped", message="\n".join(map(_line, skipped)) or "not looked at")
                skips += 1
            if told:
                SubElement(case, "system-out").text = "\n".join(map(_line, told))
            failures += bool(wrong)
        suite.attrib |= {"tests": str(len(Area)), "failures": str(failures), "errors": "0", "skipped": str(skips)}
    if bad:
        suite = SubElement(
            root, "testsuite", name="not checked", tests=str(len(bad)), failures="0", errors=str(len(bad))
        )
        for one in bad:
            case = SubElement(suite, "testcase", classname="list", name=f"line {one.line}")
            SubElement(case, "error", message=_clean(one.reason), type="no-domain")
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _moment(when: datetime | None) -> str | None:
    return when.isoformat(timespec="seconds") if when else None


def _plain(point: Point) -> dict[str, str]:
    return {
        "area": str(point.area),
        "kind": str(point.kind),
        "rule": point.rule,
        "path": point.path,
        "message": point.message,
    }


def _row(report: DomainReport) -> tuple[str, ...]:
    counts = (str(report.count(kind)) for kind in (Kind.ERROR, Kind.WARNING, Kind.SKIPPED))
    signed = "yes" if report.authentic else "no"
    return (report.domain, report.mode or "-", report.id[:32] or "-", signed, report.verdict, *counts)


def _line(point: Point) -> str:
    where = f"{point.path}: " if point.path else ""
    return _clean(f"{point.kind}: {where}{point.message} [{point.rule}]")


def _sum(reports: Sequence[DomainReport], bad: Sequence[BadLine]) -> str:
    verdicts = [report.verdict for report in reports]
    parts = [f"{verdicts.count('good')} good", f"{verdicts.count('errors')} with errors"]
    parts += [f"{verdicts.count('not sure')} not sure (something was skipped)"]
    parts += [f"{len(bad)} lines not checked"] if bad else []
    return f"{len(reports)} domains: {', '.join(parts)}"


def _escaped(text: str) -> str:
    """Keep what strangers published from becoming markup."""
    plain = _CALLS.sub("\\g<0>\u2060", _MARKUP.sub(r"\\\g<0>", text))
    return plain.replace("\n", " ").replace("\t", " ")


def _spans(text: str) -> str:
    """Escape a sentence and leave the code spans in it alone: nothing in a code span is markup, not even a backslash.

    A stranger's backtick only changes what stands in a span and what is escaped: there is nothing between.
    """
    *parts, last = text.split("`")
    shown = [
        _escaped(part) if index % 2 == 0 else f"`{' '.join(part.split())}`" if part.strip() else ""
        for index, part in enumerate(parts)
    ]
    # A last backtick without its other half is one.
    odd = len(parts) % 2 == 1
    return "".join(shown) + ("\\`" if odd else "") + _escaped(last)


def _clean(text: str) -> str:
    """Replace what XML can't hold (XML 1.0 §2.2), and what would steer a terminal."""
    return "".join(character if character in "\n\t" or character.isprintable() else "�" for character in text)
