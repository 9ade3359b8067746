"""Every rule: a stack that passes them all, and changes to it that break one each."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from pulumi_mta_sts_policies import RULES

from mta_sts import policy_id
from tests.policies.stacks import (
    ARN,
    BODY,
    BUCKET_POLICY,
    ENFORCE,
    UNKNOWN,
    Made,
    Stack,
    cloudflare,
    domain_more,
    judge,
    ours,
    republish,
    theirs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

WITH_POLICY_TEXT = Path(__file__).parent / "edge_code"
OTHER_CACHE = "658327ea-f89d-4fab-a63d-7e88639e58f6"


def bucket_policy(**changes: Any) -> str:
    """Return the bucket's policy with another first statement."""
    return json.dumps(
        BUCKET_POLICY | {"Statement": [BUCKET_POLICY["Statement"][0] | changes, *BUCKET_POLICY["Statement"][1:]]}
    )


def tls_only(**changes: Any) -> str:
    """Return the bucket's policy with another second statement."""
    return json.dumps({"Statement": [BUCKET_POLICY["Statement"][0], BUCKET_POLICY["Statement"][1] | changes]})


def opened_to(**more: Any) -> str:
    """Return the bucket's policy with one statement more."""
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"} | more
    return json.dumps({"Statement": [*BUCKET_POLICY["Statement"], allowed]})


FOREIGN = "arn:aws:cloudfront::999999999999:distribution/E9"
BOOL_IF_EXISTS = {"BoolIfExists": {"AWS:SecureTransport": False}}
OWN_ROLE = "arn:aws:iam::111111111111:role/deploy"
PLAIN = [
    ("policy-valid", "object", "content", "mode: enforce\n"),
    ("policy-clean", "object", "content", BODY.replace("mx: mx1", "mx:mx1")),
    ("policy-max-age", "object", "content", BODY.replace("604800", "3600")),
    ("policy-max-age", "object", "content", BODY.replace("604800", "31557601")),
    ("policy-media-type", "object", "contentType", "binary/octet-stream"),
    ("policy-media-type", "object", "contentType", None),
    ("policy-not-in-code", "function", "code", "return 'version: STSv1\\nmode: enforce'"),
    ("sts-record-valid", "sts", "content", '"v=STSv1; id=2026-11-24;"'),
    ("tlsrpt-record-valid", "reports", "content", '"v=TLSRPTv1; rua=tls-reports@example.com"'),
    ("tlsrpt-record-valid", "reports", "content", '"v=TLSRPTv1; rua=http://example.com/"'),
    ("id-matches-policy", "object", "metadata.sts-id", "20261124"),
    ("policy-host-dns-only", "host", "proxied", True),
    ("policy-host-certificate", "certificate", "domainName", "www.example.com"),
    ("policy-host-certificate", "distribution", "viewerCertificate.cloudfrontDefaultCertificate", True),
    ("policy-host-tls", "distribution", "viewerCertificate.minimumProtocolVersion", "TLSv1.1_2016"),
    ("policy-host-tls", "distribution", "viewerCertificate.minimumProtocolVersion", None),
    ("policy-host-no-redirect", "distribution", "defaultCacheBehavior.viewerProtocolPolicy", "redirect-to-https"),
    ("policy-host-no-redirect", "object", "websiteRedirect", "https://example.com/"),
    ("policy-host-serves", "distribution", "enabled", False),
    ("policy-host-serves", "distribution", "restrictions", {"geoRestriction": {"restrictionType": "whitelist"}}),
    ("policy-host-serves", "distribution", "customErrorResponses", [{"errorCode": 403.0, "responseCode": 200.0}]),
    ("policy-host-function", "function", "code", "return { statusCode: 301, headers: {} };"),
    ("policy-media-type", "object", "contentEncoding", "gzip"),
    ("policy-host-caching", "distribution", "defaultCacheBehavior.cachePolicyId", OTHER_CACHE),
    ("policy-host-caching", "distribution", "defaultCacheBehavior.cachePolicyId", None),
    ("bucket-private", "block", "restrictPublicBuckets", False),
    ("bucket-private", "block", "restrictPublicBuckets", None),
    ("bucket-versioned", "versioning", "versioningConfiguration.status", "Suspended"),
    ("bucket-origin-access", "distribution", "origins.0.originAccessControlId", None),
    ("bucket-origin-access", "reading", "policy", bucket_policy(Condition={})),
    ("bucket-origin-access", "reading", "policy", bucket_policy(Principal={"AWS": ["*"]})),
    (
        "bucket-origin-access",
        "reading",
        "policy",
        bucket_policy(Condition={"StringLike": {"aws:SourceArn": f"{ARN}*"}}),
    ),
    ("bucket-origin-access", "reading", "policy", bucket_policy(Condition={"StringNotEquals": {"AWS:SourceArn": ARN}})),
    (
        "bucket-origin-access",
        "reading",
        "policy",
        bucket_policy(Condition={"StringEquals": {"AWS:SourceArn": FOREIGN}}),
    ),
    (
        "bucket-origin-access",
        "reading",
        "policy",
        bucket_policy(Condition={"StringEquals": {"AWS:SourceArn": [ARN, FOREIGN]}}),
    ),
    ("bucket-origin-access", "reading", "policy", opened_to(NotPrincipal={"AWS": OWN_ROLE})),
    ("bucket-origin-access", "reading", "policy", opened_to(Principal={"AWS": "arn:aws:iam::999999999999:root"})),
    ("bucket-origin-access", "reading", "policy", opened_to(Principal={"AWS": [OWN_ROLE, "999999999999"]})),
    (
        "bucket-origin-access",
        "reading",
        "policy",
        opened_to(Principal={"AWS": "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E8"}),
    ),
    ("bucket-origin-access", "reading", "policy", opened_to(Principal={"CanonicalUser": "79a5"})),
    ("bucket-tls-only", "reading", "policy", tls_only(Action="s3:PutBucketTagging")),
    ("bucket-tls-only", "reading", "policy", tls_only(Resource=["arn:aws:s3:::other", "arn:aws:s3:::other/*"])),
    ("bucket-tls-only", "reading", "policy", tls_only(Resource="arn:aws:s3:::policies")),
    ("bucket-tls-only", "reading", "policy", tls_only(Condition={"StringNotEquals": {"aws:SecureTransport": "false"}})),
    (
        "bucket-tls-only",
        "reading",
        "policy",
        tls_only(Condition={"Bool": {"aws:SecureTransport": "false", "aws:ViaAWSService": "true"}}),
    ),
    ("bucket-tls-only", "reading", "policy", tls_only(NotPrincipal={"AWS": OWN_ROLE})),
    ("bucket-tls-only", "reading", "policy", bucket_policy(Sid="x").replace('"false"', '"true"')),
    (
        "bucket-tls-only",
        "reading",
        "policy",
        json.dumps({"Statement": BUCKET_POLICY["Statement"][1] | {"Effect": "None"}}),
    ),
    ("bucket-tls-only", "reading", "policy", json.dumps({"Statement": BUCKET_POLICY["Statement"][0]})),
]
"""A rule, and the value at one place that breaks it: resource, property, value."""


def _without(*names: str) -> Callable[[Stack], None]:
    return lambda stack: [stack.pop(name) for name in names] and None


def _unprotected(name: str) -> Callable[[Stack], None]:
    return lambda stack: setattr(stack[name], "protect", False)


def _ordered_behaviour(stack: Stack) -> None:
    """Let another behaviour answer for the policy's path."""
    behaviour = stack["distribution"].props["defaultCacheBehavior"]
    stack["distribution"].props["orderedCacheBehaviors"] = [
        behaviour | {"pathPattern": "/images/*"},
        behaviour | {"pathPattern": "/.well-known/*", "cachePolicyId": OTHER_CACHE},
    ]


def _own_cache_policy(stack: Stack) -> None:
    stack["caching"] = Made("aws:cloudfront/cachePolicy:CachePolicy", {"id": "own", "maxTtl": 60.0, "defaultTtl": 60.0})
    stack["distribution"].props["defaultCacheBehavior"]["cachePolicyId"] = UNKNOWN
    stack["distribution"].values["defaultCacheBehavior"] = ["caching"]


def _life_cycle(**rule: Any) -> Callable[[Stack], None]:
    made = Made(
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        {"bucket": "policies", "rules": [{"id": "clean", "status": "Enabled", **rule}]},
        values={"bucket": ["bucket"]},
    )
    return lambda stack: stack.update(life=made)


EARLIER = {"noncurrentVersionExpiration": {"noncurrentDays": 30.0}}


def native(stack: Stack) -> Stack:
    """Let the bucket be one of the other AWS provider, which states everything itself."""
    stack["bucket"] = Made(
        "aws-native:s3:Bucket",
        {
            "bucketName": "policies",
            "publicAccessBlockConfiguration": {
                key: value for key, value in stack["block"].props.items() if key != "bucket"
            },
            "versioningConfiguration": {"status": "Enabled"},
            "bucketEncryption": {"serverSideEncryptionConfiguration": []},
        },
    )
    stack["reading"].type = "aws-native:s3:BucketPolicy"
    stack["reading"].props = {"bucket": "policies", "policyDocument": json.loads(json.dumps(BUCKET_POLICY))}
    for name in ("block", "versioning", "encryption"):
        del stack[name]
    return stack


POLICY_TEXT = "version: STSv1\nmode: enforce\n"


def _code(kind: str, **props: Any) -> tuple[str, Callable[[Stack], None]]:
    return "policy-not-in-code", lambda stack: stack.update(code=Made(kind, props))


def _wildcard(stack: Stack) -> Stack:
    """Let the policy host have no alias of its own."""
    stack["distribution"].props["aliases"] = ["*.example.com"]
    return stack


def _behaviour(stack: Stack, **times: float) -> None:
    """Let the behaviour itself say how long an edge keeps what it has."""
    behaviour = stack["distribution"].props["defaultCacheBehavior"]
    del behaviour["cachePolicyId"]
    behaviour |= times


def _kept_as_the_object_says(stack: Stack) -> None:
    _behaviour(stack, defaultTtl=0.0)
    stack["object"].props["cacheControl"] = "max-age=86400"


def _cache_policy_of_another_path(stack: Stack) -> None:
    """Refer to one that keeps nothing, where no policy is served."""
    stack["caching"] = Made("aws:cloudfront/cachePolicy:CachePolicy", {"id": "own", "maxTtl": 0.0, "defaultTtl": 0.0})
    other = {"pathPattern": "/images/*", "cachePolicyId": "own", "targetOriginId": "policies"}
    stack["distribution"].props["orderedCacheBehaviors"] = [other]
    stack["distribution"].values["orderedCacheBehaviors"] = ["caching"]
    stack["distribution"].put("defaultCacheBehavior.cachePolicyId", OTHER_CACHE)


def _foreign_id(stack: Stack) -> None:
    """Publish as others do: no id with the object, a time stamp in DNS."""
    del stack["object"].props["metadata"]
    stack["sts"].props["content"] = '"v=STSv1; id=20261124T0815;"'


BROKEN: list[tuple[str, Callable[[Stack], Any]]] = [
    ("sts-record-single", lambda stack: stack.update(second=stack["sts"])),
    ("tlsrpt-record-single", lambda stack: stack.update(second=stack["reports"])),
    ("id-matches-policy", lambda stack: stack["sts"].put("content", f'"v=STSv1; id={policy_id(BODY, "another")};"')),
    (
        "policy-host-dns-only",
        lambda stack: stack.update(
            proof=Made("cloudflare:index/record:Record", {"name": "_x.mta-sts.example.com", "proxied": True})
        ),
    ),
    ("id-from-content", _foreign_id),
    ("id-after-policy", lambda stack: stack["sts"].after.remove("object")),
    ("mx-covered", lambda stack: stack.update(mx3=cloudflare("example.com", "MX", "mx3.example.com"))),
    ("mx-pattern-unused", _without("mx2")),
    ("policy-host-certificate", lambda stack: stack["distribution"].props["aliases"].append("mta-sts.example.net")),
    ("policy-host-caching", _ordered_behaviour),
    ("policy-host-caching", _own_cache_policy),
    ("policy-host-caching", _cache_policy_of_another_path),
    ("policy-host-caching", lambda stack: _behaviour(stack, minTtl=86400.0, maxTtl=0.0)),
    ("policy-host-caching", lambda stack: _behaviour(stack, minTtl=600.0, defaultTtl=0.0, maxTtl=0.0)),
    ("policy-host-caching", lambda stack: _behaviour(stack, maxTtl=60.0)),
    ("policy-host-caching", _kept_as_the_object_says),
    (
        "sts-record-single",
        lambda stack: stack.update(other=cloudflare("_mta-sts.example.com", "CNAME", "x.example.net")),
    ),
    ("tlsrpt-record-single", lambda stack: stack.update(c=cloudflare("_smtp._tls.example.com", "CNAME", "x.example"))),
    _code("aws:cloudfront/keyvaluestoreKey:KeyvaluestoreKey", value=POLICY_TEXT),
    _code(
        "aws:cloudfront/keyvaluestoreKeysExclusive:KeyvaluestoreKeysExclusive",
        resourceKeyValuePairs=[{"key": "a", "value": "b"}, {"key": "policy", "value": POLICY_TEXT}],
    ),
    _code("aws:lambda/function:Function", code=pulumi.AssetArchive({"i.js": pulumi.StringAsset(POLICY_TEXT)})),
    _code("aws:lambda/function:Function", code=pulumi.FileArchive(str(WITH_POLICY_TEXT))),
    _code("cloudflare:index/workersKv:WorkersKv", value=POLICY_TEXT),
    _code("cloudflare:index/workersScript:WorkersScript", content=POLICY_TEXT),
    _code(
        "cloudflare:index/workerVersion:WorkerVersion",
        modules=[{"name": "a", "contentBase64": base64.b64encode(POLICY_TEXT.encode()).decode()}],
    ),
    _code(
        "cloudflare:index/workerVersion:WorkerVersion",
        modules=[{"name": "a", "contentFile": str(WITH_POLICY_TEXT / "policy.txt")}],
    ),
    (
        "policy-host-tls",
        lambda stack: _wildcard(stack)["distribution"].put("viewerCertificate.minimumProtocolVersion", "TLSv1"),
    ),
    (
        "policy-host-no-redirect",
        lambda stack: _wildcard(stack)["distribution"].put(
            "defaultCacheBehavior.viewerProtocolPolicy", "redirect-to-https"
        ),
    ),
    (
        "policy-host-caching",
        lambda stack: _wildcard(stack)["distribution"].put("defaultCacheBehavior.cachePolicyId", OTHER_CACHE),
    ),
    ("bucket-private", _without("block")),
    ("bucket-versioned", _without("versioning")),
    ("bucket-encrypted", _without("encryption")),
    ("bucket-remembers", _life_cycle(**EARLIER)),
    ("bucket-remembers", _life_cycle(**EARLIER, filter={"prefix": "example.com/"})),
    ("bucket-remembers", _life_cycle(expiration={"days": 400.0})),
    ("bucket-remembers", lambda stack: stack["bucket"].put("lifecycleRules", [{"enabled": True, **EARLIER}])),
    ("bucket-private", lambda stack: native(stack)["bucket"].put("publicAccessBlockConfiguration", None)),
    (
        "bucket-private",
        lambda stack: native(stack)["bucket"].put("publicAccessBlockConfiguration.blockPublicAcls", False),
    ),
    ("bucket-versioned", lambda stack: native(stack)["bucket"].put("versioningConfiguration.status", "Suspended")),
    ("bucket-encrypted", lambda stack: native(stack)["bucket"].put("bucketEncryption", None)),
    (
        "bucket-tls-only",
        lambda stack: (
            native(stack)["reading"].put("policyDocument.Statement.1.Effect", "Allow")
            or stack["reading"].put("policyDocument.Statement.1.Principal", {"Service": "x.amazonaws.com"})
        ),
    ),
    ("bucket-origin-access", lambda stack: native(stack)["reading"].put("policyDocument.Statement.0.Condition", {})),
    (
        "bucket-remembers",
        lambda stack: native(stack)["bucket"].put(
            "lifecycleConfiguration", {"rules": [{"status": "Enabled", "noncurrentVersionExpirationInDays": 7.0}]}
        ),
    ),
    ("bucket-tls-only", _without("reading")),
    ("tlsrpt-present", _without("reports")),
    ("enforce-evidence", lambda stack: republish(stack, ENFORCE)),
    *(("protected", _unprotected(name)) for name in ("sts", "reports", "mx1", "bucket")),
]
"""A rule, and the change of a stack that breaks it."""


@pytest.mark.parametrize("make", [ours, theirs])
def test_a_good_stack_breaks_no_rule(make: Callable[[], Stack]) -> None:
    """Ours, and the same in the style of others: nothing is found, and nothing is unsure."""
    verdict = judge(make())
    assert ({}, {}) == (verdict.violations, verdict.unsure)


@pytest.mark.parametrize(("rule", "name", "path", "value"), PLAIN)
def test_one_wrong_value_breaks_one_rule(rule: str, name: str, path: str, value: object) -> None:
    """That rule says so, and no other one."""
    stack = ours()
    if name == "object" and path == "content":
        republish(stack, str(value))
    else:
        stack[name].put(path, value)
    assert {rule} == set(judge(stack).violations)


@pytest.mark.parametrize(("rule", "change"), BROKEN)
def test_one_change_of_a_stack_breaks_one_rule(rule: str, change: Callable[[Stack], Any]) -> None:
    """That rule says so, and no other one."""
    stack = ours()
    change(stack)
    assert {rule} == set(judge(stack).violations)


WEBSITE = Made(
    "aws:cloudfront/distribution:Distribution",
    {"aliases": ["*.example.com"], "defaultCacheBehavior": {"viewerProtocolPolicy": "redirect-to-https"}},
)


@pytest.mark.parametrize(
    "change",
    [
        _wildcard,
        lambda stack: stack.update(website=WEBSITE),
        lambda stack: [
            stack.update(website=WEBSITE, host=cloudflare("mta-sts.example.com", "CNAME", "mta-sts.example.net")),
            stack["distribution"].put("aliases", []),
            stack["reading"].put("policy", bucket_policy(Sid="x")),
        ],
        lambda stack: stack.update(
            website=Made("aws:cloudfront/function:Function", {"arn": "x", "code": "return { statusCode: 301 };"})
        ),
        native,
        _life_cycle(noncurrentVersionExpiration={"noncurrentDays": 366.0}),
        _life_cycle(abortIncompleteMultipartUpload={"daysAfterInitiation": 1.0}),
        _life_cycle(**EARLIER, filter={"prefix": "logs/"}),
        _life_cycle(**EARLIER, filter={"tag": {"key": "a", "value": "b"}}),
        lambda stack: _life_cycle(**EARLIER)(stack) or stack["life"].put("rules.0.status", "Disabled"),
        lambda stack: stack["reading"].put("policy", opened_to(Principal={"AWS": OWN_ROLE})),
        lambda stack: stack["reading"].put("policy", tls_only(Resource="*", Condition=BOOL_IF_EXISTS)),
        lambda stack: stack["reading"].put("policy", bucket_policy(Condition={"ArnLike": {"aws:SourceArn": [ARN]}})),
    ],
)
def test_what_is_as_good_breaks_no_rule(change: Callable[[Stack], Any]) -> None:
    """Another way to say the same, or what is about something else."""
    stack = ours()
    change(stack)
    verdict = judge(stack)
    assert ({}, {}) == (verdict.violations, verdict.unsure)


def test_another_account_may_be_allowed() -> None:
    """By the rule's setting."""
    stack = ours()
    stack["reading"].props["policy"] = opened_to(Principal={"AWS": "arn:aws:iam::999999999999:role/reader"})
    assert {"bucket-origin-access"} == set(judge(stack).violations)
    assert {} == judge(stack, {"bucket-origin-access": {"accounts": ["999999999999"]}}).violations


def test_a_distribution_without_an_id_is_not_taken_for_a_foreign_one() -> None:
    """It is being made: the rule says that it can't tell."""
    stack = ours()
    del stack["distribution"].props["arn"]
    verdict = judge(stack)
    assert {} == verdict.violations
    assert "no id yet" in verdict.unsure["bucket-origin-access"]


def test_an_edge_that_keeps_nothing_may_say_so_in_any_way() -> None:
    """By times of its own, by a cache policy of the stack, known or in the making."""
    zero = {"minTtl": 0.0, "defaultTtl": 0.0, "maxTtl": 0.0}
    stack = ours()
    _behaviour(stack, **zero)
    assert {} == judge(stack).violations
    for given in ("own", UNKNOWN):
        stack = ours()
        stack["caching"] = Made("aws:cloudfront/cachePolicy:CachePolicy", {"id": given, **zero})
        stack["distribution"].values["defaultCacheBehavior"] = ["caching"]
        stack["distribution"].put("defaultCacheBehavior.cachePolicyId", given)
        verdict = judge(stack)
        assert ({}, {}) == (verdict.violations, verdict.unsure)


def test_which_of_two_new_cache_policies_answers_is_not_guessed() -> None:
    """Neither has an id yet."""
    stack = ours()
    _own_cache_policy(stack)
    stack["other"] = Made("aws:cloudfront/cachePolicy:CachePolicy", {"id": UNKNOWN, "maxTtl": 0.0, "defaultTtl": 0.0})
    stack["distribution"].values["orderedCacheBehaviors"] = ["other"]
    verdict = judge(stack)
    assert {} == verdict.violations
    assert "policy-host-caching" in verdict.unsure


def test_every_rule_is_broken_by_some_test() -> None:
    """A rule that no test breaks may never find anything."""
    floor = {"policy-max-age-enforce"}  # tested with enforce, below
    assert {rule.name for rule in RULES} == {name for name, *_ in PLAIN} | {name for name, _ in BROKEN} | floor


def test_rules_hold_for_others_too() -> None:
    """On Route 53, with a bucket for one domain, the same faults are found."""
    changes: dict[str, Callable[[Stack], Any]] = {
        "sts-record-valid": lambda stack: stack["sts"].put("records.0", "v=STSv1; id=a-b;"),
        "sts-record-single": lambda stack: stack["sts"].props["records"].extend(stack["sts"].props["records"]),
        "tlsrpt-record-valid": lambda stack: stack["reports"].put("records.0", 'v=TLSRPTv1; ""rua=nowhere'),
        "mx-covered": lambda stack: stack["mx1"].props["records"].append("30 mx3.example.com."),
        "mx-pattern-unused": lambda stack: stack["mx1"].props["records"].pop(),
        "id-after-policy": lambda stack: stack["sts"].after.remove("object"),
        "tlsrpt-present": _without("reports"),
        "bucket-versioned": _without("versioning"),
    }
    for rule, change in changes.items():
        stack = theirs()
        change(stack)
        assert {rule} == set(judge(stack).violations), rule


def test_a_policy_of_others_is_found_without_its_domain() -> None:
    """By the distribution of its bucket; lacking that, where the stack has one domain only."""
    for gone in ([], ["distribution"]):
        stack = theirs()
        for name in gone:
            del stack[name]
            stack["object"].after.clear()
            stack["reading"].values["policy"] = ["bucket"]
        stack["mx1"].props["records"].append("30 mx3.example.com.")
        assert {"mx-covered"} == set(judge(stack).violations)


def test_a_zone_of_another_stack_is_known_by_its_id() -> None:
    """Relative names in one zone belong together though the zone's name can't be seen."""
    stack = theirs()
    del stack["zone"]
    for made in stack.values():
        made.values.pop("zoneId", None)
    stack["reports"].props["name"] = "_smtp._tls"
    stack["distribution"].props["aliases"] = ["mta-sts.example.com"]
    stack["object"].props["bucket"] = "elsewhere"
    stack["object"].values.clear()
    assert {} == judge(stack).violations
    stack["mx1"].props["records"].append("30 mx3.example.com.")
    assert {"mx-covered"} == set(judge(stack).violations)


def test_each_domain_is_judged_by_its_own_policy() -> None:
    """A second domain's MX host is compared with the second domain's patterns."""
    stack = ours()
    domain_more(stack, BODY.replace("mx1.example.com", "mx.example.net"))
    stack["distribution"].props["aliases"].append("mta-sts.example.net")
    stack["certificate"].props["subjectAlternativeNames"] = ["mta-sts.example.com", "mta-sts.example.net"]
    stack["other-mx"] = cloudflare("example.net", "MX", "mx.example.net")
    stack["other-mx2"] = cloudflare("example.net", "MX", "mx2.example.com")
    assert {} == judge(stack).violations
    stack["other-mx3"] = cloudflare("example.net", "MX", "mx1.example.com")
    assert ["mx1.example.com matches no pattern of example.net's policy"] == [
        message.partition(" (")[0] for message in judge(stack).violations["mx-covered"]
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content", BODY),
        ("contentBase64", "dmVyc2lvbjogU1RTdjEKbW9kZTogZW5mb3JjZQo="),
        ("source", pulumi.StringAsset("mode: enforce")),
        ("source", pulumi.FileAsset("policy.txt")),
    ],
)
def test_a_body_is_read_wherever_it_stands(
    name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text, as base64, as an asset in the program or in a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.txt").write_text("version: STSv1\n")
    stack = ours()
    del stack["object"].props["content"]
    stack["object"].props[name] = value
    assert ("content" != name) == ("policy-valid" in judge(stack).violations)


@pytest.mark.parametrize(
    "made",
    [
        Made("aws:s3/bucketObject:BucketObject", {"bucket": UNKNOWN, "key": UNKNOWN, "content": "x"}),
        Made("foo:bar:CustomObject", {"name": UNKNOWN}),
        Made("aws:cloudfront/distribution:Distribution", {"aliases": [UNKNOWN]}),
        Made("aws:cloudfront/function:Function", {"code": UNKNOWN}),
        cloudflare(UNKNOWN, "TXT", "x"),
        cloudflare(UNKNOWN, "CNAME", UNKNOWN),
        cloudflare("example.com", "MX", UNKNOWN),
        Made("cloudflare:index/dnsRecord:DnsRecord", {"name": UNKNOWN, "type": "CNAME", "proxied": True}),
        Made("aws:route53/record:Record", {"name": "x", "type": UNKNOWN, "records": [UNKNOWN]}),
    ],
    ids=lambda made: made.type.rpartition(":")[2],
)
def test_a_stack_without_mta_sts_hears_nothing(made: Made) -> None:
    """Whatever is not known in it; where there is something of MTA-STS, that it may matter is said."""
    verdict = judge({"other": made})
    assert ({}, {}) == (verdict.violations, verdict.unsure)
    verdict = judge(ours() | {"other": made})
    assert {} == verdict.violations
    assert bool(verdict.unsure) == (made.type != "foo:bar:CustomObject")


@pytest.mark.parametrize(
    ("made", "rule"),
    [
        (cloudflare("@", "MX", "evil.example.net"), "mx-covered"),
        (cloudflare("_mta-sts", "TXT", '"v=STSv1; id=x;"'), "sts-record-single"),
        (cloudflare("_smtp._tls", "TXT", '"v=TLSRPTv1; rua=mailto:a@example.com"'), "tlsrpt-record-single"),
    ],
)
def test_a_name_relative_to_a_zone_that_is_not_seen_is_said_to_be(made: Made, rule: str) -> None:
    """It may be a name of the very domain."""
    verdict = judge(ours() | {"other": made})
    assert {} == verdict.violations
    assert "other: its name is relative to a zone" in verdict.unsure[rule]


@pytest.mark.parametrize(("name", "relative"), [("mx1", "@"), ("reports", "_smtp._tls")])
def test_a_relative_record_is_not_taken_for_a_missing_one(name: str, relative: str) -> None:
    """The only one may be the domain's."""
    stack = ours()
    stack[name].props["name"] = relative
    verdict = judge(stack)
    assert {} == verdict.violations
    assert {"mx1": "mx-pattern-unused", "reports": "tlsrpt-present"}[name] in verdict.unsure


@pytest.mark.parametrize("source", [pulumi.RemoteAsset("https://x.invalid/"), pulumi.FileAsset("gone"), None, "b/key"])
def test_a_body_that_can_not_be_seen_is_never_taken_for_a_good_one(source: object) -> None:
    """The rules about it say that they can't judge."""
    stack = ours()
    del stack["object"].props["content"]
    stack["object"].props["source"] = source
    verdict = judge(stack)
    assert {} == verdict.violations
    assert {"policy-valid", "policy-max-age", "id-matches-policy", "mx-covered"} <= set(verdict.unsure)


def leaves(value: Any, path: str = "") -> list[str]:
    """Return the dotted path of every value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return [path]
    return [leaf for key, inner in items for leaf in leaves(inner, f"{path}.{key}" if path else str(key))]


PLACES = [(make, name, path) for make in (ours, theirs) for name, made in make().items() for path in leaves(made.props)]


@pytest.mark.parametrize(("make", "name", "path"), PLACES)
def test_an_unknown_value_is_no_violation_and_no_crash(make: Callable[[], Stack], name: str, path: str) -> None:
    """Whatever a preview can't know of a good stack, the rules find nothing wrong with it."""
    stack = make()
    stack[name].put(path, UNKNOWN)
    assert {} == judge(stack).violations


@pytest.mark.parametrize(
    ("rule", "name", "path"),
    sorted({(rule, name, path) for rule, name, path, _ in PLAIN if path in leaves(ours()[name].props)}),
)
def test_what_decides_a_rule_is_never_silently_unknown(rule: str, name: str, path: str) -> None:
    """A rule that can't see the value that it judges says so."""
    stack = ours()
    stack[name].put(path, UNKNOWN)
    assert rule in judge(stack).unsure


def test_an_unknown_value_hides_no_other_fault() -> None:
    """What can be judged is, and the unknown one is named beside it."""
    stack = ours()
    stack["mx1"].props["content"] = UNKNOWN
    stack["mx3"] = cloudflare("example.com", "MX", "mx3.example.com")
    verdict = judge(stack)
    assert ["mx-covered"] == [*verdict.violations]
    assert "mx1" in verdict.unsure["mx-covered"]


def test_a_mode_of_none_asks_for_little() -> None:
    """A domain that leaves may have a small max_age, other MX hosts, and no reports."""
    stack = ours()
    republish(stack, BODY.replace("testing", "none").replace("604800", "3600"))
    stack["mx3"] = cloudflare("example.com", "MX", "mx3.example.com")
    del stack["reports"]
    assert {} == judge(stack).violations


def test_records_that_are_being_taken_over_may_show_the_old_id() -> None:
    """Another's id stays as it is in the update that imports it; the next one publishes ours."""
    stack = ours()
    stack["object"].props["metadata"]["sts-adopted"] = "r1"
    stack["sts"] = cloudflare("_mta-sts.example.com", "TXT", '"v=STSv1; id=old1;"')
    assert {} == judge(stack).violations


def test_what_a_component_made_is_not_judged_twice() -> None:
    """It knows the policies already served; a pack sees none of them."""
    stack = ours()
    republish(stack, ENFORCE)
    for made in stack.values():
        made.protect = False
    parent = "urn:pulumi:test::project::mta-sts:index:{}::made"
    for name in ("object", "sts", "reports", "mx1", "mx2"):
        stack[name].parent = parent.format("MtaSts")
    stack["bucket"].parent = parent.format("MtaSts$mta-sts:index:PolicyHost")
    assert {} == judge(stack).violations
    stack["object"].parent = parent.format("MtaSts").replace("mta-sts:", "other:")
    assert {"enforce-evidence"} == set(judge(stack).violations)


def test_another_body_under_the_same_id_is_found() -> None:
    """Object and record agree on an id that was made for other bytes."""
    stack = ours()
    stack["object"].props["content"] = BODY.replace("604800", "604801")
    assert {"id-matches-policy", "id-from-content"} == set(judge(stack).violations)


def test_a_max_age_that_no_sender_takes_is_named_once() -> None:
    """Not for being too short as well."""
    stack = ours()
    republish(stack, BODY.replace("604800", "0"))
    (message,) = judge(stack).violations["policy-max-age"]
    assert "max-age-range" in message


def test_a_delegated_report_record_counts() -> None:
    """A CNAME at `_smtp._tls`."""
    stack = ours()
    stack["reports"].props |= {"type": "CNAME", "content": "reports.example.net"}
    assert {} == judge(stack).violations


def test_a_bucket_of_many_domains_is_named_once() -> None:
    """However many policies it holds."""
    stack = ours()
    domain_more(stack, BODY)
    stack["bucket"].protect = False
    assert 1 == len(judge(stack).violations["protected"])


def test_a_key_may_name_the_host_instead_of_the_domain() -> None:
    """`mta-sts.example.com/…` is the policy of `example.com`."""
    stack = ours()
    stack["object"].props["key"] = "policies/MTA-STS.example.com/.well-known/mta-sts.txt"
    stack["mx3"] = cloudflare("example.com", "MX", "mx3.example.com")
    assert {"mx-covered"} == set(judge(stack).violations)


def test_policies_whose_domain_can_not_be_told_are_not_mixed_up() -> None:
    """Two objects without a domain in their keys, and no distribution that says whose they are."""
    stack = theirs()
    domain_more(stack, BODY)
    stack["other-object"].props["key"] = ".well-known/mta-sts.txt"
    for name in ("distribution", "reading"):
        del stack[name]
    stack["object"].after.clear()
    stack["other-object"].after.clear()
    stack["mx1"].props["records"].append("30 mx3.example.com.")
    assert {"bucket-tls-only"} == set(judge(stack).violations)


@pytest.mark.parametrize(
    ("rule", "name"),
    [("bucket-private", "block"), ("bucket-versioned", "versioning"), ("bucket-encrypted", "encryption")],
)
def test_a_setting_of_an_unknown_bucket_is_not_taken_for_a_missing_one(rule: str, name: str) -> None:
    """It may be the very bucket; the rule says that it can't tell."""
    stack = ours()
    stack[name].values.clear()
    stack[name].props["bucket"] = UNKNOWN
    verdict = judge(stack)
    assert {} == verdict.violations
    assert rule in verdict.unsure


def test_a_relative_name_in_an_unknown_zone_is_said_to_be_unknown() -> None:
    """A full name needs no zone."""
    stack = theirs()
    for name in ("sts", "reports"):
        stack[name].values.clear()
        stack[name].props["zoneId"] = UNKNOWN
    verdict = judge(stack)
    assert {} == verdict.violations
    assert "sts: string value at .zoneId" in verdict.unsure["sts-record-single"]
    assert "tlsrpt-record-single" not in verdict.unsure
