"""Senders in the sandbox, ours and an independent one, do what RFC 8461 says, over real DNS, HTTPS and SMTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandbox.senders import TEMPERAMENTS, Row, deliver_all, sender_in
from sandbox.witness import ask
from tests.sandbox.clouds import Clouds, policy

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.world.client import World

ZONE = "gmail-new.example"
HOST = f"mta-sts.{ZONE}"
GOOD = policy("smtp.google.com", mode="enforce")


@pytest.fixture
def clouds(world: World) -> Clouds:
    """Return the clouds of a world in which one domain enforces a policy."""
    clouds = Clouds(world)
    clouds.publish(ZONE, ZONE, GOOD, "1")
    return clouds


def republish(clouds: Clouds, body: str, identifier: str) -> None:
    """Write a new policy, then the id that tells of it."""
    clouds.put("policies-gmail-new", ZONE, body)
    set_id(clouds, identifier)


def set_id(clouds: Clouds, identifier: str) -> None:
    """Change the id in DNS alone."""
    (record,) = clouds.cloudflare.records(ZONE, f"_mta-sts.{ZONE}")
    path = f"/zones/{record['zone_id']}/dns_records/{record['id']}"
    clouds.cloudflare.call("PATCH", path, {"content": f'"v=STSv1; id={identifier};"'})


def by_sender(rows: list[Row]) -> dict[str, Row]:
    """Return the rows of one domain by the sender's name."""
    return {row.sender: row for row in rows}


def test_senders_follow_a_new_id_from_run_to_run(world: World, clouds: Clouds, tmp_path: Path) -> None:
    """What a sender holds is kept between runs; who looks follows the new id, who waits for expiry does not yet."""
    file = tmp_path / "senders.json"
    first = by_sender(deliver_all(world, [ZONE], file))
    assert {(name, "", "1", "delivered") for name in TEMPERAMENTS} == {
        (row.sender, row.held_before, row.delivery.policy_id, row.delivery.outcome) for row in first.values()
    }
    assert {"smtp.google.com": len(TEMPERAMENTS)} == world.received()

    changed = policy("smtp.google.com", "aspmx.l.google.com", mode="enforce")
    republish(clouds, changed, "2")
    second = by_sender(deliver_all(world, [ZONE], file))
    assert ("1", "2", changed) == (
        second["diligent"].held_before,
        second["diligent"].delivery.policy_id,
        second["diligent"].delivery.body,
    )
    assert ("1", "1", GOOD) == (
        second["lazy"].held_before,
        second["lazy"].delivery.policy_id,
        second["lazy"].delivery.body,
    )
    world.advance(86_400)
    assert "2" == by_sender(deliver_all(world, [ZONE], file))["lazy"].delivery.policy_id


def test_no_address_no_fetch(world: World, clouds: Clouds) -> None:
    """Without the policy host's name in DNS nothing is fetched, though the edge would serve it."""
    (record,) = clouds.cloudflare.records(ZONE, HOST)
    clouds.cloudflare.call("DELETE", f"/zones/{record['zone_id']}/dns_records/{record['id']}")
    delivery = sender_in(world, TEMPERAMENTS["diligent"]).deliver(ZONE)
    assert ("delivered", "none", "") == (delivery.outcome, delivery.mode, delivery.policy_id)
    clouds.cloudflare.add(ZONE, "A", HOST, "192.0.2.1")
    assert "none" == sender_in(world, TEMPERAMENTS["diligent"]).deliver(ZONE).mode


@pytest.mark.parametrize(
    "fault", ["wrong-name", "expired", "self-signed", "redirect", "not-found", "wrong-type", "reset"]
)
def test_a_fetch_that_fails_leaves_the_held_policy_in_force(world: World, clouds: Clouds, fault: str) -> None:
    """A sender that holds a policy goes on with it; one that holds none delivers without (RFC 8461 §3.3)."""
    holds = sender_in(world, TEMPERAMENTS["diligent"])
    holds.deliver(ZONE)
    republish(clouds, policy("aspmx.l.google.com", mode="enforce"), "2")
    world.fault("edge", HOST, fault)
    assert ("delivered", "1") == (holds.deliver(ZONE).outcome, holds.deliver(ZONE).policy_id)
    fresh = sender_in(world, TEMPERAMENTS["diligent"]).deliver(ZONE)
    assert ("delivered", "none") == (fresh.outcome, fresh.mode)


@pytest.mark.parametrize("fault", ["expired", "wrong-name", "self-signed", "no-starttls", "refused", "tls-1.0"])
def test_a_host_without_good_tls_is_used_in_testing_and_not_in_enforce(
    world: World, clouds: Clouds, tmp_path: Path, fault: str
) -> None:
    """In enforce the mail waits; in testing it arrives, unless nobody answers at all (RFC 8461 §5)."""
    world.fault("mail", "smtp.google.com", fault)
    assert {"refused"} == {row.delivery.outcome for row in deliver_all(world, [ZONE], tmp_path / "a.json")}
    assert {} == world.received()
    republish(clouds, policy("smtp.google.com", mode="testing"), "2")
    arrived = {row.delivery.outcome for row in deliver_all(world, [ZONE], tmp_path / "b.json")}
    assert {"deferred" if fault == "refused" else "delivered"} == arrived


def test_dns_that_fails_delays_the_mail(world: World, clouds: Clouds) -> None:
    """Without an answer to the MX look-up nobody can deliver; without one for the TXT the policy is not known."""
    assert clouds
    world.fault("dns", f"_mta-sts.{ZONE}", "servfail")
    assert "none" == sender_in(world, TEMPERAMENTS["diligent"]).deliver(ZONE).mode
    world.fault("dns", ZONE, "servfail")
    assert "deferred" == sender_in(world, TEMPERAMENTS["diligent"]).deliver(ZONE).outcome


def test_the_witness_reads_the_intended_policy_and_follows(world: World, clouds: Clouds) -> None:
    """An independent sender sees what ours sees; it fetches for a new id, and for a known one it does not."""
    said = ask(world, {ZONE: None})[ZONE]
    assert ("valid", "1", "enforce", ("smtp.google.com",), 86_400) == (
        said.verdict,
        said.id,
        said.mode,
        said.mx,
        said.max_age,
    )
    republish(clouds, policy("aspmx.l.google.com"), "2")
    said = ask(world, {ZONE: "1"})[ZONE]
    assert ("valid", "2", ("aspmx.l.google.com",)) == (said.verdict, said.id, said.mx)
    world.fault("edge", HOST, "not-found")
    assert "not_changed" == ask(world, {ZONE: "2"})[ZONE].verdict
    assert "none" == ask(world, {"m365.example": None})["m365.example"].verdict


def test_a_stale_edge_gives_the_witness_an_old_body_under_a_new_id(world: World, clouds: Clouds) -> None:
    """What makes the order of publishing matter: nobody can tell that this body is yesterday's."""
    republish(clouds, policy("aspmx.l.google.com"), "2")
    world.fault("edge", HOST, "stale")
    said = ask(world, {ZONE: "1"})[ZONE]
    assert ("valid", "2", ("smtp.google.com",)) == (said.verdict, said.id, said.mx)


@pytest.mark.parametrize("fault", ["wrong-name", "expired", "self-signed", "redirect", "not-found", "wrong-type"])
def test_the_witness_takes_no_faulty_policy(world: World, clouds: Clouds, fault: str) -> None:
    """It reports a failed fetch, and never the policy behind it (RFC 8461 §3.3)."""
    assert clouds
    world.fault("edge", HOST, fault)
    said: Any = ask(world, {ZONE: None})[ZONE]
    assert ("fetch_error", "") == (said.verdict, said.id)
