"""The AWS emulator refuses what AWS refuses, issues as ACM does, and fails on request."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.sandbox.clouds import Clouds, distribution_config, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.world.client import World

ZONE = "example.com"


@pytest.fixture
def clouds(world: World) -> Clouds:
    """Return the clouds of a world of one's own."""
    return Clouds(world)


@contextlib.contextmanager
def refused(code: str) -> Iterator[None]:
    """Expect AWS's error code."""
    with pytest.raises(ClientError) as error:
        yield
    assert code == error.value.response["Error"]["Code"]


def test_a_certificate_waits_for_every_name_to_be_proved(clouds: Clouds) -> None:
    """It is pending, without a date of issue, until each validation CNAME stands; a second one is issued at once."""
    names = (f"mta-sts.{ZONE}", f"mta-sts.lists.{ZONE}")
    arn = clouds.request(*names)
    described = clouds.described(arn)
    assert "PENDING_VALIDATION" == described["Status"]
    assert "IssuedAt" not in described
    records = {option["DomainName"]: option["ResourceRecord"] for option in described["DomainValidationOptions"]}
    assert set(names) == records.keys()
    first = records[names[0]]
    assert first["Name"].endswith(f".{names[0]}.")
    assert first["Value"].endswith(".acm-validations.aws.")
    assert first != records[names[1]]

    clouds.cloudflare.add(ZONE, "CNAME", first["Name"], first["Value"])
    assert "PENDING_VALIDATION" == clouds.described(arn)["Status"]
    clouds.prove(ZONE, arn)
    assert "ISSUED" == clouds.described(arn)["Status"]

    again = clouds.described(clouds.request(names[0]))
    assert "ISSUED" == again["Status"]
    assert first == again["DomainValidationOptions"][0]["ResourceRecord"]


def test_a_proxied_validation_record_proves_nothing(clouds: Clouds) -> None:
    """Where Cloudflare proxies the CNAME, nobody sees it; unproxied it proves."""
    arn = clouds.request(f"mta-sts.{ZONE}")
    clouds.prove(ZONE, arn, proxied=True)
    assert "PENDING_VALIDATION" == clouds.described(arn)["Status"]
    zone = clouds.cloudflare.zone(ZONE)
    (record,) = clouds.cloudflare.call("GET", f"/zones/{zone}/dns_records?type=CNAME")
    clouds.cloudflare.call("PATCH", f"/zones/{zone}/dns_records/{record['id']}", {"proxied": False})
    assert "ISSUED" == clouds.described(arn)["Status"]


@pytest.mark.parametrize(
    ("name", "issuer", "status"),
    [
        (ZONE, "letsencrypt.org", "FAILED"),
        (ZONE, ";", "FAILED"),
        (ZONE, "amazon.com", "ISSUED"),
        (ZONE, "amazonaws.com; account=1", "ISSUED"),
        (f"mta-sts.{ZONE}", "letsencrypt.org", "FAILED"),
        (f"lists.{ZONE}", "letsencrypt.org", "ISSUED"),
    ],
)
def test_caa_decides_whether_a_certificate_is_issued(clouds: Clouds, name: str, issuer: str, status: str) -> None:
    """The closest CAA records at or above the name must allow Amazon (RFC 8659)."""
    clouds.cloudflare.add(ZONE, "CAA", name, f'0 issue "{issuer}"')
    arn = clouds.certificate(ZONE, f"mta-sts.{ZONE}")
    described = clouds.described(arn)
    assert status == described["Status"]
    assert ("CAA_ERROR" if status == "FAILED" else None) == described.get("FailureReason")


def test_the_closest_caa_records_count_alone(clouds: Clouds) -> None:
    """A name's own CAA records hide those above it."""
    clouds.cloudflare.add(ZONE, "CAA", ZONE, '0 issue "letsencrypt.org"')
    clouds.cloudflare.add(ZONE, "CAA", f"mta-sts.{ZONE}", '0 issue "amazon.com"')
    assert "ISSUED" == clouds.described(clouds.certificate(ZONE, f"mta-sts.{ZONE}"))["Status"]


def test_a_distribution_needs_an_issued_certificate_that_covers_its_names(clouds: Clouds) -> None:
    """It must be issued, be in us-east-1, and cover every alias."""
    bucket = clouds.bucket("policies")
    host = f"mta-sts.{ZONE}"
    pending = clouds.request(host)
    elsewhere = clouds.request(host, region="eu-west-1")
    with refused("InvalidViewerCertificate"):
        clouds.distribution("pending", pending, [host], bucket)
    clouds.prove(ZONE, pending)
    assert "ISSUED" == clouds.described(elsewhere)["Status"]
    with refused("InvalidViewerCertificate"):
        clouds.distribution("elsewhere", elsewhere, [host], bucket)
    with refused("InvalidViewerCertificate"):
        clouds.distribution("other", pending, [host, f"mta-sts.lists.{ZONE}"], bucket)
    assert clouds.distribution("right", pending, [host], bucket)["DomainName"].endswith(".cloudfront.net")


def test_an_alias_lives_on_one_distribution(clouds: Clouds) -> None:
    """A second one with the name is refused, made or updated; the first may be updated as it is."""
    bucket = clouds.bucket("policies")
    host, other = f"mta-sts.{ZONE}", f"mta-sts.lists.{ZONE}"
    certificate = clouds.certificate(ZONE, host, other)
    first = clouds.distribution("first", certificate, [host], bucket)
    with refused("CNAMEAlreadyExists"):
        clouds.distribution("second", certificate, [host], bucket)
    second = clouds.distribution("second", certificate, [other], bucket)

    def update(identifier: str, reference: str, *aliases: str) -> None:
        etag = clouds.cloudfront.get_distribution_config(Id=identifier)["ETag"]
        config = distribution_config(reference, certificate, list(aliases), bucket)
        clouds.cloudfront.update_distribution(Id=identifier, IfMatch=etag, DistributionConfig=config)

    with refused("CNAMEAlreadyExists"):
        update(second["Id"], "second", host, other)
    update(first["Id"], "first", host)


def test_what_a_distribution_uses_is_not_deleted(clouds: Clouds) -> None:
    """Certificate, function and origin access control stay as long as it uses them; InUseBy says so."""
    made = clouds.host(ZONE, ZONE, policy("mx1.example.com"))
    behaviour = made["DistributionConfig"]["DefaultCacheBehavior"]
    arn = made["DistributionConfig"]["ViewerCertificate"]["ACMCertificateArn"]
    assert [made["ARN"]] == clouds.described(arn)["InUseBy"]
    with refused("ResourceInUseException"):
        clouds.acm.delete_certificate(CertificateArn=arn)
    name = behaviour["FunctionAssociations"]["Items"][0]["FunctionARN"].rpartition("/")[2]
    with refused("FunctionInUse"):
        etag = clouds.cloudfront.describe_function(Name=name, Stage="LIVE")["ETag"]
        clouds.cloudfront.delete_function(Name=name, IfMatch=etag)
    access = made["DistributionConfig"]["Origins"]["Items"][0]["OriginAccessControlId"]
    with refused("OriginAccessControlInUse"):
        etag = clouds.cloudfront.get_origin_access_control(Id=access)["ETag"]
        clouds.cloudfront.delete_origin_access_control(Id=access, IfMatch=etag)
    with refused("BucketNotEmpty"):
        clouds.s3.delete_bucket(Bucket="policies-example")


def test_an_unpublished_function_is_refused(clouds: Clouds) -> None:
    """A distribution takes only functions whose code is live."""
    bucket = clouds.bucket("policies")
    certificate = clouds.certificate(ZONE, f"mta-sts.{ZONE}")
    made = clouds.cloudfront.create_function(
        Name="draft",
        FunctionConfig={"Comment": "", "Runtime": "cloudfront-js-2.0"},
        FunctionCode=b"function handler(){}",
    )
    arn = made["FunctionSummary"]["FunctionMetadata"]["FunctionARN"]
    with refused("InvalidFunctionAssociation"):
        clouds.distribution("draft", certificate, [f"mta-sts.{ZONE}"], bucket, function=arn)


def test_dates_are_those_of_the_clock(world: World, clouds: Clouds) -> None:
    """Each version of an object carries the time at which the clock stood."""
    bucket = clouds.bucket("policies")
    times = []
    for body in ("one", "two"):
        clouds.put(bucket, ZONE, body)
        times.append(world.now())
        world.advance(86_400)
    versions = clouds.s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [int(at) for at in times] == [int(version["LastModified"].timestamp()) for version in reversed(versions)]


@pytest.mark.parametrize(
    ("kind", "code"), [("denied", "AccessDenied"), ("throttle", "SlowDown"), ("error", "InternalError")]
)
def test_the_chosen_call_fails_and_no_other(world: World, clouds: Clouds, kind: str, code: str) -> None:
    """A fault strikes the k-th call of an operation, as often as asked."""
    bucket = clouds.bucket("policies")
    world.fault("api", "s3 PUT .*mta-sts.txt", kind, skip=1, times=1)
    clouds.put(bucket, "a.example", "one")
    with refused(code):
        clouds.put(bucket, "b.example", "two")
    clouds.put(bucket, "c.example", "three")
    held = [version["Key"] for version in clouds.s3.list_object_versions(Bucket=bucket)["Versions"]]
    assert [True, False, True] == [f"{name}.example/.well-known/mta-sts.txt" in held for name in "abc"]


@pytest.mark.parametrize(("kind", "done"), [("drop", False), ("drop-after", True)])
def test_a_connection_breaks_before_or_after_the_work(world: World, clouds: Clouds, kind: str, done: bool) -> None:
    """The caller sees a broken connection; whether the work was done it must find out."""
    bucket = clouds.bucket("policies")
    world.fault("api", "s3 PUT", kind, times=1)
    with pytest.raises(BotoCoreError):
        clouds.put(bucket, ZONE, "one")
    held: dict[str, Any] = clouds.s3.list_object_versions(Bucket=bucket)
    assert done == bool(held.get("Versions"))


def test_acm_and_cloudfront_answer_faults_in_their_own_form(world: World, clouds: Clouds) -> None:
    """boto3 reads the code of a fault from each protocol."""
    world.fault("api", "acm|cloudfront", "denied")
    with refused("AccessDenied"):
        clouds.request(f"mta-sts.{ZONE}")
    with refused("AccessDenied"):
        clouds.access_control("any")
