"""One TLS report: from JSON text, as senders really write it, to numbers that can be trusted.

RFC 8460 §4.4 defines the document. What senders write instead is read as far as its meaning is plain, each
time with a warning; where a number of failures is missing it is *unknown*, never nought; and what is not a
report is refused with a reason, so that nothing foreign reads as "no failures".
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from jiter import from_json

from mta_sts.findings import MtaStsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mta_sts.reports.containers import Context

STS = "sts"
NO_DETAIL = "not-detailed"
"""Stands for the failed sessions of a report that gives a total and no, or too few, details."""
POLICY_TYPES = frozenset({STS, "tlsa", "no-policy-found"})
RESULT_TYPES = {
    "starttls-not-supported": "The MX host did not offer STARTTLS. Turn it on, on every address of the host.",
    "certificate-host-mismatch": "The certificate does not name the MX host. Issue one whose SAN holds the host "
    "name that stands in the MX record, and serve it on port 25.",
    "certificate-expired": "The certificate of the MX host has expired. Renew it, reload the mail server, and "
    "watch the expiry date.",
    "certificate-not-trusted": "The certificate does not lead to a public root. Use a public CA and send the "
    "intermediate certificates along.",
    "validation-failure": "The MX host is not in the policy, or TLS failed in a way that has no name. Compare MX "
    "records with the policy's mx lines; then read the reason and the mail server's log.",
    "tlsa-invalid": "A TLSA record does not fit the certificate (DANE). Publish the record before the certificate "
    "changes.",
    "dnssec-invalid": "DNSSEC validation failed. Check signatures and the DS record at the parent.",
    "dane-required": "The sender demands DANE and found no TLSA record. This is the sender's own rule.",
    "sts-policy-fetch-error": "The policy file could not be fetched. From outside: "
    "https://mta-sts.DOMAIN/.well-known/mta-sts.txt must answer 200, text/plain, without redirect, challenge or "
    "bot filter.",
    "sts-policy-invalid": "The policy file was fetched and does not parse. Publish it as this project renders it.",
    "sts-webpki-invalid": "The certificate of the host mta-sts.DOMAIN is wrong or expired. Renew it.",
    NO_DETAIL: "The sender counted failed sessions and did not say why. Ask it (contact-info), or wait for the "
    "next report.",
}
"""What to do for each result type: RFC 8460 §4.3 and the IANA registry, and our own for missing details."""
UNKNOWN_RESULT = "The sender uses a result type that RFC 8460 does not know. Read the reason it gives."

_MAX_COUNT = 2**53 - 1  # I-JSON (RFC 7493 §2.2), which RFC 8460 §4.4 asks for
_MAX_BODY = 65536  # RFC 8461 §3.3
_MAX_ITEMS = 10_000
_MAX_VALUES = 1_000_000  # each costs up to a hundred bytes of memory and as few as two in the file
_MARK = re.compile(r"[^ \t\r\n\0]")
_LONG_RANGE_DAYS = 31
_FIRST_YEAR, _LAST_YEAR = 2015, 2200  # the first drafts of TLS reporting are from 2016


class ReportError(ValueError):
    """The document is not a report that can be counted; the text says why."""


class Failure(NamedTuple):
    """Failed sessions of one result type; `mx` and `reason` are empty where the sender does not say."""

    result_type: str
    mx: str
    sessions: int
    reason: str


class PolicyResult(NamedTuple):
    """What one sender saw under one policy; `body` is the policy text it names, for `sts` alone.

    `failed_unknown` is 1 where the count of failures is missing or makes no sense: `failed` is then only
    what the details prove.
    """

    domain: str
    policy_type: str
    body: str
    successful: int
    failed: int
    failed_unknown: int
    failures: tuple[Failure, ...]


PlainFailure = tuple[str, str, int, str]
PlainPolicy = tuple[str, str, str, int, int, int, tuple[PlainFailure, ...]]
"""The values of a PolicyResult as they travel between processes: naming them takes a tenth of all the time."""


class Report(NamedTuple):
    """One report; days are UTC dates as text, `warnings` the stable names of the quirks found.

    `name` is where it was found, and `signer` whose valid signature it came with (a domain, or nothing).
    """

    organization: str
    report_id: str
    first_day: str
    last_day: str
    policies: tuple[PlainPolicy, ...]
    warnings: tuple[str, ...]
    name: str = ""
    signer: str = ""

    @property
    def results(self) -> tuple[PolicyResult, ...]:
        """The policies with names to their values."""
        return tuple(
            PolicyResult(*policy[:6], tuple(Failure(*failure) for failure in policy[6])) for policy in self.policies
        )


def clean(value: object, limit: int = 255) -> str:
    """Return text that is safe to print: no control, bidirectional or invisible characters, not longer than `limit`.

    Everything in a report is written by a stranger. It is made harmless here, once, before anything is kept.
    """
    if type(value) is str and len(value) <= limit and value.isprintable():
        return value.strip()
    if type(value) is not str:
        if type(value) is not int:
            return ""
        value = str(value) if -_MAX_COUNT <= value <= _MAX_COUNT else ""
    if len(value) > limit:
        value = value[: limit - 1] + "…"
    if not value.isprintable():
        value = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value)
    return value.strip()


@lru_cache(maxsize=4096)
def _clean_name(value: str) -> str:
    return clean(value, 120)


def documents(data: bytes) -> Iterable[dict[str, Any] | ReportError]:
    """Return every JSON object of `data`, and an error for what is left over; `data` may begin with a BOM.

    Two documents in one file are two reports: no second one is dropped silently. A document that uses a name
    twice in one object is refused (I-JSON, RFC 7493 §2.3): whichever value counted, the other might hold failures.
    """
    if len(data) > _MAX_VALUES and data.count(b",") > _MAX_VALUES:
        return (ReportError(f"more than {_MAX_VALUES} values in one file"),)
    try:
        found = from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return _documents_slowly(data)
    return (found,) if type(found) is dict else _objects(found)


def _objects(found: object) -> Iterator[dict[str, Any] | ReportError]:
    for item in found if isinstance(found, list) and found else (found,):
        if isinstance(item, dict):
            yield item
        else:
            yield ReportError("not a TLS report: the JSON holds no object")


def _documents_slowly(data: bytes) -> Iterator[dict[str, Any] | ReportError]:
    """Read what the fast reader refuses: byte order mark, other encodings, more after the end, names used twice."""
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) < len(pairs):
            twice.append(Counter(name for name, _ in pairs).most_common(1)[0][0])
        return names

    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    text = data.decode(encoding, errors="replace")
    decoder = json.JSONDecoder(parse_constant=lambda _name: None, object_pairs_hook=unique)
    place = _after_blanks(text, 0)
    if place == len(text):
        yield ReportError("empty")
    for _ in range(_MAX_ITEMS):
        if place == len(text):
            return
        try:
            found, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            yield ReportError(f"not JSON: {clean(str(error))}")
            return
        if twice:
            yield ReportError(f"the name {clean(twice[0], 80)!r} stands twice in one object")
            twice.clear()
        else:
            yield from _objects(found)
        place = _after_blanks(text, place)
    yield ReportError(f"more than {_MAX_ITEMS} documents in one file")


def _after_blanks(text: str, place: int) -> int:
    mark = _MARK.search(text, place)
    return mark.start() if mark else len(text)


def parse_report(document: dict[str, Any], name: str, context: Context) -> Report:
    """Read one report document, found at `name` in what `context` tells.

    Raises ReportError where it can't be counted: no policies, no usable dates, a foreign document.
    Source: RFC 8460 §4.4; quirks: docs/reports.md.
    """
    warnings = set(context.warnings)
    policies = document.get("policies")
    if type(policies) is not list:
        policies = [policies] if type(policies) is dict else None
    if not policies:
        raise ReportError("not a TLS report: it has no policies")
    if len(policies) > _MAX_ITEMS:
        raise ReportError(f"more than {_MAX_ITEMS} policies in one report")
    dates = document.get("date-range")
    if type(dates) is not dict:
        raise ReportError("not a TLS report: it has no date-range")
    start, end = dates.get("start-datetime"), dates.get("end-datetime")
    if type(start) is not str or type(end) is not str:
        raise ReportError("date-range has no start or no end")
    first_day, last_day, dubious = _days(start, end)
    if dubious:
        warnings.add(dubious)
    results = tuple([_policy(item, context.domain, warnings) for item in policies])
    organization = document.get("organization-name")
    organization = _clean_name(organization) if type(organization) is str else ""
    if not organization:
        warnings.add("no-organization-name")
        contact = clean(document.get("contact-info"))
        organization = clean(context.submitter) or contact.rpartition("@")[2] or "(no name)"
    report_id = clean(document.get("report-id"))
    if not report_id:
        warnings.add("no-report-id")
        report_id = sha256(repr((first_day, last_day, results)).encode(errors="replace")).hexdigest()
    quirks = tuple(sorted(warnings)) if warnings else ()
    # Made in one call of C: by its own constructor takes longer than all the dates.
    return Report._make((organization, report_id, first_day, last_day, results, quirks, name, context.signer))


def _policy(item: object, domain: str, warnings: set[str]) -> PlainPolicy:
    if type(item) is not dict:
        raise ReportError("a policy is not an object")
    policy, summary = item.get("policy"), item.get("summary")
    if type(policy) is not dict:
        if type(summary) is not dict:
            raise ReportError("not a TLS report: a policy has neither policy nor summary")
        policy = {}
    if type(summary) is not dict:
        summary = {}
    policy_type = policy.get("policy-type")
    if policy_type != STS:
        policy_type = _policy_type(policy_type, warnings)
    policy_domain = host_name(policy.get("policy-domain"))
    if not policy_domain:
        warnings.add("no-policy-domain")
        policy_domain = host_name(domain)
    body = _body(policy.get("policy-string"), warnings) if policy_type == STS else ""
    successful = _count(summary.get("total-successful-session-count"), warnings)
    if successful is None:
        warnings.add("successful-count-unknown")
        successful = 0
    total = _count(summary.get("total-failure-session-count"), warnings)
    details = item.get("failure-details")
    if total == 0 and not details:
        return (policy_domain, policy_type, body, successful, 0, 0, ())
    failures, largest, detailed = _failures(details, warnings)
    failed = total or 0
    # Details may overlap, so that their sum says little (RFC 8460 §4.4), but none of them can exceed the total.
    if largest > failed:
        warnings.add("details-exceed-total")
        failed = largest
    if total is None:
        warnings.add("failure-count-unknown")
    if failed > detailed or total is None:
        failures = (*failures, (NO_DETAIL, "", max(failed - detailed, 0), ""))
    return (policy_domain, policy_type, body, successful, failed, int(total is None), failures)


def _policy_type(value: object, warnings: set[str]) -> str:
    policy_type = clean(value, 40).lower() or "unspecified"
    if policy_type not in POLICY_TYPES:
        warnings.add("policy-type-unknown")
    elif policy_type != value:
        warnings.add("policy-type-spelling")
    return policy_type


def _body(value: object, warnings: set[str]) -> str:
    """Return the policy text of `policy-string`: a list of lines, or, seen in the wild, one string."""
    if isinstance(value, list):
        try:
            body = "\n".join(value)
        except TypeError:
            warnings.add("policy-string-spelling")
            body = "\n".join(clean(line, 1024) for line in value)
    elif isinstance(value, str):
        warnings.add("policy-string-spelling")
        body = value
    else:
        body = ""
    body = _clean_body(body)
    if not body:
        warnings.add("no-policy-string")
    return body


@lru_cache(maxsize=1024)
def _clean_body(body: str) -> str:
    body = body[:_MAX_BODY]
    if not body.replace("\n", "").isprintable():
        body = "\n".join(clean(line.replace("\t", " "), 1024) for line in body.splitlines())
    return body if body.strip() else ""


def _failures(value: object, warnings: set[str]) -> tuple[tuple[PlainFailure, ...], int, int]:
    """Return the details, the largest of their counts, and the sum."""
    if not value:
        return (), 0, 0
    details = value if isinstance(value, list) else [value]
    if len(details) > _MAX_ITEMS:
        raise ReportError(f"more than {_MAX_ITEMS} failure details in one policy")
    found = []
    largest = total = 0
    for detail in details:
        if not isinstance(detail, dict):
            raise ReportError("a failure detail is not an object")
        result_type = detail.get("result-type")
        if type(result_type) is not str or result_type not in RESULT_TYPES:
            result_type = clean(result_type, 80).lower() or "unspecified"
            warnings.add("result-type-spelling" if result_type in RESULT_TYPES else "result-type-unknown")
        sessions = _count(detail.get("failed-session-count"), warnings)
        if sessions is None:
            warnings.add("detail-count-unknown")
            sessions = 1  # a detail without a count still says that something failed
        largest = max(largest, sessions)
        total += sessions
        mx, reason = host_name(detail.get("receiving-mx-hostname")), detail.get("failure-reason-code")
        found.append((result_type, mx, sessions, _clean_name(reason) if type(reason) is str else ""))
    return tuple(found), largest, total


def _count(value: object, warnings: set[str]) -> int | None:
    """Return a number of sessions, or None where it is missing, negative or no whole number."""
    if type(value) is int:
        return value if 0 <= value <= _MAX_COUNT else None
    if isinstance(value, float) and value.is_integer() and 0 <= value <= _MAX_COUNT:
        warnings.add("count-spelling")
        return int(value)
    if isinstance(value, str) and len(value) < 16 and value.isascii() and value.strip().isdigit():  # noqa: PLR2004
        warnings.add("count-spelling")
        return int(value)
    return None


def host_name(value: object) -> str:
    """Return a domain or MX host in the form all are compared in: A-labels, lower case, no trailing dot.

    A name that is none is kept as clean text, so that what is said about it is not lost.
    """
    return _host_name(value) if type(value) is str and len(value) <= 512 else ""  # noqa: PLR2004


@lru_cache(maxsize=8192)
def _host_name(value: str) -> str:
    text = clean(value).lower().removeprefix("mx:").strip().rstrip(".")
    if not text.isascii():
        from mta_sts.names import normalise_host  # noqa: PLC0415  idna is heavy, such names are rare

        try:
            return normalise_host(text)
        except MtaStsError:
            return text
    return text


@lru_cache(maxsize=4096)
def _days(start: str, end: str) -> tuple[str, str, str]:
    """Return first and last UTC day, and a warning or nothing; an end at 00:00 belongs to the day before.

    Raises ReportError for dates that can't be read or that run backwards: there is no day to count them for.
    """
    first, last = _moment(start), _moment(end)
    if last < first:
        raise ReportError(f"date-range ends ({clean(end, 40)}) before it starts ({clean(start, 40)})")
    dubious = "date-range-long" if last - first > timedelta(days=_LONG_RANGE_DAYS) else ""
    if last > first:
        last -= timedelta(seconds=1)
    return first.date().isoformat(), last.date().isoformat(), dubious


def _moment(text: str) -> datetime:
    """Read a date-time as senders write it; without a zone it is UTC (RFC 8460 §4.1 counts UTC days)."""
    try:
        moment = datetime.fromisoformat(text.strip().upper())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ReportError(f"date-range has no date that can be read: {clean(text, 40)!r}") from error
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ReportError(f"date-range names the year {moment.year}")
    return moment
