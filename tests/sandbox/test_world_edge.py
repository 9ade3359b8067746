"""The HTTPS edge serves what the deployed configuration says, by real certificates and real function code."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mta_sts.fetch import FetchError, fetch_policy, tls_context
from sandbox.world.client import World
from tests.sandbox.clouds import KEY, OPTIMIZED, Clouds, policy

if TYPE_CHECKING:
    from collections.abc import Iterator

ZONE = "example.com"
BODY = policy("mx1.example.com")
IPV6 = "::1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run one world for all tests here; each uses names of its own."""
    with World(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(scope="module")
def shared(world: World) -> Clouds:
    """Return clouds in which example.com has a host."""
    clouds = Clouds(world)
    clouds.host(ZONE, ZONE, BODY)
    return clouds


@pytest.fixture
def clouds(world: World, shared: Clouds) -> Iterator[Clouds]:
    """Return the clouds, and end faults afterwards."""
    yield shared
    world.clear_faults()


def get(
    world: World, host: str, path: str = f"/{KEY}", *, method: str = "GET", address: str = "127.0.0.1", **headers: str
) -> http.client.HTTPResponse:
    """Ask the edge as a browser would, trusting the sandbox's authority."""
    context = ssl.create_default_context(cafile=world.endpoints.ca_file)
    connection = http.client.HTTPSConnection(host, timeout=5, context=context)
    connection.sock = context.wrap_socket(
        socket.create_connection((address, world.endpoints.edge[address]), 5), server_hostname=host
    )
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    answer.text = answer.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return answer


def fetched(world: World, domain: str, address: str = "127.0.0.1", limit: float = 5) -> str:
    """Fetch a policy as a sender does."""
    context = tls_context(Path(world.endpoints.ca_file))
    return fetch_policy(domain, address, world.endpoints.edge[address], context=context, limit=limit).body.decode()


def test_the_function_leads_to_the_object(world: World, clouds: Clouds) -> None:
    """The deployed JavaScript runs, promises included, and the object comes with CloudFront's and S3's headers."""
    assert clouds
    answer = get(world, f"mta-sts.{ZONE}")
    assert (200, BODY) == (answer.status, answer.text)
    assert "text/plain; charset=utf-8" == answer.headers["Content-Type"]
    assert "Miss from cloudfront" == answer.headers["X-Cache"]
    assert {"etag", "last-modified", "date", "via", "x-amz-version-id"} <= {name.lower() for name in answer.headers}
    answer = get(world, f"mta-sts.{ZONE}", "/robots.txt?a=b")
    assert (404, "no", "function") == (answer.status, answer.text, answer.headers["x-by"])
    assert 403 == get(world, f"mta-sts.{ZONE}", method="POST").status
    head = get(world, f"mta-sts.{ZONE}", method="HEAD")
    assert (200, "", str(len(BODY))) == (head.status, head.text, head.headers["Content-Length"])


@pytest.mark.parametrize(
    "code",
    [
        "function handler(event) { throw new Error('x'); }",
        "function other() {}",
        "const x = ;",
        "function handler() {}",
    ],
)
def test_a_function_that_fails_is_503(world: World, clouds: Clouds, code: str) -> None:
    """Nothing is served where the function throws, is missing, is no JavaScript, or returns nothing."""
    name = f"fail{sum(code.encode())}"
    domain = f"{name}.example.com"
    bucket = clouds.bucket(name)
    clouds.put(bucket, domain, BODY)
    arn = clouds.certificate(ZONE, f"mta-sts.{domain}")
    function = clouds.function(name, code)
    clouds.distribution(name, arn, [f"mta-sts.{domain}"], bucket, function=function)
    assert 503 == get(world, f"mta-sts.{domain}").status


def test_only_names_of_a_distribution_have_a_certificate(world: World, clouds: Clouds) -> None:
    """A name that ACM issued but no distribution has is refused in the handshake."""
    clouds.certificate(ZONE, f"mta-sts.lists.{ZONE}")
    for host in (f"mta-sts.lists.{ZONE}", "elsewhere.example"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(world, host)


def test_the_bucket_is_read_only_as_its_policy_allows(world: World, clouds: Clouds) -> None:
    """Without access control, without policy, or for another distribution it is 403; missing objects by ListBucket."""
    domain, host = "closed.example.com", "mta-sts.closed.example.com"
    bucket = clouds.bucket("closed")
    clouds.put(bucket, domain, BODY)
    access = clouds.access_control("closed")
    function = clouds.function("closed")
    certificate = clouds.certificate(ZONE, host)
    made = clouds.distribution("closed", certificate, [host], bucket, function=function, access=access)
    assert 403 == get(world, host).status
    clouds.allow(bucket, "arn:aws:cloudfront::111111111111:distribution/OTHER")
    assert 403 == get(world, host).status
    clouds.allow(bucket, made["ARN"])
    assert 200 == get(world, host).status
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
    plain = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    clouds.allow(bucket, made["ARN"], deny | plain)
    assert 200 == get(world, host).status
    clouds.allow(bucket, made["ARN"], deny)
    assert 403 == get(world, host).status

    clouds.allow(bucket, made["ARN"])
    clouds.s3.delete_object(Bucket=bucket, Key=f"{domain}/{KEY}")
    assert 403 == get(world, host).status
    listing = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": "s3:ListBucket",
        "Resource": f"arn:aws:s3:::{bucket}",
        "Condition": {"StringEquals": {"AWS:SourceArn": made["ARN"]}},
    }
    clouds.allow(bucket, made["ARN"], listing)
    assert 404 == get(world, host).status


def test_without_origin_access_control_nothing_is_signed(world: World, clouds: Clouds) -> None:
    """A private bucket answers 403 to a distribution that does not sign."""
    host = "mta-sts.unsigned.example.com"
    bucket = clouds.bucket("unsigned")
    clouds.put(bucket, "unsigned.example.com", BODY)
    certificate = clouds.certificate(ZONE, host)
    made = clouds.distribution("unsigned", certificate, [host], bucket, function=clouds.function("unsigned"))
    clouds.allow(bucket, made["ARN"])
    assert 403 == get(world, host).status


def legacy(**ttl: int) -> dict[str, object]:
    """Return the older kind of cache settings, with its limits in seconds."""
    return {"ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}}, "MinTTL": 0, **ttl}


@pytest.mark.parametrize(
    ("behaviour", "cache_control", "kept"),
    [
        pytest.param(None, "max-age=600", 0, id="disabled"),
        pytest.param({"CachePolicyId": OPTIMIZED}, "", 86_400, id="optimized"),
        pytest.param({"CachePolicyId": OPTIMIZED}, "max-age=600", 600, id="asked"),
        pytest.param({"CachePolicyId": OPTIMIZED}, "no-store", 1, id="refused"),
        pytest.param(legacy(), "", 86_400, id="old"),
        pytest.param(legacy(DefaultTTL=300, MaxTTL=500), "", 300, id="old-short"),
        pytest.param(legacy(DefaultTTL=300, MaxTTL=500), "max-age=600", 500, id="old-most"),
        pytest.param(legacy(MinTTL=60, DefaultTTL=300, MaxTTL=500), "max-age=5", 60, id="old-least"),
    ],
)
def test_the_edge_keeps_what_the_cache_policy_says(
    world: World,
    clouds: Clouds,
    request: pytest.FixtureRequest,
    *,
    behaviour: dict[str, object] | None,
    cache_control: str,
    kept: int,
) -> None:
    """A new body is served when, by the sandbox's clock, the old one's time is over, and at once where none is kept."""
    name = request.node.callspec.id
    domain, bucket = f"{name}.example.com", f"policies-{name}"
    clouds.host(ZONE, domain, BODY, behaviour=behaviour)
    more = {"CacheControl": cache_control} if cache_control else {}
    clouds.put(bucket, domain, BODY, **more)
    assert BODY == fetched(world, domain)
    changed = policy("mx2.example.com")
    clouds.put(bucket, domain, changed, **more)
    last = [event for event in world.timeline() if (event["domain"], event["kind"]) == (domain, "policy")][-1]
    assert (changed, kept) == (last["value"], last["ttl"])
    if kept:
        world.advance(kept - 1)
        assert BODY == fetched(world, domain)
        assert "Hit from cloudfront" == get(world, f"mta-sts.{domain}").headers["X-Cache"]
        world.advance(1)
    assert changed == fetched(world, domain)


def test_an_invalidation_empties_the_cache(world: World, clouds: Clouds) -> None:
    """What was cached is gone at once."""
    made = clouds.host(ZONE, "invalidated.example.com", BODY, behaviour={"CachePolicyId": OPTIMIZED})
    assert BODY == fetched(world, "invalidated.example.com")
    clouds.put("policies-invalidated", "invalidated.example.com", policy("mx2.example.com"))
    assert BODY == fetched(world, "invalidated.example.com")
    batch = {"Paths": {"Quantity": 1, "Items": ["/*"]}, "CallerReference": "1"}
    clouds.cloudfront.create_invalidation(DistributionId=made["Id"], InvalidationBatch=batch)
    assert policy("mx2.example.com") == fetched(world, "invalidated.example.com")


def test_a_disabled_distribution_serves_nothing(world: World, clouds: Clouds) -> None:
    """It is there, and answers 403."""
    made = clouds.host(ZONE, "off.example.com", BODY)
    held = clouds.cloudfront.get_distribution_config(Id=made["Id"])
    config = held["DistributionConfig"] | {"Enabled": False}
    clouds.cloudfront.update_distribution(Id=made["Id"], IfMatch=held["ETag"], DistributionConfig=config)
    assert 403 == get(world, "mta-sts.off.example.com").status


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("expired", "certificate-expired"),
        ("not-yet-valid", "certificate-not-yet-valid"),
        ("wrong-name", "certificate-name"),
        ("self-signed", "certificate-untrusted"),
        ("missing-intermediate", "certificate-untrusted"),
        ("redirect", "redirect"),
        ("not-found", "status"),
        ("forbidden", "status"),
        ("wrong-type", "media-type"),
        ("reset", "http"),
        ("byte-order-mark", "policy"),
        ("too-large", "too-large"),
        ("endless", "timeout"),
        ("slow", "timeout"),
    ],
)
def test_each_fault_is_what_its_name_says(world: World, clouds: Clouds, fault: str, cause: str) -> None:
    """A fetch names the fault, and is well again when the fault ends."""
    assert clouds
    world.fault("edge", f"mta-sts.{ZONE}", fault)
    with pytest.raises(FetchError) as error:
        fetched(world, ZONE, limit=0.5)
    assert cause == error.value.cause
    world.fault("edge", f"mta-sts.{ZONE}", "none")
    assert BODY == fetched(world, ZONE)


def test_faults_that_only_some_clients_meet(world: World, clouds: Clouds) -> None:
    """A bot wall stops who does not name itself, broken IPv6 who comes that way; a blank line is in the body."""
    assert clouds
    world.fault("edge", f"mta-sts.{ZONE}", "bot-wall")
    assert 403 == get(world, f"mta-sts.{ZONE}").status
    assert BODY == fetched(world, ZONE)
    world.fault("edge", f"mta-sts.{ZONE}", "blank-line")
    assert "\n\n" in get(world, f"mta-sts.{ZONE}").text
    world.fault("edge", f"mta-sts.{ZONE}", "ipv6-broken")
    assert BODY == fetched(world, ZONE)
    if IPV6 in world.endpoints.edge:
        with pytest.raises(FetchError):
            fetched(world, ZONE, IPV6)


def test_a_stale_edge_goes_on_with_the_body_before(world: World, clouds: Clouds) -> None:
    """It serves what was served before the latest change."""
    clouds.host(ZONE, "stale.example.com", BODY)
    clouds.put("policies-stale", "stale.example.com", policy("mx2.example.com"))
    world.fault("edge", "mta-sts.stale.example.com", "stale")
    assert BODY == fetched(world, "stale.example.com")
    world.clear_faults()
    assert policy("mx2.example.com") == fetched(world, "stale.example.com")
