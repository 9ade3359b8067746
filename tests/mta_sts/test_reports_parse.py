"""Reports as senders write them: every quirk that was seen in the wild, and what is no report."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_sts.policy import parse_policy
from mta_sts.reports.containers import Context, Input, Limits, Unreadable, read
from mta_sts.reports.parse import NO_DETAIL, RESULT_TYPES, Report, ReportError, clean, documents, parse_report
from tests.conftest import VECTORS, vector_parameters
from tests.mta_sts.report_samples import BODY, data, failure, policy, report


def only(document: dict[str, Any], context: Context | None = None) -> Report:
    """Read one document as a file would be read."""
    (found,) = documents(data(document))
    assert isinstance(found, dict)
    return parse_report(found, "file", context or Context())


def found_in(content: bytes, name: str = "file") -> list[Report | Unreadable]:
    """Return what is found in some bytes."""
    items: list[Report | Unreadable] = []
    read(content, name, Context(), Input(Limits(), items.append))
    return items


@pytest.mark.parametrize("vector", vector_parameters("tlsrpt/index.json", "files"))
def test_reports_of_other_projects_read_as_labelled(vector: dict[str, Any]) -> None:
    """Sessions, failures, days and domains of every collected file are those that its label gives."""
    name = vector["file"]
    items = found_in((Path(os.environ[VECTORS]) / "tlsrpt" / name).read_bytes(), name)
    assert ["Report"] * len(vector["reports"]) == [type(item).__name__ for item in items]
    for read_report, expected in zip(items, vector["reports"], strict=True):
        assert isinstance(read_report, Report)
        assert expected["organization"] == read_report.organization
        assert expected["report_id"] == read_report.report_id
        assert expected["start"][:10] == read_report.first_day
        assert [None if one == "None" else one for one in expected["policy_domains"]] == sorted(
            {one.domain or None for one in read_report.results}
        )
        types: dict[str, dict[str, int]] = {}
        for one in read_report.results:
            sums = types.setdefault(one.policy_type, {"ok": 0, "failed": 0, "failed_unknown": 0})
            sums["ok"] += one.successful
            sums["failed"] += one.failed
            sums["failed_unknown"] += one.failed_unknown
        assert expected["by_policy_type"] == types
        assert sorted(map(str, expected["failures"])) == sorted(
            str([one.result_type, one.sessions, one.reason or None])
            for found in read_report.results
            for one in found.failures
            if one.result_type != NO_DETAIL
        )
        modes = {str(parse_policy(one.body).mode) for one in read_report.results if one.body}
        assert sorted(expected["policy_mode"]) == sorted(modes)
    warned = any(item.warnings for item in items)
    assert (
        warned
        or vector["expected"] != "parse+warn"
        or "details" in vector["expected_note"]
        or "sum" in vector["expected_note"]
    )


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ("2026-03-01T00:00:00Z", "2026-03-01T23:59:59Z", ("2026-03-01", "2026-03-01")),
        ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", ("2026-03-01", "2026-03-01")),
        ("2026-03-01T00:00:00", "2026-03-01T23:59:59", ("2026-03-01", "2026-03-01")),
        ("2026-03-01", "2026-03-02", ("2026-03-01", "2026-03-01")),
        ("2026-03-01", "2026-03-01", ("2026-03-01", "2026-03-01")),
        ("2026-03-01T00:00:00.123456z", "2026-03-07T23:59:59.9Z", ("2026-03-01", "2026-03-07")),
        ("2026-03-01T01:00:00+02:00", "2026-03-02T00:00:00+02:00", ("2026-02-28", "2026-03-01")),
    ],
)
def test_days_are_utc_and_an_end_at_midnight_is_the_day_before(start: str, end: str, days: tuple[str, str]) -> None:
    """Dates without zone, without time, with fractions or offsets are read; RFC 8460 counts UTC days."""
    document = report()
    document["date-range"] = {"start-datetime": start, "end-datetime": end}
    assert days == (only(document).first_day, only(document).last_day)


def test_days_without_a_zone_are_not_those_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command runs."""
    monkeypatch.setenv("TZ", "XXX-14")
    time.tzset()
    try:
        dates = {"start-datetime": "2026-03-01T00:00:01", "end-datetime": "2026-03-01T23:59:58"}
        assert "2026-03-01" == only({**report(), "date-range": dates}).first_day
    finally:
        monkeypatch.undo()
        time.tzset()


NO_REPORT = {
    "null": None,
    "a number": 3,
    "an empty object": {},
    "an empty list": [],
    "no policies": {**report(), "policies": None},
    "empty policies": {**report(), "policies": []},
    "policies that are text": {**report(), "policies": "sts"},
    "a policy that is null": {**report(), "policies": [None]},
    "a policy that is a foreign object": {**report(), "policies": [{"Effect": "Allow"}]},
    "a detail that is text": report(policy(details=["expired"])),
    "no dates": {**report(), "date-range": None},
    "dates that are numbers": {**report(), "date-range": {"start-datetime": 1, "end-datetime": 2}},
    "a date that is none": report(day="yesterday"),
    "a year long ago": report(day="0001-01-01"),
    "dates that run backwards": {
        **report(),
        "date-range": {"start-datetime": "2026-03-02T00:00:00Z", "end-datetime": "2026-03-01T00:00:00Z"},
    },
    "more policies than anyone has": report(*[policy()] * 10_001),
    "more details than anyone has": report(policy(details=[failure()] * 10_001)),
    "a year far ahead": report(day="2201-01-01"),
    "a foreign document": {"Version": "2012-10-17", "policies": [{"policy": {}}]},
}


@pytest.mark.parametrize("document", NO_REPORT.values(), ids=NO_REPORT.keys())
def test_what_is_no_report_is_named_and_never_counts_as_no_failure(document: object) -> None:
    """Foreign, empty or undated documents are unreadable, with a reason."""
    (item,) = found_in(data(document))
    assert isinstance(item, Unreadable)
    assert item.reason


COUNTS = [
    (0, 0, 0),
    (3, 3, 0),
    ("3", 3, 0),
    (3.0, 3, 0),
    (0.0, 0, 0),
    (" 0", 0, 0),
    (None, 0, 1),
    (-1, 0, 1),
    ("many", 0, 1),
    ("²", 0, 1),
    ("٣", 0, 1),
    ("9" * 16, 0, 1),
    (2**60, 0, 1),
    (10**30, 0, 1),
    (1e300, 0, 1),
    (True, 0, 1),
    (1.5, 0, 1),
    ([], 0, 1),
]


@pytest.mark.parametrize(("count", "failed", "unknown"), COUNTS)
def test_a_failure_count_is_a_number_or_unknown_but_never_silently_nought(
    count: object, failed: int, unknown: int
) -> None:
    """Text and round decimals are numbers; missing, negative and senseless counts are unknown and show as a failure."""
    (result,) = only(report(policy(failed=count))).results
    assert (failed, unknown) == (result.failed, result.failed_unknown)
    assert bool(failed or unknown) == bool(result.failures)


def test_a_missing_summary_is_unknown() -> None:
    """Without a summary nothing is fine and the failures are unknown."""
    one = policy()
    del one["summary"]
    read_report = only(report(one))
    (result,) = read_report.results
    assert (0, 0, 1) == (result.successful, result.failed, result.failed_unknown)
    assert {"failure-count-unknown", "successful-count-unknown"} == set(read_report.warnings)


@pytest.mark.parametrize(
    ("total", "details", "expected"),
    [
        (3, [], {NO_DETAIL: 3}),
        (3, [failure(sessions=1)], {"certificate-expired": 1, NO_DETAIL: 2}),
        (
            1,
            [failure(sessions=1), failure("validation-failure", sessions=1)],
            {"certificate-expired": 1, "validation-failure": 1},
        ),
        (0, [failure(sessions=4)], {"certificate-expired": 4}),
        (1, [failure(sessions=None)], {"certificate-expired": 1}),
        (1, [failure("CERTIFICATE-EXPIRED")], {"certificate-expired": 1}),
        (1, [failure("new-type")], {"new-type": 1}),
        (1, [failure("")], {"unspecified": 1}),
        (None, [failure(sessions=2)], {"certificate-expired": 2, NO_DETAIL: 0}),
    ],
)
def test_every_failed_session_has_a_type(total: object, details: list[Any], expected: dict[str, int]) -> None:
    """Details and total may disagree either way; no failure is lost between them."""
    (result,) = only(report(policy(failed=total, details=details))).results
    assert expected == {one.result_type: one.sessions for one in result.failures}
    assert result.failed >= max(sessions for sessions in expected.values())


QUIRKS: dict[str, tuple[dict[str, Any], str, object]] = {
    "policy-string as one text": ({"policy-string": "\n".join(BODY)}, "body", "\n".join(BODY)),
    "policy-string with numbers": ({"policy-string": ["max_age:", 5]}, "body", "max_age:\n5"),
    "policy-string with CRLF and tabs": ({"policy-string": ["mx:\ta\r", "b"]}, "body", "mx: a\nb"),
    "no policy-string": ({"policy-string": None}, "body", ""),
    "policy-string of blanks": ({"policy-string": ["", " "]}, "body", ""),
    "domain in capitals with a dot": ({"policy-domain": "EXAMPLE.com."}, "domain", "example.com"),
    "domain in U-labels": ({"policy-domain": "Bücher.example"}, "domain", "xn--bcher-kva.example"),
    "no domain": ({"policy-domain": None}, "domain", ""),
    "type in capitals": ({"policy-type": "STS"}, "policy_type", "sts"),
    "unknown type": ({"policy-type": "tls"}, "policy_type", "tls"),
    "no type": ({"policy-type": None}, "policy_type", "unspecified"),
}


@pytest.mark.parametrize(("change", "field", "expected"), QUIRKS.values(), ids=QUIRKS.keys())
def test_quirks_of_a_policy_are_read_for_what_they_mean(change: dict[str, Any], field: str, expected: object) -> None:
    """Spellings that senders use keep their meaning; a policy type in doubt is no `sts`."""
    one = policy()
    one["policy"].update(change)
    assert expected == getattr(only(report(one)).results[0], field)


SEVERAL = [failure(), failure(sessions=None)]
LONG = {"start-datetime": "2026-03-01T00:00:00Z", "end-datetime": "2026-04-01T00:00:01Z"}
WARNED: dict[str, list[dict[str, Any]]] = {
    "count-spelling": [report(policy(successful="5")), report(policy(failed=1.0, details=[failure()]))],
    "date-range-long": [{**report(), "date-range": LONG}],
    "detail-count-unknown": [report(policy(failed=2, details=SEVERAL))],
    "details-exceed-total": [report(policy(failed=1, details=[failure(sessions=2)]))],
    "failure-count-unknown": [report(policy(failed=None))],
    "no-organization-name": [{**report(), "organization-name": name} for name in ("", 5, None)],
    "no-policy-domain": [report(policy(domain=None))],
    "no-policy-string": [report(policy(body=()))],
    "no-report-id": [{**report(), "report-id": None}],
    "policy-type-spelling": [report(policy("TLSA"))],
    "policy-type-unknown": [report(policy("tls"))],
    "result-type-spelling": [report(policy(failed=1, details=[failure("Certificate-Expired")]))],
    "result-type-unknown": [report(policy(failed=1, details=[failure("expired")]))],
    "successful-count-unknown": [report(policy(successful=-1))],
}


@pytest.mark.parametrize(("warning", "documents"), WARNED.items(), ids=WARNED.keys())
def test_each_quirk_is_told_by_its_name_and_nothing_else_is(warning: str, documents: list[dict[str, Any]]) -> None:
    """A usual report, of any type and with details, has none."""
    for document in documents:
        assert (warning,) == only(document).warnings
    details = [failure(), failure("validation-failure")]
    assert () == only(report(policy(failed=2, details=details), policy("tlsa"), policy("no-policy-found"))).warnings


def test_what_stands_alone_counts_as_a_list_of_one_and_what_is_missing_comes_from_the_mail() -> None:
    """One policy without a list; a policy's domain, where only the mail names it; a body belongs to `sts` alone."""
    assert only(report()).policies == only({**report(), "policies": policy()}).policies
    (result,) = only(report(policy(domain=None)), Context(domain="Example.COM.")).results
    assert "example.com" == result.domain
    other = policy("tlsa")
    other["policy"]["policy-string"] = list(BODY)
    assert "" == only(report(other)).results[0].body
    (result,) = only(report({"summary": policy(successful=3)["summary"]})).results
    assert ("unspecified", 3) == (result.policy_type, result.successful)


def test_at_the_limits_everything_is_read() -> None:
    """As many policies, details, values and days as are taken, and the largest number."""
    assert 10_000 == len(only(report(*[policy()] * 10_000)).policies)
    (result,) = only(report(policy(failed=10_000, details=[failure()] * 10_000))).results
    assert 10_000 == len(result.failures)
    for count, reason in ((1_000_000, "it has no policies"), (1_000_001, "values in one file")):
        (item,) = found_in(b'{"x": [' + b"0," * count + b"0]}")
        assert isinstance(item, Unreadable)
        assert reason in item.reason
    month = only({**report(), "date-range": {**LONG, "end-datetime": "2026-04-01T00:00:00Z"}})
    assert ("2026-03-31", ()) == (month.last_day, month.warnings)
    for day in ("2015-01-01", "2200-12-31"):
        assert day == only(report(day=day)).first_day
    (result,) = only(report(policy(successful=2**53 - 1, failed=float(2**53 - 1)))).results
    assert (2**53 - 1, 2**53 - 1) == (result.successful, result.failed)


def test_an_mx_host_is_compared_without_prefix_case_and_dot() -> None:
    """`mx: MX1.Example.COM.` is the host mx1.example.com."""
    (result,) = only(report(policy(failed=1, details=[failure(mx="mx: MX1.Example.COM.")]))).results
    assert result.failures[0].mx == "mx1.example.com"


def test_details_may_be_one_object_or_null() -> None:
    """A bare object stands for a list of one, null for none."""
    one = policy(failed=1)
    one["failure-details"] = failure()
    assert only(report(one)).results[0].failures[0].result_type == "certificate-expired"
    one["failure-details"] = None
    assert only(report(one)).results[0].failures[0].result_type == NO_DETAIL


def test_what_is_missing_about_the_sender_is_taken_from_elsewhere() -> None:
    """Organization and report-id may be missing; equal content then has an equal id, other content another."""
    bare = {**report(), "organization-name": None, "report-id": None, "contact-info": None}
    assert only(bare, Context(submitter="sender.example")).organization == "sender.example"
    assert only({**bare, "contact-info": "a@b.example"}).organization == "b.example"
    assert only(bare).organization == "(no name)"
    assert only(bare).report_id == only(bare).report_id
    assert only(bare).report_id != only({**bare, "policies": [policy(successful=6)]}).report_id


def test_sts_and_tlsa_stay_apart() -> None:
    """Sessions that a sender counts under both types are two results, never one sum."""
    results = only(report(policy(successful=2), policy("tlsa", successful=2))).results
    assert [("sts", 2), ("tlsa", 2)] == [(one.policy_type, one.successful) for one in results]


def test_text_of_strangers_is_harmless_before_it_is_kept() -> None:
    """Escape sequences, bidirectional overrides and long texts never leave the reader."""
    document = report(
        policy(failed=1, details=[failure(mx="\x1b[31mevil\u202e")]), organization="\x1b]0;x\x07" + "A" * 500
    )
    read_report = only(document)
    texts = [read_report.organization, read_report.results[0].failures[0].mx]
    assert all(text.isprintable() and len(text) <= 255 for text in texts)
    for size, kept in ((512, "a" * 254 + "…"), (513, "")):
        (result,) = only(report(policy(failed=1, details=[failure(mx="a" * size)]))).results
        assert kept == result.failures[0].mx
    assert clean("\ud800") == "\N{REPLACEMENT CHARACTER}"
    assert clean("A" * 300) == "A" * 254 + "…"
    assert clean("\x1b" * 255) == "\N{REPLACEMENT CHARACTER}" * 255
    for number in (2**53 - 1, 1 - 2**53):
        assert clean(number) == str(number)
    assert clean(10**5000) == ""  # printing it would raise


def test_every_known_result_type_says_what_to_do() -> None:
    """All eleven types of RFC 8460 §4.3 have advice, and so have failures without details."""
    assert len(RESULT_TYPES) == 12
    assert all(RESULT_TYPES.values())


TEXT = data(report(policy(failed=7))).decode()
FAILED = '"total-failure-session-count": 7'
TWICE = {
    "a count": TEXT.replace(FAILED, f'{FAILED}, "total-failure-session-count": 0'),
    "a count, spaced": TEXT.replace(FAILED, f'{FAILED} , "total-failure-session-count"\n:\t0'),
    "a count, escaped": TEXT.replace(FAILED, f'{FAILED}, "total-failure-session-coun\\u0074": 0'),
    "a count and a colon elsewhere": TEXT.replace(FAILED, f'{FAILED}, "total-failure-session-count": 0').replace(
        '"contact-info": "', '"contact-info": "\\u003a'
    ),
    "policies": TEXT[:-1] + ', "policies": ' + data([policy()]).decode() + "}",
    "summary": TEXT.replace('"summary": {', '"summary": {"total-failure-session-count": 0}, "summary": {'),
    "a name that nobody reads": TEXT[:-1] + ', "x": {"y": 1, "y": 2}}',
    "after a byte order mark": "\ufeff" + TEXT[:-1] + ', "policies": []}',
}


@pytest.mark.parametrize("text", TWICE.values(), ids=TWICE.keys())
def test_a_name_used_twice_in_one_object_is_refused(text: str) -> None:
    """I-JSON forbids it (RFC 7493 §2.3); whichever value counted, the other may be the failures."""
    first, second = found_in((text + data(report()).decode()).encode())
    assert isinstance(first, Unreadable)
    assert "stands twice in one object" in first.reason
    assert isinstance(second, Report)
    (alone,) = found_in(text.encode())
    assert isinstance(alone, Unreadable)


@pytest.mark.parametrize(
    "text",
    [TEXT, TEXT.replace('": ', '" : '), TEXT.replace("Sender A", "Sender\\u0020A"), TEXT.replace("tls@", "::1 \\/@")],
)
def test_colons_and_escapes_are_no_names_used_twice(text: str) -> None:
    """Every spelling of one document is that document."""
    (item,) = found_in(text.encode())
    assert isinstance(item, Report)
    assert ("Sender A", 7) == (item.organization, item.results[0].failed)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 5000])
def test_what_is_no_number_is_never_nought(number: str) -> None:
    """A count beyond JSON or beyond all counts is unknown, or the document is refused."""
    (item,) = found_in(TEXT.replace(FAILED, f'"total-failure-session-count": {number}').encode())
    assert isinstance(item, Unreadable) or item.results[0].failed_unknown == 1


def test_half_a_surrogate_pair_is_read() -> None:
    """An escape that names no character, as broken writers leave, costs one character and not the report."""
    (item,) = found_in(TEXT.replace("Sender A", "Sender A\\ud83d").encode())
    assert isinstance(item, Report)
    assert ("Sender A\N{REPLACEMENT CHARACTER}", 7) == (item.organization, item.results[0].failed)


def test_more_documents_than_anyone_sends_are_named_once() -> None:
    """A few bytes may hold millions of objects: they cost neither memory nor a line each."""
    assert [1, 101, 101] == [
        len(found_in(content))
        for content in (b"[" + b"{}," * 1_000_001 + b"{}]", b"[" + b"{}," * 999 + b"{}]", b"{} " * 999)
    ]
    assert "900 more in it could not be read" in str(found_in(b"{} " * 1000)[-1])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = ["organization-name", "date-range", "report-id", "policies", "contact-info"]
PARTS = ["policy", "summary", "failure-details"]
DATES = ["start-datetime", "end-datetime"]
LEAVES = {
    "policy": ["policy-type", "policy-string", "policy-domain", "mx-host"],
    "summary": ["total-successful-session-count", "total-failure-session-count"],
    "failure-details": [
        "result-type",
        "receiving-mx-hostname",
        "failed-session-count",
        "failure-reason-code",
        "sending-mta-ip",
    ],
}


def some(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Anything at all in some of these fields."""
    return st.dictionaries(st.sampled_from(names), json_values, max_size=3)


@given(some(NAMES), some(PARTS), some(DATES), st.tuples(*map(some, LEAVES.values())))
def test_any_document_is_counted_or_refused(
    top: dict[str, Any], inner: dict[str, Any], dates: dict[str, Any], leaves: tuple[dict[str, Any], ...]
) -> None:
    """Whatever stands in the fields: a report or a ReportError, and an absent or odd count is never 0 failures."""
    one = policy(failed=1, details=[failure()])
    for part, changed in zip(LEAVES, leaves, strict=True):
        (one[part][0] if part == "failure-details" else one[part]).update(changed)
    one.update(inner)
    document = report(one)
    document["date-range"].update(dates)
    document.update(top)
    try:
        read_report = parse_report(document, "file", Context())
    except ReportError:
        return
    for result, given_policy in zip(read_report.results, _listed(document["policies"]), strict=True):
        given_summary = given_policy.get("summary")
        count = given_summary.get("total-failure-session-count") if isinstance(given_summary, dict) else None
        assert result.failed or result.failed_unknown or str(count).strip() in {"0", "0.0", "-0.0"}
        assert result.failed == 0 or result.failures


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, dict) else value
