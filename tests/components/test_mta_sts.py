"""What MtaSts asks the engine for, with which inputs and after what."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from pulumi_mta_sts import MtaSts

from mta_sts import content_id, parse_policy, parse_sts_record, txt_value
from tests.components.mocked import OBJECT, OWN, RECORD, TARGET, Run, World, deploy

BUCKET = "policies"
SHARED = {"bucket": BUCKET, "target": TARGET}
BASIC: dict[str, Any] = {
    "domain": "example.com",
    "mx": ["mx2.example.com", "mx1.example.com"],
    "reports": ["mailto:tls-reports@example.com"],
    "host": SHARED,
}
MANAGED = BASIC | {
    "manage_mx": True,
    "mx": [{"host": "mx1.example.com", "preference": 10}, {"host": "mx2.example.com", "preference": 20}],
}


def publish(world: World, args: dict[str, Any], *, preview: bool = False) -> Run:
    """Deploy one domain."""
    return deploy(world, lambda: MtaSts("mail", args), preview=preview)


def visible_id(run: Run) -> str:
    """Return the id that `_mta-sts` would show."""
    return parse_sts_record(txt_value(run["mail-sts-record"].inputs["content"])).id


@pytest.mark.parametrize("preview", [False, True])
def test_a_domain_on_a_shared_host_is_four_children(world: World, preview: bool) -> None:
    """Object, CNAME and two TXT records, the same in preview and update: at most 7 with component and validation."""
    run = publish(world, BASIC, preview=preview)
    assert {
        "mail": "mta-sts:index:MtaSts",
        "mail-policy": OBJECT,
        "mail-policy-host": RECORD,
        "mail-sts-record": RECORD,
        "mail-tlsrpt-record": RECORD,
    } == run.children()
    parents = {
        registered.request.parent.rpartition("::")[2] for name, registered in run.registered.items() if name != "mail"
    }
    assert {"mail"} == parents


@pytest.mark.parametrize("preview", [False, True])
def test_the_children_get_exactly_these_inputs(world: World, preview: bool) -> None:
    """Everything that senders see is known in the preview already, the id included."""
    run = publish(world, MANAGED, preview=preview)
    body = "version: STSv1\nmode: testing\nmx: mx1.example.com\nmx: mx2.example.com\nmax_age: 86400\n"
    identifier = visible_id(run)
    assert content_id(body) == identifier[:24]
    common = {"zoneId": "zone-1", "proxied": False, "comment": OWN, "ttl": 300}
    assert {
        "bucket": BUCKET,
        "key": "example.com/.well-known/mta-sts.txt",
        "content": body,
        "contentType": "text/plain; charset=utf-8",
        "metadata": {"sts-id": identifier},
    } == run["mail-policy"].inputs
    assert (
        common | {"name": "mta-sts.example.com", "type": "CNAME", "content": TARGET} == run["mail-policy-host"].inputs
    )
    assert (
        common | {"name": "_mta-sts.example.com", "type": "TXT", "content": f'"v=STSv1; id={identifier};"'}
        == run["mail-sts-record"].inputs
    )
    rua = '"v=TLSRPTv1; rua=mailto:tls-reports@example.com"'
    assert (
        common | {"name": "_smtp._tls.example.com", "type": "TXT", "content": rua} == run["mail-tlsrpt-record"].inputs
    )
    mx = common | {"name": "example.com", "type": "MX"}
    assert mx | {"content": "mx1.example.com", "priority": 10} == run["mail-mx-mx1.example.com"].inputs
    assert mx | {"content": "mx2.example.com", "priority": 20} == run["mail-mx-mx2.example.com"].inputs


def test_the_id_is_shown_only_after_the_policy_can_be_fetched(world: World) -> None:
    """TXT waits for object and CNAME, new MX hosts wait for the TXT (RFC 8461 §8.1)."""
    run = publish(world, MANAGED)
    assert set() == run["mail-policy"].dependencies
    assert {"mail-policy"} == run["mail-policy-host"].dependencies
    assert {"mail-policy", "mail-policy-host"} <= run["mail-sts-record"].dependencies
    assert "mail-sts-record" in run["mail-mx-mx1.example.com"].dependencies
    assert "mail-sts-record" in run["mail-mx-mx2.example.com"].dependencies


def test_every_step_waits_for_what_is_behind_a_shared_target(world: World) -> None:
    """A target that is another resource's output makes object, CNAME and TXT wait for that resource."""

    def program() -> None:
        class Elsewhere(pulumi.CustomResource):
            target: pulumi.Output[str]

            def __init__(self) -> None:
                super().__init__("test:index:Host", "elsewhere", {"target": TARGET})

        MtaSts("mail", BASIC | {"host": {"bucket": BUCKET, "target": Elsewhere().target}})

    run = deploy(world, program)
    for name in ("mail-policy", "mail-policy-host", "mail-sts-record", "mail-tlsrpt-record"):
        assert "elsewhere" in run[name].dependencies


def test_a_domain_without_a_shared_host_gets_its_own_and_waits_for_it(world: World) -> None:
    """Distribution, bucket policy and settings stand before the object is written and the id shown."""
    run = publish(world, {key: value for key, value in BASIC.items() if key != "host"})
    assert run["mail-host"].type == "mta-sts:index:PolicyHost"
    assert run["mail-host"].request.parent.endswith("::mail")
    assert run["mail-policy"].inputs["bucket"] == run["mail-host-bucket"].inputs["bucket"]
    host = {"mail-host-distribution", "mail-host-bucket-policy", "mail-host-versioning", "mail-host-public-access"}
    for name in ("mail-policy", "mail-policy-host", "mail-sts-record"):
        assert host <= run[name].dependencies


def test_the_order_of_the_mx_list_changes_nothing(world: World) -> None:
    """Records are named by host, and the policy is sorted: a reordered list plans no change."""
    listed = publish(world, MANAGED)
    reordered = publish(world, MANAGED | {"mx": list(reversed(MANAGED["mx"]))})
    assert {name: each.inputs for name, each in listed.registered.items()} == {
        name: each.inputs for name, each in reordered.registered.items()
    }


def test_names_are_normalised_not_refused(world: World) -> None:
    """U-labels, upper case and trailing dots mean the same domain and hosts."""
    world.zones = {"zone-1": "xn--bcher-kva.example"}
    run = publish(world, BASIC | {"domain": "BÜCHER.example.", "mx": ["MX1.bücher.example."]})
    assert "mta-sts.xn--bcher-kva.example" == run["mail-policy-host"].inputs["name"]
    assert ("mx1.xn--bcher-kva.example",) == parse_policy(run["mail-policy"].inputs["content"]).mx


def test_enforce_has_a_longer_max_age(world: World) -> None:
    """Two weeks where protection is wanted; a stated value wins, also as another language sends it."""
    enforce = BASIC | {"mode": "enforce", "acknowledge": "reports were clean for a month"}
    assert 1_209_600 == parse_policy(publish(world, enforce)["mail-policy"].inputs["content"]).max_age
    stated = publish(world, enforce | {"max_age": 604_800.0, "txt_ttl": 60.0})
    assert 604_800 == parse_policy(stated["mail-policy"].inputs["content"]).max_age
    assert 60 == stated["mail-sts-record"].inputs["ttl"]


def test_the_policy_object_and_declared_mx_records_outlive_their_resources(world: World) -> None:
    """Deleting the object would delete what senders may still hold; a domain without MX gets no mail."""
    run = publish(world, MANAGED)
    retained = {name for name, each in run.registered.items() if each.request.retainOnDelete}
    assert {"mail-policy", "mail-mx-mx1.example.com", "mail-mx-mx2.example.com"} == retained


def test_every_record_is_looked_at_before_it_is_made(world: World) -> None:
    """The hook of the component's own name is the first before each create; other resources have none."""
    run = publish(world, MANAGED)
    first = {name: list(each.request.hooks.before_create)[:1] for name, each in run.registered.items()}
    assert {name: ["mail-no-second-record"] if run[name].type == RECORD else [] for name in first} == first


def test_a_cname_is_deleted_before_it_is_replaced(world: World) -> None:
    """One name holds one CNAME; TXT and MX are replaced the safe way round."""
    run = publish(world, MANAGED)
    assert {"mail-policy-host"} == {n for n, each in run.registered.items() if each.request.deleteBeforeReplace}


def test_a_published_policy_keeps_its_id(world: World) -> None:
    """While the newest version holds the wanted body and epoch, a second run changes nothing."""
    identifier = visible_id(publish(world, BASIC))
    world.versions["example.com"] = ("v1", {"sts-id": identifier})
    assert identifier == visible_id(publish(world, BASIC))


def test_an_id_never_comes_back(world: World) -> None:
    """The same body after another one, after a deletion or under a new epoch gets an id that was never used."""
    identifier = visible_id(publish(world, BASIC))
    seen = {identifier}
    for version_id, metadata in (("v2", {"sts-id": "another"}), ("v3", None), ("v4", {"sts-id": "another"})):
        world.versions["example.com"] = (version_id, metadata)
        seen.add(visible_id(publish(world, BASIC)))
    world.versions["example.com"] = ("v5", {"sts-id": identifier})
    run = publish(world, BASIC | {"epoch": "2"})
    assert "2" == run["mail-policy"].inputs["metadata"]["sts-epoch"]
    seen.add(visible_id(run))
    assert 5 == len(seen)
    assert {content_id(run["mail-policy"].inputs["content"])} == {each[:24] for each in seen}


def test_a_record_of_somebody_else_is_imported_as_it_is(world: World) -> None:
    """`adopt` changes nothing for senders: content, TTL and comment stay, and the object remembers what was taken."""
    world.has("TXT", "_mta-sts.example.com", '"v=STSv1; id=old"', ttl=3600.0, comment="by hand")
    run = publish(world, BASIC | {"adopt": True})
    record = run["mail-sts-record"]
    assert "zone-1/zone-1-record-1" == record.request.importId
    assert '"v=STSv1; id=old"' == record.inputs["content"]
    assert (3600, "by hand") == (record.inputs["ttl"], record.inputs["comment"])
    assert "zone-1-record-1" == run["mail-policy"].inputs["metadata"]["sts-adopted"]
    assert "mail-sts-record" in run["mail-policy"].dependencies


def test_the_update_after_adoption_publishes(world: World) -> None:
    """What the object says was taken over is ours now: our content, our comment, one id for both."""
    world.has("TXT", "_mta-sts.example.com", '"v=STSv1; id=old"')
    adopted = publish(world, BASIC | {"adopt": True})["mail-policy"].inputs
    world.versions["example.com"] = ("v1", adopted["metadata"])
    for adopt in (True, False):
        run = publish(world, BASIC | {"adopt": adopt})
        assert adopted["metadata"]["sts-id"] == visible_id(run)
        assert OWN == run["mail-sts-record"].inputs["comment"]
        assert "sts-adopted" not in run["mail-policy"].inputs["metadata"]


def test_a_host_that_is_adopted_keeps_its_id_and_gets_no_new_one(world: World) -> None:
    """While `mta-sts` points at somebody else's host, no id and no MX of ours may make senders fetch there."""
    cname = world.has("CNAME", "mta-sts.example.com", "policies.elsewhere.example")
    world.has("MX", "example.com", "mx1.example.com", priority=10.0)
    run = publish(world, MANAGED | {"adopt": True})
    assert "policies.elsewhere.example" == run["mail-policy-host"].inputs["content"]
    assert "mail-sts-record" not in run
    assert "mail-mx-mx2.example.com" not in run
    assert "mail-mx-mx1.example.com" in run

    world.has("TXT", "_mta-sts.example.com", '"v=STSv1; id=ours"', comment=OWN)
    kept = publish(world, MANAGED | {"adopt": True})
    assert '"v=STSv1; id=ours"' == kept["mail-sts-record"].inputs["content"]

    world.versions["example.com"] = ("v1", kept["mail-policy"].inputs["metadata"])
    cname["comment"] = OWN
    after = publish(world, MANAGED)
    assert {"mail-sts-record", "mail-mx-mx2.example.com"} <= after.registered.keys()


def test_a_record_of_ours_that_the_state_lost_is_imported_on_request(world: World) -> None:
    """After a killed update `adopt` takes our own record into the state, with the inputs wanted anyway."""
    world.has("CNAME", "mta-sts.example.com", TARGET, comment=OWN)
    run = publish(world, BASIC | {"adopt": True})
    assert "zone-1/zone-1-record-1" == run["mail-policy-host"].request.importId
    assert OWN == run["mail-policy-host"].inputs["comment"]
    assert "" == publish(world, BASIC)["mail-policy-host"].request.importId


def test_reports_are_optional_and_a_domain_may_leave(world: World) -> None:
    """Without `reports` there is no record for them; `none` still publishes all of the rest (RFC 8461 §8.3)."""
    world.has("MX", "example.com", "elsewhere.example.net", priority=10.0)
    mx = ["elsewhere.example.net"]
    run = publish(world, {"domain": "example.com", "mode": "none", "mx": mx, "host": SHARED})
    assert {"mail", "mail-policy", "mail-policy-host", "mail-sts-record"} == run.registered.keys()
    assert [] == run.warnings


def test_outputs_say_what_is_published(world: World) -> None:
    """Id, address, body and record names, the last one only where reports are asked for."""
    seen: dict[str, Any] = {}

    def program() -> None:
        made = MtaSts("mail", BASIC)
        for name in ("policy_id", "policy_url", "policy_body", "sts_record_name", "tlsrpt_record_name"):
            getattr(made, name).apply(lambda value, name=name: seen.update({name: value}))
        MtaSts("quiet", {"domain": "quiet.example.com", "mode": "none", "host": SHARED}).tlsrpt_record_name.apply(
            lambda value: seen.update(quiet=value)
        )

    run = deploy(world, program)
    assert {
        "policy_id": visible_id(run),
        "policy_url": "https://mta-sts.example.com/.well-known/mta-sts.txt",
        "policy_body": run["mail-policy"].inputs["content"],
        "sts_record_name": "_mta-sts.example.com",
        "tlsrpt_record_name": "_smtp._tls.example.com",
        "quiet": None,
    } == seen


def test_many_domains_are_read_once(world: World) -> None:
    """One look-up of the zones and one of each zone's records, however many components share them."""

    def program() -> None:
        for number in range(5):
            MtaSts(f"mail-{number}", BASIC | {"domain": f"d{number}.example.com"})

    deploy(world, program)
    functions = [function for function, _ in world.calls]
    assert {1} == {functions.count(function) for function in set(functions)}
