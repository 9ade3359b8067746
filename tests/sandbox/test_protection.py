"""What the real engine deletes of a domain whose enforce policy may be held: nothing; and what it takes to leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mta_sts.safety import replay
from tests.sandbox.test_main_job import OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.deployment import Deployment, Outcome
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine

DAY = 86_400
NAME = "example.com"
OTHER = {"domain": "gmail-new.example", "mx": ["smtp.google.com"]}


def standing(cloudflare: Cloudflare) -> list[tuple[str, str]]:
    """Return what stands in DNS for the domain."""
    names = (NAME, f"mta-sts.{NAME}", f"_mta-sts.{NAME}", f"_smtp._tls.{NAME}")
    return sorted((one["type"], one["name"]) for name in names for one in cloudflare.records(NAME, name))


def events_of(world: World) -> list[dict[str, Any]]:
    """Return what the outside saw of the domain."""
    return [event for event in world.timeline() if event["domain"] == NAME]


def attempts(deploy: Callable[..., Deployment]) -> dict[str, Callable[[], Outcome]]:
    """Return every way to take a domain off."""
    record = (
        f"urn:pulumi:sandbox::mta-sts::mta-sts:index:MtaSts$cloudflare:index/dnsRecord:DnsRecord::{NAME}-sts-record"
    )
    return {
        "destroy": lambda: deploy(OWN, OTHER).destroy(),
        "destroy, going on after errors": lambda: deploy(OWN, OTHER).destroy(continue_on_error=True),
        "destroy of the record alone": lambda: deploy(OWN, OTHER).destroy(target=[record], target_dependents=True),
        "removal from the program": lambda: deploy(OTHER).up(),
        "removal, going on after errors": lambda: deploy(OTHER).up(continue_on_error=True),
        "removal without a look at the bucket": lambda: deploy(OTHER).up(continue_on_error=True),
        "removal of the record alone": lambda: deploy(OTHER).up(target=[record], target_dependents=True),
    }


def test_nothing_of_an_enforced_domain_is_deleted_until_it_was_retracted(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """No flag takes off a record, a name of the certificate or a policy; after a retraction `destroy` is clean.

    The Automation API always updates with `--skip-preview`.
    """
    made = deploy(OWN, OTHER).up()
    assert made.ok, made.errors
    world.advance(DAY)
    before = standing(cloudflare)
    since = world.now()
    seen = events_of(world)
    for name, attempt in attempts(deploy).items():
        if "bucket" in name:
            world.fault("api", r"s3 GET /policy-host-sandbox-\d+/?$", "denied")
        outcome = attempt()
        world.clear_faults()
        assert not outcome.ok, name
        assert "protected" in outcome.errors, (name, outcome.errors)
        assert before == standing(cloudflare), name
        assert seen == events_of(world), name
    back = deploy(OWN, OTHER).up()
    assert back.ok, back.errors

    none = OWN | {"mode": "none"}
    retracted = deploy(none, OTHER).up()
    assert retracted.ok, retracted.errors
    assert retracted.outputs[NAME]["removable_from"].startswith("20")
    assert not deploy(OTHER).up().ok
    world.advance(15 * DAY)
    lifted = deploy(none, OTHER).up()
    assert lifted.ok, lifted.errors
    assert ("now", []) == (lifted.outputs[NAME]["removable_from"], lifted.changes)
    gone = deploy(OTHER).up()
    assert gone.ok, gone.errors
    assert {("MX", NAME)} == set(standing(cloudflare))
    tally = replay(events_of(world), since=since)
    assert (0, 0, 0) == (tally.refused, tally.locked_in, tally.downgraded), tally.examples
    assert deploy(OTHER).destroy().ok
