"""Evidence for the step to enforce: what is enough, and the twelve ways in which reports mislead."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from mta_sts.checks.lookup import Dns, Looked
from mta_sts.cli import main
from mta_sts.evidence import (
    Explanation,
    Thresholds,
    Vouching,
    build_evidence,
    check_evidence,
    check_form,
    evidence_digest,
    load_evidence,
    parse_explanation,
    parse_vouching,
    ready_on,
    shown_window,
    write_evidence,
)
from mta_sts.fetch import FetchCause, FetchedPolicy, FetchError
from mta_sts.findings import Finding, MtaStsError, errors
from mta_sts.policy import Policy, parse_policy
from mta_sts.reports.containers import Limits
from mta_sts.reports.origin import OriginCheck
from mta_sts.reports.summary import Summary
from tests.mta_sts.report_samples import BODY, DOMAIN, POLICY, data, days, failure, mail, policy, report

if TYPE_CHECKING:
    from pathlib import Path

HOST = "mx.example.com"
NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)
SENDERS = ("one.example", "two.example")
ENFORCE = parse_policy(POLICY.replace("testing", "enforce").replace("604800", "1209600"))


def signed(document: dict[str, Any], sender: str = "one.example") -> bytes:
    """Return a report mail whose signature the trusted host found good."""
    return mail(data(document), sender=sender, results=f"{HOST}; dkim=pass header.d={sender}")


def clean_week(folder: Path, count: int = 8) -> None:
    """Write enough: that many days of clean signed reports of two senders."""
    for day in days(count):
        for sender in SENDERS:
            (folder / f"{day}-{sender}.eml").write_bytes(signed(report(day=day, organization=sender), sender))


def build(folder: Path, *explanations: Explanation, **options: Any) -> dict[str, Any]:
    """Return evidence from what lies in a folder."""
    return build_evidence(
        DOMAIN, POLICY, [str(folder)], origin=OriginCheck(HOST), explanations=explanations, jobs=1, **options
    )


def judge(evidence: dict[str, Any], to_publish: Policy = ENFORCE, **options: Any) -> list[Finding]:
    """Return what stands against enforce."""
    return check_evidence(
        evidence, to_publish, Thresholds(), options.get("now", NOW), domain=options.get("domain", DOMAIN)
    )


def rules(findings: list[Finding]) -> list[str]:
    """Return the names of the errors."""
    return sorted({finding.rule for finding in errors(findings)})


def test_a_clean_week_of_two_senders_is_enough(tmp_path: Path) -> None:
    """The baseline that every other test spoils in one way."""
    clean_week(tmp_path)
    evidence = build(tmp_path)
    assert [] == judge(evidence)
    assert ("2026-03-01", "2026-03-08", 8, 80, 2) == (
        evidence["window"]["first_day"],
        evidence["window"]["last_day"],
        evidence["window"]["days_with_reports"],
        evidence["window"]["successful_sessions"],
        evidence["window"]["organizations"],
    )


def spoil(folder: Path, *policies: dict[str, Any], sender: str = "one.example", day: str = "2026-03-05") -> None:
    """Add one more signed report."""
    (folder / "spoiler.eml").write_bytes(signed(report(*policies, organization="Spoiler", day=day), sender))


# The gate traps of the research on reports, by number.


def test_trap_1_success_without_a_policy_is_no_evidence(tmp_path: Path) -> None:
    """Sessions under no-policy-found prove nothing, however many."""
    for day in days(8):
        one = policy("no-policy-found", successful=343)
        (tmp_path / f"{day}.eml").write_bytes(signed(report(one, day=day)))
    evidence = build(tmp_path)
    assert ["evidence-no-reports"] == rules(judge(evidence))
    assert {"no-policy-found": 8 * 343} == evidence["not_counted"]


def test_trap_2_tlsa_sessions_are_not_added(tmp_path: Path) -> None:
    """A sender that reports the same sessions under tlsa and sts counts them once."""
    clean_week(tmp_path)
    before = build(tmp_path)["window"]["successful_sessions"]
    spoil(tmp_path, policy(successful=2), policy("tlsa", successful=2))
    after = build(tmp_path)
    assert before + 2 == after["window"]["successful_sessions"]
    assert {"tlsa": 2} == after["not_counted"]


@pytest.mark.parametrize("kind", ["sts", "tlsa", "no-policy-found", "unheard-of"])
def test_trap_3_a_total_without_details_counts_under_any_type(tmp_path: Path, kind: str) -> None:
    """Failed sessions stop enforce, whatever policy they were counted under and whether or not they are explained."""
    clean_week(tmp_path)
    spoil(tmp_path, policy(kind, failed=3))
    (finding,) = errors(judge(build(tmp_path)))
    assert finding.rule == "evidence-failure"
    assert finding.path == "not-detailed"


@pytest.mark.parametrize("count", [None, "", -1, "none"])
def test_trap_4_a_missing_count_is_not_nought(tmp_path: Path, count: object) -> None:
    """An unknown number of failures stops enforce."""
    clean_week(tmp_path)
    spoil(tmp_path, policy(failed=count))
    assert ["evidence-failure"] == rules(judge(build(tmp_path)))


def test_trap_5_a_report_that_arrives_twice_counts_once(tmp_path: Path) -> None:
    """Copies, by mail or as files, make no more sessions or days."""
    clean_week(tmp_path, 6)
    once = build(tmp_path)
    copies = tmp_path / "copies"
    copies.mkdir()
    for path in list(tmp_path.glob("*.eml")):
        (copies / path.name).write_bytes(path.read_bytes())
        (copies / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    twice = build(tmp_path)
    assert once["window"] == twice["window"]
    assert once["read"]["sha256"] == twice["read"]["sha256"]
    assert "evidence-few-days" in rules(judge(twice))


def test_trap_6_one_failing_sender_is_not_averaged_away(tmp_path: Path) -> None:
    """A million good sessions elsewhere do not outweigh one failed session at one sender."""
    clean_week(tmp_path)
    spoil(tmp_path, policy(successful=10**6), day="2026-03-04")
    (tmp_path / "bad.eml").write_bytes(
        signed(report(policy(successful=0, failed=1, details=[failure()]), organization="Eden"))
    )
    (finding,) = errors(judge(build(tmp_path)))
    assert ("evidence-failure", "certificate-expired@mx2.example.com") == (finding.rule, finding.path)
    assert "Eden" in finding.message


def test_trap_7_evidence_is_about_the_body_it_names(tmp_path: Path) -> None:
    """Sessions under another body prove nothing about this one."""
    other = [line.replace("mx1", "mx7") for line in BODY]
    for day in days(8):
        for sender in SENDERS:
            one = report(policy(body=other), day=day, organization=sender)
            (tmp_path / f"{day}{sender}.eml").write_bytes(signed(one, sender))
    evidence = build(tmp_path)
    assert ["evidence-no-reports"] == rules(judge(evidence))
    assert {"another body": 80} == evidence["not_counted"]


def test_trap_8_only_the_domain_counts_in_any_spelling(tmp_path: Path) -> None:
    """Failures of other domains are not ours; ours are, in capitals and with a dot."""
    clean_week(tmp_path)
    spoil(tmp_path, policy(domain="other.example", failed=3))
    assert [] == judge(build(tmp_path))
    spoil(tmp_path, policy(domain="EXAMPLE.Com.", failed=3))
    assert ["evidence-failure"] == rules(judge(build(tmp_path)))


def test_trap_9_unreadable_files_are_named_in_the_verdict(tmp_path: Path) -> None:
    """They may hold failures: they stop enforce until somebody says what they are."""
    clean_week(tmp_path)
    (tmp_path / "broken.json").write_bytes(b'{"organization-name": "x"')
    (finding,) = errors(judge(build(tmp_path)))
    assert finding.rule == "evidence-unreadable"
    assert "broken.json" in finding.message
    (warning,) = judge(build(tmp_path, parse_explanation("unreadable=spam to the address")))
    assert "spam to the address" in warning.message
    spoil(tmp_path, policy(failed=1, details=[failure()]))
    about_another = parse_explanation("certificate-expired=their clock was wrong")
    assert ["evidence-unreadable"] == rules(judge(build(tmp_path, about_another)))


def test_a_report_beyond_the_size_that_was_asked_for_is_unreadable(tmp_path: Path) -> None:
    """It may hold failures, as any other that is not read."""
    clean_week(tmp_path)
    assert ["evidence-no-reports", "evidence-unreadable"] == rules(judge(build(tmp_path, limits=Limits(document=100))))


def test_files_are_listed_of_places_on_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects in S3 are not listed a second time."""
    listed: list[str] = []
    monkeypatch.setattr("mta_sts.evidence.collect", lambda *_: Summary())
    monkeypatch.setattr("mta_sts.evidence.pieces", lambda places: listed.extend(places) or [])
    build_evidence(DOMAIN, POLICY, [str(tmp_path), "s3://bucket/reports"], origin=OriginCheck(HOST))
    assert [str(tmp_path)] == listed


def test_trap_10_a_fetch_error_of_one_sender_stops_enforce(tmp_path: Path) -> None:
    """Failures that name no body are failures: one sender that can't fetch the policy is real."""
    clean_week(tmp_path)
    one = policy(successful=0, failed=1, details=[failure("sts-policy-fetch-error", mx="")])
    del one["policy"]["policy-string"]
    spoil(tmp_path, one)
    (finding,) = errors(judge(build(tmp_path)))
    assert finding.path == "sts-policy-fetch-error"
    assert "no body named" in finding.message


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        ("evidence-few-days", {SENDERS: ["2026-03-01", "2026-03-08"]}),
        ("evidence-few-sessions", {SENDERS[:1]: days(8), SENDERS[1:]: ["2026-03-01"]}),
        ("evidence-few-organizations", {SENDERS[:1]: days(8)}),
    ],
)
def test_trap_11_days_sessions_and_senders_are_all_needed(
    tmp_path: Path, rule: str, seen: dict[tuple[str, ...], list[str]]
) -> None:
    """Two of the three, however large, never stand for the third."""
    sessions = 1 if rule == "evidence-few-sessions" else 10**6
    for senders, at in seen.items():
        for sender in senders:
            for day in at:
                document = report(policy(successful=sessions), day=day, organization=sender)
                (tmp_path / f"{day}-{sender}.eml").write_bytes(signed(document, sender))
    assert [rule] == rules(judge(build(tmp_path)))


def test_trap_11_silence_is_not_clean(tmp_path: Path) -> None:
    """Reports about other domains are none."""
    (tmp_path / "other.eml").write_bytes(signed(report(policy(domain="other.example"))))
    assert ["evidence-no-reports"] == rules(judge(build(tmp_path)))


def test_trap_12_nothing_unsigned_makes_it_pass(tmp_path: Path) -> None:
    """Files and mails that anybody may have written count only for failures, unless a named person vouches."""
    for day in days(8):
        for sender in SENDERS:
            document = report(day=day, organization=sender)
            (tmp_path / f"{day}{sender}.json").write_bytes(data(document))
            (tmp_path / f"{day}{sender}.eml").write_bytes(
                mail(data(document), results=f"{HOST}; dkim=fail header.d={sender}")
            )
    evidence = build(tmp_path)
    assert ["evidence-no-reports"] == rules(judge(evidence))
    assert {"this body, unsigned": 80} == evidence["not_counted"]
    vouched = build(tmp_path, vouching=Vouching("Ann Smith", "fetched from our own mailbox"))
    (warning,) = judge(vouched)
    assert "Ann Smith" in warning.message
    assert "fetched from our own mailbox" in warning.message
    assert [None] * 2 == [one["signed_by"] for one in vouched["organizations"]]
    assert [f"no signature: {sender}" for sender in SENDERS] == vouched["window"]["told_by"]


def test_a_forged_clean_copy_does_not_replace_a_failing_report(tmp_path: Path) -> None:
    """An attacker who signs with a domain of his own can't hide what another report says."""
    clean_week(tmp_path)
    bad = report(policy(failed=2, details=[failure(sessions=2)]), report_id="7")
    (tmp_path / "true.json").write_bytes(data(bad))
    (tmp_path / "forged.eml").write_bytes(signed(report(report_id="7"), "evil.example"))
    assert ["evidence-failure"] == rules(judge(build(tmp_path)))


REAL = report(policy(failed=500, details=[failure("starttls-not-supported", "mx1.example.com", 500)]), report_id="7")
EXPIRED = [failure(sessions=501)]
FORGED = {
    "more failures": report(policy(failed=501, details=EXPIRED), report_id="7"),
    "old": report(policy(failed=501, details=EXPIRED), report_id="7", day="2016-05-04"),
    "under another type": report(policy("tlsa", failed=501, details=EXPIRED), report_id="7", day="2016-05-04"),
    "another body": report(policy(failed=501, details=EXPIRED, body=BODY[:3]), report_id="7"),
    "clean": report(report_id="7"),
    "in capitals": report(
        policy(failed=501, details=EXPIRED), report_id="7", organization="SENDER A", day="2016-01-01"
    ),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("signer", ["", "evil.example"], ids=["unsigned", "signed by another"])
def test_no_forged_version_hides_what_a_report_says(tmp_path: Path, forged: dict[str, Any], signer: str) -> None:
    """Worse, older, about something else, or of a kind that is explained already: the failures of both count."""
    clean_week(tmp_path)
    known = report(policy(failed=1, details=[failure()]), organization="Third")
    (tmp_path / "known.eml").write_bytes(signed(known, "three.example"))
    explained = parse_explanation("certificate-expired=a test host")
    assert [] == rules(judge(build(tmp_path, explained)))
    (tmp_path / "real.eml").write_bytes(signed(REAL))
    (tmp_path / "forged").write_bytes(signed(forged, signer) if signer else data(forged))
    found = judge(build(tmp_path, explained))
    assert ["starttls-not-supported@mx1.example.com"] == [each.path for each in errors(found)]
    (conflict,) = [each for each in found if each.rule == "evidence-conflict"]
    assert "sender a 7" in conflict.message.lower()


@pytest.mark.parametrize("successful", [0, 10**6])
def test_unsigned_versions_take_nothing_away_and_add_nothing(tmp_path: Path, successful: int) -> None:
    """Copies that anybody may have written change no number of what is signed."""
    clean_week(tmp_path)
    before = build(tmp_path)
    for day in days(8):
        for sender in SENDERS:
            forged = report(policy(successful=successful), day=day, organization=sender)
            (tmp_path / f"{day}-{sender}.json").write_bytes(data(forged))
    evidence = build(tmp_path)
    assert (before["window"], before["organizations"]) == (evidence["window"], evidence["organizations"])
    (conflict,) = judge(evidence)
    assert ("evidence-conflict", 16) == (conflict.rule, evidence["read"]["conflicts"])


def test_many_names_under_one_signature_are_one_organization(tmp_path: Path) -> None:
    """Names are free to choose, signatures are not."""
    for day in days(8):
        for name in ("Google Inc.", "Microsoft Corporation"):
            one = report(day=day, organization=name)
            (tmp_path / f"{day}{name}.eml").write_bytes(signed(one, "evil.example"))
    assert ["evidence-few-organizations"] == rules(judge(build(tmp_path)))


TWO_NAMES = {
    "subdomains of one registered domain": ("a.evil.example", "b.evil.example"),
    "accounts at two freemail providers": ("gmail.com", "outlook.com"),
    "a reporter and a freemail account": ("microsoft.com", "yahoo.co.jp"),
    "names that somebody rents out": ("a.github.io", "b.github.io"),
}


@pytest.mark.parametrize("domains", TWO_NAMES.values(), ids=TWO_NAMES.keys())
def test_signatures_that_anybody_can_get_make_no_organizations(tmp_path: Path, domains: tuple[str, str]) -> None:
    """What counts is who registered the domain, and only where it is not a mail provider's for its customers."""
    for day in days(8):
        for name, domain in zip(("Google Inc.", "Microsoft Corporation"), domains, strict=True):
            (tmp_path / f"{day}{domain}.eml").write_bytes(signed(report(day=day, organization=name), domain))
    assert set(rules(judge(build(tmp_path)))) & {"evidence-few-organizations", "evidence-no-reports"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Google Inc.", "evil.example: Google Inc."),
        ("X; google.com: Google Inc.", "evil.example: X google.com Google Inc."),
        ("google.com\u202e", "evil.example: google.com"),
        ("<b>Bank & Co</b>" * 9, "evil.example: " + ("b Bank & Co b " * 9)[:60]),
    ],
)
def test_a_name_can_not_pass_for_a_signing_domain(tmp_path: Path, name: str, shown: str) -> None:
    """What is shown begins with the domain that signed, and no name ends its entry in the list."""
    (tmp_path / "a.eml").write_bytes(signed(report(organization=name), "evil.example"))
    assert [shown] == build(tmp_path)["window"]["told_by"]


@pytest.mark.parametrize("told_by", [None, [], "google.com"])
def test_a_window_that_names_no_reporters_is_shown_with_none(told_by: object) -> None:
    """As in a file that nobody checked."""
    window = {"days_with_reports": 1, "successful_sessions": None, "told_by": told_by}
    assert "evidence from None to None: 0 sessions, 0 senders, 1 day, told by nobody" == shown_window(window)


def test_a_long_list_of_reporters_is_cut_where_it_is_read(tmp_path: Path) -> None:
    """With a count of the others."""
    assert shown_window({"told_by": ["x.example"] * 10}).endswith("x.example; x.example")
    for number in range(12):
        one = report(organization=f"S{number:02}")
        (tmp_path / f"{number}.eml").write_bytes(signed(one, f"s{number:02}.example"))
    window = build(tmp_path)["window"]
    assert 12 == len(window["told_by"])
    assert shown_window(window).endswith("s09.example: S09 and 2 more")


def test_files_are_listed_so_that_single_ones_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `sha256sum` writes them, the first by name, with the number of all; a large mbox is one file."""
    clean_week(tmp_path, 1)
    (tmp_path / "broken.json").write_bytes(b"{")
    (tmp_path / "a.mbox").write_bytes(b"".join(b"From x\n" + signed(report(day=day)) for day in days(9, "2026-03-02")))
    monkeypatch.setattr("mta_sts.reports.sources._OWN_WORK", 100)
    monkeypatch.setattr("mta_sts.reports.sources._PIECE", 1000)
    names = sorted(path.name for path in tmp_path.iterdir())
    digests = [f"{sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}" for name in names]
    read = build(tmp_path)["read"]
    assert (4, digests) == (read["files"], read["file_digests"])
    monkeypatch.setattr("mta_sts.evidence._FILES", 2)
    read = build(tmp_path)["read"]
    assert (4, digests[:2]) == (read["files"], read["file_digests"])


def test_failures_are_told_by_day_where_the_days_are_few(tmp_path: Path) -> None:
    """Over all organizations that report the same kind; of more than a month only first and last day."""
    failing_start(tmp_path)
    spoil(tmp_path, policy(failed=5, details=[failure(sessions=5)]), day="2026-03-02")
    (one,) = build(tmp_path)["failures"]
    assert {"2026-03-01": 2, "2026-03-02": 7, "2026-03-03": 2} == one["days"]
    failing_start(tmp_path, 32)
    (one,) = build(tmp_path)["failures"]
    assert (None, "2026-03-01", "2026-04-01", 69) == (one["days"], one["first_day"], one["last_day"], one["sessions"])


def test_a_provider_s_own_subdomain_counts(tmp_path: Path) -> None:
    """Mail.ru signs its reports as corp.mail.ru, under which nobody else gets an address."""
    for day in days(8):
        for name, domain in (("Mail.ru", "corp.mail.ru"), ("Google Inc.", "google.com")):
            (tmp_path / f"{day}{domain}.eml").write_bytes(signed(report(day=day, organization=name), domain))
    evidence = build(tmp_path)
    assert [] == judge(evidence)
    assert [("Google Inc.", "google.com"), ("Mail.ru", "corp.mail.ru")] == [
        (one["name"], one["signed_by"]) for one in evidence["organizations"]
    ]


def test_reports_without_a_session_make_no_days_and_no_organizations(tmp_path: Path) -> None:
    """Nought sessions on seven days, and a second sender with none: one day, one organization."""
    for day in days(8):
        one = report(policy(successful=20 if day == "2026-03-01" else 0), day=day, organization="A")
        (tmp_path / f"{day}.eml").write_bytes(signed(one))
    (tmp_path / "zero.eml").write_bytes(signed(report(policy(successful=0), organization="B"), "two.example"))
    (tmp_path / "zero.json").write_bytes(data(report(policy(successful=0), organization="C")))
    evidence = build(tmp_path)
    assert {} == evidence["not_counted"]
    (tmp_path / "2026-03-01.eml").unlink()
    assert [] == build(tmp_path)["window"]["told_by"]
    assert (1, 1, "2026-03-01") == (
        evidence["window"]["days_with_reports"],
        evidence["window"]["organizations"],
        evidence["window"]["last_day"],
    )
    assert ["evidence-few-days", "evidence-few-organizations", "evidence-short"] == rules(judge(evidence))


def test_who_reported_only_before_a_fix_is_no_witness_of_the_time_after(tmp_path: Path) -> None:
    """Both names go on, but since the fix both are signed by one domain: one organization."""
    clean_week(tmp_path, 3)
    (tmp_path / "bad.eml").write_bytes(signed(report(policy(failed=1, details=[failure()]), day="2026-03-03")))
    for day in days(8, "2026-03-04"):
        for sender in SENDERS:
            (tmp_path / f"{day}{sender}").write_bytes(signed(report(day=day, organization=sender), "evil.example"))
    fixed = parse_explanation("certificate-expired=2026-03-03: renewed", fixed=True)
    found = judge(build(tmp_path, fixed), now=datetime(2026, 3, 12, tzinfo=UTC))
    assert ["evidence-few-organizations"] == rules(found)


def test_unsigned_failures_count_and_no_domain_counts_as_ours(tmp_path: Path) -> None:
    """What might be a failure of ours stops enforce."""
    clean_week(tmp_path)
    (tmp_path / "x.json").write_bytes(data(report(policy(domain=None, failed=1), organization="X")))
    (finding,) = errors(judge(build(tmp_path)))
    assert "no domain named" in finding.message


def failing_start(folder: Path, last: int = 3) -> None:
    """Write a clean fortnight whose first days also saw failures."""
    clean_week(folder, 14)
    for day in days(last):
        one = report(policy(successful=0, failed=2, details=[failure(sessions=2)]), organization="Third", day=day)
        (folder / f"{day}-third.eml").write_bytes(signed(one, "three.example"))


def test_a_fixed_failure_starts_the_clock_again(tmp_path: Path) -> None:
    """Clean time counts from the day after; a full max_age of it is needed."""
    failing_start(tmp_path)
    fixed = parse_explanation("certificate-expired@mx2.example.com=2026-03-03: renewed", fixed=True)
    now = datetime(2026, 3, 15, tzinfo=UTC)
    evidence = build(tmp_path, fixed)
    assert "2026-03-04" == evidence["window"]["clean_from"]
    again = parse_explanation("certificate-expired@mx2.example.com=2026-03-05: renewed again", fixed=True)
    for both in ((fixed, again), (again, fixed)):
        assert ["2026-03-05"] == [item["fixed_on"] for item in build(tmp_path, *both)["failures"]]
    assert [] == errors(judge(evidence, now=now))
    for path in tmp_path.glob("2026-03-1*"):
        path.unlink()
    short = judge(build(tmp_path, fixed), now=datetime(2026, 3, 10, tzinfo=UTC))
    assert ["evidence-few-days", "evidence-short"] == rules(short)
    assert any("2026-03-11" in finding.message for finding in short)


def test_an_explanation_with_a_reason_puts_failures_aside_and_is_shown(tmp_path: Path) -> None:
    """The reviewer sees what was explained and how."""
    failing_start(tmp_path)
    evidence = build(tmp_path, parse_explanation("certificate-expired=sender's own clock was wrong"))
    (warning,) = judge(evidence, now=datetime(2026, 3, 15, tzinfo=UTC))
    assert "sender's own clock was wrong" in warning.message


IDLE = ["certificate-expired@mx9.example.com=x", "sts-policy-invalid=x", "unreadable=x"]


@pytest.mark.parametrize("text", IDLE)
def test_an_explanation_of_nothing_is_refused(tmp_path: Path, text: str) -> None:
    """A slip in a host name must not look like an explanation."""
    failing_start(tmp_path)
    with pytest.raises(MtaStsError, match="evidence-explanation-idle") as refused:
        build(tmp_path, parse_explanation(text))
    assert [text.removesuffix("=x")] == [finding.path for finding in refused.value.findings]


def test_a_failure_after_the_fix_is_not_explained(tmp_path: Path) -> None:
    """Fixed on the second, failed on the third: not fixed."""
    failing_start(tmp_path)
    with pytest.raises(MtaStsError, match="went on after"):
        build(tmp_path, parse_explanation("certificate-expired=2026-03-02: renewed", fixed=True))


def test_a_forged_failure_does_not_undo_a_fix(tmp_path: Path) -> None:
    """Unsigned ones of the same kind are told apart: the fix starts the clock, they need a word of their own."""
    failing_start(tmp_path)
    forged = report(policy(failed=1, details=[failure()]), organization="Third", day="2026-03-09")
    (tmp_path / "forged.json").write_bytes(data(forged))
    fixed = parse_explanation("certificate-expired@mx2.example.com=2026-03-03: renewed", fixed=True)
    now = datetime(2026, 3, 15, tzinfo=UTC)
    (finding,) = errors(judge(build(tmp_path, fixed), now=now))
    assert "1 sessions failed (this body, unsigned; Third; 2026-03-09" in finding.message
    evidence = build(tmp_path, fixed, parse_explanation("certificate-expired@mx2.example.com=nobody else saw it"))
    assert [] == errors(judge(evidence, now=now))
    assert "2026-03-04" == evidence["window"]["clean_from"]
    assert ["renewed", "nobody else saw it"] == [one["explained"] for one in evidence["failures"]]


def test_failures_before_the_body_was_seen_are_about_something_else(tmp_path: Path) -> None:
    """An older body's failures, before this one was published, do not count."""
    clean_week(tmp_path)
    spoil(tmp_path, policy(failed=3, body=[*BODY[:2], *BODY[3:]]), day="2026-02-20")
    assert [] == judge(build(tmp_path))


@pytest.mark.parametrize("successful", [0, 3])
def test_unsigned_failures_of_this_body_count_from_its_first_day(tmp_path: Path, successful: int) -> None:
    """Before the first signed report somebody else saw the body, and failed: that is about this body."""
    clean_week(tmp_path)
    early = report(policy(successful=successful, failed=4, details=[failure(sessions=4)]), day="2026-02-27")
    (tmp_path / "early.json").write_bytes(data(early))
    (finding,) = errors(judge(build(tmp_path)))
    assert "2026-02-27" in finding.message


def test_one_full_max_age_must_be_covered(tmp_path: Path) -> None:
    """Six days do not cover a max_age of seven, and the first day on which they could is named."""
    clean_week(tmp_path, 6)
    evidence = build(tmp_path)
    assert ["evidence-few-days", "evidence-short"] == rules(judge(evidence))
    assert date(2026, 3, 8) == ready_on(evidence, Thresholds(), date(2026, 3, 7))
    assert date(2026, 4, 1) == ready_on(evidence, Thresholds(), date(2026, 4, 1))
    assert not any("not before 2026-03-08" in each.message for each in judge(evidence))  # it is the ninth


def test_too_few_sessions_need_another_day(tmp_path: Path) -> None:
    """The day after the last report is not enough for what it does not hold."""
    for day in days(8):
        (tmp_path / f"{day}.eml").write_bytes(signed(report(day=day)))
    assert date(2026, 3, 10) == ready_on(build(tmp_path), Thresholds(), date(2026, 3, 9))


def test_what_reaches_each_threshold_is_enough(tmp_path: Path) -> None:
    """To the last session, day and organization, and not one more is needed."""
    clean_week(tmp_path, 7)
    evidence = build(tmp_path)
    just = Thresholds(days=7, sessions=70, organizations=2)
    for now in (datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 3, 21, tzinfo=UTC)):
        assert [] == check_evidence(evidence, ENFORCE, just, now, domain=DOMAIN)
    assert ["evidence-stale"] == rules(judge(evidence, now=datetime(2026, 3, 22, tzinfo=UTC)))
    assert date(2026, 3, 8) == ready_on(evidence, just, date(2026, 3, 7))
    assert date(2026, 3, 9) == ready_on(evidence, Thresholds(sessions=71), date(2026, 3, 7))


def test_what_is_enforced_is_what_was_in_testing(tmp_path: Path) -> None:
    """A host that was not in testing stops enforce, one that is left out is shown; max_age may differ."""
    clean_week(tmp_path)
    evidence = build(tmp_path)
    more = parse_policy(POLICY.replace("testing", "enforce") + "mx: new.example.com\n")
    assert ["evidence-mx-untested"] == rules(judge(evidence, more))
    (warning,) = judge(
        evidence, parse_policy(POLICY.replace("testing", "enforce").replace("mx: mx2.example.com\n", ""))
    )
    assert warning.rule == "evidence-mx-dropped"
    assert ["evidence-other-domain"] == rules(judge(evidence, domain="other.example"))


def test_old_evidence_and_evidence_from_the_future_do_not_count(tmp_path: Path) -> None:
    """The last report must be recent, and not ahead of the clock."""
    clean_week(tmp_path)
    evidence = build(tmp_path)
    assert ["evidence-stale"] == rules(judge(evidence, now=datetime(2026, 4, 1, tzinfo=UTC)))
    assert ["evidence-from-future"] == rules(judge(evidence, now=datetime(2026, 3, 1, tzinfo=UTC)))


def test_only_a_testing_body_can_be_proved(tmp_path: Path) -> None:
    """Evidence about a body in enforce, or about none, is refused before anything is read."""
    for text in (POLICY.replace("testing", "enforce"), "nonsense"):
        with pytest.raises(MtaStsError):
            build_evidence(DOMAIN, text, [str(tmp_path)], origin=OriginCheck())


def test_a_file_about_another_mode_is_no_evidence(tmp_path: Path) -> None:
    """A whole file, digest and all, about a body that was not in testing proves nothing."""
    clean_week(tmp_path)
    evidence = build(tmp_path)
    evidence["body"]["policy"] = [line.replace("testing", "enforce") for line in evidence["body"]["policy"]]
    evidence["digest"] = evidence_digest(evidence)
    assert ["evidence-not-testing"] == rules(judge(evidence))


def test_the_same_reports_give_the_same_file(tmp_path: Path) -> None:
    """Nothing of time, order or place is in it."""
    clean_week(tmp_path)
    first = build(tmp_path)
    again = build_evidence(
        "EXAMPLE.com.",
        POLICY.replace("\n", "\r\n"),
        map(str, sorted(tmp_path.iterdir(), reverse=True)),
        origin=OriginCheck(HOST),
        jobs=1,
    )
    assert json.dumps(first) == json.dumps(again)


EDITS: dict[str, Any] = {
    "a number": lambda file: file["window"].update(days_with_reports=99),
    "a failure removed": lambda file: file["failures"].clear(),
    "an explanation added": lambda file: file["failures"][0].update(explained="fine"),
    "another body": lambda file: file["body"]["policy"].append("mx: evil.example"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edit_by_hand_is_noticed(tmp_path: Path, edit: Any) -> None:
    """The digest no longer fits, on loading and on judging."""
    (tmp_path / "in").mkdir()
    failing_start(tmp_path / "in")
    path = tmp_path / "new/evidence.json"
    write_evidence(build(tmp_path / "in"), path)
    evidence = load_evidence(path)
    edit(evidence)
    assert ["evidence-edited"] == rules(judge(evidence))
    path.write_text(json.dumps(evidence), encoding="utf-8")
    with pytest.raises(MtaStsError, match="evidence-edited"):
        load_evidence(path)
    evidence["digest"] = evidence_digest(evidence)
    assert [] == check_form(evidence)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', "\x00", "[" * 100_000], ids=repr)
def test_what_is_no_evidence_file_is_refused(tmp_path: Path, content: str) -> None:
    """Every reason is a finding, none a crash."""
    path = tmp_path / "e.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(MtaStsError) as refused:
        load_evidence(path)
    assert refused.value.findings


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """Not there is not clean."""
    with pytest.raises(MtaStsError, match="mta-sts evidence"):
        load_evidence(tmp_path / "none.json")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written half."""
    (tmp_path / "in").mkdir()
    clean_week(tmp_path / "in")
    path = tmp_path / "e.json"
    path.write_text("before", encoding="utf-8")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_evidence(build(tmp_path / "in"), path)
    assert path.read_text(encoding="utf-8") == "before"
    assert {"e.json", "in"} == {entry.name for entry in tmp_path.iterdir()}


@pytest.mark.parametrize("text", ["", "type", "type=", "=reason", "a@b= ", "a@=x", "a= \u200b", "a=...", "@b=x"])
def test_an_explanation_needs_a_type_and_a_reason(text: str) -> None:
    """What is missing is said."""
    with pytest.raises(ValueError, match=r"write TYPE\[@MX\]=REASON"):
        parse_explanation(text)


@pytest.mark.parametrize("text", ["type=reason", "type=2026-13-01:x", "type=2026-01-01:", "type=2026-01-01"])
def test_a_fix_needs_a_day_and_a_reason(text: str) -> None:
    """The day is a date, the reason is there."""
    with pytest.raises(ValueError, match=r"write TYPE\[@MX\]=YYYY-MM-DD:REASON"):
        parse_explanation(text, fixed=True)


@pytest.mark.parametrize("text", ["", "Ann", "Ann:", ": reason", "Ann:\u200b", "\u200b: reason"])
def test_vouching_needs_a_name_and_a_reason(text: str) -> None:
    """Nobody vouches anonymously."""
    assert Vouching("Ann", "knows them") == parse_vouching("Ann: knows them")
    with pytest.raises(ValueError, match="NAME"):
        parse_vouching(text)


def run(folder: Path, *more: str) -> int:
    """Run the command on reports in a folder."""
    (folder / "policy.txt").write_text(POLICY, encoding="utf-8")
    return main(
        [
            "evidence",
            DOMAIN,
            "--reports",
            str(folder / "in"),
            "--policy",
            str(folder / "policy.txt"),
            "-o",
            str(folder / "out/e.json"),
            "--trust-authserv",
            HOST,
            "--fresh-days",
            "100000",
            "--jobs",
            "1",
            *more,
        ]
    )


def test_the_command_writes_the_file_and_says_whether_it_is_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 0 enough, 1 written and not enough with every reason."""
    (tmp_path / "in").mkdir()
    clean_week(tmp_path / "in")
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    assert "enough for enforce" in out
    assert "2 senders, 8 days, told by one.example; two.example." in out
    assert "a backup, is not tested by them" in out
    assert [] == judge(load_evidence(tmp_path / "out/e.json"))
    spoil(tmp_path / "in", policy(failed=1, details=[failure()]))
    assert run(tmp_path) == 1
    out = capsys.readouterr().out
    assert "certificate-expired@mx2.example.com" in out
    assert "not enough for enforce" in out


def test_without_a_file_the_body_is_what_is_served_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the operator expects; where the body is from is said, and one address that fails is no obstacle."""
    asked: list[tuple[str, str, int]] = []

    async def addresses(_: Dns, name: str) -> Looked:
        return Looked(name, "A", values=("192.0.2.1", "192.0.2.2"))

    def fetch(domain: str, address: str, port: int, **_: object) -> FetchedPolicy:
        asked.append((domain, address, port))
        if address == "192.0.2.1":
            raise FetchError(domain, FetchCause.STATUS, "status 503; senders take 200 only")
        return FetchedPolicy(parse_policy(POLICY), POLICY.encode(), "text/plain", b"")

    monkeypatch.setattr(Dns, "addresses", addresses)
    monkeypatch.setattr("mta_sts.fetch.fetch_policy", fetch)
    (tmp_path / "in").mkdir()
    clean_week(tmp_path / "in")
    call = ["evidence", DOMAIN, "--reports", str(tmp_path / "in"), "--trust-authserv", HOST, "--fresh-days", "100000"]
    assert 0 == main([*call, "--jobs", "1", "-o", str(tmp_path / "e.json"), "--resolver", "192.0.2.53"])
    assert [(DOMAIN, "192.0.2.1", 443), (DOMAIN, "192.0.2.2", 443)] == asked
    assert "https://mta-sts.example.com/.well-known/mta-sts.txt, as it is served now" in capsys.readouterr().out
    assert [] == judge(load_evidence(tmp_path / "e.json"))


def test_where_nothing_is_served_a_file_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written."""

    async def addresses(_: Dns, name: str) -> Looked:
        return Looked(name, "A", exists=False)

    monkeypatch.setattr(Dns, "addresses", addresses)
    call = ["evidence", DOMAIN, "--reports", str(tmp_path), "-o", str(tmp_path / "e.json"), "--resolver", "192.0.2.53"]
    assert 64 == main(call)
    assert "mta-sts.example.com gives no policy (it has no address); give the body" in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


WRONG = [
    ["--explain", "x"],
    ["--fixed", "a=b"],
    ["--vouch", "x"],
    ["--explain", "dane-required=x"],
    ["--policy", "/none"],
    ["--days", "0"],
    ["--fresh-days", "-1"],
]


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_call_writes_nothing(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 64 with a word, and no file."""
    (tmp_path / "in").mkdir()
    clean_week(tmp_path / "in", 2)
    assert run(tmp_path, *arguments) == 64
    assert "mta-sts evidence: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
