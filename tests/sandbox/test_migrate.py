"""The steps that `mta-sts migrate` prints, walked on the real engine on their dates: no mail is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from mta_sts.domain_config import resolve_domain
from mta_sts.migration import migration
from mta_sts.safety import replay
from tests.sandbox.test_main_job import OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.deployment import Deployment
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine

DAY = 86_400
TO = ["mx3.example.com", "mx4.example.com"]


def test_each_step_does_what_it_says_on_its_date(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """In the end the new hosts alone are in DNS and policy, under the former max_age; nothing is left to do."""
    config: dict[str, Any] = OWN | {"max_age": 14 * DAY}
    assert deploy(config).up().ok
    world.advance(30 * DAY)
    began = world.now()
    steps = migration(resolve_domain(config), TO, datetime.fromtimestamp(began, UTC), DAY)
    for step in steps:
        world.advance(max(0.0, step.when.timestamp() - world.now()))
        config |= step.declare
        made = deploy(config).up()
        assert made.ok, f"{step}: {made.errors}"
        assert made.changes, step

    hosts = sorted(one["content"] for one in cloudflare.records("example.com", "example.com") if one["type"] == "MX")
    assert TO == hosts
    assert "no change" == deploy(config).up().summary()
    events = [event for event in world.timeline() if event["domain"] == "example.com"]
    policies = [event["value"] for event in events if event["kind"] == "policy"]
    body = "version: STSv1\nmode: enforce\nmx: mx3.example.com\nmx: mx4.example.com\nmax_age: 1209600\n"
    assert body == policies[-1]
    tally = replay(events, since=began)
    assert tally.deliveries > 10_000
    assert (0, 0, 0) == (tally.refused, tally.locked_in, tally.downgraded)
