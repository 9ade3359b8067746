"""The brake is never held up: enforce to testing or none, whatever is wrong with the live world."""

from __future__ import annotations

import json
import runpy
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from pulumi.runtime.config import set_all_config
from pulumi_mta_sts import JudgedHost, MtaSts, Refused, judge

from mta_sts import content_id
from mta_sts.cloud_resources import LEAVING
from tests.components.mocked import OWN, RECORDS, TARGET, World, deploy, recording, refusal
from tests.components.mocked import STATE as READ_STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY = 86_400
SERVED = "version: STSv1\nmode: enforce\nmx: mx1.example.com\nmax_age: 1209600\n"
MX1, MX2 = ({"host": f"mx{number}.example.com", "preference": 10 * number} for number in (1, 2))
ENFORCED: dict[str, Any] = {
    "domain": "example.com",
    "mode": "enforce",
    "acknowledge": "tested",
    "reports": ["mailto:tls-reports@example.com"],
    "manage_mx": True,
    "mx": [MX1],
    "host": {"bucket": "policies", "target": TARGET},
}
BRAKE = ENFORCED | {"mode": "testing"}
ALONE = {key: value for key, value in BRAKE.items() if key != "host"}
STATE = "urn:pulumi:test::mta-sts::mta-sts:index:MtaSts$"


def identifier(body: str) -> str:
    """Return an id that stands for a body."""
    return f"{content_id(body.encode())}00000000"


def live(world: World, body: str = SERVED, *, ago: float = 90 * DAY) -> None:
    """Let a domain of ours be published for so many seconds."""
    since = datetime.fromtimestamp(time.time() - ago, UTC).isoformat()
    ours = {"comment": OWN, "modifiedOn": since}
    world.has("TXT", "_mta-sts.example.com", f'"v=STSv1; id={identifier(body)};"', **ours)
    world.has("CNAME", "mta-sts.example.com", TARGET, **ours)
    world.has("TXT", "_smtp._tls.example.com", '"v=TLSRPTv1; rua=mailto:tls-reports@example.com"', **ours)
    world.has("MX", "example.com", "mx1.example.com", priority=10.0, **ours)
    world.versions["example.com"] = ("v1", {"sts-id": identifier(body)})
    world.bodies["example.com"] = body.encode()


def stray(world: World) -> None:
    """Add an MX record that nobody declared."""
    world.has("MX", "example.com", "stray.example.net", priority=30.0)


def another_text(world: World) -> None:
    """Put a verification token beside the record."""
    world.has("TXT", "_mta-sts.example.com", '"verification=1"')


def second_record(world: World) -> None:
    """Add another MTA-STS record: senders see none, until one of them goes."""
    world.has("TXT", "_mta-sts.example.com", '"v=STSv1; id=1"')


def report_address(world: World) -> None:
    """Make the reports' record somebody else's."""
    world.records["zone-1"][2]["comment"] = "by hand"


def clock_behind(world: World) -> None:
    """Let the clouds' dates be in the future."""
    for record in world.records["zone-1"]:
        record["modifiedOn"] = "2999-01-01T00:00:00Z"


def other_account(world: World) -> None:
    """Read the policies served so far from another account."""
    world.own_account = "222222222222"


def expired(world: World) -> None:
    """Let the credentials for the bucket expire."""
    world.failing["sts"] = "ExpiredToken"


def denied(world: World) -> None:
    """Forbid to read the bucket."""
    world.failing["s3"] = "AccessDenied"


def out_of_order(world: World) -> None:
    """Let a version note what was only later."""
    noted = f"{'a' * 32} {time.time() + 10 * DAY:.0f} 300"
    world.versions["example.com"] = ("v1", {"sts-id": identifier(SERVED), "sts-live": noted})


def id_by_hand(world: World) -> None:
    """Change the id at Cloudflare."""
    world.records["zone-1"][0]["content"] = '"v=STSv1; id=20261126;"'


UNPROVED = [clock_behind, other_account, expired, denied, out_of_order, id_by_hand]
WRONG = [stray, another_text, second_record, report_address, *UNPROVED]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
@pytest.mark.parametrize("mode", ["testing", "none"])
def test_what_is_wrong_with_the_live_world_is_only_a_warning(
    world: World, wrong: Callable[[World], None], mode: str
) -> None:
    """Policy and id go out all the same; the same finding stops any other change."""
    live(world)
    wrong(world)
    change = ENFORCED | {"max_age": 604_800}
    message, _ = refusal(world, lambda: MtaSts("mail", change))
    rule = message.partition("]")[0].rpartition("[")[2]
    run = deploy(world, lambda: MtaSts("mail", BRAKE | {"mode": mode}))
    assert any(f"[{rule}]" in warning for warning in run.warnings)
    assert f"mode: {mode}" in run["mail-policy"].inputs["content"]
    assert identifier(SERVED) not in run["mail-sts-record"].inputs["content"]
    assert "mail-mx-mx1.example.com" in run


def test_everything_at_once_does_not_hold_it_up(world: World) -> None:
    """Drift, clock, ledger: nothing of it is known to matter to those who are let go."""
    live(world)
    for wrong in WRONG:
        wrong(world)
    assert "mode: testing" in deploy(world, lambda: MtaSts("mail", BRAKE))["mail-policy"].inputs["content"]


@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_without_the_ledger_an_mx_host_waits_for_the_record(world: World, mode: str) -> None:
    """It shows since a minute ago the policy that lists the host: not every sender knows that, whoever is let go."""
    both = SERVED.replace("max_age", "mx: mx2.example.com\nmax_age")
    live(world, both, ago=60)
    denied(world)
    change = BRAKE | {"mode": mode, "mx": [MX1, MX2], "max_age": 1_209_600, "wait_limit": 0}
    run = deploy(world, lambda: MtaSts("mail", change))
    assert "mail-mx-mx2.example.com" not in run
    assert any("mx2.example.com: not added to DNS in this update" in warning for warning in run.warnings)


def test_an_mx_that_was_added_by_hand_is_left_alone(world: World) -> None:
    """Somebody helped himself before: the record is neither made a second time nor taken over."""
    live(world)
    world.has("MX", "example.com", "mx2.example.com", priority=20.0)
    run = deploy(world, lambda: MtaSts("mail", BRAKE | {"mx": [MX1, MX2]}))
    assert "mx: mx2.example.com" in run["mail-policy"].inputs["content"]
    assert "mail-mx-mx2.example.com" not in run
    assert "mail-mx-mx1.example.com" in run


def test_a_record_of_the_state_is_ours_whoever_touched_it(world: World) -> None:
    """Its comment was edited: left out, the engine would stop at a record that it must not delete."""
    live(world)
    for record in world.records["zone-1"]:
        record["comment"] = "edited by hand"
        urn = f"{STATE}cloudflare:index/dnsRecord:DnsRecord::mail-{record['id']}"
        world.state[urn] = {key: record[key] for key in ("name", "type", "content")}
    run = deploy(world, lambda: MtaSts("mail", BRAKE))
    assert {"mail-sts-record", "mail-policy-host", "mail-mx-mx1.example.com"} <= run.registered.keys()
    assert identifier(SERVED) not in run["mail-sts-record"].inputs["content"]


def test_a_record_of_others_is_not_ours_to_change(world: World) -> None:
    """A second record would be made beside it, and senders would see none: that can't be done, and is said."""
    live(world)
    world.records["zone-1"][0]["comment"] = "another team"
    message, _ = refusal(world, lambda: MtaSts("mail", BRAKE))
    assert "sts-record: _mta-sts.example.com TXT" in message
    assert "[record-exists]" in message


@pytest.mark.parametrize(
    ("names", "issued", "held_up"),
    [
        (["mta-sts.example.com"], True, False),
        (["mta-sts.example.com"], False, True),
        (["mta-sts.b.example.com"], True, True),
    ],
)
def test_caa_stops_only_a_certificate_that_is_asked_for(
    world: World, names: list[str], *, issued: bool, held_up: bool
) -> None:
    """The one that the state holds for the same names stands; the warning says that it can't be renewed."""
    live(world)
    world.has("CAA", "example.com", '0 issue "letsencrypt.org"')
    parent = "mta-sts:index:MtaSts$mta-sts:index:PolicyHost"
    world.certified(parent, "mail-host-certificate", names, issued=issued)
    if held_up:
        assert "[caa-forbids-certificate]" in refusal(world, lambda: MtaSts("mail", ALONE))[0]
    else:
        run = deploy(world, lambda: MtaSts("mail", ALONE))
        assert any("caa-forbids-certificate" in warning for warning in run.warnings)


@pytest.mark.parametrize(
    "change",
    [
        {"mx": [MX2]},
        {"mx": [MX2], "max_age": 604_800},
        {"mode": "none", "mx": []},
        {"mode": "enforce", "mx": [MX1, MX2]},
    ],
)
def test_what_takes_something_away_is_no_brake(world: World, change: dict[str, Any]) -> None:
    """Another MX host in the place of the old one, whatever the mode: without the ledger it is refused as unproved."""
    live(world)
    denied(world)
    assert "[ledger-unreadable]" in refusal(world, lambda: MtaSts("mail", BRAKE | change))[0]


@pytest.mark.parametrize("patterns", [["mx9.example.com"], ["*.other.example"]])
def test_a_brake_lists_what_the_policy_listed(world: World, patterns: list[str]) -> None:
    """A policy that drops a pattern is another change; a wildcard over it keeps it, and `none` lists nothing."""
    live(world)
    world.records["zone-1"][3]["content"] = "mx9.example.com"
    another_text(world)
    change = BRAKE | {"manage_mx": False}
    assert "record-in-the-way" in refusal(world, lambda: MtaSts("mail", change | {"mx": patterns}))[0]
    deploy(world, lambda: MtaSts("mail", change | {"mx": ["*.example.com"]}))
    deploy(world, lambda: MtaSts("mail", change | {"mode": "none", "mx": patterns}))


def test_a_host_of_its_own_waits_for_no_state(world: World) -> None:
    """Neither bucket nor state can be read: which other domains such a host serves is no question."""
    live(world)
    denied(world)
    world.failing[READ_STATE] = {"says": "no such stack"}
    run = deploy(world, lambda: MtaSts("mail", ALONE))
    assert "mode: testing" in run["mail-policy"].inputs["content"]
    assert ["mta-sts.example.com"] == run["mail-host-distribution"].inputs["aliases"]


def test_a_migration_under_way_can_be_braked(world: World) -> None:
    """The old host is marked already; nothing that was declared until now goes."""
    live(world)
    world.records["zone-1"][3]["comment"] = LEAVING
    world.has("MX", "example.com", "mx2.example.com", priority=20.0, comment=OWN)
    denied(world)
    run = deploy(world, lambda: MtaSts("mail", BRAKE | {"mx": [MX2]}))
    assert {"mail-mx-mx1.example.com", "mail-mx-mx2.example.com"} <= run.registered.keys()


def together(world: World, *others: dict[str, Any], preview: bool = False) -> tuple[str, dict[str, str]]:
    """Return the refusal of a program like ours, and what it has registered then."""
    domains = [BRAKE, *(ENFORCED | other for other in others)]

    def program() -> None:
        try:
            judge(domains, JudgedHost("policies"))
        except Refused as refused:
            raise refused.after_brakes(lambda domain: MtaSts(domain["domain"], domain)) from None

    with recording(world, preview=preview) as run, pytest.raises(Refused) as caught:
        pulumi.runtime.test(program)()
    return caught.value.message, run.children()


@pytest.mark.parametrize("wrong", [[], WRONG])
def test_another_domain_does_not_hold_it_up(world: World, wrong: list[Callable[[World], None]]) -> None:
    """Its own resources go out, nothing of the other, and then the program fails: what was not registered stays."""
    live(world)
    for each in wrong:
        each(world)
    world.has("A", "mta-sts.b.example.com", "192.0.2.1")
    message, registered = together(world, {"domain": "b.example.com"})
    assert "nothing was changed but by the brake of example.com" in message
    assert "domains[1].domain: mta-sts.b.example.com A 192.0.2.1" in message
    assert "domains[0]" not in message
    assert {"example.com-policy", "example.com-sts-record"} <= registered.keys()
    assert not [name for name in registered if "b.example.com" in name or "host" in name.removesuffix("policy-host")]


def test_a_preview_says_how_the_brake_goes_on(world: World) -> None:
    """`pulumi up` stops where its preview fails."""
    live(world)
    world.has("A", "mta-sts.b.example.com", "192.0.2.1")
    message, _ = together(world, {"domain": "b.example.com"}, preview=True)
    assert "`pulumi up --skip-preview`" in message


def test_a_zone_that_can_not_be_read_holds_up_only_its_own_domains(world: World) -> None:
    """The token has lost the other domain's zone."""
    live(world)
    world.zones["zone-2"] = "example.net"
    world.failing[RECORDS] = {"says": "403 Forbidden", "zone": "zone-2"}
    message, registered = together(world, {"domain": "example.net", "mx": [{"host": "mx.x.example", "preference": 1}]})
    assert "zone zone-2" in message
    assert "example.com-sts-record" in registered


def test_a_domain_with_something_in_its_own_way_is_not_among_the_brakes(world: World) -> None:
    """Its record is another team's: nothing at all is registered."""
    live(world)
    world.records["zone-1"][0]["comment"] = "another team"
    message, registered = together(world, {"domain": "b.example.com"})
    assert "nothing was changed:" in message
    assert {} == registered


MAIN = Path(__file__).parents[2] / "__main__.py"
SETTINGS = {
    "aws:region": "eu-west-1",
    "aws:allowedAccountIds": '["111111111111"]',
    "mta-sts:host": '{"bucket": "policies"}',
}
TYPING_ERRORS: list[Any] = [
    {"domain": "b.example.com", "mx": ["192.0.2.1"]},
    {"domain": "b.example.com", "mx": [MX1], "modus": "testing"},
    {"domain": "b.example.com", "mx": [MX1], "mode": "on"},
    {"domain": "b.example.com", "mx": [MX1], "max_age": "a day"},
    {"domain": "b.example.com", "mx": [MX1], "host": {"bucket": "x"}},
    {"domain": "b.example.com", "mx": [MX1], "tags": {"team": 5}},
    {"domain": "b.example.com", "mx": [MX1], "reports": ["mailto:x@example.com", ""]},
    {"domain": "b example.com", "mx": [MX1]},
    {"domain": 5},
    {"mx": [MX1]},
    "b.example.com",
    "the zone of example.com",
    None,
    7,
    [],
]


@pytest.fixture
def stack(world: World) -> Iterator[Callable[..., tuple[str, list[str], dict[str, str]]]]:
    """Run the program with these domains in the stack file; return what it refuses, and what it has registered then."""

    def run(*domains: Any, **settings: str) -> tuple[str, list[str], dict[str, str]]:
        listed = json.dumps([{key: value for key, value in BRAKE.items() if key != "host"}, *domains])
        set_all_config(SETTINGS | {"mta-sts:domains": listed} | settings)
        with recording(world, preview=False) as recorded, pytest.raises(Refused) as caught:
            pulumi.runtime.test(lambda: runpy.run_path(str(MAIN)) and None)()
        paths = [problem["property_path"] for problem in caught.value.errors or []]
        return caught.value.message, paths, recorded.children()

    yield run
    set_all_config({})


@pytest.mark.parametrize("wrong", TYPING_ERRORS, ids=str)
def test_a_typing_error_at_another_domain_does_not_hold_it_up(
    world: World, stack: Callable[..., tuple[str, list[str], dict[str, str]]], wrong: Any
) -> None:
    """The program itself: the brake goes out, alone, and then it fails with what is wrong in the stack file."""
    live(world)
    message, paths, registered = stack(wrong)
    assert "nothing was changed but by the brake of example.com:" in message
    assert paths
    assert all(path.startswith("domains[1]") for path in paths), message
    assert {"example.com-policy", "example.com-sts-record", "example.com-policy-host"} <= registered.keys()
    assert not [name for name in registered if not name.startswith("example.com")]


def test_every_problem_is_said_beside_the_brake(
    world: World, stack: Callable[..., tuple[str, list[str], dict[str, str]]]
) -> None:
    """What is declared wrong, and what is wrong with the live world of domains that are declared well."""
    live(world)
    world.zones["zone-2"] = "example.net"
    world.has("A", "mta-sts.b.example.com", "192.0.2.1")
    well = {"domain": "b.example.com", "mx": ["mx1.example.com"]}
    message, paths, registered = stack(
        well, TYPING_ERRORS[0] | {"domain": "c.example.com"}, {"domain": "d.example.net"}
    )
    assert ["domains[1].domain", "domains[2].mx[0]", "domains[3].mx"] == sorted(paths), message
    assert "example.com-sts-record" in registered


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"mta-sts:host": '{"buckett": "policies"}'}, "host.buckett"),
        ({"mta-sts:hosts": "{}"}, "hosts"),
        ({"aws:region": ""}, "aws:region"),
    ],
)
def test_what_is_wrong_with_the_whole_stack_stops_it(
    world: World, stack: Callable[..., tuple[str, list[str], dict[str, str]]], settings: dict[str, str], path: str
) -> None:
    """Which bucket, or which account, can't be told: nothing may be written anywhere; all is said together."""
    live(world)
    message, paths, registered = stack(TYPING_ERRORS[0], **settings)
    assert {path, "domains[1].mx[0]"} == set(paths)
    assert "nothing was changed:" in message
    assert {} == registered


def test_a_domain_that_is_declared_twice_is_no_brake(
    world: World, stack: Callable[..., tuple[str, list[str], dict[str, str]]]
) -> None:
    """It can't be told which of the two is meant."""
    live(world)
    _, paths, registered = stack(ALONE | {"mode": "enforce"})
    assert ["domains[1].domain"] == paths
    assert {} == registered
