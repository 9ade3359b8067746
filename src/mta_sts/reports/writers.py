"""The document of a summary for the terminal and as CSV; `html` has the page.

Every text in it was written by strangers and made printable when it was read; each writer guards against
what its own format would make of it.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from mta_sts.reports.document import advice, policies

if TYPE_CHECKING:
    from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_CHART_DAYS = 60
_SHOWN = 20
_COLUMNS = (
    "section",
    "domain",
    "policy_type",
    "body",
    "day",
    "organization",
    "mx",
    "result_type",
    "successful",
    "failed",
    "failed_unknown",
    "reports",
    "first_day",
    "last_day",
    "name",
    "reason",
)


def to_text(plain: dict[str, Any], *, plain_ascii: bool = False, today: date | None = None) -> str:
    """Return the document as tables for a terminal; a long list is cut with a count, `--json` has all.

    Charts end with today: a report can be dated as its sender likes.
    """
    today = today or datetime.now(UTC).date()
    lines: list[str] = []
    for entry in plain["domains"]:
        lines += [entry["domain"] or "(reports that name no domain)"]
        for policy in entry["policies"]:
            lines += ["", *_policy_lines(policy, today)]
        lines.append("")
    if not plain["domains"]:
        lines += ["No report about any of these domains. That is not the same as no failure.", ""]
    read = plain["read"]
    lines.append(
        f"Read {read['files']:,} files: {read['reports']:,} reports, {read['duplicates']:,} copies left out, "
        f"{read['other_domains']:,} about other domains, {len(plain['unreadable']):,} unreadable."
    )
    lines.append(f"Origin: {plain['origin']}.")
    lines += _listed(
        "Two different reports under one id; the failures of both count, the successes of the first:",
        [
            f"{item['organization']} {item['report_id']}: {item['counted']}, {item['other']}"
            for item in plain["conflicts"]
        ],
        read["conflicts"],
    )
    lines += _listed(
        "Unusual in what was read:",
        [f"{item['count']:,}: {item['meaning']} (such as {item['example']})" for item in plain["warnings"]],
    )
    lines += _listed("Unreadable:", [f"{item['name']}: {item['reason']}" for item in plain["unreadable"]])
    text = "\n".join(lines) + "\n"
    if not plain_ascii:
        return text
    for bar, digit in zip(_BARS, "12345678", strict=True):
        text = text.replace(bar, digit)
    return text.encode("ascii", "replace").decode()


def _policy_lines(policy: dict[str, Any], today: date) -> list[str]:
    lines = [f"  {policy['type']}, {_body(policy)}"]
    unknown = f", failures unknown in {policy['failed_unknown']:,} reports" if policy["failed_unknown"] else ""
    lines.append(
        f"    {policy['successful']:,} sessions fine, {policy['failed']:,} failed{unknown}; "
        f"reports: {policy['reports']:,}, with a valid signature: {policy['signed']['reports']:,}"
    )
    lines += [f"    {line}" for line in chart(policy["days"], today)]
    rows: list[tuple[str, ...]] = [
        (item["name"], f"{item['successful']:,}", f"{item['failed']:,}", _span(item), item["signed_by"] or "nobody")
        for item in policy["organizations"]
    ]
    lines += _table(("organization", "fine", "failed", "days", "signed by"), rows)
    rows = [
        (
            item["result_type"],
            item["mx"] or "(no host named)",
            item["organization"],
            f"{item['sessions']:,}",
            _span(item),
            "; ".join(item["reasons"]),
        )
        for item in policy["failures"]
    ]
    if rows:
        lines += _table(("result type", "MX host", "organization", "sessions", "days", "reason"), rows)
        kinds = sorted({item["result_type"] for item in policy["failures"]})
        lines += [f"      {kind}: {advice(kind)}" for kind in kinds[:_SHOWN]]
    return lines


def _body(policy: dict[str, Any]) -> str:
    if policy["policy"] is None:
        return "no policy body named" if policy["type"] == "sts" else "not about an MTA-STS policy"
    text = ", ".join(line for line in policy["policy"] if not line.startswith("version"))
    return f"body {policy['body'] or '(not a valid policy)'}: {text[:160]}"


def chart(days: Sequence[dict[str, Any]], today: date) -> list[str]:
    """Return sessions per day as one line of bars; `·` is a day without any report, `!` below one with failures.

    Days after today are left out, and counted in a line of their own.
    """
    by_day = {day["day"]: day for day in days}
    span = chart_days(days, today, _CHART_DAYS)
    ahead = sum(day["day"] > today.isoformat() for day in days)
    note = [f"{ahead:,} days lie ahead of {today}: look at who sent those reports"] if ahead else []
    if not span:
        return note
    counts = [by_day[day]["successful"] + by_day[day]["failed"] if day in by_day else None for day in span]
    top = max(count or 0 for count in counts)
    bars = "".join("·" if count is None else _BARS[max(count * len(_BARS) - 1, 0) // (top or 1)] for count in counts)
    failed = "".join(
        "!" if day in by_day and (by_day[day]["failed"] or by_day[day]["failed_unknown"]) else " " for day in span
    )
    line = f"{span[0]} {bars} {span[-1]}  (at most {top:,} sessions a day)"
    return [line, *([" " * (len(span[0]) + 1) + failed.rstrip()] if failed.strip() else []), *note]


def chart_days(days: Sequence[dict[str, Any]], today: date, most: int) -> list[str]:
    """Return the days that a chart shows, without gaps: the last `most` that have come; none where all lie ahead."""
    come = [day["day"] for day in days if day["day"] <= today.isoformat()]
    if not come:
        return []
    last = date.fromisoformat(come[-1])
    first = max(date.fromisoformat(come[0]), last - timedelta(days=most - 1))
    return [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    shown = [head, *rows[:_SHOWN]]
    widths = [min(max(len(row[column]) for row in shown), 48) for column in range(len(head))]
    lines = [
        "      " + "  ".join(cell[:48].ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
    if len(rows) > _SHOWN:
        lines.append(f"      and {len(rows) - _SHOWN:,} more (--json has all)")
    return lines


def _listed(title: str, items: Sequence[str], total: int | None = None) -> list[str]:
    if not items:
        return []
    more = (len(items) if total is None else total) - _SHOWN
    return [title, *(f"  {item}" for item in items[:_SHOWN]), *([f"  and {more:,} more"] if more > 0 else [])]


def _span(item: dict[str, Any]) -> str:
    first, last = item["first_day"], item["last_day"]
    return str(first) if first == last else f"{first} to {last}"


def to_csv(plain: dict[str, Any]) -> str:
    """Return the document as rows: days, organizations, failures, unreadable files (column `section`)."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for domain, policy in policies(plain):
        about = {"domain": domain, "policy_type": policy["type"], "body": policy["body"] or ""}
        rows = [{"section": "day", **item} for item in policy["days"]]
        rows += [
            {"section": "organization", "organization": item["name"], **item, "name": ""}
            for item in policy["organizations"]
        ]
        rows += [
            {"section": "failure", **item, "failed": item["sessions"], "reason": "; ".join(item["reasons"])}
            for item in policy["failures"]
        ]
        writer.writerows({name: _cell(value) for name, value in {**about, **row}.items()} for row in rows)
    writer.writerows(
        {"section": "unreadable", **{k: _cell(v) for k, v in item.items()}} for item in plain["unreadable"]
    )
    return file.getvalue()


def _cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula; some take the wide forms of these letters, too."""
    return f"'{value}" if isinstance(value, str) and normalize("NFKC", value[:1]) in {*"=+-@"} else value
