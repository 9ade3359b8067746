"""What PolicyHost asks the engine for, and what it refuses before."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pulumi
import pytest
from pulumi_mta_sts import MtaSts, PolicyHost
from pulumi_mta_sts.dns import MARK
from pulumi_mta_sts.policy_host import CACHING_DISABLED
from py_mini_racer import MiniRacer

from tests.components.mocked import ACCOUNT, OWN, RECORD, STATE, TARGET, Run, World, deploy, refusal, token

DOMAINS: dict[str, Any] = {"domains": [{"domain": "example.com"}, {"domain": "lists.example.com"}]}


def host(world: World, args: dict[str, Any], *, preview: bool = False, name: str = "host") -> Run:
    """Deploy one policy host."""
    return deploy(world, lambda: PolicyHost(name, args), preview=preview)


@pytest.mark.parametrize("preview", [False, True])
def test_one_host_serves_many_domains_with_one_more_resource_each(world: World, preview: bool) -> None:
    """One bucket, certificate and distribution; a further domain adds only its validation record."""
    two = host(world, DOMAINS, preview=preview).children()
    three = host(world, {"domains": [*DOMAINS["domains"], {"domain": "x.example.com"}]}, preview=preview).children()
    assert {"host-validation-x.example.com": RECORD} == {name: three[name] for name in three.keys() - two.keys()}
    assert two.keys() < three.keys()


def test_a_further_domain_is_at_most_seven_resources(world: World) -> None:
    """Component, object, CNAME, two TXT and the validation record, counted over the whole program."""

    def program(count: int) -> None:
        domains = [f"d{number}.example.com" for number in range(count)]
        shared = PolicyHost("host", {"domains": [{"domain": domain} for domain in domains]})
        for domain in domains:
            target = {"bucket": shared.bucket_name, "target": shared.target}
            reports = ["mailto:tls-reports@example.com"]
            MtaSts(domain, {"domain": domain, "mx": ["mx.example.com"], "reports": reports, "host": target})

    counts = [len(deploy(world, lambda count=count: program(count)).registered) for count in (1, 2, 5)]
    assert 6 == counts[1] - counts[0]
    assert 18 == counts[2] - counts[1]


def test_the_bucket_is_private_versioned_and_named_in_the_plan(world: World) -> None:
    """Nobody but the distribution reads, nobody speaks without TLS, and no version is lost."""
    run = host(world, DOMAINS)
    bucket = f"host-test-{ACCOUNT}"
    assert {"bucket": bucket, "forceDestroy": True} == run["host-bucket"].inputs
    assert "Enabled" == run["host-versioning"].inputs["versioningConfiguration"]["status"]
    settings = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    assert dict.fromkeys(settings, True) == {key: run["host-public-access"].inputs[key] for key in settings}
    assert "BucketOwnerEnforced" == run["host-ownership"].inputs["rule"]["objectOwnership"]
    serve, tls = json.loads(run["host-bucket-policy"].inputs["policy"])["Statement"]
    arn = f"arn:aws:cloudfront::{ACCOUNT}:distribution/E1"
    assert ("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/*") == (
        serve["Effect"],
        serve["Action"],
        serve["Resource"],
    )
    assert {"StringEquals": {"AWS:SourceArn": arn}} == serve["Condition"]
    assert ("Deny", {"Bool": {"aws:SecureTransport": "false"}}) == (tls["Effect"], tls["Condition"])
    assert "host-public-access" in run["host-bucket-policy"].dependencies


def test_the_distribution_serves_what_senders_accept(world: World) -> None:
    """TLS 1.2 or newer, no redirect, IPv6, nothing cached, one alias a domain, the function in front."""
    run = host(world, DOMAINS)
    inputs = run["host-distribution"].inputs
    behaviour = inputs["defaultCacheBehavior"]
    assert ["mta-sts.example.com", "mta-sts.lists.example.com"] == inputs["aliases"]
    assert (True, True, "http2and3") == (inputs["enabled"], inputs["isIpv6Enabled"], inputs["httpVersion"])
    assert ("https-only", CACHING_DISABLED) == (behaviour["viewerProtocolPolicy"], behaviour["cachePolicyId"])
    assert "TLSv1.2_2021" == inputs["viewerCertificate"]["minimumProtocolVersion"]
    assert "sni-only" == inputs["viewerCertificate"]["sslSupportMethod"]
    assert ["viewer-request"] == [each["eventType"] for each in behaviour["functionAssociations"]]
    (origin,) = inputs["origins"]
    assert "host-origin-access-id" == origin["originAccessControlId"]
    assert "s3OriginConfig" not in origin  # the older origin access identity
    assert "host-certificate-validation" in run["host-distribution"].dependencies


def test_each_name_is_validated_by_its_own_record(world: World) -> None:
    """ACM answers in its own order and with trailing dots; each domain still gets the record of its own name."""
    run = host(world, DOMAINS)
    for domain in ("example.com", "lists.example.com"):
        name = f"mta-sts.{domain}"
        inputs = run[f"host-validation-{domain}"].inputs
        assert (f"_{token(name)}.{name}", "CNAME") == (inputs["name"], inputs["type"])
        assert f"_{token(name)}.acm-validations.aws" == inputs["content"]
        assert (OWN, False) == (inputs["comment"], inputs["proxied"])
    certificate = run["host-certificate"].inputs
    assert ("mta-sts.example.com", ["mta-sts.lists.example.com"], "DNS", "us-east-1") == (
        certificate["domainName"],
        certificate["subjectAlternativeNames"],
        certificate["validationMethod"],
        certificate["region"],
    )
    assert "us-east-1" == run["host-certificate-validation"].inputs["region"]
    validations = {"host-validation-example.com", "host-validation-lists.example.com"}
    assert validations <= run["host-certificate-validation"].dependencies


def test_validation_records_are_looked_at_before_they_are_made(world: World) -> None:
    """Another certificate of this account may have left the same record; it is named, not met with an API error."""
    run = host(world, DOMAINS)
    hooks = run["host-validation-example.com"].request.hooks.before_create
    assert ["host-validation-no-second-record"] == list(hooks)


def test_the_order_of_the_domains_changes_nothing(world: World) -> None:
    """Aliases, certificate names and records go by domain."""
    listed = host(world, DOMAINS)
    reordered = host(world, {"domains": list(reversed(DOMAINS["domains"]))})
    assert {name: each.inputs for name, each in listed.registered.items()} == {
        name: each.inputs for name, each in reordered.registered.items()
    }


@pytest.mark.parametrize("name", ["example.com", "Policy_Host", "bücher.example", "x" * 100, "..."])
def test_any_component_name_gives_names_that_aws_takes(world: World, name: str) -> None:
    """S3 takes no upper case and no underscore, CloudFront functions take no dot, and both are limited in length."""
    run = host(world, DOMAINS, name=name)
    (bucket,) = [each.inputs["bucket"] for each in run.registered.values() if each.type.endswith(":Bucket")]
    (function,) = [each.inputs["name"] for each in run.registered.values() if each.type.endswith(":Function")]
    (access,) = [each.inputs["name"] for each in run.registered.values() if each.type.endswith(":OriginAccessControl")]
    assert bucket.endswith(f"-{ACCOUNT}")
    assert 3 <= len(bucket) <= 63
    assert bucket.replace("-", "").isalnum()
    assert bucket == bucket.lower()
    assert bucket.isascii()
    assert not bucket.startswith("-")
    assert len(function) <= 64
    assert function.replace("-", "").isalnum()
    assert len(access) <= 64


def test_two_hosts_in_one_account_do_not_meet(world: World) -> None:
    """A second host with another bucket has another function and origin access control too."""
    first = host(world, DOMAINS)
    second = host(world, DOMAINS | {"bucket": "another-bucket"})
    for kind in (":Function", ":OriginAccessControl", ":Bucket"):
        names = {
            each.inputs.get("name", each.inputs.get("bucket"))
            for run in (first, second)
            for each in run.registered.values()
            if each.type.endswith(kind)
        }
        assert 2 == len(names)


def test_a_given_bucket_keeps_its_name(world: World) -> None:
    """The name is the configuration's; tags go on everything that takes them."""
    run = host(world, DOMAINS | {"bucket": "my-policies", "tags": {"team": "mail"}})
    assert "my-policies" == run["host-bucket"].inputs["bucket"]
    tagged = {name for name, each in run.registered.items() if each.inputs.get("tags") == {"team": "mail"}}
    assert {"host-bucket", "host-certificate", "host-distribution"} == tagged


def test_outputs_are_what_other_stacks_need(world: World) -> None:
    """Bucket, target and the two ARNs; whoever uses the target waits for the bucket's policy and settings."""
    seen: dict[str, Any] = {}

    def program() -> None:
        made = PolicyHost("host", DOMAINS)
        for name in ("bucket", "target", "distribution_arn", "certificate_arn"):
            getattr(made, name).apply(lambda value, name=name: seen.update({name: value}))
        pulumi.Output.all(made.target).apply(lambda _: None)

    deploy(world, program)
    assert {
        "bucket": f"host-test-{ACCOUNT}",
        "target": TARGET,
        "distribution_arn": f"arn:aws:cloudfront::{ACCOUNT}:distribution/E1",
        "certificate_arn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1",
    } == seen


def refused(world: World, args: dict[str, Any], *, preview: bool = True) -> tuple[str, list[str]]:
    """Return message and paths with which a policy host is refused."""
    return refusal(world, lambda: PolicyHost("host", args), preview=preview)


@pytest.mark.parametrize(
    ("count", "names", "path"),
    [(11, None, "domains"), (0, None, "domains"), (101, 100, "domains"), (1, 101, "certificate_names")],
)
def test_a_host_has_a_limited_number_of_names(world: World, count: int, names: int | None, path: str) -> None:
    """ACM allows 10 names by default and 100 at most, CloudFront 100 aliases."""
    domains = [{"domain": f"d{number}.example.com"} for number in range(count)]
    message, paths = refused(world, {"domains": domains, "certificate_names": names})
    assert [path] == paths
    if names is None and count:
        assert "11 domains on one host" in message
        assert "`certificate_names`" in message


def test_more_names_are_allowed_where_the_quota_was_raised(world: World) -> None:
    """The limit is a setting, as another language sends it too."""
    domains = [{"domain": f"d{number:02}.example.com"} for number in range(11)]
    assert 11 == len(
        host(world, {"domains": domains, "certificate_names": 20.0})["host-distribution"].inputs["aliases"]
    )


def test_everything_wrong_with_a_host_is_said_at_once(world: World) -> None:
    """Bad names, a missing zone, a repeated domain and CAA, each with its path; nothing is made."""
    world.has("CAA", "caa.example.com", '0 issue "letsencrypt.org"')
    domains = [
        {"domain": "no host"},
        {"domain": "example.net"},
        {"domain": "a.example.com"},
        {"domain": "A.example.com."},
        {"domain": "caa.example.com"},
        {"domain": "b.example.com", "zone": "example.org"},
        {"domain": "c.example.com", "zone_id": "zone-9"},
        {},
    ]
    message, paths = refused(world, {"domains": domains})
    assert {
        "domains[0].domain",
        "domains[1].zone",
        "domains[3].domain",
        "domains[4].domain",
        "domains[5].zone",
        "domains[6].zone_id",
        "domains[7].domain",
    } == set(paths)
    assert '`caa.example.com CAA 0 issue "amazon.com"`' in message
    assert "no zone that holds example.net" in message
    assert "zone example.org does not hold b.example.com" in message
    assert "no zone zone-9 that holds c.example.com" in message


@pytest.mark.parametrize(
    ("args", "path", "words"),
    [
        (None, "", "give settings by name: domains, bucket"),
        ("example.com", "", "give settings by name: domains, bucket"),
        ({"domains": "example.com"}, "domains", "give a list of domains"),
        ({"domains": ["example.com"]}, "domains[0]", "give `domain: example.com`"),
        ({"domains": [None]}, "domains[0]", "give `domain: example.com`"),
        ({"domains": [{"domain": 3}]}, "domains[0].domain", "give the mail domain"),
        ({"domains": [{"domain": "com"}]}, "domains[0].domain", "single label"),
        ({"domains": [{"domain": "example.com", "zone": 3}]}, "domains[0].zone", "give the zone's name"),
        ({"domains": [{"domain": "example.com", "zon": "example.com"}]}, "domains[0].zon", "did you mean zone?"),
        (DOMAINS | {"certificat_names": 10}, "certificat_names", "did you mean certificate_names?"),
        (DOMAINS | {"certificate_names": "x"}, "certificate_names", "1 to 100"),
        (DOMAINS | {"bucket": "Bad_Name"}, "bucket", "3 to 63 lower-case"),
        (DOMAINS | {"bucket": 3}, "bucket", "got 3"),
        (DOMAINS | {"tags": 3}, "tags", "texts by name"),
    ],
)
def test_a_wrong_setting_of_a_host_is_said_with_its_path(world: World, args: Any, path: str, words: str) -> None:
    """A policy host that is used directly is checked as a stack's is: a refusal, and never a traceback."""
    message, paths = refused(world, args)
    assert [path] == paths
    assert words in message


def test_a_first_name_that_acm_refuses_is_refused_here(world: World) -> None:
    """ACM limits the first name to 64 characters; beside a shorter one a long name is fine."""
    long = "a" * 60 + ".example.com"
    assert ["domains"] == refused(world, {"domains": [{"domain": long}]})[1]
    run = host(world, {"domains": [{"domain": long}, {"domain": "example.com"}]})
    assert "mta-sts.example.com" == run["host-certificate"].inputs["domainName"]


@pytest.fixture(scope="module")
def edge() -> MiniRacer:
    """Return a JavaScript engine that holds the function's own code."""
    engine = MiniRacer()
    engine.eval(files("pulumi_mta_sts").joinpath("policy_function.js").read_text(encoding="utf-8"))
    return engine


@pytest.mark.parametrize(
    ("name", "uri", "expected"),
    [
        ("mta-sts.example.com", "/.well-known/mta-sts.txt", "/example.com/.well-known/mta-sts.txt"),
        ("MTA-STS.Example.COM:443", "/.well-known/mta-sts.txt", "/example.com/.well-known/mta-sts.txt"),
        ("mta-sts.example.com", "/", 404),
        ("mta-sts.example.com", "/example.net/.well-known/mta-sts.txt", 404),
        ("mta-sts.example.com", "/.well-known/../.well-known/mta-sts.txt", 404),
        ("d111111abcdef8.cloudfront.net", "/.well-known/mta-sts.txt", 404),
        ("example.com", "/.well-known/mta-sts.txt", 404),
    ],
)
def test_the_function_maps_a_host_to_its_policy_alone(edge: MiniRacer, name: str, uri: str, expected: Any) -> None:
    """Only the well-known path of a policy host is answered, from that domain's object."""
    event = {"request": {"uri": uri, "querystring": {"a": {"value": "1"}}, "headers": {"host": {"value": name}}}}
    answer = json.loads(edge.eval(f"JSON.stringify(handler({json.dumps(event)}))"))
    assert expected == answer.get("statusCode", answer.get("uri"))
    if isinstance(expected, str):
        assert {} == answer["querystring"]


def serves(world: World, domain: str, mode: str) -> None:
    """Let a policy of a domain stand in the bucket, under the id that its record shows."""
    world.versions[domain] = ("v1", {"sts-id": "id1"})
    world.bodies[domain] = f"version: STSv1\nmode: {mode}\nmx: mx.example.com\nmax_age: 86400\n".encode()
    world.has("TXT", f"_mta-sts.{domain}", '"v=STSv1; id=id1;"', comment=MARK, modifiedOn="2026-01-01T00:00:00Z")


def test_a_domain_taken_from_the_list_is_served_while_its_enforce_policy_may_be_held(
    world: World,
) -> None:
    """Alias, certificate name and bucket stay, with the reason; a testing policy holds nothing up."""
    serves(world, "old.example.com", "enforce")
    serves(world, "trial.example.com", "testing")
    run = host(world, DOMAINS)
    aliases = [f"mta-sts.{name}example.com" for name in ("", "lists.", "old.")]
    assert aliases == run["host-distribution"].inputs["aliases"]
    assert run["host-validation-old.example.com"].inputs["zoneId"] == "zone-1"
    assert run["host-bucket"].protect
    assert any("old.example.com is no longer listed" in line for line in run.warnings)


def test_all_of_a_host_is_kept_while_an_enforce_policy_may_be_held(world: World) -> None:
    """Other stacks have the records: what is protected depends on all the rest, so the engine deletes nothing of it."""
    serves(world, "example.com", "enforce")
    run = host(world, DOMAINS)
    behind, found = [name for name, each in run.registered.items() if each.protect], set()
    assert {"host-bucket", "host-bucket-policy"} == set(behind)
    while behind:
        found.add(name := behind.pop())
        behind += run[name].dependencies - found
    assert run.registered.keys() - {"host"} == found


def test_a_bucket_with_testing_policies_alone_is_not_protected(world: World) -> None:
    """What no sender relies on can be destroyed at once."""
    serves(world, "example.com", "testing")
    assert not [name for name, each in host(world, DOMAINS).registered.items() if each.protect]


def in_state(world: World, *domains: str, issued: bool = True) -> None:
    """Let the stack's state hold the host's certificate for these domains."""
    names = [f"mta-sts.{domain}" for domain in domains]
    world.certified("mta-sts:index:PolicyHost", "host-certificate", names, issued=issued)


@pytest.mark.parametrize("cause", [{"s3": "AccessDenied"}, {"sts": "ExpiredToken"}])
def test_a_domain_taken_from_the_list_is_served_on_while_the_bucket_can_not_be_read(
    world: World, cause: dict[str, str]
) -> None:
    """What senders hold of it can't be told, and the state says that it is served here."""
    in_state(world, "example.com", "lists.example.com", "old.example.com")
    world.failing |= cause
    run = host(world, DOMAINS)
    assert [f"mta-sts.{name}example.com" for name in ("", "lists.", "old.")] == run["host-distribution"].inputs[
        "aliases"
    ]
    assert "zone-1" == run["host-validation-old.example.com"].inputs["zoneId"]
    assert any("old.example.com is no longer listed" in line for line in run.warnings)


def test_a_state_that_is_just_being_written_is_read_again(world: World) -> None:
    """A file backend may have half of it for a moment; that is no reason to stop."""
    in_state(world, "example.com", "lists.example.com", "old.example.com")
    world.failing |= {"s3": "AccessDenied", STATE: {"says": "failed to load checkpoint: EOF", "times": 1}}
    assert "mta-sts.old.example.com" in host(world, DOMAINS)["host-distribution"].inputs["aliases"]


def test_where_neither_bucket_nor_state_can_be_read_a_host_is_not_changed(world: World) -> None:
    """Who is served here can't be told at all."""
    world.failing |= {"s3": "AccessDenied", STATE: {"says": "no such stack"}}
    message, _ = refused(world, DOMAINS)
    assert "[state-unreadable]" in message


def test_a_domain_that_is_kept_is_found_in_its_zone_where_the_others_zones_flow(world: World) -> None:
    """All zone ids are outputs, so nothing of a zone was looked up; the bucket is protected as well."""
    serves(world, "old.example.com", "enforce")

    def program() -> None:
        PolicyHost("host", {"domains": [{"domain": "example.com", "zone_id": pulumi.Output.from_input("zone-1")}]})

    run = deploy(world, program)
    assert ["mta-sts.example.com", "mta-sts.old.example.com"] == run["host-distribution"].inputs["aliases"]
    assert "zone-1" == run["host-validation-old.example.com"].inputs["zoneId"]
    assert run["host-bucket"].protect


def test_a_domain_that_is_kept_and_whose_zone_is_gone_is_said(world: World) -> None:
    """Its validation record can be neither kept nor made: no record of an empty zone."""
    serves(world, "old.example.net", "enforce")
    message, paths = refused(world, DOMAINS)
    assert ["domains"] == paths
    assert "old.example.net is no longer listed, but senders may hold its enforce policy until" in message
    assert "no zone that holds old.example.net" in message


@pytest.mark.parametrize(
    ("certificate", "issued", "severity"),
    [
        (("old.example.org",), True, "warning"),
        (("old.example.org",), False, "error"),  # asked for, and the update that waited for it was stopped
        ((), True, "error"),
    ],
)
def test_a_domain_that_is_kept_and_whose_zone_has_left_stops_only_a_new_certificate(
    world: World, certificate: tuple[str, ...], severity: str, *, issued: bool
) -> None:
    """Nobody is asked at Cloudflare for it any more; the certificate that stands needs no new proof."""
    world.zones["zone-9"], world.statuses["zone-9"] = "example.org", "moved"
    serves(world, "old.example.org", "enforce")
    in_state(world, "example.com", "lists.example.com", *certificate, issued=issued)
    said = host(world, DOMAINS).warnings if severity == "warning" else [refused(world, DOMAINS)[0]]
    assert any("zone example.org is moved" in line for line in said)
