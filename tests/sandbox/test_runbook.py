"""The runbook's first page does what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pulumi_mta_sts import MtaSts, PolicyHost

from mta_sts import parse_policy
from mta_sts.review.plan import read_plan
from mta_sts.review.verdict import review
from sandbox.deployment import Deployment
from sandbox.senders import TEMPERAMENTS, sender_in
from tests.sandbox.clouds import Clouds
from tests.sandbox.conftest import REASON
from tests.sandbox.test_main_job import GOOGLE, OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.deployment import Outcome
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


def brake(world: World) -> None:
    """Run the first command of the runbook's first page."""
    block = re.search(r"```\n(pulumi config set .*)\n(pulumi up .*)\n```", RUNBOOK.read_text(encoding="utf-8"))
    assert block
    command = shlex.split(block[1].replace("--stack prod", "--stack sandbox"))
    subprocess.run(command, cwd=world.folder / "work", check=True, capture_output=True)


def in_the_sandbox(world: World, what: str) -> None:
    """Run the commands of the runbook's pages that begin so."""
    commands = re.findall(
        rf"^\.venv/bin/python -m sandbox ({what} .*)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert commands
    for command in commands:
        words = [sys.executable, "-m", "sandbox", "--folder", str(world.folder), *shlex.split(command)]
        subprocess.run(words, cwd=RUNBOOK.parents[1], check=True)


def test_the_brake_takes_one_setting_and_one_update(
    world: World, deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    """With the policy bucket unreadable, and without waiting: senders see `testing` at once.

    Any other change takes the override that the refusal prints, and the review shows it.
    """
    deployment = deploy(OWN)
    assert deployment.up().ok
    world.advance(86_400)
    begun = world.now()

    in_the_sandbox(world, "fault api")
    change = OWN | {"max_age": 5 * 86_400}
    unproved = deploy(change).up()
    assert "ledger-unreadable" in unproved.errors  # any other change is held up by that
    lines = unproved.errors[unproved.errors.index("    override:") :]
    answered = deploy(change | yaml.safe_load(lines))
    assert answered.preview_json(tmp_path / "plan.json").ok
    (domain,) = review([read_plan("plan.json", (tmp_path / "plan.json").read_bytes())]).domains
    assert [note for note in domain.notes if "why it is right without proof [change-overridden]" in note]
    assert answered.up().ok

    deployment = deploy(OWN)
    in_the_sandbox(world, "fault mail")
    sender = sender_in(world, TEMPERAMENTS["diligent"])
    assert "refused" == sender.deliver("example.com").outcome
    brake(world)
    braked = deployment.up()
    assert "delivered" == sender.deliver("example.com").outcome
    assert braked.ok, braked.errors

    policies = [event for event in world.timeline() if event["domain"] == "example.com" and event["kind"] == "policy"]
    assert "testing" == parse_policy(policies[-1]["value"]).mode
    assert 60 > world.now() - begun


def test_nothing_that_is_wrong_elsewhere_holds_up_the_brake(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """A stray MX, another text, no ledger, another domain refused, a typing error: senders deliver, nothing is lost."""
    enforced = GOOGLE | {"mode": "enforce", "acknowledge": REASON}
    assert deploy(OWN, enforced).up().ok
    senders = [sender_in(world, TEMPERAMENTS[each]) for each in ("diligent", "renewing")]

    def outcomes(domain: str = "example.com") -> set[str]:
        return {sender.deliver(domain).outcome for sender in senders}

    assert {"delivered"} == outcomes() | outcomes(GOOGLE["domain"])
    world.advance(86_400)
    for host in ("mx1", "mx2"):
        world.fault("mail", f"{host}.example.com", "expired")
    assert {"refused"} == outcomes()

    world.fault("api", r"s3 GET /policy-host-sandbox-\d+/?$", "denied")
    cloudflare.add("example.com", "MX", "example.com", "stray.example.net", priority=90)
    cloudflare.add("example.com", "TXT", "_mta-sts.example.com", '"verification=1"')
    cloudflare.add(GOOGLE["domain"], "MX", GOOGLE["domain"], "stray.example.net", priority=90)
    deployment = deploy(OWN, enforced, {"domain": "new.example", "mx": ["192.0.2.1"]})
    before = deployment.resources()
    brake(world)
    assert "`pulumi up --skip-preview`" in deployment.preview().errors
    braked = deployment.up(continue_on_error=True)

    assert {"delivered"} == outcomes()
    assert {"delivered"} == outcomes(GOOGLE["domain"])
    assert "nothing was changed but by the brake of example.com" in braked.errors
    assert "domains[1].mx: live MX host stray.example.net" in braked.errors
    assert "domains[2].mx[0]: '192.0.2.1' is an IP address" in braked.errors
    # Asking for the state, where the bucket can't be read, makes the engine's own default provider.
    changes = [step.name for step in braked.changes if not step.type.startswith("pulumi:")]
    assert ["example.com-policy", "example.com-sts-record"] == changes

    def kept(resources: list[dict[str, Any]]) -> set[tuple[str, bool | None]]:
        return {(one["urn"], one.get("protect")) for one in resources if "pulumi:providers:" not in one["urn"]}

    assert kept(before) == kept(deployment.resources())
    assert not deployment.destroy(continue_on_error=True).ok
    assert kept(before) == kept(deployment.resources())

    world.clear_faults()
    for zone, name in ((GOOGLE["domain"], GOOGLE["domain"]), ("example.com", "_mta-sts.example.com")):
        for record in cloudflare.records(zone, name):
            if "stray" in record["content"] or "verification" in record["content"]:
                cloudflare.call("DELETE", f"/zones/{cloudflare.zone(zone)}/dns_records/{record['id']}")
    deployment = deploy(OWN | {"mode": "testing"}, enforced)
    later = deployment.up()
    assert later.ok, later.errors
    assert [] == later.changes


def test_the_policy_host_moves_in_the_steps_that_the_refusal_names(
    world: World, cloudflare: Cloudflare, tmp_path: Path, sparing: Callable[[], dict[str, str]]
) -> None:
    """With another policy it is refused before anything is made; with the same one, after the alias, it moves."""
    config = tmp_path / "Pulumi.sandbox.yaml"
    config.write_text("config:\n  aws:region: eu-west-1\n", encoding="utf-8")
    domain = OWN | {"mode": "testing"}

    def up(target: str = "", **changed: Any) -> Outcome:
        def program() -> None:
            host = PolicyHost("former", {"domains": [{"domain": "example.com"}]})
            former = {"bucket": host.bucket_name, "target": host.target}
            here = {"bucket": "policies-new", "target": target} if target else former
            MtaSts("mail", domain | changed | {"host": here})

        return Deployment(world, program, config=config, environment=sparing()).up()

    first = up()
    assert first.ok, first.errors
    sender = sender_in(world, TEMPERAMENTS["diligent"])
    assert "delivered" == sender.deliver("example.com").outcome
    clouds = Clouds(world)
    (old,) = clouds.cloudfront.list_distributions()["DistributionList"]["Items"]
    arguments = (clouds.certificate("example.com", "mta-sts.example.com"), [], clouds.bucket("policies-new"))
    new = clouds.distribution("new", *arguments, function=clouds.function("new"), access=clouds.access_control("new"))
    clouds.allow("policies-new", new["ARN"])

    longer = {"max_age": 172_800}
    events = len(world.timeline())
    refused = up(new["DomainName"], **longer)
    assert f"leads to {old['DomainName'].lower()} and moves to {new['DomainName'].lower()}" in refused.errors
    assert "(2) take the alias mta-sts.example.com off this stack's former-distribution" in refused.errors
    assert [] == [step for step in refused.changes if not step.type.startswith("pulumi:")]
    assert events == len(world.timeline())

    for one, aliases in ((old, []), (new, ["mta-sts.example.com"])):
        answer = clouds.cloudfront.get_distribution_config(Id=one["Id"])
        changed = answer["DistributionConfig"] | {"Aliases": {"Quantity": len(aliases), "Items": aliases}}
        clouds.cloudfront.update_distribution(Id=one["Id"], IfMatch=answer["ETag"], DistributionConfig=changed)
        assert "delivered" == sender.deliver("example.com").outcome
    moved = up(new["DomainName"])
    assert moved.ok, moved.errors
    (record,) = cloudflare.records("example.com", "mta-sts.example.com")
    assert new["DomainName"].lower() == record["content"].lower()
    assert "delivered" == sender.deliver("example.com").outcome
    world.advance(300)
    changed = up(new["DomainName"], **longer)
    assert changed.ok, changed.errors
    assert "max_age: 172800" in sender.deliver("example.com").body
