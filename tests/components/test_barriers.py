"""What the hooks of the component ask for before a step of the update, and how long they make it wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pulumi.runtime.sync_await import _sync_await
from pulumi_mta_sts import barriers
from pulumi_mta_sts.barriers import NotYetError, edge_serves, id_is_noted, policy_is_current
from pulumi_mta_sts.dns import LiveRecord
from pulumi_mta_sts.judgement import Judged
from pulumi_mta_sts.outside import outside, use

from mta_sts import resolve_domain
from mta_sts.ledger import FETCH_SECONDS, ID_METADATA, LIVE_METADATA, LiveId, PolicyVersion
from tests.components.mocked import TARGET, World, deploy

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


@pytest.mark.parametrize(
    ("live_id", "expected"), [(LiveId("new", NOW - 100, HOUR), [HOUR + FETCH_SECONDS - 100]), (None, [])]
)
def test_a_new_mx_host_waits_for_the_record_where_the_bucket_can_not_be_read(
    world: World, waits: list[float], live_id: LiveId | None, expected: list[float]
) -> None:
    """What was served is not known then; only where no record is, nobody holds a policy."""
    shown = live_id or LiveId("new", NOW, HOUR)
    judged = replace(planned(shown, "new"), versions=(), live_id=live_id, metadata={ID_METADATA: "new"})
    run_hook(world, judged, shown)
    assert expected == waits


def test_a_new_mx_host_is_refused_while_the_record_shows_another_id(world: World, waits: list[float]) -> None:
    """As with `--target` on the MX record alone: senders would not know a policy that lists it, however old that is."""
    old = LiveId("old", NOW - 90 * DAY, 300)
    with pytest.raises(NotYetError, match=r"shows old and not yet new.*without `--target`"):
        run_hook(world, planned(old, "new"), old)
    assert [] == waits


def host_record(content: str, ago: float, ttl: int) -> LiveRecord:
    """Return the record of the policy host as it was when the update was planned."""
    name = "mta-sts.example.com"
    modified = NOW - ago
    return LiveRecord("r1", "zone-1", name, "CNAME", content, content, ttl, None, False, "", modified)


def publish_id(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    before: LiveRecord,
    leads_to: str,
    ttl: int,
    *,
    same: bool = False,
    target: str = TARGET,
) -> None:
    """Let the hook of the id look where the name leads now, for a moment ago where that is another target."""
    modified = before.modified if leads_to == before.content else NOW
    since = datetime.fromtimestamp(modified, UTC).isoformat()
    world.has("CNAME", "mta-sts.example.com", leads_to, ttl=float(ttl), modifiedOn=since)

    async def wrong_edges(_: str, name: str, __: bytes) -> list[str]:
        return [] if same or name.rstrip(".").lower() == TARGET else ["another policy"]

    monkeypatch.setattr(barriers, "_wrong_edges", wrong_edges)
    judged = replace(planned(LiveId("old", NOW - 90 * DAY, 300), "new"), existing={"policy-host": before})

    def program() -> None:
        hook = edge_serves("served-first", judged, target, None)
        _sync_await(hook.callback(SimpleNamespace(new_inputs={"zoneId": "zone-1"})))

    deploy(world, program)


FORMER = "dold.cloudfront.net"


@pytest.mark.parametrize("target", [TARGET, f"{TARGET.capitalize()}."])  # a target may be given as DNS tools show it
@pytest.mark.parametrize(
    ("before", "ttl", "same", "expected"),
    [
        ((FORMER, 90 * DAY, 300), HOUR, False, [HOUR]),  # moves in this update; `host_ttl` knows of an older TTL
        ((FORMER, 90 * DAY, 300), HOUR, True, []),  # whoever is led there still gets the same policy
        ((TARGET, 100, HOUR), HOUR, False, [HOUR - 100]),  # moved in one before, that was stopped
        ((TARGET, 90 * DAY, 300), 300, False, []),
    ],
)
def test_an_id_waits_until_no_cache_leads_to_a_former_policy_host(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    waits: list[float],
    before: tuple[str, float, int],
    *,
    ttl: int,
    same: bool,
    expected: list[float],
    target: str,
) -> None:
    """A sender that is led there would keep what it serves under the new id."""
    publish_id(world, monkeypatch, host_record(*before), TARGET, ttl, same=same, target=target)
    assert expected == waits


def test_an_id_is_refused_while_the_name_leads_elsewhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `--target` on the id's record alone."""
    with pytest.raises(NotYetError, match=r"still leads to dold.*without `--target`"):
        publish_id(world, monkeypatch, host_record(FORMER, 90 * DAY, 300), FORMER, 300)


@pytest.mark.parametrize("metadata", [{ID_METADATA: "old"}, {}, None])
def test_an_id_is_refused_while_the_policy_object_does_not_note_it(
    world: World, metadata: dict[str, str] | None
) -> None:
    """As with `--target` on the id's record alone, where the new id stands for the same bytes."""
    judged = planned(LiveId("old", NOW - 90 * DAY, 300), "new")
    deploy(world, lambda: _sync_await(id_is_noted("noted", judged, {ID_METADATA: "new"}).callback(None)))
    with pytest.raises(NotYetError, match=r"notes (old|no id) and not yet new.*without `--target`"):
        deploy(world, lambda: _sync_await(id_is_noted("noted", judged, metadata).callback(None)))
