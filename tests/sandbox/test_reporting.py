"""Senders that report: what they saw, in RFC 8460's words, signed, and read again by our own reader."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from mta_sts.evidence import build_evidence
from mta_sts.reports.origin import OriginCheck
from sandbox.reporting import ExaminedMail, Inbox, ReportingSender
from sandbox.senders import TEMPERAMENTS, WorldResolver

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

NAME = "example.com"
HOST = "reports.example.com"
BODY = "version: STSv1\nmode: testing\nmx: mx1.example.com\nmx: mx2.example.com\nmax_age: 604800\n"


@pytest.fixture
def published(world: World, cloudflare: Cloudflare) -> World:
    """Return a world in which a domain has two MX hosts, an id, and asks for reports."""
    for host in ("mx1", "mx2"):
        cloudflare.add(NAME, "MX", NAME, f"{host}.{NAME}", priority=10)
    cloudflare.add(NAME, "TXT", f"_mta-sts.{NAME}", '"v=STSv1; id=1"')
    cloudflare.add(NAME, "TXT", f"_smtp._tls.{NAME}", '"v=TLSRPTv1; rua=mailto:tls@example.com"')
    return world


def sender_with(world: World, body: str) -> ReportingSender:
    """Return a sender that holds a policy of the domain already."""
    sender = ReportingSender(world, "sender.example", TEMPERAMENTS["diligent"])
    held = {"id": "1", "body": body, "expires": world.now() + 604_800, "fetched": world.now()}
    sender._sender.restore({"held": {NAME: held}})
    return sender


def today(world: World) -> date:
    """Return the world's day."""
    return datetime.fromtimestamp(world.now(), UTC).date()


def read(folder: Path) -> dict[str, object]:
    """Return what the reports in an inbox prove."""
    return build_evidence(NAME, BODY, [str(folder)], origin=OriginCheck(HOST), jobs=1)


def test_why_tls_fails_is_said_in_the_words_of_the_rfc(published: World) -> None:
    """One result type for each way in which a mail host can be wrong (RFC 8460 §4.3)."""
    mail = ExaminedMail(published, WorldResolver(published))
    expected = {
        "none": "",
        "wrong-name": "certificate-host-mismatch",
        "expired": "certificate-expired",
        "self-signed": "certificate-not-trusted",
        "missing-intermediate": "certificate-not-trusted",
        "not-yet-valid": "validation-failure",
        "no-starttls": "starttls-not-supported",
    }
    seen = {}
    for fault in expected:
        published.fault("mail", f"mx1.{NAME}", fault)
        seen[fault] = mail.failure(f"mx1.{NAME}")
    assert expected == seen


def test_a_day_of_mail_is_one_signed_report_that_our_reader_understands(published: World, tmp_path: Path) -> None:
    """Mail is spread over both hosts and all of it arrives; the wrong host is named, and who signed is known."""
    published.fault("mail", f"mx2.{NAME}", "wrong-name")
    sender = sender_with(published, BODY)
    inbox = Inbox(tmp_path / "in", HOST)
    for _ in range(6):
        assert "delivered" == sender.deliver(NAME).outcome
    assert {f"mx1.{NAME}": 3, f"mx2.{NAME}": 3} == published.received()
    inbox.receive(sender.report(NAME, today(published)), sender.published_key)

    evidence = read(inbox.folder)
    assert {"successful": 3, "failed": 3} == evidence["sessions"]
    (failure,) = evidence["failures"]
    assert ("certificate-host-mismatch", f"mx2.{NAME}", 3, "this body") == (
        failure["result_type"],
        failure["mx"],
        failure["sessions"],
        failure["policy"],
    )
    (organization,) = evidence["organizations"]
    assert ("sender.example", "sender.example") == (organization["name"], organization["signed_by"])


def test_in_enforce_the_hosts_that_are_not_used_are_reported(published: World, tmp_path: Path) -> None:
    """Each skipped host is a failed session, the one that took the mail a good one."""
    published.fault("mail", f"mx1.{NAME}", "expired")
    sender = sender_with(published, BODY.replace("testing", "enforce"))
    inbox = Inbox(tmp_path / "in", HOST)
    assert (f"mx2.{NAME}", (f"mx1.{NAME}",)) == (sender.deliver(NAME).host, sender.deliver(NAME).skipped)
    inbox.receive(sender.report(NAME, today(published)), sender.published_key)
    evidence = read(inbox.folder)
    assert {"another body": 2} == evidence["not_counted"]
    assert [("certificate-expired", 2)] == [(each["result_type"], each["sessions"]) for each in evidence["failures"]]


def test_a_host_that_the_policy_lacks_is_a_failure(published: World, tmp_path: Path) -> None:
    """In testing the mail goes there all the same (RFC 8461 §5)."""
    sender = sender_with(published, BODY.replace(f"mx: mx2.{NAME}\n", ""))
    inbox = Inbox(tmp_path / "in", HOST)
    for _ in range(2):
        sender.deliver(NAME)
    inbox.receive(sender.report(NAME, today(published)), sender.published_key)
    (failure,) = read(inbox.folder)["failures"]
    assert ("validation-failure", f"mx2.{NAME}", 1) == (failure["result_type"], failure["mx"], failure["sessions"])


def test_nobody_reports_unasked_or_about_nothing(published: World, cloudflare: Cloudflare) -> None:
    """No session on that day, or no `_smtp._tls` record (RFC 8460 §3): no mail."""
    sender = sender_with(published, BODY)
    assert sender.report(NAME, today(published)) is None
    sender.deliver(NAME)
    assert sender.report(NAME, today(published)) is not None
    (record,) = cloudflare.records(NAME, f"_smtp._tls.{NAME}")
    cloudflare.call("DELETE", f"/zones/{cloudflare.zone(NAME)}/dns_records/{record['id']}")
    assert sender.report(NAME, today(published)) is None


def test_without_a_policy_it_says_so(published: World, cloudflare: Cloudflare, tmp_path: Path) -> None:
    """Sessions under no policy prove nothing about one."""
    (record,) = cloudflare.records(NAME, f"_mta-sts.{NAME}")
    cloudflare.call("DELETE", f"/zones/{cloudflare.zone(NAME)}/dns_records/{record['id']}")
    sender = ReportingSender(published, "sender.example", TEMPERAMENTS["diligent"])
    inbox = Inbox(tmp_path / "in", HOST)
    sender.deliver(NAME)
    inbox.receive(sender.report(NAME, today(published)), sender.published_key)
    assert {"no-policy-found": 1} == read(inbox.folder)["not_counted"]


@pytest.mark.parametrize("spoil", ["changed", "another key"])
def test_a_mail_that_nobody_signed_is_filed_as_such(published: World, tmp_path: Path, spoil: str) -> None:
    """Changed on the way, or signed by somebody else: it counts as unsigned."""
    sender = sender_with(published, BODY)
    sender.deliver(NAME)
    mail, keys = sender.report(NAME, today(published)), sender.published_key
    if spoil == "changed":
        mail += b"more\r\n"
    else:
        keys = sender_with(published, BODY).published_key
    inbox = Inbox(tmp_path / "in", HOST)
    inbox.receive(mail, keys)
    assert {"this body, unsigned": 1} == read(inbox.folder)["not_counted"]
