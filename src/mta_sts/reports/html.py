"""The document of a summary as one page: trend, failures by type and by MX host, what to do. No script, no link out."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from mta_sts.reports.document import advice
from mta_sts.reports.writers import chart_days

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLE = """
:root { color-scheme: light dark; --fine: #2c7a4b; --failed: #c02d2d; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --fine: #3f9d66; --failed: #ff7b72; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h3 { margin-bottom: .3rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; } caption { text-align: left; font-weight: 600; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: break-word; }
th, td.n, td.day { white-space: nowrap; } td.n, td.day { font-variant-numeric: tabular-nums; }
td.n, th.n { text-align: right; }
pre { background: #8881; padding: .6rem; overflow-x: auto; }
svg { width: 100%; height: 9rem; } .fine { fill: var(--fine); } .failed { fill: var(--failed); } .none { fill: #8886; }
.bad { color: var(--failed); font-weight: 600; } .note { opacity: .75; }
.table { overflow-x: auto; }
"""
_CHART_DAYS = 120
_CHART_LEAST = 30
_DAYS = ("First day", "Last day")


def to_html(plain: dict[str, Any], *, today: date | None = None) -> str:
    """Return the whole page; charts end with today."""
    today = today or datetime.now(UTC).date()
    read = plain["read"]
    parts = [
        "<h1>TLS reports</h1>",
        (
            f"<p>Read {read['files']:,} files: {read['reports']:,} reports, {read['duplicates']:,} copies left out, "
            f"{read['other_domains']:,} about other domains, {len(plain['unreadable']):,} unreadable.<br>"
            f"Origin: {escape(plain['origin'])}.</p>"
        ),
    ]
    if not plain["domains"]:
        parts.append('<p class="bad">No report about any of these domains. That is not the same as no failure.</p>')
    for entry in plain["domains"]:
        parts.append(f"<h2>{escape(entry['domain']) or 'Reports that name no domain'}</h2>")
        for policy in entry["policies"]:
            parts += _policy(policy, today)
    conflicts = [
        (item["organization"], item["report_id"], item["counted"], item["other"]) for item in plain["conflicts"]
    ]
    if conflicts:
        parts += [
            "<h2>Two different reports under one id</h2>",
            _table("The failures of both count", ("Organization", "Report id", "Successes of", "Differs"), conflicts),
        ]
    rows: list[tuple[object, ...]]
    if plain["warnings"]:
        rows = [(item["meaning"], item["count"], item["example"]) for item in plain["warnings"]]
        parts += ["<h2>Unusual in what was read</h2>", _table("", ("What", "Reports", "Such as"), rows)]
    if plain["unreadable"]:
        rows = [(item["name"], item["reason"]) for item in plain["unreadable"]]
        parts += ["<h2>Unreadable</h2>", _table("Each may have held failures", ("Name", "Reason"), rows)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # What strangers wrote is escaped; should that ever fail, the browser still runs and loads nothing.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>TLS reports</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _policy(policy: dict[str, Any], today: date) -> list[str]:
    if policy["policy"]:
        title = f"MTA-STS policy {escape(policy['body'] or '(not valid)')}"
        body = "<pre>" + escape("\n".join(policy["policy"])) + "</pre>"
    else:
        title = "MTA-STS, no policy body named" if policy["type"] == "sts" else escape(policy["type"])
        body = ""
    unknown = f", failures unknown in {policy['failed_unknown']:,} reports" if policy["failed_unknown"] else ""
    bad = ' class="bad"' if policy["failed"] or policy["failed_unknown"] else ""
    parts = [
        f"<h3>{title}</h3>",
        body,
        (
            f"<p{bad}>{policy['successful']:,} sessions fine, {policy['failed']:,} failed{unknown}; "
            f"reports: {policy['reports']:,}, with a valid signature: {policy['signed']['reports']:,}.</p>"
        ),
        _chart(policy["days"], today),
    ]
    failures = policy["failures"]
    rows: list[tuple[object, ...]]
    head: tuple[str, ...]
    if failures:
        by_type = _sums((item["result_type"], item["sessions"]) for item in failures)
        rows = [(kind, count, advice(kind)) for kind, count in by_type]
        parts.append(_table("Failures by type", ("Result type", "Sessions", "What to do"), rows))
        by_mx = _sums((item["mx"] or "(no host named)", item["sessions"]) for item in failures)
        parts.append(_table("Failures by MX host", ("MX host", "Sessions"), by_mx))
        rows = [
            (
                item["result_type"],
                item["mx"],
                item["organization"],
                item["sessions"],
                item["first_day"],
                item["last_day"],
                "; ".join(item["reasons"]),
            )
            for item in failures
        ]
        head = ("Result type", "MX host", "Organization", "Sessions", *_DAYS, "Reason")
        parts.append(_table("Every failure", head, rows))
    rows = [
        (
            item["name"],
            item["successful"],
            item["failed"],
            item["first_day"],
            item["last_day"],
            item["signed_by"] or "nobody",
        )
        for item in policy["organizations"]
    ]
    head = ("Organization", "Fine", "Failed", *_DAYS, "Signed by")
    parts.append(_table("Organizations", head, rows))
    return parts


def _sums(pairs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    sums: dict[str, int] = defaultdict(int)
    for name, count in pairs:
        sums[name] += count
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


def _chart(days: Sequence[dict[str, Any]], today: date) -> str:
    """Return bars per day: fine below, failed on top, a grey foot where no report came."""
    by_day = {day["day"]: day for day in days}
    span = chart_days(days, today, _CHART_DAYS)
    ahead = sum(day["day"] > today.isoformat() for day in days)
    note = f'<p class="bad">{ahead:,} days lie ahead of {today}: look at who sent those reports.</p>' if ahead else ""
    if not span:
        return note
    top = max(by_day[day]["successful"] + by_day[day]["failed"] for day in span if day in by_day) or 1
    bars = []
    for place, day in enumerate(span):
        found = by_day.get(day)
        if found is None:
            bars.append(
                f'<rect class="none" x="{place}" y="99" width=".8" height="1"><title>{day}: no report</title></rect>'
            )
            continue
        fine, failed = 100 * found["successful"] / top, 100 * found["failed"] / top
        label = f"<title>{day}: {found['successful']:,} fine, {found['failed']:,} failed</title>"
        bars.append(f'<g>{label}<rect class="fine" x="{place}" y="{100 - fine:.2f}" width=".8" height="{fine:.2f}"/>')
        # A single failure among a million sessions must still be seen.
        high = max(failed, 2) if found["failed"] or found["failed_unknown"] else 0
        bars.append(
            f'<rect class="failed" x="{place}" y="{max(100 - fine - high, 0):.2f}" width=".8" height="{high:.2f}"/></g>'
        )
    return (
        f'<svg viewBox="0 0 {max(len(span), _CHART_LEAST)} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="Sessions per day, {span[0]} to {span[-1]}">{"".join(bars)}</svg>'
        f'<p class="note">Sessions per day, {span[0]} to {span[-1]}, at most {top:,}. Green: fine. Red: failed. '
        f"Grey: no report that day, which is not the same as no failure.</p>{note}"
    )


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    kinds = [
        " class=n" if any(isinstance(row[column], int) for row in rows) else " class=day" if title in _DAYS else ""
        for column, title in enumerate(head)
    ]

    def cells(row: Sequence[object], tag: str) -> str:
        return "".join(f"<{tag}{kind}>{shown(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))

    def shown(cell: object) -> str:
        return f"{cell:,}" if isinstance(cell, int) else escape(str(cell))

    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    top = f"<thead><tr>{cells(head, 'th')}</tr></thead>"
    return f'<div class="table"><table>{title}{top}<tbody>{body}</tbody></table></div>'
