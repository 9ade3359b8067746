"""What is refused before anything is registered, and how it is said."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from pulumi_mta_sts import JudgedHost, MtaSts, PolicyHost, judge, judge_host

from mta_sts import content_id
from tests.components.mocked import CALLER, OWN, RECORDS, TARGET, ZONES, World, deploy, refusal

GOOD: dict[str, Any] = {
    "domain": "example.com",
    "mx": ["mx1.example.com"],
    "reports": ["mailto:tls-reports@example.com"],
    "host": {"bucket": "policies", "target": TARGET},
}
ALONE = {key: value for key, value in GOOD.items() if key != "host"}


def refused(world: World, *domains: dict[str, Any]) -> tuple[str, list[str]]:
    """Return message and paths with which domains are refused together, in preview and in update alike."""

    def program() -> None:
        judge([GOOD | domain for domain in domains], JudgedHost("policies"))
        raise AssertionError("not refused")

    previewed = refusal(world, program, preview=True)
    assert previewed == refusal(world, program, preview=False)
    return previewed


def refused_component(world: World, args: dict[str, Any]) -> tuple[str, list[str]]:
    """Return message and paths with which the component is refused: not even itself is registered."""
    return refusal(world, lambda: MtaSts("mail", args))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (("TXT", "_mta-sts.example.com", '"some other text"'), ["only one TXT", "some other text"]),
        (
            ("CNAME", "_mta-sts.example.com", "_mta-sts.provider.example"),
            ["hides every TXT", "_mta-sts.provider.example"],
        ),
        (("TXT", "_smtp._tls.example.com", '"v=spf1 -all"'), ["only one TXT", "v=spf1"]),
        (("TXT", "_mta-sts.example.com", '"v=STSv1x; id=1"'), ["beginning `v=STSv1;`", "v=STSv1x"]),
        (("TXT", "_mta-sts.example.com", '"v=STSv1 ; id=1"'), ["beginning `v=STSv1;`", "v=STSv1 ;"]),
        (
            ("TXT", "_smtp._tls.example.com", '"v=TLSRPTv10; rua=mailto:x@example.com"'),
            ["beginning `v=TLSRPTv1;`", "v=TLSRPTv10"],
        ),
        (("A", "mta-sts.example.com", "192.0.2.1"), ["needs a CNAME", "192.0.2.1"]),
        (("AAAA", "mta-sts.example.com", "2001:db8::1"), ["needs a CNAME", "2001:db8::1"]),
        (("TXT", "mta-sts.example.com", '"v=spf1 -all"'), ["needs a CNAME", "v=spf1"]),
        (("MX", "mta-sts.example.com", "mx.provider.example"), ["needs a CNAME", "mx.provider.example"]),
        (("CAA", "mta-sts.example.com", '0 issue "amazon.com"'), ["needs a CNAME", "amazon.com"]),
    ],
)
@pytest.mark.parametrize("adopt", [False, True])
def test_what_can_not_stand_there_is_named(
    world: World, record: tuple[str, str, str], words: list[str], adopt: bool
) -> None:
    """A foreign text, a CNAME, an address: named with its id, and not something that can be adopted."""
    world.has(*record)
    message, paths = refused(world, {"adopt": adopt})
    assert ["domains[0].domain"] == paths
    for word in [*words, "zone-1-record-1", "remove it"]:
        assert word in message


DELEGATED = [
    ("new.example.com", "new.example.com"),
    ("a.new.example.com", "new.example.com"),
    ("example.com", "mta-sts.example.com"),
    ("example.com", "_mta-sts.example.com"),
    ("example.com", "_smtp._tls.example.com"),
    ("example.com", "_tls.example.com"),
]


@pytest.mark.parametrize(("domain", "at"), DELEGATED)
@pytest.mark.parametrize("adopt", [False, True])
def test_a_name_that_the_zone_gave_away_is_refused(world: World, domain: str, at: str, adopt: bool) -> None:
    """Other servers answer there: what would be made is never seen. Said once, with the records and both ways out."""
    world.has("NS", at, "ns1.elsewhere.invalid")
    world.has("NS", at, "ns2.elsewhere.invalid")
    message, paths = refused(world, {"domain": domain, "adopt": adopt})
    assert ["domains[0].domain"] == paths
    assert f"delegates {at} to other name servers" in message
    for word in ("ns1.elsewhere.invalid", "zone-1-record-2", "zone example.com", "remove the NS records"):
        assert word in message


@pytest.mark.parametrize("at", ["new.example.com", "mta-sts.new.example.com"])
def test_a_certificate_is_not_asked_for_where_the_zone_gave_the_name_away(world: World, at: str) -> None:
    """ACM would wait for a record that nobody sees; the domain's own host and the domain say it once."""
    world.has("NS", at, "ns1.elsewhere.invalid")
    for args in (ALONE, GOOD):
        message, paths = refused_component(world, args | {"domain": "new.example.com"})
        assert ["domain"] == paths
        assert "[name-delegated]" in message
    hosted = {"domains": [{"domain": "new.example.com"}]}
    assert ["domains[0].domain"] == refusal(world, lambda: PolicyHost("host", hosted))[1]


@pytest.mark.parametrize("at", ["example.com", "other.example.com", "ew.example.com", "below.mta-sts.new.example.com"])
def test_other_delegations_stop_nothing(world: World, at: str) -> None:
    """The zone's own NS records, those of another name, and those below."""
    world.has("NS", at, "ns1.elsewhere.invalid")
    assert "mail-sts-record" in deploy(world, lambda: MtaSts("mail", ALONE | {"domain": "new.example.com"}))


def test_reports_that_are_not_asked_for_need_no_name(world: World) -> None:
    """Without `reports` nothing is made at `_smtp._tls`."""
    world.has("NS", "_smtp._tls.example.com", "ns1.elsewhere.invalid")
    silent = {key: value for key, value in GOOD.items() if key != "reports"}
    assert "mail-sts-record" in deploy(world, lambda: MtaSts("mail", silent))


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("TXT", "_mta-sts.example.com", '"v=STSv1; id=1"'),
        ("TXT", "_smtp._tls.example.com", "v=TLSRPTv1; rua=mailto:x@example.com"),
        ("CNAME", "mta-sts.example.com", "elsewhere.example"),
    ],
)
def test_a_record_that_exists_is_named_and_never_overwritten(world: World, kind: str, name: str, content: str) -> None:
    """Somebody else's record stops the change; ours, or one that is adopted, does not."""
    record = world.has(kind, name, content)
    message, _ = refused(world, {})
    assert f"{name} {kind} {content} (record zone-1-record-1) exists already" in message
    assert "`adopt: true`" in message
    deploy(world, lambda: judge([GOOD | {"adopt": True}], JudgedHost("policies")))
    record["comment"] = OWN
    deploy(world, lambda: judge([GOOD], JudgedHost("policies")))


@pytest.mark.parametrize("adopt", [False, True])
def test_two_sts_records_are_both_named(world: World, adopt: bool) -> None:
    """Senders see no policy at all (RFC 8461 §3.1), even if one of them is ours."""
    world.has("TXT", "_mta-sts.example.com", '"v=STSv1; id=1"', comment=OWN)
    world.has("TXT", "_mta-sts.example.com", '"v=STSv1; id=2"')
    message, _ = refused(world, ENFORCE | {"adopt": adopt})
    assert "2 `v=STSv1;` records" in message
    assert "zone-1-record-1" in message
    assert "zone-1-record-2" in message


def test_managed_mx_records_leave_none_of_others(world: World) -> None:
    """An MX that nobody declared, and a second record for one host, are named: before `enforce` as a warning."""
    world.has("MX", "example.com", "mx1.example.com", priority=10.0)
    world.has("MX", "example.com", "mx1.example.com", priority=20.0)
    world.has("MX", "example.com", "intruder.example", priority=5.0)
    managed = GOOD | {"manage_mx": True, "mx": [{"host": "mx1.example.com", "preference": 10}], "adopt": True}
    message, _ = refused(world, managed | {"mode": "enforce", "acknowledge": "tested"})
    assert "2 problem(s)" in message
    assert "intruder.example" in message
    assert "names the same host" in message
    run = deploy(world, lambda: MtaSts("mail", managed))
    assert 2 == sum("record-in-the-way" in warning for warning in run.warnings)
    assert "mail-mx-intruder.example" not in run


def test_a_live_mx_that_no_pattern_covers_stops_enforce_only(world: World) -> None:
    """Senders in enforce would not use it; in testing it is a warning (RFC 8461 §5)."""
    world.has("MX", "example.com", "mx1.example.com", priority=10.0)
    world.has("MX", "example.com", "a.b.example.net", priority=20.0)
    mx = {"mx": ["mx1.example.com", "*.example.net"]}
    message, paths = refused(world, mx | {"mode": "enforce", "acknowledge": "a reason"})
    assert ["domains[0].mx"] == paths
    assert "a.b.example.net matches no declared pattern" in message
    run = deploy(world, lambda: judge([GOOD | mx], JudgedHost("policies")))
    assert 2 == len(run.warnings)  # the host, and the pattern that matches nothing
    assert all(warning.startswith("example.com: ") for warning in run.warnings)


def test_an_undeclared_mx_is_declared_or_removed(world: World) -> None:
    """Two ways out, and which is whose."""
    world.has("MX", "example.com", "mx2.example.com", priority=10.0)
    managed = {"manage_mx": True, "mx": [{"host": "mx1.example.com", "preference": 10}]}
    message, _ = refused(world, managed | {"mode": "enforce", "acknowledge": "tested"})
    assert "not declared in `mx`; declare it there if it is yours, else remove it" in message


@pytest.mark.parametrize("managed", [False, True])
def test_a_null_mx_is_named_as_such(world: World, managed: bool) -> None:
    """It names no host that a pattern could match: the domain takes no mail (RFC 7505). In testing a warning."""
    world.has("MX", "example.com", ".", priority=0.0)
    mx = {"manage_mx": managed, "mx": [{"host": "mx1.example.com", "preference": 10}]}
    message, paths = refused(world, mx | {"mode": "enforce", "acknowledge": "tested"})
    assert ["domains[0].mx"] == paths
    for word in ("example.com MX . (record zone-1-record-1)", "null MX, RFC 7505", "[null-mx]", "remove it"):
        assert word in message
    (warning,) = deploy(world, lambda: judge([GOOD | mx], JudgedHost("policies"))).warnings
    assert "[null-mx]" in warning


def test_a_domain_without_mail_may_say_so(world: World) -> None:
    """`mode: none` beside a null MX is how a domain that takes no mail is declared."""
    world.has("MX", "example.com", ".", priority=0.0)
    none = GOOD | {"mode": "none", "mx": []}
    assert not any("null-mx" in line for line in deploy(world, lambda: judge([none], JudgedHost("policies"))).warnings)


@pytest.mark.parametrize(
    ("caa", "stopped_at"),
    [
        ([("example.com", '0 issue "letsencrypt.org"')], "example.com"),
        ([("example.com", '0 issue ";"')], "example.com"),
        (
            [("lists.example.com", '0 issue "pki.goog"'), ("example.com", '0 issue "amazon.com"')],
            "lists.example.com",
        ),
        ([("example.com", '0 issue "amazon.com; validationmethods=dns-01"')], None),
        ([("example.com", '0 issue "pki.goog"'), ("example.com", '0 ISSUE "AmazonTrust.com"')], None),
        ([("example.com", '0 iodef "mailto:security@example.com"')], None),
        ([("example.com", '0 issuewild "pki.goog"')], None),
        ([("example.com", "0")], None),
    ],
)
def test_caa_must_let_amazon_issue(world: World, caa: list[tuple[str, str]], stopped_at: str | None) -> None:
    """The closest RRset decides (RFC 8659 §3); refused before the certificate is asked for."""
    for name, content in caa:
        world.has("CAA", name, content)
    args = ALONE | {"domain": "lists.example.com"}
    if stopped_at is None:
        deploy(world, lambda: MtaSts("mail", args))
        return
    message, paths = refused_component(world, args)
    assert ["domain"] == paths
    assert f'`{stopped_at} CAA 0 issue "amazon.com"`' in message


def test_a_shared_host_asks_for_no_certificate(world: World) -> None:
    """CAA is the shared host's business."""
    world.has("CAA", "example.com", '0 issue "pki.goog"')
    assert "mail" in deploy(world, lambda: MtaSts("mail", GOOD))


@pytest.mark.parametrize(
    ("zones", "given", "path", "words"),
    [
        ({}, {}, "zone", "the token sees no zone at all"),
        ({"zone-1": "ample.com", "zone-2": "example.net"}, {}, "zone", "the token sees ample.com, example.net"),
        ({"zone-1": "example.com"}, {"zone_id": "zone-9"}, "zone_id", "no zone zone-9 that holds example.com"),
        ({"zone-1": "example.com", "zone-2": "example.net"}, {"zone_id": "zone-2"}, "zone_id", "zone-2"),
        ({"zone-1": "example.com"}, {"zone": "com"}, "zone", "no zone com that holds example.com"),
        ({"zone-1": "example.com", "zone-2": "example.com"}, {}, "zone", "zone-1, zone-2"),
        ({"pending": "example.com"}, {}, "zone", "zone example.com is pending"),
    ],
)
def test_the_zone_must_hold_the_domain(
    world: World, zones: dict[str, str], given: dict[str, Any], path: str, words: str
) -> None:
    """A zone that is not there, that is another's, that there are two of, or that nobody asks is refused."""
    world.zones, world.statuses = zones, {"pending": "pending"}
    message, paths = refused(world, given)
    assert [f"domains[0].{path}"] == paths
    assert words in message


@pytest.mark.parametrize("given", [{}, {"zone_id": "zone-2"}, {"zone": "Lists.Example.com."}])
def test_the_longest_active_zone_holds_the_domain(world: World, given: dict[str, Any]) -> None:
    """The longest suffix wins, and a zone that was moved away does not count beside the one that is asked."""
    world.zones = {"zone-1": "example.com", "zone-2": "lists.example.com", "zone-3": "lists.example.com"}
    world.statuses = {"zone-3": "moved"}
    run = deploy(world, lambda: MtaSts("mail", GOOD | {"domain": "lists.example.com", **given}))
    assert "zone-2" == run["mail-sts-record"].inputs["zoneId"]


def test_an_unknown_zone_id_is_taken_with_a_warning(world: World) -> None:
    """An output may flow from a zone made in the same program; then nothing live was looked at, and that is said."""
    args = GOOD | {"zone_id": pulumi.Output.from_input("zone-1")}
    world.has("TXT", "_mta-sts.example.com", '"v=STSv1; id=1"')

    def program() -> None:
        MtaSts("mail", GOOD | {"zone_id": pulumi.Output.from_input("zone-1")})

    run = deploy(world, program)
    assert args.keys() >= {"zone_id"}
    assert "zone-1" == run["mail-sts-record"].inputs["zoneId"]
    assert ["example.com: zone_id is an output"] == [warning[:33] for warning in run.warnings]


def test_problems_of_all_domains_are_said_together(world: World) -> None:
    """Two domains with several problems each, live ones and those of the host: one refusal, each with its path."""
    world.has("TXT", "_mta-sts.a.example.com", '"x"')
    world.has("A", "mta-sts.a.example.com", "192.0.2.1")
    world.has("CAA", "b.example.com", '0 issue "pki.goog"')
    domains = [GOOD | {"domain": f"{label}.example.com"} for label in "ab"]
    hosted = [{"domain": domain["domain"]} for domain in domains]

    def program() -> None:
        judge(domains, judge_host("host", {"domains": hosted}, None))

    message, paths = refusal(world, program)
    assert ["domains[0].domain", "domains[0].domain", "domains[1].domain"] == sorted(paths)
    assert "3 problem(s), nothing was changed" in message


def test_declared_problems_of_all_domains_are_said_together(world: World) -> None:
    """What is wrong in itself needs no live world; every domain's and every key's finding is there."""
    world.failing[ZONES] = {"says": "403"}
    message, paths = refused(
        world,
        {"domain": "A.example.com", "max_age": -1},
        {"domain": "a.example.com", "mode": "enforced", "mx": ["192.0.2.1"]},
        {"domain": "b.example.com", "modus": "testing"},
    )
    assert {
        "domains[0].max_age",
        "domains[1].domain",
        "domains[1].mode",
        "domains[1].mx[0]",
        "domains[2].modus",
    } == set(paths)
    assert "did you mean enforce" in message


@pytest.mark.parametrize(
    ("args", "path"),
    [
        (None, ""),
        ("example.com", ""),
        (ALONE | {"zone": 5}, "zone"),
        (ALONE | {"zone": "ä.."}, "zone"),
        (ALONE | {"host": "x"}, "host"),
        (ALONE | {"host": {"bucket": "Bad_Name", "target": TARGET}}, "host"),
    ],
)
def test_a_component_with_arguments_of_another_form_is_refused(world: World, args: Any, path: str) -> None:
    """A message with the place, and no traceback of what was done with them."""
    assert [path] == refused_component(world, args)[1]


@pytest.mark.parametrize("args", [{}, {"domain": 5}, {"domain": "no host"}])
def test_a_component_without_a_usable_domain_says_so_once(world: World, args: dict[str, Any]) -> None:
    """The domain's own message, and not the host's on top of it."""
    _, paths = refused_component(world, {"mx": ["mx1.example.com"], "reports": ["mailto:x@example.com"], **args})
    assert ["domain"] == paths


def test_a_refusal_is_printed_without_a_stack_trace(world: World) -> None:
    """Pulumi prints a RunError as it stands; InputPropertiesError carries the paths to other languages."""
    with pytest.raises(pulumi.RunError, match="MTA-STS: 1 problem") as caught:
        deploy(world, lambda: judge([GOOD | {"mode": "on"}], JudgedHost("policies")))
    assert isinstance(caught.value, pulumi.InputPropertiesError)


FORBIDDEN = '403 Forbidden {"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}'


@pytest.mark.parametrize(
    ("function", "says", "rule", "words"),
    [
        (ZONES, FORBIDDEN, "look-up-denied", ["the zones at Cloudflare", "Zone:Read", "docs/permissions.md"]),
        (
            ZONES,
            "400 Bad Request: Invalid request headers, Invalid format for Authorization header",
            "look-up-denied",
            ["token"],
        ),
        (ZONES, "dial tcp: lookup api.cloudflare.com: no such host", "look-up-failed", ["no such host", "run again"]),
        (ZONES, "502 Bad Gateway", "look-up-failed", ["502 Bad Gateway", "run again"]),
        (RECORDS, FORBIDDEN, "look-up-denied", ["the DNS records of zone zone-1", "DNS:Read", "DNS:Edit"]),
        (
            CALLER,
            "AWS account ID not allowed: 222222222222",
            "wrong-account",
            ["222222222222", "aws:allowedAccountIds"],
        ),
        (CALLER, "No valid credential sources found", "look-up-denied", ["`aws:profile`"]),
    ],
)
def test_a_cloud_that_does_not_let_us_look_is_one_clear_finding(
    world: World, function: str, says: str, rule: str, words: list[str]
) -> None:
    """What was asked, what came back, what to grant: once, however many domains, without a stack trace."""
    world.failing[function] = {"says": says}
    message, paths = refused(world, {"domain": "a.example.com"}, {"domain": "b.example.com"})
    assert 1 == len(paths)
    assert "domains" not in paths[0]
    assert f"[{rule}]" in message
    for word in [says, *words]:
        assert word in message


def test_all_clouds_that_do_not_let_us_look_are_named_at_once(world: World) -> None:
    """A wrong token and a wrong account in one run; and a component with its own host says nothing twice."""
    world.failing = {ZONES: {"says": FORBIDDEN}, CALLER: {"says": "AWS account ID not allowed: 222222222222"}}
    assert {"aws", "cloudflare"} == set(refused(world, {})[1])
    assert ["aws", "cloudflare"] == sorted(refused_component(world, ALONE)[1])


def test_one_unreadable_zone_does_not_hide_what_is_wrong_in_another(world: World) -> None:
    """The token may lack one of two zones; the other one's records are judged all the same."""
    world.zones = {"zone-1": "example.com", "zone-2": "example.net"}
    world.failing[RECORDS] = {"says": FORBIDDEN, "zone": "zone-2"}
    world.has("A", "mta-sts.example.com", "192.0.2.1")
    message, paths = refused(world, {}, {"domain": "example.net"})
    assert {"cloudflare", "domains[0].domain"} == set(paths)
    assert "zone zone-2" in message


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        ("AccessDenied", ["s3:ListBucketVersions", "s3:GetObjectVersion", "arn:aws:s3:::policies"]),
        ("403", ["s3:ListBucketVersions", "s3:GetObjectVersion", "arn:aws:s3:::policies"]),
        ("SlowDown", ["whether S3 can be reached", "run again"]),
    ],
)
def test_a_bucket_that_can_not_be_read_is_never_taken_for_an_empty_one(
    world: World, code: str, way_out: list[str]
) -> None:
    """No permission must not read as "never served": it is said once, with the actions to grant."""
    world.failing["s3"] = code
    message, paths = refused(world, {"domain": "a.example.com"}, {"domain": "b.example.com"})
    assert ["host.bucket"] == paths
    for word in (code, *way_out):
        assert word in message


def ours(world: World, body: str, **more: Any) -> None:
    """Let our own record show the id of a body."""
    identifier = content_id(body.encode()) + "00000000"
    modified = more.pop("modifiedOn", "2026-01-01T00:00:00Z")
    world.has(
        "TXT",
        "_mta-sts.example.com",
        f'"v=STSv1; id={identifier};"',
        comment=OWN,
        modifiedOn=modified,
        **more,
    )


SERVED = "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmax_age: 1209600\n"
ENFORCE = GOOD | {"mode": "enforce", "acknowledge": "tested", "mx": ["mx1.example.com"]}


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_the_brake_is_not_held_up_by_a_bucket_that_can_not_be_read(world: World, mode: str) -> None:
    """Enforce ends although nobody may read what was served; the records stay protected."""
    ours(world, SERVED)
    world.failing["s3"] = "AccessDenied"
    run = deploy(world, lambda: MtaSts("mail", ENFORCE | {"mode": mode}))
    assert any("s3:ListBucketVersions" in warning for warning in run.warnings)
    assert f"mode: {mode}" in run["mail-policy"].inputs["content"]
    assert run["mail-sts-record"].protect


def test_the_brake_is_not_held_up_by_a_delegation(world: World) -> None:
    """Whether senders see the change there or not: letting them go can't harm."""
    ours(world, SERVED)
    world.has("NS", "mta-sts.example.com", "ns1.elsewhere.invalid")
    run = deploy(world, lambda: MtaSts("mail", ENFORCE | {"mode": "testing"}))
    assert any("name-delegated" in warning for warning in run.warnings)


def test_what_stays_as_it_is_does_not_hold_up_the_brake_of_another_domain(world: World) -> None:
    """An enforced domain whose id is that of its body goes on under that id; one that changes is refused."""
    ours(world, SERVED)
    world.failing["s3"] = "AccessDenied"
    run = deploy(world, lambda: MtaSts("mail", ENFORCE))
    assert f"{content_id(SERVED.encode())}00000000" in run["mail-sts-record"].inputs["content"]
    assert ["host.bucket"] == refused(world, ENFORCE | {"mx": ["mx1.example.com", "mx2.example.com"]})[1]


def test_a_record_of_ours_without_a_policy_in_the_bucket_is_refused(world: World) -> None:
    """The bucket is another one, or was emptied: what senders hold is unknown. In testing it is a warning."""
    ours(world, SERVED)
    message, paths = refused(world, ENFORCE)
    assert ["domains[0].host"] == paths
    assert "[history-lost]" in message
    run = deploy(world, lambda: MtaSts("mail", GOOD))
    assert any("history-lost" in warning for warning in run.warnings)
    assert run["mail-sts-record"].protect


def test_a_clock_that_is_behind_is_refused(world: World) -> None:
    """Waits counted with it would be too short."""
    ours(world, SERVED, modifiedOn="2999-01-01T00:00:00Z")
    message, paths = refused(world, ENFORCE)
    assert "domains[0].domain" in paths
    assert "[clock-behind]" in message


def test_a_bucket_that_is_not_there_yet_remembers_nothing(world: World) -> None:
    """The first run ever, or another region's first: the id is derived from the live TXT, or from the day."""
    world.failing["s3"] = "NoSuchBucket"
    assert "mail" in deploy(world, lambda: MtaSts("mail", GOOD))


def test_policies_are_read_from_the_account_they_are_written_to(world: World) -> None:
    """Credentials of the stack that lead elsewhere would make that account's bucket be believed for this one."""
    world.own_account = "222222222222"
    message, paths = refused(world, {})
    assert ["aws"] == paths
    assert "leads to account 222222222222" in message
    assert "provider to 111111111111" in message


@pytest.mark.parametrize(
    "failing", [NoCredentialsError(), EndpointConnectionError(endpoint_url="https://sts.example"), "ExpiredToken"]
)
def test_credentials_that_do_not_work_are_a_finding(world: World, failing: Any) -> None:
    """Not a stack trace of the SDK."""
    world.failing["sts"] = failing
    message, paths = refused(world, {})
    assert ["aws"] == paths
    assert "[ledger-credentials]" in message


def test_warnings_are_said_once_a_run_and_for_each_domain(world: World) -> None:
    """The program judges all domains and each component judges its own; two domains with one fault are two warnings."""
    silent = {key: value for key, value in GOOD.items() if key != "reports"}
    domains = [silent | {"domain": f"{label}.example.com"} for label in "ab"]

    def program() -> None:
        judge(domains, JudgedHost("policies"))
        for domain in domains:
            MtaSts(domain["domain"], domain)

    warnings = deploy(world, program).warnings
    assert ["a.example.com", "b.example.com"] == [warning.partition(":")[0] for warning in warnings]
