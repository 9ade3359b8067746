"""The plan of moving in, from what was observed: nothing here asks the world."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from mta_sts import Finding, Severity, check_domain, parse_policy, policy_id, render_policy
from mta_sts.adoption.observe import Hop, Looked, Observed, Served
from mta_sts.adoption.plan import Adoption, plan
from mta_sts.adoption.writers import to_json, to_text
from mta_sts.adoption.zone import ZoneRecord, ZoneRecords
from mta_sts.fetch import FetchedPolicy
from mta_sts.ledger import FETCH_SECONDS

SCHEMA = json.loads((Path(__file__).parents[2] / "stacks" / "schema.json").read_text(encoding="utf-8"))
SEEN = datetime(2026, 11, 24, 12, tzinfo=UTC)
BODY = b"version: STSv1\nmode: enforce\nmx: *.example.net\nmx: mx1.example.com\nmax_age: 604800\n"
TXT = "v=STSv1; id=20240101T000000;"


def fetched(body: bytes = BODY, address: str = "192.0.2.1") -> Served:
    """Return what an address serves."""
    return Served(address, FetchedPolicy(parse_policy(body), body, "text/plain", b""))


OWN_SERVER = Observed(
    domain="example.com",
    seen=SEEN,
    zone="example.com",
    name_servers=["ada.ns.cloudflare.com"],
    delegated=[],
    sts=Looked("_mta-sts.example.com", (), [TXT], 300),
    tlsrpt=Looked("_smtp._tls.example.com", (), ["v=TLSRPTv1; rua=mailto:a@example.com"], 600),
    host=Looked("mta-sts.example.com", (), ["192.0.2.1"], 7200),
    mx=Looked("example.com", (), ["10 mx1.example.com", "20 b.example.net"], 3600),
    caa=Looked("mta-sts.example.com"),
    wildcard=Looked("x.example.com"),
    served=[fetched()],
)
HOSTED = replace(
    OWN_SERVER,
    sts=Looked("_mta-sts.example.com", [Hop("_mta-sts.example.com", "sts.vendor.example", 3600)], [TXT], 3600),
    tlsrpt=Looked(
        "_smtp._tls.example.com",
        [Hop("_smtp._tls.example.com", "rpt.vendor.example", 300)],
        ["v=TLSRPTv1; rua=mailto:a@vendor.example,https://vendor.example/r"],
        300,
    ),
    host=Looked(
        "mta-sts.example.com", [Hop("mta-sts.example.com", "policies.vendor.example", 1800)], ["192.0.2.1"], 1800
    ),
)
NAMED = replace(
    OWN_SERVER,
    host=Looked("mta-sts.example.com", [Hop("mta-sts.example.com", "www.example.org", 60)], ["192.0.2.1"], 900),
)


def record(number: int, kind: str, name: str, content: str, **more: Any) -> ZoneRecord:
    """Return a record of the zone."""
    made = {"ttl": 300, "priority": None, "proxied": False, "modified": None} | more
    return ZoneRecord(f"record{number}", name, kind, content, content, **made)


def rules(adoption: Adoption) -> list[str]:
    """Return the rules of the findings."""
    return [found.rule for found in adoption.findings]


@pytest.mark.parametrize(
    "identifier", ["12e3", "7E10", "0o17", "20240101", "09012026", "0X1F", "0B1", "1a", "y", "nan0"]
)
def test_an_id_that_looks_like_a_number_stays_text(identifier: str) -> None:
    """Also for Go's readers of YAML, as Pulumi's is; PyYAML knows fewer numbers."""
    sts = replace(OWN_SERVER.sts, values=[f"v=STSv1; id={identifier};"])
    text = to_text(plan(replace(OWN_SERVER, sts=sts)))
    (line,) = [line for line in text.splitlines() if line.strip().startswith("- id: ")]
    assert (identifier if identifier == "nan0" else f"'{identifier}'") == line.partition(": ")[2]


def test_one_fault_of_many_is_one_finding() -> None:
    """A zone that can't be looked up, and a host that fails the same way at each address."""
    lost = {field: replace(getattr(OWN_SERVER, field), problem=f"{field} X can't be looked up (SERVFAIL)")
            for field in ("sts", "tlsrpt", "host", "mx")}  # fmt: skip
    (found,) = plan(replace(OWN_SERVER, **lost)).findings
    assert ("dns-unreadable", "example.com") == (found.rule, found.path)
    assert found.message.startswith("nothing of example.com can be looked up (SERVFAIL); ")
    assert ["dns-unreadable"] * 3 == rules(plan(replace(OWN_SERVER, **lost | {"mx": OWN_SERVER.mx})))
    addresses = ["192.0.2.1", "192.0.2.2"]
    hanging = [Served(each, problem=Finding("fetch-timeout", "", f"x at {each} gave no answer")) for each in addresses]
    found, *_ = [one for one in plan(replace(OWN_SERVER, served=hanging)).findings if one.rule == "fetch-timeout"]
    assert "192.0.2.1, 192.0.2.2: x gave no answer" == found.message


def test_a_domain_that_is_not_there_is_the_one_finding() -> None:
    """There is nothing to plan."""
    gone = replace(OWN_SERVER, mx=Looked("example.com", exists=False), zone="", name_servers=[])
    adoption = plan(gone)
    assert (["domain-missing"], None, []) == (rules(adoption), adoption.config, list(adoption.steps))


def finding(observed: Observed, rule: str) -> Finding:
    """Return the one finding of a rule, and make sure that no other error is there."""
    found = plan(observed).findings
    (wanted,) = [one for one in found if one.rule == rule]
    assert {rule} == {one.rule for one in found if one.severity == wanted.severity}
    return wanted


def posts(adoption: Adoption) -> list[tuple[str, str, str]]:
    """Return what the plan's one call makes."""
    (call,) = [step.call for step in adoption.steps if step.call]
    return [(post["type"], post["name"], post["content"]) for post in call["body"]["posts"]]


def titles(adoption: Adoption) -> list[str]:
    """Return the first words of the steps."""
    return [step.title.split()[0] for step in adoption.steps]


@pytest.mark.parametrize("observed", [OWN_SERVER, HOSTED, NAMED], ids=["own server", "hosted", "named"])
def test_the_entry_says_what_is_published_today(observed: Observed) -> None:
    """Mode, patterns and max_age of the served policy, the report address, and it passes schema and judgement."""
    adoption = plan(observed)
    assert [] == list(adoption.findings)
    entry = adoption.config
    assert entry is not None
    assert ("enforce", ["*.example.net", "mx1.example.com"], 604_800) == (entry["mode"], entry["mx"], entry["max_age"])
    assert "zone" not in entry
    assert entry["adopt"] is True
    assert [] == check_domain(entry)
    errors = Draft202012Validator({"$ref": "#/$defs/domain", "$defs": SCHEMA["$defs"]}).iter_errors(entry)
    assert [] == [error.message for error in errors]
    assert adoption.same_bytes
    for text in (to_text(adoption), to_json(adoption)):
        assert "20240101T000000" in text
    assert entry == yaml.safe_load(to_text(adoption).split("```yaml\n")[1].split("```")[0])[0]
    assert entry == json.loads(to_json(adoption))["stack"]


def test_the_history_says_which_policy_from_where_and_until_when() -> None:
    """The one that is served, under the id that is shown; its end counts from the last step that shows the old id."""
    adoption = plan(HOSTED)
    assert adoption.config is not None
    assert [
        {
            "id": "20240101T000000",
            "mode": "enforce",
            "mx": ["*.example.net", "mx1.example.com"],
            "max_age": 604_800,
            "seen": SEEN.isoformat(),
            "source": "https://mta-sts.example.com (policies.vendor.example) at 192.0.2.1",
        }
    ] == adoption.config["history"]
    assert SEEN + timedelta(seconds=3600 + FETCH_SECONDS + 604_800) == adoption.history_ends


def test_every_body_that_some_address_serves_is_history() -> None:
    """Under the same id; and that is an error of its own."""
    other = BODY.replace(b"mx1", b"mx2")
    observed = replace(OWN_SERVER, served=[fetched(), fetched(other, "192.0.2.2"), fetched(BODY, "2001:db8::1")])
    adoption = plan(observed)
    assert "addresses-differ" in rules(adoption)
    assert adoption.config is not None
    assert [("mx1.example.com", "192.0.2.1, 2001:db8::1"), ("mx2.example.com", "192.0.2.2")] == [
        (entry["mx"][1], entry["source"].split(" at ")[1]) for entry in adoption.config["history"]
    ]


def test_other_bytes_of_the_same_policy_are_said_to_be_others() -> None:
    """Order and line ends; the id that the second update shows is that of our bytes, and derived from the live one."""
    served = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"
    adoption = plan(replace(OWN_SERVER, served=[fetched(served)]))
    assert not adoption.same_bytes
    assert (TXT, f"v=STSv1; id={policy_id(BODY, '20240101T000000')};") == adoption.records
    assert BODY == render_policy(parse_policy(served))


def test_a_delegated_record_is_left_by_one_call_with_the_same_answers() -> None:
    """Deletes and posts in one transaction: a CNAME blocks a TXT; nothing happens to the CNAME of the policy host."""
    records = [
        record(1, "CNAME", "_mta-sts.example.com", "sts.vendor.example"),
        record(2, "CNAME", "_smtp._tls.example.com", "rpt.vendor.example"),
        record(3, "CNAME", "mta-sts.example.com", "policies.vendor.example"),
    ]
    adoption = plan(replace(HOSTED, records=ZoneRecords("zone1", "example.com", records)))
    (call,) = [step.call for step in adoption.steps if step.call]
    assert ("POST", "/zones/zone1/dns_records/batch") == (call["method"], call["path"])
    assert [{"id": "record1"}, {"id": "record2"}] == call["body"]["deletes"]
    assert [
        ("TXT", "_mta-sts.example.com", f'"{TXT}"'),
        ("TXT", "_smtp._tls.example.com", f'"{HOSTED.tlsrpt.values[0]}"'),
    ] == posts(adoption)
    assert ["Change", "Take", "First", "Look", "Second", "Give", "End", "Take"] == titles(adoption)
    assert adoption.imports is not None
    assert ["example.com-policy-host"] == [one["name"] for one in adoption.imports["resources"][1:]]


def test_a_delegation_that_leads_nowhere_is_removed_too() -> None:
    """It answers nothing, and blocks the record all the same."""
    adoption = plan(replace(HOSTED, sts=replace(HOSTED.sts, values=[])))
    (call,) = [step.call for step in adoption.steps if step.call]
    assert 2 == len(call["body"]["deletes"])
    assert ["_smtp._tls.example.com"] == [name for _, name, _ in posts(adoption)]


def test_addresses_get_a_name_of_their_own_that_can_be_taken_over() -> None:
    """The A and AAAA records move to a stand-in, and a CNAME leads there: the answers stay."""
    adoption = plan(replace(OWN_SERVER, host=replace(OWN_SERVER.host, values=["192.0.2.1", "2001:db8::1"])))
    assert [
        ("A", "mta-sts-before.example.com", "192.0.2.1"),
        ("AAAA", "mta-sts-before.example.com", "2001:db8::1"),
        ("CNAME", "mta-sts.example.com", "mta-sts-before.example.com"),
    ] == posts(adoption)
    assert any("CLOUDFLARE_API_TOKEN" in each for step in adoption.steps for each in step.do)


def test_a_proxied_address_keeps_its_proxy() -> None:
    """DNS shows Cloudflare's edge; the zone knows the address behind, and nothing changes before the second update."""
    records = [record(1, "A", "mta-sts.example.com", "198.51.100.7", proxied=True, ttl=1)]
    adoption = plan(replace(OWN_SERVER, records=ZoneRecords("zone1", "example.com", records)))
    assert ["policy-host-proxied"] == rules(adoption)
    (call,) = [step.call for step in adoption.steps if step.call]
    assert [("198.51.100.7", False), ("mta-sts-before.example.com", True)] == [
        (post["content"], post["proxied"]) for post in call["body"]["posts"]
    ]


def test_where_nothing_is_in_the_way_there_is_no_call() -> None:
    """A TXT of one's own and a CNAME are imported as they are, with their ids."""
    records = [
        record(1, "TXT", "_mta-sts.example.com", TXT),
        record(2, "TXT", "_smtp._tls.example.com", "v=TLSRPTv1; rua=mailto:a@example.com"),
        record(3, "CNAME", "mta-sts.example.com", "www.example.org"),
    ]
    adoption = plan(replace(NAMED, records=ZoneRecords("zone1", "example.com", records)))
    assert [] == [step for step in adoption.steps if step.call]
    assert adoption.imports is not None
    component, *resources = adoption.imports["resources"]
    assert {"type": "mta-sts:index:MtaSts", "name": "example.com", "component": True} == component
    assert [
        ("example.com-sts-record", "zone1/record1", "example.com"),
        ("example.com-tlsrpt-record", "zone1/record2", "example.com"),
        ("example.com-policy-host", "zone1/record3", "example.com"),
    ] == [(one["name"], one["id"], one["parent"]) for one in resources]
    assert () == tuple(adoption.look_up)


def test_ids_that_are_not_known_are_marked_and_asked_for() -> None:
    """One question for each, ready to paste."""
    adoption = plan(NAMED)
    assert adoption.imports is not None
    ids = [one["id"] for one in adoption.imports["resources"][1:]]
    assert all(each.startswith("ZONE_ID/RECORD_ID_OF_") for each in ids)
    assert 3 == len(adoption.look_up)
    assert "type=CNAME&name.exact=mta-sts.example.com" in adoption.look_up[2]


def test_the_old_host_ends_when_its_address_is_forgotten() -> None:
    """Its old TTL, and a fetch with its pause; the steps before wait for nothing."""
    steps = {step.title.split()[0]: step for step in plan(OWN_SERVER).steps[1:-1]}
    assert SEEN == steps["Second"].earliest
    assert SEEN + timedelta(seconds=7200 + FETCH_SECONDS) == steps["End"].earliest
    assert any("mta-sts-before.example.com" in each for each in steps["End"].do)


def test_an_alias_at_cloudfront_is_freed_first() -> None:
    """It lives on one distribution in the world; moving it by TXT would put a second TXT at the discovery record."""
    hop = Hop("mta-sts.example.com", "d111111abcdef8.cloudfront.net", 300)
    adoption = plan(replace(NAMED, host=Looked("mta-sts.example.com", [hop], ["192.0.2.1"], 300)))
    assert ["Change", "Free", "First", "Look", "Second", "End", "Take"] == titles(adoption)
    assert "_mta-sts.example.com" in adoption.steps[1].why


def test_a_zone_that_is_elsewhere_moves_before_its_records() -> None:
    """It stops the move; what comes after waits until no resolver asks the old name servers any more."""
    elsewhere = replace(OWN_SERVER, name_servers=["ns1.example.net"])
    adoption = plan(elsewhere)
    assert [("zone-elsewhere", Severity.ERROR)] == [(one.rule, one.severity) for one in adoption.findings]
    assert ["Change", "Move", "Take"] == titles(adoption)[:3]
    _, move, call, *_ = adoption.steps
    assert (SEEN, SEEN + timedelta(days=2)) == (move.earliest, call.earliest)
    bare = replace(elsewhere, sts=Looked("_mta-sts.example.com"), host=Looked("mta-sts.example.com"), served=[])
    assert ["Move", "Publish"] == titles(plan(bare))


def test_a_domain_that_publishes_nothing_starts_in_testing() -> None:
    """With its live MX hosts in order of preference, and nothing to adopt."""
    bare = replace(
        OWN_SERVER,
        sts=Looked("_mta-sts.example.com"),
        tlsrpt=Looked("_smtp._tls.example.com"),
        host=Looked("mta-sts.example.com"),
        served=[],
    )
    adoption = plan(bare)
    assert not adoption.published
    assert {"domain": "example.com", "mode": "testing", "mx": ["mx1.example.com", "b.example.net"]} == adoption.config
    assert (None, ["Publish"]) == (adoption.imports, titles(adoption))
    assert ["tlsrpt-record-missing"] == rules(adoption)


def test_what_can_not_be_looked_up_gives_no_plan() -> None:
    """No answer must never read as: there is none."""
    adoption = plan(replace(OWN_SERVER, sts=Looked("_mta-sts.example.com", problem="SERVFAIL")))
    assert ["dns-unreadable"] == rules(adoption)
    assert (None, None, ()) == (adoption.config, adoption.imports, tuple(adoption.steps))


def test_a_resolver_that_never_answers_is_said_once() -> None:
    """Not for each name, and nothing is planned."""
    adoption = plan(replace(OWN_SERVER, answered=False, sts=Looked("_mta-sts.example.com", problem="no answer")))
    assert (["resolver-silent"], ()) == (rules(adoption), tuple(adoption.steps))


def test_a_domain_below_its_zone_names_the_zone() -> None:
    """So that the stack need not guess."""
    config = plan(replace(OWN_SERVER, zone="com.example")).config
    assert config is not None
    assert "com.example" == config["zone"]


BROKEN = Served("192.0.2.1", problem=Finding("fetch-status", "", "status 404; senders take 200 only"))


@pytest.mark.parametrize(
    ("observed", "rule", "words"),
    [
        (replace(OWN_SERVER, sts=replace(OWN_SERVER.sts, values=[TXT, TXT.replace("2024", "2025")])),
         "not-one-record", "2 records begin"),
        (replace(OWN_SERVER, sts=replace(OWN_SERVER.sts, values=["v=STSv1; id=a-b;"])), "id-invalid", "a-b"),
        (replace(OWN_SERVER, sts=replace(OWN_SERVER.sts, values=[TXT, "v=spf1 -all"])), "record-in-the-way", "v=spf1"),
        (replace(HOSTED, sts=replace(HOSTED.sts, values=[])), "cname-leads-nowhere", "sts.vendor.example"),
        (replace(OWN_SERVER, host=Looked("mta-sts.example.com"), served=[]), "policy-host-without-address", "history"),
        (replace(OWN_SERVER, served=[fetched(), replace(BROKEN, address="192.0.2.2")]), "fetch-status", "404"),
        (replace(OWN_SERVER, mx=replace(OWN_SERVER.mx, values=[*OWN_SERVER.mx.values, "5 x.example"])),
         "mx-not-covered", "x.example"),
        (replace(OWN_SERVER, delegated=["mta-sts.example.com"]), "name-is-a-zone", "mta-sts.example.com"),
        (replace(OWN_SERVER, caa=Looked("example.com", (), ['0 issue "letsencrypt.org"'], 300)),
         "caa-forbids-certificate", 'example.com CAA 0 issue "amazon.com"'),
        (replace(OWN_SERVER, caa=replace(HOSTED.host, values=['0 issue "letsencrypt.org"'])),
         "caa-forbids-certificate", "policies.vendor.example"),
        (replace(HOSTED, host=OWN_SERVER.host), "half-delegated", "RFC 8461 §8.2"),
        (replace(OWN_SERVER, name_servers=["ns1.example.net"]), "zone-elsewhere", "ns1.example.net"),
        (replace(OWN_SERVER, tlsrpt=replace(OWN_SERVER.tlsrpt, values=[])), "tlsrpt-record-missing", "RFC 8460"),
        (replace(OWN_SERVER, sts=replace(OWN_SERVER.sts, values=[])), "sts-record-missing", "no policy"),
        (replace(OWN_SERVER, mx=replace(OWN_SERVER.mx, values=["10 mx1.example.com"])), "pattern-without-mx",
         "*.example.net"),
        (replace(OWN_SERVER, sts=replace(OWN_SERVER.sts, values=[TXT, "any"]), wildcard=Looked("x", (), ["any"], 1)),
         "wildcard-txt", "wildcard"),
        (replace(OWN_SERVER, caa=Looked("example.com", problem="SERVFAIL")), "caa-unreadable", "name servers"),
        (replace(OWN_SERVER, wildcard=Looked("x", problem="x TXT can't be looked up (SERVFAIL)")),
         "wildcard-unreadable", "SERVFAIL"),
    ],
)  # fmt: skip
def test_what_is_wrong_today_is_named_alone(observed: Observed, rule: str, words: str) -> None:
    """One fault, one finding, with the way out."""
    assert words in finding(observed, rule).message


def test_a_host_that_serves_nothing_leaves_the_history_unknown() -> None:
    """What senders hold can't be seen then; the entry does not pretend to know it."""
    adoption = plan(replace(OWN_SERVER, served=[BROKEN]))
    assert ["fetch-status", "history-unknown"] == rules(adoption)
    assert adoption.config is not None
    assert "history" not in adoption.config
    assert "Put" == titles(adoption)[0]


def test_a_null_mx_is_said_and_never_a_host() -> None:
    """RFC 7505: the domain takes no mail."""
    observed = replace(OWN_SERVER, mx=replace(OWN_SERVER.mx, values=["0 ."]), served=[])
    adoption = plan(observed)
    assert "null-mx" in rules(adoption)
    assert adoption.config is not None
    assert [] == adoption.config["mx"]


def test_a_policy_that_the_stack_would_not_publish_stops_the_plan() -> None:
    """Such as max_age 0: it is shown where and why, and no steps are promised."""
    adoption = plan(replace(OWN_SERVER, served=[fetched(BODY.replace(b"604800", b"0"))]))
    assert "max-age-range" in rules(adoption)
    assert () == tuple(adoption.steps)


def test_text_from_outside_stays_on_its_line() -> None:
    """A TXT with control characters neither starts a line nor moves a cursor."""
    hostile = replace(OWN_SERVER, sts=replace(OWN_SERVER.sts, values=[TXT, "x\n# Moving\x1b[2J"]))
    text = to_text(plan(hostile))
    assert "\x1b" not in text
    assert 1 == sum(line.startswith("# Moving") for line in text.split("\n"))
