"""Changes of MX hosts and policies on the real engine, watched by senders of three temperaments: no mail is refused."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws
import pulumi_cloudflare as cloudflare_sdk
import pytest
from pulumi_mta_sts.policy_host import bucket_policy

from mta_sts.safety import Tally, replay
from sandbox.deployment import Deployment
from sandbox.senders import TEMPERAMENTS, sender_in
from tests.sandbox.test_main_job import OWN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mta_sts.sender import Sender
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine

DAY = 86_400
NAME = "example.com"


def mx(*hosts: str) -> list[dict[str, Any]]:
    """Return MX hosts as declared, in order of preference."""
    return [{"host": f"{host}.example.com", "preference": 10 * (place + 1)} for place, host in enumerate(hosts)]


def delivered(senders: list[Sender]) -> list[str]:
    """Let each sender deliver, and return the outcomes."""
    return sorted({sender.deliver(NAME).outcome for sender in senders})


def live_hosts(cloudflare: Cloudflare) -> list[str]:
    """Return the MX hosts in DNS, by their first label."""
    return sorted(one["content"].split(".")[0] for one in cloudflare.records(NAME, NAME) if one["type"] == "MX")


def test_replacing_every_mx_host_converges_and_no_sender_refuses(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """One declared change: the old host stays, with its date, until no policy that lists only it can be held."""
    one = OWN | {"mx": mx("mx1"), "max_age": 10 * DAY}
    other = OWN | {"mx": mx("mx3"), "max_age": 10 * DAY}
    assert deploy(one).up().ok
    senders = [sender_in(world, temperament) for temperament in TEMPERAMENTS.values()]
    assert ["delivered"] == delivered(senders)
    world.advance(DAY)
    assert ["delivered"] == delivered(senders)  # the renewing one starts its ten days again

    before = world.now()
    first = deploy(other).up()
    assert first.ok, first.errors
    assert ["mx1", "mx3"] == live_hosts(cloudflare)
    assert world.now() - before > 719  # 300 + 420: the new host waited until senders know the policy
    assert ["delivered"] == delivered(senders)
    policy = first.outputs[NAME]["policy"]
    assert "mx1" in policy
    assert "mx3" in policy

    world.advance(DAY)
    second = deploy(other).up()
    assert second.ok, second.errors
    assert ["mx1", "mx3"] == live_hosts(cloudflare)
    assert second.changes == []

    world.advance(11 * DAY)
    assert ["delivered"] == delivered(senders)
    third = deploy(other).up()
    assert third.ok, third.errors
    assert ["delete"] == [step.op for step in third.changes]
    assert ["mx3"] == live_hosts(cloudflare)
    assert ["delivered"] == delivered(senders)

    fourth = deploy(other).up()
    assert fourth.ok, fourth.errors
    assert "mx1" in fourth.outputs[NAME]["policy"]  # caches may still give it
    world.advance(300 + 420)
    fifth = deploy(other).up()
    assert fifth.ok, fifth.errors
    assert "mx1" not in fifth.outputs[NAME]["policy"]
    assert ["delivered"] == delivered(senders)
    assert deploy(other).preview().changes == []


def test_an_mx_host_is_known_to_senders_before_it_is_in_dns(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """Adding a host to an enforced policy: the update waits for the old record's TTL and a fetch, then adds it."""
    assert deploy(OWN | {"mx": mx("mx1")}).up().ok
    before = world.now()
    added = deploy(OWN | {"mx": mx("mx1", "mx2")}).up()
    assert added.ok, added.errors
    assert world.now() - before > 719  # 300 + 420, and dates are rounded
    seen = {event["kind"]: event["t"] for event in world.timeline() if event["domain"] == NAME}
    assert seen["mx"] - seen["txt"] > 719
    assert ["mx1", "mx2"] == live_hosts(cloudflare)

    hasty = OWN | {"mx": mx("mx1", "mx2", "mx3"), "wait_limit": 60}
    for wait in (0, 600):  # not due, and held back with its date; the update does what it can
        world.advance(wait)
        assert deploy(hasty).up().ok
        assert ["mx1", "mx2"] == live_hosts(cloudflare)
    world.advance(200)
    assert deploy(hasty).up().ok
    assert ["mx1", "mx2", "mx3"] == live_hosts(cloudflare)


def test_the_id_waits_until_the_edge_serves_the_new_policy(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """An edge that goes on with yesterday's file stops the update before the id; the next `up` completes it."""
    assert deploy(OWN).up().ok
    sender = sender_in(world, TEMPERAMENTS["diligent"])
    old = sender.deliver(NAME)
    world.fault("edge", f"mta-sts.{NAME}", "stale")
    changed = OWN | {"max_age": 5 * DAY}
    stopped = deploy(changed).up()
    assert not stopped.ok
    assert "still serves another policy" in stopped.errors
    assert old.policy_id in cloudflare.records(NAME, f"_mta-sts.{NAME}")[0]["content"]
    world.clear_faults()
    completed = deploy(changed).up()
    assert completed.ok, completed.errors
    after = sender.deliver(NAME)
    assert old.policy_id != after.policy_id
    assert "max_age: 432000" in after.body


def test_an_id_is_not_published_before_the_bucket_notes_it(
    deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """`--target` on the record alone where only `epoch` changes: the edge serves the right bytes all the time.

    An id that the bucket does not know would stop every later update: nobody could tell what senders hold.
    """
    assert deploy(OWN).up().ok
    before = cloudflare.records(NAME, f"_mta-sts.{NAME}")
    again = deploy(OWN | {"epoch": "2"})
    (record,) = (one["urn"] for one in again.resources() if one["urn"].endswith(f"{NAME}-sts-record"))
    (policy,) = (one["urn"] for one in again.resources() if one["urn"].endswith(f"{NAME}-policy"))
    alone = again.up(target=[record])
    assert not alone.ok
    assert "run it without `--target`" in alone.errors
    assert before == cloudflare.records(NAME, f"_mta-sts.{NAME}")
    both = again.up(target=[policy, record])
    assert both.ok, both.errors
    assert before != cloudflare.records(NAME, f"_mta-sts.{NAME}")
    assert [] == again.preview().changes


def test_a_domain_never_loses_its_mx_by_what_falls_out_of_the_program(
    deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """Turning `manage_mx` off, or taking the domain from the list, deletes no declared MX record."""
    other = {"domain": "gmail-new.example", "mx": ["smtp.google.com"]}
    assert deploy(OWN, other).up().ok
    unmanaged = OWN | {"manage_mx": False, "mx": ["mx1.example.com", "mx2.example.com"]}
    for expected in (2, 0):  # marked, then no longer in the state
        off = deploy(unmanaged, other).up()
        assert off.ok, off.errors
        assert ["mx1", "mx2"] == live_hosts(cloudflare)
        managed = [one for one in deploy(unmanaged, other).resources() if one.get("inputs", {}).get("type") == "MX"]
        assert expected == len(managed)
    trial = {"domain": "lists.example.com", "manage_mx": True, "mx": mx("mx1")}
    assert deploy(unmanaged, other, trial).up().ok
    removed = deploy(unmanaged, other).up()
    assert removed.ok, removed.errors
    assert 1 == len(cloudflare.records(NAME, "lists.example.com"))


def test_a_host_that_nobody_needs_leaves_in_four_updates(
    deploy: Callable[..., Deployment], cloudflare: Cloudflare, world: World
) -> None:
    """Marked, out of DNS, seen gone, out of the policy: never out of the policy while a cache may give it."""
    assert deploy(OWN).up().ok
    world.advance(DAY)
    less = OWN | {"mx": mx("mx1")}
    listed = []
    for wait in (0, 0, 0, 300 + 420):
        world.advance(wait)
        made = deploy(less).up()
        assert made.ok, made.errors
        listed.append((live_hosts(cloudflare), "mx2" in made.outputs[NAME]["policy"]))
    assert [(["mx1", "mx2"], True), (["mx1"], True), (["mx1"], True), (["mx1"], False)] == listed
    assert "no change" == deploy(less).preview().summary()


def replayed(world: World, since: float) -> Tally:
    """Return what senders of every temperament would have met along the world's own time-line."""
    return replay([event for event in world.timeline() if event["domain"] == NAME], since=since)


def test_every_temperament_survives_the_recorded_replacement_of_every_mx_host(
    world: World, deploy: Callable[..., Deployment]
) -> None:
    """All senders that differ, along what the world recorded: none refused, locked in or downgraded."""
    assert deploy(OWN | {"mx": mx("mx1"), "max_age": 10 * DAY}).up().ok
    world.advance(DAY)
    since = world.now()
    for wait in (0, 11 * DAY, 60, 900):
        world.advance(wait)
        assert deploy(OWN | {"mx": mx("mx3"), "max_age": 10 * DAY}).up().ok
    tally = replayed(world, since)
    assert tally.deliveries > 500_000
    assert (0, 0, 0) == (tally.refused, tally.locked_in, tally.downgraded)


def usual_style(host: str) -> None:
    """Publish as hand-written programs do: CloudFront's default caching, an id from the inputs, no order."""
    content = f"version: STSv1\nmode: enforce\nmx: {host}\nmax_age: 864000\n"
    zone_id = cloudflare_sdk.get_zones(name=NAME).results[0].id
    bucket = aws.s3.Bucket("bucket", bucket="usual-style")
    policy = aws.s3.BucketObjectv2(
        "policy", bucket=bucket.id, key=".well-known/mta-sts.txt", content=content, content_type="text/plain"
    )
    certificate = aws.acm.Certificate(
        "certificate", domain_name=f"mta-sts.{NAME}", validation_method="DNS", region="us-east-1"
    )
    proof = certificate.domain_validation_options[0]
    validation_record = cloudflare_sdk.DnsRecord(
        "validation",
        zone_id=zone_id,
        name=proof.resource_record_name.apply(lambda name: name.rstrip(".")),
        content=proof.resource_record_value.apply(lambda value: value.rstrip(".")),
        type="CNAME",
        ttl=300,
    )
    validation = aws.acm.CertificateValidation(
        "issued",
        certificate_arn=certificate.arn,
        validation_record_fqdns=[validation_record.name],
        region="us-east-1",
    )
    access = aws.cloudfront.OriginAccessControl(
        "access",
        name="usual-style",
        origin_access_control_origin_type="s3",
        signing_behavior="always",
        signing_protocol="sigv4",
    )
    distribution = aws.cloudfront.Distribution(
        "distribution",
        enabled=True,
        aliases=[f"mta-sts.{NAME}"],
        origins=[
            {
                "origin_id": "s3",
                "domain_name": bucket.bucket_regional_domain_name,
                "origin_access_control_id": access.id,
            }
        ],
        default_cache_behavior={
            "target_origin_id": "s3",
            "allowed_methods": ["GET", "HEAD"],
            "cached_methods": ["GET", "HEAD"],
            "viewer_protocol_policy": "redirect-to-https",
            "forwarded_values": {"query_string": False, "cookies": {"forward": "none"}},
        },
        viewer_certificate={"acm_certificate_arn": validation.certificate_arn, "ssl_support_method": "sni-only"},
        restrictions={"geo_restriction": {"restriction_type": "none"}},
    )
    aws.s3.BucketPolicy(
        "readable",
        bucket=bucket.id,
        policy=pulumi.Output.all(bucket.arn, distribution.arn).apply(lambda arns: bucket_policy(*arns)),
    )
    records = {
        "host": (f"mta-sts.{NAME}", "CNAME", distribution.domain_name),
        "record": (f"_mta-sts.{NAME}", "TXT", f'"v=STSv1; id={hashlib.md5(host.encode()).hexdigest()};"'),  # noqa: S324
    }
    for name, (owner, kind, value) in records.items():
        cloudflare_sdk.DnsRecord(name, zone_id=zone_id, name=owner, type=kind, content=value, ttl=300)
    cloudflare_sdk.DnsRecord(f"mx-{host}", zone_id=zone_id, name=NAME, type="MX", content=host, priority=10, ttl=300)
    pulumi.export("policy", policy.version_id)


def test_the_same_change_in_the_usual_style_loses_mail(
    world: World, tmp_path: Path, sparing: Callable[[], dict[str, str]]
) -> None:
    """The control: what the campaign watches for does happen to a program without barriers."""
    config = tmp_path / "Pulumi.sandbox.yaml"
    config.write_text("config:\n  aws:region: eu-west-1\n", encoding="utf-8")
    since = 0.0
    for host in ("mx1.example.com", "mx3.example.com"):
        program = partial(usual_style, host)
        made = Deployment(world, program, config=config, environment=sparing()).up()
        assert made.ok, made.errors
        since = since or world.now() + DAY
        world.advance(DAY)
    tally = replayed(world, since)
    assert tally.refused > 0
    assert tally.locked_in > 0


def test_a_new_host_that_senders_would_pass_by_is_not_put_into_dns(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """Seen over real DNS and SMTP before anything is touched; mended, it comes."""
    assert deploy(OWN | {"mx": mx("mx1")}).up().ok
    before = len(world.timeline())
    not_ready, unseen = "is not ready for senders in enforce (127.0.0.1: ", "its addresses can't be looked up"
    for part, fault, why in (
        ("mail", "wrong-name", not_ready),
        ("mail", "no-starttls", not_ready),
        ("dns", "servfail", unseen),
    ):
        world.fault(part, "mx3.example.com", fault)
        refused = deploy(OWN | {"mx": mx("mx1", "mx3")}).up()
        world.clear_faults()
        assert "mx3.example.com " in refused.errors
        assert why in refused.errors
        assert [] == refused.changes
        assert ["mx1"] == live_hosts(cloudflare)
        assert before == len(world.timeline())

    mended = deploy(OWN | {"mx": mx("mx1", "mx3")}).up()
    assert mended.ok, mended.errors
    assert ["mx1", "mx3"] == live_hosts(cloudflare)
