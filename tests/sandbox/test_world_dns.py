"""The sandbox's DNS answers in real packets what the zones say, and misbehaves on request."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from sandbox import SandboxError
from sandbox.world.client import World
from tests.sandbox.conftest import Cloudflare

if TYPE_CHECKING:
    from collections.abc import Iterator

ZONE = "example.com"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run one world for all tests here; each uses names of its own."""
    with World(tmp_path_factory.mktemp("dns")) as running:
        yield running


@pytest.fixture
def cloudflare(world: World) -> Iterator[Cloudflare]:
    """Return the zones, and end faults afterwards."""
    yield Cloudflare(world)
    world.clear_faults()


def ask(world: World, name: str, kind: str, *, edns: bool = True, tcp: bool = False) -> dns.message.Message:
    """Send one query."""
    query = dns.message.make_query(name, kind, use_edns=0 if edns else -1, payload=1232)
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, world.endpoints.dns["address"], port=world.endpoints.dns["port"], timeout=2)


def values(answer: dns.message.Message, kind: str) -> list[str]:
    """Return the records of a type in an answer."""
    wanted = dns.rdatatype.from_text(kind)
    return sorted(record.to_text() for rrset in answer.answer if rrset.rdtype == wanted for record in rrset)


def test_records_are_answered_with_authority(world: World, cloudflare: Cloudflare) -> None:
    """Values, TTL (automatic is 300) and letter case are as Cloudflare serves them."""
    cloudflare.add(ZONE, "TXT", "_mta-sts.records.example.com", '"v=STSv1; id=1"', ttl=120)
    cloudflare.add(ZONE, "MX", "records.example.com", "mx1.example.com", priority=10, ttl=1)
    answer = ask(world, "_MTA-STS.Records.Example.Com", "TXT")
    assert dns.rcode.NOERROR == answer.rcode()
    assert answer.flags & dns.flags.AA
    assert ['"v=STSv1; id=1"'] == values(answer, "TXT")
    assert 120 == answer.answer[0].ttl
    mail = ask(world, "records.example.com", "MX")
    assert (["10 mx1.example.com."], 300) == (values(mail, "MX"), mail.answer[0].ttl)


def test_a_null_mx_is_one_dot(world: World, cloudflare: Cloudflare) -> None:
    """RFC 7505's record passes through unharmed."""
    cloudflare.add(ZONE, "MX", "null.example.com", ".", priority=0)
    assert ["0 ."] == values(ask(world, "null.example.com", "MX"), "MX")


def test_no_data_and_no_name_are_told_apart(world: World, cloudflare: Cloudflare) -> None:
    """Both carry the zone's SOA, whose minimum is how long the absence is remembered."""
    cloudflare.add(ZONE, "TXT", "a.below.example.com", "x")
    for name, rcode in (
        ("a.below.example.com", dns.rcode.NOERROR),
        ("below.example.com", dns.rcode.NOERROR),
        ("b.below.example.com", dns.rcode.NXDOMAIN),
    ):
        answer = ask(world, name, "MX")
        assert (rcode, []) == (answer.rcode(), answer.answer), name
        (soa,) = answer.authority
        assert ("example.com.", 1800, 1800) == (soa.name.to_text(), soa.ttl, soa[0].minimum)


def test_a_chain_of_names_is_followed(world: World, cloudflare: Cloudflare) -> None:
    """CNAME records lead on, across zones; one that leads to nothing is no such name, a circle a failure."""
    cloudflare.add(ZONE, "CNAME", "one.example.com", "two.m365.example")
    cloudflare.add("m365.example", "CNAME", "two.m365.example", "smtp.google.com")
    answer = ask(world, "one.example.com", "A")
    assert ["smtp.google.com.", "two.m365.example."] == values(answer, "CNAME")
    assert ["127.0.0.1"] == values(answer, "A")
    cloudflare.add(ZONE, "CNAME", "dead-end.example.com", "nowhere.example.com")
    assert dns.rcode.NXDOMAIN == ask(world, "dead-end.example.com", "A").rcode()
    cloudflare.add(ZONE, "CNAME", "left.example.com", "right.example.com")
    cloudflare.add(ZONE, "CNAME", "right.example.com", "left.example.com")
    assert dns.rcode.SERVFAIL == ask(world, "left.example.com", "A").rcode()


def test_wildcards_answer_only_where_nothing_is_closer(world: World, cloudflare: Cloudflare) -> None:
    """A name that exists, or stands above one, is not made up by the wildcard (RFC 4592)."""
    cloudflare.add(ZONE, "TXT", "*.wild.example.com", "wild")
    cloudflare.add(ZONE, "TXT", "real.deep.wild.example.com", "real")
    assert ['"wild"'] == values(ask(world, "any.wild.example.com", "TXT"), "TXT")
    assert ['"wild"'] == values(ask(world, "a.b.c.wild.example.com", "TXT"), "TXT")
    assert [] == values(ask(world, "deep.wild.example.com", "TXT"), "TXT")
    assert dns.rcode.NXDOMAIN == ask(world, "other.deep.wild.example.com", "TXT").rcode()


def test_a_proxied_name_shows_addresses_only(world: World, cloudflare: Cloudflare) -> None:
    """Where Cloudflare proxies, the CNAME is not to be seen."""
    cloudflare.add(ZONE, "CNAME", "proxied.example.com", "smtp.google.com", proxied=True)
    answer = ask(world, "proxied.example.com", "A")
    assert ([], ["127.0.0.1"], 300) == (values(answer, "CNAME"), values(answer, "A"), answer.answer[0].ttl)


def test_long_answers_are_cut_and_asked_for_again_over_tcp(world: World, cloudflare: Cloudflare) -> None:
    """UDP answers keep to the size that the client can take, and say so."""
    for number in range(8):
        cloudflare.add(ZONE, "TXT", "long.example.com", f'"{number}{"x" * 200}"')
    assert ask(world, "long.example.com", "TXT", edns=False).flags & dns.flags.TC
    assert ask(world, "long.example.com", "TXT").flags & dns.flags.TC
    assert 8 == len(values(ask(world, "long.example.com", "TXT", tcp=True), "TXT"))


def test_mail_hosts_and_name_servers_have_addresses(world: World) -> None:
    """Every server of the world is found, on each address family that the machine has."""
    assert ["127.0.0.1"] == values(ask(world, "aspmx.l.google.com", "A"), "A")
    if "::1" in world.endpoints.edge:
        assert ["::1"] == values(ask(world, "mx1.example.com", "AAAA"), "AAAA")
    servers = values(ask(world, ZONE, "NS"), "NS")
    assert 2 == len(servers)
    assert [["127.0.0.1"]] * 2 == [values(ask(world, server, "A"), "A") for server in servers]
    assert dns.rcode.NXDOMAIN == ask(world, "example.org", "A").rcode()


def test_faults_strike_the_name_that_was_named(world: World, cloudflare: Cloudflare) -> None:
    """SERVFAIL, silence, a lame zone and broken signatures happen where asked for, and end."""
    world.fault("dns", "_mta-sts.example.com", "servfail")
    assert dns.rcode.SERVFAIL == ask(world, "_mta-sts.example.com", "TXT").rcode()
    assert dns.rcode.NOERROR == ask(world, ZONE, "NS").rcode()
    world.fault("dns", "_mta-sts.example.com", "none")
    assert dns.rcode.NXDOMAIN == ask(world, "_mta-sts.example.com", "TXT").rcode()
    world.fault("dns", ZONE, "lame")
    own = next(iter(world.endpoints.name_servers.values()))["127.0.0.1"]
    query = dns.message.make_query("anything.example.com", "MX")
    lame = dns.query.udp(query, "127.0.0.1", port=own, timeout=5)
    assert (dns.rcode.REFUSED, 0) == (lame.rcode(), lame.flags & dns.flags.AA)
    assert dns.rcode.SERVFAIL == ask(world, "anything.example.com", "MX").rcode()
    assert dns.rcode.SERVFAIL == ask(world, ZONE, "NS").rcode()
    above = dns.query.udp(dns.message.make_query(ZONE, "NS"), "127.0.0.1", port=own, timeout=5)
    assert ([], [f"{ZONE}."], 0) == (
        above.answer,
        [str(one.name) for one in above.authority],
        above.flags & dns.flags.AA,
    )
    world.fault("dns", ZONE, "bogus")
    unchecked = dns.message.make_query("anything.example.com", "MX", flags=dns.flags.RD | dns.flags.CD)
    at = {"where": "127.0.0.1", "port": world.endpoints.dns["port"], "timeout": 5}
    assert dns.rcode.SERVFAIL == ask(world, "anything.example.com", "MX").rcode()
    assert dns.rcode.NXDOMAIN == dns.query.udp(unchecked, **at).rcode()
    assert dns.rcode.NOERROR == ask(world, "m365.example", "MX").rcode()
    world.fault("dns", "m365.example", "silent")
    query = dns.message.make_query("m365.example", "MX")
    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(query, "127.0.0.1", port=world.endpoints.dns["port"], timeout=0.2)


def test_a_kind_of_fault_that_does_not_exist_is_refused(world: World) -> None:
    """A typing error is no fault-free test."""
    for place in ("dns", "edge", "mail", "api"):
        with pytest.raises(SandboxError, match="no fault 'servfial'"):
            world.fault(place, ZONE, "servfial")


def test_junk_does_not_end_the_server(world: World) -> None:
    """Packets that are no query are passed over."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for junk in (b"", b"x", bytes(12), bytes(100)):
            sock.sendto(junk, ("127.0.0.1", world.endpoints.dns["port"]))
    assert dns.rcode.NOERROR == ask(world, ZONE, "NS").rcode()
