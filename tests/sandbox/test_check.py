"""`mta-sts check` in the sandbox: each fault is named in one line, and nothing else is blamed."""

from __future__ import annotations

import contextlib
import json
import socket
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from mta_sts import content_id
from mta_sts.checks import observe, smtp
from mta_sts.cli import main
from sandbox.check import problems, reports
from sandbox.world.client import World
from tests.sandbox.clouds import Clouds, policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mta_sts.checks.report import DomainReport

ZONE = "example.com"
HOST = f"mta-sts.{ZONE}"
STS = f"_mta-sts.{ZONE}"
MX = "mx1.example.com"
BODY = policy(MX, "mx2.example.com", mode="enforce", max_age=1_209_600)
ID = f"{content_id(BODY)}12345678"
RUA = '"v=TLSRPTv1; rua=mailto:tls-reports@example.com"'
IPV6 = "::1"


def publish(clouds: Clouds, domain: str, body: str = BODY, *, zone: str = ZONE, identifier: str = "") -> Any:
    """Publish everything of a domain: policy, records and MX records."""
    made = clouds.publish(zone, domain, body, identifier or f"{content_id(body)}12345678")
    clouds.cloudflare.add(zone, "TXT", f"_smtp._tls.{domain}", RUA)
    for line in body.splitlines():
        if line.startswith("mx: "):
            clouds.cloudflare.add(zone, "MX", domain, line.removeprefix("mx: "), priority=10)
    return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run one world for all tests here; each uses names of its own, or ends what it did to example.com."""
    with World(tmp_path_factory.mktemp("check")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(world: World) -> Clouds:
    """Return clouds in which example.com is published as it should be."""
    clouds = Clouds(world)
    publish(clouds, ZONE)
    return clouds


@pytest.fixture
def clouds(world: World, shared: Clouds) -> Iterator[Clouds]:
    """Return the clouds, and end faults afterwards."""
    yield shared
    world.clear_faults()


_HANGING = {
    "slow": "mta_sts.checks.observe._FETCH_LIMIT",
    "endless": "mta_sts.checks.observe._FETCH_LIMIT",
    "silent": "mta_sts.checks.smtp._SESSION_LIMIT",
    "silent-name": "mta_sts.network_options.DNS_LIMIT",
}


def hurry(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Let nobody wait long for what hangs; everything else has its time, on a busy machine too."""
    if fault == "silent-server":
        monkeypatch.setattr("mta_sts.checks.lookup._SERVER_LIMITS", (1.5,))
    elif fault in _HANGING:
        monkeypatch.setattr(_HANGING[fault], 1.5)


def found(report: DomainReport) -> list[tuple[str, str, str]]:
    """Return what a report says, without the sentences and without notes."""
    return [(str(point.kind), point.rule, point.path) for point in report.points if point.kind != "note"]


def seen(world: World, domain: str = ZONE) -> list[tuple[str, str, str]]:
    """Return what is found of a domain."""
    (report,) = reports(world, [domain])
    return found(report)


def test_what_is_whole_is_found_whole(world: World, clouds: Clouds) -> None:
    """No error, no warning, nothing skipped, and the facts are right."""
    (report,) = reports(world, [ZONE])
    assert ([], "good", "enforce", ID) == (list(report.points), report.verdict, report.mode, report.id)
    assert ([MX, "mx2.example.com"], BODY, 1_209_600) == (report.mx, report.policy, report.max_age)
    assert [] == problems(world, ZONE)


@pytest.mark.parametrize(
    ("place", "name", "fault", "rule", "words"),
    [
        ("edge", HOST, "expired", "fetch-certificate-expired", "has expired"),
        ("edge", HOST, "not-yet-valid", "fetch-certificate-not-yet-valid", "not yet valid"),
        ("edge", HOST, "wrong-name", "fetch-certificate-name", "names elsewhere.invalid"),
        ("edge", HOST, "self-signed", "fetch-certificate-self-signed", "public authority"),
        ("edge", HOST, "missing-intermediate", "fetch-certificate-chain", "fullchain.pem"),
        ("edge", HOST, "redirect", "fetch-redirect", "https://elsewhere.invalid/mta-sts.txt"),
        ("edge", HOST, "not-found", "fetch-status", "404"),
        ("edge", HOST, "forbidden", "fetch-status", "403"),
        ("edge", HOST, "wrong-type", "fetch-media-type", "'text/html'"),
        ("edge", HOST, "slow", "fetch-timeout", "no whole answer"),
        ("edge", HOST, "endless", "fetch-timeout", "no whole answer"),
        ("edge", HOST, "reset", "fetch-http", "closes the connection"),
        ("edge", HOST, "byte-order-mark", "byte-order-mark", "save it without"),
        ("edge", HOST, "blank-line", "blank-line", "remove it"),
        ("edge", HOST, "too-large", "fetch-too-large", "64000"),
        ("edge", HOST, "bot-wall", "bot-wall", "no user agent (status 403)"),
        ("edge", HOST, "browser-wall", "bot-wall", "whoever is no browser (status 403)"),
        ("edge", HOST, "tls-1.0", "fetch-tls-version", "only TLSv1;"),
        ("edge", HOST, "truncated", "fetch-http", "closes the connection before its answer is whole"),
        ("mail", MX, "expired", "smtp-certificate-expired", "has expired"),
        ("mail", MX, "not-yet-valid", "smtp-certificate-not-yet-valid", "not yet valid"),
        ("mail", MX, "wrong-name", "smtp-certificate-name", "names elsewhere.invalid"),
        ("mail", MX, "self-signed", "smtp-certificate-self-signed", "public authority"),
        ("mail", MX, "missing-intermediate", "smtp-certificate-chain", "fullchain.pem"),
        ("mail", MX, "no-starttls", "smtp-no-starttls", "does not offer STARTTLS"),
        ("mail", MX, "refused", "smtp-refused", "closes the connection"),
        ("mail", MX, "silent", "smtp-silent", "no whole session"),
        ("mail", MX, "tls-1.0", "smtp-tls-version", "only TLSv1"),
        ("dns", STS, "servfail", "dns-servfail", "SERVFAIL"),
        ("dns", STS, "lame", "dns-lame", "REFUSED"),
        ("dns", STS, "bogus", "dns-bogus", "DNSSEC"),
        ("dns", f"_smtp._tls.{ZONE}", "servfail", "dns-servfail", "SERVFAIL"),
        ("dns", ZONE, "servfail", "dns-servfail", "MX can't be looked up"),
        ("dns", HOST, "servfail", "dns-servfail", "A can't be looked up"),
        ("dns", MX, "servfail", "dns-servfail", "A can't be looked up"),
        ("dns", MX, "lame", "dns-lame", "REFUSED"),
        ("dns", ZONE, "lame", "dns-lame", "bob.ns.cloudflare.com answers REFUSED"),
        ("dns", HOST, "lame", "dns-lame", "REFUSED"),
        ("dns", ZONE, "bogus", "dns-bogus", "DNSSEC"),
    ],
)
def test_each_fault_is_named_in_one_line_and_nothing_else(
    *,
    world: World,
    clouds: Clouds,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    name: str,
    fault: str,
    rule: str,
    words: str,
) -> None:
    """One error with the place and a way out; gone when the fault is gone."""
    hurry(monkeypatch, fault)
    world.fault(place, name, fault)
    (report,) = reports(world, [ZONE])
    (point,) = report.points
    assert ("errors", "error", rule) == (report.verdict, point.kind, point.rule)
    assert point.path.removeprefix("https://").startswith(name)
    assert words in point.message
    assert ";" in point.message
    assert "\n" not in str(point)
    monkeypatch.undo()
    world.clear_faults()
    assert [] == seen(world)


@pytest.mark.parametrize(
    ("name", "fault", "rule", "words"),
    [
        ("bob.ns.cloudflare.com", "lame", "name-server-lame", "answers REFUSED"),
        ("bob.ns.cloudflare.com", "servfail", "name-server-lame", "answers SERVFAIL"),
        ("bob.ns.cloudflare.com", "silent", "name-server-lame", "gives no answer"),
        ("bob.ns.cloudflare.com", "outdated", "servers-differ", f"says nothing for {STS} TXT"),
    ],
)
def test_a_name_server_that_differs_is_named(
    *, world: World, clouds: Clouds, monkeypatch: pytest.MonkeyPatch, name: str, fault: str, rule: str, words: str
) -> None:
    """The resolver asks whichever it likes, so one bad server of two is a warning, once."""
    hurry(monkeypatch, f"{fault}-server")
    world.fault("dns", name, fault)
    (report,) = reports(world, [ZONE])
    (point,) = report.points
    assert ("good", "warning", rule, ZONE) == (report.verdict, point.kind, point.rule, point.path)
    assert name in point.message
    assert words in point.message


def test_no_answer_is_neither_good_nor_a_fault(world: World, clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver does not answer is skipped and said so."""
    hurry(monkeypatch, "silent-name")
    world.fault("dns", STS, "silent")
    assert [("skipped", "dns-timeout", STS)] == seen(world)
    assert 1 == len(problems(world, ZONE))


def test_a_stale_edge_is_known_by_the_id(world: World, clouds: Clouds) -> None:
    """The id says which bytes it stands for; an edge that serves the former file is caught."""
    domain = "stale.example.com"
    publish(clouds, domain, policy(MX, mode="enforce", max_age=2_000_000), identifier=ID)
    clouds.put("policies-stale", domain, BODY)
    clouds.cloudflare.add(ZONE, "MX", domain, "mx2.example.com", priority=20)
    assert [] == seen(world, domain)
    world.fault("edge", f"mta-sts.{domain}", "stale")
    # That the former file leaves an MX host out is no fault of the MX records.
    assert [("error", "id-not-of-body", f"https://mta-sts.{domain}")] == seen(world, domain)


def test_broken_ipv6_alone_is_said_so(world: World, clouds: Clouds) -> None:
    """Senders with IPv6 meet it, and a look over IPv4 never shows it."""
    if IPV6 not in world.endpoints.edge:
        pytest.skip("this machine has no IPv6 loopback")
    world.fault("edge", HOST, "ipv6-broken")
    assert [("error", "fetch-only-ipv6-broken", HOST)] == seen(world)


def no_record(clouds: Clouds, domain: str) -> None:
    """Publish all but the discovery record."""
    publish(clouds, domain)
    (record,) = clouds.cloudflare.records(ZONE, f"_mta-sts.{domain}")
    clouds.cloudflare.call("DELETE", f"/zones/{clouds.cloudflare.zone(ZONE)}/dns_records/{record['id']}")


def in_the_place_of(clouds: Clouds, domain: str, *records: tuple[str, str, str]) -> None:
    """Publish a domain with other records in the place of the discovery record."""
    no_record(clouds, domain)
    for kind, name, content in records:
        clouds.cloudflare.add(ZONE, kind, name, content)


def without_mx(clouds: Clouds, domain: str, *hosts: str) -> None:
    """Publish a domain with other MX records."""
    publish(clouds, domain)
    zone = clouds.cloudflare.zone(ZONE)
    for record in clouds.cloudflare.records(ZONE, domain):
        clouds.cloudflare.call("DELETE", f"/zones/{zone}/dns_records/{record['id']}")
    for host in hosts:
        clouds.cloudflare.add(ZONE, "MX", domain, host, priority=10)


@pytest.mark.parametrize(
    ("short", "records", "rule"),
    [
        ("absent", [], "sts-record-missing"),
        ("spf", [("TXT", "_mta-sts.spf.example.com", '"v=spf1 -all"')], "sts-record-missing"),
        ("wild", [("TXT", "*.wild.example.com", '"token=1"')], "wildcard-txt"),
        ("apex", [("TXT", "apex.example.com", f'"v=STSv1; id={ID};"')], "record-at-apex"),
        ("blank", [("TXT", "_mta-sts.blank.example.com", f'"v=STSv1 ; id={ID};"')], "version-spelling"),
        ("case", [("TXT", "_mta-sts.case.example.com", f'"v=stsv1; id={ID};"')], "version-spelling"),
        ("noid", [("TXT", "_mta-sts.noid.example.com", '"v=STSv1;"')], "id-missing"),
        ("badid", [("TXT", "_mta-sts.badid.example.com", '"v=STSv1; id=2026-01-01;"')], "id-invalid"),
        ("twoids", [("TXT", "_mta-sts.twoids.example.com", f'"v=STSv1; id={ID}; id=2;"')], "tag-twice"),
        ("two", [("TXT", "_mta-sts.two.example.com", f'"v=STSv1; id={ID};"'),
                 ("TXT", "_mta-sts.two.example.com", '"v=STSv1; id=2;"')], "not-one-record"),
        ("beside", [("TXT", "_mta-sts.beside.example.com", f'"v=STSv1; id={ID};"'),
                    ("TXT", "_mta-sts.beside.example.com", '"token=1"')], "record-in-the-way"),
        ("loop", [("CNAME", "_mta-sts.loop.example.com", "a.loop.example.com"),
                  ("CNAME", "a.loop.example.com", "_mta-sts.loop.example.com")], "cname-loop"),
        ("nowhere", [("CNAME", "_mta-sts.nowhere.example.com", "gone.example.com")], "cname-leads-nowhere"),
    ],
)  # fmt: skip
def test_each_wrong_record_is_named_and_nothing_else(
    *, world: World, clouds: Clouds, short: str, records: list[tuple[str, str, str]], rule: str
) -> None:
    """What stands at `_mta-sts`, or in its place, or elsewhere instead."""
    domain = f"{short}.example.com"
    in_the_place_of(clouds, domain, *records)
    assert [("error", rule)] == [(kind, name) for kind, name, _ in seen(world, domain)]


@pytest.mark.parametrize(
    ("short", "hosts", "expected"),
    [
        ("null", ["."], [("warning", "null-mx")]),
        ("homeless", [MX, "mx2.example.com", "homeless-mx.example.com"],
         [("error", "mx-not-covered"), ("error", "mx-without-address")]),
        ("intruder", [MX, "mx2.example.com", "mx3.example.com"], [("error", "mx-not-covered")]),
        ("leaner", [MX], [("warning", "pattern-without-mx")]),
    ],
)  # fmt: skip
def test_each_wrong_mx_record_is_named_and_nothing_else(
    *, world: World, clouds: Clouds, short: str, hosts: list[str], expected: list[tuple[str, str]]
) -> None:
    """Null MX, a host without address, one that the policy leaves out, one that is gone."""
    domain = f"{short}.example.com"
    without_mx(clouds, domain, *hosts)
    assert expected == [(kind, rule) for kind, rule, _ in seen(world, domain)]


def test_an_mx_host_of_the_policy_without_address_is_the_one_fault(world: World, clouds: Clouds) -> None:
    """The policy allows it, DNS leads nowhere."""
    publish(clouds, "void.example.com", policy("void-mx.example.com", mode="enforce", max_age=1_209_600))
    assert [("error", "mx-without-address", "void-mx.example.com")] == seen(world, "void.example.com")


@pytest.mark.parametrize(
    ("short", "name"), [("round", "mta-sts.round.example.com"), ("rounder", "rounder-mx.example.com")]
)
def test_aliases_in_a_circle_are_the_one_fault(*, world: World, clouds: Clouds, short: str, name: str) -> None:
    """At the policy host, or at an MX host."""
    domain, mx = f"{short}.example.com", MX if name.startswith("mta-sts.") else name
    publish(clouds, domain, policy(mx, mode="enforce", max_age=1_209_600))
    zone = clouds.cloudflare.zone(ZONE)
    for record in clouds.cloudflare.records(ZONE, name):
        clouds.cloudflare.call("DELETE", f"/zones/{zone}/dns_records/{record['id']}")
    clouds.cloudflare.add(ZONE, "CNAME", name, f"a.{name}")
    clouds.cloudflare.add(ZONE, "CNAME", f"a.{name}", name)
    assert [("error", "cname-loop", name)] == seen(world, domain)


def test_a_domain_that_is_not_there_is_one_line(world: World, clouds: Clouds) -> None:
    """NXDOMAIN explains everything else."""
    assert [("error", "domain-missing", "nosuch.invalid")] == seen(world, "nosuch.invalid")


def test_a_domain_without_mta_sts_is_one_line(world: World, clouds: Clouds) -> None:
    """Nothing of it there: that is the one thing to say, beside the missing report address."""
    clouds.cloudflare.add(ZONE, "MX", "plain.example.com", MX, priority=10)
    assert [
        ("error", "no-mta-sts", "_mta-sts.plain.example.com"),
        ("warning", "tlsrpt-record-missing", "_smtp._tls.plain.example.com"),
    ] == seen(world, "plain.example.com")


def test_a_record_without_a_policy_host_is_one_line(world: World, clouds: Clouds) -> None:
    """The record promises a policy, and the name has no address."""
    for kind, name, content in (
        ("TXT", "_mta-sts.hostless.example.com", f'"v=STSv1; id={ID};"'),
        ("TXT", "_smtp._tls.hostless.example.com", RUA),
    ):
        clouds.cloudflare.add(ZONE, kind, name, content)
    clouds.cloudflare.add(ZONE, "MX", "hostless.example.com", MX, priority=10)
    expected = [("error", "policy-host-without-address", "mta-sts.hostless.example.com")]
    assert expected == seen(world, "hostless.example.com")


@pytest.mark.parametrize(("mode", "kind"), [("enforce", "error"), ("testing", "warning"), ("none", "warning")])
def test_an_mx_fault_weighs_what_the_mode_makes_of_it(world: World, clouds: Clouds, mode: str, kind: str) -> None:
    """Only enforce refuses mail."""
    domain = f"in-{mode}.example.com"
    publish(clouds, domain, policy(MX, mode=mode, max_age=1_209_600))
    world.fault("mail", MX, "expired")
    assert [(kind, "smtp-certificate-expired", MX)] == seen(world, domain)


def test_the_worst_domain_is_given_up_in_time(world: World, clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything hangs, the domain's own limit ends it, and that is said."""
    monkeypatch.setattr(observe, "_FETCH_LIMIT", 600.0)
    monkeypatch.setattr(smtp, "_SESSION_LIMIT", 600.0)
    monkeypatch.setattr(observe, "DOMAIN_LIMIT", 1.0)
    world.fault("edge", HOST, "endless")
    world.fault("mail", MX, "silent")
    assert [("skipped", "out-of-time", ZONE)] == seen(world)


@pytest.fixture
def check(world: World, clouds: Clouds, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return a function that runs the command in the world and gives code, output and errors."""
    ports = tmp_path / "ports.json"
    ports.write_text(json.dumps(world.port_map()), encoding="utf-8")
    dns = world.endpoints.dns
    reach = ["--resolver", f"{dns['address']}:{dns['port']}", "--ca-file", world.endpoints.ca_file]

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["check", *reach, "--port-map", str(ports), *arguments])
        return code, *capsys.readouterr()

    return run


def test_the_command_tells_by_its_exit_code(world: World, check: Callable[..., Any]) -> None:
    """0 good, 1 errors, 2 not sure, in every form; warnings leave it at 0."""
    code, out, err = check(ZONE)
    assert (0, "") == (code, err)
    assert "1 domains: 1 good" in out
    world.fault("edge", HOST, "not-found")
    code, out, _ = check(ZONE)
    assert 1 == code
    assert f"error: {HOST}: status 404; serve the policy there with status 200 [fetch-status]" in out
    code, out, _ = check(ZONE, "--json")
    (domain,) = json.loads(out)["domains"]
    assert (1, "errors", "fetch-status") == (code, domain["verdict"], domain["points"][0]["rule"])
    code, out, _ = check(ZONE, "--format", "markdown")
    assert 1 == code
    assert "- **error** mta-sts.example.com: status 404" in out
    code, out, _ = check(ZONE, "--format", "junit")
    suite = ET.fromstring(out)[0]  # noqa: S314  our own document
    failures = [case.get("name") for case in suite if case.find("failure") is not None]
    assert (1, ZONE, "1", ["policy host"]) == (code, suite.get("name"), suite.get("failures"), failures)


def full_queue(sockets: contextlib.ExitStack, address: str) -> int:
    """Return a port whose queue is full, so that Linux drops whoever comes next."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    full, filling = (sockets.enter_context(socket.socket(family)) for _ in range(2))
    full.bind((address, 0))
    full.listen(0)
    filling.connect(full.getsockname())
    return int(full.getsockname()[1])


def closed(sockets: contextlib.ExitStack, address: str) -> int:
    """Return a port where nobody listens, so that whoever comes is refused."""
    held = sockets.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
    held.bind((address, 0))
    return int(held.getsockname()[1])


@pytest.mark.parametrize("block", [full_queue, closed])
def test_a_blocked_port_25_is_skipped_and_said_so(
    *, world: World, check: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: Any
) -> None:
    """No MX host of the run can be reached: that is no fault of theirs, and no pass."""
    monkeypatch.setattr(smtp, "_CONNECT_LIMIT", 0.3)
    blocked = world.port_map()
    with contextlib.ExitStack() as sockets:
        silent = {address: block(sockets, address) for address in world.endpoints.edge}
        hosts = {host: silent for host in blocked if host.endswith(":25")}
        file = tmp_path / "blocked.json"
        file.write_text(json.dumps(blocked | hosts), encoding="utf-8")
        code, out, _ = check(ZONE, "--port-map", str(file), "--json")
    (domain,) = json.loads(out)["domains"]
    told = [(point["kind"], point["rule"]) for point in domain["points"]]
    assert (2, "not sure") == (code, domain["verdict"])
    assert [("skipped", "port-25-blocked")] == told
    assert (True, None) == ("NOT checked" in out, domain["smtp_seen"])


def test_left_out_on_request_is_no_doubt(check: Callable[..., Any]) -> None:
    """`--no-smtp` is said in the output, and the code stays 0."""
    code, out, _ = check(ZONE, "--no-smtp")
    assert 0 == code
    assert "NOT checked" in out


def test_an_edit_under_the_same_id_is_seen_with_the_last_run(
    world: World, clouds: Clouds, check: Callable[..., Any], tmp_path: Path
) -> None:
    """Only memory can see it; so it is for a policy that older holders still obey."""
    domain = "edited.example.com"
    publish(clouds, domain, identifier="fixed")
    first = tmp_path / "first.json"
    assert 0 == check(domain, "--json", "-o", str(first))[0]
    assert 0 == check(domain, "--last-run", str(first))[0]
    clouds.put("policies-edited", domain, BODY.replace("max_age: 1209600", "max_age: 2000000"))
    code, out, _ = check(domain, "--last-run", str(first))
    assert 1 == code
    assert "[body-changed-under-id]" in out
    assert "max_age was 1209600" in out


def test_an_mx_move_under_a_held_policy_is_seen_with_the_last_run(
    world: World, clouds: Clouds, check: Callable[..., Any], tmp_path: Path
) -> None:
    """Policy, id and MX records agree, and senders that hold the older policy still refuse."""
    domain, zone = "moved.example.com", clouds.cloudflare.zone(ZONE)
    publish(clouds, domain, identifier="one")
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert 0 == check(domain, "--json", "-o", str(first))[0]
    clouds.put("policies-moved", domain, policy("mx3.example.com", mode="enforce", max_age=1_209_600))
    for record in [*clouds.cloudflare.records(ZONE, domain), *clouds.cloudflare.records(ZONE, f"_mta-sts.{domain}")]:
        clouds.cloudflare.call("DELETE", f"/zones/{zone}/dns_records/{record['id']}")
    clouds.cloudflare.add(ZONE, "MX", domain, "mx3.example.com", priority=10)
    clouds.cloudflare.add(ZONE, "TXT", f"_mta-sts.{domain}", '"v=STSv1; id=two;"')
    assert 0 == check(domain)[0]
    for last, to in ((first, second), (second, tmp_path / "third.json")):
        code, _, _ = check(domain, "--last-run", str(last), "--json", "-o", str(to))
        (found,) = json.loads(to.read_text(encoding="utf-8"))["domains"]
        assert (1, ["held-policy-without-mx"]) == (code, [point["rule"] for point in found["points"]])
        assert ["two", "one"] == [entry["id"] for entry in found["history"]]


def test_a_stack_is_checked_against_what_it_declares(
    world: World, clouds: Clouds, check: Callable[..., Any], tmp_path: Path
) -> None:
    """What is live and not declared so is drift, each difference in a line."""
    publish(clouds, "drift.example.com")
    file = tmp_path / "Pulumi.test.yaml"

    def declare(text: str) -> None:
        file.write_text(f"config:\n  mta-sts:domains:\n    - domain: drift.example.com\n{text}", encoding="utf-8")

    declare("      mode: enforce\n      mx: [mx1.example.com, mx2.example.com]\n"
            "      reports: mailto:tls-reports@example.com\n")  # fmt: skip
    code, out, _ = check("--stack", str(file))
    assert (0, True) == (code, "1 good" in out)
    assert "drift" not in out.replace("drift.example.com", "")
    declare("      manage_mx: true\n      reports: mailto:other@example.com\n      mx:\n"
            "        - {host: mx3.example.com, preference: 10}\n")  # fmt: skip
    code, out, _ = check("--stack", str(file), "--json")
    (domain,) = json.loads(out)["domains"]
    rules = [point["rule"] for point in domain["points"] if point["area"] == "stack"]
    assert ["drift-mode", "drift-max-age", "drift-mx-pattern", "drift-reports", "drift-mx-record"] == rules


def test_several_resolvers_are_compared(world: World, clouds: Clouds, check: Callable[..., Any]) -> None:
    """A resolver with another answer is named."""
    ports = world.endpoints.name_servers
    (_, ada), (name, bob) = ports.items()
    world.fault("dns", name, "outdated")
    code, out, _ = check(
        ZONE, "--resolver", f"127.0.0.1:{ada['127.0.0.1']}", "--resolver", f"127.0.0.1:{bob['127.0.0.1']}"
    )
    assert 0 == code
    assert f"resolver 127.0.0.1:{bob['127.0.0.1']} (127.0.0.1) says nothing for {STS} TXT" in out
    assert f"resolver 127.0.0.1:{ada['127.0.0.1']}" not in out


def test_a_fault_that_only_the_host_with_port_25_sees_is_handed_over(
    world: World, clouds: Clouds, check: Callable[..., Any], tmp_path: Path
) -> None:
    """The nightly run has it from the JSON, as the error that it is; and hands it on."""
    handed_over, again = tmp_path / "mx.json", tmp_path / "again.json"
    world.fault("mail", MX, "expired")
    assert 1 == check(ZONE, "--json", "-o", str(handed_over))[0]
    for file in (handed_over, again):
        code, out, _ = check(ZONE, "--no-smtp", "--last-run", str(file), "--json")
        again.write_text(out, encoding="utf-8")
        points = json.loads(out)["domains"][0]["points"]
        assert (1, ["smtp-certificate-expired", "smtp-seen-before"]) == (code, [point["rule"] for point in points])
    world.clear_faults()
    assert 0 == check(ZONE, "--last-run", str(again))[0]


def test_a_run_that_may_not_use_port_25_says_when_another_last_did(check: Callable[..., Any], tmp_path: Path) -> None:
    """Within 48 hours it passes; after that, and where nobody ever looked, it is not sure."""
    handed_over = tmp_path / "mx.json"
    assert 0 == check(ZONE, "--json", "-o", str(handed_over))[0]
    last = json.loads(handed_over.read_text(encoding="utf-8"))
    (seen_at,) = [domain["smtp_seen"] for domain in last["domains"]]

    def rerun(when: str | None) -> tuple[int, list[tuple[str, str]], str | None]:
        for host in last["domains"][0]["smtp"]:
            host["seen"] = when
        handed_over.write_text(json.dumps(last), encoding="utf-8")
        code, out, _ = check(ZONE, "--no-smtp", "--last-run", str(handed_over), "--json")
        (domain,) = json.loads(out)["domains"]
        return code, [(point["kind"], point["rule"]) for point in domain["points"]], domain["smtp_seen"]

    assert (0, [("note", "smtp-seen-before")], seen_at) == rerun(seen_at)
    old = (datetime.fromisoformat(seen_at) - timedelta(hours=48, minutes=1)).isoformat()
    assert (2, [("skipped", "smtp-not-seen-lately")], old) == rerun(old)
    assert (2, [("skipped", "smtp-not-seen-lately")], None) == rerun(None)
