"""Checks as pure judgement and as a command: bad input, lists, forms, vectors of others."""

from __future__ import annotations

import ast
import asyncio
import datetime as dt
import errno
import json
import re
import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mta_sts import checks
from mta_sts.checks import lookup, observe, run
from mta_sts.checks.certificates import described
from mta_sts.checks.drift import judge_drift, judge_id
from mta_sts.checks.host import judge_host
from mta_sts.checks.lookup import EVERYTHING, Dns, Failure, Looked, Reach, Said
from mta_sts.checks.mail import judge_mx, judge_smtp, looked_host
from mta_sts.checks.memory import judge_held, load_run, next_history
from mta_sts.checks.observe import Fetched, MailHost, Seen
from mta_sts.checks.records import FAILURES, judge_agreement, judge_record, judge_reports, lookup_failures
from mta_sts.checks.report import Area, DomainReport, Kind, Point
from mta_sts.checks.run import Known, check_domains, judge
from mta_sts.checks.smtp import Session, SmtpCause, start_session
from mta_sts.checks.targets import read_list
from mta_sts.checks.writers import to_json, to_junit, to_markdown, to_table
from mta_sts.cli import main
from mta_sts.domain_config import resolve_domain
from mta_sts.fetch import FetchCause, FetchedPolicy, FetchError, fetch_policy_async, tls_context
from mta_sts.findings import MtaStsError
from mta_sts.history import history_entry, history_versions
from mta_sts.identifier import content_id
from mta_sts.ledger import ID_METADATA, PolicyVersion
from mta_sts.network_options import Network
from mta_sts.policy import SIZE_LIMIT, Mode, parse_policy
from mta_sts.records import select_sts_record
from tests.conftest import vector_parameters
from tests.mta_sts.policy_server import FAR_FUTURE, LONG_AGO, PAST, Answer, Authority, policy_server, response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
DOMAIN = "example.com"
HOST = f"mta-sts.{DOMAIN}"
BODY = b"version: STSv1\nmode: enforce\nmx: mx1.example.com\nmax_age: 1209600\n"


def rules(points: Iterable[Point]) -> list[tuple[str, str]]:
    """Return kind and rule of each point."""
    return [(str(point.kind), point.rule) for point in points]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make one authority for all tests here."""
    return Authority(tmp_path_factory.mktemp("authority"))


def certificate(authority: Authority, days: float, life: float = 90) -> bytes:
    """Return a certificate that ends in some days."""
    ends = NOW + dt.timedelta(days=days)
    before = set(authority._folder.glob("*.pem"))
    authority.server([HOST], valid=(ends - dt.timedelta(days=life), ends))
    (file,) = set(authority._folder.glob("*.pem")) - before
    return ssl.PEM_cert_to_DER_cert(file.read_text(encoding="utf-8").partition("-----BEGIN CERT")[1] + file.read_text(
        encoding="utf-8").partition("-----BEGIN CERT")[2])  # fmt: skip


def seen_with(authority: Authority, body: bytes = BODY, *, days: float = 60, **more: Any) -> Seen:
    """Return what is seen of a domain that is as it should be, with differences."""
    served = FetchedPolicy(parse_policy(body), body, "text/plain", certificate(authority, days))
    given: dict[str, Any] = {
        "mx": Looked(DOMAIN, "MX", ("10 mx1.example.com",), ttl=300),
        "sts": Looked(f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=1;",), ttl=300),
        "tlsrpt": Looked(f"_smtp._tls.{DOMAIN}", "TXT", ("v=TLSRPTv1; rua=mailto:a@example.com",)),
        "apex": Looked(DOMAIN, "TXT"),
        "host": Looked(HOST, "A", ("192.0.2.1",)),
        "fetched": [Fetched("192.0.2.1", "", served)],
        "mail_hosts": [MailHost("mx1.example.com", Looked("mx1.example.com", "A", ("192.0.2.2",)))],
    }
    return Seen(DOMAIN, **given | more)


# --- Bad input of the command


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["not a domain"], "'not a domain'"),
        (["postmaster@example.com"], "e-mail address"),
        (["https://example.com/"], "URL"),
        (["localhost"], "single label"),
        (["192.0.2.1"], "IP address"),
        (["exa_mple.com", "postmaster@example.com"], "e-mail address"),
        ([""], "empty"),
        ([], "the call names no mail domain"),
        (["example.com", "--resolver", "dns.example"], "--resolver"),
        (["example.com", "--ca-file", "missing.pem"], "missing.pem"),
        (["example.com", "--port-map", "missing.json"], "missing.json"),
        (["--file", "missing.txt"], "missing.txt"),
        (["--stack", "missing"], "Pulumi.missing.yaml"),
        (["example.com", "--last-run", "missing.json"], "missing.json"),
    ],
)
def test_a_wrong_call_is_named_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], words: str
) -> None:
    """64, one line, and no file."""
    assert 64 == main(["check", *arguments, "-o", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert "" == out
    assert words in err
    assert 1 == err.count("\n")
    assert [] == list(tmp_path.iterdir())


def test_a_missing_folder_is_named_before_anything_is_checked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """64 at once: the results of a long run would be lost."""
    monkeypatch.setattr(observe, "Observer", None)
    assert 64 == main(["check", DOMAIN, "-o", str(tmp_path / "missing" / "out.json")])
    assert "there is no folder" in capsys.readouterr().err
    assert 64 == main(["check", DOMAIN, "-o", str(tmp_path)])
    assert "can't be written" in capsys.readouterr().err


def test_every_bad_domain_of_a_call_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """All at once, not the first."""
    assert 64 == main(["check", "a@b.example", "https://c.example/", "good.example"])
    err = capsys.readouterr().err
    assert "a@b.example" in err
    assert "https://c.example/" in err
    assert "good.example" not in err


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"domains": [{"domain": "a.example"}]}', "not json",
     '{"domains": [{"domain": "a.example", "history": [{"id": "1"}]}]}',
     '{"domains": [{"domain": "a.example", "history": null}]}',
     '{"domains": [{"domain": "a.example", "history": [], "smtp": [{"host": "a"}]}]}',
     '{"domains": [{"domain": "a.example", "history": [], "smtp": [{"host": "a", "seen": 1, "points": []}]}]}'],
)  # fmt: skip
def test_a_last_run_that_is_none_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
    """64, with the file's name."""
    file = tmp_path / "last.json"
    file.write_text(text, encoding="utf-8")
    assert 64 == main(["check", DOMAIN, "--last-run", str(file)])
    assert "last.json" in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# nothing\n", b"\xef\xbb\xbf\n"])
def test_an_empty_list_is_a_wrong_call(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: bytes) -> None:
    """There is nothing to check, which must not pass for good."""
    file = tmp_path / "list.txt"
    file.write_bytes(data)
    assert 64 == main(["check", "--file", str(file)])
    assert "nothing to check" in capsys.readouterr().err


def test_a_list_takes_what_people_write() -> None:
    """Comments, empty lines, either line end, both forms of an international name, copies."""
    data = "\ufeffexample.com\r\n# all of ours\n\nb\u00fccher.example # the shop\nXN--BCHER-KVA.example.\nexample.com\n"
    assert (["example.com", "xn--bcher-kva.example"], []) == read_list(data.encode())


def test_a_long_list_of_junk_names_each_bad_line_and_keeps_the_others() -> None:
    """A hundred thousand lines, one good in ten."""
    kinds = [b"d%d.example", b"a@b%d.example", b"https://c%d.example", b"no domain %d", b"\xff\xfe\x00%d", b"10.0.0.%d",
             b"x" * 300 + b"%d", b"-%d.example", b"a..b%d", b"single%d"]  # fmt: skip
    good, bad = read_list(b"\n".join(kinds[number % 10] % number for number in range(100_000)))
    assert [f"d{number}.example" for number in range(0, 100_000, 10)] == good
    assert [number + 1 for number in range(100_000) if number % 10] == [one.line for one in bad]
    assert all(len(str(one)) < 700 and "\n" not in str(one) for one in bad)


# --- Judgement of what no server of the sandbox does


def test_a_whole_domain_has_no_points(authority: Authority) -> None:
    """The baseline that the other tests change."""
    assert [] == list(judge(seen_with(authority), Known(), NOW).points)


@pytest.mark.parametrize(
    ("days", "life", "expected"),
    [(8, 90, []), (6, 90, ["certificate-ends-soon"]), (3, 6, []), (1.5, 6, ["certificate-ends-soon"])],
)
def test_a_certificate_that_ends_soon_is_a_warning(
    authority: Authority, days: float, life: float, expected: list[str]
) -> None:
    """A week ahead, or a third of its life where that is short; the MX host's as well."""
    leaf = certificate(authority, days, life)
    served = FetchedPolicy(parse_policy(BODY), BODY, "text/plain", leaf)
    session = Session("mx1.example.com", "192.0.2.2", certificate=leaf)
    host = MailHost("mx1.example.com", Looked("mx1.example.com", "A", ("192.0.2.2",)), [session])
    seen = seen_with(authority, fetched=[Fetched("192.0.2.1", "", served)], mail_hosts=[host])
    assert [("warning", rule) for rule in expected] == rules(judge_host(seen, NOW, EVERYTHING))
    assert [("warning", rule) for rule in expected] == rules(judge_smtp(host, Kind.ERROR, NOW, EVERYTHING))


def test_a_certificate_that_ends_soon_at_one_address_is_a_warning(authority: Authority) -> None:
    """Each address is looked at, of the policy host and of an MX host, and named."""
    leaves = [certificate(authority, days) for days in (60, 1)]
    fetched = [
        Fetched(address, "", FetchedPolicy(parse_policy(BODY), BODY, "text/plain", leaf))
        for address, leaf in zip(("192.0.2.1", "192.0.2.9"), leaves, strict=True)
    ]
    (point,) = judge_host(seen_with(authority, fetched=fetched), NOW, EVERYTHING)
    assert ("certificate-ends-soon", f"{HOST} at 192.0.2.9") == (point.rule, point.path)
    sessions = [replace(GOOD, address=one.address, certificate=leaf) for one, leaf in zip(fetched, leaves, strict=True)]
    (point,) = judge_smtp(mail_host(*sessions), Kind.ERROR, NOW, EVERYTHING)
    assert ("certificate-ends-soon", "mx1.example.com at 192.0.2.9") == (point.rule, point.path)


def test_edges_that_serve_different_bodies_are_an_error(authority: Authority) -> None:
    """Whichever a sender got, it keeps under the id."""
    other = BODY.replace(b"1209600", b"604800")
    leaf = certificate(authority, 60)
    fetched = [
        Fetched(address, "", FetchedPolicy(parse_policy(body), body, "text/plain", leaf))
        for address, body in (("192.0.2.1", BODY), ("192.0.2.9", other))
    ]
    assert [("error", "addresses-differ")] == rules(judge_host(seen_with(authority, fetched=fetched), NOW, EVERYTHING))


def test_a_body_for_mail_servers_alone_is_a_bot_wall(authority: Authority) -> None:
    """The same 200 and the same bytes for whoever asks."""
    leaf = certificate(authority, 60)
    other = BODY.replace(b"1209600", b"604800")
    fetched = [
        Fetched("192.0.2.1", agent, FetchedPolicy(parse_policy(body), body, "text/plain", leaf))
        for agent, body in (("", BODY), ("Postfix", other))
    ]
    assert [("error", "bot-wall")] == rules(judge_host(seen_with(authority, fetched=fetched), NOW, EVERYTHING))


@pytest.mark.parametrize(
    ("body", "expected", "words"),
    [
        (b"", ["no-policy"], "the body is empty"),
        (b"<!doctype html>\n" + b"<p>\n" * 400, ["no-policy"], "'<!doctype html>' has no colon"),
        (b"\n" * 40 + BODY, ["blank-line"] * 5, "(and 35 more of this kind)"),
        (BODY + b"\nnonsense\n", ["blank-line", "no-colon"], "'nonsense'"),
    ],
)
def test_what_is_no_policy_is_not_told_line_by_line(
    authority: Authority, body: bytes, expected: list[str], words: str
) -> None:
    """A page for browsers with status 200 and `text/plain` is one fault."""
    with pytest.raises(MtaStsError) as refused:
        parse_policy(body)
    error = FetchError(DOMAIN, FetchCause.POLICY, "the served policy is not valid")
    error.__cause__ = refused.value
    seen = seen_with(authority, fetched=[Fetched("192.0.2.1", "", None, error)])
    found = list(judge_host(seen, NOW, EVERYTHING))
    assert [("error", rule) for rule in expected] == rules(found)
    assert words in found[-1].message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v=TLSRPTv1; rua=mailto:a@example.com", []),
        ("v=TLSRPTv1; rua=mailto:a@b.example,mailto:A@b.example", [("warning", "rua-twice"), ("note", "rua-several")]),
        ("v=TLSRPTv1; rua=ftp://a.example", [("error", "rua-scheme")]),
        ("v=TLSRPTv1; rua=mailto:a@example.com; ruf=x", [("warning", "tag-unknown")]),
        ("v=TLSRPTv1;", [("error", "rua-missing")]),
        ("v=TLSRPTv1 ; rua=mailto:a@example.com", [("error", "version-spelling")]),
        ("v=TLSRPT1; rua=mailto:a@example.com", [("error", "version-spelling")]),
        ("v=TLS-RPTv1; rua=mailto:a@example.com", [("error", "version-spelling")]),
        ("hello", [("warning", "tlsrpt-record-missing")]),
    ],
)  # fmt: skip
def test_the_reporting_record_is_judged(authority: Authority, text: str, expected: list[tuple[str, str]]) -> None:
    """Errors where senders send nothing, warnings where they may."""
    seen = seen_with(authority, tlsrpt=Looked(f"_smtp._tls.{DOMAIN}", "TXT", (text,)))
    assert expected == rules(judge_reports(seen))


def test_a_long_ttl_is_a_warning(authority: Authority) -> None:
    """A change stays unseen for that long."""
    seen = seen_with(authority, sts=Looked(f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=1;",), ttl=172_800))
    assert [("warning", "ttl-long")] == rules(judge_record(seen, NOW))


@pytest.mark.parametrize(
    ("wild", "alias", "expected"),
    [
        (("192.0.2.1",), (), [("error", "no-mta-sts")]),
        (("192.0.2.7",), ("cdn.example",), [("error", "no-mta-sts")]),
        ((), (), [("error", "sts-record-missing")]),
        (("192.0.2.7",), (), [("error", "sts-record-missing")]),
    ],
)
def test_a_wildcard_address_is_no_policy_host(
    authority: Authority, wild: tuple[str, ...], alias: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    """What stands at `mta-sts` stands at every name: the domain publishes nothing, and that is the one thing to say."""
    more: dict[str, Any] = {
        "sts": Looked(f"_mta-sts.{DOMAIN}", "TXT"),
        "host": Looked(HOST, "A", ("192.0.2.1",), alias),
        "wildcard_host": Looked("probe", "A", wild, alias),
        "fetched": [unfetched("192.0.2.1", FetchCause.CERTIFICATE_NAME)],
    }
    found = [one for one in judge(seen_with(authority, **more), Known(), NOW).points if one.area is Area.RECORD]
    assert expected == rules(found)
    host = [one for one in judge(seen_with(authority, **more), Known(), NOW).points if one.area is Area.HOST]
    assert (expected == [("error", "no-mta-sts")]) is (host == [])


def test_a_record_of_a_wildcard_is_a_warning(authority: Authority) -> None:
    """Every name below seems to publish MTA-STS."""
    seen = seen_with(authority, wildcard=Looked("probe", "TXT", ("v=STSv1; id=1;",)))
    assert [("warning", "wildcard-txt")] == rules(judge(seen, Known(), NOW).points)


def test_a_missing_record_comes_with_a_fresh_id(authority: Authority) -> None:
    """What is to be added can be copied as it stands."""
    (point, *_) = judge_record(seen_with(authority, sts=Looked(f"_mta-sts.{DOMAIN}", "TXT")), NOW)
    record = f'`_mta-sts.{DOMAIN} TXT "v=STSv1; id=20261124T000000;"`'
    assert record in point.message
    assert "20261124T000000" == select_sts_record([record.split('"')[1]]).id


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), []),
        (('0 issue "ca.example"',), ["caa-forbids-renewal"]),
        (('0 issue "letsencrypt.org"',), []),
        (('0 issue "letsencrypt.org"', '0 issuewild "ca.example"'), []),
    ],
)
@pytest.mark.parametrize("wildcard", [False, True])
def test_caa_is_judged_for_the_certificate_in_use(
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    *,
    wildcard: bool,
    values: tuple[str, ...],
    expected: list[str],
) -> None:
    """RFC 8659 §4.3: `issuewild` in the place of `issue` where the certificate names the host by a wildcard."""
    monkeypatch.setattr("mta_sts.checks.host.organisation_of", lambda _: "Let's Encrypt")
    monkeypatch.setattr("mta_sts.checks.host.names_of", lambda _: [f"*.{DOMAIN}" if wildcard else HOST])
    seen = seen_with(authority, caa=Looked(DOMAIN, "CAA", values))
    forbidden = ["caa-forbids-renewal"] if wildcard and len(values) > 1 else expected
    assert forbidden == [point.rule for point in judge_host(seen, NOW, EVERYTHING)]


@pytest.mark.parametrize(("failure", "kind"), [(Failure.SERVFAIL, "warning"), (Failure.TIMEOUT, "skipped")])
def test_caa_that_can_not_be_looked_up_is_said_so(authority: Authority, failure: Failure, kind: str) -> None:
    """Authorities issue nothing then."""
    seen = seen_with(authority, caa=Looked(HOST, "CAA", failure=failure))
    assert [(kind, "caa-unreadable")] == rules(judge(seen, Known(), NOW).points)


def test_one_address_family_that_can_not_be_looked_up_hides_nothing(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is used, and the broken one named."""

    async def asked(_: Dns, name: str, kind: str, _resolver: Any = None) -> Looked:
        return Looked(name, kind, ("192.0.2.1",)) if kind == "A" else Looked(name, kind, failure=Failure.SERVFAIL)

    monkeypatch.setattr(Dns, "_asked", asked)
    looked = asyncio.run(Dns(Network((("127.0.0.1", 9),))).addresses(HOST))
    assert ((("192.0.2.1",)), None) == (looked.values, looked.failure)
    (point,) = judge(seen_with(authority, host=looked), Known(), NOW).points
    assert ("dns-servfail", True) == (point.rule, point.message.startswith("AAAA can't be looked up"))


@pytest.mark.parametrize(("hops", "rule"), [(19, "cname-chain-long"), (8, "dns-servfail"), (0, "cname-loop")])
def test_a_long_chain_is_no_circle(monkeypatch: pytest.MonkeyPatch, hops: int, rule: str) -> None:
    """Resolvers say SERVFAIL to either; the chain is followed to its end, or to where it meets itself."""

    async def asked(_: Dns, name: str, kind: str, _resolver: Any = None) -> Looked:
        if kind != "CNAME":
            return Looked(name, kind, failure=Failure.SERVFAIL)
        number = int(name.partition(".")[0][1:])
        return Looked(name, kind, (f"c{(number + 1) % (hops or 3)}.example",) if number < (hops or 9) - 1 else ())

    monkeypatch.setattr(Dns, "_asked", asked)
    looked = asyncio.run(Dns(Network((("127.0.0.1", 9),))).look("c0.example", "TXT"))
    (point,) = lookup_failures(Area.RECORD, looked)
    assert rule == point.rule
    assert ("circle" in point.message) is (rule == "cname-loop")


@pytest.mark.parametrize(("failing", "failure"), [({1}, None), ({1, 2}, Failure.SERVFAIL), ({1, 3}, Failure.BOGUS)])
def test_a_servfail_that_passes_is_no_fault_of_dnssec(
    monkeypatch: pytest.MonkeyPatch, failing: set[int], failure: Failure | None
) -> None:
    """The second question is the one without validation, the third the first one again."""
    asked: list[str] = []

    async def resolved(_: Any, name: str, kind: str) -> Looked:
        asked.append(kind)
        if len(asked) in failing:
            return Looked(name, kind, failure=Failure.SERVFAIL)
        return Looked(name, kind, ("v=STSv1; id=1;",) if kind == "TXT" else ())

    monkeypatch.setattr(lookup, "_resolved", resolved)
    looked = asyncio.run(Dns(Network((("127.0.0.1", 9),))).look(f"_mta-sts.{DOMAIN}", "TXT"))
    assert (failure, failure is None) == (looked.failure, bool(looked.values))


def test_name_servers_that_none_can_ask_are_not_blamed(authority: Authority) -> None:
    """Where every one is silent, our own network may be to blame; a referral is no fault."""
    name = f"_mta-sts.{DOMAIN}"
    silent = [Said(f"ns{n}.example", "192.0.2.3", name, "TXT", problem="gives no answer") for n in (1, 2)]
    assert [] == list(judge_agreement(seen_with(authority, said=silent), EVERYTHING))
    heard = Said("ns3.example", "192.0.2.4", name, "TXT", ("v=STSv1; id=1;",))
    found = judge_agreement(seen_with(authority, said=[*silent, heard]), EVERYTHING)
    assert [("warning", "name-server-lame")] * 2 == rules(found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("0 .",), [("warning", "null-mx")]),
        (("10 192.0.2.1", "10 mx1.example.com"), [("error", "mx-no-host-name")]),
        (("10 a\\.b.example.com", "10 mx1.example.com"), [("error", "mx-no-host-name")]),
        (("0 .", "10 mx1.example.com"), [("error", "null-mx-not-alone")]),
        ((), [("warning", "mx-missing"), ("error", "mx-not-covered")]),
    ],
)
def test_mx_records_are_judged(authority: Authority, values: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    """A null MX alone, beside others, or no MX record at all."""
    seen = seen_with(authority, mx=Looked(DOMAIN, "MX", values))
    assert expected == rules(judge_mx(seen, Mode.ENFORCE, seen.served.policy if seen.served else None))


def test_a_null_mx_without_mta_sts_is_as_it_should_be(authority: Authority) -> None:
    """Nothing is published, and nothing is to be: a note."""
    unpublished = {name: Looked("x", "TXT") for name in ("sts", "tlsrpt", "host")}
    seen = seen_with(authority, mx=Looked(DOMAIN, "MX", ("0 .",)), fetched=None, mail_hosts=None, **unpublished)
    report = judge(seen, Known(), NOW)
    assert ([("note", "null-mx")], "good") == (rules(report.points), report.verdict)


def test_a_domain_without_mx_record_and_address_is_one_line(authority: Authority) -> None:
    """Nothing takes its mail: that there is no MX record is the one thing to mend."""
    nowhere = {"mx": Looked(DOMAIN, "MX"), "mail_hosts": [MailHost(DOMAIN, Looked(DOMAIN, "A"))]}
    unpublished = {name: Looked(f"{name}.test", "TXT") for name in ("sts", "host")}
    report = judge(seen_with(authority, fetched=None, **nowhere, **unpublished), Known(), NOW)
    assert [("error", "no-mta-sts"), ("warning", "mx-missing")] == rules(report.points)
    assert "no MX record and no address" in report.points[1].message
    enforced = judge(seen_with(authority, **nowhere), Known(), NOW)
    assert [("error", "mx-missing")] == rules(enforced.points)


def test_an_address_that_nobody_looked_for_in_time_is_not_missing(authority: Authority) -> None:
    """That no mail reaches the domain is not known then."""
    seen = seen_with(authority, mx=Looked(DOMAIN, "MX"), mail_hosts=None, in_time=False)
    point = next(judge_mx(seen, Mode.ENFORCE, None))
    assert ("warning", "mx-missing", False) == (point.kind, point.rule, "no mail reaches it" in point.message)


def test_a_domain_without_mx_records_is_not_told_to_take_one_out(authority: Authority) -> None:
    """Its own address is its mail host."""
    down = mail_host(Session(DOMAIN, "192.0.2.2", SmtpCause.REFUSED, "no connection"), name=DOMAIN)
    homeless = MailHost(DOMAIN, Looked(DOMAIN, "A"))
    for host in (down, homeless):
        report = judge(seen_with(authority, mx=Looked(DOMAIN, "MX"), mail_hosts=[host]), Known(), NOW)
        wrong = ("MX record out", "its MX record", "delete the MX record", "take it out")
        assert not [point for point in report.points if any(words in point.message for words in wrong)]


@pytest.mark.parametrize(
    ("cause", "kind"),
    [(SmtpCause.NO_ROUTE, "skipped"), (SmtpCause.NOT_TALKING, "skipped"), (SmtpCause.STARTTLS_FAILS, "error"),
     (SmtpCause.TLS, "error"), (SmtpCause.NO_CONNECTION, "error"), (FetchCause.CERTIFICATE_UNTRUSTED, "error")],
)  # fmt: skip
def test_each_smtp_cause_has_its_weight_and_way_out(cause: SmtpCause, kind: str) -> None:
    """What tells of us, not of the host, is skipped."""
    sessions = [Session("mx1.example.com", address, cause, "x") for address in ("192.0.2.2", "192.0.2.3")]
    host = MailHost("mx1.example.com", Looked("mx1.example.com", "A", ("192.0.2.2", "192.0.2.3")), sessions)
    (point,) = judge_smtp(host, Kind.ERROR, NOW, EVERYTHING)
    assert kind == point.kind
    assert len(point.message.partition(";")[2]) > 10


def test_a_resolver_without_answers_is_one_line(authority: Authority) -> None:
    """Nothing could be told, and nothing is blamed; what the last run knew is kept."""
    looked = {name: Looked("x", "TXT", failure=Failure.TIMEOUT) for name in ("mx", "sts", "tlsrpt", "host")}
    before = next_history([], seen_with(authority), "1", NOW)
    report = judge(Seen(DOMAIN, **looked), Known(before={DOMAIN: before}), NOW)
    assert ([("skipped", "dns-timeout")], "not sure") == (rules(report.points), report.verdict)
    assert before == report.history


@pytest.mark.parametrize(("versions", "expected"), [({}, False), ({DOMAIN: []}, True)])
def test_a_bucket_of_another_stack_is_suspected(
    authority: Authority, versions: dict[str, list[PolicyVersion]], expected: bool
) -> None:
    """It would remember what is served."""
    seen = seen_with(authority)
    assert expected is (
        ("warning", "bucket-without-policy") in rules(judge(seen, Known(versions=versions), NOW).points)
    )
    versions |= {DOMAIN: [version(BODY, "1")]}
    assert "bucket-without-policy" not in dict(map(reversed, rules(judge(seen, Known(versions=versions), NOW).points)))


def test_an_older_policy_is_forgotten_when_nobody_can_hold_it(authority: Authority) -> None:
    """Its id was gone when the next run saw another; then TTL, a fetch and max_age."""
    first = next_history([], seen_with(authority), "1", NOW)
    moved = seen_with(
        authority,
        BODY.replace(b"mx1", b"mx2"),
        mx=Looked(DOMAIN, "MX", ("10 mx2.example.com",)),
        sts=Looked(f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=2;",), ttl=300),
    )
    second = next_history(first, moved, "2", NOW)
    assert ["2", "1"] == [entry["id"] for entry in second]
    for days, expected in ((13, [("error", "held-policy-without-mx")]), (15, [])):
        later = NOW + dt.timedelta(days=days)
        known = Known(before={DOMAIN: second})
        report = judge(moved, known, later)
        assert expected == [rule for rule in rules(report.points) if rule[1].startswith("held")]
    assert ["2"] == [entry["id"] for entry in next_history(second, moved, "2", NOW + dt.timedelta(days=15))]


VENDOR = "v.vendor.example"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said("ns1", "192.0.2.3", f"_mta-sts.{DOMAIN}", "TXT", cname=VENDOR), []),
        (Said("ns1", "192.0.2.3", f"_mta-sts.{DOMAIN}", "TXT", cname="old.vendor.example"), ["servers-differ"]),
        (Said("ns1", "192.0.2.3", f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=1;",)), ["servers-differ"]),
        (Said("r", "192.0.2.3", f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=1;",), own=False), []),
        (Said("r", "192.0.2.3", f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=2;",), own=False), ["servers-differ"]),
        (Said("ns1", "192.0.2.3", f"_smtp._tls.{DOMAIN}", "TXT", ()), ["servers-differ"]),
        (Said("ns1", "192.0.2.3", HOST, "A", ("198.51.100.9",)), []),
        (Said("ns1", "192.0.2.3", HOST, "A", ()), ["servers-differ"]),
        (Said("ns1", "192.0.2.3", HOST, "A", cname=VENDOR), ["servers-differ"]),
        (Said("ns1", "", f"_mta-sts.{DOMAIN}", "TXT", problem="has no address in DNS"), ["name-server-lame"]),
    ],
)
def test_each_name_is_compared_also_behind_a_cname(authority: Authority, said: Said, expected: list[str]) -> None:
    """At the zone's own servers by where the CNAME leads; addresses may vary by who asks."""
    heard = Said("ns2", "192.0.2.4", DOMAIN, "MX", ("10 mx1.example.com",))
    sts = Looked(f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=1;",), cnames=(VENDOR,))
    found = judge_agreement(seen_with(authority, sts=sts, said=[heard, said]), EVERYTHING)
    assert [("warning", rule) for rule in expected] == rules(found)


def test_edges_that_only_another_resolver_gives_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edges differ by who asks; the first resolver's stand first."""
    edges = {"192.0.2.53": "192.0.2.1", "192.0.2.54": "192.0.2.2"}

    async def resolved(resolver: Any, name: str, kind: str) -> Looked:
        edge = edges[resolver.nameservers[0].address]
        return Looked(name, kind, (edge,) if kind == "A" else (f"2001:db8::{edge[-1]}",))

    monkeypatch.setattr(lookup, "_resolved", resolved)
    for servers, expected in ((1, "192.0.2.1 2001:db8::1"), (2, "192.0.2.1 2001:db8::1 192.0.2.2 2001:db8::2")):
        network = Network(tuple((address, 53) for address in list(edges)[:servers]))
        assert expected == " ".join(asyncio.run(Dns(network).edges(HOST)).values)


def test_a_wildcard_address_that_depends_on_who_asks_is_no_policy_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every edge of the host is compared with every edge of the wildcard."""

    async def resolved(resolver: Any, name: str, kind: str) -> Looked:
        values = (f"127.0.0.{resolver.nameservers[0].address[-1]}",) if kind == "A" and DOMAIN in name else ()
        return Looked(name, kind, ("10 mx.test",) if kind == "MX" else values)

    monkeypatch.setattr(lookup, "_resolved", resolved)
    network = Network((("192.0.2.3", 53), ("192.0.2.4", 53)), ports={"*:443": {"127.0.0.3": 9, "127.0.0.4": 9}})
    seen = asyncio.run(observe.Observer(network, smtp=False).look_at(DOMAIN))
    assert ("127.0.0.3", "127.0.0.4") == (seen.host.values if seen.host else ())
    assert ("error", "no-mta-sts") in rules(judge(seen, Known(), NOW).points)


def test_a_name_server_without_address_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the zone, and nobody can ask it."""
    table = {(DOMAIN, "NS"): ("gone.example", "ns.example"), ("ns.example", "A"): ("192.0.2.3",)}

    async def look(_: Dns, name: str, kind: str) -> Looked:
        return Looked(name, kind, table.get((name, kind), ()))

    async def ask(_: Dns, server: str, address: str, name: str, kind: str) -> Said:
        return Said(server, address, name, kind, ())

    monkeypatch.setattr(Dns, "look", look)
    monkeypatch.setattr(Dns, "_ask", ask)
    said = asyncio.run(Dns(Network((("127.0.0.1", 9),))).by_authority(f"a.b.{DOMAIN}", ("x.example", "TXT")))
    assert [("gone.example", "has no address in DNS"), ("ns.example", "")] == [
        (one.server, one.problem) for one in said
    ]


def told_by(monkeypatch: pytest.MonkeyPatch, servers: dict[str, str]) -> list[Said]:
    """Return what is asked of a lost zone below `com`, whose servers have their addresses from the zone above.

    `servers` maps addresses to what is there: a response code, `silent`, or `.` for a referral to the root.
    """
    parent = "192.0.2.1"

    async def look(_: Dns, name: str, kind: str) -> Looked:
        known = {("com", "NS"): ("ns.parent.test",), ("ns.parent.test", "A"): (parent,)}
        lost = name.endswith(DOMAIN)
        return Looked(name, kind, known.get((name, kind), ()), failure=Failure.SERVFAIL if lost else None)

    async def query(_: Dns, _server: str, address: str, name: str, kind: str) -> dns.message.Message:
        answer = dns.message.make_response(dns.message.make_query(name, kind))
        here = servers.get(address, "")
        if here == "silent":
            raise dns.exception.Timeout
        if address == parent or here == ".":
            names = [f"ns{number}.{DOMAIN}." for number in range(len(servers))] if address == parent else ["ns.test."]
            zone = f"{DOMAIN}." if address == parent else "."
            answer.authority.append(dns.rrset.from_text(zone, 300, "IN", "NS", *names))
            for number, glue in enumerate(servers):
                answer.additional.append(dns.rrset.from_text(f"ns{number}.{DOMAIN}.", 300, "IN", "A", glue))
        else:
            answer.set_rcode(dns.rcode.from_text(here))
        return answer

    monkeypatch.setattr(Dns, "look", look)
    monkeypatch.setattr(Dns, "_query", query)
    asking = Dns(Network((("127.0.0.1", 9),)))
    asking.answered = True
    names = [(f"_mta-sts.{DOMAIN}", "TXT"), (DOMAIN, "MX")]
    return asyncio.run(asking.by_authority(DOMAIN, *names))


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ({"192.0.2.3": "REFUSED", "192.0.2.4": "silent"}, ["ns0.{} answers REFUSED", "ns1.{} gives no answer"]),
        (
            {"192.0.2.3": ".", "192.0.2.4": "SERVFAIL"},
            ["ns0.{} does not answer for the zone", "ns1.{} answers SERVFAIL"],
        ),
        ({"192.0.2.3": "silent"}, ["ns0.{} gives no answer"]),
    ],
)
def test_a_zone_that_no_server_of_its_own_serves_is_called_lame(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, servers: dict[str, str], words: list[str]
) -> None:
    """Resolvers say SERVFAIL or nothing; whom it is delegated to, and where they are, only the zone above knows."""
    said = told_by(monkeypatch, servers)
    for failure in (Failure.SERVFAIL, Failure.TIMEOUT):
        lost = {
            field: Looked(name, kind, failure=failure)
            for field, name, kind in (
                ("mx", DOMAIN, "MX"),
                ("sts", f"_mta-sts.{DOMAIN}", "TXT"),
                ("tlsrpt", f"_smtp._tls.{DOMAIN}", "TXT"),
                ("host", HOST, "A"),
            )
        }
        seen = seen_with(authority, said=said, fetched=None, mail_hosts=None, **lost)
        observe._find_lame(seen)
        (point,) = judge(seen, Known(), NOW).points
        assert ("error", "dns-lame", DOMAIN) == (point.kind, point.rule, point.path)
        assert f"({', '.join(word.format(DOMAIN) for word in words)})" in point.message


@pytest.mark.parametrize(("lost", "problem"), [(0, ""), (1, ""), (2, "gives no answer")])
def test_one_lost_packet_makes_no_name_server_silent(monkeypatch: pytest.MonkeyPatch, lost: int, problem: str) -> None:
    """UDP loses some; a server is asked again."""
    sent: list[float] = []

    async def udp(query: dns.message.Message, _address: str, limit: float, _port: int) -> Any:
        sent.append(limit)
        if len(sent) <= lost:
            raise dns.exception.Timeout
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        return answer, False

    monkeypatch.setattr("dns.asyncquery.udp_with_fallback", udp)
    said = asyncio.run(Dns(Network((("127.0.0.1", 9),)))._ask("ns.test", "192.0.2.3", DOMAIN, "MX"))
    assert (problem, min(lost + 1, 2)) == (said.problem, len(sent))


def test_servers_that_do_answer_are_not_called_lame(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver can't look up, and they can, has another reason."""
    said = told_by(monkeypatch, {"192.0.2.3": "REFUSED"})
    good = replace(said[0], server="ns.good.test", problem="", values=())
    seen = seen_with(authority, said=[*said, good], sts=Looked(said[0].name, "TXT", failure=Failure.SERVFAIL))
    observe._find_lame(seen)
    assert Failure.SERVFAIL == (seen.sts.failure if seen.sts else None)


@pytest.mark.parametrize(
    ("identifier", "history", "expected"),
    [
        ("1", [], []),
        ("20261124T000000", [], []),
        ("d41d8cd98f00b204e9800998ecf8427e", ["d41d8cd98f00b204e9800998ecf8427e"], []),
        ("d41d8cd98f00b204e9800998ecf8427e", [], [("error", "id-not-of-body")]),
    ],
)
def test_ids_that_others_made_stand_for_nothing(
    authority: Authority, identifier: str, history: list[str], expected: list[tuple[str, str]]
) -> None:
    """A stack that is being adopted shows the former id until its second update."""
    seen = seen_with(authority)
    entries = [history_entry(each, parse_policy(BODY), NOW, "https://elsewhere.example") for each in history]
    assert expected == rules(judge_id(seen, identifier, history_versions(entries)))


FORMER = BODY.replace(b"mx1", b"mx0").replace(b"1209600", b"604800")
MADE = f"{content_id(BODY)}12345678"


def version(body: bytes, identifier: str) -> PolicyVersion:
    """Return what a bucket remembers of a policy."""
    return PolicyVersion(f"of {identifier}", {ID_METADATA: identifier}, 0.0, body.decode())


@pytest.mark.parametrize(
    ("identifier", "rule", "declare"),
    [(MADE, "id-not-of-body", True), (MADE, "former-policy-served", False), ("2", "former-policy-served", False)],
)
def test_a_former_file_under_the_present_id_is_the_one_fault(
    authority: Authority, identifier: str, rule: str, declare: bool
) -> None:
    """MX records and drift are judged by the policy that is meant; a new id is needed for who came meanwhile."""
    declared = {"domain": DOMAIN, "mode": "enforce", "mx": ["mx1.example.com"], "max_age": 1_209_600}
    sts = Looked(f"_mta-sts.{DOMAIN}", "TXT", (f"v=STSv1; id={identifier};",), ttl=300)
    versions = {DOMAIN: [version(BODY, identifier), version(FORMER, "1")]}
    known = Known({DOMAIN: resolve_domain(declared)} if declare else {}, versions=versions)
    seen = seen_with(authority, FORMER, sts=sts)
    (point,) = judge(seen, known, NOW).points
    assert ("error", rule) == (point.kind, point.rule)
    assert ("`epoch`" if declare else "publish a new id") in point.message


def test_a_host_that_leaves_is_not_blamed_for_a_wrong_file(authority: Authority) -> None:
    """The stack no longer declares it, and who deleted its MX record would have mail refused."""
    declared = resolve_domain({"domain": DOMAIN, "mode": "enforce", "mx": ["mx1.example.com"], "max_age": 1_209_600})
    sts = Looked(f"_mta-sts.{DOMAIN}", "TXT", (f"v=STSv1; id={MADE};",), ttl=300)
    seen = seen_with(authority, FORMER, sts=sts, mx=Looked(DOMAIN, "MX", ("10 mx1.example.com", "20 mx0.example.com")))
    assert [("error", "id-not-of-body")] == rules(judge(seen, Known({DOMAIN: declared}), NOW).points)
    known = Known({DOMAIN: declared}, versions={DOMAIN: [version(BODY, MADE)]})
    assert [("error", "id-not-of-body"), ("error", "mx-not-covered")] == rules(judge(seen, known, NOW).points)


def test_a_file_that_a_hand_put_into_the_bucket_is_a_wrong_one(authority: Authority) -> None:
    """The newest version, and not one that was published: its id is that of the one before."""
    declared = resolve_domain({"domain": DOMAIN, "mode": "enforce", "mx": ["mx1.example.com"], "max_age": 1_209_600})
    sts = Looked(f"_mta-sts.{DOMAIN}", "TXT", (f"v=STSv1; id={MADE};",), ttl=300)
    known = Known({DOMAIN: declared}, versions={DOMAIN: [version(FORMER, MADE), version(BODY, MADE)]})
    (point,) = judge(seen_with(authority, FORMER, sts=sts), known, NOW).points
    assert "id-not-of-body" == point.rule


@pytest.mark.parametrize("remembered", [True, False])
def test_a_record_that_is_behind_the_file_is_the_one_fault(authority: Authority, remembered: bool) -> None:
    """An update between file and record, or one that ended there: no edge is to blame."""
    before = f"{content_id(FORMER)}12345678"
    declared = {"domain": DOMAIN, "mode": "enforce", "mx": ["mx1.example.com"], "max_age": 1_209_600}
    sts = Looked(f"_mta-sts.{DOMAIN}", "TXT", (f"v=STSv1; id={before};",), ttl=300)
    versions = {DOMAIN: [version(BODY, MADE), version(FORMER, before)]} if remembered else {}
    (point,) = judge(
        seen_with(authority, sts=sts), Known({DOMAIN: resolve_domain(declared)}, versions=versions), NOW
    ).points
    assert ("error", "id-behind", f"_mta-sts.{DOMAIN}") == (point.kind, point.rule, point.path)
    assert "wait for its TTL" in point.message


@pytest.mark.parametrize("bodies", [(FORMER, BODY), (BODY, FORMER)])
def test_the_address_that_serves_another_file_is_named(authority: Authority, bodies: tuple[bytes, bytes]) -> None:
    """Whichever comes first: the id says which file is meant."""
    served = [FetchedPolicy(parse_policy(body), body, "text/plain", certificate(authority, 60)) for body in bodies]
    addresses = {body: f"192.0.2.{number}" for number, body in enumerate(bodies)}
    fetched = [Fetched(addresses[one.body], "", one) for one in served]
    sts = Looked(f"_mta-sts.{DOMAIN}", "TXT", (f"v=STSv1; id={MADE};",), ttl=300)
    seen = seen_with(authority, sts=sts, fetched=fetched, host=Looked(HOST, "A", tuple(addresses.values())))
    (point,) = judge(seen, Known(own_ids=True), NOW).points
    assert ("error", "addresses-differ") == (point.kind, point.rule)
    assert point.message.startswith(f"{addresses[FORMER]} serves another policy than {addresses[BODY]} under one id")


def test_hands_in_dns_are_drift(authority: Authority) -> None:
    """Preference, TTL and where the policy host leads; a resolver's TTL tells nothing."""
    declared = resolve_domain({
        "domain": DOMAIN, "mode": "enforce", "manage_mx": True, "mx": [{"host": "mx1.example.com", "preference": 10}],
        "txt_ttl": 1, "host": {"bucket": "policies", "target": "d1.cloudfront.net"},
    })  # fmt: skip
    name = f"_mta-sts.{DOMAIN}"

    def found(**more: Any) -> list[str]:
        usual: dict[str, Any] = {
            "host": Looked(HOST, "A", ("192.0.2.1",), cnames=("d1.cloudfront.net",)),
            "sts": Looked(name, "TXT", (f"v=STSv1; id={MADE};",), ttl=300),
        }
        return [point.rule for point in judge_drift(seen_with(authority, **usual | more), declared)]

    said = [Said("ns1", "192.0.2.3", name, "TXT", ("v=STSv1; id=1;",), ttl=300),
            Said("ns1", "192.0.2.3", DOMAIN, "MX", ("10 mx1.example.com",), ttl=300),
            Said("resolver", "192.0.2.9", name, "TXT", ("v=STSv1; id=1;",), ttl=17, own=False)]  # fmt: skip
    assert [] == found(said=said)
    assert ["drift-record"] == found(sts=Looked(name, "TXT", ("v=STSv1; id=20261124T120000;",)))
    assert ["drift-mx-record"] == found(mx=Looked(DOMAIN, "MX", ("20 mx1.example.com",)))
    assert ["drift-ttl"] == found(said=[replace(said[0], ttl=3600), *said[1:]])
    assert ["drift-ttl"] == found(said=[said[0], replace(said[1], ttl=3600)])
    assert ["drift-cname"] == found(host=Looked(HOST, "A", ("192.0.2.1",)))
    assert ["drift-cname"] == found(host=Looked(HOST, "A", ("192.0.2.1",), cnames=("d2.cloudfront.net", "x.example")))


def test_what_a_stack_declares_is_put_right_by_the_stack(authority: Authority) -> None:
    """A record or an id made by hand would be drift; an MX record that is gone is that, and no pattern too many."""
    declared = {"domain": DOMAIN, "mode": "enforce", "manage_mx": True, "reports": "mailto:a@example.com",
                "mx": [{"host": "mx1.example.com", "preference": 10}]}  # fmt: skip
    gone = {"sts": Looked(f"_mta-sts.{DOMAIN}", "TXT"), "tlsrpt": Looked(f"_smtp._tls.{DOMAIN}", "TXT")}
    seen = seen_with(authority, mx=Looked(DOMAIN, "MX", ("10 mx9.example.com",)), **gone)
    points = judge(seen, Known({DOMAIN: resolve_domain(declared)}), NOW).points
    assert {"sts-record-missing", "tlsrpt-record-missing", "mx-not-covered", "drift-mx-record"} == {
        point.rule for point in points
    }
    assert not [point for point in points if "publish `" in point.message or "add `" in point.message]
    edited = {DOMAIN: [version(FORMER, MADE)]}
    made = seen_with(authority, sts=Looked(f"_mta-sts.{DOMAIN}", "TXT", (f"v=STSv1; id={MADE};",)))
    (point,) = judge(made, Known({DOMAIN: resolve_domain(declared)}, versions=edited), NOW).points
    assert ("body-changed-under-id", True) == (point.rule, "`epoch`" in point.message)


def test_no_memory_says_nothing(authority: Authority) -> None:
    """Without versions there is nothing to compare with."""
    assert [] == list(judge_held(seen_with(authority), [], "1", NOW))


# --- What an earlier run hands over


def mail_host(*sessions: Session, name: str = "mx1.example.com", **more: Any) -> MailHost:
    """Return an MX host with an address for each session."""
    addresses = tuple(session.address for session in sessions)
    return MailHost(name, Looked(name, "A", addresses, **more), list(sessions))


def handed_over(report: DomainReport, folder: Path) -> Known:
    """Return what the next run knows of a report, by way of its JSON."""
    file = folder / "last.json"
    file.write_text(to_json([report], [], NOW), encoding="utf-8")
    last = load_run(file)
    return Known(before=last.histories, smtp=last.smtp)


def test_a_fault_at_an_mx_host_reaches_the_run_that_may_not_look(authority: Authority, tmp_path: Path) -> None:
    """The error of the host that may use port 25 is the error of each run it hands over to, also the one after."""
    expired = Session("mx1.example.com", "192.0.2.2", FetchCause.CERTIFICATE_EXPIRED, "has expired")
    first = judge(seen_with(authority, mail_hosts=[mail_host(expired)]), Known(), NOW)
    assert (NOW, "errors") == (first.smtp_seen, first.verdict)
    report = first
    for hours in (1, 2):
        unseen = seen_with(authority, smtp=False, mail_hosts=[mail_host_unasked()])
        report = judge(unseen, handed_over(report, tmp_path), NOW + dt.timedelta(hours=hours))
        assert [("error", "smtp-certificate-expired"), ("note", "smtp-seen-before")] == rules(report.points)
        assert 1 == str(report.points[0]).count("(found by an earlier run)")
        assert (NOW, "errors") == (report.smtp_seen, report.verdict)
    late = judge(unseen, handed_over(report, tmp_path), NOW + dt.timedelta(hours=49))
    assert [("error", "smtp-certificate-expired"), ("skipped", "smtp-not-seen-lately")] == rules(late.points)
    ahead = judge(unseen, handed_over(report, tmp_path), NOW - dt.timedelta(hours=2))  # by whose clock that may be
    assert rules(late.points) == rules(ahead.points)
    good = mail_host(Session("mx1.example.com", "192.0.2.2", certificate=certificate(authority, 60)))
    mended = judge(seen_with(authority, mail_hosts=[good]), handed_over(report, tmp_path), NOW)
    assert ([], NOW) == (list(mended.points), mended.smtp_seen)


def mail_host_unasked(name: str = "mx1.example.com", **more: Any) -> MailHost:
    """Return an MX host that has an address and was not looked at."""
    return MailHost(name, Looked(name, "A", ("192.0.2.2",), **more))


def test_an_mx_host_that_nobody_looked_at_yet_is_named(authority: Authority, tmp_path: Path) -> None:
    """It came after the run that handed over; and one that has gone takes what was found there with it."""
    expired = Session("mx1.example.com", "192.0.2.2", FetchCause.CERTIFICATE_EXPIRED, "has expired")
    known = handed_over(judge(seen_with(authority, mail_hosts=[mail_host(expired)]), Known(), NOW), tmp_path)
    body = BODY.replace(b"mx1", b"mx2")
    moved = seen_with(
        authority,
        body,
        smtp=False,
        mx=Looked(DOMAIN, "MX", ("10 mx2.example.com",)),
        sts=Looked(f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=2;",)),
        mail_hosts=[mail_host_unasked("mx2.example.com")],
    )
    report = judge(moved, Known(smtp=known.smtp), NOW)
    (point,) = report.points
    assert ("skipped", "smtp-not-seen-lately") == (point.kind, point.rule)
    assert "mx2.example.com were NOT looked at" in point.message
    assert ({}, None) == (report.smtp, report.smtp_seen)


GOOD = Session("mx1.example.com", "192.0.2.2", greeted=True)


@pytest.mark.parametrize(
    "more",
    [
        {"mx": Looked(DOMAIN, "MX", failure=Failure.TIMEOUT), "mail_hosts": None},
        {"mx": None, "mail_hosts": None, "in_time": False},
        {"mail_hosts": [MailHost("mx1.example.com", Looked("mx1.example.com", "A", failure=Failure.SERVFAIL))]},
        {"mail_hosts": [MailHost("mx1.example.com", Looked("mx1.example.com", "A"))]},
        {"mail_hosts": [mail_host_unasked()], "in_time": False},
        {"mail_hosts": [mail_host(replace(GOOD, cause=SmtpCause.NOT_TALKING))]},
        {"mail_hosts": [mail_host(replace(GOOD, cause=SmtpCause.SILENT))]},
        {"mail_hosts": [mail_host(replace(GOOD, cause=SmtpCause.NO_ROUTE))]},
        {"mx": Looked(DOMAIN, "MX", ("10 mx1.example.com", "20 mx2.example.com")),
         "mail_hosts": [mail_host(replace(GOOD, cause=SmtpCause.TLS)), mail_host_unasked("mx2.example.com")]},
    ],
)  # fmt: skip
def test_nobody_has_looked_where_nobody_could(authority: Authority, tmp_path: Path, more: dict[str, Any]) -> None:
    """The date stands only where TLS was judged at each MX host; what was known before is kept."""
    assert judge(seen_with(authority, **more), Known(), NOW).smtp_seen is None
    known = handed_over(judge(seen_with(authority, mail_hosts=[mail_host(replace(GOOD, cause=SmtpCause.TLS))]),
                              Known(), NOW), tmp_path)  # fmt: skip
    later = judge(seen_with(authority, **more), known, NOW + dt.timedelta(hours=1))
    assert later.smtp["mx1.example.com"].seen in (NOW, NOW + dt.timedelta(hours=1))
    assert (len(later.mx) == 1) is (later.smtp_seen is not None)


def test_an_enforce_policy_that_senders_hold_gives_the_weight(authority: Authority) -> None:
    """Testing is served, and senders that hold enforce still refuse a host with an expired certificate."""
    expired = mail_host(Session("mx1.example.com", "192.0.2.2", FetchCause.CERTIFICATE_EXPIRED, "has expired"))
    before = next_history([], seen_with(authority), "1", NOW)
    body = BODY.replace(b"enforce", b"testing").replace(b"1209600", b"86400")
    served = seen_with(
        authority, body, mail_hosts=[expired], sts=Looked(f"_mta-sts.{DOMAIN}", "TXT", ("v=STSv1; id=2;",))
    )
    for known, kind in ((Known(before={DOMAIN: before}), "error"), (Known(), "warning")):
        assert (kind, "smtp-certificate-expired") in rules(judge(served, known, NOW).points)


# --- What tells of this machine, not of the other side

OFF = OSError(errno.EHOSTUNREACH, "No route to host")


def unfetched(address: str, cause: FetchCause, error: OSError | None = None) -> Fetched:
    """Return a fetch that ended in an error."""
    failed = FetchError(DOMAIN, cause, f"{HOST} at {address}: no connection")
    failed.__cause__ = error
    return Fetched(address, "", error=failed)


@pytest.mark.parametrize(
    ("error", "ipv6", "both", "expected"),
    [
        (OSError(errno.ENETUNREACH, ""), True, True, [("note", "no-route")]),
        (OSError(errno.ENETUNREACH, ""), True, False, [("skipped", "no-route")]),
        (OFF, False, True, [("note", "no-route")]),
        (OFF, False, False, [("skipped", "no-route")]),
        (OFF, True, True, [("error", "fetch-only-ipv6-broken")]),
        (OFF, True, False, [("error", "fetch-unreachable")]),
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), False, True, [("error", "fetch-only-ipv6-broken")]),
    ],
)  # fmt: skip
def test_an_address_family_that_this_machine_lacks_blames_nobody(
    *, authority: Authority, error: OSError, ipv6: bool, both: bool, expected: list[tuple[str, str]]
) -> None:
    """A note where another address was seen, skipped where none was; a fault where IPv6 does work here."""
    good = seen_with(authority).fetched or []
    fetched = [*(good if both else []), unfetched("2001:db8::1", FetchCause.UNREACHABLE, error)]
    addresses = tuple(one.address for one in fetched)
    seen = seen_with(authority, host=Looked(HOST, "A", addresses), fetched=fetched)
    assert expected == rules(judge_host(seen, NOW, Reach(ipv6=ipv6, smtp=True)))


@pytest.mark.parametrize(("ipv6", "kind", "rule"), [(False, "note", "no-route"), (True, "error", "smtp-no-connection")])
def test_an_mx_host_over_ipv6_is_judged_where_ipv6_works(*, ipv6: bool, kind: str, rule: str) -> None:
    """Its IPv4 address was judged, so that it counts as looked at."""
    host = mail_host(replace(GOOD, cause=FetchCause.CERTIFICATE_NAME),
                     Session("mx1.example.com", "2001:db8::2", SmtpCause.NO_CONNECTION, "no connection"))  # fmt: skip
    reach = Reach(ipv6=ipv6, smtp=True)
    assert (kind, rule) in rules(judge_smtp(host, Kind.ERROR, NOW, reach))
    looked = looked_host(host, Kind.ERROR, NOW, reach)
    assert looked is not None
    assert NOW == looked.seen


def test_a_name_server_over_ipv6_is_judged_where_ipv6_works(authority: Authority) -> None:
    """Else its silence tells of this machine."""
    name = f"_mta-sts.{DOMAIN}"
    said = [
        Said("ns1.example", "192.0.2.3", name, "TXT", ("v=STSv1; id=1;",)),
        Said("ns1.example", "2001:db8::3", name, "TXT", problem="can't be asked (No route to host)", unreached=True),
    ]
    seen = seen_with(authority, said=said)
    assert [] == rules(judge_agreement(seen, Reach()))
    assert [("warning", "name-server-lame")] == rules(judge_agreement(seen, EVERYTHING))


@pytest.mark.parametrize("cause", [SmtpCause.REFUSED, SmtpCause.NO_CONNECTION])
def test_port_25_blocked_by_refusal_blames_no_host(authority: Authority, cause: SmtpCause) -> None:
    """No host of the run spoke: skipped. One did: those that refuse are down."""
    host = mail_host(Session("mx1.example.com", "192.0.2.2", cause, "no connection"))
    for reach, expected in ((Reach(), [("skipped", "port-25-blocked")]), (EVERYTHING, [("error", f"smtp-{cause}")])):
        report = judge(seen_with(authority, mail_hosts=[host]), Known(), NOW, reach)
        assert (expected, None) == (rules(report.points), report.smtp_seen)


def test_what_the_end_of_the_run_tells_counts_for_its_first_domain(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that refuses is down where a later domain's host speaks."""

    async def look_at(observer: observe.Observer, domain: str) -> Seen:
        first = domain == "a.example"
        observer.reach.smtp = observer.reach.smtp or not first
        session = Session("mx1.example.com", "192.0.2.2", SmtpCause.REFUSED if first else SmtpCause.NO_STARTTLS, "x")
        return replace(seen_with(authority, mail_hosts=[mail_host(session)]), domain=domain)

    monkeypatch.setattr(observe.Observer, "look_at", look_at)
    for names, rule in ((["a.example", "b.example"], "smtp-refused"), (["a.example"], "port-25-blocked")):
        first = check_domains(names, Network((("127.0.0.1", 9),)))[0]
        assert rule in [point.rule for point in first.points]


def test_a_resolver_that_refuses_us_is_not_the_domains_fault(authority: Authority) -> None:
    """Only the zone's own servers can say that they do not serve it."""
    refused = {
        name: Looked(x, "TXT", failure=Failure.REFUSED)
        for name, x in (("mx", DOMAIN), ("sts", "x"), ("host", "x"), ("tlsrpt", "x"))
    }
    report = judge(seen_with(authority, fetched=None, mail_hosts=None, **refused), Known(), NOW)
    assert ([("skipped", "resolver-refuses")], "not sure") == (rules(report.points), report.verdict)


def test_a_resolver_without_the_public_dns_is_not_the_domains_fault() -> None:
    """Without a network some resolvers say of every name, and of the root, that there is no such thing."""
    missing = Looked(DOMAIN, "MX", exists=False)
    assert [("error", "domain-missing")] == rules(judge(Seen(DOMAIN, mx=missing), Known(), NOW).points)
    report = judge(Seen(DOMAIN, mx=missing, public=False), Known(), NOW)
    assert ([("skipped", "no-public-dns")], "not sure") == (rules(report.points), report.verdict)


def test_one_domain_that_breaks_the_check_leaves_the_others(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In looking or in judging: it is skipped and said so, and no result is lost."""

    async def look_at(_: observe.Observer, domain: str) -> Seen:
        if domain == "looks.example":
            raise ValueError("odd")
        seen = replace(seen_with(authority), domain=domain)
        return replace(seen, mx="odd") if domain == "judges.example" else seen

    monkeypatch.setattr(observe.Observer, "look_at", look_at)
    names = ["looks.example", "judges.example", "whole.example"]
    assert 2 == main(["check", *names, "--resolver", "127.0.0.1:9", "--json"])
    reports = json.loads(capsys.readouterr().out)["domains"]
    assert [["internal-error"], ["internal-error"], []] == [[one["rule"] for one in each["points"]] for each in reports]
    assert "ValueError: odd" in reports[0]["points"][0]["message"]


def odd_certificate(*names: str, twice: bool = False) -> bytes:
    """Return a certificate with an ediPartyName in its SAN, which few libraries read; in PEM with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "odd")])
    inner = b"".join(b"\x82" + bytes([len(each)]) + each.encode() for each in names) + b"\xa5\x06\xa1\x04\x0c\x02ab"
    san = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30" + bytes([len(inner)]) + inner)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - dt.timedelta(1))
        .not_valid_after(NOW + dt.timedelta(3650))
        .add_extension(san, critical=False)
    )
    if twice:
        builder._extensions.append(x509.Extension(san.oid, False, san))
    signed = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + signed.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("twice", [False, True])
def test_a_certificate_that_the_library_can_not_read_is_described(*, twice: bool) -> None:
    """All but its names."""
    pem = odd_certificate("mx.example", twice=twice).decode()
    text = described(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERT") :]))
    assert text.startswith("its names can't be read, valid from 2026-11-23")


def test_a_certificate_that_the_library_can_not_read_is_untrusted(tmp_path: Path) -> None:
    """Like any other, and the run goes on."""
    pem = tmp_path / "odd.pem"
    pem.write_bytes(odd_certificate("mx.example"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def look() -> Session:
        server = await asyncio.start_server(lambda reader, writer: speak_tls(reader, writer, context), "127.0.0.1", 0)
        async with server:
            return await start_session("mx.example", "127.0.0.1", server.sockets[0].getsockname()[1], tls_context())

    session = asyncio.run(look())
    assert FetchCause.CERTIFICATE_UNTRUSTED == session.cause
    assert "its names can't be read" in session.detail


def test_a_good_certificate_that_can_not_be_read_is_said_so(authority: Authority) -> None:
    """Senders take it; when it ends is not known here."""
    served = FetchedPolicy(parse_policy(BODY), BODY, "text/plain", b"no certificate")
    seen = seen_with(authority, fetched=[Fetched("192.0.2.1", "", served)])
    assert [("skipped", "certificate-unreadable")] == rules(judge(seen, Known(), NOW).points)


# --- The forms

EVIL = 'TXT "<script>|\x07\ud800 [x](http://evil) @all ]]> &amp;'


def test_what_strangers_publish_breaks_no_form() -> None:
    """Markup and control characters of a record stay text; every form can be read back."""
    points = [Point(area, kind, "rule", EVIL, EVIL) for area in Area for kind in Kind]
    report = DomainReport(DOMAIN, points, id=EVIL)
    _, bad = read_list(EVIL.encode("utf-8", "replace"))
    assert EVIL == json.loads(to_json([report], bad, NOW))["domains"][0]["id"]
    suites = ET.fromstring(to_junit([report], bad))  # noqa: S314  our own document
    assert [str(len(Area)), "1"] == [suite.get("tests") for suite in suites]
    assert "<script>" not in to_markdown([report], bad)
    assert DOMAIN in to_table([report], bad)


@pytest.mark.parametrize(
    ("more", "declare", "expected"),
    [
        ({}, False, {"stack"}),
        ({}, True, set()),
        (
            {"smtp": False, "mail_hosts": [MailHost("mx1.example.com", Looked("x", "A", ("192.0.2.2",)))]},
            True,
            {"smtp"},
        ),
        ({"fetched": [], "host": Looked(HOST, "A")}, True, {"policy"}),
        ({"sts": None, "fetched": None, "in_time": False}, True, {"record", "policy host", "policy"}),
        ({"mx": Looked(DOMAIN, "MX", exists=False)}, True, {str(area) for area in Area} - {"record"}),
    ],
)
def test_what_was_not_looked_at_did_not_pass(
    authority: Authority, more: dict[str, Any], declare: bool, expected: set[str]
) -> None:
    """In JUnit it is skipped, whatever was found elsewhere."""
    declared = resolve_domain({"domain": DOMAIN, "mode": "enforce", "mx": ["mx1.example.com"], "history": [
        history_entry("1", parse_policy(BODY), NOW, "https://elsewhere.example")]})  # fmt: skip
    usual = {"mail_hosts": [mail_host(Session("mx1.example.com", "192.0.2.2", certificate=certificate(authority, 60)))]}
    report = judge(seen_with(authority, **usual | more), Known({DOMAIN: declared} if declare else {}), NOW)
    (suite,) = ET.fromstring(to_junit([report], []))  # noqa: S314  our own document
    skipped = {case.get("name") for case in suite if case.find("skipped") is not None}
    assert (expected, str(len(expected))) == (skipped, suite.get("skipped"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"write `a\.b *x* <y> @z`; then *c*", r"write `a\.b *x* <y> @z`; then \*c\*"),
        ("`a` b `@team", "`a` b \\`@\u2060team"),
        ("@team #12 a@b.example", "@\u2060team #\u206012 a@b.example"),
        ("a `` <b>", r"a  \<b\>"),
        ("a\n\n# b `c\n\nd`", "a  # b `c d`"),
        ("[x](https://e.example) _i_ ~s~ &lt;", r"\[x\](https://e.example) \_i\_ \~s\~ \&lt;"),
    ],
)
def test_markdown_keeps_code_and_escapes_the_rest(text: str, shown: str) -> None:
    """Nothing in a code span is markup; whatever a stranger's backtick opens, there is nothing between."""
    report = DomainReport(DOMAIN, [Point(Area.RECORD, Kind.ERROR, "rule", "", text)])
    assert f"- **error** {shown} \\[rule\\]" in to_markdown([report], [])


# --- Vectors of others


def refused_by_us(vector: dict[str, Any]) -> bool:
    """Whether RFC 8461 and our strictness refuse what the upstream test takes, with the reason in its label."""
    return "arning" in vector["why"]


@pytest.mark.parametrize("vector", vector_parameters("http_fetch.json"))
def test_fetches_of_other_projects(authority: Authority, vector: dict[str, Any]) -> None:
    """Usable as labelled; where upstream only warns of the media type, senders in use refuse, and so do we."""
    contexts: dict[str, Callable[[], ssl.SSLContext]] = {
        "expired": lambda: authority.server([HOST], valid=(LONG_AGO, PAST)),
        "self-signed": lambda: Authority(authority._folder).server([HOST], valid=(LONG_AGO, FAR_FUTURE)),
    }
    tls = vector.get("tls", "")
    good = authority.ca_file.read_bytes()
    other = contexts.get(tls) or (lambda: authority.server(["elsewhere.example"] if tls else [HOST]))
    server_context = other()
    authority.ca_file.write_bytes(good)
    if vector["status"] is None:
        answer = Answer(hold=True)
    else:
        body = b"x" * vector["body_bytes"] if vector["body"] is None else vector["body"].encode()
        headers = [f"Location: {vector['location']}"] if "location" in vector else []
        answer = response(body, status=vector["status"], content_type=vector["content_type"], headers=headers)

    async def fetch() -> bool:
        async with policy_server(server_context, answer) as server:
            context = tls_context(authority.ca_file)
            try:
                await fetch_policy_async(DOMAIN, "127.0.0.1", server.port, context=context, limit=1, user_agent="")
            except MtaStsError:
                return False
            return True

    assert (vector["usable"] and not refused_by_us(vector)) is asyncio.run(fetch())
    assert vector.get("body_bytes", SIZE_LIMIT + 1) > SIZE_LIMIT


@pytest.mark.parametrize("vector", vector_parameters("cert_san.json", "san_match"))
def test_certificates_of_other_projects_at_an_mx_host(authority: Authority, vector: dict[str, Any]) -> None:
    """STARTTLS with each certificate: taken for the host or not, as RFC 8461 §4.2 says."""
    names = [name for name in vector["san_dns"] or [] if name.isascii()]
    host = vector["host"].removesuffix(".")
    if not host.replace("-", "").replace(".", "").isalnum() or ".." in host or host.startswith("."):
        pytest.skip("no name that DNS gives for an MX host")
    context = authority.server(names, common_name=vector["subject_cn"] or "host")
    chain = tls_context(authority.ca_file)
    chain.check_hostname = False

    async def look() -> Session:
        server = await asyncio.start_server(lambda reader, writer: speak_tls(reader, writer, context), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await start_session(host, "127.0.0.1", port, chain)

    session = asyncio.run(look())
    assert vector["rfc_expected"] is (session.cause is None), session


async def speak_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
    """Speak as much SMTP as STARTTLS needs."""
    writer.write(b"220 mx ESMTP\r\n")
    await reader.readline()
    writer.write(b"250-mx\r\n250 STARTTLS\r\n")
    await reader.readline()
    writer.write(b"220 go on\r\n")
    try:
        await writer.start_tls(context)
        await reader.readline()
    except (OSError, EOFError):
        pass
    finally:
        writer.transport.abort()


# --- What MX hosts say


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (b"554 we do not like you\r\n", SmtpCause.NOT_TALKING),
        (b"220-hello\r\n220 mx\r\n|421 busy\r\n", SmtpCause.NOT_TALKING),
        (b"220 mx\r\n|250-mx\r\n250 SIZE 1\r\n", SmtpCause.NO_STARTTLS),
        (b"220 mx\r\n|250 starttls\r\n|454 not now\r\n", SmtpCause.STARTTLS_FAILS),
        (b"220 mx\r\n|250 STARTTLS\r\n|220 go on\r\n|no TLS\r\n", SmtpCause.TLS),
        (b"HTTP/1.1 400 Bad Request\r\n", SmtpCause.NOT_TALKING),
        (b"220-x\r\n" * 1000, SmtpCause.NOT_TALKING),
        (b"x" * 200_000, SmtpCause.NOT_TALKING),
        (b"", SmtpCause.REFUSED),
        (b"220 mx\r\n|", SmtpCause.REFUSED),
        (b"220", SmtpCause.REFUSED),
    ],
)
def test_each_mail_host_is_understood(lines: bytes, cause: SmtpCause) -> None:
    """Whatever it says, there is a cause, and no exception."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for index, part in enumerate(lines.split(b"|")):
                if index:
                    await reader.readuntil(b"\n")
                writer.write(part)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def look() -> Session:
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await start_session("mx.example", "127.0.0.1", port, tls_context())

    assert cause == asyncio.run(look()).cause


def test_many_domains_in_no_time_at_a_dead_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand domains come back in order, each with its verdict; the observer is asked once for each."""

    async def look_at(_: observe.Observer, domain: str) -> Seen:
        return Seen(
            domain, **{name: Looked(domain, "MX", failure=Failure.TIMEOUT) for name in ("mx", "sts", "host", "tlsrpt")}
        )

    monkeypatch.setattr(observe.Observer, "look_at", look_at)
    names = [f"d{number}.example" for number in range(10_000)]
    steps: list[Any] = []
    found = check_domains(names, Network((("127.0.0.1", 9),)), progress=steps.append)
    assert names == [report.domain for report in found]
    assert {"not sure"} == {report.verdict for report in found}
    assert "10,000 of 10,000 domains checked, 0 with errors" == str(steps[-1])


@pytest.mark.parametrize(("answering", "expected"), [("", 32), ("d31.example", 100)])
def test_a_dead_resolver_is_not_asked_ten_thousand_times(
    monkeypatch: pytest.MonkeyPatch, answering: str, expected: int
) -> None:
    """When nothing answered for the first batch, the rest is skipped and said so."""
    looked_at: list[str] = []

    async def look_at(observer: observe.Observer, domain: str) -> Seen:
        looked_at.append(domain)
        observer._dns.answered = observer.answered or domain == answering
        return Seen(domain, mx=Looked(domain, "MX", failure=Failure.TIMEOUT))

    monkeypatch.setattr(observe.Observer, "look_at", look_at)
    names = [f"d{number}.example" for number in range(100)]
    found = check_domains(names, Network((("127.0.0.1", 9),)))
    assert (expected, names) == (len(looked_at), [report.domain for report in found])
    silent = [report for report in found if "resolver-silent" in [point.rule for point in report.points]]
    assert ({"not sure"}, 100 - expected) == ({report.verdict for report in found}, len(silent))


def evil_world(
    monkeypatch: pytest.MonkeyPatch, network: Network, hangs: Callable[[], None] = lambda: None
) -> observe.Observer:
    """Return an observer for whom each domain has sixty MX hosts, of which all but the first hang at evil ones."""

    async def asked(_: Dns, name: str, kind: str) -> Looked:
        hosts = tuple(f"{number} mx{number}.{name}" for number in range(60))
        values = {"MX": hosts, "A": (f"192.0.2.{len(name)}",)} if not name.startswith("mta-sts") else {}
        return Looked(name, kind, values.get(kind, ()))

    async def start(host: str, address: str, port: int, context: ssl.SSLContext) -> Session:
        del port, context
        if "evil" in host and not host.startswith("mx0."):
            hangs()
            await asyncio.Event().wait()
        return Session(host, address, SmtpCause.NO_STARTTLS, greeted=True)

    monkeypatch.setattr(Dns, "_asked", asked)
    monkeypatch.setattr(observe, "start_session", start)
    return observe.Observer(network)


def test_domains_that_hang_take_no_time_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty-one of thirty-two at once hang, and the last one is looked at to its end."""

    async def look() -> Seen:
        observer = evil_world(monkeypatch, Network((("127.0.0.1", 9),)))
        hanging = [asyncio.create_task(observer.look_at(f"evil{number}.example")) for number in range(31)]
        try:
            return await asyncio.create_task(observer.look_at("fine.example"))
        finally:
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    seen = asyncio.run(look())
    assert (60, True) == (sum(len(host.sessions) for host in seen.mail_hosts or ()), seen.in_time)


def test_what_was_seen_in_time_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first MX host answered, the others hung."""
    limits: list[asyncio.Timeout] = []
    hanging: list[None] = []
    timeout = asyncio.timeout

    def limit(seconds: float) -> asyncio.Timeout:
        limits.append(timeout(seconds))
        return limits[-1]

    def hangs() -> None:
        hanging.append(None)
        if len(hanging) == observe._CONNECTIONS:  # the first one's turn is over
            limits[0].reschedule(asyncio.get_running_loop().time())

    monkeypatch.setattr(asyncio, "timeout", limit)
    seen = asyncio.run(evil_world(monkeypatch, Network((("127.0.0.1", 9),)), hangs).look_at("evil.example"))
    hosts = seen.mail_hosts or []
    assert (False, 60, 1) == (seen.in_time, len(hosts), len(hosts[0].sessions))
    report = judge(seen, Known(), NOW)
    assert {"out-of-time", "smtp-no-starttls"} <= {point.rule for point in report.points}


def test_a_domain_takes_a_minute_at_most() -> None:
    """Its own limit ends everything of it, and the files that all domains have open at once stay within 1,024."""
    assert observe.DOMAIN_LIMIT <= 60
    assert run._AT_ONCE * (observe._CONNECTIONS + lookup._AT_ONCE) <= 1_024 * 3 // 4


def test_the_page_names_every_rule_and_no_other() -> None:
    """In the code a rule is the third argument of a Point; families of rules stand as `fetch-…`."""
    literals: set[str] = set()
    for source in Path(checks.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Point":
                literals |= {node.args[2].value} if isinstance(node.args[2], ast.Constant) else set()
    literals |= {rule for _, rule, _ in FAILURES.values()}
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z].*?) \|", page.partition("## What is looked at")[2], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert literals == {name for name in named if not name.startswith(("fetch-", "smtp-…", "drift-…"))}
    assert {f"fetch-only-{family}-broken" for family in ("ipv4", "ipv6")} <= named
