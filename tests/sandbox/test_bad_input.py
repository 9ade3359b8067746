"""What the live world or the declaration forbids is refused before anything is made, on the real engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.clouds import Clouds
from tests.sandbox.test_main_job import GOOGLE, OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.deployment import Deployment
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine

ZONE = "gmail-new.example"


def refused(deployment: Deployment) -> str:
    """Return why an update was refused, having made sure that nothing was made."""
    stopped = deployment.up()
    assert not stopped.ok
    assert not [step for step in stopped.changes if step.type.startswith(("aws:", "cloudflare:"))]
    assert "Traceback" not in stopped.errors
    return stopped.errors


@pytest.mark.parametrize(
    ("record", "named"),
    [
        (("TXT", f"_mta-sts.{ZONE}", '"v=spf1 -all"'), "v=spf1"),
        (("CNAME", f"_mta-sts.{ZONE}", "_mta-sts.hosted.invalid"), "CNAME"),
        (("A", f"mta-sts.{ZONE}", "192.0.2.1"), "192.0.2.1"),
        (("CAA", ZONE, '0 issue "letsencrypt.org"'), "amazon.com"),
        (("MX", ZONE, "intruder.example.net"), "intruder.example.net"),
    ],
)
def test_what_stands_in_the_way_is_named(
    deploy: Callable[..., Deployment], cloudflare: Cloudflare, record: tuple[str, str, str], named: str
) -> None:
    """A record that would spoil the policy or stop the certificate is named, and nothing is made."""
    kind, name, content = record
    cloudflare.add(ZONE, kind, name, content, **({"priority": 30} if kind == "MX" else {}))
    declared = GOOGLE | {"mode": "enforce", "acknowledge": "a test"} if kind == "MX" else GOOGLE
    assert named in refused(deploy(declared))


def test_what_stops_a_new_certificate_does_not_stop_a_host_that_has_one(
    deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """Its certificate was issued, says the state: a policy can change, with a warning that it can't be renewed."""
    assert deploy(GOOGLE).up().ok
    cloudflare.add(ZONE, "CAA", ZONE, '0 issue "letsencrypt.org"')
    changed = deploy(GOOGLE | {"max_age": 604_800}).up()
    assert changed.ok, changed.errors
    assert any("amazon.com" in warning for warning in changed.warnings)


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ([{"domain": "nowhere.invalid", "mx": ["mx.nowhere.invalid"]}], "no zone"),
        ([GOOGLE | {"zone": "m365.example"}], "does not hold"),
        ([GOOGLE, GOOGLE | {"domain": "GMAIL-new.example."}], "twice"),
        ([GOOGLE | {"maxage": 1, "mx": ["*.*.x.example"], "mode": "enforced"}], "max_age?"),
        ([{"domain": f"d{number}.{ZONE}", "mx": ["smtp.google.com"]} for number in range(11)], "certificate_names"),
    ],
)
def test_what_is_declared_wrongly_is_named(
    deploy: Callable[..., Deployment], declared: list[dict[str, Any]], named: str
) -> None:
    """Errors of the declaration come with the way out, and nothing is made."""
    assert named in refused(deploy(*declared))


def test_the_wrong_account_is_refused(deploy: Callable[..., Deployment]) -> None:
    """With credentials of an account that the stack does not allow, nothing is read or made."""
    assert "111111111111" in refused(deploy(GOOGLE, accounts="999999999999"))


@pytest.mark.parametrize(
    ("call", "named"), [("cloudflare GET .*dns_records", "DNS"), ("s3 GET", "s3:ListBucketVersions")]
)
def test_no_permission_to_read_is_no_empty_world(
    world: World, deploy: Callable[..., Deployment], call: str, named: str
) -> None:
    """Where live records or served policies can't be read the change is refused, with what to grant."""
    world.fault("api", call, "denied")
    assert named in refused(deploy(GOOGLE))


def test_what_can_not_be_proved_is_refused(
    world: World, deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that went back and versions out of order are said together, with the way out; and so is a lost bucket."""
    made = deploy(OWN).up()
    assert made.ok, made.errors
    seen, now, s3 = world.timeline(), world.now(), Clouds(world).s3
    bucket, key = made.outputs["policy_bucket"], "example.com/.well-known/mta-sts.txt"
    stands = s3.get_object(Bucket=bucket, Key=key)
    noted = stands["Metadata"] | {"sts-live": f"{'a' * 32} {now + 864_000:.0f} 300"}
    s3.put_object(Bucket=bucket, Key=key, Body=stands["Body"].read(), Metadata=noted, ContentType=stands["ContentType"])
    change = OWN | {"max_age": 604_800}
    with monkeypatch.context() as patched:
        patched.setattr(world, "now", lambda: now - 3600)
        said = refused(deploy(change))
    assert "set the clock, then run again" in said
    assert "delete the wrong versions" in said
    assert "override:" in said

    listed = s3.list_object_versions(Bucket=bucket)
    for one in listed["Versions"]:
        s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    s3.delete_bucket(Bucket=bucket)
    assert "Give the bucket that served it" in refused(deploy(change))
    records = [event for event in world.timeline()[len(seen) :] if event["kind"] != "policy"]
    assert [] == records
