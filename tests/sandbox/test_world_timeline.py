"""The time-line says what the outside could see, from when, and for how long caches may go on showing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.clouds import OPTIMIZED, Clouds, policy

if TYPE_CHECKING:
    from sandbox.world.client import World

ZONE = "gmail-new.example"
NEGATIVE = 1800


class Watch:
    """Reads what was added to the time-line of one domain."""

    def __init__(self, world: World, domain: str = ZONE) -> None:
        self._world = world
        self._domain = domain
        self._read = 0
        self.added()

    def added(self) -> list[tuple[str, Any, int]]:
        """Return (kind, value, ttl) of what is new."""
        events = self._world.timeline()
        new = [event for event in events[self._read :] if event["domain"] == self._domain]
        self._read = len(events)
        assert all({"t", "domain", "kind", "value", "ttl"} == event.keys() for event in new)
        assert all(event["t"] == self._world.now() for event in new)
        return [(event["kind"], event["value"], event["ttl"]) for event in new]


@pytest.fixture
def clouds(world: World) -> Clouds:
    """Return the clouds of a world of one's own."""
    return Clouds(world)


def change(clouds: Clouds, kind: str, name: str, values: dict[str, Any]) -> None:
    """Change the one record of a type at a name."""
    (record,) = [found for found in clouds.cloudflare.records(ZONE, name) if found["type"] == kind]
    clouds.cloudflare.call("PATCH", f"/zones/{record['zone_id']}/dns_records/{record['id']}", values)


def test_what_stands_from_the_start_is_there(world: World) -> None:
    """MX records of the zones are in the time-line before anything is deployed."""
    events = {(event["domain"], event["kind"]): event for event in world.timeline()}
    assert (["smtp.google.com"], 300) == tuple(events[ZONE, "mx"][key] for key in ("value", "ttl"))
    assert (None, NEGATIVE) == tuple(events[ZONE, "txt"][key] for key in ("value", "ttl"))
    assert (None, 0) == tuple(events[ZONE, "policy"][key] for key in ("value", "ttl"))
    assert (ZONE, "TXT") not in events


def test_each_kind_of_change_is_one_event(world: World, clouds: Clouds) -> None:
    """MX hosts, the TXT and the served body, each when it changes; what nobody sees is not there."""
    watch = Watch(world)
    clouds.cloudflare.add(ZONE, "MX", ZONE, "alt.example.net", priority=20)
    assert [("mx", ["alt.example.net", "smtp.google.com"], 300)] == watch.added()
    clouds.cloudflare.add(ZONE, "TXT", f"_mta-sts.{ZONE}", '"v=STSv1; id=1"', ttl=60)
    assert [("txt", "v=STSv1; id=1", 60)] == watch.added()
    clouds.cloudflare.add(ZONE, "TXT", f"_mta-sts.{ZONE}", '"v=spf1 -all"', ttl=60)
    assert [("txt", "v=STSv1; id=1 | v=spf1 -all", 60)] == watch.added()
    clouds.cloudflare.add(ZONE, "TXT", f"other.{ZONE}", '"x"')
    clouds.bucket("unused")
    assert [] == watch.added()


def test_a_policy_that_is_not_cached_changes_at_once(world: World, clouds: Clouds) -> None:
    """Each body is followed by the next; the absence before may linger in resolvers."""
    watch = Watch(world)
    clouds.host(ZONE, ZONE, policy("a.example"))
    assert [("policy", None, NEGATIVE), ("policy", policy("a.example"), 0)] == watch.added()
    world.advance(60)
    clouds.put("policies-gmail-new", ZONE, policy("b.example"))
    assert [("policy", policy("b.example"), 0)] == watch.added()
    clouds.put("policies-gmail-new", ZONE, policy("b.example"))
    assert [] == watch.added()
    clouds.s3.delete_object(Bucket="policies-gmail-new", Key=f"{ZONE}/.well-known/mta-sts.txt")
    assert [("policy", None, 0)] == watch.added()


def test_an_edge_that_caches_is_told_with_its_time(world: World, clouds: Clouds) -> None:
    """The body's ttl is how long an edge may keep it."""
    watch = Watch(world)
    clouds.host(ZONE, ZONE, policy("a.example"), behaviour={"CachePolicyId": OPTIMIZED})
    assert ("policy", policy("a.example"), 86_400) == watch.added()[-1]


def test_the_absence_of_a_name_lingers_until_its_time_is_over(world: World, clouds: Clouds) -> None:
    """An object that comes later than the name waits only for what is left of the absence."""
    watch = Watch(world)
    clouds.host(ZONE, ZONE, policy("a.example"))
    key = f"{ZONE}/.well-known/mta-sts.txt"
    clouds.s3.delete_object(Bucket="policies-gmail-new", Key=key)
    (cname,) = clouds.cloudflare.records(ZONE, f"mta-sts.{ZONE}")
    clouds.cloudflare.call("DELETE", f"/zones/{cname['zone_id']}/dns_records/{cname['id']}")
    watch.added()
    clouds.cloudflare.add(ZONE, "CNAME", f"mta-sts.{ZONE}", cname["content"])
    assert [] == watch.added()
    world.advance(600)
    clouds.put("policies-gmail-new", ZONE, policy("b.example"))
    assert [("policy", None, NEGATIVE - 600), ("policy", policy("b.example"), 0)] == watch.added()


def test_a_host_that_moves_leaves_its_old_addresses_in_caches(world: World, clouds: Clouds) -> None:
    """The old body goes on for what is left of the CNAME's old TTL."""
    clouds.host(ZONE, ZONE, policy("a.example"))
    change(clouds, "CNAME", f"mta-sts.{ZONE}", {"ttl": 900})
    watch = Watch(world)
    change(clouds, "CNAME", f"mta-sts.{ZONE}", {"content": "elsewhere.example.net"})
    assert [("policy", policy("a.example"), 900), ("policy", None, 0)] == watch.added()


def test_a_shortened_ttl_does_not_shorten_what_is_cached(world: World, clouds: Clouds) -> None:
    """A value replaced soon after its TTL was lowered lingers for the rest of the old one."""
    clouds.cloudflare.add(ZONE, "TXT", f"_mta-sts.{ZONE}", '"v=STSv1; id=1"', ttl=3600)
    watch = Watch(world)
    change(clouds, "TXT", f"_mta-sts.{ZONE}", {"ttl": 60})
    assert [("txt", "v=STSv1; id=1", 60)] == watch.added()
    world.advance(600)
    change(clouds, "TXT", f"_mta-sts.{ZONE}", {"content": '"v=STSv1; id=2"'})
    assert [("txt", "v=STSv1; id=1", 3000), ("txt", "v=STSv1; id=2", 60)] == watch.added()
    world.advance(60)
    change(clouds, "TXT", f"_mta-sts.{ZONE}", {"content": '"v=STSv1; id=3"'})
    assert [("txt", "v=STSv1; id=3", 60)] == watch.added()


def test_delegated_and_wildcard_names_are_seen_too(world: World, clouds: Clouds) -> None:
    """A change behind a CNAME, or by a wildcard, is a change of the domain that shows it."""
    clouds.cloudflare.add(ZONE, "CNAME", f"_mta-sts.{ZONE}", "_policy.m365.example")
    watch = Watch(world)
    clouds.cloudflare.add("m365.example", "TXT", "_policy.m365.example", '"v=STSv1; id=1"')
    assert [("txt", "v=STSv1; id=1", 300)] == watch.added()
    other = Watch(world, "workspace.example")
    clouds.cloudflare.add("workspace.example", "TXT", "*.workspace.example", '"wild"')
    assert [("txt", "wild", 300)] == other.added()
    clouds.cloudflare.add("workspace.example", "TXT", "x._mta-sts.workspace.example", '"stops the wildcard"')
    assert [("txt", None, NEGATIVE)] == other.added()
