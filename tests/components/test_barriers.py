"""What the hooks of the component ask for before a step of the update, and how long they make it wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pulumi.runtime.sync_await import _sync_await
from pulumi_mta_sts.barriers import NotYetError, policy_is_current
from pulumi_mta_sts.judgement import Judged
from pulumi_mta_sts.outside import outside, use

from mta_sts import resolve_domain
from mta_sts.ledger import FETCH_SECONDS, ID_METADATA, LIVE_METADATA, LiveId, PolicyVersion
from tests.components.mocked import World, deploy

DAY = 86_400
HOUR = 3_600
NOW = 1_700_000_000.0


@pytest.fixture
def waits(world: World) -> list[float]:
    """Return the waits that are asked for, at a time that stands still."""
    asked: list[float] = []

    async def wait(seconds: float) -> None:
        asked.append(seconds)

    use(replace(outside(), now=lambda: NOW, wait=wait))  # the fixture `world` puts the real one back
    return asked


def planned(live_id: LiveId, published: str, txt_ttl: int = 300) -> Judged:
    """Return a domain that gets mx2, planned while `live_id` was live, to be published under an id."""
    config = {
        "domain": "example.com",
        "mode": "enforce",
        "acknowledge": "seen",
        "manage_mx": True,
        "mx": [{"host": f"mx{number}.example.com", "preference": number} for number in (1, 2)],
        "txt_ttl": txt_ttl,
        "wait_limit": DAY,
    }
    newest = PolicyVersion("v2", {ID_METADATA: published, LIVE_METADATA: str(LiveId("old", NOW - 90 * DAY, HOUR))})
    before = [PolicyVersion("v1", {ID_METADATA: "old"})]
    versions = before if live_id.id == "old" else [newest, *before]
    metadata = {ID_METADATA: published, LIVE_METADATA: str(live_id)}
    domain = resolve_domain(config)
    return Judged(domain, "zone-1", b"", published, versions=versions, live_id=live_id, metadata=metadata)


def run_hook(world: World, judged: Judged, live: LiveId) -> None:
    """Let the hook of a new MX record look at a live record."""
    since = datetime.fromtimestamp(live.since, UTC).isoformat()
    world.records.clear()
    world.has("TXT", "_mta-sts.example.com", f'"v=STSv1; id={live.id};"', ttl=float(live.ttl), modifiedOn=since)

    def program() -> None:
        hook = policy_is_current("known-first", judged, None)
        args = SimpleNamespace(new_inputs={"zoneId": "zone-1", "content": "mx2.example.com"})
        _sync_await(hook.callback(args))

    deploy(world, program)


def test_a_new_mx_host_waits_for_the_old_ttl_at_the_first_attempt_and_at_each_retry(
    world: World, waits: list[float]
) -> None:
    """A TTL that the same update lowers is noted with the version: an update killed behind the TXT waits as long."""
    old = LiveId("old", NOW - 90 * DAY, HOUR)
    run_hook(world, planned(old, "new", 60), LiveId("new", NOW, 60))
    new = LiveId("new", NOW - 900, 60)
    run_hook(world, planned(new, "new", 60), new)
    assert [HOUR + FETCH_SECONDS, HOUR + FETCH_SECONDS - 900] == waits


def test_a_new_mx_host_is_refused_while_the_record_shows_another_id(world: World, waits: list[float]) -> None:
    """As with `--target` on the MX record alone: senders would not know a policy that lists it, however old that is."""
    old = LiveId("old", NOW - 90 * DAY, 300)
    with pytest.raises(NotYetError, match=r"shows old and not yet new.*without `--target`"):
        run_hook(world, planned(old, "new"), old)
    assert [] == waits
