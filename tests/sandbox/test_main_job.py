"""The main job on the real engine: declare, deploy, deliver; change, and senders follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandbox.check import problems
from sandbox.senders import TEMPERAMENTS, deliver_all, sender_in
from sandbox.witness import ask
from tests.sandbox.conftest import REASON

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.deployment import Deployment
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine

OWN = {
    "domain": "example.com",
    "mode": "enforce",
    "acknowledge": REASON,
    "manage_mx": True,
    "mx": [{"host": "mx1.example.com", "preference": 10}, {"host": "mx2.example.com", "preference": 20}],
    "reports": "mailto:tls-reports@example.com",
}
GOOGLE = {
    "domain": "gmail-new.example",
    "mx": ["smtp.google.com"],
    "reports": "mailto:tls-reports@example.com",
}


def _order(steps: list[Any]) -> dict[str, int]:
    return {step.name: place for place, step in enumerate(steps)}


@pytest.mark.as_for_a_person
def test_many_domains_do_not_wait_for_each_other(deploy: Callable[..., Deployment]) -> None:
    """Barriers ask the providers while the engine waits for them: that takes none of the program's own threads."""
    domains = [{"domain": f"d{number}.example.com", "mx": ["mx1.example.com"]} for number in range(6)]
    made = deploy(*domains).up(parallel=1)
    assert made.ok, made.errors


@pytest.mark.as_for_a_person
def test_a_domain_is_published_in_the_order_that_senders_need(
    world: World, deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    """Host, object and name stand before the id is visible, MX hosts come after it; only they outlive the stack."""
    deployment = deploy(OWN, GOOGLE)
    made = deployment.up()
    assert made.ok, made.errors
    # The nightly check asks for it.
    assert "policy-host-sandbox-111111111111" == made.outputs["policy_bucket"]

    order = _order(made.steps)
    for domain in ("example.com", "gmail-new.example"):
        first = [order[name] for name in ("policy-host-distribution", "policy-host-certificate-validation")]
        objects = [order[f"{domain}-policy"], order[f"{domain}-policy-host"]]
        assert max(first) < min(objects)
        assert max(objects) < order[f"{domain}-sts-record"]
    assert order["example.com-sts-record"] < order["example.com-mx-mx1.example.com"]

    assert deployment.preview().changes == []
    assert {domain: [] for domain in ("example.com", "gmail-new.example")} == {
        domain: problems(world, domain) for domain in ("example.com", "gmail-new.example")
    }
    rows = deliver_all(world, ["example.com", "gmail-new.example"], tmp_path / "senders.json")
    assert {"delivered"} == {row.delivery.outcome for row in rows}
    assert len(TEMPERAMENTS) * 2 == sum(world.received().values())

    deployment = deploy(OWN | {"mode": "none"}, GOOGLE)
    for _ in range(2):  # retracted, then no longer protected
        assert deployment.up().ok
        world.advance(15 * 86_400)
    gone = deployment.destroy()
    assert gone.ok, gone.errors
    assert [] == deployment.resources()
    last = {(event["domain"], event["kind"]): event["value"] for event in world.timeline()}
    assert (None, None) == tuple(last["example.com", kind] for kind in ("txt", "policy"))
    # A domain without MX gets no mail: those that are declared outlive the stack.
    assert ["mx1.example.com", "mx2.example.com"] == last["example.com", "mx"]


def test_an_edited_mx_list_changes_object_and_id_and_senders_follow(
    world: World, deploy: Callable[..., Deployment]
) -> None:
    """The preview shows both policies and the new id, nothing else changes, and a diligent sender follows."""
    assert deploy(GOOGLE).up().ok
    sender = sender_in(world, TEMPERAMENTS["diligent"])
    before = sender.deliver("gmail-new.example")

    deployment = deploy(GOOGLE | {"mx": ["smtp.google.com", "aspmx.l.google.com"]})
    planned = deployment.preview()
    assert ["gmail-new.example-policy", "gmail-new.example-sts-record"] == [step.name for step in planned.changes]
    policy, record = planned.changes
    assert "mx: aspmx.l.google.com" not in policy.old["content"]
    assert "mx: aspmx.l.google.com" in policy.new["content"]
    new_id = policy.new["metadata"]["sts-id"]
    assert f'"v=STSv1; id={new_id};"' == record.new["content"]
    assert before.policy_id != new_id

    assert deployment.up().ok
    after = sender.deliver("gmail-new.example")
    assert (new_id, policy.new["content"]) == (after.policy_id, after.body)
    said = ask(world, {"gmail-new.example": before.policy_id})["gmail-new.example"]
    assert ("valid", new_id, {"smtp.google.com", "aspmx.l.google.com"}) == (said.verdict, said.id, set(said.mx))


def test_an_id_never_comes_back(deploy: Callable[..., Deployment]) -> None:
    """Going back to an earlier policy publishes the earlier bytes under a new id; the epoch alone makes one too."""
    ids = []
    for change in (
        {"mx": ["smtp.google.com"]},
        {"mx": ["aspmx.l.google.com", "smtp.google.com"]},
        {"mx": ["smtp.google.com"]},
        {"mx": ["smtp.google.com"], "epoch": 2},
    ):
        made = deploy(GOOGLE | change).up()
        assert made.ok, made.errors
        ids.append(made.outputs["gmail-new.example"]["id"])
    assert 4 == len(set(ids))
    assert ids[0][:24] == ids[2][:24] == ids[3][:24]


def test_the_witness_does_what_rfc_8461_says(world: World, deploy: Callable[..., Deployment]) -> None:
    """An independent sender reads the intended policy, refuses a faulty one, and fetches nothing for a known id."""
    made = deploy(OWN).up()
    assert made.ok, made.errors
    said = ask(world, {"example.com": None})["example.com"]
    assert ("valid", "enforce", {"mx1.example.com", "mx2.example.com"}, 1209600) == (
        said.verdict,
        said.mode,
        set(said.mx),
        said.max_age,
    )
    for fault in ("wrong-name", "self-signed", "redirect", "not-found", "wrong-type"):
        world.fault("edge", "mta-sts.example.com", fault)
        assert "fetch_error" == ask(world, {"example.com": None})["example.com"].verdict, fault
        world.clear_faults()
    world.fault("edge", "mta-sts.example.com", "not-found")
    assert "not_changed" == ask(world, {"example.com": said.id})["example.com"].verdict


def test_mail_is_refused_where_no_mx_host_passes(world: World, deploy: Callable[..., Deployment]) -> None:
    """In enforce a host with a wrong certificate is skipped, and with all of them wrong the mail waits."""
    assert deploy(OWN).up().ok
    world.fault("mail", "mx1.example.com", "wrong-name")
    delivery = sender_in(world, TEMPERAMENTS["diligent"]).deliver("example.com")
    assert ("delivered", "mx2.example.com", ("mx1.example.com",)) == (
        delivery.outcome,
        delivery.host,
        delivery.skipped,
    )
    world.fault("mail", "mx2.example.com", "no-starttls")
    assert "refused" == sender_in(world, TEMPERAMENTS["diligent"]).deliver("example.com").outcome


def test_a_domain_more_on_a_shared_host_costs_few_resources(deploy: Callable[..., Deployment]) -> None:
    """At most 7 resources a domain, the component included; what the first domain publishes is not touched."""
    assert deploy(GOOGLE).up().ok
    before = len(deploy(GOOGLE).resources())
    second = {"domain": "m365.example", "mx": ["*.mail.protection.outlook.com"], "reports": "mailto:a@example.com"}
    made = deploy(GOOGLE, second).up()
    assert made.ok, made.errors
    deployment = deploy(GOOGLE, second)
    assert len(deployment.resources()) - before <= 7
    assert not [step for step in made.changes if step.name.startswith("gmail-new.example")]
    assert deployment.preview().changes == []


def test_records_of_others_are_named_then_adopted(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """Without `adopt` they are named and nothing is made; with it they are imported as they are, and published next."""
    ids = {
        cloudflare.add("gmail-new.example", "TXT", "_mta-sts.gmail-new.example", '"v=STSv1; id=old1"'),
        cloudflare.add("gmail-new.example", "CNAME", "mta-sts.gmail-new.example", "policies.elsewhere.invalid"),
        cloudflare.add("gmail-new.example", "TXT", "_smtp._tls.gmail-new.example", '"v=TLSRPTv1; rua=mailto:a@b.c"'),
    }
    refused = deploy(GOOGLE).up()
    assert not refused.ok
    assert all(record_id in refused.errors for record_id in ids)
    assert not [step for step in refused.changes if step.type.startswith(("aws:", "cloudflare:"))]

    seen = len(world.timeline())
    adopting = deploy(GOOGLE | {"adopt": True}).up()
    assert adopting.ok, adopting.errors
    assert {"import"} == {
        step.op for step in adopting.changes if step.type.endswith("DnsRecord") and "validation" not in step.name
    }
    changed = {event["kind"] for event in world.timeline()[seen:] if event["domain"] == "gmail-new.example"}
    assert not changed & {"txt", "mx"}

    published = deploy(GOOGLE | {"adopt": True}).up()
    assert published.ok, published.errors
    assert [] == problems(world, "gmail-new.example")
    kept = {
        record["id"]
        for name in ("_mta-sts", "mta-sts", "_smtp._tls")
        for record in cloudflare.records("gmail-new.example", f"{name}.gmail-new.example")
    }
    assert ids == kept
    assert deploy(GOOGLE | {"adopt": True}).preview().changes == []
    # The engine's own provider, by which the state was read, goes with the option.
    assert ["pulumi:providers:pulumi"] == [step.type for step in deploy(GOOGLE).preview().changes]


@pytest.mark.parametrize(
    ("pattern", "kind", "named"),
    [
        ("cloudflare POST .*_mta-sts", "throttle", "429"),
        ("cloudflare POST .*_mta-sts", "error", "503"),
        ("cloudflare POST .*_mta-sts", "drop", "the connection broke"),
        ("s3 PUT .*mta-sts.txt", "denied", "AccessDenied"),
        ("cloudfront POST .*/distribution", "throttle", "ThrottlingException"),
    ],
)
def test_a_fault_in_mid_update_is_named_and_the_next_up_completes(
    world: World, deploy: Callable[..., Deployment], pattern: str, kind: str, named: str
) -> None:
    """The error says what failed and why, what was made stays, and running it again goes on from there."""
    world.fault("api", pattern, kind)
    stopped = deploy(GOOGLE).up()
    assert not stopped.ok
    assert named in stopped.errors
    assert "Traceback" not in stopped.errors
    failed = set(stopped.failed)
    made = {step.urn for step in stopped.changes} - failed
    assert failed
    assert made
    world.clear_faults()
    completed = deploy(GOOGLE).up()
    assert completed.ok, completed.errors
    going_on = {step.urn for step in completed.changes}
    assert failed <= going_on
    assert set() == made & going_on
    assert [] == problems(world, "gmail-new.example")
    assert deploy(GOOGLE).preview().changes == []


@pytest.mark.as_for_a_person
def test_a_record_made_but_not_recorded_is_not_made_twice(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """Where the record was made and the answer lost, the next `up` stops before a twin; `adopt` takes it in."""
    world.fault("api", "cloudflare POST .*_mta-sts", "drop-after", times=1)
    assert not deploy(GOOGLE).up().ok
    refused = deploy(GOOGLE).preview()
    assert not refused.ok
    assert "adopt" in refused.errors
    assert 1 == len(cloudflare.records("gmail-new.example", "_mta-sts.gmail-new.example"))
    adopted = deploy(GOOGLE | {"adopt": True}).up()
    assert adopted.ok, adopted.errors
    assert 1 == len(cloudflare.records("gmail-new.example", "_mta-sts.gmail-new.example"))
    assert [] == problems(world, "gmail-new.example")
