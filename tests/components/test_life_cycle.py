"""What becomes of a domain that is published already: what is noted, what is kept, what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pulumi_mta_sts import MtaSts
from pulumi_mta_sts.outside import outside, use

from mta_sts import Mode, Policy, content_id, render_policy
from mta_sts.cloud_resources import LEAVING
from tests.components.mocked import OWN, TARGET, Run, World, deploy

DAY = 86_400
NOW = 1_767_225_600.0
"""What the clock shows in these tests."""


@pytest.fixture(autouse=True)
def _standing_clock(world: World) -> None:
    use(replace(outside(), now=lambda: NOW))  # the fixture `world` puts the real one back
    world.written = datetime.fromtimestamp(NOW - 90 * DAY, UTC)


def moment(ago: float) -> str:
    """Return the date of so many seconds ago, as Cloudflare writes it."""
    return datetime.fromtimestamp(NOW - ago, UTC).isoformat().replace("+00:00", "Z")


def policy(*hosts: str, mode: Mode = Mode.ENFORCE) -> str:
    """Return a policy with max_age two weeks."""
    return render_policy(Policy("STSv1", mode, tuple(f"{host}.example.com" for host in hosts), 14 * DAY)).decode()


def identifier(body: str) -> str:
    """Return an id of a body."""
    return f"{content_id(body)}00000000"


def published(
    world: World, body: str, *hosts: str, shown: str = "", ago: float = 90 * DAY, ttl: int = 300, **metadata: str
) -> None:
    """Let a policy be published here `ago` seconds ago, with these MX hosts; `shown` is the id if it is another."""
    more = {"comment": OWN, "modifiedOn": moment(ago), "ttl": float(ttl)}
    world.has("TXT", "_mta-sts.example.com", f'"v=STSv1; id={shown or identifier(body)};"', **more)
    world.has("CNAME", "mta-sts.example.com", TARGET, **more)
    for number, host in enumerate(hosts, 1):
        world.has("MX", "example.com", f"{host}.example.com", priority=10.0 * number, **more)
    noted = {key.replace("_", "-"): value for key, value in metadata.items()}
    world.versions["example.com"] = ("v1", {"sts-id": identifier(body), **noted})
    world.bodies["example.com"] = body.encode()


def declared(*hosts: str, **more: Any) -> dict[str, Any]:
    """Return the configuration with these managed MX hosts, in enforce."""
    return {
        "domain": "example.com",
        "mode": "enforce",
        "acknowledge": "seen",
        "manage_mx": True,
        "mx": [{"host": f"{host}.example.com", "preference": 10 * place} for place, host in enumerate(hosts, 1)],
        "reports": ["mailto:tls-reports@example.com"],
        "host": {"bucket": "policies", "target": TARGET},
        **more,
    }


def publish(world: World, args: dict[str, Any]) -> Run:
    """Deploy the domain."""
    return deploy(world, lambda: MtaSts("mail", args))


def noted(run: Run, key: str) -> str | None:
    """Return what the policy object notes."""
    value: str | None = run["mail-policy"].inputs["metadata"].get(key)
    return value


@pytest.mark.parametrize(("key", "setting"), [("sts-txt-ttl", "txt_ttl"), ("sts-mx-ttl", "mx_ttl")])
def test_a_ttl_that_is_lowered_is_remembered_with_the_policy(world: World, key: str, setting: str) -> None:
    """The object is written before the record, and keeps the note under this id; a TTL that stays needs none."""
    published(world, policy("mx1"), "mx1", ttl=DAY)
    assert noted(publish(world, declared("mx1", txt_ttl=DAY, mx_ttl=DAY)), key) is None
    assert str(DAY) == noted(publish(world, declared("mx1", txt_ttl=DAY, mx_ttl=DAY) | {setting: 60}), key)
    for record in world.records["zone-1"]:
        record |= {"ttl": 60.0, "modifiedOn": moment(0)}
    world.versions["example.com"][1][key] = str(DAY)  # type: ignore[index]
    lowered = declared("mx1", txt_ttl=60, mx_ttl=60)
    assert str(DAY) == noted(publish(world, lowered), key)


def test_a_lowered_mx_ttl_is_remembered_under_a_new_id_until_no_cache_has_it(world: World) -> None:
    """A host that came since is not relied on before caches have forgotten the MX records without it."""
    both = policy("mx1", "mx2")
    for ago, expected in ((100, str(DAY)), (2 * DAY, None)):
        world.records.clear()
        published(world, both, "mx1", "mx2", ago=ago, sts_mx_ttl=str(DAY))
        changed = publish(world, declared("mx1", "mx2", max_age=7 * DAY))
        assert expected == noted(changed, "sts-mx-ttl")
    world.records.clear()
    published(world, both, "mx1", "mx2", ago=3600, sts_mx_ttl=str(DAY))
    world.records["zone-1"][2]["comment"] = LEAVING
    kept = publish(world, declared("mx2"))
    assert "mail-mx-mx1.example.com" in kept
    assert any("mx1.example.com" in warning and moment(3600 - DAY)[:16] in warning for warning in kept.warnings)
