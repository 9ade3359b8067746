"""The sandbox's providers are honest: they know what the SDK knows, and do what the real ones do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pulumi._types import input_type_types, is_input_type
from pulumi.provider.experimental import provider as engine

from sandbox.providers import aws, aws_client, cloudflare, emulated, shapes
from sandbox.providers.shapes import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

ROOT = Path(__file__).resolve().parents[2]
KINDS = aws.KINDS | cloudflare.KINDS
BUCKET = "aws:s3/bucket:Bucket"
VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2"
POLICY = "aws:s3/bucketPolicy:BucketPolicy"
ACCESS = "aws:cloudfront/originAccessControl:OriginAccessControl"
FUNCTION = "aws:cloudfront/function:Function"
DISTRIBUTION = "aws:cloudfront/distribution:Distribution"
CERTIFICATE = "aws:acm/certificate:Certificate"
VALIDATION = "aws:acm/certificateValidation:CertificateValidation"
RECORD = "cloudflare:index/dnsRecord:DnsRecord"

HOST = "mta-sts.gmail-new.example"
A_RECORD = {"zoneId": "z", "name": "a.example.com", "type": "TXT", "content": '"one"', "ttl": 300}
A_CERTIFICATE = {"domainName": HOST, "validationMethod": "DNS", "region": "us-east-1"}
A_DISTRIBUTION: dict[str, Any] = {
    "enabled": True,
    "aliases": [HOST],
    "origins": [
        {"originId": "policies", "domainName": "bucket.s3.eu-west-1.amazonaws.com", "originAccessControlId": "E1"}
    ],
    "defaultCacheBehavior": {
        "targetOriginId": "policies",
        "viewerProtocolPolicy": "https-only",
        "allowedMethods": ["GET", "HEAD"],
        "cachedMethods": ["GET", "HEAD"],
        "cachePolicyId": "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
        "functionAssociations": [{"eventType": "viewer-request", "functionArn": "arn:1"}],
    },
    "restrictions": {"geoRestriction": {"restrictionType": "none"}},
    "viewerCertificate": {
        "acmCertificateArn": "arn:2",
        "minimumProtocolVersion": "TLSv1.2_2021",
        "sslSupportMethod": "sni-only",
    },
}


def provider_of(token: str) -> emulated.EmulatedProvider:
    """Return the provider that knows a type or function."""
    if token.startswith("aws:"):
        return aws.AwsProvider(aws.KINDS, aws.FUNCTIONS)
    return cloudflare.CloudflareProvider(cloudflare.KINDS, cloudflare.FUNCTIONS)


def urn(token: str, name: str = "it") -> str:
    """Return the URN of a resource that is a component's child."""
    return f"urn:pulumi:sandbox::mta-sts::mta-sts:index:MtaSts${token}::{name}"


def wire(values: Mapping[str, Any]) -> Any:
    """Return properties as the engine sends them."""
    return emulated._wire_map(dict(values))


def problems(token: str, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return what `check` refuses, by path."""
    request = engine.CheckRequest(urn(token), {}, wire(inputs), b"seed")
    return {failure.property: failure.reason for failure in asyncio.run(provider_of(token).check(request)).failures}


def difference(token: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return which inputs change, and which of those replace."""
    answer = asyncio.run(provider_of(token).diff(engine.DiffRequest(urn(token), "id", wire(old), wire(new), [])))
    assert answer.changes == bool(answer.diffs)
    return answer.diffs, answer.replaces


class Made:
    """A resource made through the provider, as the engine would."""

    def __init__(self, token: str, inputs: Mapping[str, Any]) -> None:
        self.token, self.inputs, self.provider = token, dict(inputs), provider_of(token)
        assert {} == problems(token, inputs)
        made = asyncio.run(self.provider.create(engine.CreateRequest(urn(token), wire(inputs), 0, preview=False)))
        self.id = made.resource_id or ""
        self.state = emulated._plain_map(made.properties)

    def read(self, resource_id: str = "", *, importing: bool = False) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return id, state and inputs as they stand in the cloud."""
        known = ({}, {}) if importing else (wire(self.state), wire(self.inputs))
        request = engine.ReadRequest(urn(self.token), resource_id or self.id, *known)
        answer = asyncio.run(self.provider.read(request))
        return answer.resource_id or "", emulated._plain_map(answer.properties), emulated._plain_map(answer.inputs)

    def update(self, **changed: Any) -> None:
        """Change inputs in place; None takes one away."""
        inputs = {name: value for name, value in (self.inputs | changed).items() if value is not None}
        request = engine.UpdateRequest(urn(self.token), self.id, wire(self.state), wire(inputs), 0, [], preview=False)
        self.state = emulated._plain_map(asyncio.run(self.provider.update(request)).properties)
        self.inputs = inputs

    def delete(self) -> None:
        """Delete it."""
        asyncio.run(self.provider.delete(engine.DeleteRequest(urn(self.token), self.id, wire(self.state), 0)))


@pytest.fixture
def clouds(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Configure both providers in this process for a world's clouds."""
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    aws_client._client.cache_clear()
    monkeypatch.setattr(aws_client, "SETTINGS", aws_client.Settings("eu-west-1"))
    monkeypatch.setattr(aws, "SETTINGS", aws_client.SETTINGS)
    monkeypatch.setattr(cloudflare, "_SETTINGS", {})
    monkeypatch.setattr(cloudflare, "_PAUSE", 0)
    yield world
    aws_client._client.cache_clear()


# --- What the SDK knows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", KINDS)
def test_every_row_of_the_table_stands_on_the_sdk_and_names_its_source(token: str) -> None:
    """What is carried out, replaced or unknown in a preview are properties of the SDK, and the row says why."""
    kind = KINDS[token]
    inputs = set(kind.sdk.inputs())
    assert kind.shape.members.keys() - inputs == set()
    assert kind.replaces - kind.shape.members.keys() == set()
    assert kind.changing - kind.sdk.outputs().keys() == set()
    assert kind.shape.local - inputs == set()
    assert kind.source.startswith(("terraform-provider-aws internal/", "terraform-provider-cloudflare internal/"))
    _inside(kind.sdk.inputs(), kind.shape.names())


def _inside(known: Mapping[str, Any], carried_out: Any) -> None:
    for name, nested in (carried_out or {}).items():
        assert name in known
        objects = {part for part in _parts(known[name]) if isinstance(part, type) and is_input_type(part)}
        if nested is not None:
            (only,) = objects
            _inside(input_type_types(only), nested)


def _parts(expected: Any) -> list[Any]:
    return [expected, *(part for argument in getattr(expected, "__args__", ()) for part in _parts(argument))]


@pytest.mark.parametrize(
    ("token", "inputs", "path", "reason"),
    [
        (BUCKET, {"bucket": "b", "forceDestory": True}, "forceDestory", "did you mean 'forceDestroy'"),
        (
            VERSIONING,
            {"bucket": "b", "versioningConfiguration": {}},
            "versioningConfiguration.status",
            "needs 'status'",
        ),
        (
            DISTRIBUTION,
            A_DISTRIBUTION | {"origins": [{"originId": "a", "domainName": "b", "origin_path": "/"}]},
            "origins[0].origin_path",
            "no property 'origin_path'",
        ),
        (DISTRIBUTION, A_DISTRIBUTION | {"origins": {"originId": "a"}}, "origins", "wants a list"),
        (DISTRIBUTION, A_DISTRIBUTION | {"restrictions": "none"}, "restrictions", "wants an object"),
        (DISTRIBUTION, {**A_DISTRIBUTION, "loggingConfig": {}}, "loggingConfig", "does not carry out 'loggingConfig'"),
        (
            DISTRIBUTION,
            A_DISTRIBUTION | {"viewerCertificate": {"iamCertificateId": "a"}},
            "viewerCertificate.iamCertificateId",
            "does not carry out",
        ),
        (RECORD, {name: value for name, value in A_RECORD.items() if name != "ttl"}, "ttl", "needs 'ttl'"),
        (RECORD, A_RECORD | {"value": "x"}, "value", "no property 'value'"),
        ("aws:s3/bucketV2:BucketV2", {}, "", "the sandbox has no aws:s3/bucketV2:BucketV2"),
    ],
)
def test_check_refuses(token: str, inputs: dict[str, Any], path: str, reason: str) -> None:
    """A property that the SDK does not know, at any depth, one that it misses, and one that would be ignored here."""
    found = problems(token, inputs)
    assert [path] == list(found)
    assert reason in found[path]


@pytest.mark.parametrize(
    ("token", "inputs"),
    [
        (DISTRIBUTION, A_DISTRIBUTION),
        (DISTRIBUTION, A_DISTRIBUTION | {"aliases": UNKNOWN, "origins": UNKNOWN, "viewerCertificate": UNKNOWN}),
        (RECORD, A_RECORD | {"content": UNKNOWN, "zoneId": UNKNOWN}),
        (POLICY, {"bucket": "b", "policy": UNKNOWN}),
        (POLICY, {"bucket": "b", "policy": "{}"}),
    ],
)
def test_check_lets_pass_what_is_right_or_not_known_yet(token: str, inputs: dict[str, Any]) -> None:
    """A preview's unknown values are no problem."""
    assert {} == problems(token, inputs)


def test_a_resource_without_a_name_is_named_and_keeps_its_name() -> None:
    """As with the real provider: the resource's name and seven characters, the same from then on."""
    provider = provider_of(BUCKET)
    first = asyncio.run(provider.check(engine.CheckRequest(urn(BUCKET, "store"), {}, {}, b"\x01\x02\x03\x04")))
    assert {"bucket": "store-0102030"} == emulated._plain_map(first.inputs or {})
    again = asyncio.run(provider.check(engine.CheckRequest(urn(BUCKET, "store"), first.inputs or {}, {}, b"other")))
    assert {"bucket": "store-0102030"} == emulated._plain_map(again.inputs or {})


@pytest.mark.parametrize("token", KINDS)
def test_a_preview_knows_what_is_given_and_nothing_that_the_cloud_decides(token: str) -> None:
    """In the preview of a create the id and every output that always has a value are unknown."""
    request = engine.CreateRequest(urn(token), wire({"region": "eu-west-1"}), 0, preview=True)
    answer = asyncio.run(provider_of(token).create(request))
    assert answer.resource_id is None
    state = emulated._plain_map(answer.properties)
    assert KINDS[token].sdk.decided() == {name for name, value in state.items() if value is UNKNOWN} | (
        {"region"} & KINDS[token].sdk.decided()
    )


# --- What changes and what replaces -----------------------------------------------------------------------------

A_BEHAVIOUR = A_DISTRIBUTION["defaultCacheBehavior"]
POLICY_TEXT = '{"Version": "2012-10-17", "Statement": []}'


@pytest.mark.parametrize(
    ("token", "old", "new", "changed", "replaced"),
    [
        (RECORD, A_RECORD, A_RECORD, [], []),
        (RECORD, A_RECORD, A_RECORD | {"content": '"two"', "ttl": 60}, ["content", "ttl"], []),
        (RECORD, A_RECORD, A_RECORD | {"name": "b.example.com"}, ["name"], []),
        (RECORD, A_RECORD, A_RECORD | {"zoneId": "y"}, ["zoneId"], ["zoneId"]),
        (RECORD, A_RECORD, A_RECORD | {"type": "SPF"}, ["type"], ["type"]),
        (RECORD, A_RECORD, A_RECORD | {"proxied": False}, [], []),
        (RECORD, A_RECORD | {"proxied": True}, A_RECORD, ["proxied"], []),
        (RECORD, A_RECORD | {"priority": 0}, A_RECORD, ["priority"], []),
        (
            RECORD,
            A_RECORD | {"type": "CNAME", "content": "A.b"},
            A_RECORD | {"type": "CNAME", "content": "a.B"},
            [],
            [],
        ),
        (RECORD, A_RECORD, A_RECORD | {"content": UNKNOWN}, ["content"], []),
        (BUCKET, {"bucket": "a", "region": "eu-west-1"}, {"bucket": "a"}, [], []),
        (BUCKET, {"bucket": "a"}, {"bucket": "b"}, ["bucket"], ["bucket"]),
        (BUCKET, {"bucket": "a"}, {"bucket": "a", "region": "us-east-1"}, ["region"], ["region"]),
        (BUCKET, {"bucket": "a"}, {"bucket": "a", "forceDestroy": False}, [], []),
        (BUCKET, {"bucket": "a"}, {"bucket": "a", "forceDestroy": True}, ["forceDestroy"], []),
        (
            POLICY,
            {"bucket": "a", "policy": POLICY_TEXT},
            {"bucket": "a", "policy": POLICY_TEXT.replace(" ", "")},
            [],
            [],
        ),
        (POLICY, {"bucket": "a", "policy": POLICY_TEXT}, {"bucket": "a", "policy": "{}"}, ["policy"], []),
        (
            OBJECT,
            {"bucket": "a", "key": "k", "content": "1"},
            {"bucket": "a", "key": "k", "content": "2"},
            ["content"],
            [],
        ),
        (OBJECT, {"bucket": "a", "key": "k"}, {"bucket": "a", "key": "l"}, ["key"], ["key"]),
        (
            FUNCTION,
            {"name": "f", "code": "1", "runtime": "r"},
            {"name": "f", "code": "2", "runtime": "r"},
            ["code"],
            [],
        ),
        (
            FUNCTION,
            {"name": "f", "code": "1", "runtime": "r"},
            {"name": "g", "code": "1", "runtime": "r"},
            ["name"],
            ["name"],
        ),
        (FUNCTION, {"name": "f", "publish": True}, {"name": "f"}, [], []),
        (FUNCTION, {"name": "f"}, {"name": "f", "publish": False}, ["publish"], []),
        (ACCESS, {"name": "f", "signingBehavior": "always"}, {"name": "g", "signingBehavior": "always"}, ["name"], []),
        (
            CERTIFICATE,
            A_CERTIFICATE | {"subjectAlternativeNames": ["b", "a"]},
            A_CERTIFICATE | {"subjectAlternativeNames": ["a", "b"]},
            [],
            [],
        ),
        (CERTIFICATE, A_CERTIFICATE | {"subjectAlternativeNames": [HOST]}, A_CERTIFICATE, [], []),
        (
            CERTIFICATE,
            A_CERTIFICATE | {"subjectAlternativeNames": ["a"]},
            A_CERTIFICATE | {"subjectAlternativeNames": ["a", "b"]},
            ["subjectAlternativeNames"],
            ["subjectAlternativeNames"],
        ),
        (CERTIFICATE, A_CERTIFICATE, A_CERTIFICATE | {"tags": {"a": "b"}}, ["tags"], []),
        (VALIDATION, {"certificateArn": "a"}, {"certificateArn": "b"}, ["certificateArn"], ["certificateArn"]),
        (DISTRIBUTION, A_DISTRIBUTION | {"aliases": ["a", "b"]}, A_DISTRIBUTION | {"aliases": ["b", "a"]}, [], []),
        (DISTRIBUTION, A_DISTRIBUTION, A_DISTRIBUTION | {"aliases": [HOST, "b"]}, ["aliases"], []),
        (DISTRIBUTION, A_DISTRIBUTION, A_DISTRIBUTION | {"httpVersion": "http2", "waitForDeployment": True}, [], []),
        (DISTRIBUTION, A_DISTRIBUTION, A_DISTRIBUTION | {"enabled": False}, ["enabled"], []),
        (
            DISTRIBUTION,
            A_DISTRIBUTION,
            A_DISTRIBUTION | {"defaultCacheBehavior": A_BEHAVIOUR | {"cachePolicyId": "other"}},
            ["defaultCacheBehavior"],
            [],
        ),
        (
            DISTRIBUTION,
            A_DISTRIBUTION,
            A_DISTRIBUTION
            | {"defaultCacheBehavior": A_BEHAVIOUR | {"allowedMethods": ["HEAD", "GET"], "compress": False}},
            [],
            [],
        ),
    ],
)
def test_what_differs_in_meaning_changes_and_only_that(
    token: str, old: dict[str, Any], new: dict[str, Any], changed: list[str], replaced: list[str]
) -> None:
    """Order in a set, a default spelt out, another spelling of the same policy are no change; some changes replace."""
    assert (changed, replaced) == difference(token, old, new)


# --- Loopback, configuration, errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "https://s3.eu-west-1.amazonaws.com", "http://localhost:1", "http://10.0.0.1", "x"]
)
def test_only_loopback_is_spoken_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other address is refused before a byte is sent, a name that only looks local too."""
    aws_client._client.cache_clear()
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", url)
    with pytest.raises(PermissionError, match="loopback only"):
        aws_client.cloudfront()
    with pytest.raises(PermissionError, match="loopback only"):
        cloudflare.call("GET", "/zones")
    assert "http://127.0.0.1:1" == emulated.loopback("http://127.0.0.1:1", "it")
    assert "http://[::1]:1" == emulated.loopback("http://[::1]:1", "it")


def configure(provider: emulated.EmulatedProvider, **config: Any) -> None:
    """Configure as the engine does: lists and objects come as JSON text."""
    asyncio.run(
        provider.configure(engine.ConfigureRequest({}, wire(config), accept_secrets=True, accept_resources=True))
    )


def test_the_wrong_account_region_or_profile_stops_everything(clouds: World) -> None:
    """As the real provider's configuration does, in its words."""
    provider = provider_of(BUCKET)
    configure(provider, region="eu-west-1", allowedAccountIds='["111111111111"]')
    with pytest.raises(RuntimeError, match="AWS account ID not allowed: 111111111111"):
        configure(provider, region="eu-west-1", allowedAccountIds='["000000000003"]')
    with pytest.raises(RuntimeError, match="missing region information"):
        configure(provider)
    with pytest.raises(RuntimeError, match="failed to get shared config profile, production"):
        configure(provider, region="eu-west-1", profile="production")


def test_configuration_that_would_be_ignored_is_refused() -> None:
    """What the sandbox does not carry out is named, not dropped."""
    for token, setting in ((BUCKET, "assumeRoles"), (RECORD, "email")):
        request = engine.CheckRequest(urn(token), {}, wire({setting: "x", "version": "1"}), b"")
        answer = asyncio.run(provider_of(token).check_config(request))
        assert [setting] == [failure.property for failure in answer.failures or []]


def test_cloudflare_is_asked_again_after_a_passing_fault(clouds: World) -> None:
    """Two retries, as the real client makes: a fault that lasts less is not seen, one that lasts is named."""
    for kind in ("throttle", "error", "drop"):
        clouds.fault("api", "cloudflare GET /zones", kind, times=2)
        assert cloudflare.call("GET", "/zones")["success"]
        clouds.clear_faults()
    clouds.fault("api", "cloudflare GET /zones", "error")
    with pytest.raises(cloudflare.CloudflareError, match=r"Cloudflare GET /zones: 503 Internal server error \(10000\)"):
        cloudflare.call("GET", "/zones")
    clouds.clear_faults()
    clouds.fault("api", "cloudflare GET /zones", "denied", times=1)
    with pytest.raises(cloudflare.CloudflareError, match=r"403 Authentication error \(10000\)"):
        cloudflare.call("GET", "/zones")


def test_an_error_of_aws_names_operation_status_and_code(clouds: World) -> None:
    """Together with the resource and what was tried."""
    clouds.fault("api", "s3 PUT /refused", "denied")
    with pytest.raises(RuntimeError, match=r"create it: operation CreateBucket, .* 403, .*AccessDenied: User is not"):
        Made(BUCKET, {"bucket": "refused"})


def test_a_token_is_in_no_error_and_no_output(clouds: World) -> None:
    """Whoever reads logs or state learns nothing."""
    configure(provider_of(RECORD), apiToken="only-for-the-provider")
    with pytest.raises(RuntimeError, match="9109") as refused:
        Made(RECORD, A_RECORD)
    assert "only-for-the-provider" not in str(refused.value)


def test_a_function_refuses_arguments_that_it_would_ignore(clouds: World) -> None:
    """And what it answers are results that the SDK has."""
    token = "cloudflare:index/getDnsRecords:getDnsRecords"  # noqa: S105  a type token
    asked = {"zoneId": cloudflare.call("GET", "/zones")["result"][1]["id"], "name": {"exact": "workspace.example"}}
    provider = provider_of(token)
    answer = asyncio.run(provider.invoke(engine.InvokeRequest(token, wire(asked))))
    results = emulated._plain_map(answer.return_value or {})["results"]
    known = import_module("pulumi_cloudflare.outputs").GetDnsRecordsResultResult
    names = {cloudflare._camel(name) for name in known.__init__.__annotations__}
    assert results
    assert set().union(*results) - names == set()
    refused = asyncio.run(provider.invoke(engine.InvokeRequest(token, wire({**asked, "name": {"contains": "x"}}))))
    assert ["name.contains"] == [failure.property for failure in refused.failures]


# --- Against the clouds -----------------------------------------------------------------------------------------


def _zone_id(name: str) -> str:
    (zone,) = cloudflare.call("GET", "/zones", query={"name": name})["result"]
    return str(zone["id"])


def _validated(**more: Any) -> tuple[Made, Made]:
    """Return a certificate and its validation, with the record that proves it."""
    certificate = Made(CERTIFICATE, A_CERTIFICATE | more)
    (option,) = certificate.state["domainValidationOptions"]
    record = {
        "zoneId": _zone_id("gmail-new.example"),
        "name": option["resourceRecordName"].rstrip("."),
        "type": option["resourceRecordType"],
        "content": option["resourceRecordValue"].rstrip("."),
        "ttl": 300,
    }
    Made(RECORD, record)
    given = {"certificateArn": certificate.id, "validationRecordFqdns": [record["name"]], "region": "us-east-1"}
    return certificate, Made(VALIDATION, given)


def _one_of_each() -> list[Made]:
    """Make one resource of each type."""
    tags = {"team": "mail"}
    bucket = {"bucket": "policies"}
    made = [
        Made(BUCKET, bucket | {"forceDestroy": True, "tags": tags}),
        Made(VERSIONING, bucket | {"versioningConfiguration": {"status": "Enabled"}}),
        Made(
            ENCRYPTION,
            bucket | {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
        ),
        Made(
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
            bucket | {"blockPublicAcls": True, "restrictPublicBuckets": False},
        ),
        Made(
            "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
            bucket | {"rule": {"objectOwnership": "BucketOwnerEnforced"}},
        ),
        Made(POLICY, bucket | {"policy": POLICY_TEXT}),
        Made(
            OBJECT,
            bucket
            | {"key": "a/b.txt", "content": "1", "contentType": "text/plain", "metadata": {"x": "y"}, "tags": tags},
        ),
        Made(
            ACCESS,
            {
                "name": "policies",
                "originAccessControlOriginType": "s3",
                "signingBehavior": "always",
                "signingProtocol": "sigv4",
            },
        ),
        Made(
            FUNCTION, {"name": "map", "code": "function handler(e){return e.request}", "runtime": "cloudfront-js-2.0"}
        ),
        *_validated(tags=tags),
        Made(RECORD, A_RECORD | {"zoneId": _zone_id("example.com"), "comment": "ours"}),
    ]
    by_token = {one.token: one for one in made}
    function = {"eventType": "viewer-request", "functionArn": by_token[FUNCTION].state["arn"]}
    made.append(
        Made(
            DISTRIBUTION,
            A_DISTRIBUTION
            | {
                "tags": tags,
                "defaultCacheBehavior": A_BEHAVIOUR | {"functionAssociations": [function]},
                "viewerCertificate": A_DISTRIBUTION["viewerCertificate"]
                | {"acmCertificateArn": by_token[CERTIFICATE].id},
                "origins": [A_DISTRIBUTION["origins"][0] | {"originAccessControlId": by_token[ACCESS].id}],
            },
        )
    )
    assert KINDS.keys() == {one.token for one in made}
    return made


def test_one_of_each_type_has_the_sdks_outputs_and_shows_no_false_drift(clouds: World) -> None:
    """Its outputs are the SDK's: all that always have a value, and no other.

    Reading it back by its id, or by an import, gives the same inputs; after a delete it is gone.
    """
    made = _one_of_each()
    for one in made:
        sdk = KINDS[one.token].sdk
        assert one.state.keys() - sdk.outputs().keys() == set(), one.token
        assert sdk.decided() - one.state.keys() == set(), one.token
        resource_id, state, inputs = one.read()
        assert (one.id, one.inputs) == (resource_id, inputs), one.token
        # What was made since has issued the certificate and deployed the function.
        since = dict.fromkeys(("status", "notBefore", "notAfter") if "status" in state else ())
        assert one.state | since == state | since, one.token
        if one.token == VALIDATION:
            continue  # the real provider imports none
        importing = f"{one.inputs['zoneId']}/{one.id}" if one.token == RECORD else one.id
        _, _, inputs = one.read(importing, importing=True)
        local = KINDS[one.token].shape.local
        assert ([], []) == difference(one.token, inputs, {k: v for k, v in one.inputs.items() if k not in local}), (
            one.token
        )
    for one in reversed(made):
        one.delete()
        # Versioning can only be suspended, S3 always encrypts, and a validation goes with its certificate.
        if one.token not in (VERSIONING, ENCRYPTION, VALIDATION):
            assert "" == one.read()[0], one.token


def test_what_is_changed_by_hand_is_seen(clouds: World, cloudflare: Cloudflare) -> None:
    """A refresh shows the cloud's value of what the program gives, and what was added beside it."""
    zone = cloudflare.zone("example.com")
    record = Made(RECORD, A_RECORD | {"zoneId": zone})
    body = {"type": "TXT", "name": "a.example.com", "content": '"by hand"', "ttl": 600, "comment": "mine"}
    cloudflare.call("PUT", f"/zones/{zone}/dns_records/{record.id}", body)
    expected = record.inputs | {"content": '"by hand"', "ttl": 600, "comment": "mine"}
    assert expected == record.read()[2]

    function = Made(
        FUNCTION, {"name": "map", "code": "function handler(e){return e.request}", "runtime": "cloudfront-js-2.0"}
    )
    code = "function handler(e){return e}"
    aws_client.cloudfront().update_function(
        Name="map",
        IfMatch=function.state["etag"],
        FunctionConfig={"Comment": "", "Runtime": "cloudfront-js-2.0"},
        FunctionCode=code.encode(),
    )
    assert code == function.read()[2]["code"]
    with pytest.raises(RuntimeError, match=r"update it: operation UpdateFunction, .*PreconditionFailed"):
        function.update(code="function handler(e){return 1}")


def test_an_object_is_versioned_by_what_it_holds_and_deleted_with_all_versions(clouds: World) -> None:
    """New content makes a version, new tags none; deleting it deletes every version, and only its own."""
    Made(BUCKET, {"bucket": "policies"})
    Made(VERSIONING, {"bucket": "policies", "versioningConfiguration": {"status": "Enabled"}})
    kept = Made(OBJECT, {"bucket": "policies", "key": "a.txt.bak", "content": "kept"})
    one = Made(OBJECT, {"bucket": "policies", "key": "a.txt", "content": "1"})
    first = one.state["versionId"]
    one.update(tags={"team": "mail"})
    assert (first, {"team": "mail"}) == (one.state["versionId"], one.state["tagsAll"])
    one.update(content="2")
    assert first != one.state["versionId"]
    one.delete()
    left = aws_client.client("s3").list_object_versions(Bucket="policies")
    assert [kept.state["versionId"]] == [version["VersionId"] for version in left["Versions"]]
    assert [] == left.get("DeleteMarkers", [])


def test_a_bucket_goes_only_empty_unless_told_otherwise(clouds: World) -> None:
    """`forceDestroy` takes the versions along; without it AWS refuses."""
    bucket = Made(BUCKET, {"bucket": "policies"})
    Made(OBJECT, {"bucket": "policies", "key": "a.txt", "content": "1"})
    with pytest.raises(RuntimeError, match=r"delete it: operation DeleteBucket, .*BucketNotEmpty"):
        bucket.delete()
    bucket.update(forceDestroy=True)
    bucket.delete()
    assert "" == bucket.read()[0]


def test_default_tags_stand_under_a_resources_own(clouds: World) -> None:
    """They are in `tagsAll` and in the cloud, never in `tags`."""
    configure(provider_of(BUCKET), region="eu-west-1", defaultTags='{"tags": {"team": "mail", "stage": "test"}}')
    bucket = Made(BUCKET, {"bucket": "policies", "tags": {"stage": "own"}})
    assert {"team": "mail", "stage": "own"} == bucket.state["tagsAll"]
    assert ({"stage": "own"}, bucket.inputs) == (bucket.read()[1]["tags"], bucket.read()[2])


def test_a_certificate_that_caa_forbids_fails_with_the_reason(clouds: World, cloudflare: Cloudflare) -> None:
    """Waiting for it ends at once, and says why."""
    cloudflare.add("gmail-new.example", "CAA", "gmail-new.example", '0 issue "letsencrypt.org"')
    with pytest.raises(RuntimeError, match=r"create it: ACM could not issue arn:.*: CAA_ERROR"):
        _validated()


def test_a_certificate_without_its_record_is_not_waited_for_long(
    clouds: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is short, since the emulator answers at once; the record that is wanted is named."""
    monkeypatch.setattr(aws_client, "_WAIT_LIMIT", 0.0)
    certificate = Made(CERTIFICATE, A_CERTIFICATE)
    (option,) = certificate.state["domainValidationOptions"]
    name = option["resourceRecordName"].rstrip(".")
    with pytest.raises(RuntimeError, match=f"did not issue .*{name}"):
        Made(VALIDATION, {"certificateArn": certificate.id, "region": "us-east-1"})
    with pytest.raises(RuntimeError, match=f"missing DNS validation records: {name}"):
        Made(VALIDATION, {"certificateArn": certificate.id, "validationRecordFqdns": ["x"], "region": "us-east-1"})


def test_a_record_that_is_gone_can_not_be_deleted(clouds: World) -> None:
    """As with the real provider, until a refresh has seen that it is gone."""
    record = Made(RECORD, A_RECORD | {"zoneId": _zone_id("example.com")})
    record.delete()
    assert "" == record.read()[0]
    with pytest.raises(RuntimeError, match=r"delete it: Cloudflare DELETE .*: 404 Record does not exist. \(81044\)"):
        record.delete()


# --- The process ------------------------------------------------------------------------------------------------


def test_starting_a_provider_loads_neither_boto3_nor_all_of_the_sdk() -> None:
    """Both start for every preview."""
    code = (
        "import sys, sandbox.providers.aws as a, sandbox.providers.cloudflare as c\n"
        "from sandbox.providers.sdk_types import load_lightly\n"
        "[load_lightly(package) for package in ('pulumi_aws', 'pulumi_cloudflare')]\n"
        "[kind.sdk.problems({}, None) or kind.sdk.decided() for kind in (a.KINDS | c.KINDS).values()]\n"
        "heavy = {'boto3', 'botocore', 'pulumi_cloudflare.zone', 'pulumi_aws.s3.inventory', 'pulumi_aws.ec2'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "[]" == answer.stdout.strip()


def test_reading_the_sdks_types_leaves_the_sdk_whole() -> None:
    """In a process that uses the SDK too, as tests are, its lazily loaded packages keep their classes."""
    code = (
        "import sandbox.providers.aws as a, sandbox.providers.cloudflare as c\n"
        "[kind.sdk.inputs() for kind in (a.KINDS | c.KINDS).values()]\n"
        "import pulumi_aws, pulumi_cloudflare\n"
        "print(pulumi_aws.s3.Bucket.__name__, pulumi_aws.acm.Certificate.__name__, pulumi_cloudflare.Zone.__name__)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Bucket Certificate Zone" == answer.stdout.strip()


@pytest.mark.parametrize("package", ["aws", "cloudflare"])
def test_a_provider_ends_when_its_engine_is_gone(package: str) -> None:
    """A killed engine can end nobody: the provider sees that its parent is another."""
    launcher = ROOT / "sandbox" / "launchers" / f"pulumi-resource-{package}"
    code = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdin=0); p.wait()"
    reading, writing = os.pipe()  # whoever lives holds the writing end
    engine_process = subprocess.Popen(
        [sys.executable, "-c", code, str(launcher), "127.0.0.1:1"],
        stdout=writing,
        env={**os.environ, "MTA_STS_SANDBOX_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
    )
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as output:
        assert int(output.readline()) > 0
        engine_process.kill()
        engine_process.wait()
        assert "" == output.read()


def test_shapes_say_the_same_in_both_directions() -> None:
    """The normal form of a normal form is itself."""
    for kind, inputs in ((DISTRIBUTION, A_DISTRIBUTION), (RECORD, A_RECORD), (CERTIFICATE, A_CERTIFICATE)):
        shape: shapes.Shape = KINDS[kind].shape
        assert shape.normal(inputs) == shape.normal(shape.normal(inputs))
